"""Miyawaki et al. (2008): images of 10 x 10 patches that one person saw, as nilearn fetches them.

Each patch is a flickering checkerboard or grey. Twenty runs show random images, to learn from. Twelve runs
show figures and letters, to be reconstructed.

What is known of the files comes from `nilearn.datasets.fetch_miyawaki2008` (153 MB, no form; nilearn states
no licence) and from public programs that read them. None of the files was at hand when this was written. So
a surprise is refused by name.

Source: Miyawaki et al. (2008), Neuron 60:915-929.
"""

import re
from pathlib import Path
from typing import NamedTuple

import nibabel
import numpy as np
from scipy.signal import detrend

from latentcortex.nsd.reading import read_image, reading

N_PATCHES = 10  # along each side of an image
REST = -1  # in the labels: nothing was shown
# Volumes from an image to its response: 4 s, as Miyawaki et al. shift their data (a volume takes 2 s).
DELAY = 2
# By area, the masks of both hemispheres. VP is the ventral half of V3.
REGIONS = {"V1": ("V1d", "V1v"), "V2": ("V2d", "V2v"), "V3": ("V3", "VP"), "V3A": ("V3A",), "V4": ("V4v",)}
OTHER = "other"  # voxels of the mask in none of them
_FUNC = re.compile(r"data_(random|figure)_run(\d+)\.nii\.gz")


class Blocks(NamedTuple):
    """Hold the blocks of some runs, each the time for which one image was shown.

    ``responses`` (n_blocks, n_voxels) are float32, in percent of the mean of a voxel in its run. ``patches``
    (n_blocks, 10, 10) are float32: 1 for a checkerboard, 0 for grey. ``runs`` (n_blocks,) are 1-based.
    ``image_ids`` (n_blocks,) are the same for blocks of the same image, also between training and test.
    """

    responses: np.ndarray
    patches: np.ndarray
    runs: np.ndarray
    image_ids: np.ndarray


def read_miyawaki2008(data, delay=DELAY):
    """Return the blocks of random images, the blocks of figures, and which voxels belong to which area.

    A linear trend is removed from each run, without looking at the images. The response to an image is the
    mean over its block, shifted by `delay`. Blocks whose response lies beyond the end of the run are left
    out.

    Parameters
    ----------
    data : mapping
        Result of `nilearn.datasets.fetch_miyawaki2008`: paths under ``func``, ``label``, ``mask`` and
        ``mask_roi``.
    delay : int
        In volumes of 2 s.

    Returns
    -------
    train, test : Blocks
        Random images and figures. No image is in both.
    regions : dict of str to bool array (n_voxels,)
        `REGIONS`, then `OTHER`. A voxel that two areas claim belongs to the first.

    Raises
    ------
    FileNotFoundError, ValueError
        A file is missing, damaged or not as described above, or an image is among both.
    """
    if not delay >= 0 or delay != int(delay):
        raise ValueError(f"delay must be a whole number of volumes, at least 0; got {delay!r}.")
    mask = np.asarray(read_image(Path(data["mask"])).dataobj) > 0
    runs = {"random": [], "figure": []}
    for func, label in zip(data["func"], data["label"], strict=True):
        found = _FUNC.fullmatch(Path(func).name)
        if not found:
            raise ValueError(f"{func}: expected a name such as data_random_run01.nii.gz.")
        patches, spans = _read_labels(Path(label))
        volumes = _read_volumes(Path(func), mask)
        if len(volumes) != len(patches):
            raise ValueError(
                f"{func} has {len(volumes)} volumes, but {label} has {len(patches)} rows. Delete both and "
                "fetch them again."
            )
        spans = [span for span in spans if span.start + delay < len(volumes)]
        runs[found[1]].append(
            (
                int(found[2]),
                [volumes[span.start + delay : span.stop + delay].mean(axis=0) for span in spans],
                [patches[span.start] for span in spans],
            )
        )
    sets = [_joined(runs[kind], kind) for kind in ("random", "figure")]
    patches = np.concatenate([of.patches for of in sets]).reshape(-1, N_PATCHES**2)
    image_ids = np.unique(patches, axis=0, return_inverse=True)[1].ravel()
    ids = np.split(image_ids, [len(sets[0].patches)])
    both = np.intersect1d(*ids)
    if len(both):
        run = sets[0].runs[ids[0] == both[0]][0]
        raise ValueError(f"A figure is also shown in random run {run}: it can't be for training and test.")
    train, test = (of._replace(image_ids=own) for of, own in zip(sets, ids, strict=True))
    return train, test, _read_regions(data["mask_roi"], mask)


def _joined(runs, kind):
    if not sum(len(responses) for _, responses, _ in runs):
        raise ValueError(f"There is no block in any run called data_{kind}_run. Fetch the data again.")
    numbers = np.concatenate([[number] * len(responses) for number, responses, _ in runs])
    responses, patches = (np.concatenate([run[k] for run in runs if run[1]]) for k in (1, 2))
    return Blocks(responses, patches, numbers.astype(int), None)


def _read_labels(path):
    """Return the images of all volumes, float32 (n_volumes, 10, 10), and the slice of each block."""
    with reading(path):
        rows = np.loadtxt(path, delimiter=",", ndmin=2)
    rest = (rows == REST).all(axis=1)
    if rows.shape[1] != N_PATCHES**2 or not np.isin(rows[~rest], (0, 1)).all():
        raise ValueError(
            f"{path} must have {N_PATCHES**2} numbers in each row, all {REST} at rest and else 0 or 1; it "
            f"has {rows.shape[1]}, from {rows.min():g} to {rows.max():g}. Delete it and fetch it again."
        )
    # A block ends where the image changes.
    starts = np.flatnonzero(np.append(True, (rows[1:] != rows[:-1]).any(axis=1)))
    spans = [slice(a, b) for a, b in zip(starts, [*starts[1:], len(rows)], strict=True) if not rest[a]]
    # The patches of an image are listed column by column.
    return rows.reshape(-1, N_PATCHES, N_PATCHES).transpose(0, 2, 1).astype(np.float32), spans


def _read_volumes(path, mask):
    """Return a run without its linear trend, float32 (n_volumes, n_voxels), in percent of the mean."""
    with reading(path):
        image = nibabel.load(path)
        if image.shape[:3] != mask.shape or image.ndim != 4:
            raise ValueError(f"it has the shape {image.shape}, but the mask {mask.shape}")
        values = np.asarray(image.dataobj, np.float32)[mask].T
    mean = values.mean(axis=0)
    if not (mean > 0).all():
        raise ValueError(
            f"{path} has no signal in {np.count_nonzero(~(mean > 0))} of {len(mean)} voxels of the mask. "
            "Delete it and fetch it again."
        )
    return 100 * detrend(values, axis=0) / mean


def _read_regions(paths, mask):
    """Return the voxels of each area within the mask."""
    by_name = {Path(path).name.removesuffix(".nii.gz"): Path(path) for path in paths}
    regions, taken = {}, np.zeros(mask.sum(), bool)
    for area, parts in REGIONS.items():
        names = [side + part for part in parts for side in ("LH", "RH")]
        missing = [name for name in names if name not in by_name]
        if missing:
            raise FileNotFoundError(f"There is no mask {missing[0]}.nii.gz, which {area} is made of.")
        marked = [np.asarray(read_image(by_name[name]).dataobj) > 0 for name in names]
        wrong = [name for name, of in zip(names, marked, strict=True) if of.shape != mask.shape]
        if wrong:
            raise ValueError(f"{by_name[wrong[0]]} has another shape than the mask, {mask.shape}.")
        regions[area] = np.any(marked, axis=0)[mask] & ~taken
        taken |= regions[area]
    return {**regions, OTHER: ~taken}
