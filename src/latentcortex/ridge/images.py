"""Fit a `Ridge` that remembers the images of its training rows, for decoders and encoders."""

import torch
from sklearn.base import BaseEstimator

from latentcortex.ridge.regression import Ridge
from latentcortex.ridge.rows import (
    as_numpy,
    check_one_row_per_image,
    check_same_length,
    checked_rows,
    whole_numbers,
)


class ImageRidge(BaseEstimator):
    """Ridge regression of z-scored columns, whose rows belong to images.

    Where the targets fitted are tensors on a GPU, the regression runs there, and else on `device`.

    Parameters
    ----------
    alphas, cv, alpha_per_target, block_size, criterion, device
        See `latentcortex.ridge.Ridge`.

    Attributes
    ----------
    ridge_ : Ridge
    image_ids_ : int array (n_rows,)
        The images of the training rows.
    feature_shape_ : tuple of int
        The shape of the features of one image.
    """

    def __init__(
        self, alphas=None, cv=5, alpha_per_target=True, block_size=1024, criterion="predicted", device=None
    ):
        self.alphas = alphas
        self.cv = cv
        self.alpha_per_target = alpha_per_target
        self.block_size = block_size
        self.criterion = criterion
        self.device = device

    def _check_training(self, image_ids, **rows):
        """Return the image ids of training rows as an int64 array, and the checked rows by name."""
        rows = {name: checked_rows(values, name) for name, values in rows.items()}
        check_same_length(**rows, image_ids=image_ids)
        image_ids = whole_numbers(image_ids, "image_ids", len(rows["features"]))
        check_one_row_per_image(flat(rows["features"]), image_ids)
        return image_ids, rows

    def _regress(self, image_ids, feature_shape, inputs, targets, n_repeats=None):
        """Fit (n_rows, n_targets) on (n_rows, n_inputs); where this fails, nothing is forgotten."""
        ridge = Ridge(
            self.alphas,
            self.cv,
            self.alpha_per_target,
            zscore=True,
            block_size=self.block_size,
            criterion=self.criterion,
            device=self.device,
        )
        ridge.fit(_like(inputs, targets), targets, groups=image_ids, sample_weight=n_repeats)
        self.ridge_, self.image_ids_, self.feature_shape_ = ridge, image_ids, tuple(feature_shape)
        self._kind = targets[:0]
        return self

    def _like_targets(self, inputs):
        """Return inputs in the kind of the targets fitted, numpy or torch, and on their device."""
        return _like(inputs, self._kind)


def flat(features):
    """Return features (n, ...) as rows of numbers (n, n_features)."""
    return features.reshape(len(features), -1)


def _like(values, kind):
    return torch.as_tensor(values, device=kind.device) if torch.is_tensor(kind) else as_numpy(values)
