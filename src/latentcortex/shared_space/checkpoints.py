"""Save networks as single safetensors files with everything needed to use them again."""

from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from latentcortex import store
from latentcortex.shared_space.network import NetworkSizes, SharedSpace

_KEY, _WEIGHTS, _RESCALING, _RESCALING_IDS = "shared_space", "weights.", "rescaling.", "rescaled."


def save(model, path, preset=None):
    """Write a network with its subjects, targets, sizes, rescaling, training images and a hash.

    Parameters
    ----------
    model : SharedSpace
    path : path
        Path that ends in ``.safetensors``. Folders are made, and an older file is replaced in one step.
    preset : str, optional
        Name of the preset whose data and encoders it was trained on. `load` compares it.
    """
    tensors = {_WEIGHTS + name: tensor for name, tensor in model.state_dict().items()}
    tensors["training_image_ids"] = torch.from_numpy(model.training_image_ids)
    for subject, by_target in model.rescaling.items():
        tensors[_RESCALING_IDS + subject] = torch.from_numpy(model.rescaling_image_ids[subject])
        for name, found in by_target.items():
            for k, tensor in enumerate(found):
                tensors[f"{_RESCALING}{subject}.{name}.{k}"] = tensor
    metadata = {
        "preset": preset,
        "n_voxels": model.n_voxels,
        "target_shapes": model.target_shapes,
        "sizes": asdict(model.sizes),
    }
    write_tensors(path, tensors, metadata)


def load(path, preset=None, device="cpu"):
    """Return a network that `save` wrote.

    Parameters
    ----------
    path : path
    preset : str, optional
        Name of the preset that the network will be used with.
    device : str or torch.device

    Returns
    -------
    SharedSpace
        In evaluation mode.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file was not written by `save`, belongs to another preset, or is damaged
        (`store.DamagedFileError`).
    """
    tensors, metadata = read_tensors(path)
    if "n_voxels" not in metadata:
        raise ValueError(
            f"{path} belongs to a training under way, which `train` goes on with. Save the "
            "trained network with `save` and load that file."
        )
    if preset is not None and metadata["preset"] != preset:
        raise ValueError(
            f"{path} was trained for the preset {metadata['preset']!r}, expected {preset!r}: its "
            "voxels and targets are others. Train one for this preset, or choose that preset."
        )
    sizes = metadata["sizes"]
    sizes["latent_channels"] = tuple(sizes["latent_channels"])
    model = SharedSpace(metadata["n_voxels"], metadata["target_shapes"], NetworkSizes(**sizes))
    model.load_state_dict({k.removeprefix(_WEIGHTS): v for k, v in tensors.items() if k.startswith(_WEIGHTS)})
    model.training_image_ids = tensors["training_image_ids"].numpy()
    for key in tensors:
        if key.startswith(_RESCALING_IDS):
            subject = key.removeprefix(_RESCALING_IDS)
            model.rescaling_image_ids[subject] = tensors[key].numpy()
            model.rescaling[subject] = {
                name: tuple(tensors[f"{_RESCALING}{subject}.{name}.{k}"] for k in range(3))
                for name in model.target_shapes
            }
    return model.to(device).eval()


def write_tensors(path, tensors, metadata):
    """Write tensors and metadata (JSON-able) as one file with a hash of its contents, atomically."""
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"Expected a path ending in .safetensors, got {path.name!r}.")
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    store.make_folder(path.parent)
    n_bytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    store.check_space(path.parent, n_bytes, path.name)
    with store.replacing(path) as partial:
        save_file(contiguous, partial, metadata={_KEY: store.with_room_for_seal(metadata)})
        store.seal(partial)


def read_tensors(path):
    """Return the tensors (by name, on the CPU) and the metadata that `write_tensors` wrote.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    store.DamagedFileError
        If the file has changed since it was written. Files of earlier versions have no hash, so changed
        numbers are not noticed there.
    ValueError
        If the file was not written by `write_tensors`.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No file {path}. Train the network and `save` it there first.")
    with store.naming_damage(path, "Delete it and train again"), safe_open(path, framework="pt") as file:
        notes = (file.metadata() or {}).get(_KEY)
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if notes is None:
        raise ValueError(f"{path} was not written by latentcortex.shared_space.")
    return tensors, store.check_seal(path, notes)
