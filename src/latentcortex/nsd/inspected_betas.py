"""Look at the files of betas of a subject by their headers, sizes and one place in each."""

import collections
import dataclasses
import functools
from pathlib import Path

import nibabel
import numpy as np

from latentcortex.nsd import surfaces, volumes
from latentcortex.nsd.design import sessions_on_disk
from latentcortex.nsd.files import BETAS, N_FIRST
from latentcortex.nsd.findings import Finding, look
from latentcortex.nsd.reading import reading
from latentcortex.nsd.responses import ncsnr, open_space

_MOST = 3  # findings of single sessions, of a subject


def findings(asked, subject, table, masks):
    """Return findings of the sessions and of the ncsnr of a subject, and of regions that don't fit them.

    Parameters
    ----------
    asked : Asked
    subject : str
    table : pandas.DataFrame or None
        The table of trials. Without it numbers of trials are not compared.
    masks : dict of str to bool array
        Where each atlas that could be read marks something, in the space asked for.

    Returns
    -------
    list of Finding
    """
    found, shape = _sessions(asked, subject, table, masks.get("streams"))
    is_cut = asked.space == "fsaverage" and shape == (2 * N_FIRST,)
    if is_cut and any(mask.shape != shape for mask in masks.values()):
        text = "The surface files hold the first vertices alone, those of fsaverage5."
        advice = 'Pass --space fsaverage5 here, and write space = "fsaverage5" in your preset.'
        found.append(Finding("space", "wrong", text, advice, asked.readers_of("betas"), (subject,)))
        shape = None
    for atlas, mask in masks.items():
        if shape not in (None, mask.shape):
            text, chapters = _differs(atlas, mask.shape, shape), asked.readers_of(atlas)
            found.append(Finding(atlas, "wrong", text, asked.mend(atlas), chapters, (subject,)))
    files = _ncsnr_files(asked, subject)
    return [*found, look(asked, "ncsnr", lambda: _ncsnr(asked, subject, shape), files, subject)[0]]


def in_words(sessions):
    """Return numbers of sessions as text, such as "sessions 1 to 8" or "sessions 1, 3"."""
    numbers = sorted(map(int, sessions))
    if len(numbers) == 1:
        return f"session {numbers[0]}"
    if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"sessions {numbers[0]} to {numbers[-1]}"
    return f"sessions {', '.join(map(str, numbers))}"


def region_files(asked, subject, atlas):
    """Return where the files of an atlas may lie, as paths inside the tree."""
    names = f"nsddata/freesurfer/fsaverage/label/{atlas}.mgz.ctab"
    if asked.space not in surfaces.SPACES:
        return f"nsddata/ppdata/{subject}/{asked.space}/roi/{atlas}.nii.gz", names
    owner = "fsaverage" if atlas in ("streams", "nsdgeneral") else subject
    return *(f"nsddata/freesurfer/{owner}/label/{h}.{atlas}.mgz" for h in ("lh", "rh")), names


def _ncsnr_files(asked, subject):
    folder = f"nsddata_betas/ppdata/{subject}"
    if asked.space in surfaces.SPACES:
        return tuple(f"{folder}/fsaverage/{BETAS}/{h}.ncsnr.mgh" for h in ("lh", "rh"))
    return (f"{folder}/{asked.space}/{BETAS}/ncsnr.nii.gz",)


def _ncsnr(asked, subject, shape):
    values = ncsnr(asked.root, subject, asked.space)
    if shape not in (None, values.shape):
        raise ValueError(_differs("ncsnr", values.shape, shape))
    if not np.isfinite(values).any():
        raise ValueError("ncsnr holds no number: all of it is NaN.")
    return f"mean {np.nanmean(values):.2f}", True


def _differs(what, its_shape, shape):
    return f"{what} has the shape {its_shape} and betas {shape}: is one of them of another subject or space?"


def _sessions(asked, subject, table, mask):
    """Return findings of sessions, and the shape of most of them, or None."""
    take = functools.partial(open_space, asked.root, subject, asked.space, BETAS)
    found, opened = look(asked, "betas", lambda: ("", take()), subject=subject)
    if opened is None:
        return [found], None
    reader, folder = opened
    wanted = dict.fromkeys(asked.sessions or sessions_on_disk(asked.root, subject))
    if table is not None:
        wanted = table["session"].value_counts(sort=False).to_dict()
    shapes, faults = {}, []
    for session, n_trials in wanted.items():
        take = functools.partial(_session, reader, folder, session, n_trials, mask)
        finding, shape = look(asked, "betas", take, _session_files(asked, folder, session), subject)
        shapes |= {} if shape is None else {session: shape}
        faults += [_of_session(finding, session)] if shape is None else []
    usual = collections.Counter(shapes.values()).most_common(1)[0][0] if shapes else None
    for session in [session for session, shape in shapes.items() if shape != usual]:
        its_shape = shapes.pop(session)
        text = (
            f"It has the shape {its_shape}, other sessions {usual}. If it is of another subject, delete it."
        )
        odd = dataclasses.replace(found, state="wrong", text=text, advice=asked.mend("betas"))
        faults.append(_of_session(odd, session))
    several = faults[:_MOST]
    if len(faults) > _MOST:
        text = f"{len(faults) - _MOST} more sessions are missing or damaged."
        several.append(dataclasses.replace(faults[_MOST], part="betas of more sessions", text=text))
    if shapes:
        size = f"{usual[0]:,} vertices" if len(usual) == 1 else f"{' x '.join(map(str, usual))} voxels"
        several.append(dataclasses.replace(found, text=f"{in_words(shapes)} in {asked.space}, {size}"))
    return several, usual


def _of_session(finding, session):
    return dataclasses.replace(finding, part=f"betas of session {session}")


def _session_files(asked, folder, session):
    names = [f"betas_session{session:02d}.hdf5"]
    if asked.space in surfaces.SPACES:
        names = [f"{h}.betas_session{session:02d}.mgh" for h in ("lh", "rh")]
    return tuple((folder / name).relative_to(asked.root).as_posix() for name in names)


def _session(reader, folder, session, n_trials, mask):
    """Check the header and size of a session's files, and a place that must hold numbers."""
    files = reader.find_session(folder, session)
    shape = reader.shape_of_session(files)
    paths = [files] if isinstance(files, Path) else files
    if reader is not volumes and n_trials is not None:  # headers are compared, no vertex is read
        reader.read_session(files, n_trials, np.zeros(shape, bool), np.empty((n_trials, 0), np.float32))
    for path in paths:
        if path.suffix in (".nii", ".gz"):
            _check_trials(path, n_trials)
        if path.suffix in (".mgh", ".nii"):
            _check_last_trial(path)
        if path.suffix == ".hdf5" and n_trials is not None and mask is not None and mask.shape == shape:
            _check_voxel(reader, path, n_trials, mask)
    return "", shape


def _check_trials(path, n_trials):
    with reading(path):
        found = nibabel.load(path).shape[3]
    if n_trials not in (None, found):
        raise ValueError(f"{path} has {found} trials, expected {n_trials} by the log. Is it another session?")


def _check_voxel(reader, path, n_trials, mask):
    """Read one voxel of visual cortex in all trials, which lie at one place of the file."""
    voxel, inside = np.zeros(mask.shape, bool), np.flatnonzero(mask)
    voxel.flat[inside[len(inside) // 2]] = True
    values = np.empty((n_trials, 1), np.float32)
    reader.read_session(path, n_trials, voxel, values)
    _refuse_zeros(values, path)


def _check_last_trial(path):
    """Read the last trial: a transfer that was cut may leave a file of the right size."""
    with reading(path):
        values = np.asarray(nibabel.load(path).dataobj[..., -1])
    _refuse_zeros(values, path)


def _refuse_zeros(values, path):
    if not np.nan_to_num(values).any():
        raise ValueError(
            f"{path} holds zeros where responses belong: it was not written to its end. Delete it."
        )
