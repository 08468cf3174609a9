"""Describe vertices on cards, with their receptive field, their best images and their words."""

import base64
import dataclasses
import json
from collections.abc import Sequence

import numpy as np
from PIL import Image

from .cortex import N_FSAVERAGE5
from .images import as_picture, checked_images, data_address, unmasked

THUMBNAIL = 48
"""Width and height of an image on the sheet that travels with a page, in pixels."""
QUALITY = 60
"""Of the WebP file of that sheet, out of 100."""
N_WORDS = 5
"""How many words a card shows, at most."""
UNKNOWN = -32_768
"""Stands for NaN among whole hundredths."""


@dataclasses.dataclass(frozen=True)
class VertexCards:
    """Hold cards for `cortex_viewer`, where a reader chooses a vertex and sees what it prefers.

    Parameters
    ----------
    vertices : int array (n,)
        Indices of vertices of fsaverage5, left then right hemisphere. Each occurs once.
    fields : array (n, 3)
        x to the right, y upwards and size (standard deviation) of each receptive field, in degrees from the
        centre of the image. NaN where unknown.
    field_r : array (n,)
        Correlation of held-out responses with their prediction from the field. NaN where unknown.
    width : float
        Width of the image in degrees.
    images : array (n_images, 3, h, w), in [0, 1]
    descriptions : sequence of str, n_images
        What each image shows, for readers who cannot see it.
    best : int array (n, n_best)
        Rows in `images` of the best images of each vertex, in descending order.
    words : sequence of str
    answers : array (n, n_words)
        Mean response of each vertex to the images with each word. The `N_WORDS` largest are shown.
    examples : dict of str to int
        Vertices that a list offers by name, at least one. The first is shown first.
    """

    vertices: np.ndarray
    fields: np.ndarray
    field_r: np.ndarray
    width: float
    images: np.ndarray
    descriptions: Sequence
    best: np.ndarray
    words: Sequence
    answers: np.ndarray
    examples: dict


def packed_cards(cards):
    """Return cards as they are stored in a page: attributes of the viewer by name, all as text.

    ``cards-setup`` is JSON. ``cards-places`` holds uint16 numbers for the vertices, the best images of each
    vertex and its preferred words. ``cards-amounts`` holds int16 hundredths, with `UNKNOWN` for NaN, for x, y
    and size of each field, its r, and the answers to the words. Both are little-endian, in base64.
    ``cards-sheet`` is the address of a WebP file with rows of all images that a card shows.

    Raises
    ------
    ValueError
        If arrays have other shapes, if vertices are not on the surface or repeat, or if images are outside
        [0, 1]. Also if `images` lacks a row, or if an example has no card.
    """
    vertices, best = (_whole(getattr(cards, name), name) for name in ("vertices", "best"))
    images, n = checked_images(cards.images, "images"), len(vertices)
    if vertices.ndim != 1 or not n or len(np.unique(vertices)) < n:
        raise ValueError(f"vertices: expected a list in which each stands once, got {vertices.shape}.")
    _check_below(vertices, 2 * N_FSAVERAGE5, "vertices", "the vertices of fsaverage5")
    if best.ndim != 2 or len(best) != n or not best.size:
        raise ValueError(f"best: expected rows of images of the shape ({n}, n_best), got {best.shape}.")
    _check_below(best, len(images), "best", "the rows of images")
    fields = _checked(cards.fields, "fields", (n, 3))
    field_r = _checked(cards.field_r, "field_r", (n,))
    answers = _checked(cards.answers, "answers", (n, len(cards.words)))
    if len(cards.descriptions) != len(images):
        raise ValueError(
            f"descriptions: expected {len(images)}, one per image; got {len(cards.descriptions)}."
        )
    if not cards.width > 0:
        raise ValueError(f"width: expected the picture's degrees, above 0; got {cards.width!r}.")
    absent = [name for name, vertex in cards.examples.items() if vertex not in vertices]
    if absent or not cards.examples:
        raise ValueError(f"examples: expected vertices that have a card; {absent or 'none'} were given.")
    used, rows = np.unique(best, return_inverse=True)
    liked = np.argsort(-np.nan_to_num(answers, nan=-np.inf), axis=1, kind="stable")[:, :N_WORDS]
    columns = int(np.ceil(np.sqrt(len(used))))
    setup = {
        "n": n,
        "nBest": best.shape[1],
        "nWords": liked.shape[1],
        "width": float(cards.width),
        "columns": columns,
        "rows": -(-len(used) // columns),
        "words": [str(word) for word in cards.words],
        "descriptions": [str(cards.descriptions[k]) for k in used],
        "examples": [[str(name), int(vertex)] for name, vertex in cards.examples.items()],
    }
    places = np.concatenate([vertices, rows.ravel(), liked.ravel()]).astype("<u2")
    amounts = [fields, field_r, np.take_along_axis(answers, liked, axis=1)]
    amounts = np.concatenate([np.ravel(part) for part in amounts])
    hundredths = np.where(np.isfinite(amounts), np.round(100 * np.nan_to_num(amounts)), UNKNOWN)
    return {
        "cards-setup": json.dumps(setup),
        "cards-places": base64.b64encode(places.tobytes()).decode(),
        "cards-amounts": base64.b64encode(hundredths.astype("<i2").tobytes()).decode(),
        "cards-sheet": _sheet(images[used], columns),
    }


def _whole(values, name):
    values = unmasked(values, name)
    if values.dtype.kind not in "iu":
        raise ValueError(f"{name}: expected whole numbers, got {values.dtype}.")
    return values


def _check_below(values, end, name, what):
    outside = values[(values < 0) | (values >= end)]
    if outside.size:
        raise ValueError(f"{name}: expected {what}, from 0 to {end - 1}; {outside[0]} is not among them.")


def _checked(values, name, shape):
    """Return values as floats of a shape, or say what is wrong with them; hundredths must fit int16."""
    values = unmasked(values, name).astype(float)
    if values.shape != shape or (np.abs(values[~np.isnan(values)]) > 300).any():
        raise ValueError(f"{name}: expected numbers within 300 of the shape {shape}, got {values.shape}.")
    return values


def _sheet(images, columns):
    """Return images in rows of so many as the address of a WebP file."""
    sheet = Image.new("RGB", (columns * THUMBNAIL, -(-len(images) // columns) * THUMBNAIL))
    for k, image in enumerate(images):
        small = as_picture(image.transpose(1, 2, 0)).resize((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
        sheet.paste(small, (k % columns * THUMBNAIL, k // columns * THUMBNAIL))
    return data_address(sheet, "WEBP", quality=QUALITY, method=6)
