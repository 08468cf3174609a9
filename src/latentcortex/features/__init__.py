"""Frozen networks: images to latents and back, captions to token states, images to CLIP layers.

Every function here runs a frozen network, moves each batch to the network's device and dtype,
and returns its result where the input lay. None of them switches gradients off, except for readers of
a U-Net's activations, which bring them to the CPU. The parameters are frozen, so a graph grows only if
the caller's own input requires gradients.

`diffusion_model` loads the parts of a latent diffusion model, `latents` computes z, `captions` c,
`clip_layers` g. `unet_modules` lists what can be read of a U-Net, `unet_reading` reads it at the
`noise_levels` of a schedule, and `controls` makes feature sets that could explain the same responses.
`checks` refuses inputs that a network would take without an error and get wrong.
"""

from latentcortex.features.captions import CaptionWarning, encode_captions, unconditional
from latentcortex.features.clip_layers import ClipImageEncoder, encode_clip_layers, load_clip_image_encoder
from latentcortex.features.controls import pixels_of_layer, pooled, random_unet
from latentcortex.features.diffusion_model import LatentDiffusion, load_latent_diffusion, load_tiny_vae
from latentcortex.features.latents import decode_latents, encode_images
from latentcortex.features.noise_levels import noise_share, noised_latents, timestep_of_share
from latentcortex.features.unet_modules import UNetLayer, unet_layers
from latentcortex.features.unet_reading import Activations, each_activation, unet_activations

__all__ = [
    "Activations",
    "CaptionWarning",
    "ClipImageEncoder",
    "LatentDiffusion",
    "UNetLayer",
    "decode_latents",
    "each_activation",
    "encode_captions",
    "encode_clip_layers",
    "encode_images",
    "load_clip_image_encoder",
    "load_latent_diffusion",
    "load_tiny_vae",
    "noise_share",
    "noised_latents",
    "pixels_of_layer",
    "pooled",
    "random_unet",
    "timestep_of_share",
    "unconditional",
    "unet_activations",
    "unet_layers",
]
