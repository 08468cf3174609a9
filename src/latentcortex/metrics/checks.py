"""What every score asks of its arrays: finite, of equal shape, not constant."""

import numpy as np


class UndefinedCorrelation(ValueError):
    """Something that does not vary was to be correlated: a baseline may, a result must not."""


def finite(name, array, ndim=None):
    """Return float64, or raise ValueError naming the rows with NaN or infinite values."""
    array = np.asarray(array, dtype=np.float64)
    if ndim is not None and array.ndim != ndim:
        raise ValueError(f"Expected {name} with {ndim} axes, got shape {array.shape}.")
    if not np.isfinite(array).all():
        _not_finite(name, ~np.isfinite(array).reshape(len(array), -1).all(axis=1))
    return array


def _not_finite(name, rows):
    raise ValueError(
        f"{name} has NaN or infinite values in rows {np.flatnonzero(rows)[:10].tolist()}. Find out "
        "where they come from; leaving rows out would change the score."
    )


def check_shapes(name_a, a, name_b, b):
    """Raise ValueError unless two arrays have one shape."""
    if a.shape != b.shape:
        raise ValueError(
            f"Expected one row of {name_b} for each of {name_a}, of equal size, got shapes "
            f"{a.shape} and {b.shape}."
        )


def pair(name_a, a, name_b, b, ndim=None):
    """Return two finite arrays of one shape, or raise ValueError."""
    a, b = finite(name_a, a, ndim), finite(name_b, b, ndim)
    check_shapes(name_a, a, name_b, b)
    return a, b


def row_means(name, rows):
    """Average rows (n, p) in float64, without a copy of them; a sum that isn't finite tells NaN."""
    means = rows.mean(axis=1, dtype=np.float64)
    if not np.isfinite(means).all():
        _not_finite(name, ~np.isfinite(means))
    return means


def row_lengths(name, rows, squares):
    """Return the lengths (n,) of centred rows from their sums of squares; none may be constant."""
    # Relative to the row's size: centring a constant row leaves rounding errors, not zeros.
    size = np.maximum(rows.max(axis=1), -rows.min(axis=1)) * np.sqrt(rows.shape[1])
    constant = np.sqrt(squares) <= 1e-12 * size
    if constant.any():
        refuse_constant(name, constant)
    return np.sqrt(squares)


def refuse_constant(name, rows):
    """Raise UndefinedCorrelation naming the rows that are marked, boolean (n,)."""
    raise UndefinedCorrelation(
        f"{name} is constant in rows {np.flatnonzero(rows)[:10].tolist()}: no correlation "
        "is defined. A reconstruction of a single grey is a failure to report, not a number."
    )


def standardise(name, rows):
    """Flatten rows (n, ...), centre them and scale them to length 1: products are correlations."""
    rows = rows.reshape(len(rows), -1)
    centred = rows - row_means(name, rows)[:, None]
    return centred / row_lengths(name, rows, (centred**2).sum(axis=1))[:, None]


def row_correlations(name_a, a, name_b, b, ndim=None):
    """Correlate row i of one array with row i of the other, both (n, ...): r (n,)."""
    a, b = pair(name_a, a, name_b, b, ndim)
    return (standardise(name_a, a) * standardise(name_b, b)).sum(axis=1)
