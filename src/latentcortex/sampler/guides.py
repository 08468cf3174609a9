"""Guides: losses on the image being made, one for each image, differentiable.

Each function here returns a ``guide(images, image_ids)`` for `Guidance`. Targets are known by
image id, so a guide serves batches in any order, and images that are drawn several times.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from latentcortex import features

# The layer weights a_l and the strength of NeuralDiffuser's public code, and the numbers in one of
# its layers, over which its loss averages: 50 tokens of 768.
PUBLISHED_WEIGHTS = (1.5, 1.2, 1.0, 1.0, 1.0, 1.0)
PUBLISHED_FEATURE_SCALE = 3e5
PUBLISHED_LAYER_SIZE = 50 * 768


def equivalent_feature_scale(layer_size, published=PUBLISHED_FEATURE_SCALE):
    r"""Convert the published strength to features of another size.

    The loss is a mean over the numbers of a layer, so its gradient shrinks with their number. What
    stays is the strength for each number, :math:`\kappa / (n_{tokens} d)`: 300,000 / 38,400 = 7.8
    as published.

    Parameters
    ----------
    layer_size : int
        Numbers in a layer of g, tokens times width.
    published : float
        Strength for layers of 38,400 numbers.

    Returns
    -------
    feature_scale : float
    """
    return published * layer_size / PUBLISHED_LAYER_SIZE


@dataclass(frozen=True)
class FeatureTargets:
    """Features g that images should have: true, or decoded from responses.

    Attributes
    ----------
    layers : dict of int to tensor (n, n_tokens, width)
        By the number of the block, as `features.encode_clip_layers` gives them.
    image_ids : int array (n,)
    encoder : str
        `features.ClipImageEncoder.name` of the encoder they belong to.
    """

    layers: dict
    image_ids: object
    encoder: str


def feature_guide(encoder, targets, weights="published"):
    r"""Make NeuralDiffuser's guide: the distance to features of a CLIP image encoder.

    .. math:: L = \sum_l w_l \, \text{mean}[(\phi_l(x) - g_l)^2], \qquad
              w_l = a_l \, \|g_l\|^{-1} / \sum_k \|g_k\|^{-1}

    Parameters
    ----------
    encoder : features.ClipImageEncoder
    targets : FeatureTargets
        g of each image. Only the layers in it are compared.
    weights : "published", "mean" or dict of int to float
        The formula above, with a = 1.5, 1.2, 1, 1, 1, 1; the same weight for every layer; or w
        itself by layer.

    Returns
    -------
    guide : callable
        ``guide(images, image_ids)``, images (n, 3, h, w) of any size.

    Raises
    ------
    ValueError
        If the targets are another encoder's, of another number of tokens or width, not finite, or
        lack a layer that has a weight. From the guide: for an image without target.

    Notes
    -----
    Source: the public code of NeuralDiffuser (Li et al., 2025). Its weights sum to more than 1 and
    differ from image to image, with the norm of the decoded features.
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
    shape = (len(targets.image_ids), *encoder.visual.positional_embedding.shape)
    for k in layers:
        if not 1 <= k <= n_blocks:
            raise ValueError(f"This encoder has the blocks 1 to {n_blocks}, got {k}.")
        _check_targets(f"layer {k} of the targets", targets.layers[k], shape)
    goals = torch.stack([torch.as_tensor(targets.layers[k]).float() for k in layers], dim=1)
    if isinstance(weights, dict):
        w = torch.tensor([float(weights[k]) for k in layers]).expand(len(goals), -1)
    elif weights == "mean":
        w = torch.full(goals.shape[:2], 1 / len(layers))
    else:
        unknown = [k for k in layers if k > len(PUBLISHED_WEIGHTS)]
        if unknown:
            raise ValueError(
                f"The published weights are for the layers 1 to {len(PUBLISHED_WEIGHTS)}, got "
                f"{unknown}. Pass weights by layer, or 'mean'."
            )
        inverse = 1 / goals.flatten(2).norm(dim=2)
        w = torch.tensor([PUBLISHED_WEIGHTS[k - 1] for k in layers])
        w = w * inverse.cpu() / inverse.cpu().sum(dim=1, keepdim=True)
    row_of = _by_id(targets.image_ids)

    def guide(images, image_ids):
        rows = row_of(image_ids)
        found = features.encode_clip_layers(encoder, images, layers, len(images))
        goal, weight = goals[rows].to(images.device), w[rows].to(images.device)
        off = [(found[k] - goal[:, i]).square().flatten(1).mean(1) for i, k in enumerate(layers)]
        return (weight * torch.stack(off, dim=1)).sum(dim=1)

    return guide


def colour_guide(colours, image_ids):
    r"""Make a guide to a layout of colours: the distance between images averaged over a grid.

    .. math:: L = \text{mean}[(\text{pool}(x) - \text{colours})^2]

    Parameters
    ----------
    colours : tensor (n, 3, rows, columns)
        Mean colour of each cell, in [0, 1].
    image_ids : int array (n,)

    Returns
    -------
    guide : callable
        ``guide(images, image_ids)``.
    """
    colours = torch.as_tensor(colours).float()
    _check_targets("colours", colours, (len(image_ids), 3, *colours.shape[2:]))
    row_of = _by_id(image_ids)

    def guide(images, image_ids):
        goal = colours[row_of(image_ids)].to(images)
        pooled = F.adaptive_avg_pool2d(images, goal.shape[2:])
        return (pooled - goal).square().flatten(1).mean(dim=1)

    return guide


def brain_guide(encode, betas, image_ids, weights=None):
    r"""Make a guide to measured responses, by an encoding model that is run forward.

    .. math:: L = \sum_v w_v (\hat b_v(x) - b_v)^2 / \sum_v w_v

    Parameters
    ----------
    encode : callable
        From images (n, 3, h, w) to predicted responses (n, n_voxels), differentiably.
    betas : array (n, n_voxels)
        Measured, scaled as those that the encoding model was fitted on.
    image_ids : int array (n,)
    weights : array (n_voxels,), optional
        At least 0, such as noise ceilings; all equal without.

    Returns
    -------
    guide : callable
        ``guide(images, image_ids)``.

    Notes
    -----
    Whoever scores the images by these very responses scores their noise: keep a repeat apart.
    """
    betas = torch.as_tensor(betas).float()
    _check_targets("betas", betas, (len(image_ids), *betas.shape[1:]))
    w = torch.ones(betas.shape[1]) if weights is None else torch.as_tensor(weights).float()
    if w.shape != betas.shape[1:] or not (w >= 0).all() or not w.sum() > 0:
        raise ValueError(
            f"Expected a weight of at least 0 for each of {betas.shape[1]} voxels, not all 0, got "
            f"shape {tuple(w.shape)}, from {w.min():.3g} to {w.max():.3g}."
        )
    w, row_of = w / w.sum(), _by_id(image_ids)

    def guide(images, image_ids):
        off = encode(images) - betas[row_of(image_ids)].to(images)
        return off.square() @ w.to(images)

    return guide


def _check_targets(name, values, shape):
    if tuple(values.shape) != tuple(shape):
        raise ValueError(f"Expected {name} as {tuple(shape)}, got {tuple(values.shape)}.")
    finite = torch.isfinite(torch.as_tensor(values)).flatten(1).all(dim=1)
    if not finite.all():
        bad = (~finite).nonzero().flatten().tolist()
        raise ValueError(f"{name} has NaN or infinite values in rows {bad[:10]}.")


def _by_id(image_ids):
    """Make the function from image ids to rows of the targets."""
    rows = {int(image_id): row for row, image_id in enumerate(image_ids)}
    if len(rows) < len(image_ids):
        raise ValueError("The targets have several rows of one image: average or choose first.")

    def row_of(wanted):
        unknown = [int(i) for i in wanted if int(i) not in rows]
        if unknown:
            raise ValueError(
                f"The guide has no target for {len(unknown)} of the images, such as {unknown[0]}; "
                f"it knows {len(rows)}. Pass the image_ids of the drawing to the sampler."
            )
        return torch.tensor([rows[int(i)] for i in wanted])

    return row_of
