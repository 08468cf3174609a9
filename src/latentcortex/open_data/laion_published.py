"""What LAION-fMRI publishes beside the responses and needs no pixels: its splits and embeddings."""

import json
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from sklearn.neighbors import NearestNeighbors

from latentcortex import nsd
from latentcortex.nsd.reading import reading
from latentcortex.open_data.laion_files import EMBEDDINGS, METADATA, MODELS, existing


def named_split(path, root, subject=None):
    """Return one of LAION-fMRI's own splits as a `latentcortex.nsd.Split`.

    Its names are ``random_0`` to ``random_4``, ``tau``, ``cluster_k5_0`` to ``cluster_k5_4`` and ``ood``.
    Each comes for the shared images and for each subject's, as a file of the authors' package. The result is
    of the kind that `latentcortex.nsd.splits` returns, so it goes where those go.

    Parameters
    ----------
    path : path
        The file, such as ``splits/data/sub-01/tau.json`` of a download.
    root : path
        An imported tree.
    subject : str, optional
        Keep only images that this subject saw in the sessions on disk.

    Returns
    -------
    latentcortex.nsd.Split
        ``distances`` are Euclidean, between the published CLIP embeddings. They are NaN if the tree has none.

    Raises
    ------
    FileNotFoundError, ValueError
        The file is not a split, an image is in both sets or unknown, or a set is empty.
    """
    path = Path(path)
    with reading(path):
        content = json.loads(path.read_text(encoding="utf-8"))
    try:
        sets = [content["variants"][0][key] for key in ("train_ids", "test_ids")]
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(
            f"{path} is not a split: expected 'variants' with 'train_ids' and 'test_ids'."
        ) from error
    both = sorted(set(sets[0]) & set(sets[1]))
    if both:
        raise ValueError(f"{path} has {both[0]} among the training and the test images.")
    names = nsd.read_image_names(root)
    ids = dict(zip(names, names.index, strict=True))
    unknown = [name for part in sets for name in part if name not in ids]
    if unknown and subject is None:
        raise ValueError(
            f"{path} has {len(unknown):,} images that {root} does not know, the first being {unknown[0]}. "
            f"Import with {METADATA}, or pass subject= to keep the images that a subject saw."
        )
    seen = set(names.index) if subject is None else set(nsd.trials(root, subject)["image_id"])
    train, test = (np.array(sorted({ids[name] for name in part if name in ids} & seen), int) for part in sets)
    if not len(train) or not len(test):
        raise ValueError(f"Of {path} {len(train)} training and {len(test)} test images are left.")
    return nsd.Split(train, test, "nsd", _distances(root, train, test))


def _distances(root, train, test):
    """Return how far each test image is from its nearest training image, float (n_test,), or NaN."""
    if "CLIP" not in nsd.published_models(root):
        return np.full(len(test), np.nan)
    of_train, of_test = (nsd.published_features(root, "CLIP", ids) for ids in (train, test))
    neighbours = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(of_train)
    return neighbours.kneighbors(of_test)[0][:, 0]


def embeddings_there(source):
    """Return the models whose published embeddings are there, after a look into each file.

    Parameters
    ----------
    source : path
        The folder that holds ``stimuli``.

    Returns
    -------
    list of str

    Raises
    ------
    ValueError
        A file is damaged.
    """
    there = [model for model in MODELS if Path(source, EMBEDDINGS.format(model)).is_file()]
    for model in there:
        path = Path(source, EMBEDDINGS.format(model))
        with reading(path), h5py.File(path) as file:
            lengths = [len(file[name]) for name in ("embedding", "image_ids", "valid")]
            if len(set(lengths)) > 1:
                raise ValueError(f"its arrays have {lengths} rows")
            file["embedding"][-1]  # the end of the file is there
    return there


def keep_embeddings(source, root):
    """Write the published embeddings that are there into a tree, for `latentcortex.nsd.published_features`.

    An import does so. Call it again if other embeddings were downloaded later.

    Parameters
    ----------
    source : path
        The folder that holds ``stimuli``.
    root : path
        An imported tree.

    Returns
    -------
    list of str
        The models that were written.
    """
    there = embeddings_there(source)
    for model in there:
        values, image_ids = read_embeddings(source, root, model)
        about = {"source": f"LAION-fMRI, {EMBEDDINGS.format(model)}", "licence": "CC0"}
        nsd.write_published(root, model, values.astype(np.float16), image_ids, about)
    return there


def read_embeddings(source, root, model="CLIP"):
    """Return the published embeddings of the images, which need no pixels.

    Parameters
    ----------
    source : path
        The folder that holds ``stimuli``.
    root : path
        An imported tree.
    model : str
        One of `laion_files.MODELS`.

    Returns
    -------
    values : float32 array (n_images, n_features)
    image_ids : int array (n_images,)
        Ascending. Only images that the tree knows.

    Raises
    ------
    FileNotFoundError, ValueError
        The file is missing or damaged.
    """
    path = existing(source, EMBEDDINGS.format(model))
    with reading(path), h5py.File(path) as file:
        values = file["embedding"][:].astype(np.float32)
        names, valid = file["image_ids"].asstr()[:], file["valid"][:].astype(bool)
    known = nsd.read_image_names(root)
    ids = pd.Series(known.index, index=known.to_numpy()).reindex(names)
    rows = np.flatnonzero(ids.notna().to_numpy() & valid)
    rows = rows[np.argsort(ids.to_numpy()[rows])]
    return values[rows], ids.to_numpy()[rows].astype(int)
