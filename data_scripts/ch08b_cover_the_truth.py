"""Ask whether weighed drawings are as unsure as they should be, with measurements whose noise is known.

True z of test images is measured with simulated noise, such that each component has the same R2. Fifty
drawings of each image start from noise alone, under true c, and are corrected by the measurement. If they are
drawings from the posterior, the interval that holds 90 % of them also holds the truth in 90 of 100
components. The errors of the network are measured on training images under true c.

This deduction holds in one direction only: 90 in 100 can also come from drawings that are biased and too
wide. That is why their spread and the error of their mean are kept as well. For drawings from the posterior,
the mean squared error is the mean squared spread, apart from a fiftieth because the mean is that of fifty.
All combinations of guidance and R2 share the noise that drawings start from and the noise of measurements, so
they are not independent of each other. R2 0 is no measurement, so it tests the generative model alone.

Expected, written before the first run: between 85 and 95 % without classifier-free guidance, which is the
case that the mathematics is about; less with guidance, because guidance narrows what is drawn.

On two cores it takes ten minutes.
"""

import functools

import numpy as np
import torch

from latentcortex import encoding, features, nsd, sampler
from latentcortex.studies import drawings, jobs
from latentcortex.studies.targets import targets

SEED = 17
N_IMAGES, N_DRAWINGS, N_ERRORS, N_COMPONENTS = 8, 50, 100, 200
R2 = (0.0, 0.2, 0.7)  # of every component; 0 is no measurement
GUIDANCE_SCALES = (1.0, 5.0)
ENDS = 0.05, 0.95


def make(study, guidance_scale, r2, image_id):
    """Draw one image many times; return in which components the interval holds the truth, and its width."""
    preset, model = study.preset, study.model
    components, errors = _known(study, guidance_scale)
    empty = features.unconditional(model.text_encoder, model.tokenizer)
    true = targets(study, "zc", np.array([image_id]))
    x = components.of(true["z"])
    # The drawings share one measurement, as they would share one brain.
    noise = components.variances * (1 - r2) / r2 if r2 else torch.full_like(components.variances, torch.inf)
    sizes = noise.sqrt() if r2 else torch.zeros_like(noise)
    drawn = torch.randn(x.shape, generator=sampler.make_generator(int(image_id), 1, SEED))
    ids = np.arange(N_DRAWINGS)
    measurement = sampler.Measurement((x + sizes * drawn).expand(N_DRAWINGS, -1), noise, ids, components.name)
    latents = sampler.sample(
        model.unet,
        model.scheduler,
        true["c"].to(empty).expand(N_DRAWINGS, -1, -1),
        empty,
        n_steps=preset.n_steps,
        guidance_scale=guidance_scale,
        generators=[sampler.make_generator(int(image_id), 2 + k, SEED) for k in ids],
        correction=sampler.KalmanCorrection(components, (measurement,), errors),
        image_ids=ids,
        batch_size=preset.batch_size,
    )
    found = components.of(latents).numpy()
    return compare(found, x[0].numpy(), components.variances.sqrt().numpy())


def compare(found, truth, scales):
    """Return where the interval of drawings holds the truth, and their spread and error.

    Parameters
    ----------
    found : array (n_drawings, k)
        Components of the drawings.
    truth : array (k,)
    scales : array (k,)
        Standard deviations of the components over images.

    Returns
    -------
    dict of str to array (k,)
        ``covered``, and in units of `scales` ``spread``, the standard deviation of the drawings, and
        ``error``, their mean minus the truth.
    """
    # By this method, a tenth of new drawings lies outside on average, however few drawings there are.
    low, high = np.quantile(found, ENDS, axis=0, method="weibull")
    return {
        "covered": (low <= truth) & (truth <= high),
        "spread": np.float16(found.std(0) / scales),
        "error": np.float16((found.mean(0) - truth) / scales),
    }


@functools.lru_cache(maxsize=1)
def _known(study, guidance_scale):
    """Return components of z, and the errors of the network under true c, both from training images."""
    preset, model = study.preset, study.model
    subject = study.subjects[0]
    train_ids = nsd.split(study.tables[subject])[0]
    known = targets(study, "zc", train_ids)
    reduction = encoding.fit_reduction(known["z"].flatten(1), N_COMPONENTS)
    mean = reduction.mean.reshape(known["z"].shape[1:])
    components = sampler.Components(mean, reduction.directions, reduction.variances.float(), "z")
    some = np.random.default_rng(SEED).permutation(len(train_ids))[:N_ERRORS]
    empty = features.unconditional(model.text_encoder, model.tokenizer)
    timesteps = sampler.denoising_timesteps(model.scheduler, preset.n_steps)
    errors = sampler.denoising_errors(
        model.unet,
        model.scheduler,
        known["z"][some],
        known["c"][some].to(empty),
        empty,
        components=components,
        timesteps=timesteps,
        guidance_scale=guidance_scale,
        generators=[sampler.make_generator(int(image), 0, SEED) for image in train_ids[some]],
        network="mini",
        batch_size=preset.batch_size,
    )
    return components, errors


def make_job(study, _args):
    """Cut the work into parts."""
    jobs.check_simulated(study, "Enough true z to draw an image fifty times")
    rng = np.random.default_rng(SEED)
    ids = np.sort(rng.choice(study.image_ids, min(N_IMAGES, len(study.image_ids)), replace=False)).tolist()
    parts = [(scale, r2, image) for scale in GUIDANCE_SCALES for r2 in R2 for image in ids]
    described = study.description(*drawings.NETWORKS)

    def gather(_study, load):
        arrays = jobs.stacked(load, GUIDANCE_SCALES, R2, ids)
        axes = {"...": ["guidance scale", "R2", "image", "component"], "covered_ids": ["image"]}
        provenance = {"guidance_scales": GUIDANCE_SCALES, "r2": R2, "axes": axes}
        return {"": ({**arrays, "covered_ids": np.array(ids)}, provenance)}

    return jobs.Job(study, parts, make, gather, described)


if __name__ == "__main__":
    jobs.main(__doc__, make_job)
