r"""Draw the condition c from what a decoder leaves open, instead of taking its one prediction.

A decoder predicts the mean of c given the responses. Pictures of the mean are not the mean of pictures: what
the responses say about a picture x is the mixture

.. math:: p(x \mid \text{betas}) = \int p(x \mid c) \, p(c \mid \text{betas}) \, dc .

One drawing under each of several c, where each c is drawn once and kept for all steps, is a sample of this
mixture. Under classifier-free guidance it is a sample of the mixture of the sharpened distributions.

Two other ways look alike but draw from something else. The score of a mixture is the mean of the scores of
its parts, weighted by how probable each c is given the noisy latents. A plain mean of the noise predicted
under several c is the score of the geometric mean of their distributions. It draws what all of them agree on,
with too little spread. Another c at each step comes to the same plain mean, because the steps average it. The
weights could be computed only from likelihoods that the network does not give, so neither is offered here.
"""

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.covariance import LedoitWolf

from latentcortex.features.checks import as_count, as_tensor, check_finite
from latentcortex.sampler.checks import as_ids
from latentcortex.sampler.kalman import FEWEST

N_FOLDS = 5  # in which the size of the noise is tested
CONDITION = 1  # marks the seeds of conditions, whose numbers are thus others than those of the latents' noise


@dataclass(frozen=True)
class ConditionNoise:
    r"""Hold how far decoded c lies from true c, a normal distribution on few axes.

    .. math:: c = \hat c + m + U a, \qquad a \sim N(0, S_c)

    Attributes
    ----------
    offset : tensor (n_tokens, d)
        m, the mean residual.
    directions : tensor (n_tokens d, k)
        U, orthonormal columns. They are principal components of the residuals, because the largest residuals
        are what has to be drawn. (A guide divides by noise, so it takes components of the features instead.)
    covariance : tensor (k, k)
        :math:`S_c`
    share : float
        Share of the variance of new images' residuals that these axes hold, in (0, 1]. The rest is not drawn.
    """

    offset: torch.Tensor
    directions: torch.Tensor
    covariance: torch.Tensor
    share: float = 1.0

    def __post_init__(self):
        for name in ("offset", "directions", "covariance"):
            object.__setattr__(self, name, as_tensor(getattr(self, name), name))
            check_finite(getattr(self, name), f"the {name} of c's noise")
        k = self.directions.shape[-1]
        got = tuple(self.offset.shape), tuple(self.directions.shape), tuple(self.covariance.shape)
        if self.offset.ndim != 2 or got[1:] != ((self.offset.numel(), k), (k, k)) or not k:
            raise ValueError(
                f"Expected an offset (n_tokens, d), directions (n_tokens d, k) and a covariance (k, k), got "
                f"{got[0]}, {got[1]} and {got[2]}."
            )
        off = (self.directions.double().T @ self.directions.double() - torch.eye(k).double()).abs().max()
        if not off < 1e-3:
            raise ValueError(f"directions should be orthonormal, but are off by up to {off:.2g}.")
        values = torch.linalg.eigvalsh(self.covariance.double())
        largest = float(self.covariance.abs().max())
        if not torch.allclose(self.covariance, self.covariance.T, rtol=1e-4, atol=1e-6 * largest):
            raise ValueError("The covariance of c's noise is not symmetric.")
        if values.min() < -1e-4 * largest:
            raise ValueError(
                f"The covariance of c's noise has the eigenvalue {values.min():.3g}. No noise can have a "
                "negative variance."
            )
        if not 0 < self.share <= 1:
            raise ValueError(f"Expected a share in (0, 1], got {self.share}.")


def condition_noise(decoded, true, n_components=None):
    """Return the `ConditionNoise` of training images.

    Parameters
    ----------
    decoded : tensor (n, n_tokens, d)
        c decoded from images that were not learned from, without rescaling. (A rescaled c has more noise, and
        no draw would be needed for its spread.)
    true : tensor (n, n_tokens, d)
        True c of the same images.
    n_components : int, optional
        Number of axes, below n. Fewer are taken if residuals vary in fewer. By default all in which they
        vary.

    Returns
    -------
    ConditionNoise

    Raises
    ------
    ValueError
        If there are too few images for so many axes, if nothing is left open, or if shapes differ or values
        are not finite.

    Notes
    -----
    The covariance is shrunk by Ledoit and Wolf's rule. Axes of few images hold more of the variance of these
    images than of others. So the covariance is scaled to what axes of four fifths of the images hold of the
    remaining fifth, and so is the share.
    """
    decoded, true = as_tensor(decoded, "decoded c"), as_tensor(true, "true c")
    if decoded.ndim != 3 or decoded.shape != true.shape:
        raise ValueError(
            f"Expected decoded and true c (n, n_tokens, d) of the same images, got {tuple(decoded.shape)} "
            f"and {tuple(true.shape)}."
        )
    for name, values in (("decoded c", decoded), ("true c", true)):
        check_finite(values, name)
    n, asked = len(true), None if n_components is None else as_count(n_components, "n_components")
    fewest = max(FEWEST, (asked or 0) + 1)
    if n < fewest:
        raise ValueError(
            f"{n} images vary around their mean in at most {max(n - 1, 0)} axes: at least {fewest} images "
            f"are needed for {asked or 'all'}."
        )
    off = (true.double() - decoded.double()).flatten(1)
    mean = off.mean(0)
    rows, values, directions = torch.linalg.svd(off - mean, full_matrices=False)
    rank = int((values > values[0] * n * torch.finfo(torch.float).eps).sum()) if values[0] > 0 else 0
    if not rank:
        raise ValueError("Decoded c differs from true c by the same for all images, so nothing is left open.")
    k = min(asked or rank, rank, n - 1)
    covariance = LedoitWolf().fit((rows[:, :k] * values[:k]).numpy()).covariance_
    share, ratio = _held_out(off @ off.T, k)
    return ConditionNoise(
        mean.float().reshape(true.shape[1:]),
        directions[:k].T.float(),
        ratio * torch.from_numpy(covariance).float(),
        share,
    )


def _held_out(products, k):
    """Return what k axes hold of new residuals: the share of their variance, and relative to the own ones.

    It takes the products (n, n) of residuals, of which all centring and all projections can be computed.
    """
    fold = torch.arange(len(products)) % N_FOLDS
    new, whole, own = 0.0, 0.0, 0.0
    for number in range(N_FOLDS):
        learns, left = fold != number, fold == number
        of_left, mean = products[left][:, learns], products[learns][:, learns].mean(0)
        centred = products[learns][:, learns] - mean - mean[:, None] + mean.mean()
        values, vectors = torch.linalg.eigh(centred)
        values, vectors = values.flip(0)[:k], vectors.flip(1)[:, :k]
        there = values > values[0] * len(values) * torch.finfo(torch.float).eps
        cross = of_left - of_left.mean(1, keepdim=True) - mean + mean.mean()
        new += (cross @ vectors[:, there]).square().sum(0).div(values[there]).sum()
        whole += (products.diagonal()[left] - 2 * of_left.mean(1) + mean.mean()).sum()
        own += values[there].sum() * left.sum() / learns.sum()
    return min(float(new / whole), 1.0), float(new / own)


def draw_conditions(decoded, noise, image_ids, repeat=0, seed=0):
    """Return one c for each image, drawn from what its decoder leaves open.

    A draw depends only on image id, repeat and seed, and not on the numbers of the noise that the drawing
    starts from. Keep it for all steps of a drawing.

    Parameters
    ----------
    decoded : tensor (n, n_tokens, d)
        Decoded c, without rescaling: the mean of what is drawn, less the offset.
    noise : ConditionNoise
    image_ids : sequence of n int
    repeat, seed : int
        As in `reconstruct`.

    Returns
    -------
    tensor (n, n_tokens, d)
        In the dtype and on the device of `decoded`.

    Raises
    ------
    ValueError
        If decoded c has another shape or is not finite, or if an id is not a whole number of at least 0.
    """
    decoded = as_tensor(decoded, "decoded c")
    if decoded.ndim != 3 or tuple(decoded.shape[1:]) != tuple(noise.offset.shape):
        size = ", ".join(map(str, noise.offset.shape))
        raise ValueError(f"Expected decoded c (n, {size}), got {tuple(decoded.shape)}.")
    if not len(decoded):
        return decoded
    check_finite(decoded, "decoded c")
    ids = as_ids(image_ids, len(decoded))
    repeat, seed = as_count(repeat, "repeat", 0), as_count(seed, "seed", 0)
    values, vectors = torch.linalg.eigh(noise.covariance.cpu().double())
    # The symmetric root: that of an eigenvector's sign or order would differ between machines.
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    normal = torch.stack([_normal(int(of), repeat, seed, len(root)) for of in ids])
    moved = (normal @ root.T) @ noise.directions.cpu().double().T
    moved = noise.offset.cpu().double() + moved.unflatten(1, noise.offset.shape)
    return decoded + moved.to(decoded)


def _normal(image_id, repeat, seed, k):
    """Return k standard normal numbers of one drawing of one image."""
    words = [seed, as_count(image_id, "image_id", 0), repeat]
    sequence = np.random.SeedSequence(words, spawn_key=(CONDITION,))
    return torch.from_numpy(np.random.default_rng(sequence).standard_normal(k))
