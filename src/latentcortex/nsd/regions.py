"""Read regions of interest on the surface: names, codes and masks of vertices.

Arrays hold the left hemisphere's vertices, then the right's.
"""

import nibabel
import numpy as np
import pandas as pd

from latentcortex.nsd.tree import existing_path


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
    return pd.DataFrame(
        {"code": [int(code) for code, _ in rows], "name": [name.strip() for _, name in rows]}
    )


def roi(root, atlas, subject=None):
    """Read the code of the region that each vertex belongs to.

    Parameters
    ----------
    root : path
    atlas : str
        Such as ``"streams"`` or ``"prf-visualrois"``.
    subject : str, optional
        Read the subject's own regions (in the NSD release these lie on the subject's native
        surface, which has a number of vertices of its own) instead of those of fsaverage.

    Returns
    -------
    int array (n_vertices,)
        Codes of `roi_names`; NSD has -1 where an atlas was not drawn.
    """
    roi_names(root, atlas)
    folder = "fsaverage" if subject is None else subject
    paths = [f"nsddata/freesurfer/{folder}/label/{h}.{atlas}.mgz" for h in ("lh", "rh")]
    labels = [np.asarray(nibabel.load(existing_path(root, path)).dataobj).ravel() for path in paths]
    return np.concatenate(labels).astype(int)


def roi_mask(root, atlas, names, subject=None):
    """Mark the vertices of one or several regions.

    Parameters
    ----------
    root, atlas, subject
        As for `roi`.
    names : str or sequence of str
        Names of `roi_names`, such as ``"early"`` or ``["V1v", "V1d"]``.

    Returns
    -------
    bool array (n_vertices,)

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
    return np.isin(roi(root, atlas, subject), table["code"][table["name"].isin(names)])
