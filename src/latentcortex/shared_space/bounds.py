"""Check the numbers that a network is made and trained with."""

import math
import numbers
from collections.abc import Iterable

import numpy as np


def as_number(value, name, low=0, high=math.inf, *, above=False, whole=False):
    """Return a number as one of Python's, checked against a range. NaN lies in none.

    Parameters
    ----------
    value : int or float, of Python or numpy
        Numpy's numbers become Python's, because metadata of files can't hold them.
    name : str
        For the error message.
    low, high : float
        The ends of the range, which belong to it. Infinity never does.
    above : bool
        Whether `low` itself is too low.
    whole : bool
        Whether the number must be whole.

    Returns
    -------
    int or float

    Raises
    ------
    ValueError
        If it is no such number.
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
        If they are not several, or one is no such number.
    """
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ValueError(f"Expected {name} as a tuple of numbers, got {values!r}.")
    return tuple(as_number(value, name, **limits) for value in values)


def check_fields(settings, bounds):
    """Check fields of a frozen dataclass, and turn numpy's numbers in it into Python's, in place.

    Parameters
    ----------
    settings : dataclass
    bounds : dict of str to dict
        By field, the arguments of `as_number`.

    Raises
    ------
    ValueError
        If a field is out of its range.
    """
    for name, limits in bounds.items():
        object.__setattr__(settings, name, as_number(getattr(settings, name), name, **limits))
