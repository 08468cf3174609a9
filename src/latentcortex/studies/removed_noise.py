"""Compute z_c of images, by adding noise to the true z and removing it under the true c."""

from dataclasses import dataclass

import torch

from latentcortex import features, sampler
from latentcortex.studies.image_rows import kept_by_setting
from latentcortex.studies.noisy_features import SEED_OF_NOISE
from latentcortex.studies.targets import targets


@dataclass(frozen=True)
class Removal:
    """Set how noise is added to z and removed again.

    Attributes
    ----------
    n_removed : int
        Number of steps taken, which are the last of `n_steps`. Noise is added at the first of them.
    n_steps : int
        Steps from pure noise to an image.
    guidance_scale : float
    draw : int
        Number of the draw of noise, as in `noisy_features.noise_of`.
    with_text : bool
        Whether noise is removed under the true c. Otherwise it is removed under the empty caption.
    """

    n_removed: int
    n_steps: int
    guidance_scale: float
    draw: int = 0
    with_text: bool = True

    def timesteps(self, scheduler):
        """Return the timesteps of the removal, from most noise to least."""
        return sampler.denoising_timesteps(scheduler, self.n_steps)[-self.n_removed :]

    def share(self, scheduler):
        """Return the share of noise that is added, sqrt(1 - abar)."""
        return features.noise_share(scheduler, int(self.timesteps(scheduler)[0]))


@torch.no_grad()
def remove(study, removal, image_ids):
    """Return the latents at each step of a removal, float16 tensors (n, 4, h, w) by name.

    ``z_t K`` is the latent before step K, ``x0 K`` is the estimate of the noise-free latent at step K, and
    ``z_c`` is the final latent.
    """
    z, c = targets(study, "zc", image_ids).values()
    model, found = study.model, {}
    empty = features.unconditional(model.text_encoder, model.tokenizer)
    generators = [sampler.make_generator(int(i), removal.draw, SEED_OF_NOISE) for i in image_ids]

    def keep(step, _timestep, latents, pred_original_sample):
        found[f"x0 {step}"], found[f"z_t {step + 1}"] = pred_original_sample, latents

    made = sampler.sample(
        model.unet,
        model.scheduler,
        (c if removal.with_text else empty.float().cpu().expand_as(c)).to(empty),
        empty,
        latents=z,
        strength=(removal.n_removed + 0.5) / removal.n_steps if removal.n_removed < removal.n_steps else 1.0,
        n_steps=removal.n_steps,
        guidance_scale=removal.guidance_scale if removal.with_text else 1.0,
        generators=generators,
        image_ids=[int(i) for i in image_ids],
        callback=keep,
        batch_size=study.preset.batch_size,
    )
    del found[f"z_t {removal.n_removed}"]  # the end, which has a name of its own
    return {name: of.half().cpu() for name, of in found.items()} | {"z_c": made.half().cpu()}


def removed(study, removal, names, image_ids):
    """Return z_c or intermediate latents of images; latents of new images are computed and kept first.

    Parameters
    ----------
    study : Study
    removal : Removal
    names : sequence of str
        Names among ``"z_c"``, ``"x0 0"`` to ``"x0 K"`` and ``"z_t 1"`` to ``"z_t K"``, with K = n_removed -
        1.
    image_ids : int array (n,)

    Returns
    -------
    dict of str to float32 array (n, 4, h, w)

    Raises
    ------
    ValueError
        If a name does not exist.
    """
    steps = range(removal.n_removed)
    known = ["z_c", *(f"x0 {k}" for k in steps), *(f"z_t {k}" for k in steps[1:])]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(
            f"There is no {unknown[0]} in {removal.n_removed} steps. There are: {', '.join(known)}."
        )
    return kept_by_setting(study, "targets-removed", remove, removal, names, image_ids)
