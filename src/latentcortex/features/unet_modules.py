"""List the modules of a U-Net by diffusers' own names, and read them with hooks."""

import difflib
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel

from latentcortex.features.checks import as_count

MAP_SUFFIX = ".map"


@dataclass(frozen=True)
class UNetLayer:
    """Describe a layer of a U-Net whose activations can be read.

    Attributes
    ----------
    name : str
        The name of diffusers' module, such as ``"down_blocks.1.resnets.0"``. A cross-attention map has the
        name of its attention module followed by ``".map"``.
    kind : str
        One of

        - ``"block"``: what a down, mid or up block hands on to the next, after its change of size;
        - ``"residual"``: the output of a residual block, its skip connection included;
        - ``"transformer"``: the output of the transformer (or the bare attention) behind a residual block,
          its skip connection included;
        - ``"transformer_block"``: the output of one block within a transformer, before it is projected back;
        - ``"self_attention"``, ``"cross_attention"``: what attention to the image itself or to the caption
          contributes, without a skip connection;
        - ``"cross_attention_map"``: how much each position attends to each token of the caption;
        - ``"noise_pred"``: the output of the whole network.
    stage : str
        ``"down"``, ``"mid"``, ``"up"``, or ``"out"`` for the prediction of the noise.
    block : int
        Number of the block within its stage, from 0.
    shape : tuple of int
        Shape of one image's activations, (channels, h, w), or (n_tokens, h, w) for a map.
    """

    name: str
    kind: str
    stage: str
    block: int
    shape: tuple[int, ...]


def unet_layers(unet, latent_shape=None, n_tokens=77):
    """Return every layer of a U-Net that can be read, in the order of computation.

    The shapes come from a dry run of the network on torch's meta device, where tensors have a shape but no
    numbers. The dry run needs no memory and does not touch the weights. Hooks that you have set on the
    network also run in it.

    Parameters
    ----------
    unet : UNet2DConditionModel
    latent_shape : tuple of int, optional
        (4, h, w) of the latents. By default the size that the network was built for.
    n_tokens : int
        Tokens of a caption. Only the shapes of the cross-attention maps depend on it.

    Returns
    -------
    dict of str to UNetLayer
        Layers by name.

    Raises
    ------
    ValueError
        If the network cannot have latents of this shape, or if it needs more than latents, a timestep and
        token states.
    """
    config, n_tokens = unet.config, as_count(n_tokens, "n_tokens")
    # Stable Diffusion XL, for example, wants pooled states and sizes of the images as well.
    more = ("addition_embed_type", "class_embed_type", "num_class_embeds", "encoder_hid_dim_type")
    asked = [name for name in more if config.get(name) is not None]
    if asked:
        raise ValueError(
            f"This U-Net is built with {', '.join(asked)}, so it needs more inputs than latents, a timestep "
            "and token states. Only U-Nets like Stable Diffusion 1's and 2's can be read."
        )
    if latent_shape is None:
        size = config.sample_size
        latent_shape = (config.in_channels, *(size if isinstance(size, list | tuple) else (size, size)))
    latent_shape = tuple(as_count(n, "a length in latent_shape") for n in latent_shape)
    if len(latent_shape) != 3 or latent_shape[0] != config.in_channels:
        raise ValueError(f"This U-Net reads latents ({config.in_channels}, h, w), got {latent_shape}.")
    kinds = _kinds(unet)
    shapes = _dry_run(unet, kinds, latent_shape, n_tokens)
    layers = {}
    for name, shape in shapes.items():
        around = name
        # Where positions are in a row, the module around it knows height and width.
        while len(shapes.get(around, ())) != 3:
            around = around.rpartition(".")[0]
        spatial = shapes[around][1:]
        channels = shape[0] if len(shape) == 3 else shape[-1]
        first = name.split(".")
        stage, block = first[0].split("_")[0], int(first[1]) if first[0].endswith("blocks") else 0
        stage = stage if stage in ("down", "mid", "up") else "out"
        layers[name] = UNetLayer(name, kinds[name], stage, block, (channels, *spatial))
        if kinds[name] == "cross_attention":
            of_map = name + MAP_SUFFIX
            layers[of_map] = UNetLayer(of_map, "cross_attention_map", stage, block, (n_tokens, *spatial))
    return layers


def states_width(unet):
    """Return the width d of the token states that a U-Net reads."""
    width = unet.config.cross_attention_dim
    return width[0] if isinstance(width, list | tuple) else width


def chosen_layers(layers, known):
    """Return the layers with some names.

    Parameters
    ----------
    layers : sequence of str
        Names of layers. Repeated names count once.
    known : dict of str to UNetLayer
        Layers from `unet_layers`.

    Returns
    -------
    list of UNetLayer

    Raises
    ------
    ValueError
        If `layers` is a single string or empty, or if a name is unknown. The message lists the known names,
        the most similar first.
    """
    if isinstance(layers, str):
        raise ValueError(f"Expected layers as a list of names, got the text {layers!r}. Pass [{layers!r}].")
    names = list(dict.fromkeys(layers))
    if not names:
        raise ValueError("Expected the name of at least one layer. features.unet_layers(unet) lists them.")
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(str(name), known, n=5)
            others = [other for other in known if other not in close]
            nearest = f" Much like it are {', '.join(close)}." if close else ""
            raise ValueError(
                f"This U-Net has no layer {name!r}.{nearest} {'Others' if close else 'Those that exist'} "
                f"are {', '.join(others)}."
            )
    return [known[name] for name in names]


@contextmanager
def hooked(unet, hooks):
    """Keep hooks on modules of a network within a block of code, and always remove them afterwards.

    Parameters
    ----------
    unet : torch.nn.Module
    hooks : list of (str, callable)
        Names of modules, and functions ``hook(module, args, kwargs, output)`` that return None.
    """
    handles = []
    try:
        for name, hook in hooks:
            handles.append(unet.get_submodule(name).register_forward_hook(hook, with_kwargs=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


def first_tensor(output):
    """Return the output of a module as a tensor, even if it is a tuple or an output object."""
    return output if torch.is_tensor(output) else output[0]


def _kinds(unet):
    """Return the kind of every module that can be read, by name."""
    kinds = {"conv_out": "noise_pred"}
    for name, module in unet.named_modules():
        is_numbered_block = name.count(".") == 1 and name.startswith(("down_blocks.", "up_blocks."))
        if name == "mid_block" or is_numbered_block:
            kinds[name] = "block"
        elif isinstance(module, ResnetBlock2D):
            kinds[name] = "residual"
        elif isinstance(module, Transformer2DModel):
            kinds[name] = "transformer"
        elif isinstance(module, BasicTransformerBlock):
            kinds[name] = "transformer_block"
        elif isinstance(module, Attention) and module.residual_connection:
            # U-Nets without captions have these in place of a transformer.
            kinds[name] = "transformer"
        elif isinstance(module, Attention):
            kinds[name] = "cross_attention" if module.is_cross_attention else "self_attention"
    return kinds


def _dry_run(unet, kinds, latent_shape, n_tokens):
    """Return the shapes of one image's activations by name, in the order in which they are computed."""
    shapes = {}

    def note(name):
        def hook(_module, _args, _kwargs, output):
            shapes[name] = tuple(first_tensor(output).shape[1:])

        return hook

    weights = {**dict(unet.named_parameters()), **dict(unet.named_buffers())}
    on_meta = {name: torch.empty_like(weight, device="meta") for name, weight in weights.items()}
    like = {"dtype": unet.dtype, "device": "meta"}
    inputs = (torch.empty(1, *latent_shape, **like), 0, torch.empty(1, n_tokens, states_width(unet), **like))
    with torch.no_grad(), hooked(unet, [(name, note(name)) for name in kinds]):
        torch.func.functional_call(unet, on_meta, inputs)
    return shapes
