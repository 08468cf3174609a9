"""Score reconstructions by all that a protocol asks for and that can be computed here."""

import numpy as np
import torch

from latentcortex.metrics.checks import check_shapes, refuse_constant, row_means
from latentcortex.metrics.contents import agreement, f1
from latentcortex.metrics.identify import correlation_distance, identification
from latentcortex.metrics.images import pixcorr, ssim
from latentcortex.metrics.protocols import WITHOUT_WEIGHTS

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
    """Score reconstructions by all scores of a protocol that can be computed.

    Parameters
    ----------
    protocol : Protocol
        One of `PROTOCOLS`, or your own.
    originals : array or tensor (n, 3, h, w)
        In [0, 1].
    reconstructions : array or tensor (n, 3, h, w) or (n, n_repeats, 3, h, w)
        In [0, 1], in the same order. Of several drawings the scores are averaged, unless the
        protocol averages their correlations.
    networks : dict of str to callable, optional
        By the names that the protocol uses: ``network(images, layers)`` gives a dictionary of
        arrays (n, ...), as `networks.Network` does. Scores whose network is missing are left out;
        `Protocol.left_out` names them.
    groups : array (n,), optional
        For distractors of the same group, such as the setting of a scene.
    mean_image : array (3, h, w), optional
        Mean of the training images, for centred scores.
    features_true : dict, optional
        What `extract` gave for the originals, where many sets are scored against them.
    features_pred : list of dict, optional
        The same for each drawing of the reconstructions.
    batch_size : int
        Images per pass of a network; does not change the result.

    Returns
    -------
    dict of str to array (n,)

    Raises
    ------
    ValueError
        Unequal numbers, values outside [0, 1] or not finite, a single image, constant images: as
        the functions that compare say.
    """
    networks = {**WITHOUT_WEIGHTS, **(networks or {})}
    originals = _checked("originals", originals)
    shape = np.shape(reconstructions)
    if len(shape) not in (4, 5) or shape[0] != len(originals):
        raise ValueError(
            f"Expected {len(originals)} reconstructions (n, 3, h, w), or (n, n_repeats, 3, h, w), "
            f"to fit as many originals, got {shape}. Match them by id first."
        )
    repeats = torch.as_tensor(reconstructions)
    repeats = [repeats] if repeats.ndim == 4 else list(repeats.unbind(1))
    repeats = [_checked("reconstructions", images) for images in repeats]
    if features_true is None:
        features_true = extract(protocol, originals, networks, batch_size)
    lacking = protocol.left_out(networks, groups, mean_image)
    if features_pred is not None and len(features_pred) != len(repeats):
        raise ValueError(
            f"Expected what was extracted from each of {len(repeats)} drawings, got {len(features_pred)}."
        )
    if features_pred is None:
        features_pred = [extract(protocol, images, networks, batch_size) for images in repeats]
    found = {}
    for one in protocol.scores:
        if one.name in lacking:
            continue
        if one.compare in ("pixcorr", "ssim"):
            centre = mean_image if one.centred else None
            found[one.name] = np.mean(
                [_compare_pixels(protocol, one, originals, images, centre, batch_size) for images in repeats],
                axis=0,
            )
            continue
        true, preds = features_true[one.key], [features[one.key] for features in features_pred]
        if one.compare == "identification":
            drawings = [np.stack(preds, axis=1)] if protocol.repeated else preds
            options = {
                "direction": one.direction,
                "groups": groups if one.same_group else None,
                "repeated": protocol.repeated,
            }
            of_drawings = [identification(true, pred, **options) for pred in drawings]
        else:
            of_drawings = [_COMPARISONS[one.compare](true, pred) for pred in preds]
        found[one.name] = np.mean(of_drawings, axis=0)
    return found


def extract(protocol, images, networks=None, batch_size=32):
    """Compute what the scores of a protocol compare, except pixels.

    Parameters
    ----------
    protocol, networks, batch_size
        See `score`.
    images : array or tensor (n, 3, h, w)

    Returns
    -------
    dict of (network, view, layer) to array (n, ...)
        Of those networks that are there.
    """
    networks = {**WITHOUT_WEIGHTS, **(networks or {})}
    images = _checked("images", images)
    asked = {}
    for one in protocol.scores:
        if one.network in networks:
            asked.setdefault((one.network, one.view), {})[one.layer] = None
    found = {}
    for (network, view), layers in asked.items():
        parts = [
            networks[network](view(protocol.first(batch)), list(layers)) for batch in images.split(batch_size)
        ]
        for layer in layers:
            found[network, view, layer] = np.concatenate([np.asarray(p[layer]) for p in parts])
    return found


def _checked(name, images):
    """Return images as a float32 tensor (n, 3, h, w), or say what is wrong with them."""
    # Not in float64, as elsewhere: a thousand images of 425 pixels would take 4.3 GB for that.
    array = np.asarray(images)
    if array.ndim != 4:
        raise ValueError(f"Expected {name} with 4 axes, got shape {array.shape}.")
    row_means(name, array.reshape(len(array), -1))
    if array.shape[1] != 3 or array.min() < 0 or array.max() > 1:
        raise ValueError(
            f"Expected {name} (n, 3, h, w) in [0, 1], got {array.shape} from {array.min():.3g} to "
            f"{array.max():.3g}. Divide bytes by 255; clamp what a decoder gave."
        )
    return torch.as_tensor(images).float()


def _compare_pixels(protocol, one, originals, reconstructions, mean_image, batch_size):
    """Compare few images at a time: at 425 pixels a thousand would fill gigabytes."""
    parts = []
    if mean_image is not None:
        mean_image = one.view(protocol.first(torch.as_tensor(mean_image)[None].float()))[0].numpy()
    for start in range(0, len(originals), batch_size):
        true, pred = (
            one.view(protocol.first(images[start : start + batch_size])).numpy()
            for images in (originals, reconstructions)
        )
        check_shapes("originals", true, "reconstructions", pred)
        if one.compare == "ssim":
            parts.append(ssim(pred, true))
            continue
        for name, images in {"originals": true, "reconstructions": pred}.items():
            varied = images if mean_image is None else images - mean_image
            constant = np.ptp(varied, axis=(1, 2, 3)) < FLAT
            if constant.any():
                refuse_constant(name, np.concatenate([np.zeros(start, bool), constant]))
        parts.append(pixcorr(pred, true, mean_image))
    return np.concatenate(parts)
