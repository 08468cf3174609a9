"""Draw every test image several times under each condition, in parts of 50 drawings kept in the cache.

Writes no product. ch06_reconstruct_images and ch09_measure_reconstructions then find the drawings. 1,000
images, 5 drawings, 3 conditions and 4 subjects are 1,200 parts. ``--shard I/N`` and ``--scheduler`` divide
them among GPUs. A part that is killed costs at most 50 drawings.
"""

import functools

from latentcortex import sampler
from latentcortex.studies import drawings, jobs
from latentcortex.studies.recipes import RECIPES


def make(study, subject, condition, repeat, start):
    """Draw some test images; the drawings are kept where `drawings.drawings` looks for them."""
    ids = study.image_ids[start : start + drawings.N_IN_BLOCK]
    drawings.drawings(study, subject, RECIPES[condition], repeat, ids)
    return {"drawn": ids}  # `store.save` needs an array, and image_ids would be their index


def gather(parts, _study, load):
    """Say what is there; there is no product."""
    n_drawings = sum(len(load(*part)["drawn"]) for part in parts)
    print(f"{n_drawings:,} drawings in {len(parts):,} parts are kept.")
    return {}


def make_job(study, args):
    """Cut the work into parts."""
    if not args.repeats >= 1:
        raise ValueError(f"--repeats is {args.repeats}: expected at least 1.")
    starts = range(0, len(study.image_ids), drawings.N_IN_BLOCK)
    parts = [
        (subject, condition, repeat, start)
        for subject in study.subjects
        for condition in args.conditions
        for repeat in range(args.repeats)
        for start in starts
    ]
    described = study.description(*drawings.NETWORKS)
    return jobs.Job(study, parts, make, functools.partial(gather, parts), described, args.images is not None)


def add_options(parser):
    """Add the options of this script."""
    parser.add_argument("--repeats", type=int, default=5, help="drawings of each image (default 5)")
    parser.add_argument("--conditions", nargs="+", choices=sampler.CONDITIONS, default=sampler.CONDITIONS)
    jobs.add_images(parser)


if __name__ == "__main__":
    jobs.main(__doc__, make_job, add_options)
