"""Find, list and remove results in the cache, which can all be computed again."""

import datetime
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pooch
from filelock import FileLock, Timeout

from latentcortex.store.writing import is_in_use

_WORLD = re.compile(r"mini-.+-seed\d+-[0-9a-f]{12}")
_KEY = re.compile(r"(.+-)?[0-9a-f]{8,64}")
_ARRAYS = {".npz", ".safetensors"}
# What a folder of kept parts may hold.
_PARTS = _ARRAYS | {".json", ".csv", ".lock", ".tmp", ".partial"}


def cache_folder():
    """Return the folder for results that can be computed again.

    Returns
    -------
    pathlib.Path
        ``$LATENTCORTEX_CACHE`` if it is set, otherwise the user's cache folder. A ``~`` and the names of
        environment variables are expanded. The folder is not made here.

    Raises
    ------
    ValueError
        If the path names an unknown user, or an environment variable that is not set.
    NotADirectoryError
        If the path is a file.
    """
    text = os.environ.get("LATENTCORTEX_CACHE", "")
    if not text.strip():
        return Path(pooch.os_cache("latentcortex"))
    folder = expanded_path(text, "The environment variable LATENTCORTEX_CACHE", "a folder you may write to")
    if os.path.isfile(folder):  # noqa: PTH113 (a folder that can't be read is no error here)
        raise NotADirectoryError(
            f"The environment variable LATENTCORTEX_CACHE is {text!r}, which is a file. Set it to a folder "
            "that you may write to, or unset it to use the user's cache folder."
        )
    return folder


def expanded_path(text, origin, what):
    """Return a path in which a ``~`` and the names of environment variables are expanded.

    Parameters
    ----------
    text : str
    origin : str
        Origin of the text, for error messages.
    what : str
        What the variables should be set to, for error messages.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    ValueError
        If the text names an environment variable that is not set, or an unknown user.
    """
    # Twice, because the value of a variable may name another one, such as $HOME.
    found = os.path.expandvars(os.path.expandvars(text)).strip()
    unset = re.search(r"\$(\w+|\{\w+\})", found)
    if unset or not found:
        raise ValueError(
            f"{origin} is {text!r}, but {unset[0] if unset else text} is not set. Set this environment "
            f"variable to {what}."
        )
    try:
        return Path(found).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{origin} is {text!r}: {error} Write the whole path.") from error


@dataclass(frozen=True)
class CacheEntry:
    """Describe a part of the cache that is removed as a whole.

    Attributes
    ----------
    name : str
        Path within the cache.
    path : pathlib.Path
    n_bytes : int
        Size of all files. A file that several worlds share is counted once.
    last_used : datetime.datetime
        When a file was last read or written, as far as the file system records it.
    kind : {"world", "products", "kept parts", "temporary", "unknown"}
        ``"world"`` is a simulated world, or files that the worlds of a seed share. ``"products"`` are files
        of arrays, and ``"kept parts"`` are parts of long computations. ``"temporary"`` files were left by a
        killed build or writer, or belong to a running one.
    """

    name: str
    path: Path
    n_bytes: int
    last_used: datetime.datetime
    kind: str


def cache_contents(folder=None):
    """Return the contents of the cache.

    Parameters
    ----------
    folder : path, optional
        By default `cache_folder`.

    Returns
    -------
    list of CacheEntry
        Entries sorted by name. The list is empty if there is no cache.
    """
    folder = cache_folder() if folder is None else Path(folder)
    if not folder.is_dir():
        return []
    found = list(_find(folder))
    # Temporary files also lie in folders that are measured: they are counted first, on their own.
    found += [(path, "temporary") for path in folder.rglob(".*.tmp") if (path, "temporary") not in found]
    found.sort(key=lambda entry: entry[1] != "temporary")
    seen = set()
    return sorted((_entry(folder, path, kind, seen) for path, kind in found), key=lambda entry: entry.name)


def _find(folder):
    """Yield paths and their kinds; a folder of which nothing is known is one entry."""
    for path in sorted(folder.iterdir()):
        if path.is_symlink() or not path.is_dir():
            # The locks of worlds are empty, and waiting processes hold on to them.
            if path.suffix != ".lock":
                yield path, _kind_of_file(path)
        elif _WORLD.fullmatch(path.name):
            yield path, "world"
        elif path.suffix == ".partial" and _WORLD.fullmatch(path.stem):
            yield path, "temporary"
        elif _KEY.fullmatch(path.name) and _suffixes(path) <= _PARTS:
            yield path, "kept parts"
        else:
            within = list(_find(path))
            is_unknown = within and all(kind == "unknown" for _, kind in within)
            yield from [(path, "unknown")] if is_unknown else within


def _kind_of_file(path):
    if path.name.startswith(".") and path.suffix == ".tmp":
        return "temporary"
    return "products" if path.suffix in _ARRAYS and not path.is_symlink() else "unknown"


def _suffixes(folder):
    return {file.suffix for file in folder.rglob("*") if not file.is_dir()}


def _entry(folder, path, kind, seen):
    """Measure an entry; `seen` holds the files that are counted already."""
    n_bytes = last_used = 0
    for file in (path, *path.rglob("*")) if path.is_dir() and not path.is_symlink() else (path,):
        try:
            state = file.lstat()
        except FileNotFoundError:  # removed in this moment
            continue
        # A folder's time of access is that of this very look.
        last_used = max(last_used, state.st_mtime, 0 if file.is_dir() else state.st_atime)
        if not file.is_dir() and (state.st_dev, state.st_ino) not in seen:
            seen.add((state.st_dev, state.st_ino))
            n_bytes += state.st_size
    when = datetime.datetime.fromtimestamp(last_used).astimezone()
    return CacheEntry(path.relative_to(folder).as_posix(), path, n_bytes, when, kind)


def remove_cached(entries):
    """Remove entries from the cache, and return their size in bytes.

    Parameters
    ----------
    entries : iterable of CacheEntry
        Entries from `cache_contents`. An entry that no longer exists is skipped.

    Returns
    -------
    int
        Number of bytes that the removed entries took.

    Raises
    ------
    ValueError
        If an entry is not a `CacheEntry`. Then nothing is removed.
    RuntimeError
        If a running process is writing an entry. The entries before it are removed.
    """
    entries = [entries] if isinstance(entries, CacheEntry) else list(entries)
    wrong = [entry for entry in entries if not isinstance(entry, CacheEntry)]
    if wrong:
        raise ValueError(f"Expected entries from cache_contents(), got {wrong[0]!r}. Nothing was removed.")
    return sum(_remove(entry) for entry in entries)


def _remove(entry):
    path = entry.path
    if path.is_symlink() or path.is_file():
        if is_in_use(path):
            raise RuntimeError(f"{path} is being written by a process that is at work. End it first.")
        path.unlink(missing_ok=True)
    elif path.is_dir() and _WORLD.fullmatch(path.name.removesuffix(".partial")):
        lock = FileLock(path.with_name(f"{path.name.removesuffix('.partial')}.lock"))
        try:
            with lock.acquire(timeout=0):
                shutil.rmtree(path)
        except Timeout as error:
            raise RuntimeError(
                f"{path} is being built by another process. Wait for it, or end it."
            ) from error
    elif path.is_dir():
        at_work = [file for file in path.rglob(".*.tmp") if is_in_use(file)]
        if at_work:
            raise RuntimeError(f"{at_work[0]} is being written by a process that is at work. End it first.")
        shutil.rmtree(path)
    else:
        return 0
    return entry.n_bytes
