"""Write a whole tree in NSD's layout from arrays of any study, so that every function here reads it.

`recordings` says what comes in and checks it; `write_shown` and `write_measured` write single files.
"""

import functools
import hashlib
import itertools
import json
import re
import shutil
from pathlib import Path

import filelock
import numpy as np
import pandas as pd
from tqdm import tqdm

from latentcortex.nsd import write_measured, write_shown
from latentcortex.nsd.arguments import checked_ids
from latentcortex.nsd.recordings import checked_images, checked_recording, checked_session, checked_volume
from latentcortex.nsd.stimuli import NO_IMAGES
from latentcortex.nsd.tree import PROVENANCE
from latentcortex.store import make_folder, replacing

NAMES = "nsddata/experiments/nsd/image_names.csv"  # not in NSD: what the authors call each image
_SPACES = ("func1pt8mm", "func1mm", "fsaverage")
# NSD's own codes of the regions in `streams`.
_STREAMS = ("early", "midventral", "midlateral", "midparietal", "ventral", "lateral", "parietal")
_STEPS = "finished_steps.json"


def write_tree(root, recordings, image_set, shared, about, space="func1pt8mm"):
    """Write trials, betas, images, captions, regions and noise ceilings as a tree in NSD's layout.

    Everything in `latentcortex.nsd` reads the tree as it reads NSD. Each subject keeps its own order of
    images, number of sessions and voxels. ``subjectim`` lists the shared images, then the subject's own, and
    is filled up with images that the subject never saw. Nobody's answers are written: they are NaN.

    The tree grows in a folder beside `root` whose name ends in ``.unfinished``, and is renamed when it is
    whole. A run that was killed goes on with the next session if it is called with the same arguments;
    otherwise the unfinished folder is replaced.

    Parameters
    ----------
    root : path
        Folder to be made. It may exist if it is empty.
    recordings : dict of str to Recording
        By the subject's name, such as ``"subj01"``.
    image_set : ImageSet
    shared : int array (n_shared,)
        0-based ids of the images that all subjects see: the test images.
    about : dict
        Written to ``provenance.json``: ``name`` (lower-case letters, digits and hyphens; `identity` begins
        with it), ``source``, ``licence``, and whatever else JSON holds, such as what was mapped.
    space : {"func1pt8mm", "func1mm", "fsaverage"}
        On fsaverage voxels are vertices: the left hemisphere's, then as many of the right.

    Returns
    -------
    pathlib.Path
        `root`, absolute.

    Raises
    ------
    ValueError
        Arrays contradict each other, betas are not percent signal change, or voxels lack single trials.
    FileExistsError
        `root` is not empty.
    filelock.Timeout
        Another process writes this tree.
    """
    root = Path(root).absolute()
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise FileExistsError(f"{root} is there already. Choose another folder, or remove it first.")
    image_set = checked_images(image_set)
    n_images = len(image_set.names)
    recordings = {
        subject: checked_recording(subject, recordings[subject], n_images) for subject in sorted(recordings)
    }
    shared = _checked_shared(shared, recordings, n_images)
    about = _checked_about(about, space) | {"space": space}
    codes = _codes(recordings, space)
    make_folder(root.parent)
    with filelock.FileLock(root.with_name(f".{root.name}.lock"), timeout=0):
        unfinished = _unfinished_folder(root, recordings, image_set, shared, about)
        changed = _write_all(unfinished, recordings, image_set, shared, codes, about)
        content = {**about, "written_by": "latentcortex.nsd.write_tree", "changed": changed}
        (unfinished / PROVENANCE).write_text(json.dumps(content, indent=2), encoding="utf-8")
        (unfinished / _STEPS).unlink()
        if root.exists():
            root.rmdir()
        unfinished.rename(root)
    root.with_name(f".{root.name}.lock").unlink(missing_ok=True)
    return root


def read_image_names(root):
    """Return the authors' names of the images of a tree that `write_tree` wrote.

    Returns
    -------
    pandas.Series of str
        The index is the 0-based image id.

    Raises
    ------
    FileNotFoundError
        The tree has no such file: NSD itself has none.
    """
    path = Path(root, NAMES)
    if not path.is_file():
        raise FileNotFoundError(f"No {path}: only trees that were imported have the names of their images.")
    return pd.read_csv(path, dtype={"name": str}, keep_default_na=False, index_col="image_id")["name"]


def _checked_shared(shared, recordings, n_images):
    shared = np.unique(checked_ids(shared))
    if not recordings:
        raise ValueError("Expected at least one subject in recordings.")
    if not len(shared) or not shared[0] >= 0 or not shared[-1] < n_images:
        raise ValueError(
            f"shared must name at least one image from 0 to {n_images - 1}: the images that test a decoder."
        )
    if not any(np.isin(shared, one.image_ids).any() for one in recordings.values()):
        raise ValueError(f"No subject saw any of the {len(shared)} shared images, so nothing could test.")
    return shared


def _checked_about(about, space):
    missing = [key for key in ("name", "source", "licence") if not str(about.get(key, "")).strip()]
    if missing:
        raise ValueError(f"about lacks {', '.join(missing)}.")
    if not re.fullmatch("[a-z0-9-]+", about["name"]):
        raise ValueError(f"name must be lower-case letters, digits and hyphens, got {about['name']!r}.")
    if space not in _SPACES:
        raise ValueError(f"Can't write into space {space!r}. There are: {', '.join(_SPACES)}.")
    return about


def _codes(recordings, space):
    """Return the codes of all regions, by atlas and name; the same for all subjects."""
    codes, first = {}, next(iter(recordings.values()))
    for subject, recording in recordings.items():
        if space != "fsaverage":
            checked_volume(subject, recording)
        elif recording.mask is not None:
            raise ValueError(f"{subject} has a mask of a volume, but fsaverage is a surface.")
        elif not _same(recording.regions, first.regions):
            raise ValueError(
                f"On fsaverage all subjects have the same regions, but those of {subject} are others."
            )
        for atlas, regions in recording.regions.items():
            known = codes.setdefault(atlas, {})
            for name in regions:
                fixed = atlas == "streams" and name in _STREAMS
                known.setdefault(name, _STREAMS.index(name) + 1 if fixed else None)
    for known in codes.values():
        free = iter(sorted(set(range(1, len(known) + len(_STREAMS) + 1)) - set(known.values())))
        known.update({name: next(free) for name, code in known.items() if code is None})
    return codes


def _same(regions, others):
    """Say whether two subjects have the same regions, atlas by atlas and vertex by vertex."""
    return regions.keys() == others.keys() and all(
        regions[atlas].keys() == others[atlas].keys()
        and all(np.array_equal(regions[atlas][name], others[atlas][name]) for name in regions[atlas])
        for atlas in regions
    )


def _unfinished_folder(root, recordings, image_set, shared, about):
    """Return the folder to write into: empty, or with what the same call finished before it was killed."""
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    digest.update(repr((list(image_set.names), image_set.why_none, image_set.captions)).encode())
    # The first image stands for all: whether there are any, and their size.
    for image in () if image_set.images is None else itertools.islice(image_set.images, 1):
        digest.update(repr(np.shape(image)).encode() + np.ascontiguousarray(image).tobytes())
    digest.update(shared.tobytes())
    for subject, recording in recordings.items():
        digest.update(subject.encode())
        for values in (recording.image_ids, recording.sessions, recording.runs):
            digest.update(values.tobytes())
        digest.update(repr((recording.n_voxels, recording.regions.keys())).encode())
        if recording.mask is not None:
            digest.update(repr(recording.mask.shape).encode() + np.packbits(recording.mask).tobytes())
        if not callable(recording.betas):
            digest.update(np.ascontiguousarray(recording.betas).tobytes())
    key, folder = digest.hexdigest(), root.with_name(f"{root.name}.unfinished")
    steps = folder / _STEPS
    if not steps.is_file() or json.loads(steps.read_text())["key"] != key:
        shutil.rmtree(folder, ignore_errors=True)
        make_folder(folder)
        steps.write_text(json.dumps({"key": key, "finished": {}}))
    return folder


def _write_all(root, recordings, image_set, shared, codes, about):
    """Write all files but the provenance; return what was changed in each session."""
    _write_trials(root, recordings, image_set, shared, about["name"])
    steps = {"images": functools.partial(_write_images, root, image_set, about["name"])}
    for subject, recording in recordings.items():
        for session in np.unique(recording.sessions).tolist():
            write = functools.partial(_write_session, root, subject, recording, session, about["space"])
            steps[f"session {session} of {subject}"] = write
    state = json.loads((root / _STEPS).read_text())
    for step, write in tqdm(steps.items(), desc=f"Writing {about['name']}", unit="session"):
        if step not in state["finished"]:
            state["finished"][step] = write()
            with replacing(root / _STEPS) as path:
                path.write_text(json.dumps(state))
    _write_regions(root, recordings, codes, about["space"])
    return {step: notes for step, notes in state["finished"].items() if any(notes.values())}


def _write_images(root, image_set, name):
    """Write images, or why there are none, captions and names; nothing of them is changed."""
    if image_set.images is None:
        path = Path(root, NO_IMAGES)
        make_folder(path.parent)
        path.write_text(image_set.why_none, encoding="utf-8")
    else:
        write_shown.write_stimuli(root, image_set.images)
    if image_set.captions is not None:
        write_shown.write_captions(root, image_set.captions, *_coco(image_set, name))
    table = pd.DataFrame({"image_id": range(len(image_set.names)), "name": list(image_set.names)})
    make_folder(Path(root, NAMES).parent)
    table.to_csv(Path(root, NAMES), index=False)
    return {}


def _coco(image_set, name):
    """Return the numbers and splits that captions are found by."""
    n_images = len(image_set.names)
    ids = range(n_images) if image_set.coco_ids is None else image_set.coco_ids
    splits = [name] * n_images if image_set.coco_splits is None else image_set.coco_splits
    return list(ids), list(splits)


def _write_trials(root, recordings, image_set, shared, name):
    """Write the design, the table of images and the logs."""
    subjectim = _subjectim(recordings, shared, len(image_set.names))
    columns = np.empty(len(image_set.names), int)
    orders, patterns = {}, {}
    for subject, recording in recordings.items():
        row = subjectim[_number(subject) - 1]
        columns[row] = np.arange(len(row))
        orders[subject] = columns[recording.image_ids]
        patterns[subject] = _pattern(recording)
        write_shown.write_behaviour(root, subject, _log(subject, recording, orders[subject]))
    write_shown.write_own_designs(root, orders, patterns, subjectim, len(shared))
    names = [f"subj{k + 1:02d}" for k in range(len(subjectim))]
    all_orders = [orders.get(subject, np.empty(0, int)) for subject in names]
    write_shown.write_stim_info(root, *_coco(image_set, name), all_orders, subjectim, len(shared))


def _number(subject):
    return int(subject.removeprefix("subj"))


def _subjectim(recordings, shared, n_images):
    """Return the images of each subject, int (n_subjects, n_columns): shared, own, then never seen."""
    own = {k: np.setdiff1d(one.image_ids, shared) for k, one in recordings.items()}
    n_columns = len(shared) + max(map(len, own.values()))
    rows = []
    for k in range(1, max(map(_number, recordings)) + 1):
        seen = np.concatenate([shared, own.get(f"subj{k:02d}", np.empty(0, int))])
        unseen = np.setdiff1d(np.arange(n_images), seen)
        rows.append(np.concatenate([seen, unseen])[:n_columns])
    return np.array(rows)


def _pattern(recording):
    """Return where images were shown, bool (n_sessions, n_runs, n_slots): slots are filled from the first."""
    sessions, runs = recording.sessions - 1, recording.runs - 1
    counts = np.zeros((sessions.max() + 1, runs.max() + 1), int)
    np.add.at(counts, (sessions, runs), 1)
    return np.arange(counts.max()) < counts[..., None]


def _log(subject, recording, order):
    """Return the log with NSD's columns, as far as they are known."""
    table = pd.DataFrame({"SESSION": recording.sessions, "RUN": recording.runs})
    table["TRIAL"] = table.groupby(["SESSION", "RUN"]).cumcount() + 1
    table["73KID"], table["10KID"] = recording.image_ids + 1, order + 1
    table["ISOLD"] = (table.groupby("73KID").cumcount() > 0).astype(int)
    table["ISCORRECT"], table["RT"] = np.nan, np.nan
    table.insert(0, "SUBJECT", _number(subject))
    return table


def _write_session(root, subject, recording, session, space):
    """Write the betas of one session; return what was changed."""
    shape = np.count_nonzero(recording.sessions == session), recording.n_voxels
    name, is_volume = f"session {session} of {subject}", space != "fsaverage"
    values, notes = checked_session(recording.session_betas(session), shape, name, is_volume)
    if not is_volume:
        write_measured.write_betas_session(root, subject, session, values)
    elif recording.mask is None:
        volume = values.reshape(len(values), *checked_volume(subject, recording))
        write_measured.write_volume_betas_session(root, subject, session, volume, space=space)
    else:
        write_measured.write_masked_betas_session(root, subject, session, values, recording.mask, space)
    return notes


def _write_regions(root, recordings, codes, space):
    """Write the atlases and noise ceilings of all subjects."""
    for subject, recording in recordings.items():
        values = {
            atlas: sum(codes[atlas][name] * marked.astype(np.int16) for name, marked in regions.items())
            for atlas, regions in recording.regions.items()
        }
        if space == "fsaverage":
            if recording.ncsnr is not None:
                write_measured.write_ncsnr(root, subject, recording.ncsnr)
            for atlas, labels in values.items():
                write_measured.write_rois(root, atlas, labels, _names(codes[atlas]))
            continue
        shape = checked_volume(subject, recording)
        mask = np.ones(shape, bool) if recording.mask is None else recording.mask
        volumes = {f"roi/{atlas}": labels.astype(np.int16) for atlas, labels in values.items()}
        volumes["brainmask"] = np.ones(recording.n_voxels, np.uint8)
        if recording.ncsnr is not None:
            volumes["ncsnr"] = recording.ncsnr.astype(np.float32)
        for name, inside in volumes.items():
            # NSD's code for what is no cortex is -1.
            volume = np.full(shape, -1 if name.startswith("roi/") else 0, inside.dtype)
            volume[mask] = inside
            write_measured.write_volume(root, subject, name, volume, recording.affine, space)
    folder = make_folder(Path(root, "nsddata/freesurfer/fsaverage/label"))
    for atlas, known in codes.items():
        lines = [f"{code} {name}\n" for code, name in _names(known).items()]
        (folder / f"{atlas}.mgz.ctab").write_text("".join(lines))


def _names(codes):
    return {0: "Unknown", **{code: name for name, code in sorted(codes.items(), key=lambda item: item[1])}}
