"""Betas of many subjects to features, by one network trained in two stages.

Every subject has a linear layer of its own into a common space; everything behind it is shared.
It is trained on other subjects first (`train`), then, with a new linear layer
(`SharedSpace.with_new_subject`), on as many sessions of the target subject as there are.

`network` holds the network, `losses` what it is trained on, `prior` the diffusion prior that may
stand behind it, `settings` how it is trained, `training` the loop of both stages, `prediction` its use,
`checkpoints` its files, `data` the checks of arrays and the looking up of rows by image id, `bounds` the
checks of numbers.

References
----------
Li et al. (2025), NeuralDiffuser, IEEE Transactions on Image Processing 34:552-565, and its public
code; the networks and losses are those of MindEye2 (Scotti et al. 2024, arXiv 2403.11207).
"""

from latentcortex.shared_space.checkpoints import load, save
from latentcortex.shared_space.losses import bimixco, draw_mixing, mix, softclip
from latentcortex.shared_space.network import NetworkSizes, SharedSpace
from latentcortex.shared_space.prediction import fit_rescaling, predict
from latentcortex.shared_space.prior import DiffusionPrior
from latentcortex.shared_space.settings import TrainingSettings
from latentcortex.shared_space.training import train

__all__ = [
    "DiffusionPrior",
    "NetworkSizes",
    "SharedSpace",
    "TrainingSettings",
    "bimixco",
    "draw_mixing",
    "fit_rescaling",
    "load",
    "mix",
    "predict",
    "save",
    "softclip",
    "train",
]
