"""What correcting by decoded z, weighed by its noise, brings on validation images, at every strength.

100 validation images of each subject are drawn once in each way and at each strength. z comes from the
preset's region, and c from all of visual cortex. Decoders, R2 and the errors of the network come from other
training images. No test image is looked at. The ways:

- plain: img2img, as in system A.
- weighed: the correction with the noise as estimated (a trust of 1). Trust N: with N times the trust.
- z of all: the z that measures is decoded from all of visual cortex.
- one R2, by the schedule: every component has the same R2, or the network's errors follow from the share of
  noise alone. Both ask where a gain comes from.
- guided: guidance by decoded g at the preset's strength, in place of the correction, and together with it.

Expected, written before the first run, after a trial on subjects 1 to 4 that is told in the chapter:

1. Weighed raises centred PixCorr and low-level identification over plain at each strength, the more the more
   noise there is; at 0.9 by .05 or more.
2. Kinds go either way.
3. One R2 and the schedule's errors bring less than half of the gain.
4. Guided brings less than weighed.

On two cores a subject takes an hour and a half.
"""

import numpy as np

from latentcortex.sampler import Guidance, feature_guide
from latentcortex.studies import decoding, drawings, jobs, validation, weighing
from latentcortex.studies.recipes import Recipe
from latentcortex.studies.responses import VISUAL_CORTEX
from latentcortex.studies.weighing import Weighing

STRENGTHS = (0.45, 0.6, 0.75, 0.9, 1.0)
WAYS = {
    "plain": None,
    "weighed": Weighing(c_region="all"),
    **{f"trust {trust:g}": Weighing(c_region="all", trust=trust) for trust in (0.3, 2.0, 3.0, 10.0)},
    "z of all": Weighing("all", "all"),
    "one R2": Weighing(c_region="all", r2="one"),
    "by the schedule": Weighing(c_region="all", errors="schedule"),
    "guided": None,
    "guided, weighed": Weighing(c_region="all"),
}


def make(study, subject, n_images, way, strength):
    """Draw the validation images in one way, and score them: (n_images, n_scores)."""
    preset, held = study.preset, validation.validation_of(study, subject, n_images)
    z = held.decoded("z", preset.rescale)
    fitted = decoding.fit(study, subject, "c", held.fit_ids, preset.rescale, region=VISUAL_CORTEX)
    c = decoding.decode(study, subject, fitted, held.image_ids)
    guidance = correction = None
    if way.startswith("guided"):
        guide = feature_guide(study.guide, held.targets("decoded"))
        strengths = {"feature_scale": preset.feature_scale, "guided_share": preset.guided_share}
        guidance = Guidance(guide, **strengths, decoder=study.model.vae)
    if (asked := WAYS[way]) is not None:
        known = weighing.knowledge(
            study, subject, asked.z_region, asked.c_region, tuple(held.fit_ids.tolist())
        )
        betas = decoding.read(study, subject).showings(known.region, "all", held.image_ids)
        correction = weighing.correction(study, known, asked, betas, held.image_ids)
    images = drawings.reconstruct(
        study, Recipe(), 0, held.image_ids, z, c, guidance, strength=strength, correction=correction
    )
    scores = held.scorer(images, held.mean_image)
    return {"image_ids": held.image_ids, "scores": np.float16(scores)}


def make_job(study, args):
    """Cut the work into parts."""
    subjects, is_slice = validation.asked(study, args, study.preset.subjects)
    n_images = args.validation_images
    parts = [
        (subject, n_images, way, strength) for subject in subjects for way in WAYS for strength in STRENGTHS
    ]
    described = study.description(*drawings.NETWORKS, "judge", "alexnet", n_validation=n_images)

    def gather(study, load):
        found = jobs.stacked(load, subjects, [n_images], WAYS, STRENGTHS)
        names = validation.validation_of(study, subjects[0], n_images).scorer.names
        axes = {"scores": ["subject", "way", "strength", "validation image", "score"]}
        provenance = {"subjects": subjects, "ways": list(WAYS), "strengths": STRENGTHS, "scores": names}
        return {"": ({"scores": found["scores"][:, 0]}, {**provenance, "axes": axes})}

    return jobs.Job(study, parts, make, gather, described, is_slice)


if __name__ == "__main__":
    jobs.main(__doc__, make_job, validation.add_options)
