"""Linear decoders: from betas to features of any shape."""

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from latentcortex.ridge import Ridge


class LinearDecoder(BaseEstimator):
    """Decode features from betas by ridge regression.

    Voxels are z-scored with training statistics, each number of the features has an intercept
    and, by default, a penalty of its own. Predictions have the kind (numpy or torch), the device
    and the trailing shape of the features fitted: latents (n, 4, h, w), token states
    (n, n_tokens, d). Where features are tensors on a GPU, the regression runs there.

    Parameters
    ----------
    alphas : array of shape (n_alphas,) or None
        Penalties; None takes ``ridge.alpha_grid(n_voxels)``.
    cv : int or "gcv"
        Number of folds, in which the repeats of an image stay together, or generalised
        cross-validation, which takes one row per image and refuses repeats.
    alpha_per_target, block_size
        See `latentcortex.ridge.Ridge`.

    Attributes
    ----------
    ridge_ : Ridge
        The fitted regression: ``alpha_``, ``cv_scores_``, ``edge_share_``. Its coefficients are
        filters, not maps of where information is (Haufe et al. 2014, NeuroImage 87:96-110).
    image_ids_ : array of shape (n_trials,)
        The images of the training rows.
    feature_shape_ : tuple of int
    """

    def __init__(self, alphas=None, cv=5, alpha_per_target=True, block_size=1024):
        self.alphas = alphas
        self.cv = cv
        self.alpha_per_target = alpha_per_target
        self.block_size = block_size

    def fit(self, betas, features, image_ids):
        """Fit on training rows, single trials or averages of repeats.

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
            If the rows don't match, or if one image has different features in different rows,
            the sign of rows out of order.
        """
        image_ids = np.asarray(image_ids)
        for of_another_fit in ("rescaling_", "rescaling_ids_"):
            self.__dict__.pop(of_another_fit, None)
        if not len(betas) == len(features) == len(image_ids):
            raise ValueError(
                "betas, features and image_ids must have one row per trial; got "
                f"{len(betas)}, {len(features)} and {len(image_ids)} rows."
            )
        rows = features.reshape(len(features), -1)
        # Some of the columns are enough to tell that rows are out of order.
        some = rows[:, :: max(1, rows.shape[1] // 64)]
        _, first, image = np.unique(image_ids, return_index=True, return_inverse=True)
        if not (some == some[first[image]]).all():
            raise ValueError(
                "Rows with the same image id hold different features: bring both into the order "
                "of image_ids, e.g. by loading the features by id."
            )
        self.image_ids_, self.feature_shape_ = image_ids, tuple(features.shape[1:])
        self._kind = features[:0]
        self.ridge_ = Ridge(
            self.alphas, self.cv, self.alpha_per_target, zscore=True, block_size=self.block_size
        ).fit(self._like_features(betas), rows, groups=image_ids)
        return self

    def fit_rescaling(self, betas, features, image_ids):
        """Learn from validation images how much narrower predictions are than features.

        Ridge shrinks: predictions vary less than features do, the less the noisier the betas,
        and a latent of too small a variance is drawn as a flat image.

        Parameters
        ----------
        betas : array of shape (n_trials, n_voxels)
        features : array of shape (n_trials, ...)
            Both of validation images: on the rows fitted predictions vary too much, and the
            statistics of test images must not enter what is tested.
        image_ids : array of int, shape (n_trials,)
            Of these rows: `predict` refuses to be tested on them.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If one of these images is among those the decoder was fitted on.
        """
        predicted = self.predict(betas, image_ids=image_ids)
        self.rescaling_ = rescaling(torch.as_tensor(predicted), features)
        self.rescaling_ids_ = np.asarray(image_ids)
        return self

    def predict(self, betas, rescale=False, image_ids=None):
        """Decode features.

        Parameters
        ----------
        betas : array of shape (n_trials, n_voxels)
        rescale : bool
            Whether to give every number the mean and standard deviation that `fit_rescaling`
            found in the validation images.
        image_ids : array of int, shape (n_trials,), optional
            Of these rows, where the predictions are to be tested: overlap with what the decoder
            has learned from is then an error.

        Returns
        -------
        array of shape (n_trials, *feature_shape_)

        Raises
        ------
        ValueError
            If one of `image_ids` was fitted on, or, with `rescale`, gave the rescaling.
        """
        if rescale:
            message = "Call fit_rescaling with validation images first."
            check_is_fitted(self, "rescaling_", msg=message)
        if image_ids is not None:
            if len(image_ids) != len(betas):
                raise ValueError(
                    f"Expected one image id for each of {len(betas)} rows of betas, got {len(image_ids)}."
                )
            learned = [self.image_ids_, *([self.rescaling_ids_] if rescale else [])]
            both = np.intersect1d(image_ids, np.concatenate(learned))
            if len(both):
                raise ValueError(
                    f"The decoder has learned from {len(both)} of these images, such as "
                    f"{both[0]}: what it predicts for them says nothing about new ones. Split by "
                    "image before anything is fitted (nsd.split, nsd.validation_split)."
                )
        predicted = self.ridge_.predict(self._like_features(betas))
        predicted = predicted.reshape(len(predicted), *self.feature_shape_)
        if not rescale:
            return predicted
        rescaled = rescale_by(self.rescaling_, torch.as_tensor(predicted))
        return rescaled if torch.is_tensor(predicted) else rescaled.numpy()

    def score(self, betas, features):
        """Return R2 of every number of the features, of shape `feature_shape_`."""
        features = features.reshape(len(features), -1)
        r2 = self.ridge_.score(self._like_features(betas), features)
        return r2.reshape(self.feature_shape_)

    def _like_features(self, betas):
        if torch.is_tensor(self._kind):
            return torch.as_tensor(betas, device=self._kind.device)
        return betas.cpu().numpy() if torch.is_tensor(betas) else betas


def rescaling(predicted, features):
    """Find how predictions (n, ...) of validation images are brought to the spread of features.

    Returns the three tensors that `rescale_by` takes.
    """
    features = torch.as_tensor(features).to(predicted)
    gain = features.std(0) / predicted.std(0)
    # A number that is the same for every image, such as the first token's, stays as it is.
    gain = torch.where(predicted.std(0) > 1e-9, gain, 1)
    return predicted.mean(0), gain, features.mean(0)


def rescale_by(found, predicted):
    """Give predictions (n, ...) the mean and spread that `rescaling` has found."""
    predicted_mean, gain, feature_mean = found
    return (predicted - predicted_mean) * gain + feature_mean
