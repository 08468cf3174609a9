"""Voxelwise encoding models: from features to betas, their scores and their significance.

The order of a map: fit a `VoxelwiseEncoder` on training images, `correlation` between predicted
and measured betas of test images, `normalised_correlation` by the noise ceiling, `p_values`,
`fdr`. NaN marks a vertex for which a number is not defined, and stays NaN through all of them;
masked and infinite values are refused. The rows of a test are images, each once: functions that
take `image_ids` refuse images with several rows.
"""

import numpy as np
import torch
from scipy import stats
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from latentcortex.ridge import Ridge
from latentcortex.ridge.rows import (
    as_numpy,
    check_new_images,
    check_no_repeats,
    check_one_row_per_image,
    check_same_length,
    checked_rows,
    plain,
    whole_numbers,
)


class VoxelwiseEncoder(BaseEstimator):
    """Predict the betas of every vertex from the features of the image, by ridge regression.

    Features of any trailing shape are flattened and z-scored with training statistics. Every
    vertex has an intercept and, by default, a penalty of its own. Predictions have the kind
    (numpy or torch) and the device of the betas fitted, and the regression runs there. Lists are
    taken as arrays. Masked, missing and infinite values are refused.

    Parameters
    ----------
    alphas : array of shape (n_alphas,) or None
        Penalties; None takes ``ridge.alpha_grid(n_features)``.
    cv : "gcv" or int
        Generalised cross-validation, which takes one row per image and refuses repeats, or the
        number of folds, in which the repeats of an image stay together.
    alpha_per_target, block_size, criterion
        See `latentcortex.ridge.Ridge`.

    Attributes
    ----------
    ridge_ : Ridge
        The fitted regression: ``coef_`` (n_features, n_vertices), ``alpha_``, ``edge_share_``.
    image_ids_ : int array of shape (n_images,)
        The images of the training rows.
    feature_shape_ : tuple of int
        The shape of the features of one image.
    """

    def __init__(self, alphas=None, cv="gcv", alpha_per_target=True, block_size=1024, criterion="predicted"):
        self.alphas = alphas
        self.cv = cv
        self.alpha_per_target = alpha_per_target
        self.block_size = block_size
        self.criterion = criterion

    def fit(self, features, betas, image_ids, n_repeats=None):
        """Fit on training rows, averages of repeats or single trials.

        Parameters
        ----------
        features : array of shape (n_images, ...)
            Row i holds the features of ``image_ids[i]``.
        betas : array of shape (n_images, n_vertices)
        image_ids : array of int, shape (n_images,)
        n_repeats : array of int, shape (n_images,), optional
            Trials averaged in each row, at least 1. With these weights averages give the
            coefficients of the single trials exactly, at the same penalty, in a third of the rows.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the numbers of rows differ, if values are masked, missing or infinite, or if one
            image has different features in different rows, the sign of rows out of order.
        """
        features, betas = checked_rows(features, "features"), checked_rows(betas, "betas")
        check_same_length(features=features, betas=betas, image_ids=image_ids)
        image_ids = whole_numbers(image_ids, "image_ids", len(betas))
        if n_repeats is not None:
            n_repeats = whole_numbers(n_repeats, "n_repeats", len(betas), lowest=1)
        check_one_row_per_image(features.reshape(len(features), -1), image_ids)
        self.image_ids_, self.feature_shape_ = image_ids, tuple(features.shape[1:])
        self._kind = betas[:0]
        ridge = Ridge(
            self.alphas,
            self.cv,
            self.alpha_per_target,
            zscore=True,
            block_size=self.block_size,
            criterion=self.criterion,
        )
        rows = self._like_betas(features)
        self.ridge_ = ridge.fit(rows, betas, groups=image_ids, sample_weight=n_repeats)
        return self

    def predict(self, features, image_ids=None):
        """Return predicted betas.

        Parameters
        ----------
        features : array of shape (n_images, *feature_shape_)
        image_ids : array of int, shape (n_images,), optional
            Of these rows, where the predictions are to be tested. Images that the encoder has
            learned from are then an error, and so are several rows of one image: neither are
            independent of what they would be compared with.

        Returns
        -------
        array of shape (n_images, n_vertices)

        Raises
        ------
        ValueError
            For features of another shape, masked, missing or infinite ones, and for image ids as
            described.
        """
        check_is_fitted(self)
        features = checked_rows(features, "features", self.feature_shape_)
        if image_ids is not None:
            image_ids = whole_numbers(image_ids, "image_ids", len(features))
            check_new_images(image_ids, self.image_ids_, "encoder")
            check_no_repeats(image_ids)
        return self.ridge_.predict(self._like_betas(features))

    def _like_betas(self, features):
        features = features.reshape(len(features), -1)
        if torch.is_tensor(self._kind):
            return torch.as_tensor(features, device=self._kind.device)
        return as_numpy(features)


def correlation(predicted, measured, image_ids=None):
    """Return the correlation of predicted with measured betas over images, vertex by vertex.

    Parameters
    ----------
    predicted, measured : array of shape (n_images, n_vertices)
        Of images that were not fitted.
    image_ids : array of int, shape (n_images,), optional
        Of these rows: several rows of one image are then an error.

    Returns
    -------
    array of shape (n_vertices,), in [-1, 1]
        Pearson's r; NaN where either does not vary or holds NaN.

    Raises
    ------
    ValueError
        For shapes that differ, masked or infinite values, or repeats in `image_ids`.
    """
    predicted, measured = _paired(predicted, measured, image_ids)
    counts = np.ones((1, len(predicted)), dtype=predicted.dtype)
    return _weighted_correlation(counts, predicted, measured)[0]


def bootstrap_correlation(predicted, measured, rng, n_draws=200, image_ids=None):
    """Return correlations over images drawn with replacement, vertex by vertex.

    A generator of the same seed draws the same images, so that the maps of two feature spaces
    can be subtracted draw by draw. Percentiles of an ROI's mean over draws are an interval that
    knows that vertices are not independent; those of single vertices do not.

    Parameters
    ----------
    predicted, measured : array of shape (n_images, n_vertices)
    rng : numpy.random.Generator
    n_draws : int
        At least 1.
    image_ids : array of int, shape (n_images,), optional
        Of these rows: several rows of one image are then an error.

    Returns
    -------
    array of shape (n_draws, n_vertices), in [-1, 1]
        NaN where a vertex does not vary or holds NaN.

    Raises
    ------
    ValueError
        As `correlation`, and for a number of draws below 1.
    """
    predicted, measured = _paired(predicted, measured, image_ids)
    if not (isinstance(n_draws, (int, np.integer)) and n_draws >= 1):
        raise ValueError(f"n_draws must be a whole number, at least 1; got {n_draws!r}.")
    n_images = len(predicted)
    counts = rng.multinomial(n_images, np.full(n_images, 1 / n_images), size=n_draws)
    return _weighted_correlation(counts.astype(predicted.dtype), predicted, measured)


def p_values(r, n_images, image_ids=None):
    """Return the p-values of correlations between held-out predictions and measurements.

    The test is one-sided: a prediction that is right about the opposite is no evidence. Under the
    null of images that are independent and a measurement that is Gaussian and unrelated to the
    prediction, r sqrt((n - 2) / (1 - r^2)) follows Student's t with n - 2 degrees of freedom,
    whatever the prediction. Rows that are not independent break the test: with an autocorrelation
    of 0.5 between rows, most maps without any signal have discoveries. Give it one row per image,
    and give the image ids, so that repeats and single trials are refused.

    Parameters
    ----------
    r : array, in [-1, 1]
    n_images : int
        Number of rows correlated, at least 3.
    image_ids : array of int, shape (n_images,), optional
        Of the rows correlated: several rows of one image are then an error.

    Returns
    -------
    array of the shape of r, in [0, 1]; NaN where r is

    Raises
    ------
    ValueError
        For r outside [-1, 1], fewer than 3 images, or repeats in `image_ids`.
    """
    if not (isinstance(n_images, (int, np.integer)) and n_images >= 3):
        raise ValueError(f"A correlation over {n_images} images has no test: give at least 3.")
    if image_ids is not None:
        check_no_repeats(whole_numbers(image_ids, "image_ids", n_images))
    r = _within(r, "r", -1, 1).astype(np.float64)
    with np.errstate(divide="ignore"):
        return stats.t.sf(r * np.sqrt((n_images - 2) / (1 - r**2)), n_images - 2)


def fdr(p_values, q=0.05):
    """Return discoveries at a false discovery rate (Benjamini and Hochberg 1995, JRSS B 57).

    Of the vertices rejected, a share of at most q is false on average, if the tests are
    independent or positively dependent.

    Parameters
    ----------
    p_values : array, in [0, 1]
        NaN where a vertex was not tested; it does not count as a test.
    q : float in (0, 1)

    Returns
    -------
    rejected : bool array of the shape of p_values
    adjusted : array of the shape of p_values
        The smallest q at which the vertex would be rejected; NaN where not tested.

    Raises
    ------
    ValueError
        For q or p-values out of their range.
    """
    if not 0 < q < 1:
        raise ValueError(f"q must lie between 0 and 1, e.g. 0.05 for 5 in 100; got {q}.")
    adjusted = _within(p_values, "p_values", 0, 1).astype(np.float64)
    tested = ~np.isnan(adjusted)
    adjusted[tested] = stats.false_discovery_control(adjusted[tested])
    return adjusted <= q, adjusted


def normalised_correlation(r, noise_ceiling, lowest=0.05):
    """Return correlations divided by the largest that noise allows, sqrt(noise_ceiling).

    Parameters
    ----------
    r : array of shape (..., n_vertices), in [-2, 2]
        Correlations, or differences or draws of them.
    noise_ceiling : array of shape (n_vertices,), or of more of the last axes of r, in [0, 1]
        Share of the variance of the measured betas that repeats (R2), for as many repeats as
        were averaged in them.
    lowest : float in [0, 1]
        Vertices below this ceiling, and those whose ceiling is 0, become NaN: dividing by almost
        nothing makes noise large.

    Returns
    -------
    array of the shape of r; 1 is as good as any model can be, chance may exceed it
        NaN where r or the ceiling is NaN.

    Raises
    ------
    ValueError
        For values out of their ranges, or a ceiling that has not one value for each vertex of r.
    """
    r = _within(r, "r", -2, 2)
    noise_ceiling = _within(
        noise_ceiling, "noise_ceiling", 0, 1, "It is a share of variance: divide percent by 100."
    )
    if noise_ceiling.ndim == 0 or noise_ceiling.shape != r.shape[-noise_ceiling.ndim :]:
        raise ValueError(
            f"noise_ceiling must have one value for each vertex of r, {r.shape[-1:]} or more of its last "
            f"axes {r.shape}; got {noise_ceiling.shape}."
        )
    if not 0 <= lowest <= 1:
        raise ValueError(f"lowest must be a share of variance in [0, 1], as the ceiling; got {lowest}.")
    divisible = (noise_ceiling >= lowest) & (noise_ceiling > 0)
    return r / np.sqrt(np.where(divisible, noise_ceiling, np.nan))


def preference(r_first, r_second, noise_ceiling, lowest=0.05):
    """Return how much better the first of two feature spaces predicts a vertex than the second.

    Parameters
    ----------
    r_first, r_second : array of shape (..., n_vertices), in [-1, 1]
        Correlations, or bootstrap draws of them, on the same test images, e.g. of z and of c.
    noise_ceiling, lowest
        See `normalised_correlation`.

    Returns
    -------
    array of the shape of r_first
        Their difference over the root of the ceiling; NaN where the noise ceiling is below `lowest`.

    Raises
    ------
    ValueError
        As `normalised_correlation`, and for two shapes that differ.
    """
    r_first, r_second = _within(r_first, "r_first", -1, 1), _within(r_second, "r_second", -1, 1)
    if r_first.shape != r_second.shape:
        raise ValueError(
            f"r_first and r_second must have one shape; got {r_first.shape} and {r_second.shape}."
        )
    return normalised_correlation(r_first - r_second, noise_ceiling, lowest)


def _within(values, name, lowest, highest, advice=""):
    """Return numbers as an array, all within a range or NaN."""
    values = as_numpy(plain(values, name))
    wrong = ~((values >= lowest) & (values <= highest)) & ~np.isnan(values)
    if wrong.any():
        raise ValueError(
            f"{name} must lie in [{lowest}, {highest}], NaN where it is not defined; {wrong.sum():,} of "
            f"{wrong.size:,} values do not, such as {values[wrong][0]:.6g}. {advice}".rstrip()
        )
    return values


def _paired(predicted, measured, image_ids):
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
    a, b = _zscore(predicted), _zscore(measured)
    mean_a, mean_b = counts @ a / n_images, counts @ b / n_images
    covariance = counts @ (a * b) / n_images - mean_a * mean_b
    variance_a = counts @ a**2 / n_images - mean_a**2
    variance_b = counts @ b**2 / n_images - mean_b**2
    return np.clip(covariance / np.sqrt(variance_a * variance_b), -1, 1)


def _zscore(betas):
    mean, sd = betas.mean(0), betas.std(0)
    # What varies by rounding alone is a constant and has no correlation.
    return (betas - mean) / np.where(sd > 10 * np.finfo(sd.dtype).eps * np.abs(mean), sd, np.nan)
