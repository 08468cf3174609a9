"""Run frozen networks that turn images into latents or CLIP layers, and captions into token states.

Every function moves each batch to the network's device and dtype, and returns its result on the device of the
input. Gradients stay on, except when activations of a U-Net are read, because these are moved to the CPU. The
parameters are frozen, so a graph is built only if the caller's own input requires gradients.

`diffusion_model` loads the parts of a latent diffusion model. `latents` computes z, `captions` computes c,
and `clip_layers` computes g. `unet_modules` lists the layers of a U-Net, `unet_reading` reads them at the
`noise_levels` of a schedule, and `controls` makes feature sets that could explain the same responses.
`checks` raises errors for inputs that a network would accept but process wrongly.
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
