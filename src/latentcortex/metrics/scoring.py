"""Score reconstructions by all scores of a protocol that can be computed."""

import numpy as np
import torch

from latentcortex.metrics.checks import batches, check_shapes, labels, number, pictures, refuse_constant
from latentcortex.metrics.contents import agreement, f1
from latentcortex.metrics.identify import correlation_distance, identification
from latentcortex.metrics.images import pixcorr, ssim
from latentcortex.metrics.protocols import WITHOUT_WEIGHTS, Protocol

# An image of one colour, resized in float32, varies by about 1e-6: that must not be correlated.
# An image of 8 bits that varies at all does so by 4e-3.
FLAT = 1e-5
_COMPARISONS = {"distance": correlation_distance, "agreement": agreement, "f1": f1}


def score(
    protocol,
    originals,
    reconstructions,
    networks=None,
    groups=None,
    mean_image=None,
    features_true=None,
    features_pred=None,
    batch_size=32,
):
    """Return all scores of a protocol that can be computed for these reconstructions.

    Parameters
    ----------
    protocol : Protocol
        One of `PROTOCOLS`, or your own.
    originals : float array or tensor (n, 3, h, w)
        Images in [0, 1]. Any object with a shape that returns such an array when it is sliced also works.
        Then only `batch_size` images are read at a time.
    reconstructions : float array or tensor (n, 3, h, w) or (n, n_repeats, 3, h, w)
        Images in [0, 1], in the same order. The scores of several drawings are averaged, unless the protocol
        averages their correlations.
    networks : dict of str to callable, optional
        Networks by the names that the protocol uses. ``network(images, layers)`` returns a dictionary of
        arrays (n, ...), as `networks.Network` does. Scores whose network is missing are left out, and
        `Protocol.left_out` names them.
    groups : array (n,), optional
        The group of each image for distractors of the same group, such as the setting of a scene.
    mean_image : float array (3, h, w), optional
        Mean of the training images in [0, 1], for centred scores.
    features_true : dict, optional
        The result of `extract` for the originals. It saves time if many sets are scored against them.
    features_pred : list of dict, optional
        The result of `extract` for each drawing of the reconstructions.
    batch_size : int
        Images per pass of a network. It does not change the result.

    Returns
    -------
    dict of str to array (n,)

    Raises
    ------
    ValueError
        If numbers of images are unequal, values are outside [0, 1] or not finite, or there is a single image.
        Also if images are constant, or if features belong to other images.
    """
    networks = _checked_networks(protocol, networks, batch_size)
    originals = _checked("originals", originals)
    n, shape = len(originals), np.shape(reconstructions)
    if len(shape) not in (4, 5) or shape[0] != n or shape[1] < 1:
        raise ValueError(
            f"Expected {n} reconstructions (n, 3, h, w), or (n, n_repeats, 3, h, w), "
            f"to fit as many originals, got {shape}. Match them by id first."
        )
    reconstructions = _checked("reconstructions", reconstructions)
    n_repeats = 1 if len(shape) == 4 else shape[1]
    if groups is not None:
        labels("groups", groups, n)
    if mean_image is not None:
        mean_image = torch.as_tensor(pictures("mean_image", mean_image, ndim=3)).float()
        if mean_image.shape != tuple(originals.shape[1:]):
            raise ValueError(
                f"Expected a mean_image {tuple(originals.shape[1:])} to fit the originals, got "
                f"{tuple(mean_image.shape)}."
            )
    if features_pred is not None and len(features_pred) != n_repeats:
        raise ValueError(
            f"Expected what was extracted from each of {n_repeats} drawings, got {len(features_pred)}."
        )
    lacking = protocol.left_out(networks, groups, mean_image)
    scores = [one for one in protocol.scores if one.name not in lacking]
    for name, features in {"features_true": [features_true], "features_pred": features_pred}.items():
        for given in features or []:
            _check_features(name, given, scores, n)

    pixels, true_parts, pred_parts = {}, [], [[] for _ in range(n_repeats)]
    for some in batches(n, batch_size):
        true = _batch("originals", originals, some)
        drawn = _batch("reconstructions", reconstructions, some)
        drawings = [drawn] if drawn.ndim == 4 else drawn.unbind(1)
        for one in (one for one in scores if one.compare in ("pixcorr", "ssim")):
            of_drawings = [_compare_pixels(protocol, one, true, each, mean_image, some) for each in drawings]
            pixels.setdefault(one.name, []).append(np.mean(of_drawings, axis=0))
        if features_true is None:
            true_parts.append(_extract_batch(protocol, true, networks, some))
        if features_pred is None:
            for parts, images in zip(pred_parts, drawings, strict=True):
                parts.append(_extract_batch(protocol, images, networks, some))
    features_true = _joined(true_parts) if features_true is None else features_true
    features_pred = [_joined(parts) for parts in pred_parts] if features_pred is None else features_pred
    return {
        one.name: np.concatenate(pixels[one.name])
        if one.name in pixels
        else _compare_features(protocol, one, features_true, features_pred, groups)
        for one in scores
    }


def extract(protocol, images, networks=None, batch_size=32):
    """Return the features that the scores of a protocol compare, without pixels.

    Parameters
    ----------
    protocol, networks, batch_size
        See `score`.
    images : float array or tensor (n, 3, h, w)
        In [0, 1].

    Returns
    -------
    dict of (network, view, layer) to array (n, ...)
        Features of all networks that are available.

    Raises
    ------
    ValueError
        As in `score`, and if a network returns NaN or not one row per image.
    """
    networks = _checked_networks(protocol, networks, batch_size)
    images = _checked("images", images)
    if len(images.shape) != 4:
        raise ValueError(f"Expected images (n, 3, h, w), got shape {tuple(images.shape)}.")
    return _joined(
        [
            _extract_batch(protocol, _batch("images", images, some), networks, some)
            for some in batches(len(images), batch_size)
        ]
    )


def _checked_networks(protocol, networks, batch_size):
    """Return the networks that there are, those that need no weights among them."""
    if not isinstance(protocol, Protocol):
        raise ValueError(f"Expected a Protocol, such as PROTOCOLS['mindeye2'], got {protocol!r}.")
    number("batch_size", batch_size, 1, whole=True)
    return {**WITHOUT_WEIGHTS, **(networks or {})}


def _checked(name, images):
    """Check images that lie in memory, all before the first is used; others are checked when read."""
    if len(getattr(images, "shape", ())) in (4, 5) and not isinstance(images, np.ndarray | torch.Tensor):
        return images
    # Not in float64, as elsewhere: a thousand images of 425 pixels would take 4.3 GB for that.
    return pictures(name, images, ndim=len(np.shape(images)) if name == "reconstructions" else 4)


def _batch(name, images, some):
    """Return some images as a float32 tensor, checked."""
    part = images[some]
    if not isinstance(images, np.ndarray):
        part = pictures(name, part, ndim=len(np.shape(part)), first=some.start)
    return torch.as_tensor(part).float()


def _check_features(name, features, scores, n):
    """Raise ValueError unless features, where they are given, are those of `extract` for n images."""
    for one in scores if features is not None else []:
        if one.network is not None and len(features.get(one.key, ())) != n:
            raise ValueError(
                f"Expected {name} with {n} rows for {one.name}, got {len(features.get(one.key, ()))}: pass "
                "what `extract` gives for the same images, protocol and networks."
            )


def _extract_batch(protocol, images, networks, some):
    """Return what the scores compare of one batch, by (network, view, layer)."""
    asked = {}
    for one in protocol.scores:
        if one.network in networks:
            asked.setdefault((one.network, one.view), {})[one.layer] = None
    found = {}
    for (network, view), layers in asked.items():
        given = networks[network](view(protocol.first(images)), list(layers))
        for layer in layers:
            values = np.asarray(given[layer])
            if len(values) != len(images) or not np.isfinite(values).all():
                raise ValueError(
                    f"Expected finite numbers from {network}, layer {layer!r}, one row for each of images "
                    f"{some.start} to {some.stop - 1}, got shape {values.shape}"
                    f"{', with NaN or infinite values' * (len(values) == len(images))}."
                )
            found[network, view, layer] = values
    return found


def _joined(parts):
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def _compare_features(protocol, one, features_true, features_pred, groups):
    """Compute a score (n,) that compares features: of drawings the mean, or by their mean correlation."""
    true, preds = features_true[one.key], [features[one.key] for features in features_pred]
    if one.compare != "identification":
        return np.mean([_COMPARISONS[one.compare](true, pred) for pred in preds], axis=0)
    drawings = [np.stack(preds, axis=1)] if protocol.repeated else preds
    options = {
        "direction": one.direction,
        "groups": groups if one.same_group else None,
        "repeated": protocol.repeated,
    }
    return np.mean([identification(true, pred, **options) for pred in drawings], axis=0)


def _compare_pixels(protocol, one, originals, reconstructions, mean_image, some):
    """Compute a score of one batch that compares pixels, `some` of all rows."""
    true, pred = (one.view(protocol.first(images)).numpy() for images in (originals, reconstructions))
    check_shapes("originals", true, "reconstructions", pred)
    if one.compare == "ssim":
        return ssim(pred, true)
    centre = one.view(protocol.first(mean_image[None]))[0].numpy() if one.centred else None
    for name, images in {"originals": true, "reconstructions": pred}.items():
        constant = np.ptp(images if centre is None else images - centre, axis=(1, 2, 3)) < FLAT
        if constant.any():
            refuse_constant(name, constant, some.start)
    return pixcorr(pred, true, centre)
