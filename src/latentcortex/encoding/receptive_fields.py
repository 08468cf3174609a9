"""Find receptive fields: the position and size of the image region that each vertex responds to.

A vertex is modelled as a weighted sum of channels (luminance, colours, contrast energies). Each channel is
averaged under a Gaussian window. Many windows are tried, and each vertex gets the window that explains most
variance. This is the model of Kay, Naselaris, Prenger and Gallant (2008, Nature 452:352-355). Windows lie on
a grid, as in population receptive fields (Dumoulin and Wandell 2008, NeuroImage 39:647-660).

Positions are degrees of visual angle from the centre of the image, with x to the right and y upwards.
"""

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from latentcortex.ridge.rows import (
    as_numpy,
    check_count,
    check_new_images,
    check_no_repeats,
    check_same_length,
    checked_rows,
    plain,
    whole_numbers,
)


def candidate_fields(width, n_places=9, sizes=(0.35, 0.6, 1.0, 1.6, 2.4, 3.2)):
    """Return candidate windows at all places of a square grid in all sizes, as (x, y, size).

    Parameters
    ----------
    width : float
        Width of the image in degrees, above 0. The outermost places of the grid lie half a step inside its
        edge.
    n_places : int
        Places along each side, at least 1.
    sizes : sequence of float
        Standard deviations in degrees, above 0.

    Returns
    -------
    array of shape (n_places^2 n_sizes, 3)

    Raises
    ------
    ValueError
        If a number is out of its range.
    """
    check_count(n_places, "n_places")
    sizes = np.asarray(sizes, float).ravel()
    if not (
        width > 0 and np.isfinite(width) and len(sizes) and (sizes > 0).all() and np.isfinite(sizes).all()
    ):
        raise ValueError(f"width and sizes are degrees, above 0; got {width!r} and {sizes}.")
    places = ((np.arange(n_places) + 0.5) / n_places - 0.5) * width
    x, y, size = np.meshgrid(places, places, sizes, indexing="ij")
    return np.stack([x.ravel(), y.ravel(), size.ravel()], axis=1)


def gaussian_fields(candidates, shape, width):
    """Return the window of each candidate over the cells of a map; each window sums to 1.

    The window is exp(-((u - x)^2 + (v - y)^2) / (2 size^2)), where (u, v) is the centre of a cell. Rows run
    from the top of the image to the bottom.

    Parameters
    ----------
    candidates : array of shape (n_candidates, 3)
        x, y and size in degrees.
    shape : tuple of int
        Height and width of the maps, in cells.
    width : float
        Width of the image in degrees. Its height follows from `shape`, because cells are square.

    Returns
    -------
    float64 array of shape (n_candidates, h w)
    """
    h, w = shape
    cell = width / w
    u = (np.arange(w) + 0.5 - w / 2) * cell
    v = -(np.arange(h) + 0.5 - h / 2) * cell
    x, y, size = np.asarray(candidates, float).T[:, :, None]
    # Less the nearest cell's exponent, so that a small window between cells does not vanish.
    across, down = (-0.5 * ((places - centre) / size) ** 2 for places, centre in ((u, x), (v, y)))
    across, down = (np.exp(part - part.max(axis=1, keepdims=True)) for part in (across, down))
    fields = (down[:, :, None] * across[:, None, :]).reshape(len(x), -1)
    return fields / fields.sum(axis=1, keepdims=True)


class ReceptiveFieldEncoder(BaseEstimator):
    """Find each vertex's Gaussian window on training images, and predict betas of new images.

    For candidate k the features F_k (n_images, n_channels) are the channels averaged under its window. Each
    vertex gets the candidate with the largest R2 of a least-squares fit on the training images. All
    candidates have the same number of columns, so none is favoured. This R2 is the best of many, so it is too
    large. Evaluate the model by `correlation` on held-out images.

    One matrix product serves all vertices and candidates, because R2 = ``|Q_k' y|^2 / |y|^2``, where Q_k are
    orthonormal columns that span F_k. It takes 8 n_images n_channels n_candidates bytes, and 4 n_channels
    n_candidates bytes for each vertex of a block.

    Parameters
    ----------
    candidates : array of shape (n_candidates, 3)
        x, y and size in degrees, for example from `candidate_fields`.
    width : float
        Width of the picture in degrees.
    block_size : int
        Number of vertices processed at a time. It limits memory and does not change the result.

    Attributes
    ----------
    x_ : array of shape (n_vertices,)
        Centre of the chosen window in degrees to the right. NaN for a vertex that does not vary.
    y_ : array of shape (n_vertices,)
        Centre of the chosen window in degrees upwards.
    size_ : array of shape (n_vertices,)
        Standard deviation of the chosen window in degrees.
    candidate_ : int array of shape (n_vertices,)
        Row of `candidates`; -1 for a vertex that does not vary.
    r2_ : array of shape (n_vertices,), in [0, 1]
        R2 on the training images. NaN for a vertex that does not vary.
    coef_ : array of shape (n_channels, n_vertices)
        Coefficients of the channels under the chosen window.
    intercept_ : array of shape (n_vertices,)
    image_ids_ : int array of shape (n_images,)
        The images of the training rows.
    """

    def __init__(self, candidates, width, block_size=1024):
        self.candidates = candidates
        self.width = width
        self.block_size = block_size

    def fit(self, maps, betas, image_ids, n_repeats=None):
        """Fit on training rows.

        Parameters
        ----------
        maps : array of shape (n_images, n_channels, h, w)
            Row i holds the maps of ``image_ids[i]``.
        betas : array of shape (n_images, n_vertices)
        image_ids : array of int, shape (n_images,)
        n_repeats : array of int, shape (n_images,), optional
            Number of trials averaged in each row, at least 1. Rows are weighted by it.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the numbers of rows differ, if values are masked, missing or infinite, or if there are too few
            images for the channels.
        """
        check_count(self.block_size, "block_size")
        candidates = self._checked_candidates()
        maps, betas = as_numpy(checked_rows(maps, "maps")), as_numpy(checked_rows(betas, "betas"))
        if maps.ndim != 4 or betas.ndim != 2:
            raise ValueError(
                "maps must be (n_images, n_channels, h, w) and betas (n_images, n_vertices); got "
                f"{maps.shape} and {betas.shape}."
            )
        check_same_length(maps=maps, betas=betas, image_ids=image_ids)
        image_ids = whole_numbers(image_ids, "image_ids", len(betas))
        if len(betas) < maps.shape[1] + 2:
            raise ValueError(
                f"{len(betas)} images can't tell {maps.shape[1]} channels apart: at least "
                f"{maps.shape[1] + 2} are needed."
            )
        weights = np.ones(len(betas)) if n_repeats is None else n_repeats
        weights = whole_numbers(weights, "n_repeats", len(betas), lowest=1) / 1.0
        features = self._under(candidates, maps)
        means = np.average(features, axis=1, weights=weights)
        root = np.sqrt(weights)[:, None]
        spans, back = [], []
        for centred in (features - means[:, None]) * root:
            # Columns of one size first, so that a channel in small units is not taken for nothing.
            norms = np.linalg.norm(centred, axis=0)
            scale = 1 / np.where(norms > 0, norms, np.inf)
            u, s, vt = np.linalg.svd(centred * scale, full_matrices=False)
            s_inverse = np.where(s > 1e-6 * s.max(), 1 / np.maximum(s, 1e-300), 0)
            spans.append((u * (s_inverse > 0)).astype(np.float32))
            back.append(scale[:, None] * (vt.T * s_inverse))
        best, r2, coef, intercept = self._choose(np.stack(spans), np.stack(back), means, betas, weights)
        self.candidate_, self.r2_, self.coef_, self.intercept_ = best, r2, coef, intercept
        chosen = np.where((best >= 0)[:, None], candidates[best], np.nan)
        self.x_, self.y_, self.size_ = chosen.T
        self.image_ids_, self.map_shape_ = image_ids, maps.shape[1:]
        return self

    def predict(self, maps, image_ids=None):
        """Return predicted betas.

        Parameters
        ----------
        maps : array of shape (n_images, n_channels, h, w), as fitted
        image_ids : array of int, shape (n_images,), optional
            The image of each row, for predictions that will be tested. An image that the encoder has learned
            from is then an error, and so are several rows of one image.

        Returns
        -------
        float32 array of shape (n_images, n_vertices)

        Raises
        ------
        ValueError
            If maps have another shape or are masked, missing or infinite, or for image ids as described.
        """
        check_is_fitted(self)
        maps = as_numpy(checked_rows(maps, "maps", self.map_shape_))
        if image_ids is not None:
            image_ids = whole_numbers(image_ids, "image_ids", len(maps))
            check_new_images(image_ids, self.image_ids_, "encoder")
            check_no_repeats(image_ids)
        predicted = np.repeat(self.intercept_[None], len(maps), axis=0)
        used = np.unique(self.candidate_[self.candidate_ >= 0])
        for k, features in zip(used, self._under(self._checked_candidates()[used], maps), strict=True):
            here = self.candidate_ == k
            predicted[:, here] += (features @ self.coef_[:, here]).astype(np.float32)
        return predicted

    def _checked_candidates(self):
        candidates = as_numpy(plain(self.candidates, "candidates"))
        right = candidates.ndim == 2 and candidates.shape[1:] == (3,) and len(candidates) > 0
        if not (right and np.isfinite(candidates).all() and (candidates[:, 2] > 0).all() and self.width > 0):
            raise ValueError(
                "candidates must be (n_candidates, 3), x, y and a size above 0, in degrees, and width the "
                f"picture's in degrees; got {candidates.shape} and {self.width!r}."
            )
        return candidates

    def _under(self, candidates, maps):
        """Return the channels averaged under each window: (n_candidates, n_images, n_channels)."""
        n_images, n_channels, *shape = maps.shape
        fields = gaussian_fields(candidates, shape, self.width).astype(np.float32)
        # Windows sum to 1, so what a channel has everywhere can be taken off first and keeps its digits.
        offset = maps.mean(axis=(0, 2, 3), dtype=np.float64)
        flat = (maps - offset[:, None, None]).reshape(n_images * n_channels, -1).astype(np.float32)
        return (flat @ fields.T).T.reshape(len(candidates), n_images, n_channels) + offset

    def _choose(self, spans, back, means, betas, weights):
        """Return candidate, R2, coefficients and intercept of each vertex, in blocks of vertices.

        spans (n_candidates, n_images, n_channels) are orthonormal in the last axis; back (n_candidates,
        n_channels, n_channels) turns what they explain into coefficients of the channels.
        """
        n_candidates, n_images, n_channels = spans.shape
        columns = spans.transpose(0, 2, 1).reshape(-1, n_images)
        best, r2 = np.full(betas.shape[1], -1), np.full(betas.shape[1], np.nan)
        coef, intercept = np.zeros((n_channels, len(best))), np.average(betas, axis=0, weights=weights)
        root = np.sqrt(weights)[:, None]
        constant = (betas == betas[0]).all(axis=0)
        for start in range(0, len(best), self.block_size):
            some = np.arange(start, min(start + self.block_size, len(best)))
            some = some[~constant[some]]
            centred = ((betas[:, some] - intercept[some]) * root).astype(np.float32)
            projected = (columns @ centred).reshape(n_candidates, n_channels, len(some))
            explained = np.einsum("kcv,kcv->kv", projected, projected)
            best[some] = winner = explained.argmax(axis=0)
            each = np.arange(len(some))
            r2[some] = np.clip(explained[winner, each] / (centred**2).sum(axis=0), 0, 1)
            coef[:, some] = np.einsum("vdc,vc->dv", back[winner], projected[winner, :, each])
            intercept[some] -= (means[winner] * coef[:, some].T).sum(axis=1)
        return best, r2, coef, intercept.astype(np.float32)
