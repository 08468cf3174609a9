"""Turn noise into latents with the denoising loop.

The loop is that of diffusers' `StableDiffusionPipeline` and `StableDiffusionImg2ImgPipeline`. Tests check
that results are identical bit by bit. The loop is reduced to what the book explains, and it is open at two
places: a callback sees every step, and guidance may correct every predicted noise.
"""

import math

import torch

from latentcortex.features.batches import Batches
from latentcortex.features.checks import as_count, as_tensor
from latentcortex.sampler.checks import (
    EXPLODED,
    as_ids,
    check_condition,
    check_made,
    check_scheduler,
    check_start,
)
from latentcortex.sampler.noise import noised_start

TOO_STRONG = "Lower feature_scale or guided_share, or set max_relative_step, or sample in float32."
TOO_LARGE = "Look at how large latents and encoder_hidden_states are, or sample in float32."


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
    guidance=None,
    correction=None,
    image_ids=None,
    callback=None,
    batch_size=32,
):
    r"""Return latents drawn from a diffusion model by a deterministic sampler.

    Let :math:`t` be the first timestep. The sampler starts from

    .. math:: z_t = \sqrt{\bar\alpha_t} \, z + \sqrt{1 - \bar\alpha_t} \, \epsilon,

    or from :math:`\epsilon` alone without `latents`. At each step it removes the noise

    .. math:: \hat\epsilon = \epsilon_\theta(z_t, \varnothing)
              + w [\epsilon_\theta(z_t, c) - \epsilon_\theta(z_t, \varnothing)]
              + \kappa \sqrt{1 - \bar\alpha_t} \, \nabla_{z_t} L

    where w is `guidance_scale` (see References). The last term comes from `guidance`, in the steps that it
    acts in. A `correction` by measurements comes last.

    Parameters
    ----------
    unet : UNet2DConditionModel
    scheduler : DDIMScheduler or DPMSolverMultistepScheduler
        A copy is used, so the argument is not changed. DPM-Solver must be of a deterministic kind.
    encoder_hidden_states : tensor (n, n_tokens, d)
        The condition c of each image. Its device and dtype are used for sampling.
    unconditional_embedding : tensor (1, n_tokens, d), optional
        Needed when `guidance_scale` is above 1.
    latents : tensor (n, 4, h, w), optional
        z to start from. Without it, sampling starts from pure noise of the U-Net's own size.
    strength : float
        Share of the steps that is taken, in (0, 1]; must be 1 without `latents`.
    n_steps : int
        Steps from pure noise to an image.
    guidance_scale : float
        w, at least 1. At exactly 1 the unconditional pass is left out.
    generators : list of torch.Generator
        One per image (`make_generator`). Each draws the noise of its image.
    guidance : Guidance, optional
        Pulls the images towards what its guide asks for.
    correction : KalmanCorrection, optional
        Corrects the predicted noise of every step by measurements of the images.
    image_ids : sequence of n int, optional
        Ids by which guide and correction find their images. A correction needs them; by default they are the
        row numbers.
    callback : callable, optional
        ``callback(step, timestep, latents, pred_original_sample)`` is called after each step. It gets the
        latents of all n images after the step, and the current estimate of their noise-free latents.
    batch_size : int
        Images per pass of the U-Net (twice as many rows under classifier-free guidance). It bounds the
        memory and does not change the result. Where a GPU has no room for so many, it is halved.

    Returns
    -------
    latents : tensor (n, 4, h, w)

    Raises
    ------
    ValueError
        If shapes do not fit each other or the U-Net, values are not finite, or a number is out
        of its range.
    FloatingPointError
        If the gradient of the guide or the latents after a step are not finite. Also if the final latents
        have more than 1,000 times the root mean square of noise. The error names step and images.

    References
    ----------
    - Song, Meng & Ermon, "Denoising diffusion implicit models", ICLR 2021, eq. 12.
    - Ho & Salimans, "Classifier-free diffusion guidance", arXiv 2207.12598, eq. 6.
    """
    condition = as_tensor(encoder_hidden_states, "encoder_hidden_states")
    n, n_steps = len(condition), as_count(n_steps, "n_steps")
    batch_size = as_count(batch_size, "batch_size")
    if unconditional_embedding is not None:
        unconditional_embedding = as_tensor(unconditional_embedding, "unconditional_embedding").to(condition)
    latents = None if latents is None else as_tensor(latents, "latents")
    check_condition(unet, condition, unconditional_embedding, guidance_scale)
    shape = check_start(unet, n, latents, strength, generators)
    if correction is not None and image_ids is None:
        raise ValueError("A correction needs image_ids, by which it finds the measurements of each image.")
    image_ids = as_ids(range(n) if image_ids is None else image_ids, n)
    check_scheduler(scheduler, guidance is not None, correction is not None)
    classifier_free = guidance_scale > 1

    scheduler, timesteps, latents = noised_start(
        scheduler, latents, shape, generators, n_steps, strength, condition
    )

    if correction is not None:
        correction.check(timesteps, guidance_scale, image_ids, latents.shape)
    batches = Batches(batch_size)
    # The loop: predict the noise, correct it, take a part of it out.
    for step, timestep in enumerate(timesteps):
        abar = scheduler.alphas_cumprod[timestep].to(latents.device)
        guided = guidance is not None and guidance.acts_in(step, len(timesteps))
        noise_pred = torch.empty_like(latents)
        for batch in batches.over(n):
            with batch as rows:
                noisy, states = latents[rows], condition[rows]
                empty = unconditional_embedding.expand_as(states) if classifier_free else None
                if guided:
                    predict = unet_of(unet, timestep, states)
                    pred, pull = guidance.correct(predict, noisy, abar, image_ids[rows], step, int(timestep))
                    if classifier_free:
                        pred_uncond = unet_of(unet, timestep, empty)(noisy)
                        pred = pred_uncond + guidance_scale * (pred - pred_uncond)
                    noise_pred[rows] = pred + pull
                else:
                    noise_pred[rows] = predict_noise(unet, timestep, noisy, states, empty, guidance_scale)
                if correction is not None:
                    noise_pred[rows] = correction.correct(
                        noise_pred[rows], noisy, abar, image_ids[rows], int(timestep)
                    )
        # x0 of the noise taken out: the square roots matter, beta itself would not do
        pred_original_sample = (latents - (1 - abar) ** 0.5 * noise_pred) / abar**0.5
        latents = scheduler.step(noise_pred, timestep, latents).prev_sample
        largest = EXPLODED if step == len(timesteps) - 1 else math.inf  # most recover on the way
        advice = TOO_LARGE if guidance is None else TOO_STRONG
        check_made(latents, "what is drawn", (step, int(timestep)), image_ids, advice, largest)
        if callback is not None:
            callback(step, timestep, latents, pred_original_sample)
    return latents


def predict_noise(unet, timestep, noisy, states, empty, guidance_scale):
    """Return the noise predicted under classifier-free guidance; without `empty`, under the states alone."""
    if empty is None:
        return unet_of(unet, timestep, states)(noisy)
    both = unet_of(unet, timestep, torch.cat([empty, states]))
    pred_uncond, pred_cond = both(torch.cat([noisy] * 2)).chunk(2)
    return pred_uncond + guidance_scale * (pred_cond - pred_uncond)


def unet_of(unet, timestep, states):
    """Return the function that predicts noise from noisy latents at this timestep, under these states."""
    return lambda noisy: unet(noisy, timestep, encoder_hidden_states=states).sample
