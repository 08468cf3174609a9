"""Check the numbers that a network is made and trained with."""

import math
import numbers
from collections.abc import Iterable

import numpy as np


def as_number(value, name, low=0, high=math.inf, *, above=False, whole=False):
    """Return a number as a Python number, checked against a range that never includes NaN.

    Parameters
    ----------
    value : int or float, of Python or numpy
        Numpy numbers become Python numbers, because metadata of files cannot hold numpy numbers.
    name : str
        Name of the number in the error message.
    low, high : float
        The ends of the range, which are allowed. Infinity is never allowed.
    above : bool
        Whether the number must be above `low`.
    whole : bool
        Whether the number must be whole.

    Returns
    -------
    int or float

    Raises
    ------
    ValueError
        If the value is not such a number.
    """
    value = value.item() if isinstance(value, np.generic) else value
    is_number = isinstance(value, numbers.Integral if whole else numbers.Real)
    if (
        not is_number
        or not (value > low if above else value >= low)
        or not value <= high
        or value == math.inf
    ):
        kind, reach = "a whole number" if whole else "a number", "above" if above else "of at least"
        most = "" if high == math.inf else f" and at most {high:g}"
        raise ValueError(f"Expected {name} as {kind} {reach} {low:g}{most}, got {value!r}.")
    return value


def as_numbers(values, name, **limits):
    """Return several numbers as a tuple, each checked as by `as_number`.

    Raises
    ------
    ValueError
        If the values are not a sequence, or if one is not such a number.
    """
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ValueError(f"Expected {name} as a tuple of numbers, got {values!r}.")
    return tuple(as_number(value, name, **limits) for value in values)


def check_fields(settings, bounds):
    """Check fields of a frozen dataclass, and turn its numpy numbers into Python numbers in place.

    Parameters
    ----------
    settings : dataclass
    bounds : dict of str to dict
        The arguments of `as_number` for each field.

    Raises
    ------
    ValueError
        If a field is out of its range.
    """
    for name, limits in bounds.items():
        object.__setattr__(settings, name, as_number(getattr(settings, name), name, **limits))
