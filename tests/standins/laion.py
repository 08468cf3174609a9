"""LAION-fMRI's folder as its authors publish it, small, with planted responses to drawn images.

Early visual cortex answers to colours in places, the ventral region to things and their colours. Captions
name both, so that c must predict the ventral region. Names are those of `open_data.laion_files`.
"""

import io
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pandas as pd
from PIL import Image

from latentcortex.open_data import laion_files
from standins import brain

SHAPE, SIZE = (12, 12, 8), 100  # voxels; pixels of an image
SUBJECTS, N_SESSIONS, N_TRIALS = (1, 3), 3, 120
N_SHARED, N_OWN = 40, 120  # images of a subject, shown three times and twice
REGIONS = {
    "retinotopy": ("V1v", "V1d"),
    "visualcat": ("laion-general", "laion-EVC", "laion-ventral", "laion-lateral"),
}


def write_folder(folder):
    """Write the folder; an existing one stays."""
    folder = Path(folder)
    if (folder / "stimuli").is_dir():
        return
    rng = np.random.default_rng(37)
    n = N_SHARED + len(SUBJECTS) * N_OWN
    scenes = brain._Scenes(rng, n)
    names = [f"shared_4rep_LAION_cluster_{k}_i0.jpg" for k in range(N_SHARED)]
    names += [f"unique_LAION_cluster_{k}_i1.jpg" for k in range(N_SHARED, n)]
    for number, subject in enumerate(SUBJECTS):
        own = N_SHARED + number * N_OWN + np.arange(N_OWN)
        order = rng.permutation(np.concatenate([np.repeat(np.arange(N_SHARED), 3), np.repeat(own, 2)]))
        _write_subject(folder, subject, scenes, names, order.reshape(N_SESSIONS, N_TRIALS), rng)
    _write_stimuli(folder, scenes, names)


def _masks():
    place = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    early, ventral = place < 300, (place >= 300) & (place < 600)
    return {
        "laion-general": place < 900,
        "laion-EVC": early,
        "laion-ventral": ventral,
        "laion-lateral": (place >= 600) & (place < 900),
        "V1v": place < 80,
        "V1d": (place >= 80) & (place < 160),
    }


def _write_subject(folder, subject, scenes, names, sessions, rng):
    masks, affine = _masks(), np.diag([1.778, 1.778, 1.778, 1.0])
    for category, labels in REGIONS.items():
        path = folder / f"derivatives/rois/sub-{subject:02d}/{category}"
        path.mkdir(parents=True)
        for label in labels:
            name = f"sub-{subject:02d}_space-T1w_res-1pt8_label-{label}_mask.nii.gz"
            _save(path / name, masks[label].astype(np.uint8), affine)
    signal = np.zeros((len(names), *SHAPE), np.float32)
    planted = {"laion-EVC": scenes.low_level(), "laion-ventral": scenes.contents()}
    for label, values in planted.items():
        weights = rng.normal(size=(values.shape[1], masks[label].sum()))
        found = (values - values.mean(0)) @ weights
        signal[:, masks[label]] = found / found.std(0)
    for session, shown in enumerate(sessions, 1):
        table = pd.DataFrame({"session": session, "run": np.repeat([1, 2], N_TRIALS // 2)})
        table["beta_index"], table["label"] = range(N_TRIALS), [names[k] for k in shown]
        path = folder / laion_files.TRIALS.format(subject, session)
        path.parent.mkdir(parents=True)
        table.to_csv(path, sep="\t", index=False)
        noise = rng.standard_normal((N_TRIALS, *SHAPE), np.float32)
        betas = np.moveaxis(1.4 * (signal[shown] + noise), 0, -1)
        betas[~masks["laion-general"]] = np.nan  # outside of the brain
        _save(folder / laion_files.BETAS.format(subject, session), betas.astype(np.float32), affine)
    # ncsnr is 1 where something was planted: a ceiling of n / (n + 1) for n repeats
    ceiling = np.where(masks["laion-EVC"] | masks["laion-ventral"], 80.0, 0.0).astype(np.float32)
    _save(folder / laion_files.CEILING.format(subject, 4), ceiling, affine)


def _write_stimuli(folder, scenes, names):
    path = folder / "stimuli"
    path.mkdir()
    pd.DataFrame({"image_name": names, "dataset": "LAION-natural"}).to_csv(
        folder / laion_files.METADATA, index=False
    )
    rows = [
        {"image_name": name, "caption_idx": k, "source": "human", "caption": text}
        for name, texts in zip(names, scenes.captions(), strict=True)
        for k, text in enumerate(texts)
    ]
    pd.DataFrame(rows).to_csv(folder / laion_files.CAPTIONS, index=False)
    with h5py.File(folder / laion_files.IMAGES, "w") as file:
        packed = file.create_dataset("images", len(names), h5py.vlen_dtype(np.uint8))
        for k in range(len(names)):
            buffer = io.BytesIO()
            Image.fromarray(scenes.draw(k, SIZE)).save(buffer, "JPEG", quality=95)
            packed[k] = np.frombuffer(buffer.getvalue(), np.uint8)


def _save(path, values, affine):
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
