"""Sliders over studies that were simulated beforehand: how often each would find what is there."""

import html
import json
from pathlib import Path

import numpy as np
from IPython.display import HTML

from .checks import check_first, check_texts

FOLDER = Path(__file__).parent
SHARES = ("found", "right", "low", "high")


def study_planner(chances, factors, findings, hours, *, title, first=None, finding=0, ticks=None):
    """Return a widget in which readers plan a study and see the chance that it finds what is there.

    The first factor is the number of subjects, the second how long each is scanned: the curve runs along it.
    Sliders and radio buttons are the browser's own, so arrow keys and Tab work. Nothing is requested from
    anywhere. Where no script runs, the chance of the first design stands there.

    Parameters
    ----------
    chances : dict of str to array (n_findings, n_first, n_second, ...)
        ``"found"`` and ``"right"``, shares of the studies; ``"low"`` and ``"high"``, the ends of the interval
        of what is shown; ``"exaggeration"``, NaN where it is not known.
    factors : dict of str to sequence
        The values of each factor by its name, in the order of the axes of `chances`. Those of the first are
        whole numbers.
    findings : dict of str to bool
        What may be found, and whether it is planted: where it is not, what is found is a false alarm.
    hours : sequence of float
        Of scanning for one subject, for each value of the second factor.
    title : str
    first : sequence of int, optional
        Where each slider stands first. Default: at its first value.
    finding : int
        The finding that is chosen first.
    ticks : sequence of str, optional
        Short labels of the second factor below the curve. Default: its values.

    Returns
    -------
    IPython.display.HTML

    Raises
    ------
    ValueError
        For missing chances, shapes that do not fit, shares outside [0, 1], hours or ticks of another number,
        a place that is none, or a missing title.
    """
    check_texts({"title": title})
    labels = [[str(value) for value in values] for values in factors.values()]
    shape = (len(findings), *map(len, labels))
    if len(labels) < 2 or min(shape, default=0) < 1:
        raise ValueError(f"Expected at least two factors and a finding, each with values; got {shape}.")
    given = _checked(chances, shape)
    places = [0] * len(labels) if first is None else list(first)
    if len(places) != len(labels):
        raise ValueError(f"first: expected a place for each of {len(labels)} factors, got {len(places)}.")
    for place, of in zip(places, labels, strict=True):
        check_first(place, len(of))
    check_first(finding, len(findings), "finding")
    ticks = labels[1] if ticks is None else [str(tick) for tick in ticks]
    for name, of in (("hours", hours), ("ticks", ticks)):
        if len(of) != shape[2]:
            raise ValueError(f"{name}: expected {shape[2]}, one for each {list(factors)[1]}; got {len(of)}.")
    rows = {name: of.reshape(len(findings), -1) for name, of in given.items()}
    setup = {
        "factors": [{"name": name, "labels": of} for name, of in zip(factors, labels, strict=True)],
        "findings": [{"label": name, "planted": bool(planted)} for name, planted in findings.items()],
        "cells": [[_cell(rows, k, at) for at in range(rows["found"].shape[1])] for k in range(len(findings))],
        "hours": [float(of) for of in hours],
        "ticks": ticks,
        "first": [int(place) for place in places],
        "finding": int(finding),
        "subjects": 0,
        "along": 1,
    }
    return HTML(_page(setup, title, places))


def _checked(chances, shape):
    missing = {*SHARES, "exaggeration"} - set(chances)
    if missing:
        raise ValueError(f"chances: {', '.join(sorted(missing))} missing.")
    given = {name: np.asarray(chances[name], float) for name in (*SHARES, "exaggeration")}
    for name, of in given.items():
        if of.shape != shape:
            raise ValueError(f"{name}: expected the shape {shape} of findings and factors; got {of.shape}.")
        if name in SHARES and not ((of >= 0) & (of <= 1)).all():
            raise ValueError(f"{name}: expected shares from 0 to 1; got {of.min():g} to {of.max():g}.")
    return given


def _cell(rows, finding, at):
    cell = {name: round(float(rows[name][finding, at]), 3) for name in SHARES}
    size = float(rows["exaggeration"][finding, at])
    return {**cell, "exaggeration": round(size, 2) if np.isfinite(size) else None}


def _page(setup, title, places):
    first = int(np.ravel_multi_index(places, [len(of["labels"]) for of in setup["factors"]]))
    design = ", ".join(
        f"{of['name']} {of['labels'][k]}" for of, k in zip(setup["factors"], places, strict=True)
    )
    still = ""
    for one, of in zip(setup["findings"], setup["cells"], strict=True):
        name, words = ("right", "found and right") if one["planted"] else ("found", "false alarms")
        still += f"<li>{html.escape(one['label'])}: {words} {100 * of[first][name]:.0f} %</li>"
    title = html.escape(title)
    return (
        f'<div class="latentcortex-planner" role="group" aria-label="{title}" '
        f'data-setup="{html.escape(json.dumps(setup))}">'
        f"<style>{(FOLDER / 'planner.css').read_text('utf-8')}</style>"
        f'<div class="lcp-title">{title}</div><div class="lcp-live"></div>'
        f'<div class="lcp-still"><p>{html.escape(design)}</p><ul>{still}</ul></div>'
        "<noscript><p>With scripts switched on, other designs can be chosen; in JupyterLab, once the "
        "notebook is trusted or the cell is run.</p></noscript></div>"
        f"<script>(() => {{\n'use strict';\n{(FOLDER / 'planner.js').read_text('utf-8')}\n}})();</script>"
    )
