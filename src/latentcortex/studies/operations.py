"""Count the operations of the networks that a preset names, without their weights."""

from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, CLIPTextModel

# One image at 512 pixels, with 2 operations for each multiplication and addition. Counted by
# `count_operations` from the hub's configurations; tests/test_costs.py counts again.
STABLE_DIFFUSION = {
    "unet": 803_273_441_280,
    "encode": 1_116_658_466_816,
    "decode": 2_514_518_933_504,
    "text": 13_298_503_680,
}
VIT_B_32 = 8_817_623_040  # 224 pixels, CLIP's image encoder
_KNOWN = {"CompVis/stable-diffusion-v1-4": STABLE_DIFFUSION}


def operations_of(preset):
    """Return the operations of one pass of each network, for one image or one caption.

    The networks of a folder are counted from its configurations. Those of Stable Diffusion 1.4 on the hub
    were counted before, so nothing is downloaded. Guides are taken for a ViT-B/32, whose share is small.

    Parameters
    ----------
    preset : latentcortex.presets.Preset

    Returns
    -------
    dict of str to int
        ``"unet"`` is one pass of the U-Net, ``"encode"`` and ``"decode"`` are the two halves of the VAE,
        ``"text"`` is the text encoder and ``"guide"`` the CLIP image encoder of g. A multiplication with its
        addition counts as 2.

    Raises
    ------
    FileNotFoundError
        If the preset's model is neither a folder nor a model whose operations are known.
    """
    if preset.model in _KNOWN:
        return {**_KNOWN[preset.model], "guide": VIT_B_32}
    folder = Path(preset.model)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"Operations are counted for a model in a folder or for {', '.join(_KNOWN)}, but the preset "
            f"{preset.name!r} has the model {preset.model!r}. Download it and give its folder as `model`."
        )
    with torch.device("meta"):  # shapes without numbers: no memory, no weights
        networks = (
            UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(folder / "unet")),
            AutoencoderKL.from_config(AutoencoderKL.load_config(folder / "vae")),
            CLIPTextModel(AutoConfig.from_pretrained(folder / "text_encoder")),
        )
    counted = count_operations(*networks, preset.image_size, preset.latent_shape, preset.n_tokens)
    return {**counted, "guide": VIT_B_32}


def count_operations(unet, vae, text_encoder, image_size, latent_shape, n_tokens):
    """Return the operations of one pass of each network, counted by torch while shapes pass through.

    Parameters
    ----------
    unet, vae, text_encoder
        Networks on the device ``"meta"``.
    image_size : int
        In pixels.
    latent_shape : tuple of int
        (channels, height, width).
    n_tokens : int

    Returns
    -------
    dict of str to int
        See `operations_of`, without the guide.
    """
    latents = torch.zeros(1, *latent_shape, device="meta")
    states = torch.zeros(1, n_tokens, unet.config.cross_attention_dim, device="meta")
    tokens = torch.zeros(1, n_tokens, dtype=torch.long, device="meta")
    image = torch.zeros(1, 3, image_size, image_size, device="meta")
    passes = {
        "unet": lambda: unet(latents, torch.ones((), device="meta"), encoder_hidden_states=states),
        "encode": lambda: vae.encode(image),
        "decode": lambda: vae.decode(latents),
        "text": lambda: text_encoder(tokens),
    }
    return {name: _count(run) for name, run in passes.items()}


@torch.no_grad()
def _count(run):
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()
