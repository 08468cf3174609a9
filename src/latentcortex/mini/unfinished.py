"""Build a folder once, whole or not at all, and go on where an earlier build was ended."""

import json
import shutil
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from latentcortex import store

# Other versions may draw or round otherwise: a build is not continued with them.
_MADE_WITH = ("numpy", "scipy", "torch", "pandas", "scikit-image", "h5py", "nibabel")


class Steps:
    """What is whole in an unfinished folder.

    Parameters
    ----------
    folder : path
        Lies next to the unfinished folder, and goes when that is finished.
    """

    def __init__(self, folder):
        self.folder = Path(folder)

    def is_done(self, name):
        """Return True if a step was finished, perhaps by an earlier process."""
        return (self.folder / f"{name}.done").exists()

    def finish(self, name, files):
        """Note that a step is finished, after its files have reached the disk."""
        for file in files:
            store.flush(file)
        (self.folder / f"{name}.done").touch()

    def keep(self, name, make):
        """Return the array that ``make()`` makes, from a file if it was made before."""
        path = self.folder / f"{name}.npz"
        if not path.exists():
            store.save(path, provenance={"step": name}, array=make())
        return store.load(path)["array"]


def build_once(folder, build, n_bytes=0):
    """Return a folder, after it has been built unless it is there.

    Parameters
    ----------
    folder : path
        Gets its name when it is finished.
    build : callable
        ``build(tree, steps)`` fills the folder `tree`, which may hold what an earlier build has left;
        `steps` are `Steps`.
    n_bytes : int
        Size of the finished folder.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    OSError
        If the folder above can't be written to, or if the disk has too little room.
    """
    folder = Path(folder)
    if folder.is_dir():
        return folder
    store.make_folder(folder.parent)
    lock = FileLock(f"{folder}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        tqdm.write(f"Another process is building {folder.name}: waiting for it.")
        lock.acquire()
    try:
        if not folder.is_dir():
            # Only the process that holds the lock builds: what lies there was left by one that ended.
            partial = folder.with_name(f"{folder.name}.partial")
            steps = _begin_or_continue(partial)
            there = sum(path.stat().st_size for path in partial.rglob("*") if path.is_file())
            store.check_space(folder.parent, n_bytes - there, f"The simulated world {folder.name}")
            build(partial / "tree", steps)
            for path in (partial / "tree").rglob("*"):
                if path.is_file():
                    store.flush(path)
            (partial / "tree").rename(folder)
            shutil.rmtree(partial)
    finally:
        lock.release()
    return folder


def _begin_or_continue(partial):
    """Return the steps of an unfinished folder; begin again if other versions have begun it."""
    made_with = {name: version(name) for name in _MADE_WITH}
    note = partial / "steps" / "made_with.json"
    if partial.exists():
        if note.is_file() and note.read_text() == json.dumps(made_with):
            tqdm.write(f"Going on with the unfinished {partial.stem}.")
        else:
            tqdm.write(
                f"Beginning {partial.stem} again: what is there was begun by other versions of packages."
            )
            shutil.rmtree(partial)
    (partial / "tree").mkdir(parents=True, exist_ok=True)
    note.parent.mkdir(exist_ok=True)
    with store.replacing(note) as temporary:
        temporary.write_text(json.dumps(made_with))
    return Steps(note.parent)
