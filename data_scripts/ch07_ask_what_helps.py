"""What the first stage of ch07_share_a_space brings to a subject with one session: three controls.

Beside both networks of that script, for every subject and training, z and c:

- pictures: the first stage gives each response of the others to another of their images. It sees the
  same pictures and learns nothing about brains.
- pretrained, long: the second stage takes as many steps as training from scratch does.
- scratch, short: training from scratch takes as many steps as the second stage does.

Trainings are kept in the cache, and those of ch07_share_a_space are used where they are. On two cores a
first run takes two hours.
"""

import itertools

import numpy as np

from latentcortex.studies import jobs
from latentcortex.studies.shared_training import N_SEEDS, add_seeds, score, trainings_of

AMOUNT = "1"
TARGETS = ("z", "c")
# By name: the method of the shared space, and what is changed.
METHODS = {
    "pretrained": ("pretrained", None),
    "pictures": ("pretrained", "confused"),
    "pretrained, long": ("pretrained", "long"),
    "scratch": ("scratch", None),
    "scratch, short": ("scratch", "short"),
}


def make(study, subject, seed, name, target):
    """Score what a method decodes, rescaled."""
    method, change = METHODS[name]
    trainings = trainings_of(study, change, subject)
    decoded = trainings.predictions(subject, seed, method, AMOUNT, target)
    rescaled, ids = decoded[f"{target}_rescaled"], decoded["test_image_ids"]
    scores = score(trainings, target, rescaled, ids, subject, AMOUNT)
    return {what: np.float16(values) for what, values in scores.items()}


def gather(study, load, n_seeds):
    """Stack the scores."""
    scores = jobs.stacked(load, study.subjects, range(n_seeds), METHODS, TARGETS)
    arrays = {"test_image_ids": study.image_ids, **scores}
    provenance = {
        "methods": list(METHODS),
        "sessions": AMOUNT,
        "targets": TARGETS,
        "form": "rescaled",
        "axes": ["subject", "training", "method", "target", "image (but r)"],
    }
    return {"": (arrays, provenance)}


def make_job(study, args):
    """Cut the work into parts; neighbours share a first stage."""
    axes = range(args.seeds), study.subjects, TARGETS, METHODS
    parts = [(subject, seed, name, target) for seed, subject, target, name in itertools.product(*axes)]
    described, is_slice = trainings_of(study).described(), args.seeds != N_SEEDS
    return jobs.Job(study, parts, make, lambda *given: gather(*given, args.seeds), described, is_slice)


if __name__ == "__main__":
    jobs.main(__doc__, make_job, add_seeds)
