"""Correct the predicted image by measurements, as far as either can be trusted."""

import functools
import math
from dataclasses import dataclass

import torch

from latentcortex import features
from latentcortex.features.batches import Batches
from latentcortex.features.checks import as_count, as_tensor
from latentcortex.sampler.checks import check_condition, check_scheduler
from latentcortex.sampler.loop import predict_noise
from latentcortex.sampler.measurements import Components, Measurement
from latentcortex.store import rows_of

FEWEST = 10  # images; a variance of so many is off by about 45 %


@dataclass(frozen=True)
class DenoisingErrors:
    """Hold how far the noise-free latents that a network predicts lie from the true ones.

    They belong to one network, one guidance scale and one set of components. A correction refuses other
    scales and components. It can't compare networks.

    Attributes
    ----------
    timesteps : tuple of int
    variances : tensor (n_timesteps, k)
        Mean squared error of each component at each timestep.
    components : str
        Name of the `Components`.
    guidance_scale : float
    network : str
        What the network is known by, for example a hash of its weights. It is kept, and nothing checks it.
    """

    timesteps: tuple[int, ...]
    variances: torch.Tensor
    components: str
    guidance_scale: float
    network: str

    def __post_init__(self):
        object.__setattr__(self, "timesteps", tuple(map(int, self.timesteps)))
        expected = len(set(self.timesteps))
        if expected < len(self.timesteps):
            raise ValueError(f"A timestep comes twice: {sorted(self.timesteps)}.")
        if self.variances.ndim != 2 or len(self.variances) != expected or not expected:
            raise ValueError(
                f"Expected variances (n_timesteps, k) of {expected} timesteps, got "
                f"{tuple(self.variances.shape)}."
            )
        if not ((self.variances >= 0) & (self.variances < math.inf)).all():
            raise ValueError("Variances of errors should be finite and at least 0.")


@torch.no_grad()
def denoising_errors(
    unet,
    scheduler,
    latents,
    encoder_hidden_states,
    unconditional_embedding=None,
    *,
    components,
    timesteps,
    guidance_scale,
    generators,
    network,
    batch_size=32,
):
    r"""Return how far predicted noise-free latents are off, measured on images with known latents.

    Noise is added to true latents, as in `sample`. The network predicts the noise under classifier-free
    guidance, which gives :math:`x_0`, and the squared difference to the true latents is averaged over images.

    Parameters
    ----------
    unet, scheduler, encoder_hidden_states, unconditional_embedding, guidance_scale, batch_size
        As in `sample`. Pass the condition that will be used, for example decoded c of validation images.
    latents : tensor (n, 4, h, w)
        True z of images, at least `FEWEST`. The network must not be tested on them later.
    components : Components
    timesteps : sequence of int
        Of `denoising_timesteps`.
    generators : list of n torch.Generator
        The same noise is used at all timesteps.
    network : str
        What the network is known by.

    Returns
    -------
    DenoisingErrors

    Raises
    ------
    ValueError
        If there are too few images, or if arguments do not fit each other.
    """
    latents, condition = (
        as_tensor(latents, "latents"),
        as_tensor(encoder_hidden_states, "encoder_hidden_states"),
    )
    if len(latents) < FEWEST:
        raise ValueError(
            f"Errors are averaged over images: at least {FEWEST} are needed, got {len(latents)}."
        )
    if not len(latents) == len(condition) == len(generators):
        raise ValueError(
            f"Expected a condition and a generator for each of {len(latents)} latents, got {len(condition)} "
            f"and {len(generators)}."
        )
    check_condition(unet, condition, unconditional_embedding, guidance_scale)
    check_scheduler(scheduler, False, True)
    latents = latents.to(condition)
    noise = torch.cat([torch.randn(latents[:1].shape, generator=of) for of in generators]).to(latents)
    found = []
    for timestep in timesteps:
        abar = scheduler.alphas_cumprod[timestep].to(latents.device)
        noisy = features.noised_latents(scheduler, latents, noise, [int(timestep)])[int(timestep)]
        squares = torch.zeros(len(latents), len(components.variances))
        batches = Batches(as_count(batch_size, "batch_size"))
        for batch in batches.over(len(latents)):
            with batch as rows:
                states = condition[rows]
                empty = unconditional_embedding.to(states).expand_as(states) if guidance_scale > 1 else None
                pred = predict_noise(unet, timestep, noisy[rows], states, empty, guidance_scale)
                off = (noisy[rows] - (1 - abar) ** 0.5 * pred) / abar**0.5 - latents[rows]
                squares[rows] = (off.flatten(1).float() @ components.directions.to(off.device)).square().cpu()
        found.append(squares.double().mean(0).float())
    scale = float(guidance_scale)
    return DenoisingErrors(tuple(map(int, timesteps)), torch.stack(found), components.name, scale, network)


@dataclass(frozen=True, eq=False)
class KalmanCorrection:
    r"""Pull predicted images towards measurements, each as far as its noise allows.

    The network predicts noise-free latents with components x and errors of the variances v. With measurements
    y = A x + noise of the covariance S, the best linear estimate is

    .. math:: x' = x + K (y - A x), \qquad K = V A^\top (A V A^\top + S / \tau)^{-1},
              \qquad V = \text{diag}(v)

    which is Kalman's update. For a measured component, K is v / (v + s / tau). The predicted noise follows
    from x'. So the pull is strong where the network is unsure and the measurement is good, and there is no
    strength to choose.

    Attributes
    ----------
    components : Components
    measurements : tuple of Measurement
        Their noise is independent of each other.
    errors : DenoisingErrors
    trust : float
        :math:`\tau`, above 0. One takes the noise as it was estimated, and more trusts the measurements more.

    Notes
    -----
    The update is the posterior mean if errors and noise are normal and independent. The errors of two
    components are taken for uncorrelated. A drawing that starts from the same decoded z uses it twice, and
    beside a guide the errors are those without it.

    Kalman (1960), A new approach to linear filtering and prediction problems. In a diffusion model the same
    update is used by Song et al. (2023), Pseudoinverse-guided diffusion models, with v from the schedule.
    """

    components: Components
    measurements: tuple[Measurement, ...]
    errors: DenoisingErrors
    trust: float = 1.0

    def __post_init__(self):
        if not 0 < self.trust < math.inf:
            raise ValueError(f"Expected a trust above 0, got {self.trust}.")
        if isinstance(self.measurements, Measurement) or not self.measurements:
            raise ValueError("Expected a tuple of at least one measurement, such as (measurement,).")
        name, k = self.components.name, len(self.components.variances)
        for of in self.measurements:
            n_columns = of.values.shape[1] if of.operator is None else of.operator.shape[1]
            if of.components != name or n_columns != k:
                raise ValueError(
                    f"The measurement is of {n_columns} components {of.components!r}, but those of the "
                    f"correction are {k}, {name!r}. Measure in the same components."
                )
        if self.errors.components != name or self.errors.variances.shape[1] != k:
            raise ValueError(
                f"The errors are of {self.errors.variances.shape[1]} components {self.errors.components!r}, "
                f"but those of the correction are {k}, {name!r}. Measure the errors in the same components."
            )

    def check(self, timesteps, guidance_scale, image_ids, shape):
        """Raise ValueError unless the correction fits a drawing's timesteps, scale, images and shape."""
        lacking = sorted({int(t) for t in timesteps} - set(self.errors.timesteps))
        if lacking:
            raise ValueError(
                f"The errors were measured at other timesteps, not at {lacking}. Measure them again for this "
                "number of steps and this strength."
            )
        if not math.isclose(guidance_scale, self.errors.guidance_scale):
            raise ValueError(
                f"The errors were measured at a guidance_scale of {self.errors.guidance_scale:g}, and the "
                f"drawing has {guidance_scale:g}. Measure them again at this scale."
            )
        if tuple(shape[1:]) != tuple(self.components.mean.shape):
            raise ValueError(
                f"The components are of latents {tuple(self.components.mean.shape)}, and the drawing has "
                f"{tuple(shape[1:])}."
            )
        for of in self.measurements:
            rows_of(of.image_ids, image_ids.numpy(), "the measurement")

    def correct(self, noise_pred, noisy, abar, image_ids, timestep):
        """Return the predicted noise (n, 4, h, w) after the correction, in its own dtype.

        Parameters
        ----------
        noise_pred, noisy : tensor (n, 4, h, w)
            Predicted noise, after classifier-free guidance, and noisy latents.
        abar : tensor ()
        image_ids : int tensor (n,)
        timestep : int
        """
        x = self.components.of((noisy.float() - (1 - abar) ** 0.5 * noise_pred.float()) / abar**0.5)
        moved = 0
        for of, gain in zip(self.measurements, self._gains(timestep), strict=True):
            values = of.values[rows_of(of.image_ids, image_ids.cpu().numpy(), "the measurement")].to(x)
            predicted = x if of.operator is None else x @ of.operator.to(x).T
            off, gain = values - predicted, gain.to(x)
            moved = moved + (off * gain if gain.ndim == 1 else off @ gain.T)
        return noise_pred - ((abar / (1 - abar)) ** 0.5 * self.components.back(moved)).to(noise_pred)

    @functools.cached_property
    def _known_gains(self):
        return {}

    def _gains(self, timestep):
        """Return the gains of all measurements at a timestep, computed once."""
        if timestep not in self._known_gains:
            self._known_gains[timestep] = self._computed_gains(timestep)
        return self._known_gains[timestep]

    def _computed_gains(self, timestep):
        """Return the gain of each measurement: (k,) if components are measured one by one, else (k, m)."""
        v = self.errors.variances[self.errors.timesteps.index(timestep)].cpu().double()
        if all(of.operator is None and of.noise.ndim == 1 for of in self.measurements):
            return _independent_gains(
                v, torch.stack([of.noise.cpu().double() for of in self.measurements]) / self.trust
            )
        known = [
            torch.isfinite(of.noise if of.noise.ndim == 1 else of.noise.diagonal()).cpu()
            for of in self.measurements
        ]
        eye = torch.eye(len(v), dtype=torch.double)
        operators = [eye if of.operator is None else of.operator.cpu().double() for of in self.measurements]
        stacked = torch.cat([a[rows] for a, rows in zip(operators, known, strict=True)])
        noises = [of.noise.cpu().double() for of in self.measurements]
        noises = [s[rows].diag() if s.ndim == 1 else s for s, rows in zip(noises, known, strict=True)]
        covariance = (stacked * v) @ stacked.T + torch.block_diag(*noises) / self.trust
        # Without noise, measurements may repeat each other. In units of their own spread, a very noisy one
        # does not make the pseudoinverse take the others for rounding.
        spread = covariance.diagonal().sqrt()
        unit = torch.where(spread > 0, 1 / spread, 0)
        inverse = torch.linalg.pinv(covariance * unit * unit[:, None], hermitian=True)
        gain = (v[:, None] * stacked.T) @ (inverse * unit * unit[:, None])
        gains, start = [], 0
        for rows in known:
            whole = torch.zeros(len(v), len(rows), dtype=torch.double)
            whole[:, rows] = gain[:, start : start + int(rows.sum())]
            gains.append(whole)
            start += int(rows.sum())
        return gains


def _independent_gains(v, noise):
    """Return gains (n_measurements, k) for variances of errors v (k,) and of noise (n_measurements, k)."""
    exact = noise == 0
    precision = torch.where(exact, 0, 1 / noise)
    total = precision.sum(0)
    # v / (v + 1 / total), shared out by precision; what is measured exactly is shared by those that do.
    gains = v * precision / (v * total + 1)
    return torch.where(exact.any(0), (v > 0) * exact / exact.sum(0).clamp(min=1), gains)
