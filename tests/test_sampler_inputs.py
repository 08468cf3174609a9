"""Numbers and arrays of every kind into the sampler, and what leaves it: checked, and the advice followed."""

import re

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler
from tiny_models import (
    LATENT_SHAPE,
    FakeUNet,
    gaussian_unet,
    generators,
    quadratic,
    random_states,
    stable_diffusion_schedule,
    states_with_mean,
    tiny_latent_diffusion,
)

from latentcortex.sampler import Guidance, denoising_timesteps, make_generator, reconstruct, sample

pytestmark = pytest.mark.usefixtures("one_thread")
IDS = [301, 17]


@pytest.fixture(scope="module")
def model():
    return tiny_latent_diffusion()


def draw(model, **changes):
    arguments = {
        "unet": model.unet,
        "scheduler": model.scheduler,
        "encoder_hidden_states": random_states(2),
        "unconditional_embedding": random_states(1),
        "latents": torch.randn(2, *LATENT_SHAPE, generator=torch.Generator().manual_seed(1)),
        "strength": 0.5,
        "n_steps": 10,
        "guidance_scale": 3.0,
        "generators": generators(2),
        "image_ids": IDS,
    }
    return sample(**(arguments | changes))


def with_nan(tensor, row=0):
    tensor = tensor.clone()
    tensor[row, 0, 0] = torch.nan
    return tensor


nan = float("nan")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"unconditional_embedding": with_nan(random_states(1))},
            r"unconditional_embedding has NaN.*rows \[0\]",
        ),
        (
            {"encoder_hidden_states": with_nan(random_states(2), 1)},
            r"encoder_hidden_states has NaN.*rows \[1\]",
        ),
        ({"encoder_hidden_states": random_states(2).long()}, "floats, got torch.int64"),
        ({"encoder_hidden_states": np.ma.masked_less(random_states(2).numpy(), 0)}, "masked array"),
        ({"unconditional_embedding": np.ma.masked_less(random_states(1).numpy(), 0)}, "masked array"),
        ({"latents": np.ma.masked_less(np.zeros((2, *LATENT_SHAPE)), 0)}, "latents is a masked array"),
        ({"latents": torch.zeros(2, *LATENT_SHAPE, dtype=torch.int64)}, "latents as floats, got torch.int64"),
        ({"latents": list(torch.zeros(2, *LATENT_SHAPE))}, "a list of tensors by torch.stack"),
        ({"guidance_scale": nan}, "guidance_scale of at least 1, got nan"),
        ({"guidance_scale": float("inf")}, "guidance_scale of at least 1, got inf"),
        ({"strength": nan}, r"strength in \(0, 1\], got nan"),
        ({"n_steps": nan}, "n_steps as a whole number of at least 1, got nan"),
        ({"n_steps": 10.0}, "n_steps as a whole number of at least 1, got 10.0"),
        ({"batch_size": 0}, "batch_size as a whole number of at least 1, got 0"),
        ({"batch_size": nan}, "batch_size as a whole number of at least 1, got nan"),
        ({"image_ids": [301.0, 17.5]}, "one whole number for each of 2 images, got torch.float"),
        ({"image_ids": [True, False]}, "one whole number for each of 2 images, got torch.bool"),
        ({"image_ids": [[301, 17]]}, r"each of 2 images, got torch.int64 of shape \(1, 2\)"),
        ({"image_ids": ["a", "b"]}, "image_ids as one array or tensor of numbers"),
        ({"generators": [0, 1]}, "generators of make_generator, got 0"),
    ],
)
def test_every_argument_is_checked_as_the_main_one_is(model, changes, message):
    with pytest.raises(ValueError, match=message):
        draw(model, **changes)


def test_arrays_and_numpys_numbers_draw_the_same_bits(model):
    states, empty = random_states(2), random_states(1)
    latents = torch.randn(2, *LATENT_SHAPE, generator=torch.Generator().manual_seed(1))
    expected = draw(model)
    got = draw(
        model,
        encoder_hidden_states=states.numpy(),
        unconditional_embedding=empty.numpy(),
        latents=latents.numpy(),
        strength=np.float64(0.5),
        n_steps=np.int64(10),
        guidance_scale=np.float32(3),
        image_ids=np.array(IDS, dtype=np.uint16),
        batch_size=np.int8(32),
    )
    assert torch.equal(got, expected)
    settings = {"condition": "both", "strength": 0.5, "n_steps": 4, "guidance_scale": 3.0}
    expected = reconstruct(model, latents, states, image_ids=IDS, **settings)
    for ids in (np.array(IDS), torch.tensor(IDS), [np.int64(i) for i in IDS], tuple(IDS)):
        drawn = reconstruct(
            model, latents.numpy(), states.numpy(), image_ids=ids, repeat=np.int64(0), **settings
        )
        assert torch.equal(drawn, expected)


@pytest.mark.parametrize("key", [(2.0, 0, 0), (2, nan, 0), (2, 0, -1), ("2", 0, 0)])
def test_a_generator_is_made_for_whole_numbers_only(key):
    with pytest.raises(ValueError, match="as a whole number of at least 0, got"):
        make_generator(*key)


# Advice is followed


def test_the_least_strength_that_is_advised_leaves_a_step_for_every_number_of_steps():
    scheduler = stable_diffusion_schedule(steps_offset=0)
    for n_steps in range(1, 1001):
        with pytest.raises(ValueError, match="Use a strength of at least") as error:
            denoising_timesteps(scheduler, n_steps, 0.9999 / n_steps)
        advised = re.search(r"at least ([\d.]+),", str(error.value)).group(1)
        assert len(denoising_timesteps(scheduler, n_steps, float(advised))) == 1, n_steps
        assert float(advised) < 1.01 / n_steps + 1e-12  # and is not far above the least
        assert len(advised) <= 8


DPM = DPMSolverMultistepScheduler.from_config(stable_diffusion_schedule().config)
LEADING = DPMSolverMultistepScheduler.from_config(DPM.config, timestep_spacing="leading")


@pytest.mark.parametrize(
    ("scheduler", "most"),
    [(stable_diffusion_schedule(), 999), (DPM, 999), (LEADING, 998)],
    ids=["ddim", "dpm", "dpm leading"],
)
def test_every_number_of_steps_has_its_noise_levels_or_is_refused_with_one_that_has(scheduler, most):
    for n_steps in range(1, most + 1):
        timesteps = denoising_timesteps(scheduler, n_steps)
        assert len(timesteps) == len(timesteps.unique()) == n_steps
        assert timesteps.max() <= 999
    for n_steps in (most + 1, 1001, 5000):
        with pytest.raises(
            ValueError, match=f"noise levels 0 to 999.*steps_offset 1.*Use at most {most} steps"
        ):
            denoising_timesteps(scheduler, n_steps)


def test_a_thousand_steps_of_stable_diffusions_schedule_are_refused_before_the_first(model):
    unet = gaussian_unet(model.scheduler, 1.0)
    with pytest.raises(ValueError, match="Use at most 999 steps"):
        draw(model, unet=unet, n_steps=1000, strength=1.0)
    assert not unet.calls
    # Half of them lie on the schedule, as they always did.
    assert denoising_timesteps(model.scheduler, 1000, 0.5)[0] == 500


# What leaves


def exploding(model, scale, start, share=0.1, std=0.6, **options):
    """Draw with one guided step, by the optimal denoiser of Gaussian data, towards 0."""
    return draw(
        model,
        unet=gaussian_unet(model.scheduler, std),
        encoder_hidden_states=states_with_mean([0.0] * 2),
        latents=None,
        strength=1.0,
        guidance_scale=1.0,
        guidance=Guidance(quadratic_of_ids, scale, share, start, **options),
    )


def quadratic_of_ids(latents, image_ids):
    # The second image alone is pulled.
    return (image_ids == 17) * quadratic(torch.zeros(1, 1, 1, 1))(latents, torch.zeros(len(latents)).long())


@pytest.mark.parametrize("scale", [1e8, 1e15])
def test_a_last_step_that_explodes_names_step_image_size_and_what_to_lower(model, scale):
    with pytest.raises(FloatingPointError) as error:
        exploding(model, scale, start=0.9)
    message = str(error.value)
    assert re.match(r"In step 9 \(timestep 1\) what is drawn is of a root mean square of up to \d", message)
    assert "for the images [17]. Lower feature_scale or guided_share, or set max_relative_step" in message
    # The advice helps.
    assert exploding(model, scale, start=0.9, max_relative_step=1.0).abs().max() < 10


def test_a_step_that_overflows_names_itself_and_not_the_last(model):
    with pytest.raises(FloatingPointError, match=r"In step 4 .*for the images \[17\]"):
        exploding(model, 3e38, start=0.4)


def test_a_drawing_that_recovers_from_a_long_step_is_not_refused(model):
    # Data of little spread: the optimal denoiser brings anything back to its mean.
    sizes = []
    guidance = Guidance(quadratic_of_ids, 1e5, 0.1, through_unet=False)
    draw(
        model,
        unet=gaussian_unet(model.scheduler, 1e-3),
        encoder_hidden_states=states_with_mean([0.0] * 2),
        latents=None,
        strength=1.0,
        guidance_scale=1.0,
        guidance=guidance,
        callback=lambda _step, _timestep, latents, _guess: sizes.append(latents[1].square().mean().sqrt()),
    )
    assert sizes[0] > 1000 and sizes[-1] < 1000


def test_without_a_guide_the_network_or_the_start_is_named(model):
    def predict_noise(noisy, timestep, _states):
        return torch.where(torch.tensor([timestep < 300, False])[:, None, None, None], torch.nan, noisy)

    with pytest.raises(
        FloatingPointError, match=r"In step 2 \(timestep 201\).*not finite for the images \[301\]"
    ):
        draw(model, unet=FakeUNet(predict_noise), guidance_scale=1.0)
    large = torch.zeros(2, *LATENT_SHAPE)
    large[0] = 1e6
    with pytest.raises(FloatingPointError, match=r"In step 4 .*\[301\]. Look at how large latents and"):
        draw(model, latents=large)


def test_a_decoder_that_overflows_in_a_guided_step_names_the_step(model):
    def overflow(_module, _inputs, output):
        return torch.full_like(output, torch.nan)

    guidance = Guidance(lambda images, _: images.square().flatten(1).sum(1), 1.0, 0.2, 0.4, decoder=model.vae)
    hook = model.vae.decoder.register_forward_hook(overflow)
    with pytest.raises(
        FloatingPointError, match=r"In step 2 \(timestep 201\).*\[301, 17\]: The VAE makes NaN"
    ):
        draw(model, guidance=guidance)
    with pytest.raises(FloatingPointError, match=r"rows \[0, 1\].*Load the VAE in float32"):
        reconstruct(
            model,
            torch.zeros(2, *LATENT_SHAPE),
            random_states(2),
            condition="both",
            image_ids=IDS,
            strength=0.5,
            n_steps=4,
            guidance_scale=1.0,
        )
    hook.remove()
