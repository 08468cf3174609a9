"""Gaussian latents, whose optimal denoiser and posteriors are known in closed form."""

import math

import numpy as np
import torch
from tiny_models import LATENT_SHAPE, FakeUNet, generators, stable_diffusion_schedule, states_with_mean

from latentcortex.sampler import Components, DenoisingErrors, KalmanCorrection, denoising_timesteps, sample

D = math.prod(LATENT_SHAPE)
SCHEDULER = stable_diffusion_schedule()


def make_components(rng):
    """All components of Gaussian latents, in random axes."""
    directions = torch.from_numpy(np.linalg.qr(rng.normal(size=(D, D)))[0]).float()
    variances = torch.from_numpy(rng.uniform(0.2, 2, D)).float()
    return Components(
        torch.from_numpy(rng.normal(size=LATENT_SHAPE)).float() * 0.3, directions, variances, "all"
    )


def unet_of(components, mean=None, variances=None, scheduler=SCHEDULER):
    """Predict noise optimally for Gaussian latents, whose components have means (n, k), variances (k,)."""
    mean = torch.zeros(1, D) if mean is None else mean
    variances = components.variances if variances is None else variances

    def predict_noise(latents, timestep, _states):
        abar = scheduler.alphas_cumprod[timestep]
        x = components.of(latents - (abar.sqrt() - 1) * components.mean)  # components of z_t, less its mean
        off = x - abar.sqrt() * mean
        return (1 - abar).sqrt() * components.back(off / (abar * variances + 1 - abar))

    return FakeUNet(predict_noise)


def true_errors(components, timesteps, scheduler=SCHEDULER):
    """Variances of x0 given z_t, the errors of the optimal prediction."""
    abar = scheduler.alphas_cumprod[timesteps][:, None]
    v = components.variances * (1 - abar) / (abar * components.variances + 1 - abar)
    return DenoisingErrors(tuple(map(int, timesteps)), v, components.name, 1.0, "optimal")


def posterior(components, y, noise):
    """Mean and variances of components that were measured one by one."""
    gain = components.variances / (components.variances + noise)
    return gain * y, components.variances * (1 - gain)


def draw(unet, n, n_steps=30, correction=None, scheduler=SCHEDULER, **options):
    options = {"guidance_scale": 1.0, "generators": generators(n), "image_ids": range(n), **options}
    return sample(
        unet, scheduler, states_with_mean([0.0] * n), n_steps=n_steps, correction=correction, **options
    )


def correction_of(components, *measurements, n_steps=30, **options):
    return KalmanCorrection(
        components, measurements, true_errors(components, denoising_timesteps(SCHEDULER, n_steps)), **options
    )
