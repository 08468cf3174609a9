"""Turn a loss on the predicted image into a correction of the predicted noise."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch

from latentcortex import features
from latentcortex.sampler.checks import check_made


class GuidedStep(NamedTuple):
    """Hold what happened to the images of a batch in one guided step.

    ``loss`` (n,) is the loss of each image, and ``gradient`` (n, 4, h, w) its gradient with respect to the
    noisy latents. ``relative_step`` (n,) is how far the correction moves the estimate of the noise-free
    latents, as a share of their length: :math:`|x_0' - x_0| / |x_0|`, after `max_relative_step`.
    """

    step: int
    timestep: int
    image_ids: torch.Tensor
    loss: torch.Tensor
    gradient: torch.Tensor
    relative_step: torch.Tensor


@dataclass(frozen=True)
class Guidance:
    r"""Correct the predicted noise along the gradient of a guide's loss.

    The conditional prediction gives the noise-free latents and the mix that the guide looks at,

    .. math:: x_0 = (z_t - \sqrt{1 - \bar\alpha_t} \, \epsilon_\theta(z_t, c))
                    / \sqrt{\bar\alpha_t}, \qquad
              \tilde z = \gamma x_0 + (1 - \gamma) z_t, \qquad
              \gamma = \sqrt{1 - \bar\alpha_t},

    and the term that is added to the noise, also under classifier-free guidance, is

    .. math:: \kappa \sqrt{1 - \bar\alpha_t} \, \nabla_{z_t} L(D(\tilde z)),

    the same as :math:`x_0' = x_0 - \kappa (1 - \bar\alpha_t) / \sqrt{\bar\alpha_t} \,
    \nabla_{z_t} L` for the noise-free latents.

    Attributes
    ----------
    guide : callable
        ``guide(images, image_ids)`` returns a differentiable loss for each image, a tensor (n,). Images are
        (n, 3, h, w) and near [0, 1]. They are not clamped, because a clamp has no gradient outside this
        range. See `guides`.
    feature_scale : float or callable
        :math:`\kappa`, at least 0, or a function from the timestep (int) to it. At 0 nothing is computed, and
        the result is exactly that without guidance.
    guided_share : float
        :math:`\eta`, in [0, 1]. Of the n steps taken, ``floor(guided_share * n)`` are guided.
    guided_from : float
        Where the guided steps begin, in [0, 1). The first guided step is ``floor(guided_from * n)``. Guided
        steps beyond the last step are left out.
    decoder : AutoencoderKL or AutoencoderTiny, optional
        D, which turns latents into the images that the guide looks at. Without a decoder the guide gets the
        latents themselves.
    through_unet : bool
        Whether the gradient passes through the U-Net, as published. Otherwise its prediction counts as a
        constant, so :math:`\nabla_{z_t} L = (\gamma / \sqrt{\bar\alpha_t} + 1 - \gamma) \, dL / d\tilde z`.
        This is cheaper, but gives another direction.
    blend : bool
        Whether the guide looks at :math:`\tilde z`, as published. Otherwise it looks at :math:`x_0` itself
        (:math:`\gamma = 1`).
    normalise : bool
        Whether the gradient of each image is divided by its root mean square. Then `feature_scale` sets the
        length of the step, regardless of the loss.
    max_relative_step : float, optional
        The longest relative step (see `GuidedStep`), above 0. For each image a longer correction is shortened
        to this length and keeps its direction. By default the length is not limited, as published.
    watch : callable, optional
        Called with the `GuidedStep` of every batch.

    Notes
    -----
    Source: the public code of NeuralDiffuser (Li et al., 2025). Two lines of that code are corrected. Its x0
    has :math:`1 - \bar\alpha_t` instead of its square root, and it clamps images.
    """

    guide: Callable
    feature_scale: float | Callable
    guided_share: float = 1.0
    guided_from: float = 0.0
    decoder: torch.nn.Module | None = None
    through_unet: bool = True
    blend: bool = True
    normalise: bool = False
    max_relative_step: float | None = None
    watch: Callable | None = None

    def __post_init__(self):
        if not callable(self.guide):
            raise ValueError(f"Expected a callable guide(images, image_ids), got {self.guide!r}.")
        if not callable(self.feature_scale) and not 0 <= self.feature_scale < math.inf:
            raise ValueError(
                f"Expected a feature_scale of at least 0, or a function of the timestep, got "
                f"{self.feature_scale}."
            )
        if not 0 <= self.guided_share <= 1 or not 0 <= self.guided_from < 1:
            raise ValueError(
                "Expected guided_share in [0, 1] and guided_from in [0, 1), got "
                f"{self.guided_share} and {self.guided_from}."
            )
        if self.max_relative_step is not None and not self.max_relative_step > 0:
            raise ValueError(
                f"Expected a max_relative_step above 0, or None, got {self.max_relative_step}. To "
                "leave guidance out, set feature_scale to 0."
            )

    def acts_in(self, step, n_steps):
        """Return whether a step (from 0) of the n_steps taken is guided."""
        # Rounded first: 0.29 * 100 is less than 29 in floating point.
        first, n_guided = (
            math.floor(round(share * n_steps, 9)) for share in (self.guided_from, self.guided_share)
        )
        return self.feature_scale != 0 and first <= step < first + n_guided

    def correct(self, predict_noise, noisy, abar, image_ids, step, timestep):
        r"""Return the noise predicted under the condition, and the correction to add to it.

        Parameters
        ----------
        predict_noise : callable
            Function from noisy latents (n, 4, h, w) to the noise under the condition, in the same shape. It
            is called once.
        noisy : tensor (n, 4, h, w)
        abar : tensor ()
            :math:`\bar\alpha_t`.
        image_ids : tensor (n,)
        step, timestep : int

        Returns
        -------
        noise_pred_cond : tensor (n, 4, h, w)
        correction : tensor (n, 4, h, w)
            Both have the dtype of `noisy`. Gradients are kept in at least float32.

        Raises
        ------
        ValueError
            If the guide does not give one loss for each image, or `feature_scale` is not above 0.
        FloatingPointError
            If the noise-free latents, their images, the loss, its gradient or the step length are not finite.
            The error names step and images.
        """
        scale = self.feature_scale
        scale = scale(timestep) if callable(scale) else scale
        if not 0 < scale < math.inf:
            raise ValueError(
                f"Expected a feature_scale above 0, got {scale} for timestep {timestep}. Leave "
                "steps out by guided_share and guided_from."
            )
        precise = torch.promote_types(noisy.dtype, torch.float32)
        abar, where = abar.to(precise), (step, timestep)
        advice = f"Lower feature_scale ({scale:g} here) or guided_share, or sample in float32."
        with torch.enable_grad():
            leaf = noisy.detach().to(precise).requires_grad_()
            with torch.set_grad_enabled(self.through_unet):
                noise_pred = predict_noise(leaf.to(noisy.dtype))
            original = self.pred_original_sample(leaf, noise_pred.to(precise), abar)
            check_made(original, "the guess of the noise-free latents", where, image_ids, advice)
            gamma = (1 - abar).sqrt() if self.blend else 1
            seen = gamma * original + (1 - gamma) * leaf
            if self.decoder is not None:
                try:
                    seen = features.decode_latents(self.decoder, seen, len(seen))
                except FloatingPointError as error:
                    images = f"step {step} (timestep {timestep}), of the images {image_ids.tolist()}"
                    raise FloatingPointError(f"In {images}: {error}") from error
            loss = self.guide(seen, image_ids)
            if loss.shape != (len(noisy),):
                raise ValueError(
                    f"A guide gives one loss for each image: expected ({len(noisy)},), got "
                    f"{tuple(loss.shape)}."
                )
            # Scaled before it goes back: in half precision small gradients would vanish on the
            # way through the U-Net. Each image has its own loss: the sum parts them again.
            (gradient,) = torch.autograd.grad((scale * loss).sum(), leaf)
        check_made(loss, "the loss of the guide", where, image_ids, advice)
        check_made(gradient, "the gradient of the guide's loss", where, image_ids, advice)
        correction = (1 - abar).sqrt() * gradient
        if self.normalise:
            rms = gradient.square().flatten(1).mean(dim=1).sqrt().clamp(min=1e-30)
            correction = correction * (scale / rms)[:, None, None, None]
        moved = ((1 - abar) / abar).sqrt() * correction.flatten(1).norm(dim=1)
        check_made(moved, "the length of the guide's step", where, image_ids, advice)
        length = original.detach().flatten(1).norm(dim=1)
        if self.max_relative_step is not None:
            shorter = (self.max_relative_step * length / moved.clamp(min=1e-30)).clamp(max=1)
            correction, moved = correction * shorter[:, None, None, None], moved * shorter
        if self.watch is not None:
            self.watch(GuidedStep(step, timestep, image_ids, loss.detach(), gradient / scale, moved / length))
        return noise_pred.detach(), correction.to(noisy.dtype)

    def pred_original_sample(self, noisy, noise_pred, abar):
        """Return the noise-free latents that follow from a prediction of the noise."""
        return (noisy - (1 - abar).sqrt() * noise_pred) / abar.sqrt()
