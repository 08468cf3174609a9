"""Set the sizes and training settings of shared-space networks for a preset's latents."""

from dataclasses import dataclass, replace

from latentcortex.shared_space import NetworkSizes, TrainingSettings
from latentcortex.studies.study import LAYERS

# Targets that one network decodes. (Published is one network for each layer of g.)
GROUPS = {"z": ("z",), "c": ("c",), "g": tuple(f"g{k}" for k in LAYERS), "zc": ("z", "c")}


@dataclass(frozen=True)
class Plan:
    """Hold sizes and training settings of the networks.

    Attributes
    ----------
    sizes : NetworkSizes
    other_prior_depth : int
        Depth of the prior of the method "prior".
    pretraining, finetuning, scratch : dict of str to TrainingSettings
        Settings by group of targets.
    n_validation : int
        Number of validation images of each subject.
    """

    sizes: NetworkSizes
    other_prior_depth: int
    pretraining: dict[str, TrainingSettings]
    finetuning: dict[str, TrainingSettings]
    scratch: dict[str, TrainingSettings]
    n_validation: int = 100

    def of(self, method, group):
        """Return sizes and stages of a method for a group of targets.

        Returns
        -------
        sizes : NetworkSizes or None
            None for ridge regression, which has no network.
        stages : list of TrainingSettings
            Settings of both stages, of a single stage from scratch, or an empty list for ridge regression.
        """
        if method == "ridge":
            return None, []
        if method == "scratch":
            return self.sizes, [self.scratch[group]]
        depth = self.other_prior_depth if method == "prior" else self.sizes.prior_depth
        return replace(self.sizes, prior_depth=depth), [self.pretraining[group], self.finetuning[group]]


def every(settings, **others):
    """Return the same settings for all groups, except for some fields of the named groups."""
    return {group: replace(settings, **others.get(group, {})) for group in GROUPS}


PUBLISHED = Plan(
    NetworkSizes(),
    other_prior_depth=0,
    pretraining=every(TrainingSettings(trials_per_subject=14)),
    finetuning=every(TrainingSettings(trials_per_subject=42)),
    scratch=every(TrainingSettings(trials_per_subject=42)),
)
# Chosen by ch07_choose_training.
_SHORT = TrainingSettings(
    epochs=10, steps_per_epoch=25, warmup_epochs=1, trials_per_subject=42, lr=2e-3, token_contrastive=0.1
)
_OF_Z = {"lr": 3e-3}
SMALL = Plan(
    NetworkSizes(hidden_size=128, n_blocks=2, latent_channels=(8, 16), prior_depth=0, prior_heads=4),
    other_prior_depth=2,
    # Six layers at once take six times as long, so they are given half of the steps.
    pretraining=every(
        replace(_SHORT, steps_per_epoch=60, trials_per_subject=14), z=_OF_Z, g={"steps_per_epoch": 30}
    ),
    finetuning=every(_SHORT, z=_OF_Z),
    scratch=every(replace(_SHORT, epochs=20), z=_OF_Z),
)
PLANS = {64: PUBLISHED, 0: SMALL}  # by the smallest grid of latents that they are for


def plan_for(preset):
    """Return the plan for a preset's latents."""
    return next(plan for side, plan in PLANS.items() if preset.latent_shape[1] >= side)
