"""Write plain arrays in the layout of NSD.

All ids that come in count from 0; the files count from 1 where NSD's do. Nothing here knows of
scenes or of a simulated cortex, and all sizes are those of the arguments.
"""

import json
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pandas as pd
from scipy.io import savemat

_BETAS = "fithrf_GLMdenoise_RR"


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
    content = {
        "masterordering": np.asarray(masterordering)[None] + 1,
        "stimpattern": np.asarray(stimpattern, np.uint8),
    }
    if subjectim is not None:
        shared = subjectim[:, :n_shared]
        if (shared != shared[0]).any():
            raise ValueError(f"The first {n_shared} images must be the same for all subjects.")
        content |= {"subjectim": subjectim + 1, "sharedix": shared[:1] + 1}
    # MATLAB has no habit of integers: NSD's numbers are doubles.
    content = {key: np.asarray(value, float) for key, value in content.items()}
    path = _new(root, f"nsddata/experiments/{name}/{name}_expdesign.mat")
    savemat(path, content, do_compression=True)


def write_stimuli(root, images, experiment="nsd"):
    """Write images.

    Parameters
    ----------
    root : path
    images : uint8 array (n, height, width, 3)
        Row i is the image with the 0-based id i.
    experiment : {"nsd", "nsdsynthetic"}
    """
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        raise ValueError(
            f"Expected images as uint8 (n, height, width, 3), got {images.dtype} {images.shape}."
        )
    path = _new(root, f"nsddata_stimuli/stimuli/{experiment}/{experiment}_stimuli.hdf5")
    with h5py.File(path, "w") as file:
        file["imgBrick"] = images


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
        path = _new(root, f"annotations/captions_{split}.json")
        path.write_text(json.dumps({"annotations": entries}), encoding="utf-8")


def write_stim_info(root, coco_ids, coco_splits, masterordering, subjectim, n_shared):
    """Write the table that ties NSD's images to COCO's and tells in which trials they come.

    Parameters
    ----------
    root : path
    coco_ids : int array (n,)
    coco_splits : sequence of str
    masterordering, subjectim, n_shared
        As for `write_design`.
    """
    n_images = len(coco_ids)
    table = pd.DataFrame({"cocoId": coco_ids, "cocoSplit": coco_splits})
    table["cropBox"] = "(0, 0, 0, 0)"
    table["loss"] = 0.0
    table["nsdId"] = np.arange(n_images)
    table["flagged"] = table["BOLD5000"] = False
    table["shared1000"] = np.isin(table["nsdId"], subjectim[0, :n_shared])
    trials = pd.DataFrame({"image": masterordering, "trial": np.arange(len(masterordering)) + 1})
    trials["repeat"] = trials.groupby("image").cumcount()
    # shown.shape = (n_images_of_a_subject, n_repeats), 1-based trials
    shown = trials.pivot(index="image", columns="repeat", values="trial").fillna(0).astype(int)
    columns = {}
    for k, image_ids in enumerate(subjectim, 1):
        columns[f"subject{k}"] = np.isin(table["nsdId"], image_ids).astype(int)
    for k, image_ids in enumerate(subjectim, 1):
        for repeat in shown:
            column = columns[f"subject{k}_rep{repeat}"] = np.zeros(n_images, int)
            column[image_ids[shown.index]] = shown[repeat]
    path = _new(root, "nsddata/experiments/nsd/nsd_stim_info_merged.csv")
    pd.concat([table, pd.DataFrame(columns)], axis=1).to_csv(path)


def write_behaviour(root, subject, responses):
    """Write the log of a subject's responses.

    Parameters
    ----------
    root : path
    subject : str
    responses : pandas.DataFrame
        NSD's columns, as from `experiment.simulate_responses`.
    """
    path = _new(root, f"nsddata/ppdata/{subject}/behav/responses.tsv")
    responses.to_csv(path, sep="\t", index=False, na_rep="NaN")


def write_betas_session(root, subject, session, betas):
    """Write the responses of one session on fsaverage.

    Parameters
    ----------
    root : path
    subject : str
    session : int or "nsdsynthetic"
        1-based session of the main experiment, or the session of NSD-synthetic.
    betas : float array (n_trials, n_vertices)
        Percent signal change; the left hemisphere's vertices, then as many of the right.

    Returns
    -------
    list of pathlib.Path
        The files of the left and the right hemisphere.
    """
    folder, name = _betas_name(session)
    return _write_hemispheres(root, f"nsddata_betas/ppdata/{subject}/fsaverage/{folder}", name, betas)


def write_ncsnr(root, subject, ncsnr):
    """Write the noise-ceiling signal-to-noise ratio, float array (n_vertices,)."""
    folder = f"nsddata_betas/ppdata/{subject}/fsaverage/betas_{_BETAS}"
    _write_hemispheres(root, folder, "ncsnr", np.asarray(ncsnr)[None])


def write_volume_betas_session(root, subject, session, betas, affine=None, space="func1pt8mm", form="hdf5"):
    """Write the responses of one session in a volume.

    Parameters
    ----------
    root, subject, session
        See `write_betas_session`.
    betas : float array (n_trials, nx, ny, nz)
        Percent signal change. The files hold integers 300 times as large.
    affine : array (4, 4), optional
        From voxel indices to millimetres; for NIfTI.
    space : {"func1pt8mm", "func1mm"}
    form : {"hdf5", "nii.gz"}
        NSD offers both.

    Returns
    -------
    pathlib.Path
        The file.
    """
    scaled = np.clip(np.rint(300 * betas), -32768, 32767).astype(np.int16)
    folder, name = _betas_name(session)
    path = _new(root, f"nsddata_betas/ppdata/{subject}/{space}/{folder}/{name}.{form}")
    if form == "nii.gz":
        _save_nifti(path, np.moveaxis(scaled, 0, -1), affine)
        return path
    with h5py.File(path, "w") as file:
        # MATLAB wrote (nx, ny, nz, n_trials): others read the axes in reverse, a chunk a voxel.
        file.create_dataset("betas", data=scaled.transpose(0, 3, 2, 1), chunks=(len(scaled), 1, 1, 1))
    return path


def write_volume(root, subject, name, values, affine=None, space="func1pt8mm"):
    """Write a volume (nx, ny, nz) that belongs to a subject.

    Parameters
    ----------
    root, subject, affine, space
        See `write_volume_betas_session`.
    name : str
        ``ncsnr`` (of the betas), ``brainmask``, or ``roi/`` and the name of an atlas.
    values : array (nx, ny, nz)
    """
    folder = f"nsddata/ppdata/{subject}/{space}"
    if name == "ncsnr":
        folder = f"nsddata_betas/ppdata/{subject}/{space}/betas_{_BETAS}"
    _save_nifti(_new(root, f"{folder}/{name}.nii.gz"), values, affine)


def _save_nifti(path, values, affine):
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4) if affine is None else affine), path)


def write_rois(root, atlas, labels, names, subject=None):
    """Write an atlas of regions.

    Parameters
    ----------
    root : path
    atlas : str
    labels : int array (n_vertices,)
        Code of each vertex, left hemisphere first.
    names : dict of int to str
    subject : str, optional
        By default the atlas is that of fsaverage.
    """
    folder = f"nsddata/freesurfer/{subject or 'fsaverage'}/label"
    for hemisphere, half in zip(("lh", "rh"), np.split(np.asarray(labels), 2), strict=True):
        image = nibabel.MGHImage(half.astype(np.int32)[:, None, None], np.eye(4))
        nibabel.save(image, _new(root, f"{folder}/{hemisphere}.{atlas}.mgz"))
    lines = [f"{code} {name}\n" for code, name in names.items()]
    _new(root, f"{folder}/{atlas}.mgz.ctab").write_text("".join(lines))


def _betas_name(session):
    if session == "nsdsynthetic":
        return f"nsdsyntheticbetas_{_BETAS}", "betas_nsdsynthetic"
    return f"betas_{_BETAS}", f"betas_session{session:02d}"


def _write_hemispheres(root, folder, name, values):
    """Write float values (n_trials, n_vertices) as two big-endian surface files; return their paths."""
    paths = []
    for hemisphere, half in zip(("lh", "rh"), np.split(values, 2, axis=1), strict=True):
        # FreeSurfer's order: vertex first, trials last; nibabel wants a single one left out.
        volume = half.astype(np.float32).T[:, None, None]
        volume = volume[..., 0] if len(values) == 1 else volume
        paths.append(_new(root, f"{folder}/{hemisphere}.{name}.mgh"))
        nibabel.save(nibabel.MGHImage(volume, np.eye(4)), paths[-1])
    return paths


def _new(root, relative):
    path = Path(root, relative)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
