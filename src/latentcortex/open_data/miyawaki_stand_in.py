"""Simulated data in the files of Miyawaki et al. (2008), for where the real ones can't be fetched.

Voxels of V1 answer to about one patch, those of V2, V3 and V3A to more and more of them. Voxels of V4 and of
no area hold noise alone. So a method that reads the images has a known answer.
"""

from pathlib import Path

import nibabel
import numpy as np

from latentcortex.open_data.miyawaki2008 import N_PATCHES, REST
from latentcortex.store import make_folder

SHAPE = (14, 12, 6)
# Voxels in each hemisphere, and the size of their receptive fields in patches; None is noise alone.
MASKS = {
    "V1d": (40, 0.5),
    "V1v": (40, 0.5),
    "V2d": (30, 0.9),
    "V2v": (30, 0.9),
    "V3": (20, 1.3),
    "VP": (20, 1.3),
    "V3A": (20, 1.8),
    "V4v": (40, None),
}
N_OTHER = 40  # voxels of the mask in no area, in each hemisphere
# Kind of run: runs, images in each, volumes for which an image is shown and for which it is not.
RUNS = {"random": (20, 22, 3, 3), "figure": (12, 10, 6, 6)}
RISE = (0.0, 0.25, 0.5, 0.25)  # of a response after an image, in shares by volume: 4 s late on average
REST_AT_ENDS = 5  # volumes
# What nilearn looks for; the bands of eccentricity (lag) are empty here.
_NAMES_OF_MASKS = [
    side + name for side in ("LH", "RH") for name in (*MASKS, *(f"lag{k}to{k + 1}" for k in range(11)))
]
_FIGURES = (
    "..........|..........|..######..|..#....#..|..#....#..|..#....#..|..#....#..|..######..|..........|..........",
    "##########|#........#|#........#|#........#|#........#|#........#|#........#|#........#|#........#|##########",
    "....##....|....##....|....##....|....##....|##########|##########|....##....|....##....|....##....|....##....",
    "##......##|.##....##.|..##..##..|...####...|....##....|....##....|...####...|..##..##..|.##....##.|##......##",
    "..........|..........|..........|##########|##########|##########|..........|..........|..........|..........",
    "...####...|...####...|...####...|...####...|...####...|...####...|...####...|...####...|...####...|...####...",
    "##........|##........|##........|##........|##........|##........|##........|##........|##########|##########",
    "##########|##########|....##....|....##....|....##....|....##....|....##....|....##....|....##....|....##....",
    "##......##|##......##|##......##|##......##|##......##|##......##|##......##|##......##|##########|##########",
    "..######..|.########.|##......##|##......##|##......##|##......##|##......##|##......##|.########.|..######..",
)


def figures():
    """Return the figures that are shown, float64 (10, 10, 10): 1 for a checkerboard, 0 for grey."""
    return np.array([[[mark == "#" for mark in row] for row in one.split("|")] for one in _FIGURES], float)


def write_stand_in(folder, rng, noise=0.5):
    """Write simulated files under the names of Miyawaki et al. (2008), and return what nilearn says of them.

    Nothing is fetched: nilearn finds the files where it would have put its own.

    Parameters
    ----------
    folder : path
        For `nilearn.datasets.fetch_miyawaki2008(data_dir=folder)`; takes about 5 MB.
    rng : numpy.random.Generator
    noise : float
        Standard deviation of a volume's noise, in percent of the signal. A checkerboard that fills a
        receptive field adds 1 percent.

    Returns
    -------
    mapping
        As from `nilearn.datasets.fetch_miyawaki2008`.
    """
    from nilearn import datasets

    if not noise >= 0:
        raise ValueError(f"noise must be a standard deviation, at least 0; got {noise!r}.")
    root = Path(folder, "miyawaki2008")
    for part in ("func", "label", "mask"):
        make_folder(root / part)
    places, fields = _voxels(rng)
    inside = np.concatenate([*places.values()])
    for name in _NAMES_OF_MASKS:
        _save(root / f"mask/{name}.nii.gz", _volume(places.get(name, inside[:0])))
    _save(root / "mask/mask.nii.gz", _volume(inside))
    _save(root / "bg.nii.gz", _volume(inside))
    for kind, (n_runs, n_images, n_on, n_off) in RUNS.items():
        for run in range(1, n_runs + 1):
            images = (
                rng.integers(0, 2, (n_images, N_PATCHES, N_PATCHES))
                if kind == "random"
                else figures()[rng.permutation(len(_FIGURES))[:n_images]]
            )
            labels, shown = _time_course(images, n_on, n_off)
            stem = f"data_{kind}_run{run:02d}"
            np.savetxt(root / f"label/{stem}_label.csv", labels, fmt="%d", delimiter=",")
            signal = 1000 * (
                1 + (shown @ fields.T + noise * rng.normal(size=(len(shown), len(inside)))) / 100
            )
            signal += np.linspace(0, 1, len(shown))[:, None] * rng.normal(0, 20, len(inside))  # a drift
            volumes = np.zeros((*SHAPE, len(shown)), np.int16)
            volumes.reshape(-1, len(shown))[inside] = signal.T.round()
            _save(root / f"func/{stem}.nii.gz", volumes)
    return datasets.fetch_miyawaki2008(data_dir=str(folder), verbose=0)


def _voxels(rng):
    """Return the voxels of each mask, as places in a flat volume, and their receptive fields (n, 100)."""
    left, right = np.split(np.arange(np.prod(SHAPE)), 2)
    places, fields = {}, []
    y, x = np.indices((N_PATCHES, N_PATCHES)).reshape(2, -1)
    for side, free in (("LH", left), ("RH", right)):
        start = 0
        for name, (n_voxels, size) in {**MASKS, "other": (N_OTHER, None)}.items():
            places[side + name] = free[start : start + n_voxels]
            start += n_voxels
            if size is None:
                fields.append(np.zeros((n_voxels, N_PATCHES**2)))
                continue
            middle = rng.uniform(-0.5, N_PATCHES - 0.5, (2, n_voxels, 1))
            of = np.exp(-((y - middle[0]) ** 2 + (x - middle[1]) ** 2) / (2 * size**2))
            fields.append(of / of.sum(axis=1, keepdims=True))
    return places, np.concatenate(fields)


def _time_course(images, n_on, n_off):
    """Return the labels of all volumes, and what drives the responses: both (n_volumes, 100)."""
    ends = np.full((REST_AT_ENDS, N_PATCHES**2), REST)
    parts = [ends]
    for image in images:
        row = image.T.reshape(1, -1)  # column by column
        parts += [np.repeat(row, n_on, axis=0), np.full((n_off, N_PATCHES**2), REST)]
    labels = np.concatenate([*parts, ends]).astype(int)
    shown = np.where(labels == REST, 0, labels).reshape(-1, N_PATCHES, N_PATCHES).transpose(0, 2, 1)
    shown = shown.reshape(len(labels), -1)
    late = sum(share * np.roll(shown, k, axis=0) for k, share in enumerate(RISE))
    return labels, late


def _volume(voxels):
    volume = np.zeros(SHAPE, np.uint8)
    volume.flat[voxels] = 1
    return volume


def _save(path, values):
    nibabel.save(nibabel.Nifti1Image(values, np.diag([3.0, 3.0, 3.0, 1.0])), path)
