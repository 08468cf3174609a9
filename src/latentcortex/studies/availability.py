"""Whether the networks that a preset names can be loaded, asked before the first computation."""

import functools
import urllib.request
from pathlib import Path

import torch

from latentcortex import metrics

_FILES = {
    "vae": "vae/config.json",
    "unet": "unet/config.json",
    "text_encoder": "text_encoder/config.json",
    "tokenizer": "tokenizer/vocab.json",
    "scheduler": "scheduler/scheduler_config.json",
}
_SECONDS = 20  # to wait for the hub


def check_networks(preset, networks):
    """Raise an error that says what to do, unless each network is on disk, in the hub's cache or on the hub.

    Parameters
    ----------
    preset : latentcortex.presets.Preset
    networks : sequence of str
        As `keys.weights_hash` takes them.

    Raises
    ------
    ValueError
        If open_clip has no such network.
    RuntimeError
        If a network is neither on disk nor in the hub's or torch's cache, and cannot be downloaded. With the
        judge all networks are meant that the preset's protocol asks for.
    """
    for name in networks:
        if name in _FILES and not Path(preset.model).is_dir():
            _check_hub(preset.model, preset.revision, (_FILES[name],), "model")
        elif name in ("guide", "judge") and not Path(getattr(preset, name)).exists():
            _check_open_clip(getattr(preset, name), getattr(preset, f"{name}_revision"), name)
        elif name == "tiny_vae" and not Path(preset.tiny_vae).is_dir():
            _check_hub(preset.tiny_vae, preset.tiny_vae_revision, ("config.json",), name)
        if name == "judge":
            _check_protocol(preset)


def _check_protocol(preset):
    for name in sorted({score.network for score in metrics.protocol(preset.protocol).scores} - {None}):
        if name not in metrics.NETWORKS or Path(preset.judge, f"{name}.safetensors").is_file():
            continue
        source = metrics.source_of_weights(name)
        if source.startswith("https://"):
            _check_address(source, name)
        else:
            _check_open_clip(source, preset.judge_revision, "judge")


@functools.cache
def _check_address(address, name):
    kept = Path(torch.hub.get_dir(), "checkpoints", address.rpartition("/")[2])
    if kept.is_file():
        return
    try:
        urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=_SECONDS).close()
    except OSError as error:
        raise RuntimeError(
            f"The scores need the network {name}. Its weights are not at {kept}, and {address} does not give "
            f"them: {error}. Where there is a network, download that file and put it there; or make the "
            f"preset's `judge` a folder with {name}.safetensors."
        ) from error


def _check_open_clip(network, revision, field):
    import open_clip
    from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME

    name, _, tag = network.partition("/")
    if (name, tag) not in open_clip.list_pretrained():
        raise ValueError(
            f"The preset's {field} is {network!r}, which is no folder and no network of open_clip "
            "(open_clip.list_pretrained() lists them as name and weights, to be written name/weights)."
        )
    place = open_clip.get_pretrained_cfg(name, tag).get("hf_hub")
    if place:  # others are fetched from an address of their own, by open_clip
        repository, _, file = place.rpartition("/")
        files = (file,) if file else (HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME)
        _check_hub(repository, revision, files, field)


@functools.cache
def _check_hub(repository, revision, files, field):
    """Look for one of some files in the hub's cache, then on the hub."""
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

    if any(isinstance(try_to_load_from_cache(repository, file, revision=revision), str) for file in files):
        return
    try:
        get_hf_file_metadata(hf_hub_url(repository, files[0], revision=revision), timeout=_SECONDS)
    except Exception as error:  # whatever the library of the day raises where there is no network
        at = f" --revision {revision}" if revision else ""
        raise RuntimeError(
            f"The preset's {field} is {repository!r}. It is not in the hub's cache, "
            f"{constants.HF_HUB_CACHE}, and the hub does not give it: {type(error).__name__}: "
            f"{str(error).splitlines()[0]}. Where there is a network, run 'hf download {repository}{at}', "
            "copy the cache to this machine if it is another one, set HF_HOME to it, and HF_HUB_OFFLINE=1 "
            "so that nothing is asked of the network."
        ) from error
