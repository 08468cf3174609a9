"""The Natural Scenes Dataset: reading its files, and what every analysis does to its trials.

`responses` reads design and betas, `stimuli` images and captions, `regions` the ROIs, `synthetic`
the further session with other images, all from NSD's own folders (`tree`), on the surface
(`surfaces`) or in the volume (`volumes`). `repeats` works on arrays: split by image, z-scoring,
averages over repeats, noise ceiling.
"""

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
from latentcortex.nsd.responses import betas, image_responses, ncsnr, scaled_betas, sessions, trials
from latentcortex.nsd.stimuli import captions, images
from latentcortex.nsd.synthetic import synthetic_images, synthetic_responses
from latentcortex.nsd.tree import subjects

__all__ = [
    "average_repeats",
    "betas",
    "captions",
    "estimate_ncsnr",
    "identity",
    "image_responses",
    "images",
    "ncsnr",
    "noise_ceiling",
    "roi",
    "roi_mask",
    "roi_names",
    "scaled_betas",
    "sessions",
    "split",
    "subjects",
    "synthetic_images",
    "synthetic_responses",
    "trials",
    "validation_split",
    "zscore",
]
