"""Images to latents z, and back."""

import torch
from diffusers import AutoencoderTiny

from latentcortex.features.checks import as_count, as_images, as_tensor, check_finite


def encode_images(vae, images, batch_size=32):
    r"""Return images as latents z: the mean of the VAE's posterior times its scaling factor.

    .. math:: z = s \, \mathbb{E}[q(z | 2x - 1)], \qquad s = \text{scaling\_factor}

    It is the mean, not a draw, because z is a target of regression and a draw would only add noise.
    `AutoencoderTiny` has no posterior; its output already is the scaled latent.

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
        f is the VAE's downsampling; dtype and device of `images`.

    Raises
    ------
    ValueError
        If shape, dtype or range are not as above, or `batch_size` is no whole number of at least 1.
    """
    images, batch_size = as_images(images), as_count(batch_size, "batch_size")
    latents = []
    for batch in images.split(batch_size):
        encoded = vae.encode(2 * batch.to(vae.device, vae.dtype) - 1)
        # The mode of a Gaussian is its mean.
        is_tiny = isinstance(vae, AutoencoderTiny)
        mean = encoded.latents if is_tiny else encoded.latent_dist.mode()
        latents.append((mean * vae.config.scaling_factor).to(images))
    return torch.cat(latents)


def decode_latents(vae, latents, batch_size=32):
    r"""Return the images of latents z, differentiably and without clamping.

    .. math:: x = (D(z / s) + 1) / 2, \qquad s = \text{scaling\_factor}

    Parameters
    ----------
    vae : AutoencoderKL or AutoencoderTiny
    latents : array or tensor (n, 4, h / f, w / f)
        Floats, scaled as `encode_images` returns them.
    batch_size : int
        Images per call of the network. It bounds the memory and does not change the result.

    Returns
    -------
    images : tensor (n, 3, h, w)
        Near [0, 1], not clamped, because a clamp has no gradient outside. Call ``.clamp(0, 1)`` before
        showing or scoring them. Dtype and device of `latents`.

    Raises
    ------
    ValueError
        If the latents have the wrong shape, are not floats or not finite, or `batch_size` is no whole
        number of at least 1.
    FloatingPointError
        If the network makes NaN or infinite pixels of them, as it may in half precision.
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
    for start, batch in zip(range(0, len(latents), batch_size), latents.split(batch_size), strict=False):
        decoded = vae.decode(batch.to(vae.device, vae.dtype) / vae.config.scaling_factor).sample
        finite = torch.isfinite(decoded).flatten(1).all(dim=1)
        if not finite.all():
            bad = (start + (~finite).nonzero().flatten()).tolist()
            raise FloatingPointError(
                f"The VAE makes NaN or infinite pixels of the latents in rows {bad[:10]}, whose values go up "
                f"to {batch[~finite.to(batch.device)].abs().max():.3g} and are computed with in {vae.dtype}. "
                "Load the VAE in float32, or look at how large these latents are: usual ones are about 1."
            )
        images.append(((decoded + 1) / 2).to(latents))
    return torch.cat(images)
