"""Write files atomically, after checking folders and disk space."""

import contextlib
import errno
import functools
import hashlib
import os
import platform
import re
import shutil
import tempfile
import time
from pathlib import Path

# .NAME.MACHINE-PROCESS-RANDOM.tmp
_TEMPORARY = re.compile(r"\..+\.(?P<machine>[0-9a-f]{8})-(?P<process>\d+)-\w+\.tmp")
_DAY = 24 * 60 * 60
_MAKE_ROOM = (
    "Make room there (`latentcortex cache` lists what can be computed again), or set the environment "
    "variable LATENTCORTEX_CACHE to a folder on another disk."
)


@contextlib.contextmanager
def replacing(path):
    """Yield a temporary path next to `path`, which is renamed on success and deleted on failure.

    The file is flushed to disk before it is renamed. Temporary files of killed writers are removed from the
    folder first. A file counts as left over if its process on this machine has ended, or if it is from
    another machine and was not written to for a day.

    Parameters
    ----------
    path : path
        File to be written. Its folder is made.

    Raises
    ------
    OSError
        If the folder cannot be made or written to.
    """
    path = Path(path)
    make_folder(path.parent)
    for left in path.parent.glob(".*.tmp"):
        if is_left_over(left):
            left.unlink(missing_ok=True)  # another writer may clean up at the same moment
    prefix = f".{path.name}.{_machine()}-{os.getpid()}-"
    handle, name = tempfile.mkstemp(prefix=prefix, suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files for the owner only; give what an ordinary new file would have.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        flush(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def flush(path):
    """Wait until the content of a file has reached the disk, because before that a power cut can empty it."""
    with Path(path).open("rb+") as file:
        os.fsync(file.fileno())


def is_left_over(path):
    """Return whether a file is a temporary file of `replacing` whose writer is gone.

    Parameters
    ----------
    path : path
        Any file.

    Returns
    -------
    bool
        True if the writer was a process of this machine that has ended, or if the file was last
        written to more than a day ago.
    """
    found = _TEMPORARY.fullmatch(Path(path).name)
    if not found:
        return False
    if found["machine"] == _machine() and not _is_running(int(found["process"])):
        return True
    try:
        return time.time() - Path(path).stat().st_mtime > _DAY
    except FileNotFoundError:  # renamed in this moment: its writer is alive
        return False


def is_in_use(path):
    """Return whether a file is a temporary file of `replacing` whose writer may still be running."""
    return bool(_TEMPORARY.fullmatch(Path(path).name)) and not is_left_over(path)


@functools.cache
def _machine():
    """Name what process ids refer to: a host, since it was started, seen from one container."""
    parts = [platform.node()]
    with contextlib.suppress(OSError):  # Linux has both files, other systems have neither
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:8]


def _is_running(process):
    if os.name != "posix":  # on Windows, signal 0 would end the process
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def make_folder(folder):
    """Make a folder and its parents unless they exist, and return it.

    Parameters
    ----------
    folder : path

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    OSError
        If the folder cannot be made. The message says what to do.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        # Of os.path, because Path.is_file raises where a folder above can't be read.
        files = [path for path in (folder, *folder.parents) if os.path.isfile(path)]  # noqa: PTH113
        reason = f"{files[0]} is a file, not a folder" if files else error.strerror
        raise OSError(
            error.errno,
            f"Can't write into {folder}: {reason}. Choose a folder that you may write to; if this one lies "
            "in the cache, set the environment variable LATENTCORTEX_CACHE to such a folder",
        ) from error
    return folder


def check_space(folder, n_bytes, what, advice=None):
    """Raise an error unless a disk has enough free space for a file to be written.

    Parameters
    ----------
    folder : path
        Folder to write to, which need not exist.
    n_bytes : int
        Number of bytes to be written.
    what : str
        What will be written, for the error message.
    advice : str, optional
        What to do, for the error message. By default it speaks of the cache.

    Raises
    ------
    OSError
        If less space is free. The message gives both sizes.
    """
    free = free_bytes(folder)
    if not n_bytes <= free:
        raise OSError(
            f"{what} needs {in_words(n_bytes)}, but {in_words(free)} are free on the disk of {folder}. "
            + (advice or _MAKE_ROOM)
        )


def free_bytes(folder):
    """Return how many bytes are free on the disk of a folder, which need not exist."""
    folder = Path(folder).absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def in_words(n_bytes):
    """Return a number of bytes as text, such as "61.5 MB"."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= size:
            return f"{n_bytes / size:.1f} {unit}"
    return f"{n_bytes:.0f} bytes"
