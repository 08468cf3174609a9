"""Trials that are missing, were never recorded or come as another kind of array are not used as they are."""

import shutil

import numpy as np
import pytest
import torch

from latentcortex import nsd
from latentcortex.nsd import write_measured, write_shown

BETAS = "nsddata_betas/ppdata/subj01/fsaverage/betas_fithrf_GLMdenoise_RR"
SHAPE = (4, 9, 9)


@pytest.fixture
def tree(tiny_tree, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(tiny_tree, tmp_path / "nsd")


@pytest.fixture
def spoil(tree, tiny_truth):
    """Write a session of subject 1 again after changing its betas (n_trials, n_vertices)."""

    def rewrite(session, change, source=None):
        betas = tiny_truth.betas["subj01", source or session].copy()
        change(betas)
        write_measured.write_betas_session(tree, "subj01", session, betas)

    return rewrite


def is_train(n):
    return np.ones(n, bool)


# --- missing values -------------------------------------------------------------------------------


@pytest.mark.parametrize("read", [nsd.betas, nsd.scaled_betas, nsd.image_responses])
@pytest.mark.parametrize("missing", [np.nan, np.inf])
def test_missing_vertices_are_named_and_the_advice_works(tree, tiny_truth, spoil, read, missing):
    def change(betas):
        betas[3, [5, 200]] = betas[:, 170] = missing

    spoil(2, change)
    message = (
        r"3 of 324 vertices hold NaN or infinity in session 2 of subj01, the first being number 5 .*"
        r"lh\.betas_session02\.mgh.*mask: nsd\.finite_mask\(root, 'subj01', 'fsaverage'\)"
    )
    with pytest.raises(ValueError, match=message):
        read(tree, "subj01")
    mask = nsd.finite_mask(tree, "subj01", "fsaverage")
    np.testing.assert_array_equal(np.flatnonzero(~mask), [5, 170, 200])
    read(tree, "subj01", mask=mask)
    np.testing.assert_array_equal(
        nsd.betas(tree, "subj01", mask=mask)[40:80], tiny_truth.betas["subj01", 2][:, mask]
    )
    assert nsd.finite_mask(tree, "subj01", sessions=[1, 3]).all()
    read(tree, "subj01", sessions=[1, 3])
    # Of the region asked for only: one vertex that is missing elsewhere does not matter.
    read(tree, "subj01", mask=np.arange(324) < 5)


def test_every_voxel_of_a_volume_is_finite(tree, tiny_truth):
    betas = tiny_truth.betas["subj01", 1].reshape(-1, *SHAPE)
    write_measured.write_volume_betas_session(tree, "subj01", 1, betas)
    mask = nsd.finite_mask(tree, "subj01", "func1pt8mm", sessions=1)
    assert mask.shape == SHAPE and mask.all()


def test_responses_that_no_brain_gives_are_refused(tree, spoil):
    spoil(1, lambda betas: betas.__setitem__((4, 9), 3e31))
    with pytest.raises(ValueError, match=r"number of session 1 of subj01 is 3e\+31 .*lh.betas_session01.mgh"):
        nsd.betas(tree, "subj01")


def test_nan_stays_nan_in_functions_of_arrays(rng):
    betas, ids = rng.normal(size=(60, 5)), np.repeat(np.arange(20), 3)
    spoiled = betas.copy()
    spoiled[7, 2] = np.nan
    right, found = nsd.estimate_ncsnr(betas, ids), nsd.estimate_ncsnr(spoiled, ids)
    assert np.isnan(found[2])
    np.testing.assert_array_equal(np.delete(found, 2), np.delete(right, 2))
    assert np.isnan(nsd.estimate_ncsnr(np.full((6, 2), np.nan), np.repeat([0, 1, 2], 2))).all()
    averages = nsd.average_repeats(spoiled, ids)[0]
    np.testing.assert_array_equal(np.argwhere(np.isnan(averages)), [[2, 2]])
    sessions = np.repeat([1, 2], 30)
    scaled = nsd.zscore(spoiled, sessions, is_train(60))
    np.testing.assert_array_equal(np.unique(np.argwhere(np.isnan(scaled))[:, 1]), [2])
    assert np.isnan(scaled[:30, 2]).all() and np.isfinite(scaled[30:]).all()
    # In a test trial it moves nothing else.
    train = is_train(60)
    train[7] = False
    assert np.argwhere(np.isnan(nsd.zscore(spoiled, sessions, train))).tolist() == [[7, 2]]
    ceiling = nsd.noise_ceiling([0.5, np.nan], 3)
    assert ceiling[0] == pytest.approx(0.25 / (0.25 + 1 / 3)) and np.isnan(ceiling[1])


def test_ratios_below_zero_are_refused(tree, tiny_truth):
    for wrong in ([0.5, -0.1], [0.5, np.inf], -np.inf):
        with pytest.raises(ValueError, match=r"ncsnr is a ratio of at least 0, but 1 of [12] are"):
            nsd.noise_ceiling(wrong, 3)
    ratios = tiny_truth.ncsnr.astype(np.float32)
    ratios[200] = np.nan
    write_measured.write_ncsnr(tree, "subj01", ratios)
    np.testing.assert_array_equal(nsd.ncsnr(tree, "subj01"), ratios)
    ratios[201] = -0.5
    write_measured.write_ncsnr(tree, "subj01", ratios)
    with pytest.raises(ValueError, match=r"rh\.ncsnr\.mgh holds 1 ratios below 0 or infinite, .* -0\.5"):
        nsd.ncsnr(tree, "subj01")


# --- content that is absent -------------------------------------------------------------------------


def test_a_session_of_zeros_is_refused(tree):
    """Downloads that reserve their space first leave a right size; the header came first."""
    path = tree / BETAS / "rh.betas_session02.mgh"
    content = path.read_bytes()
    path.write_bytes(content[:284] + bytes(len(content) - 284))
    with pytest.raises(
        ValueError, match=rf"All 40 trials of session 2 of subj01 are zero in {path}, in all 162"
    ):
        nsd.betas(tree, "subj01")
    nsd.betas(tree, "subj01", mask=np.arange(324) < 162)  # the other hemisphere is whole
    path.write_bytes(content[:20_000] + bytes(len(content) - 20_000))
    with pytest.raises(ValueError, match=rf"\d+ of 40 trials .* are zero in all voxels in {path}, the first"):
        nsd.betas(tree, "subj01")


@pytest.mark.parametrize("form", ["hdf5", "nii.gz"])
def test_volumes_of_zeros_are_refused(tree, tiny_truth, form):
    betas = tiny_truth.betas["subj01", 1].reshape(-1, *SHAPE).copy()
    betas[:, 0] = 0  # outside of the brain
    write_measured.write_volume_betas_session(tree, "subj01", 1, betas, form=form)
    assert nsd.betas(tree, "subj01", "func1pt8mm", sessions=1).shape == (40, 324)
    betas[11] = 0
    write_measured.write_volume_betas_session(tree, "subj01", 1, betas, form=form)
    with pytest.raises(ValueError, match=r"1 of 40 trials .* first being trial 12\. This part"):
        nsd.betas(tree, "subj01", "func1pt8mm", sessions=1)
    write_measured.write_volume_betas_session(tree, "subj01", 1, 0 * betas, form=form)
    with pytest.raises(ValueError, match=rf"All 40 trials .* zero in .*betas_session01\.{form}"):
        nsd.betas(tree, "subj01", "func1pt8mm", sessions=1)


def test_zeros_that_are_normal_are_read(tree, spoil):
    """Vertices outside of the cortex are zero in all trials; one voxel can be zero by chance."""

    def change(betas):
        betas[:, :50] = 0
        betas[3, 60:69] = 0

    spoil(1, change)
    betas = nsd.betas(tree, "subj01", sessions=1)
    assert not betas[:, :50].any() and betas[:, 50:].any()
    mask = np.isin(np.arange(324), np.r_[60:69])  # nine vertices, all zero in one trial
    assert not nsd.betas(tree, "subj01", sessions=1, mask=mask)[3].any()
    mask |= np.arange(324) < 50  # with more that never change it is no other
    assert not nsd.betas(tree, "subj01", sessions=1, mask=mask)[3].any()
    with pytest.raises(ValueError, match="the mask marks only voxels outside of the brain"):
        nsd.betas(tree, "subj01", sessions=1, mask=np.arange(324) < 50)
    assert not nsd.betas(tree, "subj01", sessions=1, mask=np.arange(324) < 9).any()


def test_trials_equal_to_those_of_another_image_are_refused(tree, spoil):
    spoil(3, lambda _: None, source=1)
    with pytest.raises(ValueError, match=r"trial \d+ of session 3 of subj01 equals trial \d+ of session 1"):
        nsd.betas(tree, "subj01")
    nsd.betas(tree, "subj01", sessions=[1, 2])
    table = nsd.trials(tree, "subj01", [2])
    other = np.flatnonzero(table["image_id"] != table["image_id"][4])[-1]
    spoil(3, lambda _: None)
    spoil(2, lambda betas: betas.__setitem__(other, betas[4]))
    with pytest.raises(ValueError, match=rf"trial {other + 1} of session 2 of subj01 equals trial 5 of"):
        nsd.betas(tree, "subj01")
    # A few voxels can agree by chance, as integers do.
    few = np.arange(324) < 9
    np.testing.assert_array_equal(*nsd.betas(tree, "subj01", sessions=[2], mask=few)[[4, other]])
    # Without noise the responses to one image are equal.
    first = {}

    def repeat(betas):
        for row, image_id in enumerate(table["image_id"]):
            betas[row] = betas[first.setdefault(image_id, row)]

    spoil(2, repeat)
    assert len(first) < 40
    assert len(nsd.betas(tree, "subj01", sessions=[2])) == 40


@pytest.mark.parametrize("experiment", ["nsd", "nsdsynthetic"])
def test_black_pictures_are_refused(tree, tiny_truth, experiment):
    images = tiny_truth.images.copy()
    images[17] = 0
    write_shown.write_stimuli(tree, images, experiment)
    with pytest.raises(ValueError, match=rf"Image 17 in .*{experiment}_stimuli.hdf5 is black in all pixels"):
        nsd.images(tree, [3, 17]) if experiment == "nsd" else nsd.synthetic_images(tree)
    if experiment == "nsd":
        assert nsd.images(tree, [3, 16]).any()


def test_the_further_session_is_looked_at_the_same_way(tree, rng):
    write_shown.write_stimuli(tree, rng.integers(1, 256, (6, 12, 10, 3), dtype=np.uint8), "nsdsynthetic")
    write_shown.write_design(tree, np.repeat(np.arange(6), 2), np.ones((1, 3, 4), bool))
    betas = rng.normal(size=(12, 324)).astype(np.float32)
    for row, message in ((np.nan, "1 of 324 vertices hold NaN .* in"), (0, "1 of 12 trials of")):
        spoiled = betas.copy()
        spoiled[5, 2 if row else slice(None)] = row
        write_measured.write_betas_session(tree, "subj01", "nsdsynthetic", spoiled)
        with pytest.raises(ValueError, match=f"{message} the further session of subj01"):
            nsd.synthetic_responses(tree, "subj01")


# --- arguments ----------------------------------------------------------------------------------------


def test_sessions_come_as_any_kind_of_whole_number(tiny_tree, tiny_truth):
    for sessions in (
        np.int64(1),
        np.array(1),
        torch.tensor(1),
        1.0,
        [1],
        np.array([1]),
        torch.tensor([1]),
        range(1, 2),
    ):
        betas = nsd.betas(tiny_tree, "subj01", sessions=sessions)
        np.testing.assert_array_equal(betas, tiny_truth.betas["subj01", 1])
    for sessions in (True, 1.5, np.nan, "1", [True, False], {1}, [1, None]):
        with pytest.raises(ValueError, match="sessions.*whole numbers|sessions: 1 of 1 numbers"):
            nsd.betas(tiny_tree, "subj01", sessions=sessions)


def test_masks_come_as_lists_and_tensors(tiny_tree, tiny_truth, rng):
    mask = rng.random(324) < 0.2
    for given in (mask.tolist(), torch.from_numpy(mask)):
        betas = nsd.betas(tiny_tree, "subj01", sessions=1, mask=given)
        np.testing.assert_array_equal(betas, tiny_truth.betas["subj01", 1][:, mask])


def test_masked_arrays_are_refused_by_every_function(tiny_tree, rng):
    """All of them went on with the values behind the mask."""
    betas, ids = rng.normal(size=(6, 4)), np.repeat([0, 1, 2], 2)
    sessions, train, ratios = np.zeros(6, int), is_train(6), np.ones(4)

    def masked(values):
        return np.ma.masked_array(values, np.arange(np.size(values)).reshape(np.shape(values)) == 1)

    calls = {
        "betas": [
            lambda: nsd.zscore(masked(betas), sessions, train),
            lambda: nsd.average_repeats(masked(betas), ids),
            lambda: nsd.estimate_ncsnr(masked(betas), ids),
        ],
        "image_ids": [
            lambda: nsd.average_repeats(betas, masked(ids)),
            lambda: nsd.estimate_ncsnr(betas, masked(ids)),
            lambda: nsd.images(tiny_tree, masked(ids)),
            lambda: nsd.captions(tiny_tree, masked(ids)),
            lambda: nsd.validation_split(masked(ids), 1, rng=rng),
        ],
        "sessions": [
            lambda: nsd.zscore(betas, masked(sessions), train),
            lambda: nsd.trials(tiny_tree, "subj01", masked([1, 2])),
        ],
        "is_train": [lambda: nsd.zscore(betas, sessions, masked(train))],
        "ncsnr": [lambda: nsd.noise_ceiling(masked(ratios), 3)],
        "n_repeats": [lambda: nsd.noise_ceiling(ratios, masked([3, 3]))],
        "mask": [lambda: nsd.betas(tiny_tree, "subj01", mask=masked(np.ones(324, bool)))],
    }
    for name, functions in calls.items():
        for call in functions:
            with pytest.raises(ValueError, match=f"^{name} is a masked array"):
                call()


def test_shapes_that_would_broadcast_are_refused(rng):
    """(n, n, k) betas were divided by the repeats of the wrong axis."""
    betas, ids = rng.normal(size=(6, 3)), np.repeat([0, 1, 2], 2)
    for wrong in (betas[:, 0], np.ones((6, 3, 2))):
        for call in (
            lambda x: nsd.average_repeats(x, ids),
            lambda x: nsd.estimate_ncsnr(x, ids),
            lambda x: nsd.zscore(x, None, is_train(6)),
        ):
            with pytest.raises(ValueError, match=r"Expected betas of shape \(n_trials, n_voxels\), got"):
                call(wrong)
    for wrong in ([[3], [2]], [], [3, np.nan], [2.5], True):
        with pytest.raises(ValueError, match="n_repeats"):
            nsd.noise_ceiling([0.5, 0.7], wrong)
    with pytest.raises(ValueError, match="sessions: 1 of 6 numbers"):
        nsd.zscore(betas, [1, 1, 1, 2, 2, np.nan], is_train(6))
    with pytest.raises(ValueError, match="got int64"):
        nsd.average_repeats(np.ones((6, 3), int), ids)
    with pytest.raises(ValueError, match="image_ids must be 1-D integers, got float64"):
        nsd.average_repeats(betas, ids + 0.5)
