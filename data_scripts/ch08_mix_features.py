"""Draw a few images under mixtures of decoded and true features, at several strengths, for a page to explore.

Each cell of the grid guides with (1 - share) times the decoded features plus share times the true ones, at
one feature_scale and one guided_share, with the limit of a step's length that ch08_choose_guidance chose for
true features. Drawing without a guide is the first cell: there neither share nor guided_share matters. The
images are drawn at random and no drawing is chosen for its looks. On one core it takes about ten minutes.
"""

import itertools

import numpy as np
import torch

from latentcortex import metrics, sampler
from latentcortex.store import rows_of
from latentcortex.studies import drawings, guides, jobs, mosaics, results, scores
from latentcortex.studies.recipes import Guide, Recipe

SEED = 8
N_IMAGES = 4
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of true features
FEATURE_SCALES = (100.0, 300.0, 1000.0, 3000.0)
GUIDED_SHARES = (0.2, 0.5, 1.0)
NO_GUIDE = (0.0, 0.0, 0.0)
CELLS = (NO_GUIDE, *itertools.product(SHARES, FEATURE_SCALES, GUIDED_SHARES))
QUALITY = 60  # of the WebP file, out of 100
SCORE = "AlexNet(5)"


def asked(study):
    """Choose the images: ids, the same on every machine."""
    return np.random.default_rng([SEED, 300]).permutation(study.image_ids)[:N_IMAGES]


def limit_of(study):
    """Return the limit of a step's length that was chosen for true features, None for none."""
    product = results.product("ch08_choose_guidance", study.root, "-limit", study.preset)
    limit = float(product["true_max_relative_step"][0]) if product else np.inf
    return None if np.isinf(limit) else limit


def recipe_of(limit, share, feature_scale, guided_share):
    """Return the recipe of a cell."""
    if feature_scale == 0:
        return Recipe()
    return Recipe(
        guide=Guide(
            "features",
            f"mixed {share}",
            **{"feature_scale": feature_scale, "guided_share": guided_share, "max_relative_step": limit},
        )
    )


def distances(study, subject, images, ids):
    """Return the published loss of images under decoded and under true features: (n, 2)."""
    found = []
    for whose in ("ridge", "true"):
        wanted = sampler.FeatureTargets(guides.g_of(study, subject, whose), study.image_ids, study.guide.name)
        guide = sampler.feature_guide(study.guide, wanted)
        found.append(guide(images.to(study.preset.device), torch.as_tensor(ids)).cpu().numpy())
    return np.stack(found, axis=1)


def identified(study, images, ids):
    """Return in how many pairs with another test image each drawing's own image is identified: (n,)."""
    scorer = scores.scorer_of(study)
    key, rows = scorer.key(SCORE), rows_of(study.image_ids, ids)
    # A drawing is held against all originals; those of the other rows are not asked about.
    of_all = np.array(scorer.true[key])
    of_all[rows] = scorer.extract(images)[key]
    return metrics.identification(scorer.true[key], of_all)[rows]


def make(study, limit, *cell):
    """Draw and score one cell."""
    subject, ids = study.subjects[0], asked(study)
    with torch.no_grad():
        images = drawings.draw(study, subject, recipe_of(limit, *cell), 0, ids)
        loss = distances(study, subject, images, ids)
    found = {"pictures": drawings.to_bytes(images), "loss": loss}
    return found | {"identified": identified(study, images, ids)}


def gather(study, load):
    """Put the cells of the grid into one product."""
    limit = limit_of(study)
    parts = [load(limit, *cell) for cell in CELLS]
    pictures, loss, found = (np.array([p[k] for p in parts]) for k in ("pictures", "loss", "identified"))
    arrays = {
        "picture_ids": asked(study),
        "cells": np.array(CELLS, np.float32),
        "pictures": mosaics.packed(pictures, QUALITY),
        "loss": loss.astype(np.float32),
        "identified": found.astype(np.float32),
    }
    provenance = {
        "subject": study.subjects[0],
        "columns": ["share of true features", "feature_scale", "guided_share"],
        "max_relative_step": limit,
        "score": SCORE,
        "axes": {
            "cells": ["cell", "column"],
            "pictures": "one WebP file of cells by images, see studies.mosaics",
            "loss": ["cell", "image", "under decoded, under true features"],
            "identified": ["cell", "image"],
        },
    }
    return {"": (arrays, provenance)}


def make_job(study, args):
    """Cut the work into parts."""
    limit = limit_of(study)
    instruments = study.weights("judge", "alexnet")
    described = study.description(*drawings.NETWORKS, instruments=instruments, seed=SEED, limit=limit)
    parts = [(limit, *cell) for cell in CELLS]
    return jobs.Job(study, parts, make, gather, described, is_slice=args.images is not None)


if __name__ == "__main__":
    jobs.main(__doc__, make_job, jobs.add_images)
