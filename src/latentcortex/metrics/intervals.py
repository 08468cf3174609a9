"""Turn scores into intervals: bootstrap over images, t over subjects."""

from typing import NamedTuple

import numpy as np
from scipy import stats

from latentcortex.metrics.checks import NUMBERS, batches, finite, generator, number, pair


class Interval(NamedTuple):
    """A mean, the two ends of its interval, and the number of images or subjects it comes from.

    As text it is "+0.009 [+0.006, +0.012]"; a format is used for all three: f"{interval:.2f}".
    """

    mean: float
    low: float
    high: float
    n: int

    def __format__(self, spec):
        # z: what is rounded to zero has no sign.
        mean, low, high = (format(value, spec or "+z.3f") for value in self[:3])
        return f"{mean} [{low}, {high}]"

    def __str__(self):
        return format(self)


def bootstrap_mean(scores, rng, n_resamples=2000, level=0.95):
    """Return the mean of per-image scores with an interval from a bootstrap over images (percentiles).

    Average the scores of several subjects or drawings of the same image first, so that whole images are
    drawn. The gallery that the scores were computed against stays fixed.

    Parameters
    ----------
    scores : array (n_images,)
    rng : numpy.random.Generator
    n_resamples : int
        At least 1. Few resamples are held at a time; the memory does not depend on their number.
    level : float
        Coverage of the interval, between 0 and 1: 0.95, not 95.

    Returns
    -------
    Interval

    Raises
    ------
    ValueError
        For fewer than two images, values that are not finite, or arguments outside their range.
    """
    scores, rng = finite("scores", scores, ndim=1), generator(rng)
    if len(scores) < 2:
        raise ValueError("One image has no interval: the bootstrap needs at least two.")
    number("n_resamples", n_resamples, 1, whole=True)
    number("level", level, 0, 1, strict=True)
    n, means = len(scores), np.empty(n_resamples)
    for some in batches(n_resamples, max(1, NUMBERS // n)):
        means[some] = scores[rng.integers(n, size=(some.stop - some.start, n))].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(scores.mean()), float(low), float(high), n)


def paired_difference(scores_a, scores_b, rng, n_resamples=2000, level=0.95):
    """Return the mean of a - b with its bootstrap interval, scores (n_images,) of the same images.

    The same images are drawn for both. Arguments, result and errors are those of `bootstrap_mean`.
    """
    scores_a, scores_b = pair("scores_a", scores_a, "scores_b", scores_b, ndim=1)
    return bootstrap_mean(scores_a - scores_b, rng, n_resamples, level)


def is_noninferior(difference, margin):
    """Return whether a is at most `margin` worse than b, from the `Interval` of a - b.

    Declare the margin, which is positive, before the run. The answer is True if the lower end of the
    interval lies above -margin. False means that this was not shown, which is not the same as worse.
    """
    number("margin", margin, 0, strict=True)
    number("the lower end of the difference", difference.low)
    return difference.low > -margin


def t_interval(values, level=0.95):
    """Return the t `Interval` of the mean of values (n_subjects,), because four can't be bootstrapped.

    Raises ValueError for fewer than two subjects, values that are not finite, or a level that does not
    lie between 0 and 1: 0.95, not 95.
    """
    values = finite("values", values, ndim=1)
    if len(values) < 2:
        raise ValueError("One subject has no interval: a t interval needs at least two.")
    number("level", level, 0, 1, strict=True)
    half = stats.t.ppf((1 + level) / 2, len(values) - 1) * stats.sem(values)
    mean = float(values.mean())
    return Interval(mean, float(mean - half), float(mean + half), len(values))
