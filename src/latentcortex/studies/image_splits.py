"""Split images for chapter 10, with test images that are less and less similar to training images.

These are the steps that a chapter and its script share. They describe images, cluster similar images, split
them, and cut the training sets to equal size. They also scale responses by the training trials of each split.
"""

import functools
import json
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from sklearn.cluster import KMeans

from latentcortex import features, nsd
from latentcortex.store import rows_of
from latentcortex.studies import maps
from latentcortex.studies.targets import targets

SEED = 10
N_CLUSTERS = 12  # of like images
# Added to the ids of held-back scenes, so that no encoder takes them for images that it has learned from.
FIRST_HELD_BACK = 1_000_000
PUBLISHED = "all training images"  # the published split, before training sets are cut to one size


class Trials(NamedTuple):
    """Hold single trials of a subject, and averages of the additional session of held-back scenes.

    ``table`` comes from `nsd.trials`, and ``betas`` (n_trials, n_vertices) are not scaled. ``held_back``
    holds betas (n_images, n_vertices), synthetic ids and numbers of repeats. It is None if there is no such
    session, or if it cannot be read.
    """

    table: pd.DataFrame
    betas: np.ndarray
    held_back: tuple | None


def captions_held_back(root):
    """Return the path of the captions of held-back scenes, or None if the tree is not simulated."""
    path = root / "simulation" / "captions_held_back.json"
    return path if path.is_file() else None


@functools.lru_cache(maxsize=1)
@torch.no_grad()
def held_back_features(study):
    """Return z and c of held-back scenes, float32 (n_images, n_features); row i has the synthetic id i."""
    model, preset = study.model, study.preset
    images = torch.from_numpy(nsd.synthetic_images(study.root, preset.image_size))
    texts = json.loads(captions_held_back(study.root).read_text())
    found = {
        "z": features.encode_images(model.vae, images, preset.batch_size),
        "c": features.encode_captions(model.text_encoder, model.tokenizer, texts),
    }
    return {name: of.float().cpu().flatten(1).numpy() for name, of in found.items()}


def read_trials(study, subject, mask=None):
    """Return the `Trials` of a subject for the vertices in a mask (n_vertices,), or for all vertices."""
    arguments = study.root, subject, study.preset.space
    held_back = None
    if captions_held_back(study.root):
        held_back = nsd.synthetic_responses(*arguments, mask)
    betas = nsd.betas(*arguments, study.preset.sessions, mask)
    return Trials(study.tables[subject], betas, held_back)


def responses(trials, split):
    """Return averaged responses to the training and the test images of a split.

    Trials are z-scored session by session, using only trials of the training images of this split. The
    additional session has no training images, so it was z-scored by its own trials.

    Parameters
    ----------
    trials : Trials
    split : nsd.Split

    Returns
    -------
    train, test : tuples of (betas, image_ids, n_repeats)
        float32 (n_images, n_vertices), int (n_images,), int (n_images,), in the order of the split. Ids of
        held-back scenes are their synthetic ids plus `FIRST_HELD_BACK`.
    """
    ids = trials.table["image_id"].to_numpy()
    is_train = np.isin(ids, split.train_ids)
    scaled = nsd.zscore(trials.betas, trials.table["session"].to_numpy(), is_train)
    train = nsd.average_repeats(scaled[is_train], ids[is_train])
    if split.experiment == "nsd":
        is_test = np.isin(ids, split.test_ids)
        return train, nsd.average_repeats(scaled[is_test], ids[is_test])
    betas, known, n_repeats = trials.held_back
    rows = rows_of(known, split.test_ids, "the further session")
    return train, (betas[rows], FIRST_HELD_BACK + known[rows], n_repeats[rows])


def each_block(study, subject, split):
    """Yield the responses of all of cortex to a split's images, `maps.N_IN_BLOCK` vertices at a time.

    Yields
    ------
    vertices : int array (n,)
        Indices into the space, flattened. Together they are those of `maps.cortex_mask`.
    train, test : tuples of (betas, image_ids, n_repeats)
        See `responses`.
    """
    cortex = maps.cortex_mask(study.preset, study.root, subject)
    known = np.flatnonzero(cortex)
    for start in range(0, len(known), maps.N_IN_BLOCK):
        vertices, mask = known[start : start + maps.N_IN_BLOCK], np.zeros_like(cortex)
        mask.flat[vertices] = True
        yield vertices, *responses(read_trials(study, subject, mask), split)


def features_of(study, split):
    """Return z and c of a split's images, and a mask of the training images.

    Returns
    -------
    values : dict of str to float32 array (n_images, n_features)
        Features of training images, then test images, in the order of the split.
    is_train : bool array (n_images,)
    """
    n_train, n_test = len(split.train_ids), len(split.test_ids)
    is_train = np.arange(n_train + n_test) < n_train
    if split.experiment == "nsd":
        ids = np.concatenate([split.train_ids, split.test_ids])
        return {name: of.flatten(1).numpy() for name, of in targets(study, "zc", ids).items()}, is_train
    train = targets(study, "zc", split.train_ids)
    test = held_back_features(study)
    values = {
        name: np.vstack([of.flatten(1).numpy(), test[name][split.test_ids]]) for name, of in train.items()
    }
    return values, is_train


def image_kinds(values, image_ids):
    """Return the cluster of similar images that each image belongs to, by k-means, int (n_images,).

    Rows are first sorted by their ids, so k-means finds the same clusters for any order.
    """
    order = np.argsort(image_ids)
    found = np.empty(len(image_ids), int)
    found[order] = KMeans(N_CLUSTERS, n_init=4, random_state=SEED).fit_predict(values[order])
    return found


def describe(values, is_train):
    """Return z and c of images side by side, each scaled to a total variance of 1 over training images.

    Parameters
    ----------
    values : dict of str to array (n_images, n_features)
    is_train : bool array (n_images,)

    Returns
    -------
    array (n_images, n_features of all sets)
    """
    parts = [
        (of - of[is_train].mean(0)) / np.sqrt(of[is_train].var(0).sum(dtype=float)) for of in values.values()
    ]
    return np.hstack(parts).astype(np.float32)


@functools.lru_cache(maxsize=8)
def splits_of(study, subject):
    """Return the splits of `nsd.SPLIT_NAMES` for a subject, with equal numbers of training images.

    The published split with all its training images comes first. Held-back scenes are left out if their
    captions are not known.

    Returns
    -------
    splits : dict of str to nsd.Split
    kinds : pandas.Series
        The cluster of similar images that each image belongs to, by image id.
    """
    table = study.tables[subject]
    train_ids, test_ids = nsd.split(table)
    ids = np.concatenate([train_ids, test_ids])
    values = {name: of.flatten(1).numpy() for name, of in targets(study, "zc", ids).items()}
    is_train, new = np.arange(len(ids)) < len(train_ids), {}
    if captions_held_back(study.root):
        new = held_back_features(study)
        values = {name: np.vstack([of, new[name]]) for name, of in values.items()}
        is_train = np.append(is_train, np.zeros(len(new["z"]), bool))
    described = describe(values, is_train)
    known, held_back = described[: len(ids)], described[len(ids) :] if new else None
    kinds = image_kinds(known, ids)
    number = int(subject.removeprefix("subj"))
    rng = np.random.default_rng([SEED, number])
    found = nsd.splits(table, known, ids, rng, labels=kinds, held_back=held_back)
    return {PUBLISHED: found["random"], **at_one_size(found, (SEED, number))}, pd.Series(kinds, ids)


def at_one_size(splits, seed):
    """Return splits with training images cut at random to the smallest number among the splits.

    Parameters
    ----------
    splits : dict of str to nsd.Split
        Splits. Their distances refer to all training images.
    seed : sequence of int
        Seed of the cut. Equal training sets are cut in the same way.

    Returns
    -------
    dict of str to nsd.Split
    """
    fewest = min(len(split.train_ids) for split in splits.values())

    def drawn(ids):
        return np.sort(np.random.default_rng([*seed, 1]).choice(ids, fewest, replace=False))

    return {name: split._replace(train_ids=drawn(split.train_ids)) for name, split in splits.items()}


def checked_vertices(n):
    """Return the same tenth of n vertices on each call, which a page compares with its file."""
    return np.random.default_rng(2026).choice(n, n // 10, replace=False)
