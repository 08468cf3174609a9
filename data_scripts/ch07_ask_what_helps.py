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
from latentcortex.studies.shared_training import score, trainings_of

N_SEEDS = 3
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
    axes = study.subjects, range(n_seeds), METHODS, TARGETS
    parts = [load(*part) for part in itertools.product(*axes)]
    arrays = {"test_image_ids": study.image_ids}
    for what in parts[0]:
        values = np.array([part[what] for part in parts])
        arrays[what] = values.reshape(*map(len, axes), *values.shape[1:])
    provenance = {
        "methods": list(METHODS),
        "sessions": AMOUNT,
        "targets": TARGETS,
        "form": "rescaled",
        "axes": ["subject", "training", "method", "target", "image (but r)"],
    }
    return {"": (arrays, provenance)}


def add_options(parser):
    """Add the option of a slice, whose product stays in the cache."""
    parser.add_argument("--seeds", type=int, default=N_SEEDS, help="trainings of each network")


def make_job(study, args):
    """Cut the work into parts; neighbours share a first stage."""
    axes = range(args.seeds), study.subjects, TARGETS, METHODS
    parts = [(subject, seed, name, target) for seed, subject, target, name in itertools.product(*axes)]
    described, is_slice = trainings_of(study).described(), args.seeds != N_SEEDS
    return jobs.Job(study, parts, make, lambda *given: gather(*given, args.seeds), described, is_slice)


if __name__ == "__main__":
    jobs.main(__doc__, make_job, add_options)
