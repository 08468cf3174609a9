"""Score a reader's own method in the recovery benchmark, and keep scores by the text of its files."""

import ast
import dataclasses
import inspect
import sys
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from latentcortex import store
from latentcortex.studies import keys
from latentcortex.studies.kept import Shelf
from latentcortex.studies.recovery import file_of, lies_in_package
from latentcortex.studies.recovery_scores import score_cell
from latentcortex.studies.recovery_worlds import realised_correlation


def collect(study, own, args, sizes):
    """Return the scores of a method in all cells asked for, on its features and on planted features.

    Parts are kept.

    Parameters
    ----------
    study : Study
    own : recovery_methods.Method
    args : argparse.Namespace
        ``worlds``, ``noise``, ``seeds`` and ``fresh``, see `recovery_table.add_arguments`.
    sizes : recovery_worlds.Sizes

    Returns
    -------
    dict of str to array (n_worlds, n_noise, n_seeds, ...)
        As in `recovery_scores.score_cell`, but without the axis of methods.
    """
    described = {
        "method": _source(own),
        # A method may call anything of this package, and what it calls is not among what a cell reaches.
        "package": keys.package_code(),
        "function": own.name,  # two closures of one factory have the same name of their own
        "sets": own.sets,
        "sizes": dataclasses.asdict(sizes),
        "weights": study.weights("vae", "text_encoder", "tokenizer", "guide"),
    }
    shelf = Shelf("recovery", keys.key_of([score_cell], described), described)
    cells = [(world, noise, seed) for seed in args.seeds for world in args.worlds for noise in args.noise]
    parts = {}
    for cell in tqdm(cells, desc=own.name, unit="cell"):
        if args.fresh:
            shelf.path(cell).unlink(missing_ok=True)
        parts[cell] = shelf.get(cell, lambda cell=cell: score_cell(study, {own.name: own}, *cell, sizes))
    shape = len(args.worlds), len(args.noise), len(args.seeds)
    ordered = [parts[w, n, s] for w in args.worlds for n in args.noise for s in args.seeds]
    stacked = {name: np.array([part[name][0] for part in ordered]) for name in ordered[0]}
    return {name: of.reshape(*shape, *of.shape[1:]) for name, of in stacked.items()}


def realised(study, worlds, seeds, sizes):
    """Return `recovery_worlds.realised_correlation` (n_worlds, 2) of worlds, averaged over seeds."""
    described = {"sizes": dataclasses.asdict(sizes)}
    shelf = Shelf("recovery-realised", keys.key_of([realised_correlation], described), described)

    def of(correlated, seed):
        made = shelf.get(
            (correlated, seed),
            lambda: {"realised": np.array(realised_correlation(study, correlated, seed, sizes))},
        )
        return made["realised"]

    return np.array(
        [np.mean([of(world == "correlated", seed) for seed in seeds], axis=0) for world in worlds]
    )


def _source(own):
    """Return a hash of the files that a method comes from, or of what it prints as where there are none."""
    module = own.name.rpartition(":")[0]
    file = file_of(module)
    if file.is_file() and not lies_in_package(module):
        return store.source_hash(files_of(file, file.resolve().parent))
    try:
        file = Path(inspect.getsourcefile(sys.modules.get(module, own.function)))
    except TypeError:  # such as an instance that can be called
        return store.source_hash([], repr(own.function))
    # A package imports from the folder in which it lies, where only the package itself is its own.
    parts, file = module.split("."), file.resolve()
    depth = len(parts) - (file.name != "__init__.py")
    is_alone = depth == 0 and "site-packages" not in file.parts
    return store.source_hash(files_of(file, file.parents[depth], "" if is_alone else parts[0]))


def files_of(file, root, package=""):
    """Return a Python file and the files of one folder that it imports, directly or indirectly.

    Imports are read from the source, including imports inside functions. Dynamic imports, for example by
    `importlib`, are not found.

    Parameters
    ----------
    file : path
    root : path
        The folder that absolute imports start from.
    package : str
        A folder in `root` that must contain the files. By default `root` itself.

    Returns
    -------
    list of Path, sorted
    """
    inside, todo, found = Path(root, package).resolve(), [Path(file).resolve()], set()
    while todo:
        path = todo.pop()
        if path not in found:
            found.add(path)
            candidates = (one.resolve() for one in _imported(path, Path(root)) if one.is_file())
            todo += [one for one in candidates if one.is_relative_to(inside)]
    return sorted(found)


def _imported(path, root):
    """Yield where the modules lie that a file may import, if they come from its folder or from `root`."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            starts = [(root, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            folder = path.parents[node.level - 1] if node.level else root
            starts = [(folder, ".".join(filter(None, (node.module, alias.name)))) for alias in node.names]
        else:
            continue
        for folder, dotted in starts:
            # Importing a.b.c runs a and a.b, too.
            for part in dotted.split("."):
                folder = folder / part
                yield folder.with_suffix(".py")
                yield folder / "__init__.py"
