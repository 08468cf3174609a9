"""Make the noise that a drawing starts from, and the timesteps that remove it."""

import copy

import numpy as np
import torch
from diffusers.utils.torch_utils import randn_tensor

from latentcortex.features.checks import as_count


def make_generator(image_id, repeat, seed=0):
    """Return the random generator of one drawing of one image.

    It depends only on its arguments. So a drawing starts from the same noise alone and in any batch, on CPU
    and GPU.

    Parameters
    ----------
    image_id : int
    repeat : int
        0 for the first drawing of this image, 1 for the next...
    seed : int
        Seed of the whole study.

    Returns
    -------
    generator : torch.Generator
        On the CPU.

    Raises
    ------
    ValueError
        If one of the three is not a whole number of at least 0.
    """
    image_id, repeat = as_count(image_id, "image_id", 0), as_count(repeat, "repeat", 0)
    seed = as_count(seed, "seed", 0)
    words = np.random.SeedSequence([seed, image_id, repeat]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(words[0]))


def denoising_timesteps(scheduler, n_steps, strength=1.0):
    """Return the timesteps that the sampler passes through, from most noise to least.

    Of the scheduler's `n_steps` timesteps, the last ``int(n_steps * strength)`` are kept, as in diffusers.
    Noise is added at the first timestep that is kept.

    Parameters
    ----------
    scheduler : diffusers scheduler
        The scheduler, which is not changed.
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
        If strength is not in (0, 1], or so small that no step is left. Also if the scheduler has no such
        timesteps.
    """
    n_steps = as_count(n_steps, "n_steps")
    if not 0 < strength <= 1:
        raise ValueError(f"Expected a strength in (0, 1], got {strength}.")
    n_kept = int(n_steps * strength)
    if n_kept == 0:
        raise ValueError(
            f"A strength of {strength} leaves none of {n_steps} steps to take. Use a strength of "
            f"at least {_least_strength(n_steps)}, or more steps."
        )
    timesteps = _kept_timesteps(scheduler, n_steps, n_kept)
    if timesteps is None:
        fewer = (n for n in range(n_steps - 1, 0, -1) if int(n * strength) > 0)
        works = next((n for n in fewer if _kept_timesteps(scheduler, n, int(n * strength)) is not None), None)
        raise ValueError(
            f"This scheduler has the noise levels 0 to {len(scheduler.alphas_cumprod) - 1}, and no {n_kept} "
            f"different timesteps among them for {n_steps} steps (its timestep_spacing is "
            f"{scheduler.config.timestep_spacing!r}, its steps_offset {scheduler.config.steps_offset}). "
            + (f"Use at most {works} steps." if works else "Use another spacing.")
        )
    return timesteps


def noised_start(scheduler, latents, shape, generators, n_steps, strength, like):
    """Return the scheduler, its timesteps and the noisy latents that the denoising loop starts with.

    Parameters
    ----------
    scheduler : diffusers scheduler
        The scheduler, which is not changed. A copy is returned that is set to the first timestep.
    latents : tensor (n, 4, h, w) or None
        z, to which noise of the first timestep is added. None stands for noise alone.
    shape : tuple of int
        (n, 4, h, w)
    generators : list of torch.Generator
        One per image.
    n_steps, strength
        As in `denoising_timesteps`.
    like : tensor
        The noise gets the device and dtype of this tensor.

    Returns
    -------
    scheduler : diffusers scheduler
    timesteps : integer tensor (int(n_steps * strength),)
    noisy : tensor (n, 4, h, w)
    """
    timesteps = denoising_timesteps(scheduler, n_steps, strength).to(like.device)
    scheduler = copy.deepcopy(scheduler)
    scheduler.set_timesteps(n_steps, device=like.device)
    if hasattr(scheduler, "set_begin_index"):  # DPM-Solver counts its steps itself
        scheduler.set_begin_index(n_steps - len(timesteps))
    noise = randn_tensor(shape, list(generators), like.device, like.dtype)
    if latents is None:
        return scheduler, timesteps, noise
    return scheduler, timesteps, scheduler.add_noise(latents.to(like), noise, timesteps[:1].repeat(shape[0]))


def _kept_timesteps(scheduler, n_steps, n_kept):
    """Return the last timesteps of n_steps; None where the scheduler has no such timesteps."""
    scheduler, n_levels = copy.deepcopy(scheduler), len(scheduler.alphas_cumprod)
    if n_steps > n_levels:
        return None
    scheduler.set_timesteps(n_steps)
    timesteps = scheduler.timesteps[n_steps - n_kept :]
    falls = (timesteps[1:] < timesteps[:-1]).all()
    is_sound = (
        len(scheduler.timesteps) == n_steps and falls and timesteps[-1] >= 0 and timesteps[0] < n_levels
    )
    return timesteps if is_sound else None


def _least_strength(n_steps):
    """Return the least strength of few decimals at which one of n_steps is left: 1 / n_steps, rounded up."""
    decimals = len(str(n_steps)) + 2
    return -(-(10**decimals) // n_steps) / 10**decimals
