"""What the tests of linked sliders share: a panel of each kind with known places, and a page."""

import numpy as np

from latentcortex import plotting

N = 5
LABELS = ["0", "1", "2 & 3", "4", "5"]
UNIT = (0.0, 1.0)


def points(**changes):
    """One point that rises from 0 to 1 in the middle, and one beyond the limits."""
    y = np.stack([np.linspace(0, 1, N), np.full(N, 7.0)], axis=1)
    given = {"x": np.array([0.5, 9.0]), "y": y, "x_label": "x", "y_label": "y", "alt": "points"}
    return plotting.Points(**(given | {"x_limits": UNIT, "y_limits": UNIT} | changes))


def curves(**changes):
    """One curve that falls from 1 to 0, and one that comes from far below."""
    lines = {"falls": np.linspace(1, 0, N), "<rises>": np.linspace(-50, 1, N)}
    given = {"x": np.arange(N), "lines": lines, "x_label": "setting", "y_label": "R2", "alt": "two curves"}
    return plotting.Curves(**(given | {"y_limits": UNIT} | changes))


def pictures(**changes):
    images = np.linspace(0, 1, N)[:, None, None, None, None] * np.ones((N, 2, 3, 8, 8))
    given = {"images": images, "label": "drawn", "alt": "a <picture>", "above": images[2]}
    return plotting.Pictures(**(given | {"above_label": "seen"} | changes))


def linked(panels, **changes):
    given = {"name": "penalty", "title": "Drag <it>", "first": 2} | changes
    return plotting.linked_slider(panels, LABELS, **given).data
