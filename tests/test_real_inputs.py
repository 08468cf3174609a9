"""Tests on data made by others, which lie beside the project and are not part of it."""

from pathlib import Path

import numpy as np
import pytest

from latentcortex.ridge import Ridge

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"


def real_input(name):
    if not (DATA / name).exists():
        pytest.skip(f"real input {name} is not there: expected in ../shared/data of the project")
    return DATA / name


def test_ridge_tells_categories_apart_in_real_fmri():
    """Haxby et al. (2001), one slice: 8 categories from a run never fitted; chance is 0.125."""
    with np.load(real_input("haxby_slice") / "haxby_slice.npz") as data:
        patterns, category, run = data["patterns"], data["category"], data["run"]
    one_hot = (category[:, None] == np.unique(category)).astype(np.float32)
    correct = []
    for held_out in np.unique(run):
        train, test = run != held_out, run == held_out
        ridge = Ridge(cv=11, alpha_per_target=False)  # the default grid, inner folds over runs
        ridge.fit(patterns[train], one_hot[train], groups=run[train])
        correct.extend(ridge.predict(patterns[test]).argmax(1) == one_hot[test].argmax(1))
    assert np.mean(correct) >= 0.70


def test_photographs_survive_the_autoencoder_of_stable_diffusion():
    """TAESD, the distilled VAE of Stable Diffusion 1.x, on photographs of COCO at 512 pixels.

    Each photograph is cropped to its centre square (the shorter side) and resized bilinearly.
    The filter decides the figure: most squares are smaller than 512 pixels, and the sharper
    Lanczos filter leaves 1.5 dB less (25.0 dB, measured over all 84). A photograph takes seconds
    on two cores, so every fourth of the 84 is taken; all with LATENTCORTEX_ALL_PHOTOGRAPHS=1.
    """
    import os

    import torch
    from diffusers import AutoencoderTiny
    from PIL import Image
    from safetensors.torch import load_file

    from latentcortex.features import decode_latents, encode_images

    paths = sorted((real_input("coco_cc") / "images").glob("*.jpg"))
    assert len(paths) == 84
    if os.environ.get("LATENTCORTEX_ALL_PHOTOGRAPHS") != "1":
        paths = paths[::4]
    weights = real_input("taesd")
    encoder = load_file(weights / "taesd_encoder.safetensors")
    decoder = load_file(weights / "taesd_decoder.safetensors")
    state = {f"encoder.layers.{key}": value for key, value in encoder.items()}
    for key, value in decoder.items():
        index, rest = key.split(".", maxsplit=1)
        state[f"decoder.layers.{int(index) - 1}.{rest}"] = value
    vae = AutoencoderTiny()
    vae.load_state_dict(state)
    vae = vae.float().eval().requires_grad_(False)

    def centre_square(path, size=512):
        with Image.open(path) as photograph:
            width, height = photograph.size
            side = min(width, height)
            left, top = (width - side) // 2, (height - side) // 2
            box = (left, top, left + side, top + side)
            pixels = photograph.convert("RGB").resize((size, size), Image.Resampling.BILINEAR, box)
        return torch.from_numpy(np.array(pixels)).permute(2, 0, 1) / 255

    images = torch.stack([centre_square(path) for path in paths])
    latents = encode_images(vae, images, batch_size=4)
    assert latents.shape == (len(paths), 4, 64, 64)
    decoded = decode_latents(vae, latents, batch_size=4).clamp(0, 1)
    psnr = -10 * torch.log10((decoded - images).square().mean(dim=(1, 2, 3)))
    print(f"\nTAESD at 512 px: {psnr.mean():.2f} dB over {len(paths)} photographs")
    assert psnr.mean() >= 26
