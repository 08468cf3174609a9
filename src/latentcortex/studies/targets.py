"""Compute true features of images (z, c, g) once, and keep them on disk by image id."""

import functools

import numpy as np
import torch

from latentcortex import features, nsd, store
from latentcortex.studies.image_rows import keep_part, read_rows
from latentcortex.studies.study import LAYERS

# A file holds so many images at most, and so many are in memory at a time while they are encoded.
N_IN_FILE = 128
# What is computed together, and the networks that it needs.
KINDS = {
    "latents": (("z",), ("vae",)),
    "captions": (("c",), ("text_encoder", "tokenizer")),
    "clip": (tuple(f"g{k}" for k in LAYERS), ("guide",)),
}


def image_parts(preset, root, image_ids, n=N_IN_FILE):
    """Yield images (n, 3, h, w) of the model's size, few at a time, because all of NSD needs 30 GB."""
    for start in range(0, len(image_ids), n):
        yield torch.from_numpy(nsd.images(root, image_ids[start : start + n], preset.image_size))


def mean_image(preset, root, image_ids):
    """Return the mean (3, h, w) of images."""
    total = sum(part.double().sum(0) for part in image_parts(preset, root, image_ids))
    return (total / len(image_ids)).float()


@functools.cache
def train_mean_image(study, subject):
    """Return the mean (3, h, w) of a subject's training images."""
    return mean_image(study.preset, study.root, nsd.split(study.tables[subject])[0])


@torch.no_grad()
def encode(study, kind, image_ids):
    """Return the features of a kind, float32 tensors (n, ...) by name."""
    preset = study.preset
    if kind == "captions":
        model, captions = study.model, nsd.captions(study.root, image_ids)
        return {"c": features.encode_captions(model.text_encoder, model.tokenizer, captions).float().cpu()}
    images = torch.from_numpy(nsd.images(study.root, image_ids, preset.image_size))
    if kind == "latents":
        return {"z": features.encode_images(study.model.vae, images, preset.batch_size)}
    layers = features.encode_clip_layers(study.guide, images, LAYERS, preset.batch_size)
    return {f"g{k}": values.cpu() for k, values in layers.items()}


def targets(study, names, image_ids):
    """Return true features of images in the order of the ids; new features are computed.

    Parameters
    ----------
    study : Study
    names : sequence of str
        Names among ``"z"``, ``"c"``, ``"g1"`` to ``"g6"``.
    image_ids : int array (n,)
        Images, with repeats allowed.

    Returns
    -------
    dict of str to float32 tensor (n, ...)
    """
    if not len(image_ids):
        raise ValueError("Expected the ids of at least one image, got none.")
    found = {}
    for kind, (of_kind, _) in KINDS.items():
        wanted = [name for name in of_kind if name in names]
        if wanted:
            compute = functools.partial(encode, study, kind)
            ids, arrays = read_rows(_shelf(study, kind), compute, np.unique(image_ids), wanted, N_IN_FILE)
            # Slices and whole arrays are no copies: all layers of g of NSD's images take 8 GB.
            rows = slice(None) if np.array_equal(ids, image_ids) else store.rows_of(ids, image_ids)
            found |= {name: torch.from_numpy(values[rows]) for name, values in arrays.items()}
    return {name: found[name] for name in names}


def target(study, name, image_ids):
    """Return one kind of true features of images, as in `targets`."""
    return targets(study, [name], image_ids)[name]


def keep_target_part(study, kind, image_ids):
    """Compute features of a few images and keep them for `targets`; see `image_rows.keep_part`.

    Parameters
    ----------
    study : Study
    kind : str
        A key of `KINDS`.
    image_ids : int array (n,)
    """
    return keep_part(_shelf(study, kind), functools.partial(encode, study, kind), image_ids)


@functools.cache
def _shelf(study, kind):
    preset = study.preset
    described = {
        "data": study.identity,
        "weights": study.weights(*KINDS[kind][1]),
        "image_size": preset.image_size,
        "dtype": str(preset.dtype),
    }
    return study.shelf(f"targets-{kind}", [encode], described)
