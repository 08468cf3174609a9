"""NSD is fetched from a server that has its names and shapes, and read like a tree that was always there."""

import contextlib
import shutil
import struct
import zipfile

import h5py
import nibabel
import numpy as np
import pytest
from loopback import serving

from latentcortex import command, nsd
from latentcortex.nsd import download, files, images_by_range, surfaces
from latentcortex.store import downloads, transfer, writing
from latentcortex.store.remote_bytes import TransferError

QUICK = {"pause": 0.002, "timeout": 2.0, "quiet": True, "connections": 4}
STIMULI = "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"
N_FIRST = 42  # of 162 vertices, as in an icosahedron divided once and twice


def with_layout(path, layout):
    """Store the images of a tree in another way; return the file's bytes."""
    with h5py.File(path) as file:
        images = file["imgBrick"][:]
    with h5py.File(path.with_name("other.hdf5"), "w") as file:
        file.create_dataset("imgBrick", data=images, **layout)
    return path.with_name("other.hdf5").read_bytes()


LAYOUTS = {
    "contiguous": {},
    "chunked": {"chunks": (1, 12, 10, 3)},
    "packed": {"chunks": (1, 12, 10, 3), "compression": "gzip"},
    "in slices": {"chunks": (4, 12, 10, 3)},
}


@pytest.fixture
def bucket(tiny_tree, tmp_path, monkeypatch):
    """Serve the tiny tree as NSD's bucket, and COCO's archive; sizes are those of the tiny tree."""
    sizes = {"N_TRIALS": 40, "N_VERTICES": 162, "N_FIRST": N_FIRST, "SESSIONS": {1: 3, 2: 2}}
    for name, value in (sizes | {"N_IMAGES": 72, "IMAGE_BYTES": 360}).items():
        monkeypatch.setattr(files, name, value)
    monkeypatch.setitem(surfaces.SPACES, "fsaverage5", surfaces.Surface(N_FIRST))
    paths = [path for path in tiny_tree.rglob("*") if path.is_file()]
    content = {path.relative_to(tiny_tree).as_posix(): path.read_bytes() for path in paths}
    source = shutil.copy(tiny_tree / STIMULI, tmp_path / "images.hdf5")
    content[STIMULI] = with_layout(source, LAYOUTS["contiguous"])
    with zipfile.ZipFile(tmp_path / "coco.zip", "w") as archive:
        for path in [path for path in content if path.startswith("annotations/")]:
            archive.writestr(path, content.pop(path))
    content["coco.zip"] = (tmp_path / "coco.zip").read_bytes()
    with serving(content) as server:
        coco = transfer.Remote(server.url("coco.zip"), "annotations/annotations_trainval2017.zip")
        monkeypatch.setattr(files, "COCO", coco)
        server.source = source
        yield server


def run(server, root, accept_terms=True, dry_run=False, **chosen):
    choice = download.Choice(**{"subjects": (1,), "mirror": server.url(""), **chosen})
    return download.download_nsd(choice, root, accept_terms, dry_run, **QUICK)


def test_plans_are_exact_where_sizes_are_known():
    listed = files.files([1], 8, "fsaverage5")
    betas = [remote for remote in listed if "betas_session" in remote.path]
    assert len(betas) == 16
    assert sum(remote.size for remote in betas) == 16 * (284 + 750 * 40_968)
    assert betas[0].ranges[:3] == ((0, 284), (284, 40_968), (284 + 4 * 163_842, 40_968))
    assert betas[0].ranges[-1][0] + 4 * 163_842 == betas[0].about
    whole = [r for r in files.files([2, 3], 40, "fsaverage") if "betas_session" in r.path]
    assert len(whole) == 2 * (40 + 32)
    assert whole[0].size == 284 + 4 * 163_842 * 750
    (volume,) = [r for r in files.files([1], 1, "func1pt8mm") if "betas_session" in r.path]
    assert volume.size == 81 * 104 * 83 * 750 * 2
    assert volume.path.endswith("subj01/func1pt8mm/betas_fithrf_GLMdenoise_RR/betas_session01.hdf5")
    assert files.stimuli().size == pytest.approx(39.6e9, rel=0.01)
    assert len({remote.path for remote in files.files(range(1, 9))}) == len(files.files(range(1, 9)))
    assert files.most_images([1, 3], 8) == 12_000
    assert files.most_images([1, 3]) == 20_000


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (([9],), "subjects from 1 to 8"),
        (([],), "subjects from 1 to 8"),
        (([1, 1],), "different subjects"),
        (([1], 0), "at least 1"),
        (([1], 1, "MNI"), "fsaverage, fsaverage5, func1pt8mm"),
    ],
)
def test_what_does_not_exist_is_named(arguments, match):
    with pytest.raises(ValueError, match=match):
        files.files(*arguments)


def test_without_consent_nothing_is_fetched_and_all_is_said(bucket, tmp_path, capsys):
    root = tmp_path / "tree"
    assert run(bucket, root, accept_terms=False, chapters=(6,)) == downloads.NO_CONSENT
    told = capsys.readouterr().out
    for text in (
        "signs the form",
        "may not be passed on",
        "To fetch: ",
        "Free on the disk",
        "--accept-terms",
    ):
        assert text in told
    assert "120 images, if the server gives them one by one" in told
    assert run(bucket, root, dry_run=True) == 0
    assert "lh.betas_session03.mgh" in capsys.readouterr().out
    assert not bucket.requests
    assert not root.exists()


@pytest.fixture
def fetched(bucket, tmp_path):
    root = tmp_path / "tree"
    assert run(bucket, root, subjects=(1, 2), chapters=(6,)) == 0
    return root


def test_what_was_fetched_reads_like_the_whole_tree(fetched, tiny_tree):
    for subject in ("subj01", "subj02"):
        ids = nsd.trials(fetched, subject)["image_id"].to_numpy()
        for reader in (nsd.betas, nsd.ncsnr):
            there, expected = (reader(root, subject, "fsaverage5") for root in (fetched, tiny_tree))
            np.testing.assert_array_equal(there, expected)
        assert there.shape == (2 * N_FIRST,)
        np.testing.assert_array_equal(nsd.images(fetched, ids), nsd.images(tiny_tree, ids))
        assert nsd.captions(fetched, ids) == nsd.captions(tiny_tree, ids)
    masks = [nsd.roi_mask(root, "streams", "ventral", "fsaverage5") for root in (fetched, tiny_tree)]
    np.testing.assert_array_equal(*masks)
    path = fetched / f"nsddata_betas/ppdata/subj01/fsaverage/{files.BETAS}/lh.betas_session01.mgh"
    image = nibabel.load(path)
    assert image.shape == (N_FIRST, 1, 1, 40)
    assert path.stat().st_size == 284 + 4 * 40 * N_FIRST
    assert not list(fetched.rglob("*.part*"))


def test_a_second_run_asks_nothing(fetched, bucket):
    bucket.requests.clear()
    assert run(bucket, fetched, subjects=(1, 2), chapters=(6,)) == 0
    asked = {request["path"] for request in bucket.requests}
    # What the server does not have is asked for again: it may have come.
    assert not asked & set(bucket.files)


def test_more_sessions_add_their_images(bucket, tmp_path, tiny_tree):
    root = tmp_path / "tree"
    assert run(bucket, root, sessions=1, images="seen") == 0
    first = images_by_range.images_there(root / STIMULI)
    ids = np.unique(nsd.trials(root, "subj01", 1)["image_id"])
    np.testing.assert_array_equal(first, ids)
    absent = np.setdiff1d(np.arange(60), first)[0]
    with pytest.raises(ValueError, match=f"Image {absent} .* black"):
        nsd.images(root, [absent])
    bucket.requests.clear()
    assert run(bucket, root, images="seen") == 0
    ids = np.unique(nsd.trials(root, "subj01")["image_id"])
    np.testing.assert_array_equal(images_by_range.images_there(root / STIMULI), ids)
    np.testing.assert_array_equal(nsd.images(root, ids), nsd.images(tiny_tree, ids))
    bodies = [r for r in bucket.requests if r["path"] == STIMULI and r["sent"] == 360]
    assert len(bodies) == len(ids) - len(first)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_images_come_one_by_one_where_the_layout_allows_it(bucket, tmp_path, tiny_tree, layout, capsys):
    bucket.files[STIMULI] = with_layout(bucket.source, LAYOUTS[layout])
    root = tmp_path / "tree"
    assert run(bucket, root, sessions=1, images="seen") == 0
    by_one = layout in ("contiguous", "chunked")
    assert ("is fetched whole" in capsys.readouterr().out) is not by_one
    there = images_by_range.images_there(root / STIMULI)
    assert (there is not None) is by_one
    ids = np.unique(nsd.trials(root, "subj01", 1)["image_id"])
    np.testing.assert_array_equal(nsd.images(root, ids), nsd.images(tiny_tree, ids))


def test_a_server_without_ranges_gives_whole_files_after_saying_how_large(
    bucket, tmp_path, tiny_tree, capsys
):
    bucket.ranges = False
    root = tmp_path / "tree"
    assert run(bucket, root, sessions=1, images="seen") == 0
    told = capsys.readouterr().out
    assert f"Surface files are fetched whole: {2 * (284 + 4 * 162 * 40) / 1e3:.1f} kB" in told
    assert "The file of all images is fetched whole" in told
    there, expected = (nsd.betas(tree, "subj01", "fsaverage5", [1]) for tree in (root, tiny_tree))
    np.testing.assert_array_equal(there, expected)
    np.testing.assert_array_equal(nsd.images(root, [0, 5]), nsd.images(tiny_tree, [0, 5]))


def test_refusals_are_explained(bucket, tmp_path, capsys):
    bucket.fault = lambda *_: 403
    assert run(bucket, tmp_path / "tree", chapters=(1,)) == 1
    told = capsys.readouterr().out
    assert "fill in the form" in told
    assert "lh.betas_session01.mgh: " in told


def test_interruptions_in_the_middle_end_in_the_same_tree(bucket, tmp_path, tiny_tree):
    root = tmp_path / "tree"
    drops = iter([None, "drop", None, "reset", "drop", 503] * 40)
    bucket.fault = lambda *_: next(drops, None)
    for _ in range(20):
        with contextlib.suppress(TransferError):
            if run(bucket, root, chapters=(6,)) == 0:
                break
    there, expected = (nsd.betas(tree, "subj01", "fsaverage5") for tree in (root, tiny_tree))
    np.testing.assert_array_equal(there, expected)


def test_another_header_than_nsds_is_refused_before_anything_is_fetched(bucket, tmp_path):
    path = f"nsddata_betas/ppdata/subj01/fsaverage/{files.BETAS}/rh.betas_session02.mgh"
    content = bucket.files[path]
    bucket.files[path] = content[:20] + struct.pack(">i", 1) + content[24:]  # integers
    with pytest.raises(TransferError, match="rh.betas_session02.mgh has the header .* Fetch the space fsav"):
        run(bucket, tmp_path / "tree")
    assert not list((tmp_path / "tree").rglob("*.mgh"))


def test_a_full_disk_is_said_before_anything_is_fetched(bucket, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(writing.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OSError, match="1.0 kB are free"):
        run(bucket, tmp_path / "tree")
    assert not bucket.requests


class SurfaceFile:
    """A file of 163,842 vertices in 750 trials, computed as it is asked for: trial + vertex / 2^18."""

    def __len__(self):
        return 284 + 4 * 163_842 * 750

    def __getitem__(self, wanted):
        start, stop, _ = wanted.indices(len(self))
        first, last = max(0, start - 284) // 4, max(0, stop - 284 + 3) // 4
        trial, vertex = np.divmod(np.arange(first, last), 163_842)
        values = (trial + vertex / 2**18).astype(">f4").tobytes()
        header = struct.pack(">6i", 1, 163_842, 1, 1, 750, 3).ljust(284, b"\0")
        content = header + values if start < 284 else values
        return content[start if start < 284 else (start - 284) % 4 :][: stop - start]


def test_a_file_of_real_size_is_cut_to_its_first_vertices(tmp_path):
    left, right = (r for r in files.files([1], 1) if "betas_session" in r.path)
    with serving({left.path: SurfaceFile()}) as server:
        server.etags = {left.path: '"1"'}
        remotes = download._with_headers([download._at(left, server.url(""))], tmp_path, QUICK)
        (outcome,) = transfer.fetch(remotes, tmp_path, **QUICK)
        sent = sum(request["sent"] for request in server.requests)
    assert outcome.state == "fetched"
    assert sent == 284 + 750 * 40_968
    shutil.copy(tmp_path / left.path, tmp_path / right.path)
    reader, betas = surfaces.SPACES["fsaverage5"], np.empty((750, 2 * 10_242), np.float32)
    paths = reader.find_session((tmp_path / left.path).parent, 1)
    assert reader.shape_of_session(paths) == (20_484,)
    reader.read_session(paths, 750, np.ones(20_484, bool), betas)
    expected = np.arange(750)[:, None] + np.arange(10_242) / 2**18
    np.testing.assert_allclose(betas, np.hstack([expected, expected]), rtol=1e-6)


def test_the_command_downloads_and_its_errors_are_one_line(bucket, tmp_path, capsys):
    arguments = ["download", "nsd", str(tmp_path / "tree"), "--sessions", "1", "--mirror", bucket.url("")]
    assert command.main(arguments) == downloads.NO_CONSENT
    assert command.main([*arguments, "--accept-terms", "--connections", "2"]) == 0
    assert nsd.sessions(tmp_path / "tree", "subj01", "fsaverage5") == [1]
    assert command.main([*arguments, "--chapters", "99"]) == 1
    assert "latentcortex download: Expected chapters" in capsys.readouterr().err
    assert command.main([*arguments, "--chapters", "15"]) == 1
    assert "Chapter 15 reads BOLD5000, not NSD" in capsys.readouterr().err
    assert command.main(["download", "coco-captions", str(tmp_path / "tree"), "--accept-terms"]) == 0
    assert sorted(path.name for path in (tmp_path / "tree/annotations").glob("*.json")) == [
        "captions_train2017.json",
        "captions_val2017.json",
    ]
