"""What correcting by decoded z, weighed by its noise, brings on validation images, at every strength.

100 validation images of each subject are drawn once in each way and at each strength. z comes from the
preset's region, and c from all of visual cortex. Decoders, R2 and the errors of the network come from other
training images. No test image is looked at. The ways:

- published: img2img, as in system A, with the preset's regions. Plain: c from all of visual cortex. Plain,
  z of all: both from all of visual cortex.
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

On two cores it takes an hour.
"""

from dataclasses import dataclass

import numpy as np

from latentcortex.sampler import Guidance, feature_guide
from latentcortex.studies import decoding, drawings, jobs, validation, weighing
from latentcortex.studies.recipes import Recipe
from latentcortex.studies.responses import VISUAL_CORTEX
from latentcortex.studies.weighing import Weighing


@dataclass(frozen=True)
class Way:
    """Describe one way to draw: where z and c come from, by what is weighed, and whether g guides."""

    weighing: Weighing | None = None
    is_guided: bool = False
    z_region: str = "preset"
    c_region: str = "all"


# Of all scores, those that are kept.
SCORES = ("centred PixCorr", "colours in cells", "contrast energy", "setting", "kinds")
SCORES = (*SCORES, "kinds with colours", "kinds with places", "kinds, second judge")
STRENGTHS = (0.45, 0.6, 0.75, 0.9, 1.0)
MIDDLE = STRENGTHS[1:4]
WEIGHED = Weighing(c_region="all")
WAYS = {
    "published": Way(c_region="preset"),
    "plain": Way(),
    "plain, z of all": Way(z_region="all"),
    "weighed": Way(WEIGHED),
    **{f"trust {trust:g}": Way(Weighing(c_region="all", trust=trust)) for trust in (0.3, 3.0, 10.0)},
    "z of all": Way(Weighing("all", "all")),
    "one R2": Way(Weighing(c_region="all", r2="one")),
    "by the schedule": Way(Weighing(c_region="all", errors="schedule")),
    "guided": Way(is_guided=True),
    "guided, weighed": Way(WEIGHED, is_guided=True),
}
# Ways that are drawn at every strength.
FRONTIER = ("plain", "weighed", "trust 3", "trust 10", "guided", "guided, weighed")
# Ways whose trust may be chosen (see `weighed_setting.choose`).
TRUSTS = {way: of.weighing.trust for way, of in WAYS.items() if way == "weighed" or way.startswith("trust")}
CELLS = [(way, s) for way in WAYS for s in (STRENGTHS if way in FRONTIER else MIDDLE)]


def make(study, subject, n_images, name, strength):
    """Draw the validation images in one way, and score them: (n_images, n_scores)."""
    preset, way = study.preset, WAYS[name]
    held = validation.validation_of(study, subject, n_images)
    z = _decoded(study, subject, held, "z", way.z_region)
    c = _decoded(study, subject, held, "c", way.c_region)
    guidance = correction = None
    if way.is_guided:
        guide = feature_guide(study.guide, held.targets("decoded"))
        guidance = Guidance(guide, preset.feature_scale, preset.guided_share, decoder=study.model.vae)
    if (asked := way.weighing) is not None:
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


def _decoded(study, subject, held, name, region):
    """Return z or c of the validation images, decoded from the preset's regions or from all."""
    if region == "preset":
        return held.decoded(name, study.preset.rescale)
    fitted = decoding.fit(study, subject, name, held.fit_ids, study.preset.rescale, region=VISUAL_CORTEX)
    return decoding.decode(study, subject, fitted, held.image_ids)


def make_job(study, args):
    """Cut the work into parts."""
    jobs.check_simulated(study, "What judges name in a drawing")
    subjects, is_slice = validation.asked(study, args, study.preset.subjects)
    n_images = args.validation_images
    parts = [(subject, n_images, *cell) for subject in subjects for cell in CELLS]
    described = study.description(*drawings.NETWORKS, "judge", n_validation=n_images)

    def gather(study, load):
        scores = np.array(
            [[load(subject, n_images, *cell)["scores"] for cell in CELLS] for subject in subjects]
        )
        names = validation.validation_of(study, subjects[0], n_images).scorer.names
        scores = scores[..., [names.index(name) for name in SCORES]]
        axes = {"scores": ["subject", "cell", "validation image", "score"]}
        provenance = {"subjects": subjects, "cells": CELLS, "trusts": TRUSTS, "scores": SCORES, "axes": axes}
        return {"": ({"scores": scores}, provenance)}

    return jobs.Job(study, parts, make, gather, described, is_slice)


if __name__ == "__main__":
    jobs.main(__doc__, make_job, validation.add_options)
