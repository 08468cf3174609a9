"""One table of all numbers and names that NSD's images have in its files and in projects that use it."""

import numpy as np
import pandas as pd
from scipy.io import loadmat

from latentcortex.nsd.design import read_matlab
from latentcortex.nsd.reading import read_table, reading, whole_numbers
from latentcortex.nsd.tree import existing_path

_N_TRIALS = 37 * 750  # sessions 38 to 40 were released later, so Brain-Diffuser's tests end here


def image_table(root):
    """Return one row per image with all its numbers and names.

    Projects count differently: NSD's files from 1, programs in Python mostly from 0. A file of an image can
    be matched only if it is known which count it uses, so both are here.

    Parameters
    ----------
    root : path
        Needs the design and the table of images, not the images.

    Returns
    -------
    pandas.DataFrame
        The index is ``image_id``, the 0-based 73k id that this package uses everywhere. Columns:

        - ``id_from_1``: the 73k id as in NSD's own files (73KID, subjectim, file names).
        - ``coco_id``, ``coco_split``: the image's number in COCO, and the split that its captions are in.
        - ``shared``: 0-based place among the shared images in ascending order of their ids, or -1. MindEye2's
          arrays of test images have their rows in this order.
        - ``shared_from_1``: the same from 1 on, or 0: NSD's ``shared0001``.
        - ``name_nsd``: file name without ending, such as ``shared0001_nsd02951`` or ``nsd00001``.
        - ``brain_diffuser``: 0-based place in Brain-Diffuser's test images, or -1: shared images in the order
          in which they are first shown in sessions 1 to 37. The same for all subjects of NSD; -1 everywhere
          in a tree whose subjects have orders of their own.
        - ``subj01_10k`` and so on: 0-based place in that subject's list of images (10KID - 1), or -1.

    Raises
    ------
    FileNotFoundError, ValueError
        A file is missing or damaged.

    Notes
    -----
    The rows of MindEye2 and Brain-Diffuser are those of their published code as we read it; nobody of these
    projects has confirmed them. Look at a few pictures before you trust a match.
    """
    design_path = existing_path(root, "nsddata/experiments/nsd/nsd_expdesign.mat")
    path = existing_path(root, "nsddata/experiments/nsd/nsd_stim_info_merged.csv")
    info = read_table(path, ",", ("nsdId", "cocoId", "cocoSplit"))
    for name in ("nsdId", "cocoId"):
        info[name] = whole_numbers(info[name], f"{name} in {path}", "Download it again.")
    design = read_matlab(design_path, ("subjectim", "sharedix"))
    subjectim, shared = design["subjectim"] - 1, np.sort(design["sharedix"], None) - 1
    n_images = len(info)
    if not np.array_equal(np.sort(info["nsdId"]), np.arange(n_images)) or not subjectim.max() < n_images:
        raise ValueError(
            f"{path} has {n_images:,} rows and has to name each image of {design_path} once. Download both "
            "again."
        )
    table = info.set_index("nsdId").sort_index().rename_axis("image_id")
    table.columns = ["coco_id", "coco_split"]
    table.insert(0, "id_from_1", table.index + 1)
    table["shared"] = _places(shared, n_images)
    table["shared_from_1"] = table["shared"] + 1
    table["name_nsd"] = [
        f"shared{place:04d}_nsd{number:05d}" if place else f"nsd{number:05d}"
        for place, number in zip(table["shared_from_1"], table["id_from_1"], strict=True)
    ]
    table["brain_diffuser"] = _places(_first_shown(design_path, subjectim[0], shared), n_images)
    for k, row in enumerate(subjectim, 1):
        table[f"subj{k:02d}_10k"] = _places(row, n_images)
    return table


def _places(image_ids, n_images):
    """Return the place of each image in a list, int (n_images,), or -1."""
    places = np.full(n_images, -1)
    places[image_ids] = np.arange(len(image_ids))
    return places


def _first_shown(path, image_ids, shared):
    """Return the shared images in the order in which all subjects first see them."""
    with reading(path):
        order = loadmat(path).get("masterordering")
    if order is None:  # each subject has an order of its own
        return np.empty(0, int)
    shown = image_ids[order.ravel().astype(int)[:_N_TRIALS] - 1]
    return pd.unique(shown[np.isin(shown, shared)])
