"""Make the tables of the recovery benchmark, for readers and for the command ``latentcortex recover``."""

import shutil
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd

from latentcortex import presets, store
from latentcortex.studies import results
from latentcortex.studies.recovery import load_method, rehearse
from latentcortex.studies.recovery_methods import METHODS, Method
from latentcortex.studies.recovery_own import collect, realised
from latentcortex.studies.recovery_scores import AGREEMENT_AT, PLACES, REFERENCE_NOISE, WIDER
from latentcortex.studies.recovery_worlds import NOISE, OUTSIDE, SEEDS, WORLDS, Sizes
from latentcortex.studies.study import open_study

SCRIPT = "ch13_recover_maps"
# What a claim about early minus ventral cortex must do in each world.
EXPECTED = {"standard": 1, "swapped": -1, "uniform": 0, "null": 0, "correlated": 1}


def add_arguments(parser):
    """Add the arguments of ``latentcortex recover``."""
    parser.add_argument("method", metavar="MODULE:FUNCTION", help="or path/to/file.py:function")
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=WORLDS, metavar="WORLD")
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS, metavar="SEED")
    parser.add_argument(
        "--noise", nargs="+", type=float, default=NOISE, metavar="FACTOR", help="of the planted ncsnr"
    )
    parser.add_argument(
        "--sets", choices=("spaces", "layers"), default="spaces", help="the features that it is given"
    )
    parser.add_argument(
        "--fresh",
        action="store_true",
        help="compute again: what the method reads, besides its code, has changed",
    )


def run(args, sizes=None):
    """Print and return the tables of a reader's method next to the built-in methods.

    Parameters
    ----------
    args : argparse.Namespace
        See `add_arguments`.
    sizes : recovery_worlds.Sizes, optional
        Sizes of a cell. The built-in methods are read from the product only if these are the default sizes.

    Returns
    -------
    tables : tuple of list of tuple of str
        The printed rows of `tabulate`, `by_region` and `by_world`.
    """
    for name, values, lowest in (("--seeds", args.seeds, 0), ("--noise", args.noise, 1e-6)):
        if not all(lowest <= value < np.inf for value in values):
            raise ValueError(
                f"{name} must be at least {lowest} and finite; got {', '.join(map(str, values))}."
            )
    method = load_method(args.method)
    rehearse(method, args.method, ("z", "c") if args.sets == "spaces" else ("g1", "g2", "g3"))
    study = open_study(presets.get("mini"), Path(store.cache_folder()))  # no tree is read
    own, sizes_asked = Method(method, args.sets, args.method, "yours"), Sizes() if sizes is None else sizes
    found = {Path(args.method).name: collect(study, own, args, sizes_asked)}
    product = None if sizes is not None else shipped()
    if product is not None:
        found |= {METHODS[name].name: of for name, of in of_product(product, args).items()}
    correlated = realised(study, args.worlds, args.seeds, sizes_asked)
    tables = (
        tabulate(found, args.worlds),
        by_region(found, args.worlds),
        by_world(found, args.worlds, correlated),
    )
    for rows, legend in zip(tables, LEGENDS, strict=True):
        _print(rows, legend)
    if sizes is None and product is None:
        print(f"No product of this code holds the built-in methods: 'latentcortex run {SCRIPT}' makes it.")
    return tables


def _print(rows, legend):
    """Print a table and what its words mean, both no wider than the terminal."""
    width = shutil.get_terminal_size((100, 24)).columns
    (name, *columns), *lines = rows
    table = pd.DataFrame([line[1:] for line in lines], [line[0] for line in lines], columns)
    print(f"{name}\n{table.to_string(line_width=width)}\n")
    for text in legend:
        print(textwrap.fill(text, width, subsequent_indent="  "))
    print()


LEGENDS = (
    (
        "recovery: rank correlation of the map with the planted mixture, in 'standard'",
        "of truth: the same as a share of what the method reaches on the planted variables themselves",
        "right, wrong: share of clearly tuned vertices that are called with their own sign, or with the "
        "other",
        "outside: share of vertices called where nothing is planted, outside visual cortex and everywhere in "
        "'null'",
        "covered, at vertices: how often 95 % intervals hold the value that the same map gets from many more "
        "test images, of differences of two regions and of single vertices (at noise "
        f"{REFERENCE_NOISE:g}, not in 'null')",
        "worlds: in how many cells the interval of early minus ventral cortex lies above 0 ('swapped': "
        "below; 'uniform' and 'null': covers 0). Cells of one seed share images and noise, and 'null' "
        "has one noise level. Without intervals the sign alone counts, and a dash stands for 'uniform' and "
        "'null'",
    ),
    (
        "By region in 'standard': right/wrong, in percent of the clearly tuned vertices, as in the first "
        "table; a dash where no vertex is. Outside visual cortex: called, in percent of all",
    ),
    (
        "Agreement: share of vertices with the same winner, or the same sign, when the features are reduced "
        f"by another random projection (at noise {AGREEMENT_AT[0]:g}, seed {AGREEMENT_AT[1]})",
        "Last rows, over the images of each world: the share of the variance of semantic variables that "
        "low-level variables explain, and the mean |r| of the two terms of a vertex",
    ),
)


def shipped():
    """Return the product of the built-in methods if it belongs to this code, otherwise None."""
    for folder in results.folders():
        for path in sorted(folder.glob(f"{SCRIPT}-mini-*.npz")):
            script = results.shipped_folder("data_scripts") / f"{SCRIPT}.py"
            if not results.state(path, {SCRIPT: script}).startswith(("no", "damaged")):
                return results.Product(SCRIPT, path)
    return None


def of_product(product, args):
    """Return the arrays of each built-in method with the sets asked for, as `collect` does.

    The result is empty if the product lacks the worlds, noise levels or seeds asked for.
    """
    axes, names = product.provenance, ("worlds", "noise", "seeds")
    asked = [list(getattr(args, name)) for name in names]
    if not all(set(of) <= set(axes[name]) for name, of in zip(names, asked, strict=True)):
        return {}
    places = np.ix_(*([axes[n].index(one) for one in of] for n, of in zip(names, asked, strict=True)))
    return {
        name: {key: of[places][:, :, :, k] for key, of in product.arrays.items() if key != "realised"}
        for k, name in enumerate(axes["methods"])
        if METHODS[name].sets == args.sets
    }


def tabulate(found, worlds):
    """Return the rows of the first table as texts, starting with the heading.

    Parameters
    ----------
    found : dict of str to dict
        Arrays by method, as `collect` returns them.
    worlds : sequence of str
        Names along the first axis of the arrays.
    """
    numbers = ("recovery", "of truth", "right", "wrong", "outside", "covered", "at vertices")
    rows = [("method", *numbers, *worlds, "seconds")]
    for name, arrays in found.items():
        summary = summarise(arrays, worlds)
        verdicts = ["-" if summary[w][0] < 0 else "{} of {}".format(*summary[w]) for w in worlds]
        rows.append(
            (name, *(_words(summary[key]) for key in numbers), *verdicts, f"{summary['seconds']:.1f}")
        )
    return rows


def _words(value):
    return f"{value:.2f}" if np.isfinite(value) else "-"


def by_region(found, worlds):
    """Return the rows of the second table, with correct and wrong calls of each method by region.

    The calls are those in ``standard``. There are dashes if this is not among the worlds. Parameters are
    those of `tabulate`.
    """
    rows, worlds = [("method", *PLACES)], list(worlds)
    for name, arrays in found.items():
        cells = ["-"] * len(PLACES)
        if "standard" in worlds:
            k = worlds.index("standard")
            counts = ("n_clear", "n_right", "n_wrong", "n_called", "n_vertices")
            clear, right, wrong, called, size = (
                arrays[count][k][..., 0, :].reshape(-1, len(PLACES)).sum(0) for count in counts
            )
            pairs = zip(clear, right, wrong, strict=True)
            cells = [f"{100 * r / n:.0f}/{100 * w / n:.0f}" if n else "-" for n, r, w in pairs]
            place = PLACES.index(OUTSIDE)
            cells[place] = f"{100 * called[place] / size[place]:.0f}"
        rows.append((name, *cells))
    return rows


def by_world(found, worlds, correlated):
    """Return the rows of the third table, with agreement over projections and realised correlation.

    Parameters
    ----------
    found, worlds
        As in `tabulate`.
    correlated : array (n_worlds, 2)
        Result of `recovery_own.realised`.
    """
    rows = [("agreement over projections", *worlds)]
    for name, arrays in found.items():
        cells = arrays["agreement"].reshape(len(worlds), -1)
        rows.append((name, *(_words(np.append(of[np.isfinite(of)], np.nan)[0]) for of in cells)))
    names = "semantic explained by low-level", "|r| of the two terms"
    return [
        *rows,
        *((name, *map(_words, of)) for name, of in zip(names, np.transpose(correlated), strict=True)),
    ]


def summarise(arrays, worlds):
    """Return summary numbers of one method over its cells.

    Returns
    -------
    dict
        ``recovery`` and ``of truth`` are those in ``standard``. ``right`` and ``wrong`` are shares of the
        clearly tuned vertices in ``standard``. ``outside`` is the share of vertices called where nothing is
        planted, in any world. ``covered`` and ``at vertices`` come from `coverage`, over all worlds that have
        a reference. ``seconds`` is the time. For each world there are the number of cells that are as
        `EXPECTED` and the number of cells. The former is -1 if the method has no intervals.
    """
    worlds = list(worlds)
    place, null = PLACES.index(OUTSIDE), worlds.index("null") if "null" in worlds else None
    n_called, size = arrays["n_called"][..., 0, :], arrays["n_vertices"].reshape(-1, len(PLACES))[0]
    outside = [n_called[..., place].mean() / size[place]]
    if null is not None:
        outside.append(n_called[null].sum(-1).mean() / size.sum())
    summary = {"outside": float(np.mean(outside)), "seconds": float(arrays["seconds"][..., 0].mean())}
    summary |= dict.fromkeys(("recovery", "of truth", "right", "wrong"), np.nan)
    summary["covered"], summary["at vertices"] = coverage(arrays)
    if "standard" in worlds:
        k = worlds.index("standard")
        given, truth = np.moveaxis(arrays["spearman"][k], -1, 0)
        summary["recovery"], summary["of truth"] = given.mean(), given.mean() / truth.mean()
        n_clear = arrays["n_clear"][k][..., 0, :].sum()
        for name in ("right", "wrong"):
            summary[name] = arrays[f"n_{name}"][k][..., 0, :].sum() / n_clear if n_clear else np.nan
    for k, world in enumerate(worlds):
        difference, error = (arrays[n][k][..., 0, 0] for n in ("difference", "standard_error"))
        if world == "null":  # without a signal all noise levels are one
            difference, error = difference[:1], error[:1]
        found = np.where(np.abs(difference) > 1.96 * error, np.sign(difference), 0)
        known = np.isfinite(error).all()
        if not known:
            found = np.sign(difference)
        n_right = int((found == EXPECTED[world]).sum())
        summary[world] = (n_right if known or EXPECTED[world] else -1, found.size)
    return summary


def coverage(arrays):
    """Return how often 95 % intervals over test images contain the value over many more test images.

    Parameters
    ----------
    arrays : dict of str to array
        As in `collect`. NaN if a method has no intervals or a cell has no reference.

    Returns
    -------
    of_pairs, of_vertices : float, in [0, 1]
        Coverage of differences between two regions, and of single vertices of visual cortex. NaN if there are
        none.
    """
    difference, error = (arrays[f"pair_{of}"][..., 0, :] for of in ("difference", "error"))
    distance = np.abs(difference - arrays["pair_reference"])
    known = np.isfinite(distance) & np.isfinite(error)
    visual = [place != OUTSIDE for place in PLACES]
    n_asked, n_covered = (np.nansum(arrays[name][..., visual]) for name in ("n_asked", "n_covered"))
    of_pairs = (distance <= 1.96 * WIDER * error)[known].mean() if known.any() else np.nan
    return float(of_pairs), float(n_covered / n_asked) if n_asked else np.nan
