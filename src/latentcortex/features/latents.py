"""Images to latents z, and back."""

import torch
from diffusers import AutoencoderTiny


def encode_images(vae, images, batch_size=32):
    r"""Encode images as latents z: the mean of the VAE's posterior times its scaling factor.

    .. math:: z = s \, \mathbb{E}[q(z | 2x - 1)], \qquad s = \text{scaling\_factor}

    The mean, not a draw: z is a target of regression, and a draw would only add noise to it.
    `AutoencoderTiny` has no posterior; its output already is the scaled latent.

    Parameters
    ----------
    vae : AutoencoderKL or AutoencoderTiny
    images : array or tensor (n, 3, h, w)
        Floats in [0, 1].
    batch_size : int
        Images per call of the network; bounds the memory, does not change the result.

    Returns
    -------
    latents : tensor (n, 4, h / f, w / f)
        f is the VAE's downsampling; dtype and device of `images`.

    Raises
    ------
    ValueError
        If shape, dtype or range are not as above.
    """
    images = torch.as_tensor(images)
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"Expected images (n, 3, h, w), got an array {tuple(images.shape)}.")
    if not images.is_floating_point():
        raise ValueError(f"Expected float images in [0, 1], got {images.dtype}. Divide uint8 images by 255.")
    if len(images) and not (images.min() >= 0 and images.max() <= 1):  # also catches NaN
        raise ValueError(
            f"Expected images in [0, 1], got values from {images.min():.3g} to "
            f"{images.max():.3g}. Scale or clamp them first: no range is guessed here."
        )
    latents = []
    for batch in images.split(batch_size):
        encoded = vae.encode(2 * batch.to(vae.device, vae.dtype) - 1)
        # The mode of a Gaussian is its mean.
        is_tiny = isinstance(vae, AutoencoderTiny)
        mean = encoded.latents if is_tiny else encoded.latent_dist.mode()
        latents.append((mean * vae.config.scaling_factor).to(images))
    return torch.cat(latents)


def decode_latents(vae, latents, batch_size=32):
    r"""Decode latents z to images, differentiably and without clamping.

    .. math:: x = (D(z / s) + 1) / 2, \qquad s = \text{scaling\_factor}

    Parameters
    ----------
    vae : AutoencoderKL or AutoencoderTiny
    latents : array or tensor (n, 4, h / f, w / f)
        Scaled, as `encode_images` returns them.
    batch_size : int
        Images per call of the network; bounds the memory, does not change the result.

    Returns
    -------
    images : tensor (n, 3, h, w)
        Near [0, 1], not clamped (a clamp has no gradient outside): ``.clamp(0, 1)`` before
        showing or scoring them. Dtype and device of `latents`.

    Raises
    ------
    ValueError
        If the latents have the wrong shape.
    """
    latents = torch.as_tensor(latents)
    n_channels = vae.config.latent_channels
    if latents.ndim != 4 or latents.shape[1] != n_channels:
        raise ValueError(f"This VAE decodes latents (n, {n_channels}, h, w), got {tuple(latents.shape)}.")
    images = []
    for batch in latents.split(batch_size):
        decoded = vae.decode(batch.to(vae.device, vae.dtype) / vae.config.scaling_factor).sample
        images.append(((decoded + 1) / 2).to(latents))
    return torch.cat(images)
