"""Fit voxelwise encoding models from features to betas, score them and test their significance.

A map takes four steps. Fit a `VoxelwiseEncoder` on training images. Compute the `correlation` between
predicted and measured betas of test images. Divide it by the noise ceiling with `normalised_correlation`.
Test it with `p_values` and `fdr`. NaN marks a vertex for which a number is not defined, and it stays NaN in
all these steps. Masked and infinite values raise an error.

`permutation_p_values` tests without assuming a distribution, also within clusters of similar images.
`BandedEncoder` fits several feature spaces at once, and `partition` measures what each space contributes.
`reduction` reduces spaces to few dimensions. `regions` makes tables of regions at matched numbers of
vertices. `receptive_fields` finds the part of the image that a vertex responds to.

The rows of a test are images, and each image has one row. Functions that take `image_ids` raise an error if
an image has several rows.
"""

from latentcortex.encoding.banded import BandedEncoder
from latentcortex.encoding.ceilings import normalised_correlation, preference
from latentcortex.encoding.correlations import bootstrap_correlation, correlation
from latentcortex.encoding.encoder import VoxelwiseEncoder
from latentcortex.encoding.partition import (
    best_layer,
    difference_of_r,
    held_out_predictions,
    out_of_sample_r2,
    product_measure,
    relative_weights,
    residual_method,
    signed_r2,
    stacking_weights,
    unique_and_shared,
)
from latentcortex.encoding.permutation import permutation_p_values
from latentcortex.encoding.receptive_fields import ReceptiveFieldEncoder, candidate_fields, gaussian_fields
from latentcortex.encoding.reduction import (
    Reduction,
    SparseProjection,
    fit_reduction,
    low_rank,
    same_dimensions,
    variance_kept,
)
from latentcortex.encoding.regions import region_differences, region_summary
from latentcortex.encoding.repeatability import explainable_variance, shuffle_ceiling, split_half_ceiling
from latentcortex.encoding.significance import fdr, p_values
from latentcortex.ridge.banded import draw_shares

__all__ = [
    "BandedEncoder",
    "ReceptiveFieldEncoder",
    "Reduction",
    "SparseProjection",
    "VoxelwiseEncoder",
    "best_layer",
    "bootstrap_correlation",
    "candidate_fields",
    "correlation",
    "difference_of_r",
    "draw_shares",
    "explainable_variance",
    "fdr",
    "fit_reduction",
    "low_rank",
    "gaussian_fields",
    "held_out_predictions",
    "normalised_correlation",
    "out_of_sample_r2",
    "p_values",
    "permutation_p_values",
    "preference",
    "product_measure",
    "region_differences",
    "region_summary",
    "relative_weights",
    "residual_method",
    "same_dimensions",
    "shuffle_ceiling",
    "signed_r2",
    "split_half_ceiling",
    "stacking_weights",
    "unique_and_shared",
    "variance_kept",
]
