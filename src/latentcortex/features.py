"""Frozen networks: images to latents, latents to images, captions to token states.

Every function here runs a frozen network, moves each batch to the network's device and dtype,
and returns its result where the input lay. None of them switches gradients off: the parameters
are frozen, so a graph grows only if the caller's own input requires gradients.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, DDIMScheduler, UNet2DConditionModel
from transformers import (
    AutoConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    PreTrainedModel,
)

_TEXT_ENCODERS = {
    "CLIPTextModel": CLIPTextModel,
    "CLIPTextModelWithProjection": CLIPTextModelWithProjection,
}


@dataclass(frozen=True)
class LatentDiffusion:
    """The parts of a latent diffusion model, frozen and in evaluation mode.

    Attributes
    ----------
    vae : images to latents and back.
    unet : predicts the noise in latents at a timestep, under token states.
    text_encoder, tokenizer : captions to token states.
    scheduler : the noise schedule and the rule of one denoising step.
    """

    vae: AutoencoderKL
    unet: UNet2DConditionModel
    text_encoder: PreTrainedModel
    tokenizer: CLIPTokenizer
    scheduler: DDIMScheduler


def load_latent_diffusion(model, revision=None, dtype=torch.float32, device="cpu"):
    """Load the parts of a latent diffusion model from a diffusers folder or from the hub.

    Weights are read from safetensors only. The scheduler is always DDIM, with the betas and the
    offset of the model's own scheduler: Stable Diffusion 1.4 names another rule (PNDM) in its
    folder, while both systems of the book sample with DDIM.

    Parameters
    ----------
    model : str or Path
        A local folder with ``vae/ unet/ text_encoder/ tokenizer/ scheduler/``, or a hub id
        ``owner/name``.
    revision : str, optional
        The commit of a hub id. Required there, so that the weights can't change underneath.
    dtype : torch.dtype
        Of the three networks.
    device : str or torch.device

    Returns
    -------
    LatentDiffusion

    Raises
    ------
    FileNotFoundError
        If `model` is no folder and no hub id.
    ValueError
        If a hub id comes without revision, or the text encoder is of an unknown class.
    """
    folder = Path(model)
    if not folder.is_dir():
        if isinstance(model, Path) or str(model).count("/") != 1:
            raise FileNotFoundError(
                f"Expected a diffusers folder or a hub id like 'owner/name', got {model}, which is "
                "neither. Check the path, or the preset's `model`."
            )
        if revision is None:
            raise ValueError(
                f"The hub model {model!r} needs `revision=`, the commit to load: without it "
                "the weights could change from one day to the next."
            )
    where = {"pretrained_model_name_or_path": str(model), "revision": revision}
    weights = {**where, "use_safetensors": True}

    config = AutoConfig.from_pretrained(**where, subfolder="text_encoder")
    architecture = (config.architectures or [None])[0]
    if architecture not in _TEXT_ENCODERS:
        raise ValueError(
            f"The text encoder's config names the architecture {architecture!r}; "
            f"expected one of {', '.join(_TEXT_ENCODERS)}."
        )
    networks = {
        "text_encoder": _TEXT_ENCODERS[architecture].from_pretrained(
            **weights, subfolder="text_encoder", dtype=dtype
        )
    }
    for part, network_class in {"vae": AutoencoderKL, "unet": UNet2DConditionModel}.items():
        # Loading in the plain way: the other needs `accelerate` and saves memory we do not miss.
        networks[part] = network_class.from_pretrained(
            **weights, subfolder=part, torch_dtype=dtype, low_cpu_mem_usage=False
        )
    for part, network in networks.items():
        networks[part] = network.to(device).eval().requires_grad_(False)
    return LatentDiffusion(
        tokenizer=CLIPTokenizer.from_pretrained(**where, subfolder="tokenizer"),
        scheduler=DDIMScheduler.from_pretrained(**where, subfolder="scheduler"),
        **networks,
    )


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
        raise ValueError(
            f"Expected float images in [0, 1], got {images.dtype}. Divide uint8 images by 255."
        )
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
        raise ValueError(
            f"This VAE decodes latents (n, {n_channels}, h, w), got {tuple(latents.shape)}."
        )
    images = []
    for batch in latents.split(batch_size):
        decoded = vae.decode(batch.to(vae.device, vae.dtype) / vae.config.scaling_factor).sample
        images.append(((decoded + 1) / 2).to(latents))
    return torch.cat(images)


def encode_captions(text_encoder, tokenizer, captions, batch_size=64):
    """Encode captions as c: the token states of the text encoder, mean over an image's captions.

    As in Stable Diffusion, captions are padded (and cut) to the tokenizer's length, no attention
    mask is used, and the states after the final layer norm are taken, all tokens of them.

    Parameters
    ----------
    text_encoder : CLIPTextModel or CLIPTextModelWithProjection
    tokenizer : CLIPTokenizer
    captions : list of lists of str
        One list per image; the lists may differ in length.
    batch_size : int
        Captions (not images) per call of the network; does not change the result.

    Returns
    -------
    encoder_hidden_states : tensor (n_images, n_tokens, d)
        On the device and in the dtype of the text encoder.

    Raises
    ------
    ValueError
        If an image has no caption, if a single string comes in place of a list, or if tokenizer
        and text encoder differ in the number of tokens.
    """
    if isinstance(captions, str) or any(isinstance(of_image, str) for of_image in captions):
        raise ValueError(
            "Expected a list of captions for each image, got strings. For one caption an image, "
            "pass [[caption] for caption in captions]."
        )
    if len(captions) == 0 or any(len(of_image) == 0 for of_image in captions):
        raise ValueError("Expected at least one image, and at least one caption for each.")
    n_tokens = text_encoder.config.max_position_embeddings
    if tokenizer.model_max_length != n_tokens:
        raise ValueError(
            f"The tokenizer pads to {tokenizer.model_max_length} tokens, the text encoder has "
            f"{n_tokens} positions: they do not belong together."
        )
    texts = [text for of_image in captions for text in of_image]
    device, dtype = text_encoder.device, text_encoder.dtype
    counts = torch.tensor([len(of_image) for of_image in captions], device=device)
    image_of_text = torch.repeat_interleave(torch.arange(len(captions), device=device), counts)
    sums = torch.zeros(
        (len(captions), n_tokens, text_encoder.config.hidden_size), device=device, dtype=dtype
    )
    for start in range(0, len(texts), batch_size):
        tokens = tokenizer(
            texts[start : start + batch_size],
            padding="max_length",
            max_length=n_tokens,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        states = text_encoder(tokens.to(device)).last_hidden_state
        sums = sums.index_add(0, image_of_text[start : start + batch_size], states)
    return sums / counts[:, None, None]


def unconditional(text_encoder, tokenizer):
    """Encode the empty caption, the condition that classifier-free guidance leads away from.

    Returns
    -------
    unconditional_embedding : tensor (1, n_tokens, d)
    """
    return encode_captions(text_encoder, tokenizer, [[""]])
