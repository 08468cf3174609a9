"""Show pictures of all combinations of a few choices, in static and live pages."""

import html
import json
import math
from pathlib import Path

import numpy as np
from IPython.display import HTML

from .checks import check_first, check_texts
from .images import as_picture, checked_images, data_address

FOLDER = Path(__file__).parent
QUALITY = 85
"""Of the WebP files in which pictures travel with a page, out of 100."""


def picture_composer(choices, pictures, *, title, alt, first=0, cortex=None):
    """Return a widget in which readers compose a case from several choices and see its pictures.

    Each choice is a group of radio buttons, so arrow keys and Tab work as usual in a browser. The widget
    works in a static page, in JupyterLab and in Colab, and requests nothing from the network. Without
    scripts, the pictures of the first combination are shown.

    Parameters
    ----------
    choices : dict of str to sequence of str
        The options of each choice by its name, at least two of each.
    pictures : dict of str to array (n_combinations, 3, h, w), in [0, 1]
        Pictures by label. Combinations are ordered as in `itertools.product`, so the last choice varies
        fastest.
    title : str
    alt : str
        What the pictures are, for readers who cannot see them.
    first : int
        The combination that is shown first.
    cortex : IPython.display.HTML, optional
        A `cortex_viewer` whose maps have one frame for each combination. It follows the choices.

    Returns
    -------
    IPython.display.HTML

    Raises
    ------
    ValueError
        If a choice has fewer than two options, if pictures have another number, shape or range, or if a text
        is missing. Also if `first` is not a combination, or if the cortex has another number of frames.
    """
    if not isinstance(choices, dict):
        raise ValueError(f"choices: expected a dict of the options by name, got {choices!r}.")
    few = [name for name, options in choices.items() if _n_options(options) < 2]
    if few or not choices:
        raise ValueError(f"choices: expected at least two options of each; {few or 'no choice'} has fewer.")
    check_texts({"title": title, "alt": alt})
    n = math.prod(map(len, choices.values()))
    check_first(first, n)
    if not pictures:
        raise ValueError("pictures: expected at least one label with its pictures, got none.")
    given = {label: checked_images(images, label) for label, images in pictures.items()}
    for label, images in given.items():
        if len(images) != n:
            raise ValueError(f"{label}: expected {n} pictures, one per combination; got {len(images)}.")
    if cortex is not None:
        _check_frames(cortex.data, n)
    columns = math.ceil(math.sqrt(n))
    setup = {
        "choices": [[str(name), [str(option) for option in of]] for name, of in choices.items()],
        "columns": columns,
        "rows": -(-n // columns),
        "labels": [str(label) for label in given],
        "first": int(first),
        "alt": alt,
    }
    sheets = [_sheet(images, columns) for images in given.values()]
    stills = [
        f'<div><img class="dark-light" alt="{html.escape(f"{alt}: {label}")}" '
        f'src="{_sheet(images[[first]], 1)}"><div class="lcc-label">{html.escape(str(label))}</div></div>'
        for label, images in given.items()
    ]
    title = html.escape(title)
    return HTML(
        f'<div class="latentcortex-composer" role="group" aria-label="{title}" '
        f'data-setup="{html.escape(json.dumps(setup))}" '
        f'data-sheets="{html.escape(json.dumps(sheets))}">'
        f"<style>{(FOLDER / 'composer.css').read_text('utf-8')}</style>"
        f'<div class="lcc-title">{title}</div><div class="lcc-live"></div>'
        f'<div class="lcc-still">{"".join(stills)}</div>'
        "<noscript><p>With scripts switched on, other combinations can be chosen; in JupyterLab, once the "
        "notebook is trusted or the cell is run.</p></noscript>"
        f"{cortex.data if cortex is not None else ''}</div>"
        f"<script>(() => {{\n'use strict';\n{(FOLDER / 'composer.js').read_text('utf-8')}\n}})();</script>"
    )


def _n_options(options):
    """Return how many options there are, 0 for what is no sequence of them."""
    return 0 if isinstance(options, str) or not hasattr(options, "__len__") else len(options)


def _check_frames(page, n):
    """Refuse a cortex that does not have n frames in each of its maps."""
    found = page.partition('data-setup="')[2].partition('"')[0]
    if "latentcortex-cortex" not in page or not found:
        raise ValueError("cortex: expected what cortex_viewer returns.")
    for one in json.loads(html.unescape(found))["maps"]:
        if len(one["frames"]) != n:
            raise ValueError(
                f"cortex: expected {n} frames, one per combination; {one['name']} has {len(one['frames'])}."
            )


def _sheet(images, columns):
    """Return images (n, 3, h, w) in rows of so many as the address of a WebP file."""
    n, _, h, w = images.shape
    blank = np.zeros((-(-n // columns) * columns, 3, h, w))
    blank[:n] = images
    sheet = blank.reshape(-1, columns, 3, h, w).transpose(0, 3, 1, 4, 2).reshape(-1, columns * w, 3)
    return data_address(as_picture(sheet), "WEBP", quality=QUALITY, method=6)
