"""The two defects of the public code are what they are said to be."""

import pytest
import torch
from tiny_models import (
    LATENT_SHAPE,
    LATENT_SIZE,
    generators,
    random_states,
    stable_diffusion_schedule,
    tiny_latent_diffusion,
)

from latentcortex.sampler import sample
from latentcortex.sampler.as_published import GuidanceWithBeta, SelfAttentionGuided, noise_left_by_beta

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.filterwarnings("ignore")
def test_self_attention_guidance_is_diffusers_own():
    sag = pytest.importorskip(
        "diffusers.pipelines.deprecated.stable_diffusion_sag.pipeline_stable_diffusion_sag"
    )
    model = tiny_latent_diffusion()
    processors = dict(model.unet.attn_processors)
    scheduler = stable_diffusion_schedule()
    states, empty = random_states(3), random_states(1, seed=11)
    got, plain = (
        sample(unet, scheduler, states, empty, n_steps=6, guidance_scale=4.0, generators=generators(3))
        for unet in (SelfAttentionGuided(model.unet, scheduler), model.unet)
    )
    assert model.unet.attn_processors == processors
    pipeline = sag.StableDiffusionSAGPipeline(
        vae=model.vae,
        text_encoder=None,
        tokenizer=None,
        unet=model.unet,
        scheduler=stable_diffusion_schedule(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    for row in range(3):
        expected = pipeline(
            prompt_embeds=states[row : row + 1],
            negative_prompt_embeds=empty,
            height=2 * LATENT_SIZE,
            width=2 * LATENT_SIZE,
            num_inference_steps=6,
            guidance_scale=4.0,
            sag_scale=0.75,
            generator=generators(3)[row],
            output_type="latent",
        ).images
        torch.testing.assert_close(got[row : row + 1], expected, rtol=0, atol=1e-4)
    assert (got - plain).abs().max() > 0.01


def test_beta_in_place_of_its_root_leaves_noise_in_what_the_guide_sees():
    generator = torch.Generator().manual_seed(1)
    latents, noise = (torch.randn(2, *LATENT_SHAPE, generator=generator) for _ in range(2))
    scheduler, seen = stable_diffusion_schedule(), []

    def guide(shown, _image_ids):
        seen.append(shown.detach())
        return shown.square().flatten(1).sum(1)

    guidance = GuidanceWithBeta(guide, 1.0, blend=False)
    for timestep in (721, 601):
        abar = scheduler.alphas_cumprod[timestep]
        noisy = abar.sqrt() * latents + (1 - abar).sqrt() * noise
        guidance.correct(lambda _: noise, noisy, abar, torch.arange(2), 0, timestep)
        left = noise_left_by_beta(abar)
        torch.testing.assert_close(seen[-1], latents + left * noise, rtol=1e-4, atol=1e-4)
    # As worked out from the published code's first and last guided step.
    found = noise_left_by_beta(scheduler.alphas_cumprod[[721, 601]])
    torch.testing.assert_close(found, torch.tensor([0.13, 0.19]), rtol=0, atol=0.005)


def test_self_attention_guidance_must_know_the_rows_of_the_empty_caption():
    model, scheduler = tiny_latent_diffusion(), stable_diffusion_schedule()
    settings = {"n_steps": 2, "generators": generators(2)}
    unet = SelfAttentionGuided(model.unet, scheduler)
    with pytest.raises(ValueError, match="guidance_scale above 1"):
        sample(unet, scheduler, random_states(2), guidance_scale=1.0, **settings)
    for scale in (float("nan"), -0.1):
        with pytest.raises(ValueError, match="sag_scale of at least 0"):
            SelfAttentionGuided(model.unet, scheduler, scale)
    for abar in ([0.5, 1.0], [float("nan")], [0.0]):
        with pytest.raises(ValueError, match=r"abar in \(0, 1\)"):
            noise_left_by_beta(abar)
