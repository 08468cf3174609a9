"""Show images side by side, and store images in a page."""

import base64
import io

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image


def unmasked(values, name):
    """Return values as an array; raise ValueError for a masked array."""
    if np.ma.is_masked(values):
        raise ValueError(
            f"{name} is a masked array with {np.ma.count_masked(values):,} masked values, and the values "
            "behind the mask would be drawn. Leave them out, or in a map write NaN: "
            "values.astype(float).filled(np.nan)."
        )
    return np.asarray(values)


def font_size(ax):
    """Return the type size, in points, that is 9 pixels high on a page that is 390 pixels wide.

    On such a page a figure is 358 pixels wide. A figure of w inches shrinks to this width, and so does its
    type.
    """
    return 9 / 358 * 72 * ax.figure.get_figwidth()


def checked_images(images, name):
    """Return images as an array (n, 3, h, w); raise ValueError if they are not images."""
    images = unmasked(images, name)
    if images.ndim != 4 or images.shape[1] != 3 or 0 in images.shape:
        raise ValueError(f"{name}: expected images of the shape (n, 3, h, w), got {images.shape}.")
    low, high = images.min(), images.max()
    if not (low >= 0 and high <= 1):
        raise ValueError(
            f"{name}: expected values in [0, 1], got values from {low:.3g} to {high:.3g}. "
            "Divide images in [0, 255] by 255; clip decoded ones, which may overshoot: "
            "images.clip(0, 1)."
        )
    return images


def as_picture(pixels):
    """Return pixels (h, w, 3) in [0, 1] as a PIL image."""
    return Image.fromarray((pixels * 255).round().astype(np.uint8))


def data_address(picture, kind, **options):
    """Return a PIL image as a data address for a page.

    Parameters
    ----------
    picture : PIL.Image.Image
    kind : {"JPEG", "PNG", "WEBP"}
    **options
        Options of `PIL.Image.Image.save`, such as ``quality``.
    """
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


def image_grid(rows, row_labels=None, column_labels=None, *, width=7.5):
    """Draw rows of images, with one array of images per row.

    Parameters
    ----------
    rows : sequence of arrays, each (n_images, 3, h, w), in [0, 1]
        At least one row. Column j holds image j of every row. Rows may differ in h and w.
    row_labels : sequence of str, optional
        One per row, written to its left.
    column_labels : sequence of str, optional
        One per column, written above the first row.
    width : float
        Width of the figure in inches.

    Returns
    -------
    ndarray of matplotlib.axes.Axes, (n_rows, n_images)

    Raises
    ------
    ValueError
        If values are masked or outside [0, 1], if rows have unequal lengths, or if the number of labels is
        wrong.
    """
    if not width > 0:
        raise ValueError(f"width must be above 0 inches; got {width}.")
    rows = [checked_images(images, f"row {i}") for i, images in enumerate(rows)]
    lengths = [len(images) for images in rows]
    if len(set(lengths)) != 1:
        raise ValueError(f"Expected rows with the same number of images, got {lengths}.")
    n_rows, n_columns = len(rows), lengths[0]
    for name, labels, n in (("row", row_labels, n_rows), ("column", column_labels, n_columns)):
        if labels is not None and len(labels) != n:
            raise ValueError(f"Expected {n} {name} labels, got {len(labels)}.")

    cell = (width - (1.2 if row_labels is not None else 0)) / n_columns
    heights = [images.shape[2] / images.shape[3] for images in rows]
    fig, axes = plt.subplots(
        n_rows,
        n_columns,
        figsize=(width, sum(heights) * cell + 0.3),
        height_ratios=heights,
        squeeze=False,
        layout="compressed",
    )
    fig.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    size = font_size(axes[0, 0])
    # Heads of narrow columns are smaller, so that they don't run into each other. A letter is about 0.65
    # of its size wide.
    longest = max(map(len, column_labels or [""]))
    head_size = min(size, 72 * cell / (0.65 * max(longest, 1)))
    for i, j in np.ndindex(n_rows, n_columns):
        ax = axes[i, j]
        ax.imshow(rows[i][j].transpose(1, 2, 0), interpolation="nearest")
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        if row_labels is not None and j == 0:
            ax.set_ylabel(row_labels[i], rotation=0, ha="right", va="center", fontsize=size)
        if column_labels is not None and i == 0:
            ax.set_title(column_labels[j], fontsize=head_size)
    return axes
