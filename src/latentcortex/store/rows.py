"""Find rows by image id."""

import numpy as np


def rows_of(known_ids, image_ids, name="the array"):
    """Return the row of each image in an array that has one row per image.

    Parameters
    ----------
    known_ids : int array (n,)
        The image of each row, in any order.
    image_ids : int array (m,)
        Images whose rows are wanted. Repeats are allowed.
    name : str
        Name of the array in error messages.

    Returns
    -------
    int array (m,)
        ``known_ids[rows_of(known_ids, image_ids)]`` equals ``image_ids``.

    Raises
    ------
    ValueError
        If an image has no row, or if `known_ids` lists an image twice. Also if the ids are a mask or a masked
        array.
    """
    for ids in (known_ids, image_ids):
        if np.ma.isMaskedArray(ids) or np.asarray(ids).dtype.kind == "b":
            what = "a masked array" if np.ma.isMaskedArray(ids) else "True and False"
            raise ValueError(
                f"{name}: expected image ids, got {what}. Pass the numbers of the images, for example "
                "image_ids[mask]."
            )
    known_ids, image_ids = np.asarray(known_ids), np.asarray(image_ids)
    order = np.argsort(known_ids, kind="stable")
    ordered = known_ids[order]
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if len(twice):
        raise ValueError(
            f"{name} has several rows for image {twice[0]}: expected one row for each image. Rows of "
            "single trials can't be found by image id; average the repeats first."
        )
    missing = np.setdiff1d(image_ids, known_ids)
    if len(missing):
        raise ValueError(
            f"{name} has no row for {len(missing)} of the images asked for, such as {missing[0]}. It has "
            f"rows for {len(known_ids)} images. Compute them for the missing images, or leave these out."
        )
    return order[np.searchsorted(ordered, image_ids)]


def checked_ids(image_ids):
    """Return image ids as int64 (n,); raise ValueError if they are not ids."""
    ids = np.asarray(image_ids)
    if ids.ndim != 1 or ids.dtype.kind not in "iu" or np.ma.isMaskedArray(image_ids):
        raise ValueError(
            f"image_ids must be a 1-D array of integers, got {type(image_ids).__name__} of shape "
            f"{ids.shape}, dtype {ids.dtype}."
        )
    if ids.size and not int(ids.max()) <= np.iinfo(np.int64).max:
        raise ValueError(f"image_ids must be below 2**63, got {ids.max()}.")
    return np.ascontiguousarray(ids, dtype=np.int64)
