"""Operations per second of the U-Net on the device at hand, in the preset's dtype: the rate of a plan.

Makes a U-Net of Stable Diffusion 1.4's size (or of the preset's folder) with random weights, runs it at
several batch sizes, and prints TFLOP/s. Reads no data, writes nothing. Give the best rate to ``latentcortex
plan --rate GPU=TFLOPS``. On a CPU use the preset mini.
"""

import argparse
import time
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from guided_sampler import SD14_UNET

from latentcortex import presets
from latentcortex.studies.operations import operations_of

SECONDS = 5  # of each batch size, after a warm-up


def unet_of(preset):
    """Return a U-Net of the preset's size with random weights, on its device and in its dtype."""
    folder = Path(preset.model, "unet")
    config = UNet2DConditionModel.load_config(folder) if folder.is_dir() else SD14_UNET
    with torch.device(preset.device):
        unet = UNet2DConditionModel.from_config(config)
    return unet.to(preset.dtype).eval().requires_grad_(False)


def rate(preset, unet, batch_size):
    """Return images per second of one pass, after a warm-up."""
    options = {"device": preset.device, "dtype": preset.dtype}
    noisy = torch.randn(batch_size, *preset.latent_shape, **options)
    states = torch.randn(batch_size, preset.n_tokens, unet.config.cross_attention_dim, **options)

    def passed():
        unet(noisy, 500, encoder_hidden_states=states)
        if preset.device == "cuda":
            torch.cuda.synchronize()

    passed()
    n, start = 0, time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        passed()
        n += batch_size
    return n / (time.perf_counter() - start)


def main():
    """Print the rate at each batch size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="sd14")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4, 8])
    args = parser.parse_args()
    preset = presets.get(args.preset)
    name = torch.cuda.get_device_name() if preset.device == "cuda" else "CPU"
    operations, unet = operations_of(preset)["unet"], unet_of(preset)
    print(f"{name}, {preset.dtype}, one pass of the U-Net is {operations / 1e9:,.1f} GFLOP")
    for batch_size in args.batches:
        found = rate(preset, unet, batch_size)
        print(f"batch {batch_size:3}: {found:8.2f} passes a second, {found * operations / 1e12:8.3f} TFLOP/s")


if __name__ == "__main__":
    with torch.no_grad():
        main()
