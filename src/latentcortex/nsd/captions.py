"""Read the captions that people gave to the images, by 0-based 73k ids and in any order."""

import json
from pathlib import Path

import numpy as np

from latentcortex.nsd.design import read_matlab
from latentcortex.nsd.reading import read_table, read_text, reading, whole_numbers
from latentcortex.nsd.stimuli import checked_image_ids
from latentcortex.nsd.tree import existing_path

# COCO's folder beside NSD's, what its archive unpacks to, and where nsd_access puts it.
_FOLDERS = ("annotations", "annotations_trainval2017/annotations", "nsddata_stimuli/stimuli/nsd/annotations")


def captions(root, image_ids):
    """Return the captions that people gave to the images (from COCO, normally five per image).

    Parameters
    ----------
    root : path
    image_ids : int array (n,)
        0-based 73k ids, repeats allowed.

    Returns
    -------
    list of list of str
        One list per image, in the order asked for.

    Raises
    ------
    FileNotFoundError, ValueError
        If there are no annotations, a file is damaged, or ids are out of range. Also if an image has no
        caption or an empty caption.
    """
    info_path, table = _read_stim_info(root)
    chosen = table.loc[checked_image_ids(image_ids, len(table))]
    keys = list(zip(chosen["cocoSplit"], chosen["cocoId"].tolist(), strict=True))
    texts = {}
    for split in chosen["cocoSplit"].unique():
        path = _find_captions(root, split, info_path)
        by_id = _read_captions(path)
        for image_id, key in zip(chosen.index, keys, strict=True):
            if key[0] != split:
                continue
            found = by_id.get(key[1], [])
            if not found or not all(isinstance(text, str) and text.strip() for text in found):
                what = "an empty caption" if found else "no caption"
                raise ValueError(
                    f"{path} has {what} of image {image_id} (COCO {key[1]}). COCO's own file has five for "
                    "each image: download it again, or take the entry out."
                )
            texts[key] = found
    return [list(texts[key]) for key in keys]


def _read_stim_info(root):
    """Read which image of COCO each image is: the file's path, and a table with index nsdId."""
    path = existing_path(root, "nsddata/experiments/nsd/nsd_stim_info_merged.csv")
    table = read_table(path, ",", ("nsdId", "cocoId", "cocoSplit"))
    for name in ("nsdId", "cocoId"):
        table[name] = whole_numbers(table[name], f"{name} in {path}", "Download it again.")
    design = existing_path(root, "nsddata/experiments/nsd/nsd_expdesign.mat")
    n_images = read_matlab(design, ("subjectim",))["subjectim"].max()
    if not np.array_equal(np.sort(table["nsdId"]), np.arange(max(n_images, len(table)))):
        raise ValueError(
            f"{path} has {len(table):,} rows, but has to name each image from 0 to at least {n_images - 1:,} "
            f"once, by {design}. Was it cut short? Download it again."
        )
    if table["cocoSplit"].isna().any() or table.duplicated(["cocoId", "cocoSplit"]).any():
        raise ValueError(
            f"{path} names no image of COCO, or the same image, in several rows (cocoId, cocoSplit). "
            "Download it again."
        )
    return path, table.set_index("nsdId")


def _find_captions(root, split, info_path):
    name = f"captions_{split}.json"
    paths = [Path(root, folder, name) for folder in _FOLDERS]
    for path in paths:
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"No captions at {paths[0]}, nor in {' or '.join(_FOLDERS[1:])}, but {info_path} asks for them. They "
        "are not part of NSD: unpack the annotations of COCO 2017 into the folder 'annotations' of the tree."
    )


def _read_captions(path):
    """Read all captions of a file of COCO: dict of list of str by COCO's ids."""
    by_id, text = {}, read_text(path)
    with reading(path):
        content = json.loads(text)
    try:
        for entry in content["annotations"]:
            by_id.setdefault(entry["image_id"], []).append(entry["caption"])
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is not a file of COCO's captions: expected a list 'annotations' of entries with "
            "'image_id' and 'caption'. Is it COCO's file of instances or keypoints under another name?"
        ) from error
    return by_id
