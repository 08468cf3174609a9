"""Fit several feature spaces at once, each with its own penalty."""

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from latentcortex.ridge import alpha_grid
from latentcortex.ridge.banded import check_shares, fit_banded
from latentcortex.ridge.images import flat
from latentcortex.ridge.rows import (
    all_finite,
    as_numpy,
    check_count,
    check_new_images,
    check_no_repeats,
    check_one_row_per_image,
    check_same_length,
    checked_rows,
    plain,
    whole_numbers,
)


class BandedEncoder(BaseEstimator):
    """Predict betas from several feature spaces jointly, by banded ridge regression.

    The penalty of space s is alpha / share_s. For every vertex generalised cross-validation chooses the
    shares and alpha among the candidates, which are the same for all vertices. A space that does not help a
    vertex gets a small share there, so its columns add little noise. Features of any trailing shape are
    flattened and z-scored with training statistics. Shares apply to single columns. So at equal shares a
    space with more columns explains more.

    Predictions have the kind (numpy or torch) and the device of the betas that were fitted. The dtype is
    float64 if any features are float64, and float32 otherwise. The algebra is described in
    `latentcortex.ridge.banded`. With more columns than rows the kernels take 8 n_spaces n_images^2 bytes.
    Float64 copies of the columns are also held.

    Parameters
    ----------
    shares : array of shape (n_candidates, n_spaces)
        Candidates, for example ``draw_shares(n_spaces, 20, rng)``. Each row has values of at least 0 that sum
        to 1, in the order of the features. The identity matrix chooses the best single space.
    alphas : array of shape (n_alphas,) or None
        Penalties. None takes ``ridge.alpha_grid`` of the number of all columns.
    block_size : int
        Number of vertices processed at a time. It limits memory and does not change the result.

    Attributes
    ----------
    names_ : tuple of str
        Names of the spaces, in the order of the features fitted.
    coef_ : dict of name to array of shape (n_features, n_vertices)
        Coefficients in the units of the features.
    mean_ : dict of name to array of shape (n_features,)
        Mean of the features over training rows, weighted by repeats.
    intercept_ : array of shape (n_vertices,)
        Mean of the betas over training rows, weighted by repeats.
    share_ : array of shape (n_spaces, n_vertices)
        The shares chosen.
    alpha_ : array of shape (n_vertices,)
    gcv_scores_ : array of shape (n_candidates, n_vertices)
        1 - GCV / GCV of the mean alone, at the best alpha of each candidate. At most 1.
    edge_share_ : float in [0, 1]
        Share of vertices whose alpha is the smallest or the largest in the grid. Constant vertices do not
        count.
    image_ids_ : int array of shape (n_images,)
        The images of the training rows.
    feature_shapes_ : dict of name to tuple of int
    """

    def __init__(self, shares, alphas=None, block_size=1024):
        self.shares = shares
        self.alphas = alphas
        self.block_size = block_size

    def fit(self, features, betas, image_ids, n_repeats=None):
        """Fit on training rows, which are averages of repeats.

        If an error is raised, the previous fit is kept.

        Parameters
        ----------
        features : dict of name to array of shape (n_images, ...)
            Row i of each space holds the features of ``image_ids[i]``.
        betas : array of shape (n_images, n_vertices)
        image_ids : array of int, shape (n_images,)
            Each image occurs once, because generalised cross-validation needs independent rows.
        n_repeats : array of int, shape (n_images,), optional
            Number of trials averaged in each row, at least 1. Rows are weighted by it.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the numbers of rows differ, if values are masked, missing or infinite, or if an image has
            several rows. Also if shares or alphas are not as described.
        """
        check_count(self.block_size, "block_size")
        if not isinstance(features, dict) or not features:
            raise ValueError(
                "features must be a dict of name to array, one per space; got "
                f"{type(features).__name__}. For a single space take VoxelwiseEncoder."
            )
        names = tuple(features)
        shares = check_shares(self.shares, len(names))
        features = {name: checked_rows(values, f"features[{name!r}]") for name, values in features.items()}
        betas = checked_rows(betas, "betas")
        if betas.ndim != 2:
            raise ValueError(
                f"betas must be (n_images, n_vertices), two dimensions; got {tuple(betas.shape)}."
            )
        check_same_length(
            **{f"features[{n!r}]": f for n, f in features.items()}, betas=betas, image_ids=image_ids
        )
        image_ids = whole_numbers(image_ids, "image_ids", len(betas))
        for values in features.values():
            check_one_row_per_image(flat(values), image_ids)
        check_no_repeats(image_ids)
        if len(image_ids) < 2:
            raise ValueError("Banded ridge needs two images or more; got 1.")
        weights = np.ones(len(betas)) if n_repeats is None else n_repeats
        if n_repeats is not None:
            weights = whole_numbers(n_repeats, "n_repeats", len(betas), lowest=1).astype(np.float64)
        shapes = {name: tuple(values.shape[1:]) for name, values in features.items()}
        n_columns = sum(int(np.prod(shape)) for shape in shapes.values())
        alphas = alpha_grid(n_columns) if self.alphas is None else self.alphas
        alphas = np.array(as_numpy(plain(alphas, "alphas")), dtype=np.float64, ndmin=1)
        if alphas.ndim != 1 or not len(alphas) or not np.all(np.isfinite(alphas) & (alphas > 0)):
            raise ValueError(f"alphas must be positive numbers in one dimension; got {alphas}.")

        kind = betas[:0].clone() if torch.is_tensor(betas) else betas[:0].copy()  # no view of all betas
        spaces = [torch.as_tensor(flat(values)) for values in features.values()]
        dtype = torch.float64 if any(space.dtype == torch.float64 for space in spaces) else torch.float32
        device = kind.device if torch.is_tensor(kind) else torch.device("cpu")
        weights, shares, alphas = (torch.as_tensor(a, device=device) for a in (weights, shares, alphas))
        fitted = fit_banded(
            [space.to(device, dtype) for space in spaces],
            torch.as_tensor(betas).to(device, dtype),
            weights,
            shares,
            alphas,
            self.block_size,
        )
        at_edge = ((fitted.alpha == alphas.min()) | (fitted.alpha == alphas.max()))[fitted.asks]
        self.edge_share_ = float(at_edge.double().mean()) if len(at_edge) else 0.0
        self._kind, self.image_ids_, self.names_, self.feature_shapes_ = kind, image_ids, names, shapes
        self.coef_ = {n: self._as_betas(c) for n, c in zip(names, fitted.coef, strict=True)}
        self.mean_ = {n: self._as_betas(m) for n, m in zip(names, fitted.mean, strict=True)}
        self.intercept_, self.alpha_ = self._as_betas(fitted.intercept), self._as_betas(fitted.alpha)
        self.share_, self.gcv_scores_ = self._as_betas(shares[fitted.chosen].T), self._as_betas(fitted.scores)
        return self

    def predict(self, features, image_ids=None, split=False):
        """Return predicted betas, either of all spaces together or of each space.

        Parameters
        ----------
        features : dict of name to array of shape (n_images, ...), as fitted
        image_ids : array of int, shape (n_images,), optional
            The image of each row, for predictions that will be tested. See `VoxelwiseEncoder.predict`.
        split : bool
            Whether to return the part of each space. Parts are deviations from the training mean, which
            belongs to no space. The prediction is ``intercept_`` plus the sum of the parts.

        Returns
        -------
        array of shape (n_images, n_vertices), or (n_spaces, n_images, n_vertices) if split

        Raises
        ------
        ValueError
            If the names of the spaces differ, or if features have another shape or are masked, missing or
            infinite. Also if the encoder has learned from one of the image ids, or if an id repeats.
        """
        check_is_fitted(self)
        if not isinstance(features, dict) or set(features) != set(self.names_):
            given = list(features) if isinstance(features, dict) else type(features).__name__
            raise ValueError(
                f"features must be a dict of the spaces fitted, {list(self.names_)}; got {given}."
            )
        rows = {
            n: checked_rows(features[n], f"features[{n!r}]", self.feature_shapes_[n]) for n in self.names_
        }
        check_same_length(**{f"features[{n!r}]": f for n, f in rows.items()})
        if image_ids is not None:
            image_ids = whole_numbers(image_ids, "image_ids", len(rows[self.names_[0]]))
            check_new_images(image_ids, self.image_ids_, "encoder")
            check_no_repeats(image_ids)
        total, parts = torch.as_tensor(self.intercept_), []
        for name, values in rows.items():
            centred = torch.as_tensor(flat(values)).to(total) - torch.as_tensor(self.mean_[name])
            part = centred @ torch.as_tensor(self.coef_[name])
            if split:
                parts.append(part)
            else:
                total = total + part
        result = torch.stack(parts) if split else total
        if not all_finite(result):
            raise ValueError(
                "Predictions are not finite: are the features in the units of those that were fitted?"
            )
        return self._as_betas(result)

    def _as_betas(self, tensor):
        return tensor if torch.is_tensor(self._kind) else tensor.numpy()
