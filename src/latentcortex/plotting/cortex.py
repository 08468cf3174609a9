"""Draw on the surface of fsaverage5.

The surfaces come with nilearn, so nothing is downloaded.
"""

import functools

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import Normalize

from .images import font_size, unmasked
from .names import place_names
from .palettes import region_colours

N_FSAVERAGE5 = 10_242
"""Vertices of one hemisphere of fsaverage5."""

FLAT_CENTRES = (-170, 170)
"""Where the middle of each flat hemisphere lies from left to right, in mm: next to each other with a gap."""


@functools.cache
def surfaces(kind):
    """Return (coordinates, faces, depth of the sulci) of fsaverage5, for left and right."""
    # Imported here because it takes a second that image grids and sliders need not wait for.
    from nilearn import datasets, surface

    files = datasets.fetch_surf_fsaverage("fsaverage5")
    meshes = [surface.load_surf_mesh(files[f"{kind}_{side}"]) for side in ("left", "right")]
    sulci = [surface.load_surf_data(files[f"sulc_{side}"]) for side in ("left", "right")]
    return [(mesh.coordinates, mesh.faces, s) for mesh, s in zip(meshes, sulci, strict=True)]


def hemispheres(values, name):
    """Return the values of fsaverage5's vertices, for the left and the right hemisphere."""
    values = unmasked(values, name)
    if values.dtype.kind not in "buif":
        raise ValueError(f"{name}: expected numbers, one per vertex; got values of the type {values.dtype}.")
    if values.dtype.kind == "f" and np.isinf(values).any():
        raise ValueError(
            f"{name}: {np.isinf(values).sum():,} of {values.size:,} values are infinite, the first at vertex "
            f"{np.isinf(values).argmax()}. Where a vertex has no value, write NaN."
        )
    per_hemisphere, odd = divmod(len(values) if values.ndim else 0, 2)
    # The icosahedron is refined by adding vertices, so that the coarser surface comes first.
    if values.ndim != 1 or odd or per_hemisphere not in {10 * 4**k + 2 for k in (5, 6, 7)}:
        raise ValueError(
            f"{name}: expected one value per vertex, left then right hemisphere, that is "
            f"(20484,) for fsaverage5 or (327684,) for fsaverage; got {values.shape}."
        )
    return values[:N_FSAVERAGE5], values[per_hemisphere : per_hemisphere + N_FSAVERAGE5]


def region_masks(rois):
    """Return the masks of regions by name, each a pair (left, right) of bool arrays."""
    halves = {name: hemispheres(mask, name) for name, mask in (rois or {}).items()}
    for name, (mask, _) in halves.items():
        if mask.dtype != bool:
            raise ValueError(f"{name}: expected a mask of bool, True inside the region; got {mask.dtype}.")
    return halves


def colour_scale(values, cmap, limits, centre):
    """Return the scale that turns values into colours."""
    if limits is not None and not -np.inf < limits[0] < limits[1] < np.inf:
        raise ValueError(f"limits must be two finite numbers, the lower one first; got {limits}.")
    if centre is not None and not np.isfinite(centre):
        raise ValueError(f"centre must be a finite number; got {centre}.")
    finite = np.asarray(values)[np.isfinite(values)]
    if limits is None:
        limits = (finite.min(), finite.max()) if finite.size else (0, 1)
        if centre is not None:
            reach = np.abs(np.subtract(limits, centre)).max()
            limits = (centre - reach, centre + reach)
    if cmap is None:
        cmap = "viridis" if centre is None else "RdBu_r"
    return ScalarMappable(Normalize(*limits), cmap)


def face_means(values, faces):
    """Return the mean of each triangle's corners, NaN where one of them is NaN."""
    return values[faces].mean(axis=1)


def draw_surface(ax, xy, faces, colours, sulci, rois):
    """Fill the triangles of one hemisphere and outline its regions.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    xy : array (n_vertices, 2)
    faces : array of int (n_faces, 3)
        Faces in drawing order. Later faces cover earlier ones.
    colours : array (n_faces, 3 or 4)
        Colours in [0, 1]. If the first number is NaN the bare surface is shown, with dark sulci.
    sulci : array (n_vertices,)
    rois : dict of str to bool array (n_vertices,)
    """
    grey = np.where(sulci[faces].mean(axis=1) > 0, 0.62, 0.80)[:, None]
    filled = np.where(np.isfinite(colours[:, :1]), colours[:, :3], grey)
    # Without antialiasing no seam shows between neighbours.
    triangles = PolyCollection(xy[faces], facecolors=filled, linewidths=0, antialiaseds=False)
    triangles.set_rasterized(True)
    ax.add_collection(triangles)
    line_width = font_size(ax) / 7
    anchors = []
    for (name, mask), colour in zip(rois.items(), region_colours(rois).values(), strict=True):
        edges = faces[:, [[0, 1], [1, 2], [2, 0]]]  # (n_faces, 3, 2)
        crossed = mask[edges[..., 0]] != mask[edges[..., 1]]  # two edges of a border triangle
        border = xy[edges].mean(axis=2)[crossed].reshape(-1, 2, 2)
        # All white edges lie below all lines, so that no edge cuts a neighbour's line.
        for rgb, width, zorder in (("white", 2.4, 2), (colour, 1, 3)):
            lines = LineCollection(border, colors=[rgb], linewidths=width * line_width, zorder=zorder)
            lines.set_capstyle("round")
            ax.add_collection(lines)
        inside = np.unique(faces[mask[faces].all(axis=1)])
        if inside.size:
            # The vertex nearest to the middle, because the middle of a curved strip lies outside.
            middle = xy[inside].mean(axis=0)
            anchors.append((name, xy[inside[((xy[inside] - middle) ** 2).sum(axis=1).argmin()]], colour))
    ax.set_aspect("equal")
    ax.autoscale_view()
    ax.axis("off")
    has_value = np.unique(faces[np.isfinite(colours[:, 0])])
    place_names(ax, anchors, xy[has_value], font_size(ax))


def flat_hemispheres():
    """Return (coordinates (n_vertices, 2), faces, sulci) of the flat surface, for left and right."""
    return [
        (xyz[:, :2] + (centre, 0), faces, sulci)
        for (xyz, faces, sulci), centre in zip(surfaces("flat"), FLAT_CENTRES, strict=True)
    ]


def window(has_value, zoom):
    """Return the part of the flat surface to show, (left, right, bottom, top) in mm.

    Parameters
    ----------
    has_value : pair of bool arrays (N_FSAVERAGE5,)
    zoom : bool
        Whether to show only the surroundings of vertices that have a value.
    """
    flat = flat_hemispheres()
    drawn = [np.isin(np.arange(N_FSAVERAGE5), faces) for _, faces, _ in flat]
    shown = [known & there for known, there in zip(has_value, drawn, strict=True)]
    if not zoom or not np.any(shown):
        shown = drawn
    points = np.concatenate([xy[mask] for (xy, *_), mask in zip(flat, shown, strict=True)])
    (left, bottom), (right, top) = points.min(axis=0), points.max(axis=0)
    margin = 0.06 * max(right - left, top - bottom) if zoom else 6
    return left - margin, right + margin, bottom - margin, top + margin


def flat_axes(box, below):
    """Return the axes of a new figure for a part of the flat surface, with `below` inches left free."""
    left, right, bottom, top = box
    width = 5.4
    height = min(max(width * (top - bottom) / (right - left), 2), 7.5) + below
    _, ax = plt.subplots(figsize=(width, height), layout="constrained")
    return ax


def draw_flat(ax, colours_of, box, masks):
    """Draw both flat hemispheres into axes.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    colours_of : callable
        ``colours_of(side, faces)`` returns the colours (n_faces, 3 or 4) of the faces of a side, 0 or 1.
    box : (float, float, float, float)
        Part to show, from `window`.
    masks : dict of str to pair of bool arrays
        Masks from `region_masks`.
    """
    size = font_size(ax)
    for side, (xy, faces, sulci) in enumerate(flat_hemispheres()):
        of_side = {name: both[side] for name, both in masks.items()}
        draw_surface(ax, xy, faces, colours_of(side, faces), sulci, of_side)
        used = xy[np.unique(faces)]
        seen = (used > (box[0], box[2])).all(axis=1) & (used < (box[1], box[3])).all(axis=1)
        if seen.any():
            # Below the outer half of the hemisphere, where the two names are far from each other.
            x = np.clip(used[seen, 0].mean(), box[0], box[1])
            ax.text(x, box[2], ("left", "right")[side], ha="center", va="top", fontsize=size)
    ax.set(xlim=box[:2], ylim=box[2:])
