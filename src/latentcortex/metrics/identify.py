"""Identify images among others by the features of their reconstructions."""

import numpy as np
from scipy.special import comb

from latentcortex.metrics.checks import (
    NUMBERS,
    batches,
    check_shapes,
    dense,
    generator,
    labels,
    number,
    row_correlations,
    row_lengths,
    row_means,
    standardise,
)

# Below this, two correlations are the same number: matrix products round differently in
# different rows, and reconstructions that collapsed to one image must come out as ties.
TIE_TOLERANCE = 1e-12
BLOCK = 8192  # numbers of each image that are held in float64 at a time
BATCH = 1024  # images that are compared with all others at a time


def identification(
    features_true,
    features_pred,
    direction="reconstruction",
    n_way=2,
    groups=None,
    similarity="correlation",
    repeated=False,
    batch_size=BATCH,
):
    r"""Return how often each image is identified among others, from the features of reconstructions.

    Let :math:`r_{ij}` be the correlation of original i with reconstruction j. The direction
    "reconstruction" asks for each reconstruction j whether its own original correlates more with
    it than another original does. With two candidates, that is

    .. math:: s_j = \frac{1}{n - 1} \sum_{i \ne j} [r_{ij} < r_{jj}]
              + \tfrac12 [r_{ij} = r_{jj}].

    The direction "original" asks for each original i whether its own reconstruction correlates more with it
    than the reconstructions of other images. This is the same sum over j, comparing :math:`r_{ij}` with
    :math:`r_{ii}`. The two scores differ. Public tables use the first direction. Takagi & Nishimoto's code
    and the text of MindEye2 (appendix A.9) use the second.

    With more candidates, the score is the probability of coming first among n_way candidates. The other n_way
    - 1 are drawn at random without replacement. This probability is computed exactly. An image that beats w
    of m others comes first with the probability C(w, n_way - 1) / C(m, n_way - 1). Ties are broken at random.
    Retrieval among the same number of images gives the same score.

    Parameters
    ----------
    features_true, features_pred : array (n, ...)
        Features of the originals and of their reconstructions, in the same order.
    direction : {"reconstruction", "original"}
    n_way : int
        Number of candidates, from 2 to the number of images to choose from.
    groups : array (n,), optional
        If given, distractors come only from the image's own group, such as its setting. This test is harder,
        because decoding the group alone does not help.
    similarity : {"correlation", "cosine"}
        Cosine similarity does not remove the mean of the features, which all images partly share.
    repeated : bool
        Whether features_pred is (n, n_repeats, ...), with several drawings of each image. r_ij is then the
        mean over the repeats of j, as in Takagi & Nishimoto's code.
    batch_size : int
        Number of images compared with all others at a time. In addition to the features this takes about 25 *
        batch_size * n bytes, and 8 * batch_size * n more for each further repeat. It does not change the
        result.

    Returns
    -------
    scores : array (n,)
        In [0, 1]. Chance is 1 / n_way.

    Raises
    ------
    ValueError
        If there are fewer than two images, shapes are unequal, values are not finite, or features are
        constant. Also if a group is missing, or if an image has fewer than n_way - 1 others in its group.
    """
    true, pred = _rows("features_true", features_true), _rows("features_pred", features_pred)
    n = len(true)
    number("n_way", n_way, 2, whole=True)
    group = np.zeros(n, int) if groups is None else labels("groups", groups, n)
    n_others = np.bincount(group)[group] - 1
    if n_others.min() < n_way - 1:
        few = np.flatnonzero(n_others < n_way - 1)[:10].tolist()
        raise ValueError(
            f"Expected n_way from 2 to {n_others.min() + 1}, got {n_way}. Rows {few} have too few "
            "others to be told from: leave them out, or merge groups."
        )
    if repeated and pred.ndim < 3:
        raise ValueError(f"Expected features_pred (n, n_repeats, ...) when repeated, got {pred.shape}.")
    repeats = np.moveaxis(pred, 1, 0) if repeated else [pred]
    of_repeats = [_similarities(true, one, direction, similarity, batch_size) for one in repeats]
    scores = np.empty(n)
    for some, *of_some in zip(batches(n, batch_size), *of_repeats, strict=True):
        own = np.arange(some.start, some.stop)
        others = group[some, None] == group
        others[np.arange(len(own)), own] = False
        scores[some] = _first_of(sum(of_some) / len(of_some), own, others, n_way)
    return scores


def shuffled_identification(
    features_true, features_pred, rng, n_shuffles=100, direction="reconstruction", batch_size=BATCH
):
    """Return the two-way identification of reconstructions that are assigned to originals at random.

    The arguments are those of `identification`, and a numpy Generator `rng`. The result (n_shuffles,) holds
    the mean over images for each shuffle. The mean over shuffles is 0.5 if the score is unbiased.
    """
    true, pred = _rows("features_true", features_true), _rows("features_pred", features_pred)
    n = len(true)
    number("n_shuffles", n_shuffles, 1, whole=True)
    shuffles = [generator(rng).permutation(n) for _ in range(n_shuffles)]
    scores = np.empty((n_shuffles, n))
    compared = _similarities(true, pred, direction, "correlation", batch_size)
    for some, r in zip(batches(n, batch_size), compared, strict=True):
        for own, found in zip(shuffles, scores, strict=True):
            found[some] = _first_of(r, own[some], np.arange(n) != own[some, None], 2)
    return scores.mean(axis=1)


def retrieval(features_true, features_pred, n_images=300, batch_size=BATCH):
    """Return how often images are retrieved from decoded features, and decoded features from images.

    An item counts as retrieved if it comes first by cosine similarity among `n_images` candidates. Exactly
    one of them is correct. This is MindEye2's test ("image" and "brain" retrieval), which reports means over
    30 galleries of 300. Here the mean is over all possible galleries, as for n_way in `identification`.

    Parameters
    ----------
    features_true, features_pred : array (n, ...)
        Features of the images, and features decoded from the responses to them.
    n_images : int
        Size of the gallery, from 2 to n.
    batch_size : int
        As in `identification`.

    Returns
    -------
    images, brains : arrays (n,)
        How often the correct image is found for the decoded features, and the correct decoded features for
        the image. Both are in [0, 1], and chance is 1 / n_images.
    """
    number("n_images", n_images, 2, len(_rows("features_true", features_true)), whole=True)
    found = [
        identification(features_true, features_pred, direction, n_images, None, "cosine", False, batch_size)
        for direction in ("reconstruction", "original")
    ]
    return tuple(found)


def correlation_distance(features_true, features_pred):
    """Return 1 - r (n,) between the features of each reconstruction and of its original.

    The distance is 0 for equal features. Papers report it for EfficientNet and SwAV features. Arguments and
    errors are those of `identification`. Only few rows are held in float64 at a time.
    """
    return 1 - row_correlations("features_true", features_true, "features_pred", features_pred)


def repeat_consistency(features_pred, features_true):
    """Return how far repeated drawings of an image agree with one another, and with the original.

    Agreement among drawings is not enough, because drawings that all collapse to one picture agree perfectly.
    Only few images are held in float64 at a time.

    Parameters
    ----------
    features_pred : array (n, n_repeats, ...)
        At least two repeats.
    features_true : array (n, ...)

    Returns
    -------
    among, to_truth : arrays (n,)
        Mean correlation over pairs of repeats, and mean correlation of the repeats with the original.
    """
    true, repeats = dense("features_true", features_true), dense("features_pred", features_pred)
    if repeats.ndim < 3 or repeats.shape[1] < 2:
        raise ValueError(
            "One drawing has nothing to agree with: expected at least two repeats, features_pred (n, "
            f"n_repeats, ...), got {repeats.shape}."
        )
    check_shapes("features_true", true, "a repeat of features_pred", repeats[:, 0])
    n, n_repeats = repeats.shape[:2]
    among, to_truth = np.empty((2, n))
    for some in batches(n, max(1, NUMBERS // repeats[0].size)):
        part = repeats[some].astype(np.float64)
        # The sum of the unit vectors u: |sum|^2 = n_repeats + twice the sum over pairs.
        total = sum(standardise("features_pred", part[:, k], some.start) for k in range(n_repeats))
        among[some] = ((total**2).sum(axis=1) - n_repeats) / (n_repeats * (n_repeats - 1))
        own = standardise("features_true", true[some].astype(np.float64), some.start)
        to_truth[some] = (total * own).sum(axis=1) / n_repeats
    return among, to_truth


def _rows(name, features):
    """Return features (n, ...) of at least two images as they are."""
    features = dense(name, features)
    if len(features) < 2:
        raise ValueError("Identification needs at least two images, one to be told from the other.")
    if features.ndim < 2:
        raise ValueError(f"Expected {name} with a row of features per image, got shape {features.shape}.")
    return features


def _similarities(true, pred, direction, similarity, batch_size):
    """Compare all pairs, a batch of queries at a time.

    Checks everything before the first batch, which calls of a generator alone would not.

    Returns
    -------
    iterator of array (n_queries, n)
        Row i holds query i against the gallery.
    """
    if direction not in ("reconstruction", "original"):
        raise ValueError(f"Expected the direction 'reconstruction' or 'original', got {direction!r}.")
    if similarity not in ("correlation", "cosine"):
        raise ValueError(f"Expected similarity 'correlation' or 'cosine', got {similarity!r}.")
    number("batch_size", batch_size, 1, whole=True)
    check_shapes("features_true", true, "features_pred", pred)
    n, sides = len(true), []
    for name, rows in {"features_pred": pred, "features_true": true}.items():
        rows = rows.reshape(n, -1)
        means = row_means(name, rows)[:, None]
        means = np.zeros_like(means) if similarity == "cosine" else means
        squares = np.zeros(n)
        for some in batches(n, 32):  # so few that what is computed stays in the processor's cache
            for block in batches(rows.shape[1], BLOCK):
                centred = rows[some, block] - means[some]
                squares[some] += np.einsum("ij,ij->i", centred, centred)
        sides.append((rows, means, row_lengths(name, rows, squares)))
    queries, gallery = sides if direction == "reconstruction" else sides[::-1]
    return (_products(queries, gallery, some, batch_size) for some in batches(n, batch_size))


def _products(queries, gallery, some, batch_size):
    """Compute the correlations of some queries with all of the gallery, both (rows, means, lengths)."""
    rows, means, lengths = queries
    others, other_means, other_lengths = gallery
    r = np.zeros((some.stop - some.start, len(others)))
    for block in batches(rows.shape[1], BLOCK):
        asked = rows[some, block] - means[some]
        for part in batches(len(others), batch_size):
            r[:, part] += asked @ (others[part, block] - other_means[part]).T
    r /= lengths[some, None]
    r /= other_lengths
    return r


def _first_of(r, own, others, n_way):
    """Return the chance that column own[i] of row i of r comes first of n_way, others at random.

    `others` is boolean, of r's shape: the columns that may be drawn in each row.
    """
    difference = r[np.arange(len(r)), own][:, None] - r
    wins = np.count_nonzero((difference > TIE_TOLERANCE) & others, axis=1)
    ties = np.count_nonzero((difference >= -TIE_TOLERANCE) & (difference <= TIE_TOLERANCE) & others, axis=1)
    n_others, drawn, chance = np.count_nonzero(others, axis=1), n_way - 1, np.zeros(len(r))
    for tied in range(min(drawn, ties.max()) + 1):
        # C(wins, drawn - tied) C(ties, tied) / C(n_others, drawn), factor by factor
        beaten = [(wins - k) / (n_others - k) for k in range(drawn - tied)]
        level = [(ties - k) / (n_others - drawn + tied - k) for k in range(tied)]
        ways = comb(drawn, tied) * np.prod([*beaten, *level], axis=0)
        chance += ways / (tied + 1)
    return chance
