"""How a network is trained."""

from dataclasses import dataclass

from latentcortex.shared_space.bounds import as_numbers, check_fields


@dataclass(frozen=True)
class TrainingSettings:
    """How a network is trained; the defaults are the published values.

    Attributes
    ----------
    epochs : int
    steps_per_epoch : int or None
        None for as many as it takes to draw as many trials of each subject as the one with the
        most has.
    trials_per_subject : int
        In each batch; published are 6 or 7 of each of 7 subjects, 42 of one.
    lr : float
        Highest rate of the one cycle; it starts 25 times and ends 25,000 times lower.
    warmup_epochs : float
        In which the rate rises.
    weight_decay : float
        Of weights; biases and LayerNorm have none. (The public code names LayerNorm by a name
        that its parameters don't have, and so decays it.)
    max_grad_norm : float
        Gradients are scaled down to it. (The public code does not clip.)
    mixing_share : float in [0, 1]
        Share of the epochs with mixed betas and BiMixCo; SoftCLIP follows.
    mixing_beta, mixing_threshold : float
        See `draw_mixing`.
    bimixco_temperature : float
    softclip_temperatures : tuple of float
        First and last.
    token_weight, token_contrastive : float
        Weights of tokens' mean squared error (or prior loss) and contrastive loss.
    latent_weight, latent_contrastive : float
        Weights of the L1 distance of latents in units of their standard deviation, and of their
        contrastive loss. The published L1 / 0.18215 is of latents scaled to about that unit.
    latent_temperature : float
        Of the latents' SoftCLIP.
    seed : int
        Batches, mixing, dropout and the prior's noise follow from it and the number of the step.

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
