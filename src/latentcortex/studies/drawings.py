"""Draw the test images by a recipe, in blocks that are kept on disk."""

import dataclasses
import functools

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler

from latentcortex import features, metrics, sampler
from latentcortex.store import rows_of
from latentcortex.studies import decoding, shared_training
from latentcortex.studies.guides import guidance_of
from latentcortex.studies.keys import key_of
from latentcortex.studies.study import DIFFUSION

NETWORKS = (*DIFFUSION, "guide")
N_IN_BLOCK = 50  # drawings that are made and kept together, and lost together by a kill


def _from_truth(study, subject, *span):
    return (
        [decoding.in_span(study, subject, name) for name in "zc"] if span else decoding.true(study, "z", "c")
    )


def _from_nothing(study, _subject):
    model, n = study.model, len(study.image_ids)
    c = features.unconditional(model.text_encoder, model.tokenizer).float().cpu()
    return decoding.true(study, "z")[0], c.repeat(n, 1, 1)


def _from_ridge(study, subject, how="all", *dimensions):
    if how == "bottleneck":
        return [decoding.through_bottleneck(study, subject, name, *map(int, dimensions)) for name in "zc"]
    if how == "others":
        rows = metrics.shuffled_rows(len(study.image_ids), np.random.default_rng([decoding.SEED, 7]))
        return [decoding.decoded(study, subject, name)[rows] for name in "zc"]
    if how == "shuffled":
        return [decoding.decoded(study, subject, name, shuffle_pairs=True) for name in "zc"]
    return [decoding.decoded(study, subject, name, how) for name in "zc"]


def _from_network(study, subject, method, amount):
    return [shared_training.decoded(study, subject, name, method, amount) for name in "zc"]


# By the first word of `recipes.Recipe.source`; the other words are arguments.
SOURCES = {"true": _from_truth, "empty": _from_nothing, "ridge": _from_ridge, "network": _from_network}


def z_and_c(study, subject, source):
    """Return z (n, 4, h, w) and c (n, n_tokens, d) of all test images, from a source of `recipes.Recipe`."""
    return _source_of(source)(study, subject, *source.split()[1:])


def _source_of(source):
    kind = source.split()[0]
    if kind not in SOURCES:
        raise ValueError(f"Expected z and c from one of {', '.join(SOURCES)}, got {source!r}.")
    return SOURCES[kind]


@torch.no_grad()  # not inference mode, since a guide needs gradients
def draw(study, subject, recipe, repeat, image_ids, watch=None):
    """Return drawings (n, 3, h, w) in [0, 1] of some test images, made by a recipe.

    ``watch`` is called with every guided step (see `sampler.Guidance`).
    """
    z, c = _rows(study, image_ids, z_and_c(study, subject, recipe.source))
    guidance = None if recipe.guide is None else guidance_of(study, subject, recipe.guide, watch)
    return reconstruct(study, recipe, repeat, image_ids, z, c, guidance)


def _rows(study, image_ids, features):
    """Return the rows of some test images of each kind of features."""
    rows = rows_of(study.image_ids, image_ids, "the test images")
    return [values[rows] for values in features]


def reconstruct(study, recipe, repeat, image_ids, z, c, guidance=None, **changes):
    """Return images drawn from z (n, 4, h, w) and c (n, n_tokens, d) with the preset's settings.

    `changes` replace some of these settings.
    """
    preset, model = study.preset, study.model
    if recipe.condition == "vae":
        return features.decode_latents(model.vae, z, preset.batch_size).clamp(0, 1).cpu()
    if recipe.dpm:
        scheduler = DPMSolverMultistepScheduler.from_config(model.scheduler.config)
        model = dataclasses.replace(model, scheduler=scheduler)
    options = {**preset.sampling, "condition": recipe.condition, "repeat": repeat, **changes}
    if recipe.source == "empty":  # the condition is the empty caption itself
        options["guidance_scale"] = 1.0
    return sampler.reconstruct(model, z, c, image_ids=image_ids, guidance=guidance, **options).cpu()


def to_bytes(images):
    """Turn images (..., 3, h, w) in [0, 1] into uint8 (..., h, w, 3)."""
    return (images * 255).round().to(torch.uint8).movedim(-3, -1).numpy()


def from_bytes(pixels):
    """Return pixels, uint8 (n, h, w, 3), as images, a tensor (n, 3, h, w) in [0, 1]."""
    return torch.from_numpy(pixels).movedim(-1, -3) / 255


@functools.lru_cache(maxsize=256)
def _shelf(study, recipe):
    networks = [*NETWORKS, *(["tiny_vae"] if study.preset.tiny_vae else [])]
    described = study.description(*networks, recipe=dataclasses.asdict(recipe))
    # A change of the guides draws nothing again that has none, and so on.
    code = [reconstruct, to_bytes, _rows, _source_of(recipe.source), *([guidance_of] if recipe.guide else [])]
    return study.shelf("drawings", code, described)


def drawings(study, subject, recipe, repeat=0, image_ids=None):
    """Return drawings of test images; missing drawings are made and kept.

    Parameters
    ----------
    study : Study
    subject : str
    recipe : recipes.Recipe
    repeat : int
        Number of the drawing of each image. Another repeat has other noise.
    image_ids : int array (n,), optional
        By default all test images.

    Returns
    -------
    tensor (n, 3, h, w) in [0, 1]
        Drawings are rounded to bytes, because they are kept in this form.
    """
    image_ids = study.image_ids if image_ids is None else np.asarray(image_ids)
    shelf, whose = _shelf(study, recipe), "all" if recipe.needs_no_brain else subject
    blocks = []
    for start in range(0, len(image_ids), N_IN_BLOCK):
        ids = image_ids[start : start + N_IN_BLOCK]

        def make(ids=ids):
            return {"image_ids": ids, "images": to_bytes(draw(study, subject, recipe, repeat, ids))}

        part = (whose, repeat, ids[0], ids[-1], len(ids), _hash_ids(ids))
        blocks.append(shelf.get(part, make)["images"])
    return from_bytes(np.concatenate(blocks))


def _hash_ids(ids):
    return key_of([], np.asarray(ids).tolist())[:8]
