"""Where the axes of a drawing in SVG have ticks, and how their numbers are written."""

import math

import numpy as np
from matplotlib.ticker import LogLocator, MaxNLocator

EVEN = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10])
POWERS = LogLocator(numticks=5)


def ticks(limits, locator=EVEN):
    """Return the ticks of a locator that lie inside the limits."""
    return np.array([tick for tick in locator.tick_values(*limits) if limits[0] <= tick <= limits[1]])


def log_ticks(limits):
    """Return at least two ticks of a logarithmic scale, and whether they are powers of ten.

    Where the scale spans less than a factor of 100, two powers need not lie inside. Then the ticks are 1, 2
    and 5 times a power; where these are fewer than two as well, even numbers.
    """
    for locator in (POWERS, LogLocator(subs=(1, 2, 5), numticks=9), EVEN):
        found = ticks(limits, locator)
        if len(found) > 1:
            break
    return found, locator is POWERS


def number(value):
    """Return a number with a true minus sign."""
    return f"{value:g}".replace("-", "−")


def power(value):
    """Return a power of ten with a raised exponent."""
    return f'10<tspan dy="-5" font-size="9.5">{number(round(math.log10(value)))}</tspan>'
