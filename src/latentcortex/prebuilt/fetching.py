"""Fetch an archive of a simulated world, unless building is faster."""

import contextlib
import hashlib
import json
import os
import shutil
import time
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from latentcortex import store
from latentcortex.mini import build
from latentcortex.mini.naming import folder_names
from latentcortex.prebuilt.archives import DamagedArchiveError, NotUsableError, TooSlowError, unpack
from latentcortex.store import transfer

TABLE = Path(__file__).with_name("worlds.json")
_FIELDS = {
    "address": str,
    "sha256": str,
    "n_bytes": int,
    "unpacked_bytes": int,
    "build_seconds": (int, float),
}
_BLOCK = 1 << 18
# Attempts in a row that bring no new byte, and seconds without a byte, after which a server is given up.
_TRIES, _SILENCE = 2, 10
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
    whole. If the process is killed, the next call goes on with what came.

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
        If the archive can't be had, takes longer than building, is not what the entry says, or can't be
        unpacked.
    OSError
        If the cache can't be written to.
    """
    folder = Path(cache) / name
    store.make_folder(folder.parent)
    # The lock and the place of an unfinished folder are those of `mini.build`.
    with _waiting(FileLock(f"{folder}.lock"), name):
        if folder.is_dir():
            return folder
        if not entry["n_bytes"] + entry["unpacked_bytes"] <= store.free_bytes(folder.parent):
            raise NotUsableError("the disk has no room to unpack it")
        partial = folder.with_name(f"{name}.partial")
        work = partial / "fetched"
        try:
            shutil.rmtree(work / name, ignore_errors=True)  # half unpacked by a process that was killed
            tree = unpack(_bring(entry, work, name), work, name)
            for file in tree.rglob("*"):
                if file.is_file():
                    store.flush(file)
            tree.rename(folder)
        except (OSError, RuntimeError, ValueError) as error:  # whatever it is, the world can be built
            raise NotUsableError(f"it could not be put into the cache ({error})") from error
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


def _bring(entry, work, name):
    """Bring the file of an entry into a folder and return its path; raise `NotUsableError` if that fails."""
    address, path = entry["address"], work / f"{name}.zip"
    pace = _Pace(entry["n_bytes"], entry["build_seconds"])
    if address.startswith("file:"):
        address = url2pathname(urlsplit(address).path)
    if "://" not in address:
        store.make_folder(work)
        _copy(Path(address), path, entry, pace)
        return path
    remote = transfer.Remote(address, path.name, entry["n_bytes"], entry["sha256"])
    (outcome,) = transfer.fetch([remote], work, tries=_TRIES, timeout=_SILENCE, watch=pace)
    if outcome.state == "failed":
        # The first sentence says what was wrong; the others advise people who ran a download.
        raise NotUsableError(f"it could not be read ({outcome.text.split('. ')[0].rstrip('.')})")
    return path


def _copy(source, target, entry, pace):
    """Copy a file, such as one on a mounted drive, if that is fast enough and brings what the entry says."""
    digest, done = hashlib.sha256(), 0
    progress = tqdm(total=entry["n_bytes"], desc=f"Copying {target.stem}", unit="B", unit_scale=True)
    try:
        with source.open("rb") as read, target.open("wb") as written, progress as bar:
            while block := read.read(_BLOCK):
                written.write(block)
                digest.update(block)
                done += len(block)
                bar.update(len(block))
                pace(done, len(block), 0)
    except OSError as error:
        raise NotUsableError(f"it could not be read ({error})") from error
    if digest.hexdigest() != entry["sha256"]:
        raise DamagedArchiveError("its checksum is not the one expected")


class _Pace:
    """Ends a fetch (see `transfer.fetch`) that would take longer than building."""

    def __init__(self, n_bytes, seconds):
        self.n_bytes, self.seconds, self.came, self.start = n_bytes, seconds, 0, time.monotonic()

    def __call__(self, done, n_new, pause):
        """Raise `TooSlowError` if the rest takes too long at the rate so far, a pause included."""
        self.came += n_new
        passed = time.monotonic() - self.start + pause
        rate = self.came / max(passed, 1e-6)
        needed = passed + (max(0, self.n_bytes - done) / rate if rate else 0)
        if passed > _FIRST_LOOK and not needed <= self.seconds:
            raise TooSlowError(
                f"at {rate / 1e6:.2f} MB/s it would take {needed:.0f} s, and building it takes about "
                f"{self.seconds:.0f} s"
            )


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
