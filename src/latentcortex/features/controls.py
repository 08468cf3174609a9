"""Make control features that could explain a U-Net's predictions without its training."""

import torch
import torch.nn.functional as F

from latentcortex.features.checks import as_count, as_images, as_tensor


def random_unet(unet, generator):
    """Return a U-Net with the same configuration and random, untrained weights.

    The weights are initialised as in diffusers and torch. If this network predicts responses as well as the
    trained one, then its training does not explain the prediction.

    Parameters
    ----------
    unet : UNet2DConditionModel
        The U-Net to imitate. It is not changed, and its weights are not used.
    generator : torch.Generator
        The only source of randomness. One number is drawn from it.

    Returns
    -------
    UNet2DConditionModel
        Frozen and in evaluation mode, with the device and dtype of `unet`.
    """
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    # Modules draw their weights from torch's own generator on the CPU, which gets its state back.
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.random.default_generator.manual_seed(seed)
        made = type(unet).from_config(unet.config)
    return made.to(unet.device, unet.dtype).eval().requires_grad_(False)


def pooled(activations, size):
    r"""Return activations averaged to a common spatial size, so that layers differ only in content.

    Cell i of s cells along an axis of length h is the mean of the positions

    .. math:: \lfloor i h / s \rfloor, \ldots, \lceil (i + 1) h / s \rceil - 1

    If s does not divide h, neighbouring cells share positions (adaptive average pooling).

    Parameters
    ----------
    activations : array or tensor (n, channels, h, w), floats
    size : int or tuple of two ints
        The side of a square, or (h, w).

    Returns
    -------
    tensor (n, channels, size, size)
        Dtype and device of `activations`.

    Raises
    ------
    ValueError
        If the activations have another shape or are not floats, or if `size` is larger than their size.
    """
    activations = as_tensor(activations, "activations")
    if activations.ndim != 4 or not activations.is_floating_point():
        raise ValueError(
            f"Expected activations (n, channels, h, w) as floats, got {tuple(activations.shape)} of "
            f"{activations.dtype}."
        )
    sides = tuple(
        as_count(side, "size") for side in (size if isinstance(size, list | tuple) else (size,) * 2)
    )
    if len(sides) != 2 or any(side > n for side, n in zip(sides, activations.shape[2:], strict=False)):
        raise ValueError(
            f"Expected a size of at most {tuple(activations.shape[2:])}, which these activations have, got "
            f"{sides}. Pool all layers to the size of the smallest one, as a larger one only repeats values."
        )
    return F.adaptive_avg_pool2d(activations, sides)


def pixels_of_layer(images, layer):
    """Return pixels averaged to the spatial size of a U-Net's layer.

    Parameters
    ----------
    images : array or tensor (n, 3, h, w)
        Floats in [0, 1].
    layer : UNetLayer
        A layer from `unet_layers`. Its ``shape`` ends with the spatial size.

    Returns
    -------
    tensor (n, 3, h_layer, w_layer)
        In [0, 1], with dtype and device of `images`.

    Raises
    ------
    ValueError
        If shape, dtype or range are not as above, or if the images are smaller than the layer.
    """
    return pooled(as_images(images), tuple(layer.shape[-2:]))
