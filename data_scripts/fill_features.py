"""Compute z, c and g of all images that the subjects saw, in parts of 128 images, and keep them in the cache.

Writes no product. Chapters and other scripts then find the features instead of computing them one process at
a time: 73,000 images are 571 parts of each kind. ``--shard I/N`` and ``--scheduler`` divide them among GPUs.
"""

import numpy as np

from latentcortex.studies import jobs, keys, targets

N_IN_PART = targets.N_IN_FILE


def images_of(study):
    """Return the ids of all images that the subjects saw, in ascending order."""
    return np.unique(np.concatenate([table["image_id"].to_numpy() for table in study.tables.values()]))


def make(study, kind, start):
    """Keep the features of one kind of some images."""
    path = targets.keep_target_part(study, kind, images_of(study)[start : start + N_IN_PART])
    return {"n_bytes": np.array(path.stat().st_size)}


def gather(study, load):
    """Say what is there; there is no product."""
    kinds = {kind: [load(kind, start)["n_bytes"] for start in starts_of(study)] for kind in targets.KINDS}
    n_images = len(images_of(study))
    for kind, sizes in kinds.items():
        print(f"{kind}: {n_images:,} images in {len(sizes)} files, {np.sum(sizes) / 1e9:.2f} GB")
    return {}


def starts_of(study):
    """Return where each part begins."""
    return range(0, len(images_of(study)), N_IN_PART)


def make_job(study, _args):
    """Cut the work into parts."""
    parts = [(kind, start) for kind in targets.KINDS for start in starts_of(study)]
    # Without the number of test images: subjects of other data need not have seen the same ones.
    described = {
        "data": study.identity,
        "weights": study.weights("vae", "text_encoder", "tokenizer", "guide"),
        "settings": keys.settings_of(study.preset),
    }
    return jobs.Job(study, parts, make, gather, described)


if __name__ == "__main__":
    jobs.main(__doc__, make_job)
