"""Compare what two readings name: the kinds of things, their colours, the setting."""

import numpy as np

from latentcortex.metrics.checks import check_shapes


def f1(named_true, named_pred):
    """Compute the F1 score of what is named, one per image: 2 x both / (one + the other).

    Parameters
    ----------
    named_true, named_pred : bool arrays (n, ...)
        Whether each of a fixed list of things is named for the original and for its
        reconstruction: kinds (n, n_kinds), or kinds with their colours (n, n_kinds, n_colours).

    Returns
    -------
    scores : array (n,)
        In [0, 1]; 1 where neither names anything, since then they agree.

    Raises
    ------
    ValueError
        For arrays that are not bool, or of unequal shapes.
    """
    both = []
    for name, named in {"named_true": named_true, "named_pred": named_pred}.items():
        named = np.asarray(named)
        if named.dtype != bool:
            raise ValueError(
                f"Expected {name} as bool, named or not, got {named.dtype}. Decide first from "
                "which answer on a thing counts as named."
            )
        both.append(named.reshape(len(named), -1))
    true, pred = both
    check_shapes("named_true", true, "named_pred", pred)
    n_named = true.sum(axis=1) + pred.sum(axis=1)
    return np.where(n_named > 0, 2 * (true & pred).sum(axis=1) / np.maximum(n_named, 1), 1.0)


def agreement(answers_true, answers_pred):
    """Say where two readings (n,) give the same answer: array (n,) of 0 and 1."""
    true, pred = np.asarray(answers_true), np.asarray(answers_pred)
    check_shapes("answers_true", true, "answers_pred", pred)
    return (true == pred).astype(float)
