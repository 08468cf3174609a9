"""Decode features from betas of many subjects, by one network trained in two stages.

Every subject has its own linear layer into a common space. All later layers are shared. The network is first
trained on other subjects (`train`). Then it gets a new linear layer (`SharedSpace.with_new_subject`) and is
trained on all available sessions of the target subject.

`network` holds the network, `losses` its training losses, and `prior` an optional diffusion prior after it.
`settings` holds the training settings, and `training` the loop of both stages. `prediction` predicts, and
`checkpoints` reads and writes files. `data` checks arrays and finds rows by image id, and `bounds` checks
numbers.

References
----------
Li et al. (2025), NeuralDiffuser, IEEE Transactions on Image Processing 34:552-565, and its public code. The
networks and losses are those of MindEye2 (Scotti et al. 2024, arXiv 2403.11207).
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
