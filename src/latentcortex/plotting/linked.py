"""Draw points, curves and pictures that one slider moves together."""

import html
import math
from dataclasses import dataclass, field

import numpy as np

from .checks import check_first, check_texts
from .images import checked_images, unmasked
from .palettes import DISTINCT
from .sliders import page, slider, strips
from .ticks import log_ticks, number, power, ticks

# Of a panel's drawing, in its own units, which are about CSS pixels: a panel is some 300 of them wide.
WIDTH, HEIGHT = 320, 220
LEFT, RIGHT, TOP, BOTTOM = 48, 304, 22, 176
PANEL_WIDTH = 340  # at most, in CSS pixels; on a phone the panels stand one above the other


@dataclass(frozen=True)
class Points:
    """Describe a cloud of points that moves with the slider.

    Attributes
    ----------
    x, y : array (n_settings, n_points), or (n_points,) where it stays
        Coordinates of the points. Points outside the limits are drawn at the edge.
    x_label, y_label : str
    alt : str
        Describes the panel to readers who cannot see it.
    x_limits, y_limits : pair of float, optional
        By default all values of all settings fit.
    diagonal : bool
        Whether a line marks where y equals x.
    """

    x: np.ndarray
    y: np.ndarray
    x_label: str
    y_label: str
    alt: str
    x_limits: tuple | None = None
    y_limits: tuple | None = None
    diagonal: bool = False


@dataclass(frozen=True)
class Curves:
    """Describe curves over the settings, with a marker that moves with the slider.

    Attributes
    ----------
    x : array (n_settings,)
        The settings, in increasing order.
    lines : dict of str to array (n_settings,)
        Curves by name, at most three.
    x_label, y_label, alt : str
    y_limits : pair of float, optional
        Curves are cut off at these limits. A marker outside is drawn at the edge.
    log : bool
        Whether x is drawn on a logarithmic scale.
    """

    x: np.ndarray
    lines: dict
    x_label: str
    y_label: str
    alt: str
    y_limits: tuple | None = None
    log: bool = False


@dataclass(frozen=True)
class Pictures:
    """Describe images that change with the slider.

    Attributes
    ----------
    images : array (n_settings, n_images, 3, h, w), in [0, 1]
        The images of a setting are shown side by side.
    label, alt : str
    above : array (n_images, 3, h, w), in [0, 1], optional
        Images that do not change, such as the images that were seen.
    above_label : str
    """

    images: np.ndarray
    label: str
    alt: str
    above: np.ndarray | None = None
    above_label: str = ""


def linked_slider(panels, labels, *, name, title, first=0, texts=None):
    """Return panels that one slider moves together, in a static page, in JupyterLab and in Colab.

    The slider is the browser's own, so arrow keys, Home and End work. Nothing is requested from the network.
    Without scripts the panels show the setting `first`. On a narrow page they are stacked.

    Parameters
    ----------
    panels : sequence of Points, Curves and Pictures
    labels : sequence of str, n_settings
        Labels of the settings, which are shown and read out.
    name : str
        What the slider sets.
    title : str
    first : int
        Index of the setting that is shown first, for example the setting that makes the point.
    texts : sequence of str, n_settings, optional
        Text shown with each setting, such as its score.

    Returns
    -------
    IPython.display.HTML

    Raises
    ------
    ValueError
        If there is no panel, or a panel of another kind or with another number of settings. Also if values
        are masked or not finite, if limits or settings do not increase, if a text is missing, or if `first`
        is not a setting.
    """
    if not isinstance(panels, (list, tuple)) or not all(type(panel) in _DRAWN for panel in panels):
        raise ValueError(f"panels: expected a list of Points, Curves and Pictures, got {panels!r:.80}.")
    n = len(labels)
    if not panels or n < 2:
        raise ValueError(f"Expected at least one panel and two settings, got {len(panels)} and {n}.")
    check_first(first, n)
    check_texts({"title": title, "name": name})
    if texts is not None and len(texts) != n:
        raise ValueError(f"texts: expected {n}, one for each setting; got {len(texts)}.")
    drawn = "".join(_DRAWN[type(panel)](panel, n, first) for panel in panels)
    said = [f"{name} {label}" for label in labels]
    if texts is not None:
        said = [f"{one}\n{text}" for one, text in zip(said, texts, strict=True)]
    before = f"<span>{html.escape(name)}</span>"
    # The slider stands above its panels, so that it stays under the finger on a phone.
    return page(
        title,
        f'<div style="font-weight:600">{html.escape(title)}</div>',
        [slider(before, name, labels, first)],
        said,
        first,
        2 * PANEL_WIDTH,
        below=f'<div style="display:flex;flex-wrap:wrap;gap:0 0.6em;margin-top:0.4em">{drawn}</div>',
    )


@dataclass
class _Axes:
    """A panel's scales, and what is drawn in it, as SVG."""

    x_limits: tuple
    y_limits: tuple
    log: bool = False
    parts: list = field(default_factory=list)

    def x(self, values):
        """Return places from left to right, in the units of the drawing, not beyond the edges."""
        values, (low, high) = np.asarray(values, float), self.x_limits
        if self.log:
            values, low, high = np.log10(values), np.log10(low), np.log10(high)
        return LEFT + np.clip((values - low) / (high - low), 0, 1) * (RIGHT - LEFT)

    def y(self, values, clipped=True):
        """Return places from top to bottom; beyond the edges only where not clipped."""
        low, high = self.y_limits
        shares = (np.asarray(values, float) - low) / (high - low)
        return BOTTOM - (np.clip(shares, 0, 1) if clipped else shares) * (BOTTOM - TOP)

    def add(self, *parts):
        self.parts += parts

    def svg(self, x_label, y_label, alt):
        """Return the drawing with its axes."""
        x_ticks, with_powers = log_ticks(self.x_limits) if self.log else (ticks(self.x_limits), False)
        y_ticks = ticks(self.y_limits)
        frame = [_line(LEFT, BOTTOM, RIGHT, BOTTOM), _line(LEFT, TOP, LEFT, BOTTOM)]
        for value, at in zip(x_ticks, self.x(x_ticks), strict=True):
            text = power(value) if with_powers else number(value)
            frame += [_line(at, BOTTOM, at, BOTTOM + 4), _text(at, BOTTOM + 17, text, "middle")]
        for value, at in zip(y_ticks, self.y(y_ticks), strict=True):
            frame += [_line(LEFT - 4, at, LEFT, at), _text(LEFT - 7, at + 4, number(value), "end")]
        # Upright above the axis: easier to read than turned.
        frame += [
            _text((LEFT + RIGHT) / 2, BOTTOM + 37, html.escape(x_label), "middle"),
            _text(2, 13, html.escape(y_label), "start"),
        ]
        return (
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(alt)}" '
            f'style="flex:1 1 260px;min-width:0;max-width:{PANEL_WIDTH - 5}px;height:auto;'
            f'font-size:12.5px" fill="currentColor">{"".join(frame + self.parts)}</svg>'
        )


def _points(panel, n, first):
    """Draw a `Points` panel."""
    x, y = (_of_settings(panel, of, n) for of in ("x", "y"))
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"Points: expected as many x as y, got {x.shape[1]} and {y.shape[1]}.")
    axes = _Axes(_limits(panel.x_limits, x, "x_limits"), _limits(panel.y_limits, y, "y_limits"))
    if panel.diagonal:
        ends = (max(axes.x_limits[0], axes.y_limits[0]), min(axes.x_limits[1], axes.y_limits[1]))
        (x1, x2), (y1, y2) = axes.x(ends), axes.y(ends)
        axes.add(_line(x1, y1, x2, y2, ' stroke-dasharray="4 3"'))
    for of_x, of_y in zip(axes.x(x).T, axes.y(y).T, strict=True):
        axes.add(f'<circle r="2.4" {_moves("cx", of_x, first)} {_moves("cy", of_y, first)}/>')
    dots = "".join(axes.parts[panel.diagonal :])
    axes.parts[panel.diagonal :] = [f'<g fill="{DISTINCT[0]}" fill-opacity="0.85">{dots}</g>']
    return axes.svg(panel.x_label, panel.y_label, _alt(panel))


def _curves(panel, n, first):
    """Draw a `Curves` panel."""
    x = _of_settings(panel, "x", n, curve=True)
    if (np.diff(x) <= 0).any() or (panel.log and x[0] <= 0):
        raise ValueError("Curves: expected x to increase, and to be above 0 where it is logarithmic.")
    if not 0 < len(panel.lines) <= 3:
        raise ValueError(f"Curves: expected one to three lines, got {len(panel.lines)}.")
    lines = {key: _checked(of, f"Curves, {key}", (n,)) for key, of in panel.lines.items()}
    values = np.array(list(lines.values()))
    axes = _Axes((x[0], x[-1]), _limits(panel.y_limits, values, "y_limits"), panel.log)
    at = axes.x(x)
    axes.add(f'<rect {_moves("x", at - 0.75, first)} y="{TOP}" width="1.5" height="{BOTTOM - TOP}"/>')
    # A drawing in the drawing cuts off what leaves the panel, without an id.
    box = f'x="{LEFT}" y="{TOP}" width="{RIGHT - LEFT}" height="{BOTTOM - TOP}"'
    dashes = ("", ' stroke-dasharray="7 3"', ' stroke-dasharray="2 3"')
    inside, above = [], []
    for k, (key, of) in enumerate(lines.items()):
        # Far beyond the edge nothing is drawn, and numbers stay short.
        places = np.clip(axes.y(of, clipped=False), -9 * HEIGHT, 9 * HEIGHT)
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(at - LEFT, places - TOP, strict=True))
        inside.append(
            f'<polyline points="{path}" fill="none" stroke="{DISTINCT[k]}" stroke-width="2.5"{dashes[k]}/>'
        )
        above.append(
            f'<circle r="5" fill="{DISTINCT[k]}" stroke="currentColor" {_moves("cx", at, first)} '
            f"{_moves('cy', axes.y(of), first)}/>"
        )
        row = BOTTOM - 10 - 16 * (len(lines) - 1 - k)
        above.append(
            _line(RIGHT - 24, row - 4, RIGHT, row - 4, f' style="color:{DISTINCT[k]}"{dashes[k]}', 2.5)
        )
        above.append(_text(RIGHT - 28, row, html.escape(key), "end"))
    axes.add(f"<svg {box}>{''.join(inside)}</svg>", *above)
    return axes.svg(panel.x_label, panel.y_label, _alt(panel))


def _pictures(panel, n, first):
    """Draw a `Pictures` panel."""
    images = unmasked(panel.images, "Pictures")
    if images.ndim != 5 or len(images) != n:
        raise ValueError(
            f"Pictures: expected images (n_settings, n_images, 3, h, w) of {n} settings, got {images.shape}."
        )
    alt, n_images = _alt(panel), images.shape[1]
    width = max(1, round(2 * PANEL_WIDTH / max(n_images, 1)) - 2)
    rows = [
        (panel.label, strips(images, [f"setting {k + 1} of {n}" for k in range(n)], alt, width, first)[1])
    ]
    if panel.above is not None:
        fixed = checked_images(panel.above, "above")
        if fixed.shape != images.shape[1:]:
            raise ValueError(f"above: expected images {images.shape[1:]}, got {fixed.shape}.")
        rows.insert(0, (panel.above_label, strips(fixed[None], [panel.above_label], alt, width)[1]))
    texts = "".join(f'<div style="font-size:0.85em">{html.escape(label)}</div>{row}' for label, row in rows)
    return f'<div style="flex:1 1 100%;min-width:0">{texts}</div>'


_DRAWN = {Points: _points, Curves: _curves, Pictures: _pictures}


def _alt(panel):
    check_texts({"alt": panel.alt}, f"describe a panel of {type(panel).__name__} in words")
    return panel.alt


def _checked(values, name, shape):
    """Return finite values of a shape as floats, or say what is wrong with them."""
    values = unmasked(values, name).astype(float)
    if values.shape != shape or not np.isfinite(values).all():
        raise ValueError(f"{name}: expected finite numbers of the shape {shape}, got {values.shape}.")
    return values


def _of_settings(panel, key, n, curve=False):
    """Return what a panel has at each setting, (n, n_points), or (n,) of a curve."""
    values, name = unmasked(getattr(panel, key), key), f"{type(panel).__name__}, {key}"
    if curve:
        return _checked(values, name, (n,))
    if values.ndim == 1:
        values = np.broadcast_to(values, (n, len(values)))
    return _checked(values, name, (n, values.shape[-1] if values.ndim == 2 else -1))


def _limits(given, values, name):
    """Return the limits of a scale: those given, or those of the values and a twentieth more."""
    if given is None:
        low, high = float(values.min()), float(values.max())
        more = 0.05 * (high - low) or 1.0
        return low - more, high + more
    try:
        low, high = map(float, given)
    except (TypeError, ValueError):  # of another number, or no numbers
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"{name}: expected two finite numbers, the lower one first; got {given}.")
    return low, high


def _moves(attribute, places, first):
    """Return an attribute of SVG, and where it is at each setting."""
    texts = [f"{place:.1f}" for place in places]
    moving = f' data-{attribute}="{" ".join(texts)}"' if len(set(texts)) > 1 else ""
    return f'{attribute}="{texts[first]}"{moving}'


def _line(x1, y1, x2, y2, more="", width=1):
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="currentColor" '
        f'stroke-width="{width}"{more}/>'
    )


def _text(x, y, text, anchor):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'
