"""Read images by 0-based 73k ids and in any order."""

import contextlib
from pathlib import Path

import h5py
import numpy as np

from latentcortex.nsd.arguments import checked_ids, checked_size
from latentcortex.nsd.reading import reading
from latentcortex.nsd.tree import existing_path

# Written by `write_tree` where a tree has no images: why.
NO_IMAGES = "nsddata_stimuli/stimuli/nsd/no_images.txt"


def images(root, image_ids, size=None):
    """Return stimuli by id, in the order asked for.

    All images asked for are held in memory as float32, which takes 12 x height x width bytes each. That is
    2.2 MB per image as NSD stores them (425 pixels), or 0.6 MB at 224 pixels. Repeated ids are copied. To
    limit memory, ask for a part of the ids at a time. Files are read image by image.

    Parameters
    ----------
    root : path
    image_ids : int array (n,)
        0-based 73k ids, repeats allowed.
    size : int, optional
        Width and height wanted, in pixels; by default as stored. Interpolation is bicubic with anti-aliasing.

    Returns
    -------
    float32 array (n, 3, height, width)
        RGB in [0, 1].

    Raises
    ------
    FileNotFoundError, ValueError
        If the stimulus file is missing (an imported tree says why), damaged or not uint8 RGB, if ids are out
        of range, or if an image is black.
    BlockingIOError
        Another program holds the file.
    """
    if Path(root, NO_IMAGES).is_file():
        reason = Path(root, NO_IMAGES).read_text(encoding="utf-8").strip()
        raise FileNotFoundError(
            f"The tree at {root} has no images: {reason} Analyses that need no pixels (responses, captions, "
            "noise ceilings) work without them."
        )
    path = existing_path(root, "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5")
    with open_stimuli(path) as brick:
        image_ids = checked_image_ids(image_ids, len(brick))
        # HDF5 wants increasing indices without repeats.
        unique, inverse = np.unique(image_ids, return_inverse=True)
        pixels = read_images(path, brick, unique, size)
    return pixels if np.array_equal(unique, image_ids) else pixels[inverse]


@contextlib.contextmanager
def open_stimuli(path):
    """Yield the images of a stimulus file, a dataset of uint8 (n, height, width, 3).

    Raises
    ------
    ValueError
        If the file is damaged, or stores its images in another way.
    BlockingIOError
        Another program holds the file.
    """
    with contextlib.ExitStack() as stack:
        with reading(path):
            brick = stack.enter_context(h5py.File(path, "r"))["imgBrick"]
            shape, dtype = brick.shape, brick.dtype
        if dtype != np.uint8 or len(shape) != 4 or shape[-1] != 3:
            raise ValueError(
                f"{path} stores images as {dtype} of shape {shape}, but NSD's are uint8 of shape "
                "(n, height, width, 3): RGB from 0 to 255, channels last. Convert the file, or use NSD's own."
            )
        yield brick


def read_images(path, brick, indices, size):
    """Return the images in some rows of the file, float32 (n, 3, height, width) in [0, 1].

    Parameters
    ----------
    path : pathlib.Path
        Path for error messages.
    brick : dataset
        Dataset from `open_stimuli`.
    indices : int array (n,)
    size : int or None
        As for `images`.
    """
    shape = brick.shape[1:3] if size is None else (checked_size(size),) * 2
    pixels = np.empty((len(indices), 3, *shape), np.float32)
    for image, index in zip(pixels, indices, strict=True):
        with reading(path):
            stored = brick[index]
        if not stored.any():
            raise ValueError(
                f"Image {index} in {path} is black in all pixels: it was never fetched or never written. If "
                "the file was fetched image by image, fetch more sessions with `latentcortex download nsd`. "
                "Otherwise delete it and download it again."
            )
        image[...] = resized(np.moveaxis(stored, -1, 0), shape)
    pixels /= 255
    return pixels


def resized(image, shape):
    """Return an image (3, h, w) at another height and width."""
    if image.shape[1:] == shape:
        return image
    from torch import from_numpy
    from torch.nn.functional import interpolate

    batch = from_numpy(image.astype(np.float32))[None]
    return interpolate(batch, shape, mode="bicubic", antialias=True).clamp_(0, 255)[0].numpy()


def checked_image_ids(image_ids, n_images):
    """Return 0-based ids as an int array; raise ValueError if one is not in 0 to `n_images` - 1."""
    ids = checked_ids(image_ids)
    outside = ids[(ids < 0) | (ids >= n_images)]
    if len(outside):
        raise ValueError(
            f"image_ids go from 0 to {n_images - 1} here, got {outside[0]}. The ids in NSD's own "
            "files (73KID, subjectim) count from 1: subtract 1."
        )
    return ids
