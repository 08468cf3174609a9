"""Write plain arrays as NSD's files on what was measured: betas, noise ceilings and regions.

All sizes are those of the arguments, and the same arrays always give the same bytes. `write_shown` has the
other files, `trees` writes all of them. The simulated worlds are written by both modules, so a change of
their code gives these worlds new names.
"""

import h5py
import nibabel
import numpy as np

from latentcortex.nsd.tree import new_path
from latentcortex.nsd.volumes import SCALE

_BETAS = "fithrf_GLMdenoise_RR"


def write_betas_session(root, subject, session, betas):
    """Write the responses of one session on fsaverage.

    Parameters
    ----------
    root : path
    subject : str
    session : int or "nsdsynthetic"
        1-based session of the main experiment, or the session of NSD-synthetic.
    betas : float array (n_trials, n_vertices)
        Percent signal change; the left hemisphere's vertices, then as many of the right.

    Returns
    -------
    list of pathlib.Path
        The files of the left and the right hemisphere.
    """
    folder, name = _betas_name(session)
    return _write_hemispheres(root, f"nsddata_betas/ppdata/{subject}/fsaverage/{folder}", name, betas)


def write_ncsnr(root, subject, ncsnr):
    """Write the noise-ceiling signal-to-noise ratio, float array (n_vertices,)."""
    folder = f"nsddata_betas/ppdata/{subject}/fsaverage/betas_{_BETAS}"
    _write_hemispheres(root, folder, "ncsnr", np.asarray(ncsnr)[None])


def write_volume_betas_session(root, subject, session, betas, affine=None, space="func1pt8mm", form="hdf5"):
    """Write the responses of one session in a volume.

    Parameters
    ----------
    root, subject, session
        See `write_betas_session`.
    betas : float array (n_trials, nx, ny, nz)
        Percent signal change. The files hold integers 300 times as large.
    affine : array (4, 4), optional
        From voxel indices to millimetres; for NIfTI.
    space : {"func1pt8mm", "func1mm"}
    form : {"hdf5", "nii.gz"}
        NSD offers both.

    Returns
    -------
    pathlib.Path
        The file.
    """
    scaled = _as_integers(betas)
    folder, name = _betas_name(session)
    path = new_path(root, f"nsddata_betas/ppdata/{subject}/{space}/{folder}/{name}.{form}")
    if form == "nii.gz":
        _save_nifti(path, np.moveaxis(scaled, 0, -1), affine)
        return path
    with h5py.File(path, "w") as file:
        # MATLAB wrote (nx, ny, nz, n_trials): others read the axes in reverse, a chunk a voxel.
        file.create_dataset("betas", data=scaled.transpose(0, 3, 2, 1), chunks=(len(scaled), 1, 1, 1))
    return path


def write_masked_betas_session(root, subject, session, betas, mask, space="func1pt8mm"):
    """Write the responses of one session at some voxels of a volume; the others are 0 and take no space.

    Parameters
    ----------
    root, subject, session, space
        See `write_volume_betas_session`.
    betas : float array (n_trials, n_voxels)
        Percent signal change.
    mask : bool array (nx, ny, nz)
        Where the voxels lie, in C order.

    Returns
    -------
    pathlib.Path
        The file, hdf5.
    """
    folder, name = _betas_name(session)
    path = new_path(root, f"nsddata_betas/ppdata/{subject}/{space}/{folder}/{name}.hdf5")
    columns = np.ascontiguousarray(_as_integers(betas).T)
    with h5py.File(path, "w") as file:
        shape = (len(betas), *mask.shape[::-1])
        volume = file.create_dataset("betas", shape, np.int16, chunks=(len(betas), 1, 1, 1))
        # A voxel is a chunk. What is never written reads as 0.
        for (x, y, z), column in zip(np.argwhere(mask), columns, strict=True):
            volume.id.write_direct_chunk((0, z, y, x), column.tobytes())
    return path


def _as_integers(betas):
    return np.clip(np.rint(SCALE * betas), -32768, 32767).astype(np.int16)


def write_volume(root, subject, name, values, affine=None, space="func1pt8mm"):
    """Write a volume (nx, ny, nz) that belongs to a subject.

    Parameters
    ----------
    root, subject, affine, space
        See `write_volume_betas_session`.
    name : str
        ``ncsnr`` (of the betas), ``brainmask``, or ``roi/`` and the name of an atlas.
    values : array (nx, ny, nz)
    """
    folder = f"nsddata/ppdata/{subject}/{space}"
    if name == "ncsnr":
        folder = f"nsddata_betas/ppdata/{subject}/{space}/betas_{_BETAS}"
    _save_nifti(new_path(root, f"{folder}/{name}.nii.gz"), values, affine)


def _save_nifti(path, values, affine):
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4) if affine is None else affine), path)


def write_rois(root, atlas, labels, names, subject=None):
    """Write an atlas of regions.

    Parameters
    ----------
    root : path
    atlas : str
    labels : int array (n_vertices,)
        Code of each vertex, left hemisphere first.
    names : dict of int to str
    subject : str, optional
        By default the atlas is that of fsaverage.
    """
    folder = f"nsddata/freesurfer/{subject or 'fsaverage'}/label"
    for hemisphere, half in zip(("lh", "rh"), np.split(np.asarray(labels), 2), strict=True):
        image = nibabel.MGHImage(half.astype(np.int32)[:, None, None], np.eye(4))
        nibabel.save(image, new_path(root, f"{folder}/{hemisphere}.{atlas}.mgz"))
    lines = [f"{code} {name}\n" for code, name in names.items()]
    new_path(root, f"{folder}/{atlas}.mgz.ctab").write_text("".join(lines))


def _betas_name(session):
    if session == "nsdsynthetic":
        return f"nsdsyntheticbetas_{_BETAS}", "betas_nsdsynthetic"
    return f"betas_{_BETAS}", f"betas_session{session:02d}"


def _write_hemispheres(root, folder, name, values):
    """Write float values (n_trials, n_vertices) as two big-endian surface files; return their paths."""
    paths = []
    for hemisphere, half in zip(("lh", "rh"), np.split(values, 2, axis=1), strict=True):
        # FreeSurfer's order: vertex first, trials last; nibabel wants a single one left out.
        volume = half.astype(np.float32).T[:, None, None]
        volume = volume[..., 0] if len(values) == 1 else volume
        paths.append(new_path(root, f"{folder}/{hemisphere}.{name}.mgh"))
        nibabel.save(nibabel.MGHImage(volume, np.eye(4)), paths[-1])
    return paths
