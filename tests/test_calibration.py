"""Whether what is said with some confidence is as often true."""

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression

from latentcortex import metrics


def statements(rng, n=4000, temperature=1.0, prior=0.3):
    """Confidence that is too sure by a temperature, and what is true."""
    true_chance = expit(logit(prior) + rng.normal(0, 1.5, n))
    is_true = rng.random(n) < true_chance
    sure = expit(logit(prior) + temperature * (logit(true_chance) - logit(prior)))
    return sure.clip(1e-6, 1 - 1e-6), is_true


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_was_planted_is_found(rng, temperature):
    sure, is_true = statements(rng, 20_000, temperature)
    assert metrics.fit_temperature(sure, is_true, 0.3) == pytest.approx(temperature, rel=0.1)
    # An independent route: a logistic regression without intercept on the distance from the prior.
    x = (logit(sure) - logit(0.3))[:, None]
    model = LogisticRegression(C=np.inf, fit_intercept=False)
    offset = metrics.fit_temperature(expit(x[:, 0]), expit(x[:, 0]) > rng.random(len(x)), 0.5)
    slope = model.fit(x, expit(x[:, 0]) > rng.random(len(x))).coef_.item()
    assert 1 / offset == pytest.approx(slope, rel=0.1)


def test_tempering_makes_overconfidence_honest(rng):
    sure, is_true = statements(rng, 20_000, 3.0)
    before = metrics.calibration_error(sure, is_true)
    after = metrics.calibration_error(metrics.tempered(sure, 3.0, 0.3), is_true)
    assert before > 0.08 and after < 0.02
    np.testing.assert_allclose(metrics.tempered(sure, 1.0, 0.3), sure)
    np.testing.assert_allclose(metrics.tempered(sure, 1e9, 0.3), 0.3, atol=1e-6)


def test_reliability_is_that_of_scikit_learn_and_its_interval_covers(rng):
    sure, is_true = statements(rng)
    ids = np.repeat(np.arange(400), 10)
    found = metrics.reliability(sure, is_true, ids, rng, edges=8)
    frequency, confidence = calibration_curve(is_true, sure, n_bins=8)
    np.testing.assert_allclose(found.frequency, frequency)
    np.testing.assert_allclose(found.confidence, confidence)
    assert found.n.sum() == len(sure) and (found.low <= found.frequency).all()
    inside = (found.low <= found.confidence) & (found.confidence <= found.high)
    assert inside.sum() >= 6  # of 8, at 95 %
    # Statements that repeat each other say no more than one.
    repeated = metrics.reliability(sure[::10].repeat(10), is_true[::10].repeat(10), ids, rng, edges=[0, 1])
    alone = metrics.reliability(sure[::10], is_true[::10], np.arange(400), rng, edges=[0, 1])
    assert (repeated.high - repeated.low) == pytest.approx(alone.high - alone.low, rel=0.15)
    assert repeated.n == 10 * alone.n and repeated.n_images == alone.n_images == 400


@pytest.mark.parametrize("n_images", [6, 10, 30])
def test_intervals_hold_the_truth_where_there_are_few_images(rng, n_images):
    held = []
    for _ in range(200):
        is_true = rng.random(n_images) < 0.9
        found = metrics.reliability(np.full(n_images, 0.8), is_true, np.arange(n_images), rng, [0, 1], 50)
        held.append(found.low <= 0.9 <= found.high)
    assert np.mean(held) > 0.9


def test_intervals_are_wilsons_where_images_have_one_statement_each(rng):
    is_true = np.arange(40) < 30
    for level in (0.8, 0.95):
        found = metrics.reliability(np.full(40, 0.6), is_true, np.arange(40), rng, [0, 1], 4000, level)
        known = binomtest(30, 40).proportion_ci(level, method="wilson")
        assert found.low[0] == pytest.approx(known.low, abs=0.01)
        assert found.high[0] == pytest.approx(known.high, abs=0.01)


def test_bins_begin_at_their_edges_and_weigh_by_their_statements(rng):
    found = metrics.reliability(
        np.array([0.5, 0.5, 0.2]), np.array([True, True, False]), np.arange(3), rng, 2
    )
    assert found.n.tolist() == [1, 2] and found.frequency.tolist() == [0, 1]
    shares = np.arange(21) / 20
    tenths = metrics.reliability(shares, shares > 0.5, np.arange(21), rng, 10)
    assert tenths.n.tolist() == [2] * 9 + [3]
    confidence = np.r_[np.full(90, 0.25), np.full(10, 0.75)]
    is_true = np.r_[np.arange(90) % 4 == 0, np.arange(10) < 10]
    error = 0.9 * abs(is_true[:90].mean() - 0.25) + 0.1 * 0.25
    assert metrics.calibration_error(confidence, is_true, 2) == pytest.approx(error)


def test_a_temperature_that_changes_nothing_is_one():
    assert metrics.fit_temperature(np.full(5, 0.3), np.arange(5) > 2, 0.3) == 1


def test_counts_become_shares_that_are_never_certain():
    np.testing.assert_allclose(metrics.share_of(np.array([0, 10, 20]), 20), [0.5 / 21, 0.5, 20.5 / 21])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.share_of([21], 20), "counts from 0 to 20"),
        (lambda: metrics.share_of([1.0, np.nan], 20), "NaN"),
        (lambda: metrics.tempered([0.5, 1.0], 2.0), "between 0 and 1"),
        (lambda: metrics.tempered([0.5], 2.0, 0.0), "Expected prior"),
        (lambda: metrics.tempered([0.5], 0.0), "temperature"),
        (lambda: metrics.tempered([0.5], np.nan), "temperature"),
        (lambda: metrics.fit_temperature([0.5], [1]), "is_true as bool"),
        (lambda: metrics.fit_temperature([0.5, 0.2], [True]), "is_true"),
        (lambda: metrics.calibration_error([0.5, 1.2], [True, False]), r"in \[0, 1\]"),
        (lambda: metrics.calibration_error([0.5, 0.2], [True, False], [0, 0.5]), "rise from 0 to 1"),
        (lambda: metrics.calibration_error([0.5, 0.2], [True, False], 0), "edges"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
