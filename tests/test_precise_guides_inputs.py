"""Precise guides and residuals that are refused, and the words of the errors."""

import dataclasses
import math

import pytest
import torch
from gaussian_latents import draw, make_components, unet_of
from test_precise_guides import READER, guide_of, planted
from tiny_models import generators, random_states, stable_diffusion_schedule, tiny_clip_image_encoder

from latentcortex import features
from latentcortex.sampler import (
    FeatureBasis,
    FeatureReader,
    Guidance,
    PreciseGuidance,
    PreciseGuide,
    ResidualGaussian,
    calibration,
    clip_features,
    predicted_features,
    residual_gaussian,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def test_layers_are_read_one_after_the_other_with_a_gradient():
    encoder, images = tiny_clip_image_encoder(), torch.rand(2, 3, 16, 16, requires_grad=True)
    reader = clip_features(encoder, (3, 1))
    assert reader.name == "tiny 3,1"
    values = reader(images)
    layers = features.encode_clip_layers(encoder, images.detach(), (1, 3), 2)
    torch.testing.assert_close(values, torch.cat([layers[3].flatten(1), layers[1].flatten(1)], 1))
    (gradient,) = torch.autograd.grad(values.sum(), images)
    assert gradient.abs().max() > 0


def wrong(rng):
    components = make_components(rng)
    a, noise, y = planted(rng, m=3)
    guide = guide_of(components, a, noise, y, range(4))
    residuals, basis = guide.residuals, guide.residuals.basis
    n, slopes, values, both = 20, torch.ones(3), torch.randn(20, 3), torch.randn(2, 20, 3)

    def replaced(what, **changes):
        return lambda: dataclasses.replace(what, **changes)

    def estimated(predicted=both, decoded=values, slopes=slopes, **options):
        return lambda: residual_gaussian(predicted, decoded, slopes, basis, [5, 3], **options)

    def drawn(guidance=None, **options):
        return lambda: draw(unet_of(components), 4, guidance=guidance or PreciseGuidance(guide), **options)

    def measured(n_states=4, reader=READER, **schedule):
        z = torch.randn(4, 4, 8, 8)
        given = stable_diffusion_schedule(**schedule), z, random_states(n_states), reader, basis
        return lambda: predicted_features(
            unet_of(components), *given, timesteps=[5], generators=generators(4)
        )

    skewed = residuals.covariances + torch.ones(3, 3).tril(-1)
    crossed = 3 - 2 * torch.eye(3).expand(30, -1, -1)
    return {
        "another encoder": (
            replaced(guide, reader=FeatureReader(READER.read, "other")),
            "of features of 'latents', the guide reads those of 'other'",
        ),
        "other components": (replaced(guide, decoded=y[:, 1:]), r"decoded components \(n, 3\), got \(4, 2\)"),
        "NaN decoded": (replaced(guide, decoded=y * math.nan), "decoded components has NaN"),
        "an id twice": (replaced(guide, image_ids=[1, 1, 2, 3]), "1"),
        "too few ids": (replaced(guide, image_ids=range(3)), "the image_ids of a guide"),
        "no timestep": (drawn(Guidance(guide, 1.0)), "Pass it to PreciseGuidance"),
        "no precise guide": (lambda: PreciseGuidance(lambda *_: 0), "Pass other guides to Guidance"),
        "other timesteps": (drawn(n_steps=20), "measured at other timesteps"),
        "an unknown image": (drawn(image_ids=[0, 1, 2, 17]), "17"),
        "a timestep twice": (replaced(residuals, timesteps=residuals.timesteps[:1] * 30), "that differ"),
        "too few offsets": (replaced(residuals, offsets=residuals.offsets[1:]), r"offsets \(30, 3\)"),
        "a negative slope": (replaced(residuals, slopes=-slopes), "clip what was estimated below 0"),
        "NaN offsets": (replaced(residuals, offsets=residuals.offsets * math.nan), "the offsets"),
        "no noise": (replaced(residuals, covariances=residuals.covariances * 0), "3 of 3 are not at"),
        "NaN noise": (replaced(residuals, covariances=residuals.covariances * math.nan), "3 of 3 are not"),
        "not symmetric": (replaced(residuals, covariances=skewed), "not symmetric"),
        "negative noise": (replaced(residuals, covariances=crossed), "the eigenvalue"),
        "features of another size": (
            lambda: residuals.loss(torch.zeros(2, 5), y[:2], residuals.timesteps[0]),
            "256 features of 'latents', got 5",
        ),
        "a skewed basis": (lambda: FeatureBasis(torch.zeros(3), torch.eye(4), "new"), r"directions \(p, k\)"),
        "NaN basis": (lambda: FeatureBasis(torch.zeros(3) * math.nan, torch.eye(3), "new"), "the mean of"),
        "too few images": (
            estimated(torch.randn(2, 9, 3), values[:9]),
            "covariance of 3 components needs at least 10 images, got 9",
        ),
        "too few for the components": (
            lambda: residual_gaussian(
                torch.randn(1, 20, 9),
                torch.randn(20, 9),
                torch.ones(9),
                FeatureBasis(torch.zeros(9), torch.eye(9), "new"),
                [5],
            ),
            "covariance of 9 components needs at least 22 images, got 20",
        ),
        "other shapes": (estimated(torch.randn(1, n, 3)), r"predicted \(2, 20, 3\)"),
        "other dimensions": (estimated(torch.randn(n, 3)), "predicted of 3 dimensions"),
        "NaN predicted": (estimated(torch.full((2, n, 3), math.nan)), "predicted has NaN"),
        "calibrated on few": (lambda: calibration(values[:5], values[:5]), "at least 10"),
        "calibrated on others": (lambda: calibration(values, values[1:]), "of the same images"),
        "too few conditions": (measured(3), "got 3 and 4"),
        "another reader": (measured(reader=FeatureReader(READER.read, "other")), "not of 'other'"),
        "a model of velocities": (measured(prediction_type="v_prediction"), "predicts 'v_prediction'"),
    }


CASES = (
    *("another encoder", "other components", "NaN decoded", "an id twice", "too few ids", "no timestep"),
    *("no precise guide", "other timesteps", "an unknown image", "a timestep twice", "too few offsets"),
    *("a negative slope", "NaN offsets", "no noise", "NaN noise", "not symmetric", "negative noise"),
    *("features of another size", "a skewed basis", "NaN basis", "too few images", "other shapes"),
    *("too few for the components", "other dimensions", "NaN predicted"),
    *("calibrated on few", "calibrated on others", "too few conditions", "another reader"),
    "a model of velocities",
)


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_refused_by_name(rng, case):
    found = wrong(rng)
    assert set(found) == set(CASES)
    raises, words = found[case]
    with pytest.raises((ValueError, KeyError), match=words):
        raises()


def test_residuals_are_taken_from_arrays_and_lists(rng):
    components = make_components(rng)
    residuals = guide_of(components, *planted(rng, m=3)[:2], torch.zeros(4, 3), range(4)).residuals
    again = ResidualGaussian(
        FeatureBasis(residuals.basis.mean.numpy(), residuals.basis.directions.numpy(), "latents"),
        [1.0, 1.0, 1.0],
        residuals.timesteps,
        residuals.offsets.numpy(),
        residuals.covariances.numpy(),
    )
    values, timestep = torch.randn(4, 256), residuals.timesteps[3]
    guide = PreciseGuide(READER, rng.normal(size=(4, 3)), range(4), again)
    expected = residuals.loss(values, guide.decoded, timestep)
    torch.testing.assert_close(guide.at(timestep)(values.view(4, 4, 8, 8), torch.arange(4)), expected)
