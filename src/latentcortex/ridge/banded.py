"""Fit banded ridge regression, where columns belong to spaces and every space has its own penalty.

For spaces X_s with shares g_s (at least 0, their sum is 1) and a penalty alpha, the coefficients B_s
and the intercept b minimise

    sum_i w_i ||y_i - sum_s x_is B_s - b||^2 + sum_s (alpha / g_s) ||B_s||^2

which is ridge regression on the columns sqrt(g_s) X_s with the penalty alpha. A space of share 0 is left out.
Columns are z-scored, with weights. For each vector of shares, one eigendecomposition serves every alpha and
every target. The products that it needs are computed once for all shares. If there are more rows than
columns, X_c = U R, where U is orthonormal and has the shape of X_c. From there on R and U'Y_c replace the
rows. Otherwise X_c X_c' of each space is computed, because the weighted sum of these products is the kernel.

References
----------
Nunez-Elizalde, Huth and Gallant (2019), Voxelwise encoding models with non-spherical multivariate
normal priors, NeuroImage 197:482-492. The random search over shares is that of Dupre la Tour et al.
(2022), Feature-space selection with banded ridge regression, NeuroImage 264:119728 (himalaya).
"""

from typing import NamedTuple

import numpy as np
import torch

from latentcortex.ridge.cross_validation import gcv_scores
from latentcortex.ridge.decomposition import Decomposition, eigenvectors, gram, project, standardise
from latentcortex.ridge.rows import all_finite, as_numpy, check_count, plain


class BandedFit(NamedTuple):
    """Hold what `fit_banded` returns; the prediction is ``intercept + sum_s (X_s - mean_s) coef_s``."""

    coef: list  # of tensors (n_features of the space, n_targets), in the units of X
    mean: list  # of tensors (n_features of the space,), weighted
    intercept: torch.Tensor  # (n_targets,), the weighted mean of the targets
    chosen: torch.Tensor  # (n_targets,), the row of shares
    alpha: torch.Tensor  # (n_targets,), float64
    scores: torch.Tensor  # (n_candidates, n_targets), the best that any alpha gives these shares
    asks: torch.Tensor  # (n_targets,), whether the scores of the candidates differ at all


def draw_shares(n_spaces, n_candidates, rng, concentration=(0.1, 1.0)):
    """Return candidates for the shares of spaces, drawn from Dirichlet distributions.

    Parameters
    ----------
    n_spaces, n_candidates : int
        At least 1.
    rng : numpy.random.Generator
        With the same seed the first candidates are the same, regardless of how many are drawn.
    concentration : sequence of float
        Concentrations, which are used in turn. At 1 all shares are equally likely. Below 1 few spaces get
        most of the sum.

    Returns
    -------
    array of shape (n_candidates, n_spaces)
        Each row sums to 1. In the first row all shares are equal, which is plain ridge regression.

    Raises
    ------
    ValueError
        If a number is below 1, or if a concentration is not positive.
    """
    for count, name in ((n_spaces, "n_spaces"), (n_candidates, "n_candidates")):
        check_count(count, name)
    concentration = np.array(concentration, dtype=np.float64, ndmin=1)
    if not (concentration.size and np.all((concentration > 0) & np.isfinite(concentration))):
        raise ValueError(f"concentration must hold positive numbers; got {concentration}.")
    shares = np.full((n_candidates, n_spaces), 1 / n_spaces)
    for k in range(1, n_candidates):
        shares[k] = rng.dirichlet(np.full(n_spaces, concentration[(k - 1) % len(concentration)]))
    return shares


def check_shares(shares, n_spaces):
    """Return the shares as float64 (n_candidates, n_spaces), with rows that sum to 1 exactly.

    Raises
    ------
    ValueError
        If the number of spaces differs, if shares are negative or missing, or if a sum differs from 1 by more
        than 1e-4.
    """
    shares = as_numpy(plain(shares, "shares")).astype(np.float64)
    if shares.ndim != 2 or not len(shares) or shares.shape[1] != n_spaces:
        raise ValueError(
            f"shares must be (n_candidates, {n_spaces}), one column per space; got {shares.shape}."
        )
    sums = shares.sum(1)
    right = (shares >= 0).all(1) & (np.abs(sums - 1) <= 1e-4)
    if not right.all():
        raise ValueError(
            f"shares must be at least 0 and each row must sum to 1; {(~right).sum()} of {len(right)} rows do "
            f"not, such as {shares[~right][0]}. Divide each row by its sum (or take draw_shares)."
        )
    return shares / sums[:, None]


@torch.no_grad()
def fit_banded(spaces, Y, weights, shares, alphas, block_size=1024):
    """Return the ridge regression of each target at the candidate with the best GCV score.

    Candidates are all pairs of a row of shares and an alpha. `gcv_scores` scores them with the trace of the
    hat matrix of all columns. If scores are equal, the first candidate is taken.

    Parameters
    ----------
    spaces : list of tensor (n_samples, n_features of the space)
        All tensors here have the same dtype and device.
    Y : tensor (n_samples, n_targets)
    weights : float64 tensor (n_samples,), positive
        A row that is the mean of k repeats counts as these repeats would, with the weight k.
    shares : float64 tensor (n_candidates, n_spaces)
        See `check_shares`.
    alphas : float64 tensor (n_alphas,), positive
    block_size : int
        Number of targets processed at a time, which does not change the result. The centred targets and a
        solution in float64 are also held. Each has min(n_samples, n_features) rows.

    Returns
    -------
    BandedFit

    Raises
    ------
    ValueError
        If coefficients or scores are not finite.
    """
    sizes = [X.shape[1] for X in spaces]
    rows, means, scales = zip(*[standardise(X, weights, zscore=True) for X in spaces], strict=True)
    rows = torch.cat(rows, 1) * weights.sqrt()[:, None]
    complete = rows.shape[0] <= rows.shape[1]
    if complete:
        U = rows.new_empty(len(rows), 0)
        products = rows.new_empty(len(sizes), len(rows), len(rows))
        for product, part in zip(products, rows.split(sizes, 1), strict=True):
            product.copy_(gram(part))
    else:
        U, rows = torch.linalg.qr(rows)
        products = gram(rows.T)

    n_targets = Y.shape[1]
    blocks = [slice(i, i + block_size) for i in range(0, n_targets, block_size)]
    best, worst = Y.new_full((n_targets,), -torch.inf), Y.new_full((n_targets,), torch.inf)
    scores = Y.new_empty(len(shares), n_targets)
    U, reduced = U.to(Y.dtype), Y.new_empty(len(rows), n_targets)  # the centred targets, or U'Y_c
    total, intercept = Y.new_empty(2, n_targets)
    for block in blocks:
        projected, centred, intercept[block] = project(U, Y[:, block], weights)
        reduced[:, block], total[block] = centred if complete else projected, (centred**2).sum(0)
    chosen, alpha = torch.zeros_like(best, dtype=torch.int64), torch.zeros_like(best, dtype=torch.float64)
    # Of the best candidate so far: dual weights of the rows, or coefficients of the columns. In float64,
    # because a direction that dominates the columns multiplies the rounding of the weights.
    solution = rows.new_zeros(len(rows) if complete else rows.shape[1], n_targets)
    for k, share in enumerate(shares):
        if complete:
            eigenvalues, Q = eigenvectors(torch.einsum("s,sij->ij", share, products))
            P = Q
        else:
            root = torch.cat([g.sqrt().expand(n) for g, n in zip(share, sizes, strict=True)])
            eigenvalues, vectors = eigenvectors(root[:, None] * products * root)
            P = root[:, None] * vectors
            Q = rows @ P
        Q, decomposition = Q.to(Y.dtype), Decomposition(None, eigenvalues, None, None, complete, None)
        for block in blocks:
            projected = Q.T @ reduced[:, block]
            parts = projected, total[block], intercept[block]
            of_alphas, _ = gcv_scores(decomposition, *parts, weights, alphas)
            scores[k, block], which = of_alphas.max(0)
            torch.minimum(worst[block], of_alphas.amin(0), out=worst[block])
            better = (scores[k, block] > best[block]).nonzero()[:, 0]
            targets = better + block.start
            best[targets], chosen[targets], alpha[targets] = scores[k, targets], k, alphas[which[better]]
            shrunk = projected[:, better].double() / (eigenvalues[:, None] + alpha[targets])
            solution[:, targets] = P @ shrunk

    coef = Y.new_empty(rows.shape[1], n_targets)
    for block in blocks:
        coef[:, block] = rows.T @ solution[:, block] if complete else solution[:, block]
    coef = list(coef.split(sizes))
    if not (all_finite(scores) and all(map(all_finite, coef))):
        raise ValueError(
            f"Coefficients or scores are not finite in {Y.dtype}: divide columns of very large numbers by "
            "their standard deviation, or pass the features as float64."
        )
    for s, (part, scale) in enumerate(zip(coef, scales, strict=True)):
        if complete:
            part *= shares[chosen, s].to(Y.dtype)
        part /= scale[:, None].to(Y.dtype)
    means = [mean.to(Y.dtype) for mean in means]
    return BandedFit(coef, means, intercept, chosen, alpha, scores, best > worst)
