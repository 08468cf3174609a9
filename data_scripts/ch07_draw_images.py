"""What the decoders of ch07_share_a_space are worth as pictures: drawings of some shared images, scored.

Fifty of the shared images, drawn at random, from z and c as each method decodes them from 1, 2 and all
sessions of the target subject (first training of each), with the same noise, scored by the preset's
protocol. Decoders that are missing in the cache are trained first. Two files are written: scores of each
image, and ``-pictures`` of a few of the first subject. On two cores a run takes 20 minutes with decoders
that are there.
"""

import numpy as np

from latentcortex.studies import drawings, jobs
from latentcortex.studies.recipes import Recipe
from latentcortex.studies.scores import scorer_of
from latentcortex.studies.shared_training import AMOUNTS, trainings_of
from latentcortex.studies.targets import train_mean_image

SEED = 77
N_IMAGES, N_PICTURES = 50, 6
METHODS = ("ridge", "scratch", "pretrained")
TOLERANCE = {"mean": 0.01}  # of means over images: sums are rounded differently between machines


def drawn_ids(study):
    """Choose the images that are drawn."""
    rows = np.random.default_rng([SEED, 1]).permutation(len(study.image_ids))[:N_IMAGES]
    return study.image_ids[np.sort(rows)]


def make(study, subject, method, amount):
    """Draw the images from what a method decodes, and score the drawings."""
    ids = drawn_ids(study)
    images = drawings.drawings(study, subject, Recipe(f"network {method} {amount}"), image_ids=ids)
    scores = scorer_of(study, tuple(ids))(images, train_mean_image(study, subject))
    return {"image_ids": ids, "scores": np.float16(scores), "images": drawings.to_bytes(images)}


def gather(study, load):
    """Stack the scores, and some of the first subject's pictures."""
    ids, subjects = drawn_ids(study), study.subjects
    parts = jobs.stacked(load, subjects, METHODS, AMOUNTS)
    chosen = np.random.default_rng([SEED, 2]).permutation(len(ids))[:N_PICTURES]
    pictures = parts["images"][0][:, :, chosen]
    provenance = {
        "subjects": subjects,
        "methods": METHODS,
        "amounts": AMOUNTS,
        "scores": scorer_of(study, tuple(ids)).names,
        "tolerance": TOLERANCE,
    }
    scored = {"image_ids": ids, "scores": np.moveaxis(parts["scores"], 3, 0)}
    axes = {"scores": ["image", "subject", "method", "sessions", "score"]}
    shown = {"picture_ids": ids[chosen], "pictures": pictures}
    axes_shown = {"pictures": ["method", "sessions", "image"]}
    return {
        "": (scored, {**provenance, "axes": axes}),
        "-pictures": (shown, {**provenance, "axes": axes_shown}),
    }


def make_job(study, _):
    """Cut the work into parts."""
    parts = [(subject, m, a) for subject in study.subjects for m in METHODS for a in AMOUNTS]
    trained = trainings_of(study).described()
    networks = [*drawings.NETWORKS, "judge", "alexnet"]
    return jobs.Job(study, parts, make, gather, study.description(*networks, seed=SEED, trained=trained))


if __name__ == "__main__":
    jobs.main(__doc__, make_job)
