"""Name a result by its settings and by the code that computes it.

The code is found by following names from a function to every definition of this package that it mentions, and
so on. A change of such a definition changes the key. A comment, a docstring or a function that is not reached
does not.
"""

import ast
import dataclasses
import functools
import inspect
import sys
import time
from pathlib import Path

import latentcortex
from latentcortex import store

PACKAGE = Path(latentcortex.__file__).resolve().parent
_STARTED = time.time()


def key_of(functions, settings):
    """Return the key of a result, which has 64 hexadecimal digits.

    Parameters
    ----------
    functions : sequence of function or class
        The functions that compute the result.
    settings : JSON-able
        Everything that the result depends on besides the code, such as numbers, hashes of networks and the
        identity of the data.
    """
    starts = [(_file_of(function), function.__qualname__.split(".")[0]) for function in functions]
    return store.source_hash([], [settings, _code(starts)])


def code_of(file):
    """Return the hash of all code that a file reaches, which has 64 hexadecimal digits."""
    file = Path(file).resolve()
    return store.source_hash([], _code([(file, name) for name in _module(file)[0]]))


@functools.cache
def package_code():
    """Return the hash of all code of the package."""
    return store.source_hash(PACKAGE.rglob("*.py"))


def _code(starts):
    return {f"{_label(file)}:{name}": _text(file, name) for file, name in reached(starts)}


def reached(starts):
    """Return all definitions that can be reached by names from some definitions.

    Parameters
    ----------
    starts : list of (path, str)
        File and name of each definition. Statements of a module that define no name (such as a
        registration) have the name ``""``.

    Returns
    -------
    set of (path, str)
    """
    todo, found = list(starts), set()
    while todo:
        file, name = todo.pop()
        if (file, name) not in found:
            found.add((file, name))
            todo += [(file, ""), *_mentioned(file, name)]
    return found


def _file_of(function):
    function = inspect.unwrap(function)  # of a cache
    if hasattr(function, "__code__"):
        return Path(function.__code__.co_filename).resolve()
    return Path(sys.modules[function.__module__].__file__).resolve()


def _label(file):
    """Return the place of a file, the same wherever the package is installed."""
    return file.relative_to(PACKAGE).as_posix() if file.is_relative_to(PACKAGE) else file.name


def _text(file, name):
    return [store.code_text(node) for node in _module(file)[0].get(name, [])]


@functools.cache
def _module(file):
    """Parse a file: its definitions by name, and where each imported name comes from."""
    if file.is_relative_to(PACKAGE) and file.stat().st_mtime > _STARTED:
        raise RuntimeError(
            f"{file} has changed since this process started, so results would be kept under the name of code "
            "that did not make them. Start the process (or kernel, or worker) again."
        )
    tree, definitions, imports = ast.parse(file.read_bytes()), {"": []}, {}
    for node in tree.body:
        for name in _names_defined(node):
            definitions.setdefault(name, []).append(node)
    for node in ast.walk(tree):  # imports inside functions, too
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "latentcortex":
            imports |= {alias.asname or alias.name: (node.module, alias.name) for alias in node.names}
    return definitions, imports


def _names_defined(node):
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return [n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)]
    is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return [] if is_text or isinstance(node, ast.Import | ast.ImportFrom) else [""]


@functools.cache
def _mentioned(file, name):
    """List the definitions that a definition mentions, as (file, name)."""
    definitions, imports = _module(file)
    found, attributes = [], {}
    for node in definitions.get(name, []):
        bases = {id(n.value): n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)}
        for mentioned in (n for n in ast.walk(node) if isinstance(n, ast.Name)):
            attributes.setdefault(mentioned.id, set()).add(bases.get(id(mentioned)))
    for mentioned, of_it in attributes.items():
        if mentioned in definitions:
            found.append((file, mentioned))
        elif mentioned in imports:
            for attribute in of_it:
                found += _resolve(*imports[mentioned], attribute)
    return found


def _resolve(module, name, attribute=None):
    """Find the definition of ``module.name``, or of ``module.name.attribute`` where that is a module."""
    folder = PACKAGE.joinpath(*module.split(".")[1:])
    for file in (folder / f"{name}.py", folder / name / "__init__.py"):
        if file.is_file():  # a module: what is asked of it, or all of it
            dotted = f"{module}.{name}"
            if attribute is not None:
                return _resolve(dotted, attribute)
            definitions, imports = _module(file)
            passed_on = imports.values() if file.name == "__init__.py" else ()
            return [(file, one) for one in definitions] + [f for of in passed_on for f in _resolve(*of)]
    file = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    definitions, imports = _module(file)
    if name not in definitions and name in imports:  # passed on by the package's face
        return _resolve(*imports[name], attribute)
    return [(file, name)]


def weights_hash(preset, *networks):
    """Return a hash of networks, from their files or from the commit of a hub id.

    Parameters
    ----------
    preset : latentcortex.presets.Preset
    *networks : str
        Names among ``"vae"``, ``"unet"``, ``"text_encoder"``, ``"tokenizer"``, ``"scheduler"``,
        ``"tiny_vae"``, ``"guide"``, ``"judge"``, ``"alexnet"``.
    """
    from latentcortex.mini.networks import MODEL_FOLDER

    elsewhere = {name: getattr(preset, name) for name in ("tiny_vae", "guide", "judge")}
    elsewhere["alexnet"] = MODEL_FOLDER / "alexnet"
    folders = [Path(elsewhere.get(name) or Path(preset.model, name)) for name in networks]
    missing = [folder for folder in folders if folder.is_absolute() and not folder.is_dir()]
    if missing:
        raise FileNotFoundError(f"No {missing[0]}. Look at the preset's model, guide and judge.")
    files = [path for folder in folders for path in sorted(folder.glob("*")) if path.is_file()]
    on_hub = [str(folder) for folder in folders if not folder.is_dir()]
    more = [getattr(preset, f"{name}_revision", None) for name in networks]
    return _hash_files(tuple(files), preset.revision, tuple(on_hub), *filter(None, more))


@functools.cache
def _hash_files(files, *more):
    return store.source_hash(files, list(more))


def settings_of(preset, ignoring=()):
    """Return the fields of a preset that influence results (JSON-able), without the fields in `ignoring`."""
    fields = dataclasses.asdict(preset)
    # Networks are known by their hash, data by their identity, wherever they lie.
    elsewhere = ("name", "data", "model", "tiny_vae", "guide", "judge")
    no_result = ("n_threads", "expected_minutes")
    left_out = {*elsewhere, *no_result, *ignoring, *(n for n in fields if n.endswith("revision"))}
    # A field that was added later and is left at its default takes no part, so that older keys stay.
    added = {of.name for of in dataclasses.fields(preset) if of.default is None and fields[of.name] is None}
    kept = {name: value for name, value in fields.items() if name not in left_out | added}
    return {**kept, "dtype": str(preset.dtype)}
