"""The chance of a finding: known answers, and the fit to a reader's ceilings."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from latentcortex import nsd
from latentcortex.studies import power

N_SETS = 400


def of_normal(rng, effect, sd=1.0, n_sets=N_SETS):
    return rng.normal(effect, sd, (n_sets, 8))


@pytest.mark.parametrize("n", [2, 4, 8])
def test_where_nothing_is_planted_the_t_interval_keeps_its_promise(n, rng):
    found = power.rates(*power.studies_of(of_normal(rng, 0), n))
    assert found["found"] == pytest.approx(0.05, abs=4 * found["found_se"])
    assert found["right"] == pytest.approx(0.025, abs=4 * found["right_se"])
    assert found["estimate"] == pytest.approx(0, abs=0.06)


@pytest.mark.parametrize("n", [2, 4, 8])
def test_power_is_that_of_the_noncentral_t(n, rng):
    effect = 0.8
    found = power.rates(*power.studies_of(of_normal(rng, effect), n))
    limit, shift = stats.t.ppf(0.975, n - 1), effect * n**0.5
    expected = stats.nct.sf(limit, n - 1, shift)
    assert found["right"] == pytest.approx(expected, abs=4 * found["right_se"])
    assert found["found"] - found["right"] == pytest.approx(stats.nct.cdf(-limit, n - 1, shift), abs=0.01)


def test_a_large_difference_is_always_found_at_its_size_and_a_small_one_exaggerated(rng):
    large = power.rates(*power.studies_of(of_normal(rng, 50), 4))
    assert large["found"] == large["right"] == 1 and large["found_se"] == 0
    assert large["exaggeration"] == pytest.approx(1)
    small = power.rates(*power.studies_of(of_normal(rng, 0.3), 4))
    assert small["exaggeration"] > 1.5


def test_of_a_study_a_choice_of_subjects_has_its_own_interval():
    estimates = np.array([[1.0, 2.0, 4.0]])
    mean, low, high = power.studies_of(estimates, 2)
    np.testing.assert_allclose(mean[0], [1.5, 2.5, 3.0])
    half = stats.t.ppf(0.975, 1) * np.array([0.5, 1.5, 1.0])  # half the difference is the standard error
    np.testing.assert_allclose(high[0] - mean[0], half)
    np.testing.assert_allclose(mean[0] - low[0], half)


def test_a_study_without_a_number_has_found_nothing():
    mean = np.array([[1.0, np.nan], [1.0, 1.0]])
    found = power.rates(mean, mean - 0.5, mean + 0.5)
    assert found["found"] == 0.75 and found["estimate"] == 1
    assert np.isnan(found["exaggeration"]), "of fewer than ten studies"


def test_the_wrong_sign_is_counted_as_found_and_not_as_right():
    mean = np.repeat([[1.0], [-1.0], [0.0]], 20, axis=1)
    found = power.rates(mean, mean - 0.5, mean + 0.5)
    assert found["found"] == pytest.approx(2 / 3) and found["right"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("n", [1, 9])
def test_a_number_of_subjects_that_was_not_simulated_is_refused(n):
    with pytest.raises(ValueError, match="n_subjects: expected 2 to 8"):
        power.studies_of(np.zeros((3, 8)), n)


def interval(rates_of_sets):
    of = np.asarray(rates_of_sets, float)
    return power.chance_interval(of.mean(0), of.std(0, ddof=1) / len(of) ** 0.5, len(of))


@pytest.mark.parametrize("k", [0, 1, 17, 48])
def test_where_a_set_is_one_study_the_interval_is_wilsons(k):
    n, t = 48, stats.t.ppf(0.975, 47)
    level = 2 * stats.norm.cdf(t) - 1  # of which t is the normal quantile
    expected = stats.binomtest(k, n).proportion_ci(level, "wilson")
    np.testing.assert_allclose(interval(np.arange(n) < k), expected, atol=1e-9)


def test_sets_that_agree_count_as_more_studies():
    """Half of each set is found: 48 sets of 20 studies without a difference are far more than 48 studies."""
    half = [
        np.ptp(interval(of)) for of in (np.arange(48) < 24, np.full(48, 0.5) + 0.01 * (np.arange(48) % 2))
    ]
    assert half[1] < 0.1 * half[0]


def test_the_interval_does_not_jump_next_to_0_and_1():
    always, nearly = np.ones(40), np.r_[np.ones(39), 0.999]
    for of_sets in (lambda of: of, lambda of: 1 - of):
        np.testing.assert_allclose(interval(of_sets(always)), interval(of_sets(nearly)), atol=1e-3)
    expected = stats.binomtest(40, 40).proportion_ci(method="wilson").low
    assert interval(always)[0] == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("spread", [0, 3])  # one chance for all sets, and one that differs between them
@pytest.mark.parametrize("mean", [0.05, 0.5, 0.95])
def test_of_a_hundred_intervals_95_hold_the_chance(mean, spread, rng):
    chances = rng.beta(mean * spread, (1 - mean) * spread, (30, 4000)) if spread else mean
    low, high = interval(rng.binomial(8, chances, (30, 4000)) / 8)
    held = ((low <= mean) & (mean <= high)).mean()
    assert 0.93 < held < 0.995, held


def test_one_set_has_no_interval():
    with pytest.raises(ValueError, match="n_sets: expected at least 2"):
        power.chance_interval(0.5, 0.1, 1)


def test_the_fit_gives_back_a_planted_gamma_and_its_level(rng):
    ratios = np.concatenate([rng.gamma(8, 0.05, 4000), np.zeros(1000)])
    fit = power.fit_ncsnr(nsd.noise_ceiling(ratios, 3), 3, (0.5, 0.7, 1.0, 1.4), 0.38 / 0.7)
    assert fit.none == pytest.approx(0.2, abs=0.01)
    assert fit.shape == pytest.approx(8, rel=0.1) and fit.scale == pytest.approx(0.05, rel=0.1)
    assert fit.median == pytest.approx(0.384, rel=0.02)
    assert fit.level == 0.7 and fit.fits


def test_repeats_of_the_ceilings_do_not_matter(rng):
    ratios = rng.gamma(8, 0.05, 500)
    fits = [power.fit_ncsnr(nsd.noise_ceiling(ratios, n), n, (0.5, 1.0), 0.4) for n in (1, 3)]
    np.testing.assert_allclose(*map(dataclasses.astuple, fits), rtol=1e-6)


def test_ceilings_far_from_every_level_do_not_fit():
    ratios = np.full(50, 0.15) + np.linspace(0, 0.01, 50)
    fit = power.fit_ncsnr(nsd.noise_ceiling(ratios, 1), 1, (0.5, 1.0), 0.45)
    assert fit.level == 0.5 and not power.fit_ncsnr(nsd.noise_ceiling(ratios, 1), 1, (1.0, 2.0), 0.45).fits
    assert fit.fits == (0.225 / np.median(ratios) <= 2**0.5)


@pytest.mark.parametrize(
    ("ceilings", "n_repeats", "message"),
    [
        (np.array([20.0, 35.0]), 3, "Divide percent by 100"),
        (np.array([0.2, -0.1]), 3, "expected shares of variance from 0"),
        (np.array([0.2, np.nan]), 3, "1 values are missing or infinite"),
        (np.ma.masked_array(np.full(20, 0.2), [False] * 19 + [True]), 3, "1 values are missing"),
        (np.zeros(100), 3, "only 0 of 100 vertices"),
        (np.full(100, 0.2), 3, "all 100 vertices with a signal have the same one"),
        (np.full(100, 0.2), 0, "n_repeats: expected the trials in each average, at least 1; got 0"),
    ],
)
def test_ceilings_that_can_not_be_fitted_are_refused(ceilings, n_repeats, message):
    with pytest.raises(ValueError, match=message):
        power.fit_ncsnr(ceilings, n_repeats, (0.5, 1.0), 0.45)
