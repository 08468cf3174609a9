"""Check arrays by one rule for every argument, for numpy and torch alike.

A row is identified by its image id. A model is tested only on images that it has not learned from.
"""

import numpy as np
import torch


def plain(values, name):
    """Return numbers as a numpy array, or unchanged if they are a tensor.

    Parameters
    ----------
    values : array, tensor or nested list of numbers
    name : str
        Name of the values in error messages.

    Raises
    ------
    ValueError
        If values are masked, or are not real numbers.
    """
    if torch.is_tensor(values):
        return values
    refuse_masked(values, name)
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name} must hold rows of one length; numpy says: {error}.") from error
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} must hold real numbers; got a {type(values).__name__} of {array.dtype}.")
    return array.copy() if min(array.strides, default=0) < 0 else array  # torch reads forwards only


def refuse_masked(values, name):
    """Refuse an array with masked values, because the hidden numbers would be used."""
    if np.ma.is_masked(values):
        raise ValueError(
            f"{name} is a masked array with {np.ma.count_masked(values):,} masked values, and the values "
            "behind the mask would count. Leave their rows or columns out."
        )


def all_finite(values):
    """Return whether an array or a tensor holds neither NaN nor infinite values."""
    if torch.is_tensor(values):
        values = values.detach()
        return bool(torch.isfinite(values.sum()) or torch.isfinite(values).all())
    # NaN and infinity survive a sum, which needs no second array of this size.
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(values.sum()) or np.isfinite(values).all())


def check_finite(values, name):
    """Refuse NaN and infinite values, and name the rows and columns that hold them.

    Parameters
    ----------
    values : array or tensor of shape (n_rows, ...)
    name : str
    """
    if all_finite(values):
        return
    wrong = ~np.isfinite(as_numpy(values))
    first = np.argwhere(wrong)[0]
    where, shape = f"row {first[0]}", wrong.shape[1:]
    counts = [f"{wrong.reshape(len(wrong), -1).any(1).sum():,} of {len(wrong):,} rows"]
    if shape:
        where += f", column {first[1] if len(first) == 2 else tuple(first[1:].tolist())}"
        counts.append(f"{wrong.any(0).sum():,} of {np.prod(shape):,} columns")
    raise ValueError(
        f"{name} holds NaN or infinite values in {' and '.join(counts)}, first in {where}. Leave those "
        "rows out, or those columns by a mask, before anything is fitted or predicted."
    )


def checked_rows(values, name, trailing=None):
    """Return finite numbers with one row per image or trial.

    Parameters
    ----------
    values : array, tensor or nested list, (n_rows, ...)
    name : str
    trailing : tuple of int, optional
        The shape that each row must have.

    Raises
    ------
    ValueError
        If values are masked, missing or infinite, if there are no rows, or if rows have another shape.
    """
    values = plain(values, name)
    if values.ndim == 0 or len(values) == 0:
        raise ValueError(f"{name} must have at least one row; got the shape {tuple(values.shape)}.")
    if trailing is not None and tuple(values.shape[1:]) != tuple(trailing):
        expected = ", ".join(["n", *map(str, trailing)])
        raise ValueError(
            f"{name} must be ({expected}), in the order of axes that was fitted; got {tuple(values.shape)}."
        )
    check_finite(values, name)
    return values


def check_same_length(**arrays):
    """Refuse arrays that do not have the same number of rows."""
    lengths = [len(values) for values in arrays.values()]
    if len(set(lengths)) > 1:
        names, counts = (f"{', '.join(map(str, first))} and {last}" for *first, last in (arrays, lengths))
        raise ValueError(f"{names} must have one row per image, or one row per trial; got {counts} rows.")


def whole_numbers(values, name, n_rows, lowest=None):
    """Return whole numbers, one for each of `n_rows` rows, as an int64 array (n_rows,).

    Raises
    ------
    ValueError
        If the shape differs, or if values are fractions, NaN or below `lowest`.
    """
    array = as_numpy(plain(values, name))
    if array.shape != (n_rows,):
        raise ValueError(f"{name} must be ({n_rows},), one per row; got {array.shape}.")
    whole = array.astype(np.int64) if all_finite(array) else None
    if whole is None or not (whole == array).all() or array.dtype.kind == "b":
        raise ValueError(f"{name} must hold whole numbers, none of them missing; got {array.dtype}: {array}.")
    if lowest is not None and not (whole >= lowest).all():
        raise ValueError(f"{name} must be at least {lowest} in every row; the smallest is {whole.min()}.")
    return whole


def check_count(value, name):
    """Refuse a count, such as a number of draws, that is not a whole number of at least 1."""
    if not (isinstance(value, (int, np.integer)) and value >= 1):
        raise ValueError(f"{name} must be a whole number, at least 1; got {value!r}.")


def within(values, name, lowest, highest, advice=""):
    """Return numbers as a numpy array; raise ValueError unless each is in [lowest, highest] or NaN."""
    values = as_numpy(plain(values, name))
    wrong = ~((values >= lowest) & (values <= highest)) & ~np.isnan(values)
    if wrong.any():
        raise ValueError(
            f"{name} must lie in [{lowest}, {highest}], NaN where it is not defined; {wrong.sum():,} of "
            f"{wrong.size:,} values do not, such as {values[wrong][0]:.6g}. {advice}".rstrip()
        )
    return values


def check_one_row_per_image(features, image_ids):
    """Refuse different features in rows of one image, because then rows are probably out of order.

    Parameters
    ----------
    features : array or tensor (n_rows, n_features), finite
    image_ids : int array (n_rows,)
    """
    # Some of the columns are enough to tell that rows are out of order.
    some = features[:, :: max(1, features.shape[1] // 64)]
    _, first, image = np.unique(image_ids, return_index=True, return_inverse=True)
    if not (some == some[first[image]]).all():
        raise ValueError(
            "Rows with the same image id hold different features: bring both into the order "
            "of image_ids, e.g. by loading the features by id."
        )


def check_new_images(image_ids, learned, what):
    """Refuse images that `what` has learned from; both are int arrays, (n_rows,) and (n_learned,)."""
    both = np.intersect1d(image_ids, learned)
    if len(both):
        raise ValueError(
            f"The {what} has learned from {len(both)} of these images, such as {both[0]}: what it "
            "predicts for them says nothing about new ones. Split by image before anything is fitted "
            "(nsd.split, nsd.validation_split)."
        )


def check_no_repeats(image_ids):
    """Refuse several rows of one image, because they are not independent; image_ids is int (n_rows,)."""
    images, counts = np.unique(image_ids, return_counts=True)
    if (counts > 1).any():
        raise ValueError(
            f"{(counts > 1).sum()} of {len(images)} images have several rows, such as image "
            f"{images[counts.argmax()]} with {counts.max()}: rows of one image are not independent, and "
            "tests and intervals would find too much. Average the repeats first (nsd.average_repeats)."
        )


def as_numpy(values):
    """Return a tensor of any device as a numpy array, without its gradient; arrays as they are."""
    return values.detach().cpu().numpy() if torch.is_tensor(values) else np.asarray(values)
