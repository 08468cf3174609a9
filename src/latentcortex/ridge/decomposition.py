"""Decompose the rows once, so that one eigendecomposition serves every penalty and every target.

For a penalty alpha and row weights w_i, the coefficients B and the intercept b minimise

    sum_i w_i ||y_i - x_i B - b||^2 + alpha ||B||^2

The intercept is never penalised and never left out. Let X_c be the rows after weighted centring, each times
sqrt(w_i). The smaller of X_c'X_c (p x p) and X_c X_c' (n x n) is decomposed:

    B(alpha) = P diag(1 / (eigenvalues + alpha)) Q'Y_c
    P, Q = V, X_c V   where X_c'X_c = V diag(eigenvalues) V'       (more rows than columns)
    P, Q = X_c'U, U   where X_c X_c' = U diag(eigenvalues) U'      (otherwise)

Nothing is divided by a singular value, so rank-deficient X needs no special care. The decomposition is in
float64, because forming X'X squares the condition number. Its factors are cast back before they are
multiplied with the targets.
"""

import hashlib
from typing import NamedTuple

import torch


class Decomposition(NamedTuple):
    """Hold the factors of the module's docstring; `P` acts on centred rows in the units of X."""

    mean: torch.Tensor  # (n_features,), weighted
    eigenvalues: torch.Tensor  # (rank,), float64
    P: torch.Tensor  # (n_features, rank)
    Q: torch.Tensor  # (n_samples, rank)
    complete: bool  # whether Q is an orthonormal basis of all n_samples dimensions
    exact_Q: torch.Tensor | None  # Q in float64, where it is complete


def standardise(X, weights, zscore):
    """Return rows minus their weighted mean and, if asked, divided by the weighted deviation.

    New rows (n_samples, n_features), the mean and the scale (n_features,) are returned, all float64. The
    scale is 1 if nothing is divided. Rows of weight 0 are standardised, but they do not influence the mean
    and the scale.
    """
    share, dtype = weights / weights.sum(), X.dtype
    # Less the first row a constant column is exactly 0. Its mean alone would be rounded, and what is left
    # of the column would be divided by next to nothing.
    first = X[0].double()
    X = X.double() - first
    shift = share @ X
    X -= shift
    mean = first + shift
    scale = torch.ones_like(mean)
    if zscore:
        variance = share @ X**2
        # A constant column becomes 0, and so does its row of P (text encoders have such columns,
        # their first token never changes).
        constant = variance <= rounding_variance(mean.to(dtype))
        scale = torch.where(constant, torch.inf, variance.sqrt())
        X /= scale
    return X, mean, scale


def eigenvectors(products):
    """Return eigenvalues, at least 0, and eigenvectors of a symmetric matrix."""
    eigenvalues, vectors = torch.linalg.eigh(products)
    return eigenvalues.clamp(min=0), vectors


def gram(rows):
    """Return rows @ rows.T (n, n), with the blocks below the diagonal copied from those above it."""
    n, half = len(rows), len(rows) // 2
    if n < 256:
        return rows @ rows.T
    products = rows.new_empty(n, n)
    products[:half, :half], products[half:, half:] = gram(rows[:half]), gram(rows[half:])
    products[:half, half:] = rows[:half] @ rows[half:].T
    products[half:, :half] = products[:half, half:].T
    return products


_LAST = (None, None)  # what the last decomposition was made of, and the decomposition


def decompose(X, weights, zscore):
    """Return the decomposition of all rows.

    The last one is kept, so that targets that are fitted one after the other on the same rows share it. It
    is known by a hash of the numbers, because arrays can be changed in place.
    """
    global _LAST
    key = (_digest(X), _digest(weights), bool(zscore), X.dtype, X.device)
    if key != _LAST[0]:
        _LAST = (None, None)  # free its memory first
        _LAST = (key, _decompose(X, weights, zscore))
    return _LAST[1]


def _digest(values):
    array = values.detach().cpu().contiguous().numpy()
    return array.shape, hashlib.blake2b(array.data).digest()


def _decompose(X, weights, zscore):
    dtype = X.dtype
    X, mean, scale = standardise(X, weights, zscore)
    X *= weights.sqrt()[:, None]
    complete = X.shape[0] <= X.shape[1]
    if complete:
        eigenvalues, Q = eigenvectors(gram(X))
        P = X.T @ Q
    else:
        eigenvalues, P = eigenvectors(gram(X.T))
        Q = X @ P
    if zscore:
        P /= scale[:, None]
    exact_Q = Q if complete else None
    return Decomposition(mean.to(dtype), eigenvalues, P.to(dtype), Q.to(dtype), complete, exact_Q)


def project(Q, Y, weights):
    """Return the projection of a block of targets (n_samples, n_block), on the device of Q.

    Returns
    -------
    projected : tensor (rank, n_block)
        Q'Y_c.
    centred : tensor (n_samples, n_block)
        Y_c, which is exactly 0 for a target that never varies.
    mean : tensor (n_block,)
    """
    Y, weights = Y.to(Q.device), weights.to(Y.dtype)
    # Sums of many large numbers are inexact in float32; those of their small differences aren't.
    centred = Y - Y[0]
    shift = weights @ centred / weights.sum()
    centred -= shift
    centred *= weights.sqrt()[:, None]
    return Q.T @ centred, centred, Y[0] + shift


def rounding_variance(mean):
    """Return how much a column of this mean may vary by rounding alone."""
    return (10 * torch.finfo(mean.dtype).eps * mean) ** 2
