"""Fetch an archive of a simulated world, unless building is faster."""

import contextlib
import hashlib
import http.client
import json
import os
import shutil
import time
import urllib.error
import urllib.request
from pathlib import Path

from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from latentcortex import store
from latentcortex.mini import build
from latentcortex.mini.naming import folder_names
from latentcortex.prebuilt.archives import NotUsableError, TooSlowError, unpack

TABLE = Path(__file__).with_name("worlds.json")
_FIELDS = {
    "address": str,
    "sha256": str,
    "n_bytes": int,
    "unpacked_bytes": int,
    "build_seconds": (int, float),
}
_BLOCK = 1 << 18
# Seconds without a single byte after which a server is given up.
_SILENCE = 10
# Seconds after which the rate is judged. A connection gains speed in its first second.
_FIRST_LOOK = 3


def read_table(path=TABLE):
    """Return the table of archives: a dictionary of their entries by the name of the folder they hold.

    Parameters
    ----------
    path : path
        JSON. An entry has ``address`` (https, or a file next to the table), ``sha256``, ``n_bytes``,
        ``unpacked_bytes`` and ``build_seconds``, which is how long building the same takes.

    Raises
    ------
    ValueError
        If it is no such table; the message names the entry.
    """
    path = Path(path)
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON file: {error}. Remove it or make it again.") from error
    for name, entry in table.items() if isinstance(table, dict) else [(path, table)]:
        wrong = [
            field
            for field, kind in _FIELDS.items()
            if not (isinstance(entry, dict) and isinstance(entry.get(field), kind))
        ]
        if wrong:
            raise ValueError(f"{path}: the entry {name} has no valid {', '.join(wrong)}.")
        if "://" not in entry["address"]:
            entry["address"] = str(path.parent / entry["address"])
    return table


def fetch_world(world="standard", seed=0, cache=None, sizes=None, table=None):
    """Fetch a simulated world into the cache, or at least its scenes, where that is faster than building.

    Does nothing if the world is in the cache, and asks for nothing if no archive of it is published or if
    the environment variable ``LATENTCORTEX_OFFLINE`` is set (to anything but 0). What can't be fetched is
    named in one line, and `mini.build.open_tree` builds it.

    Parameters
    ----------
    world, seed, cache, sizes
        As for `mini.build.open_tree`.
    table : dict, optional
        Default: `read_table()`.

    Returns
    -------
    pathlib.Path or None
        The folder that is in the cache now: the world or its scenes. None if neither is.

    Raises
    ------
    OSError
        If the cache can't be written to.
    """
    cache = store.cache_folder() if cache is None else Path(cache).expanduser()
    table = read_table() if table is None else table
    offline = os.environ.get("LATENTCORTEX_OFFLINE", "0") not in {"", "0"}
    for name in folder_names(world, seed, sizes):
        if (cache / name).is_dir():
            return cache / name
        if name in table and not (offline and "://" in table[name]["address"]):
            try:
                return fetch(name, table[name], cache)
            except NotUsableError as reason:
                print(f"{name} was not fetched, because {reason}. What is missing will be built.")
    return None


def fetch(name, entry, cache):
    """Fetch one archive and put its folder into the cache; return the folder.

    Processes that fetch or build the same folder wait for each other. The folder gets its name when it is
    whole.

    Parameters
    ----------
    name : str
        Of the folder.
    entry : dict
        Of `read_table`.
    cache : path

    Raises
    ------
    NotUsableError
        If the archive can't be had, takes longer than building, or is not what the entry says.
    OSError
        If the cache can't be written to.
    """
    folder = Path(cache) / name
    store.make_folder(folder.parent)
    # The lock and the place of an unfinished folder are those of `mini.build`.
    with _waiting(FileLock(f"{folder}.lock"), name):
        if folder.is_dir():
            return folder
        if store.free_bytes(folder.parent) < entry["n_bytes"] + entry["unpacked_bytes"]:
            raise NotUsableError("the disk has no room to unpack it")
        partial = folder.with_name(f"{name}.partial")
        work = partial / "fetched"
        shutil.rmtree(work, ignore_errors=True)  # of a process that was ended
        work.mkdir(parents=True)
        try:
            _download(entry, work / "archive.zip", name)
            tree = unpack(work / "archive.zip", work, name)
            for file in tree.rglob("*"):
                if file.is_file():
                    store.flush(file)
            tree.rename(folder)
            shutil.rmtree(partial)
        finally:
            shutil.rmtree(work, ignore_errors=True)
            with contextlib.suppress(OSError):  # not empty: a build that was ended goes on from there
                partial.rmdir()
    return folder


@contextlib.contextmanager
def _waiting(lock, name):
    """Hold a lock, and say so if another process has it."""
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"Another process is making {name}: waiting for it.")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _download(entry, path, name):
    """Write the file of an entry to a path; raise `NotUsableError` if it is another one or too slow."""
    n_bytes, seconds = entry["n_bytes"], entry["build_seconds"]
    digest, start, done = hashlib.sha256(), time.monotonic(), 0
    try:
        with _open(entry["address"]) as source, path.open("wb") as file:
            _check_head(source, n_bytes)
            with tqdm(total=n_bytes, desc=f"Fetching {name}", unit="B", unit_scale=True) as bar:
                # read1 returns what is there, so that a slow server can't hold the judgement up.
                while block := source.read1(_BLOCK):
                    file.write(block)
                    digest.update(block)
                    done += len(block)
                    bar.update(len(block))
                    if done > n_bytes:
                        raise NotUsableError(f"it is larger than the {n_bytes / 1e6:.1f} MB expected")
                    passed = time.monotonic() - start
                    if passed > _FIRST_LOOK and passed / done * n_bytes > seconds:
                        raise TooSlowError(
                            f"at {done / passed / 1e6:.2f} MB/s it would take "
                            f"{passed / done * n_bytes:.0f} s, and building it takes about {seconds:.0f} s"
                        )
    except urllib.error.HTTPError as error:
        raise NotUsableError(f"the server answered {error.code} ({error.reason})") from error
    except (OSError, http.client.HTTPException) as error:
        raise NotUsableError(f"it could not be read ({error})") from error
    if done < n_bytes:
        raise NotUsableError(f"it ended after {done / 1e6:.1f} of {n_bytes / 1e6:.1f} MB")
    if digest.hexdigest() != entry["sha256"]:
        raise NotUsableError("its checksum is not the one expected")


def _open(address):
    """Open an address of the web, or a file."""
    if "://" in address:
        return urllib.request.urlopen(address, timeout=_SILENCE)
    return Path(address).open("rb")


def _check_head(source, n_bytes):
    """Refuse a page of a web site, or a file of another size, before it is read."""
    headers = getattr(source, "headers", {})
    if headers.get("Content-Type", "").startswith("text/html"):
        raise NotUsableError("its address leads to a web page")
    size = headers.get("Content-Length", "")
    if size.isdigit() and int(size) != n_bytes:
        raise NotUsableError(f"it has {int(size):,} bytes instead of {n_bytes:,}")


def add_arguments(parser):
    """Add the arguments of `run` to a parser."""
    parser.description = (
        "Fetch a simulated world, or its scenes, into the cache, where an archive is published and where "
        "fetching is faster than building. What is missing is built when a chapter opens the world."
    )
    parser.add_argument("--world", default="standard", choices=build.cortex.WORLDS)
    parser.add_argument("--seed", type=int, default=0, help="default: 0")


def run(args):
    """Fetch the world that the arguments of `add_arguments` ask for, and say what the cache holds now."""
    found = fetch_world(args.world, args.seed)
    print(f"In the cache: {found}" if found else "Nothing was fetched. The world is built when it is opened.")
