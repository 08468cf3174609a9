"""Read NSD's volumes: a subject's own voxels, as hdf5 or NIfTI, in one pass and little memory.

Voxels are picked by a mask (nx, ny, nz) and come in its C order. Axes are those of NIfTI: MATLAB
wrote the hdf5 files, so that h5py sees (n_trials, nz, ny, nx).
"""

import contextlib
import gzip
import zlib

import h5py
import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError

from latentcortex.nsd.tree import session_name

SPACES = ("func1pt8mm", "func1mm")
SUFFIXES = (".hdf5", ".nii.gz")
SCALE = 300  # the files hold integers: percent signal change times this


@contextlib.contextmanager
def _telling_damage(path):
    """Say what to do where a file that is there can't be read."""
    try:
        yield
    except (EOFError, KeyError, OSError, zlib.error, ImageFileError) as error:
        if getattr(error, "errno", None):  # locked, no permission, too many open files
            raise
        raise ValueError(f"{path} is truncated or damaged: delete it and download it again.") from error


def find_session(folder, session):
    """Return the file of a session, hdf5 before NIfTI."""
    names = [f"betas_{session_name(session)}{suffix}" for suffix in SUFFIXES]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(
        f"No {' or '.join(names)} in {folder}. nsd.sessions lists the sessions on disk: pass them "
        "as sessions=, or download the file."
    )


def sessions(folder):
    """List the sessions on disk in either form, 1-based and sorted."""
    found = {
        path.name.removesuffix(suffix).removeprefix("betas_session")
        for suffix in SUFFIXES
        for path in folder.glob(f"betas_session*{suffix}")
    }
    return sorted(int(number) for number in found)


def read_volume(path):
    """Read a volume (nx, ny, nz), such as the codes of an atlas."""
    if not path.is_file():
        raise FileNotFoundError(f"No {path.name} in {path.parent}. Download that part of NSD too.")
    with _telling_damage(path):
        # All of it is unpacked, so that gzip compares its checksum.
        return np.asarray(nibabel.Nifti1Image.from_bytes(gzip.decompress(path.read_bytes())).dataobj)


def read_ncsnr(folder):
    """Read float32 (nx, ny, nz)."""
    return read_volume(folder / "ncsnr.nii.gz").astype(np.float32)


def shape_of_session(path):
    """Read a session's shape of voxels (nx, ny, nz) from its header."""
    shape, _ = _describe(path)
    return shape[:3]


def read_session(path, n_trials, mask, out):
    """Read the voxels of one session.

    Parameters
    ----------
    path : pathlib.Path
        From `find_session`.
    n_trials : int
        Expected, by the log of responses.
    mask : bool array (nx, ny, nz)
    out : float32 array (n_trials, n_voxels)
        Filled with percent signal change.

    Raises
    ------
    ValueError
        The file is truncated, holds floats, or has other trials or voxels.
    """
    shape, dtype = _describe(path)
    if dtype.kind != "i":
        raise ValueError(
            f"{path} holds {dtype.name}, but NSD's volumes are integers, percent signal change "
            f"times {SCALE}. If these are scaled already, multiply by {SCALE} and save as int16."
        )
    if shape != (*mask.shape, n_trials):
        raise ValueError(
            f"{path} has voxels and trials {shape}, expected {(*mask.shape, n_trials)} by the mask "
            "and the log of responses. Is it of another subject, session or resolution?"
        )
    with _telling_damage(path):
        _READERS[path.suffix](path, mask, out)
    out /= SCALE


def _describe(path):
    """Shape (nx, ny, nz, n_trials) and type of the numbers on disk."""
    with _telling_damage(path):
        if path.suffix == ".hdf5":
            with h5py.File(path) as file:
                return file["betas"].shape[::-1], file["betas"].dtype
        header = nibabel.load(path).header
        return header.get_data_shape(), header.get_data_dtype()


def _read_hdf5(path, mask, out):
    index = np.zeros(mask.shape, int)
    index[mask] = np.arange(np.count_nonzero(mask))
    x, y, z = (np.flatnonzero(mask.any(axes)) for axes in ((1, 2), (0, 2), (0, 1)))
    if not len(z):
        return
    box = slice(x[0], x[-1] + 1), slice(y[0], y[-1] + 1)
    with h5py.File(path) as file:
        for k in z:
            slab = file["betas"][:, k, box[1], box[0]]  # (n_trials, ny, nx) of the box
            there = mask[(*box, k)].T
            out[:, index[(*box, k)].T[there]] = slab[:, there]


def _read_nifti(path, mask, out):
    # Trial by trial as the file is unpacked; nibabel's slices would unpack it anew for each.
    image = nibabel.load(path)
    dtype = image.get_data_dtype()
    n_bytes = mask.size * dtype.itemsize
    with gzip.open(path) as file:
        file.seek(image.dataobj.offset)
        for row in out:
            packed = file.read(n_bytes)
            if len(packed) < n_bytes:
                raise EOFError
            row[:] = np.frombuffer(packed, dtype).reshape(mask.shape, order="F")[mask]
        if file.read(1):  # reading on to the end also makes gzip compare its checksum
            raise EOFError


_READERS = {".hdf5": _read_hdf5, ".gz": _read_nifti}
