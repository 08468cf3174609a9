"""Checks of what a reader is shown first and told, the same for all pictures that move."""

import numpy as np


def check_first(first, n, name="first"):
    """Refuse what is not the place of one of n things.

    Parameters
    ----------
    first : int
        From 0 to ``n - 1``.
    n : int
    name : str
        Of the argument, for the message.

    Raises
    ------
    ValueError
        Also for ``True`` and ``1.0``, which equal a place but cannot be one.
    """
    is_whole = isinstance(first, (int, np.integer)) and not isinstance(first, bool)
    if not is_whole or not 0 <= first < n:
        raise ValueError(f"Expected {name} from 0 to {n - 1}; got {first!r}. A place is a whole number.")


def check_texts(texts, purpose="be a text for readers"):
    """Refuse texts that are missing or empty.

    Parameters
    ----------
    texts : dict of str to str
        By the name of the argument.
    purpose : str
        What a text should do, for the message.

    Raises
    ------
    ValueError
    """
    for name, text in texts.items():
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"Expected {name} to {purpose}, got {text!r}.")
