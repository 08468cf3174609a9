"""Score reconstructions against originals, with the uncertainty of the score.

Per image first, then intervals: the functions of `images` and `identify` return one score per
image, those of `intervals` turn scores into means with their ends.
"""

from latentcortex.metrics.identify import (
    correlation_distance,
    identification,
    repeat_consistency,
    shuffled_identification,
)
from latentcortex.metrics.images import colour_means, gabor_energy, pixcorr, ssim
from latentcortex.metrics.intervals import (
    Interval,
    bootstrap_mean,
    is_noninferior,
    paired_difference,
    t_interval,
)

__all__ = [
    "Interval",
    "bootstrap_mean",
    "colour_means",
    "correlation_distance",
    "gabor_energy",
    "identification",
    "is_noninferior",
    "paired_difference",
    "pixcorr",
    "repeat_consistency",
    "shuffled_identification",
    "ssim",
    "t_interval",
]
