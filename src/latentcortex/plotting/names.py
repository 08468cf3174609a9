"""Write names next to regions, without overlaps."""

import numpy as np
from matplotlib.artist import Artist

ANGLES = np.arange(0, 2 * np.pi, np.pi / 12)


def place_names(ax, anchors, covered, size):
    """Write names next to places, with a line from each name to its place.

    The position of a name is chosen when the figure is drawn, because only then the size of the axes is
    known. Positions that overlap an earlier name are excluded. Among the rest the position with the fewest
    points under the name is chosen, and then the nearest.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    anchors : sequence of (str, (x, y), colour)
        The name, the place in data coordinates, and the colour of its frame and line.
    covered : array (n, 2)
        Points that names should not hide.
    size : float
        Type size in points.
    """
    placer = next((artist for artist in ax.artists if isinstance(artist, _Placer)), None)
    if placer is None:
        placer = ax.add_artist(_Placer())
    for name, place, colour in anchors:
        text = ax.annotate(
            name,
            xy=place,
            xytext=place,
            ha="center",
            va="center",
            fontsize=size,
            zorder=6,
            bbox={
                "boxstyle": "round,pad=0.15",
                "facecolor": "white",
                "edgecolor": colour,
                "linewidth": size / 9,
            },
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "linewidth": size / 9,
                "shrinkA": 0,
                "shrinkB": 0,
            },
        )
        text.set_in_layout(False)
        placer.names.append(text)
    placer.covered = np.concatenate([placer.covered, covered])


class _Placer(Artist):
    """Moves the names of its axes, just before they are drawn, to where they hide little."""

    def __init__(self):
        super().__init__()
        self.names, self.covered = [], np.empty((0, 2))
        self.set_in_layout(False)
        self.set_zorder(5)  # below the names, so that it is drawn before them

    def draw(self, renderer):
        to_pixels = self.axes.transData.transform
        frame = self.axes.get_window_extent(renderer)
        points, taken = to_pixels(self.covered), np.empty((0, 4))
        for text in self.names:
            place = to_pixels(text.xy)
            text.set_visible(frame.contains(*place))
            if not text.get_visible():
                continue
            text.set_position(text.xy)
            text.update_bbox_position_size(renderer)
            box = text.get_bbox_patch().get_window_extent(renderer)
            half = np.array([box.width, box.height]) / 2 + renderer.points_to_pixels(1.5)
            reach = np.arange(0, 16)[:, None] * half[1] * 0.75
            steps = np.stack([reach * np.cos(ANGLES), reach * np.sin(ANGLES)], axis=-1).reshape(-1, 2)
            at = place + steps
            low, high = at - half, at + half
            outside = ((low < frame.min) | (high > frame.max)).any(axis=1)
            clash = (low[:, None] < taken[:, 2:]).all(axis=2) & (high[:, None] > taken[:, :2]).all(axis=2)
            within = (points > low[:, None]).all(axis=2) & (points < high[:, None]).all(axis=2)
            cost = within.sum(axis=1) / max(len(points), 1) * 300 + np.hypot(*steps.T) / half[1] / 4
            best = (cost + 1e3 * outside + 1e6 * clash.sum(axis=1)).argmin()
            text.set_position(self.axes.transData.inverted().transform(at[best]))
            text.arrow_patch.set_visible(bool(steps[best].any()))
            taken = np.concatenate([taken, [[*low[best], *high[best]]]])
