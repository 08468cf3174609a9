"""Check what is passed to a network, with one function for each kind of argument.

The sampler also uses these functions.
"""

import operator

import numpy as np
import torch


def as_tensor(values, name):
    """Return an array, a tensor or a list of numbers as a tensor.

    Parameters
    ----------
    values : array, tensor or list of numbers
    name : str
        Name of the values in error messages.

    Returns
    -------
    tensor
        `values` itself if it is a tensor. The memory of an array is shared, not copied.

    Raises
    ------
    ValueError
        If the array is masked, or if the values do not form one array of numbers.
    """
    if isinstance(values, np.ma.MaskedArray):
        raise ValueError(
            f"{name} is a masked array. The networks know no masks, so the values under the mask would "
            "count like any others. Leave out the masked rows and pass a plain array."
        )
    try:
        return torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"Expected {name} as one array or tensor of numbers, got {type(values).__name__} ({error}). "
            "Join a list of arrays by np.stack, a list of tensors by torch.stack."
        ) from error


def as_count(value, name, at_least=1):
    """Return a whole number, such as a batch size, as an int.

    Parameters
    ----------
    value : int, or another type of whole number such as ``numpy.int64``
    name : str
    at_least : int

    Returns
    -------
    int

    Raises
    ------
    ValueError
        If the value is not a whole number, or is below `at_least`. A float raises it even if it is whole.
    """
    try:
        count = operator.index(value)
    except TypeError:
        count = None
    if count is None or count < at_least:
        raise ValueError(f"Expected {name} as a whole number of at least {at_least}, got {value!r}.")
    return count


def check_finite(values, name, advice=""):
    """Raise an error that names the rows in which a tensor holds NaN or infinite values.

    Parameters
    ----------
    values : tensor (n, ...)
    name, advice : str
        Name of the values and advice, for the error message.

    Raises
    ------
    ValueError
        If a value is not finite.
    """
    finite = torch.isfinite(values).reshape(len(values), -1).all(dim=1)
    if not finite.all():
        bad = (~finite).nonzero().flatten().tolist()
        rows = f"rows {bad[:10]}{' and more' if len(bad) > 10 else ''} ({len(bad)} of {len(finite)} rows)"
        raise ValueError(f"{name} has NaN or infinite values in {rows}. {advice}".strip())


def check_unit_range(values, name):
    """Raise an error if a tensor of pixels or colours has values outside [0, 1].

    Parameters
    ----------
    values : tensor (n, ...)
    name : str

    Raises
    ------
    ValueError
        If a value is not finite, or is outside [0, 1].
    """
    check_finite(values, name)
    if values.numel() and not (values.min() >= 0 and values.max() <= 1):
        raise ValueError(
            f"Expected {name} in [0, 1], got values from {values.min():.3g} to {values.max():.3g}. Scale or "
            "clamp them first: no range is guessed here."
        )


def as_images(images, name="images", clamped=True):
    """Return images as a tensor, checked.

    Parameters
    ----------
    images : array, tensor or list (n, 3, h, w)
    name : str
    clamped : bool
        Whether the images must be in [0, 1]. Otherwise their values are not checked.

    Returns
    -------
    tensor (n, 3, h, w)

    Raises
    ------
    ValueError
        If shape, dtype or range are not as above.
    """
    images = as_tensor(images, name)
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"Expected {name} (n, 3, h, w), got an array {tuple(images.shape)}.")
    if not images.is_floating_point():
        raise ValueError(f"Expected float {name} in [0, 1], got {images.dtype}. Divide uint8 images by 255.")
    if clamped:
        check_unit_range(images, name)
    return images
