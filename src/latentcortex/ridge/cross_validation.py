"""Score penalties by how well each would predict rows that were not fitted."""

import torch

from latentcortex.ridge.decomposition import eigenvectors, gram, project, rounding_variance, standardise


def gcv_scores(decomposition, projected, total, mean, weights, alphas):
    """Return the score of each penalty in generalised cross-validation, and how much targets vary.

    The scores (n_alphas, n_block) are 1 - GCV(alpha) / GCV(infinity) of a block of targets. The spread
    (n_block,) is the sum of squares around the mean, which is 0 for a target that does not vary. GCV(alpha) =
    n RSS / (n - trace)^2, where the trace of the hat matrix includes the intercept. The residual sum of
    squares is the same quadratic form of Q'y for every target. So one product gives the scores of all
    penalties for a block.

    Parameters
    ----------
    decomposition : Decomposition
    projected, mean : tensors (rank, n_block), (n_block,)
        Results of `project`.
    total : tensor (n_block,)
        The sum of squares of each centred target.
    weights : float64 tensor (n_samples,)
    alphas : float64 tensor (n_alphas,)
    """
    eigenvalues, complete, n_samples = decomposition.eigenvalues, decomposition.complete, len(weights)
    shrinkage = alphas[:, None] / (eigenvalues + alphas[:, None])
    # n - trace = (n - 1 - rank) + sum of the shrinkage; .shape = (n_alphas, 1)
    freedom = n_samples - 1 - len(eigenvalues) + shrinkage.sum(1, keepdim=True)
    if complete:
        form = shrinkage**2
    else:  # Q's columns have the norm of the singular values: 1 - shrinkage^2 without dividing
        form = (eigenvalues + 2 * alphas[:, None]) / (eigenvalues + alphas[:, None]) ** 2
    dtype = projected.dtype
    residual = form.to(dtype) @ projected**2
    if not complete:
        # What is left of a difference of nearly equal sums is rounding, and no small residual.
        residual = torch.maximum(total - residual, n_samples * torch.finfo(dtype).eps * total)
    error = residual * ((n_samples - 1) / freedom).to(dtype) ** 2
    return _relative(error, total, weights.sum().to(mean.dtype) * rounding_variance(mean))


def kfold_scores(X, Y, weights, alphas, blocks, folds, zscore):
    """Return the score of each penalty on held-out rows, and how much targets vary.

    Parameters
    ----------
    X, Y : tensors (n_samples, n_features), (n_samples, n_targets)
    weights : float64 tensor (n_samples,)
    alphas : float64 tensor (n_alphas,)
    blocks : list of slice
        Slices of targets.
    folds : list of (train, test)
        Indices of rows.
    zscore : bool

    Returns
    -------
    scores : tensor (n_alphas, n_targets)
        1 - held-out error / held-out error of the training mean, both pooled over folds.
    spread : tensor (n_targets,)
        The held-out error of the training mean, which is 0 for a target that does not vary.
    """
    error = X.new_zeros(len(alphas), Y.shape[1])
    error_of_mean, rounding = X.new_zeros(2, Y.shape[1])
    for train, test in folds:
        eigenvalues, Q, scores = _decompose_fold(X, weights, train, test, zscore)
        test_weights = weights[test].to(X.dtype)
        for block in blocks:
            of_block = Y[:, block].to(X.device)
            projected, _, mean = project(Q, of_block[train], weights[train])
            centred = of_block[test] - mean
            error_of_mean[block] += test_weights @ centred**2
            rounding[block] += test_weights.sum() * rounding_variance(mean)
            residual = torch.empty_like(centred)
            for i, alpha in enumerate(alphas):
                shrunk = scores / (eigenvalues + alpha).to(X.dtype)
                torch.addmm(centred, shrunk, projected, alpha=-1, out=residual)
                error[i, block] += test_weights @ residual.square_()
    return _relative(error, error_of_mean, rounding)


def _decompose_fold(X, weights, train, test, zscore):
    """Return of a fold the eigenvalues, Q (n_train, rank) and the held-out rows times P.

    With more columns than rows P = X_c'U is never formed, because what is needed of X are inner
    products of rows.
    """
    of_train = torch.zeros_like(weights)
    of_train[train] = weights[train]
    root = weights[train].sqrt()
    rows, _, _ = standardise(X, of_train, zscore)
    fitted = rows[train] * root[:, None]
    if len(train) > X.shape[1]:
        eigenvalues, vectors = eigenvectors(gram(fitted.T))
        Q, scores = fitted @ vectors, rows[test] @ vectors
    else:
        eigenvalues, Q = eigenvectors(gram(fitted))
        scores = rows[test] @ fitted.T @ Q
    return eigenvalues, Q.to(X.dtype), scores.to(X.dtype)


def kfold_scores_of_all_rows(decomposition, Y, weights, alphas, blocks, folds):
    """Return the result of `kfold_scores` from a single decomposition of all rows.

    This is valid if nothing is z-scored and Q is a basis of all dimensions. Let H be the hat matrix of all
    rows, each times sqrt(w_i), and T the rows of a fold. The residuals of held-out rows are the residuals of
    the fit to all rows, times the inverse of their own block:

        (I - H)_TT^-1 (I - H)_T y,    I - H = Q diag(alpha / (eigenvalues + alpha)) Q'

    The component along the unit vector u, which is proportional to sqrt(w_i), is removed from Q. The
    intercept takes this direction, regardless of the penalty. The removal is done in float64, before Q is
    multiplied with the targets. One matrix (n_samples, n_samples) is held for each penalty.

    Parameters
    ----------
    decomposition : Decomposition
        Complete.
    Y, weights, alphas, blocks, folds
        As in `kfold_scores`.
    """
    Q, root = decomposition.exact_Q, weights.sqrt()
    u = root / root.norm()
    Q = Q - u[:, None] * (u @ Q)
    shrinkage = alphas[:, None] / (decomposition.eigenvalues + alphas[:, None])
    to_residuals = Q.new_empty(len(alphas), *Q.shape, dtype=Y.dtype)
    for _, test in folds:
        of_test = Q[test]
        for matrix, shrunk in zip(to_residuals, of_test * shrinkage[:, None], strict=True):
            matrix[test] = (torch.linalg.inv(shrunk @ of_test.T) @ shrunk).to(Y.dtype)
    error = to_residuals.new_zeros(len(alphas), Y.shape[1])
    error_of_mean, rounding = to_residuals.new_zeros(2, Y.shape[1])
    for block in blocks:
        projected, centred, mean = project(decomposition.Q, Y[:, block], weights)
        for i, matrix in enumerate(to_residuals):
            error[i, block] = (matrix @ projected).square_().sum(0)
        for train, test in folds:
            root_of_test = root[test].to(Y.dtype)
            # Without these rows the mean moves away from them.
            moved = root_of_test @ centred[test] / -weights[train].sum().to(Y.dtype)
            error_of_mean[block] += (centred[test] - root_of_test[:, None] * moved).square_().sum(0)
            rounding[block] += weights[test].sum().to(Y.dtype) * rounding_variance(mean + moved)
    return _relative(error, error_of_mean, rounding)


def _relative(error, error_of_mean, rounding):
    """Return 1 - error / error_of_mean, and error_of_mean, both 0 for a constant target."""
    # What overflows is no constant: its score is not finite either, and is refused at the end.
    varies = ~((error_of_mean <= rounding) & error_of_mean.isfinite())
    scores = torch.where(varies, 1 - error / torch.where(varies, error_of_mean, 1), 0)
    return scores, torch.where(varies, error_of_mean, 0)
