"""Load the networks of the published scores, and prepare images for them."""

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file

# Means and deviations of the pixels, as the networks' own documentation gives them.
_PIXELS = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
}
# name: torchvision's builder, arguments, enumeration of weights and which of them
_TORCHVISION = {
    "alexnet": ("alexnet", {}, "AlexNet_Weights", "IMAGENET1K_V1"),
    # Trained on pixels in [-1, 1]: told to transform, it takes those of the other networks.
    "inception_v3": (
        "inception_v3",
        {"transform_input": True, "init_weights": False},
        "Inception_V3_Weights",
        "IMAGENET1K_V1",
    ),
    "efficientnet_b1_v1": ("efficientnet_b1", {}, "EfficientNet_B1_Weights", "IMAGENET1K_V1"),
    "efficientnet_b1_v2": ("efficientnet_b1", {}, "EfficientNet_B1_Weights", "IMAGENET1K_V2"),
    "swav_resnet50": ("resnet50", {}, None, None),
}
_SWAV = "https://dl.fbaipublicfiles.com/deepcluster/swav_800ep_pretrain.pth.tar"
_CLIP = {"clip_vit_l_14": ("ViT-L-14-quickgelu", "openai")}
NETWORKS = (*_TORCHVISION, *_CLIP)


@dataclass(frozen=True)
class View:
    """Describe how images are prepared for a network.

    Attributes
    ----------
    size : int or None
        Size in pixels. None leaves the size unchanged.
    crop : bool
        Whether the shorter side is resized to `size` and the centre is cropped. Otherwise both sides are
        resized to `size`, which distorts images that are not square.
    mode : {"bilinear", "bicubic"}
    antialias : bool
        Whether to smooth before shrinking. PIL always does this, and torch only if asked.
    normalise : {None, "imagenet", "clip"}
        The mean and deviation that pixels are normalised with.
    """

    size: int | None = None
    crop: bool = False
    mode: str = "bilinear"
    antialias: bool = True
    normalise: str | None = None

    def __call__(self, images):
        """Return the input of the network for images, a tensor (n, 3, h, w) in [0, 1]."""
        if self.size is not None:
            height, width = images.shape[-2:]
            shape = (self.size, self.size)
            if self.crop:
                short = min(height, width)  # torchvision cuts the longer side off to whole pixels
                shape = (self.size * height // short, self.size * width // short)
            if shape != (height, width):
                images = F.interpolate(images, shape, mode=self.mode, antialias=self.antialias)
            top, left = (round((side - self.size) / 2) for side in shape)
            # Bicubic interpolation overshoots where there are edges.
            images = images[..., top : top + self.size, left : left + self.size].clamp(0, 1)
        if self.normalise is not None:
            mean, std = (images.new_tensor(v)[:, None, None] for v in _PIXELS[self.normalise])
            images = (images - mean) / std
        return images


class Network:
    """Wrap a frozen network, and return the activations of some of its layers.

    Parameters
    ----------
    module : torch.nn.Module
    """

    def __init__(self, module):
        self.module = module.eval().requires_grad_(False)

    @torch.inference_mode()
    def __call__(self, images, layers):
        """Return the activations of some layers.

        Parameters
        ----------
        images : float32 tensor (n, 3, h, w)
            Images as a `View` returns them.
        layers : sequence of str
            Names of submodules, such as ``"features.4"``. ``""`` stands for the output of the network.

        Returns
        -------
        dict of str to float32 array (n, n_features)

        Raises
        ------
        ValueError
            If there is no such layer.
        """
        modules = dict(self.module.named_modules())
        unknown = [layer for layer in layers if layer not in modules]
        if unknown:
            raise ValueError(f"{type(self.module).__name__} has no layers {unknown}.")
        found = {}

        def keep(layer):
            def hook(_module, _inputs, output):
                # A copy: activations in place would change it.
                found[layer] = output.float().flatten(1).cpu().numpy().copy()

            return hook

        hooks = [modules[layer].register_forward_hook(keep(layer)) for layer in layers]
        try:
            self.module(images.to(next(self.module.parameters())))
        finally:
            for hook in hooks:
                hook.remove()
        return found


def load_network(name, folder=None, download=False, device="cpu", revision=None):
    """Return one of the networks of the published scores.

    Parameters
    ----------
    name : str
        One of `NETWORKS`.
    folder : path, optional
        The folder of ``NAME.safetensors``, the state of torchvision's or open_clip's network. An AlexNet may
        lack its classifier.
    download : bool
        Whether weights that are not in `folder` may be downloaded from their authors' servers, into the cache
        of torch or of the hub. No code is downloaded.
    device : str or torch.device
    revision : str, optional
        The commit of the hub that the weights of a CLIP are downloaded from; by default the newest. The
        others have files with a checksum in their name.

    Returns
    -------
    Network

    Raises
    ------
    FileNotFoundError
        If the weights are missing and must not be downloaded.
    ValueError
        If there is no such network, or if the file is damaged or belongs to another network.
    """
    if name not in NETWORKS:
        raise ValueError(f"There is no network {name!r}. Networks: {', '.join(NETWORKS)}.")
    path = None if folder is None else Path(folder) / f"{name}.safetensors"
    if (path is None or not path.is_file()) and not download:
        raise FileNotFoundError(
            f"No weights of {name}: expected {path or f'a folder with {name}.safetensors'}. Put "
            "them there, or allow the download."
        )
    path = path if path and path.is_file() else None
    try:
        if name in _CLIP:
            import open_clip
            from open_clip.pretrained import download_pretrained_from_hf, get_pretrained_cfg

            architecture, pretrained = _CLIP[name]
            if path is None and revision is not None:
                repository = get_pretrained_cfg(architecture, pretrained)["hf_hub"].rstrip("/")
                path = download_pretrained_from_hf(repository, revision=revision)
            module = open_clip.create_model(architecture, pretrained=str(path or pretrained)).visual
        else:
            module = _load_torchvision(name, path)
    except (SafetensorError, RuntimeError, OSError) as error:
        raise ValueError(f"The weights {path or f'of {name}'} can't be loaded: {error}") from error
    return Network(module.float().to(device))


def source_of_weights(name):
    """Return where the weights of one of `NETWORKS` come from if they are not in a folder.

    Returns
    -------
    str
        An address, whose file torch keeps under its own name. Of a CLIP, ``name/pretrained`` of open_clip.
    """
    if name in _CLIP:
        return "/".join(_CLIP[name])
    import torchvision

    _, _, enumeration, which = _TORCHVISION[name]
    return _SWAV if enumeration is None else getattr(torchvision.models, enumeration)[which].url


def _load_torchvision(name, path):
    import torchvision

    builder, arguments, enumeration, which = _TORCHVISION[name]
    module = torchvision.models.get_model(builder, weights=None, **arguments)
    if path is not None:
        state = load_file(path)
    elif enumeration is None:
        state = torch.hub.load_state_dict_from_url(_SWAV, progress=False, weights_only=True)
        state = {key.removeprefix("module."): value for key, value in state.items()}
    else:
        weights = getattr(torchvision.models, enumeration)[which]
        state = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    expected = module.state_dict()
    fitting = {
        key: value for key, value in state.items() if key in expected and value.shape == expected[key].shape
    }
    missing, _ = module.load_state_dict(fitting, strict=False)
    missing = [key for key in missing if not key.endswith("num_batches_tracked")]
    # Classifiers are no features: SwAV has none, and AlexNet's is as large as all the rest.
    absent = {key.split(".")[0] for key in missing}
    if not absent <= {"classifier", "fc"}:
        raise ValueError(
            f"The weights {path or f'of {name}'} lack {missing[:5]}, or have them in other shapes: are they "
            "of this network?"
        )
    for part in absent:
        setattr(module, part, torch.nn.Identity())
    return module
