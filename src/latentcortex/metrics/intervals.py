"""Turn scores into intervals: bootstrap over images, t over subjects."""

from typing import NamedTuple

import numpy as np
from scipy import stats

from latentcortex.metrics.checks import finite, pair


class Interval(NamedTuple):
    """A mean, the two ends of its interval, and how many images or subjects it comes from."""

    mean: float
    low: float
    high: float
    n: int


def bootstrap_mean(scores, rng, n_resamples=2000, level=0.95):
    """Bootstrap the mean of per-image scores by image (percentile interval).

    Scores of several subjects or drawings of the same images are averaged per image before, so
    that whole images are drawn; the gallery the scores were made against stays fixed.

    Parameters
    ----------
    scores : array (n_images,)
    rng : numpy.random.Generator
    n_resamples : int
    level : float
        Coverage of the interval.

    Returns
    -------
    Interval

    Raises
    ------
    ValueError
        For fewer than two images or values that are not finite.
    """
    scores = finite("scores", scores, ndim=1)
    if len(scores) < 2:
        raise ValueError("One image has no interval: the bootstrap needs at least two.")
    means = scores[rng.integers(len(scores), size=(n_resamples, len(scores)))].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(scores.mean()), float(low), float(high), len(scores))


def paired_difference(scores_a, scores_b, rng, n_resamples=2000, level=0.95):
    """Bootstrap the mean of a - b, scores (n_images,) of the same images in the same order.

    The same images are drawn for both. Arguments, result and errors as in `bootstrap_mean`.
    """
    scores_a, scores_b = pair("scores_a", scores_a, "scores_b", scores_b, ndim=1)
    return bootstrap_mean(scores_a - scores_b, rng, n_resamples, level)


def is_noninferior(difference, margin):
    """Say whether a is at most `margin` worse than b, from the `Interval` of a - b.

    The margin is positive and declared before the run. True if the lower end of the interval
    lies above -margin; False means not shown, which is not the same as worse.
    """
    if margin <= 0:
        raise ValueError(f"Expected a positive margin, got {margin}.")
    return difference.low > -margin


def t_interval(values, level=0.95):
    """Compute the t `Interval` of the mean of values (n_subjects,); four can't be bootstrapped.

    Raises ValueError for fewer than two subjects or values that are not finite.
    """
    values = finite("values", values, ndim=1)
    if len(values) < 2:
        raise ValueError("One subject has no interval: a t interval needs at least two.")
    half = stats.t.ppf((1 + level) / 2, len(values) - 1) * stats.sem(values)
    mean = float(values.mean())
    return Interval(mean, float(mean - half), float(mean + half), len(values))
