"""Turn scores into intervals, by a bootstrap over images or Student's t over subjects."""

from typing import NamedTuple

import numpy as np
from scipy import stats

from latentcortex.metrics.checks import NUMBERS, batches, finite, generator, number, pair


class Interval(NamedTuple):
    """Hold a mean, the two ends of its interval, and the number of images or subjects behind it.

    As text it is "+0.009 [+0.006, +0.012]". A format such as f"{interval:.2f}" applies to all three numbers.
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
    """Return the mean of per-image scores, with a percentile interval from a bootstrap over images.

    First average the scores of several subjects or drawings of the same image, so that whole images are
    resampled. The gallery that the scores were computed against stays fixed.

    Parameters
    ----------
    scores : array (n_images,)
    rng : numpy.random.Generator
    n_resamples : int
        At least 1. Few resamples are held at a time, so the memory does not depend on their number.
    level : float
        Coverage of the interval, between 0 and 1, so 0.95 rather than 95.

    Returns
    -------
    Interval

    Raises
    ------
    ValueError
        If there are fewer than two images, values are not finite, or arguments are outside their range.
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
    """Return the mean difference a - b of scores (n_images,) of the same images, with its interval.

    The same images are resampled for both. Arguments, result and errors are those of `bootstrap_mean`.
    """
    scores_a, scores_b = pair("scores_a", scores_a, "scores_b", scores_b, ndim=1)
    return bootstrap_mean(scores_a - scores_b, rng, n_resamples, level)


def is_noninferior(difference, margin):
    """Return whether a is at most `margin` worse than b, from the `Interval` of a - b.

    Declare the margin, which is positive, before the run. The result is True if the lower end of the interval
    is above -margin. False means that this was not shown, which does not mean that a is worse.
    """
    number("margin", margin, 0, strict=True)
    number("the lower end of the difference", difference.low)
    return difference.low > -margin


def wilson(share, n, quantile):
    """Return the ends of Wilson's (1927) interval of shares of n trials, for a quantile such as 1.96.

    The numbers of trials need not be whole, where trials depend on each other.
    """
    middle = (share + quantile**2 / (2 * n)) / (1 + quantile**2 / n)
    half = quantile / (1 + quantile**2 / n) * np.sqrt(share * (1 - share) / n + quantile**2 / (4 * n**2))
    return middle - half, middle + half


def t_interval(values, level=0.95):
    """Return the t `Interval` of the mean of values (n_subjects,).

    Four subjects are too few for a bootstrap. A ValueError is raised if there are fewer than two subjects, if
    values are not finite, or if the level is not between 0 and 1.
    """
    values = finite("values", values, ndim=1)
    if len(values) < 2:
        raise ValueError("One subject has no interval: a t interval needs at least two.")
    number("level", level, 0, 1, strict=True)
    half = stats.t.ppf((1 + level) / 2, len(values) - 1) * stats.sem(values)
    mean = float(values.mean())
    return Interval(mean, float(mean - half), float(mean + half), len(values))


def over_subjects(values, level=0.95):
    """Return `t_interval`, or the mean with ends that are NaN if there is a single subject (1,)."""
    values = finite("values", values, ndim=1)
    if len(values) == 1:
        return Interval(float(values[0]), np.nan, np.nan, 1)
    return t_interval(values, level)
