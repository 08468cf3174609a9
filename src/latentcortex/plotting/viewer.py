"""Make a cortex that readers can turn, for static and live pages."""

import base64
import dataclasses
import html
import io
import json
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import HTML
from PIL import Image

from .cards import packed_cards
from .checks import check_first, check_texts
from .compared import PALEST, winner_map
from .cortex import N_FSAVERAGE5, colour_scale, hemispheres, region_masks, surfaces
from .images import unmasked
from .maps import flatmap
from .palettes import choice_colours, region_colours

FOLDER = Path(__file__).parent
SCRIPTS = "viewer_scene", "viewer_controls", "viewer_cards", "viewer"
COORDINATE_STEP = 1 / 200
"""Step of the coordinates that travel with a page, in mm: they are right to half of it."""
VALUE_STEPS = 65_534
"""Steps between the lowest and the highest value of a map: values are right to half a step."""
MISSING = 65_535


@dataclasses.dataclass(frozen=True)
class VertexMap:
    """Hold a map, or several frames of a map, for `cortex_viewer`.

    Parameters
    ----------
    values : array (n_vertices,) or (n_frames, n_vertices)
        Values as in `flatmap`, left then right hemisphere, on fsaverage5 or fsaverage. NaN where a vertex has
        no value. With `names`, the index of the name.
    label : str
        What the values are, with their unit.
    frames : sequence of str
        A label for each frame, such as a share of noise. Needed with two dimensions.
    cmap, limits, centre
        As in `flatmap`, the same for all frames.
    names : sequence of str
        Names of the possible winners, for maps of winners.
    ordered : bool
        As in `winner_map`.
    confidence : array of the shape of `values`, optional
        For maps of winners, as in `winner_map`. It is from 0 to 1, and low values are pale.
    """

    values: np.ndarray
    label: str
    frames: tuple = ()
    cmap: object = None
    limits: tuple | None = None
    centre: float | None = None
    names: tuple = ()
    ordered: bool = False
    confidence: np.ndarray | None = None


def cortex_viewer(
    maps,
    *,
    title,
    alt,
    rois=None,
    ceiling=None,
    shape="inflated",
    frame_name="frame",
    first_frame=0,
    with_mesh=True,
    cards=None,
):
    """Return a cortex that readers can turn, in a static page, in JupyterLab and in Colab.

    A slider morphs fsaverage5 from pial to inflated to flat. The flat hemispheres lie next to each other with
    the occipital poles in the middle, and the part with values fills the picture. The cortex turns by mouse,
    finger and keyboard. It shows the value, the regions and the noise ceiling under the cursor.

    Mesh, values and scripts are stored inside the HTML, so nothing is requested from the network. Without
    scripts or WebGL 2, and on paper, a flat map of `first_frame` is shown.

    Parameters
    ----------
    maps : VertexMap or dict of str to VertexMap
        With several maps a list of their names lets a reader choose.
    title : str
    alt : str
        Describes the picture to readers who cannot see it.
    rois : dict of str to bool array (n_vertices,), optional
        Regions to outline, and to name under the cursor.
    ceiling : array (n_vertices,), optional
        Noise ceiling as a share of variance, from 0 to 1. NaN where it is unknown.
    shape : {"pial", "inflated", "flat"}
        The shape that is shown first.
    frame_name : str
        What the slider of frames sets, such as "share of noise".
    first_frame : int
        Index of the frame that is shown first, for example the frame that makes the point.
    with_mesh : bool
        Whether the surface is stored with this viewer. A second viewer of a static page can use the surface
        of the first, which saves 0.65 MB. In Colab outputs cannot see each other, so the surface is always
        stored.
    cards : VertexCards, optional
        Cards that show what a vertex prefers, after a reader has chosen it by mouse, finger, keyboard or from
        a list.

    Returns
    -------
    IPython.display.HTML

    Raises
    ------
    ValueError
        If title or `alt` is empty, if values are masked, infinite or of another surface, or if the number of
        labels is not that of the frames. Also if ceilings are outside [0, 1], if a winner has no name, or if
        the shape is unknown. Also if the first map lacks `first_frame`, or if cards do not fit together.

    Notes
    -----
    Coordinates are accurate to 0.0025 mm. The values of a map are accurate to 1/131,068 of its range over all
    frames, and NaN stays NaN. A frame takes 2.7 bytes for each vertex that has a value in some map.
    """
    if isinstance(maps, VertexMap):
        maps = {maps.label: maps}
    if not isinstance(maps, dict) or not all(isinstance(one, VertexMap) for one in maps.values()) or not maps:
        raise ValueError("maps: expected a VertexMap, or a dict of at least one of them by name.")
    check_texts({"title": title, "alt": alt}, "describe the cortex in words")
    if shape not in ("pial", "inflated", "flat"):
        raise ValueError(f"Expected a shape of pial, inflated, flat; got {shape!r}.")
    frames = {name: _checked_frames(name, one) for name, one in maps.items()}
    of_first = next(iter(frames.values()))
    check_first(first_frame, len(of_first), "first_frame")
    masks = {name: np.concatenate(both) for name, both in region_masks(rois).items()}
    vertices = np.flatnonzero(np.any([np.isfinite(values).any(axis=0) for values in frames.values()], axis=0))
    words = [vertices]
    described = []
    for name, one in maps.items():
        low, high = _ends(frames[name])
        words += [_quantised(values[vertices], low, high) for values in frames[name]]
        if one.confidence is not None:
            words += [
                _quantised(sure[vertices], 0, 1) for sure in _checked_confidence(name, one, frames[name])
            ]
        described.append({"name": name, **_described(one, frames[name], low, high)})
    if ceiling is not None:
        shares = np.concatenate(hemispheres(ceiling, "ceiling")).astype(float)
        if (shares < 0).any() or (shares > 1).any():
            raise ValueError(
                "ceiling: expected shares of variance from 0 to 1, NaN where unknown; got values from "
                f"{np.nanmin(shares):.3g} to {np.nanmax(shares):.3g}. Divide per cent by 100."
            )
        words.append(_quantised(shares[vertices], 0, 1))
    words += [np.flatnonzero(mask) for mask in masks.values()]
    setup = {
        "maps": described,
        "nVertices": len(vertices),
        "hasCeiling": ceiling is not None,
        "regions": [
            {"name": name, "colour": region_colours(masks)[name], "n": int(mask.sum())}
            for name, mask in masks.items()
        ],
        "shape": ("pial", "inflated", "flat").index(shape),
        "frameName": frame_name,
        "firstFrame": int(first_frame),
        "alt": alt,
    }
    picture = _still_picture(next(iter(maps.values())), of_first[first_frame], rois)
    data = {"setup": json.dumps(setup), "values": _base64(np.concatenate(words).astype("<u2").tobytes())}
    if with_mesh or "google.colab" in sys.modules:
        data["mesh"] = _base64(mesh_bytes())
    if cards is not None:
        data |= packed_cards(cards)
    return HTML(_page(title, alt, picture, data))


def _checked_frames(name, one):
    """Return the values of a map's frames, (n_frames, 2 * N_FSAVERAGE5), or say what is wrong with them."""
    values = unmasked(one.values, name)
    stacked = values[None] if values.ndim == 1 else values
    if stacked.ndim != 2 or not len(stacked):
        raise ValueError(
            f"{name}: expected values of the shape (n_vertices,) or (n_frames, n_vertices), got "
            f"{values.shape}."
        )
    if len(one.frames) != len(stacked) and not (len(stacked) == 1 and not one.frames):
        raise ValueError(
            f"{name}: expected {len(stacked)} labels of frames, one for each; got {len(one.frames)}."
        )
    rows = [np.concatenate(hemispheres(frame, f"{name}, frame {k}")) for k, frame in enumerate(stacked)]
    rows = np.array(rows, dtype=float)
    if one.names and not np.isin(rows[np.isfinite(rows)], np.arange(len(one.names))).all():
        raise ValueError(
            f"{name}: expected whole numbers from 0 to {len(one.names) - 1}, the places of the "
            f"{len(one.names)} names, or NaN."
        )
    return rows


def _checked_confidence(name, one, values):
    """Return the confidence of winners, of the shape of their values, or say what is wrong with it."""
    if not one.names:
        raise ValueError(f"{name}: only a map of winners, one with names, has a confidence.")
    given = unmasked(one.confidence, f"{name}, confidence")
    if given.shape != np.shape(one.values):
        raise ValueError(
            f"{name}: expected a confidence of the shape of the values, {np.shape(one.values)}; got "
            f"{given.shape}."
        )
    rows = [np.concatenate(hemispheres(row, f"{name}, confidence")) for row in np.atleast_2d(given)]
    known = np.isfinite(values)
    if not ((np.array(rows)[known] >= 0) & (np.array(rows)[known] <= 1)).all():
        raise ValueError(f"{name}: expected a confidence from 0 to 1 wherever there is a winner.")
    return np.array(rows, dtype=float)


def _ends(values):
    """Return the lowest and the highest value, in this order and apart."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    return low, high if high > low else low + 1.0


def _quantised(values, low, high):
    """Return values in VALUE_STEPS even steps from low to high, MISSING for NaN."""
    steps = np.round((np.nan_to_num(values, nan=low) - low) / (high - low) * VALUE_STEPS)
    return np.where(np.isfinite(values), steps, MISSING)


def _described(one, values, low, high):
    """Return what the viewer has to know of a map besides its values."""
    common = {
        "label": one.label,
        "frames": [str(text) for text in one.frames] or [""],
        "low": low,
        "high": high,
    }
    if one.names:
        colours = choice_colours(len(one.names), one.ordered)
        limits, extra = (0, len(one.names)), {"choices": True, "names": list(one.names)}
        extra |= {"hasConfidence": one.confidence is not None, "palest": PALEST}
    else:
        scale = colour_scale(values, one.cmap, one.limits, one.centre)
        limits = scale.get_clim()
        colours = scale.cmap(np.arange(256) / 256)[:, :3]
        digits = int(np.clip(2 - np.floor(np.log10(high - low)), 0, 9))
        extra = {"choices": False, "digits": digits, "ends": [f"{end:.3g}" for end in limits]}
    rgb = np.round(colours * 255).astype(int).ravel().tolist()
    return {**common, **extra, "limits": [float(end) for end in limits], "colours": rgb}


def mesh_bytes():
    """Return the bytes of fsaverage5 as they are stored in a page.

    All numbers are little-endian and in this order. First come int16 coordinates in steps of COORDINATE_STEP,
    for the pial (x, y, z), the inflated (x, y, z) and the flat surface (x, y), each left then right. Then
    come uint16 faces, which are the same in both hemispheres. Then comes one bit for each face, left then
    right, highest bit first. It is set if the flat surface has this face. Last comes the uint8 depth of the
    sulci, which is above 128 inside sulci.
    """
    parts = []
    for kind, n_axes in (("pial", 3), ("infl", 3), ("flat", 2)):
        for xyz, *_ in surfaces(kind):
            # In float64, since the quotient of a float32 is rounded to another step.
            parts.append(np.round(xyz[:, :n_axes].astype(float) / COORDINATE_STEP).astype("<i2"))
    faces = surfaces("pial")[0][1]
    parts.append(faces.astype("<u2"))
    known = [np.isin(_face_keys(faces), _face_keys(flat_faces)) for _, flat_faces, _ in surfaces("flat")]
    parts.append(np.packbits(np.concatenate(known)))
    for _, _, sulci in surfaces("pial"):
        parts.append(np.clip(np.round(128 + 50 * sulci / np.abs(sulci).max() * 2.5), 0, 255).astype("u1"))
    return b"".join(part.tobytes() for part in parts)


def _face_keys(faces):
    """Return one number for each face, whatever the order of its corners."""
    a, b, c = np.sort(faces.astype(np.int64), axis=1).T
    return (a * N_FSAVERAGE5 + b) * N_FSAVERAGE5 + c


def _still_picture(one, values, rois):
    """Return a flat map of values as the bytes of a PNG file."""
    backend_shows = plt.isinteractive()
    plt.ioff()
    if one.names:
        sure = None if one.confidence is None else np.atleast_2d(one.confidence)[0]
        halves = None if sure is None else np.concatenate(hemispheres(sure, "confidence"))
        ax = winner_map(values, one.names, confidence=halves, ordered=one.ordered, rois=rois)
    else:
        scale = {"cmap": one.cmap, "limits": one.limits, "centre": one.centre}
        ax = flatmap(values, label=one.label, rois=rois, zoom=True, **scale)
    if one.frames:
        ax.set_title(one.frames[0])
    file, small = io.BytesIO(), io.BytesIO()
    ax.figure.savefig(file, dpi=120, bbox_inches="tight", facecolor="white")
    plt.close(ax.figure)
    if backend_shows:
        plt.ion()
    Image.open(file).convert("RGB").quantize(255, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return small.getvalue()


def _base64(data):
    return base64.b64encode(data).decode()


def _page(title, alt, picture, data):
    """Write the viewer: the still picture for readers without scripts, and what replaces it."""
    script = "\n".join((FOLDER / f"{name}.js").read_text("utf-8") for name in SCRIPTS)
    attributes = " ".join(f'data-{name}="{html.escape(text)}"' for name, text in data.items())
    title, alt = html.escape(title), html.escape(alt)
    return (
        f'<div class="latentcortex-cortex" role="group" aria-label="{title}" '
        f"{attributes}>"
        f"<style>{(FOLDER / 'viewer.css').read_text('utf-8')}</style>"
        f'<div class="lc-title">{title}</div>'
        f'<img class="lc-still dark-light" alt="{alt}" src="data:image/png;base64,{_base64(picture)}">'
        "<noscript><p>With scripts switched on, this cortex can be turned; in JupyterLab, once the notebook "
        "is trusted or the cell is run.</p></noscript>"
        '<p class="lc-problem" hidden></p><div class="lc-live"></div></div>'
        f"<script>(() => {{\n'use strict';\n{script}\n}})();</script>"
    )
