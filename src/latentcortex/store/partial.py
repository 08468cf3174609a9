"""A file that is being fetched: what lies on disk of it, and how far that can be trusted."""

import contextlib
import json
import os

from latentcortex.store.writing import make_folder, replacing


class Partial:
    """The beginning of a file under a temporary name, with a note of how much of it is on the disk.

    A process that is killed may leave bytes behind the noted ones. They are cut off and fetched again, which
    are never more than a block.

    Parameters
    ----------
    path : pathlib.Path
        The file's own name. The beginning is ``.NAME.part``, the note ``.NAME.part.json``.
    key : str
        What is fetched (`transfer.Remote.key`). A beginning of something else is thrown away.
    block : int
        Bytes after which the note is renewed.

    Attributes
    ----------
    done : int
        Bytes on disk.
    state : dict
        Of the remote file (`remote_bytes.Answer`), as it was when the first bytes were fetched.
    """

    def __init__(self, path, key, block):
        self.path = path.with_name(f".{path.name}.part")
        self._note, self._key, self._block = path.with_name(f".{path.name}.part.json"), key, block
        self.done, self.state, self._saved, self._file = 0, {}, 0, None
        make_folder(path.parent)
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # no note, or a damaged one
            note = json.loads(self._note.read_text(encoding="utf-8"))
            if note["key"] == key and 0 <= note["done"] <= self.path.stat().st_size:
                self.done, self.state = note["done"], note["state"]

    @contextlib.contextmanager
    def writing(self):
        """Open the file for `add`; whatever ends this, all that came is noted."""
        with self.path.open("r+b" if self.path.exists() else "w+b") as self._file:
            self._file.truncate(self.done)
            self._file.seek(self.done)
            self._saved = self.done
            try:
                yield
            finally:
                self._save()

    def add(self, piece):
        """Write the next bytes, and before that a note if they would make more than a block without one."""
        if self.done + len(piece) - self._saved > self._block:
            self._save()
        self._file.write(piece)
        self.done += len(piece)

    def restart(self):
        """Begin again from the first byte, also while it is open."""
        self.done, self.state, self._saved = 0, {}, 0
        self._note.unlink(missing_ok=True)  # it speaks of other bytes than those that come now
        if self._file and not self._file.closed:
            self._file.seek(0)
            self._file.truncate()
        else:
            self.path.unlink(missing_ok=True)

    def remove_if_empty(self):
        """Leave nothing of a file of which nothing came."""
        if not self.done:
            self.path.unlink(missing_ok=True)
            self._note.unlink(missing_ok=True)

    def finish(self, path):
        """Give the file its name."""
        self.path.replace(path)
        self._note.unlink(missing_ok=True)

    def _save(self):
        self._file.flush()
        os.fsync(self._file.fileno())
        self._saved = self.done
        note = {"key": self._key, "done": self.done, "state": self.state}
        with replacing(self._note) as temporary:
            temporary.write_text(json.dumps(note), encoding="utf-8")
