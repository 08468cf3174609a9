from dataclasses import fields

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny, DDIMScheduler, PNDMScheduler, StableDiffusionPipeline
from tiny_models import N_TOKENS, WIDTH, tiny_latent_diffusion
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from latentcortex.features import (
    decode_latents,
    encode_captions,
    encode_images,
    load_latent_diffusion,
    load_tiny_vae,
    unconditional,
)
from latentcortex.mini.networks import make_tiny_vae

CAPTIONS = [["a red box", "one box"], ["two cones by the sea"], ["a", "hill", "at dusk 7"]]


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model():
    return tiny_latent_diffusion()


@pytest.fixture
def images():
    return torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(3))


def save(model, folder):
    for field in fields(model):
        getattr(model, field.name).save_pretrained(folder / field.name)


@pytest.mark.parametrize("text_encoder_class", [CLIPTextModel, CLIPTextModelWithProjection])
def test_a_saved_model_is_loaded_with_the_class_that_was_saved(tmp_path, text_encoder_class):
    saved = tiny_latent_diffusion(text_encoder_class)
    save(saved, tmp_path)
    loaded = load_latent_diffusion(tmp_path)
    assert type(loaded.text_encoder) is text_encoder_class
    for part in ("vae", "unet", "text_encoder"):
        network = getattr(loaded, part)
        assert not network.training
        assert not any(parameter.requires_grad for parameter in network.parameters())
        for name, value in getattr(saved, part).state_dict().items():
            torch.testing.assert_close(network.state_dict()[name], value, rtol=0, atol=0)
    expected = encode_captions(saved.text_encoder, saved.tokenizer, CAPTIONS)
    got = encode_captions(loaded.text_encoder, loaded.tokenizer, CAPTIONS)
    torch.testing.assert_close(got, expected, rtol=0, atol=0)
    assert torch.equal(loaded.scheduler.alphas_cumprod, saved.scheduler.alphas_cumprod)


def test_weights_saved_in_half_precision_are_computed_with_in_single(tmp_path):
    saved = tiny_latent_diffusion()
    for part in ("vae", "unet", "text_encoder"):
        getattr(saved, part).half()
    save(saved, tmp_path)
    loaded = load_latent_diffusion(tmp_path, dtype=torch.float32)
    assert {loaded.vae.dtype, loaded.unet.dtype, loaded.text_encoder.dtype} == {torch.float32}


def test_a_folder_with_another_sampler_is_loaded_as_ddim_with_its_betas(tmp_path):
    # As Stable Diffusion 1.4's own folder is written.
    saved = tiny_latent_diffusion()
    save(saved, tmp_path)
    PNDMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True, steps_offset=1
    ).save_pretrained(tmp_path / "scheduler")
    loaded = load_latent_diffusion(tmp_path).scheduler
    assert type(loaded) is DDIMScheduler
    assert loaded.config.steps_offset == 1
    assert torch.equal(loaded.alphas_cumprod, saved.scheduler.alphas_cumprod)


def test_loading_says_what_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="no_such_folder"):
        load_latent_diffusion(tmp_path / "no_such_folder")
    with pytest.raises(FileNotFoundError, match="hub id"):
        load_latent_diffusion("a/path/of/many/parts")
    with pytest.raises(ValueError, match="revision"):
        load_latent_diffusion("owner/name")


def test_weights_that_are_no_safetensors_are_not_loaded(tmp_path):
    model = tiny_latent_diffusion()
    save(model, tmp_path)
    model.unet.save_pretrained(tmp_path / "unet", safe_serialization=False)
    (tmp_path / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(OSError, match="safetensors"):
        load_latent_diffusion(tmp_path)


def test_latents_are_the_posterior_mean_times_the_scaling_factor(model, images):
    latents = encode_images(model.vae, images)
    mean = model.vae.encode(images * 2 - 1).latent_dist.mean
    torch.testing.assert_close(latents, 0.4 * mean)
    assert latents.shape == (5, 4, 8, 8)


def test_decoding_undoes_the_scaling_of_encoding(model, images):
    # diffusers' own round trip knows nothing of the scaling factor.
    expected = (model.vae(images * 2 - 1, sample_posterior=False).sample + 1) / 2
    got = decode_latents(model.vae, encode_images(model.vae, images))
    torch.testing.assert_close(got, expected)


def test_the_tiny_autoencoder_has_no_posterior(images):
    torch.manual_seed(4)
    vae = AutoencoderTiny(
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
    )
    vae = vae.eval().requires_grad_(False)
    latents = encode_images(vae, images)
    torch.testing.assert_close(latents, vae.encode(images * 2 - 1).latents)
    expected = (vae.decode(latents).sample + 1) / 2
    torch.testing.assert_close(decode_latents(vae, latents), expected)


@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_batches_do_not_change_features(model, images, batch_size):
    latents = encode_images(model.vae, images)
    torch.testing.assert_close(encode_images(model.vae, images, batch_size), latents)
    torch.testing.assert_close(
        decode_latents(model.vae, latents, batch_size), decode_latents(model.vae, latents)
    )
    torch.testing.assert_close(
        encode_captions(model.text_encoder, model.tokenizer, CAPTIONS, batch_size),
        encode_captions(model.text_encoder, model.tokenizer, CAPTIONS),
    )


def test_arrays_are_taken_too(model, images):
    torch.testing.assert_close(encode_images(model.vae, np.asarray(images)), encode_images(model.vae, images))


def test_decoding_is_differentiable_and_not_clamped():
    vae = tiny_latent_diffusion().vae.double()
    latents = torch.randn(1, 4, 2, 2, generator=torch.Generator().manual_seed(5)).double()
    latents.requires_grad_(True)
    # Against finite differences.
    assert torch.autograd.gradcheck(lambda z: decode_latents(vae, z), latents, fast_mode=True)
    vae.decoder.conv_out.bias += 9  # far outside [0, 1]
    assert decode_latents(vae, latents).min() > 1


def test_encoding_is_differentiable():
    vae = tiny_latent_diffusion().vae.double()
    images = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(6)).double()
    images = (0.25 + images / 2).requires_grad_(True)  # off the borders of [0, 1]
    assert torch.autograd.gradcheck(lambda x: encode_images(vae, x), images, fast_mode=True)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(2, 16, 16, 3), r"\(n, 3, h, w\)"),
        (torch.zeros(2, 3, 16, 16, dtype=torch.uint8), "Divide uint8"),
        (torch.full((2, 3, 16, 16), 1.5), r"\[0, 1\]"),
        (torch.full((2, 3, 16, 16), -0.5), r"\[0, 1\]"),
        (
            torch.full((2, 3, 16, 16), torch.nan),
            r"images has NaN or infinite values in rows \[0, 1\] \(2 of 2",
        ),
    ],
)
def test_images_of_another_form_are_refused(model, images, message):
    with pytest.raises(ValueError, match=message):
        encode_images(model.vae, images)


def test_latents_of_another_form_are_refused(model):
    with pytest.raises(ValueError, match=r"\(n, 4, h, w\)"):
        decode_latents(model.vae, torch.zeros(2, 3, 8, 8))


def test_captions_are_encoded_as_by_diffusers_and_averaged():
    # diffusers takes the encoder's first output: the token states in this class, in the one
    # with projection the pooled embedding. The states of both classes must be the same for us.
    model = tiny_latent_diffusion(CLIPTextModel)
    pipeline = StableDiffusionPipeline(
        vae=model.vae,
        text_encoder=model.text_encoder,
        tokenizer=model.tokenizer,
        unet=model.unet,
        scheduler=model.scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )

    def encode_one(text):
        return pipeline.encode_prompt(text, "cpu", 1, do_classifier_free_guidance=False)[0][0]

    expected = [torch.stack([encode_one(text) for text in of_image]).mean(0) for of_image in CAPTIONS]
    got = encode_captions(model.text_encoder, model.tokenizer, CAPTIONS)
    assert got.shape == (3, N_TOKENS, WIDTH)
    torch.testing.assert_close(got, torch.stack(expected))
    torch.testing.assert_close(unconditional(model.text_encoder, model.tokenizer), encode_one("")[None])
    with_projection = tiny_latent_diffusion().text_encoder
    ours = with_projection.parameters()
    for value, parameter in zip(model.text_encoder.parameters(), ours, strict=False):
        parameter.copy_(value)  # in the same order; only the projection is left over
    assert len(list(ours)) == 1
    torch.testing.assert_close(encode_captions(with_projection, model.tokenizer, CAPTIONS), got)


def test_captions_of_another_form_are_refused(model):
    for captions, message in [
        ("a box", "list of captions for each"),
        (["a box", "a cone"], "list of captions for each"),
        ([["a box"], []], "at least one caption"),
        ([], "at least one image"),
    ]:
        with pytest.raises(ValueError, match=message):
            encode_captions(model.text_encoder, model.tokenizer, captions)


def test_a_tokenizer_of_another_length_is_refused():
    model = tiny_latent_diffusion()
    model.tokenizer.model_max_length = N_TOKENS + 1
    with pytest.raises(ValueError, match="do not belong together"):
        encode_captions(model.text_encoder, model.tokenizer, CAPTIONS)


def test_a_tiny_autoencoder_is_loaded_frozen_or_missed_by_name(tmp_path):
    tiny = make_tiny_vae()
    tiny.save_pretrained(tmp_path / "tiny")
    loaded = load_tiny_vae(tmp_path / "tiny")
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    latents = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    expected = (tiny.eval().decode(latents).sample + 1) / 2
    torch.testing.assert_close(decode_latents(loaded, latents), expected)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_tiny_vae(tmp_path / "nowhere")


def test_a_tiny_autoencoder_of_the_hub_is_loaded_at_its_commit_only(monkeypatch):
    asked = []

    def from_pretrained(name, **options):
        asked.append((name, options["revision"]))
        return make_tiny_vae()

    monkeypatch.setattr("diffusers.AutoencoderTiny.from_pretrained", from_pretrained)
    with pytest.raises(ValueError, match="'owner/tiny' needs `revision=`"):
        load_tiny_vae("owner/tiny")
    load_tiny_vae("owner/tiny", revision="0123abc")
    assert asked == [("owner/tiny", "0123abc")]
