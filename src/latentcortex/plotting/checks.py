"""Check the first frame and the texts of all interactive pictures."""

import numpy as np


def check_first(first, n, name="first"):
    """Raise an error unless a number is the index of one of n things.

    Parameters
    ----------
    first : int
        From 0 to ``n - 1``.
    n : int
    name : str
        Name of the argument, for the error message.

    Raises
    ------
    ValueError
        If it is not such an index. ``True`` and ``1.0`` also raise it, although they equal an index.
    """
    is_whole = isinstance(first, (int, np.integer)) and not isinstance(first, bool)
    if not is_whole or not 0 <= first < n:
        raise ValueError(f"Expected {name} from 0 to {n - 1}; got {first!r}. A place is a whole number.")


def check_texts(texts, purpose="be a text for readers"):
    """Raise an error if a text is missing or empty.

    Parameters
    ----------
    texts : dict of str to str
        Texts by the name of the argument.
    purpose : str
        What a text should do, for the error message.

    Raises
    ------
    ValueError
    """
    for name, text in texts.items():
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"Expected {name} to {purpose}, got {text!r}.")
