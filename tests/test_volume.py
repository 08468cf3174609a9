"""The volume through the simulated cortex holds what the surface holds, where the surface lies."""

import h5py
import nibabel
import numpy as np
import pytest

from latentcortex.mini import surface, volume
from latentcortex.nsd import write_measured


@pytest.fixture(scope="module")
def volumes():
    return [volume.lay_volume(np.random.default_rng([0, k])) for k in range(2)]


@pytest.fixture(scope="module")
def vertices():
    return np.concatenate([pial for pial, _, _ in surface.meshes()])


def test_voxels_are_means_of_the_vertices_around_them(volumes, vertices, rng):
    for laid in volumes:
        indices = np.argwhere(laid.cortex)
        centres = indices @ laid.affine[:3, :3].T + laid.affine[:3, 3]
        for row in rng.choice(len(indices), 20, replace=False):
            distance = np.linalg.norm(vertices - centres[row], axis=1)
            assert distance.argmin() == laid.nearest[row] and distance.min() < volume.REACH
            weights = np.where(distance <= 3 * volume.BLUR, np.exp(-0.5 * (distance / volume.BLUR) ** 2), 0)
            np.testing.assert_allclose(
                laid.weights[row].toarray().ravel(), weights / weights.sum(), atol=1e-5
            )
        values = rng.normal(size=(3, len(vertices))).astype(np.float32)
        resampled = laid.resample(values)
        np.testing.assert_allclose(resampled, values @ laid.weights.T.toarray(), atol=1e-5)
        assert resampled.dtype == np.float32
        filled = laid.fill(resampled, outside=7)
        np.testing.assert_array_equal(filled[:, laid.cortex], resampled)
        assert (filled[:, ~laid.cortex] == 7).all()


def test_every_vertex_of_visual_cortex_lies_in_the_box_and_is_heard(volumes):
    codes, names = surface.areas().atlases["streams"]
    visual = surface.areas().atlases["nsdgeneral"][0] > 0
    for laid in volumes:
        heard = np.asarray(laid.weights.sum(0)).ravel() > 0
        assert heard[visual].mean() > 0.99
        assert 1800 < visual[laid.nearest].sum() < 2500
        sizes = {name: (codes[laid.nearest] == code).sum() for code, name in names.items()}
        assert sizes["early"] > 450
        assert all(sizes[name] > 220 for name in ("ventral", "lateral", "parietal"))


def test_each_head_lies_a_little_differently(volumes):
    first, second = (laid.affine for laid in volumes)
    assert not np.allclose(first, second)
    for affine in (first, second):
        sides = np.linalg.norm(affine[:3, :3], axis=0)
        np.testing.assert_allclose(sides, volume.VOXEL_SIZE)
        assert np.trace(affine[:3, :3] / volume.VOXEL_SIZE) > 2.95  # turned by a few degrees


def test_both_forms_of_a_session_hold_the_same_integers(tmp_path, rng):
    betas = rng.normal(0, 2, (6, 2, 3, 4))
    betas[0, 0, 0, 0] = 1e6  # clipped, not wrapped round
    for form in ("hdf5", "nii.gz"):
        write_measured.write_volume_betas_session(tmp_path, "subj01", 2, betas, space="func1mm", form=form)
    folder = tmp_path / "nsddata_betas/ppdata/subj01/func1mm/betas_fithrf_GLMdenoise_RR"
    image = nibabel.load(folder / "betas_session02.nii.gz")
    assert image.shape == (2, 3, 4, 6) and image.get_data_dtype() == np.int16
    with h5py.File(folder / "betas_session02.hdf5") as file:
        assert file["betas"].shape == (6, 4, 3, 2) and file["betas"].chunks == (6, 1, 1, 1)
        np.testing.assert_array_equal(np.asarray(image.dataobj).T, file["betas"][...])
    stored = np.moveaxis(np.asarray(image.dataobj), -1, 0) / 300
    assert stored[0, 0, 0, 0] == 32767 / 300
    stored[0, 0, 0, 0] = betas[0, 0, 0, 0] = 0
    np.testing.assert_allclose(stored, betas, atol=0.51 / 300)
