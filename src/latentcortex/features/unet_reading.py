"""Read activations of a U-Net batch by batch, for a caption, the empty caption, and guidance."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch

from latentcortex.features.batches import Batches
from latentcortex.features.checks import as_count, as_tensor, check_finite
from latentcortex.features.unet_modules import (
    MAP_SUFFIX,
    chosen_layers,
    first_tensor,
    hooked,
    states_width,
    unet_layers,
)


class Activations(NamedTuple):
    """Hold activations of one layer at one timestep, for one batch of images.

    The condition is ``"text"``, ``"empty"`` or ``"guided"``, and ``rows`` gives the rows of these images. The
    values are float32 on the CPU, (n_batch, channels, h, w), or (n_batch, n_tokens, h, w) for a
    cross-attention map.
    """

    layer: str
    timestep: int
    condition: str
    rows: slice
    values: torch.Tensor


def each_activation(
    unet,
    noised,
    encoder_hidden_states,
    layers,
    unconditional_embedding=None,
    guidance_scale=None,
    batch_size=8,
):
    r"""Yield activations of a U-Net's layers, batch by batch.

    The nested order is timestep, batch of images, condition, layer.

    The conditions ``"text"`` and ``"empty"`` (without text) are read if their token states are given. With a
    `guidance_scale` s there is a third condition, ``"guided"``. It is the mixture

    .. math:: a_\text{guided} = a_\text{empty} + s \, (a_\text{text} - a_\text{empty})

    of both passes' activations a. For ``"conv_out"``, the prediction of the noise, this is classifier-free
    guidance itself (Ho and Salimans, 2022). For every other layer it is our own definition. No forward pass
    computes this mixture, and the guided noise does not follow from it, because later layers are not linear.
    A guided map still sums to 1 over the tokens, but its values can be negative.

    Hooks are on the network only while it computes a batch. They are removed before anything is yielded, and
    also after an error. No gradients are computed.

    Parameters
    ----------
    unet : UNet2DConditionModel
        The network, in evaluation mode.
    noised : dict of int to array or tensor (n, 4, h, w)
        Latents with the noise of each timestep, for example from `noised_latents`.
    encoder_hidden_states : array or tensor (n, n_tokens, d), or None
        States of each image's caption. None leaves out ``"text"``.
    layers : sequence of str
        Names that `unet_layers` lists.
    unconditional_embedding : array or tensor (1, n_tokens, d), optional
        States of the empty caption, from `unconditional`. Without it ``"empty"`` is left out.
    guidance_scale : float, optional
        Without it ``"guided"`` is left out. It needs both kinds of token states.
    batch_size : int
        Images per call of the network. It limits memory and changes the result only by the network's own
        rounding. In float32, attention can amplify rounding to 1e-4 of a layer's largest value.

    Returns
    -------
    iterator of Activations
        In float32 on the CPU, regardless of the dtype of the network.

    Raises
    ------
    ValueError
        If a layer is unknown, if latents or token states have another shape or missing values, or if the
        network is in training mode. It is raised by the call, before anything is computed.
    FloatingPointError
        If the network returns NaN or infinite activations, which can happen in half precision.

    Notes
    -----
    Let A be the sum of channels x h x w over the chosen layers. In addition to the network's own memory for a
    batch, 4 A `batch_size` bytes are needed. With guidance it is 8 A `batch_size` bytes and one more layer.
    For example, one layer of 320 x 64 x 64 numbers takes 5.2 MB per image.
    """
    batch_size = as_count(batch_size, "batch_size")
    if not isinstance(noised, Mapping) or not noised:
        raise ValueError(
            "Expected noised as a dictionary from timesteps to latents (n, 4, h, w), got "
            f"{type(noised).__name__}. features.noised_latents makes one."
        )
    noised = {as_count(t, "a timestep", at_least=0): as_tensor(z, "latents") for t, z in noised.items()}
    shapes, n_channels = {tuple(latents.shape) for latents in noised.values()}, unet.config.in_channels
    shape = next(iter(shapes))
    if len(shapes) > 1 or len(shape) != 4 or shape[0] == 0 or shape[1] != n_channels:
        raise ValueError(
            f"Expected latents (n, {n_channels}, h, w), of one shape at all timesteps, got {sorted(shapes)}."
        )
    n, *latent_shape = shape
    for timestep, latents in noised.items():
        if not latents.is_floating_point():
            raise ValueError(f"Expected latents as floats, got {latents.dtype} at timestep {timestep}.")
        check_finite(latents, f"latents at timestep {timestep}")
    states = {
        "text": _checked_states(unet, encoder_hidden_states, "encoder_hidden_states", n),
        "empty": _checked_states(unet, unconditional_embedding, "unconditional_embedding", 1),
    }
    states = {condition: values for condition, values in states.items() if values is not None}
    if not states:
        raise ValueError(
            "Expected encoder_hidden_states, unconditional_embedding or both: the U-Net has cross-attention "
            "and computes nothing without token states."
        )
    if guidance_scale is not None and not (len(states) == 2 and math.isfinite(guidance_scale)):
        raise ValueError(
            "A guidance_scale is a finite number, and needs both encoder_hidden_states and "
            f"unconditional_embedding to mix; got {guidance_scale!r} with {' and '.join(states)}."
        )
    n_tokens = {values.shape[1] for values in states.values()}
    if len(n_tokens) > 1:
        raise ValueError(f"Captions and the empty caption must have as many tokens, got {sorted(n_tokens)}.")
    if unet.training:
        raise ValueError("The U-Net is in training mode, where dropout draws at random. Call unet.eval().")
    layers = chosen_layers(layers, unet_layers(unet, latent_shape, n_tokens.pop()))
    return _each_batch(unet, noised, states, layers, guidance_scale, batch_size)


def unet_activations(
    unet,
    noised,
    encoder_hidden_states,
    layers,
    unconditional_embedding=None,
    guidance_scale=None,
    reduce=None,
    batch_size=8,
):
    """Return activations of a U-Net's layers for all images; each batch is reduced at once.

    Parameters
    ----------
    unet, noised, encoder_hidden_states, layers, unconditional_embedding, guidance_scale, batch_size
        See `each_activation`.
    reduce : callable or dict of str to callable, optional
        Function that returns features (n_batch, ...) for a batch of one layer's activations (n_batch,
        channels, h, w). It must treat every image by itself, for example pool it or project it. With a
        dictionary by layer, layers without a function are not reduced.

    Returns
    -------
    dict of (str, int, str) to float32 tensor (n, ...), on the CPU
        ``activations[layer, timestep, condition]``.

    Raises
    ------
    ValueError
        As in `each_activation`. Also if `reduce` names a layer that is not read, or returns another number of
        rows or NaN.

    Notes
    -----
    The memory is that of `each_activation` plus the result. The result takes 4 n D bytes per layer, timestep
    and condition, where D is the number of features per image after `reduce`. Without `reduce` all raw
    activations are kept, so D is channels x h x w.
    """
    batches = each_activation(
        unet, noised, encoder_hidden_states, layers, unconditional_embedding, guidance_scale, batch_size
    )
    if isinstance(reduce, Mapping):
        unread = sorted(set(reduce) - set(layers))
        if unread:
            raise ValueError(f"reduce names {', '.join(unread)}, and layers does not. Add them there.")
    n = len(next(iter(noised.values())))
    features = {}
    for layer, timestep, condition, rows, values in batches:
        function = reduce.get(layer) if isinstance(reduce, Mapping) else reduce
        if function is not None:
            n_rows = len(values)
            values = as_tensor(function(values), f"what reduce returns for {layer}")
            if values.ndim == 0 or len(values) != n_rows:
                raise ValueError(
                    f"reduce returns {tuple(values.shape)} for {n_rows} images of {layer}. Return one row "
                    "per image."
                )
            check_finite(values, f"What reduce returns for {layer}")
        key = (layer, timestep, condition)
        if key not in features:
            features[key] = torch.empty(n, *values.shape[1:], dtype=torch.float32)
        features[key][rows] = values.detach().to("cpu", torch.float32)
    return features


def cross_attention_map(attention, hidden_states, encoder_hidden_states):
    r"""Return how much each position of an image attends to each token, averaged over heads.

    .. math:: M = \frac{1}{H} \sum_h \mathrm{softmax}_\text{tokens}(Q_h K_h^\top / \sqrt{d_h})

    Q and K come from the module's own projections. The map is computed in float32, one head at a time.

    Parameters
    ----------
    attention : diffusers' Attention
    hidden_states : tensor (n, n_positions, channels)
    encoder_hidden_states : tensor (n, n_tokens, d)

    Returns
    -------
    float32 tensor (n, n_tokens, n_positions)
        In [0, 1]. It sums to 1 over the tokens.
    """
    if attention.norm_cross:
        encoder_hidden_states = attention.norm_encoder_hidden_states(encoder_hidden_states)
    query = attention.to_q(hidden_states).unflatten(-1, (attention.heads, -1))
    key = attention.to_k(encoder_hidden_states).unflatten(-1, (attention.heads, -1))
    # query, key: (n, n_positions or n_tokens, n_heads, width of a head)
    query = query if attention.norm_q is None else attention.norm_q(query)
    key = key if attention.norm_k is None else attention.norm_k(key)
    total = 0
    for head in range(attention.heads):
        scores = key[:, :, head].float() @ query[:, :, head].float().transpose(1, 2)
        total = total + (attention.scale * scores).softmax(dim=1)
    return total / attention.heads


def _checked_states(unet, states, name, n):
    if states is None:
        return None
    states, width = as_tensor(states, name), states_width(unet)
    if states.ndim != 3 or len(states) != n or states.shape[2] != width:
        raise ValueError(f"Expected {name} ({n}, n_tokens, {width}), got {tuple(states.shape)}.")
    check_finite(states, name)
    return states


def _each_batch(unet, noised, states, layers, guidance_scale, batch_size):
    batches = Batches(batch_size)
    # Conditions that are mixed are read together; others one after the other, which takes half the memory.
    groups = [list(states)] if guidance_scale is not None else [[condition] for condition in states]
    for timestep, latents in noised.items():
        for group in groups:
            for batch in batches.over(len(latents)):
                read = {}
                with batch as rows:
                    for condition in group:
                        of_all, n = states[condition], rows.stop - rows.start
                        of_batch = of_all[rows] if condition == "text" else of_all.expand(n, -1, -1)
                        read[condition] = _read(unet, latents[rows], timestep, of_batch, layers)
                if batch.error is not None:
                    continue
                for layer in layers:
                    found = {condition: values.pop(layer.name) for condition, values in read.items()}
                    if guidance_scale is not None:
                        found["guided"] = found["empty"] + guidance_scale * (found["text"] - found["empty"])
                    for condition, values in found.items():
                        yield Activations(layer.name, timestep, condition, rows, values)


def _read(unet, latents, timestep, states, layers):
    """Return activations of one batch by the layers' names, from one call of the network."""
    found = {}

    def keep_output(layer):
        def hook(_module, _args, _kwargs, output):
            # A copy, because what lies in the network's memory may change before the pass ends.
            values = first_tensor(output).to("cpu", torch.float32, copy=True)
            if values.ndim == 3:  # (n, h w, channels)
                values = values.transpose(1, 2)
            found[layer.name] = values.reshape(-1, *layer.shape)

        return hook

    def keep_map(layer):
        def hook(module, args, kwargs, _output):
            hidden = args[0] if args else kwargs["hidden_states"]
            of_text = args[1] if len(args) > 1 else kwargs["encoder_hidden_states"]
            found[layer.name] = cross_attention_map(module, hidden, of_text).cpu().reshape(-1, *layer.shape)

        return hook

    hooks = [
        (
            layer.name.removesuffix(MAP_SUFFIX),
            (keep_map if layer.kind.endswith("map") else keep_output)(layer),
        )
        for layer in layers
    ]
    with torch.no_grad(), hooked(unet, hooks):
        unet(latents.to(unet.device, unet.dtype), timestep, states.to(unet.device, unet.dtype))
    for name, values in found.items():
        # NaN and infinity survive a sum, which takes a fortieth of the time of a look at each value.
        if not (torch.isfinite(values.sum()) or torch.isfinite(values).all()):
            raise FloatingPointError(
                f"The U-Net makes NaN or infinite activations in {name} at timestep {timestep}, computing in "
                f"{unet.dtype}. Load it in float32 or bfloat16, or look at how large these latents are."
            )
    return found
