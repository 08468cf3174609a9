"""What `write_tree` takes: the trials of each subject and the images, as arrays that are checked first."""

import dataclasses
import re
from collections.abc import Callable, Sequence

import numpy as np

from latentcortex.nsd.arguments import checked_betas, checked_count, checked_ids, plain_array
from latentcortex.nsd.surfaces import check_ncsnr
from latentcortex.nsd.volumes import SCALE

_LARGEST = np.iinfo(np.int16).max / SCALE  # percent signal change that a volume can hold: 109
_SMALLEST = 30 / SCALE  # thirty steps of the integers of a volume
_LONGEST = 32_767  # of an axis in NIfTI


@dataclasses.dataclass(frozen=True)
class Recording:
    """The trials of one subject, in the order in which they were shown.

    Attributes
    ----------
    image_ids : int array (n_trials,)
        0-based row of `ImageSet.names` of the image of each trial.
    betas : float array (n_trials, n_voxels), or function of int
        Percent signal change. A function gets the number of a session and returns the rows of that session;
        it is called once per session, so that one session at a time lies in memory.
    sessions : int array (n_trials,), optional
        1-based and ascending. Numbers may be left out: those sessions were not recorded. Default: all 1.
    runs : int array (n_trials,), optional
        1-based and ascending within each session. Default: all 1.
    regions : dict of str to dict of str to bool array (n_voxels,)
        By atlas and by name of the region. Regions of one atlas don't overlap.
    ncsnr : float array (n_voxels,), optional
        Noise-ceiling signal-to-noise ratio, see `latentcortex.nsd.ncsnr`.
    mask : bool array (nx, ny, nz), optional
        Where the voxels lie in a volume, in C order. Without it nothing is known of their places, and the
        volume is (n_voxels, 1, 1).
    affine : float array (4, 4), optional
        From voxel indices of the volume to millimetres.
    """

    image_ids: np.ndarray
    betas: np.ndarray | Callable[[int], np.ndarray]
    sessions: np.ndarray | None = None
    runs: np.ndarray | None = None
    regions: dict[str, dict[str, np.ndarray]] = dataclasses.field(default_factory=dict)
    ncsnr: np.ndarray | None = None
    mask: np.ndarray | None = None
    affine: np.ndarray | None = None

    def session_betas(self, session):
        """Return the rows of one session, float (n_trials of the session, n_voxels), as they came."""
        if callable(self.betas):
            return self.betas(session)
        return self.betas[self.sessions == session]

    @property
    def n_voxels(self):
        """Return the number of voxels, by the mask or by the first session."""
        if self.mask is not None:
            return int(np.count_nonzero(self.mask))
        return self.session_betas(int(self.sessions[0])).shape[1]


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """All images of a data set; the image with the 0-based id i is row i of everything.

    Attributes
    ----------
    names : sequence of str
        What the authors' files call the images; each once.
    images : uint8 array (n, height, width, 3), or iterable with a length, optional
        RGB. An iterable gives one image (height, width, 3) after the other.
    why_none : str
        Where there are no images: why, and how to get them, in a sentence for the reader of an error.
    captions : list of list of str, optional
        Of each image. An image without captions has an empty list.
    coco_ids, coco_splits : sequences, optional
        Numbers and splits, such as ``train2014``, of images that come from COCO. Default: the image's own
        id, and the name of the data set.
    """

    names: Sequence[str]
    images: object = None
    why_none: str = ""
    captions: list[list[str]] | None = None
    coco_ids: Sequence[int] | None = None
    coco_splits: Sequence[str] | None = None


def checked_images(image_set):
    """Return an `ImageSet` as it is, or raise ValueError that says what contradicts what."""
    n_images = len(image_set.names)
    if not n_images or len(set(image_set.names)) < n_images:
        raise ValueError("names must name each image once, and at least one image.")
    for name in ("images", "captions", "coco_ids", "coco_splits"):
        values = getattr(image_set, name)
        if values is not None and len(values) != n_images:
            raise ValueError(f"There are {n_images:,} names of images, but {len(values):,} {name}.")
    if image_set.images is None and not image_set.why_none.strip():
        raise ValueError("Without images say why_none: the readers tell it to whoever asks for images.")
    return image_set


def checked_recording(subject, recording, n_images):
    """Return a `Recording` with all fields filled and of the right type.

    Raises
    ------
    ValueError
        The subject's name is not one of NSD's form, or an array does not fit; the message names it.
    """
    if not re.fullmatch(r"subj(0[1-9]|[1-9]\d)", subject):
        raise ValueError(f"Expected names such as 'subj01' for the subjects, got {subject!r}.")
    ids = checked_ids(recording.image_ids)
    if not len(ids) or not ids.min() >= 0 or not ids.max() < n_images:
        raise ValueError(
            f"image_ids of {subject} must go from 0 to {n_images - 1}, one for each trial; got {len(ids)} "
            f"trials{f', from {ids.min()} to {ids.max()}' if len(ids) else ''}."
        )
    betas = recording.betas
    if not callable(betas):
        betas = checked_betas(betas)
        if len(betas) != len(ids):
            raise ValueError(f"{subject} has {len(ids):,} image_ids, but {len(betas):,} rows of betas.")
    numbers = {}
    for name in ("sessions", "runs"):
        values = getattr(recording, name)
        values = np.ones(len(ids), int) if values is None else checked_count(values, f"{name} of {subject}")
        if values.shape != ids.shape or not (values >= 1).all():
            raise ValueError(f"{name} of {subject} must be ({len(ids)},), each at least 1.")
        numbers[name] = values
    position = numbers["sessions"] * (numbers["runs"].max() + 1) + numbers["runs"]
    if (np.diff(position) < 0).any():
        row = int(np.flatnonzero(np.diff(position) < 0)[0]) + 1
        raise ValueError(
            f"The trials of {subject} must come in the order of sessions and runs, but trial {row + 1} is "
            "of an earlier one than the trial before it."
        )
    filled = dataclasses.replace(recording, image_ids=ids, betas=betas, **numbers)
    _check_voxels(subject, filled)
    return filled


def _check_voxels(subject, recording):
    """Check what has one number per voxel."""
    mask, n_voxels = recording.mask, recording.n_voxels
    if mask is not None and (mask.dtype != bool or mask.ndim != 3 or not n_voxels):
        raise ValueError(f"mask of {subject} must be bool (nx, ny, nz) and mark at least one voxel.")
    if not callable(recording.betas) and recording.betas.shape[1] != n_voxels:
        raise ValueError(
            f"mask of {subject} marks {n_voxels:,} voxels, but betas have {recording.betas.shape[1]:,}."
        )
    if recording.ncsnr is not None:
        ncsnr = plain_array(recording.ncsnr, "ncsnr")
        if ncsnr.shape != (n_voxels,):
            raise ValueError(f"ncsnr of {subject} must be ({n_voxels},), got {ncsnr.shape}.")
        check_ncsnr(ncsnr, f"ncsnr of {subject}")
    for atlas, regions in recording.regions.items():
        seen = np.zeros(n_voxels, bool)
        for name, marked in regions.items():
            marked = plain_array(marked, f"{name} of {atlas}")
            if marked.dtype != bool or marked.shape != (n_voxels,):
                raise ValueError(
                    f"{name} of {atlas} of {subject} must be bool ({n_voxels},), got {marked.dtype} "
                    f"{marked.shape}."
                )
            if (seen & marked).any():
                raise ValueError(
                    f"{name} of {atlas} of {subject} overlaps with another region by "
                    f"{np.count_nonzero(seen & marked)} voxels, but a voxel has one code in an atlas: put it "
                    "into an atlas of its own."
                )
            seen |= marked


def checked_session(values, shape, name, is_volume):
    """Return the betas of a session as a float array, and what was changed.

    A voxel of a volume that is NaN in all trials was not measured in this session. Volumes are integers,
    which know no NaN, so it becomes 0 in all trials, and z-scoring leaves it at 0.

    Parameters
    ----------
    values : float array
    shape : tuple of int
        Expected: trials and voxels.
    name : str
        Such as "session 2 of subj01".
    is_volume : bool

    Returns
    -------
    values : float array
    changed : dict of str to int
        Numbers of voxels without values and of values that were cut.

    Raises
    ------
    ValueError
        Another shape, single NaN, or numbers that can't be percent signal change.
    """
    values = checked_betas(values)
    if values.shape != shape:
        raise ValueError(
            f"{name}: expected betas of {shape[0]} trials and {shape[1]} voxels, got {values.shape}."
        )
    if not is_volume:
        return values, {}
    missing = np.isnan(values).all(axis=0)
    if missing.any():
        values = np.where(missing, 0, values)
    if not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(values))[0]
        raise ValueError(
            f"{name} holds NaN or infinity, first in trial {row + 1}, voxel {column + 1}. A voxel may lack "
            "all trials of a session, but not some: leave the voxel out of the mask, or the trial out."
        )
    n_cut = int(np.count_nonzero(np.abs(values) > _LARGEST))
    largest = np.abs(values).max()
    if n_cut > 1e-3 * values.size or not largest >= _SMALLEST:
        raise ValueError(
            f"{name}: the largest number is {largest:.3g}, and {n_cut:,} of {values.size:,} are beyond "
            f"{_LARGEST:.0f}. Expected percent signal change (most below 10), which volumes keep in steps of "
            f"1/{SCALE}: bring the betas to this scale."
        )
    return values, {"voxels_without_values": int(missing.sum()), "values_cut": n_cut}


def checked_volume(subject, recording):
    """Return the shape (nx, ny, nz) of a subject's volume; raise ValueError if NIfTI can't hold it."""
    if recording.mask is not None:
        return recording.mask.shape
    if recording.n_voxels > _LONGEST:
        raise ValueError(
            f"{subject} has {recording.n_voxels:,} voxels without places, and a NIfTI file can have "
            f"{_LONGEST:,} in a row: pass a mask."
        )
    return recording.n_voxels, 1, 1
