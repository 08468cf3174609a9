"""Read a preset from a file of settings, in TOML."""

import dataclasses
import os
import tomllib
import types
import typing
from pathlib import Path

import torch

from latentcortex import store
from latentcortex.presets.preset import Preset

_FOLDER = Path(__file__).parent
NAMES = tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))
_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_PATHS = ("data", "model", "tiny_vae", "guide", "judge")  # fields that may name a file or folder
_FIELDS = {name: kind for name, kind in typing.get_type_hints(Preset).items() if name != "name"}
_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def read(name):
    """Return the `Preset` of a name in `NAMES` or of a file whose path ends in ``.toml``.

    A file may begin with ``base = "sd14"``, a name or the path of another file, and then holds only what
    differs. ``"none"`` empties a field that may be empty. A path that begins with ``./`` or ``../`` is taken
    from the folder of the file it stands in.

    Raises
    ------
    FileNotFoundError, ValueError
        See `presets.get`.
    """
    path = _path_of(name, Path.cwd(), "argument or the environment variable LATENTCORTEX_PRESET")
    values = _values(path, ())
    missing = [
        field.name
        for field in dataclasses.fields(Preset)
        if field.name not in {"name", *values} and field.default is dataclasses.MISSING
    ]
    missing = [field for field in missing if types.NoneType not in typing.get_args(_FIELDS[field])]
    if missing:
        raise ValueError(
            f'{path} lacks {", ".join(missing)}. Begin it with a line base = "sd14" or base = "mini": '
            "then a field that it does not name is that preset's."
        )
    empty = {field: None for field, kind in _FIELDS.items() if types.NoneType in typing.get_args(kind)}
    try:
        return Preset(name=path.stem, **{**empty, **values})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _path_of(name, folder, origin):
    """Return the path of a preset's file; `origin` says for the errors where the name comes from."""
    if name in NAMES:
        return _FOLDER / f"{name}.toml"
    if not str(name).endswith(".toml"):
        raise ValueError(
            f"There is no preset {str(name)!r}. Presets: {', '.join(NAMES)}, or the path of a file of "
            f"settings, which ends in .toml. The name comes from the {origin}."
        )
    path = folder / store.expanded_path(str(name), f"The {origin}", "a folder or a file of settings")
    if path.stem in NAMES:
        raise ValueError(
            f"{path} has the name of a preset of the package, so its products would be taken for that one's. "
            f"Call it otherwise, for example my-{path.name}."
        )
    if not path.is_file():
        raise FileNotFoundError(
            f"No file of settings at {path.absolute()}. Its name comes from the {origin}; write the whole "
            "path, because a notebook may run in another folder than the one you look at."
        )
    return path


def _values(path, seen):
    """Return the fields that a file and the files it builds on give, the nearest one's first."""
    if path.resolve() in seen:
        raise ValueError(f"{path} builds on itself: a base must not lead back to it.")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not TOML ({error}). A line looks like this: strength = 0.6") from error
    base = content.pop("base", None)
    values = {}
    if base is not None:
        if not isinstance(base, str):
            raise ValueError(f"base in {path} is {base!r}: expected a name or a path, as text.")
        values = _values(_path_of(base, path.parent, f"line base in {path}"), (*seen, path.resolve()))
    unknown = [name for name in content if name not in _FIELDS]
    if unknown:
        raise ValueError(
            f"{path} has the unknown field {', '.join(unknown)}. Fields: base, {', '.join(sorted(_FIELDS))}."
        )
    return {**values, **{name: _converted(value, name, path) for name, value in content.items()}}


def _converted(value, name, path):
    """Return a value of a file as its field holds it."""
    kind = _FIELDS[name]
    options = typing.get_args(kind)
    may_be_empty = types.NoneType in options
    if may_be_empty:
        if value == "none":
            return None
        kind = options[0]
    if kind is torch.dtype:
        if value == "auto":
            return _best_dtype()
        if value in _DTYPES:
            return _DTYPES[value]
        raise ValueError(f"{name} in {path} is {value!r}: expected auto, {', '.join(_DTYPES)}.")
    if typing.get_origin(kind) is tuple:
        inner = typing.get_args(kind)[0]
        if isinstance(value, list) and all(_is(one, inner) for one in value):
            return tuple(inner(one) for one in value)
        expected = f"a list, each {_WORDS[inner]}"
    elif _is(value, kind):
        value = kind(value)
        is_near = name in _PATHS and value.startswith(("./", "../"))
        return os.path.normpath(path.parent.absolute() / value) if is_near else value
    else:
        expected = _WORDS[kind]
    otherwise = ' or "none"' if may_be_empty else ""
    raise ValueError(f"{name} in {path} is {value!r}: expected {expected}{otherwise}.")


def _is(value, kind):
    """Say whether a value of TOML is of a kind; whole numbers are numbers, true and false are not."""
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def _best_dtype():
    """Return what networks compute in on this machine."""
    if not torch.cuda.is_available():
        return torch.float32
    # PyTorch emulates bfloat16 on older GPUs, more slowly than float16.
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
