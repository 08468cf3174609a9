"""What the sampler can't draw is refused, with what was expected and what to do."""

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, PNDMScheduler
from tiny_models import (
    LATENT_SHAPE,
    generators,
    random_states,
    stable_diffusion_schedule,
    tiny_latent_diffusion,
)

from latentcortex.sampler import Guidance, sample

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model():
    return tiny_latent_diffusion()


def broken(tensor):
    tensor = tensor.clone()
    tensor[1, 0, 0] = torch.nan
    return tensor


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder_hidden_states": random_states(2)[..., :5]}, r"n_tokens, 8\), got \(2, 12, 5\)"),
        ({"unconditional_embedding": random_states(1)[:, :7]}, r"\(1, 12, 8\).*got \(1, 7, 8\)"),
        ({"unconditional_embedding": random_states(2)}, r"got \(2, 12, 8\)"),
        ({"unconditional_embedding": None}, "needs the unconditional_embedding"),
        ({"encoder_hidden_states": broken(random_states(2))}, r"NaN or infinite.*rows \[1\]"),
        ({"latents": broken(torch.zeros(2, *LATENT_SHAPE))}, r"latents has NaN.*rows \[1\]"),
        ({"latents": torch.zeros(3, *LATENT_SHAPE)}, r"latents \(2, 4, h, w\)"),
        ({"latents": torch.zeros(2, 3, 8, 8)}, r"latents \(2, 4, h, w\)"),
        ({"latents": None}, "keeps a part of `latents`"),
        ({"strength": 0.0}, r"\(0, 1\]"),
        ({"strength": -0.5}, r"\(0, 1\]"),
        ({"strength": 1.01}, r"\(0, 1\]"),
        ({"strength": float("nan")}, r"\(0, 1\]"),
        ({"strength": 0.05}, "leaves none of 10 steps"),
        ({"n_steps": 0}, "n_steps as a whole number of at least 1, got 0"),
        ({"guidance_scale": 0.5}, "at least 1"),
        ({"generators": generators(3)}, "each of 2 images, got 3"),
        ({"image_ids": [4]}, r"whole number for each of 2 images, got torch.int64 of shape \(1,\)"),
        (
            {"scheduler": DPMSolverMultistepScheduler(algorithm_type="sde-dpmsolver++")},
            "adds noise of its own",
        ),
        ({"scheduler": DPMSolverMultistepScheduler(use_karras_sigmas=True)}, "use_karras_sigmas"),
        ({"scheduler": PNDMScheduler()}, "DDIMScheduler.from_config"),
        (
            {
                "scheduler": stable_diffusion_schedule(prediction_type="v_prediction"),
                "guidance": Guidance(lambda *_: 0, 1.0),
            },
            "v_prediction",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(model, changes, message):
    arguments = {
        "unet": model.unet,
        "scheduler": model.scheduler,
        "encoder_hidden_states": random_states(2),
        "unconditional_embedding": random_states(1),
        "latents": torch.zeros(2, *LATENT_SHAPE),
        "strength": 0.5,
        "n_steps": 10,
        "guidance_scale": 3.0,
        "generators": generators(2),
    }
    with pytest.raises(ValueError, match=message):
        sample(**(arguments | changes))


def arguments_for(model, **changes):
    return {
        "unet": model.unet,
        "scheduler": model.scheduler,
        "encoder_hidden_states": random_states(2),
        "latents": torch.zeros(2, *LATENT_SHAPE),
        "n_steps": 4,
        "guidance_scale": 1.0,
        "generators": generators(2),
        "image_ids": [301, 17],
    } | changes


def test_a_gradient_that_is_not_finite_names_step_and_image_and_says_what_to_lower(model):
    def guide(latents, image_ids):
        # Infinite in the second step, of the second image alone.
        calls.append(image_ids)
        weight = torch.where(image_ids == 17, torch.inf if len(calls) == 2 else 1.0, 1.0)
        return weight * latents.square().flatten(1).sum(1)

    calls = []
    with pytest.raises(FloatingPointError, match=r"step 1 \(timestep 501\).*\[17\]. Lower feature"):
        sample(**arguments_for(model, guidance=Guidance(guide, 2.0)))


@pytest.mark.parametrize(
    ("guide", "message"),
    [
        (lambda latents, _: latents.square().mean(), r"expected \(2,\), got \(\)"),
        (lambda latents, _: latents.square().mean((2, 3)), r"expected \(2,\), got \(2, 4\)"),
    ],
)
def test_a_guide_gives_one_loss_for_each_image(model, guide, message):
    with pytest.raises(ValueError, match=message):
        sample(**arguments_for(model, guidance=Guidance(guide, 1.0)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"feature_scale": -1.0}, "at least 0"),
        ({"feature_scale": float("nan")}, "at least 0"),
        ({"feature_scale": float("inf")}, "at least 0"),
        ({"guided_share": float("nan")}, r"guided_share in \[0, 1\]"),
        ({"guided_from": float("nan")}, r"guided_from in \[0, 1\)"),
        ({"max_relative_step": float("nan")}, "max_relative_step above 0"),
        ({"guided_share": 1.2}, r"guided_share in \[0, 1\]"),
        ({"guided_from": 1.0}, r"guided_from in \[0, 1\)"),
        ({"guide": None}, "callable"),
    ],
)
def test_settings_of_guidance_out_of_their_range_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Guidance(**({"guide": lambda x, _: x, "feature_scale": 1.0} | changes))


def test_a_strength_by_timestep_must_be_above_zero(model):
    def guide(latents, _):
        return latents.square().flatten(1).sum(1)

    with pytest.raises(ValueError, match="above 0, got -1 for timestep 751"):
        sample(**arguments_for(model, guidance=Guidance(guide, lambda _timestep: -1)))


def test_inference_mode_is_refused_since_it_has_no_gradients(model):
    def guide(latents, _):
        return latents.square().flatten(1).sum(1)

    with torch.inference_mode(), pytest.raises(ValueError, match="torch.no_grad"):
        sample(**arguments_for(model, guidance=Guidance(guide, 1.0)))
