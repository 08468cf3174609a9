"""Turn scores of images into a table, a text and a figure."""

import io
import platform
from importlib.metadata import version
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

import latentcortex
from latentcortex import metrics

INTERVALS, SHOWN = 3, 4  # what a seed is for
N_SHOWN = 8  # images in the picture
N_COLUMNS = 8  # scores in a table
RESULT = "reconstructions"
# how to get what a score lacks, where it is no network
HINTS = {"groups": "--groups CSV", "mean training image": "--training FOLDER"}
STYLES = {
    RESULT: ("o", "#0072b2"),
    "blurred truth": ("s", "#d55e00"),
    "shuffled": ("D", "#777777"),
    "mean training image": ("^", "#009e73"),
    "random training images": ("v", "#cc79a7"),
}
LIBRARIES = ("numpy", "scipy", "scikit-image", "torch", "torchvision", "open_clip_torch", "pillow")


class Scored(NamedTuple):
    """Hold what was scored, and the scores."""

    ids: list
    protocols: list  # (Protocol with the scores that were computed, what the others lacked by name)
    scores: dict  # arrays (n,) by protocol, row and score; undefined ones are not there
    consistency: dict  # (among, to_truth), arrays (n,) by what is compared
    notes: list
    seed: int

    def rng(self):
        """Return a generator that draws the same images for every interval."""
        return np.random.default_rng([self.seed, INTERVALS])

    def interval(self, protocol, row, name):
        """Return the `Interval` of a score, or None if it is undefined."""
        values = self.scores[protocol.name][row].get(name)
        return None if values is None else metrics.bootstrap_mean(values, self.rng())

    def difference(self, protocol, row, name):
        """Return the `Interval` of reconstructions minus a baseline, or None if it is undefined."""
        a, b = (self.scores[protocol.name][which].get(name) for which in (RESULT, row))
        return None if b is None else metrics.paired_difference(a, b, self.rng())


def table(scored):
    """Return a table with a line per image and row, with columns id, row, PROTOCOL/SCORE, consistency."""
    rows = list(next(iter(scored.scores.values())))
    parts = []
    for row in rows:
        columns = {"id": scored.ids, "row": row}
        for protocol, _ in scored.protocols:
            values = scored.scores[protocol.name][row]
            columns |= {
                f"{protocol.name}/{one.name}": values.get(one.name, np.nan) for one in protocol.scores
            }
        for name, (among, to_truth) in scored.consistency.items():
            columns[f"{name}, among drawings"] = among if row == RESULT else np.nan
            columns[f"{name}, drawings to truth"] = to_truth if row == RESULT else np.nan
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def cell(interval):
    """Return an interval as text, such as "0.812 [0.790, 0.835]"."""
    return "undefined" if interval is None else f"{interval:z.3f}"


def lines_of(header, rows):
    """Return the lines of a Markdown table from a header and rows, each a list of texts."""
    return ["| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *rows)]


def score_table(scored, protocol, scores):
    """Return the lines of a table with one column for each of the chosen scores of a protocol."""
    body = [
        [row, *(cell(scored.interval(protocol, row, one.name)) for one in scores)]
        for row in scored.scores[protocol.name]
    ]
    body += [
        [f"{RESULT} minus {row}", *(cell(scored.difference(protocol, row, one.name)) for one in scores)]
        for row in ("shuffled", "blurred truth")
    ]
    body += [
        ["chance", *("-" if one.chance is None else f"{one.chance:g}" for one in scores)],
        ["equal images", *(f"{one.best:g}" for one in scores)],
        ["better is", *("lower" if one.best == 0 else "higher" for one in scores)],
        ["identification by", *(one.direction if one.compare == "identification" else "-" for one in scores)],
    ]
    return [*lines_of(["row", *(one.name for one in scores)], body), ""]


def protocol_text(scored, protocol, lacking):
    """Return the lines of the section of one protocol."""
    # Few columns at a time: mini's twenty would not fit on a page.
    n_tables = -(-len(protocol.scores) // N_COLUMNS)
    parts = np.array_split(np.arange(len(protocol.scores)), n_tables)
    tables = [score_table(scored, protocol, [protocol.scores[k] for k in part]) for part in parts]
    text = [
        f"## {protocol.name}",
        "",
        f"Source: {protocol.source}.",
        "",
        f"Means over n = {len(scored.ids)} images, in brackets 95 % intervals (bootstrap over "
        "images, 2000 resamples, against a fixed gallery). Differences are paired by image. "
        "Identification by reconstruction asks whether a reconstruction is closer to its own "
        "original than to another; by original, whether its own reconstruction is closer.",
        "",
        *(line for lines in tables for line in lines),
    ]
    if lacking:
        text += ["Left out:", ""]
        for name, what in lacking.items():
            hint = f"{what}.safetensors in --weights FOLDER, or --download"
            if " of " in what:  # a layer
                hint = "weights that hold it in --weights FOLDER"
            text.append(f"- {name}: needs {what} ({HINTS.get(what, hint)}).")
        text.append("")
    return text


def consistency_text(scored):
    """Return the lines on how far several drawings agree."""
    if not scored.consistency:
        return []
    body = [
        [name, *(cell(metrics.bootstrap_mean(values, scored.rng())) for values in both)]
        for name, both in scored.consistency.items()
    ]
    return [
        "## Repeat consistency",
        "",
        f"Mean correlation over the drawings of an image, n = {len(scored.ids)}. The first column "
        "alone says nothing: drawings that collapsed to one picture agree perfectly.",
        "",
        *lines_of(["compared by", "among drawings", "drawings to truth"], body),
        "",
    ]


def markdown(scored):
    """Return the report as Markdown."""
    n = len(scored.ids)
    rows = {
        RESULT: "what was handed in",
        "shuffled": "the reconstructions, each handed to another original (one shuffle, which "
        "leaves none its own: identification then lies a little below chance)",
        "blurred truth": "originals blurred by a Gaussian of a sixteenth of their width: what "
        "knowing where it is light gives",
        "mean training image": "the mean of the training images for every original",
        "random training images": "a training image at random for every original, none twice",
    }
    made = next(iter(scored.scores.values()))
    text = [
        "# Scores of reconstructions",
        "",
        *(f"- {note}" for note in scored.notes),
        f"- Seed {scored.seed}. latentcortex {latentcortex.__version__}, Python "
        f"{platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in LIBRARIES) + ".",
        "",
        "Scores of different protocols can't be compared, not even where they have one name. "
        f"Identification depends on the distractors, here the other {n - 1} images (or those of "
        "the same group), and so on which images they are and on n: it can't be compared with that "
        "of other images.",
        "",
        *lines_of(["row", "what it is"], [[row, rows[row]] for row in made]),
        "",
    ]
    for protocol, lacking in scored.protocols:
        text += protocol_text(scored, protocol, lacking)
    return "\n".join([*text, *consistency_text(scored)])


def picture(scored, originals, drawings):
    """Return a figure of some originals and first drawings above the scores, as the bytes of a PNG."""
    labels = "original", "reconstruction" if drawings.shape[1] == 1 else "first drawing"
    n = len(scored.ids)
    rng = np.random.default_rng([scored.seed, SHOWN])
    shown = np.sort(rng.choice(n, min(n, N_SHOWN), replace=False))
    shape = originals.shape[2] / originals.shape[3]
    pictures = 2 * shape * 8.4 / max(len(shown), 4) + 0.6
    panels = [0.42 * len(protocol.scores) + 1.0 for protocol, _ in scored.protocols]
    figure = Figure(figsize=(9, pictures + sum(panels) + 0.4), layout="constrained", dpi=150)
    top, *below = figure.subfigures(
        1 + len(panels), 1, height_ratios=[pictures, panels[0] + 0.4, *panels[1:]], squeeze=False
    )[:, 0]
    top.suptitle(
        f"{len(shown)} of {n} images, drawn at random (seed {scored.seed}), not the best ones", fontsize=11
    )
    axes = top.subplots(2, len(shown), squeeze=False)
    for name, images, row in zip(labels, (originals, drawings), axes, strict=True):
        for k, ax in zip(shown, row, strict=True):
            ax.imshow(images[k : k + 1].flatten(0, -4)[0].permute(1, 2, 0).numpy())
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
            if name == "original":
                ax.set_title(f"id {scored.ids[k]}", fontsize=8)
        row[0].set_ylabel(name, fontsize=9)
    for k, (panel, (protocol, _)) in enumerate(zip(below, scored.protocols, strict=True)):
        ax = panel.subplots()
        draw_scores(ax, scored, protocol)
        if k == 0:
            handles, names = ax.get_legend_handles_labels()
            panel.legend(
                handles,
                names,
                loc="outside upper center",
                ncols=len(names),
                frameon=False,
                fontsize=8,
                columnspacing=1,
            )
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def draw_scores(ax, scored, protocol):
    """Draw the mean and interval of every score, for reconstructions next to the baselines."""
    rows = [row for row in STYLES if row in scored.scores[protocol.name]]
    places = np.arange(len(protocol.scores))
    for k, row in enumerate(rows):
        marker, colour = STYLES[row]
        found = [scored.interval(protocol, row, one.name) for one in protocol.scores]
        defined = [at for at, one in enumerate(found) if one is not None]
        mean, low, high = np.array([found[at][:3] for at in defined]).reshape(-1, 3).T
        y = places[defined] + (k - (len(rows) - 1) / 2) * 0.15
        ax.hlines(y, low, high, color=colour, lw=1.5)
        ax.plot(mean, y, marker, color=colour, ms=6 if row == RESULT else 4, label=row)
    chances = [(at, one.chance) for at, one in enumerate(protocol.scores) if one.chance is not None]
    for k, (at, chance) in enumerate(chances):
        ax.vlines(chance, at - 0.45, at + 0.45, color="k", lw=1, ls=":", label=None if k else "chance")
    ax.hlines(places[1:] - 0.5, 0, 1, transform=ax.get_yaxis_transform(), color="0.9", lw=0.8)
    ax.set_yticks(places, [one.name + " (lower is better)" * (one.best == 0) for one in protocol.scores])
    ax.set_ylim(len(places) - 0.5, -0.5)
    left, right = ax.get_xlim()
    ax.set_xlim(min(left, -0.02), max(right, 1.02))
    ax.set_xlabel(f"score, mean and 95 % interval over {len(scored.ids)} images")
    ax.set_title(f"Protocol {protocol.name}", fontsize=10, loc="left")
    ax.spines[["top", "right"]].set_visible(False)
