"""The Natural Scenes Dataset: reading its files, and what every analysis does to its trials.

`design` reads what was shown and answered, `responses` the betas, `stimuli` the images, `captions` what
people wrote about them, `regions` the ROIs, `synthetic` the further session with other images. All come
from NSD's own folders (`tree`), on the surface (`surfaces`) or in the volume (`volumes`). `repeats` works
on arrays: split by image, z-scoring, averages over repeats, noise ceiling. `splits` has harder splits of
the images, by name. `saving` writes maps for other programs.

What is wrong is said with the name of the file or argument: `reading` covers files and what their numbers
mean, `recorded` trials that were never measured, `arguments` what callers pass.
"""

from latentcortex.nsd.captions import captions
from latentcortex.nsd.design import trials
from latentcortex.nsd.identity import identity
from latentcortex.nsd.regions import roi, roi_mask, roi_names
from latentcortex.nsd.repeats import (
    average_repeats,
    estimate_ncsnr,
    noise_ceiling,
    split,
    validation_split,
    zscore,
)
from latentcortex.nsd.responses import betas, finite_mask, image_responses, ncsnr, scaled_betas, sessions
from latentcortex.nsd.saving import SavedMap, read_map, save_map
from latentcortex.nsd.splits import SPLIT_NAMES, Split, distance_quantiles, splits
from latentcortex.nsd.stimuli import images
from latentcortex.nsd.synthetic import synthetic_images, synthetic_responses
from latentcortex.nsd.tree import subjects

__all__ = [
    "SPLIT_NAMES",
    "SavedMap",
    "Split",
    "average_repeats",
    "betas",
    "captions",
    "distance_quantiles",
    "estimate_ncsnr",
    "finite_mask",
    "identity",
    "image_responses",
    "images",
    "ncsnr",
    "noise_ceiling",
    "read_map",
    "roi",
    "roi_mask",
    "roi_names",
    "save_map",
    "scaled_betas",
    "sessions",
    "split",
    "splits",
    "subjects",
    "synthetic_images",
    "synthetic_responses",
    "trials",
    "validation_split",
    "zscore",
]
