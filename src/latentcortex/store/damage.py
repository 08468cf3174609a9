"""Hashes that tell a damaged file, and errors that name it.

Two kinds of files know their own hash. A model folder lists the hashes of its files in its
``provenance.json``. A ``.safetensors`` of this package holds a seal in its header: the hash of the
header and the hash of the data behind it. An ``.npz`` needs none, because zip files hold a checksum of
each array.
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
    """A file does not hold what was written into it."""


@contextlib.contextmanager
def naming_damage(path, advice="Delete it, and run again what writes it"):
    """Turn what readers raise for bytes that make no sense into a `DamagedFileError`.

    Parameters
    ----------
    path : path
        File that is read inside the ``with`` block, and named by the error.
    advice : str
        What to do, without the full stop.
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
        Holds a ``provenance.json``; without one, nothing is written.
    files : iterable of path, optional
        Default: all files of the folder. With an empty list, no file is checked any more: do this
        before files change.
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
    """Raise an error if a file of a model folder is not the one that its provenance names.

    The ``provenance.json`` is looked for in the folder itself and in the two folders above. Files that
    it does not list are not checked. In a folder without one, such as a reader's own, the check is that
    each ``.json`` can be read and that each ``.safetensors`` has a header that fits its size. A file is
    hashed once per process, as long as it does not change.

    Parameters
    ----------
    path : path
        The model folder, a folder in it, or one of its files.

    Raises
    ------
    DamagedFileError
        If a file has another hash, is not there, or makes no sense.
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
        Tensors on the CPU, or arrays of numpy.

    Returns
    -------
    dict of str to tensor or array

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    DamagedFileError
        If it is not the file that its folder's provenance names, or no whole ``.safetensors``.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"Expected weights at {path}, but there is no such file. Check the folder.")
    check_files(path)
    with naming_damage(path, "Get it again from where you have it"), safe_open(path, framework) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


# --- a file with a seal ---------------------------------------------------------------------------


def with_room_for_seal(notes):
    """Return a dictionary (JSON-able) as text for the metadata of a ``.safetensors`` to be sealed."""
    if _SEAL in notes:
        raise ValueError(f"{_SEAL!r} is the name of the seal: choose another name.")
    return to_json({**notes, _SEAL: _ROOM})


def seal(path):
    """Write the hashes of the header and of the data into a ``.safetensors``.

    Parameters
    ----------
    path : path
        A file whose metadata is a text from `with_room_for_seal`.
    """
    with Path(path).open("rb+") as file:
        header = _read_header(file)
        of_data = hashlib.file_digest(file, "sha256").hexdigest()
        at = header.index(_ROOM.encode())
        header = header.replace(_ROOM.encode(), (64 * "0" + of_data).encode(), 1)
        file.seek(8 + at)
        file.write((hashlib.sha256(header).hexdigest() + of_data).encode())


def check_seal(path, notes, whole=True):
    """Raise an error if a sealed ``.safetensors`` is not as it was written.

    Parameters
    ----------
    path : path
    notes : str
        The text that its metadata holds. Without a seal in it, nothing is checked.
    whole : bool
        False checks names, shapes and metadata, and leaves the arrays unread.

    Returns
    -------
    dict
        What was given to `with_room_for_seal`.

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
