"""Lay a picture of a page out for a slide: what stands below each other there stands side by side here."""

import base64
import html
import io

import numpy as np
from PIL import Image

# Room for a picture on a slide of 1280 x 720, in pixels: below the words, and beside them.
BELOW, BESIDE = (1180, 540), (830, 620)
# Columns must be so many times as large: panels that share an axis lose its labels when they are parted.
WORTH = 1.3


def picture(png, alt):
    """Return the HTML of a picture, and whether it is wide, so that words belong above it.

    Parameters
    ----------
    png : str
        A PNG in base64.
    alt : str

    Returns
    -------
    content : str
    wide : bool
    """
    parts = columns(Image.open(io.BytesIO(base64.b64decode(png))))
    images = []
    for k, part in enumerate(parts):
        data = png.replace("\n", "") if len(parts) == 1 else _encoded(part)
        text = html.escape(alt) if k == 0 else ""
        # Columns are as wide as their pictures, so that all have one scale.
        style = f"flex: {part.width} 1 0"
        images.append(f'<img src="data:image/png;base64,{data}" alt="{text}" style="{style}">')
    size = _together(parts)
    return f'<div class="parts">{"".join(images)}</div>', _scale(size, BELOW) > _scale(size, BESIDE)


def columns(image, most=4):
    """Cut a tall picture at empty rows into columns, as many as make it largest on a slide.

    Parameters
    ----------
    image : PIL.Image.Image
    most : int

    Returns
    -------
    list of PIL.Image.Image
        The picture itself where no cut makes it larger, or where there is no empty row to cut at.
    """
    best = [image]
    for n in range(2, most + 1) if image.height > image.width else ():
        rows = _cuts(image, n)
        if rows:
            edges = [0, *rows, image.height]
            parts = [image.crop((0, a, image.width, b)) for a, b in zip(edges, edges[1:], strict=False)]
            if _largest(parts) > (WORTH if len(best) == 1 else 1) * _largest(best):
                best = parts
    return best


def _cuts(image, n):
    """Return n - 1 rows to cut at, each in the longest empty run near its place; None if one has none."""
    pixels = np.asarray(image.convert("RGBA")).reshape(image.height, -1, 4)
    empty = np.concatenate([[False], (pixels == pixels[:, :1]).all((1, 2)), [False]])
    starts, ends = np.flatnonzero(~empty[:-1] & empty[1:]), np.flatnonzero(empty[:-1] & ~empty[1:])
    middle, length = (starts + ends) // 2, ends - starts
    found = []
    for k in range(1, n):
        near = (np.abs(middle - image.height * k / n) < 0.12 * image.height) & (length > 3)
        if not near.any():
            return None
        found.append(int(middle[near][np.argmax(length[near])]))
    return found if len(set(found)) == n - 1 else None


def _largest(parts):
    """Return the scale of a picture's columns where they fit best."""
    return max(_scale(_together(parts), room) for room in (BELOW, BESIDE))


def _together(parts):
    return sum(part.width for part in parts), max(part.height for part in parts)


def _scale(size, room):
    return min(room[0] / size[0], room[1] / size[1])


def _encoded(image):
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()
