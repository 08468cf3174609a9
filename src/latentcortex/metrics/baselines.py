"""Make baselines for scores: reconstructions that need little or no information from the brain.

These functions depend on arrays only. Training images are returned as row numbers, so a page that shows such
an image can name it.
"""

import numpy as np
from scipy.ndimage import gaussian_filter

from latentcortex.metrics.checks import batches, dense, finite, generator, number, pictures, standardise

BATCH = 1024  # decoded rows that are compared with the training images at a time


def mean_image(train_images, n):
    """Return n copies (n, 3, h, w) of the mean of training images (m, 3, h, w), floats in [0, 1]."""
    number("n", n, 1, whole=True)
    mean = pictures("train_images", train_images).mean(axis=0, dtype=np.float64)
    return np.repeat(mean[None], n, axis=0)


def blurred(images, sigma):
    """Return images (n, 3, h, w) blurred with a Gaussian of standard deviation `sigma`, in pixels.

    The images are floats in [0, 1] and are mirrored at the borders. A blurred original only shows where an
    image is light. So its score is what this information alone can reach.
    """
    number("sigma", sigma, 0)
    images = pictures("images", images).astype(np.float64)
    return gaussian_filter(images, (0, 0, sigma, sigma), mode="reflect")


def random_training_rows(n_train, n, rng):
    """Return a random training row for each of n test images, as an int array (n,) without repeats."""
    number("n", n, 1, whole=True)
    if number("n_train", n_train, 1, whole=True) < n:
        raise ValueError(f"Can't draw {n} different images out of {n_train} training images.")
    return generator(rng).choice(n_train, n, replace=False)


def nearest_training_rows(features_train, features_pred):
    """Return the training images whose features correlate most with the decoded ones.

    A decoder that is not better than these images may only look up its training set. Few decoded rows are
    compared at a time. The training features are held in float64.

    Parameters
    ----------
    features_train : array (m, ...)
        True features of the training images. If all images have much in common, subtract the training mean
        from both arguments first.
    features_pred : array (n, ...)
        Decoded features of the test images.

    Returns
    -------
    rows : int array (n,)
        Row numbers of the training images.
    r : array (n,)
        Correlation of each decoded row with the training image found.

    Raises
    ------
    ValueError
        If features have unequal shapes, are not finite, or are constant in a row.
    """
    train = finite("features_train", features_train)
    pred = dense("features_pred", features_pred)
    if train.shape[1:] != pred.shape[1:]:
        raise ValueError(
            "Expected features of training images and decoded features of one shape, got "
            f"{train.shape[1:]} and {pred.shape[1:]}."
        )
    train = standardise("features_train", train).T
    rows, best = np.empty(len(pred), int), np.empty(len(pred))
    for some in batches(len(pred), BATCH):
        r = standardise("features_pred", pred[some].astype(np.float64), some.start) @ train
        rows[some] = r.argmax(axis=1)
        best[some] = r.max(axis=1)
    return rows, best


def shuffled_rows(n, rng):
    """Return a random permutation of n >= 2 rows that moves every row, as an int array (n,).

    All such permutations are equally likely, because a permutation with a fixed point is drawn again.
    """
    number("n", n, 2, whole=True)
    while True:
        rows = generator(rng).permutation(n)
        if (rows != np.arange(n)).all():
            return rows


def project_on_span(features, features_train):
    """Return features projected on the affine span of the training images' features.

    A linear decoder with an intercept and one penalty for all targets cannot predict anything outside this
    span. So every such decoder loses what the true features lose by the projection. With a penalty per
    target, or with rescaling, predictions may leave the span a little.

    Parameters
    ----------
    features : array (n, ...)
        Decoded or true features.
    features_train : array (m, ...)

    Returns
    -------
    projected : array (n, ...)
    """
    return _project("features", features, "features_train", features_train)


def bottleneck(features_pred, fitted_train, n_dimensions):
    """Return decoded features that pass through few dimensions, like those of a decoder of that rank.

    The dimensions are the first principal directions of the decoder's predictions for its training images.
    Reduced-rank regression chooses the same directions (Izenman 1975, Journal of Multivariate Analysis 5,
    248). Mayo et al., "BrainBits" (2024), ask the same question: how little of the brain do reconstructions
    need?

    Parameters
    ----------
    features_pred : array (n, ...)
        Predictions for the test images.
    fitted_train : array (m, ...)
        Predictions of the same decoder for its training images.
    n_dimensions : int
        At least 1. A number above the rank of the predictions changes nothing.

    Returns
    -------
    array (n, ...)
    """
    number("n_dimensions", n_dimensions, 1, whole=True)
    return _project("features_pred", features_pred, "fitted_train", fitted_train, n_dimensions)


def _project(name, features, name_of_span, spanning, n_dimensions=None):
    """Project on the mean of some rows and their first principal directions, by default all."""
    features, rows = finite(name, features), finite(name_of_span, spanning)
    if features.shape[1:] != rows.shape[1:]:
        raise ValueError(
            f"Expected {name} and {name_of_span} of one shape, got {features.shape[1:]} and {rows.shape[1:]}."
        )
    rows = rows.reshape(len(rows), -1)
    mean = rows.mean(axis=0)
    _, sizes, directions = np.linalg.svd(rows - mean, full_matrices=False)
    directions = directions[sizes > 1e-10 * sizes[0]][:n_dimensions]
    projected = (features.reshape(len(features), -1) - mean) @ directions.T @ directions
    return (mean + projected).reshape(features.shape)
