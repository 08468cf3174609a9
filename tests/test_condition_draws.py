"""Draws of c: their mean and covariance, and the mixture that drawings under them are a sample of."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from tiny_models import (
    N_TOKENS,
    WIDTH,
    FakeUNet,
    gaussian_unet,
    generators,
    stable_diffusion_schedule,
    states_with_mean,
)

from latentcortex.sampler import ConditionNoise, condition_noise, draw_conditions, make_generator, sample

pytestmark = pytest.mark.usefixtures("one_thread")
P = N_TOKENS * WIDTH


def planted(rng, n=400, k=3):
    """Residuals of k axes, known decoded c and the covariance of the residuals."""
    axes = np.linalg.qr(rng.normal(size=(P, k)))[0]
    variances = np.arange(k, 0, -1.0) ** 2
    off = rng.normal(size=(n, k)) * np.sqrt(variances) @ axes.T + 0.3
    decoded = torch.from_numpy(rng.normal(size=(n, N_TOKENS, WIDTH))).float()
    true = decoded + torch.from_numpy(off).float().reshape(decoded.shape)
    return decoded, true, torch.from_numpy(axes * variances @ axes.T).float()


def test_draws_have_the_mean_and_the_covariance_of_what_is_left_open(rng):
    axes = torch.from_numpy(np.linalg.qr(rng.normal(size=(P, 4)))[0]).float()
    root = torch.from_numpy(rng.normal(size=(4, 4))).float()
    noise = ConditionNoise(torch.full((N_TOKENS, WIDTH), 0.2), axes, root @ root.T)
    decoded, n = torch.from_numpy(rng.normal(size=(1, N_TOKENS, WIDTH))).float(), 4000
    ids, repeats = range(100), range(40)
    drawn = torch.cat([draw_conditions(decoded.repeat(100, 1, 1), noise, ids, of) for of in repeats])
    off = (drawn - decoded - 0.2).flatten(1)
    units = torch.linalg.solve(root, (off @ axes).T).T
    assert units.mean(0).abs().max() * math.sqrt(n) < 4
    assert (torch.cov(units.T) - torch.eye(4)).abs().max() * math.sqrt(n) < 6
    torch.testing.assert_close(units @ root.T @ axes.T, off, atol=1e-4, rtol=0)  # nothing beside the axes


def test_the_noise_is_that_of_the_residuals(rng):
    decoded, true, covariance = planted(rng)
    found = condition_noise(decoded, true, 3)
    got = found.directions @ found.covariance @ found.directions.T
    assert (got - covariance).norm() / covariance.norm() < 0.2
    assert found.share == pytest.approx(1, abs=1e-5)
    assert (found.offset - 0.3).abs().mean() < 0.05
    fewer = condition_noise(decoded, true, 1)
    assert 0.55 < fewer.share < 0.75  # 9 of 14
    for asked in (None, 7):
        assert condition_noise(decoded, true, asked).directions.shape == (P, 3)


def test_a_draw_depends_on_image_repeat_and_seed_alone(rng):
    decoded, true, _ = planted(rng)
    noise = condition_noise(decoded, true)
    whole = draw_conditions(decoded[:3], noise, [5, 2, 9], 1)
    assert torch.equal(draw_conditions(decoded[1:2], noise, [2], 1), whole[1:2])
    assert torch.equal(draw_conditions(decoded[:3].flip(0), noise, [9, 2, 5], 1), whole.flip(0))
    for other in (([5, 2, 9], 0), ([5, 2, 9], 1, 1), ([6, 3, 8], 1)):
        assert (draw_conditions(decoded[:3], noise, *other) - whole).flatten(1).norm(dim=1).min() > 0.1
    assert draw_conditions(decoded[:3].double(), noise, [5, 2, 9]).dtype == torch.double
    assert draw_conditions(decoded[:0], noise, []).shape == (0, N_TOKENS, WIDTH)
    # Nor on the last digit of the covariance, in which machines differ.
    almost = ConditionNoise(noise.offset, noise.directions, noise.covariance * (1 + 1e-7))
    again = draw_conditions(decoded[:3], almost, [5, 2, 9], 1)
    torch.testing.assert_close(again, whole, atol=1e-4, rtol=0)


def test_the_size_of_the_noise_and_the_share_are_those_of_new_images(rng):
    """Many axes of few images, each of little variance: the axes fit these images better than others."""
    n, variances = 60, 1 / np.arange(1, P + 1)
    off = torch.from_numpy(rng.normal(size=(2000 + n, P)) * np.sqrt(variances)).float()
    true = off.reshape(-1, N_TOKENS, WIDTH)
    found = condition_noise(torch.zeros_like(true[:n]), true[:n], 30)
    new = (off[n:] - found.offset.flatten()) @ found.directions
    share = new.square().sum() / (off[n:] - found.offset.flatten()).square().sum()
    assert found.share == pytest.approx(float(share), abs=0.06)
    own = ((off[:n] - off[:n].mean(0)) @ found.directions).square().sum() / (
        off[:n] - off[:n].mean(0)
    ).square().sum()
    assert own > share + 0.05  # as it was said before
    assert float(found.covariance.trace() / new.var(0).sum()) == pytest.approx(1, abs=0.15)


def test_a_covariance_from_few_images_is_shrunk(rng):
    decoded, true, _ = planted(rng, n=20, k=15)
    found = condition_noise(decoded, true, 15)
    off = (true - decoded).flatten(1) @ found.directions
    values, sample = (torch.linalg.eigvalsh(of) for of in (found.covariance, torch.cov(off.T)))
    assert values.max() / values.min() < 0.7 * sample.max() / sample.min()


def test_the_numbers_are_not_those_that_the_drawing_starts_from():
    noise = ConditionNoise(torch.zeros(N_TOKENS, WIDTH), torch.eye(P), torch.eye(P))
    drawn = torch.stack(
        [draw_conditions(torch.zeros(1, N_TOKENS, WIDTH), noise, [of]).flatten() for of in range(50)]
    )
    start = torch.stack([torch.randn(P, generator=make_generator(of, 0)) for of in range(50)])
    r = torch.corrcoef(torch.stack([drawn.flatten(), start.flatten()]))[0, 1]
    assert abs(r) * math.sqrt(drawn.numel()) < 4


def test_drawings_under_one_c_each_are_a_sample_of_the_mixture_and_mean_predictions_are_not():
    # The picture is normal around the first number of c, so the mixture is wider by the variance of c.
    std, spread, n = 0.5, 0.8, 600
    scheduler = stable_diffusion_schedule(beta_end=0.05, set_alpha_to_one=True)
    axis = torch.zeros(P, 1)
    axis[0] = 1
    noise = ConditionNoise(torch.zeros(N_TOKENS, WIDTH), axis, torch.tensor([[spread**2]]))
    c = draw_conditions(states_with_mean([0.3] * n), noise, range(n))
    options = {"n_steps": 30, "guidance_scale": 1.0, "generators": generators(n), "batch_size": n}
    drawn = sample(gaussian_unet(scheduler, std), scheduler, c, **options)[:, 0, 0, 0]
    expected = math.sqrt(std**2 + spread**2)
    assert abs(drawn.mean() - 0.3) < 4 * expected / math.sqrt(n)
    assert drawn.std() == pytest.approx(expected, rel=0.1)

    several = draw_conditions(states_with_mean([0.3] * 200), noise, range(200))
    unet = gaussian_unet(scheduler, std)

    def mean_of_predictions(latents, timestep, _states):
        mean = states_with_mean([float(several[:, 0, 0].mean())]).expand(len(latents), -1, -1)
        return unet.predict_noise(latents, timestep, mean)  # the prediction is linear in c

    together = sample(FakeUNet(mean_of_predictions), scheduler, c, **options)[:, 0, 0, 0]
    assert together.std() == pytest.approx(std, rel=0.1)


def wrong(rng):
    decoded, true, _ = planted(rng, 20)
    noise = condition_noise(decoded, true)

    def replaced(**changes):
        return lambda: dataclasses.replace(noise, **changes)

    return {
        "too few images": (lambda: condition_noise(decoded[:8], true[:8]), "at least 10 images"),
        "too few for the axes": (
            lambda: condition_noise(decoded, true, 20),
            "20 images vary around their mean in at most 19 axes: at least 21",
        ),
        "exact": (lambda: condition_noise(decoded, decoded), "nothing is left open"),
        "no count": (lambda: condition_noise(decoded, true, 2.0), "n_components as a whole number"),
        "NaN": (lambda: condition_noise(decoded * math.nan, true), "decoded c has NaN"),
        "other images": (lambda: condition_noise(decoded[1:], true), r"\(19, 12, 8\) and \(20, 12, 8\)"),
        "another shape": (lambda: draw_conditions(decoded[:, 1:], noise, range(20)), r"Expected .*12, 8"),
        "NaN drawn": (lambda: draw_conditions(decoded * math.nan, noise, range(20)), "decoded c has NaN"),
        "too few ids": (lambda: draw_conditions(decoded, noise, range(3)), "for each of 20 images"),
        "an id below 0": (lambda: draw_conditions(decoded[:1], noise, [-1]), "image_id as a whole number"),
        "a repeat below 0": (lambda: draw_conditions(decoded[:1], noise, [1], -1), "repeat as a whole"),
        "skewed": (replaced(directions=noise.directions * 1.1), "orthonormal"),
        "negative": (replaced(covariance=-noise.covariance), "eigenvalue"),
        "not symmetric": (replaced(covariance=noise.covariance + torch.ones(3, 3).tril(-1)), "symmetric"),
        "no share": (replaced(share=0.0), "share in"),
        "other sizes": (replaced(covariance=torch.eye(2)), r"got .*\(2, 2\)"),
    }


CASES = (
    *("too few images", "too few for the axes", "exact", "no count", "NaN"),
    *("other images", "another shape", "NaN drawn", "too few ids", "an id below 0", "a repeat below 0"),
    *("skewed", "negative", "not symmetric", "no share", "other sizes"),
)


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_refused_by_name(rng, case):
    found = wrong(rng)
    assert set(found) == set(CASES)
    raises, words = found[case]
    with pytest.raises(ValueError, match=words):
        raises()
