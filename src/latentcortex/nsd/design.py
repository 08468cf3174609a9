"""Read what subjects saw and what they answered.

Source: Allen et al. (2022), Nature Neuroscience 25, 116-126, and the NSD data manual.
"""

import re

import numpy as np
import pandas as pd
from scipy.io import loadmat

from latentcortex.nsd.arguments import checked_count
from latentcortex.nsd.reading import check_names, read_table, read_text, reading, whole_numbers
from latentcortex.nsd.tree import check_subject, existing_path

_IMAGES, _ORDER = ("subjectim", "sharedix"), ("masterordering", "stimpattern")
_COUNTS = ("SESSION", "RUN", "TRIAL", "73KID", "ISOLD")
_LOG = (*_COUNTS, "ISCORRECT", "RT")
_AGAIN = "Download it again."


def trials(root, subject, sessions=None):
    """Return the table of trials, with what was shown in each and what the subject answered.

    The image of trial t is ``subjectim[subject, masterordering[t]]`` of the experimental design. The log of
    the responses must agree with the design, trial by trial. In a tree that `write_tree` wrote, each subject
    has an order of its own, in a file beside the design.

    Parameters
    ----------
    root : path
    subject : str
    sessions : int or sequence of int, optional
        The first so many, or 1-based numbers. Rows come in this order of sessions. By default the sessions
        whose betas are on disk, in any space. NSD's log names all that the subject took part in.

    Returns
    -------
    pandas.DataFrame
        One row per trial, in the order of the betas. The columns ``subject``, ``session``, ``run`` and
        ``trial`` identify the trial, with 1-based numbers. ``image_id`` is 0-based. ``repeat`` is 0 for the
        first showing to this subject. ``shared`` (bool) marks images that all subjects see. ``is_old`` (bool)
        marks images shown before. ``correct`` is 0 or 1, or NaN if no button was pressed. ``reaction_time``
        is in ms, or NaN.

    Raises
    ------
    FileNotFoundError, ValueError
        If a file or session is missing, if a file is damaged or truncated, or if design and log disagree.
    """
    check_subject(root, subject)
    design_path = existing_path(root, "nsddata/experiments/nsd/nsd_expdesign.mat")
    path = existing_path(root, f"nsddata/ppdata/{subject}/behav/responses.tsv")
    design, responses = _read_design(design_path, subject), _read_log(path)
    # MATLAB counts from 1. subjectim.shape = (n_subjects, n_images), masterordering (n_trials,)
    subjectim, sharedix = design["subjectim"] - 1, design["sharedix"] - 1
    order = design["masterordering"].ravel() - 1
    row = int(subject.removeprefix("subj")) - 1
    if row >= len(subjectim) or len(responses) > len(order):
        raise ValueError(
            f"{design_path} holds {len(subjectim)} subjects and {len(order)} trials, but {path} is "
            f"of {subject} and has {len(responses)} trials. Are both files of the same release?"
        )
    image_id = subjectim[row, order[: len(responses)]]
    wrong = np.flatnonzero(image_id != responses["73KID"] - 1)
    if len(wrong):
        raise ValueError(
            f"{design_path} and {path} name different images in {len(wrong)} trials, the "
            f"first being trial {wrong[0] + 1}. Download both again; neither may be sorted or cut."
        )
    repeat = pd.Series(image_id).groupby(image_id).cumcount()
    _check_log(path, design_path, responses, design["stimpattern"], repeat)
    on_disk = sessions_on_disk(root, subject)
    if on_disk and on_disk[-1] > responses["SESSION"].max():
        raise ValueError(
            f"{path} ends with session {responses['SESSION'].max()}, but betas of session {on_disk[-1]} lie "
            f"in {root}. The log was cut short. {_AGAIN}"
        )
    table = pd.DataFrame(
        {
            "subject": subject,
            "session": responses["SESSION"],
            "run": responses["RUN"],
            "trial": responses["TRIAL"],
            "image_id": image_id,
            "repeat": repeat,
            "shared": np.isin(image_id, sharedix),
            "is_old": responses["ISOLD"].astype(bool),
            "correct": responses["ISCORRECT"],
            "reaction_time": responses["RT"],
        }
    )
    if sessions is None:
        return table[table["session"].isin(on_disk)].reset_index(drop=True)
    chosen = _chosen_sessions(sessions, sorted(table["session"].unique().tolist()), subject)
    return pd.concat([table[table["session"] == s] for s in chosen], ignore_index=True)


def read_matlab(path, names):
    """Return arrays of whole numbers from a MATLAB file, as a dict of int arrays.

    Raises
    ------
    ValueError
        If the file is damaged, or lacks one of these names.
    """
    with reading(path):
        content = loadmat(path)
    check_names(path, names, content)
    return {name: whole_numbers(content[name], f"{name} in {path}", _AGAIN) for name in names}


def _read_design(path, subject):
    """Read the design and hold its parts against each other, as they are in the file (1-based)."""
    own = path.with_name(f"{path.stem}_{subject}.mat")  # NSD itself has one order for all subjects
    if own.is_file():
        design = read_matlab(path, _IMAGES) | read_matlab(own, _ORDER)
    else:
        design = read_matlab(path, (*_IMAGES, *_ORDER))
    subjectim, order = design["subjectim"], design["masterordering"]
    n_shared = design["sharedix"].size
    # The first images of all subjects are the shared ones; a subject knows an image by one number.
    fits = (
        subjectim.ndim == 2
        and design["stimpattern"].ndim == 3
        and np.isin(design["stimpattern"], (0, 1)).all()
        and design["stimpattern"].sum() >= order.size > 0
        and 1 <= order.min() <= order.max() <= subjectim.shape[1]
        and subjectim.min() >= 1
        and all(len(np.unique(row)) == len(row) for row in subjectim)
        and all(
            np.array_equal(np.sort(row), np.sort(design["sharedix"], None)) for row in subjectim[:, :n_shared]
        )
    )
    if not fits:
        raise ValueError(
            f"{path} contradicts itself: masterordering has to number the columns of subjectim from 1 on, "
            "the first of these have to be the images in sharedix, and stimpattern has to mark each trial. "
            f"{_AGAIN}"
        )
    return design


def _read_log(path):
    """Read the log of responses, one row per trial, as NSD names its columns."""
    lines = read_text(path).splitlines()
    n_fields = lines[0].count("\t")
    wrong = [k for k, line in enumerate(lines, 1) if line.count("\t") != n_fields]
    if wrong:
        raise ValueError(
            f"{path} is damaged: line {wrong[0]} of {len(lines)} has another number of fields than the "
            f"header. {_AGAIN}"
        )
    log = read_table(path, "\t", _LOG)
    without = np.flatnonzero(~(pd.to_numeric(log["73KID"], errors="coerce") > 0))
    if len(without):
        raise ValueError(
            f"{len(without)} trials of {path} have no image (73KID), the first being trial "
            f"{without[0] + 1}. In NSD every trial has one: download the file again."
        )
    for name in _COUNTS:
        log[name] = whole_numbers(log[name], f"{name} in {path}", _AGAIN)
    answers, times = (pd.to_numeric(log[name], errors="coerce") for name in ("ISCORRECT", "RT"))
    odd = log["ISCORRECT"].notna() & ~answers.isin((0, 1)) | log["RT"].notna() & ~(times >= 0)
    if odd.any():
        raise ValueError(
            f"{path} holds an answer that is not 0, 1 or NaN (ISCORRECT), or a time below 0 "
            f"(RT), first in trial {odd.idxmax() + 1}. {_AGAIN}"
        )
    return log


def _check_log(path, design_path, log, pattern, repeat):
    """Hold the log against the design: whole sessions, their trials in order, and what is old."""
    # The rows that the design plans: 1-based session and run; trials count up within each run.
    session, run, _ = (index + 1 for index in np.nonzero(pattern))
    ends = np.flatnonzero(np.diff(session, append=session[-1] + 1)) + 1
    if len(log) not in ends:
        raise ValueError(
            f"{path} has {len(log):,} trials and so ends within a session, because by {design_path} sessions "
            f"end after {', '.join(map(str, ends[:4]))} ... trials. It was cut short. {_AGAIN}"
        )
    planned = pd.DataFrame({"SESSION": session, "RUN": run})
    planned["TRIAL"] = planned.groupby(["SESSION", "RUN"]).cumcount() + 1
    wrong = (log[["SESSION", "RUN", "TRIAL"]] != planned[: len(log)]).any(axis=1) | (
        log["ISOLD"] != (repeat > 0)
    )
    if wrong.any():
        raise ValueError(
            f"{path} names another session, run or trial than {design_path}, or calls a new image old, in "
            f"{wrong.sum()} trials, the first being trial {wrong.idxmax() + 1}. {_AGAIN}"
        )


def sessions_on_disk(root, subject):
    """Return the 1-based numbers of the sessions that have a file of betas in any space, sorted."""
    folder = existing_path(root, f"nsddata_betas/ppdata/{subject}")
    # Whole names only: what a download has begun has another ending.
    pattern = re.compile(r"(?:[lr]h\.)?betas_session(\d+)\.(?:mgh|hdf5|nii|nii\.gz)")
    matches = (pattern.fullmatch(file.name) for file in folder.glob("*/betas_*/*betas_session*"))
    return sorted({int(match[1]) for match in matches if match})


def _chosen_sessions(sessions, known, subject):
    """Return the numbers of the sessions asked for, as a list of int."""
    chosen = checked_count(sessions, "sessions")
    if chosen.ndim == 0:
        if not 0 < chosen <= len(known):
            raise ValueError(f"Expected 1 to {len(known)} sessions of {subject}, got {chosen}.")
        return known[: int(chosen)]
    chosen = chosen.ravel().tolist()
    if len(set(chosen)) < len(chosen) or not set(chosen) <= set(known) or not chosen:
        raise ValueError(f"Expected distinct sessions of {known}, got {chosen}.")
    return chosen
