"""Read folders of pictures, one per file, as PNG, JPEG or npy."""

import hashlib
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps

from latentcortex.scorecard.names import find_numbers, some

JPEG = (".jpg", ".jpeg")
ENDINGS = (".png", ".npy", *JPEG)
MEGAPIXELS = 50  # larger pictures are refused before they are decoded
THUMBNAIL = 8  # pixels
_ORIENTATION = 0x0112


def list_images(folder):
    """Return the pictures of a folder and the other files in it, both sorted by name."""
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}.")
    images, stray = [], []
    for path in sorted(folder.iterdir()):
        known = path.is_file() and path.suffix.lower() in ENDINGS and path.name[0] != "."
        (images if known else stray).append(path)
    if not images:
        raise ValueError(f"No picture in {folder}: expected files ending in {', '.join(ENDINGS)}.")
    return images, stray


def list_by_id(folder, several=False, pattern=None):
    """Return the pictures of a folder by id, the files left out, and how the names were read.

    The pictures are a dict of id (int) to the paths of its drawings, in the order of their numbers. Every id
    has the same number of drawings, which is one unless `several` is True. See `names.find_numbers` for the
    pattern. A ValueError is raised if two files have the same numbers, or if the numbers of drawings are
    unequal.
    """
    images, stray = list_images(folder)
    numbers, shown = find_numbers([path.stem for path in images], pattern)
    stray += [path for path in images if path.stem not in numbers]
    if not numbers:
        of = "a number in its name" if pattern is None else f"a name that --id {pattern!r} fits"
        raise ValueError(f"No picture in {folder} has {of}: which image is it of?")
    found = {}
    for path in (path for path in images if path.stem in numbers):
        image_id, drawing = numbers[path.stem]
        drawings = found.setdefault(image_id, {})
        key = drawing if several else None
        if key in drawings:
            rule = "a drawing has a number of its own" if several else "an id has one original"
            raise ValueError(
                f"{drawings[key]} and {path} have the same numbers, read as {some(shown)}, but {rule}: "
                "rename or remove one, or say by --id where the id stands."
            )
        drawings[key] = path
    # A drawing without a number comes first.
    paths = {
        image_id: [drawings[key] for key in sorted(drawings, key=lambda k: (k is not None, k))]
        for image_id, drawings in found.items()
    }
    most = max(map(len, paths.values()))
    fewer = [image_id for image_id in sorted(paths) if len(paths[image_id]) < most]
    if fewer:
        raise ValueError(
            f"Expected as many drawings of every id in {folder}, whose names were read as {some(shown)}: "
            f"there are {most} of some, but of {some(f'{k} only {len(paths[k])}' for k in fewer)}."
        )
    return paths, stray, shown


def match(originals, reconstructions, only_common=False):
    """Return the ids that both sides have, in ascending order, and the ids missing on each side.

    A ValueError is raised if there are fewer than two ids. Without `only_common` it is also raised if one
    side lacks an id.
    """
    originals, reconstructions = set(originals), set(reconstructions)
    ids = sorted(originals & reconstructions)
    left_out = {
        "no reconstruction": sorted(originals - reconstructions),
        "no original": sorted(reconstructions - originals),
    }
    if any(left_out.values()) and not (only_common and ids):
        shifted = "".join(
            f"Were the ids of the reconstructions one {word}, all would have an original: is one folder "
            "numbered from 0, the other from 1? "
            for step, word in {-1: "lower", 1: "higher"}.items()
            if {k + step for k in reconstructions} <= originals
        )
        raise ValueError(
            f"The ids don't match: {len(ids)} are in both folders. "
            + "".join(
                f"There is {side} of {len(which)} ids: {some(which)}. "
                for side, which in left_out.items()
                if which
            )
            + shifted
            + "Add what is missing, say by --id where the id stands in a name, or score the ids in both "
            "folders with --only-common; the report then names the others."
        )
    if len(ids) < 2:
        raise ValueError(
            f"Expected at least two images to score, got id {ids[0]} alone: identification needs "
            "another image, and an interval more than one."
        )
    return ids, left_out


def read_image(path):
    """Return one picture as float32 (3, h, w) in [0, 1]; raise ValueError if the file is faulty."""
    size_of(path)
    try:
        image = _npy(path) if path.suffix.lower() == ".npy" else _decoded(path)
    except (OSError, SyntaxError) as error:  # what Pillow raises for damaged files
        raise ValueError(f"{path} can't be read: {error}") from error
    if image.dtype == np.uint8:
        image = image.astype(np.float32) / 255
    elif not np.isfinite(image).all():
        raise ValueError(f"{path} has NaN or infinite values: find out where they come from.")
    elif image.min() < 0 or image.max() > 1:
        raise ValueError(
            f"{path} has floats from {image.min():.3g} to {image.max():.3g}: expected [0, 1]. "
            "Divide by 255 what was bytes; bring [-1, 1] to x / 2 + 0.5; clip what a decoder gave."
        )
    if (image == image[0, 0, 0]).all():
        raise ValueError(
            f"{path} is constant: no correlation is defined. That is a failure to report, not a "
            "number. To go on without it, remove it (a reconstruction: with --only-common), and "
            "say so."
        )
    return np.array(image, np.float32)


def size_of(path):
    """Return the height and width of a picture from the header of its file, without decoding it."""
    try:
        if path.suffix.lower() == ".npy":
            height, width = _npy(path).shape[1:]
        else:
            with Image.open(path) as image:
                width, height = image.size
                # Not asked of a PNG, which would be decoded for it.
                if image.format == "JPEG" and image.getexif().get(_ORIENTATION, 1) > 4:
                    width, height = height, width
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} can't be read: {error}") from error
    if height * width > MEGAPIXELS * 1e6:
        raise ValueError(
            f"{path} has {height} x {width} pixels, more than {MEGAPIXELS} megapixels: is it a picture of "
            "one image? Resize it before it is scored."
        )
    return height, width


def _decoded(path):
    """Decode a PNG or JPEG: uint8 (3, h, w)."""
    with Image.open(path) as image:
        if image.mode.startswith(("I", "F")) or ";16" in str(image.tile[0][-1]):
            raise ValueError(f"{path} has 16 bits a channel: save it in 8 bits, or as npy.")
        if image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
            raise ValueError(f"{path} has the colours of {image.mode}: convert it to RGB.")
        if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
            image = image.convert("RGBA")
            if image.getextrema()[3][0] < 255:
                raise ValueError(
                    f"{path} is transparent in places, and what is seen there depends on what "
                    "lies behind. Lay it on a background of your choice and save it without."
                )
        if image.format == "JPEG":
            # Cameras save pictures as they were held, with a note how to turn them.
            image = ImageOps.exif_transpose(image)
        return np.moveaxis(np.asarray(image.convert("RGB")), 2, 0)


def _npy(path):
    """Return the array of a file, not read yet, as uint8 or floats (3, h, w)."""
    try:
        image = np.lib.format.open_memmap(path, mode="r")
    except ValueError as error:
        raise ValueError(f"{path} can't be read: {error}") from error
    channels = [axis for axis in (0, 2) if image.ndim == 3 and image.shape[axis] == 3]
    is_bytes = image.dtype == np.uint8 and 2 in channels
    if not is_bytes and (image.dtype.kind != "f" or len(channels) != 1):
        raise ValueError(
            f"{path}: expected uint8 (h, w, 3), or floats (h, w, 3) or (3, h, w) in [0, 1], got "
            f"{image.dtype} {image.shape}."
        )
    return np.moveaxis(image, 2 if is_bytes else channels[0], 0)


class Pictures:
    """Read pictures of one size only when they are sliced, so that few are in memory.

    Paths (n,) or (n, n_drawings) slice like an array (n, 3, h, w) or (n, n_drawings, 3, h, w). If their `own`
    size differs from `shape`, (h, w), they are resized bilinearly with antialiasing. Then `change` is applied
    to each batch. A ValueError is raised if a file is not a picture, is too large, or differs in size from
    the first.
    """

    def __init__(self, paths, shape=None, change=None):
        self.paths = np.array(paths, dtype=object)
        self.change = change
        first, *others = self.paths.flat
        self.own = size_of(first)
        for path in others:
            size = size_of(path)
            if size != self.own:
                raise ValueError(
                    f"{path} has {size[0]} x {size[1]} pixels, {first} {self.own[0]} x {self.own[1]}: the "
                    "pictures of a folder must be of one size."
                )
        self.shape = (*self.paths.shape, 3, *(shape or self.own))

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, rows):
        paths = self.paths[rows]
        images = torch.empty(paths.size, 3, *self.own)
        for k, path in enumerate(paths.flat):
            images[k] = torch.from_numpy(read_image(path))
        if self.own != self.shape[-2:]:
            images = F.interpolate(images, self.shape[-2:], mode="bilinear", antialias=True).clamp(0, 1)
        if self.change is not None:
            images = self.change(images)
        return images.unflatten(0, paths.shape)


def survey(pictures):
    """Return hashes of drawings, thumbnails (n, p) and mean of the first, reading every picture once."""
    hashes, thumbnails = [], np.empty((len(pictures), 3 * THUMBNAIL**2), np.float32)
    # Summed in place: a new sum for every picture leaves holes in memory that are never filled.
    total = torch.zeros(pictures.shape[-3:], dtype=torch.float64)
    for k in range(len(pictures)):
        images = pictures[k : k + 1].reshape(-1, *pictures.shape[-3:])
        hashes.append([hashlib.sha256(image.numpy()).digest() for image in images])
        thumbnails[k] = F.adaptive_avg_pool2d(images[:1], THUMBNAIL).flatten().numpy()
        total += images[0]
    return hashes, thumbnails, (total / len(pictures)).float()
