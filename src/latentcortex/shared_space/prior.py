"""Draw one likely target from the network's output, with a diffusion prior."""

import copy

import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from torch import nn

from latentcortex.shared_space.bounds import as_number


class DiffusionPrior(nn.Module):
    r"""Small transformer that denoises targets, conditioned on the network's output b.

    :math:`D` is trained on :math:`L = E \| D(y_t, t, b) - y \|^2` with :math:`y_t = \sqrt{\bar\alpha_t} y +
    \sqrt{1 - \bar\alpha_t} \epsilon`. A regression predicts the mean of all targets that the betas allow,
    which is not itself a likely target. The prior draws one of these targets instead.

    Parameters
    ----------
    n_tokens, width : int
        Sizes of the targets, which should have a variance near 1.
    depth, n_heads : int
        Layers of the transformer, and heads of each layer. The number of heads must divide the width. The
        published 14 heads of 52 numbers do not divide 768.
    n_timesteps : int
        Noise levels in training, on a cosine schedule.
    drop_share : float
        Share of rows that are trained without the condition, in [0, 1].

    Raises
    ------
    ValueError
        If the number of heads does not divide the width, or if a number is out of its range.

    Notes
    -----
    Source: MindEye2's prior, after DALL-E 2 (Ramesh et al. 2022, arXiv 2204.06125). There condition and time
    are additional tokens. Here each noisy token is combined with its own condition directly. So there are
    half as many tokens, and attention does not have to find the condition first.
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
        """Return the targets predicted from noisy targets.

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
        """Return the mean squared error of targets that are denoised from a random noise level.

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
        """Return targets drawn from noise by deterministic DDIM, one for each condition.

        True targets are not an input of this function. The first version of the public code noised the true
        target and denoised it again, so its test predictions contained the truth.

        Parameters
        ----------
        condition : tensor (n, n_tokens, width)
        n_steps : int
            Number of steps, at most the number of noise levels in training.
        cond_scale : float
            Strength of the condition. 1 uses it unchanged, a larger number exaggerates it, and 0 ignores it.
        seed : int
            Seed of the noise. All rows start from the same noise, so a row does not depend on its neighbours.

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
