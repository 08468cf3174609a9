"""Measure whether decoded pictures change where a scene was edited, and only there.

Each measure compares drawings of three scenes, made with the same noise: a test image (the base), the edited
scene, and the same scene shown again unchanged. `edited_scenes` makes the scenes and tells what is asked of
each pair. How much drawings of unchanged scenes differ from the base is the scale for everything else.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.stats import norm, rankdata

from latentcortex import metrics
from latentcortex.metrics.intervals import wilson
from latentcortex.studies.edited_scenes import EDITS

N_CELLS = 16  # of a picture, along each side
LEAST_SHARE = 0.5  # of a cell's pixels that differ, for the cell to count as changed
LEVEL = 0.95  # share of unchanged pairs that change less than a detected one
READ = ("target", "setting", "time", "other")  # what was edited, and what was not
LOCAL = ("inside", "outside", "auc")


@torch.no_grad()
def probabilities(judge, images):
    """Return what a judge takes to be in pictures.

    Parameters
    ----------
    judge : callable
        Returns logits, as `mini.networks.Judge` does.
    images : tensor (n, 3, h, w) in [0, 1]

    Returns
    -------
    dict of str to float32 array
        ``setting`` (n, 7) and ``time`` (n, 4), each with a last class for "can't tell"; ``kind`` (n, 10),
        each kind by itself; ``colour`` (n, 10, 6) and ``place`` (n, 10, 3), given that the kind is there.
    """
    logits = judge(images)
    found = {name: of.float().softmax(-1) for name, of in logits.items() if name != "kind"}
    return {name: of.numpy() for name, of in {**found, "kind": logits["kind"].float().sigmoid()}.items()}


def quantities(looks, asked):
    """Return the probabilities that are compared within pairs.

    The quantity of the target is larger the more the picture agrees with the edit:

        removed      -P(kind)
        moved        P(new place) - P(old place), given the kind
        recoloured   P(new colour) - P(old colour), given the kind

    Those of what was not edited are P(setting), P(time) and P(kind of the other thing).

    Parameters
    ----------
    looks : dict of str to array (n, n_draws, ...)
        As from `probabilities`, for each drawing of each scene.
    asked : pandas.DataFrame (n rows)
        As from `edited_scenes.questions`.

    Returns
    -------
    float array (n, n_draws, 4)
        In the order of `READ`. NaN for the other thing of a scene that has only one.
    """
    names = {"setting", "time", "kind", "colour", "place"}
    if not names <= set(looks) or any(len(looks[name]) != len(asked) for name in names):
        shapes = {name: np.shape(of) for name, of in looks.items()}
        raise ValueError(f"Expected {sorted(names)} of {len(asked)} pairs, got {shapes}.")
    found = np.full((len(asked), np.shape(looks["kind"])[1], len(READ)), np.nan)
    of = {name: np.asarray(values, float) for name, values in looks.items()}
    for row, pair in enumerate(asked.itertuples()):
        if pair.edit not in EDITS:
            raise ValueError(f"Expected edits among {', '.join(EDITS)}, got {pair.edit!r}.")
        if pair.edit == "removed":
            found[row, :, 0] = -of["kind"][row, :, pair.kind]
        else:
            given = of["place" if pair.edit == "moved" else "colour"][row, :, pair.kind]
            found[row, :, 0] = given[:, pair.new] - given[:, pair.old]
        found[row, :, 1] = of["setting"][row, :, pair.setting]
        found[row, :, 2] = of["time"][row, :, pair.time]
        if pair.other >= 0:
            found[row, :, 3] = of["kind"][row, :, pair.other]
    return found


def changes(after, base):
    """Return by how much quantities (n, n_draws, 4) change, averaged over drawings, float (n, 4).

    The change of the target is signed: above 0 it goes the way of the edit. What was not edited should not
    change in any direction, so its change is absolute, taken after the average.
    """
    _check_same("quantities", after, base)
    change = (np.asarray(after, float) - np.asarray(base, float)).mean(axis=1)
    change[:, 1:] = np.abs(change[:, 1:])
    return change


def detected(change, of_unchanged, groups):
    """Return which pairs change more than `LEVEL` of the unchanged pairs do, leaving out their own scenes.

    Parameters
    ----------
    change, of_unchanged : arrays (n,)
        The change of each edited pair, and of the unchanged pair of the same scene. NaN where not asked.
    groups : array (n,)
        Pairs are compared with unchanged pairs of the same group, such as the kind of edit.

    Returns
    -------
    float array (n,)
        1, 0, or NaN where nothing was asked or where there is no other pair to compare with.
    """
    change, of_unchanged = np.asarray(change, float), np.asarray(of_unchanged, float)
    groups = np.asarray(groups)
    _check_same("changes", change, of_unchanged, groups)
    found = np.full(len(change), np.nan)
    for row in np.flatnonzero(np.isfinite(change)):
        others = np.isfinite(of_unchanged) & (groups == groups[row])
        others[row] = False
        if others.any():
            found[row] = np.mean(of_unchanged[others] < change[row]) >= LEVEL
    return found


def rate_by_chance(n_others):
    """Return the rate of detections where nothing was edited, given how many other pairs there are.

    With m other pairs, a pair is detected if it is among the m - ceil(0.95 m) + 1 pairs of all m + 1 that
    change most. This is 5 % for 99 others, and 6 % for 32 others.
    """
    if n_others < 1:
        raise ValueError(f"Expected at least one other pair, got {n_others}.")
    return (n_others - int(np.ceil(LEVEL * n_others - 1e-9)) + 1) / (n_others + 1)


def cell_means(images):
    """Return mean colours of the cells of pictures (n, 3, h, w) in [0, 1], uint8 (n, 16, 16, 3)."""
    means = torch.nn.functional.adaptive_avg_pool2d(torch.as_tensor(images).float(), N_CELLS)
    return (means * 255).round().to(torch.uint8).movedim(1, -1).numpy()


def changed_cells(mask):
    """Return which cells count as changed, bool (n, 16, 16), from a mask of pixels (n, h, w).

    At least `LEAST_SHARE` of a cell's pixels have to differ. If no cell has so many, the cells with the most
    count, so that small things have a place, too.
    """
    mask = np.asarray(mask)
    unseen = np.flatnonzero(~mask.any(axis=(1, 2)))
    if len(unseen):
        raise ValueError(f"No pixel differs in pairs {unseen[:10].tolist()}: their edits can't be seen.")
    share = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(mask).float()[:, None], N_CELLS)[:, 0]
    return (share >= share.amax((1, 2), keepdim=True).clamp(max=LEAST_SHARE)).numpy()


def localised(after, base, cells):
    """Return where decoded pictures change: inside or outside the cells in which a scene was edited.

    Pictures are averaged over drawings first, so that differences by chance average out. The change of a cell
    is the mean absolute difference of its mean colours, in [0, 1].

    Parameters
    ----------
    after, base : uint8 arrays (n, n_draws, 16, 16, 3)
        Cell means of drawings.
    cells : bool array (n, 16, 16)
        As from `changed_cells`.

    Returns
    -------
    float array (n, 3)
        In the order of `LOCAL`: mean change inside and outside, and the area under the ROC curve of the
        change as a guess at which cells were edited (0.5 by chance).
    """
    _check_same("cell means", after, base)
    cells = np.asarray(cells).reshape(len(cells), -1)
    if len(cells) != len(after) or cells.all(axis=1).any() or not cells.any(axis=1).all():
        raise ValueError(
            f"Expected cells of {len(after)} pairs, some of each inside and some outside; got {len(cells)}."
        )
    pictures = [np.asarray(of, float).mean(axis=1) / 255 for of in (after, base)]
    # Rounded, so that cells that change equally rank equally whatever the order of the sums.
    change = np.abs(pictures[0] - pictures[1]).mean(axis=-1).reshape(len(cells), -1).round(9)
    found = []
    for values, inside in zip(change, cells, strict=True):
        n = inside.sum()
        above = rankdata(values)[inside].sum() - n * (n + 1) / 2  # pairs of cells in the right order
        found.append((values[inside].mean(), values[~inside].mean(), above / (n * (~inside).sum())))
    return np.array(found)


class Row(NamedTuple):
    """Hold one row of `summary`: what was measured, for which edit, and its interval over scenes."""

    measure: str
    edit: str
    interval: metrics.Interval


def summary(change, local, asked, rng):
    """Return effects, rates of detection and of false alarms, and places of change, with intervals.

    Scores are averaged over subjects first, so that scenes are resampled. Rates have Wilson's interval for as
    many trials as there are scenes, whatever the number of subjects, because subjects see the same scenes.

    Parameters
    ----------
    change : array (n_subjects, n, 2, 4)
        `changes` of edited and of unchanged pairs.
    local : array (n_subjects, n, 2, 3)
        `localised`, likewise.
    asked : pandas.DataFrame (n rows)
    rng : numpy.random.Generator

    Returns
    -------
    list of Row
        ``effect``: change of the target, above that of unchanged pairs. ``detected``: rate of pairs in which
        the target changes. ``setting``, ``time``, ``other``: rates of false alarms. ``inside - outside``:
        change inside less change outside, above that of unchanged pairs. ``auc``, and ``auc unchanged`` with
        the same cells.
    """
    change, local, edits = np.asarray(change, float), np.asarray(local, float), asked["edit"].to_numpy()
    if change.shape[1:] != (len(asked), 2, len(READ)) or local.shape[1:] != (len(asked), 2, len(LOCAL)):
        raise ValueError(f"Expected {len(asked)} pairs, got {change.shape} and {local.shape}.")
    # Targets can only be compared within one kind of edit. What was not edited is the same in all pairs.
    groups = [edits, *[np.full(len(edits), "any")] * 3]
    rates = {
        name: np.mean([detected(one[:, 0, k], one[:, 1, k], groups[k]) for one in change], axis=0)
        for k, name in enumerate(READ)
    }
    rates["detected"] = rates.pop("target")
    above = (local[..., 0] - local[..., 1]).mean(axis=0)
    scores = {
        "effect": (change[:, :, 0, 0] - change[:, :, 1, 0]).mean(axis=0),
        "inside - outside": above[:, 0] - above[:, 1],
        "auc": local[:, :, 0, 2].mean(axis=0),
        "auc unchanged": local[:, :, 1, 2].mean(axis=0),
    }
    rows = []
    for edit in EDITS:
        of_edit = edits == edit
        rows += [Row(name, edit, _over_scenes(of[of_edit], rng)) for name, of in scores.items()]
        rows += [Row(name, edit, _wilson(of[of_edit])) for name, of in rates.items()]
    return rows


def _over_scenes(values, rng):
    """Return the bootstrap interval of finite values, with ends that are NaN if there are fewer than two."""
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return metrics.Interval(float(values.mean()) if len(values) else np.nan, np.nan, np.nan, len(values))
    return metrics.bootstrap_mean(values, rng)


def _wilson(rates):
    """Return the mean of finite rates of scenes with Wilson's interval for as many trials as scenes."""
    rates = rates[np.isfinite(rates)]
    if not len(rates):
        return metrics.Interval(np.nan, np.nan, np.nan, 0)
    n, p = len(rates), float(rates.mean())
    return metrics.Interval(p, *map(float, wilson(p, n, norm.ppf(0.975))), n)


def table(rows):
    """Return rows of `summary` as a table with one row per measure and edit."""
    return pd.DataFrame([{"measure": of.measure, "edit": of.edit, **of.interval._asdict()} for of in rows])


def _check_same(what, *arrays):
    shapes = [np.shape(array) for array in arrays]
    if len(set(shapes)) != 1:
        raise ValueError(f"Expected {what} of one shape, got {', '.join(map(str, shapes))}.")
