"""Split a subject's images in several ways, by how far test images lie from training images.

A model that is tested on neighbours of its training images may have memorised them. The splits are:

``random``
    The published split of `nsd.split`. The subject's own images are for training, and the images that all
    subjects see are for testing.
``far``
    Every test image is far from its nearest training image. Both sets contain the same kinds of image in the
    same proportions.
``clusters``
    Whole clusters of similar images are held out together, so no training image is of their kind.
``out of distribution``
    The published training images, with the scenes of NSD-synthetic for testing (`nsd.synthetic_responses`).

The sets consist of image ids, so the repeats of an image stay together. Responses do not influence the
splits. Blocks with a gap around them are common for spatial data (Roberts et al. 2017, Ecography 40:913-929).
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.cluster import KMeans
from sklearn.neighbors import NearestNeighbors

from latentcortex.nsd.arguments import checked_count, plain_array
from latentcortex.nsd.repeats import split
from latentcortex.store import rows_of

SPLIT_NAMES = ("random", "far", "clusters", "out of distribution")
N_CLUSTERS = 12  # where no labels are given


class Split(NamedTuple):
    """Hold the training and test images of one split.

    ``train_ids`` (n_train,) and ``test_ids`` (n_test,) are sorted. ``experiment`` is the experiment that the
    test ids belong to. For ``"nsd"`` no image is in both sets. The images of ``"nsdsynthetic"`` have their
    own ids. ``distances`` (n_test,) are the distances of the test images from their nearest training image,
    in the units of the features.
    """

    train_ids: np.ndarray
    test_ids: np.ndarray
    experiment: str
    distances: np.ndarray


def splits(table, features, image_ids, rng, labels=None, held_back=None, names=None, n_test=None):
    """Return a subject's images split in several ways, by name.

    Distances are Euclidean, so z-score or reduce the features first if their columns have different units.

    For *far*, every kind of image contributes its share of test images: the block of images nearest to one
    image drawn at random. Then training images near the block are left out. Near means at most the median
    distance of an image of this kind from its nearest neighbour. Finally, training images are left out at
    random until the kinds have the same proportions as in the test images. A kind that is too small for a
    single test image is left out of training.

    For *clusters*, kinds are drawn until they hold `n_test` images, and none of their images is used for
    training.

    Both splits leave images out, so they have fewer training images than *random*. Compare scores at equal
    numbers of training images.

    Parameters
    ----------
    table : pandas.DataFrame
        The table of `trials` of one subject, with at least the columns image_id and shared.
    features : float array (n_images, ...)
        Finite; flattened before distances are computed.
    image_ids : int array (n_images,)
        The image of each row of `features`, in any order. Each image occurs once, and all images of the table
        must be there.
    rng : numpy.random.Generator
        The same seed gives the same splits, regardless of the order of rows and of the names asked for.
    labels : array (n_images,), optional
        The kind of each image, for example its setting. With None the kinds are 12 clusters of the features,
        found by k-means.
    held_back : float array (n_held_back, ...), optional
        Features of the images of NSD-synthetic, in the units of `features`. Row i belongs to the synthetic id
        i.
    names : str or sequence of str, optional
        Names in `SPLIT_NAMES`. By default all, but ``out of distribution`` only if `held_back` is given.
    n_test : int, optional
        Test images in each split, by default the number of shared images. *random* and *out of distribution*
        draw this number from their test images. By default *out of distribution* uses all.

    Returns
    -------
    dict of str to Split

    Raises
    ------
    ValueError
        If a name is unknown, if images lack features, if features are NaN, if there are fewer images than
        asked for, or if all labels are equal.
    """
    names = _checked_names(names, held_back)
    train_ids, shared_ids = split(table)
    ids = np.sort(np.concatenate([train_ids, shared_ids]))
    rows = rows_of(image_ids, ids, "features")
    values = _checked_features(features, "features", len(image_ids))[rows]
    n_asked = len(shared_ids) if n_test is None else checked_count(n_test, "n_test")
    if np.ndim(n_asked) or not 1 <= n_asked < len(ids):
        raise ValueError(
            f"n_test must be a whole number from 1 to {len(ids) - 1}: the subject saw {len(ids)} images, and "
            f"some must train. Got {n_test if n_test is not None else n_asked}."
        )
    n_asked, seed = int(n_asked), int(rng.integers(2**32))
    rngs = {name: np.random.default_rng([seed, k]) for k, name in enumerate(SPLIT_NAMES)}
    published, found = np.isin(ids, shared_ids), {}
    if {"far", "clusters"} & set(names):
        kinds = _kinds(values, labels, rows, len(image_ids), seed)
    for name in names:
        known, test, test_ids, experiment = values, published, None, "nsd"
        train = ~published
        if name == "far":
            train, test = _far(values, kinds, n_asked, rngs[name])
        elif name == "clusters":
            train, test = _whole_clusters(kinds, n_asked, rngs[name])
        elif name == "random":
            test = _drawn(published, n_asked, rngs[name], "shared images")
        else:
            known = _checked_features(held_back, "held_back", None, values.shape[1])
            every = np.ones(len(known), bool)
            n_drawn = len(known) if n_test is None else n_asked
            test = _drawn(every, n_drawn, rngs[name], "held-back images")
            test_ids, experiment = np.flatnonzero(test), "nsdsynthetic"
        distances = _nearest(values[train], known[test])
        found[name] = Split(ids[train], ids[test] if test_ids is None else test_ids, experiment, distances)
    return found


def distance_quantiles(found, quantiles=(0, 0.1, 0.5, 0.9, 1)):
    """Return quantiles of the distance between test images and their nearest training image.

    Parameters
    ----------
    found : dict of str to Split
        Result of `splits`.
    quantiles : sequence of float
        Each in [0, 1].

    Returns
    -------
    pandas.DataFrame
        One row per split, with n_train, n_test, and one column per quantile in the units of the features.
    """
    rows = {
        name: {"n_train": len(part.train_ids), "n_test": len(part.test_ids)}
        | {f"{q:.0%}": float(np.quantile(part.distances, q)) for q in quantiles}
        for name, part in found.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def _checked_names(names, held_back):
    if names is None:
        return [name for name in SPLIT_NAMES if name != "out of distribution" or held_back is not None]
    names = [names] if isinstance(names, str) else list(names)
    unknown = [name for name in names if name not in SPLIT_NAMES]
    if unknown or not names:
        raise ValueError(f"No split {unknown}. There are: {', '.join(SPLIT_NAMES)}.")
    if "out of distribution" in names and held_back is None:
        raise ValueError(
            "'out of distribution' tests on the images of NSD-synthetic: pass their features as held_back= "
            "(nsd.synthetic_images reads the images)."
        )
    return names


def _checked_features(features, name, n_rows, n_columns=None):
    """Return finite features as a float array (n_rows, n_columns)."""
    values = plain_array(features, name)
    if values.ndim < 2 or not len(values) or values.dtype.kind not in "iuf":
        raise ValueError(f"{name} must be numbers (n_images, ...), got {values.dtype} of {values.shape}.")
    values = values.reshape(len(values), -1)
    values = values.astype(np.result_type(values, np.float32), copy=False)
    if n_rows not in {None, len(values)} or n_columns not in {None, values.shape[1]}:
        raise ValueError(
            f"{name} has {len(values)} rows of {values.shape[1]} numbers, expected "
            f"{'any number of' if n_rows is None else n_rows} rows"
            f"{'' if n_columns is None else f' of {n_columns} numbers, as features has'}: one row per image."
        )
    wrong = ~np.isfinite(values).all(axis=1)
    if wrong.any():
        raise ValueError(
            f"{name} holds NaN or infinite values in {wrong.sum()} of {len(values)} rows, the first being "
            f"row {wrong.argmax()}: such an image has no distance. Leave its row and its trials out."
        )
    return values


def _kinds(values, labels, rows, n_rows, seed):
    """Return the kind of each image as a number from 0 on, from labels or by k-means."""
    if labels is None:
        n_clusters = min(N_CLUSTERS, len(values) // 2)
        kinds = KMeans(n_clusters, n_init=4, random_state=seed).fit_predict(values)
    else:
        labels = plain_array(labels, "labels")
        if labels.shape != (n_rows,) or (labels != labels).any():
            raise ValueError(
                f"labels must be ({n_rows},), one kind for each row of features, none missing; got the "
                f"shape {labels.shape} and {np.sum(labels != labels)} missing."
            )
        kinds = labels[rows]
    kinds = np.unique(kinds, return_inverse=True)[1]
    if kinds.max() < 1:
        raise ValueError(
            f"The {len(kinds)} images are all of one kind: 'far' and 'clusters' need two or more."
        )
    return kinds


def _drawn(mask, n, rng, what):
    """Return a mask of `n` images drawn from those marked."""
    marked = np.flatnonzero(mask)
    if n > len(marked):
        raise ValueError(f"Asked for {n} test images of {len(marked)} {what}: pass a smaller n_test.")
    drawn = np.zeros(len(mask), bool)
    drawn[rng.choice(marked, n, replace=False)] = True
    return drawn


def _nearest(known, asked):
    """Return the Euclidean distance of each row asked from the nearest known one."""
    neighbours = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(known)
    return neighbours.kneighbors(asked)[0][:, 0]


def _far(values, kinds, n_test, rng):
    """Return masks of training and test images, as described in `splits`."""
    neighbours = NearestNeighbors(n_neighbors=2, algorithm="brute").fit(values)
    isolation = neighbours.kneighbors(values)[0][:, 1]
    shares = np.bincount(kinds) / len(kinds)
    counts = np.floor(shares * n_test).astype(int)
    # What rounding leaves goes to the largest remainders.
    counts[np.argsort(counts - shares * n_test, kind="stable")[: n_test - counts.sum()]] += 1
    test, near = np.zeros(len(kinds), bool), np.zeros(len(kinds), bool)
    for kind in np.flatnonzero(counts):
        members = np.flatnonzero(kinds == kind)
        anchor = values[rng.choice(members)]
        order = np.argsort(((values[members] - anchor) ** 2).sum(axis=1), kind="stable")
        block = members[order[: counts[kind]]]
        test[block] = True
        near |= _nearest(values[block], values) <= np.median(isolation[members])
    left = ~test & ~near
    shares = counts / n_test
    asked = shares > 0
    # The largest training set whose kinds have the shares of the test images.
    n_train = (np.bincount(kinds[left], minlength=len(counts))[asked] / shares[asked]).min()
    train = np.zeros(len(kinds), bool)
    for kind in np.flatnonzero(asked):
        members = np.flatnonzero(left & (kinds == kind))
        train[rng.choice(members, int(n_train * shares[kind] + 1e-9), replace=False)] = True
    if len(np.unique(kinds[train])) < np.count_nonzero(asked):
        raise ValueError(
            f"Fewer images than asked for: next to {n_test} far test images some kind keeps no training "
            f"image, of {len(kinds)} in all. Pass a smaller n_test, or labels of fewer kinds."
        )
    return train, test


def _whole_clusters(kinds, n_test, rng):
    """Return masks of training images and of `n_test` test images of other kinds."""
    sizes = np.bincount(kinds)
    order = rng.permutation(len(sizes))
    held_out = order[: np.count_nonzero(np.cumsum(sizes[order]) < n_test) + 1]
    of_them = np.isin(kinds, held_out)
    if of_them.all():
        raise ValueError(
            f"Fewer images than asked for: whole clusters that hold {n_test} test images leave none of "
            f"{len(kinds)} for training. Pass a smaller n_test."
        )
    return ~of_them, _drawn(of_them, n_test, rng, "images of the clusters held out")
