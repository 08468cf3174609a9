"""How the sampler is called: diffusers' pipelines, batches, seeds, conditions."""

import copy

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionImg2ImgPipeline, StableDiffusionPipeline
from tiny_models import (
    LATENT_SHAPE,
    LATENT_SIZE,
    gaussian_unet,
    generators,
    random_states,
    stable_diffusion_schedule,
    states_with_mean,
    tiny_latent_diffusion,
)

from latentcortex.features import decode_latents, unconditional
from latentcortex.sampler import Guidance, denoising_timesteps, make_generator, reconstruct, sample

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model():
    return tiny_latent_diffusion()


# diffusers' own pipelines


SCHEDULERS = {
    "ddim": stable_diffusion_schedule(),
    "dpm": DPMSolverMultistepScheduler.from_config(stable_diffusion_schedule().config),
}


def pipeline_of(pipeline_class, model, scheduler="ddim"):
    pipeline = pipeline_class(
        vae=model.vae,
        text_encoder=None,
        tokenizer=None,
        unet=model.unet,
        scheduler=copy.deepcopy(SCHEDULERS[scheduler]),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("guidance_scale", [1.0, 5.0])
def test_without_guide_it_is_diffusers_text_to_image_bit_by_bit(model, n, guidance_scale):
    states, empty = random_states(n), random_states(1, seed=11)
    expected = pipeline_of(StableDiffusionPipeline, model)(
        prompt_embeds=states,
        negative_prompt_embeds=empty.repeat(n, 1, 1),
        height=2 * LATENT_SIZE,
        width=2 * LATENT_SIZE,
        num_inference_steps=9,
        guidance_scale=guidance_scale,
        generator=generators(n),
        output_type="latent",
    ).images
    got = sample(
        model.unet,
        model.scheduler,
        states,
        empty,
        n_steps=9,
        guidance_scale=guidance_scale,
        generators=generators(n),
    )
    assert torch.equal(got, expected)


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("guidance_scale", [1.0, 5.0])
@pytest.mark.parametrize("strength", [0.12, 0.4, 0.58, 1.0])
@pytest.mark.parametrize("scheduler", list(SCHEDULERS))
def test_without_guide_it_is_diffusers_image_to_image_bit_by_bit(
    model, n, guidance_scale, strength, scheduler
):
    states, empty = random_states(n), random_states(1, seed=11)
    latents = torch.randn(n, *LATENT_SHAPE, generator=torch.Generator().manual_seed(12))
    expected = pipeline_of(StableDiffusionImg2ImgPipeline, model, scheduler)(
        image=latents,
        prompt_embeds=states,
        negative_prompt_embeds=empty.repeat(n, 1, 1),
        strength=strength,
        num_inference_steps=10,
        guidance_scale=guidance_scale,
        generator=generators(n),
        output_type="latent",
    ).images
    got = sample(
        model.unet,
        SCHEDULERS[scheduler],
        states,
        empty,
        latents=latents,
        strength=strength,
        n_steps=10,
        guidance_scale=guidance_scale,
        generators=generators(n),
    )
    assert torch.equal(got, expected)


# Batches, parts, callback, guide


@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_batches_equal_singles(model, batch_size):
    states, empty = random_states(5), random_states(1, seed=11)
    latents = torch.randn(5, *LATENT_SHAPE, generator=torch.Generator().manual_seed(13))
    settings = {"strength": 0.7, "n_steps": 10, "guidance_scale": 4.0}
    got = sample(
        model.unet,
        model.scheduler,
        states,
        empty,
        latents=latents,
        generators=generators(5),
        batch_size=batch_size,
        **settings,
    )
    for row in range(5):
        alone = sample(
            model.unet,
            model.scheduler,
            states[row : row + 1],
            empty,
            latents=latents[row : row + 1],
            generators=[make_generator(row, 0)],
            **settings,
        )
        torch.testing.assert_close(got[row : row + 1], alone, rtol=0, atol=1e-4)


def test_the_batch_size_bounds_the_rows_of_a_pass():
    unet = gaussian_unet(stable_diffusion_schedule(), 1.0)
    settings = {"n_steps": 2, "generators": generators(5), "batch_size": 2}
    states, empty = states_with_mean([0.0] * 5), states_with_mean([0.0])
    sample(unet, stable_diffusion_schedule(), states, empty, guidance_scale=3.0, **settings)
    assert unet.calls == [(501, 4), (501, 4), (501, 2), (1, 4), (1, 4), (1, 2)]
    unet.calls.clear()
    # Without guidance the unconditional pass is left out.
    sample(unet, stable_diffusion_schedule(), states, empty, guidance_scale=1.0, **settings)
    assert [rows for _, rows in unet.calls] == [2, 2, 1] * 2


def test_the_parts_are_left_as_they_were_found(model):
    parameters = {name: value.clone() for name, value in model.unet.state_dict().items()}
    scheduler = stable_diffusion_schedule()
    scheduler.set_timesteps(4)
    latents = torch.randn(2, *LATENT_SHAPE, generator=torch.Generator().manual_seed(14))
    states, empty = random_states(2), random_states(1, seed=11)
    before = [tensor.clone() for tensor in (latents, states, empty, scheduler.timesteps)]
    sample(
        model.unet,
        scheduler,
        states,
        empty,
        latents=latents,
        strength=0.5,
        n_steps=10,
        guidance_scale=2.0,
        generators=generators(2),
        guidance=Guidance(lambda noisy, _: noisy.square().flatten(1).sum(1), 0.1),
    )
    for tensor, kept in zip((latents, states, empty, scheduler.timesteps), before, strict=True):
        assert torch.equal(tensor, kept)
    assert scheduler.num_inference_steps == 4
    assert not model.unet.training
    assert not any(parameter.requires_grad for parameter in model.unet.parameters())
    for name, value in model.unet.state_dict().items():
        assert torch.equal(value, parameters[name])


def test_the_callback_sees_all_images_after_every_step_in_order(model):
    seen = []
    got = sample(
        model.unet,
        model.scheduler,
        random_states(3),
        n_steps=6,
        guidance_scale=1.0,
        generators=generators(3),
        batch_size=2,
        callback=lambda *arguments: seen.append(arguments),
    )
    steps, timesteps, latents, originals = zip(*seen, strict=True)
    assert steps == tuple(range(6))
    assert [int(timestep) for timestep in timesteps] == [831, 665, 499, 333, 167, 1]
    assert all(tensor.shape == (3, *LATENT_SHAPE) for tensor in latents + originals)
    assert torch.equal(latents[-1], got)


# Seeds, timesteps, conditions


def test_a_generator_depends_on_image_repeat_and_seed_alone():
    def draw(*key):
        return torch.randn(8, generator=make_generator(*key))

    assert torch.equal(draw(72_999, 2, 5), draw(72_999, 2, 5))
    others = [draw(i, r, s) for i in (3, 4) for r in (0, 1) for s in (0, 1)]
    assert len({tuple(other.tolist()) for other in others}) == 8
    assert torch.equal(draw(np.int64(3), 1), draw(3, 1))
    with pytest.raises(ValueError, match="image_id as a whole number of at least 0, got -1"):
        make_generator(-1, 0)


def test_strengths_are_counted_as_diffusers_counts_them():
    scheduler = stable_diffusion_schedule()
    pipeline = StableDiffusionImg2ImgPipeline.__new__(StableDiffusionImg2ImgPipeline)
    pipeline.__dict__["scheduler"] = stable_diffusion_schedule()
    for n_steps in (1, 20, 25, 50):
        pipeline.scheduler.set_timesteps(n_steps)
        for strength in np.linspace(0.01, 1, 100):
            if int(n_steps * strength) == 0:
                with pytest.raises(ValueError, match="leaves none"):
                    denoising_timesteps(scheduler, n_steps, strength)
                continue
            expected, _ = pipeline.get_timesteps(n_steps, strength, "cpu")
            assert torch.equal(denoising_timesteps(scheduler, n_steps, strength), expected)
    assert scheduler.num_inference_steps is None


def test_the_three_conditions_share_noise_and_differ_in_what_they_are_given(model):
    latents = torch.randn(3, *LATENT_SHAPE, generator=torch.Generator().manual_seed(15))
    states = random_states(3)
    empty = unconditional(model.text_encoder, model.tokenizer)
    image_ids = [70_000, 12, 5]
    settings = {"strength": 0.6, "n_steps": 10, "guidance_scale": 3.0}

    def draw(condition, z=latents, c=states, **changes):
        return reconstruct(model, z, c, condition=condition, image_ids=image_ids, **(settings | changes))

    def by_hand(states, **changes):
        drawn = sample(
            model.unet,
            model.scheduler,
            states,
            empty,
            generators=[make_generator(image_id, 0) for image_id in image_ids],
            **(settings | changes),
        )
        return decode_latents(model.vae, drawn).clamp(0, 1)

    repeated = empty.repeat(3, 1, 1)
    assert torch.equal(draw("both"), by_hand(states, latents=latents))
    assert torch.equal(draw("c_only"), by_hand(states, strength=1.0))
    # Under the empty caption guidance leads from it to itself: nothing but rounding is lost.
    torch.testing.assert_close(draw("z_only"), by_hand(repeated, latents=latents), rtol=0, atol=1e-5)
    assert torch.equal(draw("z_only"), draw("z_only", c=states + 1))
    assert torch.equal(draw("c_only"), draw("c_only", z=latents + 1))
    assert not torch.equal(draw("both"), draw("both", repeat=1))
    assert draw("both", z=latents.numpy(), c=states.double().numpy()).shape == (3, 3, 16, 16)
    with pytest.raises(ValueError, match="z_only, c_only, both"):
        draw("neither")
    with pytest.raises(ValueError, match="2 rows for 3 image_ids"):
        draw("both", z=latents[:2])


def test_a_drawing_is_the_same_alone_and_among_others(model):
    latents = torch.randn(4, *LATENT_SHAPE, generator=torch.Generator().manual_seed(16))
    states, image_ids = random_states(4), np.array([31, 7, 65_000, 2])
    settings = {"condition": "both", "strength": 0.5, "n_steps": 10, "guidance_scale": 3.0}
    together = reconstruct(model, latents, states, image_ids=image_ids, **settings)
    alone = reconstruct(model, latents[2:3], states[2:3], image_ids=image_ids[2:3], **settings)
    torch.testing.assert_close(together[2:3], alone, rtol=0, atol=1e-4)
