"""Arrays of trials: split, repeats, z-scoring and the noise ceiling, by independent routes."""

import numpy as np
import pandas as pd
import pytest

from latentcortex import nsd


def test_split_is_computed_from_the_trials(tiny_tree, tiny_truth):
    for subject, row in zip(("subj01", "subj02"), tiny_truth.subjectim, strict=True):
        trials = nsd.trials(tiny_tree, subject)
        train, test = nsd.split(trials)
        np.testing.assert_array_equal(test, tiny_truth.shared)
        seen = set(trials["image_id"])
        assert set(train) == (set(row) - set(tiny_truth.shared)) & seen
        assert len(set(train)) == len(train)
    wrong = pd.DataFrame({"image_id": [1, 1], "shared": [True, False]})
    with pytest.raises(ValueError, match="shared in one trial and not in another"):
        nsd.split(wrong)


def test_validation_images_are_drawn_by_image():
    ids = np.repeat(np.arange(100, 150), 3)
    fit, validation = nsd.validation_split(ids, 10, rng=np.random.default_rng(1))
    assert len(validation) == 10 and len(fit) == 40
    np.testing.assert_array_equal(np.union1d(fit, validation), np.unique(ids))
    again = nsd.validation_split(ids[::-1], 10, rng=np.random.default_rng(1))[1]
    np.testing.assert_array_equal(validation, again)
    for n in (0, 50):
        with pytest.raises(ValueError, match=f"Can't take {n} validation images out of 50"):
            nsd.validation_split(ids, n, rng=np.random.default_rng(1))


def test_averages_over_repeats_are_those_of_pandas(rng):
    betas, ids = rng.normal(size=(300, 17)).astype(np.float32), rng.integers(0, 90, 300)
    averages, unique, n_repeats = nsd.average_repeats(betas, ids)
    groups = pd.DataFrame(betas.astype(float)).groupby(ids)
    np.testing.assert_allclose(averages, groups.mean(), atol=1e-6)
    np.testing.assert_array_equal(unique, groups.mean().index)
    np.testing.assert_array_equal(n_repeats, groups.size())
    assert averages.dtype == np.float32
    with pytest.raises(ValueError, match="one image id for each row"):
        nsd.average_repeats(betas, ids[1:])


def test_zscore_against_pandas_session_by_session(rng):
    betas = (rng.normal(size=(120, 9)) * rng.uniform(1, 9, 9) + 100).astype(np.float32)
    sessions, is_train = np.repeat([3, 1, 2], 40), rng.random(120) < 0.8
    scaled = nsd.zscore(betas, sessions, is_train)
    fit = pd.DataFrame(betas[is_train].astype(float)).groupby(sessions[is_train])
    mean, std = fit.mean().loc[sessions], fit.std(ddof=0).loc[sessions]
    np.testing.assert_allclose(scaled, (betas - mean.to_numpy()) / std.to_numpy(), atol=1e-5)
    assert scaled.dtype == betas.dtype
    overall = nsd.zscore(betas, None, is_train)
    np.testing.assert_allclose(overall[is_train].mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(overall[is_train].std(axis=0), 1, rtol=1e-5)


def test_image_responses_are_the_trials_of_an_image_scaled_and_averaged(tiny_tree, tiny_truth):
    mask = np.arange(324) % 3 == 0
    train, test = nsd.image_responses(tiny_tree, "subj02", mask=mask)
    trials = nsd.trials(tiny_tree, "subj02")
    raw = np.concatenate([tiny_truth.betas["subj02", s] for s in (1, 2)])[:, mask].astype(float)
    fit = ~trials["shared"].to_numpy()
    for session in (1, 2):
        rows = (trials["session"] == session).to_numpy()
        raw[rows] = (raw[rows] - raw[rows & fit].mean(0)) / raw[rows & fit].std(0)
    for (betas, ids, n_repeats), part in zip((train, test), nsd.split(trials), strict=True):
        np.testing.assert_array_equal(ids, part)
        for row, image_id in enumerate(ids):
            shown = (trials["image_id"] == image_id).to_numpy()
            assert n_repeats[row] == shown.sum()
            np.testing.assert_allclose(betas[row], raw[shown].mean(0), atol=1e-4)


def test_test_trials_move_nothing_on_the_training_side(rng):
    betas, sessions = rng.normal(size=(120, 9)), np.repeat([1, 2, 3], 40)
    is_train = rng.random(120) < 0.7
    spoiled = np.where(is_train[:, None], betas, 1e3 * rng.normal(size=betas.shape) + 50)
    for by in (sessions, None):
        before, after = (nsd.zscore(x, by, is_train) for x in (betas, spoiled))
        np.testing.assert_array_equal(before[is_train], after[is_train])
        # A test trial is moved by training trials alone, not by the other test trials.
        one = np.flatnonzero(~is_train)[0]
        mixed = spoiled.copy()
        mixed[one] = betas[one]
        np.testing.assert_array_equal(nsd.zscore(mixed, by, is_train)[one], before[one])


def test_zscore_of_silent_voxels_and_bad_arguments(rng):
    betas = rng.normal(size=(20, 3)).astype(np.float32)
    betas[:, 1] = 0.1
    sessions, is_train = np.repeat([1, 2], 10), np.tile([True, True, True, True, False], 4)
    betas[~is_train, 1] = 7
    scaled = nsd.zscore(betas, sessions, is_train)
    assert not scaled[:, 1].any() and np.isfinite(scaled).all()
    with pytest.raises(ValueError, match="Session 2 has 1 training trials"):
        nsd.zscore(betas, sessions, is_train & (np.arange(20) < 11))
    for bad in (is_train[:10], is_train.astype(int)):
        with pytest.raises(ValueError, match="one session and one bool for each trial"):
            nsd.zscore(betas, sessions, bad)


def simulate(rng, ncsnr, n_repeats):
    """Responses of voxels with a known ratio of signal to noise, unequal repeats."""
    ids = np.repeat(np.arange(len(n_repeats)), n_repeats)
    signal = rng.normal(size=(len(n_repeats), len(ncsnr))) * ncsnr
    betas = signal[ids] + rng.normal(size=(len(ids), len(ncsnr)))
    return signal, betas, ids


def test_ncsnr_is_found_in_simulated_voxels(rng):
    planted = np.array([0.3, 0.5, 0.8, 1.5])
    _, betas, ids = simulate(rng, planted, rng.integers(1, 4, 40_000))
    order = rng.permutation(len(ids))
    scaled = nsd.zscore(betas, None, np.ones(len(ids), bool))
    found = nsd.estimate_ncsnr(scaled[order], ids[order])
    np.testing.assert_allclose(found, planted, atol=0.04)
    # A ratio has no scale.
    np.testing.assert_allclose(nsd.estimate_ncsnr(7 * betas, ids), found, atol=2e-3)
    silent = np.zeros((6, 1))
    assert nsd.estimate_ncsnr(silent, np.repeat([0, 1, 2], 2)) == 0
    with pytest.raises(ValueError, match="No image was shown twice"):
        nsd.estimate_ncsnr(betas[:3], np.arange(3))


def test_noise_ceiling_is_what_the_true_signal_reaches(rng):
    """With unequal repeats too: the squared correlation of averages with the noiseless signal."""
    planted = np.array([0.0, 0.3, 0.6, 1.2])
    for n_repeats in (np.full(8000, 3), rng.integers(1, 4, 8000)):
        signal, betas, ids = simulate(rng, planted, n_repeats)
        averages, _, counted = nsd.average_repeats(betas, ids)
        ceiling = nsd.noise_ceiling(planted, counted)
        signal[:, 0] = rng.normal(size=len(signal))  # any constant would do: nothing to predict
        reached = [np.corrcoef(a, s)[0, 1] ** 2 for a, s in zip(averages.T, signal.T, strict=True)]
        np.testing.assert_allclose(ceiling, reached, atol=0.02)
    a, b, c = 5, 3, 2
    by_hand = 0.6**2 / (0.6**2 + (a + b / 2 + c / 3) / (a + b + c))
    counts = np.repeat([1, 2, 3], [a, b, c])
    assert nsd.noise_ceiling(0.6, counts) == pytest.approx(by_hand)
    assert nsd.noise_ceiling(0.6, 3) == pytest.approx(0.36 / (0.36 + 1 / 3))
    with pytest.raises(ValueError, match="1 or more"):
        nsd.noise_ceiling(0.6, [3, 0])


def test_tiny_tree_end_to_end_finds_the_planted_ratio(tiny_tree, tiny_truth):
    """Reading, z-scoring per session and estimating agree with what was planted."""
    trials = nsd.trials(tiny_tree, "subj01")
    betas = nsd.betas(tiny_tree, "subj01")
    scaled = nsd.zscore(betas, trials["session"], np.ones(len(trials), bool))
    found = nsd.estimate_ncsnr(scaled, trials["image_id"])
    assert np.corrcoef(found, tiny_truth.ncsnr)[0, 1] > 0.8
