"""Draw images from latents and token states with a diffusion model: one visible loop.

The loop is that of diffusers' `StableDiffusionPipeline` and `StableDiffusionImg2ImgPipeline`
(the tests hold it to them bit by bit), stripped to what the book explains and opened at two
places: a callback sees every step, a guide may correct every predicted noise.
"""

import copy

import numpy as np
import torch
from diffusers import DDIMScheduler
from diffusers.utils.torch_utils import randn_tensor

from . import features

CONDITIONS = ("z_only", "c_only", "both")


def make_generator(image_id, repeat, seed=0):
    """Make the random generator of one drawing of one image.

    It depends on nothing else, so a drawing is the same alone and in any batch, on CPU and GPU.

    Parameters
    ----------
    image_id : int
    repeat : int
        0 for the first drawing of this image, 1 for the next...
    seed : int
        Of the whole study.

    Returns
    -------
    generator : torch.Generator
        On the CPU.
    """
    words = np.random.SeedSequence([seed, image_id, repeat]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(words[0]))


def denoising_timesteps(scheduler, n_steps, strength=1.0):
    """List the timesteps that are passed through, most noise first.

    Of the scheduler's `n_steps` timesteps the last ``int(n_steps * strength)`` are kept, counted
    as diffusers does. Noise is added at the first of them.

    Parameters
    ----------
    scheduler : diffusers scheduler
        Is not changed.
    n_steps : int
        Steps from pure noise to an image.
    strength : float
        Share of the steps that is taken, in (0, 1].

    Returns
    -------
    timesteps : integer tensor (int(n_steps * strength),)

    Raises
    ------
    ValueError
        If strength is not in (0, 1] or so small that no step is left.
    """
    if not 0 < strength <= 1 or n_steps < 1:
        raise ValueError(
            f"Expected a strength in (0, 1] and at least one step, got {strength} and {n_steps}."
        )
    n_kept = int(n_steps * strength)
    if n_kept == 0:
        raise ValueError(
            f"A strength of {strength} leaves none of {n_steps} steps to take. Use a strength of "
            f"at least {1 / n_steps:.3g}, or more steps."
        )
    scheduler = copy.deepcopy(scheduler)
    scheduler.set_timesteps(n_steps)
    return scheduler.timesteps[n_steps - n_kept :]


@torch.no_grad()
def sample(
    unet,
    scheduler,
    encoder_hidden_states,
    unconditional_embedding=None,
    *,
    latents=None,
    strength=1.0,
    n_steps,
    guidance_scale,
    generators,
    guide=None,
    callback=None,
    batch_size=32,
):
    r"""Draw latents from a diffusion model by deterministic DDIM.

    With :math:`\bar\alpha` of the first timestep :math:`t` that is removed, it starts from

    .. math:: z_t = \sqrt{\bar\alpha_t} \, z + \sqrt{1 - \bar\alpha_t} \, \epsilon,

    or from :math:`\epsilon` alone without `latents`, and at each step takes the noise

    .. math:: \hat\epsilon = \epsilon_\theta(z_t, \varnothing)
              + w [\epsilon_\theta(z_t, c) - \epsilon_\theta(z_t, \varnothing)]
              + \text{guide}

    out again [1]_ [2]_, w being `guidance_scale`.

    Parameters
    ----------
    unet : UNet2DConditionModel
    scheduler : DDIMScheduler
        A copy is used; this one is not changed.
    encoder_hidden_states : tensor (n, n_tokens, d)
        The condition c of each image. Its device and dtype are those of the sampling.
    unconditional_embedding : tensor (1, n_tokens, d), optional
        Needed when `guidance_scale` is above 1.
    latents : tensor (n, 4, h, w), optional
        z to start from. Without, the start is pure noise of the U-Net's own size.
    strength : float
        Share of the steps that is taken, in (0, 1]; must be 1 without `latents`.
    n_steps : int
        Steps from pure noise to an image.
    guidance_scale : float
        w, at least 1. At exactly 1 the unconditional pass is left out.
    generators : list of torch.Generator
        One per image (`make_generator`); each draws the noise of its image.
    guide : callable, optional
        ``guide(latents, timestep, noise_pred_cond, pred_original_sample)`` returns what is added
        to the guided noise. It gets all n images at once, and of the conditional prediction
        alone: the noise, and the noise-free latents that follow from it. Gradients are off here;
        a guide that needs them switches them on for itself.
    callback : callable, optional
        ``callback(step, timestep, latents, pred_original_sample)`` after each step, with the
        latents of all n images after it and the present guess of their noise-free latents.
    batch_size : int
        Images per pass of the U-Net (twice as many rows under guidance); bounds the memory, does
        not change the result.

    Returns
    -------
    latents : tensor (n, 4, h, w)

    Raises
    ------
    ValueError
        If shapes do not fit each other or the U-Net, values are not finite, or a number is out
        of its range.

    References
    ----------
    .. [1] Song, Meng & Ermon, "Denoising diffusion implicit models", ICLR 2021, eq. 12.
    .. [2] Ho & Salimans, "Classifier-free diffusion guidance", arXiv 2207.12598, eq. 6.
    """
    condition = encoder_hidden_states
    n = len(condition)
    if condition.ndim != 3 or condition.shape[2] != unet.config.cross_attention_dim:
        raise ValueError(
            f"This U-Net takes encoder_hidden_states (n, n_tokens, "
            f"{unet.config.cross_attention_dim}), got {tuple(condition.shape)}."
        )
    if guidance_scale < 1:
        raise ValueError(f"Expected a guidance_scale of at least 1, got {guidance_scale}.")
    classifier_free = guidance_scale > 1
    if classifier_free and unconditional_embedding is None:
        raise ValueError(
            f"A guidance_scale of {guidance_scale} needs the unconditional_embedding "
            "(features.unconditional); without it, only guidance_scale=1 can be used."
        )
    if unconditional_embedding is not None:
        expected = (1, *condition.shape[1:])
        if tuple(unconditional_embedding.shape) != expected:
            raise ValueError(
                f"The unconditional_embedding should be {expected} to fit encoder_hidden_states "
                f"{tuple(condition.shape)}, got {tuple(unconditional_embedding.shape)}."
            )
        unconditional_embedding = unconditional_embedding.to(condition)
    if len(generators) != n:
        raise ValueError(f"Expected one generator for each of {n} images, got {len(generators)}.")
    if latents is None and strength != 1:
        raise ValueError(
            f"A strength of {strength} keeps a part of `latents`, and none were given. Pass them, "
            "or use strength=1 to start from noise."
        )
    size = unet.config.sample_size
    height, width = (size, size) if isinstance(size, int) else size
    if latents is None:
        shape = (n, unet.config.in_channels, height, width)
    elif latents.ndim == 4 and latents.shape[:2] == (n, unet.config.in_channels):
        shape = latents.shape
    else:
        raise ValueError(
            f"Expected latents ({n}, {unet.config.in_channels}, h, w) to fit {n} conditions and "
            f"this U-Net, got {tuple(latents.shape)}."
        )
    for name, tensor in {"encoder_hidden_states": condition, "latents": latents}.items():
        if tensor is not None and not torch.isfinite(tensor).all():
            bad = (~torch.isfinite(tensor)).flatten(1).any(dim=1).nonzero().flatten().tolist()
            raise ValueError(
                f"{name} has NaN or infinite values in rows {bad[:10]}. Look for voxels without "
                "signal or without variance in the decoder's input."
            )
    if not isinstance(scheduler, DDIMScheduler):
        raise ValueError(
            f"Expected a DDIMScheduler, got {type(scheduler).__name__}. Make one of it with "
            "DDIMScheduler.from_config(scheduler.config)."
        )
    if guide is not None and scheduler.config.prediction_type != "epsilon":
        raise ValueError(
            "A guide corrects predicted noise, and this model predicts "
            f"{scheduler.config.prediction_type!r}."
        )

    timesteps = denoising_timesteps(scheduler, n_steps, strength).to(condition.device)
    scheduler = copy.deepcopy(scheduler)
    scheduler.set_timesteps(n_steps, device=condition.device)
    noise = randn_tensor(shape, list(generators), condition.device, condition.dtype)
    if latents is None:
        latents = noise
    else:
        latents = scheduler.add_noise(latents.to(condition), noise, timesteps[:1].repeat(n))

    # The loop: predict the noise, correct it, take a part of it out.
    for step, timestep in enumerate(timesteps):
        noise_pred = torch.empty_like(latents)
        noise_pred_cond = torch.empty_like(latents)
        for rows in torch.arange(n).split(batch_size):
            noisy, states = latents[rows], condition[rows]
            if not classifier_free:
                pred = unet(noisy, timestep, encoder_hidden_states=states).sample
                noise_pred[rows] = noise_pred_cond[rows] = pred
                continue
            states = torch.cat([unconditional_embedding.expand_as(states), states])
            pred = unet(torch.cat([noisy] * 2), timestep, encoder_hidden_states=states).sample
            pred_uncond, pred_cond = pred.chunk(2)
            noise_pred[rows] = pred_uncond + guidance_scale * (pred_cond - pred_uncond)
            noise_pred_cond[rows] = pred_cond
        if guide is not None:
            abar = scheduler.alphas_cumprod[timestep].to(latents)
            # x0 of the conditional prediction: the square roots matter, beta itself would not do
            x0_cond = (latents - (1 - abar).sqrt() * noise_pred_cond) / abar.sqrt()
            noise_pred += guide(latents, timestep, noise_pred_cond, x0_cond)
        result = scheduler.step(noise_pred, timestep, latents)
        latents = result.prev_sample
        if callback is not None:
            callback(step, timestep, latents, result.pred_original_sample)
    return latents


@torch.no_grad()
def reconstruct(
    model,
    latents,
    encoder_hidden_states,
    *,
    condition,
    image_ids,
    repeat=0,
    seed=0,
    strength,
    n_steps,
    guidance_scale,
    guide=None,
    callback=None,
    batch_size=32,
):
    """Reconstruct images from decoded z and c, under one of system A's three conditions.

    ========  ==============================  ======================
    name      starts from                     under
    ========  ==============================  ======================
    z_only    z with noise added (img2img)    the empty caption
    c_only    noise alone (strength 1)        c
    both      z with noise added (img2img)    c
    ========  ==============================  ======================

    The three share sampler, noise and seeds: the noise of a drawing depends on image id, repeat
    and seed alone.

    Parameters
    ----------
    model : features.LatentDiffusion
    latents : array or tensor (n, 4, h, w)
        Decoded z. Not used by ``c_only``.
    encoder_hidden_states : array or tensor (n, n_tokens, d)
        Decoded c. Not used by ``z_only``.
    condition : {"z_only", "c_only", "both"}
    image_ids : sequence of n int
    repeat, seed : int
        Which drawing of these images, and of which study (`make_generator`).
    strength, n_steps, guidance_scale, guide, callback, batch_size
        As in `sample`. Strength is that of the two img2img conditions. Under ``z_only``
        condition and empty caption are the same, so that one pass of the U-Net is enough.

    Returns
    -------
    images : tensor (n, 3, h, w)
        In [0, 1], clamped.

    Raises
    ------
    ValueError
        If the condition is unknown or the number of ids is not that of the images.
    """
    if condition not in CONDITIONS:
        raise ValueError(f"Expected a condition of {', '.join(CONDITIONS)}, got {condition!r}.")
    for name, rows in {"latents": latents, "encoder_hidden_states": encoder_hidden_states}.items():
        if len(rows) != len(image_ids):
            raise ValueError(f"{name} has {len(rows)} rows for {len(image_ids)} image_ids.")
    unconditional_embedding = features.unconditional(model.text_encoder, model.tokenizer)
    latents = torch.as_tensor(latents)
    encoder_hidden_states = torch.as_tensor(encoder_hidden_states).to(unconditional_embedding)
    if condition == "z_only":
        encoder_hidden_states = unconditional_embedding.repeat(len(image_ids), 1, 1)
        guidance_scale = 1.0
    drawn = sample(
        model.unet,
        model.scheduler,
        encoder_hidden_states,
        unconditional_embedding,
        latents=None if condition == "c_only" else latents,
        strength=1.0 if condition == "c_only" else strength,
        n_steps=n_steps,
        guidance_scale=guidance_scale,
        generators=[make_generator(image_id, repeat, seed) for image_id in image_ids],
        guide=guide,
        callback=callback,
        batch_size=batch_size,
    )
    return features.decode_latents(model.vae, drawn, batch_size).clamp(0, 1)
