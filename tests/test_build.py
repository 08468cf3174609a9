"""The miniature world is laid out like NSD, built once, whole or not at all."""

import dataclasses
import functools
import json
import multiprocessing
import os
import re
import time
from types import SimpleNamespace

import h5py
import nibabel
import numpy as np
import pandas as pd
import pytest
from scipy.io import loadmat
from scipy.sparse import csr_matrix

from latentcortex import nsd
from latentcortex.mini import build, unfinished
from latentcortex.nsd import write_shown

N_VERTICES = 40
SIZES = build.Sizes(
    n_sessions=(3, 2),
    n_trials=24,
    n_runs=4,
    n_slots=8,
    n_shared=6,
    n_own=18,
    n_held_back=5,
    n_synthetic_runs=2,
    n_synthetic_slots=10,
)
# Ten voxels of four vertices each, in a box of 2 x 3 x 4.
SMALL_VOLUME = build.volume.Volume(
    affine=np.diag([2.0, 2, 2, 1]),
    cortex=(np.arange(24) < 10).reshape(2, 3, 4),
    weights=csr_matrix(np.kron(np.eye(10), np.full((1, 4), 0.25))),
    nearest=np.arange(0, N_VERTICES, 4),
)


def fake_picture(seed):
    """Bright or dark: pictures of equal mean would get equal responses, which the reader refuses."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, rng.integers(9, 256), (8, 8, 3))


class FakeCortex:
    """Every vertex answers with the mean of the picture's pixels and a number of its own."""

    def __init__(self, subject, world, seed):
        self.base = 1000.0 * build.cortex.WORLDS.index(world) + seed + 0.1 * subject
        self.planted = pd.DataFrame({"area": "V1", "ncsnr": np.linspace(0, 1, N_VERTICES)})

    def signal(self, images, scenes):
        assert len(images) == len(scenes)
        return images.mean(axis=(1, 2, 3), keepdims=True)[..., 0, 0] / 255 + self.base

    def respond(self, signal, session):
        assert session in range(1, 5)
        return (signal + np.arange(N_VERTICES)).astype(np.float32)


@pytest.fixture
def fakes(monkeypatch):
    """Quick pictures and cortices; returns the numbers of pictures drawn, call by call."""
    drawn = []

    def render(scenes, progress=lambda batches: batches):
        drawn.append(len(scenes))
        list(progress(range(2)))
        seeds = [scene.structure for scene in scenes]
        return np.array([fake_picture(seed) for seed in seeds], "u1")

    monkeypatch.setattr(build.scenes, "render", render)
    labels = np.arange(N_VERTICES) % 3
    atlases = {"streams": (labels, {0: "Unknown", 1: "early", 2: "ventral"})}
    monkeypatch.setattr(build.surface, "areas", lambda: SimpleNamespace(atlases=atlases))
    monkeypatch.setattr(build.cortex, "Cortex", FakeCortex)
    monkeypatch.setattr(build.volume, "lay_volume", lambda rng: SMALL_VOLUME)  # noqa: ARG005
    return drawn


@pytest.mark.usefixtures("fakes")
def test_the_reader_of_nsd_reads_the_tree(tmp_path):
    root = build.open_tree(seed=3, cache=tmp_path, sizes=SIZES)
    assert nsd.subjects(root) == ["subj01", "subj02"]
    assert [nsd.sessions(root, s) for s in nsd.subjects(root)] == [[1, 2, 3], [1, 2]]
    for k, subject in enumerate(nsd.subjects(root)):
        trials = nsd.trials(root, subject)
        betas = nsd.betas(root, subject)
        # Each response is that to the picture which has the trial's image id.
        means = nsd.images(root, trials["image_id"]).mean(axis=(1, 2, 3))
        expected = means[:, None] + 3 + 0.1 * k + np.arange(N_VERTICES)
        np.testing.assert_allclose(betas, expected, atol=1e-4)
        assert len(nsd.split(trials)[1]) == SIZES.n_shared
    assert nsd.trials(root, "subj01").groupby("image_id").size().eq(3).all()
    assert nsd.trials(root, "subj02").groupby("image_id").size().nunique() > 1
    # As NSD's, estimated from the responses of all trials, not what was planted.
    scaled = nsd.zscore(betas, trials["session"], np.ones(len(trials), bool))
    estimate = nsd.estimate_ncsnr(scaled, trials["image_id"].to_numpy())
    np.testing.assert_allclose(nsd.ncsnr(root, "subj02"), estimate, rtol=1e-5)
    np.testing.assert_array_equal(nsd.roi(root, "streams"), np.arange(N_VERTICES) % 3)


@pytest.mark.usefixtures("fakes")
def test_the_volume_holds_the_same_responses_averaged_as_integers(tmp_path):
    root = build.open_tree(cache=tmp_path, sizes=SIZES)
    betas, n = nsd.betas(root, "subj01"), SIZES.n_trials
    folder = root / "nsddata_betas/ppdata/subj01/func1pt8mm/betas_fithrf_GLMdenoise_RR"
    for session in (1, 2, 3):
        with h5py.File(folder / f"betas_session{session:02d}.hdf5") as file:
            stored = file["betas"][...]
        assert stored.dtype == np.int16 and stored.shape == (n, 4, 3, 2)
        voxels = stored.transpose(0, 3, 2, 1)[:, SMALL_VOLUME.cortex] / 300
        expected = betas[n * (session - 1) : n * session].reshape(n, 10, 4).mean(2)
        np.testing.assert_allclose(voxels, expected, atol=0.5 / 300 + 1e-5)
        assert not stored.transpose(0, 3, 2, 1)[:, ~SMALL_VOLUME.cortex].any()
    synthetic = folder.with_name("nsdsyntheticbetas_fithrf_GLMdenoise_RR")
    assert (synthetic / "betas_nsdsynthetic.hdf5").is_file()

    read = {
        name: nibabel.load(root / f"nsddata/ppdata/subj01/func1pt8mm/{name}.nii.gz")
        for name in ("brainmask", "roi/streams")
    }
    np.testing.assert_array_equal(np.asarray(read["brainmask"].dataobj), SMALL_VOLUME.cortex)
    codes = np.asarray(read["roi/streams"].dataobj)
    np.testing.assert_array_equal(codes[SMALL_VOLUME.cortex], np.arange(0, 40, 4) % 3)
    assert (codes[~SMALL_VOLUME.cortex] == -1).all()
    np.testing.assert_array_equal(read["roi/streams"].affine, SMALL_VOLUME.affine)
    trials = nsd.trials(root, "subj01")
    every = betas.reshape(len(betas), 10, 4).mean(2)
    every = nsd.zscore(every, trials["session"], np.ones(len(every), bool))
    expected = nsd.estimate_ncsnr(every, trials["image_id"].to_numpy())
    ncsnr = np.asarray(nibabel.load(folder / "ncsnr.nii.gz").dataobj)
    np.testing.assert_allclose(ncsnr[SMALL_VOLUME.cortex], expected, rtol=1e-4)


@pytest.mark.usefixtures("fakes")
def test_ground_truth_and_captions_belong_to_the_pictures(tmp_path):
    root = build.open_tree(cache=tmp_path, sizes=SIZES)
    truth = pd.read_csv(root / "simulation/ground_truth.csv", index_col="image_id")
    ids = truth.index.to_numpy()
    pictures = nsd.images(root, ids)
    for picture, structure in zip(pictures, truth["structure"], strict=True):
        expected = fake_picture(structure)
        np.testing.assert_allclose(picture, np.moveaxis(expected, -1, 0) / 255, atol=1e-6)
    texts = nsd.captions(root, ids)
    assert all(len(five) == 5 for five in texts)
    # Colours are said of things that are there: no caption names a colour of another scene.
    colours = set(build.scenes.COLOURS)
    for five, (_, row) in zip(texts, truth.iterrows(), strict=True):
        there = {row["colour_1"], row["colour_2"]}
        assert set(" ".join(five).split()) & colours <= there
    assert not truth["held_back"].any()
    held_back = pd.read_csv(root / "simulation/ground_truth_held_back.csv")
    assert held_back["held_back"].all() and len(held_back) == 5
    assert len(json.loads((root / "simulation/captions_held_back.json").read_text())) == 5


@pytest.mark.usefixtures("fakes")
def test_the_tree_says_that_it_is_simulated_and_holds_no_pickle(tmp_path):
    root = build.open_tree(seed=4, cache=tmp_path, sizes=SIZES)
    assert (root / "simulation/README.txt").read_text().startswith("SIMULATED")
    provenance = json.loads((root / "simulation/provenance.json").read_text())
    assert provenance["simulated"] and provenance["seed"] == 4
    assert provenance["name"] == root.name
    assert len(pd.read_csv(root / "simulation/planted_subj02.csv")) == N_VERTICES
    suffixes = {path.suffix for path in root.rglob("*") if path.is_file()}
    assert suffixes == {".csv", ".ctab", ".gz", ".hdf5", ".json", ".mat", ".mgh", ".mgz", ".tsv", ".txt"}


@pytest.mark.usefixtures("fakes")
def test_held_back_scenes_lie_in_the_layout_of_nsd_synthetic(tmp_path):
    root = build.open_tree(cache=tmp_path, sizes=SIZES)
    design = loadmat(root / "nsddata/experiments/nsdsynthetic/nsdsynthetic_expdesign.mat")
    order = design["masterordering"][0].astype(int) - 1
    np.testing.assert_array_equal(np.bincount(order), [3] * SIZES.n_held_back)
    assert design["stimpattern"].shape == (1, 2, 10) and design["stimpattern"].sum() == 15
    path = root / "nsddata_stimuli/stimuli/nsdsynthetic/nsdsynthetic_stimuli.hdf5"
    with h5py.File(path) as file:
        means = file["imgBrick"][...].mean(axis=(1, 2, 3)) / 255
    for k, subject in enumerate(nsd.subjects(root)):
        folder = root / f"nsddata_betas/ppdata/{subject}/fsaverage"
        path = folder / "nsdsyntheticbetas_fithrf_GLMdenoise_RR/rh.betas_nsdsynthetic.mgh"
        image = nibabel.load(path)
        assert image.get_data_dtype() == np.dtype(">f4") and image.shape == (20, 1, 1, 15)
        right = np.asarray(image.dataobj)[:, 0, 0].T
        expected = means[order][:, None] + 0.1 * k + np.arange(20, 40)
        np.testing.assert_allclose(right, expected, atol=1e-4)


def test_other_worlds_share_pictures_and_trials_and_nothing_else(fakes, tmp_path):
    roots = {w: build.open_tree(w, cache=tmp_path, sizes=SIZES) for w in build.cortex.WORLDS}
    assert fakes == [42, 5]
    for world, root in roots.items():
        for file in (
            "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5",
            "annotations/captions_train2017.json",
            "nsddata/ppdata/subj01/behav/responses.tsv",
            "simulation/ground_truth.csv",
        ):
            assert (root / file).samefile(roots["standard"] / file)
        offset = 1000 * build.cortex.WORLDS.index(world)
        assert offset <= nsd.betas(root, "subj01")[:, 0].min() < offset + 1
    with pytest.raises(ValueError, match="No world 'inverted'. There are: standard, swapped"):
        build.open_tree("inverted")


@pytest.mark.usefixtures("fakes")
def test_links_become_copies_where_there_are_none(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("no hard links here")

    monkeypatch.setattr(build.Path, "hardlink_to", refuse)
    root = build.open_tree(cache=tmp_path, sizes=SIZES)
    assert nsd.images(root, [3]).shape == (1, 3, 8, 8)


@pytest.mark.usefixtures("fakes")
def test_seed_and_sizes_make_other_trees_and_the_same_seed_the_same(tmp_path):
    first = build.open_tree(seed=1, cache=tmp_path / "a", sizes=SIZES)
    again = build.open_tree(seed=1, cache=tmp_path / "b", sizes=SIZES)
    other = build.open_tree(seed=2, cache=tmp_path / "a", sizes=SIZES)
    assert first.name == again.name and first.name != other.name
    for path in first.rglob("*"):
        if path.suffix in (".mgh", ".csv", ".tsv", ".hdf5"):
            assert path.read_bytes() == (again / path.relative_to(first)).read_bytes()
    trials = [nsd.trials(root, "subj01")["image_id"].tolist() for root in (first, other)]
    assert trials[0] != trials[1]
    larger = build.open_tree(seed=1, cache=tmp_path / "a", sizes=dataclasses.replace(SIZES, n_held_back=6))
    assert larger.name != first.name


def fill(tree, steps, log, pause=0.0):
    (tree / "half").touch()
    with log.open("a") as file:
        file.write("begun\n" if not steps.is_done("first") else "continued\n")
    steps.finish("first", [tree / "half"])
    (log.parent / "waits").touch()
    time.sleep(pause)
    (tree / "whole").touch()


def test_a_tree_is_built_once(fakes, tmp_path):
    first = build.open_tree(cache=tmp_path, sizes=SIZES)
    before = {path: path.stat().st_mtime_ns for path in first.rglob("*")}
    assert build.open_tree(cache=tmp_path, sizes=SIZES) == first
    assert {path: path.stat().st_mtime_ns for path in first.rglob("*")} == before
    assert fakes == [42, 5]


def test_a_build_that_fails_leaves_no_tree_and_the_next_succeeds(fakes, tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("no power")

    monkeypatch.setattr(build.cortex, "Cortex", fail)
    with pytest.raises(RuntimeError, match="no power"):
        build.open_tree(cache=tmp_path, sizes=SIZES)
    assert not [p for p in tmp_path.glob("mini-standard*") if re.search(r"-[0-9a-f]{12}$", p.name)]
    monkeypatch.setattr(build.cortex, "Cortex", FakeCortex)
    root = build.open_tree(cache=tmp_path, sizes=SIZES)
    assert nsd.betas(root, "subj01").shape == (72, N_VERTICES)
    assert fakes == [42, 5]  # the pictures of the first try were kept
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.skipif(os.name != "posix", reason="processes are forked")
def test_two_processes_at_once_build_one_tree(tmp_path):
    folder, log = tmp_path / "tree", tmp_path / "log"
    context = multiprocessing.get_context("fork")
    job = functools.partial(fill, log=log, pause=0.3)
    processes = [context.Process(target=unfinished.build_once, args=(folder, job)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(20)
    assert [process.exitcode for process in processes] == [0, 0]
    assert (folder / "whole").exists() and log.read_text() == "begun\n"


@pytest.mark.skipif(os.name != "posix", reason="processes are forked")
def test_a_killed_build_goes_on(tmp_path):
    folder, log = tmp_path / "tree", tmp_path / "log"
    context = multiprocessing.get_context("fork")
    job = functools.partial(fill, log=log, pause=60)
    process = context.Process(target=unfinished.build_once, args=(folder, job))
    process.start()
    for _ in range(1000):
        if (tmp_path / "waits").exists():
            break
        time.sleep(0.01)
    process.kill()
    process.join(20)
    assert log.exists() and not folder.exists()
    unfinished.build_once(folder, functools.partial(fill, log=log))
    assert sorted(path.name for path in folder.iterdir()) == ["half", "whole"]
    assert log.read_text() == "begun\ncontinued\n" and not list(tmp_path.glob("*.partial"))


def test_other_versions_of_packages_begin_again(tmp_path, monkeypatch):
    folder, log = tmp_path / "tree", tmp_path / "log"
    with pytest.raises(TypeError):
        unfinished.build_once(folder, functools.partial(fill, log=log, pause="ended"))
    monkeypatch.setattr(unfinished, "version", lambda name: f"99 of {name}")
    unfinished.build_once(folder, functools.partial(fill, log=log))
    assert log.read_text() == "begun\nbegun\n"


def test_a_disk_without_room_is_refused_before_the_first_picture(fakes, tmp_path, monkeypatch):
    free = SimpleNamespace(free=int(1.2e9))
    monkeypatch.setattr("latentcortex.store.writing.shutil.disk_usage", lambda _: free)
    message = r"mini-standard-seed0-\w+ needs 1\.8 GB, but 1\.2 GB are free.*LATENTCORTEX_CACHE"
    with pytest.raises(OSError, match=message):
        build.open_tree(cache=tmp_path)
    assert not fakes


def test_whole_numbers_of_any_kind_name_the_same_tree(fakes, tmp_path):
    kinds = {
        name: np.int64(value) for name, value in dataclasses.asdict(SIZES).items() if name != "n_sessions"
    }
    sizes = build.Sizes(n_sessions=np.array([3, 2]), **kinds)
    assert sizes == SIZES
    first = build.open_tree(seed=3, cache=tmp_path, sizes=SIZES)
    assert build.open_tree(seed=np.int64(3), cache=tmp_path, sizes=sizes) == first
    assert fakes == [42, 5]
    for wrong in (1.5, -1, "0", None):
        with pytest.raises(ValueError, match="seed must be a whole number from 0"):
            build.open_tree(seed=wrong, cache=tmp_path, sizes=SIZES)
    with pytest.raises(ValueError, match=r"n_own: sizes are whole numbers, got 1\.5"):
        build.Sizes(n_own=1.5)


def test_writers_refuse_what_does_not_fit(tmp_path):
    with pytest.raises(ValueError, match="uint8"):
        write_shown.write_stimuli(tmp_path, np.zeros((2, 8, 8, 3)))
    subjectim = np.array([[0, 1, 2], [1, 0, 3]])
    with pytest.raises(ValueError, match="first 2 images must be the same"):
        write_shown.write_design(tmp_path, [0, 1, 2], np.ones((1, 1, 3), bool), subjectim, 2)
    assert not list(tmp_path.rglob("*.mat"))
