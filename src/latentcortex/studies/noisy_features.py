"""Compute features that depend on noise, and keep them by image id.

These are noised latents, layers of the U-Net, and z_c. An image has its own noise for each draw. This noise
is the same at every share of noise, for the trained network and for a network with random weights. So scores
can be compared image by image.
"""

import functools
from dataclasses import dataclass

import numpy as np
import torch

from latentcortex import encoding, features, sampler
from latentcortex.studies.image_rows import kept_by_setting
from latentcortex.studies.targets import targets

SEED_OF_NOISE = 16
SEED_OF_PROJECTION = 17
# Numbers that are kept of a layer. At Stable Diffusion's 320 x 64 x 64 that is one in 1,600.
N_PROJECTED = 800
CONDITIONS = ("text", "empty")


@dataclass(frozen=True)
class Reading:
    """Set how layers of the U-Net are read.

    Attributes
    ----------
    share : float
        Share of noise, sqrt(1 - abar). The nearest timestep is used.
    draw : int
        Number of the draw of noise.
    network : str
        ``"trained"``, or ``"random SEED"`` for the same architecture with untrained weights.
    n_projections : int
        Random projections, each with a seed of its own, named ``"0"``, ``"1"``, ...
    conditions : tuple of str
        Names in CONDITIONS, for the true caption and the empty caption.
    pooled_to : int or None
        If given, each layer is also averaged to this number of places per side before it is projected
        (``"pooled"``).
    """

    share: float
    draw: int = 0
    network: str = "trained"
    n_projections: int = 1
    conditions: tuple[str, ...] = CONDITIONS
    pooled_to: int | None = None

    @property
    def forms(self):
        """Return the names of the reductions of a layer."""
        return [*map(str, range(self.n_projections)), *(["pooled"] if self.pooled_to else [])]


def noise_of(image_ids, draw, shape):
    """Return the noise (n, 4, h, w) of images, which depends only on image and draw."""
    generators = [sampler.make_generator(int(i), draw, SEED_OF_NOISE) for i in image_ids]
    return torch.stack([torch.randn(shape, generator=generator) for generator in generators])


def noised(study, share, draw, image_ids):
    """Return noised latents (n, 4, h, w) of images, and the timestep of their noise."""
    scheduler = study.model.scheduler
    timestep = features.timestep_of_share(scheduler, share)
    z = targets(study, ["z"], image_ids)["z"]
    noise = noise_of(image_ids, draw, tuple(z.shape[1:]))
    return features.noised_latents(scheduler, z, noise, [timestep])[timestep], timestep


def blocks(study):
    """Return the outputs of the U-Net's blocks in order, a dict of str to features.UNetLayer."""
    layers = features.unet_layers(study.model.unet, study.preset.latent_shape, study.preset.n_tokens)
    return {name: layer for name, layer in layers.items() if layer.kind == "block"}


@functools.lru_cache(maxsize=2)
def _network(study, name):
    kind, *seed = name.split()
    if kind == "random":
        return features.random_unet(study.model.unet, torch.Generator().manual_seed(int(seed[0])))
    return study.model.unet


@functools.lru_cache(maxsize=128)
def _projection(n_features, number):
    """Return a random projection, or None where a layer has no more numbers than are kept."""
    if n_features <= N_PROJECTED:
        return None
    return encoding.SparseProjection(
        n_features, N_PROJECTED, np.random.default_rng([SEED_OF_PROJECTION, n_features, number])
    )


def _projected(values, number):
    projection = _projection(values[0].numel(), number)
    return values.flatten(1) if projection is None else projection(values)


@torch.no_grad()
def read_unet(study, reading, image_ids):
    """Return all blocks of a U-Net, as float16 tensors (n, N_PROJECTED) by layer, condition and form.

    The three parts of a name are joined by a vertical bar. One batch of raw activations is in memory at a
    time.
    """
    latents, timestep = noised(study, reading.share, reading.draw, image_ids)
    captions, model, found = targets(study, ["c"], image_ids)["c"], study.model, {}
    empty = features.unconditional(model.text_encoder, model.tokenizer)
    batches = features.each_activation(
        _network(study, reading.network),
        {timestep: latents},
        captions if "text" in reading.conditions else None,
        list(blocks(study)),
        empty if "empty" in reading.conditions else None,
        batch_size=study.preset.batch_size,
    )
    for layer, _, condition, _, values in batches:
        forms = {str(number): _projected(values, number) for number in range(reading.n_projections)}
        if reading.pooled_to:
            forms["pooled"] = _projected(features.pooled(values, reading.pooled_to), 0)
        for form, rows in forms.items():
            found.setdefault(f"{layer}|{condition}|{form}", []).append(rows.half())
    joined = {name: torch.cat(rows) for name, rows in found.items()}
    for name, rows in joined.items():
        if not torch.isfinite(rows).all():
            raise FloatingPointError(
                f"Activations of {name} are too large for half precision, in which they are kept. "
                "Look at how large the latents are."
            )
    return joined


def unet_features(study, reading, names, image_ids):
    """Return layers of the U-Net for images; layers for new images are read and kept first.

    Parameters
    ----------
    study : Study
    reading : Reading
    names : sequence of (str, str, str)
        Layer, condition (of ``reading.conditions``) and form (of ``reading.forms``).
    image_ids : int array (n,)

    Returns
    -------
    dict of (str, str, str) to float32 array (n, n_features)

    Raises
    ------
    ValueError
        If the reading does not have a layer, condition or form. The message lists those that exist.
    """
    known = [
        (layer, condition, form)
        for layer in blocks(study)
        for condition in reading.conditions
        for form in reading.forms
    ]
    unknown = [name for name in names if tuple(name) not in known]
    if unknown:
        raise ValueError(
            f"There is no {unknown[0]}. The layers are {', '.join(blocks(study))}; the conditions "
            f"{', '.join(reading.conditions)}; the forms of this reading {', '.join(reading.forms)}."
        )
    joined = ["|".join(name) for name in names]
    found = kept_by_setting(study, "targets-unet", read_unet, reading, joined, image_ids)
    return {tuple(name): found["|".join(name)] for name in names}
