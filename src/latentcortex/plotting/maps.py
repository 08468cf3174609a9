"""Values of vertices as pictures of cortex.

The fsaverage5 surfaces are those inside nilearn's wheel: no download.
"""

import functools

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import Normalize

from .images import unmasked

N_FSAVERAGE5 = 10_242
"""Vertices of one hemisphere of fsaverage5."""

# For each view: the direction towards the viewer and the direction that is up in the picture, in
# right-anterior-superior coordinates of the right hemisphere (the left one is mirrored).
VIEWS = {
    "lateral": ((1, 0, 0), (0, 0, 1)),
    "medial": ((-1, 0, 0), (0, 0, 1)),
    "posterior": ((0, -1, 0), (0, 0, 1)),
    "ventral": ((0, 0, -1), (0, 1, 0)),
    "dorsal": ((0, 0, 1), (0, 1, 0)),
}


@functools.cache
def _surfaces(kind):
    """Return (coordinates, faces, depth of the sulci) of fsaverage5, left and right."""
    # Imported here because it takes a second that image grids and sliders need not wait for.
    from nilearn import datasets, surface

    files = datasets.fetch_surf_fsaverage("fsaverage5")
    meshes = [surface.load_surf_mesh(files[f"{kind}_{side}"]) for side in ("left", "right")]
    sulci = [surface.load_surf_data(files[f"sulc_{side}"]) for side in ("left", "right")]
    return [(mesh.coordinates, mesh.faces, s) for mesh, s in zip(meshes, sulci, strict=True)]


def _hemispheres(values, name):
    """Return the values of fsaverage5's vertices, of the left and of the right hemisphere."""
    values = unmasked(values, name)
    if values.dtype.kind == "f" and np.isinf(values).any():
        raise ValueError(
            f"{name}: {np.isinf(values).sum():,} of {values.size:,} values are infinite, the first at vertex "
            f"{np.isinf(values).argmax()}. Where a vertex has no value, write NaN."
        )
    per_hemisphere, odd = divmod(len(values), 2)
    # The icosahedron is refined by adding vertices, so that the coarser surface comes first.
    if values.ndim != 1 or odd or per_hemisphere not in {10 * 4**k + 2 for k in (5, 6, 7)}:
        raise ValueError(
            f"{name}: expected one value per vertex, left then right hemisphere, that is "
            f"(20484,) for fsaverage5 or (327684,) for fsaverage; got {values.shape}."
        )
    return values[:N_FSAVERAGE5], values[per_hemisphere : per_hemisphere + N_FSAVERAGE5]


def _outlines(rois):
    """Return the masks of regions by name, (left, right), each of bool."""
    halves = {name: _hemispheres(mask, name) for name, mask in (rois or {}).items()}
    for name, (mask, _) in halves.items():
        if mask.dtype != bool:
            raise ValueError(f"{name}: expected a mask of bool, True inside the region; got {mask.dtype}.")
    return halves


def _colour_scale(values, cmap, limits, centre):
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


def _draw_surface(ax, xy, faces, values, sulci, scale, rois):
    """Fill the triangles of one hemisphere, sulci where a value is missing, and outline ROIs."""
    grey = np.where(sulci[faces].mean(axis=1) > 0, 0.62, 0.80)
    colours = np.stack([grey, grey, grey, np.ones_like(grey)], axis=1)
    face_values = values[faces].mean(axis=1)  # NaN where one of the corners is NaN
    has_value = np.isfinite(face_values)
    colours[has_value] = scale.to_rgba(face_values[has_value])
    # Without antialiasing no seam shows between neighbours.
    triangles = PolyCollection(xy[faces], facecolors=colours, linewidths=0, antialiaseds=False)
    triangles.set_rasterized(True)
    ax.add_collection(triangles)
    for name, mask in rois.items():
        edges = faces[:, [[0, 1], [1, 2], [2, 0]]]  # (n_faces, 3, 2)
        crossed = mask[edges[..., 0]] != mask[edges[..., 1]]  # two edges of a border triangle
        border = xy[edges].mean(axis=2)[crossed].reshape(-1, 2, 2)
        ax.add_collection(LineCollection(border, colors="k", linewidths=1))
        inside = np.unique(faces[mask[faces].all(axis=1)])
        if inside.size:
            # The vertex nearest to the middle, because the middle of a curved strip lies outside.
            middle = xy[inside].mean(axis=0)
            x, y = xy[inside[((xy[inside] - middle) ** 2).sum(axis=1).argmin()]]
            box = {"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 0.8}
            ax.text(x, y, name, ha="center", va="center", fontsize=7, bbox=box)
    ax.set_aspect("equal")
    ax.autoscale_view()
    ax.axis("off")


def _finish_map(axes, values, scale, label):
    """Add the colour bar that all axes share."""
    fig = axes[0].figure
    fig.colorbar(scale, ax=axes, label=label, orientation="horizontal", shrink=0.4, aspect=30, pad=0.03)
    if not np.isfinite(values).any():
        axes[0].text(0.5, 0.02, "no vertex has a value", transform=axes[0].transAxes, ha="center")


def flatmap(values, *, label, cmap=None, limits=None, centre=None, rois=None, ax=None):
    """Draw a map of cortex, cut and laid flat, occipital poles in the middle.

    Parameters
    ----------
    values : array (n_vertices,)
        Left then right hemisphere, on fsaverage5 (20,484) or fsaverage (327,684, of which the
        vertices of fsaverage5 are drawn). Where a value is NaN the bare surface shows, sulci dark.
    label : str
        What the values are, with their unit; labels the colour bar.
    cmap : str or matplotlib.colors.Colormap, optional
        By default ``"viridis"``, with a `centre` ``"RdBu_r"``.
    limits : (float, float), optional
        Values at the ends of the colour bar; by default the smallest and the largest.
    centre : float, optional
        Value in the middle of the default limits, 0 for a difference.
    rois : dict of str to bool array (n_vertices,), optional
        Regions to outline and name, as from ``nsd.roi_mask``.
    ax : matplotlib.axes.Axes, optional
        Drawn into; a new figure without it.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        When the number of values is not that of a known surface, for masked or infinite values, a
        region that is not a mask of bool, and for limits or a centre that are not finite.
    """
    halves = _hemispheres(values, "values")
    outlines = _outlines(rois)
    scale = _colour_scale(halves, cmap, limits, centre)
    if ax is None:
        _, ax = plt.subplots(figsize=(7.5, 4), layout="constrained")
    for side, (xyz, faces, sulci) in enumerate(_surfaces("flat")):
        xy = xyz[:, :2] + ((-170, 0), (170, 0))[side]  # mm; next to each other with a gap
        masks = {name: both[side] for name, both in outlines.items()}
        _draw_surface(ax, xy, faces, halves[side], sulci, scale, masks)
        used = xy[np.unique(faces)]
        x = (used[:, 0].min() + used[:, 0].max()) / 2
        ax.text(x, used[:, 1].min() - 14, ("left", "right")[side], ha="center")
    _finish_map([ax], halves, scale, label)
    return ax


def inflated(values, *, label, view="lateral", cmap=None, limits=None, centre=None, rois=None, width=7.5):
    """Draw both inflated hemispheres, seen from one side.

    Parameters
    ----------
    values, label, cmap, limits, centre, rois
        As in `flatmap`.
    view : {"lateral", "medial", "posterior", "ventral", "dorsal"}
        From where the hemispheres are seen. Seen from below, the left one is on the right.
    width : float
        Width of the figure in inches.

    Returns
    -------
    tuple of two matplotlib.axes.Axes
        Of the left and of the right hemisphere.

    Raises
    ------
    ValueError
        For an unknown view, and as `flatmap`.
    """
    if view not in VIEWS:
        raise ValueError(f"Expected a view of {', '.join(VIEWS)}; got {view!r}.")
    halves = _hemispheres(values, "values")
    outlines = _outlines(rois)
    scale = _colour_scale(halves, cmap, limits, centre)
    fig, axes = plt.subplots(1, 2, figsize=(width, 0.5 * width), layout="constrained")
    if view == "ventral":
        axes = axes[::-1]
    for side, (xyz, faces, sulci) in enumerate(_surfaces("infl")):
        towards, up = np.array(VIEWS[view], dtype=float)
        towards[0] *= (-1, 1)[side]
        xy = xyz @ np.stack([np.cross(up, towards), up], axis=1)
        corners = xyz[faces]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        facing = faces[normals @ towards > 0]
        # Painted from far to near, so that what is in front covers what is behind it.
        facing = facing[np.argsort((xyz @ towards)[facing].mean(axis=1))]
        masks = {name: both[side] for name, both in outlines.items()}
        _draw_surface(axes[side], xy, facing, halves[side], sulci, scale, masks)
        axes[side].set_title(f"{('left', 'right')[side]}, {view}", fontsize="medium")
    _finish_map(list(axes), halves, scale, label)
    return tuple(axes)
