"""Read regions of interest: names, codes, and masks of vertices or voxels.

Arrays hold the left hemisphere's vertices, then the right's.
"""

import numpy as np
import pandas as pd

from latentcortex.nsd import surfaces, volumes
from latentcortex.nsd.tree import existing_path

_SPACES = (*surfaces.SPACES, "nativesurface", *volumes.SPACES)


def roi_names(root, atlas):
    """Read the names of an atlas and the codes they have in its files.

    Returns
    -------
    pandas.DataFrame
        code (int) and name, one row a region; code 0 is what lies outside.

    Raises
    ------
    FileNotFoundError
        No such atlas; the message names those that exist.
    """
    folder = existing_path(root, "nsddata/freesurfer/fsaverage/label")
    path = folder / f"{atlas}.mgz.ctab"
    if not path.is_file():
        known = sorted(path.name.removesuffix(".mgz.ctab") for path in folder.glob("*.mgz.ctab"))
        raise FileNotFoundError(f"No atlas {atlas!r} in {folder}. There are: {', '.join(known)}.")
    rows = [line.split(maxsplit=1) for line in path.read_text().splitlines() if line.strip()]
    return pd.DataFrame({"code": [int(code) for code, _ in rows], "name": [name.strip() for _, name in rows]})


def roi(root, atlas, space="fsaverage", subject=None):
    """Read the code of the region that each vertex or voxel belongs to.

    Parameters
    ----------
    root : path
    atlas : str
        Such as ``"streams"`` or ``"prf-visualrois"``.
    space : {"fsaverage", "fsaverage5", "nativesurface", "func1pt8mm", "func1mm"}
        On fsaverage all subjects have the same regions. In the others they are the subject's own;
        the native surface has a number of vertices of its own.
    subject : str, optional
        Needed in a subject's own spaces.

    Returns
    -------
    int array (n_vertices,) or (nx, ny, nz)
        Codes of `roi_names`; NSD has -1 where an atlas was not drawn.

    Raises
    ------
    FileNotFoundError, ValueError
        No such atlas or space; a subject is missing.
    """
    roi_names(root, atlas)
    if space not in _SPACES:
        raise ValueError(f"No regions in space {space!r}. There are: {', '.join(_SPACES)}.")
    if space not in surfaces.SPACES and subject is None:
        raise ValueError(f"The regions in {space} are each subject's own: pass subject=.")
    if space in volumes.SPACES:
        path = existing_path(root, f"nsddata/ppdata/{subject}/{space}/roi/{atlas}.nii.gz")
        return volumes.read_volume(path).astype(int)
    folder = "fsaverage" if space in surfaces.SPACES else subject
    paths = [f"nsddata/freesurfer/{folder}/label/{h}.{atlas}.mgz" for h in ("lh", "rh")]
    reader = surfaces.SPACES.get(space, surfaces.SPACES["fsaverage"])  # native: all vertices
    return reader.read_labels([existing_path(root, path) for path in paths])


def roi_mask(root, atlas, names, space="fsaverage", subject=None):
    """Mark the vertices or voxels of one or several regions.

    Parameters
    ----------
    root, atlas, space, subject
        As for `roi`.
    names : str or sequence of str
        Names of `roi_names`, such as ``"early"`` or ``["V1v", "V1d"]``.

    Returns
    -------
    bool array (n_vertices,) or (nx, ny, nz)

    Raises
    ------
    ValueError
        An unknown name; the message names those that exist.
    """
    table = roi_names(root, atlas)
    names = [names] if isinstance(names, str) else list(names)
    unknown = [name for name in names if name not in set(table["name"])]
    if unknown or not names:
        raise ValueError(f"No region {unknown} in {atlas}. There are: {', '.join(table['name'])}.")
    return np.isin(roi(root, atlas, space, subject), table["code"][table["name"].isin(names)])
