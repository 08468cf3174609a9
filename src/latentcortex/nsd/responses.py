"""Read what subjects saw, what they answered and how their brains responded.

All sizes are read from the files. Images are known by their 0-based 73k ids, subjects by names
such as ``"subj01"``. Surface arrays hold the left hemisphere's vertices, then the right's.

Source: Allen et al. (2022), Nature Neuroscience 25, 116-126, and the NSD data manual.
"""

import numpy as np
import pandas as pd
from scipy.io import loadmat

from latentcortex.nsd import surfaces, volumes
from latentcortex.nsd.repeats import average_repeats, zscore
from latentcortex.nsd.tree import check_subject, existing_path

_BETAS = "betas_fithrf_GLMdenoise_RR"
_DESIGN = {"subjectim", "sharedix", "masterordering"}
_LOG = {"SESSION", "RUN", "TRIAL", "73KID", "ISOLD", "ISCORRECT", "RT"}


def trials(root, subject, sessions=None):
    """Tell what was shown in each trial, and what the subject answered.

    The image of trial t is ``subjectim[subject, masterordering[t]]`` of the experimental design;
    this is held against the log of the responses.

    Parameters
    ----------
    root : path
    subject : str
    sessions : int or sequence of int, optional
        The first so many, or 1-based numbers; rows come in this order of sessions. By default all
        that the subject took part in.

    Returns
    -------
    pandas.DataFrame
        One row a trial, in the order of the betas: subject, session, run and trial (1-based),
        image_id (0-based), repeat (0 for the first showing to this subject), shared (bool: among
        the images that all subjects see), is_old (bool), correct (0, 1 or NaN where no button was
        pressed), reaction_time (ms, or NaN).

    Raises
    ------
    FileNotFoundError, ValueError
        A file or session is missing; design and log disagree.
    """
    check_subject(root, subject)
    design_path = existing_path(root, "nsddata/experiments/nsd/nsd_expdesign.mat")
    path = existing_path(root, f"nsddata/ppdata/{subject}/behav/responses.tsv")
    design, responses = loadmat(design_path), pd.read_csv(path, sep="\t")
    for file, missing in ((design_path, _DESIGN - set(design)), (path, _LOG - set(responses))):
        if missing:
            raise ValueError(
                f"{file} lacks {', '.join(sorted(missing))}, which NSD's release of 2021 has. Is "
                "it of another release? Download it again."
            )
    without = np.flatnonzero(~(responses["73KID"] > 0))
    if len(without):
        raise ValueError(
            f"{len(without)} trials of {path} have no image (73KID), the first being trial "
            f"{without[0] + 1}. In NSD every trial has one: download the file again."
        )
    # MATLAB counts from 1. subjectim.shape = (n_subjects, n_images), masterordering (n_trials,)
    subjectim, sharedix = (design[name].astype(int) - 1 for name in ("subjectim", "sharedix"))
    order = design["masterordering"].ravel().astype(int) - 1
    row = int(subject.removeprefix("subj")) - 1
    if row >= len(subjectim) or len(responses) > len(order):
        raise ValueError(
            f"The design holds {len(subjectim)} subjects and {len(order)} trials, but {path} is "
            f"of {subject} and has {len(responses)} trials. Are both files of the same release?"
        )
    image_id = subjectim[row, order[: len(responses)]]
    wrong = np.flatnonzero(image_id != responses["73KID"] - 1)
    if len(wrong):
        raise ValueError(
            f"Design and responses of {subject} name different images in {len(wrong)} trials, the "
            f"first being trial {wrong[0] + 1}. Get nsd_expdesign.mat and {path.name} again; "
            "neither may be sorted or cut."
        )
    table = pd.DataFrame(
        {
            "subject": subject,
            "session": responses["SESSION"],
            "run": responses["RUN"],
            "trial": responses["TRIAL"],
            "image_id": image_id,
            "repeat": pd.Series(image_id).groupby(image_id).cumcount(),
            "shared": np.isin(image_id, sharedix),
            "is_old": responses["ISOLD"].astype(bool),
            "correct": responses["ISCORRECT"],
            "reaction_time": responses["RT"],
        }
    )
    if sessions is None:
        return table
    known = sorted(table["session"].unique().tolist())
    if isinstance(sessions, int):
        if not 0 < sessions <= len(known):
            raise ValueError(f"Expected 1 to {len(known)} sessions of {subject}, got {sessions}.")
        sessions = known[:sessions]
    if len(set(sessions)) < len(sessions) or not set(sessions) <= set(known) or not len(sessions):
        raise ValueError(f"Expected distinct sessions of {known}, got {list(sessions)}.")
    return pd.concat([table[table["session"] == s] for s in sessions], ignore_index=True)


def sessions(root, subject, space="fsaverage", betas=_BETAS):
    """List the sessions whose betas are on disk (on the surface: for both hemispheres).

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
    """Read single-trial responses, one row for each row of `trials`.

    Parameters
    ----------
    root : path
    subject : str
    space : {"fsaverage", "fsaverage5", "func1pt8mm", "func1mm"}
    sessions : int or sequence of int, optional
        The first so many, or 1-based numbers in the order wanted; by default all the subject took
        part in.
    mask : bool array (n_vertices,) or (nx, ny, nz), optional
        Vertices or voxels to read, such as from `roi_mask`; of vertices both hemispheres, left
        first. Without a mask all are read, which for NSD's real volumes is 700,000 voxels.
    betas : str
        NSD's version of the betas: the name of their folder.

    Returns
    -------
    float32 array (n_trials, n_voxels)
        Percent signal change. On the surface NSD stores it as it is, as floats; the volumes are
        integers, 300 times as large, and are divided here. Voxels are in C order of the mask.

    Raises
    ------
    FileNotFoundError, ValueError
        A session is missing, truncated, of integers or of another shape; a mask that doesn't fit.
    """
    reader, folder = open_space(root, subject, space, betas)
    table = trials(root, subject, sessions)
    result, start = None, 0
    for session, rows in table.groupby("session", sort=False):
        files = reader.find_session(folder, session)
        shape = reader.shape_of_session(files)
        if result is None:
            mask = np.ones(shape, bool) if mask is None else np.asarray(mask)
            result = np.empty((len(table), np.count_nonzero(mask)), np.float32)
        if mask.dtype != bool or mask.shape != shape:
            raise ValueError(
                f"Session {session} of {subject} has the shape {shape} in {space}: expected a mask "
                f"of bool of that shape, got {mask.dtype} of shape {mask.shape}. roi_mask makes "
                "one for each space."
            )
        reader.read_session(files, len(rows), mask, result[start : start + len(rows)])
        start += len(rows)
    return result


def scaled_betas(root, subject, space="fsaverage", sessions=None, mask=None):
    """Read single trials, z-scored session by session by the training trials beside them.

    Parameters
    ----------
    root, subject, space, sessions, mask
        See `betas`.

    Returns
    -------
    table : pandas.DataFrame
        Of `trials`.
    values : float32 array (n_trials, n_voxels)
        One row for each of its rows.
    """
    table = trials(root, subject, sessions)
    is_train = ~table["shared"].to_numpy()
    values = betas(root, subject, space, sessions, mask)
    return table, zscore(values, table["session"].to_numpy(), is_train)


def image_responses(root, subject, space="fsaverage", sessions=None, mask=None):
    """Read a subject's responses as most analyses want them: one row an image.

    Trials are z-scored session by session with the training trials' mean and deviation, and the
    showings of an image averaged. The images that all subjects see are the test images.

    Parameters
    ----------
    root, subject, space, sessions, mask
        See `betas`.

    Returns
    -------
    train, test : tuples of (betas, image_ids, n_repeats)
        float32 (n_images, n_voxels), int (n_images,) in ascending order, int (n_images,).
    """
    table, values = scaled_betas(root, subject, space, sessions, mask)
    image_ids, is_train = table["image_id"].to_numpy(), ~table["shared"].to_numpy()
    train, test = (average_repeats(values[rows], image_ids[rows]) for rows in (is_train, ~is_train))
    return train, test


def ncsnr(root, subject, space="fsaverage", betas=_BETAS):
    """Read the noise-ceiling signal-to-noise ratio that comes with the betas.

    Returns
    -------
    float32 array (n_vertices,) or (nx, ny, nz)
        Standard deviation of the repeatable part of the response over that of the noise of one
        trial. It was estimated from all trials, test images included: never select voxels for a
        decoder by it (see `estimate_ncsnr`).
    """
    reader, folder = open_space(root, subject, space, betas)
    return reader.read_ncsnr(folder)


def open_space(root, subject, space, betas):
    """Find the reader of a space and the folder of its betas."""
    check_subject(root, subject)
    if space not in (*surfaces.SPACES, *volumes.SPACES):
        spaces = ", ".join((*surfaces.SPACES, *volumes.SPACES))
        raise ValueError(f"Can't read betas in space {space!r}. There are: {spaces}.")
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
