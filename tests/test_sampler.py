"""What the sampler computes, against closed forms."""

import numpy as np
import pytest
import torch
from tiny_models import (
    LATENT_SHAPE,
    FakeUNet,
    gaussian_unet,
    generators,
    random_states,
    stable_diffusion_schedule,
    states_with_mean,
)

from latentcortex.sampler import denoising_timesteps, sample


def noise_of(generators_of_images):
    return torch.cat([torch.randn((1, *LATENT_SHAPE), generator=g) for g in generators_of_images])


pytestmark = pytest.mark.usefixtures("one_thread")


# The closed-form Gaussian model


@pytest.mark.parametrize("n_steps", [1, 7, 20])
@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
def test_for_gaussian_data_the_sampler_is_the_known_affine_map(n_steps, guidance_scale):
    # In units of z_t's own spread, u_t = (z_t - sqrt(abar) mean) / sd_t, one DDIM step is a
    # multiplication by the cosine of the angle between the unit vectors
    # (sqrt(abar) std, sqrt(1 - abar)) / sd_t of the two noise levels. Guidance with scale w
    # moves the mean to mean_0 + w (mean - mean_0).
    std, mean_0, means = 0.6, -0.5, np.array([1.0, 0.2, -2.0])
    scheduler = stable_diffusion_schedule()
    got = sample(
        gaussian_unet(scheduler, std),
        scheduler,
        states_with_mean(means),
        states_with_mean([mean_0]),
        n_steps=n_steps,
        guidance_scale=guidance_scale,
        generators=generators(3),
    )

    mean = (mean_0 + guidance_scale * (means - mean_0))[:, None, None, None]
    timesteps = 1 + np.arange(n_steps)[::-1] * (1000 // n_steps)  # "leading", with offset 1
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    abar = np.cumprod(1 - betas)
    levels = np.append(abar[timesteps], abar[0])
    vectors = np.stack([np.sqrt(levels) * std, np.sqrt(1 - levels)], axis=1)
    sd = np.linalg.norm(vectors, axis=1)
    vectors /= sd[:, None]
    u = (noise_of(generators(3)).double().numpy() - np.sqrt(levels[0]) * mean) / sd[0]
    u = u * (vectors[1:] * vectors[:-1]).sum(axis=1).prod()
    expected = np.sqrt(levels[-1]) * mean + sd[-1] * u
    np.testing.assert_allclose(got.numpy(), expected, atol=2e-5)


def test_with_many_steps_the_samples_have_the_distribution_of_the_data():
    # 1000 steps, and a last level without noise: only the noise left at t = 999 remains as error.
    std, mean = 0.6, 1.5
    scheduler = stable_diffusion_schedule(set_alpha_to_one=True, steps_offset=0)
    drawn = sample(
        gaussian_unet(scheduler, std),
        scheduler,
        states_with_mean([mean] * 200),
        n_steps=1000,
        guidance_scale=1.0,
        generators=generators(200),
    )
    n = drawn.numel()
    shift = mean * scheduler.alphas_cumprod[-1].sqrt() * std  # the start ignores the mean
    assert abs(drawn.mean() - mean) < shift + 4 * std / n**0.5
    assert drawn.std() == pytest.approx(std, rel=0.01)


# A known pair of latents and noise


@pytest.mark.parametrize("strength", [0.2, 0.5, 1.0])
def test_a_known_pair_is_recovered_and_every_step_is_on_its_line(strength):
    # If the U-Net names exactly the noise that was put in, each step lies on the straight line
    # between z and eps, and every guess of x0 is z: with beta in place of sqrt(beta) it is not.
    scheduler = stable_diffusion_schedule(set_alpha_to_one=True)
    latents = torch.randn(3, *LATENT_SHAPE, generator=torch.Generator().manual_seed(8))
    noise = noise_of(generators(3))
    timesteps = denoising_timesteps(scheduler, 10, strength)
    seen = []

    def callback(step, timestep, noisy, pred_original_sample):
        seen.append((step, int(timestep)))
        after = int(timestep) - 100
        abar = scheduler.alphas_cumprod[after] if after >= 0 else torch.tensor(1.0)
        torch.testing.assert_close(
            noisy, abar.sqrt() * latents + (1 - abar).sqrt() * noise, rtol=0, atol=1e-4
        )
        torch.testing.assert_close(pred_original_sample, latents, rtol=0, atol=1e-4)

    got = sample(
        FakeUNet(lambda *_: noise),
        scheduler,
        random_states(3),
        latents=latents,
        strength=strength,
        n_steps=10,
        guidance_scale=1.0,
        generators=generators(3),
        callback=callback,
    )
    torch.testing.assert_close(got, latents, rtol=0, atol=1e-4)
    assert seen == list(enumerate(timesteps.tolist()))
    assert len(seen) == 10 * strength


@pytest.mark.parametrize("strength", [0.04, 0.3, 0.8, 1.0])
def test_noise_is_added_at_exactly_the_first_timestep_that_is_removed(strength):
    scheduler = stable_diffusion_schedule()
    latents = torch.randn(2, *LATENT_SHAPE, generator=torch.Generator().manual_seed(9))
    inputs = []

    def predict_noise(noisy, timestep, _):
        inputs.append((timestep, noisy.clone()))
        return torch.zeros_like(noisy)

    sample(
        FakeUNet(predict_noise),
        scheduler,
        random_states(2),
        latents=latents,
        strength=strength,
        n_steps=25,
        guidance_scale=1.0,
        generators=generators(2),
    )
    timestep, noisy = inputs[0]
    abar = scheduler.alphas_cumprod[timestep]
    expected = abar.sqrt() * latents + (1 - abar).sqrt() * noise_of(generators(2))
    torch.testing.assert_close(noisy, expected, rtol=0, atol=1e-6)
    assert len(inputs) == int(25 * strength)
    assert timestep == 1 + 40 * (len(inputs) - 1)
