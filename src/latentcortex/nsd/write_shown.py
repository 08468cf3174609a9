"""Write plain arrays as NSD's files on what was shown and answered: design, images, captions, log.

All ids that come in count from 0; the files count from 1 where NSD's do. All sizes are those of the
arguments, and the same arrays always give the same bytes. `write_measured` has the other files, `trees`
writes all of them. The simulated worlds are written by both modules, so a change of their code gives these
worlds new names.
"""

import io
import json

import h5py
import numpy as np
import pandas as pd
from scipy.io import savemat

from latentcortex.nsd.tree import new_path

_DESIGN = "nsddata/experiments/{0}/{0}_expdesign{1}.mat"


def write_design(root, masterordering, stimpattern, subjectim=None, n_shared=None):
    """Write the design of the main experiment or, without `subjectim`, that of NSD-synthetic.

    Parameters
    ----------
    root : path
    masterordering : int array (n_trials,)
        0-based image of each trial, the same for all subjects.
    stimpattern : bool array (n_sessions, n_runs, n_slots)
        Where in a session images are shown.
    subjectim : int array (n_subjects, n_images), optional
        0-based 73k id of each subject's images; the first `n_shared` are the same for all.
    n_shared : int, optional
        Number of images that all subjects see.
    """
    name = "nsdsynthetic" if subjectim is None else "nsd"
    content = _order(masterordering, stimpattern)
    if subjectim is not None:
        content |= _images_of_subjects(subjectim, n_shared)
    _save_matlab(new_path(root, _DESIGN.format(name, "")), content)


def write_own_designs(root, orders, patterns, subjectim, n_shared):
    """Write a design in which each subject sees the images in an order of its own.

    NSD has one order for all subjects, so this is an extension of its layout, which `trials` reads: the
    design holds ``subjectim`` and ``sharedix`` alone, and a file for each subject, such as
    ``nsd_expdesign_subj01.mat``, holds its ``masterordering`` and ``stimpattern``.

    Parameters
    ----------
    root : path
    orders : dict of str to int array (n_trials,)
        By the subject's name: the 0-based column of `subjectim` of each trial.
    patterns : dict of str to bool array (n_sessions, n_runs, n_slots)
        By the subject's name.
    subjectim, n_shared
        See `write_design`.
    """
    _save_matlab(new_path(root, _DESIGN.format("nsd", "")), _images_of_subjects(subjectim, n_shared))
    for subject, order in orders.items():
        path = new_path(root, _DESIGN.format("nsd", f"_{subject}"))
        _save_matlab(path, _order(order, patterns[subject]))


def _order(masterordering, stimpattern):
    return {
        "masterordering": np.asarray(masterordering)[None] + 1,
        "stimpattern": np.asarray(stimpattern, np.uint8),
    }


def _images_of_subjects(subjectim, n_shared):
    shared = subjectim[:, :n_shared]
    if (shared != shared[0]).any():
        raise ValueError(f"The first {n_shared} images must be the same for all subjects.")
    return {"subjectim": subjectim + 1, "sharedix": shared[:1] + 1}


def _save_matlab(path, content):
    """Write arrays as MATLAB does: all numbers are doubles. The date in the file's header is left out."""
    content = {key: np.asarray(value, float) for key, value in content.items()}
    buffer = io.BytesIO()
    savemat(buffer, content, do_compression=True)
    # The first 116 bytes are free text.
    path.write_bytes(b"MATLAB 5.0 MAT-file".ljust(116) + buffer.getvalue()[116:])


def write_stimuli(root, images, experiment="nsd"):
    """Write images.

    Parameters
    ----------
    root : path
    images : uint8 array (n, height, width, 3) or iterable of uint8 arrays (height, width, 3)
        Image i has the 0-based id i. An iterable with a length is written image by image, so that it never
        lies in memory as a whole.
    experiment : {"nsd", "nsdsynthetic"}

    Raises
    ------
    ValueError
        Images of another type, or of different sizes.
    """
    path = new_path(root, f"nsddata_stimuli/stimuli/{experiment}/{experiment}_stimuli.hdf5")
    shape = None
    with h5py.File(path, "w") as file:
        for k, image in enumerate(images):
            image = np.asarray(image)
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
                raise ValueError(
                    "Expected images as uint8 (n, height, width, 3), got an image of "
                    f"{image.dtype} {image.shape}."
                )
            if shape is None:
                shape = image.shape
                brick = file.create_dataset("imgBrick", (len(images), *shape), np.uint8)
            if image.shape != shape:
                raise ValueError(
                    f"All images must have one size, but image 0 has {shape[:2]} and image {k} has "
                    f"{image.shape[:2]}: resize them."
                )
            brick[k] = image


def write_captions(root, captions, coco_ids, coco_splits):
    """Write captions as COCO does: one file for each split.

    Parameters
    ----------
    root : path
    captions : list of list of str
    coco_ids : int array (n,)
    coco_splits : sequence of str
        Such as ``train2017``.
    """
    annotations = {split: [] for split in coco_splits}
    for texts, coco_id, split in zip(captions, coco_ids, coco_splits, strict=True):
        for text in texts:
            entry = {"image_id": int(coco_id), "id": len(annotations[split]) + 1, "caption": text}
            annotations[split].append(entry)
    for split, entries in annotations.items():
        path = new_path(root, f"annotations/captions_{split}.json")
        path.write_text(json.dumps({"annotations": entries}), encoding="utf-8")


def write_stim_info(root, coco_ids, coco_splits, masterordering, subjectim, n_shared):
    """Write the table that ties NSD's images to COCO's and tells in which trials they come.

    Parameters
    ----------
    root : path
    coco_ids : int array (n,)
    coco_splits : sequence of str
    masterordering : int array (n_trials,) or list of them
        See `write_design`; or one order for each row of `subjectim`, as in `write_own_designs`.
    subjectim, n_shared
        See `write_design`.
    """
    n_images = len(coco_ids)
    orders = masterordering if isinstance(masterordering, list) else [masterordering] * len(subjectim)
    table = pd.DataFrame({"cocoId": coco_ids, "cocoSplit": coco_splits})
    table["cropBox"] = "(0, 0, 0, 0)"
    table["loss"] = 0.0
    table["nsdId"] = np.arange(n_images)
    table["flagged"] = table["BOLD5000"] = False
    table["shared1000"] = np.isin(table["nsdId"], subjectim[0, :n_shared])
    shown = [_trials_by_repeat(order) for order in orders]
    n_repeats = max(one.shape[1] for one in shown)
    columns = {}
    for k, (image_ids, one) in enumerate(zip(subjectim, shown, strict=True), 1):
        columns[f"subject{k}"] = np.isin(table["nsdId"], image_ids[one.index]).astype(int)
    for k, (image_ids, one) in enumerate(zip(subjectim, shown, strict=True), 1):
        for repeat in range(n_repeats):
            column = columns[f"subject{k}_rep{repeat}"] = np.zeros(n_images, int)
            if repeat in one:
                column[image_ids[one.index]] = one[repeat]
    path = new_path(root, "nsddata/experiments/nsd/nsd_stim_info_merged.csv")
    pd.concat([table, pd.DataFrame(columns)], axis=1).to_csv(path)


def _trials_by_repeat(order):
    """Return the 1-based trial of each showing, 0 for none: index image, one column per repeat."""
    trials = pd.DataFrame({"image": order, "trial": np.arange(len(order)) + 1})
    trials["repeat"] = trials.groupby("image").cumcount()
    return trials.pivot(index="image", columns="repeat", values="trial").fillna(0).astype(int)


def write_behaviour(root, subject, responses):
    """Write the log of a subject's responses.

    Parameters
    ----------
    root : path
    subject : str
    responses : pandas.DataFrame
        NSD's columns: at least SESSION, RUN, TRIAL, 73KID (these count from 1), ISOLD, ISCORRECT and RT.
    """
    path = new_path(root, f"nsddata/ppdata/{subject}/behav/responses.tsv")
    responses.to_csv(path, sep="\t", index=False, na_rep="NaN")
