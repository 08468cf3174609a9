"""Correlate predicted with measured betas, and bootstrap the correlations over images."""

import numpy as np

from latentcortex.ridge.rows import as_numpy, check_no_repeats, plain, whole_numbers


def correlation(predicted, measured, image_ids=None):
    """Return the correlation of predicted with measured betas over images, for each vertex.

    Parameters
    ----------
    predicted, measured : array of shape (n_images, n_vertices)
        Betas of images that were not used for fitting.
    image_ids : array of int, shape (n_images,), optional
        The image of each row. Several rows of one image are then an error.

    Returns
    -------
    array of shape (n_vertices,), in [-1, 1]
        Pearson's r. It is NaN where either array does not vary or holds NaN.

    Raises
    ------
    ValueError
        If shapes differ, values are masked or infinite, or `image_ids` has repeats.
    """
    predicted, measured = paired(predicted, measured, image_ids)
    counts = np.ones((1, len(predicted)), dtype=predicted.dtype)
    return _weighted_correlation(counts, predicted, measured)[0]


def bootstrap_correlation(predicted, measured, rng, n_draws=200, image_ids=None):
    """Return correlations over images drawn with replacement, for each vertex.

    Generators with the same seed draw the same images, so the maps of two feature spaces can be subtracted
    draw by draw. Percentiles of an ROI's mean over draws are an interval that takes the dependence between
    vertices into account. Intervals of single vertices do not.

    Parameters
    ----------
    predicted, measured : array of shape (n_images, n_vertices)
    rng : numpy.random.Generator
    n_draws : int
        At least 1.
    image_ids : array of int, shape (n_images,), optional
        The image of each row. Several rows of one image are then an error.

    Returns
    -------
    array of shape (n_draws, n_vertices), in [-1, 1]
        NaN where a vertex does not vary or holds NaN.

    Raises
    ------
    ValueError
        As in `correlation`, and if the number of draws is below 1.
    """
    predicted, measured = paired(predicted, measured, image_ids)
    if not (isinstance(n_draws, (int, np.integer)) and n_draws >= 1):
        raise ValueError(f"n_draws must be a whole number, at least 1; got {n_draws!r}.")
    n_images = len(predicted)
    counts = rng.multinomial(n_images, np.full(n_images, 1 / n_images), size=n_draws)
    return _weighted_correlation(counts.astype(predicted.dtype), predicted, measured)


def paired(predicted, measured, image_ids=None):
    """Return predicted and measured betas, checked, as arrays of one float dtype.

    A ValueError is raised if shapes differ, values are masked or infinite, or `image_ids` has repeats.
    """
    predicted, measured = (
        as_numpy(plain(values, name)) for values, name in ((predicted, "predicted"), (measured, "measured"))
    )
    if predicted.ndim != 2 or predicted.shape != measured.shape:
        raise ValueError(
            "predicted and measured must both be (n_images, n_vertices); got "
            f"{predicted.shape} and {measured.shape}."
        )
    for values, name in ((predicted, "predicted"), (measured, "measured")):
        infinite = np.isinf(values).any(0)
        if infinite.any():
            raise ValueError(
                f"{name} holds infinite values in {infinite.sum():,} of {len(infinite):,} vertices, the "
                f"first is {infinite.argmax()}. Where there is no value, write NaN."
            )
    if image_ids is not None:
        check_no_repeats(whole_numbers(image_ids, "image_ids", len(predicted)))
    dtype = np.result_type(predicted, measured, np.float32)
    return predicted.astype(dtype), measured.astype(dtype)


def _weighted_correlation(counts, predicted, measured):
    """Return correlations with image i counted counts[k, i] times: (n_draws, n_vertices)."""
    n_images = len(predicted)
    # Centred first, so that the differences of squares below lose no digits.
    a, b = zscore(predicted), zscore(measured)
    mean_a, mean_b = counts @ a / n_images, counts @ b / n_images
    covariance = counts @ (a * b) / n_images - mean_a * mean_b
    variance_a = counts @ a**2 / n_images - mean_a**2
    variance_b = counts @ b**2 / n_images - mean_b**2
    return np.clip(covariance / np.sqrt(variance_a * variance_b), -1, 1)


def zscore(betas):
    """Return z-scored betas (n_images, n_vertices); NaN where betas do not vary."""
    mean, sd = betas.mean(0), betas.std(0)
    # What varies by rounding alone is a constant and has no correlation.
    return (betas - mean) / np.where(sd > 10 * np.finfo(sd.dtype).eps * np.abs(mean), sd, np.nan)
