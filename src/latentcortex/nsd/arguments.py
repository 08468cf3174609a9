"""Check that callers pass plain arrays of the right kind and shape."""

import numpy as np

from latentcortex.nsd.reading import whole_numbers


def plain_array(values, name):
    """Return values as a numpy array.

    Raises
    ------
    ValueError
        If `values` is a masked array, because its mask would be lost.
    """
    if isinstance(values, np.ma.MaskedArray):
        raise ValueError(
            f"{name} is a masked array, and its mask would be lost here. Leave the masked values out, or "
            f"turn them into NaN with {name}.filled(np.nan)."
        )
    return np.asarray(values)


def checked_betas(betas):
    """Return betas as a float array (n_trials, n_voxels).

    Raises
    ------
    ValueError
        If the betas hold integers, or have another number of axes.
    """
    betas = plain_array(betas, "betas")
    if betas.dtype.kind != "f":
        raise ValueError(
            f"Expected betas as floats in percent signal change, got {betas.dtype}. NSD's integer "
            "volumes are 300 times as large: cast to float and divide by 300 first."
        )
    if betas.ndim != 2:
        raise ValueError(f"Expected betas of shape (n_trials, n_voxels), got {betas.shape}.")
    return betas


def checked_ids(image_ids):
    """Return image ids as an int array (n,); raise ValueError for another dtype or shape."""
    ids = plain_array(image_ids, "image_ids")
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise ValueError(f"image_ids must be 1-D integers, got {ids.dtype} of shape {ids.shape}.")
    return ids


def checked_count(values, name):
    """Return one or several counts as an int array; raise ValueError if they are not counts."""
    values = plain_array(values, name)
    if values.dtype == bool:
        raise ValueError(f"{name}: expected whole numbers, got bool. Pass an int or a sequence of ints.")
    return whole_numbers(values, name, "Pass an int or a sequence of ints.")


def checked_size(size):
    """Return the width and height wanted as an int; raise ValueError if it is below 1 or not whole."""
    number = checked_count(size, "size")
    if number.shape != () or not number >= 1:
        raise ValueError(f"size is one whole number of pixels, at least 1, for both sides; got {size!r}.")
    return int(number)


def file_names(files):
    """Return the paths of one or several files as text."""
    return " and ".join(map(str, files)) if isinstance(files, list) else str(files)


def checked_mask(mask, shape, space, owner, files):
    """Return a mask as a bool array of this shape; None marks everything.

    Parameters
    ----------
    mask : bool array, optional
    shape : tuple of int
        Shape of the data being read, (n_vertices,) or (nx, ny, nz).
    space, owner : str
        Name of the data being read, for the error message.
    files : path or list of paths
        Files that the shape was read from, for the error message.

    Raises
    ------
    ValueError
        If the mask has another shape or dtype, or marks nothing.
    """
    if mask is None:
        return np.ones(shape, bool)
    mask = plain_array(mask, "mask")
    if mask.dtype != bool or mask.shape != shape:
        raise ValueError(
            f"{owner} has the shape {shape} in {space}: expected a mask of bool of the shape {shape}, got "
            f"{mask.dtype} of shape {mask.shape}. roi_mask makes one for each space. If the mask is right, "
            f"the file is not: {file_names(files)}."
        )
    if not mask.any():
        raise ValueError(
            f"The mask of shape {shape} marks nothing in {space}, so there is nothing to read. Does the "
            "subject lack the region?"
        )
    return mask
