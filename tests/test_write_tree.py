"""Arrays of any study become a tree that NSD's readers return unchanged."""

import dataclasses
import json
import re
import shutil
import time

import numpy as np
import pandas as pd
import pytest

from latentcortex import nsd
from latentcortex.mini import experiment
from latentcortex.nsd import write_measured, write_shown

ABOUT = {"name": "made-up", "source": "this test", "licence": "CC0"}
DESIGN = "nsddata/experiments/nsd/nsd_expdesign.mat"


def write_all(root):
    """Write one file of each kind with each function that writes one."""
    rng = np.random.default_rng(3)
    order = experiment.order_trials(12, 3, rng)
    pattern = experiment.stimulus_pattern(2, 3, 9, 18, rng)
    ids = rng.permutation(20)
    subjectim = np.array([np.r_[ids[:4], ids[4:12]], np.r_[ids[:4], ids[12:20]]])
    log = experiment.simulate_responses(1, order, subjectim[0], pattern, rng)
    coco_ids, splits = np.arange(20) + 100, ["train2017"] * 15 + ["val2017"] * 5
    write_shown.write_design(root, order, pattern, subjectim, 4)
    write_shown.write_design(root, order, pattern[:1])
    write_shown.write_stimuli(root, rng.integers(0, 256, (20, 6, 5, 3), dtype=np.uint8))
    write_shown.write_captions(root, [[f"image {k}", "again"] for k in range(20)], coco_ids, splits)
    write_shown.write_stim_info(root, coco_ids, splits, order, subjectim, 4)
    write_shown.write_behaviour(root, "subj01", log)
    write_measured.write_betas_session(root, "subj01", 1, rng.normal(size=(18, 8)))
    write_measured.write_betas_session(root, "subj01", "nsdsynthetic", rng.normal(size=(18, 8)))
    write_measured.write_ncsnr(root, "subj01", rng.random(8))
    betas, affine = rng.normal(0, 60, (18, 2, 3, 4)), np.diag([1.8, 1.8, 1.8, 1])
    write_measured.write_volume_betas_session(root, "subj01", 1, betas, affine)
    write_measured.write_volume_betas_session(root, "subj01", 2, betas, affine, "func1mm", "nii.gz")
    write_measured.write_volume(root, "subj01", "ncsnr", rng.random((2, 3, 4)), affine)
    write_measured.write_volume(
        root, "subj01", "roi/streams", rng.integers(-1, 8, (2, 3, 4)).astype(np.int16)
    )
    write_measured.write_rois(root, "streams", rng.integers(0, 2, 8), {0: "Unknown", 1: "early"})
    write_measured.write_rois(root, "floc-faces", rng.integers(0, 2, 8), {0: "Unknown", 1: "FFA-1"}, "subj01")


def test_the_same_arrays_give_the_same_bytes_at_any_time(tmp_path, monkeypatch):
    write_all(tmp_path / "first")
    # gzip and MATLAB's format have a place for the time.
    monkeypatch.setattr(time, "time", lambda: 1e9)
    monkeypatch.setattr(time, "asctime", lambda *_: "Sun Sep  9 01:46:40 2001")
    write_all(tmp_path / "second")
    first, second = (
        {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*.*")}
        for root in (tmp_path / "first", tmp_path / "second")
    )
    assert len(first) == 23 and first.keys() == second.keys()
    assert [file for file in first if first[file] != second[file]] == []


def make_up(rng):
    """Return two unequal subjects: orders, sessions, voxels and images differ; one has a hole."""
    first = nsd.Recording(
        image_ids=np.array([5, 0, 7, 1, 0, 5, 7, 7, 2, 1, 5]),
        sessions=np.array([1, 1, 1, 1, 2, 2, 2, 4, 4, 4, 4]),
        runs=np.array([1, 1, 1, 2, 1, 1, 2, 1, 1, 1, 1]),
        betas=rng.normal(0, 3, (11, 12)).astype(np.float32),
        regions={
            "streams": {"early": np.arange(12) < 5, "ventral": np.arange(12) >= 7},
            "theirs": {"LOC": np.arange(12) % 2 == 1},
        },
        ncsnr=rng.random(12),
    )
    mask = np.zeros((4, 3, 5), bool)
    mask.ravel()[rng.choice(60, 15, replace=False)] = True
    second = nsd.Recording(
        image_ids=np.array([1, 0, 0, 9]),
        betas=rng.normal(0, 3, (4, 15)).astype(np.float32),
        regions={"theirs": {"PPA": np.arange(15) > 9, "LOC": np.arange(15) < 4}},
        mask=mask,
        affine=np.diag([1.8, 1.8, 1.8, 1]),
    )
    return {"subj01": first, "subj03": second}


def image_set(rng, **changes):
    values = {
        "names": [f"photo_{k}.jpg" for k in range(10)],
        "images": rng.integers(0, 256, (10, 6, 5, 3), dtype=np.uint8),
        "captions": [[f"caption {j} of {k}" for j in range(1 + k % 3)] for k in range(10)],
    }
    return nsd.ImageSet(**(values | changes))


@pytest.fixture
def made_up(rng):
    return make_up(rng)


@pytest.fixture
def tree(made_up, rng, tmp_path):
    return nsd.write_tree(tmp_path / "tree", made_up, image_set(rng), [0, 7, 8], ABOUT)


def test_every_planted_value_comes_back(tree, made_up, tmp_path):
    assert nsd.subjects(tree) == ["subj01", "subj03"]
    for subject, planted in made_up.items():
        table = nsd.trials(tree, subject)
        np.testing.assert_array_equal(table["image_id"], planted.image_ids)
        np.testing.assert_array_equal(table["shared"], np.isin(planted.image_ids, [0, 7, 8]))
        assert table[["correct", "reaction_time"]].isna().all(axis=None)
        betas = nsd.betas(
            tree, subject, "func1pt8mm", mask=nsd.roi(tree, "theirs", "func1pt8mm", subject) >= 0
        )
        np.testing.assert_allclose(betas, planted.betas, atol=0.5 / 300 + 1e-6)
    first = nsd.trials(tree, "subj01")
    assert first["session"].tolist() == made_up["subj01"].sessions.tolist()
    assert first["run"].tolist() == made_up["subj01"].runs.tolist()
    assert first["repeat"].tolist() == [0, 0, 0, 0, 1, 1, 1, 2, 0, 1, 2]
    assert nsd.sessions(tree, "subj01", "func1pt8mm") == [1, 2, 4]
    assert nsd.trials(tree, "subj01", sessions=[4])["image_id"].tolist() == [7, 2, 1, 5]
    ncsnr = nsd.ncsnr(tree, "subj01", "func1pt8mm")
    np.testing.assert_allclose(ncsnr[:, 0, 0], made_up["subj01"].ncsnr, rtol=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == ["tree"]


def test_regions_keep_names_and_places(tree, made_up):
    for subject, planted in made_up.items():
        where = nsd.roi(tree, "theirs", "func1pt8mm", subject) >= 0  # -1 outside of what was measured
        if planted.mask is not None:
            np.testing.assert_array_equal(where, planted.mask)
        for name, marked in planted.regions["theirs"].items():
            found = nsd.roi_mask(tree, "theirs", name, "func1pt8mm", subject)
            np.testing.assert_array_equal(found[where], marked)
    names = nsd.roi_names(tree, "streams")
    assert dict(zip(names["name"], names["code"], strict=True)) == {"Unknown": 0, "early": 1, "ventral": 5}
    early = nsd.roi_mask(tree, "streams", "early", "func1pt8mm", "subj01")
    assert early.shape == (12, 1, 1)
    np.testing.assert_array_equal(early.ravel(), np.arange(12) < 5)
    with pytest.raises(ValueError, match="subj01 has no such region"):
        nsd.roi_mask(tree, "theirs", "PPA", "func1pt8mm", "subj01")


def test_images_captions_and_names_come_back(tree):
    images = image_set(np.random.default_rng(0)).images  # the fixture draws betas first
    assert nsd.images(tree, [9, 0]).shape == (2, 3, 6, 5)
    assert images.shape == (10, 6, 5, 3)
    assert nsd.captions(tree, [4, 0]) == [["caption 0 of 4", "caption 1 of 4"], ["caption 0 of 0"]]
    assert nsd.read_image_names(tree)[7] == "photo_7.jpg"


def test_pixels_come_back_also_one_by_one(made_up, rng, tmp_path):
    class OneByOne:
        def __len__(self):
            return len(pixels)

        def __iter__(self):
            return iter(pixels)

    pixels = rng.integers(0, 256, (10, 6, 5, 3), dtype=np.uint8)
    for name, images in {"whole": pixels, "stream": OneByOne()}.items():
        root = nsd.write_tree(tmp_path / name, made_up, image_set(rng, images=images), [0], ABOUT)
        found = nsd.images(root, [3, 1, 3])
        np.testing.assert_array_equal(np.rint(found * 255), pixels[[3, 1, 3]].transpose(0, 3, 1, 2))


def test_training_and_test_sets_are_ready_for_analysis(tree):
    train, test = nsd.image_responses(tree, "subj01", "func1pt8mm", sessions=[1, 4])
    assert (train[1].tolist(), train[2].tolist()) == ([1, 2, 5], [2, 1, 2])
    assert (test[1].tolist(), test[2].tolist()) == ([0, 7], [1, 2])


def test_two_writings_have_one_identity_and_other_data_another(made_up, rng, tmp_path):
    pictures = image_set(rng)
    roots = [nsd.write_tree(tmp_path / name, made_up, pictures, [0], ABOUT) for name in ("a", "b")]
    changed = dataclasses.replace(made_up["subj01"], image_ids=np.array([5, 0, 7, 1, 0, 5, 7, 7, 2, 1, 1]))
    roots.append(nsd.write_tree(tmp_path / "c", made_up | {"subj01": changed}, pictures, [0], ABOUT))
    first, second, third = (nsd.identity(root, ("subj01",), "func1pt8mm") for root in roots)
    assert re.fullmatch("made-up-[0-9a-f]{12}", first)
    assert first == second != third


def test_without_images_all_but_pixels_works(made_up, rng, tmp_path):
    pictures = image_set(rng, images=None, why_none="Ask their authors.")
    root = nsd.write_tree(tmp_path / "tree", made_up, pictures, [0], ABOUT)
    assert nsd.captions(root, [0]) == [["caption 0 of 0"]]
    assert nsd.identity(root, ("subj01", "subj03"), "func1pt8mm").startswith("made-up-")
    with pytest.raises(FileNotFoundError, match=r"has no images: Ask their authors\."):
        nsd.images(root, [0])


def test_a_voxel_without_values_in_a_session_becomes_zero_and_is_counted(made_up, rng, tmp_path):
    betas = made_up["subj01"].betas.copy()
    betas[4:7, 3] = np.nan
    made_up["subj01"] = dataclasses.replace(made_up["subj01"], betas=betas)
    root = nsd.write_tree(tmp_path / "tree", made_up, image_set(rng), [0], ABOUT)
    found = nsd.betas(root, "subj01", "func1pt8mm")
    assert not found[4:7, 3].any()
    np.testing.assert_allclose(found[:4], betas[:4], atol=0.5 / 300 + 1e-6)
    changed = json.loads((root / "provenance.json").read_text())["changed"]
    assert changed == {"session 2 of subj01": {"voxels_without_values": 1, "values_cut": 0}}


def test_a_surface_is_written_as_floats(made_up, rng, tmp_path):
    surface = {"subj02": dataclasses.replace(made_up["subj01"])}
    root = nsd.write_tree(tmp_path / "tree", surface, image_set(rng), [0], ABOUT, "fsaverage")
    np.testing.assert_array_equal(nsd.betas(root, "subj02"), surface["subj02"].betas)
    np.testing.assert_array_equal(nsd.roi_mask(root, "streams", "early"), np.arange(12) < 5)


def test_a_killed_run_goes_on_with_the_next_session(made_up, rng, tmp_path):
    asked, first = [], made_up["subj01"]

    def betas(session):
        asked.append(session)
        if session == 4 and len(asked) < 5:
            raise KeyboardInterrupt
        return first.betas[first.sessions == session]

    mask = np.ones((12, 1, 1), bool)
    lazy = {"subj01": dataclasses.replace(first, betas=betas, mask=mask)}
    arguments = lazy, image_set(rng), [0], ABOUT
    with pytest.raises(KeyboardInterrupt):
        nsd.write_tree(tmp_path / "tree", *arguments)
    assert not (tmp_path / "tree").exists()
    asked.append("again")
    root = nsd.write_tree(tmp_path / "tree", *arguments)
    assert asked == [1, 2, 4, "again", 4]
    np.testing.assert_allclose(nsd.betas(root, "subj01", "func1pt8mm"), first.betas, atol=0.5 / 300 + 1e-6)


@pytest.mark.parametrize("before", [None, (6, 5)])
def test_a_killed_run_does_not_go_on_with_other_images(made_up, rng, tmp_path, before):
    first = made_up["subj01"]

    def killed(session):
        if session == 4:
            raise KeyboardInterrupt
        return first.betas[first.sessions == session]

    mask, why = np.ones((12, 1, 1), bool), {"why_none": "Ask for them."}
    larger = list(
        rng.integers(1, 256, (10, 9, 8, 3), dtype=np.uint8)
    )  # one by one, as an importer gives them
    images = None if before is None else rng.integers(1, 256, (10, *before, 3), dtype=np.uint8)
    lazy = dataclasses.replace(first, betas=killed, mask=mask)
    with pytest.raises(KeyboardInterrupt):
        nsd.write_tree(tmp_path / "tree", {"subj01": lazy}, image_set(rng, images=images, **why), [0], ABOUT)
    lazy = dataclasses.replace(lazy, betas=lambda session: first.betas[first.sessions == session])
    root = nsd.write_tree(
        tmp_path / "tree", {"subj01": lazy}, image_set(rng, images=larger, **why), [0], ABOUT
    )
    assert nsd.images(root, [3]).shape == (1, 3, 9, 8)


def replaced(**changes):
    return lambda recording: dataclasses.replace(recording, **changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (replaced(image_ids=np.arange(11)), "from 0 to 10"),
        (replaced(image_ids=np.arange(9)), "9 image_ids, but 11 rows"),
        (replaced(sessions=np.r_[2, np.ones(10, int)]), "order of sessions and runs, but trial 2 is"),
        (replaced(betas=np.full((11, 12), 0.01)), "largest number is 0.01"),
        (replaced(betas=np.full((11, 12), 900.0)), "beyond 109"),
        (replaced(betas=np.where(np.arange(12) + np.arange(11)[:, None], 1, np.nan)), "trial 1, voxel 1"),
        (replaced(ncsnr=np.full(12, -1.0)), "12 ratios below 0"),
        (replaced(regions={"a": {"b": np.ones(12, bool), "c": np.ones(12, bool)}}), "overlaps.*12 voxels"),
        (replaced(regions={"a": {"b": np.ones(11, bool)}}), r"b of a of subj01 must be bool \(12,\)"),
        (replaced(mask=np.ones((2, 2, 2), bool)), "marks 8 voxels, but betas have 12"),
    ],
)
def test_contradictions_are_refused_by_name(made_up, rng, tmp_path, change, message):
    made_up["subj01"] = change(made_up["subj01"])
    with pytest.raises(ValueError, match=message):
        nsd.write_tree(tmp_path / "tree", made_up, image_set(rng), [0], ABOUT)
    assert not (tmp_path / "tree").exists()


def test_images_and_arguments_that_contradict_are_refused(made_up, rng, tmp_path):
    root = tmp_path / "tree"
    wrong = [
        ({"names": ["a"] * 10}, "each image once"),
        ({"captions": [["a"]]}, "10 names of images, but 1 captions"),
        ({"images": None}, "why_none"),
        ({"images": rng.random((10, 4, 4, 3))}, "as uint8"),
        ({"images": [np.ones((4, 4 + k // 9, 3), np.uint8) for k in range(10)]}, "image 9 has"),
    ]
    for changes, message in wrong:
        with pytest.raises(ValueError, match=message):
            nsd.write_tree(root, made_up, image_set(rng, **changes), [0], ABOUT)
    for shared, about, message in [
        ([8], ABOUT, "No subject saw any"),
        ([10], ABOUT, "shared must name"),
        ([0], {"name": "a", "source": "b"}, "lacks licence"),
        ([0], ABOUT | {"name": "A B"}, "lower-case"),
    ]:
        with pytest.raises(ValueError, match=message):
            nsd.write_tree(root, made_up, image_set(rng), shared, about)
    root.mkdir()
    (root / "notes.txt").touch()
    with pytest.raises(FileExistsError, match="there already"):
        nsd.write_tree(root, made_up, image_set(rng), [0], ABOUT)


def test_a_log_that_contradicts_its_own_order_is_refused(tree):
    shutil.copy(tree / DESIGN.replace(".mat", "_subj03.mat"), tree / DESIGN.replace(".mat", "_subj01.mat"))
    with pytest.raises(ValueError, match="subj01"):
        nsd.trials(tree, "subj01")


# --- the table of ids -----------------------------------------------------------------------------


def test_the_table_of_ids_agrees_with_the_design(tiny_tree, tiny_truth):
    table = nsd.image_table(tiny_tree)
    assert table.index.tolist() == list(range(72))
    np.testing.assert_array_equal(table["id_from_1"], table.index + 1)
    shared = np.sort(tiny_truth.shared)
    np.testing.assert_array_equal(table.index[table["shared"] >= 0], shared)
    assert table["name_nsd"][shared[2]] == f"shared0003_nsd{shared[2] + 1:05d}"
    own = tiny_truth.subjectim[1][20]
    assert table["name_nsd"][own] == f"nsd{own + 1:05d}"
    assert table["subj02_10k"][own] == 20
    assert table["subj01_10k"][own] == -1
    # Another route to Brain-Diffuser's order: the log of a subject, trial by trial.
    log = pd.read_csv(tiny_tree / "nsddata/ppdata/subj01/behav/responses.tsv", sep="\t")
    shown = [k - 1 for k in log["73KID"] if k - 1 in set(shared)]
    in_order = table["brain_diffuser"][table["brain_diffuser"] >= 0].sort_values().index
    assert in_order.tolist() == list(dict.fromkeys(shown))


def test_the_table_of_an_imported_tree_has_no_common_order(tree):
    table = nsd.image_table(tree)
    assert (table["brain_diffuser"] == -1).all()
    assert table["subj03_10k"][9] >= 0
    assert table["coco_split"].unique().tolist() == ["made-up"]
