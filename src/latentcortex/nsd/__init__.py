"""Read the files of the Natural Scenes Dataset, and do what every analysis does to its trials.

`design` reads what was shown and answered, `responses` the betas, and `stimuli` the images. `captions` reads
what people wrote about the images, and `regions` reads the ROIs. `synthetic` reads the additional session
with other images. All files come from NSD's own folders (`tree`), on the surface (`surfaces`) or in the
volume (`volumes`). `repeats` works on arrays: it splits by image, z-scores, averages over repeats and
estimates the noise ceiling. `splits` offers harder splits of the images, by name. `saving` writes maps for
other programs. `inspecting` says what a tree holds and for which chapters that is enough.

`trees` writes a whole tree in this layout from arrays of any study, and `image_ids` has one table of all
names of NSD's images. `published` keeps features that a data set publishes in place of its images.

Every error names the file or argument that is wrong. `reading` checks files and what their numbers mean.
`recorded` finds trials that were never measured, and `arguments` checks what callers pass.
"""

from latentcortex.nsd.captions import captions
from latentcortex.nsd.design import sessions_on_disk, trials
from latentcortex.nsd.findings import Finding
from latentcortex.nsd.identity import identity
from latentcortex.nsd.image_ids import image_table
from latentcortex.nsd.inspecting import inspect
from latentcortex.nsd.published import published_features, published_models, write_published
from latentcortex.nsd.recordings import ImageSet, Recording
from latentcortex.nsd.regions import roi, roi_mask, roi_names
from latentcortex.nsd.repeats import (
    average_repeats,
    estimate_ncsnr,
    noise_ceiling,
    split,
    validation_split,
    zscore,
)
from latentcortex.nsd.responses import (
    SPACES,
    betas,
    finite_mask,
    image_responses,
    ncsnr,
    scaled_betas,
    sessions,
)
from latentcortex.nsd.saving import SavedMap, read_map, save_map
from latentcortex.nsd.splits import SPLIT_NAMES, Split, distance_quantiles, splits
from latentcortex.nsd.stimuli import images
from latentcortex.nsd.synthetic import synthetic_images, synthetic_responses
from latentcortex.nsd.tree import subjects
from latentcortex.nsd.trees import read_image_names, write_tree

__all__ = [
    "SPACES",
    "SPLIT_NAMES",
    "Finding",
    "ImageSet",
    "Recording",
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
    "image_table",
    "images",
    "inspect",
    "ncsnr",
    "noise_ceiling",
    "published_features",
    "published_models",
    "read_image_names",
    "read_map",
    "roi",
    "roi_mask",
    "roi_names",
    "save_map",
    "scaled_betas",
    "sessions",
    "sessions_on_disk",
    "split",
    "splits",
    "subjects",
    "synthetic_images",
    "synthetic_responses",
    "trials",
    "validation_split",
    "write_published",
    "write_tree",
    "zscore",
]
