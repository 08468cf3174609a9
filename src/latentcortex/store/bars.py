"""Bars of a download: one in all, and one for each file under way."""

import contextlib
import queue
import sys
import threading
import time

from tqdm import tqdm

_SAMPLE = 4_000_000  # bytes after which the time that is left is told


class Bars:
    """Bars for several files at once.

    Parameters
    ----------
    n_bytes : int
        Of all files, as far as known.
    n_slots : int
        Files under way at once.
    quiet : bool
        Show nothing.
    """

    def __init__(self, n_bytes, n_slots, quiet):
        self._lock, self._quiet, self._started = threading.Lock(), quiet, time.monotonic()
        self._n_bytes, self._n_new, self._told = n_bytes, 0, quiet
        self._all = tqdm(total=n_bytes, desc="all files", disable=quiet, **_BYTES)
        self._slots = queue.SimpleQueue()
        for slot in range(1, n_slots + 1):
            self._slots.put(slot)

    def close(self):
        """End the bar of all files."""
        self._all.close()

    @contextlib.contextmanager
    def of(self, name, n_bytes):
        """Yield a function that is told how many bytes of a file are there, and how many of them are new."""
        slot, shown = self._slots.get(), 0
        # One line per file makes sense only where lines can be written over.
        quiet = self._quiet or not sys.stderr.isatty()
        bar = tqdm(total=n_bytes, desc=name, position=slot, leave=False, disable=quiet, **_BYTES)

        def tell(done, n_new=0):
            nonlocal shown
            with self._lock:
                bar.update(done - shown)
                self._all.update(done - shown)
                shown = done
                self._n_new += n_new
                self._tell_time()

        try:
            yield tell
        finally:
            bar.close()
            self._slots.put(slot)

    def _tell_time(self):
        """Say once, after the first megabytes, how long the rest takes."""
        if self._told or self._n_new < _SAMPLE:
            return
        self._told = True
        rate = self._n_new / max(time.monotonic() - self._started, 1e-3)
        left = max(0, self._n_bytes - self._all.n) / rate
        minutes = f"{left / 60:.0f} minutes" if left > 90 else f"{left:.0f} seconds"
        tqdm.write(f"{rate / 1e6:.1f} MB per second so far: about {minutes} for the rest.", file=sys.stderr)


_BYTES = {"unit": "B", "unit_scale": True, "dynamic_ncols": True}
