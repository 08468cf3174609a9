"""Ask whether what was said with some confidence is as often true as was said."""

from typing import NamedTuple

import numpy as np
from scipy import stats
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit

from latentcortex.metrics.checks import check_shapes, dense, finite, generator, labels, number
from latentcortex.metrics.intervals import wilson

_LARGEST = 100.0  # temperature: what is so unsure is hardly told from the prior


class Reliability(NamedTuple):
    """Hold a reliability curve: in bins of confidence, how often statements were true.

    Attributes
    ----------
    confidence, frequency : arrays (n_bins,)
        Mean confidence of the statements in each bin, and the share of them that is true.
    low, high : arrays (n_bins,)
        Ends of the frequency's interval.
    n, n_images : int arrays (n_bins,)
        Number of statements, and of the images that they are about. Empty bins are left out.
    """

    confidence: np.ndarray
    frequency: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n: np.ndarray
    n_images: np.ndarray


def share_of(counts, n, prior=0.5):
    """Return the confidence (k + prior) / (n + 1) of statements that k of n drawings make, in (0, 1).

    The prior counts as one further drawing. It keeps confidence away from 0 and 1, which no number of
    drawings can prove. For rare statements it has to be their own. With one half, statements that no drawing
    makes would have a confidence far above how often they are true.

    Parameters
    ----------
    counts : int array (n_statements,)
        From 0 to n.
    n : int
    prior : float
        How often such statements are true when nothing is known.
    """
    counts = finite("counts", counts, ndim=1)
    number("n", n, 1, whole=True)
    number("prior", prior, 0, 1, strict=True)
    if not ((counts >= 0) & (counts <= n)).all():
        raise ValueError(f"Expected counts from 0 to {n}, got {counts.min():g} to {counts.max():g}.")
    return (counts + prior) / (n + 1)


def tempered(confidence, temperature, prior=0.5):
    r"""Return confidence (n,) drawn towards a prior: logit p' = logit prior + (logit p - logit prior) / T.

    Parameters
    ----------
    confidence : array (n,)
        Between 0 and 1, both excluded.
    temperature : float
        T, above 0. One changes nothing, and more makes less sure.
    prior : float
        How often such statements are true when nothing is known.
    """
    confidence = finite("confidence", confidence, ndim=1)
    if not ((confidence > 0) & (confidence < 1)).all():
        raise ValueError("Expected confidence between 0 and 1. See `share_of` for counts of drawings.")
    at = logit(number("prior", prior, 0, 1, strict=True))
    number("temperature", temperature, 0, strict=True)
    return expit(at + (logit(confidence) - at) / temperature)


def fit_temperature(confidence, is_true, prior=0.5):
    """Return the temperature under which statements are the likeliest, in [0.01, 100].

    It is 1 if all confidence is that of the prior, which no temperature changes.

    Parameters
    ----------
    confidence : array (n,)
        Between 0 and 1, both excluded.
    is_true : bool array (n,)
    prior : see `tempered`

    Notes
    -----
    Temperature scaling is due to Guo et al. (2017), On calibration of modern neural networks. Fit it on other
    images than those that it is used on.
    """
    is_true = _truth(is_true, confidence)
    if np.allclose(tempered(confidence, 1.0, prior), prior):
        return 1.0

    def loss(log_temperature):
        p = tempered(confidence, np.exp(log_temperature), prior).clip(1e-12, 1 - 1e-12)
        return -np.where(is_true, np.log(p), np.log(1 - p)).mean()

    ends = -np.log(_LARGEST), np.log(_LARGEST)
    return float(np.exp(minimize_scalar(loss, bounds=ends, method="bounded").x))


def reliability(confidence, is_true, image_ids, rng, edges=10, n_resamples=1000, level=0.95):
    """Return the `Reliability` of statements about images.

    Statements about one image depend on each other. So whole images are resampled, and the interval is
    Wilson's for as many independent statements as would vary as much, at most one for each image. (Quantiles
    of the resamples would be too narrow: where all of six images are right, they are all 1.)

    Parameters
    ----------
    confidence : array (n,)
        In [0, 1].
    is_true : bool array (n,)
    image_ids : int array (n,)
        The image that each statement is about.
    rng : numpy.random.Generator
    edges : int or array (n_bins + 1,)
        Number of equal bins, or their edges from 0 to 1.
    n_resamples : int
    level : float
    """
    confidence, is_true, rng = (
        finite("confidence", confidence, ndim=1),
        _truth(is_true, confidence),
        generator(rng),
    )
    image = labels("image_ids", image_ids, len(confidence))
    number("n_resamples", n_resamples, 1, whole=True)
    number("level", level, 0, 1, strict=True)
    if np.ndim(edges) == 0:
        number("edges", edges, 1, whole=True)
        edges = np.round(np.linspace(0, 1, edges + 1), 12)  # or 3/10 would lie below its own edge
    edges = finite("edges", edges, ndim=1)
    if not (len(edges) > 1 and edges[0] == 0 and edges[-1] == 1 and (np.diff(edges) > 0).all()):
        raise ValueError(f"Expected edges that rise from 0 to 1, got {edges}.")
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise ValueError("confidence should be in [0, 1].")
    n_images, n_bins = image.max() + 1, len(edges) - 1
    cell = image * n_bins + np.digitize(confidence, edges[1:-1])
    count, sure, true = (
        np.bincount(cell, weights, n_images * n_bins).reshape(n_images, n_bins)
        for weights in (None, confidence, is_true.astype(float))
    )
    drawn = rng.multinomial(n_images, np.full(n_images, 1 / n_images), n_resamples)
    there = count.sum(0) > 0
    n_with = (count[:, there] > 0).sum(0)
    with np.errstate(invalid="ignore"):  # a bin may be empty in a resample
        varies = np.nanvar((drawn @ true[:, there]) / (drawn @ count[:, there]), axis=0)
    n, sure, true = (of.sum(0)[there] for of in (count, sure, true))
    share = true / n
    with np.errstate(divide="ignore", invalid="ignore"):
        effective = np.where(varies > 0, np.minimum(share * (1 - share) / varies, n_with), n_with)
    low, high = wilson(share, effective, stats.norm.ppf((1 + level) / 2))
    return Reliability(sure / n, share, low, high, n.astype(int), n_with)


def calibration_error(confidence, is_true, edges=10):
    """Return the expected calibration error: the mean distance of confidence and frequency over statements.

    Arguments are those of `reliability`.
    """
    ids = np.arange(len(np.atleast_1d(confidence)))
    found = reliability(confidence, is_true, ids, np.random.default_rng(0), edges, n_resamples=100)
    return float(np.average(np.abs(found.confidence - found.frequency), weights=found.n))


def _truth(is_true, confidence):
    is_true = dense("is_true", is_true)
    if is_true.dtype != bool:
        raise ValueError(f"Expected is_true as bool, got {is_true.dtype}.")
    check_shapes("is_true", is_true, "confidence", np.asarray(confidence))
    return is_true
