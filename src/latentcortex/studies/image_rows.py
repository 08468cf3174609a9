"""Keep features of images on disk, in files that grow by the images asked for."""

import dataclasses
import functools

import numpy as np
from filelock import FileLock

from latentcortex import store
from latentcortex.studies.study import DIFFUSION

N_IN_FILE = 128


def kept_by_setting(study, name, compute, setting, names, image_ids):
    """Return features that the diffusion model computes for images in some setting.

    Features of new images are computed and kept first.

    Parameters
    ----------
    study : Study
    name : str
        Name of the shelf.
    compute : callable
        ``compute(study, setting, image_ids)`` returns all arrays of some images by name.
    setting : dataclass
        The setting. Each setting has its own shelf.
    names : sequence of str
        Names of the arrays that are read.
    image_ids : int array (n,)
        Repeats are fine.

    Returns
    -------
    dict of str to float32 array (n, ...)
    """
    described = {
        "data": study.identity,
        "weights": study.weights(*DIFFUSION),
        "image_size": study.preset.image_size,
        "dtype": str(study.preset.dtype),
        **dataclasses.asdict(setting),
    }
    shelf = study.shelf(name, [compute], described)
    ids, arrays = read_rows(
        shelf, functools.partial(compute, study, setting), np.unique(image_ids), names, N_IN_FILE
    )
    rows = store.rows_of(ids, image_ids)
    return {name: arrays[name][rows].astype(np.float32, copy=False) for name in names}


def read_rows(shelf, compute, image_ids, names, n_in_file):
    """Return the rows of images from the files of a shelf.

    Rows of new images are computed and kept first.

    Each file is written as soon as it is computed, so a killed process loses at most one file.

    Parameters
    ----------
    shelf : kept.Shelf
    compute : callable
        ``compute(image_ids)`` returns all arrays of some images by name, each one row per image.
    image_ids : int array (n,)
        Each once.
    names : sequence of str
        Names of the arrays that are read.
    n_in_file : int
        Images per file, and number of images computed at a time.

    Returns
    -------
    image_ids : int array (n,)
        As they came.
    arrays : dict of str to array (n, ...)
        Beside them one file is in memory at a time.
    """
    store.make_folder(shelf.folder)
    rows = _Rows(np.asarray(image_ids), names)
    with FileLock(shelf.folder / "growing.lock"):
        _gather(shelf, rows)
        missing = rows.missing
        for start in range(0, len(missing), n_in_file):
            ids = missing[start : start + n_in_file]
            path = shelf.path((ids[0], ids[-1], len(ids)), ".safetensors")
            arrays = {name: np.asarray(values) for name, values in compute(ids).items()}
            store.save(path, provenance=shelf.provenance, image_ids=ids, **arrays)
            if start == 0:  # the first file says what the others will take
                n_bytes = path.stat().st_size * (len(missing) - len(ids)) // len(ids)
                store.check_space(shelf.folder, n_bytes, f"{shelf.name} of {len(missing):,} images")
            rows.put(ids, arrays)
    return rows.image_ids, rows.arrays


def keep_part(shelf, compute, image_ids):
    """Compute the rows of a few images and keep them, while other processes keep theirs.

    `read_rows` computes what is missing behind one lock, so several GPUs would wait for each other. Here each
    part is a file of its own, which `read_rows` finds afterwards.

    Parameters
    ----------
    shelf, compute
        See `read_rows`.
    image_ids : int array (n,)
        At most `N_IN_FILE`, each once.

    Returns
    -------
    path : Path
        The file, which is not made again if it is there and whole.

    Raises
    ------
    ValueError
        If there are no images, or too many.
    """
    image_ids = np.asarray(image_ids)
    if not 0 < len(image_ids) <= N_IN_FILE:
        raise ValueError(f"Expected 1 to {N_IN_FILE} images in a part, got {len(image_ids)}.")
    path = shelf.path((image_ids[0], image_ids[-1], len(image_ids)), ".safetensors")
    if shelf.load(path) is None:
        arrays = {name: np.asarray(values) for name, values in compute(image_ids).items()}
        store.save(path, provenance=shelf.provenance, image_ids=image_ids, **arrays)
    return path


class _Rows:
    """Hold arrays of images that are filled file by file, because joining all files takes twice as much."""

    def __init__(self, image_ids, names):
        self.image_ids, self.missing, self.names, self.arrays = image_ids, image_ids, names, {}

    def put(self, image_ids, arrays):
        """Keep the rows of images that are still missing."""
        new = np.isin(image_ids, self.missing)
        rows = store.rows_of(self.image_ids, image_ids[new])
        for name in self.names:
            values = arrays[name]
            if name not in self.arrays:
                self.arrays[name] = np.empty((len(self.image_ids), *values.shape[1:]), values.dtype)
            self.arrays[name][rows] = values[new]
        self.missing = np.setdiff1d(self.missing, image_ids)


def _gather(shelf, rows):
    """Put what the files of a shelf hold; they are read whole, because only then a damaged one is noticed."""
    for path in sorted(shelf.folder.glob("*.safetensors")):
        if np.isin(rows.missing, shelf.image_ids(path)).any() and (arrays := shelf.load(path)):
            rows.put(arrays["image_ids"], arrays)
