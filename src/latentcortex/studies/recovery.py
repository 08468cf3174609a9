"""Define methods of the recovery benchmark, and load, check and run a reader's own method.

A method is a function ``method(train, test, rng)``. `train` and `test` are `recovery_worlds.Rows`. They hold
``features``, ``betas`` (n_images, n_vertices), ``image_ids``, ``n_repeats`` and ``noise_ceiling``.
``features`` is a dict of arrays (n_images, n_features) in order, where the first set is low-level and the
last is semantic. `rng` is a numpy generator. A method returns a dict with exactly one of

- ``"preference"``: floats (n_vertices,), above 0 where the first set fits better, below 0 the last;
- ``"share"``: floats in [0, 1] (n_vertices,), the part that belongs to the first set;
- ``"winner"``: whole numbers (n_vertices,), the place of the best set, 0 for the first;

and optionally ``"draws"`` and ``"p"``. ``"draws"`` is the same map over at least 20 resamplings of images
(n_draws, n_vertices), from which intervals are computed. ``"p"`` is a p-value for each vertex (n_vertices,).
No value may be NaN. A vertex about which nothing is known has the preference 0, the share 0.5 and the p-value
1.
"""

import dataclasses
import importlib.util
import pkgutil
import sys
import traceback
from pathlib import Path

import numpy as np

from latentcortex.ridge.rows import as_numpy, check_finite, plain
from latentcortex.studies.recovery_worlds import Rows

KINDS = ("preference", "share", "winner")
FEWEST_DRAWS = 20


@dataclasses.dataclass(frozen=True)
class Answer:
    """Hold a map that has been checked.

    Attributes
    ----------
    kind : str
        Kind of map, one of `KINDS`.
    lowness : float array (n_vertices,)
        Above 0 where the first, low-level set fits better. It is the preference, the share - 0.5, or the
        place of the winner from 1 (first) to -1 (last).
    draws : float array (n_draws, n_vertices) or None
        The same map over resamplings of images.
    p : float array (n_vertices,) or None
    """

    kind: str
    lowness: np.ndarray
    draws: np.ndarray | None = None
    p: np.ndarray | None = None


def check_answer(answer, n_vertices, n_sets):
    """Return the result of a method as an `Answer`.

    Raises
    ------
    ValueError
        If the result is not as the module describes it.
    """
    if not isinstance(answer, dict):
        raise ValueError(f"A method must return a dict, got {type(answer).__name__}.")
    kinds = [kind for kind in KINDS if kind in answer]
    unknown = set(answer) - {*KINDS, "draws", "p"}
    if len(kinds) != 1 or unknown:
        raise ValueError(
            f"A method must return exactly one of {', '.join(KINDS)}, and draws and p if it likes; got "
            f"{', '.join(map(str, answer)) or 'an empty dict'}."
        )
    kind = kinds[0]
    map_ = _checked(answer[kind], kind, (n_vertices,), kind, n_sets)
    draws, p = answer.get("draws"), answer.get("p")
    if draws is not None:
        n_draws = len(draws) if np.ndim(draws) else 0
        if n_draws < FEWEST_DRAWS:
            raise ValueError(
                f"draws must have at least {FEWEST_DRAWS} rows, a map of {n_vertices} vertices in each; got "
                f"the shape {np.shape(draws)}."
            )
        draws = _checked(draws, "draws", (n_draws, n_vertices), kind, n_sets)
    if p is not None:
        p = _checked(p, "p", (n_vertices,), "share", n_sets)
    lowness, draws = (None if of is None else _lowness(of, kind, n_sets) for of in (map_, draws))
    return Answer(kind, lowness, draws, p)


def _checked(values, name, shape, kind, n_sets):
    values = as_numpy(plain(values, name))
    if values.shape != shape:
        raise ValueError(
            f"{name} must have the shape {shape}: one value for each of {shape[-1]} vertices; got "
            f"{values.shape}."
        )
    if not np.isfinite(values).all():
        check_finite(values, f"{name}, returned by the method,")
    if kind == "share" and not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"{name} must lie in [0, 1]; got {values.min():.4g} to {values.max():.4g}.")
    if kind == "winner" and not ((values == np.round(values)) & (values >= 0) & (values < n_sets)).all():
        raise ValueError(f"{name} must hold whole numbers from 0 to {n_sets - 1}, the sets of features.")
    return values.astype(np.float64)


def _lowness(values, kind, n_sets):
    if kind == "share":
        return values - 0.5
    return 1 - 2 * values / max(n_sets - 1, 1) if kind == "winner" else values


def load_method(text):
    """Return the function that ``MODULE:FUNCTION`` or ``path/to/file.py:function`` names.

    A module is searched in the working directory first.

    Raises
    ------
    ValueError
        If the text has another form, or if there is no such module or function.
    RuntimeError
        If the file raises an error while it is read.
    """
    module, separator, function = text.rpartition(":")
    if not (separator and module and function.isidentifier()):
        raise ValueError(f"Expected MODULE:FUNCTION or path/to/file.py:function, got {text!r}.")
    path = file_of(module)
    try:
        in_package = lies_in_package(module)
        folder = str(Path.cwd() if in_package else path.resolve().parent)
        if path.is_file() and folder not in sys.path:  # for modules that lie next to the file
            sys.path.append(folder)
        if path.is_file() and not in_package:
            # A name of its own: a file numpy.py must not take the place of numpy.
            spec = importlib.util.spec_from_file_location(f"recover_{path.stem}", path)
            loaded = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(loaded)
        elif module.endswith(".py"):
            raise FileNotFoundError(f"There is no file {path}.")
        else:
            loaded = pkgutil.resolve_name(module)
    except FileNotFoundError as error:
        raise ValueError(str(error)) from error
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{module}: {error}. Run the command where that module lies, or install it."
        ) from error
    except SyntaxError as error:
        raise RuntimeError(f"{module} could not be read: SyntaxError: {error}") from error
    except (Exception, SystemExit) as error:
        raise RuntimeError(f"{module} could not be read: {_in_words(error)}") from error
    method = getattr(loaded, function, None)
    if not callable(method):
        public = [name for name in vars(loaded) if callable(vars(loaded)[name]) and name[0] != "_"]
        raise ValueError(f"{module} has no function {function}. It has: {', '.join(public) or 'none'}.")
    return method


def file_of(module):
    """Return the path that ``path/to/file.py`` or a dotted name stands for, whether it exists or not."""
    return Path(module if module.endswith(".py") else module.replace(".", "/") + ".py")


def lies_in_package(module):
    """Return whether a dotted name is a module in a local package, whose imports may be relative."""
    return not module.endswith(".py") and file_of(module).with_name("__init__.py").is_file()


def ask(method, name, train, test, rng):
    """Call a method and return its checked result; errors name the method and the place.

    Raises
    ------
    ValueError
        If the answer is not as the module describes it.
    RuntimeError
        If the method raises an error.
    """
    # Counted before the call, because a method may write into what it is given.
    n_vertices, n_sets = test.betas.shape[1], len(test.features)
    try:
        answer = method(train, test, rng)
    except Exception as error:
        raise RuntimeError(f"{name} failed: {_in_words(error)}") from error
    try:
        return check_answer(answer, n_vertices, n_sets)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _in_words(error):
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(last.filename).name}, line {last.lineno})"


def rehearse(method, name, sets=("z", "c")):
    """Run a method on a tiny made-up cell, so that mistakes appear before hours of work."""
    rng = np.random.default_rng(0)
    n, n_vertices = np.array([60, 30]), 7
    rows = []
    for first, count in zip((0, n[0]), n, strict=True):
        features = {one: rng.standard_normal((count, 12)).astype(np.float32) for one in sets}
        betas = rng.standard_normal((count, n_vertices)) + features[sets[0]][:, :1]
        ids, repeats = np.arange(first, first + count), rng.integers(1, 4, count)
        rows.append(Rows(features, betas.astype(np.float32), ids, repeats, np.full(n_vertices, 0.3)))
    ask(method, name, *rows, rng)
