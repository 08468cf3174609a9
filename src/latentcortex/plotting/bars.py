"""Draw scores as bars."""

import matplotlib.pyplot as plt
import numpy as np

from .images import unmasked
from .palettes import DISTINCT


def roi_bars(scores, roi_names, *, label, condition_names=None, intervals=None, chance=None, ax=None):
    """Draw scores by region, with a bar for the mean over subjects and a dot for every subject.

    Parameters
    ----------
    scores : array (n_rois, n_subjects) or (n_conditions, n_rois, n_subjects)
        With one subject the bar and the dot coincide. NaN raises an error, because a missing score has no
        mean.
    roi_names : sequence of str, n_rois
    label : str
        What the scores are, with their unit. It labels the axis.
    condition_names : sequence of str, n_conditions
        Needed with three dimensions.
    intervals : array (n_rois, 2) or (n_conditions, n_rois, 2), optional
        Lower and upper ends, drawn as a line over the bar. They are not computed here. NaN, the interval over
        a single subject, draws no line.
    chance : float, optional
        Level drawn as a dashed line, a finite number.
    ax : matplotlib.axes.Axes, optional
        Axes to draw into. By default a new figure.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If shapes and numbers of names disagree, or if scores are masked, NaN or infinite. Also if the lower
        end of an interval is above the upper end, or if the chance level is not a number.
    """
    scores = unmasked(scores, "scores").astype(float)
    given_shape = scores.shape
    if scores.ndim == 2 and condition_names is None:
        scores = scores[None]
        intervals = None if intervals is None else np.asarray(intervals)[None]
    n_conditions = 1 if condition_names is None else len(condition_names)
    if scores.ndim != 3 or scores.shape[:2] != (n_conditions, len(roi_names)):
        raise ValueError(
            "Expected scores of the shape (n_rois, n_subjects), or (n_conditions, n_rois, "
            f"n_subjects) with condition_names; got {given_shape} for {len(roi_names)} ROI names "
            f"and {'no' if condition_names is None else n_conditions} condition names."
        )
    if intervals is not None and np.shape(intervals) != (*scores.shape[:2], 2):
        raise ValueError(
            f"Expected intervals of the shape {(*scores.shape[:2], 2)}, got {np.shape(intervals)}."
        )
    if not np.isfinite(scores).all():
        k, roi, subject = np.argwhere(~np.isfinite(scores))[0]
        raise ValueError(
            f"scores: {roi_names[roi]!r} of subject {subject} (counted from 0) is "
            f"{scores[k, roi, subject]}, so that the region has no mean. Leave the region or the subject out."
        )
    if intervals is not None:
        low, high = np.moveaxis(unmasked(intervals, "intervals"), -1, 0)
        if (low > high).any() or np.isinf([low, high]).any():
            raise ValueError("Expected intervals of finite (lower, upper) ends, the lower one first.")
    if chance is not None and not np.isfinite(chance):
        raise ValueError(f"Expected a finite chance level, got {chance}; leave it out where there is none.")

    if ax is None:
        _, ax = plt.subplots(figsize=(5.2, 3.4), layout="constrained")
    bar_width = 0.8 / n_conditions
    for k, by_roi in enumerate(scores):
        colour = DISTINCT[k % len(DISTINCT)]
        x = np.arange(len(roi_names)) + (k - (n_conditions - 1) / 2) * bar_width
        name = None if condition_names is None else condition_names[k]
        ax.bar(x, by_roi.mean(axis=1), bar_width * 0.95, color=colour, alpha=0.55, label=name)
        spread = np.linspace(-0.25, 0.25, by_roi.shape[1] + 2)[1:-1] * bar_width
        ax.scatter(np.add.outer(x, spread), by_roi, s=14, color=colour, edgecolor="k", lw=0.5, zorder=3)
        if intervals is not None:
            ax.vlines(x, *np.transpose(intervals[k]), color="k", lw=1.2, zorder=4)
    if chance is not None:
        ax.axhline(chance, color="k", lw=1, ls="--", label="chance")
    ax.set_xticks(range(len(roi_names)), roi_names)
    ax.set_ylabel(label)
    ax.spines[["top", "right"]].set_visible(False)
    if condition_names is not None or chance is not None:
        # Above the axes, where it covers no bar whatever the scores are, and no wider than they are.
        ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=min(n_conditions + 1, 3))
    return ax
