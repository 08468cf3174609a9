"""Fetch single images out of NSD's file of all images, 40 GB, where its layout on the server allows it.

An image is one run of bytes where the array is stored in one piece, or in chunks of one image that are not
packed. Which of these NSD's file has was not checked: the header of the file on the server tells. What comes
is put into an HDF5 file of the same shape that holds the fetched images alone.
"""

import contextlib
import hashlib
from pathlib import Path

import h5py
import numpy as np

from latentcortex.nsd.files import STIMULI
from latentcortex.store import remote_bytes, transfer
from latentcortex.store.downloads import check_room
from latentcortex.store.manifest import Manifest
from latentcortex.store.writing import replacing

_BATCH = 64  # images of one temporary file, 35 MB


class LayoutError(ValueError):
    """The file stores its images so that one can't be fetched alone."""


def runs_of_images(url, image_ids, **patience):
    """Return where images lie in a remote HDF5 file.

    Parameters
    ----------
    url : str
    image_ids : int array (n,)
        0-based 73k ids.
    **patience
        See `transfer.fetch`: tries, pause, timeout.

    Returns
    -------
    runs : list of (int, int)
        Offset and length in bytes of each image.
    shape : tuple of int
        Of all images: (n_images, height, width, 3).

    Raises
    ------
    LayoutError
        Images are packed, or lie in pieces.
    TransferError
        The server does not give ranges, or refuses.
    """
    with _images_in(remote_bytes.RangeFile(url, **patience), url) as brick:
        if brick.file.userblock_size or brick.dtype != np.uint8 or brick.ndim != 4:
            raise LayoutError(f"{url} does not store its images as uint8 of shape (n, height, width, 3).")
        outside = [i for i in image_ids if not 0 <= i < len(brick)]
        if outside:
            raise ValueError(f"{url} has images 0 to {len(brick) - 1}, asked for {outside[0]}.")
        n_bytes, start = int(np.prod(brick.shape[1:])), brick.id.get_offset()
        if start is not None:
            return [(start + int(i) * n_bytes, n_bytes) for i in image_ids], brick.shape
        packed = brick.id.get_create_plist().get_nfilters()
        if brick.chunks != (1, *brick.shape[1:]) or packed:
            how = "packed chunks" if packed else "chunks"
            raise LayoutError(f"{url} stores its images in {how} of shape {brick.chunks}, not one by one.")
        runs = [brick.id.get_chunk_info_by_coord((int(i), 0, 0, 0)) for i in image_ids]
        return [(run.byte_offset, run.size) for run in runs], brick.shape


def images_there(path):
    """Return the ids of the images that a file holds, int (n,); None for a file of all images."""
    with h5py.File(path) as file:
        return file["image_ids"][:] if "image_ids" in file else None


def fetch_images(url, root, image_ids, **options):
    """Bring images into ``nsd_stimuli.hdf5`` of a tree, beside those that it holds already.

    Parameters
    ----------
    url : str
        Of NSD's file of all images.
    root : path
        Of the tree.
    image_ids : int array (n,)
        0-based 73k ids.
    **options
        See `transfer.fetch`.

    Returns
    -------
    list of transfer.Outcome
        Of the temporary files of 64 images that were fetched. If one failed, the images are not there yet,
        and the next call goes on.
    """
    path = Path(root, STIMULI)
    there = images_there(path) if path.is_file() else np.empty(0, int)
    missing = np.empty(0, int) if there is None else np.setdiff1d(image_ids, there)
    if not len(missing):
        return []
    patience = {name: options[name] for name in ("tries", "pause", "timeout") if name in options}
    runs, shape = runs_of_images(url, missing, **patience)
    check_room(
        root, 2 * sum(n for _, n in runs) + int(np.prod(shape[1:])) * len(there), "Putting images together"
    )
    batches = []
    for start in range(0, len(missing), _BATCH):
        ids, ranges = missing[start : start + _BATCH], tuple(runs[start : start + _BATCH])
        name = hashlib.sha256(ids.tobytes()).hexdigest()[:12]
        batches.append((ids, transfer.Remote(url, f"{STIMULI}.parts/{name}.bin", ranges=ranges)))
    outcomes = transfer.fetch([remote for _, remote in batches], root, **options)
    if all(outcome.state != "failed" for outcome in outcomes):
        _put_together(path, Path(root), batches, shape, there)
        manifest = Manifest(Path(root))
        entry = manifest.entries[batches[0][1].path]
        manifest.note(transfer.Remote(url, STIMULI, ranges=tuple(runs)), path, entry, transfer.hash_of(path))
        manifest.forget([remote.path for _, remote in batches])
        for _, remote in batches:
            Path(root, remote.path).unlink()
        with contextlib.suppress(OSError):  # what another run left in it
            Path(root, f"{STIMULI}.parts").rmdir()
    return outcomes


def _put_together(path, root, batches, shape, there):
    """Write a file of chunks of one image; those that nobody writes take no room and read as black."""
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        brick = file.create_dataset("imgBrick", shape, np.uint8, chunks=(1, *shape[1:]))
        if len(there):
            with h5py.File(path) as old:
                for image_id in there:
                    brick[image_id] = old["imgBrick"][image_id]
        for ids, remote in batches:
            with Path(root, remote.path).open("rb") as content:
                for image_id, (_, n_bytes) in zip(ids, remote.ranges, strict=True):
                    brick.id.write_direct_chunk((int(image_id), 0, 0, 0), content.read(n_bytes))
        file["image_ids"] = np.union1d(there, np.concatenate([ids for ids, _ in batches]))


@contextlib.contextmanager
def _images_in(file, url):
    try:
        content = h5py.File(file, "r")
        brick = content["imgBrick"]
    except (OSError, KeyError) as error:
        raise LayoutError(f"{url} is not an HDF5 file with images named imgBrick ({error}).") from error
    with content:
        yield brick
