"""Choose colours that readers with any colour vision can distinguish."""

import matplotlib
import numpy as np
from matplotlib.colors import to_rgb

# Okabe and Ito's colours (2008), without their yellow, which a white edge swallows.
DISTINCT = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")


# A colour, a marker and a line for each region, the same on all pages. The colours stay apart with any
# colour vision; where they are equally dark, as in print, marker and line tell the regions apart.
REGIONS = {
    "early": ("#0072B2", "o", "-"),
    "ventral": ("#E69F00", "s", "--"),
    "lateral": ("#009E73", "^", "-."),
    "parietal": ("#CC79A7", "D", ":"),
    "midventral": ("#BB8844", "p", "--"),
    "midlateral": ("#99CC88", "v", "-."),
    "midparietal": ("#995588", "d", ":"),
    "V1": ("#56B4E9", "o", "-"),
    "V2": ("#333399", "v", ":"),
    "V3": ("#7766DD", "D", "--"),
    "hV4": ("#D55E00", "^", "-."),
    "faces": ("#881133", "P", "-"),
    "places": ("#445500", "X", "--"),
    "bodies": ("#663355", "*", "-."),
}


def region_colours(names):
    """Return a colour (r, g, b) for each region, by name.

    The regions of `REGIONS` have the same colour on all pages. Other regions get the colours of `DISTINCT`
    that are not used. If these run out, they are reused from the first on.
    """
    taken = {REGIONS[name][0] for name in names if name in REGIONS}
    free = [colour for colour in DISTINCT if colour not in taken] or DISTINCT
    others = [name for name in names if name not in REGIONS]
    colours = {name: free[k % len(free)] for k, name in enumerate(others)}
    return {name: to_rgb(REGIONS[name][0] if name in REGIONS else colours[name]) for name in names}


def region_style(name):
    """Return the colour, marker and line of a region, as keywords of matplotlib's ``plot`` and ``errorbar``.

    Parameters
    ----------
    name : str
        Name of a region, such as ``"V1"`` or ``"ventral"``.

    Returns
    -------
    dict
        The keywords ``color``, ``marker`` and ``linestyle``.

    Raises
    ------
    ValueError
        If the region has no style.
    """
    if name not in REGIONS:
        raise ValueError(f"Expected a region of {', '.join(REGIONS)}; got {name!r}.")
    return dict(zip(("color", "marker", "linestyle"), REGIONS[name], strict=True))


def use_distinct_colours():
    """Make matplotlib draw lines in the colours of `DISTINCT`, until the end of the session.

    Readers with red-green colour blindness cannot distinguish all of matplotlib's own ten colours.
    """
    matplotlib.rcParams["axes.prop_cycle"] = matplotlib.cycler(color=DISTINCT)


def choice_colours(n, ordered):
    """Return colours (n, 3) for n winners, from dark violet to light green if they are ordered."""
    if not ordered and n > len(DISTINCT):
        raise ValueError(
            f"There are {len(DISTINCT)} colours that all readers can tell apart, and {n} names. Join some "
            "of them, or pass ordered=True where the names have an order."
        )
    if ordered:
        # The yellow end of the map is left out: it is as light as an uncertain winner is pale.
        return matplotlib.colormaps["viridis"](np.linspace(0, 0.88, n))[:, :3]
    return np.array([to_rgb(colour) for colour in DISTINCT[:n]])


def square_colours(first, second):
    """Return the colours (..., 3) of pairs of numbers in [0, 1].

    The lightness decreases with the sum of the two. The hue is blue where only the first is high, and orange
    where only the second is high. Steps are even in OKLab (Ottosson 2020), where equal distances look about
    equal. Readers with red-green colour blindness can distinguish blue and orange.
    """
    first, second = np.broadcast_arrays(np.asarray(first, float), np.asarray(second, float))
    lightness = 0.94 - 0.30 * (first + second)
    apart = np.abs(second - first)[..., None]
    hue = np.where((second > first)[..., None], (0.095, 0.125), (-0.05, -0.15))
    return _from_oklab(np.concatenate([lightness[..., None], apart * hue], axis=-1))


def _from_oklab(lab):
    """Return the sRGB colours in [0, 1] of OKLab coordinates (..., 3)."""
    to_cones = [
        [1, 0.3963377774, 0.2158037573],
        [1, -0.1055613458, -0.0638541728],
        [1, -0.0894841775, -1.291485548],
    ]
    to_linear = [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.707614701],
    ]
    linear = (lab @ np.transpose(to_cones)) ** 3 @ np.transpose(to_linear)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
