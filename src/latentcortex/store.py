"""Arrays on disk that travel with their image ids and their provenance.

One file holds everything: an ``.npz`` (any dtype of numbers or text) or a ``.safetensors``
(numbers only; rows are read without loading the rest). The provenance is a JSON text inside the
same file, so arrays and provenance can't part. Files are written under a temporary name and
renamed: a reader sees a whole file or none. Nothing is pickled.
"""

import ast
import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path

import numpy as np
import pooch
from safetensors import safe_open
from safetensors.numpy import save_file

_IDS, _PROVENANCE = "image_ids", "provenance"


def cache_folder():
    """Return the folder for results that can be computed again.

    Returns
    -------
    pathlib.Path
        ``$LATENTCORTEX_CACHE`` where it is set, else the user's cache folder. Not created here.
    """
    return Path(os.environ.get("LATENTCORTEX_CACHE") or pooch.os_cache("latentcortex"))


def source_hash(paths, settings=None):
    """Return a hash of source files and settings that changes when, and only when, they mean something else.

    Python files count by their code: comments, docstrings and layout don't change the hash, and every
    version of Python gives the same one. Other files count byte by byte.

    Parameters
    ----------
    paths : iterable of path
        Their names count, their folders and order don't.
    settings : JSON-able, optional
        Anything else the result depends on.

    Returns
    -------
    str
        64 hexadecimal digits (SHA-256).
    """
    digest = hashlib.sha256(_to_json(settings).encode())
    for path in sorted(map(Path, paths), key=lambda path: path.name):
        content = path.read_bytes()
        if path.suffix == ".py":
            content = code_text(ast.parse(content)).encode()
        # The length separates one file from the next.
        digest.update(f"{path.name}:{len(content)}:".encode() + content)
    return digest.hexdigest()


def code_text(node):
    """Write out a syntax tree without docstrings; `ast.dump` differs between versions of Python."""
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
    return (
        f"{type(node).__name__}({','.join(f'{name}={code_text(value)}' for name, value in fields.items())})"
    )


def save(path, *, provenance, image_ids=None, **arrays):
    """Write arrays, the ids of their rows and their provenance as one file, atomically.

    Parameters
    ----------
    path : path
        Ends in ``.npz`` or ``.safetensors``. Folders are made, an older file is replaced.
    provenance : dict
        Where the arrays come from (script, settings, seed, ...); must be JSON-able.
    image_ids : int array (n,), optional
        0-based image id of each row. With it, every array must have n rows.
    **arrays : array (n, ...)
        At least one. Names other than ``image_ids`` and ``provenance``.

    Returns
    -------
    pathlib.Path
        The path written.

    Raises
    ------
    ValueError
        For another file type, no array, rows that don't match the ids, ids that are no integers,
        arrays of Python objects, or text arrays in a ``.safetensors``.
    """
    path = _checked_path(path)
    if not arrays:
        raise ValueError("Expected at least one array to save, for example save(path, z=latents).")
    if not isinstance(provenance, dict):
        raise ValueError(f"provenance must be a dict, got {type(provenance).__name__}.")
    # safetensors writes the buffer as it lies: a transposed view would be saved scrambled.
    arrays = {name: np.array(value, order="C", copy=None) for name, value in arrays.items()}
    for name, array in arrays.items():
        if array.dtype.hasobject or (path.suffix == ".safetensors" and array.dtype.kind in "USM"):
            raise ValueError(
                f"{name} has dtype {array.dtype}, which {path.suffix} can't hold without pickle. "
                "Pass numbers (or, in an .npz, text as a numpy array of dtype U)."
            )
    if image_ids is not None:
        arrays = {_IDS: _checked_ids(image_ids), **arrays}
        for name, array in arrays.items():
            if array.ndim == 0 or len(array) != len(arrays[_IDS]):
                raise ValueError(
                    f"{name} has shape {array.shape}, but there are {len(arrays[_IDS])} "
                    "image_ids. Each array needs one row per id; save others in their own file."
                )
    text = _to_json(provenance)
    with replacing(path) as temporary:
        if path.suffix == ".safetensors":
            save_file(arrays, temporary, metadata={_PROVENANCE: text})
        else:
            with temporary.open("wb") as file:
                np.savez_compressed(file, **arrays, **{_PROVENANCE: np.array(text)})
    return path


def load(path, image_ids=None):
    """Read what `save` wrote, all of it or the rows of some images.

    Parameters
    ----------
    path : path
        An ``.npz`` or ``.safetensors`` written by `save`.
    image_ids : int array (m,), optional
        Rows wanted, in this order, repeats allowed. The file must then know each row by an id of
        its own. A ``.safetensors`` is read only where these rows lie.

    Returns
    -------
    dict of str to array
        Each array by name, ``image_ids`` among them where the file has them.

    Raises
    ------
    FileNotFoundError
        No such file.
    ValueError
        The file has no ids, has an id twice, or lacks one that was asked for.
    """
    path = _checked_path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No file {path}. Run the script that writes it first.")
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            names = [name for name in file.files if name != _PROVENANCE]
            rows = _rows(path, file[_IDS] if _IDS in names else None, image_ids)
            return {name: file[name] if rows is None else file[name][rows] for name in names}
    with safe_open(path, framework="np") as file:
        names = list(file.keys())
        rows = _rows(path, file.get_tensor(_IDS) if _IDS in names else None, image_ids)
        if rows is None:
            return {name: file.get_tensor(name) for name in names}
        return {name: _read_rows(file.get_slice(name), rows) for name in names}


def image_ids(path):
    """Return the ids of the rows of a file written by `save`, without reading the rows.

    Returns
    -------
    int array (n,)
    """
    path = _checked_path(path)
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            return file[_IDS]
    with safe_open(path, framework="np") as file:
        return file.get_tensor(_IDS)


def provenance(path):
    """Read the provenance that was saved with the arrays.

    Parameters
    ----------
    path : path
        An ``.npz`` or ``.safetensors`` written by `save`.

    Returns
    -------
    dict
        What was passed to `save`.
    """
    path = _checked_path(path)
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            return json.loads(str(file[_PROVENANCE]))
    with safe_open(path, framework="np") as file:
        return json.loads(file.metadata()[_PROVENANCE])


def rows_of(known_ids, image_ids, name="the array"):
    """Return the row of each image in an array that has one row per image.

    Parameters
    ----------
    known_ids : int array (n,)
        The image of each row, in any order.
    image_ids : int array (m,)
        Images wanted; repeats are fine.
    name : str
        What the rows belong to, for the error messages.

    Returns
    -------
    int array (m,)
        ``known_ids[rows_of(known_ids, image_ids)]`` equals ``image_ids``.

    Raises
    ------
    ValueError
        If an image has no row, or if `known_ids` lists an image twice.
    """
    known_ids, image_ids = np.asarray(known_ids), np.asarray(image_ids)
    order = np.argsort(known_ids, kind="stable")
    ordered = known_ids[order]
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if len(twice):
        raise ValueError(
            f"{name} has several rows for image {twice[0]}: expected one row for each image. Rows of "
            "single trials can't be found by image id; average the repeats first."
        )
    missing = np.setdiff1d(image_ids, known_ids)
    if len(missing):
        raise ValueError(
            f"{name} has no row for {len(missing)} of the images asked for, such as {missing[0]}. It has "
            f"rows for {len(known_ids)} images. Compute them for the missing images, or leave these out."
        )
    return order[np.searchsorted(ordered, image_ids)]


def _checked_path(path):
    path = Path(path)
    if path.suffix not in (".npz", ".safetensors"):
        raise ValueError(f"Expected a path ending in .npz or .safetensors, got {path.name!r}.")
    return path


def _checked_ids(image_ids):
    ids = np.asarray(image_ids)
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise ValueError(
            f"image_ids must be a 1-D array of integers, got shape {ids.shape}, dtype {ids.dtype}."
        )
    return np.ascontiguousarray(ids, dtype=np.int64)


def _to_json(value):
    try:
        return json.dumps(value, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Settings and provenance must be JSON-able ({error}). Turn paths into text and "
            "arrays into lists."
        ) from error


@contextlib.contextmanager
def replacing(path):
    """Give a temporary path beside `path`; rename it on success, delete it on failure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files for the owner only; give what an ordinary new file would have.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _rows(path, stored_ids, image_ids):
    """Find the row of each id asked for; None for all rows."""
    if image_ids is None:
        return None
    wanted = _checked_ids(image_ids)
    if stored_ids is None:
        raise ValueError(f"{path.name} was saved without image_ids: it can only be read whole.")
    return rows_of(stored_ids, wanted, path.name)


def _read_rows(tensor, rows):
    """Read rows of a safetensors slice, each run of consecutive rows at once."""
    unique, inverse = np.unique(rows, return_inverse=True)
    runs = np.split(unique, np.flatnonzero(np.diff(unique) > 1) + 1)
    if not len(unique):
        return tensor[0:0]
    return np.concatenate([tensor[int(run[0]) : int(run[-1]) + 1] for run in runs])[inverse]
