"""Find files by name in a folder and in the zip archives that lie in it, packed or unpacked."""

import contextlib
import io
import zipfile
from pathlib import Path, PurePosixPath

from latentcortex.nsd.reading import reading


class Archives:
    """All files of a folder, of its zip archives, and of archives in these.

    Parameters
    ----------
    folder : path

    Raises
    ------
    FileNotFoundError
        There is no such folder.
    ValueError
        A file called ``.zip`` is not an archive; the message says if it is a web page.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise FileNotFoundError(
                f"No folder at {self.folder}: expected the one with the downloaded files."
            )
        self._places, self._stack = {}, contextlib.ExitStack()
        for path in sorted(self.folder.rglob("*")):
            if path.suffix == ".zip":
                self._add_archive(path, path)
            elif path.is_file():
                self._places.setdefault(path.name, []).append((path, None, None))

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._stack.close()

    def _add_archive(self, path, file):
        """List what a zip archive holds; `file` is its path or the open file."""
        if not zipfile.is_zipfile(file):
            _refuse(path, file)
        archive = self._stack.enter_context(zipfile.ZipFile(file))
        for member in sorted(archive.namelist()):
            name, place = PurePosixPath(member).name, path / member
            if member.endswith("/") or member.startswith("__MACOSX"):
                continue
            if name.endswith(".zip"):
                self._add_archive(place, self._stack.enter_context(archive.open(member)))
            else:
                self._places.setdefault(name, []).append((place, archive, member))

    def names(self, within=""):
        """Return the names of all files that lie in a folder of this name, at any depth."""
        return {name for name in self._places if self._find(name, within)}

    def path(self, name, within=""):
        """Return where a file lies, as a path (of the archive, then inside it), or None."""
        found = self._find(name, within)
        return found[0] if found else None

    def open(self, name, within=""):
        """Return a file as bytes in memory, `io.BytesIO`.

        Parameters
        ----------
        name : str
            Without folders.
        within : str
            Name of a folder above it, where several files have the name.

        Raises
        ------
        FileNotFoundError, ValueError
            There is none, or its archive is damaged.
        """
        found = self._find(name, within)
        if found is None:
            where = f" in a folder {within}" if within else ""
            raise FileNotFoundError(f"No {name}{where} in {self.folder} or in the archives there.")
        path, archive, member = found
        with reading(path):
            return io.BytesIO(path.read_bytes() if archive is None else archive.read(member))

    def _find(self, name, within):
        for found in self._places.get(name, ()):
            if not within or within in found[0].parts:
                return found
        return None


def _refuse(path, file):
    if hasattr(file, "seek"):
        file.seek(0)
        start = file.read(200)
    else:
        with Path(file).open("rb") as opened:
            start = opened.read(200)
    if start.lstrip()[:1] == b"<":
        raise ValueError(
            f"{path} is a web page, not an archive: the server asked for something before it would send the "
            "file. Open its address in a browser, save the archive, and put it here."
        )
    raise ValueError(f"{path} is not a zip archive, or was cut short: delete it and download it again.")
