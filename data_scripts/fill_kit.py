"""Compute the features of the kit for figures 6 to 9, in parts of 128 images, and keep them in the cache.

Writes no product. ch16_replicate_figures then finds them. Run it as an array job or with ``--scheduler``
where there are several GPUs. On one GPU ch16_replicate_figures does the same itself.
"""

import functools

import numpy as np

from latentcortex.studies import jobs, keys, replication
from latentcortex.studies.image_rows import N_IN_FILE
from latentcortex.studies.replication_features import keep_run_part, runs
from latentcortex.studies.study import DIFFUSION


def images_of(study):
    """Return the ids of all images that the subjects saw, in ascending order."""
    return np.unique(np.concatenate([table["image_id"].to_numpy() for table in study.tables.values()]))


def make(study, which, run, start):
    """Keep the features of one run of the networks for some images."""
    settings, ids = replication.read_kit()[which], images_of(study)[start : start + N_IN_FILE]
    return {"n_bytes": np.array(keep_run_part(study, settings, run, ids).stat().st_size)}


def gather(parts, _study, load):
    """Say what is there; there is no product."""
    n_bytes = sum(int(load(*part)["n_bytes"]) for part in parts)
    print(f"{len(parts)} parts are kept, {n_bytes / 1e9:.2f} GB.")
    return {}


def make_job(study, args):
    """Cut the work into parts."""
    kit, which = replication.read_kit(), replication.settings_name(study.preset, args.rehearse)
    starts = range(0, len(images_of(study)), N_IN_FILE)
    parts = [(which, run, start) for run in runs(kit[which]) for start in starts]
    # Without the number of test images: subjects of other data need not have seen the same ones.
    described = {
        "data": study.identity,
        "weights": study.weights(*DIFFUSION),
        "settings": keys.settings_of(study.preset),
        "kit": replication.FROZEN,
    }
    return jobs.Job(study, parts, make, functools.partial(gather, parts), described)


if __name__ == "__main__":
    jobs.main(__doc__, make_job, replication.add_options)
