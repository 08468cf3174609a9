"""What a score must be compared with: reconstructions that need little of the brain, or none.

Functions of arrays alone. Rows of training images are returned as numbers, so that whoever shows
such a picture can say which image it is.
"""

import numpy as np
from scipy.ndimage import gaussian_filter

from latentcortex.metrics.checks import finite, standardise


def mean_image(train_images, n):
    """Return the mean training image n times: train_images (m, 3, h, w) to (n, 3, h, w)."""
    return np.repeat(finite("train_images", train_images, ndim=4).mean(axis=0)[None], n, axis=0)


def blurred(images, sigma):
    """Blur images (n, 3, h, w) with a Gaussian of standard deviation `sigma`, in pixels.

    Mirrored at the borders. The blurred truth knows where it is light and nothing else: what it
    scores is what a score gives for that.
    """
    if sigma < 0:
        raise ValueError(f"Expected a sigma of at least 0 pixels, got {sigma}.")
    return gaussian_filter(finite("images", images, ndim=4), (0, 0, sigma, sigma), mode="reflect")


def random_training_rows(n_train, n, rng):
    """Draw a training image for each of n test images: int array (n,) of rows, none twice."""
    if n > n_train:
        raise ValueError(f"Can't draw {n} different images out of {n_train} training images.")
    return rng.choice(n_train, n, replace=False)


def nearest_training_rows(features_train, features_pred):
    """Find the training image whose features correlate most with the decoded ones.

    A decoder that does no better than these images has learned to look up its training set.

    Parameters
    ----------
    features_train : array (m, ...)
        True features of the training images. Subtract the training mean from both first where
        all images share much.
    features_pred : array (n, ...)
        Decoded features of the test images.

    Returns
    -------
    rows : int array (n,)
        Into the training images.
    r : array (n,)
        The correlations reached.
    """
    train = standardise("features_train", finite("features_train", features_train))
    pred = standardise("features_pred", finite("features_pred", features_pred))
    if train.shape[1] != pred.shape[1]:
        raise ValueError(
            f"Expected as many features of training images as decoded ones, got {train.shape[1]} "
            f"and {pred.shape[1]}."
        )
    r = pred @ train.T
    rows = r.argmax(axis=1)
    return rows, r[np.arange(len(rows)), rows]


def shuffled_rows(n, rng):
    """Draw a permutation of n >= 2 rows in which none keeps its place: int array (n,).

    Uniform among all of them: other permutations are drawn until one has no fixed point.
    """
    if n < 2:
        raise ValueError(f"Expected at least two rows to exchange, got {n}.")
    while True:
        rows = rng.permutation(n)
        if (rows != np.arange(n)).all():
            return rows


def project_on_span(features, features_train):
    """Project features on the affine span of the training images' features.

    A linear decoder with an intercept and one penalty for all numbers predicts nothing outside of
    it; what the true features lose there is lost to every such decoder. With a penalty for each
    number, or rescaled number by number, predictions may leave it a little.

    Parameters
    ----------
    features : array (n, ...)
        Decoded or true.
    features_train : array (m, ...)

    Returns
    -------
    projected : array (n, ...)
    """
    return _project("features", features, "features_train", features_train)


def bottleneck(features_pred, fitted_train, n_dimensions):
    """Let decoded features pass through few numbers: a decoder of that rank.

    The numbers are the coordinates along the first principal directions of what the decoder
    predicts for its training images, which is how reduced-rank regression chooses them
    (Izenman, Journal of Multivariate Analysis 5, 248 (1975)). The question is that of
    Mayo et al., "BrainBits" (2024): how little of the brain do reconstructions need?

    Parameters
    ----------
    features_pred : array (n, ...)
        Predictions for the test images.
    fitted_train : array (m, ...)
        Predictions of the same decoder for its training images.
    n_dimensions : int
        At least 1; more than there are change nothing.

    Returns
    -------
    array (n, ...)
    """
    if n_dimensions < 1:
        raise ValueError(f"Expected a bottleneck of at least 1 dimension, got {n_dimensions}.")
    return _project("features_pred", features_pred, "fitted_train", fitted_train, n_dimensions)


def _project(name, features, name_of_span, spanning, n_dimensions=None):
    """Project on the mean of some rows and their first principal directions, by default all."""
    features = finite(name, features)
    rows = finite(name_of_span, spanning).reshape(len(spanning), -1)
    mean = rows.mean(axis=0)
    _, sizes, directions = np.linalg.svd(rows - mean, full_matrices=False)
    directions = directions[sizes > 1e-10 * sizes[0]][:n_dimensions]
    projected = (features.reshape(len(features), -1) - mean) @ directions.T @ directions
    return (mean + projected).reshape(features.shape)
