"""Fit ridge regression like scikit-learn, with a penalty per target, on numpy or torch arrays."""

import numpy as np
import torch
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.model_selection import GroupKFold, KFold
from sklearn.utils.validation import check_is_fitted, validate_data

from latentcortex.ridge.cross_validation import gcv_scores, kfold_scores, kfold_scores_of_all_rows
from latentcortex.ridge.decomposition import decompose, project
from latentcortex.ridge.rows import all_finite, as_numpy, check_finite, plain, refuse_masked

CRITERIA = ("predicted", "variance_weighted", "uniform_average")
"""What may choose one penalty for all targets; see `Ridge`."""


def alpha_grid(n_features, n_alphas=11):
    """Return penalties on the scale of the problem: n_features * logspace(-2, 3).

    For z-scored, weakly correlated columns the best penalty is near p (1 - R2) / R2. R2 is the share of a
    target's variance that the p columns explain.

    Parameters
    ----------
    n_features : int
        Number of columns p of X, at least 1.
    n_alphas : int
        Number of penalties, at least 1. With 11 they are half a decade apart.

    Returns
    -------
    array of shape (n_alphas,), increasing
    """
    if not (n_features >= 1 and n_alphas >= 1):
        raise ValueError(
            f"n_features and n_alphas must be at least 1; got {n_features} and {n_alphas}. A region "
            "without voxels has no penalties."
        )
    return n_features * np.logspace(-2, 3, n_alphas)


class Ridge(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Ridge regression with an intercept, and with penalties chosen per target or for all targets together.

    Arrays may be numpy or torch. Computations and results have the kind, the device and the dtype (float32 or
    float64) of X. Only the eigendecomposition is always in float64, because forming X'X squares the condition
    number.

    Parameters
    ----------
    alphas : float, array of shape (n_alphas,) or None
        Penalties to choose from, all positive. None takes ``alpha_grid(n_features)``, which is meant for
        z-scored X. With a single penalty nothing is cross-validated.
    cv : "gcv" or int
        "gcv" is generalised cross-validation, which needs a single decomposition. It requires independent
        rows, so repeated `groups` raise an error. An int is the number of folds, and rows of one group stay
        in one fold. Without `groups` each fold is a run of neighbouring rows.
    alpha_per_target : bool
        Whether every target gets its own penalty. Otherwise all share one penalty, which `criterion` chooses.
    zscore : bool
        Whether to divide the columns of X by their (weighted) standard deviation over the training rows,
        separately in each fold. Coefficients are returned in the units of X.
    block_size : int
        Number of targets processed at a time. It limits memory and does not change the result.
    criterion : {"predicted", "variance_weighted", "uniform_average"}
        Whose scores choose the penalty that all targets share. With ``alpha_per_target=True`` it is
        not used. "predicted" weighs the score of each target by the best that any penalty gives it,
        and by 0 where none beats the mean, so that targets that nothing predicts have no say.
        "variance_weighted" adds up squared errors: nearly constant targets have little say, but
        units matter, and one noisy target of large numbers decides alone. "uniform_average" is the
        mean score: many targets of pure noise make the penalty too large. (The last two are those
        of `sklearn.metrics.r2_score`.)
    device : str, torch.device or None
        Where the work is done; None for where X lies. X and one block of targets at a time are sent there,
        and results come back to where X lies.

    Attributes
    ----------
    coef_ : array of shape (n_features, n_targets), or (n_features,) for one-dimensional Y
    intercept_ : array of shape (n_targets,), or a number for one-dimensional Y
    alpha_ : array of shape (n_targets,)
        The penalty of each target, even if all share one penalty.
    cv_scores_ : array of shape (n_alphas, n_targets), or None with a single penalty
        1 - error / error of the weighted mean alone. Both errors are pooled over held-out rows, or estimated
        by generalised cross-validation. The score is at most 1, and 0 is no better than the mean.
    edge_share_ : float in [0, 1]
        Share of targets whose penalty is the smallest or the largest in the grid. Constant targets do not
        count.
    """

    def __init__(
        self,
        alphas=None,
        cv="gcv",
        alpha_per_target=True,
        zscore=False,
        block_size=1024,
        criterion="predicted",
        device=None,
    ):
        self.alphas = alphas
        self.cv = cv
        self.alpha_per_target = alpha_per_target
        self.zscore = zscore
        self.block_size = block_size
        self.criterion = criterion
        self.device = device

    @torch.no_grad()
    def fit(self, X, Y, groups=None, sample_weight=None):
        """Choose the penalties and fit the coefficients on all rows.

        Parameters
        ----------
        X : array of shape (n_samples, n_features)
        Y : array of shape (n_samples, n_targets) or (n_samples,)
        groups : array of shape (n_samples,), optional
            Rows of the same group, such as repeats of one stimulus, always stay in the same fold.
        sample_weight : array of shape (n_samples,), optional
            At least 0. If a row is the mean of k repeats and has the weight k, the fit is that of the k
            repeats at the same penalty. Rows of weight 0 are left out.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If penalties are not positive, weights are negative, or values are masked or not finite. Also if
            there are too few groups for the folds, if groups repeat with "gcv", or if coefficients or scores
            overflow.
        """
        if not (isinstance(self.block_size, (int, np.integer)) and self.block_size >= 1):
            raise ValueError(f"block_size must be a whole number, at least 1; got {self.block_size!r}.")
        if self.criterion not in CRITERIA:
            raise ValueError(f"criterion must be one of {', '.join(CRITERIA)}; got {self.criterion!r}.")
        if Y is None:
            raise ValueError("Ridge requires y to be passed, but the target y is None.")
        given = X
        X, Y = self._check(X, Y)
        one_target, home = Y.ndim == 1, X.device
        X, Y, weights, groups = _weighted_rows(X, Y.reshape(len(Y), -1), sample_weight, groups)
        # The targets stay at home: of the real ones few blocks have room on a GPU.
        rows, weights = X.to(self.device or home), weights.to(self.device or home)
        alphas = self._check_alphas(rows)
        blocks = [slice(i, i + self.block_size) for i in range(0, Y.shape[1], self.block_size)]

        folds = self._folds(rows, groups) if len(alphas) > 1 else []
        scores, spread = rows.new_zeros(len(alphas), Y.shape[1]), rows.new_zeros(Y.shape[1])
        decomposition = decompose(rows, weights, self.zscore)
        if folds and decomposition.complete and not self.zscore:
            scores, spread = kfold_scores_of_all_rows(decomposition, Y, weights, alphas, blocks, folds)
        elif folds:
            scores, spread = kfold_scores(rows, Y, weights, alphas, blocks, folds, self.zscore)
        if folds is None and not self.alpha_per_target:
            for block in blocks:
                projected, centred, mean = project(decomposition.Q, Y[:, block], weights)
                parts = projected, (centred**2).sum(0), mean
                scores[:, block], spread[block] = gcv_scores(decomposition, *parts, weights, alphas)
        alpha = alphas[self._shared_merit(scores, spread).argmax()].repeat(Y.shape[1])

        coef, intercept = X.new_empty(X.shape[1], Y.shape[1]), X.new_empty(Y.shape[1])
        for block in blocks:
            projected, centred, y_mean = project(decomposition.Q, Y[:, block], weights)
            if self.alpha_per_target:
                if folds is None:
                    parts = projected, (centred**2).sum(0), y_mean
                    scores[:, block], _ = gcv_scores(decomposition, *parts, weights, alphas)
                alpha[block] = alphas[scores[:, block].argmax(0)]
            shrunk = projected / (decomposition.eigenvalues[:, None] + alpha[block]).to(X.dtype)
            of_block = decomposition.P @ shrunk
            coef[:, block], intercept[block] = of_block, y_mean
        intercept -= decomposition.mean.to(home) @ coef
        alpha, scores, alphas = alpha.to(home), scores.to(home), alphas.to(home)
        _check_result(X, Y, coef, intercept, scores)

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

        The shape is (n_samples, n_targets), or (n_samples,) after a fit to one-dimensional Y. A ValueError is
        raised if rows have another width, if values are masked or missing, or if a prediction overflows.
        """
        check_is_fitted(self)
        rows, _ = self._check(X)
        coef, intercept = (torch.as_tensor(a).to(rows) for a in (self.coef_, self.intercept_))
        predicted = torch.addmm(intercept, rows, coef) if coef.ndim == 2 else rows @ coef + intercept
        if not all_finite(predicted):
            largest, where = _largest(rows)
            raise ValueError(
                f"Predictions are too large for {rows.dtype}: the largest value of X is {largest:.3g}, in "
                f"{where}. Are these rows in the units of the rows that were fitted?"
            )
        return _as_given(predicted, X)

    def score(self, X, Y, sample_weight=None):
        """Return R2 of every target: 1 - residual / total sum of squares of these rows.

        The shape is (n_targets,), because scores are not averaged as in scikit-learn. After a fit to
        one-dimensional Y it is a float. The score is NaN or -inf if a target does not vary.
        """
        predicted = torch.as_tensor(self.predict(X))
        Y = torch.as_tensor(plain(Y, "Y"), dtype=predicted.dtype, device=predicted.device)
        if Y.shape != predicted.shape:
            raise ValueError(f"Y must be {tuple(predicted.shape)}; got {tuple(Y.shape)}.")
        check_finite(Y, "Y")
        weights, _ = _check_rows(len(Y), sample_weight, None)
        weights = torch.from_numpy(weights).to(Y)
        total = weights @ (Y - weights @ Y / weights.sum()) ** 2
        r2 = 1 - weights @ (Y - predicted) ** 2 / total
        return float(r2) if r2.ndim == 0 else _as_given(r2, X)

    def _check(self, X, Y=None):
        """Return X and Y as tensors of one dtype and device, after the checks of scikit-learn."""
        if not torch.is_tensor(X):
            for values, name in ((X, "X"), (Y, "Y")):
                refuse_masked(values, name)
                array = np.asarray(values)
                if array.dtype.kind == "f" and array.ndim:  # scikit-learn has words for the others
                    check_finite(array, name)
            dtypes = [np.float64, np.float32]
            if Y is None:
                return _tensor(validate_data(self, X, reset=False, dtype=dtypes)), None
            Y = as_numpy(Y) if torch.is_tensor(Y) else Y
            X, Y = validate_data(self, X, Y, dtype=dtypes, multi_output=True, y_numeric=True)
            with np.errstate(over="ignore"):
                X, Y = _tensor(X), _tensor(Y.astype(X.dtype, copy=False))
            check_finite(Y, f"Y as {X.dtype}, the dtype of X,")
            return X, Y
        X = X if X.dtype == torch.float64 else X.float()
        if Y is not None:
            self.n_features_in_ = X.shape[-1]
            Y = torch.as_tensor(plain(Y, "Y"), dtype=X.dtype, device=X.device)
        if X.ndim != 2 or X.shape[1] != self.n_features_in_:
            raise ValueError(f"X must be (n, {self.n_features_in_}); got {tuple(X.shape)}.")
        if Y is not None and (Y.ndim not in (1, 2) or len(Y) != len(X)):
            raise ValueError(f"Y must be ({len(X)}, n_targets) as X; got {tuple(Y.shape)}.")
        check_finite(X, "X")
        if Y is not None:
            check_finite(Y, "Y")
        return X, Y

    def _check_alphas(self, X):
        alphas = alpha_grid(X.shape[1]) if self.alphas is None else self.alphas
        alphas = np.array(as_numpy(plain(alphas, "alphas")), dtype=np.float64, ndmin=1)
        if alphas.ndim != 1 or not len(alphas) or not np.all(np.isfinite(alphas) & (alphas > 0)):
            raise ValueError(f"alphas must be positive numbers in one dimension; got {alphas}.")
        return torch.from_numpy(alphas).to(X.device)

    def _shared_merit(self, scores, spread):
        """Return how well each penalty does for all targets, (n_alphas,), by the criterion.

        `scores` is (n_alphas, n_targets), `spread` (n_targets,) the sum of squares of each target.
        """
        weights = scores.amax(0).clamp(min=0) if self.criterion == "predicted" else spread
        if self.criterion == "uniform_average" or not weights.any():
            return scores.mean(1)
        return scores.double() @ weights.double()

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
    weights = np.ones(n_samples)
    if sample_weight is not None:
        weights = as_numpy(plain(sample_weight, "sample_weight")).astype(np.float64)
    if groups is not None:
        refuse_masked(groups, "groups")
        groups = as_numpy(groups)
    for name, values in (("sample_weight", weights), ("groups", groups)):
        if values is not None and values.shape != (n_samples,):
            raise ValueError(f"{name} must be ({n_samples},), one per row; got {values.shape}.")
    if not np.all(np.isfinite(weights) & (weights >= 0)):
        raise ValueError("sample_weight must be finite and at least 0.")
    if groups is not None and groups.dtype.kind == "f":
        check_finite(groups, "groups")
    return weights, groups


def _weighted_rows(X, Y, sample_weight, groups):
    """Return the rows of X, Y and groups that have a weight above 0, and these weights."""
    weights, groups = _check_rows(len(X), sample_weight, groups)
    keep = torch.from_numpy(weights > 0).to(X.device)
    if keep.sum() < 2:
        raise ValueError(f"Ridge needs two rows of non-zero weight; n_samples = {keep.sum()}.")
    if not keep.all():
        X, Y, groups = X[keep], Y[keep], groups if groups is None else groups[weights > 0]
    return X, Y, torch.from_numpy(weights).to(X.device)[keep], groups


def _check_result(X, Y, coef, intercept, scores):
    """Refuse coefficients, intercepts and scores that are not finite; name targets and value."""
    if all(map(all_finite, (coef, intercept, scores))):
        return
    wrong = ~(coef.isfinite().all(0) & intercept.isfinite() & scores.isfinite().all(0))
    targets = wrong.nonzero()[:, 0]
    of_x, of_y = _largest(X), _largest(Y, targets)
    (largest, where), name = (of_x, "X") if of_x[0] >= of_y[0] else (of_y, "Y")
    raise ValueError(
        f"{len(targets):,} of {len(wrong):,} targets (first: column {targets[0]} of Y) have no finite "
        f"coefficients and scores in {X.dtype}. The largest value is {largest:.3g}, in {where} of {name}: "
        "if it is a mistake, leave its row or column out; if not, divide the column by its standard "
        "deviation or pass X as float64."
    )


def _largest(values, columns=None):
    """Return the largest absolute value of (n, m) and its place in words, of some columns only."""
    columns = torch.arange(values.shape[1]) if columns is None else columns.cpu()
    size = values.detach().cpu()[:, columns].abs()
    row, column = divmod(int(size.argmax()), size.shape[1])
    return float(size[row, column]), f"row {row}, column {columns[column]}"


def _tensor(array):
    # torch shares memory only with arrays that are writable and run forwards.
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))


def _as_given(tensor, given):
    return tensor if torch.is_tensor(given) else tensor.numpy()
