"""Read what subjects saw, what they answered and how their brains responded.

All sizes are read from the files. Images are known by their 0-based 73k ids, subjects by names
such as ``"subj01"``. Surface arrays hold the left hemisphere's vertices, then the right's.

Source: Allen et al. (2022), Nature Neuroscience 25, 116-126, and the NSD data manual.
"""

import nibabel
import numpy as np
import pandas as pd
from scipy.io import loadmat

from latentcortex.nsd.repeats import average_repeats, zscore
from latentcortex.nsd.tree import check_subject, existing_path

_SPACES = ("fsaverage",)
_BETAS = "betas_fithrf_GLMdenoise_RR"
_HEMISPHERES = ("lh", "rh")


def trials(root, subject, sessions=None):
    """Tell what was shown in each trial, and what the subject answered.

    The image of trial t is ``subjectim[subject, masterordering[t]]`` of the experimental design;
    this is held against the log of the responses.

    Parameters
    ----------
    root : path
    subject : str
    sessions : sequence of int, optional
        1-based; rows come in this order of sessions. By default all that the subject took part in.

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
    design = loadmat(existing_path(root, "nsddata/experiments/nsd/nsd_expdesign.mat"))
    path = existing_path(root, f"nsddata/ppdata/{subject}/behav/responses.tsv")
    responses = pd.read_csv(path, sep="\t")
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
    if len(set(sessions)) < len(sessions) or not set(sessions) <= set(known) or not len(sessions):
        raise ValueError(f"Expected distinct sessions of {known}, got {list(sessions)}.")
    return pd.concat([table[table["session"] == s] for s in sessions], ignore_index=True)


def sessions(root, subject, space="fsaverage", betas=_BETAS):
    """List the sessions whose betas are on disk for both hemispheres.

    Parameters
    ----------
    root : path
    subject : str
    space : {"fsaverage"}
    betas : str
        NSD's version of the betas: the name of their folder.

    Returns
    -------
    list of int
        1-based, sorted.
    """
    folder = _betas_folder(root, subject, space, betas)
    found = [
        {int(path.stem.removeprefix(start)) for path in folder.glob(f"{start}*.mgh")}
        for start in (f"{hemisphere}.betas_session" for hemisphere in _HEMISPHERES)
    ]
    return sorted(set.intersection(*found))


def betas(root, subject, space="fsaverage", sessions=None, mask=None, betas=_BETAS):
    """Read single-trial responses, one row for each row of `trials`.

    Parameters
    ----------
    root : path
    subject : str
    space : {"fsaverage"}
    sessions : sequence of int, optional
        1-based, in the order wanted; by default all the subject took part in.
    mask : bool array (n_vertices,), optional
        Vertices to read, such as from `roi_mask`; both hemispheres, left first.
    betas : str
        NSD's version of the betas: the name of their folder.

    Returns
    -------
    float32 array (n_trials, n_voxels)
        Percent signal change. On the surface NSD stores it as it is, as floats; only the volumes
        are integers, 300 times as large.

    Raises
    ------
    FileNotFoundError, ValueError
        A session is missing, truncated, of integers or of another shape; a mask that doesn't fit.
    """
    folder = _betas_folder(root, subject, space, betas)
    table = trials(root, subject, sessions)
    result, start = None, 0
    for session, rows in table.groupby("session", sort=False):
        halves = [
            _open_surface(folder / f"{hemisphere}.betas_session{session:02d}.mgh", len(rows))
            for hemisphere in _HEMISPHERES
        ]
        sizes = [half.shape[1] for half in halves]
        if result is None:
            mask = np.ones(sum(sizes), bool) if mask is None else np.asarray(mask)
            result = np.empty((len(table), np.count_nonzero(mask)), np.float32)
        if mask.dtype != bool or mask.shape != (sum(sizes),):
            raise ValueError(
                f"Session {session} of {subject} has {sum(sizes)} vertices in {space}: expected a "
                f"mask of bool of that length, got {mask.dtype} of shape {mask.shape}. Regions of "
                "fsaverage come from roi_mask without a subject."
            )
        # The files are mapped, not read: only the vertices asked for are copied.
        left_right = zip(halves, np.split(mask, sizes[:1]), strict=True)
        parts = [half[:, np.flatnonzero(columns)] for half, columns in left_right]
        np.concatenate(parts, axis=1, out=result[start : start + len(rows)])
        start += len(rows)
    return result


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
    table = trials(root, subject, sessions)
    image_ids, is_train = table["image_id"].to_numpy(), ~table["shared"].to_numpy()
    values = zscore(
        betas(root, subject, space, sessions, mask), table["session"].to_numpy(), is_train
    )
    train, test = (average_repeats(values[rows], image_ids[rows]) for rows in (is_train, ~is_train))
    return train, test


def ncsnr(root, subject, space="fsaverage", betas=_BETAS):
    """Read the noise-ceiling signal-to-noise ratio that comes with the betas.

    Returns
    -------
    float32 array (n_vertices,)
        Standard deviation of the repeatable part of the response over that of the noise of one
        trial. It was estimated from all trials, test images included: never select voxels for a
        decoder by it (see `estimate_ncsnr`).
    """
    folder = _betas_folder(root, subject, space, betas)
    halves = [_open_surface(folder / f"{h}.ncsnr.mgh", 1)[0] for h in _HEMISPHERES]
    return np.concatenate(halves).astype(np.float32)


def _betas_folder(root, subject, space, betas):
    check_subject(root, subject)
    if space not in _SPACES:
        raise ValueError(f"Can't read betas in space {space!r}. There are: {', '.join(_SPACES)}.")
    return existing_path(root, f"nsddata_betas/ppdata/{subject}/{space}/{betas}")


def _open_surface(path, n_trials):
    """Map a surface file into memory, shape (n_trials, n_vertices), after checking it."""
    if not path.is_file():
        raise FileNotFoundError(
            f"No {path.name} in {path.parent}. nsd.sessions lists the sessions on disk: pass "
            "them as sessions=, or download the file."
        )
    size = path.stat().st_size
    # 284 bytes of header come first (FreeSurfer's MGH format), then the numbers, vertex fastest.
    header = nibabel.load(path).header if size >= 284 else None
    shape = (*header.get_data_shape(), 1)[:4] if header else ()
    dtype = header.get_data_dtype() if header else np.dtype(float)
    expected = 284 + int(np.prod(shape)) * dtype.itemsize
    if size < expected:
        raise ValueError(
            f"{path} is truncated: expected at least {expected:,} bytes, got {size:,}. "
            "Delete it and download it again."
        )
    if dtype.kind != "f":
        raise ValueError(
            f"{path} holds {dtype.name}, but surface betas are floats in percent signal change. "
            "Integers are the volumes' format, 300 times as large: divide by 300, save as float32."
        )
    if shape[1:] != (1, 1, n_trials):
        raise ValueError(
            f"{path} has shape {shape}, expected (n_vertices, 1, 1, {n_trials}) by the log of "
            "responses. Is it of another subject, session or kind?"
        )
    return np.asanyarray(nibabel.load(path).dataobj).reshape(shape[0], n_trials, order="F").T
