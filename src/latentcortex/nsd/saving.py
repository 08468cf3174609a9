"""Save maps and predictions as files that other programs read, and read them back unchanged.

Volumes are written as NIfTI in the subject's own space, with the affine of the subject's files. Surface maps
are written as MGH (FreeSurfer) or GIFTI (Connectome Workbench), with one file per hemisphere. Of these,
nilearn reads ``.gii`` and ``.mgz``. Numbers are float32 without a scale, so they come back exactly, and NaN
stays NaN.
"""

import gzip
import json
from pathlib import Path
from typing import NamedTuple

import nibabel
import numpy as np
from nibabel.gifti import GiftiDataArray, GiftiImage, GiftiMetaData

from latentcortex.nsd import surfaces, volumes
from latentcortex.nsd.arguments import checked_ids, plain_array
from latentcortex.nsd.reading import read_image, reading
from latentcortex.nsd.tree import check_subject, existing_path
from latentcortex.store.writing import replacing

_VOLUME, _SURFACE = (".nii.gz", ".nii"), (".mgz", ".mgh", ".gii")
_HEMISPHERES = {"lh": "CortexLeft", "rh": "CortexRight"}


class SavedMap(NamedTuple):
    """Hold what `read_map` found in a file.

    ``values`` float32 (..., n_vertices), (..., nx, ny, nz) or, with a mask, (..., n_voxels); ``image_ids``
    int (n_maps,) or None; ``description`` str, empty where there is none.
    """

    values: np.ndarray
    image_ids: np.ndarray | None
    description: str


def save_map(path, values, root, subject, space, mask=None, image_ids=None, description=""):
    """Write a map, or one map per image, and return the paths of the files.

    Each file is replaced in one step, so no reader sees half of it. The two hemispheres are two files, which
    are written one after the other.

    Parameters
    ----------
    path : path
        Its ending sets the format: ``.nii.gz`` or ``.nii`` for a volume, and ``.mgh``, ``.mgz`` or ``.gii``
        for the surface. On the surface ``maps/r.gii`` becomes ``maps/lh.r.gii`` and ``maps/rh.r.gii``.
    values : array (n_vertices,), (n_maps, n_vertices), (nx, ny, nz) or (n_maps, nx, ny, nz)
        Real numbers, saved as float32. Vertices of the left hemisphere come first. With a mask the shape is
        (n_voxels,) or (n_maps, n_voxels).
    root : path
        The NSD tree. Its files define the size of a map and the position of the subject's voxels.
    subject : str
    space : {"fsaverage", "fsaverage5", "func1pt8mm", "func1mm"}
    mask : bool array (n_vertices,) or (nx, ny, nz), optional
        Where the values belong, for example from `roi_mask`. The rest is saved as NaN.
    image_ids : int array (n_maps,), optional
        The image that each map was predicted for. MGH has no place for it.
    description : str, optional
        What the map shows. NIfTI programs show the first 79 bytes. MGH has no place for it.

    Returns
    -------
    list of pathlib.Path

    Raises
    ------
    ValueError
        If the number of vertices or voxels differs from that of the tree, or if the format cannot hold what
        should be saved.
    """
    check_subject(root, subject)
    path, values = Path(path), plain_array(values, "values")
    ending = _ending(path, _endings_of(space))
    if values.dtype.kind not in "iufb":
        raise ValueError(f"values must be real numbers, got {values.dtype}.")
    reference = _volume_of(root, subject, space) if space in volumes.SPACES else None
    shape = _mesh_of(root, space) if reference is None else reference.shape[:3]
    values = _in_place(values.astype(np.float32), mask, shape, subject, space)
    stacked = values.ndim > len(shape)
    ids = None if image_ids is None else checked_ids(image_ids)
    if ids is not None and not (stacked and len(ids) == len(values)):
        raise ValueError(
            f"image_ids must name one image for each map: got {len(ids)} ids for values of {values.shape}."
        )
    if ending in (".mgh", ".mgz") and (ids is not None or description or (stacked and len(values) == 1)):
        raise ValueError(
            f"{ending} has no place for image_ids, a description, or the axis of a single map: save as .gii, "
            "or leave these out."
        )
    notes = json.dumps({"description": description, "image_ids": None if ids is None else ids.tolist()})
    if reference is not None:
        content = _nifti(np.moveaxis(values, 0, -1) if stacked else values, reference, description, notes)
        return [_write(path, content, ending)]
    written = []
    halves = np.split(values, 2, axis=-1)
    for (hemisphere, structure), half in zip(_HEMISPHERES.items(), halves, strict=True):
        if ending == ".gii":
            content = _gifti(np.atleast_2d(half), structure, stacked, notes)
        else:
            frames = half.T[:, None, None]  # (n, 1, 1) or (n, 1, 1, n_maps)
            content = nibabel.MGHImage(frames, np.eye(4)).to_bytes()
        written.append(_write(path.with_name(f"{hemisphere}.{path.name}"), content, ending))
    return written


def read_map(path, mask=None):
    """Return a map that `save_map`, or another program in the same format, has written.

    Parameters
    ----------
    path : path
        The path as given to `save_map`; for the surface without ``lh.`` and ``rh.``.
    mask : bool array (n_vertices,) or (nx, ny, nz), optional
        The vertices or voxels wanted.

    Returns
    -------
    SavedMap

    Raises
    ------
    FileNotFoundError, ValueError
        If a file is missing or damaged, the hemispheres hold different maps, or the mask has another size.
    """
    path = Path(path)
    ending = _ending(path, (*_VOLUME, *_SURFACE))
    names = [path] if ending in _VOLUME else [path.with_name(f"{h}.{path.name}") for h in _HEMISPHERES]
    for name in names:
        if not name.is_file():
            raise FileNotFoundError(f"No {name.name} in {name.parent}: nsd.save_map writes it.")
    parts = [_read_gifti(name) if ending == ".gii" else _read_image(name) for name in names]
    shapes = [values.shape for values, _ in parts]
    if len(set(shapes)) > 1 or len({notes for _, notes in parts}) > 1:
        raise ValueError(
            f"{names[0]} and {names[1]} hold the shapes {shapes[0]} and {shapes[1]} or belong to different "
            "images: they were not saved together. Save the map again."
        )
    values = np.concatenate([values for values, _ in parts], axis=-1) if len(parts) == 2 else parts[0][0]
    n_axes = 3 if ending in _VOLUME else 1
    if mask is not None:
        mask = plain_array(mask, "mask")
        if mask.dtype != bool or mask.shape != values.shape[-n_axes:]:
            raise ValueError(
                f"{path} holds maps of the size {values.shape[-n_axes:]}; got a mask of {mask.dtype} of the "
                f"size {mask.shape}."
            )
        values = values[..., mask]
    notes = json.loads(parts[0][1])
    ids = notes["image_ids"]
    return SavedMap(values, None if ids is None else np.asarray(ids, int), notes["description"])


def _endings_of(space):
    known = {**dict.fromkeys(surfaces.SPACES, _SURFACE), **dict.fromkeys(volumes.SPACES, _VOLUME)}
    if space not in known:
        raise ValueError(f"Can't save maps in space {space!r}. There are: {', '.join(known)}.")
    return known[space]


def _ending(path, allowed):
    ending = next((ending for ending in allowed if path.name.endswith(ending)), None)
    if ending is None or path.name == ending:
        raise ValueError(f"{path}: expected a name that ends in {', '.join(allowed)}.")
    return ending


def _volume_of(root, subject, space):
    """Return a file of the subject's own volume: the brain mask or, without one, a region's."""
    folder = existing_path(root, f"nsddata/ppdata/{subject}/{space}")
    files = [*folder.glob("brainmask.nii*"), *sorted(folder.glob("roi/*.nii*"))]
    if not files:
        raise FileNotFoundError(
            f"Neither brainmask.nii.gz nor a file of regions in {folder}: nothing says how the voxels of "
            f"{subject} lie. Download one of them."
        )
    return read_image(files[0])


def _mesh_of(root, space):
    """Return the number of vertices of both hemispheres, as (n_vertices,)."""
    folder = existing_path(root, "nsddata/freesurfer/fsaverage/label")
    files = sorted(folder.glob("lh.*.mg[hz]"))
    if not files:
        raise FileNotFoundError(f"No file of regions, lh.*.mgz, in {folder}: the mesh's size is unknown.")
    n_vertices = int(read_image(files[0]).shape[0])
    return (2 * min(n_vertices, surfaces.SPACES[space].n_first or n_vertices),)


def _in_place(values, mask, shape, subject, space):
    """Return float32 values (..., *shape), NaN outside the mask."""
    expected = "x".join(map(str, shape))
    if mask is not None:
        mask = plain_array(mask, "mask")
        if mask.dtype != bool or mask.shape != shape:
            raise ValueError(
                f"{subject} has {expected} vertices or voxels in {space}: expected a mask of bool "
                f"of the shape {shape}, got {mask.dtype} of {mask.shape}."
            )
        if values.ndim not in (1, 2) or values.shape[-1] != np.count_nonzero(mask):
            raise ValueError(
                f"The mask marks {np.count_nonzero(mask)} vertices or voxels, but values have the shape "
                f"{values.shape}: expected (..., {np.count_nonzero(mask)})."
            )
        placed = np.full((*values.shape[:-1], *shape), np.nan, np.float32)
        placed[..., mask] = values
        values = placed
    n_more = values.ndim - len(shape)
    if n_more not in (0, 1) or values.shape[n_more:] != shape or not values.size:
        raise ValueError(
            f"{subject} has {expected} vertices or voxels in {space}, but values have the shape "
            f"{values.shape}: expected {shape} or (n_maps, {', '.join(map(str, shape))})."
        )
    return values


def _nifti(values, reference, description, notes):
    image = nibabel.Nifti1Image(values, reference.affine)
    for code, set_form in (("sform_code", image.set_sform), ("qform_code", image.set_qform)):
        set_form(reference.affine, int(reference.header[code]) or 1)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = description.encode()[:79].decode(errors="ignore").encode()
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", notes.encode()))
    return image.to_bytes()


def _gifti(maps, structure, stacked, notes):
    ids = json.loads(notes)["image_ids"] or range(len(maps))
    arrays = [
        GiftiDataArray(values, datatype="NIFTI_TYPE_FLOAT32", meta=GiftiMetaData(Name=str(name)))
        for values, name in zip(np.ascontiguousarray(maps), ids, strict=True)
    ]
    about = GiftiMetaData(AnatomicalStructurePrimary=structure, latentcortex=notes, stacked=str(stacked))
    return GiftiImage(meta=about, darrays=arrays).to_bytes()


def _write(path, content, ending):
    if ending in (".nii.gz", ".mgz"):
        content = gzip.compress(content, mtime=0)
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return path


_NO_NOTES = json.dumps({"description": "", "image_ids": None})


def _read_image(path):
    """Return values (..., *shape) and notes of a NIfTI or MGH file."""
    image = read_image(path)
    values = np.asarray(image.dataobj, np.float32)
    if isinstance(image, nibabel.MGHImage):
        values = values.reshape(values.shape[0], -1).T  # frames come last
        return (values[0] if len(values) == 1 else values), _NO_NOTES
    notes = _NO_NOTES
    for extension in image.header.extensions:
        content = extension.get_content()
        text = (content if isinstance(content, bytes) else str(content).encode()).rstrip(b"\0").decode()
        if text.startswith('{"description"'):
            notes = text
    return (np.moveaxis(values, -1, 0) if values.ndim == 4 else values), notes


def _read_gifti(path):
    with reading(path):
        image = GiftiImage.from_bytes(path.read_bytes())
        values = np.stack([np.asarray(array.data, np.float32) for array in image.darrays])
    stacked = len(values) > 1 or image.meta.get("stacked") == "True"
    return (values if stacked else values[0]), image.meta.get("latentcortex", _NO_NOTES)
