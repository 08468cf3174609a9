"""Choose the ticks of axes in SVG drawings, and write their numbers."""

import math

import numpy as np
from matplotlib.ticker import LogLocator, MaxNLocator

EVEN = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10])
POWERS = LogLocator(numticks=5)


def ticks(limits, locator=EVEN):
    """Return the ticks of a locator that are inside the limits."""
    return np.array([tick for tick in locator.tick_values(*limits) if limits[0] <= tick <= limits[1]])


def log_ticks(limits):
    """Return at least two ticks of a logarithmic scale, and whether they are powers of ten.

    If the scale spans less than a factor of 100, there may be fewer than two powers inside. Then the ticks
    are 1, 2 and 5 times a power. If these are also fewer than two, the ticks are evenly spaced.
    """
    for locator in (POWERS, LogLocator(subs=(1, 2, 5), numticks=9), EVEN):
        found = ticks(limits, locator)
        if len(found) > 1:
            break
    return found, locator is POWERS


def number(value):
    """Return a number as text with a typographic minus sign."""
    return f"{value:g}".replace("-", "−")


def power(value):
    """Return a power of ten as text with a superscript exponent."""
    return f'10<tspan dy="-5" font-size="9.5">{number(round(math.log10(value)))}</tspan>'
