"""What a drawing starts from: the noise of an image, and the timesteps that take it out."""

import copy

import numpy as np
import torch


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
