"""Check the arguments of scores for missing values, shapes and ranges."""

import numbers

import numpy as np
import pandas as pd

NUMBERS = 2**22  # numbers of an array that are held in float64 at a time: 34 MB


class UndefinedCorrelation(ValueError):
    """Raised if a row to be correlated does not vary, which only a baseline may do.

    Attributes
    ----------
    rows : list of int
        The rows that do not vary.
    """

    def __init__(self, message, rows=()):
        super().__init__(message)
        self.rows = list(rows)


def dense(name, array, ndim=None):
    """Return an array unchanged and without a copy; its values may be NaN.

    Raises
    ------
    ValueError
        If the array has masked values, no numbers, no rows, or another number of axes.
    """
    parts = array if isinstance(array, list | tuple) else [array]
    if any(np.ma.is_masked(part) for part in parts):
        raise ValueError(
            f"{name} is a masked array that hides values, which no score can leave out for itself. Select "
            "the rows that are complete and pass them as a plain array."
        )
    array = np.asarray(array)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"Expected {name} as an array of numbers, got dtype {array.dtype}.")
    if ndim is not None and array.ndim != ndim:
        raise ValueError(f"Expected {name} with {ndim} axes, got shape {array.shape}.")
    if array.ndim == 0 or array.size == 0:
        raise ValueError(f"Expected {name} with at least one row of numbers, got shape {array.shape}.")
    return array


def finite(name, array, ndim=None):
    """Return an array in float64, or raise ValueError naming the rows with NaN or infinite values."""
    array = dense(name, array, ndim).astype(np.float64, copy=False)
    if not np.isfinite(array).all():
        _not_finite(name, ~np.isfinite(array).reshape(len(array), -1).all(axis=1))
    return array


def _not_finite(name, rows, first=0):
    raise ValueError(
        f"{name} has NaN or infinite values in rows {(np.flatnonzero(rows)[:10] + first).tolist()}. Find out "
        "where they come from; leaving rows out would change the score."
    )


def pictures(name, array, ndim=4, first=0):
    """Return images unchanged and without a copy, after checking that they are floats in [0, 1].

    Parameters
    ----------
    name : str
    array : float array (n, 3, h, w), or of one image (3, h, w)
    ndim : {4, 3}
    first : int
        Number of the first row, for the error message.

    Raises
    ------
    ValueError
        If shapes differ, if values are whole numbers, or if they are not finite or outside [0, 1].
    """
    array = dense(name, array, ndim)
    low, high = array.min(), array.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        _not_finite(name, ~np.isfinite(array).reshape(len(array), -1).all(axis=1), first)
    expected = "(n, 3, h, w)" if ndim == 4 else "(3, h, w)"
    if array.shape[-3] != 3 or array.dtype.kind != "f" or low < 0 or high > 1:
        raise ValueError(
            f"Expected {name} {expected} as floats in [0, 1], got {array.dtype} {array.shape} from {low:.3g} "
            f"to {high:.3g}. Divide bytes by 255; clamp what a decoder gave."
        )
    return array


def number(name, value, low=-np.inf, high=np.inf, whole=False, strict=False):
    """Return a finite number from `low` to `high`, or raise ValueError; `strict` excludes both ends."""
    kind = numbers.Integral if whole else numbers.Real
    # Written so that NaN fails.
    inside = isinstance(value, kind) and not isinstance(value, bool) and abs(value) < np.inf
    if not (inside and (low < value < high if strict else low <= value <= high)):
        ends = f"above {low:g}" if strict else f"of at least {low:g}"
        if high < np.inf:
            ends = f"between {low:g} and {high:g}" if strict else f"from {low:g} to {high:g}"
        raise ValueError(f"Expected {name} as a {'whole ' * whole}number {ends}, got {value!r}.")
    return value


def labels(name, values, n=None):
    """Return a code for each label, as an int array (n,); labels are numbers or texts.

    Raises
    ------
    ValueError
        If the number of labels differs, or if a label is missing, because it would equal no other label.
    """
    if np.ma.is_masked(values):
        raise ValueError(f"{name} is a masked array that hides labels: give every image one.")
    values = np.asarray(values)
    if values.ndim != 1 or len(values) != (n or len(values)) or not len(values):
        of = f" for each of {n} images" if n else " per image"
        raise ValueError(f"Expected {name} with one label{of}, got shape {values.shape}.")
    codes, _ = pd.factorize(values)
    if (codes < 0).any():
        raise ValueError(f"{name} has no label in rows {np.flatnonzero(codes < 0)[:10].tolist()}.")
    return codes


def generator(rng):
    """Return rng; raise ValueError unless it is a numpy Generator."""
    if not isinstance(rng, np.random.Generator):
        raise ValueError(f"Expected rng as np.random.default_rng(seed), got {type(rng).__name__}.")
    return rng


def check_shapes(name_a, a, name_b, b):
    """Raise ValueError unless two arrays have the same shape."""
    if a.shape != b.shape:
        raise ValueError(
            f"Expected one row of {name_b} for each of {name_a}, of equal size, got shapes "
            f"{a.shape} and {b.shape}."
        )


def pair(name_a, a, name_b, b, ndim=None):
    """Return two finite arrays of the same shape; raise ValueError for other arrays."""
    a, b = finite(name_a, a, ndim), finite(name_b, b, ndim)
    check_shapes(name_a, a, name_b, b)
    return a, b


def batches(n, batch_size):
    """Return slices that cut n rows into batches."""
    return [slice(start, min(start + batch_size, n)) for start in range(0, n, batch_size)]


def row_means(name, rows, first=0):
    """Return means (n,) of rows (n, p) in float64, without a copy; refuse rows that are not finite."""
    means = rows.mean(axis=1, dtype=np.float64)
    if not np.isfinite(means).all():
        _not_finite(name, ~np.isfinite(means), first)
    return means


def row_lengths(name, rows, squares, first=0):
    """Return the lengths (n,) of centred rows from their sums of squares; none may be constant."""
    # Relative to the row's size: centring a constant row leaves rounding errors, not zeros.
    size = np.maximum(rows.max(axis=1), -rows.min(axis=1).astype(np.float64)) * np.sqrt(rows.shape[1])
    constant = np.sqrt(squares) <= 1e-12 * size
    if constant.any():
        refuse_constant(name, constant, first)
    return np.sqrt(squares)


def refuse_constant(name, rows, first=0):
    """Raise UndefinedCorrelation naming the rows that are marked, boolean (n,)."""
    rows = (np.flatnonzero(rows) + first).tolist()
    raise UndefinedCorrelation(
        f"{name} is constant in rows {rows[:10]}: no correlation "
        "is defined. A reconstruction of a single grey is a failure to report, not a number.",
        rows,
    )


def standardise(name, rows, first=0):
    """Return rows (n, ...) flat, centred and of length 1, so that their products are correlations."""
    rows = rows.reshape(len(rows), -1)
    centred = rows - row_means(name, rows, first)[:, None]
    return centred / row_lengths(name, rows, (centred**2).sum(axis=1), first)[:, None]


def row_correlations(name_a, a, name_b, b, ndim=None, centre=None):
    """Return the correlation of row i of one array with row i of the other, both (n, ...): r (n,).

    `centre` is subtracted from all rows first. Only few rows are held in float64 at a time.
    """
    both = {name_a: dense(name_a, a, ndim), name_b: dense(name_b, b, ndim)}
    for name, rows in both.items():
        row_means(name, rows.reshape(len(rows), -1))
    a, b = both.values()
    check_shapes(name_a, a, name_b, b)
    r = np.empty(len(a))
    for some in batches(len(a), max(1, NUMBERS // a[0].size)):
        parts = [rows[some].astype(np.float64) for rows in (a, b)]
        parts = parts if centre is None else [part - centre for part in parts]
        unit = [standardise(name, part, some.start) for name, part in zip(both, parts, strict=True)]
        r[some] = (unit[0] * unit[1]).sum(axis=1)
    return r
