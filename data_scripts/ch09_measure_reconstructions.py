"""Scores of the preset's protocol for system A, its baselines and its ceilings, on every shared image.

For every subject. Drawings and encoding models are made where they are missing; on two cores a first run
takes some two hours, most of them drawings. Written are scores of each image, and ``-pictures`` of a few
images of the first subject.
"""

import numpy as np
import torch

from latentcortex import metrics, nsd, sampler
from latentcortex.metrics.checks import standardise
from latentcortex.store import rows_of
from latentcortex.studies import decoding, drawings, encoders, jobs, scores
from latentcortex.studies.recipes import BOTTLENECKS, RECIPES
from latentcortex.studies.targets import train_mean_image

SEED = 9
N_DRAWS, N_PICTURES = 5, 6
BLURS = (1, 2, 4, 8)  # standard deviations in pixels
# Rows of the tables and how many drawings of each are scored.
ROWS = {
    **dict.fromkeys(sampler.CONDITIONS, N_DRAWS),
    "decoded_z": 1,
    "mean_image": 1,
    "random_training": N_DRAWS,
    "no_brain": N_DRAWS,
    "shuffled_brain": 1,
    **dict.fromkeys(("nearest_z", "nearest_c", "nearest"), 1),
    **{f"blurred_{sigma}": 1 for sigma in BLURS},
    "one_showing": 1,
    **{f"bottleneck_{k}": 1 for k in BOTTLENECKS},
    "in_span": 1,
    **dict.fromkeys(("true_z", "true_c", "true_both"), 2),
    "vae": 1,
    "shuffled_pairs": 1,  # last, since it needs decoders of its own
}
PICTURED = ("no_brain", "nearest", *sampler.CONDITIONS, "decoded_z", "blurred_2", "true_both", "vae")
N_WAYS = (2, 5, 10, 20, 50, 100, 200)
SHOWINGS = {"mean of all showings": "all", "first showing": "first", "mean of the others": "others"}
ORIGINALS = "originals"  # a row of the responses alone
TOLERANCE = {"largest": 0.02, "mean": 0.01}


def nearest_rows(study, subject, name):
    """Return the training image, as a row of the training ids, that decoded features come nearest to."""
    pairs = {}
    for target in "zc":
        true = decoding.linear(study, subject, target).true_train
        decoded = decoding.decoded(study, subject, target)
        # What all images share is subtracted, or the mean would decide.
        mean = true.flatten(1).mean(0).numpy()
        pairs[target] = [rows.flatten(1).numpy() - mean for rows in (true, decoded)]
    if name == "nearest":  # the sum of both correlations
        unit = {target: [standardise(target, rows) for rows in pair] for target, pair in pairs.items()}
        pairs[name] = [np.concatenate([unit["z"][k], unit["c"][k]], axis=1) for k in (0, 1)]
    return metrics.nearest_training_rows(*pairs[name.removeprefix("nearest_")])[0]


def images_of(study, subject, row, repeat=0):
    """Return the images of one row of the tables: (n, 3, h, w)."""
    n = len(study.image_ids)
    if row == "mean_image":
        return train_mean_image(study, subject).expand(n, -1, -1, -1)
    if row.startswith("blurred_"):
        blurred = metrics.blurred(study.originals, float(row.split("_")[1]))
        return torch.from_numpy(blurred).float().clamp(0, 1)
    if row in RECIPES:
        return drawings.drawings(study, subject, RECIPES[row], repeat)
    train_ids = decoding.linear(study, subject, "z").train_ids
    if row == "random_training":
        rows = metrics.random_training_rows(len(train_ids), n, np.random.default_rng([SEED, repeat]))
    else:
        rows = nearest_rows(study, subject, row)
    return torch.from_numpy(nsd.images(study.root, train_ids[rows], study.preset.image_size))


def retrieved(study, subject):
    """Retrieve among all test images, by decoded z and c: (n, 2 targets, 2 directions)."""
    found = []
    for name, true in zip("zc", decoding.true(study, "z", "c"), strict=True):
        pair = (rows.flatten(1).numpy() for rows in (true, decoding.decoded(study, subject, name)))
        found.append(metrics.retrieval(*pair, len(study.image_ids)))
    return np.moveaxis(np.array(found), -1, 0)


def make(study, subject, row):
    """Score one row of the tables for a subject."""
    scorer, showings = scores.scorer_of(study), list(SHOWINGS.values())
    if row == ORIGINALS:
        brain = encoders.brain_correlations(study, subject, scorer.true, showings)
        return {"brain": brain, "retrieved": retrieved(study, subject)}
    images = (images_of(study, subject, row, repeat) for repeat in range(ROWS[row]))
    found, consistency, extracted = scorer.of_drawings(images, train_mean_image(study, subject))
    keys = [scorer.key(name) for name in encoders.JUDGED_BY]
    n_ways = [k for k in N_WAYS if k <= len(study.image_ids)]
    curve = [
        [metrics.identification(scorer.true[key], extracted[key], n_way=n) for n in n_ways] for key in keys
    ]
    return {
        "scores": found,
        "curve": np.moveaxis(np.array(curve), -1, 0),
        "consistency": consistency,
        "brain": encoders.brain_correlations(study, subject, extracted, showings),
    }


def gather(study, load):
    """Stack what the parts give; the axes stand in the provenance."""
    rows = {row: [load(subject, row) for subject in study.subjects] for row in (*ROWS, ORIGINALS)}

    def stack(name, some, change=lambda values: values):
        return np.stack([np.stack([change(one[name]) for one in rows[row]], axis=1) for row in some], axis=2)

    arrays = {name: stack(name, ROWS) for name in ("curve", "consistency")}
    # All drawings of the three conditions, the mean over drawings of everything.
    arrays["scores"] = stack("scores", ROWS, lambda values: values.mean(axis=1))
    arrays["drawings"] = stack("scores", sampler.CONDITIONS)
    arrays["brain"] = stack("brain", rows)
    arrays["retrieved"] = np.stack([one["retrieved"] for one in rows[ORIGINALS]], axis=1)
    rng = np.random.default_rng([SEED, 100])
    chosen = np.sort(rng.choice(study.image_ids, min(N_PICTURES, len(study.image_ids)), replace=False))
    at, subject = rows_of(study.image_ids, chosen), study.subjects[0]
    pictures = [drawings.to_bytes(images_of(study, subject, row)[at]) for row in PICTURED]
    provenance = {
        "protocol": study.preset.protocol,
        "subjects": study.subjects,
        "rows": list(ROWS),
        "scores": scores.scorer_of(study).names,
        "n_ways": [k for k in N_WAYS if k <= len(study.image_ids)],
        "curves": encoders.JUDGED_BY,
        "showings": list(SHOWINGS),
        "axes": {
            "scores": ["image", "subject", "row", "score"],
            "drawings": ["image", "subject", "condition", "drawing", "score"],
            "curve": ["image", "subject", "row", "layer", "ways"],
            "consistency": ["image", "subject", "row", "among drawings, to truth"],
            "brain": ["image", "subject", "row, originals last", "showings"],
            "retrieved": ["image", "subject", "z, c", "images, brains"],
        },
        "tolerance": TOLERANCE,
    }
    halves = {name: values.astype(np.float16) for name, values in arrays.items()}
    return {
        "": ({"image_ids": study.image_ids, **halves}, provenance),
        "-pictures": (
            {"image_ids": chosen, "pictures": np.stack(pictures, axis=1)},
            {"rows": PICTURED, "subject": subject},
        ),
    }


def make_job(study, args):
    """Cut the work into parts."""
    parts = [(subject, row) for subject in study.subjects for row in (*ROWS, ORIGINALS)]
    described = study.description(*drawings.NETWORKS, instruments=study.weights("judge", "alexnet"))
    return jobs.Job(study, parts, make, gather, described, is_slice=args.images is not None)


if __name__ == "__main__":
    jobs.main(__doc__, make_job, jobs.add_images)
