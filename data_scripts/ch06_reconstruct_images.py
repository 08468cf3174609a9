"""What chapter 06 shows beside the scores of ch09: shuffles, and pictures of a few images of all subjects.

System A on every subject and every shared image; the scores of all its drawings are made by
ch09_measure_reconstructions. What was declared before the run stands in the chapter. Written are
``-shuffles`` (identification after shuffling reconstructions against originals) and ``-pictures`` (the first
drawing of a few images drawn at random). On two cores a first run takes 20 minutes, most of them drawings.
"""

import numpy as np
import torch.nn.functional as F

from latentcortex import metrics, sampler
from latentcortex.store import rows_of
from latentcortex.studies import drawings, jobs
from latentcortex.studies.recipes import RECIPES

SEED = 6
N_SHUFFLES, N_PICTURES, PICTURE_SIZE = 100, 8, 64
LOW_LEVEL = (metrics.colour_means, metrics.gabor_energy)


def picture_ids(study):
    """Choose the images that are shown."""
    rng = np.random.default_rng([SEED, 4])
    n = min(N_PICTURES, len(study.image_ids))
    return np.sort(rng.choice(study.image_ids, n, replace=False))


def make(study, subject, condition):
    """Identify after shuffling and as they are, mean of both low-level features; and the pictures."""
    images = drawings.drawings(study, subject, RECIPES[condition])
    shuffled, unshuffled = 0, 0
    for feature in LOW_LEVEL:
        pair = feature(study.originals), feature(images)
        rng = np.random.default_rng([SEED, 5])  # the same shuffles for both features
        shuffled += metrics.shuffled_identification(*pair, rng, N_SHUFFLES) / len(LOW_LEVEL)
        unshuffled += metrics.identification(*pair).mean() / len(LOW_LEVEL)
    chosen = images[rows_of(study.image_ids, picture_ids(study))]
    pictures = drawings.to_bytes(F.interpolate(chosen, PICTURE_SIZE, mode="area"))
    return {"shuffled": shuffled, "unshuffled": np.array(unshuffled), "pictures": pictures}


def gather(study, load):
    """Stack what the parts give: (subject, condition, ...)."""
    stacked = jobs.stacked(load, study.subjects, sampler.CONDITIONS)
    provenance = {"subjects": study.subjects, "conditions": sampler.CONDITIONS}
    shuffles = {name: stacked[name] for name in ("shuffled", "unshuffled")}
    pictures = {"image_ids": picture_ids(study), "pictures": np.moveaxis(stacked["pictures"], 2, 0)}
    axes = {"shuffled": ["subject", "condition", "shuffle"]}, {"pictures": ["image", "subject", "condition"]}
    return {
        "-shuffles": (shuffles, {**provenance, "axes": axes[0]}),
        "-pictures": (pictures, {**provenance, "axes": axes[1]}),
    }


def make_job(study, args):
    """Cut the work into parts."""
    parts = [(subject, condition) for subject in study.subjects for condition in sampler.CONDITIONS]
    described = study.description(*drawings.NETWORKS, seed=SEED)
    return jobs.Job(study, parts, make, gather, described, is_slice=args.images is not None)


if __name__ == "__main__":
    jobs.main(__doc__, make_job, jobs.add_images)
