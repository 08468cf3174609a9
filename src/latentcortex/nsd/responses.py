"""Read the responses of brains as single trials, z-scored trials, or averages per image.

All sizes are read from the files. Images are identified by their 0-based 73k ids, and subjects by names such
as ``"subj01"``. Surface arrays hold the vertices of the left hemisphere first, then those of the right
hemisphere.

Source: Allen et al. (2022), Nature Neuroscience 25, 116-126, and the NSD data manual.
"""

import numpy as np

from latentcortex.nsd import surfaces, volumes
from latentcortex.nsd.arguments import checked_mask
from latentcortex.nsd.design import trials
from latentcortex.nsd.recorded import RecordedTrials
from latentcortex.nsd.repeats import average_repeats, zscore
from latentcortex.nsd.tree import check_subject, existing_path

SPACES = (*surfaces.SPACES, *volumes.SPACES)  # that betas are read in
_BETAS = "betas_fithrf_GLMdenoise_RR"


def sessions(root, subject, space="fsaverage", betas=_BETAS):
    """Return the numbers of the sessions whose betas are on disk, on the surface for both hemispheres.

    Parameters
    ----------
    root : path
    subject : str
    space : {"fsaverage", "fsaverage5", "func1pt8mm", "func1mm"}
    betas : str
        NSD's version of the betas: the name of their folder.

    Returns
    -------
    list of int
        1-based, sorted.
    """
    reader, folder = open_space(root, subject, space, betas)
    return reader.sessions(folder)


def betas(root, subject, space="fsaverage", sessions=None, mask=None, betas=_BETAS):
    """Return single-trial responses, one row for each row of `trials`.

    Parameters
    ----------
    root : path
    subject : str
    space : {"fsaverage", "fsaverage5", "func1pt8mm", "func1mm"}
    sessions : int or sequence of int, optional
        The first so many, or 1-based numbers in the order wanted; by default those of `trials`, whose
        betas are on disk.
    mask : bool array (n_vertices,) or (nx, ny, nz), optional
        Vertices or voxels to read, for example from `roi_mask`. A surface mask covers both hemispheres, left
        first. Without a mask all are read, which for NSD's real volumes means 700,000 voxels.
    betas : str
        NSD's version of the betas: the name of their folder.

    Returns
    -------
    float32 array (n_trials, n_voxels)
        Percent signal change; all values are finite. On the surface NSD stores these values as floats. In the
        volume it stores integers that are 300 times as large, so they are divided here. Voxels are in C order
        of the mask.

    Raises
    ------
    FileNotFoundError, ValueError
        If a session is missing, truncated, of integers or of another shape, or if the mask does not fit or is
        empty. Also if a vertex holds NaN (see `finite_mask`), or if a trial is zero in all voxels of a file
        or equal to a trial of another image.
    """
    reader, folder = open_space(root, subject, space, betas)
    table = trials(root, subject, sessions)
    advice = f": nsd.finite_mask(root, {subject!r}, {space!r}) marks the vertices that have none"
    result = None
    for session, rows in table.groupby("session", sort=False):
        files, name = reader.find_session(folder, session), f"session {session} of {subject}"
        shape = reader.shape_of_session(files)
        mask = checked_mask(mask, shape, space, name.capitalize(), files)
        if result is None:
            result = np.empty((len(table), np.count_nonzero(mask)), np.float32)
            recorded, start = RecordedTrials(result), 0
        parts = reader.read_session(files, len(rows), mask, result[start : start + len(rows)])
        recorded.add(parts, rows["image_id"], name, advice)
        start += len(rows)
    return result


def finite_mask(root, subject, space="fsaverage", sessions=None, betas=_BETAS):
    """Return a mask of the vertices that hold a number in every trial of the sessions.

    Parameters
    ----------
    root, subject, space, sessions, betas
        See `betas`.

    Returns
    -------
    bool array (n_vertices,) or (nx, ny, nz)
        In a volume all voxels are marked, because NSD's volumes hold integers.
    """
    reader, folder = open_space(root, subject, space, betas)
    masks = [
        reader.finite(reader.find_session(folder, session), len(rows))
        for session, rows in trials(root, subject, sessions).groupby("session", sort=False)
    ]
    return np.logical_and.reduce(masks)


def scaled_betas(root, subject, space="fsaverage", sessions=None, mask=None):
    """Return single trials, z-scored session by session with the statistics of training trials.

    Parameters
    ----------
    root, subject, space, sessions, mask
        See `betas`.

    Returns
    -------
    table : pandas.DataFrame
        The table of `trials`.
    values : float32 array (n_trials, n_voxels)
        One row for each row of the table.
    """
    table = trials(root, subject, sessions)
    is_train = ~table["shared"].to_numpy()
    values = betas(root, subject, space, sessions, mask)
    return table, zscore(values, table["session"].to_numpy(), is_train)


def image_responses(root, subject, space="fsaverage", sessions=None, mask=None):
    """Return a subject's responses as most analyses need them, with one row per image.

    Trials are z-scored session by session with the mean and deviation of training trials. Then the repeats of
    each image are averaged. The images that all subjects see are the test images.

    Parameters
    ----------
    root, subject, space, sessions, mask
        See `betas`.

    Returns
    -------
    train, test : tuples of (betas, image_ids, n_repeats)
        Shapes are float32 (n_images, n_voxels), int (n_images,) in ascending order, and int (n_images,).
    """
    table, values = scaled_betas(root, subject, space, sessions, mask)
    image_ids, is_train = table["image_id"].to_numpy(), ~table["shared"].to_numpy()
    train, test = (average_repeats(values[rows], image_ids[rows]) for rows in (is_train, ~is_train))
    return train, test


def ncsnr(root, subject, space="fsaverage", betas=_BETAS):
    """Return the noise-ceiling signal-to-noise ratio that comes with the betas.

    Returns
    -------
    float32 array (n_vertices,) or (nx, ny, nz)
        Standard deviation of the repeatable part of the response, divided by that of the noise of one trial.
        It was estimated from all trials, including those of test images, so never select voxels for a decoder
        by it (see `estimate_ncsnr`). It is NaN where the file has NaN.

    Raises
    ------
    FileNotFoundError, ValueError
        If the file is missing or damaged, or holds a ratio below 0.
    """
    reader, folder = open_space(root, subject, space, betas)
    return reader.read_ncsnr(folder)


def open_space(root, subject, space, betas):
    """Return the reader of a space and the folder of its betas."""
    check_subject(root, subject)
    if space not in SPACES:
        raise ValueError(f"Can't read betas in space {space!r}. There are: {', '.join(SPACES)}.")
    parent = "fsaverage" if space == "fsaverage5" else space
    parent = existing_path(root, f"nsddata_betas/ppdata/{subject}/{parent}")
    folder = parent / betas
    if not folder.is_dir():
        versions = sorted(path.name for path in parent.glob("betas_*"))
        raise FileNotFoundError(
            f"No {betas} in {parent}. There are: {', '.join(versions) or 'none'}. Download that "
            "part of NSD too, or pass one of these as betas=."
        )
    return surfaces.SPACES.get(space, volumes), folder
