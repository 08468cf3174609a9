"""Make the guides of a subject, which pull drawings towards their targets."""

import functools

import numpy as np
import torch
import torch.nn.functional as F

from latentcortex import features, metrics, sampler
from latentcortex.studies import decoding, shared_training
from latentcortex.studies.encoders import LayerEncoder
from latentcortex.studies.responses import VISUAL_CORTEX
from latentcortex.studies.study import LAYERS
from latentcortex.studies.targets import targets

COLOUR_CELLS = 4  # the colour guide averages images over so many cells a side
N_COMPONENTS = 300  # of g, between image and responses in the encoding model of the brain guide
SEED_OF_OTHERS = (8, 1)


def g_of(study, subject, whose):
    """Return the target features of a guide for all test images, tensors (n, ...) by layer.

    ``whose`` is one of the targets of `recipes.Guide`.
    """
    match whose.split():
        case ["true"]:
            return dict(zip(LAYERS, decoding.true(study, *(f"g{k}" for k in LAYERS)), strict=True))
        case ["other"]:
            rows = metrics.shuffled_rows(len(study.image_ids), np.random.default_rng(SEED_OF_OTHERS))
            return {k: values[rows] for k, values in g_of(study, subject, "true").items()}
        case ["mixed", share]:
            true, ridge, share = g_of(study, subject, "true"), g_of(study, subject, "ridge"), float(share)
            return {k: share * true[k] + (1 - share) * ridge[k] for k in true}
        case ["ridge", *rescaled]:
            return {k: _decoded_g(study, subject, " ".join([f"g{k}", *rescaled])) for k in LAYERS}
        case ["network"]:
            # As predicted: a mean is the right goal of a squared distance.
            return {
                k: shared_training.decoded(study, subject, f"g{k}", "pretrained", "all", rescaled=False)
                for k in LAYERS
            }
    raise ValueError(f"There are no features {whose!r}: see the targets of a Guide.")


@functools.lru_cache(maxsize=12)
def _decoded_g(study, subject, name):
    return decoding.decoded(study, subject, name)


def guidance_of(study, subject, guide, watch=None):
    """Return the `sampler.Guidance` of a `recipes.Guide`."""
    if guide.looks_at == "features":
        g = g_of(study, subject, guide.targets)
        chosen = {k: g[k] for k in guide.layers}
        wanted = sampler.FeatureTargets(chosen, study.image_ids, study.guide.name)
        looks = sampler.feature_guide(study.guide, wanted, guide.weights)
    elif guide.looks_at == "colours":
        (z,) = (
            decoding.true(study, "z") if guide.targets == "true" else [decoding.decoded(study, subject, "z")]
        )
        shown = features.decode_latents(study.model.vae, z, study.preset.batch_size).clamp(0, 1)
        looks = sampler.colour_guide(F.adaptive_avg_pool2d(shown.float(), COLOUR_CELLS), study.image_ids)
    else:
        looks = _brain_guide(study, subject)
    return sampler.Guidance(
        looks,
        guide.feature_scale,
        guide.guided_share,
        guide.guided_from,
        study.decoders["tiny" if guide.tiny else "full"],
        through_unet=guide.through_unet,
        blend=guide.blend,
        max_relative_step=guide.max_relative_step,
        watch=watch,
    )


@functools.lru_cache(maxsize=1)
def _brain_guide(study, subject):
    """Pull towards the first two showings, by an encoding model from g to all of visual cortex.

    The scores by responses come from another model, of another network.
    """
    read = decoding.read(study, subject)
    betas, ids, _ = read.averages(VISUAL_CORTEX)[0]
    names = [f"g{k}" for k in LAYERS]
    layers = dict(zip(LAYERS, targets(study, names, ids).values(), strict=True))
    encoder = LayerEncoder(layers, betas, ids, N_COMPONENTS, joint=True)

    def encode(images):
        g = features.encode_clip_layers(study.guide, images, LAYERS, len(images), clamped=False)
        # Fitted in main memory, whatever draws.
        return encoder({k: values.cpu() for k, values in g.items()}).to(images.device)

    measured = read.showings(VISUAL_CORTEX, "two", study.image_ids)
    shown = ~np.isnan(measured).any(axis=1)
    return sampler.brain_guide(encode, measured[shown], study.image_ids[shown])


def own_loss(study, images, image_ids, batch_size=32):
    """Return the published loss (n,) of images (n, 3, h, w) with their own true features as targets."""
    wanted = sampler.FeatureTargets(g_of(study, None, "true"), study.image_ids, study.guide.name)
    guide = sampler.feature_guide(study.guide, wanted)
    device, ids = study.preset.device, torch.as_tensor(image_ids)
    pairs = zip(images.split(batch_size), ids.split(batch_size), strict=True)
    with torch.no_grad():
        return torch.cat([guide(some.to(device), of_some).cpu() for some, of_some in pairs])
