"""Name a result by the code and the settings that it depends on."""

import ast
import hashlib
import json
from pathlib import Path

import numpy as np


def source_hash(paths, settings=None):
    """Return a hash of source files and settings, which changes if and only if their meaning changes.

    For Python files only the code counts. Comments, docstrings and layout do not change the hash, and every
    version of Python gives the same hash. Other files count byte by byte.

    Parameters
    ----------
    paths : iterable of path
        Paths of the files. Their names count, but not their folders and their order.
    settings : JSON-able, optional
        Anything else that the result depends on. Numpy numbers count as Python numbers.

    Returns
    -------
    str
        64 hexadecimal digits (SHA-256).

    Raises
    ------
    ValueError
        If `paths` is a single path, or if `settings` cannot be written as JSON.
    """
    if isinstance(paths, str | Path):
        raise ValueError(f"Expected a list of paths, got the single path {paths}. Pass [{str(paths)!r}].")
    digest = hashlib.sha256(to_json(settings).encode())
    contents = []
    for path in map(Path, paths):
        content = path.read_bytes()
        if path.suffix == ".py":
            content = code_text(ast.parse(content)).encode()
        contents.append((path.name, content))
    # Files of one name, such as __init__.py of several folders, are put in order by what they hold.
    for name, content in sorted(contents):
        # The length separates one file from the next.
        digest.update(f"{name}:{len(content)}:".encode() + content)
    return digest.hexdigest()


def code_text(node):
    """Return a syntax tree as text without docstrings, which does not depend on the version of Python."""
    if isinstance(node, list):
        return f"[{','.join(map(code_text, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = {name: value for name, value in ast.iter_fields(node) if value not in (None, [])}
    for unread in ("ctx", "kind", "type_comment"):
        fields.pop(unread, None)
    if "body" in fields and isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
        first = node.body[0]
        is_text = isinstance(first, ast.Expr) and isinstance(getattr(first.value, "value", None), str)
        fields["body"] = node.body[is_text:]
    parts = ",".join(f"{name}={code_text(value)}" for name, value in fields.items())
    return f"{type(node).__name__}({parts})"


def to_json(value):
    """Return a value as JSON text with sorted keys; raise ValueError if that is impossible."""
    try:
        return json.dumps(value, sort_keys=True, allow_nan=False, default=_plain_number)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Settings and provenance must be JSON-able ({error}). Turn paths into text and "
            "arrays into lists."
        ) from error


def _plain_number(value):
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")
