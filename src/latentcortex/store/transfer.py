"""Fetch files from web servers: several at once, over any number of interruptions, and verify them.

A `Remote` says where a file lies and where it goes. `fetch` brings a list of them into a folder, and notes
in a manifest what came. A file gets its name when it is whole. Until then, what came of it lies beside it,
and the next call goes on there, also after the process was killed.
"""

import bisect
import contextlib
import dataclasses
import functools
import hashlib
import itertools
import json
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path, PurePosixPath

from filelock import FileLock, Timeout

from latentcortex.store import remote_bytes
from latentcortex.store.bars import Bars
from latentcortex.store.first_bytes import check_first_bytes
from latentcortex.store.manifest import MANIFEST, Manifest, fits
from latentcortex.store.partial import Partial
from latentcortex.store.remote_bytes import ChangedError, PassingError, RefusedError, TransferError
from latentcortex.store.writing import make_folder


@dataclasses.dataclass(frozen=True)
class Remote:
    """A file on a server, or parts of one, and where it goes.

    Attributes
    ----------
    url : str
    path : str
        Where it goes in the folder, with slashes.
    n_bytes : int or None
        Size of the whole remote file, if it is known for sure: another size is refused.
    sha256, md5 : str or None
        Hashes of the whole remote file, if known.
    ranges : tuple of (int, int), optional
        (offset, length) of the parts wanted. They are written one after the other.
    header : bytes
        Written in place of the first so many bytes of the parts: a header that fits what is left of a file.
    about : int or None
        Size of the whole remote file where it is only expected: for plans.
    optional : str
        Why it is normal that the server refuses or lacks this file; empty where it is not normal.
    """

    url: str
    path: str
    n_bytes: int | None = None
    sha256: str | None = None
    md5: str | None = None
    ranges: tuple[tuple[int, int], ...] | None = None
    header: bytes = b""
    about: int | None = None
    optional: str = ""

    def __post_init__(self):
        path = PurePosixPath(self.path)
        if not self.path or path.is_absolute() or ".." in path.parts or "\\" in self.path:
            raise ValueError(f"Expected a path inside of the target folder, got {self.path!r}.")

    @property
    def size(self):
        """Return the bytes of the local file, or None where they are unknown; of plans, as expected."""
        return self.n_bytes or self.about if self.ranges is None else self.ends[-1]

    @functools.cached_property
    def ends(self):
        """Return 0, and where each of the ranges ends in the local file."""
        return list(itertools.accumulate((length for _, length in self.ranges), initial=0))

    @functools.cached_property
    def key(self):
        """Return a name of what the local file holds."""
        return hashlib.sha256(json.dumps([self.url, self.ranges]).encode()).hexdigest()[:16]

    @property
    def whole(self):
        """Return the same file without ranges."""
        return dataclasses.replace(self, ranges=None, header=b"")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a file.

    Attributes
    ----------
    remote : Remote
    state : {"fetched", "there already", "refused as expected", "failed"}
    text : str
        What was wrong.
    n_bytes : int
        Of the file that is there.
    """

    remote: Remote
    state: str
    text: str = ""
    n_bytes: int = 0


def fetch(
    remotes, folder, *, connections=8, block=2**23, tries=6, pause=1.0, timeout=30.0, quiet=False, watch=None
):
    """Bring files into a folder, those first that come first; verify those that are there already.

    Parameters
    ----------
    remotes : sequence of Remote
    folder : path
        The manifest lies in it: ``latentcortex_download.json`` with url, size, ETag, sha256 and date of
        each file.
    connections : int
        Files fetched at once.
    block : int
        Bytes of a file that are fetched again at most after the process was killed.
    tries : int
        Attempts without a new byte after which a file is given up.
    pause : float
        Seconds before the second attempt; they double up to a minute.
    timeout : float
        Seconds after which a silent server is asked again.
    quiet : bool
        Show no bars.
    watch : callable, optional
        Called as ``watch(done, n_new, pause)``, by any of the threads, after each piece that came and before
        each pause: bytes of the file on disk, how many of them are new, seconds of the pause. What it raises
        ends the fetch.

    Returns
    -------
    list of Outcome
        One per file, in the order asked for. One file that can't be had does not stop the others.

    Raises
    ------
    OSError
        The disk is full or can't be written to. What came stays.
    RuntimeError
        Another process fetches into this folder.
    """
    remotes, folder = list(remotes), make_folder(folder)
    if len({remote.path for remote in remotes}) < len(remotes):
        raise ValueError("Two of the files go to the same path.")
    try:
        with FileLock(folder / f".{MANIFEST}.lock").acquire(timeout=0):
            bars = Bars(sum(remote.size or 0 for remote in remotes), connections, quiet)
            patience = {"tries": tries, "pause": pause, "timeout": timeout}
            job = _Job(folder, bars, block, patience, watch)
            with contextlib.closing(bars), ThreadPoolExecutor(connections) as pool:
                futures = [pool.submit(job.run, remote) for remote in remotes]
                try:
                    for future in as_completed(futures):
                        future.result()
                except BaseException:  # also of Ctrl-C: the threads come to an end, and note what they have
                    job.stop.set()
                    pool.shutdown(cancel_futures=True)
                    raise
            return [future.result() for future in futures]
    except Timeout as error:
        raise RuntimeError(f"Another download into {folder} is at work. Wait for it, or end it.") from error


def what_is_missing(remotes, folder):
    """Return those of the files that no download has brought whole, by name and size alone."""
    noted = Manifest(Path(folder)).entries
    return [remote for remote in remotes if not fits(noted.get(remote.path), remote, Path(folder))]


class _Job:
    """Fetches one file after the other in each of the threads."""

    def __init__(self, folder, bars, block, patience, watch):
        self.folder, self.bars, self.block, self.patience = folder, bars, block, patience
        self.watch = watch or (lambda _done, _n_new, _pause: None)
        self.manifest, self.stop = Manifest(folder), threading.Event()

    def run(self, remote):
        """Return the `Outcome` of a file."""
        try:
            with self.bars.of(PurePosixPath(remote.path).name, remote.size) as tell:
                there = self._is_there(remote)
                if there:
                    tell(remote.size or 0)
                else:
                    self._fetch(remote, tell)
                n_bytes = (self.folder / remote.path).stat().st_size
                return Outcome(remote, "there already" if there else "fetched", n_bytes=n_bytes)
        except RefusedError as error:
            state = "refused as expected" if remote.optional else "failed"
            return Outcome(remote, state, remote.optional or str(error))
        except TransferError as error:
            return Outcome(remote, "failed", str(error))

    def _is_there(self, remote):
        path, entry = self.folder / remote.path, self.manifest.entries.get(remote.path)
        if not path.is_file():
            return False
        if entry:  # it was fetched by us: anything else than what came, or is wanted, is fetched again
            wanted = remote.sha256 if remote.ranges is None else None
            known = fits(entry, remote, self.folder) and wanted in (None, entry["sha256"])
            return known and hash_of(path) == entry["sha256"]
        # Brought by another program. A file that is as long as the server's own is taken for whole.
        state = remote_bytes.look(remote.url, **self.patience)
        taken = remote.whole if path.stat().st_size == state["total"] else remote
        with path.open("rb") as file:
            begins = file.read(max(64, len(remote.header)))
        if path.stat().st_size != (state["total"] if taken.ranges is None else taken.size) or not (
            begins.startswith(taken.header)
        ):
            raise TransferError(
                f"{path} is there and has {path.stat().st_size} bytes, but the server's file has "
                f"{state['total']}. It was not fetched by this command, so it is left alone: move it away or "
                "delete it, and run the command again."
            )
        check_first_bytes(begins, remote.path, str(path))
        self._check_hashes(taken, path)
        self.manifest.note(taken, path, state, hash_of(path))
        return True

    def _fetch(self, remote, tell):
        path = self.folder / remote.path
        for attempt in range(2):
            partial = Partial(path, remote.key, self.block)
            try:
                self._complete(remote, partial, tell)
            except TransferError:
                partial.remove_if_empty()
                raise
            try:
                self._check_hashes(remote, partial.path)
                break
            except TransferError:
                partial.restart()
                if attempt:
                    raise
        # First the note, then the name: a file that has its name is in the manifest.
        self.manifest.note(remote, partial.path, partial.state, hash_of(partial.path))
        partial.finish(path)

    def _check_hashes(self, remote, path):
        for name in ("sha256", "md5"):
            expected = getattr(remote, name)
            if expected and remote.ranges is None and hash_of(path, name) != expected:
                raise TransferError(
                    f"{remote.url}: the file that came has not the {name} that its authors give "
                    f"({expected}). It may have been replaced since; see its page."
                )

    def _complete(self, remote, partial, tell):
        """Ask again and again until all bytes are on disk, as long as new ones come."""
        failures, changes, furthest = 0, 0, partial.done
        while True:
            try:
                with partial.writing():
                    return self._ask(remote, partial, tell)
            except ChangedError as fault:
                changes += 1
                if changes == 3:
                    raise TransferError(
                        f"{fault}; it changed {changes} times during the download."
                    ) from fault
                partial.restart()
            except PassingError as fault:
                if self.stop.is_set():
                    raise TransferError("stopped") from fault
                failures = 1 if partial.done > furthest else failures + 1
                if failures == self.patience["tries"]:
                    raise TransferError(
                        f"{fault}; given up after {failures} attempts that brought no new byte. Run the "
                        "command again to go on from there."
                    ) from fault
                wait = remote_bytes.seconds_to_wait(failures, self.patience["pause"], fault.seconds)
                self.watch(partial.done, 0, wait)
                self.stop.wait(wait)
            furthest = max(furthest, partial.done)

    def _ask(self, remote, partial, tell):
        """Fetch what is missing, by one request for a whole file and one for each range."""
        tell(partial.done)
        if remote.ranges is None:
            if partial.done != partial.state.get("total"):
                self._receive(remote, partial, tell, partial.done)
                partial.state["total"] = partial.done  # which the server need not have told
            return
        partial.add(remote.header[partial.done :])
        while partial.done < remote.size:
            number = bisect.bisect_right(remote.ends, partial.done) - 1
            offset, length = remote.ranges[number]
            start = offset + partial.done - remote.ends[number]
            self._receive(remote, partial, tell, start, offset + length)

    def _receive(self, remote, partial, tell, start, stop=None):
        """Append bytes [start, stop) of the remote file."""
        with remote_bytes.opened(remote.url, start, stop, partial.state, self.patience["timeout"]) as answer:
            if remote.n_bytes and answer.total not in (None, remote.n_bytes):
                raise PassingError(
                    f"{remote.url} has {answer.total:,} bytes by the server, but {remote.n_bytes:,} by the "
                    "list of its authors"
                )
            if stop is not None and stop > (answer.total or stop):
                raise TransferError(
                    f"{remote.url} has {answer.total:,} bytes, but a part up to byte {stop:,} is wanted. "
                    "Is it another file than its name says?"
                )
            if answer.start < start:  # a server without ranges sends all again
                partial.restart()
            partial.state = partial.state or answer.state
            pieces = answer.pieces()
            for piece in pieces if answer.start else _checked(pieces, remote):
                partial.add(piece)
                tell(partial.done, len(piece))
                self.watch(partial.done, len(piece), 0)
                if self.stop.is_set():
                    raise PassingError("stopped")


def _checked(pieces, remote):
    """Yield the pieces of a file, after a look at its first 64 bytes."""
    begins = b""
    for piece in pieces:
        begins += piece
        if len(begins) >= 64:
            break
    check_first_bytes(begins, remote.path, remote.url)
    yield begins
    yield from pieces


def hash_of(path, name="sha256"):
    """Return the hash of a file as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, name).hexdigest()
