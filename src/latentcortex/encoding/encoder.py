"""Fit ridge regression from features of images to the betas of every vertex."""

from sklearn.utils.validation import check_is_fitted

from latentcortex.ridge.images import ImageRidge, flat
from latentcortex.ridge.rows import check_new_images, check_no_repeats, checked_rows, whole_numbers


class VoxelwiseEncoder(ImageRidge):
    """Predict the betas of every vertex from the features of the image, by ridge regression.

    Features of any trailing shape are flattened and z-scored with training statistics. Every
    vertex has an intercept and, by default, a penalty of its own. Predictions have the kind
    (numpy or torch) and the device of the betas fitted. The regression runs there, or on `device`. Lists are
    taken as arrays. Masked, missing and infinite values are refused.

    Parameters
    ----------
    alphas : array of shape (n_alphas,) or None
        Penalties. None takes ``ridge.alpha_grid(n_features)``.
    cv : "gcv" or int
        Generalised cross-validation, which takes one row per image and refuses repeats, or the
        number of folds, in which the repeats of an image stay together.
    alpha_per_target, block_size, criterion, device
        See `latentcortex.ridge.Ridge`.

    Attributes
    ----------
    ridge_ : Ridge
        The fitted regression, with ``coef_`` (n_features, n_vertices), ``alpha_`` and ``edge_share_``.
    image_ids_ : int array of shape (n_images,)
        The images of the training rows.
    feature_shape_ : tuple of int
        The shape of the features of one image.
    """

    def __init__(
        self,
        alphas=None,
        cv="gcv",
        alpha_per_target=True,
        block_size=1024,
        criterion="predicted",
        device=None,
    ):
        super().__init__(alphas, cv, alpha_per_target, block_size, criterion, device)

    def fit(self, features, betas, image_ids, n_repeats=None):
        """Fit on training rows, which are averages of repeats or single trials.

        Parameters
        ----------
        features : array of shape (n_images, ...)
            Row i holds the features of ``image_ids[i]``.
        betas : array of shape (n_images, n_vertices)
        image_ids : array of int, shape (n_images,)
        n_repeats : array of int, shape (n_images,), optional
            Number of trials averaged in each row, at least 1. With these weights, averages give exactly the
            coefficients that single trials give at the same penalty.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the numbers of rows differ, or if values are masked, missing or infinite. Also if one image has
            different features in different rows, because then rows are probably out of order.
        """
        image_ids, rows = self._check_training(image_ids, features=features, betas=betas)
        if n_repeats is not None:
            n_repeats = whole_numbers(n_repeats, "n_repeats", len(image_ids), lowest=1)
        features = rows["features"]
        return self._regress(image_ids, features.shape[1:], flat(features), rows["betas"], n_repeats)

    def predict(self, features, image_ids=None):
        """Return predicted betas.

        Parameters
        ----------
        features : array of shape (n_images, ...), as fitted
        image_ids : array of int, shape (n_images,), optional
            The image of each row, for predictions that will be tested. An image that the encoder has learned
            from is then an error, and so are several rows of one image. Neither would be independent.

        Returns
        -------
        array of shape (n_images, n_vertices)

        Raises
        ------
        ValueError
            If features have another shape or are masked, missing or infinite, or for image ids as described.
        """
        check_is_fitted(self)
        features = checked_rows(features, "features", self.feature_shape_)
        if image_ids is not None:
            image_ids = whole_numbers(image_ids, "image_ids", len(features))
            check_new_images(image_ids, self.image_ids_, "encoder")
            check_no_repeats(image_ids)
        return self.ridge_.predict(self._like_targets(flat(features)))
