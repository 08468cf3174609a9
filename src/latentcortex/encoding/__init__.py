"""Voxelwise encoding models: from features to betas, their scores and their significance.

The order of a map: fit a `VoxelwiseEncoder` on training images, `correlation` between predicted
and measured betas of test images, `normalised_correlation` by the noise ceiling, `p_values`,
`fdr`. NaN marks a vertex for which a number is not defined, and stays NaN through all of them;
masked and infinite values are refused. The rows of a test are images, each once: functions that
take `image_ids` refuse images with several rows.
"""

from latentcortex.encoding.banded import BandedEncoder
from latentcortex.encoding.ceilings import normalised_correlation, preference
from latentcortex.encoding.correlations import bootstrap_correlation, correlation
from latentcortex.encoding.encoder import VoxelwiseEncoder
from latentcortex.encoding.permutation import permutation_p_values
from latentcortex.encoding.significance import fdr, p_values
from latentcortex.ridge.banded import draw_shares

__all__ = [
    "BandedEncoder",
    "VoxelwiseEncoder",
    "bootstrap_correlation",
    "correlation",
    "draw_shares",
    "fdr",
    "normalised_correlation",
    "p_values",
    "permutation_p_values",
    "preference",
]
