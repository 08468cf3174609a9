"""Turn images into latents z, and latents into images."""

import torch
from diffusers import AutoencoderTiny

from latentcortex.features.batches import Batches
from latentcortex.features.checks import as_count, as_images, as_tensor, check_finite


def encode_images(vae, images, batch_size=32):
    r"""Return latents z of images: the mean of the VAE's posterior times its scaling factor.

    .. math:: z = s \, \mathbb{E}[q(z | 2x - 1)], \qquad s = \text{scaling\_factor}

    z is the mean rather than a random draw, because a draw would only add noise to a target of regression.
    `AutoencoderTiny` has no posterior, and its output is already the scaled latent.

    Parameters
    ----------
    vae : AutoencoderKL or AutoencoderTiny
    images : array or tensor (n, 3, h, w)
        Floats in [0, 1].
    batch_size : int
        Images per call of the network. It bounds the memory and does not change the result.

    Returns
    -------
    latents : tensor (n, 4, h / f, w / f)
        Latents with dtype and device of `images`. f is the VAE's downsampling factor.

    Raises
    ------
    ValueError
        If shape, dtype or range are not as above, or if `batch_size` is not a whole number of at least 1.
    """
    images, batch_size = as_images(images), as_count(batch_size, "batch_size")
    latents = []
    for batch in Batches(batch_size, under_gradient=images.requires_grad).over(len(images)):
        with batch as rows:
            encoded = vae.encode(2 * images[rows].to(vae.device, vae.dtype) - 1)
            # The mode of a Gaussian is its mean.
            is_tiny = isinstance(vae, AutoencoderTiny)
            mean = encoded.latents if is_tiny else encoded.latent_dist.mode()
            latents.append((mean * vae.config.scaling_factor).to(images))
    return torch.cat(latents)


def decode_latents(vae, latents, batch_size=32):
    r"""Return the images of latents z, not clamped and with gradients.

    .. math:: x = (D(z / s) + 1) / 2, \qquad s = \text{scaling\_factor}

    Parameters
    ----------
    vae : AutoencoderKL or AutoencoderTiny
    latents : array or tensor (n, 4, h / f, w / f)
        Floats, scaled as in `encode_images`.
    batch_size : int
        Images per call of the network. It bounds the memory and does not change the result.

    Returns
    -------
    images : tensor (n, 3, h, w)
        Images near [0, 1], with dtype and device of `latents`. They are not clamped, because a clamp has no
        gradient outside this range. Call ``.clamp(0, 1)`` before showing or scoring them.

    Raises
    ------
    ValueError
        If the latents have the wrong shape, are not floats or not finite, or if `batch_size` is not a whole
        number of at least 1.
    FloatingPointError
        If the network returns NaN or infinite pixels, which can happen in half precision.
    """
    latents, batch_size = as_tensor(latents, "latents"), as_count(batch_size, "batch_size")
    n_channels = vae.config.latent_channels
    if latents.ndim != 4 or latents.shape[1] != n_channels:
        raise ValueError(f"This VAE decodes latents (n, {n_channels}, h, w), got {tuple(latents.shape)}.")
    if not latents.is_floating_point():
        raise ValueError(
            f"Expected latents as floats, got {latents.dtype}. Images of whole numbers would come out black "
            "or white; pass the latents before they were rounded."
        )
    check_finite(latents, "latents", "Look for where they were computed or decoded from responses.")
    images = []
    for batch in Batches(batch_size, under_gradient=latents.requires_grad).over(len(latents)):
        with batch as rows:
            decoded = vae.decode(latents[rows].to(vae.device, vae.dtype) / vae.config.scaling_factor).sample
            finite = torch.isfinite(decoded).flatten(1).all(dim=1).to(latents.device)
            if not finite.all():
                bad = (rows.start + (~finite).nonzero().flatten()).tolist()
                raise FloatingPointError(
                    f"The VAE makes NaN or infinite pixels of the latents in rows {bad[:10]}, whose values "
                    f"go up to {latents[rows][~finite].abs().max():.3g}, computed with in {vae.dtype}. "
                    "Load the VAE in float32, or look at how large these latents are: usual ones are near 1."
                )
            images.append(((decoded + 1) / 2).to(latents))
    return torch.cat(images)
