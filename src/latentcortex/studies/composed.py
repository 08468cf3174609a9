"""Compose scenes from a few choices, predict responses to them, and draw images from these responses."""

import functools
import io
import itertools

import numpy as np
import torch
from PIL import Image

from latentcortex import encoding, features, nsd
from latentcortex.studies import decoding, drawings
from latentcortex.studies.maps import N_COMPONENTS
from latentcortex.studies.recipes import RECIPES
from latentcortex.studies.targets import targets

CHOICES = {
    "setting": ("hills", "shore", "city"),
    "time": ("day", "night"),
    "kind": ("car", "snowman", "tower"),
    "colour": ("red", "blue"),
    "side": ("left", "right"),
}
FIRST_ID = 2_000_000  # of composed scenes: beyond all images of the study, so that noise and encoders differ
SEED_OF_CAPTIONS = 20
# What all scenes have in common: structure and camera don't tell one from another.
PLACES = {"left": -0.65, "right": 0.65}
GROUNDS = {"hills": "grass", "shore": "sand", "city": "stone"}
COMMON = {"light_azimuth": 0.9, "light_elevation": 0.8, "camera_height": 1.4, "camera_yaw": 0.0}
COMMON |= {"camera_pitch": 0.1, "structure": 7}


def scenes():
    """Return all composed scenes, a list of `mini.scenes.Scene`; the last choice varies fastest."""
    from latentcortex.mini.scenes import Scene, Thing

    found = []
    for setting, time, kind, colour, side in itertools.product(*CHOICES.values()):
        thing = Thing(kind, colour, x=PLACES[side], z=0.3, size=1.2, yaw=0.4)
        found.append(Scene(setting, time, GROUNDS[setting], (thing,), **COMMON))
    return found


def image_ids(composed):
    """Return an id for each composed scene, int (n,), that no image of the study has."""
    return FIRST_ID + np.arange(len(composed))


@functools.lru_cache(maxsize=1)
def rendered():
    """Return the composed scenes as images, tensor (n, 3, h, w) in [0, 1]."""
    from latentcortex.mini.scenes import render

    return drawings.from_bytes(render(scenes()))


@functools.lru_cache(maxsize=1)
@torch.no_grad()
def z_and_c(study):
    """Return z (n, 4, h, w) and c (n, n_tokens, d) of the composed scenes, by name.

    c comes from five captions written by a program, each of which names a part of the scene.
    """
    from latentcortex.mini.captions import write_captions

    composed = scenes()
    rngs = [np.random.default_rng([SEED_OF_CAPTIONS, k]) for k in range(len(composed))]
    texts = [write_captions(scene, rng) for scene, rng in zip(composed, rngs, strict=True)]
    model = study.model
    c = features.encode_captions(model.text_encoder, model.tokenizer, texts).float().cpu()
    return {"z": features.encode_images(model.vae, rendered(), study.preset.batch_size), "c": c}


@functools.lru_cache(maxsize=4)
def predicted(study, subject):
    """Return a subject's responses to the composed scenes, predicted from z and c together.

    z and c are each reduced to N_COMPONENTS principal components, as in chapter 10. One ridge regression per
    vertex is fitted to the averaged responses to all training images.

    Returns
    -------
    float32 array (n, n_voxels)
        Noise-free responses of the voxels that `decoding.read` reads. A training trial has variance 1.
    """
    betas, ids, n_repeats = averaged(study, subject)
    parts, n = [], len(ids)
    for name, new in z_and_c(study).items():
        known = targets(study, [name], ids)[name].flatten(1)
        values = torch.cat([known, new.flatten(1)]).numpy()
        parts.append(encoding.low_rank(values, np.arange(len(values)) < n, N_COMPONENTS))
    joint = np.hstack(parts)
    encoder = encoding.VoxelwiseEncoder(cv="gcv", device=study.preset.device).fit(
        joint[:n], betas, ids, n_repeats
    )
    return np.asarray(encoder.predict(joint[n:], image_ids(joint[n:])), dtype=np.float32)


def averaged(study, subject):
    """Return betas, image ids and n_repeats of averaged training responses, for all voxels that were read."""
    read = decoding.read(study, subject)
    own = ~read.table["shared"].to_numpy()
    return nsd.average_repeats(read.betas[own], read.image_ids[own])


@torch.no_grad()
def draw(study, subject, rows):
    """Return drawings (n, 3, h, w) in [0, 1] of composed scenes, from predicted responses by system A.

    The decoders are those of chapter 6, which were fitted to measured responses to the training images.

    Parameters
    ----------
    study : Study
    subject : str
    rows : int array (n,)
        Rows of the composed scenes.
    """
    read, betas = decoding.read(study, subject), predicted(study, subject)[rows]
    decoded = []
    for name in "zc":
        fitted = decoding.linear(study, subject, name)
        decoded.append(fitted.decode(betas[:, read.mask(fitted.region)]))
    return drawings.reconstruct(study, RECIPES["both"], 0, FIRST_ID + np.asarray(rows), *decoded)


def from_sheet(file, columns, n):
    """Return drawings from the bytes of a sheet.

    The script ``ch10_compose_scenes`` makes the sheet.

    Parameters
    ----------
    file : uint8 array
        A WebP file.
    columns, n : int
        Number of drawings per row, and in total.

    Returns
    -------
    tensor (n, 3, h, w) in [0, 1]
    """
    pixels = np.asarray(Image.open(io.BytesIO(file.tobytes())))
    size = pixels.shape[1] // columns
    tiles = pixels.reshape(-1, size, columns, size, 3).swapaxes(1, 2).reshape(-1, size, size, 3)
    return drawings.from_bytes(tiles[:n].copy())


def mean_colours(images, n_cells=8):
    """Return mean colours (n, 3, n_cells, n_cells) of images (n, 3, h, w) in the cells of a grid."""
    return torch.nn.functional.adaptive_avg_pool2d(torch.as_tensor(images), n_cells).numpy()
