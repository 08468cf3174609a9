"""Make guides, which are differentiable losses on the images being made, one loss per image.

Each function here returns a ``guide(images, image_ids)`` for `Guidance`. A guide finds its targets by image
id. So batches may come in any order, and images may be drawn several times.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from latentcortex import features
from latentcortex.features.checks import as_count, as_tensor, check_finite, check_unit_range
from latentcortex.sampler.checks import as_ids
from latentcortex.store import rows_of

# The layer weights a_l and the strength of NeuralDiffuser's public code, and the numbers in one of
# its layers, over which its loss averages: 50 tokens of 768.
PUBLISHED_WEIGHTS = (1.5, 1.2, 1.0, 1.0, 1.0, 1.0)
PUBLISHED_FEATURE_SCALE = 3e5
PUBLISHED_LAYER_SIZE = 50 * 768


def equivalent_feature_scale(layer_size, published=PUBLISHED_FEATURE_SCALE):
    r"""Return the published strength, converted to features of another size.

    The loss is a mean over the numbers of a layer, so its gradient shrinks as a layer gets larger. The
    conversion keeps the strength per number, :math:`\kappa / (n_{tokens} d)`. As published it is 300,000 /
    38,400 = 7.8.

    Parameters
    ----------
    layer_size : int
        Count of numbers in a layer of g: tokens times width.
    published : float
        Strength for layers of 38,400 numbers.

    Returns
    -------
    feature_scale : float

    Raises
    ------
    ValueError
        If `layer_size` is not a whole number of at least 1, or if `published` is not above 0.
    """
    if not 0 < published < math.inf:
        raise ValueError(f"Expected a published strength above 0, got {published}.")
    return published * as_count(layer_size, "layer_size") / PUBLISHED_LAYER_SIZE


@dataclass(frozen=True)
class FeatureTargets:
    """Hold the features g that images should have, either true or decoded from responses.

    Attributes
    ----------
    layers : dict of int to array or tensor (n, n_tokens, width)
        Features by block number, as `features.encode_clip_layers` returns them.
    image_ids : int array (n,)
    encoder : str
        `features.ClipImageEncoder.name` of the encoder that the features belong to.
    """

    layers: dict
    image_ids: object
    encoder: str


def feature_guide(encoder, targets, weights="published"):
    r"""Return NeuralDiffuser's guide, the distance to features of a CLIP image encoder.

    .. math:: L = \sum_l w_l \, \text{mean}[(\phi_l(x) - g_l)^2], \qquad
              w_l = a_l \, \|g_l\|^{-1} / \sum_k \|g_k\|^{-1}

    Parameters
    ----------
    encoder : features.ClipImageEncoder
    targets : FeatureTargets
        g of each image. Only the layers in it are compared.
    weights : "published", "mean" or dict of int to float
        "published" is the formula above, with a = 1.5, 1.2, 1, 1, 1, 1. "mean" gives every layer the same
        weight. A dict gives w itself by layer.

    Returns
    -------
    guide : callable
        ``guide(images, image_ids)``, images (n, 3, h, w) of any size.

    Raises
    ------
    ValueError
        If the targets belong to another encoder, have another number of tokens or width, are not finite, or
        lack a weighted layer. Also if a weight is not finite, or if an image has two rows. The guide itself
        raises it for an image without a target.

    Notes
    -----
    Source: the public code of NeuralDiffuser (Li et al., 2025). Its weights sum to more than 1. They differ
    from image to image, because they depend on the norm of the decoded features.
    """
    if targets.encoder != encoder.name:
        raise ValueError(
            f"The targets are features of {targets.encoder!r}, the guide computes those of "
            f"{encoder.name!r}: they can't be compared. Decode features of this encoder."
        )
    named = {"published", "mean"}
    if not isinstance(weights, dict) and weights not in named:
        raise ValueError(f"Expected weights of {named} or a dictionary by layer, got {weights!r}.")
    layers = sorted(targets.layers)
    missing = set(weights) - set(layers) if isinstance(weights, dict) else set()
    if missing or not layers:
        raise ValueError(
            f"The targets have the layers {layers}, and {sorted(missing)} of the weights are not "
            "among them. Decode these layers, too, or leave their weights out."
        )
    layers = [k for k in layers if not isinstance(weights, dict) or k in weights]
    n_blocks = len(encoder.visual.transformer.resblocks)
    for k in layers:
        if not 1 <= k <= n_blocks:
            raise ValueError(f"This encoder has the blocks 1 to {n_blocks}, got {k}.")
    shape = encoder.visual.positional_embedding.shape
    known = [
        _targets(f"layer {k} of the targets", targets.layers[k], targets.image_ids, shape) for k in layers
    ]
    goals, row_of = torch.stack([goal for goal, _ in known], dim=1), known[0][1]
    w = _layer_weights(weights, layers, goals)

    def guide(images, image_ids):
        rows = row_of(image_ids)
        found = features.encode_clip_layers(encoder, images, layers, len(images), clamped=False)
        goal, weight = goals[rows].to(images.device), w[rows].to(images.device)
        off = [(found[k] - goal[:, i]).square().flatten(1).mean(1) for i, k in enumerate(layers)]
        return (weight * torch.stack(off, dim=1)).sum(dim=1)

    return guide


def _layer_weights(weights, layers, goals):
    """Return the weight of each layer for each image, (n, n_layers), of targets (n, n_layers, ...)."""
    if isinstance(weights, dict):
        w = torch.tensor([float(weights[k]) for k in layers]).expand(len(goals), -1)
        if not torch.isfinite(w).all():
            raise ValueError(f"Expected finite weights by layer, got {weights}.")
        return w
    if weights == "mean":
        return torch.full(goals.shape[:2], 1 / len(layers))
    unknown = [k for k in layers if k > len(PUBLISHED_WEIGHTS)]
    if unknown:
        raise ValueError(
            f"The published weights are for the layers 1 to {len(PUBLISHED_WEIGHTS)}, got "
            f"{unknown}. Pass weights by layer, or 'mean'."
        )
    inverse = 1 / goals.flatten(2).norm(dim=2)
    check_finite(
        inverse, "1 / |g|, which the published weights are made of,", "Targets that are 0 have none."
    )
    w = torch.tensor([PUBLISHED_WEIGHTS[k - 1] for k in layers])
    return w * inverse.cpu() / inverse.cpu().sum(dim=1, keepdim=True)


def colour_guide(colours, image_ids):
    r"""Return a guide to a layout of colours, the distance between mean colours in the cells of a grid.

    .. math:: L = \text{mean}[(\text{pool}(x) - \text{colours})^2]

    Parameters
    ----------
    colours : array or tensor (n, 3, rows, columns)
        Mean colour of each cell, in [0, 1].
    image_ids : int array (n,)

    Returns
    -------
    guide : callable
        ``guide(images, image_ids)``.

    Raises
    ------
    ValueError
        If the colours have another shape or range, or if an image has two rows. The guide itself raises it
        for an image without a target.
    """
    colours, row_of = _targets("colours", colours, image_ids, (3, None, None))
    check_unit_range(colours, "colours")

    def guide(images, image_ids):
        goal = colours[row_of(image_ids)].to(images)
        pooled = F.adaptive_avg_pool2d(images, goal.shape[2:])
        return (pooled - goal).square().flatten(1).mean(dim=1)

    return guide


def brain_guide(encode, betas, image_ids, weights=None):
    r"""Return a guide to measured responses, which runs an encoding model forward.

    .. math:: L = \sum_v w_v (\hat b_v(x) - b_v)^2 / \sum_v w_v

    Parameters
    ----------
    encode : callable
        Differentiable function from images (n, 3, h, w) to predicted responses (n, n_voxels).
    betas : array (n, n_voxels)
        Measured responses, scaled like the responses that the encoding model was fitted on.
    image_ids : int array (n,)
    weights : array (n_voxels,), optional
        At least 0, for example noise ceilings. By default all are equal.

    Returns
    -------
    guide : callable
        ``guide(images, image_ids)``.

    Raises
    ------
    ValueError
        If betas or weights have another shape or are not finite, or if an image has two rows. The guide
        itself raises it for an image without a target, or if `encode` returns another number of responses.

    Notes
    -----
    Keep a repeat apart for scoring. A score by the same responses would reward drawings that reproduce their
    noise.
    """
    betas, row_of = _targets("betas", betas, image_ids, (None,))
    w = torch.ones(betas.shape[1]) if weights is None else as_tensor(weights, "weights").float()
    if w.shape != betas.shape[1:] or not ((w >= 0) & (w < math.inf)).all() or not w.sum() > 0:
        raise ValueError(
            f"Expected a weight of at least 0 for each of {betas.shape[1]} voxels, not all 0, got "
            f"shape {tuple(w.shape)}, from {w.min():.3g} to {w.max():.3g}."
        )
    w = w / w.sum()

    def guide(images, image_ids):
        encoded, goal = encode(images), betas[row_of(image_ids)].to(images)
        if encoded.shape != goal.shape:
            raise ValueError(
                f"Expected the encoding model to make responses {tuple(goal.shape)}, got "
                f"{tuple(encoded.shape)}. It should be fitted on the voxels of the betas."
            )
        return (encoded - goal).square() @ w.to(images)

    return guide


def _targets(name, values, image_ids, shape):
    """Return targets as floats (n, *shape), checked, and the function from image ids to their rows."""
    values = as_tensor(values, name)
    expected = (len(image_ids), *shape)
    fits = values.ndim == len(expected) and all(
        size in (found, None) for found, size in zip(values.shape, expected, strict=True)
    )
    if not fits:
        sizes = ", ".join("any" if size is None else str(size) for size in expected)
        raise ValueError(f"Expected {name} as ({sizes}), got {tuple(values.shape)}.")
    check_finite(values, name)
    known = as_ids(image_ids, len(image_ids), f"the image ids of {name}").numpy()
    rows_of(known, known, name)  # refuses images that have several rows

    def row_of(wanted):
        wanted = as_ids(wanted, len(wanted)).numpy()
        return torch.from_numpy(rows_of(known, wanted, name))

    return values.float(), row_of
