"""Compare what two readings of images name: kinds of things, their colours, and the setting."""

import numpy as np

from latentcortex.metrics.checks import check_shapes, dense, labels


def f1(named_true, named_pred):
    """Return one F1 score per image for the things named: 2 x both / (true + pred).

    Parameters
    ----------
    named_true, named_pred : bool arrays (n, ...)
        Whether each thing of a fixed list is named for the original and for its reconstruction. The shape is
        (n, n_kinds) for kinds, or (n, n_kinds, n_colours) for kinds with their colours.

    Returns
    -------
    scores : array (n,)
        In [0, 1]. The score is 1 if neither reading names anything, because then they agree.

    Raises
    ------
    ValueError
        If arrays are not bool, are masked, or have unequal shapes.
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
    """Return 1 where two readings (n,) give the same answer and 0 elsewhere, as an array (n,).

    A ValueError is raised if shapes are unequal, answers are missing, or texts are compared with numbers.
    """
    both = {"answers_true": answers_true, "answers_pred": answers_pred}
    for name, answers in both.items():
        labels(name, answers)
    true, pred = map(np.asarray, both.values())
    check_shapes("answers_true", true, "answers_pred", pred)
    if (true.dtype.kind in "biuf") != (pred.dtype.kind in "biuf"):
        raise ValueError(f"Expected two readings of one kind, got {true.dtype} and {pred.dtype}.")
    return (true == pred).astype(float)
