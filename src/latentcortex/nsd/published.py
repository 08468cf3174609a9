"""Features of the images that a data set publishes, for trees without images: not in NSD's own layout."""

import re
from pathlib import Path

import numpy as np

from latentcortex import store
from latentcortex.nsd.arguments import checked_ids

_FOLDER = "nsddata_stimuli/stimuli/published"


def write_published(root, model, values, image_ids, about):
    """Write the features that a network made of the images; an older file of the same name is replaced.

    Parameters
    ----------
    root : path
    model : str
        Name of the network: letters, digits and hyphens.
    values : float array (n_images, n_features)
        Kept in their dtype.
    image_ids : int array (n_images,)
        0-based, each once.
    about : dict
        Source and licence.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    ValueError
        The name or the shape is another, an id repeats, or values are not finite.
    """
    if not re.fullmatch("[A-Za-z0-9-]+", model):
        raise ValueError(f"model must be a name of letters, digits and hyphens, got {model!r}.")
    values, image_ids = np.asarray(values), checked_ids(image_ids)
    if values.ndim != 2 or not np.isfinite(values).all() or len(np.unique(image_ids)) < len(image_ids):
        raise ValueError(
            f"Features of {model} must be finite (n_images, n_features), one row per image; got "
            f"{values.shape} for {len(np.unique(image_ids))} images."
        )
    path = Path(root, _FOLDER, f"{model}.safetensors")
    return store.save(path, provenance=about, image_ids=image_ids, features=values)


def published_models(root):
    """Return the names of the networks whose features came with a tree, sorted; none for NSD itself."""
    return sorted(path.stem for path in Path(root, _FOLDER).glob("*.safetensors"))


def published_features(root, model, image_ids):
    """Return the features that a data set publishes of its images.

    Parameters
    ----------
    root : path
    model : str
        One of `published_models`.
    image_ids : int array (n,)
        Repeats allowed.

    Returns
    -------
    float32 array (n, n_features)
        In the order asked for.

    Raises
    ------
    FileNotFoundError
        The tree has no features of this network.
    ValueError
        An image has none.
    """
    if model not in published_models(root):
        known = ", ".join(published_models(root)) or "none"
        raise FileNotFoundError(f"No published features of {model!r} came with {root}. There are: {known}.")
    path = Path(root, _FOLDER, f"{model}.safetensors")
    return store.load(path, checked_ids(image_ids))["features"].astype(np.float32)
