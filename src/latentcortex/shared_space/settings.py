"""How a network is trained."""

from dataclasses import dataclass

from latentcortex.shared_space.bounds import as_numbers, check_fields


@dataclass(frozen=True)
class TrainingSettings:
    """Hold the settings of a training; the defaults are the published values.

    Attributes
    ----------
    epochs : int
    steps_per_epoch : int or None
        Steps per epoch. None takes the number of steps that draws as many trials per subject as the subject
        with most trials has.
    trials_per_subject : int
        Trials per subject in each batch. Published values are 6 or 7 for each of 7 subjects, and 42 for a
        single subject.
    lr : float
        Highest learning rate of the one-cycle schedule, which starts 25 times lower and ends 25,000 times
        lower.
    warmup_epochs : float
        Number of epochs in which the rate rises.
    weight_decay : float
        Decay of weights. Biases and LayerNorm have none. The public code refers to LayerNorm by a wrong
        parameter name, so it also decays LayerNorm.
    max_grad_norm : float
        Largest norm of gradients, which are scaled down to it. The public code does not clip gradients.
    mixing_share : float in [0, 1]
        Share of epochs with mixed betas and BiMixCo. SoftCLIP is used in later epochs.
    mixing_beta, mixing_threshold : float
        See `draw_mixing`.
    bimixco_temperature : float
    softclip_temperatures : tuple of float
        First and last temperature.
    token_weight, token_contrastive : float
        Weights of the mean squared error (or prior loss) and of the contrastive loss for tokens.
    latent_weight, latent_contrastive : float
        Weights of the L1 distance of latents in units of their standard deviation, and of their contrastive
        loss. The published weight is L1 / 0.18215, for latents scaled to about this unit.
    latent_temperature : float
        Temperature of SoftCLIP for latents.
    seed : int
        Seed of batches, mixing, dropout and the prior's noise, together with the number of the step.

    Raises
    ------
    ValueError
        If a number is out of its range.
    """

    epochs: int = 150
    steps_per_epoch: int | None = None
    trials_per_subject: int = 6
    lr: float = 3e-4
    warmup_epochs: float = 2
    weight_decay: float = 1e-2
    max_grad_norm: float = 1.0
    mixing_share: float = 1 / 3
    mixing_beta: float = 0.15
    mixing_threshold: float = 0.5
    bimixco_temperature: float = 0.006
    softclip_temperatures: tuple[float, float] = (0.004, 0.0075)
    token_weight: float = 30.0
    token_contrastive: float = 1.0
    latent_weight: float = 1 / 0.18215
    latent_contrastive: float = 0.1
    latent_temperature: float = 0.075
    seed: int = 0

    def __post_init__(self):
        one, positive, share = {"low": 1, "whole": True}, {"above": True}, {"high": 1}
        check_fields(
            self,
            {
                "epochs": one,
                **({} if self.steps_per_epoch is None else {"steps_per_epoch": one}),
                "trials_per_subject": one,
                "lr": positive,
                "warmup_epochs": {},
                "weight_decay": {},
                "max_grad_norm": positive,
                "mixing_share": share,
                "mixing_beta": positive,
                "mixing_threshold": share,
                "bimixco_temperature": positive,
                "token_weight": {},
                "token_contrastive": {},
                "latent_weight": {},
                "latent_contrastive": {},
                "latent_temperature": positive,
                "seed": {"whole": True},
            },
        )
        pair = as_numbers(self.softclip_temperatures, "softclip_temperatures", **positive)
        if len(pair) != 2:
            raise ValueError(f"Expected the first and the last of softclip_temperatures, got {pair}.")
        object.__setattr__(self, "softclip_temperatures", pair)
