"""Read regions of interest: names, codes, and masks of vertices or voxels.

Arrays hold the vertices of the left hemisphere first, then those of the right hemisphere.
"""

import re

import numpy as np
import pandas as pd

from latentcortex.nsd import surfaces, volumes
from latentcortex.nsd.arguments import file_names
from latentcortex.nsd.reading import read_text
from latentcortex.nsd.tree import existing_path

_SPACES = (*surfaces.SPACES, "nativesurface", *volumes.SPACES)
# Code and name, and in FreeSurfer's own tables red, green, blue and what is transparent of each.
_LINE = re.compile(r"\s*(-?\d+)\s+(\S.*?)(?:\s+\d+\s+\d+\s+\d+\s+\d+)?\s*")


def roi_names(root, atlas):
    """Return the region names of an atlas, with the codes that its files use.

    Comments and colours, which FreeSurfer's programs write, are skipped.

    Returns
    -------
    pandas.DataFrame
        One row per region, with its code (int) and name. Code 0 means outside all regions.

    Raises
    ------
    FileNotFoundError
        If there is no such atlas. The message names the atlases that exist.
    ValueError
        If a line of the file is not a code and a name, or if a code or name occurs twice.
    """
    path = _path_of_names(root, atlas)
    lines = [
        line for line in read_text(path).splitlines() if line.strip() and not line.lstrip().startswith("#")
    ]
    rows = [_LINE.fullmatch(line) for line in lines]
    if not lines or None in rows:
        line = repr(lines[rows.index(None)]) if lines else "nothing but comments"
        raise ValueError(
            f"{path} holds {line} where a code and a name were expected, such as '1 early'. Download it "
            "again."
        )
    table = pd.DataFrame({"code": [int(row[1]) for row in rows], "name": [row[2] for row in rows]})
    for column in table:
        twice = table[column][table[column].duplicated()]
        if len(twice):
            raise ValueError(f"{path} has the {column} {twice.iloc[0]} twice. Download it again.")
    return table


def _path_of_names(root, atlas):
    folder = existing_path(root, "nsddata/freesurfer/fsaverage/label")
    path = folder / f"{atlas}.mgz.ctab"
    if not path.is_file():
        known = sorted(path.name.removesuffix(".mgz.ctab") for path in folder.glob("*.mgz.ctab"))
        raise FileNotFoundError(f"No atlas {atlas!r} in {folder}. There are: {', '.join(known)}.")
    return path


def roi(root, atlas, space="fsaverage", subject=None):
    """Return the code of the region that each vertex or voxel belongs to.

    Parameters
    ----------
    root : path
    atlas : str
        Such as ``"streams"`` or ``"prf-visualrois"``.
    space : {"fsaverage", "fsaverage5", "nativesurface", "func1pt8mm", "func1mm"}
        On fsaverage all subjects have the same regions. In the other spaces each subject has its own regions.
        On the native surface each subject also has its own number of vertices.
    subject : str, optional
        Needed in a subject's own spaces.

    Returns
    -------
    int array (n_vertices,) or (nx, ny, nz)
        Codes of `roi_names`. NSD writes -1 where an atlas was not drawn.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such atlas or space, or if a subject is missing. Also if a file is damaged, holds
        fractions, or holds a code without a name.
    """
    known = roi_names(root, atlas)["code"]
    if space not in _SPACES:
        raise ValueError(f"No regions in space {space!r}. There are: {', '.join(_SPACES)}.")
    if space not in surfaces.SPACES and not isinstance(subject, str):
        raise ValueError(
            f"The regions in {space} are each subject's own: pass subject=, a name such as 'subj01'."
        )
    if space in volumes.SPACES:
        folder = existing_path(root, f"nsddata/ppdata/{subject}/{space}/roi")
        files = volumes.find_regions(folder, atlas)
        codes = volumes.read_regions(files)
    else:
        owner = "fsaverage" if space in surfaces.SPACES else subject
        folder = existing_path(root, f"nsddata/freesurfer/{owner}/label")
        reader = surfaces.SPACES.get(space, surfaces.SPACES["fsaverage"])  # native: all vertices
        files = reader.find_regions(folder, atlas)
        codes = reader.read_regions(files)
    nameless = np.setdiff1d(codes[codes > 0], known)
    if len(nameless):
        raise ValueError(
            f"{file_names(files)} hold the code {nameless[0]}, which {_path_of_names(root, atlas)} does not "
            "name. Was one of them cut short, or is it of another atlas? Download them again."
        )
    return codes


def roi_mask(root, atlas, names, space="fsaverage", subject=None):
    """Return a mask of the vertices or voxels of one or several regions.

    Parameters
    ----------
    root, atlas, space, subject
        As in `roi`.
    names : str or sequence of str
        Names of `roi_names`, such as ``"early"`` or ``["V1v", "V1d"]``.

    Returns
    -------
    bool array (n_vertices,) or (nx, ny, nz)

    Raises
    ------
    ValueError
        If a name is unknown, or if the subject has none of these regions. The message names the regions that
        exist.
    """
    table = roi_names(root, atlas)
    names = [names] if isinstance(names, str) else list(names)
    unknown = [name for name in names if name not in set(table["name"])]
    if unknown or not names:
        raise ValueError(
            f"No region {unknown} in {atlas}. There are: {', '.join(table['name'])} "
            f"({_path_of_names(root, atlas)})."
        )
    mask = np.isin(roi(root, atlas, space, subject), table["code"][table["name"].isin(names)])
    if not mask.any():
        raise ValueError(
            f"{' and '.join(names)} of {atlas} mark nothing in {space}: {subject or 'this atlas'} has no "
            "such region, which is normal for small ones. Leave it out here."
        )
    return mask
