"""Pack a folder of the cache into one zip file, and take it out again."""

import contextlib
import hashlib
import shutil
import time
import uuid
import zipfile
import zlib
from pathlib import Path, PurePosixPath

_BLOCK = 1 << 20
_DAY = 24 * 60 * 60


class NotUsableError(Exception):
    """An archive can't be had or can't be used. The message is a clause that says why."""


class TooSlowError(NotUsableError):
    """An archive would take longer than building."""


class DamagedArchiveError(NotUsableError):
    """An archive was read to its end, and is not the one that the table describes."""


def pack(folder, path, compressed=True):
    """Write a folder into a zip file and return what the table of archives says of it.

    Equal folders give equal files: members are sorted, and their times are left out.

    Parameters
    ----------
    folder : path
        A folder of the cache. Its name becomes the first part of each member's name.
    path : path
        The zip file. It is not there until it is whole.
    compressed : bool
        Whether members are compressed. Scenes shrink to a quarter, and responses to two thirds.

    Returns
    -------
    dict
        ``n_bytes``, ``unpacked_bytes`` and ``sha256`` of the file.

    Raises
    ------
    NotADirectoryError
        If there is no such folder.
    """
    folder, path = Path(folder), Path(path)
    if not folder.is_dir():
        raise NotADirectoryError(f"Expected a folder to pack, but {folder} is none.")
    method = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    # Another process may write the same archive at the same time, so each has a file of its own.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    for left in path.parent.glob(f".{path.name}.*.tmp"):  # of a session that was ended
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _DAY:
                left.unlink()
    n_bytes = 0
    try:
        with zipfile.ZipFile(temporary, "w") as archive:
            for file in sorted(file for file in folder.rglob("*") if file.is_file()):
                info = zipfile.ZipInfo(f"{folder.name}/{file.relative_to(folder).as_posix()}")
                info.compress_type, info.external_attr = method, 0o644 << 16
                info.file_size = file.stat().st_size
                n_bytes += info.file_size
                with file.open("rb") as source, archive.open(info, "w") as target:
                    shutil.copyfileobj(source, target, _BLOCK)
        digest = sha256(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return {"n_bytes": path.stat().st_size, "unpacked_bytes": n_bytes, "sha256": digest}


def sha256(path):
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unpack(path, into, name):
    """Take a folder out of a zip file and return its path.

    Parameters
    ----------
    path : path
        The zip file.
    into : path
        An existing folder.
    name : str
        Of the folder that the file holds. Nothing is written if a member would lie elsewhere.

    Raises
    ------
    NotUsableError
        If the file is no zip file, is damaged or encrypted, or holds anything else than that folder; or if
        the folder can't be written to.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                parts = PurePosixPath(member.replace("\\", "/")).parts
                if ".." in parts or len(parts) < 2 or parts[0] != name:
                    raise NotUsableError(f"its member {member!r} does not lie in {name}")
            archive.extractall(into)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise NotUsableError(f"it is no whole zip file ({error})") from error
    # zipfile's errors for encrypted members, methods that it does not know, and names that no file can have.
    except (RuntimeError, ValueError, OSError) as error:
        raise NotUsableError(f"it could not be unpacked ({error})") from error
    folder = Path(into) / name
    if not folder.is_dir():
        raise NotUsableError(f"it holds no {name}")
    return folder
