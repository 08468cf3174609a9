"""Read back the scenes of a simulated tree, and the variables planted in its vertices."""

import dataclasses

import numpy as np
import pandas as pd

from latentcortex import nsd
from latentcortex.studies.recovery_worlds import planted_features


def read_scenes(root, image_ids, held_back=False):
    """Return the scenes of simulated images, from the table of their contents.

    Parameters
    ----------
    root : Path
    image_ids : int array (n,)
    held_back : bool
        Whether the ids belong to the additional session of held-back scenes.

    Returns
    -------
    list of mini.scenes.Scene
    """
    from latentcortex.mini.scenes import Scene, Thing

    def fill(kind, row, end, **known):
        names = {field.name for field in dataclasses.fields(kind)} - set(known)
        return kind(**{name: row[name + end] for name in names}, **known)

    name = "ground_truth_held_back" if held_back else "ground_truth"
    table = pd.read_csv(root / f"simulation/{name}.csv", index_col=0)
    scenes = []
    for row in table.loc[image_ids].to_dict("records"):
        things = tuple(fill(Thing, row, f"_{i + 1}") for i in range(row["n_things"]))
        scenes.append(fill(Scene, row, "", things=things))
    return scenes


def planted_variables(root, train_ids, test_ids, experiment="nsd"):
    """Return the variables that simulated vertices are tuned to, for training and then test images.

    Parameters
    ----------
    root : Path
    train_ids, test_ids : int arrays
    experiment : {"nsd", "nsdsynthetic"}
        The experiment that the test ids belong to.

    Returns
    -------
    dict of str to array (n_train + n_test, n_features)
        ``"low"`` and ``"semantic"``, as in `recovery_worlds.planted_features`.
    """
    if experiment == "nsd":
        ids = np.concatenate([train_ids, test_ids])
        images, scenes = nsd.images(root, ids), read_scenes(root, ids)
    else:
        images = np.concatenate([nsd.images(root, train_ids), nsd.synthetic_images(root)[test_ids]])
        scenes = read_scenes(root, train_ids) + read_scenes(root, test_ids, held_back=True)
    pixels = (255 * images).round().astype(np.uint8).transpose(0, 2, 3, 1)
    return planted_features(pixels, scenes, np.arange(len(pixels)) < len(train_ids))
