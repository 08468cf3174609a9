"""Write and read files that hold arrays, the image ids of their rows, and their provenance.

An ``.npz`` holds any dtype of numbers or text. A ``.safetensors`` holds only numbers, but rows are read
without loading the rest. The provenance is a JSON text inside the same file, so arrays and provenance cannot
be separated. Files are written under a temporary name and renamed, so a reader sees a whole file or none.
Nothing is pickled.
"""

import json
import math
import zipfile
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from latentcortex.store.damage import check_seal, naming_damage, seal, with_room_for_seal
from latentcortex.store.keys import to_json
from latentcortex.store.rows import checked_ids, rows_of
from latentcortex.store.writing import check_space, make_folder, replacing

_IDS, _PROVENANCE = "image_ids", "provenance"
# What safetensors can hold of numpy's dtypes.
_TENSORS = {f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)} | {"b1", "f2", "f4", "f8"}


def save(path, *, provenance, image_ids=None, **arrays):
    """Write arrays, the ids of their rows and their provenance as one file, atomically.

    Parameters
    ----------
    path : path
        Path that ends in ``.npz`` or ``.safetensors``. Folders are made, and an older file is replaced.
    provenance : dict
        Where the arrays come from (script, settings, seed, ...); must be JSON-able.
    image_ids : int array (n,), optional
        0-based image id of each row. If given, every array must have n rows.
    **arrays : array (n, ...)
        At least one array. The names ``image_ids`` and ``provenance`` are reserved. Lists, numbers and
        tensors on the CPU are converted to arrays.

    Returns
    -------
    pathlib.Path
        The path written.

    Raises
    ------
    ValueError
        If the file type differs, if there is no array, if rows do not match the ids, or if ids are not
        integers. Also for masked arrays, arrays of Python objects, and anything but numbers in a
        ``.safetensors``.
    OSError
        If the folder cannot be written to, or if the disk has no space for the arrays.
    """
    path = _checked_path(path)
    if not arrays:
        raise ValueError("Expected at least one array to save, for example save(path, z=latents).")
    if not isinstance(provenance, dict):
        raise ValueError(f"provenance must be a dict, got {type(provenance).__name__}.")
    arrays = {name: _checked_array(name, value, path.suffix) for name, value in arrays.items()}
    if image_ids is not None:
        arrays = {_IDS: checked_ids(image_ids), **arrays}
        for name, array in arrays.items():
            if array.ndim == 0 or len(array) != len(arrays[_IDS]):
                raise ValueError(
                    f"{name} has shape {array.shape}, but there are {len(arrays[_IDS])} "
                    "image_ids. Each array needs one row per id; save others in their own file."
                )
    is_npz = path.suffix == ".npz"
    text = to_json(provenance) if is_npz else with_room_for_seal(provenance)
    make_folder(path.parent)
    # An .npz is compressed, but nobody knows before how well.
    check_space(path.parent, sum(array.nbytes for array in arrays.values()) + len(text), path.name)
    with replacing(path) as temporary:
        if is_npz:
            with temporary.open("wb") as file:
                np.savez_compressed(file, **arrays, **{_PROVENANCE: np.array(text)})
        else:
            # One entry: several would be written in another order each time.
            save_file(arrays, temporary, metadata={_PROVENANCE: text})
            seal(temporary)
    return path


def load(path, image_ids=None):
    """Return the arrays that `save` wrote, either complete or the rows of some images.

    Parameters
    ----------
    path : path
        An ``.npz`` or ``.safetensors`` written by `save`.
    image_ids : int array (m,), optional
        Images whose rows are wanted, in this order; repeats are allowed. Each row of the file must then have
        its own id. Of a ``.safetensors`` only these rows are read.

    Returns
    -------
    dict of str to array
        Arrays by name, with ``image_ids`` if the file has ids.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    DamagedFileError
        If the file has changed since it was written. The message names the file. Of an ``.npz``, everything
        that is read is checked. Of a ``.safetensors``, arrays are only checked if all rows are read. With
        `image_ids`, names, shapes and provenance are checked, but a changed number is not noticed.
    ValueError
        If the file has no ids, has an id twice, or lacks an id that was asked for.
    """
    path = _existing_path(path)
    read = _read_npz if path.suffix == ".npz" else _read_safetensors
    return read(path, None if image_ids is None else checked_ids(image_ids))


def image_ids(path):
    """Return the ids (n,) of the rows of a file written by `save`, without reading the rows."""
    path = _existing_path(path)
    with naming_damage(path):
        if path.suffix == ".npz":
            with zipfile.ZipFile(path) as archive:
                return _read_member(archive, _IDS)
        with safe_open(path, framework="np") as file:
            check_seal(path, file.metadata()[_PROVENANCE], whole=False)
            return file.get_tensor(_IDS)


def provenance(path):
    """Return the provenance that was saved with the arrays.

    Parameters
    ----------
    path : path
        An ``.npz`` or ``.safetensors`` written by `save`.

    Returns
    -------
    dict
        The provenance that was passed to `save`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    DamagedFileError
        If the provenance has changed since it was written. The message names the file.
    """
    path = _existing_path(path)
    with naming_damage(path):
        if path.suffix == ".npz":
            with zipfile.ZipFile(path) as archive:
                return json.loads(str(_read_member(archive, _PROVENANCE)))
        with safe_open(path, framework="np") as file:
            text = file.metadata()[_PROVENANCE]
        return check_seal(path, text, whole=False)


def _read_npz(path, image_ids):
    with naming_damage(path), zipfile.ZipFile(path) as archive:
        names = [entry.filename.removesuffix(".npy") for entry in archive.infolist()]
        with path.open("rb") as file:
            # The last record of a zip file, which says how many arrays there are: zipfile ignores it.
            file.seek(-22, 2)
            record = file.read()
        if int.from_bytes(record[10:12], "little") != len(names) or _PROVENANCE not in names:
            raise ValueError("arrays are missing")
        stored = {name: _read_member(archive, name) for name in names if name != _PROVENANCE}
    rows = _rows(path, stored.get(_IDS), image_ids)
    return stored if rows is None else {name: array[rows] for name, array in stored.items()}


def _read_member(archive, name):
    """Read an array of an .npz to its end, where its checksum is compared."""
    entry = archive.getinfo(f"{name}.npy")
    with archive.open(entry) as member:
        version = np.lib.format.read_magic(member)
        read_header = np.lib.format.read_array_header_2_0
        if version == (1, 0):
            read_header = np.lib.format.read_array_header_1_0
        shape, _, dtype = read_header(member)
        # Compared before numpy makes room for whatever a damaged header asks. math knows no overflow.
        size = member.tell() + math.prod(shape) * dtype.itemsize
        if not dtype.hasobject and size != entry.file_size:
            raise ValueError(f"{name} has another size than its header says")
        member.seek(0)
        array = np.lib.format.read_array(member, allow_pickle=False)
        if member.read(1):
            raise ValueError(f"{name} does not end where it should")
    return array


def _read_safetensors(path, image_ids):
    with naming_damage(path), safe_open(path, framework="np") as file:
        check_seal(path, file.metadata()[_PROVENANCE], whole=image_ids is None)
        names = list(file.keys())
        if image_ids is None:
            return {name: file.get_tensor(name) for name in names}
        stored_ids = file.get_tensor(_IDS) if _IDS in names else None
    rows = _rows(path, stored_ids, image_ids)
    with naming_damage(path), safe_open(path, framework="np") as file:
        return {name: _read_rows(file.get_slice(name), rows) for name in names}


def _checked_path(path):
    path = Path(path)
    if path.suffix not in (".npz", ".safetensors"):
        raise ValueError(f"Expected a path ending in .npz or .safetensors, got {path.name!r}.")
    return path


def _existing_path(path):
    path = _checked_path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No file {path}. Run the script that writes it first.")
    return path


def _checked_array(name, value, suffix):
    """Return a value as an array in C order, or explain why it can't be saved."""
    parts = value if isinstance(value, list | tuple) else [value]
    if any(np.ma.isMaskedArray(part) for part in parts):
        raise ValueError(
            f"{name} is a masked array, whose mask would be lost. Pass {name}.filled(np.nan), or save "
            "the mask as an array of its own."
        )
    try:
        # safetensors writes the buffer as it lies: a transposed view would be saved scrambled.
        array = np.array(value, order="C", copy=None)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{name} is no array and can't become one ({error}). Pass a numpy array, or of a tensor "
            f"{name}.detach().cpu().float().numpy()."
        ) from error
    kind = f"{array.dtype.kind}{array.dtype.itemsize}"
    if array.dtype.hasobject or (suffix == ".safetensors" and kind not in _TENSORS):
        raise ValueError(
            f"{name} has dtype {array.dtype}, which {suffix} can't hold without pickle. "
            "Pass numbers (or, in an .npz, text as a numpy array of dtype U)."
        )
    return array


def _rows(path, stored_ids, image_ids):
    """Find the row of each id asked for; None for all rows."""
    if image_ids is None:
        return None
    if stored_ids is None:
        raise ValueError(f"{path} was saved without image_ids: it can only be read whole.")
    return rows_of(stored_ids, image_ids, path.name)


def _read_rows(tensor, rows):
    """Read rows of a safetensors slice, each run of consecutive rows at once."""
    unique, inverse = np.unique(rows, return_inverse=True)
    runs = np.split(unique, np.flatnonzero(np.diff(unique) > 1) + 1)
    if not len(unique):
        return tensor[0:0]
    return np.concatenate([tensor[int(run[0]) : int(run[-1]) + 1] for run in runs])[inverse]
