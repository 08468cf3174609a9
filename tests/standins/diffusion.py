"""A folder as Stable Diffusion 1.4's on the hub: its classes and configurations, at another width.

With `FULL` the networks are as wide as the real ones; `parameters` counts them without making them.
"""

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

# (of the U-Net, of the VAE, of the text encoder): channels by level, width of the text
FULL = {"unet": (320, 640, 1280, 1280), "vae": (128, 256, 512, 512), "text": 768}
SMALL = {"unet": (32, 32, 64, 64), "vae": (32, 32, 32, 32), "text": 32}
PARAMETERS = {"unet": 859_520_964, "vae": 83_653_863, "text_encoder": 123_060_480}
SCHEDULER = {
    "_class_name": "PNDMScheduler",
    "_diffusers_version": "0.7.0.dev0",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
    "clip_sample": False,
}
_INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.2.2",
    "feature_extractor": ["transformers", "CLIPImageProcessor"],
    "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
    "scheduler": ["diffusers", "PNDMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
_N_WORDS = 49_408


def networks(widths, n_words=_N_WORDS, side=64):
    """Return the three networks by the names of their folders; ``side`` is that of the latents."""
    text = widths["text"]
    return {
        "unet": UNet2DConditionModel(
            sample_size=side,
            block_out_channels=widths["unet"],
            layers_per_block=2,
            cross_attention_dim=text,
            attention_head_dim=8,
            down_block_types=(*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"),
            up_block_types=("UpBlock2D", *["CrossAttnUpBlock2D"] * 3),
        ),
        "vae": AutoencoderKL(
            sample_size=8 * side,
            block_out_channels=widths["vae"],
            layers_per_block=2,
            latent_channels=4,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
        ),
        "text_encoder": CLIPTextModel(
            CLIPTextConfig(
                vocab_size=n_words,
                hidden_size=text,
                intermediate_size=4 * text,
                num_hidden_layers=12,
                num_attention_heads=text // 64 or 2,
                max_position_embeddings=77,
                projection_dim=text,
                hidden_act="quick_gelu",
                bos_token_id=n_words - 2,
                eos_token_id=n_words - 1,
                pad_token_id=1,
            )
        ),
    }


def parameters(widths):
    """Return the number of parameters of each network, counted without memory for them."""
    with torch.device("meta"):
        made = networks(widths)
    return {name: sum(one.numel() for one in of.parameters()) for name, of in made.items()}


def write_folder(folder, side, widths=SMALL):
    """Write the folder for latents of some height and width, with random weights; an existing one stays.

    The tokenizer knows single letters.
    """
    folder = Path(folder)
    if (folder / "model_index.json").is_file():
        return
    words = _words()
    torch.manual_seed(14)
    for name, network in networks(widths, len(words), side).items():
        network.save_pretrained(folder / name)
    for name, content in {"scheduler/scheduler_config.json": SCHEDULER, **_tokenizer(words)}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    (folder / "model_index.json").write_text(json.dumps(_INDEX))


def _words():
    """Return single characters, the last ones of words, and CLIP's two special tokens last."""
    characters = [chr(code) for code in range(33, 127)]
    return [*characters, *(c + "</w>" for c in characters), "<|startoftext|>", "<|endoftext|>"]


def _tokenizer(words):
    """Return the files of the tokenizer in the form of 2022: vocabulary and merges, no tokenizer.json."""
    end = {
        "content": "<|endoftext|>",
        "lstrip": False,
        "normalized": True,
        "rstrip": False,
        "single_word": False,
    }
    start = {**end, "content": "<|startoftext|>"}
    special = {"bos_token": start, "eos_token": end, "pad_token": "<|endoftext|>", "unk_token": end}
    config = {
        **{
            name: {"__type": "AddedToken", **of} if isinstance(of, dict) else of
            for name, of in special.items()
        },
        "add_prefix_space": False,
        "do_lower_case": True,
        "errors": "replace",
        "model_max_length": 77,
        "name_or_path": "openai/clip-vit-large-patch14",
        "special_tokens_map_file": "./special_tokens_map.json",
        "tokenizer_class": "CLIPTokenizer",
    }
    return {
        "tokenizer/vocab.json": {word: k for k, word in enumerate(words)},
        "tokenizer/merges.txt": "#version: 0.2\n",
        "tokenizer/special_tokens_map.json": special,
        "tokenizer/tokenizer_config.json": config,
    }
