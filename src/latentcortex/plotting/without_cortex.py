"""Show bars of regions where there is no surface to draw a map on, such as voxels without places."""

import base64
import html
import io
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import HTML

from .bars import roi_bars
from .checks import check_first, check_texts
from .compared import two_dimensional_map, winner_map
from .cortex import font_size
from .images import unmasked
from .maps import compared_flatmaps, flatmap, inflated
from .palettes import REGIONS, choice_colours, region_style
from .viewer import cortex_viewer

SURFACES = ("fsaverage", "fsaverage5")
NOTHING_TO_DRAW_ON = "no surface to draw a map on, so regions instead"


def on_cortex(space):
    """Return what draws maps of a space: the functions of this package, or bars of regions under their names.

    On fsaverage and fsaverage5 these are `flatmap`, `compared_flatmaps`, `inflated`, `two_dimensional_map`,
    `winner_map` and `cortex_viewer` as they are. In any other space, functions with these names take the same
    arguments and draw bars: the mean over the voxels of each region of `rois`, or over all voxels without
    `rois`. Every figure says so. What sets the look of a map (``cmap``, ``limits``, ``centre``, ``zoom``) has
    no effect on bars.

    Parameters
    ----------
    space : str
        The space of the betas, ``preset.space``.

    Returns
    -------
    types.SimpleNamespace
        With ``has_surface`` (bool), and a function for each name above.

    Notes
    -----
    Values of voxels are arrays of any shape, (n_voxels,) or (nx, ny, nz), and masks of regions have the same
    shape. NaN marks a voxel without a value. A region without any value is left out and named in the figure.
    """
    if space in SURFACES:
        drawn = (flatmap, compared_flatmaps, inflated, two_dimensional_map, winner_map, cortex_viewer)
        return SimpleNamespace(has_surface=True, **{one.__name__: one for one in drawn})
    return SimpleNamespace(
        has_surface=False,
        flatmap=_mean_bars,
        compared_flatmaps=_compared_bars,
        inflated=_inflated_bars,
        two_dimensional_map=_pair_bars,
        winner_map=_winner_bars,
        cortex_viewer=_viewer_bars,
    )


def _mean_bars(values, *, label, rois=None, ax=None, **_look):
    """Draw bars where `flatmap` draws a map; return the axes."""
    return _bars({"": values}, label, rois, ax)


def _compared_bars(maps, *, label, rois=None, **_look):
    """Draw bars where `compared_flatmaps` draws maps; return the axes once for each map."""
    if not maps:
        raise ValueError("Expected at least one map, as {title: values}; got none.")
    return (_bars(maps, label, rois),) * len(maps)


def _inflated_bars(values, *, label, rois=None, **_look):
    """Draw bars where `inflated` draws two hemispheres; return the axes twice."""
    return (_bars({"": values}, label, rois),) * 2


def _pair_bars(first, second, *, labels, rois=None, ax=None, **_look):
    """Draw two bars for each region where `two_dimensional_map` mixes colours; return the axes and None."""
    if isinstance(labels, str) or len(labels) != 2:
        raise ValueError(f"labels: expected two texts, one for each value; got {labels!r}.")
    return _bars(dict(zip(labels, (first, second), strict=True)), "mean", rois, ax), None


def _winner_bars(winners, names, *, rois=None, ordered=False, ax=None, **_look):
    """Draw how many voxels of each region each name wins where `winner_map` colours them; return the axes."""
    if not ordered and set(names) <= set(REGIONS):
        colours = [region_style(name)["color"] for name in names]
    else:
        colours = choice_colours(len(names), ordered)
    parts, without = _by_region(winners, rois)
    found = np.unique(np.concatenate([*parts.values(), []]))
    if not np.isin(found, np.arange(len(names))).all():
        raise ValueError(
            f"winners: expected whole numbers from 0 to {len(names) - 1}, the places of the {len(names)} "
            f"names, or NaN; got {found.min():g} to {found.max():g}."
        )
    if ax is None:
        _, ax = plt.subplots(figsize=(5.2, 3.6), layout="constrained")
    bottom = np.zeros(len(parts))
    for k, (name, colour) in enumerate(zip(names, colours, strict=True)):
        share = np.array([(of == k).mean() for of in parts.values()])
        ax.bar(list(parts), share, bottom=bottom, color=colour, label=name)
        bottom += share
    ax.set(ylabel="share of voxels won", ylim=(0, 1.1 + 0.12 * -(-len(names) // 3)))  # room for the legend
    ax.legend(frameon=False, fontsize=font_size(ax), loc="upper center", ncols=3)
    return _finished(ax, without)


def _viewer_bars(maps, *, title, alt, rois=None, frame_name="frame", first_frame=0, **_look):
    """Return a picture of bars, or of a line per region over the frames, in place of `cortex_viewer`."""
    check_texts({"title": title, "alt": alt})
    maps = maps if isinstance(maps, dict) else {title: maps}
    fig, axes = plt.subplots(
        len(maps), 1, figsize=(5.2, 3.4 * len(maps)), layout="constrained", squeeze=False
    )
    for ax, (name, one) in zip(axes[:, 0], maps.items(), strict=True):
        values = unmasked(one.values, name)
        if one.names:
            if one.frames:
                check_first(first_frame, len(one.frames), "first_frame")
                values = values[first_frame]
            _winner_bars(values, one.names, rois=rois, ordered=one.ordered, ax=ax)
        elif one.frames:
            _lines(values, one, rois, frame_name, ax)
        else:
            _bars({"": values}, one.label, rois, ax)
        ax.set_title(name, fontsize=font_size(ax), loc="left")
    file = io.BytesIO()
    fig.savefig(file, format="png", dpi=150)
    plt.close(fig)
    picture = base64.b64encode(file.getvalue()).decode()
    return HTML(
        f"<figure><figcaption>{html.escape(title)} ({NOTHING_TO_DRAW_ON})</figcaption>"
        f'<img alt="{html.escape(alt)}" style="max-width: 100%" src="data:image/png;base64,{picture}">'
        "</figure>"
    )


def _lines(values, one, rois, frame_name, ax):
    """Draw the mean of each region over the frames of a map."""
    if len(values) != len(one.frames):
        raise ValueError(f"Expected a label for each of {len(values)} frames, got {len(one.frames)}.")
    by_frame = [_by_region(of, rois)[0] for of in values]
    for name in dict.fromkeys(name for of in by_frame for name in of):
        style = region_style(name) if name in REGIONS else {}
        means = [of[name].mean() if name in of else np.nan for of in by_frame]
        ax.plot(list(one.frames), means, label=name, **style)
    ax.set_ylabel(one.label)
    ax.legend(frameon=False, fontsize=font_size(ax))
    _finished(ax, [], f"{frame_name}\n")


def _bars(maps, label, rois, ax=None):
    """Draw the means of regions, a bar for each map."""
    parts, lacking = zip(*[_by_region(values, rois, name) for name, values in maps.items()], strict=True)
    without = sorted(set().union(*lacking))
    shown = [name for name in parts[0] if name not in without]
    means = np.array([[of[name].mean() for name in shown] for of in parts])
    names = list(maps) if len(maps) > 1 else None
    ax = roi_bars(
        means[..., None] if names else means[0][:, None], shown, label=label, condition_names=names, ax=ax
    )
    return _finished(ax, without)


def _finished(ax, without, above=""):
    """Say under the axes why there is no map, and which regions have no values; return the axes."""
    lacking = f"\n(no values in {', '.join(without)})" if without else ""
    ax.set_xlabel(f"{above}{NOTHING_TO_DRAW_ON}{lacking}", fontsize=font_size(ax))
    return ax


def _by_region(values, rois, name="values"):
    """Return the values of each region that are not NaN, by name, and the regions without any."""
    values = unmasked(values, name or "values").astype(float)
    if np.isinf(values).any():
        raise ValueError(f"{name or 'values'}: {np.isinf(values).sum():,} of {values.size:,} are infinite.")
    rois = {"all voxels": np.ones(values.shape, bool)} if rois is None else rois
    for region, mask in rois.items():
        mask = np.asarray(mask)
        if mask.dtype != bool or mask.shape != values.shape:
            raise ValueError(
                f"{region}: expected a mask of bool of the shape of the values, {values.shape}; got "
                f"{mask.dtype} of {mask.shape}. Ask nsd.roi_mask for the space of the preset and the subject."
            )
    parts = {region: values[mask] for region, mask in rois.items()}
    parts = {region: of[np.isfinite(of)] for region, of in parts.items()}
    return {k: of for k, of in parts.items() if of.size}, [k for k, of in parts.items() if not of.size]
