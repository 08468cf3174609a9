"""Score reconstructions against originals, with the uncertainty of the score.

Scores are computed per image first, so the functions of `images`, `identify`, `contents` and `brain` return
one score per image. The functions of `intervals` turn scores into means with intervals. `protocols` names
sets of scores, `scoring` computes them, and `networks` loads what the published protocols need. `baselines`
makes what a score must be compared with. `calibration` compares confidence with truth. `checks` tests the
shape and the range of every argument, and whether it is finite.
"""

from latentcortex.metrics.baselines import (
    blurred,
    bottleneck,
    mean_image,
    nearest_training_rows,
    project_on_span,
    random_training_rows,
    shuffled_rows,
)
from latentcortex.metrics.brain import brain_correlation
from latentcortex.metrics.calibration import (
    Reliability,
    calibration_error,
    fit_temperature,
    reliability,
    share_of,
    tempered,
)
from latentcortex.metrics.checks import UndefinedCorrelation
from latentcortex.metrics.contents import agreement, f1
from latentcortex.metrics.identify import (
    correlation_distance,
    identification,
    repeat_consistency,
    retrieval,
    shuffled_identification,
)
from latentcortex.metrics.images import colour_means, gabor_energy, pixcorr, ssim
from latentcortex.metrics.intervals import (
    Interval,
    bootstrap_mean,
    is_noninferior,
    over_subjects,
    paired_difference,
    t_interval,
)
from latentcortex.metrics.networks import NETWORKS, load_network, source_of_weights
from latentcortex.metrics.protocols import PROTOCOLS, Protocol, Score, protocol
from latentcortex.metrics.scoring import extract, score

__all__ = [
    "NETWORKS",
    "PROTOCOLS",
    "Interval",
    "Protocol",
    "Reliability",
    "Score",
    "UndefinedCorrelation",
    "agreement",
    "blurred",
    "bootstrap_mean",
    "bottleneck",
    "brain_correlation",
    "calibration_error",
    "colour_means",
    "correlation_distance",
    "extract",
    "f1",
    "fit_temperature",
    "gabor_energy",
    "identification",
    "is_noninferior",
    "load_network",
    "mean_image",
    "nearest_training_rows",
    "paired_difference",
    "pixcorr",
    "project_on_span",
    "protocol",
    "random_training_rows",
    "reliability",
    "repeat_consistency",
    "retrieval",
    "score",
    "share_of",
    "shuffled_identification",
    "shuffled_rows",
    "source_of_weights",
    "ssim",
    "tempered",
    "over_subjects",
    "t_interval",
]
