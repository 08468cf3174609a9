"""Measure how far decoded features lie from those of predicted pictures."""

import math

import numpy as np
import torch
from sklearn.covariance import LedoitWolf

from latentcortex import features
from latentcortex.features.batches import Batches
from latentcortex.features.checks import as_count, as_tensor, check_finite
from latentcortex.sampler.checks import check_condition, check_scheduler
from latentcortex.sampler.kalman import FEWEST
from latentcortex.sampler.loop import predict_noise
from latentcortex.sampler.precise_guides import ResidualGaussian, inverse_root

N_FOLDS = 5  # in which the size of a covariance is tested


@torch.no_grad()
def predicted_features(
    unet,
    scheduler,
    latents,
    encoder_hidden_states,
    reader,
    basis,
    *,
    timesteps,
    generators,
    decoder=None,
    batch_size=32,
):
    r"""Return features of the pictures that a network predicts from noisy true latents.

    Noise is added to true latents, as in `sample`. The network predicts the noise under the condition alone,
    as where `Guidance` looks, which gives :math:`x_0`, its picture and the picture's features.

    Parameters
    ----------
    unet, scheduler, batch_size
        As in `sample`.
    latents : tensor (n, 4, h, w)
        True z of images.
    encoder_hidden_states : tensor (n, n_tokens, d)
        Pass the condition that will be used, for example c decoded from images that were not learned from.
    reader : FeatureReader
    basis : FeatureBasis
    timesteps : sequence of int
        Of `denoising_timesteps`.
    generators : list of n torch.Generator
        The same noise is used at all timesteps.
    decoder : AutoencoderKL or AutoencoderTiny, optional
        As in `Guidance`.

    Returns
    -------
    tensor (n_timesteps, n, k)
        Components in the basis, on the CPU.

    Raises
    ------
    ValueError
        If arguments do not fit each other.
    """
    latents, condition = (
        as_tensor(latents, "latents"),
        as_tensor(encoder_hidden_states, "encoder_hidden_states"),
    )
    if not len(latents) == len(condition) == len(generators):
        raise ValueError(
            f"Expected a condition and a generator for each of {len(latents)} latents, got {len(condition)} "
            f"and {len(generators)}."
        )
    if reader.name != basis.reader:
        raise ValueError(f"The basis is of features of {basis.reader!r}, not of {reader.name!r}.")
    check_condition(unet, condition, None, 1.0)
    check_scheduler(scheduler, True)
    check_finite(latents, "latents")
    latents = latents.to(condition)
    noise = torch.cat([torch.randn(latents[:1].shape, generator=of) for of in generators]).to(latents)
    found = torch.empty(len(timesteps), len(latents), basis.k)
    batches = Batches(as_count(batch_size, "batch_size"))
    for k, timestep in enumerate(map(int, timesteps)):
        abar = scheduler.alphas_cumprod[timestep].to(latents.device)
        noisy = features.noised_latents(scheduler, latents, noise, [timestep])[timestep]
        for batch in batches.over(len(latents)):
            with batch as rows:
                pred = predict_noise(unet, timestep, noisy[rows], condition[rows], None, 1.0)
                seen = (noisy[rows] - (1 - abar) ** 0.5 * pred) / abar**0.5
                if decoder is not None:
                    seen = features.decode_latents(decoder, seen, len(seen))
                found[k, rows] = basis.of(reader(seen)).float().cpu()
    return found


def calibration(decoded, true):
    r"""Return the slope (k,) of decoded on true components, at least 0.

    A prediction of ridge regression is shrunk. Its slope on the truth is R2 if the shrinkage is the right
    one.

    Parameters
    ----------
    decoded : tensor (n, k)
        Decoded from images that were not learned from, without rescaling.
    true : tensor (n, k)

    Raises
    ------
    ValueError
        If shapes differ, images are too few, or values are not finite.
    """
    decoded, true = _checked(decoded, "decoded", 2), _checked(true, "true", 2)
    if decoded.shape != true.shape or len(true) < FEWEST:
        raise ValueError(
            f"Expected decoded and true components (n, k) of the same images, at least {FEWEST}, got "
            f"{tuple(decoded.shape)} and {tuple(true.shape)}."
        )
    off = true.double() - true.double().mean(0)
    squares = off.square().sum(0)
    slopes = (off * decoded.double()).sum(0) / torch.where(squares > 0, squares, math.inf)
    return slopes.clamp(min=0).float()


def residual_gaussian(predicted, decoded, slopes, basis, timesteps):
    r"""Return the `ResidualGaussian` of training images.

    The residuals :math:`\hat g - b f_t` have a mean and a covariance at each timestep. They hold the noise of
    the decoder and what the noise of the latents leaves open about the picture. Correlations are shrunk by
    Ledoit and Wolf's rule, variances are not. A covariance from few images is too sure of itself. So it is
    multiplied by the mean of :math:`r^\top S^{-1} r / k` over images that were left out, if that is above 1.
    Copies of a component count once in k.

    Parameters
    ----------
    predicted : tensor (n_timesteps, n, k)
        Of `predicted_features`.
    decoded : tensor (n, k)
        Components of the same images. The decoder must not have learned from them.
    slopes : tensor (k,)
        Of `calibration`. A component of slope 0 says nothing.
    basis : FeatureBasis
    timesteps : sequence of int

    Returns
    -------
    ResidualGaussian

    Raises
    ------
    ValueError
        If there are too few images for a covariance, or if arguments do not fit each other or are not finite.

    Notes
    -----
    Ledoit and Wolf (2004), A well-conditioned estimator for large-dimensional covariance matrices.
    """
    predicted, decoded = _checked(predicted, "predicted", 3), _checked(decoded, "decoded", 2)
    slopes, k = as_tensor(slopes, "slopes"), basis.k
    n = len(decoded)
    expected = (len(timesteps), n, k), (n, k), (k,)
    got = tuple(predicted.shape), tuple(decoded.shape), tuple(slopes.shape)
    if got != expected:
        raise ValueError(
            f"Expected predicted {expected[0]}, decoded {expected[1]} and slopes {expected[2]} of "
            f"{len(timesteps)} timesteps, {n} images and the basis, got {got[0]}, {got[1]} and {got[2]}."
        )
    says = (slopes > 0) & (decoded.std(0) > 0)
    n_used = int(says.sum())
    fewest = max(FEWEST, 2 * n_used + 4)
    if n < fewest:
        raise ValueError(
            f"A covariance of {n_used} components needs at least {fewest} images, got {n}: with fewer, its "
            "inverse is more than twice too large. Take more images or a basis of fewer components."
        )
    off = (decoded - slopes.to(decoded) * predicted).double()
    offsets = off.mean(1)
    # A mean of its own for each timestep, so that pictures that are blurred evenly are no surprise.
    covariances = torch.full((len(timesteps), k), math.inf, dtype=torch.double).diag_embed()
    inside = says[:, None] & says
    for i in range(len(timesteps) if n_used else 0):
        rows = (off[i] - offsets[i])[:, says]
        covariances[i][inside] = (_tested(rows) * _shrunk(rows)).flatten()
    return ResidualGaussian(basis, slopes, timesteps, offsets.float(), covariances)


def _shrunk(rows):
    """Return the covariance (k, k) of rows (n, k), whose correlations are shrunk."""
    spread = rows.std(0, correction=0)
    # A component may be constant in four fifths of the images.
    scaled = rows / torch.where(spread > 0, spread, 1)
    correlations = torch.from_numpy(LedoitWolf().fit(scaled.numpy()).covariance_)
    return correlations * spread * spread[:, None]


def _tested(rows):
    """Return by how much a covariance has to be larger to fit rows that it was not made from, at least 1."""
    fold, lengths = np.arange(len(rows)) % N_FOLDS, []
    for k in range(N_FOLDS):
        learns = torch.from_numpy(fold != k)
        known, new = rows[learns], rows[~learns]
        root = inverse_root(_shrunk(known))
        # Components that repeat each other are fewer than they look.
        spread = known.std(0, correction=0)
        scaled = (known - known.mean(0)) / torch.where(spread > 0, spread, 1)
        n_different = torch.linalg.matrix_rank(scaled)
        lengths.append(((new - known.mean(0)) @ root.T).square().sum(1) / n_different.clamp(min=1))
    return max(1.0, float(torch.cat(lengths).mean()))


def _checked(values, name, ndim):
    """Return components as a float tensor of so many dimensions, finite."""
    values = as_tensor(values, name)
    if values.ndim != ndim:
        raise ValueError(f"Expected {name} of {ndim} dimensions, got {tuple(values.shape)}.")
    check_finite(values, name)
    return values.float().cpu()
