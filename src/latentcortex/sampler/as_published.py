"""Show what two deviations in NeuralDiffuser's public code do to the images.

Neither is meant for use. The book draws with them once, next to the corrected version.
"""

import math

import torch
import torch.nn.functional as F
from torchvision.transforms.functional import gaussian_blur

from latentcortex.features.checks import as_tensor
from latentcortex.sampler.guidance import Guidance


class GuidanceWithBeta(Guidance):
    r"""Guidance whose noise-free latents are computed with beta instead of its square root.

    .. math:: x_0 = (z_t - (1 - \bar\alpha_t) \, \epsilon_\theta(z_t, c)) / \sqrt{\bar\alpha_t}

    These latents still contain noise: :math:`\sqrt{1 - \bar\alpha_t} - (1 - \bar\alpha_t)`, divided by the
    square root of :math:`\bar\alpha_t`. In the public code the correct line stands above it, commented out.
    """

    def pred_original_sample(self, noisy, noise_pred, abar):
        """Return the latents that the guide looks at."""
        return (noisy - (1 - abar) * noise_pred) / abar.sqrt()


class SelfAttentionGuided:
    r"""A U-Net with self-attention guidance, which the public code switches on by default.

    Where the middle of the U-Net attends most, the predicted image is blurred, noised again and passed
    through the U-Net once more. With :math:`\epsilon'_\varnothing` from this third pass,

    .. math:: \epsilon_\theta \leftarrow \epsilon_\theta
              + s \, (\epsilon_\varnothing - \epsilon'_\varnothing).

    It can replace a U-Net in `sample`, but only without other guidance and with a `guidance_scale` above 1.
    It must know which rows belong to the empty caption.

    Parameters
    ----------
    unet : UNet2DConditionModel
    scheduler : a diffusers scheduler with ``alphas_cumprod``
    sag_scale : float
        s, at least 0. The public code's default is 0.75, also in the drawings that it calls unguided.

    Raises
    ------
    ValueError
        If `sag_scale` is out of its range. A call raises it if the two halves of the rows are not the same
        latents, which happens without classifier-free guidance.

    Notes
    -----
    Source: Hong et al. (2023), "Improving sample quality of diffusion models using self-attention
    guidance", as in diffusers.
    """

    def __init__(self, unet, scheduler, sag_scale=0.75):
        if not 0 <= sag_scale < math.inf:
            raise ValueError(f"Expected a sag_scale of at least 0, got {sag_scale}.")
        self.unet, self.scheduler, self.sag_scale = unet, scheduler, sag_scale
        self.config = unet.config

    def __call__(self, latents, timestep, encoder_hidden_states):
        """Return the predicted noise (2n, 4, h, w), with the n rows of the empty caption first."""
        if len(latents) % 2 or not torch.equal(*latents.chunk(2)):
            raise ValueError(
                "Self-attention guidance needs each image twice, first under the empty caption. Use a "
                "guidance_scale above 1, and no other guidance."
            )
        attention = self.unet.mid_block.attentions[0].transformer_blocks[0].attn1
        attended = []

        def keep(module, arguments, keywords):
            hidden = arguments[0] if arguments else keywords["hidden_states"]
            query, key = (module.head_to_batch_dim(layer(hidden)) for layer in (module.to_q, module.to_k))
            attended.append(module.get_attention_scores(query, key))

        hook = attention.register_forward_pre_hook(keep, with_kwargs=True)
        try:
            output = self.unet(latents, timestep, encoder_hidden_states=encoder_hidden_states)
        finally:
            hook.remove()
        n = len(latents) // 2
        noisy, noise, empty = latents[:n], output.sample[:n], encoder_hidden_states[:n]
        abar = self.scheduler.alphas_cumprod[timestep].to(latents)
        original = (noisy - (1 - abar).sqrt() * noise) / abar.sqrt()
        # How much each place is attended to, over heads and places that attend: on average 1.
        weight = attended[0].unflatten(0, (len(latents), -1)).mean(1).sum(1)[:n]
        size = latents.shape[-2:]
        shrink = round((size[0] * size[1] / weight.shape[1]) ** 0.5)
        mask = (weight > 1).reshape(n, 1, size[0] // shrink, size[1] // shrink).to(latents)
        mask = F.interpolate(mask, size)
        degraded = mask * gaussian_blur(original, 9, 1.0) + (1 - mask) * original
        degraded = abar.sqrt() * degraded + (1 - abar).sqrt() * noise
        again = self.unet(degraded, timestep, encoder_hidden_states=empty).sample
        output.sample += self.sag_scale * (noise - again).repeat(2, 1, 1, 1)
        return output


def noise_left_by_beta(abar):
    r"""Return how much noise `GuidanceWithBeta` leaves in the latents, in units of the noise.

    .. math:: (\sqrt{1 - \bar\alpha} - (1 - \bar\alpha)) / \sqrt{\bar\alpha}

    Parameters
    ----------
    abar : array or tensor
        :math:`\bar\alpha`, in (0, 1).

    Returns
    -------
    tensor of the same shape

    Raises
    ------
    ValueError
        If a value is not in (0, 1).
    """
    abar = as_tensor(abar, "abar")
    if not ((abar > 0) & (abar < 1)).all():
        raise ValueError(f"Expected abar in (0, 1), got values from {abar.min():.3g} to {abar.max():.3g}.")
    return ((1 - abar).sqrt() - (1 - abar)) / abar.sqrt()
