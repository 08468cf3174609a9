"""Reduce large features to principal components of the training images.

If the exact decomposition fits into memory, it is computed. Otherwise a random projection comes first, and
the principal components of its output are computed. Only training images are used for fitting in either case.
"""

import dataclasses

import numpy as np
import torch
from sklearn.random_projection import SparseRandomProjection

from latentcortex.ridge.decomposition import eigenvectors, gram
from latentcortex.ridge.rows import as_numpy, check_count, check_same_length, checked_rows


class SparseProjection:
    r"""Project features at random, with a matrix that is drawn once and does not depend on data.

    .. math:: y_j = \sum_i R_{ji} x_i, \qquad
        R_{ji} = \pm \sqrt{\sqrt{p} / m} \text{ with probability } 1 / (2 \sqrt{p}) \text{ each, else } 0

    for p features and m dimensions. For n images, distances between images change by a share of at most about
    sqrt(8 ln(n) / m). The projection needs no fit and treats each image separately. So it can reduce
    activations as soon as they are computed (as `reduce` of ``features.unet_activations``).

    Parameters
    ----------
    n_features : int
        Number of features p of one image.
    n_projected : int
        Number of dimensions m, below `n_features`.
    rng : numpy.random.Generator
        One number is drawn from it as the seed of the projection.

    Raises
    ------
    ValueError
        If `n_projected` is not between 1 and `n_features` less one.

    Notes
    -----
    The matrix takes 8 m sqrt(p) bytes, for example 29 MB for 320 x 64 x 64 features and 3,200 dimensions.

    Source: Li, Hastie and Church (2006), Very sparse random projections. The matrix is scikit-learn's
    `SparseRandomProjection` with its own density.
    """

    def __init__(self, n_features, n_projected, rng):
        if not 1 <= n_projected < n_features:
            raise ValueError(
                f"n_projected must be at least 1 and less than the {n_features} features; got {n_projected}. "
                "Features that are as few need no projection."
            )
        seed = int(rng.integers(2**31))
        drawn = SparseRandomProjection(int(n_projected), random_state=seed)
        self.n_features = int(n_features)
        self.matrix = drawn.fit(np.zeros((1, self.n_features), np.float32)).components_

    def __call__(self, features):
        """Return projected features, float32 tensor (n, n_projected), of features (n, ...)."""
        rows = _flat(features)
        if rows.shape[1] != self.n_features:
            raise ValueError(f"This projection takes {self.n_features} features; got {rows.shape[1]}.")
        return torch.from_numpy(np.ascontiguousarray((self.matrix @ rows.T.astype(np.float32)).T))


@dataclasses.dataclass(frozen=True)
class Reduction:
    """Map features to few components, with a linear map that was fitted on training images.

    Attributes
    ----------
    mean : float32 tensor (p,)
        Mean of the training images. p is the number of features, or of projected features.
    directions : float32 tensor (p, n_components)
        Orthonormal directions, in descending order of variance. The largest entry of each is positive,
        because its sign would otherwise be arbitrary.
    variances : float64 tensor (n_components,)
        Variances of the components over training images, with n - 1 in the denominator.
    total_variance : float
        Sum of the variances of all p features. The first k components keep the share ``variances[:k].sum() /
        total_variance``.
    projection : SparseProjection or None
        The projection that is applied first. None if the components are exact.
    """

    mean: torch.Tensor
    directions: torch.Tensor
    variances: torch.Tensor
    total_variance: float
    projection: SparseProjection | None = None

    def __call__(self, features):
        """Return the components, float32 tensor (n, n_components), of features (n, ...)."""
        rows, projection = _flat(checked_rows(features, "features")), self.projection
        expected = len(self.mean) if projection is None else projection.n_features
        if rows.shape[1] != expected:
            raise ValueError(f"Expected {expected} features for each image, as fitted; got {rows.shape[1]}.")
        blocks = []
        for start in range(0, len(rows), 256):
            block = rows[start : start + 256]
            block = torch.from_numpy(np.array(block, np.float32)) if projection is None else projection(block)
            blocks.append((block - self.mean) @ self.directions)
        return torch.cat(blocks)

    def back(self, components):
        """Return features (n, p) that are rebuilt from their components (n, n_components) alone.

        Raises
        ------
        ValueError
            If the features were projected at random, because this cannot be undone.
        """
        if self.projection is not None:
            raise ValueError(
                "These features were projected at random before their components were taken, and that cannot "
                "be undone. Fit with a larger max_bytes if you need the way back."
            )
        return components @ self.directions.T + self.mean

    def first(self, n_components):
        """Return the reduction to the first n_components, which is the same as fitting with this number."""
        if not 1 <= n_components <= len(self.variances):
            raise ValueError(f"n_components must be in [1, {len(self.variances)}]; got {n_components}.")
        directions, variances = self.directions[:, :n_components], self.variances[:n_components]
        return dataclasses.replace(self, directions=directions, variances=variances)


def fit_reduction(features, n_components=None, rng=None, n_projected=None, max_bytes=4e9, block_size=1024):
    r"""Return principal components of training images, which are exact if that fits into memory.

    Let X be the centred features (n images, p features) and X = U S V'. The exact components are XV. If n is
    smaller than p they come from XX' = U S^2 U' and V = X'U / S, otherwise from X'X = V S^2 V'. Both are
    computed in float64.

    Besides the features the exact method needs about 24 min(n, p)^2 + 4 p n_components bytes, at its peak
    twice as much. If that exceeds `max_bytes`, a `SparseProjection` to `n_projected` dimensions comes first.
    It takes 4 n n_projected + 24 min(n, n_projected)^2 bytes, and 8 p bytes for each of 64 rows at a time.

    Parameters
    ----------
    features : array, memory map or tensor (n_images, ...)
        Features of training images only, with one row per image. They are read in blocks.
    n_components : int, optional
        Number of components of the result. By default all that vary, at most n_images - 1.
    rng : numpy.random.Generator, optional
        Seeds the projection. It is only needed if the exact method does not fit.
    n_projected : int, optional
        By default four times `n_components`. We simulated 30 components of 4,096 features. The projection
        kept 86 % of the variance that exact components keep if variances fall as 1 / rank, and 99 % if they
        fall as 1 / rank^2.
    max_bytes : float
        The choice of method depends only on this number and on shapes, not on the state of the machine.
    block_size : int
        Columns processed at a time, or rows if there are fewer features than images. It changes the result
        only by rounding.

    Returns
    -------
    Reduction

    Raises
    ------
    ValueError
        If values are missing, or if the images have fewer dimensions than `n_components`. Also if a
        projection is needed and `rng` or `n_components` is missing.

    Notes
    -----
    The projection before the decomposition follows Halko, Martinsson and Tropp (2011), Finding structure with
    randomness. Their second pass over the features is left out here.
    """
    features = _flat(checked_rows(features, "features"))
    n, p = features.shape
    most = min(n - 1, p)
    if n_components is not None and not (1 <= n_components <= most and n_components == int(n_components)):
        raise ValueError(
            f"{n} images with {p} features have 1 to {most} components; got n_components = {n_components}. "
            "Fit every set with what it has, and cut all by same_dimensions."
        )
    n_bytes = 24 * min(n, p) ** 2 + 4 * p * (n_components or most)
    if n_bytes <= max_bytes:
        return _exact(features, n_components, block_size)
    if rng is None or n_components is None:
        raise ValueError(
            f"Exact components of {n} images with {p} features need {n_bytes / 1e9:.3g} GB, more than "
            f"max_bytes = {max_bytes / 1e9:.3g} GB. Pass rng and n_components for a random projection before "
            "them, or raise max_bytes."
        )
    projection = SparseProjection(p, 4 * n_components if n_projected is None else n_projected, rng)
    projected = np.empty((n, projection.matrix.shape[0]), np.float32)
    for start in range(0, n, 64):  # few, because each row is copied twice
        projected[start : start + 64] = projection(features[start : start + 64]).numpy()
    return dataclasses.replace(_exact(projected, n_components, block_size), projection=projection)


def low_rank(features, is_train, n_components):
    """Return features reduced to the principal components of the training images, in the original axes.

    Use it before a ridge regression that z-scores its columns. With z-scored components the smallest would
    get as much weight as the largest, which lowers every score.

    Parameters
    ----------
    features : array (n_images, ...)
    is_train : bool array (n_images,)
        Images that the components are fitted on.
    n_components : int
        Number of components, at most the number that the training images have.

    Returns
    -------
    float32 array (n_images, n_varying)
        Features that do not vary over the training images (less than 1/1000 of the largest deviation) are
        left out. The rest is unchanged if at most `n_components` features remain.

    Raises
    ------
    ValueError
        If values are missing, no feature varies over the training images, or `n_components` is below 1.
    """
    check_count(n_components, "n_components")
    features, is_train = _flat(checked_rows(features, "features")), np.asarray(is_train)
    if is_train.dtype != bool or is_train.shape != (len(features),) or is_train.sum() < 2:
        raise ValueError(
            f"is_train must mark at least two of the {len(features)} images by True; got {is_train.dtype} of "
            f"shape {is_train.shape}, {is_train.sum()} marked."
        )
    rows = features[is_train]
    if (rows == rows[0]).all():
        raise ValueError(f"None of the {rows.shape[1]} features varies over the {len(rows)} training images.")
    scale = rows.std(0, dtype=np.result_type(rows, np.float32))  # sums overflow in half precision
    features = features[:, scale > 1e-3 * scale.max()].astype(np.float32)
    if features.shape[1] <= n_components:
        return features
    reduction = _exact(features[is_train], n_components, 1024, or_fewer=True)
    return reduction.back(reduction(features)).numpy()


def same_dimensions(reductions):
    """Return all reductions cut to the smallest number of components among them.

    Features with more dimensions predict better for that reason alone.

    Parameters
    ----------
    reductions : dict of str to Reduction

    Returns
    -------
    dict of str to Reduction
    """
    fewest = min(len(reduction.variances) for reduction in reductions.values())
    return {name: reduction.first(fewest) for name, reduction in reductions.items()}


def variance_kept(features, components, block_size=1024):
    r"""Return the share of the features' variance that the components explain linearly.

    .. math:: \| Q' X \|^2 / \| X \|^2

    for centred features X and an orthonormal basis Q of the centred components. Among all sets of k
    components, the exact principal components keep the most variance. So the difference to them is the cost
    of a random projection.

    Parameters
    ----------
    features : array, memory map or tensor (n_images, ...)
    components : array or tensor (n_images, n_components)
        Components of the same images.
    block_size : int
        Number of feature columns processed at a time.

    Returns
    -------
    share : float
        In [0, 1]. NaN if the features do not vary.
    """
    features, components = _flat(checked_rows(features, "features")), checked_rows(components, "components")
    check_same_length(features=features, components=components)
    components = torch.from_numpy(np.array(as_numpy(components), np.float64))
    left, singular, _ = torch.linalg.svd(components - components.mean(0), full_matrices=False)
    basis = left[:, singular > singular.max() * len(components) * torch.finfo(torch.float64).eps]
    kept = total = 0.0
    for start in range(0, features.shape[1], block_size):
        block = _centred(features[:, start : start + block_size])
        kept, total = kept + float((basis.T @ block).square().sum()), total + float(block.square().sum())
    return kept / total if total > 0 else float("nan")


def _flat(values):
    """Return rows as a numpy array (n, p), a memory map as one."""
    values = as_numpy(values)
    if values.ndim < 2:
        raise ValueError(f"features must be (n_images, ...), one row per image; got {values.shape}.")
    return values.reshape(len(values), -1)


def _centred(columns):
    """Return columns less their mean, as a new float64 tensor (n, n_columns)."""
    columns = torch.from_numpy(np.array(columns, np.float64))
    columns.sub_(columns[0].clone())  # a constant column is then exactly 0
    return columns.sub_(columns.mean(0))


def _exact(features, n_components, block_size, or_fewer=False):
    n, p = features.shape
    by_images = n <= p  # the products of images are the smaller matrix
    mean = torch.empty(p, dtype=torch.float64)
    for start in range(0, p, block_size):
        columns = slice(start, start + block_size)
        first = features[0, columns].astype(np.float64)
        mean[columns] = torch.from_numpy(first + (features[:, columns] - first).mean(0))
    products = torch.zeros(min(n, p), min(n, p), dtype=torch.float64)
    for start in range(0, p if by_images else n, block_size):
        block = slice(start, start + block_size)
        if by_images:
            products += gram(_centred(features[:, block]))
        else:
            rows = torch.from_numpy(np.array(features[block], np.float64)).sub_(mean)
            products += gram(rows.T)
    total = float(products.trace())
    values, vectors = eigenvectors(products)
    values, vectors = values.flip(0), vectors.flip(1)
    # What the rounding of the features alone could be is no dimension of theirs.
    eps = np.finfo(features.dtype).eps if features.dtype.kind == "f" else 0.0
    eps = max(eps, float(torch.finfo(torch.float64).eps))
    of_features = eps**2 * (total + n * float(mean @ mean)) / len(values)
    floor = max(of_features, len(values) * torch.finfo(torch.float64).eps * float(values[0]))
    rank = min(int((values > floor).sum()), n - 1)
    if or_fewer:
        n_components = min(n_components, rank)
    if rank == 0 or (n_components is not None and n_components > rank):
        raise ValueError(
            f"These {n} images vary in {rank} dimensions only, and n_components is {n_components}. Ask for "
            "fewer, or fit every set with what it has and cut all by same_dimensions."
        )
    kept = rank if n_components is None else n_components
    values, vectors = values[:kept], vectors[:, :kept]
    if by_images:
        directions = torch.empty(p, kept)
        for start in range(0, p, block_size):
            columns = slice(start, start + block_size)
            directions[columns] = (_centred(features[:, columns]).T @ (vectors / values.sqrt())).float()
    else:
        directions = vectors.float()
    largest = directions.gather(0, directions.abs().argmax(0, keepdim=True))
    return Reduction(mean.float(), directions.mul_(largest.sign()), values / (n - 1), total / (n - 1))
