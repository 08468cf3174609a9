"""Test significance without assuming a distribution, by permuting test images and computing r again.

Images of a test set can resemble each other, so there are effectively fewer of them. A formula that assumes
independent images then finds vertices without an effect, and so does a permutation of all images. A
permutation within clusters of similar images only tests whether the order within each cluster is predicted.
"""

import numpy as np

from latentcortex.encoding.correlations import paired, zscore
from latentcortex.ridge.rows import check_count, whole_numbers


def permutation_p_values(
    predicted, measured, rng, n_permutations=10_000, clusters=None, image_ids=None, block_size=32
):
    """Return p-values of correlations by permutation of whole test images.

    p = (1 + b) / (1 + B), where b of B permutations reach the r of the true order (Phipson and Smyth 2010,
    Stat. Appl. Genet. Mol. Biol. 9:39). The test is one-sided, and ties count as reaching r. Every
    permutation moves whole images and is the same for all vertices.

    The permutations are the cells of an s x s table. Its rows are orders sigma_j of the predictions, and its
    columns are orders tau_k of the measurements. Cell (j, k) is the correlation

        r_jk = sum_i a[sigma_j(i)] b[tau_k(i)] / n,   a and b z-scored over the n images

    so the table of a vertex is one product of two matrices. The first order in rows and columns is the true
    order; all others are drawn at random. B = s^2 - 1 is the smallest such number that is at least
    `n_permutations`, for example 10,200 for 10,000. Any two cells are independent draws, so b varies as it
    does over B single permutations.

    Without an effect, rows and columns are exchangeable. So the true cell is as likely as any other to be
    among the m largest, and P(p <= alpha) is at most alpha. This is exact, as for any permutation test
    (Hemerik and Goeman 2018, TEST 27:811-825).

    The smallest p is 1 / (1 + B). With 20,484 vertices and 10,000 permutations, `fdr` at 0.05 finds something
    only if at least 41 vertices reach it. So use more permutations for smaller regions of effect. Apart from
    the arguments, the memory is about 8 block_size (2 s n + 2 s^2) bytes. For 982 images, 10,000 permutations
    and blocks of 32 vertices that is 56 MB.

    Parameters
    ----------
    predicted, measured : array of shape (n_images, n_vertices)
        Betas of images that were not used for fitting.
    rng : numpy.random.Generator
        The same seed gives the same permutations for other vertices.
    n_permutations : int
        At least 1.
    clusters : array of int, shape (n_images,), optional
        Cluster of similar images that each image belongs to. Images are then permuted only within their
        cluster, so an effect between clusters is not found.
    image_ids : array of int, shape (n_images,), optional
        The image of each row. Several rows of one image are then an error.
    block_size : int
        Number of vertices processed at a time. It limits memory and does not change the result.

    Returns
    -------
    array of shape (n_vertices,), in (0, 1]
        NaN where either array does not vary or holds NaN.

    Raises
    ------
    ValueError
        If shapes differ, if values are masked or infinite, or if `image_ids` has repeats. Also if counts are
        not whole numbers of at least 1, or if every cluster has a single image.
    """
    for count, name in ((n_permutations, "n_permutations"), (block_size, "block_size")):
        check_count(count, name)
    predicted, measured = paired(predicted, measured, image_ids)
    n_images, n_vertices = predicted.shape
    n_orders = int(np.ceil(np.sqrt(n_permutations + 1)))
    of_predicted, of_measured = (draw_orders(n_images, n_orders, rng, clusters) for _ in range(2))
    p = np.empty(n_vertices)
    for first in range(0, n_vertices, block_size):
        # A vertex becomes a row, so that an order is taken from numbers that lie together.
        a, b = (
            zscore(values[:, first : first + block_size]).T.astype(np.float64, order="C")
            for values in (predicted, measured)
        )
        # .shape = (n_block, n_orders, n_images), then (n_block, n_orders, n_orders)
        r = a.take(of_predicted, axis=1) @ b.take(of_measured, axis=1).transpose(0, 2, 1) / n_images
        # Sums of the same numbers in another order differ by rounding, and are ties.
        reached = (r >= r[:, :1, :1] - 1e-10).mean((1, 2))
        p[first : first + block_size] = np.where(np.isnan(r[:, 0, 0]), np.nan, reached)
    return p


def draw_orders(n_images, n_orders, rng, clusters=None):
    """Return random orders of images, after the true order in the first row.

    Parameters
    ----------
    n_images, n_orders : int
    rng : numpy.random.Generator
    clusters : array of int, shape (n_images,), optional
        If given, every image changes places only with images of its own cluster.

    Returns
    -------
    int array of shape (n_orders, n_images)
        Row k holds the index of the image at each place. In every row but the first, all possible orders are
        equally likely.

    Raises
    ------
    ValueError
        If no cluster has two images, or if there is not one label for each image.
    """
    labels = np.zeros(n_images, dtype=np.int64)
    if clusters is not None:
        labels = whole_numbers(clusters, "clusters", n_images)
    if len(np.unique(labels)) == n_images:
        raise ValueError(
            f"Each of {n_images} images is a cluster of its own, so there is nothing to permute: give "
            "labels that several images share, or leave clusters out."
        )
    orders = np.tile(np.arange(n_images), (n_orders, 1))
    places = np.argsort(labels, kind="stable")
    for order in orders[1:]:
        # Sorted by label, and at random among images of one label.
        order[places] = np.lexsort((rng.random(n_images), labels))
    return orders
