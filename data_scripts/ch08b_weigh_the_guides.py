"""What guides bring that know their noise, and what a drawn c brings, on validation images.

100 validation images of each of two subjects are drawn once in each way. All ways share z from the preset's
region, the noise and the strength. c comes from all of visual cortex. Decoders, encoding models and residuals
come from other training images. The ways:

- plain: no guide. Weighed: corrected by decoded z at a trust of 1, see ch08b_choose_weighing.
- g, published: decoded g at the preset's strength of guidance, in the preset's share of the steps.
- g, precise: the same g and the same share of the steps, by `sampler.PreciseGuidance`, whose strength follows
  from the residuals. In all steps: as the mathematics asks for, at several times the cost. Independent: as if
  the residuals of components did not depend on each other.
- brain, published and precise: the same two for responses, by one encoding model. Published has the strength
  that was chosen for g, because none was chosen for responses.
- c drawn: one c for each drawing, from what the decoder leaves open. c as predicted: without the rescaling
  that makes predictions as large as true c.

Expected, written before the first run:

1. In the same share of the steps, precise g brings more in centred PixCorr than published g, and less than
   the correction by z, which costs less. In all steps it brings more.
2. Independent brings less than precise, because components repeat each other.
3. For responses, precise brings more than published.
4. Drawn c names fewer kinds than c that is rescaled, because a draw adds noise, but more than c as predicted.

On two cores it takes half an hour, most of it for residuals.
"""

from dataclasses import replace

import numpy as np
import torch

from latentcortex import sampler
from latentcortex.studies import (
    decoding,
    drawings,
    jobs,
    validation,
    weighing,
    weighing_features,
    weighing_responses,
)
from latentcortex.studies.recipes import Recipe
from latentcortex.studies.responses import VISUAL_CORTEX

SUBJECTS, STRENGTH = (1, 2), 0.75
# Of all scores, those that are kept.
SCORES = ("centred PixCorr", "colours in cells", "contrast energy", "setting", "kinds")
SCORES = (*SCORES, "kinds with colours", "kinds with places", "kinds, second judge")
WAYS = ("plain", "weighed", "g, published", "g, precise", "g, precise in all steps", "g, independent")
WAYS = (*WAYS, "brain, published", "brain, precise", "c drawn", "c as predicted")


def make(study, subject, n_images, way):
    """Draw the validation images in one way, and score them: (n_images, n_scores)."""
    held = validation.validation_of(study, subject, n_images)
    ids, learned = held.image_ids, tuple(held.fit_ids.tolist())
    betas = weighing.responses_to(study, subject, ids)
    shared = study, subject, weighing.Weighing(c_region="all"), betas, ids, learned
    in_cortex = betas[:, decoding.read(study, subject).mask(VISUAL_CORTEX)]
    z, c = weighing.decoded(*shared)
    what, _, how = way.partition(", ")
    changes = {}
    if way == "weighed":
        changes["correction"] = weighing.correction_of(*shared)
    elif how:
        guidance_by = {"g": _by_features, "brain": _by_responses}[what]
        changes["guidance"] = guidance_by(study, subject, held, in_cortex, how)
    elif way != "plain":
        known = weighing_features.condition_knowledge(study, subject, "all", learned)
        predicted = known.decoder.predict(in_cortex, image_ids=ids).float()
        c = weighing_features.drawn_c(known, in_cortex, ids) if way == "c drawn" else predicted
    with torch.no_grad():
        images = drawings.reconstruct(study, Recipe(), 0, ids, z, c, strength=STRENGTH, **changes)
    return {"image_ids": ids, "scores": np.float16(held.scorer(images, held.mean_image))}


def _by_features(study, subject, held, betas, how):
    """Return the guidance by decoded g."""
    if how == "published":
        return _published(study, sampler.feature_guide(study.guide, held.targets("decoded")))
    learned = tuple(held.fit_ids.tolist())
    known = weighing_features.feature_knowledge(study, subject, c_region="all", train_ids=learned)
    if how == "independent":
        known = replace(known, residuals=known.residuals.independent())
    share = 1.0 if how == "precise in all steps" else study.preset.guided_share
    return weighing_features.feature_guidance(study, known, betas, held.image_ids, guided_share=share)


def _by_responses(study, subject, held, betas, how):
    """Return the guidance by measured responses."""
    learned = tuple(held.fit_ids.tolist())
    known = weighing_responses.response_knowledge(study, subject, "all", learned)
    if how == "published":
        return _published(study, sampler.brain_guide(known.reader, betas, held.image_ids))
    share = study.preset.guided_share
    return weighing_responses.response_guidance(study, known, betas, held.image_ids, guided_share=share)


def _published(study, guide):
    """Return guidance of the preset's strength, in the preset's share of the steps."""
    preset, decoder = study.preset, study.decoders["full"]
    return sampler.Guidance(guide, preset.feature_scale, preset.guided_share, decoder=decoder)


def make_job(study, args):
    """Cut the work into parts."""
    jobs.check_simulated(study, "What judges name in a drawing")
    subjects, is_slice = validation.asked(study, args, SUBJECTS)
    n_images = args.validation_images
    parts = [(subject, n_images, way) for subject in subjects for way in WAYS]
    described = study.description(*drawings.NETWORKS, "judge", n_validation=n_images)

    def gather(study, load):
        scores = np.array([[load(subject, n_images, way)["scores"] for way in WAYS] for subject in subjects])
        names = validation.validation_of(study, subjects[0], n_images).scorer.names
        scores = scores[..., [names.index(name) for name in SCORES]]
        axes = {"scores": ["subject", "way", "validation image", "score"]}
        how = {"ways": WAYS, "scores": SCORES, "strength": STRENGTH}
        return {"": ({"scores": scores}, {"subjects": subjects, **how, "axes": axes})}

    return jobs.Job(study, parts, make, gather, described, is_slice)


if __name__ == "__main__":
    jobs.main(__doc__, make_job, validation.add_options)
