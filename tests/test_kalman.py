"""Corrections by measurements, against closed forms for Gaussian data."""

import math

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler
from gaussian_latents import (
    SCHEDULER,
    D,
    correction_of,
    draw,
    make_components,
    posterior,
    true_errors,
    unet_of,
)
from tiny_models import LATENT_SHAPE, generators, random_states, stable_diffusion_schedule

from latentcortex.sampler import (
    KalmanCorrection,
    Measurement,
    denoising_errors,
    denoising_timesteps,
    measurement_of,
)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def components(rng):
    return make_components(rng)


@pytest.mark.parametrize("solver", ["ddim", "dpm"])
def test_drawings_are_those_of_the_posteriors_own_model(components, rng, solver):
    # x0 has the mean m and the variance v given z_t, so Kalman's update is its mean given z_t and y.
    scheduler = SCHEDULER if solver == "ddim" else DPMSolverMultistepScheduler.from_config(SCHEDULER.config)
    noise, y = (
        torch.from_numpy(rng.uniform(0.1, 3, D)).float(),
        torch.from_numpy(rng.normal(size=(5, D))).float(),
    )
    timesteps = denoising_timesteps(scheduler, 30)
    errors = true_errors(components, timesteps)
    correction = KalmanCorrection(components, (Measurement(y, noise, range(5), "all"),), errors)
    got = draw(unet_of(components), 5, correction=correction, scheduler=scheduler)
    mean, variances = posterior(components, y, noise)
    torch.testing.assert_close(
        got, draw(unet_of(components, mean, variances), 5, scheduler=scheduler), atol=2e-4, rtol=1e-3
    )
    assert (got - draw(unet_of(components), 5, scheduler=scheduler)).abs().max() > 0.5


def test_many_drawings_have_the_mean_and_the_covariance_of_the_posterior(components, rng):
    # This schedule begins with pure noise and ends with none, so nothing but the number of steps is left.
    scheduler, n, n_steps = stable_diffusion_schedule(beta_end=0.05, set_alpha_to_one=True), 3000, 250
    noise = torch.from_numpy(rng.uniform(0.1, 3, D)).float()
    y = torch.from_numpy(rng.normal(size=(1, D))).float()
    measured = Measurement(y.repeat(n, 1), noise, range(n), "all")
    errors = true_errors(components, denoising_timesteps(scheduler, n_steps), scheduler)
    correction, unet = (
        KalmanCorrection(components, (measured,), errors),
        unet_of(components, scheduler=scheduler),
    )
    drawn = draw(unet, n, n_steps, correction, scheduler, batch_size=n)
    drawn = components.of(drawn).double()
    mean, variances = (of.double().squeeze() for of in posterior(components, y, noise))
    z_scores = (drawn.mean(0) - mean) / (variances / n).sqrt()
    assert z_scores.abs().mean() < 1 and z_scores.abs().max() < 4.5  # expected: 0.80, and 3.1 in 256
    covariance = torch.cov(drawn.T) / (variances[:, None] * variances).sqrt()
    off = (covariance - torch.eye(D)) * math.sqrt(n)
    assert off.diagonal().abs().max() / math.sqrt(2) < 4.5
    assert abs((off - off.diagonal().diag()).std().item() - 1) < 0.05  # as of independent components


def test_a_measurement_without_noise_is_met_and_one_without_information_changes_nothing(components, rng):
    y = torch.from_numpy(rng.normal(size=(3, D))).float()
    exact = torch.arange(D) % 2 == 0
    noise = torch.where(exact, 0.0, math.inf)
    correction = correction_of(components, Measurement(y, noise, range(3), "all"))
    seen = []
    draw(unet_of(components), 3, correction=correction, callback=lambda *of: seen.append(of[-2:]))
    # The estimate of the noise-free latents at the last step.
    last = components.of(seen[-1][1])
    torch.testing.assert_close(last[:, exact], y[:, exact], atol=1e-4, rtol=0)
    free = draw(unet_of(components), 3)
    torch.testing.assert_close(
        components.of(seen[-1][0])[:, ~exact], components.of(free)[:, ~exact], atol=1e-4, rtol=0
    )
    nothing = correction_of(components, Measurement(y, torch.full((D,), math.inf), range(3), "all"))
    torch.testing.assert_close(draw(unet_of(components), 3, correction=nothing), free, atol=0, rtol=0)


def test_two_independent_measurements_are_one_of_both(components, rng):
    noises = [torch.from_numpy(rng.uniform(0.1, 3, D)).float() for _ in range(2)]
    noises[0][:5], noises[1][3:8] = math.inf, 0.0
    values = [torch.from_numpy(rng.normal(size=(4, D))).float() for _ in range(2)]
    weights = torch.stack([1 / of.clamp(min=1e-30) for of in noises])
    weights = weights / weights.sum(0)
    both = sum(w * y for w, y in zip(weights, values, strict=True))
    noise = 1 / sum(1 / of for of in noises)
    apart = [Measurement(y, s, range(4), "all") for y, s in zip(values, noises, strict=True)]
    drawn = [
        draw(unet_of(components), 4, correction=correction_of(components, *of, trust=2.0))
        for of in (apart, [Measurement(both, noise, range(4), "all")])
    ]
    torch.testing.assert_close(*drawn, atol=1e-4, rtol=1e-4)


def test_any_linear_functions_are_measured_as_the_formula_says(components, rng):
    m, timesteps = 7, denoising_timesteps(SCHEDULER, 30)
    a, root = rng.normal(size=(m, D)), rng.normal(size=(m, m))
    s, y = root @ root.T, rng.normal(size=(2, m))
    other_noise, other = rng.uniform(0.5, 2, D), rng.normal(size=(2, D))
    correction = correction_of(
        components,
        Measurement(torch.from_numpy(y), torch.from_numpy(s), [8, 3], "all", torch.from_numpy(a)),
        Measurement(torch.from_numpy(other), torch.from_numpy(other_noise), [3, 8], "all"),
        trust=0.5,
    )
    noisy, pred = torch.randn(2, *LATENT_SHAPE), torch.randn(2, *LATENT_SHAPE)
    timestep = int(timesteps[11])
    abar = SCHEDULER.alphas_cumprod[timestep]
    got = correction.correct(pred, noisy, abar, torch.tensor([3, 8]), timestep)
    x = components.of((noisy - (1 - abar).sqrt() * pred) / abar.sqrt()).double().numpy()
    v = np.diag(correction.errors.variances[11].double().numpy())
    stacked, noise = np.vstack([a, np.eye(D)]), np.zeros((m + D, m + D))
    noise[:m, :m], noise[m:, m:] = s, np.diag(other_noise)
    gain = v @ stacked.T @ np.linalg.inv(stacked @ v @ stacked.T + noise / 0.5)
    both = np.hstack([y[::-1], other])
    expected = x + (both - x @ stacked.T) @ gain.T
    found = components.of((noisy - (1 - abar).sqrt() * got) / abar.sqrt())
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_a_very_noisy_function_does_not_hide_the_others(components, rng):
    y, noise = torch.from_numpy(rng.normal(size=(2, D))).float(), torch.full((D,), 0.5)
    noise[3] = 1e18  # as good as nothing
    apart = correction_of(components, Measurement(y, noise, range(2), "all"))
    joint = correction_of(components, Measurement(y, noise, range(2), "all", torch.eye(D)))
    noisy, pred = torch.randn(2, *LATENT_SHAPE), torch.randn(2, *LATENT_SHAPE)
    timestep = apart.errors.timesteps[11]
    given = pred, noisy, SCHEDULER.alphas_cumprod[timestep], torch.arange(2), timestep
    torch.testing.assert_close(joint.correct(*given), apart.correct(*given), atol=1e-4, rtol=0)


def test_arrays_are_taken_as_tensors_are(components, rng):
    y, noise, a = rng.normal(size=(2, D)), rng.uniform(0.1, 3, D), np.eye(D)
    given = torch.randn(2, *LATENT_SHAPE), torch.randn(2, *LATENT_SHAPE)
    for operator in (None, a):
        of_arrays = correction_of(components, Measurement(y, noise, np.arange(2), "all", operator))
        tensors = [None if of is None else torch.from_numpy(of) for of in (y, noise, operator)]
        of_tensors = correction_of(components, Measurement(*tensors[:2], range(2), "all", tensors[2]))
        timestep = of_arrays.errors.timesteps[3]
        rest = SCHEDULER.alphas_cumprod[timestep], torch.arange(2), timestep
        assert torch.equal(of_arrays.correct(*given, *rest), of_tensors.correct(*given, *rest))


def test_batches_are_single_images_and_no_correction_changes_no_bit(components, rng):
    y, noise = torch.from_numpy(rng.normal(size=(5, D))).float(), torch.full((D,), 0.5)
    correction = correction_of(components, Measurement(y, noise, [7, 1, 5, 2, 9], "all"))
    options = {"correction": correction, "image_ids": [9, 2, 1, 7, 5]}
    whole = draw(unet_of(components), 5, **options)
    torch.testing.assert_close(
        draw(unet_of(components), 5, batch_size=2, **options), whole, atol=1e-5, rtol=0
    )
    one = draw(unet_of(components), 1, correction=correction, image_ids=[1], generators=generators(5)[2:3])
    torch.testing.assert_close(one, whole[2:3], atol=1e-5, rtol=0)
    assert torch.equal(draw(unet_of(components), 5), draw(unet_of(components), 5, correction=None))


def test_errors_are_measured_as_they_are(components, rng):
    n, timesteps = 4000, denoising_timesteps(SCHEDULER, 5)
    x = torch.from_numpy(rng.normal(size=(n, D))).float() * components.variances.sqrt()
    z = components.back(x) + components.mean
    found = denoising_errors(
        unet_of(components), SCHEDULER, z, random_states(n), components=components, timesteps=timesteps,
        guidance_scale=1.0, generators=generators(n), network="optimal", batch_size=n,
    )  # fmt: skip
    expected = true_errors(components, timesteps)
    ratio = (found.variances / expected.variances - 1) / math.sqrt(2 / n)
    assert ratio.abs().max() < 6 and abs(ratio.std().item() - 1) < 0.1
    assert found.timesteps == expected.timesteps and found.components == "all"


def test_a_measurement_has_the_noise_that_a_share_of_variance_leaves(components, rng):
    r2 = torch.from_numpy(rng.uniform(0.05, 0.9, D)).float()
    x = torch.from_numpy(rng.normal(size=(20_000, D))).float() * components.variances.sqrt()
    noise = components.variances * (1 - r2) / r2
    y = x + noise.sqrt() * torch.from_numpy(rng.normal(size=x.shape)).float()
    found = measurement_of(r2 * y, r2, components, range(len(x)))  # r2 y is the mean of x given y
    torch.testing.assert_close(found.values, y, atol=1e-3, rtol=1e-3)
    assert ((found.values - x).var(0) / found.noise - 1).abs().max() < 0.06
    r2[:2] = torch.tensor([0.0, 1.0])
    found = measurement_of(r2 * y, r2, components, range(len(x)))
    assert found.noise[0] == math.inf and (found.values[:, 0] == 0).all() and found.noise[1] == 0
