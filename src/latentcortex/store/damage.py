"""Detect damaged files by their hashes, and name them in errors.

Two kinds of files store their own hash. A model folder lists the hashes of its files in its
``provenance.json``. A ``.safetensors`` of this package stores the hash of its header and the hash of its data
in the header. This is called its seal. An ``.npz`` needs no hash, because zip files hold a checksum of each
array.
"""

import contextlib
import errno
import hashlib
import json
import re
import tokenize
import zipfile
import zlib
from pathlib import Path

from safetensors import SafetensorError, safe_open

from latentcortex.store.keys import to_json
from latentcortex.store.writing import replacing

_PROVENANCE, _SEAL, _ROOM = "provenance.json", "sha256_of_header_and_data", 128 * "0"
_LIKE_A_SEAL = re.compile("[0-9a-f]{128}")
# What numpy, zipfile, json and safetensors raise for bytes that make no sense.
_NONSENSE = (
    SafetensorError,
    zipfile.BadZipFile,
    zlib.error,
    tokenize.TokenError,
    SyntaxError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    RuntimeError,
    OverflowError,
)
# Path, size and time of change of the files whose hash was right: they are not read again.
_checked = set()


class DamagedFileError(ValueError):
    """Raised if a file does not hold what was written into it."""


@contextlib.contextmanager
def naming_damage(path, advice="Delete it, and run again what writes it"):
    """Turn errors that readers raise for invalid bytes into a `DamagedFileError`.

    Parameters
    ----------
    path : path
        File that is read inside the ``with`` block. The error names it.
    advice : str
        Advice for the error message, without a full stop.
    """
    try:
        yield
    except DamagedFileError:
        raise
    except (*_NONSENSE, OSError) as error:
        # Decompression and jumps to places that are not there; other numbers come from the disk.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise DamagedFileError(
            f"{path} is damaged, not whole, or not written by latentcortex ({type(error).__name__}: "
            f"{error}). {advice}."
        ) from error


# --- a model folder -------------------------------------------------------------------------------


def note_files(folder, files=None):
    """Write the hashes of a model folder's files into its ``provenance.json``.

    Parameters
    ----------
    folder : path
        Folder with a ``provenance.json``. Without this file nothing is written.
    files : iterable of path, optional
        By default all files of the folder. With an empty list no file is checked any more, so call it this
        way before files change.
    """
    folder = Path(folder)
    path = folder / _PROVENANCE
    if not path.is_file():
        return
    if files is None:
        files = sorted(found for found in folder.rglob("*") if found.is_file() and found != path)
    noted = json.loads(path.read_text(encoding="utf-8"))
    noted["files"] = {file.relative_to(folder).as_posix(): _hash_of(file) for file in map(Path, files)}
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(noted) + "\n", encoding="utf-8")


def check_files(path):
    """Raise an error if a file of a model folder differs from the hash in its provenance.

    The ``provenance.json`` is searched in the folder itself and in the two folders above. Files that it does
    not list are not checked. Without a ``provenance.json``, as in a reader's own folder, each ``.json`` must
    be readable and each ``.safetensors`` must have a header that fits its size. A file is hashed once per
    process, unless it changes.

    Parameters
    ----------
    path : path
        The model folder, a folder in it, or one of its files.

    Raises
    ------
    DamagedFileError
        If a file has another hash, is missing, or is not valid.
    """
    path = Path(path).absolute()
    root = next((folder for folder in (path, *path.parents[:2]) if (folder / _PROVENANCE).is_file()), None)
    if root is None:
        for file in (path, *path.rglob("*")):
            _check_form(file)
        return
    advice = "Install latentcortex again, or restore this folder from where you have it"
    noted = root / _PROVENANCE
    with naming_damage(noted, advice):
        files = json.loads(noted.read_text(encoding="utf-8")).get("files", {})
        if not isinstance(files, dict):  # of another program
            return
        asked = {name: files[name] for name in files if (root / name).is_relative_to(path)}
    for name, expected in asked.items():
        file = root / name
        if not file.is_file():
            raise DamagedFileError(f"{file} is not there, but {noted} lists it. {advice}.")
        state = file.stat()
        known = (file, state.st_size, state.st_mtime_ns, expected)
        if known in _checked:
            continue
        if _hash_of(file) != expected:
            raise DamagedFileError(
                f"{file} is damaged: its content has not the hash that {noted} gives. {advice}."
            )
        _checked.add(known)


def _check_form(file):
    """Raise an error that names a file if it makes no sense, because its reader may not name it."""
    with naming_damage(file, "Get it again from where you have it"):
        if file.suffix == ".json" and file.is_file():
            json.loads(file.read_bytes())
        elif file.suffix == ".safetensors" and file.is_file():
            with safe_open(file, "np"):
                pass


def _hash_of(file):
    """Return the SHA-256 of a file; text counts the same with the line ends of Windows."""
    if file.suffix in (".json", ".txt"):
        return hashlib.sha256(file.read_bytes().replace(b"\r\n", b"\n")).hexdigest()
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def read_weights(path, framework="pt"):
    """Return the arrays of a ``.safetensors``, checked by `check_files` first.

    Parameters
    ----------
    path : path
    framework : {"pt", "np"}
        Whether to return tensors on the CPU or numpy arrays.

    Returns
    -------
    dict of str to tensor or array

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    DamagedFileError
        If the file differs from the provenance of its folder, or is not a complete ``.safetensors``.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"Expected weights at {path}, but there is no such file. Check the folder.")
    check_files(path)
    with naming_damage(path, "Get it again from where you have it"), safe_open(path, framework) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


# --- a file with a seal ---------------------------------------------------------------------------


def with_room_for_seal(notes):
    """Return a dictionary (JSON-able) as metadata text for a ``.safetensors``, with room for a seal."""
    if _SEAL in notes:
        raise ValueError(f"{_SEAL!r} is the name of the seal: choose another name.")
    return to_json({**notes, _SEAL: _ROOM})


def seal(path):
    """Write the hashes of the header and of the data into a ``.safetensors``.

    Parameters
    ----------
    path : path
        File whose metadata come from `with_room_for_seal`.
    """
    with Path(path).open("rb+") as file:
        header = _read_header(file)
        of_data = hashlib.file_digest(file, "sha256").hexdigest()
        at = header.index(_ROOM.encode())
        header = header.replace(_ROOM.encode(), (64 * "0" + of_data).encode(), 1)
        file.seek(8 + at)
        file.write((hashlib.sha256(header).hexdigest() + of_data).encode())


def check_seal(path, notes, whole=True):
    """Return the metadata of a ``.safetensors``; raise an error if it has changed since it was sealed.

    Parameters
    ----------
    path : path
    notes : str
        The metadata text of the file. Without a seal in it, nothing is checked.
    whole : bool
        Whether to check the arrays. False checks only names, shapes and metadata.

    Returns
    -------
    dict
        The dictionary that was passed to `with_room_for_seal`.

    Raises
    ------
    DamagedFileError
        If a hash differs.
    """
    with naming_damage(path):
        notes = json.loads(notes)
        sealed = notes.pop(_SEAL, None)
        if sealed is None:
            if any(isinstance(value, str) and _LIKE_A_SEAL.fullmatch(value) for value in notes.values()):
                raise ValueError("the name of its seal is damaged")
            return notes
        with Path(path).open("rb") as file:
            header = _read_header(file).replace(sealed[:64].encode(), 64 * b"0", 1)
            right = hashlib.sha256(header).hexdigest() == sealed[:64]
            if right and whole:
                right = hashlib.file_digest(file, "sha256").hexdigest() == sealed[64:]
        if not right:
            raise ValueError("its content has not the hash that was stored with it")
    return notes


def _read_header(file):
    return file.read(int.from_bytes(file.read(8), "little"))
