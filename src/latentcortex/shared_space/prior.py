"""A diffusion prior: from what the network says of an image to one likely target."""

import copy

import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from torch import nn

from latentcortex.shared_space.bounds import as_number


class DiffusionPrior(nn.Module):
    r"""Denoise targets under the network's output b, by a small transformer that predicts them.

    Trained is :math:`D` in :math:`L = E \| D(y_t, t, b) - y \|^2` with
    :math:`y_t = \sqrt{\bar\alpha_t} y + \sqrt{1 - \bar\alpha_t} \epsilon`. A regression gives the
    mean of all targets that the betas allow, which is none of them; the prior draws one.

    Parameters
    ----------
    n_tokens, width : int
        Of the targets, which should have a variance near 1.
    depth, n_heads : int
        Layers of the transformer, and heads of each; width must be divisible by the heads. (The
        published 14 heads of 52 numbers do not divide 768.)
    n_timesteps : int
        Noise levels in training, on a cosine schedule.
    drop_share : float
        Share of the rows that are trained without condition, in [0, 1].

    Raises
    ------
    ValueError
        If the heads don't divide the width, or a number is out of its range.

    Notes
    -----
    Source: MindEye2's prior, after DALL-E 2 (Ramesh et al. 2022, arXiv 2204.06125). There condition
    and time are tokens beside the noisy ones; here each token meets its own condition at once, in
    half the tokens, and does not have to find it first.
    """

    def __init__(self, n_tokens, width, depth=6, n_heads=12, n_timesteps=100, drop_share=0.2):
        super().__init__()
        n_heads, depth = as_number(n_heads, "n_heads", 1, whole=True), as_number(depth, "depth", whole=True)
        if width % n_heads:
            raise ValueError(
                f"{n_heads} heads don't divide the {width} numbers of a token: choose prior_heads that do."
            )
        self.drop_share = as_number(drop_share, "drop_share", high=1)
        # "trailing" starts where training ends, at noise alone, and not five levels below.
        self.scheduler = DDIMScheduler(
            num_train_timesteps=as_number(n_timesteps, "n_timesteps", 1, whole=True),
            beta_schedule="squaredcos_cap_v2",
            prediction_type="sample",
            clip_sample=False,
            timestep_spacing="trailing",
        )
        self.time = nn.Sequential(Timesteps(width, True, 0), TimestepEmbedding(width, width))
        self.positions = nn.Parameter(width**-0.5 * torch.randn(n_tokens, width))
        self.no_condition = nn.Parameter(torch.zeros(n_tokens, width))
        self.enter = nn.Linear(2 * width, width)
        layers = [
            nn.TransformerEncoderLayer(
                width, n_heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True
            )
            for _ in range(depth)
        ]
        self.layers = nn.Sequential(*layers, nn.LayerNorm(width), nn.Linear(width, width))

    def denoise(self, noisy, timesteps, condition):
        """Return the targets predicted from noisy ones.

        Parameters
        ----------
        noisy, condition : tensors (n, n_tokens, width)
        timesteps : integer tensor (n,)

        Returns
        -------
        tensor (n, n_tokens, width)
        """
        tokens = self.enter(torch.cat([noisy, condition], dim=2))
        return self.layers(tokens + self.positions + self.time(timesteps)[:, None])

    def loss(self, targets, condition, generator):
        """Return the mean squared error of targets denoised from a random level of noise.

        Parameters
        ----------
        targets, condition : tensors (n, n_tokens, width)
        generator : torch.Generator
            On the CPU.

        Returns
        -------
        scalar tensor
        """
        n, n_timesteps = len(targets), self.scheduler.config.num_train_timesteps
        timesteps = torch.randint(n_timesteps, (n,), generator=generator).to(targets.device)
        noise = torch.randn(targets.shape, generator=generator).to(targets)
        dropped = (torch.rand(n, generator=generator) < self.drop_share).to(targets.device)
        condition = torch.where(dropped[:, None, None], self.no_condition, condition)
        noisy = self.scheduler.add_noise(targets, noise, timesteps)
        return F.mse_loss(self.denoise(noisy, timesteps, condition), targets)

    @torch.no_grad()
    def sample(self, condition, n_steps=20, cond_scale=1.0, seed=0):
        """Return targets drawn by deterministic DDIM from noise, one for each condition.

        The true targets are no input of this function. (The first version of the public code noised the
        true target and predicted it back, so that its test predictions contained it.)

        Parameters
        ----------
        condition : tensor (n, n_tokens, width)
        n_steps : int
            At most the number of noise levels in training.
        cond_scale : float
            1 uses the condition as it is, a larger number exaggerates it, 0 ignores it.
        seed : int
            All rows start from the same noise, so a row does not depend on its neighbours.

        Returns
        -------
        tensor (n, n_tokens, width)

        Raises
        ------
        ValueError
            If a number is out of its range.
        """
        n_levels = self.scheduler.config.num_train_timesteps
        n_steps = as_number(n_steps, "n_steps", 1, n_levels, whole=True)
        cond_scale = as_number(cond_scale, "cond_scale")
        scheduler = copy.deepcopy(self.scheduler)
        scheduler.set_timesteps(n_steps, device=condition.device)
        generator = torch.Generator().manual_seed(seed)
        tokens = torch.randn(condition.shape[1:], generator=generator).to(condition)
        tokens = tokens.expand_as(condition)
        for timestep in scheduler.timesteps:
            timesteps = timestep.expand(len(condition))
            predicted = self.denoise(tokens, timesteps, condition)
            if cond_scale != 1:
                without = self.denoise(tokens, timesteps, self.no_condition.expand_as(condition))
                predicted = without + cond_scale * (predicted - without)
            tokens = scheduler.step(predicted, timestep, tokens).prev_sample
        return tokens
