"""Read images and captions by 0-based 73k ids, in any order."""

import json
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from latentcortex.nsd.tree import existing_path


def images(root, image_ids, size=None):
    """Read stimuli by id, in the order asked for.

    Parameters
    ----------
    root : path
    image_ids : int array (n,)
        0-based 73k ids, repeats allowed.
    size : int, optional
        Width and height wanted, in pixels, such as a model's; by default as stored. Interpolation
        is bicubic and takes care of aliases.

    Returns
    -------
    float32 array (n, 3, height, width)
        RGB in [0, 1].

    Raises
    ------
    FileNotFoundError, ValueError
        No stimulus file; ids out of range.
    """
    path = existing_path(root, "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5")
    with h5py.File(path, "r") as file:
        brick = file["imgBrick"]
        image_ids = _check_ids(image_ids, len(brick))
        # HDF5 wants increasing indices without repeats.
        unique, inverse = np.unique(image_ids, return_inverse=True)
        shape = brick.shape[1:3] if size is None else (size, size)
        pixels = np.empty((len(unique), 3, *shape), np.float32)
        for image, index in zip(pixels, unique, strict=True):
            image[...] = resized(np.moveaxis(brick[index], -1, 0), shape)
    pixels /= 255
    return pixels if np.array_equal(unique, image_ids) else pixels[inverse]


def resized(image, shape):
    """Bring an image (3, h, w) to another height and width."""
    if image.shape[1:] == shape:
        return image
    from torch import from_numpy
    from torch.nn.functional import interpolate

    batch = from_numpy(image.astype(np.float32))[None]
    return interpolate(batch, shape, mode="bicubic", antialias=True).clamp_(0, 255)[0].numpy()


def captions(root, image_ids):
    """Read the captions that people gave to the images (COCO; normally five an image).

    Parameters
    ----------
    root : path
    image_ids : int array (n,)
        0-based 73k ids, repeats allowed.

    Returns
    -------
    list of list of str
        In the order asked for.

    Raises
    ------
    FileNotFoundError, ValueError
        No annotations; ids out of range; an image without captions.
    """
    path = existing_path(root, "nsddata/experiments/nsd/nsd_stim_info_merged.csv")
    table = pd.read_csv(path, index_col="nsdId", usecols=["nsdId", "cocoId", "cocoSplit"])
    chosen = table.loc[_check_ids(image_ids, len(table))]
    texts = {}
    for split in chosen["cocoSplit"].unique():
        path = Path(root) / "annotations" / f"captions_{split}.json"
        if not path.is_file():
            raise FileNotFoundError(
                f"No captions at {path}. They are no part of NSD: unpack the annotations of "
                "COCO 2017 into the folder 'annotations' of the tree."
            )
        for entry in json.loads(path.read_text(encoding="utf-8"))["annotations"]:
            texts.setdefault((split, entry["image_id"]), []).append(entry["caption"])
    keys = list(zip(chosen["cocoSplit"], chosen["cocoId"], strict=True))
    for image_id, key in zip(chosen.index, keys, strict=True):
        if key not in texts:
            raise ValueError(f"{path.name} has no caption of image {image_id} (COCO {key[1]}).")
    return [list(texts[key]) for key in keys]


def _check_ids(image_ids, n_images):
    ids = np.asarray(image_ids)
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise ValueError(f"image_ids must be 1-D integers, got {ids.dtype} of shape {ids.shape}.")
    outside = ids[(ids < 0) | (ids >= n_images)]
    if len(outside):
        raise ValueError(
            f"image_ids go from 0 to {n_images - 1} here, got {outside[0]}. The ids in NSD's own "
            "files (73KID, subjectim) count from 1: subtract 1."
        )
    return ids
