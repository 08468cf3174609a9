"""What every score asks of its arrays: finite, of equal shape, not constant."""

import numpy as np


def finite(name, array, ndim=None):
    """Return float64, or raise ValueError naming the rows with NaN or infinite values."""
    array = np.asarray(array, dtype=np.float64)
    if ndim is not None and array.ndim != ndim:
        raise ValueError(f"Expected {name} with {ndim} axes, got shape {array.shape}.")
    if not np.isfinite(array).all():
        rows = np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(axis=1))
        raise ValueError(
            f"{name} has NaN or infinite values in rows {rows[:10].tolist()}. Find out where they "
            "come from; leaving rows out would change the score."
        )
    return array


def pair(name_a, a, name_b, b, ndim=None):
    """Return two finite arrays of one shape, or raise ValueError."""
    a, b = finite(name_a, a, ndim), finite(name_b, b, ndim)
    if a.shape != b.shape:
        raise ValueError(
            f"Expected one row of {name_b} for each of {name_a}, of equal size, got shapes "
            f"{a.shape} and {b.shape}."
        )
    return a, b


def standardise(name, rows):
    """Centre rows (n, p) and scale them to length 1, so that products are correlations."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    # Relative to the row's size: centring a constant row leaves rounding errors, not zeros.
    constant = length[:, 0] <= 1e-12 * np.linalg.norm(rows, axis=1)
    if constant.any():
        raise ValueError(
            f"{name} is constant in rows {np.flatnonzero(constant)[:10].tolist()}: no correlation "
            "is defined. A reconstruction of a single grey is a failure to report, not a number."
        )
    return centred / length
