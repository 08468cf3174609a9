"""Guides whose noise is known, against closed forms for Gaussian latents and linear features."""

import dataclasses
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
from tiny_models import LATENT_SHAPE, generators, quadratic, random_states

from latentcortex.sampler import (
    FeatureBasis,
    FeatureReader,
    Guidance,
    Measurement,
    PreciseGuidance,
    PreciseGuide,
    ResidualGaussian,
    calibration,
    denoising_timesteps,
    predicted_features,
    residual_gaussian,
)

pytestmark = pytest.mark.usefixtures("one_thread")
READER = FeatureReader(lambda latents: latents, "latents")


@pytest.fixture
def components(rng):
    return make_components(rng)


def left_open(components, a, scheduler=SCHEDULER, n_steps=30):
    """Timesteps, and the covariance (n_timesteps, m, m) of A x given the noisy latents at each."""
    errors = true_errors(components, denoising_timesteps(scheduler, n_steps), scheduler)
    return errors.timesteps, torch.stack([(a * v) @ a.T for v in errors.variances])


def guide_of(components, a, noise, decoded, image_ids, slopes=None, scheduler=SCHEDULER):
    """The guide to decoded = slopes A x + noise, where it is known what the latents leave open."""
    m = len(a)
    slopes = torch.ones(m) if slopes is None else slopes
    timesteps, covariances = left_open(components, a, scheduler)
    basis = FeatureBasis(components.mean.flatten(), components.directions @ a.T, "latents")
    covariances = slopes * slopes[:, None] * covariances + noise
    residuals = ResidualGaussian(basis, slopes, timesteps, torch.zeros(len(timesteps), m), covariances)
    return PreciseGuide(READER, decoded, image_ids, residuals)


def guided(components, guide, n, **options):
    return draw(unet_of(components), n, guidance=PreciseGuidance(guide), **options)


def planted(rng, n=4, m=7):
    a = torch.from_numpy(rng.normal(size=(m, D))).float() / 4
    root = torch.from_numpy(rng.normal(size=(m, m))).float()
    return a, root @ root.T + 0.1 * torch.eye(m), torch.from_numpy(rng.normal(size=(n, m)) * 4).float()


@pytest.mark.parametrize("solver", ["ddim", "dpm"])
def test_drawings_are_those_of_the_posteriors_own_model(components, rng, solver):
    # The gradient passes through the optimal denoiser, whose Jacobian is the covariance of its errors.
    scheduler = SCHEDULER if solver == "ddim" else DPMSolverMultistepScheduler.from_config(SCHEDULER.config)
    noise = torch.from_numpy(rng.uniform(0.1, 3, D)).float()
    y = torch.from_numpy(rng.normal(size=(5, D))).float()
    guide = guide_of(components, torch.eye(D), noise.diag(), y, range(5), scheduler=scheduler)
    got = guided(components, guide, 5, scheduler=scheduler)
    expected = draw(unet_of(components, *posterior(components, y, noise)), 5, scheduler=scheduler)
    torch.testing.assert_close(got, expected, atol=5e-4, rtol=1e-3)
    assert (got - draw(unet_of(components), 5, scheduler=scheduler)).abs().max() > 0.5


def test_few_linear_features_with_correlated_noise_guide_as_kalman_corrects(components, rng):
    a, noise, y = planted(rng)
    ids = [8, 3, 5, 2]
    got = guided(components, guide_of(components, a, noise, y, ids), 4, image_ids=[3, 8, 2, 5])
    correction = correction_of(components, Measurement(y, noise, ids, "all", a))
    expected = draw(unet_of(components), 4, correction=correction, image_ids=[3, 8, 2, 5])
    torch.testing.assert_close(got, expected, atol=1e-3, rtol=1e-3)
    free = draw(unet_of(components), 4)
    assert (got - free).abs().max() > 0.5
    # The published look at a mix with the noisy latents is not the posterior's.
    mixed = PreciseGuidance(guide_of(components, a, noise, y, ids), blend=True)
    off = draw(unet_of(components), 4, guidance=mixed, image_ids=[3, 8, 2, 5]) - expected
    assert off.abs().max() > 20 * (got - expected).abs().max()


def test_many_drawings_have_the_mean_and_the_covariance_of_the_posterior(components, rng):
    n, m = 400, 7
    a, noise, y = planted(rng, 1, m)
    guide = guide_of(components, a, noise, y.repeat(n, 1), range(n))
    seen = components.of(guided(components, guide, n, batch_size=n)) @ a.T
    prior = (a * components.variances) @ a.T
    gain = prior @ torch.linalg.inv(prior + noise)
    mean, covariance = gain @ y[0], prior - gain @ prior
    root = torch.linalg.cholesky(torch.linalg.inv(covariance))
    # Standard normal, but for few steps and a start that is not pure noise.
    units = ((seen - mean) @ root).double()
    assert (units.mean(0).abs() < 4 / math.sqrt(n) + 0.1).all()
    assert (torch.cov(units.T) - torch.eye(m)).abs().max() < 0.35
    assert ((prior @ root).norm() > 2) and (seen.mean(0) - mean).abs().max() < 0.2 * mean.abs().max()


def test_shrunk_values_need_no_rescaling(components, rng):
    a, noise, y = planted(rng)
    slopes = torch.from_numpy(rng.uniform(0.05, 0.9, len(a))).float()
    shrunk = guide_of(components, a, slopes * slopes[:, None] * noise, slopes * y, range(4), slopes)
    plain = guide_of(components, a, noise, y, range(4))
    torch.testing.assert_close(guided(components, shrunk, 4), guided(components, plain, 4), atol=1e-3, rtol=0)


def test_a_bias_of_the_features_is_taken_off(components, rng):
    a, noise, y = planted(rng)
    guide, biased = (guide_of(components, a, noise, of, range(4)) for of in (y, y + 3))
    residuals = dataclasses.replace(biased.residuals, offsets=biased.residuals.offsets + 3)
    biased = dataclasses.replace(biased, residuals=residuals)
    torch.testing.assert_close(guided(components, guide, 4), guided(components, biased, 4), atol=1e-3, rtol=0)


def pull_of(components, guide, n, timestep_row=11, **options):
    """The correction that a guide adds to the predicted noise at one timestep."""
    generator = torch.Generator().manual_seed(3)
    noisy = torch.randn(n, *LATENT_SHAPE, generator=generator)
    timestep = guide.residuals.timesteps[timestep_row]
    abar = SCHEDULER.alphas_cumprod[timestep]
    predict = unet_of(components).predict_noise
    return PreciseGuidance(guide, **options).correct(
        lambda latents: predict(latents, timestep, None), noisy, abar, torch.arange(n), 0, timestep
    )[1]


def scaled(guide, by):
    covariances = guide.residuals.covariances * by
    return dataclasses.replace(guide, residuals=dataclasses.replace(guide.residuals, covariances=covariances))


def test_twice_the_noise_pulls_half_as_much(components, rng):
    a, noise, y = planted(rng)
    guide = guide_of(components, a, noise, y, range(4))
    pull = pull_of(components, guide, 4)
    torch.testing.assert_close(pull_of(components, scaled(guide, 2.0), 4), pull / 2, atol=1e-6, rtol=1e-4)
    trusted = pull_of(components, scaled(guide, 2.0), 4, feature_scale=2.0)
    torch.testing.assert_close(trusted, pull, atol=1e-6, rtol=1e-4)


def test_a_feature_without_information_changes_nothing(components, rng):
    a, noise, y = planted(rng)
    less = guide_of(components, a[:5], noise[:5, :5], y[:, :5], range(4))
    for says_nothing in (math.inf, 1e12):
        more = noise.clone()
        more[5:], more[:, 5:] = 0, 0
        more[5:, 5:] = says_nothing * torch.eye(2) if says_nothing < math.inf else 0
        guide = guide_of(components, a, more, y, range(4))
        if says_nothing == math.inf:
            covariances = guide.residuals.covariances.clone()
            covariances[:, [5, 6], [5, 6]] = math.inf
            residuals = dataclasses.replace(guide.residuals, covariances=covariances)
            guide = dataclasses.replace(guide, residuals=residuals)
        torch.testing.assert_close(
            pull_of(components, guide, 4), pull_of(components, less, 4), atol=1e-5, rtol=1e-3
        )
    covariances = torch.full((30, 7), math.inf).diag_embed()
    nothing = dataclasses.replace(
        guide, residuals=dataclasses.replace(guide.residuals, covariances=covariances)
    )
    free = draw(unet_of(components), 4)
    torch.testing.assert_close(guided(components, nothing, 4), free, atol=0, rtol=0)


def test_copies_of_a_feature_count_once_with_the_full_covariance_and_thrice_without(components, rng):
    a, noise, y = planted(rng, m=1)
    one = pull_of(components, guide_of(components, a, noise, y, range(4)), 4)
    thrice = guide_of(components, a.repeat(3, 1), noise.repeat(3, 3), y.repeat(1, 3), range(4))
    torch.testing.assert_close(pull_of(components, thrice, 4), one, atol=1e-5, rtol=1e-3)
    of = thrice.residuals
    apart = dataclasses.replace(thrice, residuals=of.independent())
    torch.testing.assert_close(pull_of(components, apart, 4), 3 * one, atol=1e-5, rtol=1e-3)
    # Copies with noise of their own are three measurements.
    own = guide_of(components, a.repeat(3, 1), noise * torch.eye(3), y.repeat(1, 3), range(4))
    third = guide_of(components, a, noise / 3, y, range(4))
    torch.testing.assert_close(
        pull_of(components, own, 4), pull_of(components, third, 4), atol=1e-5, rtol=1e-3
    )


def test_batches_are_single_images(components, rng):
    a, noise, y = planted(rng)
    guide = guide_of(components, a, noise, y, [7, 1, 5, 2])
    whole = guided(components, guide, 4, image_ids=[2, 1, 7, 5])
    torch.testing.assert_close(
        guided(components, guide, 4, image_ids=[2, 1, 7, 5], batch_size=3), whole, atol=1e-5, rtol=0
    )
    one = guided(components, guide, 1, image_ids=[7], generators=generators(4)[2:3])
    torch.testing.assert_close(one, whole[2:3], atol=1e-5, rtol=0)


def test_a_guide_that_is_the_same_at_all_timesteps_guides_as_published(components):
    class Same:
        def __init__(self, guide):
            self.at, self.__call__ = lambda _timestep: guide, guide

        def __call__(self, *given):
            return self.at(0)(*given)

    guide, settings = quadratic(torch.ones(3, *LATENT_SHAPE)), {"feature_scale": 0.3, "guided_share": 0.5}
    for blend in (False, True):
        got = PreciseGuidance(Same(guide), blend=blend, **settings)
        expected = Guidance(guide, blend=blend, **settings)
        drawn = [draw(unet_of(components), 3, guidance=of) for of in (got, expected)]
        torch.testing.assert_close(*drawn, atol=0, rtol=0)


def sampled(components, a, noise, slopes, rng, n):
    """True and decoded components of n images, and their latents."""
    x = torch.from_numpy(rng.normal(size=(n, D))).float() * components.variances.sqrt()
    error = torch.from_numpy(rng.multivariate_normal(np.zeros(len(a)), noise, n)).float()
    return x @ a.T, slopes * (x @ a.T + error), components.back(x) + components.mean


def test_residuals_are_measured_as_they_are(components, rng):
    n, m, timesteps = 3000, 5, denoising_timesteps(SCHEDULER, 3)
    a, noise, _ = planted(rng, m=m)
    slopes = torch.from_numpy(rng.uniform(0.2, 0.9, m)).float()
    true, decoded, z = sampled(components, a, noise, slopes, rng, n)
    basis = FeatureBasis(components.mean.flatten(), components.directions @ a.T, "latents")
    predicted = predicted_features(
        unet_of(components), SCHEDULER, z, random_states(n), READER, basis, timesteps=timesteps,
        generators=generators(n), batch_size=n,
    )  # fmt: skip
    found_slopes = calibration(decoded, true)
    spread = (noise.diagonal() / (true.var(0) * n)).sqrt()
    assert ((found_slopes / slopes - 1).abs() < 4.5 * spread).all()
    found = residual_gaussian(predicted, decoded, slopes, basis, timesteps)
    assert found.timesteps == tuple(timesteps.tolist())
    expected = slopes * slopes[:, None] * (left_open(components, a, n_steps=3)[1] + noise)
    unit = expected.diagonal(dim1=1, dim2=2).sqrt()
    off = (found.covariances - expected) / (unit[:, :, None] * unit[:, None]) * math.sqrt(n)
    assert off.abs().max() < 7  # of up to sqrt(2) standard errors each
    assert ((found.offsets / unit) * math.sqrt(n)).abs().max() < 4.5


def test_precision_is_right_for_images_that_were_left_out(rng):
    # As few images as are taken: the inverse of their sample covariance would be twice too large.
    n, k = 44, 20
    root = rng.normal(size=(k, k)) * rng.uniform(0.1, 3, k)[:, None]
    basis = FeatureBasis(torch.zeros(k), torch.eye(k), "latents")
    rows = torch.from_numpy(rng.normal(size=(2000, k)) @ root.T).float()
    nothing, slopes = torch.zeros(1, n, k), torch.ones(k)
    found = residual_gaussian(nothing, rows[:n], slopes, basis, [7])
    lengths = 2 * found.loss(torch.zeros(1956, k), rows[n:], 7) / k
    assert 0.75 < lengths.mean() < 1.35
    variances = found.independent().covariances[0]
    assert torch.equal(variances, found.covariances[0].diagonal().diag())


def test_a_covariance_that_does_not_fit_left_out_images_is_larger(rng):
    """One image in 44 is far off. Without it, the covariance would be far too small for it."""
    k, n, slopes = 5, 44, torch.ones(5)
    basis = FeatureBasis(torch.zeros(k), torch.eye(k), "latents")
    rows = torch.from_numpy(rng.normal(size=(n, k))).float()
    rows[3] *= 20
    found, without = (
        residual_gaussian(torch.zeros(1, len(of), k), of, slopes, basis, [7])
        for of in (rows, rows[torch.arange(n) != 3])
    )
    ratio = found.covariances[0].diagonal() / rows.double().var(0, correction=0)
    torch.testing.assert_close(ratio, ratio[:1].expand(k))  # one factor for all components
    assert ratio[0] > 1.5
    even = without.covariances[0].diagonal() / rows[torch.arange(n) != 3].double().var(0, correction=0)
    assert (even >= 1 - 1e-6).all() and even.max() < 1.2
    # Copies of the same components hide nothing.
    copies = FeatureBasis(torch.zeros(4 * k), torch.eye(4 * k), "latents")
    of = rows.repeat(1, 4)[:, : 4 * k]
    again = residual_gaussian(torch.zeros(1, n, 4 * k), of, torch.ones(4 * k), copies, [7])
    factors = again.covariances[0].diagonal() / of.double().var(0, correction=0)
    assert factors.min() > 0.5 * ratio[0]


def test_means_of_features_and_of_residuals_are_taken_off(rng):
    n, k = 400, 3
    true = torch.from_numpy(rng.normal(size=(n, k))).float()
    decoded = 0.5 * true + 0.3 * torch.from_numpy(rng.normal(size=(n, k))).float()
    slopes = calibration(decoded, true)
    torch.testing.assert_close(calibration(decoded + 1, true + 3), slopes, atol=1e-4, rtol=0)
    assert (calibration(decoded, torch.ones(n, k)) == 0).all()
    basis = FeatureBasis(torch.zeros(k), torch.eye(k), "latents")
    found, moved = (residual_gaussian((true + of)[None], decoded, slopes, basis, [7]) for of in (0, 5))
    torch.testing.assert_close(moved.offsets, found.offsets - 5 * slopes, atol=1e-4, rtol=0)
    torch.testing.assert_close(moved.covariances, found.covariances, atol=1e-4, rtol=0)


def test_a_component_that_is_constant_in_most_images_is_taken(rng):
    n = 100
    true = torch.from_numpy(rng.normal(size=(n, 2))).float()
    true[:, 1] = 0
    true[::5, 1] = torch.from_numpy(rng.normal(size=20)).float()  # all of them in one fold
    basis = FeatureBasis(torch.zeros(2), torch.eye(2), "latents")
    found = residual_gaussian(0.5 * true[None], 0.8 * true, torch.ones(2), basis, [7])
    assert torch.isfinite(found.covariances).all()


def test_estimated_copies_count_once_and_what_has_no_slope_says_nothing(rng):
    n, true = 300, torch.from_numpy(rng.normal(size=(300, 1))).float()
    decoded = 0.5 * true + torch.from_numpy(rng.normal(size=(n, 1))).float()
    values = torch.from_numpy(rng.normal(size=(4, 1))).float()
    losses = []
    for copies in (1, 3):
        basis = FeatureBasis(torch.zeros(1), torch.ones(1, copies), "latents")
        both = [of.repeat(1, copies) for of in (decoded, true)]
        slopes = calibration(*both)
        found = residual_gaussian(both[1][None], both[0], slopes, basis, [3])
        losses += [of.loss(values, torch.zeros(4, copies), 3) for of in (found, found.independent())]
    torch.testing.assert_close(losses[2], losses[0], rtol=0.1, atol=0)
    torch.testing.assert_close(losses[3], 3 * losses[0], rtol=0.1, atol=0)
    basis = FeatureBasis(torch.zeros(1), torch.ones(1, 2), "latents")
    both = torch.cat([decoded, -decoded], 1), torch.cat([true, true], 1)
    slopes = calibration(*both)
    assert slopes[0] > 0.3 and slopes[1] == 0
    found = residual_gaussian(both[1][None], both[0], slopes, basis, [3])
    torch.testing.assert_close(found.loss(values, torch.zeros(4, 2), 3), losses[0])
