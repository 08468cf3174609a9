"""Decode features of any shape from betas, by linear regression."""

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from latentcortex.ridge.images import ImageRidge, flat
from latentcortex.ridge.rows import (
    all_finite,
    check_new_images,
    check_one_row_per_image,
    check_same_length,
    checked_rows,
    whole_numbers,
)


class LinearDecoder(ImageRidge):
    """Decode features from betas by ridge regression.

    Voxels are z-scored with training statistics. Each number of the features has an intercept
    and, by default, a penalty of its own. Predictions have the kind (numpy or torch), the device
    and the trailing shape of the features fitted: latents (n, 4, h, w), token states
    (n, n_tokens, d). Where features are tensors on a GPU, the regression runs there, and else on `device`.
    Lists are taken as arrays. Masked, missing and infinite values are refused.

    Parameters
    ----------
    alphas : array of shape (n_alphas,) or None
        Penalties; None takes ``ridge.alpha_grid(n_voxels)``.
    cv : int or "gcv"
        Number of folds, in which the repeats of an image stay together, or generalised
        cross-validation, which takes one row per image and refuses repeats.
    alpha_per_target, block_size, criterion, device
        See `latentcortex.ridge.Ridge`.

    Attributes
    ----------
    ridge_ : Ridge
        The fitted regression, with ``alpha_``, ``cv_scores_`` and ``edge_share_``. Its coefficients are
        filters. They do not show where information is (Haufe et al. 2014, NeuroImage 87:96-110).
    image_ids_ : array of shape (n_trials,)
        The images of the training rows.
    feature_shape_ : tuple of int
    """

    def fit(self, betas, features, image_ids):
        """Fit on training rows, which are single trials or averages of repeats.

        Parameters
        ----------
        betas : array of shape (n_trials, n_voxels)
        features : array of shape (n_trials, ...)
            Row i holds the features of ``image_ids[i]``.
        image_ids : array of int, shape (n_trials,)

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the numbers of rows differ, or if values are masked, missing or infinite. Also if one image has
            different features in different rows, because then rows are probably out of order.
        """
        image_ids, rows = self._check_training(image_ids, betas=betas, features=features)
        features = rows["features"]
        self._regress(image_ids, features.shape[1:], rows["betas"], flat(features))
        for of_another_fit in ("rescaling_", "rescaling_ids_"):
            self.__dict__.pop(of_another_fit, None)
        return self

    def fit_rescaling(self, betas, features, image_ids):
        """Learn from validation images how much narrower predictions are than features.

        Ridge regression shrinks predictions, so they vary less than features do. The noisier the betas, the
        less predictions vary. A latent with too little variance is drawn as a flat image.

        Parameters
        ----------
        betas : array of shape (n_trials, n_voxels)
        features : array of shape (n_trials, ...)
            Both belong to validation images. On training rows predictions vary too much, and the statistics
            of test images must not influence what is tested.
        image_ids : array of int, shape (n_trials,)
            The image of each row. `predict` raises an error if it is asked to be tested on these images.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the decoder was fitted on one of these images, or if there are fewer than two images. Also if
            rows, shapes or values are not as `fit` expects them.
        """
        check_is_fitted(self)
        features = checked_rows(features, "features", self.feature_shape_)
        check_same_length(betas=betas, features=features, image_ids=image_ids)
        predicted = self.predict(betas, image_ids=image_ids)
        image_ids = whole_numbers(image_ids, "image_ids", len(features))
        check_one_row_per_image(flat(features), image_ids)
        if len(np.unique(image_ids)) < 2:
            raise ValueError(f"All rows are of image {image_ids[0]}: one image has no spread. Give several.")
        self.rescaling_ = rescaling(torch.as_tensor(predicted), features)
        self.rescaling_ids_ = image_ids
        return self

    def predict(self, betas, rescale=False, image_ids=None):
        """Return decoded features.

        Parameters
        ----------
        betas : array of shape (n_trials, n_voxels)
        rescale : bool
            Whether to give every number the mean and standard deviation that `fit_rescaling`
            found in the validation images.
        image_ids : array of int, shape (n_trials,), optional
            The image of each row, for predictions that will be tested. An image that the decoder has learned
            from is then an error.

        Returns
        -------
        array of shape (n_trials, ...), as the features fitted

        Raises
        ------
        ValueError
            If the decoder was fitted on one of `image_ids` or, with `rescale`, rescaled by one of them. Also
            if the number of voxels differs, or if betas are masked, missing or infinite.
        """
        check_is_fitted(self)
        betas = checked_rows(betas, "betas", (self.ridge_.n_features_in_,))
        if rescale:
            message = "Call fit_rescaling with validation images first."
            check_is_fitted(self, "rescaling_", msg=message)
        if image_ids is not None:
            learned = [self.image_ids_, *([self.rescaling_ids_] if rescale else [])]
            image_ids = whole_numbers(image_ids, "image_ids", len(betas))
            check_new_images(image_ids, np.concatenate(learned), "decoder")
        predicted = self.ridge_.predict(self._like_targets(betas))
        predicted = predicted.reshape(len(predicted), *self.feature_shape_)
        if not rescale:
            return predicted
        rescaled = rescale_by(self.rescaling_, torch.as_tensor(predicted))
        return rescaled if torch.is_tensor(predicted) else rescaled.numpy()

    def score(self, betas, features):
        """Return R2 of every number of the features, of shape `feature_shape_`.

        Betas ``(n_trials, n_voxels)`` and features ``(n_trials, *feature_shape_)`` are checked as in `fit`.
        """
        check_is_fitted(self)
        betas = checked_rows(betas, "betas", (self.ridge_.n_features_in_,))
        features = checked_rows(features, "features", self.feature_shape_)
        check_same_length(betas=betas, features=features)
        r2 = self.ridge_.score(self._like_targets(betas), flat(features))
        return r2.reshape(self.feature_shape_)


def rescaling(predicted, features):
    """Return the statistics that bring predictions to the spread of features, as `rescale_by` takes them.

    Parameters
    ----------
    predicted : tensor (n, ...)
        Predictions for validation images.
    features : array or tensor (n, ...)
        True features of the same images, in the same order.

    Returns
    -------
    tuple of three tensors (...)
        Mean of the predictions, gain, mean of the features.

    Raises
    ------
    ValueError
        If shapes differ, if there are fewer than two rows, or if values are masked, missing or infinite.
    """
    predicted = torch.as_tensor(checked_rows(predicted, "predicted"))
    features = torch.as_tensor(checked_rows(features, "features", predicted.shape[1:])).to(predicted)
    check_same_length(predicted=predicted, features=features)
    if len(predicted) < 2:
        raise ValueError("One image has no spread: learn the rescaling from at least two images.")
    spread = predicted.std(0)
    # A number that is the same for every image, such as the first token's, stays as it is.
    gain = torch.where(spread > 1e-9, features.std(0) / spread, 1)
    found = predicted.mean(0), gain, features.mean(0)
    if not (all_finite(spread) and all(map(all_finite, found))):
        raise ValueError(f"Means or deviations of predicted or features are too large for {predicted.dtype}.")
    return found


def rescale_by(found, predicted):
    """Return predictions (n, ...) with the mean and spread that `rescaling` has found.

    A ValueError is raised if predictions have another shape, or if values are missing or infinite.
    """
    predicted_mean, gain, feature_mean = found
    predicted = checked_rows(predicted, "predicted", predicted_mean.shape)
    return (predicted - predicted_mean) * gain + feature_mean
