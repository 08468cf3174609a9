"""Draw cortical maps that compare several things: two values at once, or the best of many."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Patch

from .cortex import draw_flat, face_means, flat_axes, font_size, hemispheres, region_masks, window
from .palettes import REGIONS, choice_colours, region_colours, square_colours

PALEST = 0.2
"""Share of its colour that a winner of confidence 0 keeps; the rest is white."""


def two_dimensional_map(first, second, *, labels, limits=None, rois=None, ax=None, zoom=True):
    """Draw two values of each vertex as one colour, with a square that explains the colours.

    The lightness decreases with the sum of both values. The hue is blue where the first is higher and orange
    where the second is higher. So a vertex is dark if both values are high, and almost white if both are low.

    Parameters
    ----------
    first, second : array (n_vertices,)
        Values as in `flatmap`. If one of the two is NaN, the bare surface is shown.
    labels : (str, str)
        What the two values are, with their unit. They label the sides of the square.
    limits : ((float, float), (float, float)), optional
        Lowest and highest value of the first and of the second. Values beyond them get the colour of the
        nearest end. By default both share the limits 0 and the 98 % quantile of all values, so equal colours
        mean equal values.
    rois, ax, zoom
        As in `flatmap`.

    Returns
    -------
    (matplotlib.axes.Axes, matplotlib.axes.Axes)
        Axes of the map and of the square.

    Raises
    ------
    ValueError
        If there are not two labels or two limits, if limits are not finite or not in order, and as in
        `flatmap`.
    """
    if isinstance(labels, str) or len(labels) != 2:
        raise ValueError(f"labels: expected two texts, one for each value; got {labels!r}.")
    pairs = [hemispheres(values, name) for values, name in ((first, "first"), (second, "second"))]
    masks = region_masks(rois)
    stacked = np.array(pairs, dtype=float)  # (2 values, 2 sides, n_vertices of a side)
    known = np.isfinite(stacked).all(axis=0)
    if limits is None:
        top = np.quantile(stacked[:, known], 0.98) if known.any() else 1.0
        limits = ((0, top if top > 0 else 1.0),) * 2
    if np.shape(limits) != (2, 2) or not all(-np.inf < low < high < np.inf for low, high in limits):
        raise ValueError(
            "limits: expected two pairs of finite numbers, (lowest, highest) of the first and of the "
            f"second value; got {limits}."
        )
    low, high = np.transpose(limits)
    box = window(known, zoom)
    if ax is None:
        ax = flat_axes(box, below=1.9)

    def colours_of(side, faces):
        shares = [
            ((face_means(stacked[k, side], faces) - low[k]) / (high[k] - low[k])).clip(0, 1) for k in (0, 1)
        ]
        return np.where(np.isfinite(sum(shares))[:, None], square_colours(*shares), np.nan)

    draw_flat(ax, colours_of, box, masks)
    # A colour bar's place is taken by the square: constrained layout keeps room for it below the map.
    square = ax.figure.colorbar(
        plt.cm.ScalarMappable(),
        ax=ax,
        orientation="horizontal",
        aspect=1,
        fraction=0.22,
        shrink=0.2,
        pad=0.02,
    ).ax
    square.clear()
    u, v = np.meshgrid(np.linspace(0, 1, 64), np.linspace(0, 1, 64))
    square.imshow(
        square_colours(u, v), origin="lower", extent=(low[0], high[0], low[1], high[1]), aspect="auto"
    )
    size = font_size(ax)
    square.set_xlabel(labels[0], fontsize=size)
    square.set_ylabel(labels[1], fontsize=size, rotation=0, ha="right", va="center")
    square.tick_params(labelsize=size, left=True, labelleft=True, bottom=True, labelbottom=True)
    square.set(xticks=limits[0], yticks=limits[1])
    square.set_xticklabels([f"{x:.2g}" for x in limits[0]])
    square.set_yticklabels([f"{y:.2g}" for y in limits[1]])
    if not known.any():
        ax.text(0.5, 0.02, "no vertex has both values", transform=ax.transAxes, ha="center")
    return ax, square


def winner_map(winners, names, *, confidence=None, ordered=False, rois=None, ax=None, zoom=True):
    """Draw which of several things is the best at each vertex; uncertain winners are pale.

    Parameters
    ----------
    winners : array (n_vertices,)
        Index of the winner in `names`, for example from ``scores.argmax(axis=0)``. If it is NaN the bare
        surface is shown, as with ``np.where(asked, winners, np.nan)``.
    names : sequence of str
        What can win, such as layers.
    confidence : array (n_vertices,), optional
        From 0 to 1, for example the share of seeds that agree on the winner. The colour is mixed with white.
        It is full at 1, and a fifth of it is left at 0. A winner without a confidence is an error.
    ordered : bool
        Whether the names have an order, such as depth. Then the colours go from dark violet to light green.
        Otherwise names that are all regions, such as "V1", have the colours of these regions. Other names, at
        most seven, have colours that are as different as possible.
    rois, ax, zoom
        As in `flatmap`.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If winners are not indices of names, if confidences are outside [0, 1] or missing, or if there are too
        many names for colours without an order. Also as in `flatmap`.

    Notes
    -----
    A triangle has the colour of the winner that two of its corners share, or else of its first corner. Its
    confidence is the mean over its corners.
    """
    if not ordered and set(names) <= set(REGIONS):
        colours = np.array(list(region_colours(names).values()))
    else:
        colours = choice_colours(len(names), ordered)
    halves = np.array(hemispheres(winners, "winners"), dtype=float)
    known = np.isfinite(halves)
    found = np.unique(halves[known])
    if not np.isin(found, np.arange(len(names))).all():
        raise ValueError(
            f"winners: expected whole numbers from 0 to {len(names) - 1}, the places of the {len(names)} "
            f"names, or NaN; got {found.min():g} to {found.max():g}."
        )
    sure = np.ones_like(halves)
    if confidence is not None:
        sure = np.array(hemispheres(confidence, "confidence"), dtype=float)
        if not ((sure >= 0) & (sure <= 1))[known].all():
            raise ValueError(
                "confidence: expected a number from 0 to 1 for each vertex that has a winner; got "
                f"values from {np.nanmin(sure):.3g} to {np.nanmax(sure):.3g}, and "
                f"{np.isnan(sure[known]).sum():,} winners without one."
            )
    masks = region_masks(rois)
    box = window(known, zoom)
    if ax is None:
        ax = flat_axes(box, below=0.4 + 0.25 * -(-len(names) // 3))

    def colours_of(side, faces):
        corners = halves[side][faces]
        of_face = np.where(corners[:, 1] == corners[:, 2], corners[:, 1], corners[:, 0])
        complete = np.isfinite(corners).all(axis=1)
        rgb = colours[np.where(complete, of_face, 0).astype(int)]
        return np.where(complete[:, None], _paled(rgb, face_means(sure[side], faces)[:, None]), np.nan)

    draw_flat(ax, colours_of, box, masks)
    size = font_size(ax)
    keys = [Patch(color=rgb, label=name) for rgb, name in zip(colours, names, strict=True)]
    if confidence is not None:
        keys.append(Patch(color=_paled(colours[0], 0.5), label="paler: less sure"))
    place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.06), "ncols": min(len(keys), 3)}
    ax.legend(handles=keys, frameon=False, fontsize=size, handlelength=1, columnspacing=1, **place)
    if not known.any():
        ax.text(0.5, 0.02, "no vertex has a winner", transform=ax.transAxes, ha="center")
    return ax


def _paled(rgb, confidence):
    """Return colours mixed with white, the less of them the lower the confidence."""
    return 1 - (1 - rgb) * (PALEST + (1 - PALEST) * confidence)
