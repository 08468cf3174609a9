"""All estimates of the noise ceiling against a planted one: drift, unequal repeats, a missing session.

A vertex has the signal variance S over images, the noise variance 1 over trials, and an offset of the
variance D in each session. The ceiling of averages is S / (S + mean(1 / n)).
"""

import numpy as np
import pytest

from latentcortex import nsd
from latentcortex.encoding import explainable_variance, shuffle_ceiling, split_half_ceiling

N_VERTICES = 400
SIGNAL, DRIFT = 0.25, 0.3
N_IMAGES, N_SESSIONS = 200, 4
ESTIMATES = {
    "explainable variance": explainable_variance,
    "split half": lambda betas, ids: split_half_ceiling(betas, ids, np.random.default_rng(1), 10),
    "shuffle": lambda betas, ids: shuffle_ceiling(betas, ids, np.random.default_rng(1), 10),
    "ncsnr": lambda betas, ids: nsd.noise_ceiling(
        nsd.estimate_ncsnr(betas, ids), np.unique(ids, return_counts=True)[1]
    ),
}
CONDITIONS = ("nothing special", "drift, z-scored", "drift, left", "unequal repeats", "missing session")


def simulate(rng, condition):
    """Return betas (n_trials, n_vertices), image ids and sessions of the trials."""
    counts = rng.integers(1, 5, N_IMAGES) if condition == "unequal repeats" else np.full(N_IMAGES, 3)
    ids = rng.permutation(np.repeat(np.arange(N_IMAGES), counts))
    # Half of the images come back within one session, as some of NSD's do.
    sessions = np.where(ids % 2, ids // 2 % N_SESSIONS, rng.integers(0, N_SESSIONS, len(ids)))
    signal = np.sqrt(SIGNAL) * rng.standard_normal((N_IMAGES, N_VERTICES))
    betas = signal[ids] + rng.standard_normal((len(ids), N_VERTICES))
    if condition.startswith("drift"):
        betas += np.sqrt(DRIFT) * rng.standard_normal((N_SESSIONS, N_VERTICES))[sessions]
    there = sessions > 0 if condition == "missing session" else np.ones(len(ids), bool)
    betas, ids, sessions = betas[there], ids[there], sessions[there]
    if condition == "drift, z-scored":
        betas = nsd.zscore(betas, sessions, np.ones(len(ids), bool))
    return betas, ids, sessions


def variances(values, ids):
    """Return S and N of an analysis of variance, image by image, written out."""
    of_image = [values[ids == image] for image in np.unique(ids)]
    n = np.array([len(rows) for rows in of_image])
    within = sum(((rows - rows.mean(0)) ** 2).sum(0) for rows in of_image) / (n.sum() - len(n))
    grand = values.mean(0)
    between = sum(len(rows) * (rows.mean(0) - grand) ** 2 for rows in of_image) / (len(n) - 1)
    return (between - within) / ((n.sum() - (n**2).sum() / n.sum()) / (len(n) - 1)), within


@pytest.mark.parametrize("condition", CONDITIONS)
def test_every_estimate_finds_the_planted_ceiling_except_where_drift_is_left(rng, condition):
    """The mean over vertices lies within four standard errors of the truth.

    To these come the bias of a ratio of estimates, which is sd^2 / (1 - ceiling) to second order, and
    one over the trials of a session, the share of the signal that a session's mean takes away.
    """
    betas, ids, sessions = simulate(rng, condition)
    mean_share = np.mean(1 / np.unique(ids, return_counts=True)[1])
    planted = SIGNAL / (SIGNAL + mean_share)
    expected = planted
    if condition == "drift, left":
        # What one session's offset adds to either variance, summed over sessions.
        more_signal, more_noise = (
            DRIFT * part.sum() for part in variances(np.eye(N_SESSIONS)[sessions], ids)
        )
        expected = (SIGNAL + more_signal) / (SIGNAL + more_signal + (1 + more_noise) * mean_share)
        assert expected > planted + 0.04
    spreads = {}
    for name, estimate in ESTIMATES.items():
        found = estimate(betas, ids)
        sd = spreads[name] = found.std()
        error = np.sqrt(np.mean((found - planted) ** 2))
        print(
            f"\n{condition}, {name}: planted {planted:.3f}, bias {found.mean() - planted:+.4f}, "
            f"RMSE {error:.4f}"
        )
        tolerance = 4 * sd / np.sqrt(N_VERTICES) + sd**2 / (1 - expected)
        tolerance += planted * N_SESSIONS / len(ids)
        assert abs(found.mean() - expected) < tolerance
    assert spreads["split half"] < 1.25 * spreads["explainable variance"]
    if condition in {"unequal repeats", "missing session"}:
        # Averages of unequal numbers vary by their numbers, too, and the shuffles see nothing else.
        assert spreads["shuffle"] > 1.2 * spreads["explainable variance"]


def test_the_error_of_a_single_vertex_is_what_sampling_gives(rng):
    """With k images of n trials Var(S) = 2 (B^2 / (k - 1) + N^2 / (k (n - 1))) / n^2 and
    Var(N) = 2 N^2 / (k (n - 1)), Cov(S, N) = -Var(N) / n (Searle, Casella and McCulloch 1992,
    chapter 3); B = n S + N. The ceiling's error follows to first order. 400 vertices estimate a
    standard deviation to 3.5 %, so four times that is allowed."""
    betas, ids, _ = simulate(rng, "nothing special")
    k, n = N_IMAGES, 3
    between = n * SIGNAL + 1
    var_noise = 2 / (k * (n - 1))
    var_signal = 2 * (between**2 / (k - 1) + 1 / (k * (n - 1))) / n**2
    slope = np.array([1 / n, -SIGNAL / n]) / (SIGNAL + 1 / n) ** 2  # by S and by N
    both = np.array([[var_signal, -var_noise / n], [-var_noise / n, var_noise]])
    expected = np.sqrt(slope @ both @ slope)
    for name in ("explainable variance", "ncsnr"):
        assert ESTIMATES[name](betas, ids).std() == pytest.approx(expected, rel=0.14)
    for name in ("split half", "shuffle"):
        assert ESTIMATES[name](betas, ids).std() < 1.3 * expected
