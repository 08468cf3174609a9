"""Volumes of both forms, and the first vertices of a large surface, are read like the surface."""

import errno
import gzip
import re
import shutil
import tracemalloc

import h5py
import nibabel
import numpy as np
import pytest

from latentcortex import nsd
from latentcortex.nsd import surfaces, write_measured

SHAPE = (4, 9, 9)
VERSION = "betas_fithrf_GLMdenoise_RR"


def save_nifti(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)


def write_session(root, subject, session, betas, space="func1pt8mm", form="nii.gz"):
    """Write betas (n_trials, nx, ny, nz) as NSD does, by the shortest way."""
    scaled = np.rint(300 * np.moveaxis(betas, 0, -1)).astype(np.int16)
    folder = root / f"nsddata_betas/ppdata/{subject}/{space}/{VERSION}"
    path = folder / f"betas_session{session:02d}.{form}"
    if form == "nii.gz":
        save_nifti(path, scaled)
        return
    folder.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["betas"] = scaled.T


@pytest.fixture(params=[("func1pt8mm", "hdf5"), ("func1mm", "nii.gz")], ids="-".join)
def volume_tree(request, tiny_tree, tiny_truth, tmp_path):
    """The tiny tree with its 324 vertices as voxels; root, space and the folder of the betas."""
    root, (space, form) = shutil.copytree(tiny_tree, tmp_path / "copy"), request.param
    for (subject, session), betas in tiny_truth.betas.items():
        write_session(root, subject, session, betas.reshape(-1, *SHAPE), space, form)
    folder = root / f"nsddata_betas/ppdata/subj01/{space}/{VERSION}"
    ncsnr, labels = tiny_truth.ncsnr.reshape(SHAPE), tiny_truth.labels.reshape(SHAPE)
    save_nifti(folder / "ncsnr.nii.gz", ncsnr.astype(np.float32))
    codes = root / f"nsddata/ppdata/subj01/{space}/roi/streams.nii.gz"
    save_nifti(codes, labels.astype(np.int16))
    return root, space, folder


def test_volumes_hold_what_the_surface_holds_to_a_three_hundredth(volume_tree, tiny_truth, rng):
    root, space, _ = volume_tree
    assert nsd.sessions(root, "subj01", space) == [1, 2, 3]
    mask = rng.random(SHAPE) < 0.3
    betas = nsd.betas(root, "subj01", space, sessions=[3, 1], mask=mask)
    expected = np.concatenate([tiny_truth.betas["subj01", s][:, mask.ravel()] for s in (3, 1)])
    assert betas.dtype == np.float32
    np.testing.assert_allclose(betas, expected, atol=0.51 / 300)
    # The first two sessions, asked for by their number; all voxels.
    betas = nsd.betas(root, "subj01", space, sessions=2)
    expected = np.concatenate([tiny_truth.betas["subj01", s] for s in (1, 2)])
    np.testing.assert_allclose(betas, expected, atol=0.51 / 300)
    with pytest.raises(ValueError, match="marks nothing in"):
        nsd.betas(root, "subj01", space, mask=np.zeros(SHAPE, bool))


def test_ncsnr_and_regions_come_in_the_volumes_shape(volume_tree, tiny_truth):
    root, space, _ = volume_tree
    ncsnr = nsd.ncsnr(root, "subj01", space)
    np.testing.assert_allclose(ncsnr, tiny_truth.ncsnr.reshape(SHAPE), rtol=1e-6)
    mask = nsd.roi_mask(root, "streams", "ventral", space, "subj01")
    np.testing.assert_array_equal(mask, (tiny_truth.labels == 5).reshape(SHAPE))
    train, _ = nsd.image_responses(root, "subj01", space, mask=mask)
    on_surface, _ = nsd.image_responses(root, "subj01", mask=mask.ravel())
    np.testing.assert_allclose(train[0], on_surface[0], atol=0.01)
    np.testing.assert_array_equal(train[1], on_surface[1])
    with pytest.raises(ValueError, match="pass subject="):
        nsd.roi(root, "streams", space)
    with pytest.raises(FileNotFoundError, match="subj02"):
        nsd.roi(root, "streams", space, "subj02")
    with pytest.raises(FileNotFoundError, match="No ncsnr.nii.gz"):
        nsd.ncsnr(root, "subj02", space)


def test_missing_sessions_are_normal_and_named_where_they_are_asked_for(volume_tree):
    root, space, folder = volume_tree
    next(folder.glob("betas_session02.*")).unlink()
    assert nsd.sessions(root, "subj01", space) == [1, 3]
    with pytest.raises(FileNotFoundError, match=r"betas_session02.hdf5 or betas_session02.nii.gz"):
        nsd.betas(root, "subj01", space)
    assert len(nsd.betas(root, "subj01", space, sessions=[1, 3])) == 80
    with pytest.raises(ValueError, match="Expected 1 to 3 sessions of subj01, got 4"):
        nsd.betas(root, "subj01", space, sessions=4)


def test_masks_of_another_shape_are_refused(volume_tree):
    root, space, _ = volume_tree
    expected = re.escape(f"the shape {SHAPE} in {space}: expected a mask")
    for mask in (np.ones(SHAPE[::-1], bool), np.ones(324, bool), np.ones(SHAPE, int)):
        with pytest.raises(ValueError, match=expected):
            nsd.betas(root, "subj01", space, mask=mask)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.97])
def test_truncated_volumes_are_told(volume_tree, share):
    root, space, folder = volume_tree
    path = next(folder.glob("betas_session01.*"))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"betas_session01.* is truncated or damaged"):
        nsd.betas(root, "subj01", space)


@pytest.mark.parametrize(
    ("where", "flip"),
    [(lambda n: slice(n - 8, n - 7), 1), (lambda n: slice(n // 2, n // 2 + 200), 0xFF)],
    ids=("checksum", "numbers"),
)
def test_flipped_bits_in_packed_volumes_are_told(tmp_path, tiny_tree, tiny_truth, where, flip):
    """One bit of the stored checksum, which leaves the packed numbers whole, or many of these."""
    root = shutil.copytree(tiny_tree, tmp_path / "copy")
    write_session(root, "subj01", 1, tiny_truth.betas["subj01", 1].reshape(-1, *SHAPE))
    folder = root / f"nsddata_betas/ppdata/subj01/func1pt8mm/{VERSION}"
    save_nifti(folder / "ncsnr.nii.gz", tiny_truth.ncsnr.reshape(SHAPE).astype(np.float32))
    for path in (folder / "betas_session01.nii.gz", folder / "ncsnr.nii.gz"):
        content = bytearray(path.read_bytes())
        part = where(len(content))
        content[part] = bytes(byte ^ flip for byte in content[part])
        path.write_bytes(content)
    with pytest.raises(ValueError, match="truncated or damaged"):
        nsd.betas(root, "subj01", "func1pt8mm", sessions=1)
    with pytest.raises(ValueError, match="truncated or damaged"):
        nsd.ncsnr(root, "subj01", "func1pt8mm")


def test_a_file_that_another_process_holds_is_not_called_damaged(volume_tree, monkeypatch):
    def locked(*_):
        raise BlockingIOError(errno.EAGAIN, "unable to lock file")

    root, space, _ = volume_tree
    monkeypatch.setattr(h5py, "File", locked)
    monkeypatch.setattr(nibabel, "load", locked)
    with pytest.raises(BlockingIOError, match="unable to lock"):
        nsd.betas(root, "subj01", space)


def test_a_nifti_that_was_cut_before_it_was_packed_is_told(tmp_path, tiny_tree, tiny_truth):
    root = shutil.copytree(tiny_tree, tmp_path / "copy")
    betas = tiny_truth.betas["subj01", 1].reshape(-1, *SHAPE)
    write_session(root, "subj01", 1, betas)
    path = root / f"nsddata_betas/ppdata/subj01/func1pt8mm/{VERSION}/betas_session01.nii.gz"
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(content[:-10]))
    with pytest.raises(ValueError, match="truncated"):
        nsd.betas(root, "subj01", "func1pt8mm", sessions=1)


def test_floats_and_other_shapes_in_a_volume_are_told(volume_tree, tiny_truth):
    root, space, folder = volume_tree
    path = next(folder.glob("betas_session01.*"))
    betas = tiny_truth.betas["subj01", 1].reshape(-1, *SHAPE)

    def rewrite(values):
        if path.suffix == ".hdf5":
            with h5py.File(path, "w") as file:
                file["betas"] = values.T
        else:
            nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)

    rewrite(np.moveaxis(betas, 0, -1))
    with pytest.raises(ValueError, match=r"holds float32, but NSD's volumes are integers"):
        nsd.betas(root, "subj01", space)
    rewrite(np.moveaxis(betas[:30], 0, -1).astype(np.int16))
    with pytest.raises(ValueError, match=re.escape("(4, 9, 9, 30), expected (4, 9, 9, 40)")):
        nsd.betas(root, "subj01", space)


@pytest.mark.parametrize("form", ["hdf5", "nii.gz"])
def test_a_session_is_read_in_little_memory(tiny_tree, tmp_path, rng, form):
    root, shape = shutil.copytree(tiny_tree, tmp_path / "copy"), (40, 50, 60)
    betas = rng.normal(size=(40, 1, 1, 60)).astype(np.float32) * np.ones((1, 40, 50, 1))
    write_session(root, "subj01", 1, betas, form=form)
    mask = np.zeros(shape, bool)
    mask[5:35, 5:45, 10] = mask[20, 20] = True
    tracemalloc.start()
    read = nsd.betas(root, "subj01", "func1pt8mm", sessions=1, mask=mask)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_allclose(read, betas[:, mask], atol=0.51 / 300)
    # The session has 9.6 million bytes; what was asked for 0.2.
    assert peak < 2e6


def test_a_session_on_the_surface_is_read_in_little_memory(tiny_tree, tmp_path, rng):
    root, betas = shutil.copytree(tiny_tree, tmp_path / "copy"), rng.normal(size=(40, 60_000))
    write_measured.write_betas_session(root, "subj01", 1, betas.astype(np.float32))
    mask = np.zeros(60_000, bool)
    mask[29_500:30_700] = True
    tracemalloc.start()
    read = nsd.betas(root, "subj01", sessions=1, mask=mask)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(read, betas[:, mask].astype(np.float32))
    # The session has 9.6 million bytes; what was asked for 0.2.
    assert peak < 2e6


def test_fsaverage5_is_the_first_vertices_of_each_hemisphere(tiny_tree, tiny_truth, monkeypatch, rng):
    monkeypatch.setattr(surfaces.SPACES["fsaverage5"], "n_first", 50)
    first = np.r_[0:50, 162:212]
    np.testing.assert_array_equal(nsd.roi(tiny_tree, "streams", "fsaverage5"), tiny_truth.labels[first])
    np.testing.assert_allclose(
        nsd.ncsnr(tiny_tree, "subj01", "fsaverage5"), tiny_truth.ncsnr[first], rtol=1e-6
    )
    betas = nsd.betas(tiny_tree, "subj01", "fsaverage5", sessions=[2])
    np.testing.assert_array_equal(betas, tiny_truth.betas["subj01", 2][:, first])
    mask = rng.random(100) < 0.4
    betas = nsd.betas(tiny_tree, "subj01", "fsaverage5", sessions=[2], mask=mask)
    np.testing.assert_array_equal(betas, tiny_truth.betas["subj01", 2][:, first[mask]])
    with pytest.raises(ValueError, match=r"shape \(100,\) in fsaverage5: expected a mask"):
        nsd.betas(tiny_tree, "subj01", "fsaverage5", mask=np.ones(324, bool))
