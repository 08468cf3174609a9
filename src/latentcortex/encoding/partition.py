"""Measure what each feature space contributes to a prediction, in the ways that papers have used.

The measures answer different questions, and they disagree if spaces are correlated. All of them compare
predictions for test images that were not used for fitting.

Two scores are called R2. `out_of_sample_r2` is 1 - SSE / SST, which penalises predictions of the wrong scale.
This score is additive, so `unique_and_shared` is meant for it, and `product_measure` and `relative_weights`
divide it among spaces. `signed_r2` is sign(r) r^2, which ignores scale and offset. Use it if the scale of a
prediction does not matter, as in the map of a single space.

Every vertex is computed independently, so maps that do not fit into memory can be made in blocks of vertices.
Parts are copied in float64, which takes 16 n_spaces n_images n_vertices bytes.
"""

import numpy as np
from scipy.optimize import nnls
from sklearn.base import clone

from latentcortex.encoding.correlations import correlation, paired, zscore
from latentcortex.encoding.encoder import VoxelwiseEncoder
from latentcortex.ridge.rows import as_numpy, check_same_length, plain, whole_numbers, within


def signed_r2(predicted, measured):
    """Return sign(r) r^2 of each vertex, in [-1, 1]; NaN where r is.

    The sign is kept because the plain square would reward a prediction that is anticorrelated with the
    measurement.

    Parameters
    ----------
    predicted, measured : array of shape (n_images, n_vertices)

    Returns
    -------
    array of shape (n_vertices,)
    """
    r = correlation(predicted, measured)
    return np.sign(r) * r**2


def out_of_sample_r2(predicted, measured):
    """Return 1 - SSE / SST of each vertex, in (-inf, 1]; NaN where the measured betas do not vary.

    SSE is sum_i (measured_i - predicted_i)^2, and SST the sum of squares around the mean of the measured
    betas of these images. The score is below 0 if the mean would have predicted better.

    Parameters
    ----------
    predicted, measured : array of shape (n_images, n_vertices)

    Returns
    -------
    array of shape (n_vertices,)
    """
    predicted, measured = paired(predicted, measured)
    return 1 - ((measured - predicted) ** 2).sum(0) / _variation(measured)


def unique_and_shared(joint, first, second):
    """Return the R2 that only the first space explains, that only the second explains, and that both share.

    unique_first = R2(joint) - R2(second), unique_second = R2(joint) - R2(first), and shared = R2(first) +
    R2(second) - R2(joint), so that the three add up to R2(joint) (Lescroart, Stansbury and Gallant 2015,
    Front. Comput. Neurosci. 9:135). On test images any of them can be negative. A unique share can be
    negative because the joint model has more to fit. The shared part can be negative if one space suppresses
    noise of the other. Negative values are kept, because clipping them at 0 makes noise look like an effect.
    With more than two spaces, pass the model of all spaces but one as `second`.

    Parameters
    ----------
    joint, first, second : array of shape (..., n_vertices), at most 1
        R2 of three models on the same test images, all by `out_of_sample_r2` or all by `signed_r2`.

    Returns
    -------
    unique_first, unique_second, shared : arrays of the shape of joint

    Raises
    ------
    ValueError
        If shapes differ, or if values are above 1.
    """
    scores = {"joint": joint, "first": first, "second": second}
    joint, first, second = (within(values, name, -np.inf, 1) for name, values in scores.items())
    if not joint.shape == first.shape == second.shape:
        raise ValueError(
            "joint, first and second must have one shape; got "
            f"{joint.shape}, {first.shape} and {second.shape}."
        )
    return joint - second, joint - first, first + second - joint


def product_measure(parts, measured):
    """Return the share of each space in R2 by the product measure (Pratt 1987).

    R2_s = sum_i p_si (2 y_i - p_i) / sum_i y_i^2, with p = sum_s p_s. The shares add up to the R2 of the
    whole prediction, 1 - SSE / SST. They can be negative. It is `himalaya.scoring.r2_score_split` (Dupre la
    Tour et al. 2022, NeuroImage 264:119728), but measurements and parts are centred over the test images
    first. So an offset between sessions is attributed to no space.

    Parameters
    ----------
    parts : array of shape (n_spaces, n_images, n_vertices)
        ``BandedEncoder.predict(..., split=True)``.
    measured : array of shape (n_images, n_vertices)

    Returns
    -------
    array of shape (n_spaces, n_vertices); NaN where the measured betas do not vary
    """
    parts, measured, total = _centred(parts, measured)
    return np.einsum("siv,iv->sv", parts, 2 * measured - parts.sum(0)) / total


def relative_weights(parts, measured):
    """Return the share of each space in R2 by relative weights (Johnson 2000).

    The parts p_s of a vertex are turned into orthonormal columns Z as near to them as possible:
    P = Z L, with L = (P'P)^(1/2). The whole prediction P 1 has the weights b = L 1 on Z, and

        ``R2_k = R2 sum_s (L_ks / |p_s|)^2 b_s^2 / sum_s b_s^2``

    The shares add up to R2 and have its sign. It is `himalaya.scoring.r2_score_split_svd` (Johnson
    2000, Multivariate Behavioral Research 35:1-19), centred as in `product_measure`.

    Parameters
    ----------
    parts, measured
        See `product_measure`.

    Returns
    -------
    array of shape (n_spaces, n_vertices); NaN where the measured or all predicted betas do not vary
    """
    parts, measured, total = _centred(parts, measured)
    r2 = 1 - ((measured - parts.sum(0)) ** 2).sum(0) / total
    products = np.einsum("siv,tiv->vst", parts, parts)
    known = np.isfinite(products).all((1, 2))
    eigenvalues, vectors = np.linalg.eigh(np.where(known[:, None, None], products, 0))
    root = (vectors * np.sqrt(eigenvalues.clip(min=0))[:, None]) @ vectors.transpose(0, 2, 1)
    norms = (root**2).sum(1, keepdims=True)  # |p_s|^2
    share = root**2 / np.where(norms > 0, norms, 1) @ root.sum(2, keepdims=True) ** 2
    whole = share.sum(1)
    return (share[:, :, 0] / np.where((whole > 0) & known[:, None], whole, np.nan)).T * r2


def residual_method(first, second, betas, image_ids, new_first, new_second, n_repeats=None, encoder=None):
    """Return predictions of the first space, and predictions of its residual from the second space.

    The first model is fitted to the betas of training images. The second is fitted to the betas minus the
    fitted betas of the first. Score the second by its correlation with ``measured - of_first`` on test
    images. Variance that both spaces could explain goes to the first, so the order matters.

    The penalty shrinks the first model, so some of what it could explain remains in the residual. If the
    spaces are correlated, a second space can therefore score above 0 even if it explains nothing unique.

    Parameters
    ----------
    first, second : array of shape (n_images, ...)
        Features of the training images.
    betas, image_ids, n_repeats
        See `VoxelwiseEncoder.fit`.
    new_first, new_second : array of shape (n_new, ...)
        Features of the test images.
    encoder : VoxelwiseEncoder, optional
        Its settings are used for both.

    Returns
    -------
    of_first, of_residual : arrays of shape (n_new, n_vertices)
    """
    encoder = VoxelwiseEncoder() if encoder is None else clone(encoder)
    encoder.fit(first, betas, image_ids, n_repeats)
    of_first, left_over = encoder.predict(new_first), betas - encoder.predict(first)
    return of_first, encoder.fit(second, left_over, image_ids, n_repeats).predict(new_second)


def held_out_predictions(encoder, features, betas, image_ids, n_repeats=None, n_folds=5):
    """Return predictions for training images, each from an encoder that has not learned from that image.

    `stacking_weights` takes these predictions, with one call per space. Folds are made by image. Images are
    assigned to folds in turn, in the order of their ids, so the order of the rows does not matter.

    Parameters
    ----------
    encoder : VoxelwiseEncoder
        Its settings are used in every fold. The encoder itself is not changed.
    features, betas, image_ids, n_repeats
        See `VoxelwiseEncoder.fit`.
    n_folds : int
        At least 2, and at most the number of images.

    Returns
    -------
    array of shape (n_images, n_vertices)

    Raises
    ------
    ValueError
        If the number of folds is out of range, and as in `VoxelwiseEncoder.fit`.
    """
    betas, features = as_numpy(plain(betas, "betas")), as_numpy(plain(features, "features"))
    images, image = np.unique(whole_numbers(image_ids, "image_ids", len(betas)), return_inverse=True)
    check_same_length(features=features, betas=betas)
    if not (isinstance(n_folds, (int, np.integer)) and 2 <= n_folds <= len(images)):
        raise ValueError(f"n_folds must be from 2 to {len(images)}, the images; got {n_folds!r}.")
    predicted = np.empty(betas.shape, np.result_type(betas, np.float32))
    weights = np.ones(len(betas)) if n_repeats is None else n_repeats
    weights = whole_numbers(weights, "n_repeats", len(betas), lowest=1)
    for fold in range(n_folds):
        test = image % n_folds == fold
        fitted = clone(encoder).fit(features[~test], betas[~test], images[image[~test]], weights[~test])
        predicted[test] = fitted.predict(features[test])
    return predicted


def stacking_weights(held_out, measured):
    """Return the weights of spaces whose weighted mean predicts each vertex best.

    Weights are at least 0 and sum to 1.

    w minimises sum_i (y_i - sum_s w_s p_si)^2 (Breiman 1996, Machine Learning 24:49-64; for voxels Lin,
    Naselaris, Kay and Wehbe 2024, NeuroImage; bioRxiv 2023.04.23.537988). Because the weights sum to 1, this
    is ``|E w|^2`` with the errors E_s = y - p_s. The solution is exact, because nonnegative least squares of
    ``|E u|^2 + (1 - sum u)^2`` gives u = w t for some t > 0 (Lawson and Hanson 1974).

    Parameters
    ----------
    held_out : array of shape (n_spaces, n_images, n_vertices)
        Predictions of each single space for **training** images, from `held_out_predictions`. Fitted values
        would favour the space with the most columns.
    measured : array of shape (n_images, n_vertices)
        Betas of the same images.

    Returns
    -------
    array of shape (n_spaces, n_vertices)
        If several solutions predict equally well, one of them is returned. NaN if any value of a vertex is
        NaN.
    """
    held_out, measured = _parts(held_out, measured, "held_out")
    errors = measured - held_out
    weights = np.full((len(errors), errors.shape[2]), np.nan)
    for vertex in np.flatnonzero(np.isfinite(errors).all((0, 1))):
        triangle = np.linalg.qr(errors[:, :, vertex].T, mode="r")
        scale = np.linalg.norm(triangle, axis=0).min()
        rows = np.vstack([triangle / (scale if scale > 0 else 1), np.ones(len(errors))])
        u, _ = nnls(rows, np.eye(len(rows))[-1])
        weights[:, vertex] = u / u.sum()
    return weights


def difference_of_r(first, second, measured):
    """Return r(first) - r(second) of each vertex, in [-2, 2].

    It measures which of two spaces predicts better, but not what they share. The difference is 0 for two
    spaces with the same content, and also for two spaces that explain different halves of the variance.
    `preference` is the same in units of the noise ceiling.

    Parameters
    ----------
    first, second, measured : array of shape (n_images, n_vertices)

    Returns
    -------
    array of shape (n_vertices,); NaN where either correlation is
    """
    return correlation(first, measured) - correlation(second, measured)


def best_layer(scores):
    """Return the layer with the largest score at each vertex, and its margin over the second best.

    The argmax names a winner even if layers do not differ. So show a map of winners together with the margin
    and the agreement of winners over seeds.

    Parameters
    ----------
    scores : array of shape (n_layers, n_vertices)
        r or R2 of at least two layers on the same test images.

    Returns
    -------
    winner : int array of shape (n_vertices,)
        The first of equal layers. It is -1 where the score of any layer is NaN.
    margin : array of shape (n_vertices,), at least 0
        The largest score minus the second largest. It is NaN where there is no winner.

    Raises
    ------
    ValueError
        If there are fewer than two layers, or if scores are above 1.
    """
    scores = within(scores, "scores", -np.inf, 1)
    if scores.ndim != 2 or len(scores) < 2:
        raise ValueError(f"scores must be (n_layers, n_vertices) of two layers or more; got {scores.shape}.")
    second, first = np.sort(scores, axis=0)[-2:]
    unknown = np.isnan(scores).any(0)
    return np.where(unknown, -1, scores.argmax(0)), np.where(unknown, np.nan, first - second)


def _centred(parts, measured):
    """Return parts and measurements less their means over images, and the sum of squares of the latter."""
    parts, measured = _parts(parts, measured, "parts")
    return parts - parts.mean(1, keepdims=True), measured - measured.mean(0), _variation(measured)


def _parts(parts, measured, name):
    """Return parts (n_spaces, n_images, n_vertices) and measurements (n_images, n_vertices) in float64."""
    parts, measured = as_numpy(plain(parts, name)), as_numpy(plain(measured, "measured"))
    if parts.ndim != 3 or not len(parts) or parts.shape[1:] != measured.shape:
        raise ValueError(
            f"{name} must be (n_spaces, n_images, n_vertices) and measured (n_images, n_vertices), of the "
            f"same images; got {parts.shape} and {measured.shape}."
        )
    paired(np.abs(parts).sum(0), measured)  # refuses infinite values, which could cancel
    return parts.astype(np.float64), measured.astype(np.float64)


def _variation(measured):
    """Return the sum of squares around the mean over images; NaN where only rounding varies."""
    undefined = np.isnan(zscore(measured)).any(0)
    return np.where(undefined, np.nan, ((measured - measured.mean(0)) ** 2).sum(0))
