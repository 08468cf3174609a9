"""Noise ceilings from trials, against worlds of a known ceiling and against scipy."""

import numpy as np
import pytest
from scipy import stats

from latentcortex.encoding import explainable_variance, shuffle_ceiling, split_half_ceiling

ESTIMATES = {
    "explainable variance": explainable_variance,
    "split half": lambda betas, ids, n=None: split_half_ceiling(betas, ids, np.random.default_rng(1), 10, n),
    "shuffle": lambda betas, ids, n=None: shuffle_ceiling(betas, ids, np.random.default_rng(1), 10, n),
}


def simulate(rng, counts, ratio, n_vertices=300):
    """Trials in random order of images with these numbers of repeats; S = ratio, N = 1, and an offset."""
    image = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    signal = np.sqrt(ratio) * rng.standard_normal((len(counts), n_vertices))
    return 3 + signal[image] + rng.standard_normal((len(image), n_vertices)), 7 * image


@pytest.mark.parametrize("estimate", ESTIMATES.values(), ids=ESTIMATES)
@pytest.mark.parametrize("ratio", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("unequal", [False, True])
def test_the_planted_ceiling_is_found(rng, estimate, ratio, unequal):
    counts = rng.integers(1, 5, 400) if unequal else np.full(400, 3)
    betas, ids = simulate(rng, counts, ratio)
    planted = ratio / (ratio + np.mean(1 / counts))
    assert estimate(betas, ids).mean() == pytest.approx(planted, abs=0.02)
    assert estimate(betas, ids, 1).mean() == pytest.approx(ratio / (ratio + 1), abs=0.02)
    assert estimate(betas, ids, [1, 2, 3]).mean() == pytest.approx(ratio / (ratio + 11 / 18), abs=0.02)


@pytest.mark.parametrize("estimate", ESTIMATES.values(), ids=ESTIMATES)
def test_noise_is_cut_at_0_in_half_of_the_vertices_and_pure_signal_has_a_ceiling_of_1(rng, estimate):
    counts = rng.integers(1, 4, 300)
    betas, ids = simulate(rng, counts, 0.0)
    # Without the cut half of the estimates would lie below 0.
    assert np.mean(estimate(betas, ids) == 0) == pytest.approx(0.5, abs=0.12)
    signal = rng.standard_normal((300, 5))[ids // 7]
    np.testing.assert_allclose(estimate(signal, ids), 1, atol=0.08)


def test_explainable_variance_equals_the_f_test(rng):
    counts = rng.integers(1, 5, 30)
    betas, ids = simulate(rng, counts, 1.0, 20)
    f = stats.f_oneway(*(betas[ids == image] for image in np.unique(ids))).statistic
    n_0 = (counts.sum() - (counts**2).sum() / counts.sum()) / 29
    ratio = (f - 1) / n_0
    np.testing.assert_allclose(
        explainable_variance(betas, ids), ratio / (ratio + np.mean(1 / counts)), rtol=1e-9
    )


def test_split_half_equals_spearman_and_brown_over_all_splits(rng):
    betas, ids = simulate(rng, np.full(6, 2), 2.0, 15)
    pairs = np.array([betas[ids == image] for image in np.unique(ids)])
    r = []
    for first in np.ndindex(*[2] * 6):
        a, b = pairs[np.arange(6), first], pairs[np.arange(6), 1 - np.array(first)]
        r.append([np.corrcoef(x, y)[0, 1] for x, y in zip(a.T, b.T, strict=True)])
    r = np.mean(r, axis=0).clip(0)
    found = split_half_ceiling(betas, ids, rng, 3000)
    np.testing.assert_allclose(found, 2 * r / (1 + r), atol=0.02)


def test_halves_are_means_of_other_trials_and_single_trials_count_for_nothing(rng):
    """Five trials: two against two. What the halves of an image share would make the ceiling too large."""
    betas, ids = simulate(rng, np.full(200, 5), 0.0)
    assert split_half_ceiling(betas, ids, rng, 5).mean() < 0.12
    betas, ids = simulate(rng, np.full(50, 3), 1.0)
    more = np.vstack([betas, 100 + rng.standard_normal((9, 300))])
    found = split_half_ceiling(more, np.append(ids, 1000 + np.arange(9)), np.random.default_rng(2), 20, 3)
    np.testing.assert_allclose(found.mean(), split_half_ceiling(betas, ids, rng, 20, 3).mean(), atol=0.01)


def test_the_mean_over_shuffles_is_known(rng):
    """Trials that change images at random vary by their own variance times mean(1 / n), exactly."""
    counts = rng.integers(1, 5, 40)
    betas, ids = simulate(rng, counts, 1.0, 8)
    means = np.array([betas[ids == image].mean(0) for image in np.unique(ids)])
    n, m = counts.sum(), np.mean(1 / counts)
    shuffled = betas.var(0, ddof=1) * m
    c = (n - (counts**2).sum() / n) / (n - 1)
    signal = (means.var(0, ddof=1) - shuffled) / (1 - m * c)
    expected = np.clip(signal / means.var(0, ddof=1), 0, 1)
    np.testing.assert_allclose(shuffle_ceiling(betas, ids, rng, 4000), expected, atol=0.01)


@pytest.mark.parametrize("estimate", ESTIMATES.values(), ids=ESTIMATES)
def test_nan_and_constant_vertices_are_blank_and_the_order_of_trials_does_not_matter(rng, estimate):
    betas, ids = simulate(rng, np.full(40, 3), 3.0, 6)
    betas[:, 1], betas[5, 4] = 0.1, np.nan
    for dtype in (np.float32, np.float64):
        found = estimate(betas.astype(dtype), ids)
        np.testing.assert_array_equal(np.isnan(found), np.isin(np.arange(6), [1, 4]))
    order = rng.permutation(len(ids))
    np.testing.assert_allclose(estimate(betas[order], ids[order]), estimate(betas, ids), atol=0.05)


@pytest.mark.parametrize("estimate", ESTIMATES.values(), ids=ESTIMATES)
def test_errors(rng, estimate):
    betas, ids = simulate(rng, np.full(10, 3), 1.0, 4)
    for arguments, message in (
        ((betas, np.arange(30)), "30 trials of 30 images. Give single trials"),
        ((betas, np.zeros(30)), "needs several images"),
        ((betas[0], ids[:4]), r"betas must be \(n_trials, n_vertices\)"),
        ((np.where(betas > 4, np.inf, 0), ids), "infinite values"),
        ((betas, ids[1:]), r"image_ids must be \(30,\)"),
        ((betas, ids, 0), "n_repeats must be at least 1"),
        ((betas, ids, [1, 2.5]), "n_repeats must hold whole numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            estimate(*arguments)


def test_numbers_of_draws_are_whole(rng):
    betas, ids = simulate(rng, np.full(10, 3), 1.0, 4)
    for function, name in ((split_half_ceiling, "n_splits"), (shuffle_ceiling, "n_shuffles")):
        for wrong in (0, np.nan, 2.5):
            with pytest.raises(ValueError, match=f"{name} must be a whole number"):
                function(betas, ids, rng, wrong)
    with pytest.raises(ValueError, match="3 need several trials; got 2"):
        split_half_ceiling(betas[:6], [0, 0, 1, 1, 2, 3], rng)


@pytest.mark.parametrize("dtype", [np.int16, np.uint8])
def test_whole_numbers_do_not_overflow(dtype):
    rng = np.random.default_rng(0)
    signal, ids = rng.normal(size=(60, 4)), np.repeat(np.arange(60), 3)
    betas = signal[ids] + 0.5 * rng.normal(size=(180, 4))
    high = np.iinfo(dtype).max
    whole = np.clip(np.round((betas - betas.min()) / np.ptp(betas) * 0.99 * high), 0, high).astype(dtype)
    found, expected = (explainable_variance(values, ids) for values in (whole, whole.astype(float)))
    np.testing.assert_array_equal(found, expected)
    assert found.min() > 0.6
