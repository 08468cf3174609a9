"""The table of the recovery benchmark: for readers, and by the command ``latentcortex recover``."""

import copy
import dataclasses
import hashlib
import inspect
import warnings
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from latentcortex import presets, store
from latentcortex.studies import keys, results
from latentcortex.studies.kept import Shelf
from latentcortex.studies.recovery import ask, load_method, rehearse
from latentcortex.studies.recovery_methods import METHODS, Method
from latentcortex.studies.recovery_scores import PLACES, cell_rows, score_method
from latentcortex.studies.recovery_worlds import NOISE, OUTSIDE, SEEDS, WORLDS, Rows, Sizes
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
        "--fresh", action="store_true", help="compute again: what the file of the method imports has changed"
    )


def run(args, sizes=None):
    """Print the table of a reader's method next to the built-in ones.

    Parameters
    ----------
    args : argparse.Namespace
        See `add_arguments`.
    sizes : recovery_worlds.Sizes, optional
        Of a cell. The built-in methods are read from the product only if they are the default ones.

    Returns
    -------
    table : list of tuple of str
        The rows printed.
    """
    for name, values, lowest in (("--seeds", args.seeds, 0), ("--noise", args.noise, 1e-6)):
        if not all(lowest <= value < np.inf for value in values):
            raise ValueError(
                f"{name} must be at least {lowest} and finite; got {', '.join(map(str, values))}."
            )
    method = load_method(args.method)
    rehearse(method, args.method, ("z", "c") if args.sets == "spaces" else ("g1", "g2", "g3"))
    study = open_study(presets.get("mini"), Path(store.cache_folder()))  # no tree is read
    own = Method(method, args.sets, args.method, "yours")
    found = {args.method: collect(study, own, args, Sizes() if sizes is None else sizes)}
    product = None if sizes is not None else shipped()
    if product is not None:
        found |= {METHODS[name].name: of for name, of in of_product(product, args).items()}
    rows = tabulate(found, args.worlds)
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print(f"\n{LEGEND}")
    if sizes is None and product is None:
        print(f"No product of this code holds the built-in methods: 'latentcortex run {SCRIPT}' makes it.")
    return rows


LEGEND = """\
recovery: rank correlation of the map with the planted mixture, in 'standard'
of truth: the same as a share of what the method reaches on the planted variables themselves
right, wrong: share of clearly tuned vertices that are called with their own sign, or with the other
outside: share of vertices called where nothing is planted, outside visual cortex and everywhere in 'null'
covered: how often 95 % intervals of the difference of two regions cover 0 in 'uniform'
worlds: in how many cells the interval of early minus ventral cortex lies above 0 ('swapped': below; 'uniform'
and 'null': covers 0). Cells of one seed share images and noise, and 'null' has one noise level. Without
intervals the sign alone counts, and a dash stands for 'uniform' and 'null'"""


def collect(study, own, args, sizes):
    """Score a method in all cells asked for, on its features and on the planted ones; parts are kept.

    Returns
    -------
    dict of str to array (n_worlds, n_noise, n_seeds, 2, ...)
    """
    described = {
        "method": hashlib.sha256(_source(own)).hexdigest(),
        "function": own.name,  # two closures of one factory have the same name of their own
        "sets": own.sets,
        "sizes": dataclasses.asdict(sizes),
        "weights": study.weights("vae", "text_encoder", "tokenizer", "guide"),
    }
    shelf = Shelf("recovery", keys.key_of([cell_rows, score_method, ask, Rows], described), described)
    cells = [(world, noise, seed) for seed in args.seeds for world in args.worlds for noise in args.noise]
    parts = {}
    for cell in tqdm(cells, desc=own.name, unit="cell"):
        if args.fresh:
            shelf.path(cell).unlink(missing_ok=True)
        parts[cell] = shelf.get(cell, lambda cell=cell: _cell(study, own, cell, sizes))
    shape = len(args.worlds), len(args.noise), len(args.seeds)
    ordered = [parts[w, n, s] for w in args.worlds for n in args.noise for s in args.seeds]
    stacked = {name: np.array([part[name] for part in ordered]) for name in ordered[0]}
    return {name: of.reshape(*shape, *of.shape[1:]) for name, of in stacked.items()}


def _source(own):
    """Return the text of the file that a method comes from, or what it prints as where there is none."""
    named = Path(own.name.rpartition(":")[0])
    if named.is_file():
        return named.read_bytes()
    try:
        return Path(inspect.getsourcefile(own.function)).read_bytes()
    except TypeError:  # such as an instance that can be called
        return repr(own.function).encode()


def _cell(study, own, cell, sizes):
    given, planted = cell_rows(study, *cell, sizes)
    scored = []
    for sets in (own.sets, "truth"):
        # A copy, because both sets share betas, and a method may write into what it is given.
        rows, rng = copy.deepcopy(given(sets)), np.random.default_rng([cell[2], 38])
        scored.append(score_method(own.function, own.name, rows, planted, rng)[0])
    return {name: np.array([one[name] for one in scored]) for name in scored[0]}


def shipped():
    """Return the product of the built-in methods that belongs to this code, or None."""
    for folder in results.folders():
        for path in sorted(folder.glob(f"{SCRIPT}-mini-*.npz")):
            script = results.shipped_folder("data_scripts") / f"{SCRIPT}.py"
            if results.state(path, {SCRIPT: script}) == "yes":
                return results.Product(SCRIPT, path)
    return None


def of_product(product, args):
    """Return the arrays of each built-in method of the sets asked for, as `collect` does.

    Empty where the product does not hold the worlds, noise levels and seeds asked for.
    """
    axes, names = product.provenance, ("worlds", "noise", "seeds")
    asked = [list(getattr(args, name)) for name in names]
    if not all(set(of) <= set(axes[name]) for name, of in zip(names, asked, strict=True)):
        return {}
    places = np.ix_(*([axes[n].index(one) for one in of] for n, of in zip(names, asked, strict=True)))
    own = ("agreement", "realised")
    return {
        name: {key: of[places][:, :, :, k] for key, of in product.arrays.items() if key not in own}
        for k, name in enumerate(axes["methods"])
        if METHODS[name].sets == args.sets
    }


def tabulate(found, worlds):
    """Return the rows of the table, words, the heading first.

    Parameters
    ----------
    found : dict of str to dict
        By method: arrays as `collect` returns them.
    worlds : sequence of str
        The first axis of the arrays.
    """
    rows = [("method", "recovery", "of truth", "right", "wrong", "outside", "covered", *worlds, "seconds")]
    for name, arrays in found.items():
        summary = summarise(arrays, worlds)
        numbers = ("recovery", "of_truth", "right", "wrong", "outside", "covered")
        cells = [f"{summary[key]:.2f}" if np.isfinite(summary[key]) else "-" for key in numbers]
        verdicts = ["-" if summary[w][0] < 0 else "{} of {}".format(*summary[w]) for w in worlds]
        rows.append((name, *cells, *verdicts, f"{summary['seconds']:.1f}"))
    return rows


def summarise(arrays, worlds):
    """Return the numbers of one method over its cells.

    Returns
    -------
    dict
        ``recovery`` and ``of_truth`` (in ``standard``), ``right`` and ``wrong`` (shares of the clearly tuned
        vertices in ``standard``), ``outside`` (share of the vertices called where nothing is planted, in any
        world), ``covered`` (of `coverage`, in ``uniform``), ``seconds``, and for each world how many cells
        are as `EXPECTED`, and of how many; the first is -1 where the method has no intervals.
    """
    worlds = list(worlds)
    place, null = PLACES.index(OUTSIDE), worlds.index("null") if "null" in worlds else None
    n_called, size = arrays["n_called"][..., 0, :], arrays["n_vertices"].reshape(-1, len(PLACES))[0]
    outside = [n_called[..., place].mean() / size[place]]
    if null is not None:
        outside.append(n_called[null].sum(-1).mean() / size.sum())
    summary = {"outside": float(np.mean(outside)), "seconds": float(arrays["seconds"][..., 0].mean())}
    summary |= dict.fromkeys(("recovery", "of_truth", "right", "wrong", "covered"), np.nan)
    if "uniform" in worlds:
        pairs = [arrays[f"pair_{of}"][worlds.index("uniform")][..., 0, :] for of in ("difference", "error")]
        summary["covered"] = coverage(*pairs)
    if "standard" in worlds:
        k = worlds.index("standard")
        given, truth = np.moveaxis(arrays["spearman"][k], -1, 0)
        summary["recovery"], summary["of_truth"] = given.mean(), given.mean() / truth.mean()
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


def coverage(difference, error):
    """Return how often intervals of 95 % around differences cover 0, in [0, 1]; NaN without intervals."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of methods without intervals
        inside = np.where(np.isfinite(error), np.abs(difference) <= 1.96 * error, np.nan)
        return float(np.nanmean(inside))
