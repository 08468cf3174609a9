"""Compare what two readings name: the kinds of things, their colours, the setting."""

import numpy as np

from latentcortex.metrics.checks import check_shapes, dense, labels


def f1(named_true, named_pred):
    """Return the F1 score of what is named, one per image: 2 x both / (true + pred).

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
        For arrays that are not bool, masked, or of unequal shapes.
    """
    both = []
    for name, named in {"named_true": named_true, "named_pred": named_pred}.items():
        named = dense(name, named)
        if named.dtype != bool:
            raise ValueError(
                f"Expected {name} as bool, named or not, got {named.dtype}. Decide first from "
                "which answer on a thing counts as named."
            )
        both.append(named)
    check_shapes("named_true", both[0], "named_pred", both[1])
    true, pred = (named.reshape(len(named), -1) for named in both)
    n_named = true.sum(axis=1) + pred.sum(axis=1)
    return np.where(n_named > 0, 2 * (true & pred).sum(axis=1) / np.maximum(n_named, 1), 1.0)


def agreement(answers_true, answers_pred):
    """Return where two readings (n,) give the same answer: array (n,) of 0 and 1.

    Raises ValueError for unequal shapes, missing answers, or texts that are compared with numbers.
    """
    both = {"answers_true": answers_true, "answers_pred": answers_pred}
    for name, answers in both.items():
        labels(name, answers)
    true, pred = map(np.asarray, both.values())
    check_shapes("answers_true", true, "answers_pred", pred)
    if (true.dtype.kind in "biuf") != (pred.dtype.kind in "biuf"):
        raise ValueError(f"Expected two readings of one kind, got {true.dtype} and {pred.dtype}.")
    return (true == pred).astype(float)
