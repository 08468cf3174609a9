"""Say which attributes of a scene its drawings show, and which of them came from the brain.

The scenes are rendered, so the truth is known. Two judges read the drawings. An attribute came from the brain
as far as drawings show it more often than drawings from responses to other images do, which have seen the
same training images and come from the same generative model. Colour and place of a thing are compared among
scenes with a thing of the same kind, because elsewhere there is nothing that could have the colour.
"""

import functools
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

ATTRIBUTES = ("setting", "time", "count", "kind", "colour", "place")
JUDGES = {"judge": ATTRIBUTES, "second judge": ("setting", "time", "count", "kind")}
LEVEL = 0.05


class Ledger(NamedTuple):
    """Hold, for attributes of scenes, how often drawings show them.

    Attributes
    ----------
    table : pandas.DataFrame
        See `truth`.
    own : float array (n_rows,)
        Share of the drawings of the scene itself that show the attribute.
    other : float array (n_rows,)
        The same share of the drawings of all other scenes, for colour and place of those with a thing of the
        same kind. NaN if there is none.
    p : float array (n_rows,)
        Chance that drawings show it as often of one of these scenes where it is not true: the rank of the
        scene among them, which is at least 1 / (number of them + 1).
    """

    table: pd.DataFrame
    own: np.ndarray
    other: np.ndarray
    p: np.ndarray


@functools.cache
def _judges():
    from latentcortex.mini.classical_judge import load_classical_judge
    from latentcortex.mini.networks import load_judge

    return {"judge": load_judge(), "second judge": load_classical_judge()}


@torch.no_grad()
def read(images):
    """Return what both judges read in drawings.

    Parameters
    ----------
    images : tensor (n, 3, 64, 64) in [0, 1]

    Returns
    -------
    dict of str to dict of str to uint8 array (n, ...)
        By judge: ``setting`` and ``time``, indices (n,) into `mini.scenes.SETTINGS` and ``TIMES``, or their
        number for "can't tell"; ``kinds`` (n, n_kinds), 1 for each kind that is named; of the first judge
        ``colours`` and ``places`` (n, n_kinds), indices that mean something only where the kind is named.
    """
    found = {}
    for name, judge in _judges().items():
        answers = {key: torch.as_tensor(of) for key, of in judge(images).items()}
        reading = {key: answers[key].argmax(-1) for key in ("setting", "time")}
        reading["kinds"] = answers["kind"] > 0
        reading |= {f"{key}s": answers[key].argmax(-1) for key in ("colour", "place") if key in answers}
        found[name] = {key: of.numpy().astype(np.uint8) for key, of in reading.items()}
    return found


def flat(found):
    """Return what `read` returns as one dictionary, whose names are those of judge and array."""
    return {f"{judge} {name}": of for judge, reading in found.items() for name, of in reading.items()}


def reading_of(arrays, judge, begin=""):
    """Return one judge's reading from a dictionary whose names are those of `flat`, after a beginning."""
    begin = f"{begin}{judge} "
    return {name.removeprefix(begin): of for name, of in arrays.items() if name.startswith(begin)}


def truth(scenes):
    """Return the attributes of scenes, one row each.

    Parameters
    ----------
    scenes : list of mini.scenes.Scene

    Returns
    -------
    DataFrame
        ``scene`` is the row of the scene, ``attribute`` one of `ATTRIBUTES`, ``kind`` the index of the thing
        that it belongs to (-1 for the whole scene), ``value`` the index of what is true (for ``count`` the
        number of things), and ``text`` the same in words.
    """
    from latentcortex.mini.scenes import COLOURS, KINDS, PLACES, SETTINGS, TIMES

    rows = []
    for k, scene in enumerate(scenes):
        rows.append((k, "setting", -1, SETTINGS.index(scene.setting), scene.setting))
        rows.append((k, "time", -1, TIMES.index(scene.time), scene.time))
        rows.append((k, "count", -1, len(scene.things), f"{len(scene.things)} things"))
        for thing in scene.things:
            kind = KINDS.index(thing.kind)
            rows.append((k, "kind", kind, kind, thing.kind))
            rows.append((k, "colour", kind, list(COLOURS).index(thing.colour), thing.colour))
            rows.append((k, "place", kind, PLACES.index(thing.place), thing.place))
    return pd.DataFrame(rows, columns=["scene", "attribute", "kind", "value", "text"])


def shows(reading, attribute, kind, value):
    """Return whether drawings show an attribute, a bool array of the reading's leading axes.

    Parameters
    ----------
    reading : dict of str to array
        Of one judge, see `read`, with any axes before that of kinds.
    attribute : str
        One of `ATTRIBUTES`, or ``"thing"``, a kind with its colour and its place.
    kind, value : int
        See `truth`. Colour and place count only where the kind is named. The value of a thing is that of its
        colour times the number of places, plus that of its place.
    """
    if attribute == "thing":
        from latentcortex.mini.scenes import COLOURS, PLACES

        if not 0 <= value < len(COLOURS) * len(PLACES):
            raise ValueError(f"A thing has a value from 0 to {len(COLOURS) * len(PLACES) - 1}, got {value}.")
        parts = zip(("colour", "place"), divmod(value, len(PLACES)), strict=True)
        return np.logical_and.reduce([shows(reading, name, kind, of) for name, of in parts])
    if attribute in ("setting", "time"):
        return reading[attribute] == value
    if attribute == "count":
        return reading["kinds"].sum(-1) == value
    named = reading["kinds"][..., kind] > 0
    return named if attribute == "kind" else named & (reading[f"{attribute}s"][..., kind] == value)


def tally(reading, table):
    """Return the `Ledger` of scenes, from several drawings of each.

    Parameters
    ----------
    reading : dict of str to array (n_scenes, n_drawings, ...)
        Of one judge.
    table : DataFrame
        See `truth`. Attributes that the judge does not read are left out.
    """
    n = len(reading["setting"])
    if n < 2 or n != table["scene"].nunique() or table["scene"].max() != n - 1:
        raise ValueError(
            f"Expected drawings of each of {table['scene'].nunique()} scenes, and at least of two, got {n}."
        )
    table = _readable(reading, table)
    with_kind = {kind: rows["scene"].unique() for kind, rows in table.groupby("kind")}
    found = np.empty((3, len(table)))
    for (attribute, kind, value), rows in table.groupby(["attribute", "kind", "value"]).groups.items():
        shares, mine = shows(reading, attribute, kind, value).mean(1), table.loc[rows, "scene"].to_numpy()
        others = with_kind[kind] if attribute in ("colour", "place") else np.arange(n)
        own, n_others = shares[mine], len(others) - 1
        other = (shares[others].sum() - own) / n_others if n_others else np.full(len(own), np.nan)
        wrong = shares[np.setdiff1d(others, mine)]  # scenes where it is not true
        as_often = ((wrong[None, :] >= own[:, None]).sum(1) + 1) / (len(wrong) + 1)
        found[:, rows] = own, other, as_often
    return Ledger(table, *found)


def _readable(reading, table):
    """Return the rows of `truth` whose attributes a judge reads."""
    unread = {"colour", "place"} - {name.removesuffix("s") for name in reading}
    return table[~table["attribute"].isin(unread)].reset_index(drop=True)


def without_brain(reading, table):
    """Return how often drawings without a brain (n, ...) show what the judge reads of `truth` (n_rows,)."""
    table = _readable(reading, table)
    keys = table[["attribute", "kind", "value"]].itertuples(index=False)
    return np.array([shows(reading, *key).mean() for key in keys])


def marks(reading, ledger, scene):
    """Return what one drawing of a scene shows, and where it came from.

    Parameters
    ----------
    reading : dict of str to array
        The first judge's, of this drawing alone: no axis before that of kinds.
    ledger : Ledger
        Of other drawings: a drawing that is counted itself would be evidence of its own.
    scene : int
        Row of the scene.

    Returns
    -------
    DataFrame
        One row for each thing that is in the drawing or in the scene, and for setting and time: ``what``,
        ``shown`` and ``true`` in words, ``place`` (index in the drawing, or in the scene where the thing is
        missing; -1 for the whole scene), and ``mark``. *Decoded* is right, and drawings of the scene show it
        more often than those of 95 in 100 scenes where it is not true. *Guessed* is right, and they do not.
        *Invented* is wrong, and *missing* is a thing that is not drawn, or a setting or time that can't be
        told.
    """
    from latentcortex.mini.scenes import KINDS, SETTINGS, TIMES

    mine = ledger.table["scene"] == scene
    if not mine.any():
        raise ValueError(
            f"The ledger has no scene {scene}, but those from 0 to {ledger.table['scene'].max()}."
        )
    table, p = ledger.table[mine], ledger.p[mine.to_numpy()]
    rows = []
    for row, chance in zip(table.itertuples(), p, strict=True):
        right = bool(shows(reading, row.attribute, row.kind, row.value))
        mark = ("decoded" if chance <= LEVEL else "guessed") if right else "invented"
        if row.attribute in ("setting", "time"):
            names = SETTINGS if row.attribute == "setting" else TIMES
            index = int(reading[row.attribute])
            if index == len(names):
                rows.append((row.attribute, "", row.text, -1, "missing"))
                continue
            shown = names[index]
            rows.append((row.attribute, shown, row.text, -1, mark))
        elif row.attribute == "kind":
            true_place = table[(table["attribute"] == "place") & (table["kind"] == row.kind)]["value"].item()
            place = int(reading["places"][row.kind]) if right else true_place
            rows.append(("thing", row.text if right else "", row.text, place, mark if right else "missing"))
    true = set(table.loc[table["attribute"] == "kind", "kind"])
    for kind in np.flatnonzero(reading["kinds"]):
        if kind not in true:
            rows.append(("thing", KINDS[kind], "", int(reading["places"][kind]), "invented"))
    return pd.DataFrame(rows, columns=["what", "shown", "true", "place", "mark"])


def made(reading, attribute):
    """Return which statements of one sort drawings make.

    Such as "there is a red car", for each colour and kind.

    Parameters
    ----------
    reading : dict of str to array (n_scenes, n_drawings, ...)
    attribute : {"setting", "time", "kind", "colour", "place", "thing"}
        A ``"thing"`` is a kind with its colour and its place, such as "there is a red car on the left".

    Returns
    -------
    bool array (n_scenes, n_drawings, n_statements)
    """
    return np.stack([shows(reading, attribute, *key) for key in _statements(reading, attribute)], axis=2)


def statements(reading, scenes, attribute):
    """Return all statements of one sort about scenes, how many drawings make them, and which are true.

    Parameters
    ----------
    reading, attribute
        See `made`.
    scenes : list of n_scenes mini.scenes.Scene

    Returns
    -------
    counts : int array (n_scenes, n_statements)
        Number of drawings that make the statement.
    is_true : bool array (n_scenes, n_statements)
    """
    from latentcortex.mini.scenes import PLACES

    counts = made(reading, attribute).sum(1)
    if not scenes or len(scenes) != len(counts):
        raise ValueError(
            f"Expected the scenes of {len(counts)} drawn images, at least one, got {len(scenes)}."
        )
    at = {key: k for k, key in enumerate(_statements(reading, attribute))}
    is_true = np.zeros(counts.shape, bool)
    of = truth(scenes).pivot(index=["scene", "kind"], columns="attribute", values="value")
    if attribute == "thing":
        of["thing"] = of["colour"] * len(PLACES) + of["place"]
    for (scene, kind), value in of[attribute].dropna().items():
        is_true[scene, at[kind, int(value)]] = True
    return counts, is_true


def _statements(reading, attribute):
    """Return kind and value of all statements of one sort that a judge can make."""
    from latentcortex.mini.scenes import COLOURS, KINDS, PLACES, SETTINGS, TIMES

    sizes = {"setting": len(SETTINGS), "time": len(TIMES), "kind": len(KINDS), "colour": len(COLOURS)}
    sizes |= {"place": len(PLACES), "thing": len(COLOURS) * len(PLACES)}
    read = {name.removesuffix("s") for name in reading}
    known = [name for name in sizes if name in read or (name == "thing" and {"colour", "place"} <= read)]
    if attribute not in known:
        raise ValueError(
            f"Expected statements about {', '.join(known)}, which the judge reads, got {attribute!r}."
        )
    if attribute in ("setting", "time"):
        return [(-1, value) for value in range(sizes[attribute])]
    if attribute == "kind":
        return [(kind, kind) for kind in range(len(KINDS))]
    return [(kind, value) for kind in range(len(KINDS)) for value in range(sizes[attribute])]
