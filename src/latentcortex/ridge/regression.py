"""The estimator: scikit-learn's manners, penalties per target, arrays of numpy or torch."""

import numpy as np
import torch
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.model_selection import GroupKFold, KFold
from sklearn.utils.validation import check_is_fitted, validate_data

from latentcortex.ridge.cross_validation import gcv_scores, kfold_scores
from latentcortex.ridge.decomposition import decompose, project


def alpha_grid(n_features, n_alphas=11):
    """Lay out penalties on the scale of the problem: n_features * logspace(-2, 3).

    For z-scored, weakly correlated columns the best penalty is near p (1 - R2) / R2, where R2 is
    the share of a target's variance that the p columns explain.

    Parameters
    ----------
    n_features : int
        Number of columns p of X.
    n_alphas : int
        Number of penalties; 11 are half a decade apart.

    Returns
    -------
    array of shape (n_alphas,), increasing
    """
    return n_features * np.logspace(-2, 3, n_alphas)


class Ridge(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Ridge regression with an intercept; penalties chosen per target or for all together.

    Arrays may be numpy or torch. What is computed and returned has the kind, the device and the
    dtype (float32 or float64) of X; only the eigendecomposition is always in float64, because
    forming X'X squares the condition number.

    Parameters
    ----------
    alphas : float, array of shape (n_alphas,) or None
        Penalties to choose from, all positive. None takes ``alpha_grid(n_features)``, meant for
        z-scored X. With a single penalty nothing is cross-validated.
    cv : "gcv" or int
        "gcv" is generalised cross-validation, from one decomposition, for rows that are
        independent: it refuses repeated `groups`. An int is the number of folds; rows of one
        group then stay in one fold (without `groups` the folds are runs of neighbouring rows).
    alpha_per_target : bool
        Whether every target gets its own penalty, or all share the one with the best mean score.
    zscore : bool
        Whether to divide the columns of X by their (weighted) standard deviation over the rows
        fitted, in each fold anew. Coefficients come back in the units of X.
    block_size : int
        Targets worked on at a time. Bounds the memory, does not change the result.

    Attributes
    ----------
    coef_ : array of shape (n_features, n_targets), or (n_features,) for one-dimensional Y
    intercept_ : array of shape (n_targets,), or a number for one-dimensional Y
    alpha_ : array of shape (n_targets,)
        The penalty of each target, also where it is shared.
    cv_scores_ : array of shape (n_alphas, n_targets), or None with a single penalty
        1 - error / error of the weighted mean alone, both on rows held out: pooled over folds,
        or as generalised cross-validation estimates it. At most 1; 0 is no better than the mean.
    edge_share_ : float in [0, 1]
        Share of the targets that vary whose penalty is the smallest or the largest on offer.
    """

    def __init__(self, alphas=None, cv="gcv", alpha_per_target=True, zscore=False, block_size=1024):
        self.alphas = alphas
        self.cv = cv
        self.alpha_per_target = alpha_per_target
        self.zscore = zscore
        self.block_size = block_size

    @torch.no_grad()
    def fit(self, X, Y, groups=None, sample_weight=None):
        """Choose the penalties and fit the coefficients on all rows.

        Parameters
        ----------
        X : array of shape (n_samples, n_features)
        Y : array of shape (n_samples, n_targets) or (n_samples,)
        groups : array of shape (n_samples,), optional
            Rows of the same group (repeats of one stimulus, one run) never part.
        sample_weight : array of shape (n_samples,), optional
            At least 0. A row that is the mean of k repeats, weighted by k, counts as those
            repeats would at the same penalty. Rows of weight 0 are left out.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For penalties that are not positive, negative weights, values that are not finite,
            too few groups for the folds, or repeated groups with "gcv".
        """
        if self.block_size < 1:
            raise ValueError(f"block_size must be at least 1; got {self.block_size}.")
        if Y is None:
            raise ValueError("Ridge requires y to be passed, but the target y is None.")
        given = X
        X, Y = self._check(X, Y)
        one_target = Y.ndim == 1
        Y = Y.reshape(len(Y), -1)
        alphas = self._check_alphas(X)
        weights, groups = _check_rows(len(X), sample_weight, groups)
        keep = torch.from_numpy(weights > 0).to(X.device)
        if keep.sum() < 2:
            raise ValueError(f"Ridge needs two rows of non-zero weight; n_samples = {keep.sum()}.")
        if not keep.all():
            X, Y, groups = X[keep], Y[keep], groups if groups is None else groups[weights > 0]
        weights = torch.from_numpy(weights).to(X.device)[keep]
        blocks = [slice(i, i + self.block_size) for i in range(0, Y.shape[1], self.block_size)]

        folds = self._folds(X, groups) if len(alphas) > 1 else []
        scores = X.new_zeros(len(alphas), Y.shape[1])
        if folds:
            scores = kfold_scores(X, Y, weights, alphas, blocks, folds, self.zscore)
        decomposition = decompose(X, weights, self.zscore)
        if folds is None and not self.alpha_per_target:
            for block in blocks:
                parts = project(decomposition.Q, Y[:, block], weights)
                scores[:, block] = gcv_scores(decomposition, *parts, weights, alphas)
        alpha = alphas[scores.mean(1).argmax()].repeat(Y.shape[1])

        coef, y_mean = X.new_empty(X.shape[1], Y.shape[1]), X.new_empty(Y.shape[1])
        for block in blocks:
            parts = project(decomposition.Q, Y[:, block], weights)
            projected, _, y_mean[block] = parts
            if self.alpha_per_target:
                if folds is None:
                    scores[:, block] = gcv_scores(decomposition, *parts, weights, alphas)
                alpha[block] = alphas[scores[:, block].argmax(0)]
            shrunk = projected / (decomposition.eigenvalues[:, None] + alpha[block]).to(X.dtype)
            coef[:, block] = decomposition.P @ shrunk
        intercept = y_mean - decomposition.mean @ coef

        # A constant target has the same score at every penalty and asks for none of them.
        asks = scores.amax(0) > scores.amin(0)
        at_edge = ((alpha == alphas.min()) | (alpha == alphas.max()))[asks]
        self.edge_share_ = float(at_edge.double().mean()) if asks.any() else 0.0
        self.alpha_ = _as_given(alpha, given)
        self.cv_scores_ = _as_given(scores, given) if len(alphas) > 1 else None
        self.coef_ = _as_given(coef[:, 0] if one_target else coef, given)
        self.intercept_ = _as_given(intercept[0] if one_target else intercept, given)
        return self

    def predict(self, X):
        """Return ``X coef_ + intercept_``.

        Returns an array of shape (n_samples, n_targets), or (n_samples,) after one-dimensional Y.
        """
        check_is_fitted(self)
        rows, _ = self._check(X)
        coef, intercept = (torch.as_tensor(a).to(rows) for a in (self.coef_, self.intercept_))
        predicted = torch.addmm(intercept, rows, coef) if coef.ndim == 2 else rows @ coef + intercept
        return _as_given(predicted, X)

    def score(self, X, Y, sample_weight=None):
        """Return R2 of every target, 1 - residual / total sum of squares of these rows.

        Returns an array of shape (n_targets,), not averaged as scikit-learn's is, or a float after
        one-dimensional Y; NaN or -inf where a target does not vary.
        """
        predicted = torch.as_tensor(self.predict(X))
        Y = torch.as_tensor(Y, dtype=predicted.dtype, device=predicted.device)
        if Y.shape != predicted.shape:
            raise ValueError(f"Y must be {tuple(predicted.shape)}; got {tuple(Y.shape)}.")
        weights, _ = _check_rows(len(Y), sample_weight, None)
        weights = torch.from_numpy(weights).to(Y)
        total = weights @ (Y - weights @ Y / weights.sum()) ** 2
        r2 = 1 - weights @ (Y - predicted) ** 2 / total
        return float(r2) if r2.ndim == 0 else _as_given(r2, X)

    def _check(self, X, Y=None):
        """Return X and Y as tensors of one dtype and device, after the checks of scikit-learn."""
        if not torch.is_tensor(X):
            dtypes = [np.float64, np.float32]
            if Y is None:
                return _tensor(validate_data(self, X, reset=False, dtype=dtypes)), None
            X, Y = validate_data(self, X, Y, dtype=dtypes, multi_output=True, y_numeric=True)
            return _tensor(X), _tensor(Y.astype(X.dtype, copy=False))
        X = X if X.dtype == torch.float64 else X.float()
        if Y is not None:
            self.n_features_in_ = X.shape[-1]
            Y = torch.as_tensor(Y, dtype=X.dtype, device=X.device)
        if X.ndim != 2 or X.shape[1] != self.n_features_in_:
            raise ValueError(f"X must be (n, {self.n_features_in_}); got {tuple(X.shape)}.")
        if Y is not None and (Y.ndim not in (1, 2) or len(Y) != len(X)):
            raise ValueError(f"Y must be ({len(X)}, n_targets) as X; got {tuple(Y.shape)}.")
        for values in (X,) if Y is None else (X, Y):
            if not torch.isfinite(values).all():
                raise ValueError("X or Y holds NaN or infinite values: leave those rows out.")
        return X, Y

    def _check_alphas(self, X):
        alphas = alpha_grid(X.shape[1]) if self.alphas is None else self.alphas
        alphas = np.array(alphas, dtype=np.float64, ndmin=1)
        if alphas.ndim != 1 or not len(alphas) or not np.all(np.isfinite(alphas) & (alphas > 0)):
            raise ValueError(f"alphas must be positive numbers in one dimension; got {alphas}.")
        return torch.from_numpy(alphas).to(X.device)

    def _folds(self, X, groups):
        """Return (train, test) rows of each fold, or None for generalised cross-validation."""
        n_groups = len(X) if groups is None else len(np.unique(groups))
        if self.cv == "gcv":
            if n_groups < len(X):
                raise ValueError(
                    f"Generalised cross-validation takes one row per group, but {len(X)} rows "
                    f"hold {n_groups} groups: average the repeats and weigh the averages with "
                    "sample_weight, or give the number of folds as cv."
                )
            return None
        if not isinstance(self.cv, (int, np.integer)) or not 2 <= self.cv <= n_groups:
            raise ValueError(f"cv must be 'gcv' or from 2 to {n_groups} folds, the groups; got {self.cv!r}.")
        splitter = KFold(self.cv) if groups is None else GroupKFold(self.cv)
        rows = splitter.split(np.zeros(len(X)), groups=groups)
        return [tuple(torch.from_numpy(part).to(X.device) for part in fold) for fold in rows]


def _check_rows(n_samples, sample_weight, groups):
    """Return weights as float64 (ones by default) and groups, both numpy of n_samples."""
    weights = np.ones(n_samples) if sample_weight is None else _array(sample_weight)
    weights = weights.astype(np.float64)
    groups = None if groups is None else _array(groups)
    for name, values in (("sample_weight", weights), ("groups", groups)):
        if values is not None and values.shape != (n_samples,):
            raise ValueError(f"{name} must be ({n_samples},), one a row; got {values.shape}.")
    if not np.all(np.isfinite(weights) & (weights >= 0)):
        raise ValueError("sample_weight must be finite and at least 0.")
    return weights, groups


def _array(values):
    return values.cpu().numpy() if torch.is_tensor(values) else np.asarray(values)


def _tensor(array):
    # torch shares memory only with arrays that are writable and run forwards.
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))


def _as_given(tensor, given):
    return tensor if torch.is_tensor(given) else tensor.numpy()
