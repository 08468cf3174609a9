"""Show pictures whose parts are marked, with a box that switches the marks off and on."""

import html

import numpy as np
from IPython.display import HTML

from .checks import check_texts
from .images import as_picture, checked_images, data_address
from .sliders import OWN_KEYS

# A sign and a colour for each mark, so that colour alone says nothing. White on each has a contrast of 5.
MARKS = {
    "decoded": ("✓", "#0a6b4e"),
    "guessed": ("?", "#7a5a00"),
    "invented": ("✗", "#a3262e"),
    "missing": ("○", "#555b63"),
}
WHOLE = -1  # the place of what belongs to the whole picture
# Without scripts the marks stay.
_ON_CHANGE = """
this.closest('.latentcortex-marked').querySelectorAll('[data-mark]').forEach(one => {
  one.style.visibility = this.checked ? 'visible' : 'hidden';
});
"""


def marked_images(images, marks, alt, *, n_places=3, image_width=150):
    """Return pictures with marks on their parts, for static and live pages.

    A check box under the pictures switches all marks off and on. Each mark has a sign and a word besides its
    colour.

    Parameters
    ----------
    images : array (n, 3, h, w), in [0, 1]
    marks : sequence of n sequences of (text, place, mark)
        What is marked in each picture. ``place`` counts from 0 on the left to `n_places` - 1, and is `WHOLE`
        for the whole picture. ``mark`` is one of `MARKS`.
    alt : sequence of str, n
        Describe each picture to readers who cannot see it. The marks are read out as text.
    n_places : int
    image_width : int
        Width of one picture in CSS pixels. Pictures that have no room in a row begin another.

    Returns
    -------
    IPython.display.HTML

    Raises
    ------
    ValueError
        If values are outside [0, 1], texts are empty, or lengths, places or marks are wrong.
    """
    images = checked_images(np.asarray(images), "images")
    if not len(images) == len(marks) == len(alt):
        raise ValueError(
            f"Expected marks and a description for each of {len(images)} images, got {len(marks)} and "
            f"{len(alt)}."
        )
    if not n_places >= 1 or not image_width > 0:
        raise ValueError(
            f"Expected at least one place and a width above 0, got {n_places} and {image_width}."
        )
    check_texts({f"alt of image {k}": text for k, text in enumerate(alt)}, "describe the picture in words")
    figures = []
    for image, of_image, text in zip(images, marks, alt, strict=True):
        picture = data_address(as_picture(image.transpose(1, 2, 0)), "PNG")
        unknown = [m for _, place, m in of_image if m not in MARKS or place not in range(WHOLE, n_places)]
        if unknown:
            raise ValueError(
                f"Expected marks {', '.join(MARKS)} at places from {WHOLE} to {n_places - 1}, got {of_image}."
            )
        columns = [
            "".join(_badge(word, mark) for word, place, mark in of_image if place == k)
            for k in range(n_places)
        ]
        whole = "".join(_badge(word, mark) for word, place, mark in of_image if place == WHOLE)
        figures.append(
            f'<figure style="margin:0;padding:0;flex:0 1 {image_width}px;min-width:140px">'
            '<div style="position:relative">'
            f'<img class="dark-light" alt="{html.escape(text)}" src="{picture}" '
            'style="display:block;width:100%;height:auto;margin:0;padding:0;border-radius:6px">'
            f'<div style="position:absolute;inset:2px 2px auto;display:flex;gap:2px;flex-wrap:wrap">{whole}'
            "</div>"
            '<div style="position:absolute;inset:auto 2px 2px;display:flex;align-items:flex-end">'
            + "".join(
                '<div style="flex:1 1 0;min-width:0;display:flex;flex-direction:column;gap:2px;'
                f'align-items:{_side(k, n_places)}">{column}</div>'
                for k, column in enumerate(columns)
            )
            + "</div></div></figure>"
        )
    legend = " ".join(_badge(word, word, is_legend=True) for word in MARKS)
    return HTML(
        '<div class="latentcortex-marked" style="margin:0.5rem 0">'
        f'<div style="display:flex;flex-wrap:wrap;gap:0.6rem">{"".join(figures)}</div>'
        '<div style="display:flex;flex-wrap:wrap;gap:0.3rem 1rem;align-items:center;margin-top:0.5rem">'
        f'<label style="cursor:pointer"><input type="checkbox" checked {OWN_KEYS} '
        f'onchange="{_ON_CHANGE}"> show the marks</label><span>{legend}</span></div></div>'
    )


def _side(place, n_places):
    """Return where a column's marks begin, so that long words stay inside the picture."""
    return {0: "flex-start", n_places - 1: "flex-end"}.get(place, "center") if n_places > 1 else "center"


def _badge(text, mark, is_legend=False):
    """Return a mark as HTML: its sign, and what it stands at."""
    sign, colour = MARKS[mark]
    return (
        f'<span {"" if is_legend else "data-mark"} title="{mark}" style="display:inline-block;'
        f"background:{colour};color:#fff;font-size:0.72rem;line-height:1.25;padding:0 0.3em;"
        "border-radius:3px;"
        f'white-space:nowrap">{sign} {html.escape(text)}'
        + ("" if is_legend else f'<span style="position:absolute;clip-path:inset(50%)"> ({mark})</span>')
        + "</span>"
    )
