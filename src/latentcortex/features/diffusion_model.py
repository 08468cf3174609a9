"""Load the parts of a latent diffusion model."""

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

from latentcortex import store

_TEXT_ENCODERS = {"CLIPTextModel": CLIPTextModel, "CLIPTextModelWithProjection": CLIPTextModelWithProjection}


@dataclass(frozen=True)
class LatentDiffusion:
    """Hold the parts of a latent diffusion model, frozen and in evaluation mode.

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
    """Return the parts of a latent diffusion model, loaded from a diffusers folder or from the hub.

    Weights are only read from safetensors. The scheduler is always DDIM, with the betas and the offset of the
    model's own scheduler. Stable Diffusion 1.4 names PNDM in its folder, but both systems of the book sample
    with DDIM.

    Parameters
    ----------
    model : str or Path
        A local folder with ``vae/ unet/ text_encoder/ tokenizer/ scheduler/``, or a hub id
        ``owner/name``.
    revision : str, optional
        The commit of a hub id. A hub id requires it, so that the weights cannot change later.
    dtype : torch.dtype
        The dtype in which the three networks compute.
    device : str or torch.device

    Returns
    -------
    LatentDiffusion

    Raises
    ------
    FileNotFoundError
        If `model` is neither a folder nor a hub id.
    ValueError
        If a hub id has no revision, or if the class of the text encoder is unknown.
    """
    _check_place(model, revision, "a diffusers folder", "model")
    for part in ("text_encoder", "vae", "unet", "tokenizer", "scheduler"):
        store.check_files(Path(model, part))
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


def load_tiny_vae(folder, device="cpu", revision=None):
    """Return a tiny autoencoder of the same latents, whose gradients cost less than the VAE's.

    Parameters
    ----------
    folder : str or Path
        A local folder of diffusers' `AutoencoderTiny` (``config.json`` and safetensors), or a hub id
        ``owner/name``.
    device : str or torch.device
    revision : str, optional
        The commit of a hub id. It is required there, so that the weights can't change later.

    Returns
    -------
    AutoencoderTiny
        Frozen, in evaluation mode and in float32.

    Raises
    ------
    FileNotFoundError
        If `folder` is no such folder and no hub id.
    ValueError
        If a hub id comes without revision.
    """
    _check_place(folder, revision, "a folder of an AutoencoderTiny", "tiny_vae")
    if Path(folder).is_dir() and not Path(folder, "config.json").is_file():
        raise FileNotFoundError(f"Expected a folder of an AutoencoderTiny, but {folder} has no config.json.")
    store.check_files(folder)
    tiny = AutoencoderTiny.from_pretrained(
        str(folder),
        revision=revision,
        use_safetensors=True,
        torch_dtype=torch.float32,
        low_cpu_mem_usage=False,
    )
    return tiny.to(device).eval().requires_grad_(False)


def _check_place(model, revision, expected, field):
    """Refuse what is neither a folder nor a hub id with the commit to load."""
    if Path(model).is_dir():
        return
    if isinstance(model, Path) or model.count("/") != 1 or model[0] in "/.~":
        raise FileNotFoundError(
            f"Expected {expected} or a hub id like 'owner/name', got {model}, which is neither. Check the "
            f"path, or the preset's `{field}`."
        )
    if revision is None:
        raise ValueError(
            f"The hub model {model!r} needs `revision=`, the commit to load: without it the weights could "
            "change from one day to the next."
        )
