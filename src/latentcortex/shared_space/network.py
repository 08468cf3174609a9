"""The network: a linear layer for each subject, one backbone for all, a head for each target."""

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
    """Sizes of a `SharedSpace`; the defaults are the published ones, for Stable Diffusion.

    Attributes
    ----------
    hidden_size : int
        Dimensions of the shared space (the public training scripts say 1024, the scoring 4096).
    n_blocks : int
        Residual blocks of the backbone. With 0 and no prior, token targets are linear in betas.
    dropout : float
        Share of the numbers that each block sets to 0 in training, in [0, 1).
    latent_channels : tuple of int
        Channels at each size of a latent head, the largest grid first; each size is half the one
        before.
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

    :math:`\mu` (of each number) and :math:`\sigma` (one a target) are those of the images first
    trained on, so that losses weigh alike for targets of any unit and cosines are not those of a
    mean that all images have in common. (The public code takes targets as they are.)

    Parameters
    ----------
    n_voxels : dict of str to int
        The number of voxels of each subject.
    target_shapes : dict of str to tuple of int
        Of each target: (n_tokens, width) for tokens such as c and the layers of g, or
        (channels, h, w) for latents. Several targets share the backbone; one model per target,
        as published, is a model with one target each.
    sizes : NetworkSizes
    seed : int
        The first weights follow from it. The global random state is left as it was.

    Attributes
    ----------
    training_image_ids : int array, sorted
        The images it has learned from, in both stages.
    rescaling, rescaling_image_ids : dict by subject
        What `fit_rescaling` found, by target, and the images it was found on.

    Raises
    ------
    ValueError
        If there is no subject or no target, for a target of another number of dimensions, for latents
        that can't be halved, or for a number that is not whole.
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
        """Return the device on which its weights are."""
        return next(self.parameters()).device

    def forward(self, betas):
        r"""Return what trials of one or several subjects are decoded as.

        Parameters
        ----------
        betas : dict of str to tensor (n_trials, n_voxels)
            By subject.

        Returns
        -------
        dict of str to (tensor, tensor), both (n, *shape)
            By target: prediction and projection, in units of :math:`\sigma` around :math:`\mu`,
            the subjects' rows one after the other. With a diffusion prior the prediction is the
            prior's condition.
        """
        hidden = torch.cat([self.subjects[subject](rows) for subject, rows in betas.items()])
        hidden = self.backbone(hidden)
        return {name: head(hidden) for name, head in self.heads.items()}

    def with_new_subject(self, subject, n_voxels, *, seed=0):
        """Return the network of the second stage: a new subject in place of the first stage's.

        Backbone and heads are copied, and none of them is frozen. The linear layer is new. The layers of
        the other subjects are left behind, because they would not fit a backbone that goes on learning.

        Parameters
        ----------
        subject : str
        n_voxels : int
        seed : int
            The new layer follows from it.

        Returns
        -------
        SharedSpace
            On the same device. This network is not changed.

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
    """A residual block: x + Linear(Dropout(GELU(Linear(LayerNorm(x)))))."""

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
        """Return (n, hidden_size) for (n, hidden_size)."""
        return hidden + self.layers(hidden)


class Head(nn.Module):
    """A head knows the mean and scale of its target."""

    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("scale", torch.ones(()))

    def standardise(self, features):
        """Return features (n, *shape) in the units that the network works in."""
        return (features - self.mean) / self.scale

    def restore(self, standardised):
        """Return predictions of the network in the units of the features."""
        return standardised * self.scale + self.mean


class TokenHead(Head):
    """Tokens (n_tokens, width): one linear layer, a projector of each token, maybe a prior."""

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
    """Latents (channels, h, w): a linear layer to a small grid, then the decoder of a VAE.

    The projector gives every cell of the grid its own patch of latents. (The published one meets
    features of a ConvNeXt here, and the published layers differ from those for tokens; ours share
    the backbone.)
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
