"""What the scripts that write products share: where one goes, and what it depends on."""

from pathlib import Path

import numpy as np
from torch import cat, from_numpy

import latentcortex
from latentcortex import features, metrics, nsd, store
from latentcortex.mini import networks

RESULTS = Path(__file__).parents[1] / "results"


def sources(scripts, modules):
    """List the files whose code decides what a product holds.

    Parameters
    ----------
    scripts : sequence of path
    modules : sequence of str
        Of the package, files and folders, such as ``"ridge"``; `nsd` and `features` are always
        among them.
    """
    package = Path(latentcortex.__file__).parent
    found = [
        sorted([*package.glob(f"{name}.py"), *package.glob(f"{name}/*.py")])
        for name in (*modules, "nsd", "features")
    ]
    if not all(found):
        raise FileNotFoundError(f"Not all of {', '.join(modules)} are modules of {package}.")
    return [*map(Path, scripts), Path(__file__), *(path for files in found for path in files)]


def weights_hash(preset, *parts):
    """Identify networks by a hash of their files, or by the commit of a hub id.

    Parameters
    ----------
    preset : latentcortex.presets.Preset
    *parts : str
        Of ``"vae"``, ``"unet"``, ``"text_encoder"``, ``"tokenizer"``, ``"scheduler"``, ``"guide"``,
        ``"judge"``, ``"alexnet"``.
    """
    elsewhere = {"guide": preset.guide, "judge": preset.judge, "alexnet": networks.MODEL_FOLDER / "alexnet"}
    folders = [Path(elsewhere.get(part) or Path(preset.model, part)) for part in parts]
    missing = [folder for folder in folders if folder.is_absolute() and not folder.is_dir()]
    if missing:
        raise FileNotFoundError(f"No {missing[0]}. Look at the preset's model, guide and judge.")
    files = [path for folder in folders for path in sorted(folder.glob("*")) if path.is_file()]
    on_hub = [str(folder) for folder in folders if not folder.is_dir()]
    return store.source_hash(files, [preset.revision, on_hub])


def image_parts(preset, root, image_ids):
    """Yield images (n, 3, h, w) of the model's size, few at a time: NSD's would fill 30 GB."""
    for part in np.array_split(image_ids, max(1, len(image_ids) // 256)):
        yield from_numpy(nsd.images(root, part, preset.image_size))


def encode(preset, model, root, image_ids):
    """Compute the true z (n, 4, h, w) and c (n, n_tokens, d) of images, in float32."""
    captions = nsd.captions(root, image_ids)
    c = features.encode_captions(model.text_encoder, model.tokenizer, captions).float().cpu()
    z = [
        features.encode_images(model.vae, images, preset.batch_size)
        for images in image_parts(preset, root, image_ids)
    ]
    return cat(z), c


def instruments(preset):
    """Load the networks that the preset's protocol of scores asks for, by name."""
    asked = {score.network for score in metrics.PROTOCOLS[preset.protocol].scores}
    published = {
        name: metrics.load_network(name, download=True, device=preset.device)
        for name in asked.intersection(metrics.NETWORKS)
    }
    own = networks.load_instruments() if asked & {"small_alexnet", "judge"} else {}
    return published | own


def parse_shard(text):
    """Read which share of the work to do, such as ``"0/2"``: 0-based number and how many."""
    numbers = text.split("/")
    if len(numbers) == 2 and all(map(str.isdecimal, numbers)):
        shard, n_shards = map(int, numbers)
        if shard < n_shards:
            return shard, n_shards
    raise ValueError(f"Expected --shard I/N with 0 <= I < N, such as 0/2 and 1/2, got {text}.")
