"""What decoders and encoders share: a ridge regression whose rows belong to known images."""

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
    """A `Ridge` that z-scores its columns and knows the images of its rows.

    Where the targets fitted are tensors on a GPU, the regression runs there.

    Parameters
    ----------
    alphas, cv, alpha_per_target, block_size, criterion
        See `latentcortex.ridge.Ridge`.

    Attributes
    ----------
    ridge_ : Ridge
    image_ids_ : int array (n_rows,)
        The images of the training rows.
    feature_shape_ : tuple of int
        The shape of the features of one image.
    """

    def __init__(self, alphas=None, cv=5, alpha_per_target=True, block_size=1024, criterion="predicted"):
        self.alphas = alphas
        self.cv = cv
        self.alpha_per_target = alpha_per_target
        self.block_size = block_size
        self.criterion = criterion

    def _learn_images(self, image_ids, **rows):
        """Check rows of training images and remember these; return them by name, features flattened."""
        rows = {name: checked_rows(values, name) for name, values in rows.items()}
        check_same_length(**rows, image_ids=image_ids)
        image_ids = whole_numbers(image_ids, "image_ids", len(rows["features"]))
        features = rows["features"]
        rows["features"] = features.reshape(len(features), -1)
        check_one_row_per_image(rows["features"], image_ids)
        self.image_ids_, self.feature_shape_ = image_ids, tuple(features.shape[1:])
        return rows

    def _regress(self, inputs, targets, n_repeats=None):
        """Fit the ridge regression, weighted by the trials averaged in each row."""
        self._kind = targets[:0]
        options = {"block_size": self.block_size, "criterion": self.criterion}
        ridge = Ridge(self.alphas, self.cv, self.alpha_per_target, zscore=True, **options)
        groups = self.image_ids_
        self.ridge_ = ridge.fit(self._like_targets(inputs), targets, groups=groups, sample_weight=n_repeats)
        return self

    def _like_targets(self, inputs):
        """Return inputs in the kind of the targets fitted, numpy or torch, and on their device."""
        if torch.is_tensor(self._kind):
            return torch.as_tensor(inputs, device=self._kind.device)
        return as_numpy(inputs)
