"""The list of what was fetched into a folder, as JSON beside the data."""

import datetime
import json
import threading

from latentcortex.store.writing import replacing

MANIFEST = "latentcortex_download.json"


def fits(entry, remote, folder):
    """Return True if the manifest has a file as it was asked for, or whole, and it still has this size."""
    path = folder / remote.path
    known = entry and entry["key"] in (remote.key, remote.whole.key)
    return bool(known and path.is_file() and path.stat().st_size == entry["n_bytes"])


class Manifest:
    """Entries of what was fetched, by path; several threads may note at once.

    Attributes
    ----------
    entries : dict
        By path: url, key, n_bytes (of the local file), etag, last_modified, sha256, date.
    """

    def __init__(self, folder):
        self._path, self._lock = folder / MANIFEST, threading.Lock()
        try:
            self.entries = json.loads(self._path.read_text(encoding="utf-8"))["files"]
        except FileNotFoundError:
            self.entries = {}
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{self._path} is damaged. Delete it and run the download again: files that are whole are "
                "recognised by their size."
            ) from error

    def note(self, remote, path, state, sha256):
        """Write an entry; the file is at `path` still, under its temporary name or its own."""
        entry = {
            "url": remote.url,
            "key": remote.key,
            "n_bytes": path.stat().st_size,
            "etag": state.get("etag"),
            "last_modified": state.get("last_modified"),
            "sha256": sha256,
            "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        }
        with self._lock:
            self.entries[remote.path] = entry
            self._write()

    def forget(self, paths):
        """Take entries out."""
        with self._lock:
            self.entries = {path: entry for path, entry in self.entries.items() if path not in set(paths)}
            self._write()

    def _write(self):
        with replacing(self._path) as temporary:
            text = json.dumps({"files": dict(sorted(self.entries.items()))}, indent=1)
            temporary.write_text(text + "\n", encoding="utf-8")
