"""Define the network: a linear layer per subject, one backbone for all, and a head per target."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from diffusers.models.autoencoders.vae import Decoder
from torch import nn

from latentcortex.shared_space.bounds import as_number, as_numbers, check_fields
from latentcortex.shared_space.prior import DiffusionPrior


@dataclass(frozen=True)
class NetworkSizes:
    """Hold the sizes of a `SharedSpace`; the defaults are the published sizes for Stable Diffusion.

    Attributes
    ----------
    hidden_size : int
        Dimensions of the shared space. The public training scripts use 1024, and the scoring script uses
        4096.
    n_blocks : int
        Number of residual blocks of the backbone. With 0 and no prior, token targets are linear in betas.
    dropout : float
        Share of the numbers that each block sets to 0 in training, in [0, 1).
    latent_channels : tuple of int
        Channels at each size of a latent head, the largest grid first. Each size is half the size before.
    prior_depth, prior_heads : int
        Layers and heads of each token target's diffusion prior. A depth of 0 leaves it out.

    Raises
    ------
    ValueError
        If a size is out of its range.
    """

    hidden_size: int = 4096
    n_blocks: int = 4
    dropout: float = 0.15
    latent_channels: tuple[int, ...] = (64, 128, 256)
    prior_depth: int = 6
    prior_heads: int = 12

    def __post_init__(self):
        one, none = {"low": 1, "whole": True}, {"whole": True}
        counts = {"hidden_size": one, "n_blocks": none, "prior_depth": none, "prior_heads": one}
        check_fields(self, counts | {"dropout": {"high": 1}})
        if self.dropout == 1:
            raise ValueError("A dropout of 1 leaves nothing to learn from: expected less.")
        channels = as_numbers(self.latent_channels, "latent_channels", **one)
        if not channels:
            raise ValueError("Expected at least one number of latent_channels.")
        object.__setattr__(self, "latent_channels", channels)


class SharedSpace(nn.Module):
    r"""Decode features from betas of several subjects through a space that they share.

    With :math:`W_s, b_s` of subject s, the backbone f and the head of each target,

    .. math:: h = W_s x_s + b_s, \quad y = \mu + \sigma \, \mathrm{head}(f(h)).

    :math:`\mu` (one per number) and :math:`\sigma` (one per target) come from the images of the first
    training. So losses have the same weight for targets of any unit, and cosines do not reflect a mean that
    all images share. The public code does not standardise targets.

    Parameters
    ----------
    n_voxels : dict of str to int
        The number of voxels of each subject.
    target_shapes : dict of str to tuple of int
        Shape of each target: (n_tokens, width) for tokens such as c and the layers of g, or (channels, h, w)
        for latents. Several targets share the backbone. To train one model per target, as published, give
        each model a single target.
    sizes : NetworkSizes
    seed : int
        Seed of the initial weights. The global random state is not changed.

    Attributes
    ----------
    training_image_ids : int array, sorted
        The images that the network has learned from in both stages.
    rescaling, rescaling_image_ids : dict by subject
        The result of `fit_rescaling` by target, and the images it was fitted on.

    Raises
    ------
    ValueError
        If there is no subject or no target, or if a target has another number of dimensions. Also if latents
        cannot be halved, or if a number is not whole.
    """

    def __init__(self, n_voxels, target_shapes, sizes=None, *, seed=0):
        super().__init__()
        self.sizes = sizes = NetworkSizes() if sizes is None else sizes
        if not n_voxels or not target_shapes:
            raise ValueError("Expected at least one subject and one target to make a network for.")
        self.n_voxels = {s: as_number(n, f"voxels of {s}", 1, whole=True) for s, n in n_voxels.items()}
        self.target_shapes = {
            name: as_numbers(shape, f"the shape of {name}", low=1, whole=True)
            for name, shape in target_shapes.items()
        }
        kinds = {2: TokenHead, 3: LatentHead}
        for name, shape in self.target_shapes.items():
            if len(shape) not in kinds:
                raise ValueError(
                    f"Expected targets of shape (n_tokens, width) or (channels, h, w), got "
                    f"{name}: {shape}. The number of images is not part of the shape."
                )
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(seed)
            self.subjects = nn.ModuleDict(
                {s: nn.Linear(n, sizes.hidden_size) for s, n in self.n_voxels.items()}
            )
            self.backbone = nn.Sequential(*[Block(sizes) for _ in range(sizes.n_blocks)])
            self.heads = nn.ModuleDict(
                {name: kinds[len(s)](s, sizes) for name, s in self.target_shapes.items()}
            )
        self.training_image_ids = np.array([], dtype=np.int64)
        self.rescaling, self.rescaling_image_ids = {}, {}

    @property
    def device(self):
        """Return the device of the weights."""
        return next(self.parameters()).device

    def forward(self, betas):
        r"""Return the decoded targets for trials of one or several subjects.

        Parameters
        ----------
        betas : dict of str to tensor (n_trials, n_voxels)
            Betas by subject.

        Returns
        -------
        dict of str to (tensor, tensor), both (n, *shape)
            Prediction and projection by target, in units of :math:`\sigma` around :math:`\mu`. The rows of
            all subjects are concatenated. With a diffusion prior the prediction is the prior's condition.
        """
        hidden = torch.cat([self.subjects[subject](rows) for subject, rows in betas.items()])
        hidden = self.backbone(hidden)
        return {name: head(hidden) for name, head in self.heads.items()}

    def with_new_subject(self, subject, n_voxels, *, seed=0):
        """Return the network of the second stage, with a new subject instead of the subjects of the first.

        Backbone and heads are copied and not frozen. The linear layer is new. The layers of other subjects
        are dropped, because they would not fit a backbone that continues to learn.

        Parameters
        ----------
        subject : str
        n_voxels : int
        seed : int
            Seed of the weights of the new layer.

        Returns
        -------
        SharedSpace
            A network on the same device. This network is not changed.

        Raises
        ------
        ValueError
            If this network has been trained on that subject already.
        """
        if subject in self.n_voxels:
            raise ValueError(
                f"This network knows {subject} already (its subjects: {', '.join(self.n_voxels)})."
                " Pre-train one without the target subject, or go on training this one as it is."
            )
        new = SharedSpace({subject: n_voxels}, self.target_shapes, self.sizes, seed=seed)
        new.backbone.load_state_dict(self.backbone.state_dict())
        new.heads.load_state_dict(self.heads.state_dict())
        new.training_image_ids = self.training_image_ids
        return new.to(self.device)


class Block(nn.Module):
    """Residual block: x + Linear(Dropout(GELU(Linear(LayerNorm(x)))))."""

    def __init__(self, sizes):
        super().__init__()
        size = sizes.hidden_size
        self.layers = nn.Sequential(
            nn.LayerNorm(size),
            nn.Linear(size, size),
            nn.GELU(),
            nn.Dropout(sizes.dropout),
            nn.Linear(size, size),
        )

    def forward(self, hidden):
        """Return the output of the block (n, hidden_size) for hidden values (n, hidden_size)."""
        return hidden + self.layers(hidden)


class Head(nn.Module):
    """Hold the mean and scale of a target; the base of all heads."""

    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("scale", torch.ones(()))

    def standardise(self, features):
        """Return features (n, *shape) in the units of the network."""
        return (features - self.mean) / self.scale

    def restore(self, standardised):
        """Return predictions of the network in the units of the features."""
        return standardised * self.scale + self.mean


class TokenHead(Head):
    """Head for tokens (n_tokens, width): a linear layer, a projector per token, and optionally a prior."""

    def __init__(self, shape, sizes):
        super().__init__(shape)
        n_tokens, width = shape
        self.linear = nn.Linear(sizes.hidden_size, n_tokens * width)
        layers = [(nn.LayerNorm(width), nn.GELU(), nn.Linear(width, width)) for _ in range(3)]
        self.projector = nn.Sequential(*[layer for three in layers for layer in three])
        self.prior = None
        if sizes.prior_depth:
            self.prior = DiffusionPrior(n_tokens, width, sizes.prior_depth, sizes.prior_heads)

    def forward(self, hidden):
        """Return prediction and projection, each (n, *shape), for (n, hidden_size)."""
        tokens = self.linear(hidden).unflatten(1, self.shape)
        return tokens, self.projector(tokens)


class LatentHead(Head):
    """Head for latents (channels, h, w): a linear layer to a small grid, then the decoder of a VAE.

    The projector gives every cell of the grid its own patch of latents. The published projector is compared
    with features of a ConvNeXt instead, and the published layers differ from those for tokens. Here they
    share the backbone.
    """

    def __init__(self, shape, sizes):
        super().__init__(shape)
        channels, height, width = shape
        wide = sizes.latent_channels
        shrink = 2 ** (len(wide) - 1)
        if height % shrink or width % shrink:
            raise ValueError(
                f"Latents of {height} x {width} can't be halved {len(wide) - 1} times: give "
                f"NetworkSizes fewer latent_channels than {wide}."
            )
        self.grid = (wide[0], height // shrink, width // shrink)
        self.linear = nn.Linear(sizes.hidden_size, math.prod(self.grid))
        self.decoder = Decoder(
            in_channels=wide[0],
            out_channels=channels,
            up_block_types=("UpDecoderBlock2D",) * len(wide),
            block_out_channels=wide,
            layers_per_block=1,
            norm_num_groups=math.gcd(32, *wide),
        )
        self.projector = nn.Sequential(
            nn.Conv2d(wide[0], wide[-1], 1),
            nn.GroupNorm(1, wide[-1]),
            nn.GELU(),
            nn.Conv2d(wide[-1], channels * shrink**2, 1),
            nn.PixelShuffle(shrink),
        )

    def forward(self, hidden):
        """Return prediction and projection, each (n, *shape), for (n, hidden_size)."""
        grid = self.linear(hidden).unflatten(1, self.grid)
        return self.decoder(grid), self.projector(grid)
