"""LAION-fMRI: five brains at 7 T, 25,052 images, responses without a form.

What is known of the files comes from the authors' documentation and package
(github.com/ViCCo-Group/LAION-fMRI). The folder is like BIDS. ``derivatives/glmsingle-tedana`` has betas in
the subject's T1w space (143 x 143 x 143 voxels of 1.8 mm) and a table of trials for each session.
``derivatives/rois`` has a mask for each region. ``stimuli`` has public captions, embeddings and metadata, and
images after an agreement. Sessions 31 to 34 are held back.
"""

import gzip
import io
import re
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pandas as pd
from PIL import Image

from latentcortex import __version__, nsd
from latentcortex.nsd.reading import read_image, read_table, reading
from latentcortex.open_data.laion_files import (
    BETAS,
    CAPTIONS,
    CEILING,
    FOLDER,
    IMAGES,
    METADATA,
    SUBJECTS,
    TRIALS,
    download_source,
    existing,
    files,
    listing_address,
)
from latentcortex.open_data.laion_published import (
    embeddings_there,
    keep_embeddings,
    named_split,
    read_embeddings,
)
from latentcortex.open_data.subjects import checked_subjects

__all__ = [
    "download_source",
    "files",
    "import_laion_fmri",
    "keep_embeddings",
    "named_split",
    "read_embeddings",
]

# Regions that presets ask for by NSD's names; of regions that overlap by a few voxels the first keeps them.
STREAMS = {
    "laion-EVC": "early",
    "laion-ventral": "ventral",
    "laion-lateral": "lateral",
    "laion-dorsal": "parietal",
}
# The same for NSD's areas: what is LAION-fMRI's, and NSD's name of it. MPA is also known as RSC.
AREAS = {
    "prf-visualrois": {name: name for name in ("V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4")},
    "floc-faces": {name: name for name in ("OFA", "FFA-1", "FFA-2")},
    "floc-places": {"PPA": "PPA", "OPA": "OPA", "MPA": "RSC"},
    "floc-bodies": {"EBA": "EBA", "FBA": "FBA-1"},
}
_WHY_NO_IMAGES = (
    "LAION-fMRI gives its images only after its own agreement (laion-fmri.hebartlab.com/request). With "
    f"{IMAGES} in the source folder, import again."
)


def import_laion_fmri(source, root, subjects=None, image_size=425):
    """Write a tree in NSD's layout from the authors' files.

    Subject 03 becomes ``subj03``, and so on. The tree keeps the voxels that lie in any region, at their
    places in the volume, so that a session shrinks from 1.2 GB to some tens of MB. Each region is an atlas of
    its own name, because regions of different sets overlap. ``streams``, ``prf-visualrois``, ``floc-faces``,
    ``floc-places``, ``floc-bodies`` and ``nsdgeneral`` are made from them (`STREAMS`, `AREAS`,
    ``laion-general``). The images that all subjects see are the shared ones. ``ncsnr`` comes from the
    published noise ceiling of the images with twelve (else four) repeats. The published embeddings that are
    there come with the tree, see `keep_embeddings`.

    Parameters
    ----------
    source : path
        The folder that holds ``derivatives`` and ``stimuli``. Needed: betas, trials and regions; captions,
        metadata and images as far as they are there.
    root : path
        Folder to be made.
    subjects : sequence of int, optional
        By default those that have a folder.
    image_size : int
        Width and height in pixels that images are brought to. Theirs have 1,000: 75 GB for all.

    Returns
    -------
    pathlib.Path
        `root`.

    Raises
    ------
    FileNotFoundError, ValueError, FileExistsError
        A file is missing or damaged, or trials and betas disagree.
    """
    source = Path(source)
    there = [k for k in SUBJECTS if (source / FOLDER.format(k)).is_dir()]
    numbers = checked_subjects("LAION-fMRI", SUBJECTS, there if subjects is None else subjects)
    embeddings_there(source)  # a damaged file is refused before hours of unpacking
    tables = {k: _read_trials(source, k) for k in numbers}
    labels = {label for table in tables.values() for label in table["label"]}
    names = _image_names(source, labels)
    ids = {name: k for k, name in enumerate(names)}
    recordings, mapped = {}, {}
    for k in numbers:
        recordings[f"subj{k:02d}"], mapped[f"subj{k:02d}"] = _recording(source, k, tables[k], ids)
    images = _Images(source, names, image_size) if (source / IMAGES).is_file() else None
    image_set = nsd.ImageSet(names, images, _WHY_NO_IMAGES, _read_captions(source, names))
    shared = np.array([k for k, name in enumerate(names) if name.startswith("shared_")], int)
    about = {
        "name": "laion-fmri",
        "source": "LAION-fMRI, single-trial betas of glmsingle-tedana",
        "licence": "CC0; images: not to be passed on, not commercial",
        "importer": f"latentcortex {__version__}",
        "files": {
            BETAS.format(k, s): (source / BETAS.format(k, s)).stat().st_size
            for k in numbers
            for s in sorted(set(tables[k]["session"]))
        },
        "mapped": mapped,
    }
    root = nsd.write_tree(root, recordings, image_set, shared, about)
    keep_embeddings(source, root)
    return root


def _read_trials(source, subject):
    """Return session, run and label of all trials of the sessions that are there."""
    folder = source / FOLDER.format(subject)
    numbers = sorted(int(path.name[4:]) for path in folder.glob("ses-[0-9][0-9]"))
    tables = []
    for session in numbers:
        paths = [source / pattern.format(subject, session) for pattern in (BETAS, TRIALS)]
        if not any(path.is_file() for path in paths):
            continue
        path = existing(source, TRIALS.format(subject, session))
        n_volumes = _shape(existing(source, BETAS.format(subject, session)))[3]
        table = read_table(path, "\t", ("run", "beta_index", "label"))
        if len(table) != n_volumes or not np.array_equal(table["beta_index"], np.arange(n_volumes)):
            raise ValueError(
                f"{path} must have one row per trial with beta_index from 0 on: it has {len(table):,} rows, "
                f"and the betas have {n_volumes:,} trials. Download both again."
            )
        tables.append(table.assign(session=session, run=pd.factorize(table["run"])[0] + 1))
    if not tables:
        raise FileNotFoundError(f"No session with betas in {folder}. Download at least one.")
    return pd.concat(tables, ignore_index=True)


def _shape(path):
    with reading(path):
        shape = nibabel.load(path).header.get_data_shape()
        if len(shape) != 4:
            raise ValueError(f"it has the shape {shape} in place of (nx, ny, nz, n_trials)")
    return shape


def _image_names(source, labels):
    """Return the names of all images, sorted: by the metadata, else those that were shown."""
    path = source / METADATA
    if not path.is_file():
        return sorted(labels)
    names = sorted(read_table(path, ",", ("image_name",))["image_name"])
    unknown = sorted(labels - set(names))
    if unknown:
        raise ValueError(f"{path} lacks {unknown[0]}, which the trials name. Download both again.")
    return names


def _recording(source, subject, table, ids):
    """Return the trials of a subject, and in words how regions were mapped."""
    masks, affine = _read_masks(source, subject)
    mask = np.logical_or.reduce(list(masks.values()))
    for session in sorted(set(table["session"])):
        path = source / BETAS.format(subject, session)
        if _shape(path)[:3] != mask.shape:
            raise ValueError(
                f"{path} has the voxels {_shape(path)[:3]}, but the masks of regions {mask.shape}. Use those "
                "whose names have res-1pt8."
            )
    inside = {label: values[mask] for label, values in masks.items()}
    regions = {label: {label: values} for label, values in inside.items()}
    for atlas, pairs in {"streams": STREAMS, **AREAS}.items():
        laid = _laid(inside, pairs)
        regions |= {atlas: laid} if laid else {}
    regions["nsdgeneral"] = {"nsdgeneral": inside.get("laion-general", np.ones(np.count_nonzero(mask), bool))}
    ncsnr, told = _read_ncsnr(source, subject, mask)
    recording = nsd.Recording(
        image_ids=np.array([ids[label] for label in table["label"]]),
        betas=lambda session: _read_betas(source / BETAS.format(subject, session), mask),
        sessions=table["session"].to_numpy(),
        runs=table["run"].to_numpy(),
        regions=regions,
        ncsnr=ncsnr,
        mask=mask,
        affine=affine,
    )
    general = "laion-general" if "laion-general" in inside else "all voxels of the regions"
    return recording, {"streams": STREAMS, **AREAS, "nsdgeneral": general, "noise ceilings": told}


def _laid(inside, pairs):
    """Return regions under other names, without overlap: the first keeps what two of them claim."""
    taken, laid = np.zeros(len(next(iter(inside.values()))), bool), {}
    # The package of the authors writes FFA-1 as FFA1.
    known = {label.replace("-", ""): values for label, values in inside.items()}
    for label, name in pairs.items():
        values = known.get(label.replace("-", ""))
        if values is not None:
            laid[name] = values & ~taken
            taken |= values
    return laid


def _read_masks(source, subject):
    """Return the regions by label, bool (nx, ny, nz), and the affine."""
    folder = source / f"derivatives/rois/sub-{subject:02d}"
    pattern = re.compile(r".*_space-T1w_res-1pt8_label-([^_]+)_mask\.nii\.gz")
    found, masks, affine = {}, {}, None
    for path in sorted(folder.rglob("*_mask.nii.gz")):
        if match := pattern.fullmatch(path.name):
            if match[1] in found:
                raise ValueError(
                    f"Two masks are of the region {match[1]}: {found[match[1]]} and {path}. Remove the one "
                    "that you do not want."
                )
            found[match[1]], image = path, read_image(path)
            masks[match[1]] = np.asarray(image.dataobj) > 0
            affine = image.affine
    if not masks:
        raise FileNotFoundError(
            f"No masks of regions (space-T1w, res-1pt8) in {folder}. {listing_address(subject)} lists them."
        )
    shapes = {values.shape for values in masks.values()}
    if len(shapes) > 1:
        raise ValueError(f"The masks of regions in {folder} have several shapes: {sorted(shapes)}.")
    return masks, affine


def _read_betas(path, mask):
    """Return the betas of a session at the voxels of a mask, float32 (n_trials, n_voxels).

    The file is unpacked volume by volume, because a whole session has 12 GB.
    """
    with reading(path):
        image = nibabel.load(path)
        header, offset = image.header, image.dataobj.offset
        slope, inter = image.dataobj.slope, image.dataobj.inter
        dtype, n_trials = header.get_data_dtype(), header.get_data_shape()[3]
        # NIfTI's first axis is the fastest; the mask's voxels are wanted in C order.
        index = np.ravel_multi_index(np.nonzero(mask), mask.shape, order="F")
        values = np.empty((n_trials, len(index)), np.float32)
        n_bytes = mask.size * dtype.itemsize
        with gzip.open(path) as file:
            file.read(offset)
            for row in values:
                packed = file.read(n_bytes)
                if len(packed) < n_bytes:
                    raise EOFError("it ends early")
                row[:] = np.frombuffer(packed, dtype)[index]
            file.read(1)  # to the end, where gzip compares its checksum
    return values * np.float32(slope) + np.float32(inter)


def _read_ncsnr(source, subject, mask):
    """Return the ratio from the published noise ceiling, float32 (n_voxels,) or None, and its origin."""
    for n_repeats in (12, 4):
        path = source / CEILING.format(subject, n_repeats)
        if path.is_file():
            break
    else:
        return None, "none published in the source"
    share = np.asarray(read_image(path).dataobj, float)
    if share.shape != mask.shape:
        raise ValueError(f"{path} has the shape {share.shape}, but the masks of regions {mask.shape}.")
    share = share[mask] / 100
    if not ((share >= 0) & (share < 1) | np.isnan(share)).all():
        raise ValueError(f"{path} must hold percent from 0 to below 100 in all regions. Download it again.")
    # NC = ncsnr^2 / (ncsnr^2 + 1 / n), solved for ncsnr
    ncsnr = np.sqrt(share / (1 - share) / n_repeats).astype(np.float32)
    return ncsnr, f"from the ceiling of the images with {n_repeats} repeats, test images included"


def _read_captions(source, names):
    """Return what people wrote about each image, or None; captions by programs are left out."""
    path = source / CAPTIONS
    if not path.is_file():
        return None
    table = read_table(path, ",", ("image_name", "caption_idx", "source", "caption"))
    table = table[table["source"] == "human"].sort_values(["image_name", "caption_idx"])
    found = table.groupby("image_name")["caption"].agg(list)
    return [found.get(name, []) for name in names]


class _Images:
    """The images in the order of their ids, resized, read one by one."""

    def __init__(self, source, names, size):
        self.path, self.names, self.size = source / IMAGES, names, size
        if not (source / METADATA).is_file():
            raise FileNotFoundError(f"No {METADATA} in {source}, whose rows say which image is which.")
        rows = read_table(source / METADATA, ",", ("image_name",))["image_name"]
        self.row = {name: k for k, name in enumerate(rows)}

    def __len__(self):
        return len(self.names)

    def __iter__(self):
        with h5py.File(self.path) as file:
            for name in self.names:
                with reading(self.path):
                    packed = io.BytesIO(np.asarray(file["images"][self.row[name]], np.uint8).tobytes())
                    image = Image.open(packed).convert("RGBA")
                # Where an image is transparent, the subjects saw grey.
                grey = Image.new("RGBA", image.size, (128, 128, 128, 255))
                shown = Image.alpha_composite(grey, image).convert("RGB")
                yield np.array(shown.resize((self.size, self.size), Image.Resampling.BICUBIC))
