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
    return {name: arrays[name][rows].astype(np.float32) for name in names}


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
        Images of the rows, in their order on disk.
    arrays : dict of str to array (n, ...)
    """
    store.make_folder(shelf.folder)
    with FileLock(shelf.folder / "growing.lock"):
        found, missing = _gather(shelf, image_ids, names)
        for start in range(0, len(missing), n_in_file):
            ids = missing[start : start + n_in_file]
            path = shelf.path((ids[0], ids[-1], len(ids)), ".safetensors")
            arrays = {name: np.asarray(values) for name, values in compute(ids).items()}
            store.save(path, provenance=shelf.provenance, image_ids=ids, **arrays)
            if start == 0:  # the first file says what the others will take
                n_bytes = path.stat().st_size * (len(missing) - len(ids)) // len(ids)
                store.check_space(shelf.folder, n_bytes, f"{shelf.name} of {len(missing):,} images")
            found.append({"image_ids": ids, **{name: arrays[name] for name in names}})
    return np.concatenate([part["image_ids"] for part in found]), {
        name: np.concatenate([part[name] for part in found]) for name in names
    }


def _gather(shelf, image_ids, names):
    """Return the rows of the images that the files of a shelf hold, and the ids that none holds.

    Files are read whole, because only then a damaged one is noticed.
    """
    found, missing = [], image_ids
    for path in sorted(shelf.folder.glob("*.safetensors")):
        if np.isin(missing, shelf.image_ids(path)).any() and (arrays := shelf.load(path)):
            rows = np.isin(arrays["image_ids"], missing)
            found.append({name: arrays[name][rows] for name in ("image_ids", *names)})
            missing = np.setdiff1d(missing, arrays["image_ids"])
    return found, missing
