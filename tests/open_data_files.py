"""Write files as the authors of BOLD5000 and LAION-fMRI publish them, small and with planted values."""

import io
import json
from pathlib import Path
from types import SimpleNamespace

import h5py
import nibabel
import numpy as np
import pandas as pd
from PIL import Image

from latentcortex.open_data import bold5000, bold5000_standin

# --- BOLD5000 ---------------------------------------------------------------------------------------

COCO = [f"COCO_train2014_{k:012d}.jpg" for k in (25, 400, 131_072)]
OTHER = ["n01440764_15.JPEG", "n02123045_7.JPEG", "airport_terminal3.jpg", "barn1.jpg"]
N_VOXELS = {"EarlyVis": 4, "LOC": 3, "OPA": 1, "PPA": 2, "RSC": 2}
# Two sessions of CSI1 with unequal runs, one of CSI2; COCO's first and the barn are repeated.
RUNS = {
    "CSI1": {(1, 1): [0, 3, 4], (1, 2): [1, 6, 0], (2, 1): [5, 6, 2, 0]},
    "CSI2": {(1, 1): [6, 2, 0, 5], (1, 2): [0, 1, 6]},
}


def write_bold5000(folder, rng):
    """Write the unpacked archives; return what was planted, by subject: names and betas (n, 24)."""
    folder, names = Path(folder), COCO + OTHER
    runs = {
        subject: {key: [names[k] for k in images] for key, images in of_subject.items()}
        for subject, of_subject in RUNS.items()
    }
    shown = {subject: [name for images in of.values() for name in images] for subject, of in runs.items()}
    betas = {
        subject: {
            # Subjects differ in their numbers of voxels.
            hemisphere + region: rng.normal(0, 2, (len(shown[subject]), n_voxels + int(subject[3:]) - 1))
            for hemisphere in ("LH", "RH")
            for region, n_voxels in N_VOXELS.items()
        }
        for subject in runs
    }
    pixels = {
        name: np.full((375, 375, 3), [20 * k, 255 - 20 * k, 90], np.uint8) for k, name in enumerate(names)
    }
    captions = {k: [f"caption {n} of {k}" for n in (0, 1)] for k in (25, 400, 131_072, 999)}
    labels = {"n01440764": "tench, Tinca tinca", "n02123045": "tabby, tabby cat"}
    repeated = [names[0], names[6]]
    bold5000_standin.write_files(folder, runs, betas, pixels, captions, labels, repeated)
    originals = folder / "BOLD5000_Stimuli/Scene_Stimuli/Original_Images"
    originals.mkdir()
    for name in names:
        (originals / name).write_bytes(b"another size")
    betas = {subject: np.concatenate(list(parts.values()), axis=1) for subject, parts in betas.items()}
    return SimpleNamespace(betas=betas, shown=shown, pixels=pixels, names=names, regions=bold5000.REGIONS)


# --- LAION-fMRI -------------------------------------------------------------------------------------

SHAPE = (5, 6, 4)
NAMES = [
    *(f"shared_12rep_LAION_cluster_{k}_i0.jpg" for k in (3, 12)),
    "shared_4rep_OOD_shape_7.png",
    *(f"unique_LAION_cluster_{k}_i1.jpg" for k in range(5)),
]
# By subject and session; session 2 of subject 3 was not downloaded.
SESSIONS = {(1, 1): [0, 3, 4, 0, 2], (1, 2): [1, 5, 3, 0], (3, 1): [2, 6, 0, 1], (3, 3): [7, 0, 6]}
REGIONS = {
    "retinotopy": ("V1v", "V1d", "EVC"),
    "face": ("FFA-1",),
    "visualcat": ("laion-general", "laion-EVC", "laion-ventral"),
}


def write_laion_fmri(folder, rng, images=False):
    """Write the folder of a few sessions; return what was planted."""
    folder, planted = Path(folder), SimpleNamespace(betas={}, masks={}, ceiling={})
    affine = np.diag([1.778, 1.778, 1.778, 1.0])
    general = rng.random(SHAPE) < 0.5
    general[0, 0, 0], general[0, 0, 1] = True, True
    for subject in (1, 3):
        top = folder / f"derivatives/glmsingle-tedana/sub-{subject:02d}"
        masks = planted.masks[subject] = _masks(general if subject == 1 else np.roll(general, 1))
        for category, labels in REGIONS.items():
            path = folder / f"derivatives/rois/sub-{subject:02d}/{category}"
            path.mkdir(parents=True)
            for label in labels:
                name = f"sub-{subject:02d}_space-T1w_res-1pt8_label-{label}_mask.nii.gz"
                save(path / name, masks[label].astype(np.uint8), affine)
            other = np.ones((7, 7, 7), np.uint8)  # the grid of the localizers
            save(path / f"sub-{subject:02d}_space-T1w_res-1pt5_label-{labels[0]}_mask.nii.gz", other, affine)
        planted.ceiling[subject] = rng.uniform(0, 90, SHAPE).astype(np.float32)
        for (owner, session), shown in SESSIONS.items():
            if owner != subject:
                continue
            path = top / f"ses-{session:02d}/func"
            path.mkdir(parents=True)
            start = f"sub-{subject:02d}_ses-{session:02d}_task-images_"
            table = pd.DataFrame({"session": session, "run": [1] * 2 + [3] * (len(shown) - 2)})
            table["beta_index"], table["label"] = range(len(shown)), [NAMES[k] for k in shown]
            table.to_csv(path / f"{start}desc-SingletrialBetas_trials.tsv", sep="\t", index=False)
            betas = rng.normal(0, 2, (*SHAPE, len(shown))).astype(np.float32)
            betas[~general & ~np.roll(general, 1)] = np.nan  # outside of the brain
            planted.betas[subject, session] = betas
            save(path / f"{start}space-T1w_stat-effect_desc-SingletrialBetas_statmap.nii.gz", betas, affine)
        name = f"sub-{subject:02d}_task-images_space-T1w_desc-Noiseceiling12rep_statmap.nii.gz"
        save(top / name, planted.ceiling[subject], affine)
    (folder / "derivatives/glmsingle-tedana/sub-01/ses-31/func").mkdir(parents=True)  # held back: empty
    _write_stimuli(folder / "stimuli", planted, rng, images)
    return planted


def _masks(general):
    number = np.cumsum(general.ravel()).reshape(SHAPE) * general
    return {
        "laion-general": general,
        "laion-EVC": (number > 0) & (number <= 12),
        "laion-ventral": (number >= 12) & (number <= 30),  # shares a voxel with laion-EVC
        "V1v": (number > 0) & (number <= 5),
        "V1d": (number >= 5) & (number <= 9),
        "EVC": (number > 0) & (number <= 14),
        "FFA-1": (number > 20) & (number < 26),
    }


def _write_stimuli(folder, planted, rng, images):
    folder.mkdir()
    order = rng.permutation(len(NAMES))  # rows of the metadata are not sorted by name
    names = [NAMES[k] for k in order]
    pd.DataFrame({"image_name": names, "dataset": "LAION-natural"}).to_csv(
        folder / "task-images_metadata.csv", index=False
    )
    rows = [
        {"image_name": name, "caption_idx": k, "source": "human" if k else "ai", "caption": f"{k} of {name}"}
        for name in names
        for k in (2, 0, 1)
    ]
    pd.DataFrame(rows).to_csv(folder / "task-images_desc-captions.csv", index=False)
    planted.embeddings = {name: rng.normal(size=6).astype(np.float16) for name in names}
    with h5py.File(folder / "task-images_desc-CLIP_embeddings.h5", "w") as file:
        file["embedding"] = np.stack([planted.embeddings[name] for name in names])
        file.create_dataset("image_ids", data=names, dtype=h5py.string_dtype())
        file["valid"] = np.ones(len(names), bool)
    if images:
        with h5py.File(folder / "task-images_stimuli.h5", "w") as file:
            packed = file.create_dataset("images", len(names), h5py.vlen_dtype(np.uint8))
            for k, name in enumerate(names):
                packed[k] = np.frombuffer(_packed(name), np.uint8)


def _packed(name):
    """Return a picture whose grey level is its number; the OOD image is transparent."""
    grey, buffer = 20 + 20 * NAMES.index(name), io.BytesIO()
    if name.endswith(".png"):
        Image.new("RGBA", (40, 40), (grey, grey, grey, 0)).save(buffer, "PNG")
    else:
        Image.new("RGB", (40, 40), (grey,) * 3).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def save(path, values, affine):
    nibabel.save(nibabel.Nifti1Image(values, affine), path)


def write_split(path, train, test):
    """Write a split as the authors' package has it."""
    variants = [{"variant_id": 0, "train_ids": train, "test_ids": test}]
    content = {
        "name": "tau",
        "pool": "sub-01",
        "n_train": len(train),
        "n_test": len(test),
        "variants": variants,
    }
    path.write_text(json.dumps(content))
    return path
