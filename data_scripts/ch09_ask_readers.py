"""Pictures for the two quizzes of chapter 09: drawings of the first subject that readers judge themselves.

The images are drawn at random and no drawing is chosen for its looks. `N_SEEN` images come as system A drew
them from decoded z and c; readers find the original among others. `N_MIXED` further images follow, half drawn
in the same way and half drawn by the same model without any response; readers say which needed a brain. It
takes two minutes, or seconds where the drawings of ch09_measure_reconstructions are kept.
"""

import numpy as np

from latentcortex.store import rows_of
from latentcortex.studies import drawings, jobs
from latentcortex.studies.recipes import RECIPES

SEED = 9
N_SEEN, N_MIXED = 24, 24
ROWS = ("both", "no_brain")


def asked(study):
    """Choose the images: ids in the order of the quizzes, and the place in `ROWS` of each one's drawing."""
    rng, half = np.random.default_rng([SEED, 200]), len(study.image_ids) // 2
    n_seen, n_mixed = min(N_SEEN, half), min(N_MIXED, half)
    ids = rng.permutation(study.image_ids)[: n_seen + n_mixed]
    mixed = rng.permutation(np.arange(n_mixed) % len(ROWS))
    return ids, np.concatenate([np.zeros(n_seen, int), mixed])


def make(study, row):
    """Draw the images that are asked about by one of `ROWS`."""
    ids, rows = asked(study)
    images = drawings.drawings(study, study.subjects[0], RECIPES[row])
    mine = ids[rows == ROWS.index(row)]
    return {"image_ids": mine, "pictures": drawings.to_bytes(images[rows_of(study.image_ids, mine)])}


def gather(study, load):
    """Put the pictures of all rows in the order of the quizzes."""
    ids, rows = asked(study)
    parts = [load(row) for row in ROWS]
    known = np.concatenate([part["image_ids"] for part in parts])
    pictures = np.concatenate([part["pictures"] for part in parts])[rows_of(known, ids)]
    provenance = {
        "subject": study.subjects[0],
        "rows": ROWS,
        "n_seen": min(N_SEEN, len(study.image_ids) // 2),
        "axes": "the images of the first quiz, then those of the second; row is a place in rows",
    }
    return {"": ({"image_ids": ids, "row": rows, "pictures": pictures}, provenance)}


def make_job(study, args):
    """Cut the work into parts."""
    described = study.description(*drawings.NETWORKS, seed=SEED)
    return jobs.Job(
        study, [(row,) for row in ROWS], make, gather, described, is_slice=args.images is not None
    )


if __name__ == "__main__":
    jobs.main(__doc__, make_job, jobs.add_images)
