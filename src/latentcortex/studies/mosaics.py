"""Store small pictures together in one WebP file, in a tenth of the space of their pixels."""

import io

import numpy as np
from PIL import Image

LARGEST_SIDE = 16_383  # of a WebP file, in pixels


def packed(pictures, quality):
    """Return pictures as the bytes of one WebP file, a uint8 array (n_bytes,).

    Parameters
    ----------
    pictures : uint8 array (n_rows, n_columns, h, w, 3)
    quality : int
        From 0 to 100. The pixels that `unpacked` returns are similar to the given pixels, but not equal.

    Raises
    ------
    ValueError
        If the array is of another kind, or too large for a file.
    """
    if pictures.dtype != np.uint8 or pictures.ndim != 5 or pictures.shape[4] != 3:
        raise ValueError(
            "Expected pictures as uint8 of the shape (n_rows, n_columns, h, w, 3), got "
            f"{pictures.dtype} of the shape {pictures.shape}."
        )
    n_rows, n_columns, h, w, _ = pictures.shape
    if not 0 < max(n_rows * h, n_columns * w) <= LARGEST_SIDE:
        raise ValueError(
            f"A WebP file has at most {LARGEST_SIDE:,} pixels a side; {n_rows} rows and {n_columns} columns "
            f"of pictures of {h} x {w} need more. Pack fewer of them."
        )
    file = io.BytesIO()
    whole = pictures.swapaxes(1, 2).reshape(n_rows * h, n_columns * w, 3)
    Image.fromarray(whole).save(file, "WEBP", quality=quality, method=6)
    return np.frombuffer(file.getvalue(), np.uint8)


def unpacked(file, n_rows, n_columns):
    """Return the pictures of a file that `packed` made, a uint8 array (n_rows, n_columns, h, w, 3).

    Parameters
    ----------
    file : uint8 array (n_bytes,)
    n_rows, n_columns : int

    Raises
    ------
    ValueError
        If the height of the file is not a multiple of `n_rows`, or its width not a multiple of `n_columns`.
    """
    whole = np.asarray(Image.open(io.BytesIO(file.tobytes())).convert("RGB"))
    (height, width), rest = whole.shape[:2], (whole.shape[0] % n_rows, whole.shape[1] % n_columns)
    if any(rest):
        raise ValueError(
            f"A file of {height} x {width} pixels does not hold {n_rows} x {n_columns} pictures."
        )
    return whole.reshape(n_rows, height // n_rows, n_columns, width // n_columns, 3).swapaxes(1, 2)
