"""Reconstruct images from decoded z and c, under the conditions of system A."""

import torch

from latentcortex import features
from latentcortex.features.checks import as_tensor
from latentcortex.sampler.checks import as_ids
from latentcortex.sampler.loop import sample
from latentcortex.sampler.noise import make_generator

CONDITIONS = ("z_only", "c_only", "both")


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
    guidance=None,
    correction=None,
    callback=None,
    batch_size=32,
):
    """Return images reconstructed from decoded z and c, under one of the three conditions of system A.

    ========  ==============================  ======================
    name      starts from                     under
    ========  ==============================  ======================
    z_only    z with noise added (img2img)    the empty caption
    c_only    noise alone (strength 1)        c
    both      z with noise added (img2img)    c
    ========  ==============================  ======================

    All three conditions share sampler, noise and seeds. The noise of a drawing depends only on image id,
    repeat and seed.

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
        Number of the drawing of each image, and seed of the study (`make_generator`).
    strength, n_steps, guidance_scale, guidance, correction, callback, batch_size
        As in `sample`. Strength applies to the two img2img conditions. Under ``z_only`` the condition is the
        empty caption, so one pass of the U-Net is enough.

    Returns
    -------
    images : tensor (n, 3, h, w)
        In [0, 1], clamped.

    Raises
    ------
    ValueError
        If the condition is unknown, if the number of ids is not the number of images, or if something cannot
        be sampled (see `sample`).
    FloatingPointError
        If a drawing diverges, or if its images are not finite (see `sample` and `features.decode_latents`).
    """
    if condition not in CONDITIONS:
        raise ValueError(f"Expected a condition of {', '.join(CONDITIONS)}, got {condition!r}.")
    latents = as_tensor(latents, "latents")
    encoder_hidden_states = as_tensor(encoder_hidden_states, "encoder_hidden_states")
    for name, rows in {"latents": latents, "encoder_hidden_states": encoder_hidden_states}.items():
        if len(rows) != len(image_ids):
            raise ValueError(f"{name} has {len(rows)} rows for {len(image_ids)} image_ids.")
    image_ids = as_ids(image_ids, len(image_ids))
    unconditional_embedding = features.unconditional(model.text_encoder, model.tokenizer)
    encoder_hidden_states = encoder_hidden_states.to(unconditional_embedding)
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
        guidance=guidance,
        correction=correction,
        image_ids=image_ids,
        callback=callback,
        batch_size=batch_size,
    )
    return features.decode_latents(model.vae, drawn, batch_size).clamp(0, 1)
