"""Voxelwise encoding models: from features to betas, their scores and their significance.

The order of a map: fit a `VoxelwiseEncoder` on training images, `correlation` between predicted
and measured betas of test images, `normalised_correlation` by the noise ceiling, `p_values`,
`fdr`. NaN marks a vertex for which a number is not defined, and stays NaN through all of them.
"""

import numpy as np
import torch
from scipy import stats
from sklearn.base import BaseEstimator

from latentcortex.ridge import Ridge


class VoxelwiseEncoder(BaseEstimator):
    """Predict the betas of every vertex from the features of the image, by ridge regression.

    Features of any trailing shape are flattened and z-scored with training statistics; every
    vertex has an intercept and, by default, a penalty of its own. Predictions have the kind
    (numpy or torch) and the device of the betas fitted, and the regression runs there.

    Parameters
    ----------
    alphas : array of shape (n_alphas,) or None
        Penalties; None takes ``ridge.alpha_grid(n_features)``.
    cv : "gcv" or int
        Generalised cross-validation, which takes one row per image and refuses repeats, or the
        number of folds, in which the repeats of an image stay together.
    alpha_per_target, block_size
        See `latentcortex.ridge.Ridge`.

    Attributes
    ----------
    ridge_ : Ridge
        The fitted regression: ``coef_`` (n_features, n_vertices), ``alpha_``, ``edge_share_``.
    """

    def __init__(self, alphas=None, cv="gcv", alpha_per_target=True, block_size=1024):
        self.alphas = alphas
        self.cv = cv
        self.alpha_per_target = alpha_per_target
        self.block_size = block_size

    def fit(self, features, betas, image_ids, n_repeats=None):
        """Fit on training rows, averages of repeats or single trials.

        Parameters
        ----------
        features : array of shape (n_images, ...)
            Row i holds the features of ``image_ids[i]``.
        betas : array of shape (n_images, n_vertices)
        image_ids : array of int, shape (n_images,)
        n_repeats : array of int, shape (n_images,), optional
            Trials averaged in each row. With these weights averages give the coefficients of the
            single trials exactly, at the same penalty, in a third of the rows.

        Returns
        -------
        self
        """
        if not len(features) == len(betas) == len(image_ids):
            raise ValueError(
                "features, betas and image_ids must have one row per image; got "
                f"{len(features)}, {len(betas)} and {len(image_ids)} rows."
            )
        self._kind = betas[:0]
        self.ridge_ = Ridge(
            self.alphas, self.cv, self.alpha_per_target, zscore=True, block_size=self.block_size
        ).fit(self._like_betas(features), betas, groups=image_ids, sample_weight=n_repeats)
        return self

    def predict(self, features):
        """Predict betas.

        Parameters
        ----------
        features : array of shape (n_images, ...)

        Returns
        -------
        array of shape (n_images, n_vertices)
        """
        return self.ridge_.predict(self._like_betas(features))

    def _like_betas(self, features):
        features = features.reshape(len(features), -1)
        if torch.is_tensor(self._kind):
            return torch.as_tensor(features, device=self._kind.device)
        return features.cpu().numpy() if torch.is_tensor(features) else features


def correlation(predicted, measured):
    """Correlate predicted with measured betas over images, vertex by vertex.

    Parameters
    ----------
    predicted, measured : array of shape (n_images, n_vertices)
        Of images that were not fitted.

    Returns
    -------
    array of shape (n_vertices,), in [-1, 1]
        Pearson's r; NaN where either does not vary.
    """
    predicted, measured = _paired(predicted, measured)
    counts = np.ones((1, len(predicted)), dtype=predicted.dtype)
    return _weighted_correlation(counts, predicted, measured)[0]


def bootstrap_correlation(predicted, measured, rng, n_draws=200):
    """Draw images with replacement and correlate anew, vertex by vertex.

    A generator of the same seed draws the same images, so that the maps of two feature spaces
    can be subtracted draw by draw. Percentiles of an ROI's mean over draws are an interval that
    knows that vertices are not independent; those of single vertices do not.

    Parameters
    ----------
    predicted, measured : array of shape (n_images, n_vertices)
    rng : numpy.random.Generator
    n_draws : int

    Returns
    -------
    array of shape (n_draws, n_vertices), in [-1, 1]
    """
    predicted, measured = _paired(predicted, measured)
    n_images = len(predicted)
    counts = rng.multinomial(n_images, np.full(n_images, 1 / n_images), size=n_draws)
    return _weighted_correlation(counts.astype(predicted.dtype), predicted, measured)


def p_values(r, n_images):
    """Test whether a correlation between held-out prediction and measurement exceeds 0.

    One-sided: a prediction that is right about the opposite is no evidence. Under the null of
    images that are independent and a measurement that is Gaussian and unrelated to the
    prediction, r sqrt((n - 2) / (1 - r^2)) follows Student's t with n - 2 degrees of freedom,
    whatever the prediction. Autocorrelation between rows breaks the test: give it one row per
    image.

    Parameters
    ----------
    r : array, in [-1, 1]
    n_images : int
        Number of rows correlated, at least 3.

    Returns
    -------
    array of the shape of r, in [0, 1]; NaN where r is
    """
    if n_images < 3:
        raise ValueError(f"A correlation over {n_images} images has no test: give at least 3.")
    r = np.asarray(r, dtype=np.float64)
    with np.errstate(divide="ignore"):
        return stats.t.sf(r * np.sqrt((n_images - 2) / (1 - r**2)), n_images - 2)


def fdr(p_values, q=0.05):
    """Control the false discovery rate over vertices (Benjamini and Hochberg 1995, JRSS B 57).

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
    """
    if not 0 < q < 1:
        raise ValueError(f"q must lie between 0 and 1, e.g. 0.05 for 5 in 100; got {q}.")
    adjusted = np.array(p_values, dtype=np.float64)
    tested = ~np.isnan(adjusted)
    adjusted[tested] = stats.false_discovery_control(adjusted[tested])
    return adjusted <= q, adjusted


def normalised_correlation(r, noise_ceiling, lowest=0.05):
    """Divide correlations by the largest that noise allows, sqrt(noise_ceiling).

    Parameters
    ----------
    r : array of shape (..., n_vertices)
        Correlations, or differences or draws of them.
    noise_ceiling : array of shape (n_vertices,), in [0, 1]
        Share of the variance of the measured betas that repeats (R2), for as many repeats as
        were averaged in them.
    lowest : float
        Vertices below this ceiling become NaN: dividing by almost nothing makes noise large.

    Returns
    -------
    array of the shape of r; 1 is as good as any model can be, chance may exceed it
    """
    noise_ceiling = np.asarray(noise_ceiling)
    if np.nanmax(noise_ceiling) > 1 or np.nanmin(noise_ceiling) < 0:
        raise ValueError(
            "noise_ceiling must be a share of variance in [0, 1] (divide percent by 100); got "
            f"{np.nanmin(noise_ceiling):.3g} to {np.nanmax(noise_ceiling):.3g}."
        )
    return r / np.sqrt(np.where(noise_ceiling >= lowest, noise_ceiling, np.nan))


def preference(r_first, r_second, noise_ceiling, lowest=0.05):
    """Map which of two feature spaces predicts a vertex better: first minus second.

    Parameters
    ----------
    r_first, r_second : array of shape (..., n_vertices)
        Correlations, or bootstrap draws of them, on the same test images, e.g. of z and of c.
    noise_ceiling, lowest
        See `normalised_correlation`.

    Returns
    -------
    array of the shape of r_first; NaN where the noise ceiling is below `lowest`
    """
    return normalised_correlation(r_first - r_second, noise_ceiling, lowest)


def _paired(predicted, measured):
    predicted, measured = np.asarray(predicted), np.asarray(measured)
    if predicted.ndim != 2 or predicted.shape != measured.shape:
        raise ValueError(
            "predicted and measured must both be (n_images, n_vertices); got "
            f"{predicted.shape} and {measured.shape}."
        )
    dtype = np.result_type(predicted, measured, np.float32)
    return predicted.astype(dtype), measured.astype(dtype)


def _weighted_correlation(counts, predicted, measured):
    """Correlate with image i counted counts[k, i] times: (n_draws, n_vertices)."""
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
