"""Guidance in the closed-form Gaussian model: its optimal denoiser is linear, each step affine."""

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler
from tiny_models import (
    LATENT_SHAPE,
    gaussian_unet,
    generators,
    quadratic,
    stable_diffusion_schedule,
    states_with_mean,
)

from latentcortex.sampler import Guidance, denoising_timesteps, sample

pytestmark = pytest.mark.usefixtures("one_thread")

ABAR = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)


def exact_schedule(**changes):
    """Compute the schedule in float64, so that nothing is rounded to float32 on the way."""
    scheduler = stable_diffusion_schedule(**changes)
    scheduler.alphas_cumprod = torch.from_numpy(ABAR)
    final = 1.0 if scheduler.config.set_alpha_to_one else ABAR[0]
    scheduler.final_alpha_cumprod = torch.tensor(final, dtype=torch.float64)
    return scheduler


@pytest.mark.parametrize("through_unet", [True, False])
@pytest.mark.parametrize("blend", [True, False])
def test_with_a_quadratic_guide_every_step_is_the_affine_map_that_follows_by_hand(blend, through_unet):
    std, mean, kappa, n_steps = 0.6, 0.7, 1.0, 12
    scheduler = exact_schedule()
    goals = torch.randn(3, *LATENT_SHAPE, generator=torch.Generator().manual_seed(1)).double()
    got = sample(
        gaussian_unet(scheduler, std),
        scheduler,
        states_with_mean([mean] * 3).double(),
        n_steps=n_steps,
        guidance_scale=1.0,
        generators=generators(3),
        guidance=Guidance(quadratic(goals), kappa, 0.5, 0.25, through_unet=through_unet, blend=blend),
    )

    # z -> slope z + from_goal goal + constant, composed over the steps.
    timesteps = 1 + np.arange(n_steps)[::-1] * (1000 // n_steps)
    levels = np.append(ABAR[timesteps], ABAR[0])
    total = np.array([1.0, 0.0, 0.0])
    for step, (a, after) in enumerate(zip(levels[:-1], levels[1:], strict=True)):
        variance = a * std**2 + 1 - a
        root, left = np.sqrt(a), np.sqrt(1 - a)
        noise = np.array([left / variance, 0, -left * root * mean / variance])
        z = np.array([1.0, 0.0, 0.0])
        original = (z - left * noise) / root
        gamma = left if blend else 1.0
        seen = gamma * original + (1 - gamma) * z
        slope = gamma * root * std**2 / variance + 1 - gamma  # of `seen` by z
        if not through_unet:
            slope = gamma / root + 1 - gamma
        if 3 <= step < 9:  # half of the steps, from a quarter of them on
            noise = noise + kappa * left * slope * (seen - np.array([0, 1, 0]))
        z = np.sqrt(after) * (z - left * noise) / root + np.sqrt(1 - after) * noise
        total = z[0] * total + np.array([0, z[1], z[2]])
    start = torch.cat(
        [torch.randn((1, *LATENT_SHAPE), generator=g, dtype=torch.float64) for g in generators(3)]
    )
    expected = total[0] * start + total[1] * goals + total[2]
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-7)
    assert total[1] > 0.1  # the goal is in it


def sampled_posterior(scheduler, n_steps, exact):
    """Sample the posterior of z ~ N(0.5, 0.6^2) given goal = z + N(0, 0.3^2): bias and spread.

    The map from start to end is affine, so it carries the mean to the mean. Of the start the mean
    is taken that the posterior asks for at its noise level; the sampler's own, 0, is off by 7 % of
    it. The guide is the log likelihood of the goal, of the variance 0.3^2 alone or, exactly, with
    the variance of z given z_t added. Bias and spread are in units of the posterior's own spread.
    """
    std, mean, sigma, goal = 0.6, 0.5, 0.3, 1.5

    def inverse_variance(timestep):
        abar = float(scheduler.alphas_cumprod[timestep])
        left = std**2 * (1 - abar) / (abar * std**2 + 1 - abar)
        return 1 / (sigma**2 + (left if exact else 0))

    drawn = sample(
        gaussian_unet(scheduler, std),
        scheduler,
        states_with_mean([mean]).double(),
        n_steps=n_steps,
        guidance_scale=1.0,
        generators=generators(1),
        guidance=Guidance(quadratic(torch.full((1, 1, 1, 1), goal)), inverse_variance, blend=False),
    )
    start = torch.randn((1, *LATENT_SHAPE), generator=generators(1)[0], dtype=torch.float64)
    slope, constant = np.polyfit(start.flatten(), drawn.flatten(), 1)
    precision = 1 / std**2 + 1 / sigma**2
    posterior = (mean / std**2 + goal / sigma**2) / precision
    first = float(scheduler.alphas_cumprod[denoising_timesteps(scheduler, n_steps)[0]])
    bias = slope * first**0.5 * posterior + constant - posterior
    spread = abs(slope) * (first / precision + 1 - first) ** 0.5
    return bias * precision**0.5, spread * precision**0.5


def test_the_plain_guide_is_biased_and_the_variance_left_removes_the_bias():
    # Song et al. 2023 (Pi-GDM): the likelihood of a goal given z_t is as wide as what z_t leaves
    # open. Without that, guidance trusts its first guesses too much, and more steps do not help.
    scheduler = exact_schedule(set_alpha_to_one=True, steps_offset=0)
    plain = [sampled_posterior(scheduler, n_steps, exact=False) for n_steps in (100, 1000)]
    exact = [sampled_posterior(scheduler, n_steps, exact=True) for n_steps in (10, 100, 1000)]
    assert min(bias for bias, _ in plain) > 1  # more than one spread of the posterior too far
    assert max(abs(bias) for bias, _ in exact) < 1e-9
    off = [abs(spread - 1) for _, spread in exact]
    assert off[0] > off[1] > off[2]
    assert off[2] < 0.02


def test_dpm_solver_ends_at_the_same_posterior():
    dpm = DPMSolverMultistepScheduler.from_config(exact_schedule(steps_offset=0).config)
    dpm.alphas_cumprod = torch.from_numpy(ABAR)
    found = [sampled_posterior(dpm, n_steps, exact=True) for n_steps in (10, 25, 100)]
    assert max(abs(bias) for bias, _ in found) < 1e-6  # its own table of noise levels is in float32
    off = [abs(spread - 1) for _, spread in found]
    assert off[0] > off[1] > off[2]
    assert off[2] < 0.07
