"""Turn images into g, the layers of a CLIP image encoder."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F

from latentcortex import store
from latentcortex.features.batches import Batches
from latentcortex.features.checks import as_count, as_images


@dataclass(frozen=True)
class ClipImageEncoder:
    """Hold a frozen CLIP image encoder, and the size and normalisation of its input.

    Attributes
    ----------
    visual : open_clip's VisionTransformer
    mean, std : tensors (3, 1, 1), of the pixels, from the model's own settings
    image_size : int, pixels
    name : str
        Distinguishes encoders, because features of two encoders cannot be compared. It is ``name/pretrained``
        for an encoder of open_clip. For a folder it is the folder's name with a hash of the weights.
    """

    visual: torch.nn.Module
    mean: torch.Tensor
    std: torch.Tensor
    image_size: int
    name: str


def load_clip_image_encoder(guide, device="cpu", revision=None):
    """Return the image encoder whose layers are the features g, in float32.

    Parameters
    ----------
    guide : str or Path
        A folder with ``config.json`` and ``visual.safetensors``. The configuration holds the arguments of
        open_clip's `VisionTransformer`, and mean and std of the pixels. Or ``name/pretrained`` of open_clip,
        such as ``ViT-B-32-quickgelu/openai``, which open_clip downloads.
    device : str or torch.device
    revision : str, optional
        The commit of the hub to load the weights of ``name/pretrained`` from; by default the newest.

    Returns
    -------
    ClipImageEncoder

    Raises
    ------
    FileNotFoundError
        If `guide` is neither such a folder nor of the form ``name/pretrained``.
    ValueError
        If open_clip has no such network, or would build it with an activation that differs from training.
    """
    folder = Path(guide)
    if (folder / "config.json").is_file():
        from open_clip.transformer import VisionTransformer

        store.check_files(folder)
        config = json.loads((folder / "config.json").read_text())
        mean, std = (torch.full((3,), float(config.pop(name))) for name in ("mean", "std"))
        visual = VisionTransformer(**config)
        path = folder / "visual.safetensors"
        weights = {name: weight.float() for name, weight in store.read_weights(path).items()}
        with store.naming_damage(path, "Get the weights of this encoder again from where you have them"):
            visual.load_state_dict(weights)
        size = config["image_size"]
        encoder_name = f"{folder.name}-{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
    elif not folder.exists() and str(guide).count("/") == 1:
        import open_clip

        encoder_name = str(guide)
        name, pretrained = encoder_name.split("/")
        _check_name(name, pretrained)
        weights, known = pretrained, None
        if revision is not None:
            weights, known = _fetched(name, pretrained, revision)
            encoder_name += f"@{revision[:12]}"
        visual = open_clip.create_model(name, pretrained=weights, force_preprocess_cfg=known).visual
        settings = visual.preprocess_cfg
        mean, std = (torch.tensor(settings[name]) for name in ("mean", "std"))
        size = settings["size"] if isinstance(settings["size"], int) else settings["size"][0]
    else:
        raise FileNotFoundError(
            f"Expected a folder with config.json and visual.safetensors, or 'name/pretrained' of "
            f"open_clip, got {guide}. Check the preset's `guide`."
        )
    visual = visual.float().to(device).eval().requires_grad_(False)
    mean, std = (values.reshape(3, 1, 1).to(device) for values in (mean, std))
    return ClipImageEncoder(visual, mean, std, size, encoder_name)


def _check_name(name, pretrained):
    """Refuse a network that open_clip doesn't have, or builds with another activation than it needs."""
    import open_clip

    known = open_clip.list_pretrained()
    if (name, pretrained) not in known:
        weights = [tag for network, tag in known if network == name]
        raise ValueError(
            f"open_clip has no weights {pretrained!r} of a network {name!r}. "
            + (f"It has {', '.join(weights)}." if weights else "open_clip.list_pretrained() lists all names.")
        )
    # The same weights go by two names. They were trained with one of the two activations.
    trained = open_clip.get_pretrained_cfg(name, pretrained).get("quick_gelu", False)
    if open_clip.get_model_config(name).get("quick_gelu", False) != trained:
        right = f"{name}-quickgelu" if trained else name.removesuffix("-quickgelu")
        if right != name and (right, pretrained) in known:
            raise ValueError(
                f"The weights {pretrained!r} were trained with {'QuickGELU' if trained else 'GELU'}, and "
                f"{name!r} computes with {'GELU' if trained else 'QuickGELU'}: its features would be others. "
                f"Use {right}/{pretrained}."
            )


def _fetched(name, pretrained, revision):
    """Return the file of a network's weights in a commit of the hub, and how its pixels are prepared."""
    from open_clip.pretrained import download_pretrained_from_hf, get_pretrained_cfg

    known = get_pretrained_cfg(name, pretrained)
    if not known.get("hf_hub"):
        raise ValueError(f"The weights {name}/{pretrained} are not on the hub, so they have no revision.")
    owner_and_name, _, file = known["hf_hub"].rpartition("/")
    path = download_pretrained_from_hf(owner_and_name, file or None, revision)
    # A file, unlike a name, does not tell open_clip what pixels the network was trained on.
    return path, {key: known[key] for key in ("mean", "std", "interpolation", "resize_mode") if key in known}


def encode_clip_layers(encoder, images, layers=range(1, 7), batch_size=32, clamped=True):
    """Return g: what several blocks of a CLIP image encoder add to the tokens of images.

    g of block k is the output of ``visual.transformer.resblocks[k - 1].mlp.c_proj``, before it is added to
    the residual stream. It covers all tokens, with the class token first. The result is differentiable.

    Parameters
    ----------
    encoder : ClipImageEncoder
    images : array or tensor (n, 3, h, w)
        Floats in [0, 1]. They are resized bicubically to the encoder's size.
    layers : sequence of int
        Block numbers k, from 1.
    batch_size : int
        Images per call of the network. It limits memory and does not change the result.
    clamped : bool
        Whether the images must be in [0, 1]. A guide passes False, because unfinished images are not clamped
        and may leave this range. The range is not checked then.

    Returns
    -------
    features : dict of int to tensor (n, n_tokens, width)
        float32, on the device of `images`.

    Raises
    ------
    ValueError
        If there is no such block, or shape, dtype or range of the images are not as above.

    Notes
    -----
    Source: the public code of NeuralDiffuser (Li et al., 2025).
    """
    images, batch_size = as_images(images, clamped=clamped), as_count(batch_size, "batch_size")
    blocks = encoder.visual.transformer.resblocks
    layers = [as_count(k, "a layer", at_least=0) for k in layers]
    unknown = [k for k in layers if not 1 <= k <= len(blocks)]
    if unknown:
        raise ValueError(f"This encoder has the blocks 1 to {len(blocks)}, got {unknown}.")
    features, found = {k: [] for k in layers}, {}
    size = (encoder.image_size, encoder.image_size)

    def keep(k):
        return lambda _module, _inputs, output: found.__setitem__(k, output.to(images.device))

    hooks = [blocks[k - 1].mlp.c_proj.register_forward_hook(keep(k)) for k in features]
    try:
        for batch in Batches(batch_size, under_gradient=images.requires_grad).over(len(images)):
            with batch as rows:
                pixels = images[rows].to(encoder.mean)
                if pixels.shape[-2:] != size:
                    pixels = F.interpolate(pixels, size, mode="bicubic", antialias=True)
                encoder.visual((pixels - encoder.mean) / encoder.std)
                for k, parts in features.items():
                    parts.append(found.pop(k))
    finally:
        for hook in hooks:
            hook.remove()
    return {k: torch.cat(parts) for k, parts in features.items()}
