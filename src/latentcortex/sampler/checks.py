"""Refuse input that cannot be sampled and steps that do not give images, and say why."""

import math

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler

from latentcortex.features.checks import as_tensor, check_finite

# Latents have a root mean square of about 1, and so has the noise. True features that guide without a limit,
# ten times as strongly as the book does it, end at 18. At the published strength, which belongs to larger
# networks, they end at 600 (24 simulated scenes each). A drawing that ends above this bound has exploded.
# There is no bound on the way, because most drawings recover from long steps.
EXPLODED = 1000
LOOK_FOR_VOXELS = "Look for voxels without signal or without variance in the decoder's input."


def as_ids(image_ids, n, name="image_ids"):
    """Return image ids as an integer tensor (n,) on the CPU, checked."""
    ids = as_tensor(list(image_ids) if isinstance(image_ids, range) else image_ids, name).cpu()
    is_whole = not (ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool)
    if tuple(ids.shape) != (n,) or not (is_whole or n == 0):
        raise ValueError(
            f"Expected {name} as one whole number for each of {n} images, got {ids.dtype} of shape "
            f"{tuple(ids.shape)}."
        )
    return ids.long()


def check_condition(unet, condition, unconditional_embedding, guidance_scale):
    """Check the token states of the condition, and how strongly the sampler should follow them."""
    if condition.ndim != 3 or condition.shape[2] != unet.config.cross_attention_dim:
        raise ValueError(
            f"This U-Net takes encoder_hidden_states (n, n_tokens, "
            f"{unet.config.cross_attention_dim}), got {tuple(condition.shape)}."
        )
    if not condition.is_floating_point():
        raise ValueError(f"Expected encoder_hidden_states as floats, got {condition.dtype}.")
    check_finite(condition, "encoder_hidden_states", LOOK_FOR_VOXELS)
    if not 1 <= guidance_scale < math.inf:
        raise ValueError(f"Expected a guidance_scale of at least 1, got {guidance_scale}.")
    if unconditional_embedding is None:
        if guidance_scale > 1:
            raise ValueError(
                f"A guidance_scale of {guidance_scale} needs the unconditional_embedding "
                "(features.unconditional); without it, only guidance_scale=1 can be used."
            )
        return
    expected = (1, *condition.shape[1:])
    if tuple(unconditional_embedding.shape) != expected:
        raise ValueError(
            f"The unconditional_embedding should be {expected} to fit encoder_hidden_states "
            f"{tuple(condition.shape)}, got {tuple(unconditional_embedding.shape)}."
        )
    check_finite(unconditional_embedding, "unconditional_embedding", "Compute it by features.unconditional.")


def check_start(unet, n, latents, strength, generators):
    """Return the shape of the latents, after checking what a drawing starts from."""
    if len(generators) != n:
        raise ValueError(f"Expected one generator for each of {n} images, got {len(generators)}.")
    for generator in generators:
        if not isinstance(generator, torch.Generator):
            raise ValueError(f"Expected generators of make_generator, got {generator!r}.")
    size, n_channels = unet.config.sample_size, unet.config.in_channels
    if latents is None:
        if strength != 1:
            raise ValueError(
                f"A strength of {strength} keeps a part of `latents`, and none were given. Pass them, "
                "or use strength=1 to start from noise."
            )
        return (n, n_channels, *((size, size) if isinstance(size, int) else size))
    if latents.ndim != 4 or tuple(latents.shape[:2]) != (n, n_channels):
        raise ValueError(
            f"Expected latents ({n}, {n_channels}, h, w) to fit {n} conditions and "
            f"this U-Net, got {tuple(latents.shape)}."
        )
    if not latents.is_floating_point():
        raise ValueError(f"Expected latents as floats, got {latents.dtype}. Were they rounded?")
    check_finite(latents, "latents", LOOK_FOR_VOXELS)
    return tuple(latents.shape)


def check_scheduler(scheduler, is_guided, is_corrected=False):
    """Check that a scheduler's steps depend on the drawing alone and, if asked, can be guided."""
    if is_guided and torch.is_inference_mode_enabled():
        raise ValueError(
            "Guidance needs gradients, and torch.inference_mode() switches them off for good. Load "
            "the networks and sample under torch.no_grad() instead."
        )
    if (is_guided or is_corrected) and scheduler.config.prediction_type != "epsilon":
        what = "Guidance" if is_guided else "A correction by measurements"
        raise ValueError(
            f"{what} corrects predicted noise, and this model predicts {scheduler.config.prediction_type!r}."
        )
    if isinstance(scheduler, DDIMScheduler):
        return
    if not isinstance(scheduler, DPMSolverMultistepScheduler):
        raise ValueError(
            "Expected a DDIMScheduler or a DPMSolverMultistepScheduler, got "
            f"{type(scheduler).__name__}. Make one of it with "
            "DDIMScheduler.from_config(scheduler.config)."
        )
    if scheduler.config.algorithm_type.startswith("sde"):
        raise ValueError(
            f"DPM-Solver's {scheduler.config.algorithm_type!r} adds noise of its own. Use "
            "algorithm_type='dpmsolver++': a drawing should depend on its generator alone."
        )
    for option in (
        "use_karras_sigmas",
        "use_exponential_sigmas",
        "use_beta_sigmas",
        "use_lu_lambdas",
        "use_flow_sigmas",
    ):
        if scheduler.config.get(option):
            raise ValueError(
                f"With {option} DPM-Solver works at noise levels between the timesteps, and "
                "guidance would compute with those of the timesteps. Switch it off."
            )


def check_made(values, what, where, image_ids, advice, largest=math.inf):
    """Raise an error that names step and images if the result of a step is not finite or too large.

    Parameters
    ----------
    values : tensor (n, ...)
    what : str
    where : (int, int)
        The step, from 0, and its timestep.
    image_ids : tensor (n,)
    advice : str
    largest : float
        Largest root mean square allowed for each image's values.

    Raises
    ------
    FloatingPointError
    """
    rows = values.detach().reshape(len(values), -1).float()
    sound = torch.isfinite(rows).all(dim=1)
    reason = "not finite"
    if largest < math.inf:
        rms = rows.square().mean(dim=1).sqrt()
        if sound.all():
            reason = f"of a root mean square of up to {rms.max():.3g}, where noise has 1"
        sound &= rms <= largest
    if not sound.all():
        images = f"the images {image_ids.cpu()[~sound.cpu()].tolist()[:10]}"
        raise FloatingPointError(
            f"In step {where[0]} (timestep {where[1]}) {what} is {reason} for {images}. {advice}"
        )
