"""Whether what is said with some confidence is as often true."""

import numpy as np
import pytest
from scipy.special import expit, logit
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
