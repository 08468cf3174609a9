"""Which maps of low-level against semantic tuning recover what was planted, by method, world and noise.

All numbers come from the simulated cortex, in memory: five worlds, three noise levels, three seeds. Parts are
kept, so that a run that was ended goes on.

What we expect, written before any method was run on more than a tiny cell:

- Rank correlation with the planted mixture in `standard`, as a share of what the true variables reach by the
  same method: 0.7 to 0.95 for all maps of a difference or a share, less at half the signal. The r of the
  first space alone: below half of that, because it follows the ceiling as much as the mixture.
- `swapped`: the difference of early and ventral cortex changes its sign for every method, and is smaller,
  because large receptive fields blur low-level tuning in ventral cortex. `uniform`: it covers 0, but the
  intervals are too narrow, since a bootstrap over test images knows nothing of the training and of vertices.
  `null`: covers 0, and a called vertex is a false one. Argmax calls a winner everywhere, in `null` too.
- `correlated`: the sign of early minus ventral stays right; the difference shrinks by a tenth to a half, and
  the unique variances and the residual method lose most, because what is shared has no owner.
- The residual method favours the space that comes first: its zero point is wrong in most vertices, while its
  order over vertices is almost that of the difference.
- One penalty for both spaces favours the space of more columns or variance; banded ridge less. Product
  measure and relative weights rank vertices alike.
- Best layer: the order of regions follows depth in `standard` weakly (rank correlation with the mixture 0.2
  to 0.5) and turns round in `swapped`. Winners agree over random projections in 60 to 85 % of the vertices,
  little more in `standard` than in `uniform`, and near 1 in 6 to 1 in 3 in `null`. The largest weight of a
  joint model recovers least of the layer methods.
- Signs of the difference of two spaces agree over projections in more than 90 %.

What we expect of intervals over test images, written before any was held against a reference. An interval of
95 % is right if it holds, as often as it says, the value that the same map of the same training gets from
many more test images of the same world. The reference is the map of 1,000 new images, and the interval is
widened by a tenth (the root of 1 + 200/1,000), because the reference has an error of its own.

- Differences of r and of r over the ceiling: 0.93 to 0.96 of the pairs of regions, 0.92 to 0.95 of vertices.
- Unique variances and the residual method: 0.90 to 0.95 of both, since R2 has longer tails.
- Shares (of unique variances, product measure, relative weights): 0.80 to 0.93 of the pairs and 0.85 to 0.93
  of the vertices. Parts below 0 count as 0, which pulls a share towards one half, and more so in 200 images
  than in 1,000. Relative weights, which can't be below 0, are pulled most.
- Winners: 0.85 to 0.95 of the pairs, fewer of the vertices, because a resample of images repeats their noise.
- The four worlds differ by less than 0.03. Then what makes intervals cover 0 too seldom in `uniform` is not
  the images, but the training and the few vertices of a region.
"""

import numpy as np

from latentcortex.studies import jobs
from latentcortex.studies.recovery_methods import METHODS
from latentcortex.studies.recovery_scores import score_cell
from latentcortex.studies.recovery_worlds import NOISE, SEEDS, WORLDS, Sizes, realised_correlation

NETWORKS = ("vae", "text_encoder", "tokenizer", "guide")
NOISE_OF_NULL = 1.0  # stands for all, since there is no signal to multiply


def make(study, world, noise, seed):
    """Score all methods in one cell, on the features given and on the variables that were planted."""
    sizes, realised = Sizes(), (np.nan, np.nan)
    arrays = score_cell(study, METHODS, world, noise, seed, sizes)
    if noise == NOISE_OF_NULL:
        realised = realised_correlation(study, world == "correlated", seed, sizes)
    return {**arrays, "realised": np.array(realised)}


def cells():
    """List the cells, those of the same images together. A cell of `null` is the same at all noise levels."""
    return [
        (world, noise, seed)
        for seed in SEEDS
        for world in WORLDS
        for noise in NOISE
        if world != "null" or noise == NOISE_OF_NULL
    ]


def gather(_study, load):
    """Stack all arrays (world, noise, seed, method, ...); in ``null`` one noise level stands for all."""

    def load_any(world, noise, seed):
        return load(world, NOISE_OF_NULL if world == "null" else noise, seed)

    arrays = jobs.stacked(load_any, WORLDS, NOISE, SEEDS)
    arrays = {name: of if name == "spearman" else of.astype(np.float32) for name, of in arrays.items()}
    axes = {"worlds": WORLDS, "noise": NOISE, "seeds": SEEDS, "methods": list(METHODS)}
    return {"": (arrays, axes)}


def make_job(study, _args):
    """Cut the work into cells."""
    jobs.check_simulated(study, "What was planted at each vertex")
    described = {"weights": study.weights(*NETWORKS), "seed": 0}
    return jobs.Job(study, cells(), make, gather, described)


if __name__ == "__main__":
    jobs.main(__doc__, make_job)
