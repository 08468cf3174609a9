"""Pair the pictures of two folders, and note what a reader must know about them before any score."""

import numpy as np
import pandas as pd

from latentcortex import metrics
from latentcortex.scorecard import folders, numbering
from latentcortex.scorecard.folders import Pictures
from latentcortex.scorecard.names import some


def find_pictures(args):
    """Return the ids of both sides, originals and drawings (both `Pictures`), and notes for the report."""
    patterns = args.id or [None]
    truths, stray, shown = folders.list_by_id(args.originals, pattern=patterns[0])
    drawn, more, drawn_shown = folders.list_by_id(args.reconstructions, True, patterns[-1])
    numbered = []
    if args.tree is not None:
        truths, drawn, note = numbering.as_image_ids(
            args.tree, args.numbering or (), truths, drawn, args.only_common
        )
        numbered = [note]
    ids, left_out = folders.match(truths, drawn, args.only_common)
    originals = Pictures([truths[k][0] for k in ids])
    shape = originals.own
    if "mini" in args.protocol and shape != (64, 64):
        raise ValueError(
            f"The networks of --protocol mini see 64 x 64 pixels, the originals have {shape[0]} x "
            f"{shape[1]}: resize them, or choose another protocol."
        )
    as_they_are = any(
        one.view.size is None and protocol.first.size is None
        for protocol in (metrics.PROTOCOLS[name] for name in args.protocol)
        for one in protocol.scores
    )
    drawings = Pictures([drawn[k] for k in ids], shape if as_they_are else None)
    notes = [
        f"{len(ids)} originals of {shape[0]} x {shape[1]} pixels from `{args.originals}`; reconstructions of "
        f"{drawings.own[0]} x {drawings.own[1]} from `{args.reconstructions}`, drawings of each: "
        f"{drawings.shape[1]}.",
        f"Ids are read in [brackets], numbers of drawings in (parentheses): originals {some(shown)}; "
        f"reconstructions {some(drawn_shown)}.",
        *numbered,
        *resized("Reconstructions", drawings),
        *(
            f"Left out, for there is {side}: {len(which)} ids ({', '.join(map(str, which))})."
            for side, which in left_out.items()
            if which
        ),
        *strays([*stray, *more]),
    ]
    return ids, originals, drawings, notes


def resized(what, pictures):
    """Return notes on pictures that were resized, if any."""
    own, shape = pictures.own, pictures.shape[-2:]
    if own == shape:
        return []
    squashed = ", which squashed them" if own[0] * shape[1] != own[1] * shape[0] else ""
    return [
        f"{what} were resized from {own[0]} x {own[1]} to {shape[0]} x {shape[1]} pixels (bilinear "
        f"interpolation, antialiased){squashed}."
    ]


def strays(paths):
    """Return notes on files that were not used."""
    return [f"Not used: {', '.join(f'`{path}`' for path in paths)}."] if paths else []


def look_through(ids, originals, drawings):
    """Return notes on all pictures, after reading each once, so that faults are found first."""
    (true, thumbnails, _), (pred, drawn, _) = folders.survey(originals), folders.survey(drawings)
    notes = []
    for what, hashes in {"originals": true, "reconstructions": pred}.items():
        found = {}
        for image_id, row in zip(ids, hashes, strict=True):
            for digest in set(row):
                found.setdefault(digest, []).append(image_id)
        alike = [f"ids {some(which)}" for which in found.values() if len(which) > 1]
        if alike:
            notes.append(f"Identical {what}, which nothing can tell apart: {some(alike)}.")
    copies = [k for k, (one,), row in zip(ids, true, pred, strict=True) if one in row]
    if copies:
        notes.append(f"Reconstructions that equal their originals pixel by pixel: ids {some(copies)}.")
    for what, side in {"originals": originals, "reconstructions": drawings}.items():
        n_lossy = sum(path.suffix.lower() in folders.JPEG for path in side.paths.flat)
        if n_lossy:
            notes.append(
                f"{n_lossy} {what} are JPEG, which is lossy: saved without loss they would score otherwise."
            )
    return notes + shifted(ids, thumbnails, drawn)


def shifted(ids, true, pred):
    """Return a note if thumbnails (n, p) fit the originals of neighbouring ids much better."""
    ids, centre = np.array(ids), true.mean(axis=0)
    true, pred = (
        (side - centre) / np.linalg.norm(side - centre, axis=1, keepdims=True) for side in (true, pred)
    )
    for step, words in {1: "one higher", -1: "one lower"}.items():
        rows = np.flatnonzero(np.isin(ids + step, ids))
        other = np.array([np.flatnonzero(ids == ids[row] + step)[0] for row in rows], dtype=int)
        gain = (true[rows] * (pred[other] - pred[rows])).sum(axis=1)
        # Five standard errors: fewer than one in a hundred folders of unrelated pictures are that far.
        if len(gain) >= 5 and gain.mean() > max(0.1, 5 * gain.std(ddof=1) / np.sqrt(len(gain))):
            own = (true[rows] * pred[rows]).sum(axis=1).mean()
            return [
                f"LOOK: originals fit the reconstructions whose ids are {words} much better (correlation "
                f"of thumbnails {own + gain.mean():.2f} instead of {own:.2f}). Is one folder numbered from 0 "
                "and the other from 1? Then rename the files of one, or these scores are of wrong pairs."
            ]
    return []


def read_groups(path, ids):
    """Return the group of each id, array (n,) of str; every group must have at least two members."""
    table = pd.read_csv(path, keep_default_na=False, dtype=str)
    if not {"id", "group"} <= set(table):
        raise ValueError(f"Expected columns id and group in {path}, got {list(table)}.")
    wrong = [text for text in table["id"] if not text.strip().isdecimal()]
    if wrong:
        raise ValueError(f"{path} has ids that are no whole numbers: {some(wrong)}.")
    table = table.assign(id=table["id"].astype(int))
    twice, group = table["id"][table["id"].duplicated()], dict(zip(table["id"], table["group"], strict=True))
    missing = [k for k in ids if not group.get(k)]
    if len(twice) or missing:
        raise ValueError(
            f"Expected one group for every id in {path}. Twice: {some(twice) or 'none'}. "
            f"Without a group: {some(missing) or 'none'}."
        )
    groups = [group[k] for k in ids]
    alone = [k for k in ids if groups.count(group[k]) == 1]
    if alone:
        raise ValueError(
            f"Ids {some(alone)} are alone in their groups, with none to be told from: merge some in {path}."
        )
    return np.array(groups)
