"""The real network classes at tiny size with random weights, shared by the tests."""

import string
from types import SimpleNamespace

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from open_clip.transformer import VisionTransformer
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

from latentcortex.features import ClipImageEncoder, LatentDiffusion
from latentcortex.sampler import make_generator

N_TOKENS, WIDTH, LATENT_SIZE = 12, 8, 8
LATENT_SHAPE = (4, LATENT_SIZE, LATENT_SIZE)
CLIP_CONFIG = {
    "image_size": 16,
    "patch_size": 8,
    "width": 12,
    "layers": 3,
    "heads": 2,
    "mlp_ratio": 2.0,
    "output_dim": 6,
}


def tiny_tokenizer():
    characters = string.ascii_lowercase + string.digits
    words = [*characters, *(c + "</w>" for c in characters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(
        vocab={word: index for index, word in enumerate(words)}, merges=[], model_max_length=N_TOKENS
    )


def tiny_text_encoder(text_encoder_class=CLIPTextModelWithProjection):
    tokenizer = tiny_tokenizer()
    torch.manual_seed(0)
    return text_encoder_class(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=16,
            projection_dim=WIDTH,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=N_TOKENS,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def tiny_vae():
    torch.manual_seed(1)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        norm_num_groups=4,
        latent_channels=4,
        sample_size=16,
        scaling_factor=0.4,
    )


def tiny_unet():
    torch.manual_seed(2)
    return UNet2DConditionModel(
        sample_size=LATENT_SIZE,
        layers_per_block=1,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
    )


def stable_diffusion_schedule(**changes):
    settings = {
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "clip_sample": False,
        "set_alpha_to_one": False,
        "steps_offset": 1,
    }
    return DDIMScheduler(**(settings | changes))


def tiny_latent_diffusion(text_encoder_class=CLIPTextModelWithProjection):
    networks = {"vae": tiny_vae(), "unet": tiny_unet(), "text_encoder": tiny_text_encoder(text_encoder_class)}
    return LatentDiffusion(
        tokenizer=tiny_tokenizer(),
        scheduler=stable_diffusion_schedule(),
        **{part: network.eval().requires_grad_(False) for part, network in networks.items()},
    )


def tiny_clip_image_encoder(dtype=torch.float32):
    torch.manual_seed(0)
    visual = VisionTransformer(**CLIP_CONFIG).eval().requires_grad_(False)
    for parameter in visual.parameters():  # the class token and others start at zero or one
        parameter.add_(0.2 * torch.randn_like(parameter))
    mean, std = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.25, 0.3])
    of_pixels = (values.reshape(3, 1, 1).to(dtype) for values in (mean, std))
    return ClipImageEncoder(visual.to(dtype), *of_pixels, 16, "tiny")


class FakeUNet:
    """A denoiser given as a formula, with the attributes of the real one that the sampler reads."""

    def __init__(self, predict_noise):
        self.config = SimpleNamespace(in_channels=4, sample_size=LATENT_SIZE, cross_attention_dim=WIDTH)
        self.predict_noise = predict_noise
        self.calls = []  # (timestep, number of rows)

    def __call__(self, latents, timestep, encoder_hidden_states):
        self.calls.append((int(timestep), len(latents)))
        return SimpleNamespace(sample=self.predict_noise(latents, int(timestep), encoder_hidden_states))


def gaussian_unet(scheduler, std):
    """Predict noise optimally for data N(mean, std^2), the mean read from the condition.

    z_t = sqrt(abar) z + sqrt(1 - abar) eps has variance abar std^2 + 1 - abar, and
    E[eps | z_t] = sqrt(1 - abar) (z_t - sqrt(abar) mean) / variance.
    """

    def predict_noise(latents, timestep, encoder_hidden_states):
        abar = scheduler.alphas_cumprod[timestep]
        mean = encoder_hidden_states[:, 0, 0, None, None, None]
        variance = abar * std**2 + 1 - abar
        return (1 - abar).sqrt() * (latents - abar.sqrt() * mean) / variance

    return FakeUNet(predict_noise)


def states_with_mean(means):
    states = torch.zeros(len(means), N_TOKENS, WIDTH)
    states[:, 0, 0] = torch.as_tensor(means)
    return states


def generators(n, seed=0):
    return [make_generator(image_id, 0, seed) for image_id in range(n)]


def random_states(n, seed=7):
    return torch.randn(n, N_TOKENS, WIDTH, generator=torch.Generator().manual_seed(seed))


def quadratic(goals):
    """Make the guide 1/2 |z - goal|^2 on latents, image i of row i."""
    return lambda latents, ids: 0.5 * (latents - goals[ids]).square().flatten(1).sum(1)
