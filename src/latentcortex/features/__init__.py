"""Frozen networks: images to latents and back, captions to token states, images to CLIP layers.

Every function here runs a frozen network, moves each batch to the network's device and dtype,
and returns its result where the input lay. None of them switches gradients off. The parameters
are frozen, so a graph grows only if the caller's own input requires gradients.

`diffusion_model` loads the parts of a latent diffusion model, `latents` computes z, `captions` c,
`clip_layers` g. `checks` refuses inputs that a network would take without an error and get wrong.
"""

from latentcortex.features.captions import CaptionWarning, encode_captions, unconditional
from latentcortex.features.clip_layers import ClipImageEncoder, encode_clip_layers, load_clip_image_encoder
from latentcortex.features.diffusion_model import LatentDiffusion, load_latent_diffusion, load_tiny_vae
from latentcortex.features.latents import decode_latents, encode_images

__all__ = [
    "CaptionWarning",
    "ClipImageEncoder",
    "LatentDiffusion",
    "decode_latents",
    "encode_captions",
    "encode_clip_layers",
    "encode_images",
    "load_clip_image_encoder",
    "load_latent_diffusion",
    "load_tiny_vae",
    "unconditional",
]
