"""Read NSD's volumes, a subject's own voxels, from hdf5 or NIfTI in one pass with little memory.

Voxels are selected by a mask (nx, ny, nz) and come in its C order. Axes are those of NIfTI. MATLAB wrote the
hdf5 files, so h5py sees (n_trials, nz, ny, nx).
"""

import gzip

import h5py
import nibabel
import numpy as np

from latentcortex.nsd.reading import existing_form, read_image, read_labels, reading
from latentcortex.nsd.surfaces import check_ncsnr
from latentcortex.nsd.tree import session_name, session_numbers

SPACES = ("func1pt8mm", "func1mm")
_FORMS = (".nii.gz", ".nii")
SUFFIXES = (".hdf5", *_FORMS)
SCALE = 300  # the files hold integers: percent signal change times this


def find_session(folder, session):
    """Return the file of a session, hdf5 before NIfTI; raise ValueError if a name is almost right."""
    names = [f"betas_{session_name(session)}{suffix}" for suffix in SUFFIXES]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    sessions(folder)
    raise FileNotFoundError(
        f"No {' or '.join(names[:2])} in {folder}. nsd.sessions lists the sessions on disk: pass them "
        "as sessions=, or download the file."
    )


def sessions(folder):
    """Return the 1-based numbers of the sessions on disk in any form, sorted."""
    return sorted(session_numbers(folder, "betas_", SUFFIXES))


def find_regions(folder, atlas):
    """Return the file of an atlas."""
    return existing_form(folder / f"{atlas}.nii.gz", _FORMS)


def read_regions(path):
    """Return the codes of an atlas, int (nx, ny, nz)."""
    return _three_axes(read_labels(path), path)


def read_ncsnr(folder):
    """Return the noise-ceiling ratios, float32 (nx, ny, nz), NaN where the file has NaN."""
    path = existing_form(folder / "ncsnr.nii.gz", _FORMS)
    return check_ncsnr(_three_axes(np.asarray(read_image(path).dataobj), path), path).astype(np.float32)


def _three_axes(values, path):
    if values.ndim != 3:
        raise ValueError(
            f"{path} has the shape {values.shape}, expected (nx, ny, nz). Is it another file under this name?"
        )
    return values


def shape_of_session(path):
    """Return a session's shape of voxels (nx, ny, nz), read from its header."""
    shape, _ = _describe(path)
    return shape[:3]


def read_session(path, n_trials, mask, out):
    """Read the voxels of one session.

    Parameters
    ----------
    path : pathlib.Path
        Path from `find_session`.
    n_trials : int
        The number of trials that the log of responses leads to expect.
    mask : bool array (nx, ny, nz)
    out : float32 array (n_trials, n_voxels)
        Filled with percent signal change.

    Returns
    -------
    list of (pathlib.Path, slice)
        The file, and the columns of `out` that it filled, which are all columns.

    Raises
    ------
    ValueError
        If the file is truncated, holds floats, has its own scale, or has other trials or voxels.
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
    with reading(path):
        _READERS[path.suffix](path, mask, out)
    out /= SCALE
    return [(path, slice(0, out.shape[1]))]


def finite(path, _n_trials):
    """Return a mask of all voxels, because integers cannot be NaN."""
    return np.ones(shape_of_session(path), bool)


def _describe(path):
    """Shape (nx, ny, nz, n_trials) and type of the numbers on disk."""
    with reading(path):
        if path.suffix == ".hdf5":
            with h5py.File(path) as file:
                shape, dtype, scale = file["betas"].shape[::-1], file["betas"].dtype, (1, 0)
        else:
            image = nibabel.load(path)
            shape, dtype = image.header.get_data_shape(), image.get_data_dtype()
            scale = image.dataobj.slope, image.dataobj.inter
        if len(shape) != 4:
            raise ValueError(f"it has the shape {shape} in place of (nx, ny, nz, n_trials)")
    if scale != (1, 0):
        raise ValueError(
            f"{path} has a scale in its header (scl_slope {scale[0]:g}, scl_inter {scale[1]:g}), but NSD's "
            f"volumes have none: their integers are percent signal change times {SCALE}. Another program has "
            "saved it: use NSD's own file, or save such integers with a slope of 1."
        )
    return shape, dtype


def _read_hdf5(path, mask, out):
    index = np.zeros(mask.shape, int)
    index[mask] = np.arange(np.count_nonzero(mask))
    x, y, z = (np.flatnonzero(mask.any(axes)) for axes in ((1, 2), (0, 2), (0, 1)))
    box = slice(x[0], x[-1] + 1), slice(y[0], y[-1] + 1)
    with h5py.File(path) as file:
        for k in z:
            slab = file["betas"][:, k, box[1], box[0]]  # (n_trials, ny, nx) of the box
            there = mask[(*box, k)].T
            out[:, index[(*box, k)].T[there]] = slab[:, there]


def _read_nifti(path, mask, out):
    # Trial by trial as the file is unpacked; nibabel's slices would unpack it again for each.
    image = nibabel.load(path)
    dtype = image.get_data_dtype()
    n_bytes = mask.size * dtype.itemsize
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        file.seek(image.dataobj.offset)
        for row in out:
            packed = file.read(n_bytes)
            if len(packed) < n_bytes:
                raise EOFError("it ends early")
            row[:] = np.frombuffer(packed, dtype).reshape(mask.shape, order="F")[mask]
        if file.read(1):  # reading on to the end also makes gzip compare its checksum
            raise EOFError("it goes on behind the last trial")


_READERS = {".hdf5": _read_hdf5, ".gz": _read_nifti, ".nii": _read_nifti}
