"""Estimate noise ceilings from trials in three ways, as the share of variance that repeats.

Let S be the signal variance over images and N the noise variance over repeats of an image. The average of n
trials has the ceiling S / (S + N / n), which is the largest R2 that any model can reach. For unequal numbers
of trials the ceiling is S / (S + N mean(1 / n)), as in `nsd.noise_ceiling`.

All three estimates assume independent noise. A drift over several trials of an image counts as signal, so
z-score by session first (`nsd.zscore`). All estimates are clipped to [0, 1], so low ceilings are too large on
average.
"""

import numpy as np

from latentcortex.encoding.correlations import correlation
from latentcortex.ridge.rows import as_numpy, check_count, plain, whole_numbers


def explainable_variance(betas, image_ids, n_repeats=None):
    """Return the noise ceiling from an analysis of variance, without the bias of few repeats.

    N is the mean square of trials around the mean of their image. S = (B - N) / n_0, where B is the mean
    square between images. Here n_0 = (n_trials - sum n_i^2 / n_trials) / (n_images - 1). Subtracting N
    corrects a bias, because the mean of few repeats still contains noise (Sahani and Linden 2003, NIPS 15).
    For unequal numbers see Searle, Casella and McCulloch (1992), Variance Components, chapter 3.

    Parameters
    ----------
    betas : array of shape (n_trials, n_vertices)
    image_ids : array of int, shape (n_trials,)
        The image of each trial. There must be at least two images, one of them with several trials.
    n_repeats : int or array of int, shape (n_images,), optional
        Number of trials in the averages that are scored, at least 1. None takes the numbers found in
        `image_ids`.

    Returns
    -------
    array of shape (n_vertices,), in [0, 1]; NaN where a vertex does not vary or holds NaN

    Raises
    ------
    ValueError
        If values are masked or infinite, if shapes differ, or if no image has repeats.
    """
    betas, counts, first = _sorted_trials(betas, image_ids)
    n_trials, n_images = len(betas), len(counts)
    means = np.add.reduceat(betas, first) / counts[:, None]
    noise = ((betas - np.repeat(means, counts, axis=0)) ** 2).sum(0) / (n_trials - n_images)
    between = counts @ (means - betas.mean(0)) ** 2 / (n_images - 1)
    signal = (between - noise) / ((n_trials - (counts**2).sum() / n_trials) / (n_images - 1))
    return _ceiling(signal, noise, counts if n_repeats is None else n_repeats)


def split_half_ceiling(betas, image_ids, rng, n_splits=50, n_repeats=None):
    """Return the noise ceiling from the correlation between two halves of the trials of each image.

    For an image with n trials, the average of h = floor(n / 2) random trials is compared with the average of
    h other trials. Images with a single trial are left out. The mean correlation over splits estimates r = S
    / (S + N mean(1 / h)). It follows that N / S = (1 / r - 1) / mean(1 / h). With h = n / 2 the ceiling is 2
    r / (1 + r), the formula of Spearman and Brown (1910).

    Parameters
    ----------
    betas, image_ids, n_repeats
        See `explainable_variance`. At least three images must have several trials.
    rng : numpy.random.Generator
    n_splits : int
        At least 1.

    Returns
    -------
    array of shape (n_vertices,), in [0, 1]; NaN where a vertex does not vary or holds NaN

    Raises
    ------
    ValueError
        As in `explainable_variance`, and if too few images have repeats or the number of splits is below 1.
    """
    check_count(n_splits, "n_splits")
    betas, counts, _ = _sorted_trials(betas, image_ids)
    image, halves = np.repeat(np.arange(len(counts)), counts), counts // 2
    repeated = halves > 0
    if repeated.sum() < 3:
        raise ValueError(f"Halves are correlated over images: 3 need several trials; got {repeated.sum()}.")
    # Place of each trial among those of its image, once they are in a random order.
    place = np.arange(len(image)) - np.repeat(np.cumsum(counts) - counts, counts)
    starts = (np.cumsum(halves) - halves)[repeated]
    r = 0
    for _ in range(n_splits):
        order = np.lexsort((rng.random(len(image)), image))
        parts = (order[place < halves[image]], order[(place >= halves[image]) & (place < 2 * halves[image])])
        r = r + correlation(
            *(np.add.reduceat(betas[rows], starts) / halves[repeated, None] for rows in parts)
        )
    r = np.clip(r / n_splits, 0, 1)
    noise = (1 - r) / np.mean(1 / halves[repeated])
    return _ceiling(r, noise, counts if n_repeats is None else n_repeats)


def shuffle_ceiling(betas, image_ids, rng, n_shuffles=50, n_repeats=None):
    """Return the noise ceiling from how much less averages vary if trials are shuffled across images.

    Let m = mean(1 / n_i). Averages over the trials of an image have the variance S + N m. Averages over the
    same number of trials of random images have the variance m (N + S c). Here c is the share of pairs of
    trials that show two images: c = (n_trials - sum n_i^2 / n_trials) / (n_trials - 1). So S is the
    difference of the two variances, divided by 1 - m c.

    Parameters
    ----------
    betas, image_ids, n_repeats
        See `explainable_variance`.
    rng : numpy.random.Generator
    n_shuffles : int
        At least 1.

    Returns
    -------
    array of shape (n_vertices,), in [0, 1]; NaN where a vertex does not vary or holds NaN

    Raises
    ------
    ValueError
        As in `explainable_variance`, and if the number of shuffles is below 1.
    """
    check_count(n_shuffles, "n_shuffles")
    betas, counts, first = _sorted_trials(betas, image_ids)
    n_trials, mean_share = len(betas), np.mean(1 / counts)
    varies = np.var(np.add.reduceat(betas, first) / counts[:, None], axis=0, ddof=1)
    shuffled = 0
    for _ in range(n_shuffles):
        of_any = np.add.reduceat(betas[rng.permutation(n_trials)], first) / counts[:, None]
        shuffled = shuffled + np.var(of_any, axis=0, ddof=1) / n_shuffles
    pairs = (n_trials - (counts**2).sum() / n_trials) / (n_trials - 1)
    signal = (varies - shuffled) / (1 - mean_share * pairs)
    return _ceiling(signal, (varies - signal) / mean_share, counts if n_repeats is None else n_repeats)


def _sorted_trials(betas, image_ids):
    """Return centred trials in float64 sorted by image, trials of each image, and the first row of each."""
    betas = as_numpy(plain(betas, "betas"))
    if betas.ndim != 2 or np.isinf(betas).any():
        raise ValueError(
            "betas must be (n_trials, n_vertices), NaN where there is no value; got the shape "
            f"{betas.shape} and {np.isinf(betas).sum():,} infinite values."
        )
    image_ids = whole_numbers(image_ids, "image_ids", len(betas))
    _, first, counts = np.unique(np.sort(image_ids), return_index=True, return_counts=True)
    if len(counts) < 2 or len(counts) == len(image_ids):
        raise ValueError(
            f"A ceiling needs several images and repeats of some: got {len(image_ids)} trials of "
            f"{len(counts)} images. Give single trials, not averages."
        )
    betas = betas.astype(np.float64)  # NSD's whole numbers would overflow
    # A constant less its first row is 0 without rounding, and 0 has no ceiling.
    betas = (betas - betas[0])[np.argsort(image_ids, kind="stable")]
    return betas, counts, first


def _ceiling(signal, noise, n_repeats):
    """Return S / (S + N mean(1 / n)) in [0, 1], where S and N are estimates; NaN where both are 0."""
    n_repeats = np.atleast_1d(as_numpy(plain(n_repeats, "n_repeats")))
    n_repeats = whole_numbers(n_repeats, "n_repeats", len(n_repeats), lowest=1)
    signal, noise = np.maximum(signal, 0), np.maximum(noise, 0) * np.mean(1 / n_repeats)
    return signal / np.where(signal + noise > 0, signal + noise, np.nan)
