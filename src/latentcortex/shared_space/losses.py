r"""Compute the two contrastive losses that the network is trained on in addition to distances.

Both compare predictions p with targets y by cosine, :math:`s_{ij} = \bar p_i \cdot \bar y_j`. `bimixco`
contrasts images while betas are mixtures of two trials. In `softclip` the similarities of the targets set how
far each image may be confused with another.

Source: MindEye1 and MindEye2 (Scotti et al. 2023, 2024), as in NeuralDiffuser's public code.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F

from latentcortex.shared_space.bounds import as_number


def draw_mixing(n_trials, rng, beta=0.15, threshold=0.5):
    r"""Return random weights and partners for mixing the trials of one subject.

    A share `threshold` of the trials gets :math:`\lambda_i` from Beta(beta, beta). The rest gets 1.

    Parameters
    ----------
    n_trials : int
    rng : numpy.random.Generator
    beta : float
        Above 0. Below 1, mixtures consist mostly of one trial.
    threshold : float in [0, 1]

    Returns
    -------
    weights : float32 tensor (n_trials,), in [0, 1]
        :math:`\lambda_i` of the trial itself.
    partners : int64 tensor (n_trials,)
        A permutation. A trial may be its own partner.

    Raises
    ------
    ValueError
        If `beta` or `threshold` is out of its range.
    """
    beta, threshold = as_number(beta, "beta", above=True), as_number(threshold, "threshold", high=1)
    mixed = rng.random(n_trials) < threshold
    weights = np.where(mixed, rng.beta(beta, beta, n_trials), 1).astype(np.float32)
    return torch.from_numpy(weights), torch.from_numpy(rng.permutation(n_trials))


def mix(values, weights, partners):
    r"""Return mixed rows :math:`\lambda_i v_i + (1 - \lambda_i) v_{\pi(i)}`.

    Parameters
    ----------
    values : tensor (n, ...)
        Betas, or the targets that belong to them.
    weights, partners : tensors (n,), (n,)
        From `draw_mixing`.

    Returns
    -------
    tensor (n, ...)

    Raises
    ------
    ValueError
        If the numbers of weights, partners and rows differ.
    """
    if not len(values) == len(weights) == len(partners):
        raise ValueError(
            f"Expected a weight and a partner for each of {len(values)} rows, got {len(weights)} and "
            f"{len(partners)}."
        )
    weights = weights.reshape(-1, *[1] * (values.ndim - 1))
    return weights * values + (1 - weights) * values[partners]


def bimixco(projected, targets, weights, partners, temperature=0.006):
    r"""Return the loss that contrasts predictions from mixed betas with the targets of both trials.

    With :math:`q = \mathrm{softmax}_j(s_{ij} / \tau)` and :math:`q'` the softmax over i,

    .. math:: L = -\frac{1}{2n} \sum_i \lambda_i (\log q_{ii} + \log q'_{ii})
              + (1 - \lambda_i) (\log q_{i \pi(i)} + \log q'_{i \pi(i)}).

    Two details of the public code are corrected. It gives a trial that is its own partner the label :math:`1
    - \lambda` instead of 1, but here the two labels add up to 1. With several subjects it numbers partners
    within a subject but uses them as rows of the whole batch. Here partners are rows of the batch.

    Parameters
    ----------
    projected, targets : tensors (n, ...) of one shape
        Targets belong to the single trials and are not mixed.
    weights, partners : tensors (n,), (n,)
        :math:`\lambda`, and :math:`\pi` as rows of the batch.
    temperature : float

    Returns
    -------
    scalar tensor
    """
    logits = cosines(projected, targets) / as_number(temperature, "temperature", above=True)
    rows = torch.arange(len(logits), device=logits.device)
    labels = torch.diag(weights)
    labels[rows, partners] += 1 - weights
    both = logits.log_softmax(1) + logits.log_softmax(0)
    return -(labels * both).sum() / (2 * len(logits))


def softclip(projected, targets, temperature):
    r"""Return the loss that contrasts predictions with targets, softened by the similarity of targets.

    .. math:: L = -\frac{1}{2n} \sum_{ij} \mathrm{softmax}_j(\bar y_i \cdot \bar y_j / \tau)
              (\log \mathrm{softmax}_j(s_{ij} / \tau) + \log \mathrm{softmax}_j(s_{ji} / \tau))

    Parameters
    ----------
    projected, targets : tensors (n, ...) of one shape
    temperature : float

    Returns
    -------
    scalar tensor
    """
    temperature = as_number(temperature, "temperature", above=True)
    logits = cosines(projected, targets) / temperature
    labels = (cosines(targets, targets) / temperature).softmax(1)
    both = logits.log_softmax(1) + logits.T.log_softmax(1)
    return -(labels * both).sum() / (2 * len(logits))


def cosine_temperature(progress, first=0.004, last=0.0075):
    """Return the temperature, which moves from `first` to `last` on half a cosine.

    `progress` goes from 0 to 1. The public code moves the temperature once per epoch instead, and divides by
    0 if there is only one epoch.
    """
    return last + (first - last) * (1 + math.cos(math.pi * progress)) / 2


def cosines(a, b):
    """Return the cosine of every row of a (n, ...) with every row of b (m, ...), (n, m)."""
    return F.normalize(a.flatten(1), dim=1) @ F.normalize(b.flatten(1), dim=1).T
