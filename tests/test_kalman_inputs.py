"""Measurements and corrections that are refused, and the words of the errors."""

import dataclasses
import math

import pytest
import torch
from diffusers import DDIMScheduler
from gaussian_latents import SCHEDULER, D, draw, make_components, true_errors, unet_of
from tiny_models import states_with_mean

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


def wrong(components):
    """What is refused: a function that raises, and the words of the error."""
    y, noise = torch.zeros(3, D), torch.ones(D)
    fine = Measurement(y, noise, range(3), "all")
    errors = true_errors(components, denoising_timesteps(SCHEDULER, 30))
    good = KalmanCorrection(components, (fine,), errors)

    def replace(of, **changes):
        return lambda: dataclasses.replace(of, **changes)

    def r2_of(value):
        r2 = torch.full((D,), 0.5)
        r2[3] = value
        return lambda: measurement_of(y, r2, components, range(3))

    def drawn(**options):
        return lambda: draw(unet_of(components), 3, **{"correction": good, **options})

    return {
        "r2 is NaN": (r2_of(math.nan), "NaN, negative or above 1 for 1 of 256"),
        "r2 below 0": (r2_of(-0.1), "first -0.1. Clip what cross-validation"),
        "r2 above 1": (r2_of(1.1), "first 1.1"),
        "too few r2": (
            lambda: measurement_of(y, torch.ones(4), components, range(3)),
            r"\(3, 256\) and \(4,\)",
        ),
        "NaN measured": (replace(fine, values=y * math.nan), "give an infinite noise"),
        "negative noise": (replace(fine, noise=-noise), "256 of 256 are negative or NaN"),
        "noise of another size": (replace(fine, noise=noise[1:]), r"Expected noise \(256,\)"),
        "no covariance": (replace(fine, noise=torch.eye(D) + torch.ones(D, D).tril(-1)), "not symmetric"),
        "a negative eigenvalue": (replace(fine, noise=3 - 2 * torch.eye(D)), "has the eigenvalue -2"),
        "a model of velocities": (
            drawn(scheduler=DDIMScheduler.from_config(SCHEDULER.config, prediction_type="v_prediction")),
            "corrects predicted noise, and this model predicts 'v_prediction'",
        ),
        "operator of another size": (replace(fine, operator=torch.ones(2, D)), r"operator \(256, k\)"),
        "too few ids": (replace(fine, image_ids=range(2)), "the image_ids of a measurement"),
        "other components": (
            replace(good, measurements=(dataclasses.replace(fine, components="other"),)),
            "measurement is of 256 components 'other', but those of the correction are 256, 'all'",
        ),
        "errors in other components": (
            replace(good, errors=dataclasses.replace(errors, components="other")),
            "errors are of 256 components 'other'",
        ),
        "no measurement": (replace(good, measurements=()), "at least one"),
        "no trust": (replace(good, trust=0.0), "trust above 0"),
        "trust NaN": (replace(good, trust=math.nan), "trust above 0"),
        "negative error": (replace(errors, variances=-errors.variances), "finite and at least 0"),
        "errors without timesteps": (replace(errors, timesteps=()), "Expected variances"),
        "skewed directions": (replace(components, directions=components.directions * 1.1), "orthonormal"),
        "no variance": (replace(components, variances=components.variances * 0), "above 0"),
        "other steps": (drawn(n_steps=20), "measured at other timesteps"),
        "another scale": (
            drawn(guidance_scale=2.0, unconditional_embedding=states_with_mean([0.0])),
            "guidance_scale of 1, and the drawing has 2",
        ),
        "no ids": (drawn(image_ids=None), "A correction needs image_ids"),
        "an id twice": (replace(fine, image_ids=[4, 4, 5]), "4"),
        "a timestep twice": (replace(errors, timesteps=errors.timesteps[:1] * 30), "comes twice"),
        "one measurement, no tuple": (replace(good, measurements=fine), r"such as \(measurement,\)"),
        "NaN mean": (replace(components, mean=components.mean * math.nan), "the mean of components"),
        "unknown image": (drawn(image_ids=[0, 1, 17]), "17"),
        "too few images": (
            lambda: denoising_errors(
                None,
                SCHEDULER,
                y,
                y,
                components=components,
                timesteps=[1],
                guidance_scale=1.0,
                generators=[],
                network="",
            ),  # fmt: skip
            "at least 10 are needed, got 3",
        ),
    }


CASES = [
    *("r2 is NaN", "r2 below 0", "r2 above 1", "too few r2", "NaN measured", "negative noise"),
    *("noise of another size", "no covariance", "operator of another size", "too few ids"),
    *("other components", "errors in other components", "no measurement", "no trust", "trust NaN"),
    *("negative error", "errors without timesteps", "skewed directions", "no variance", "other steps"),
    *("another scale", "unknown image", "too few images", "no ids"),
    *(
        "an id twice",
        "a timestep twice",
        "one measurement, no tuple",
        "NaN mean",
        "a negative eigenvalue",
        "a model of velocities",
    ),
]


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_refused_by_name(components, case):
    found = wrong(components)
    assert set(found) == set(CASES)
    raises, words = found[case]
    with pytest.raises((ValueError, KeyError), match=words):
        raises()
