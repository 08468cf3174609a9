"""Reads folders of PNG and npy pictures, one a file, known by the numbers in their names.

Used by score_images.py, whose help states the rules.
"""

import re
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

ENDINGS = (".png", ".npy")
SHOWN = 5  # names or ids that a message lists


def some(items):
    """Write the first few of many items: "1, 2, 3, 4, 5 and 7 more"."""
    items = list(items)
    more = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return ", ".join(map(str, items[:SHOWN])) + more


def list_images(folder):
    """List the pictures of a folder, and what else lies there, both sorted by name."""
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}.")
    images, stray = [], []
    for path in sorted(folder.iterdir()):
        known = path.is_file() and path.suffix.lower() in ENDINGS and path.name[0] != "."
        (images if known else stray).append(path)
    if not images:
        raise ValueError(f"No picture in {folder}: expected files ending in .png or .npy.")
    return images, stray


def list_by_id(folder, several=False):
    """List the pictures of a folder by id, the first number in a file's name.

    Parameters
    ----------
    folder : path
    several : bool
        Whether there may be several drawings of an id, told apart by the second number.

    Returns
    -------
    paths : dict of int to list of path
        The drawings of each id, in the order of their numbers; as many of each.
    stray : list of path
        What has another ending, a hidden name or no number.

    Raises
    ------
    ValueError
        Two files with the same numbers, or unequal numbers of drawings.
    """
    images, stray = list_images(folder)
    found = {}
    for path in images:
        numbers = [int(digits) for digits in re.findall("[0-9]+", path.stem)]
        if not numbers:
            stray.append(path)
            continue
        key = numbers[1] if several and len(numbers) > 1 else None
        drawings = found.setdefault(numbers[0], {})
        if key in drawings:
            rule = "the second that of the drawing" if several else "and an id has one original"
            raise ValueError(
                f"{drawings[key]} and {path} have the same numbers. The first number in a name is "
                f"the id, {rule}: rename or remove one."
            )
        drawings[key] = path
    if not found:
        raise ValueError(f"No picture in {folder} has a number in its name: which image is it of?")
    # A drawing without a number comes first.
    paths = {
        image_id: [drawings[key] for key in sorted(drawings, key=lambda k: (k is not None, k))]
        for image_id, drawings in found.items()
    }
    most = max(map(len, paths.values()))
    fewer = [image_id for image_id in sorted(paths) if len(paths[image_id]) < most]
    if fewer:
        raise ValueError(
            f"Expected as many drawings of every id in {folder}: there are {most} of some, but of "
            f"{some(f'{k} only {len(paths[k])}' for k in fewer)}."
        )
    return paths, stray


def match(originals, reconstructions, only_common=False):
    """Find the ids that both sides have.

    Parameters
    ----------
    originals, reconstructions : dict of int to list of path
    only_common : bool
        Whether to go on without ids that only one side has.

    Returns
    -------
    ids : list of int
        In ascending order.
    left_out : dict of str to list of int
        Ids without an original, and without a reconstruction.
    """
    ids = sorted(originals.keys() & reconstructions.keys())
    left_out = {
        "no reconstruction": sorted(originals.keys() - reconstructions.keys()),
        "no original": sorted(reconstructions.keys() - originals.keys()),
    }
    if any(left_out.values()) and not (only_common and ids):
        raise ValueError(
            f"The ids don't match: {len(ids)} are in both folders. "
            + "".join(
                f"There is {side} of {len(which)} ids: {some(which)}. "
                for side, which in left_out.items()
                if which
            )
            + "The id is the first number in a file's name. Add what is missing, or score the "
            "ids in both folders with --only-common; the report then names the others."
        )
    if len(ids) < 2:
        raise ValueError(
            f"Expected at least two images to score, got id {ids[0]} alone: identification needs "
            "another image, and an interval more than one."
        )
    return ids, left_out


def read_image(path):
    """Read one picture as float32 (3, h, w) in [0, 1], or say what is wrong with the file."""
    read = _read_png if path.suffix.lower() == ".png" else _read_npy
    try:
        image = read(path)
    except (OSError, SyntaxError) as error:  # what Pillow raises for damaged files
        raise ValueError(f"{path} can't be read: {error}") from error
    if (image == image[0, 0, 0]).all():
        raise ValueError(
            f"{path} is constant: no correlation is defined. That is a failure to report, not a "
            "number. To go on without it, remove it (a reconstruction: with --only-common), and "
            "say so."
        )
    return image


def _read_png(path):
    with Image.open(path) as image:
        if image.mode.startswith(("I", "F")) or ";16" in str(image.tile[0][-1]):
            raise ValueError(f"{path} has 16 bits a channel: save it in 8 bits, or as npy.")
        if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
            image = image.convert("RGBA")
            if image.getextrema()[3][0] < 255:
                raise ValueError(
                    f"{path} is transparent in places, and what is seen there depends on what "
                    "lies behind. Lay it on a background of your choice and save it without."
                )
        return _from_bytes(np.asarray(image.convert("RGB")))


def _read_npy(path):
    try:
        with path.open("rb") as file:
            image = np.lib.format.read_array(file, allow_pickle=False)
    except ValueError as error:
        raise ValueError(f"{path} can't be read: {error}") from error
    if image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3:
        return _from_bytes(image)
    channels = [axis for axis in (0, 2) if image.ndim == 3 and image.shape[axis] == 3]
    if image.dtype.kind != "f" or len(channels) != 1:
        raise ValueError(
            f"{path}: expected uint8 (h, w, 3), or floats (h, w, 3) or (3, h, w) in [0, 1], got "
            f"{image.dtype} {image.shape}."
        )
    if not np.isfinite(image).all():
        raise ValueError(f"{path} has NaN or infinite values: find out where they come from.")
    if image.min() < 0 or image.max() > 1:
        raise ValueError(
            f"{path} has floats from {image.min():.3g} to {image.max():.3g}: expected [0, 1]. "
            "Divide by 255 what was bytes; bring [-1, 1] to x / 2 + 0.5; clip what a decoder gave."
        )
    return np.moveaxis(image, channels[0], 0).astype(np.float32)


def _from_bytes(image):
    return np.moveaxis(image, 2, 0).astype(np.float32) / 255


def read_all(paths, shape=None):
    """Read pictures of one size, one after the other.

    Parameters
    ----------
    paths : sequence of path
    shape : tuple of int, optional
        (h, w) to bring them to, bilinear and with antialiasing, where they have another size.

    Yields
    ------
    float32 tensor (3, h, w)

    Raises
    ------
    ValueError
        A file that is no such picture, or of another size than the first.
    """
    own = None
    for path in paths:
        image = torch.from_numpy(read_image(path))
        own = own or image.shape
        if image.shape != own:
            raise ValueError(
                f"{path} has {image.shape[1]} x {image.shape[2]} pixels, {paths[0]} "
                f"{own[1]} x {own[2]}: the pictures of a folder must be of one size."
            )
        if shape is not None and image.shape[1:] != shape:
            image = F.interpolate(image[None], shape, mode="bilinear", antialias=True)[0]
            image = image.clamp(0, 1)
        yield image


def load(paths, shape=None):
    """Read pictures into one float32 tensor (n, 3, h, w); see `read_all`."""
    images = None
    for k, image in enumerate(read_all(paths, shape)):
        if images is None:
            # Filled in place: a list of pictures and their stack would be two copies.
            images = torch.empty(len(paths), *image.shape)
        images[k] = image
    return images


def mean(paths, shape=None):
    """Average pictures without holding them all: float32 tensor (3, h, w); see `read_all`."""
    return (sum(image.double() for image in read_all(paths, shape)) / len(paths)).float()
