"""The networks of the published scores, small: the layers that the protocols ask for, random weights.

Random convolutions still tell images apart, so that scores are no constants. The guide has its own folder.
"""

import json
import tempfile
from pathlib import Path

import open_clip
import torch
import torchvision
from open_clip.transformer import VisionTransformer
from safetensors.torch import save_file
from torch import nn

_CLIP = {
    "embed_dim": 32,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 224, "layers": 12, "width": 32, "patch_size": 14, "head_width": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1},
}
_GUIDE = {
    "image_size": 224,
    "patch_size": 32,
    "width": 32,
    "layers": 12,
    "heads": 2,
    "mlp_ratio": 4.0,
    "output_dim": 32,
}
LAYER_SIZE = 50 * 32  # numbers of a layer: tokens times width


def shrink():
    """Let torchvision and open_clip build small networks under the names that the protocols use."""
    torchvision.models.get_model = _small
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "ViT-L-14-quickgelu.json").write_text(json.dumps(_CLIP))
        open_clip.add_model_config(folder)


def write_weights(folder):
    """Write NAME.safetensors of each network, and the folder of a guide beside it; an existing one stays."""
    folder = Path(folder)
    if (folder / "guide" / "config.json").is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    shrink()
    torch.manual_seed(9)
    for name in ("alexnet", "inception_v3", "efficientnet_b1_v1", "efficientnet_b1_v2", "swav_resnet50"):
        save_file(_small(name).state_dict(), folder / f"{name}.safetensors")
    clip = open_clip.create_model("ViT-L-14-quickgelu", pretrained=None)
    save_file(clip.state_dict(), folder / "clip_vit_l_14.safetensors")
    (folder / "guide").mkdir()
    save_file(VisionTransformer(**_GUIDE).state_dict(), folder / "guide" / "visual.safetensors")
    (folder / "guide" / "config.json").write_text(json.dumps({**_GUIDE, "mean": 0.45, "std": 0.27}))


def _small(name, weights=None, **_arguments):
    """Return a network with the layers `features` and `classifier` of an AlexNet, or `avgpool`."""
    assert weights is None
    if name.startswith("alexnet"):
        features = nn.Sequential(
            *(nn.Conv2d(3, 16, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(16, 24, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(24, 32, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(32, 24, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(24, 24, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2)),
        )
        classifier = nn.Sequential(
            *(nn.Dropout(), nn.Linear(24 * 36, 48), nn.ReLU()),
            *(nn.Dropout(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 10)),
        )
        pool = nn.AdaptiveAvgPool2d(6)
        return _named(features=features, avgpool=pool, flat=nn.Flatten(), classifier=classifier)
    layers = nn.Sequential(nn.Conv2d(3, 24, 7, 4, 3), nn.ReLU(), nn.Conv2d(24, 48, 3, 2, 1), nn.ReLU())
    return _named(layers=layers, avgpool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten())


def _named(**parts):
    """Return modules in a row, by name."""
    network = nn.Sequential()
    for name, part in parts.items():
        network.add_module(name, part)
    return network
