"""Read regions of interest: names, codes, and masks of vertices or voxels.

Arrays hold the vertices of the left hemisphere first, then those of the right hemisphere.
"""

import re

import numpy as np
import pandas as pd

from latentcortex.nsd import spheres, surfaces, volumes
from latentcortex.nsd.arguments import file_names
from latentcortex.nsd.reading import read_labels, read_text
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
    # An atlas that was drawn for each subject has the same names in all of them.
    folders = [folder, *sorted(folder.parents[1].glob("subj*/label"))]
    for path in (one / f"{atlas}.mgz.ctab" for one in folders):
        if path.is_file():
            return path
    known = {path.name.removesuffix(".mgz.ctab") for one in folders for path in one.glob("*.mgz.ctab")}
    raise FileNotFoundError(
        f"No atlas {atlas!r} in {folder} or in the subjects' own labels. There are: "
        f"{', '.join(sorted(known))}."
    )


def roi(root, atlas, space="fsaverage", subject=None):
    """Return the code of the region that each vertex or voxel belongs to.

    Parameters
    ----------
    root : path
    atlas : str
        Such as ``"streams"`` or ``"prf-visualrois"``.
    space : {"fsaverage", "fsaverage5", "nativesurface", "func1pt8mm", "func1mm"}
        On fsaverage all subjects have the same regions, or each its own where an atlas was drawn for each
        subject (NSD's ``prf-visualrois`` and ``floc-*``): these are brought there by the nearest vertex of
        the subject's sphere. In the other spaces regions are the subject's own. The native surface has a
        number of vertices of its own.
    subject : str, optional
        Needed in a subject's own spaces, and on fsaverage for an atlas that was drawn for each subject.

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
        reader = surfaces.SPACES.get(space, surfaces.SPACES["fsaverage"])  # native: all vertices
        is_own = space == "nativesurface" or not _is_common(root, atlas)
        if is_own and not isinstance(subject, str):
            raise ValueError(
                f"{atlas} was drawn for each subject, so fsaverage has no labels of it: pass subject=, a "
                "name such as 'subj01'."
            )
        folder = existing_path(root, f"nsddata/freesurfer/{subject if is_own else 'fsaverage'}/label")
        files = reader.find_regions(folder, atlas)
        if is_own and space != "nativesurface":
            codes = _brought_to_fsaverage(root, subject, files, reader)
        else:
            codes = reader.read_regions(files)
    nameless = np.setdiff1d(codes[codes > 0], known)
    if len(nameless):
        raise ValueError(
            f"{file_names(files)} hold the code {nameless[0]}, which {_path_of_names(root, atlas)} does not "
            "name. Was one of them cut short, or is it of another atlas? Download them again."
        )
    return codes


def _is_common(root, atlas):
    """Say whether an atlas has labels on fsaverage; an unknown one is looked for, and missed, there."""
    freesurfer = existing_path(root, "nsddata/freesurfer")
    return not any(freesurfer.glob(f"subj*/label/lh.{atlas}.mg[hz]")) or any(
        freesurfer.glob(f"fsaverage/label/lh.{atlas}.mg[hz]")
    )


def _brought_to_fsaverage(root, subject, files, reader):
    """Return the codes of a subject's own labels at the vertices of fsaverage."""
    missing = spheres.missing_spheres(root, subject)
    if missing:
        raise FileNotFoundError(
            f"{files[0].name} lies on {subject}'s own surface, and {', '.join(missing)}, which would bring "
            "it to fsaverage, is not there. Download the spheres, or leave the atlas out."
        )
    halves = [read_labels(path).ravel() for path in files]
    pairs = list(zip(files, halves, spheres.nearest_vertices(str(root), subject), strict=True))
    for path, codes, nearest in pairs:
        if nearest.max() >= len(codes):
            raise ValueError(
                f"{path} has {len(codes):,} vertices, fewer than the sphere of {subject}. Are both of "
                "the same release? Download them again."
            )
    return np.concatenate([codes[nearest][: reader.n_first] for _, codes, nearest in pairs])


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
