"""The chance that a study finds what is there, from many simulated studies; the level that fits a reader."""

import itertools
from dataclasses import dataclass

import numpy as np
from scipy import stats

from latentcortex.metrics.intervals import wilson

LEVEL = 0.95
NEAR_ZERO = 0.1  # ncsnr below which a vertex counts as one without signal
FEWEST = 10  # studies with a finding that an exaggeration is computed from
PRIOR = (
    0.1  # sum of squares of a chance over sets that is taken for known; intervals tried with 15 to 50 sets
)
OUTSIDE = 2**0.5  # farther than this factor from all levels, none of them fits


def studies_of(estimates, n_subjects):
    """Return the mean of every study of so many subjects with its 95 % t interval over subjects.

    Parameters
    ----------
    estimates : array (n_sets, n_simulated, ...)
        Of subjects that saw the same test images. Each choice of `n_subjects` of them is a study.
    n_subjects : int
        From 2 to n_simulated: one subject has no interval over subjects.

    Returns
    -------
    mean, low, high : arrays (n_sets, n_studies, ...)

    Raises
    ------
    ValueError
        For a number of subjects outside this range.
    """
    n_simulated = estimates.shape[1]
    if not 2 <= n_subjects <= n_simulated:
        raise ValueError(
            f"n_subjects: expected 2 to {n_simulated}, the subjects simulated; got {n_subjects}."
        )
    chosen = estimates[:, list(itertools.combinations(range(n_simulated), n_subjects))]
    mean = chosen.mean(2)
    half = stats.t.ppf((1 + LEVEL) / 2, n_subjects - 1) * chosen.std(2, ddof=1) / n_subjects**0.5
    return mean, mean - half, mean + half


def rates(mean, low, high):
    """Return how often studies find a difference, how often with the sign that is planted, and how large.

    A study finds a difference where its interval lies above or below 0. The planted sign is positive.

    Parameters
    ----------
    mean, low, high : arrays (n_sets, n_studies, ...)
        As from `studies_of`. Studies of one set share subjects and images, so only sets count. A study with
        NaN has found nothing.

    Returns
    -------
    dict of str to array (...)
        ``"found"`` and ``"right"``, shares of all studies; ``"found_se"`` and ``"right_se"``, their
        standard errors; ``"exaggeration"``, the mean size of an estimate that was found over that of the
        mean of all (NaN where fewer than FEWEST studies found anything); ``"estimate"`` and ``"spread"``,
        mean and standard deviation over studies; ``"half"``, the mean half of the interval.
    """
    above, below = low > 0, high < 0
    found, n_sets = above | below, len(mean)
    result = {}
    for name, of in (("found", found), ("right", above)):
        by_set = of.mean(1)
        result |= {name: by_set.mean(0), f"{name}_se": by_set.std(0, ddof=1) / n_sets**0.5}
    number, size = found.sum((0, 1)), np.where(found, np.abs(mean), 0).sum((0, 1))
    result["estimate"], result["spread"] = np.nanmean(mean, (0, 1)), np.nanstd(mean, (0, 1))
    result["half"] = np.nanmean((high - low) / 2, (0, 1))
    of_all = np.abs(result["estimate"]) * number
    known = (number >= FEWEST) & (of_all > 0)
    return {**result, "exaggeration": np.where(known, size, np.nan) / np.where(known, of_all, 1)}


def chance_interval(rate, standard_error, n_sets):
    """Return the ends of the 95 % interval of a simulated chance p, after Wilson (1927).

    A set of several studies tells more than one study does, so n sets with the standard error s count as

        n (n p (1 - p) + PRIOR) / (n (n - 1) s^2 + PRIOR)

    studies. Without PRIOR this would be p (1 - p) / s^2, which is not known where p is 0 or 1 in every set.
    There, n sets count as n studies, and there is no jump next to it. In place of the normal quantile stands
    that of Student's t distribution for n - 1 degrees of freedom.

    Parameters
    ----------
    rate, standard_error : arrays, in [0, 1]
        As from `rates`: mean over sets, and its standard error.
    n_sets : int
        Independent sets of studies, at least 2.

    Returns
    -------
    low, high : arrays, in [0, 1]

    Raises
    ------
    ValueError
        For fewer than two sets.
    """
    if not n_sets >= 2:
        raise ValueError(f"n_sets: expected at least 2, because one set has no standard error; got {n_sets}.")
    rate, variance = np.asarray(rate, float), np.square(np.asarray(standard_error, float))
    product = rate * (1 - rate)
    n = n_sets * (n_sets * product + PRIOR) / (n_sets * (n_sets - 1) * variance + PRIOR)
    t = stats.t.ppf((1 + LEVEL) / 2, n_sets - 1)
    low, high = wilson(rate, n, t)
    return low.clip(0, 1), high.clip(0, 1)


@dataclass(frozen=True)
class SignalFit:
    """How strong the signal of a reader's own vertices is.

    Attributes
    ----------
    none : float
        Share of the vertices with a ratio of signal to noise below NEAR_ZERO.
    shape, scale : float
        Of the gamma distribution of the ratios of all other vertices.
    median : float
        Of these ratios.
    level : float
        The nearest of the levels that were simulated, as a factor of the simulated ratios.
    fits : bool
        Whether the median lies within a factor of OUTSIDE of that level's.
    """

    none: float
    shape: float
    scale: float
    median: float
    level: float
    fits: bool


def fit_ncsnr(ceilings, n_repeats, levels, planted_median):
    """Fit the distribution of a reader's own noise ceilings, and find the nearest simulated level.

    A vertex whose averages over n trials have the ceiling NC has the ratio of signal to noise (ncsnr)

        sqrt(NC / (n (1 - NC)))

    Ratios below NEAR_ZERO are counted as a point; a gamma distribution is fitted to the others.

    Parameters
    ----------
    ceilings : array (n_vertices,), in [0, 1)
        Share of the variance of averages that repeats (R2), of the vertices of interest: not of the
        whole brain, most of which does not respond.
    n_repeats : int
        Trials in each average.
    levels : sequence of float
        Factors that were simulated.
    planted_median : float
        Median ratio at the factor 1, among vertices that are not near zero.

    Returns
    -------
    SignalFit

    Raises
    ------
    ValueError
        For ceilings outside [0, 1), such as percent, missing or masked values, fewer than ten vertices with
        a signal, equal ratios at all of these, or a number of repeats below 1.
    """
    # Masked vertices would come back with whatever value lies below the mask.
    ceilings = np.ma.filled(np.ma.asarray(ceilings, float), np.nan).ravel()
    if not np.isfinite(ceilings).all():
        raise ValueError(
            f"ceilings: {(~np.isfinite(ceilings)).sum():,} values are missing or infinite. Leave them out."
        )
    if ((ceilings < 0) | (ceilings >= 1)).any():
        raise ValueError(
            f"ceilings: expected shares of variance from 0 to below 1, got {ceilings.min():g} to "
            f"{ceilings.max():g}. Divide percent by 100."
        )
    if not n_repeats >= 1:
        raise ValueError(f"n_repeats: expected the trials in each average, at least 1; got {n_repeats}.")
    ratios = np.sqrt(ceilings / (n_repeats * (1 - ceilings)))
    signal = ratios[ratios >= NEAR_ZERO]
    if len(signal) < 10:
        raise ValueError(
            f"ceilings: only {len(signal)} of {len(ratios)} vertices have a ratio of signal to noise of at "
            f"least {NEAR_ZERO}; ten are needed. Pass the vertices of a region that responds."
        )
    if np.ptp(signal) < 1e-6 * signal.max():
        raise ValueError(
            f"ceilings: all {len(signal)} vertices with a signal have the same one, so no distribution "
            "can be fitted. Pass one ceiling for each vertex."
        )
    shape, _, scale = stats.gamma.fit(signal, floc=0)
    median = float(np.median(signal))
    distance = np.log(median / (planted_median * np.asarray(levels, float)))
    nearest = int(np.abs(distance).argmin())
    return SignalFit(
        none=float((ratios < NEAR_ZERO).mean()),
        shape=float(shape),
        scale=float(scale),
        median=median,
        level=float(levels[nearest]),
        fits=bool(np.abs(distance[nearest]) <= np.log(OUTSIDE)),
    )
