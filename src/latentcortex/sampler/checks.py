"""Refuse what can't be sampled, with the reason."""

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler


def check_arguments(
    unet,
    scheduler,
    condition,
    unconditional_embedding,
    latents,
    strength,
    guidance_scale,
    generators,
    guidance,
    image_ids,
):
    """Check the arguments of `loop.sample` against each other; return the shape of the latents."""
    n = len(condition)
    if condition.ndim != 3 or condition.shape[2] != unet.config.cross_attention_dim:
        raise ValueError(
            f"This U-Net takes encoder_hidden_states (n, n_tokens, "
            f"{unet.config.cross_attention_dim}), got {tuple(condition.shape)}."
        )
    if guidance_scale < 1:
        raise ValueError(f"Expected a guidance_scale of at least 1, got {guidance_scale}.")
    if guidance_scale > 1 and unconditional_embedding is None:
        raise ValueError(
            f"A guidance_scale of {guidance_scale} needs the unconditional_embedding "
            "(features.unconditional); without it, only guidance_scale=1 can be used."
        )
    expected = (1, *condition.shape[1:])
    if unconditional_embedding is not None and tuple(unconditional_embedding.shape) != expected:
        raise ValueError(
            f"The unconditional_embedding should be {expected} to fit encoder_hidden_states "
            f"{tuple(condition.shape)}, got {tuple(unconditional_embedding.shape)}."
        )
    if len(generators) != n:
        raise ValueError(f"Expected one generator for each of {n} images, got {len(generators)}.")
    if latents is None and strength != 1:
        raise ValueError(
            f"A strength of {strength} keeps a part of `latents`, and none were given. Pass them, "
            "or use strength=1 to start from noise."
        )
    size, n_channels = unet.config.sample_size, unet.config.in_channels
    shape = (n, n_channels, *((size, size) if isinstance(size, int) else size))
    if latents is not None:
        if latents.ndim != 4 or latents.shape[:2] != shape[:2]:
            raise ValueError(
                f"Expected latents ({n}, {n_channels}, h, w) to fit {n} conditions and "
                f"this U-Net, got {tuple(latents.shape)}."
            )
        shape = tuple(latents.shape)
    for name, tensor in {"encoder_hidden_states": condition, "latents": latents}.items():
        if tensor is not None and not torch.isfinite(tensor).all():
            bad = (~torch.isfinite(tensor)).flatten(1).any(dim=1).nonzero().flatten().tolist()
            raise ValueError(
                f"{name} has NaN or infinite values in rows {bad[:10]}. Look for voxels without "
                "signal or without variance in the decoder's input."
            )
    if image_ids is not None and len(image_ids) != n:
        raise ValueError(f"Expected one image id for each of {n} images, got {len(image_ids)}.")
    _check_scheduler(scheduler)
    if guidance is not None and torch.is_inference_mode_enabled():
        raise ValueError(
            "Guidance needs gradients, and torch.inference_mode() switches them off for good. Load "
            "the networks and sample under torch.no_grad() instead."
        )
    if guidance is not None and scheduler.config.prediction_type != "epsilon":
        raise ValueError(
            "Guidance corrects predicted noise, and this model predicts "
            f"{scheduler.config.prediction_type!r}."
        )
    return shape


def _check_scheduler(scheduler):
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
