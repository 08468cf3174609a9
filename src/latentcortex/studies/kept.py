"""Keep results on disk that are made once, by the process that needs them first."""

import hashlib
import logging
import re
from dataclasses import dataclass

from filelock import FileLock

from latentcortex import store

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shelf:
    """Describe a folder of the cache whose files all depend on the same code and settings.

    Attributes
    ----------
    name : str
        What is kept, such as ``"drawings"``.
    key : str
        Key from `keys.key_of`. Another key is another folder.
    provenance : dict
        Provenance that is written into each file.
    """

    name: str
    key: str
    provenance: dict

    @property
    def folder(self):
        """Return the path of the folder."""
        return store.cache_folder() / "kept" / self.name / self.key[:12]

    def path(self, part, suffix=".npz"):
        """Return the path of a part, which is a tuple of words and numbers."""
        words = [re.sub(r"[^\w.+]+", "_", str(word)) for word in part]
        # Words that differ in other characters alone, too, lie in files of their own.
        digest = hashlib.sha256(repr([str(word) for word in part]).encode()).hexdigest()[:6]
        return self.folder / f"{'-'.join(words)}-{digest}{suffix}"

    def load(self, path):
        """Return the arrays of a file, or None if the file is missing or damaged."""
        if not path.is_file():
            return None
        try:
            return store.load(path)
        except store.DamagedFileError as error:
            self.discard(path, error)
            return None

    def image_ids(self, path):
        """Return the ids of a file's rows, or no ids if the file is damaged and was removed."""
        try:
            return store.image_ids(path)
        except store.DamagedFileError as error:
            self.discard(path, error)
            return []

    def discard(self, path, error):
        """Print the name of a damaged file and remove it, so that it is made again."""
        _LOG.warning("%s is damaged and will be made again (%s).", path, error)
        path.unlink(missing_ok=True)

    def get(self, part, make):
        """Return the arrays of a part; missing arrays are computed and kept first.

        Processes that need the same part wait for the process that makes it.

        Parameters
        ----------
        part : tuple
        make : callable
            Called without arguments if the part is missing. It returns a dictionary of arrays, as
            `store.save` takes them, with or without ``provenance``. ``image_ids`` are the ids of all rows.
        """
        path = self.path(part)
        found = self.load(path)  # without a lock: files are replaced at once, and a cache may be read-only
        if found is not None:
            return found
        store.make_folder(path.parent)
        with FileLock(path.with_suffix(".lock")):
            found = self.load(path)
            if found is None:
                found = make()
                provenance = {**self.provenance, "key": self.key, **found.pop("provenance", {})}
                store.save(path, provenance=provenance, **found)
                found = store.load(path)
        return found
