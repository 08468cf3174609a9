"""Tests on data made by others, which lie beside the project and are not part of it."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny
from PIL import Image
from safetensors.torch import load_file

from latentcortex import metrics
from latentcortex.features import decode_latents, encode_images
from latentcortex.ridge import Ridge

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"


def real_input(name):
    if not (DATA / name).exists():
        pytest.skip(f"real input {name} is not there: expected in ../shared/data of the project")
    return DATA / name


def photographs(size, every=1):
    """Read COCO's photographs, cropped to the centre square and resized, (n, 3, size, size).

    Bilinearly: the filter decides how well they survive an autoencoder, because most squares are
    smaller than 512 pixels. The sharper Lanczos filter leaves 1.5 dB less.
    """
    paths = sorted((real_input("coco_cc") / "images").glob("*.jpg"))
    assert len(paths) == 84
    images = []
    for path in paths[::every]:
        with Image.open(path) as photograph:
            width, height = photograph.size
            side = min(width, height)
            left, top = (width - side) // 2, (height - side) // 2
            box = (left, top, left + side, top + side)
            pixels = photograph.convert("RGB").resize((size, size), Image.Resampling.BILINEAR, box)
        images.append(torch.from_numpy(np.array(pixels)).permute(2, 0, 1) / 255)
    return torch.stack(images)


@pytest.fixture(scope="module")
def taesd():
    """TAESD, the distilled VAE of Stable Diffusion 1.x."""
    folder = real_input("taesd")
    encoder = load_file(folder / "taesd_encoder.safetensors")
    state = {f"encoder.layers.{key}": value for key, value in encoder.items()}
    for key, value in load_file(folder / "taesd_decoder.safetensors").items():
        index, rest = key.split(".", maxsplit=1)
        state[f"decoder.layers.{int(index) - 1}.{rest}"] = value
    vae = AutoencoderTiny()
    vae.load_state_dict(state)
    return vae.float().eval().requires_grad_(False)


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


def test_photographs_survive_the_autoencoder_of_stable_diffusion(taesd):
    """At 512 pixels, where a photograph takes seconds on two cores: every fourth of the 84 is
    taken, all with LATENTCORTEX_ALL_PHOTOGRAPHS=1."""
    every = 1 if os.environ.get("LATENTCORTEX_ALL_PHOTOGRAPHS") == "1" else 4
    images = photographs(512, every)
    latents = encode_images(taesd, images, batch_size=4)
    assert latents.shape == (len(images), 4, 64, 64)
    decoded = decode_latents(taesd, latents, batch_size=4).clamp(0, 1)
    psnr = -10 * torch.log10((decoded - images).square().mean(dim=(1, 2, 3)))
    print(f"\nTAESD at 512 px: {psnr.mean():.2f} dB over {len(images)} photographs")
    assert psnr.mean() >= 26


def responses_to_pixels(images, rng, n_voxels=2000, ncsnr=0.45, n_repeats=3):
    """Simulate voxels that see a blurred patch of a photograph: responses (n, n_voxels).

    Half of them weigh luminance and two opponent colours, half the contrast of luminance, within a
    Gaussian receptive field. The signal has the deviation `ncsnr`, the noise of a trial 1.
    """
    x = torch.nn.functional.interpolate(images, (64, 64), mode="area").double().numpy()
    red, green, blue = x.transpose(1, 0, 2, 3)
    luminance = x.mean(1)
    contrast = sum(np.abs(np.gradient(luminance, axis=axis)) for axis in (1, 2))
    maps = np.stack([luminance, red - green, blue - (red + green) / 2, contrast], axis=1)
    maps = (maps - maps.mean(axis=(0, 2, 3), keepdims=True)) / maps.std((0, 2, 3), keepdims=True)
    weights = rng.standard_normal((n_voxels, 4))
    weights[::2, 3], weights[1::2, :3] = 0, 0
    rows, columns = np.mgrid[:64, :64] + 0.5
    row, column = rng.uniform(0, 64, (2, n_voxels, 1, 1))
    width = rng.uniform(2, 8, (n_voxels, 1, 1))
    fields = np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * width**2))
    fields /= fields.sum(axis=(1, 2), keepdims=True)
    signal = np.einsum("nchw,vhw,vc->nv", maps, fields, weights, optimize=True)
    signal *= ncsnr / signal.std(axis=0)
    noise = rng.standard_normal((n_repeats, *signal.shape)).mean(axis=0)
    return (signal + noise).astype(np.float32)


def alexnet_2(images):
    """Compute AlexNet's activations after the second convolution, (n, 192, 27, 27)."""
    weights = load_file(real_input("alexnet_conv") / "alexnet_conv.safetensors")
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
    first, second = (
        [weights[f"features.{k}.{part}"] for part in ("weight", "bias")] for k in (0, 3)
    )
    x = torch.nn.functional.interpolate(images, (224, 224), mode="bilinear", antialias=True)
    x = torch.nn.functional.conv2d((x - mean) / std, *first, stride=4, padding=2).relu()
    x = torch.nn.functional.max_pool2d(x, 3, 2)
    return torch.nn.functional.conv2d(x, *second, padding=2).relu().numpy()


def test_photographs_are_identified_from_responses_to_their_pixels(taesd):
    """Decode z of real photographs from simulated responses, each from the others: no photograph
    trains its own decoder. Beside it what the training latents can express of the truth at all."""
    images = photographs(128)
    z = encode_images(taesd, images).flatten(1).numpy()
    betas = responses_to_pixels(images, np.random.default_rng(0))
    folds = np.random.default_rng(1).permutation(len(z)) % 12
    decoded, in_span = np.empty_like(z), np.empty_like(z)
    for fold in range(12):
        train, test = folds != fold, folds == fold
        ridge = Ridge(cv="gcv", zscore=True).fit(betas[train], z[train])
        decoded[test] = ridge.predict(betas[test])
        mean = z[train].mean(axis=0)
        basis = np.linalg.svd(z[train] - mean, full_matrices=False)[2][: train.sum() - 1]
        in_span[test] = mean + (z[test] - mean) @ basis.T @ basis
    of_originals, found = alexnet_2(images), {}
    for name, latents in {"decoded": decoded, "in the training span": in_span}.items():
        latents = torch.from_numpy(latents).unflatten(1, (4, 16, 16))
        made = decode_latents(taesd, latents).clamp(0, 1)
        scores = metrics.identification(of_originals, alexnet_2(made))
        found[name] = metrics.bootstrap_mean(scores, np.random.default_rng(2))
        print(f"\n84 photographs, {name}: {found[name]}")
    assert found["decoded"].mean >= 0.70 and found["decoded"].low > 0.6
    assert found["in the training span"].mean > found["decoded"].mean
