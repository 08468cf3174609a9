"""Draw values of vertices on cortex."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator

from .cortex import (
    colour_scale,
    draw_flat,
    draw_surface,
    face_means,
    flat_axes,
    font_size,
    hemispheres,
    region_masks,
    surfaces,
    window,
)

# For each view: the direction towards the viewer and the direction that is up in the picture, in
# right-anterior-superior coordinates of the right hemisphere (the left one is mirrored).
VIEWS = {
    "lateral": ((1, 0, 0), (0, 0, 1)),
    "medial": ((-1, 0, 0), (0, 0, 1)),
    "posterior": ((0, -1, 0), (0, 0, 1)),
    "ventral": ((0, 0, -1), (0, 1, 0)),
    "dorsal": ((0, 0, 1), (0, 1, 0)),
}


def _coloured(values, faces, scale):
    """Return the colours (n_faces, 4) of triangles, NaN where one has no value."""
    means = face_means(values, faces)
    return np.where(np.isfinite(means)[:, None], scale.to_rgba(means), np.nan)


def _finish_map(axes, values, scale, label):
    """Add the colour bar that all axes share."""
    size = font_size(axes[0])
    bar = axes[0].figure.colorbar(scale, ax=axes, orientation="horizontal", shrink=0.55, aspect=30, pad=0.03)
    bar.set_label(label, fontsize=size)
    bar.ax.tick_params(labelsize=size)
    bar.ax.xaxis.set_major_locator(MaxNLocator(4))
    if not np.isfinite(values).any():
        axes[0].text(0.5, 0.02, "no vertex has a value", transform=axes[0].transAxes, ha="center")


def flatmap(values, *, label, cmap=None, limits=None, centre=None, rois=None, ax=None, zoom=False):
    """Draw a map of flattened cortex, with the occipital poles in the middle.

    Parameters
    ----------
    values : array (n_vertices,)
        Values of the left, then the right hemisphere, on fsaverage5 (20,484 vertices) or fsaverage (327,684
        vertices). Of fsaverage only the vertices of fsaverage5 are drawn. If a value is NaN the bare surface
        is shown, with dark sulci.
    label : str
        What the values are, with their unit. It labels the colour bar.
    cmap : str or matplotlib.colors.Colormap, optional
        By default ``"viridis"``, or ``"RdBu_r"`` if there is a `centre`.
    limits : (float, float), optional
        Values at the ends of the colour bar, by default the smallest and the largest value.
    centre : float, optional
        Value in the middle of the default limits, for example 0 for a difference.
    rois : dict of str to bool array (n_vertices,), optional
        Regions to outline and name, for example from ``nsd.roi_mask``.
    ax : matplotlib.axes.Axes, optional
        Axes to draw into. By default a new figure.
    zoom : bool
        Whether to show only the part of cortex that has values, with a margin around it.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If the number of values is not that of a known surface, or if values are masked or infinite. Also if a
        region is not a bool mask, or if limits or centre are not finite.

    Notes
    -----
    The type is 9 pixels high on a page that is 390 pixels wide.
    """
    halves = hemispheres(values, "values")
    masks = region_masks(rois)
    scale = colour_scale(halves, cmap, limits, centre)
    box = window(np.isfinite(halves), zoom)
    if ax is None and zoom:
        ax = flat_axes(box, below=1)
    elif ax is None:
        _, ax = plt.subplots(figsize=(5.4, 3), layout="constrained")
    draw_flat(ax, lambda side, faces: _coloured(halves[side], faces, scale), box, masks)
    _finish_map([ax], halves, scale, label)
    return ax


def compared_flatmaps(maps, *, label, cmap=None, limits=None, centre=None, rois=None, zoom=True):
    """Draw several maps on one scale, for example a map and its null map.

    All maps share the scale and the part of cortex that is shown. The maps are stacked, because two maps in
    one row could not be read on a phone.

    Parameters
    ----------
    maps : dict of str to array (n_vertices,)
        Values by title.
    label, cmap, limits, centre, rois, zoom
        As in `flatmap`. The default limits are those of all maps together.

    Returns
    -------
    tuple of matplotlib.axes.Axes
        One for each map.

    Raises
    ------
    ValueError
        If there is no map, or for what `flatmap` refuses.
    """
    if not maps:
        raise ValueError("Expected at least one map, as {title: values}; got none.")
    halves = {title: hemispheres(values, title) for title, values in maps.items()}
    masks = region_masks(rois)
    stacked = np.array([np.concatenate(both) for both in halves.values()])
    scale = colour_scale(stacked, cmap, limits, centre)
    known = np.split(np.isfinite(stacked).any(axis=0), 2)
    box = window(known, zoom)
    height = 5.4 * (box[3] - box[2]) / (box[1] - box[0]) + 0.4
    figsize = (5.4, min(len(maps) * height + 0.8, 12))
    fig, axes = plt.subplots(len(maps), 1, figsize=figsize, layout="constrained", squeeze=False)
    for ax, (title, both) in zip(axes[:, 0], halves.items(), strict=True):
        draw_flat(ax, lambda side, faces, both=both: _coloured(both[side], faces, scale), box, masks)
        ax.set_title(title, fontsize=font_size(ax))
    _finish_map(list(axes[:, 0]), stacked, scale, label)
    return tuple(axes[:, 0])


def inflated(values, *, label, view="lateral", cmap=None, limits=None, centre=None, rois=None, width=5.4):
    """Draw both inflated hemispheres from one viewpoint.

    Parameters
    ----------
    values, label, cmap, limits, centre, rois
        As in `flatmap`.
    view : {"lateral", "medial", "posterior", "ventral", "dorsal"}
        Where the hemispheres are seen from. From below, the left hemisphere is on the right.
    width : float
        Width of the figure in inches.

    Returns
    -------
    tuple of two matplotlib.axes.Axes
        Axes of the left and of the right hemisphere.

    Raises
    ------
    ValueError
        If the view is unknown, and as in `flatmap`.
    """
    if view not in VIEWS:
        raise ValueError(f"Expected a view of {', '.join(VIEWS)}; got {view!r}.")
    halves = hemispheres(values, "values")
    outlines = region_masks(rois)
    scale = colour_scale(halves, cmap, limits, centre)
    # From below and from above the hemispheres are taller than wide.
    height = (0.85 if view in {"ventral", "dorsal"} else 0.5) * width
    _, axes = plt.subplots(1, 2, figsize=(width, height), layout="constrained")
    if view == "ventral":
        axes = axes[::-1]
    for side, (xyz, faces, sulci) in enumerate(surfaces("infl")):
        towards, up = np.array(VIEWS[view], dtype=float)
        towards[0] *= (-1, 1)[side]
        xy = xyz @ np.stack([np.cross(up, towards), up], axis=1)
        corners = xyz[faces]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        facing = faces[normals @ towards > 0]
        # Painted from far to near, so that what is in front covers what is behind it.
        facing = facing[np.argsort((xyz @ towards)[facing].mean(axis=1))]
        masks = {name: both[side] for name, both in outlines.items()}
        draw_surface(axes[side], xy, facing, _coloured(halves[side], facing, scale), sulci, masks)
        axes[side].set_title(f"{('left', 'right')[side]}, {view}", fontsize=font_size(axes[side]))
    _finish_map(list(axes), halves, scale, label)
    return tuple(axes)
