"""Tell images from one another by the features of their reconstructions."""

import numpy as np
from scipy.special import comb

from latentcortex.metrics.checks import (
    check_shapes,
    finite,
    row_correlations,
    row_lengths,
    row_means,
    standardise,
)

# Below this, two correlations are the same number: matrix products round differently in
# different rows, and reconstructions that collapsed to one image must come out as ties.
TIE_TOLERANCE = 1e-12
BLOCK = 8192  # numbers of each image that are held in float64 at a time


def identification(
    features_true,
    features_pred,
    direction="reconstruction",
    n_way=2,
    groups=None,
    similarity="correlation",
    repeated=False,
):
    r"""Identify images among others: how often an image is told from n_way - 1 of them.

    With :math:`r_{ij}` the correlation of original i with reconstruction j, direction
    "reconstruction" asks for each reconstruction j whether its own original correlates more with
    it than another original does. Two-way, that is

    .. math:: s_j = \frac{1}{n - 1} \sum_{i \ne j} [r_{ij} < r_{jj}]
              + \tfrac12 [r_{ij} = r_{jj}],

    and "original" asks for each original i whether its own reconstruction does better than those
    of others: the same sum over j, of :math:`r_{ij}` against :math:`r_{ii}`. The two differ.
    Public tables use the first; Takagi & Nishimoto's code and the text of MindEye2 (appendix
    A.9) the second.

    With more ways it is the chance to come first of n_way, the other n_way - 1 drawn at random
    without replacement. It is computed, not drawn: an image that w of m others lose against comes
    first with the chance C(w, n_way - 1) / C(m, n_way - 1); of those that tie with it one is picked
    at random. Retrieval among so many images is the same number.

    Parameters
    ----------
    features_true, features_pred : array (n, ...)
        Features of the originals and of their reconstructions, in the same order.
    direction : {"reconstruction", "original"}
    n_way : int
        From 2 to the number of images that there are to choose from.
    groups : array (n,), optional
        Distractors are then of the image's own group only, such as its setting: the harder test,
        which knowing the group does not help with.
    similarity : {"correlation", "cosine"}
        Cosine similarity keeps the mean of the features, which all images share a part of.
    repeated : bool
        Whether features_pred is (n, n_repeats, ...), several drawings of each image: r_ij is then
        the mean over the repeats of j, as in Takagi & Nishimoto's code.

    Returns
    -------
    scores : array (n,)
        In [0, 1], chance 1 / n_way.

    Raises
    ------
    ValueError
        For fewer than two images, unequal shapes, values that are not finite, constant features,
        or images with fewer than n_way - 1 others in their group.
    """
    repeats = np.moveaxis(features_pred, 1, 0) if repeated else [features_pred]
    r = np.mean([_similarities(features_true, pred, direction, similarity) for pred in repeats], axis=0)
    others = ~np.eye(len(r), dtype=bool)
    if groups is not None:
        groups = np.asarray(groups)
        if groups.shape != (len(r),):
            raise ValueError(f"Expected one group for each of {len(r)} images, got {groups.shape}.")
        others &= groups[:, None] == groups
    n_others = others.sum(axis=1)
    if n_way < 2 or n_others.min() < n_way - 1:
        few = np.flatnonzero(n_others < n_way - 1)[:10].tolist()
        raise ValueError(
            f"Expected n_way from 2 to {n_others.min() + 1}, got {n_way}. Rows {few} have too few "
            "others to be told from: leave them out, or merge groups."
        )
    return _first_of(r, np.arange(len(r)), others, n_way)


def shuffled_identification(features_true, features_pred, rng, n_shuffles=100, direction="reconstruction"):
    """Repeat the two-way identification with reconstructions assigned to originals at random.

    Takes what `identification` takes, and a numpy Generator `rng`. Returns (n_shuffles,) mean
    scores over images, one for each shuffle; their mean is 0.5 if the score is honest.
    """
    r = _similarities(features_true, features_pred, direction, "correlation")
    scores = []
    for _ in range(n_shuffles):
        own = rng.permutation(len(r))
        scores.append(_first_of(r, own, np.arange(len(r)) != own[:, None], 2).mean())
    return np.array(scores)


def retrieval(features_true, features_pred, n_images=300):
    """Retrieve images from decoded features, and decoded features from images.

    Top-1 by cosine similarity among `n_images`, of which one is the right one: MindEye2's test
    ("image" and "brain" retrieval), where means over 30 galleries of 300 are reported. Here all
    galleries count: see n_way in `identification`.

    Parameters
    ----------
    features_true, features_pred : array (n, ...)
        Of the images, and decoded from the responses to them.
    n_images : int
        Size of the gallery, at most n.

    Returns
    -------
    images, brains : arrays (n,)
        In [0, 1], chance 1 / n_images: how often the right image is found for the decoded
        features, and the right decoded features for the image.
    """
    found = [
        identification(features_true, features_pred, direction, n_images, similarity="cosine")
        for direction in ("reconstruction", "original")
    ]
    return tuple(found)


def correlation_distance(features_true, features_pred):
    """Compute 1 - r of each reconstruction's features with its original's: (n,), 0 for equal ones.

    The distance that is reported for EfficientNet and SwAV features. Arguments and errors as in
    `identification`.
    """
    return 1 - row_correlations("features_true", features_true, "features_pred", features_pred)


def repeat_consistency(features_pred, features_true):
    """Compare repeated drawings of the same image with one another, and with the truth.

    The first alone says nothing: drawings that collapsed to one picture agree perfectly.

    Parameters
    ----------
    features_pred : array (n, n_repeats, ...)
        At least two repeats.
    features_true : array (n, ...)

    Returns
    -------
    among, to_truth : arrays (n,)
        Mean correlation over pairs of repeats, and of the repeats with the original.
    """
    true, repeats = (
        finite(name, values)
        for name, values in (("features_true", features_true), ("features_pred", features_pred))
    )
    n_repeats = repeats.shape[1]
    if n_repeats < 2:
        raise ValueError("One drawing has nothing to agree with: expected at least two repeats.")
    check_shapes("features_true", true, "a repeat of features_pred", repeats[:, 0])
    # The sum of the unit vectors u: |sum|^2 = n_repeats + twice the sum over pairs.
    total = sum(standardise("features_pred", repeats[:, k]) for k in range(n_repeats))
    among = ((total**2).sum(axis=1) - n_repeats) / (n_repeats * (n_repeats - 1))
    return among, (total * standardise("features_true", true)).sum(axis=1) / n_repeats


def _similarities(features_true, features_pred, direction, similarity):
    """Compare all pairs: (n, n), row i holds query i against the gallery, itself at i."""
    if direction not in ("reconstruction", "original"):
        raise ValueError(f"Expected the direction 'reconstruction' or 'original', got {direction!r}.")
    if similarity not in ("correlation", "cosine"):
        raise ValueError(f"Expected similarity 'correlation' or 'cosine', got {similarity!r}.")
    true, pred = np.asarray(features_true), np.asarray(features_pred)
    check_shapes("features_true", true, "features_pred", pred)
    n = len(true)
    if n < 2:
        raise ValueError("Identification needs at least two images, one to be told from the other.")
    rows = {"features_pred": pred.reshape(n, -1), "features_true": true.reshape(n, -1)}
    means = [row_means(name, values)[:, None] for name, values in rows.items()]
    if similarity == "cosine":
        means = [np.zeros_like(mean) for mean in means]
    products, squares = np.zeros((n, n)), np.zeros((2, n))
    for start in range(0, rows["features_true"].shape[1], BLOCK):
        some = slice(start, start + BLOCK)
        blocks = [values[:, some] - mean for values, mean in zip(rows.values(), means, strict=True)]
        squares += [np.einsum("ij,ij->i", block, block) for block in blocks]
        products += blocks[0] @ blocks[1].T
    lengths = [
        row_lengths(name, values, square)
        for (name, values), square in zip(rows.items(), squares, strict=True)
    ]
    r = products / lengths[0][:, None] / lengths[1]
    return r if direction == "reconstruction" else r.T


def _first_of(r, own, others, n_way):
    """Compute the chance that column own[i] of row i of r comes first of n_way, others at random.

    Returns (n,); `others` is boolean, (n, n): the columns that may be drawn in each row.
    """
    difference = r[np.arange(len(r)), own][:, None] - r
    wins = ((difference > TIE_TOLERANCE) & others).sum(axis=1)
    ties = ((np.abs(difference) <= TIE_TOLERANCE) & others).sum(axis=1)
    n_others, drawn, chance = others.sum(axis=1), n_way - 1, np.zeros(len(r))
    for tied in range(min(drawn, ties.max()) + 1):
        # C(wins, drawn - tied) C(ties, tied) / C(n_others, drawn), factor by factor
        beaten = [(wins - k) / (n_others - k) for k in range(drawn - tied)]
        level = [(ties - k) / (n_others - drawn + tied - k) for k in range(tied)]
        ways = comb(drawn, tied) * np.prod([*beaten, *level], axis=0)
        chance += ways / (tied + 1)
    return chance
