"""Virtual studies: small simulated experiments in memory, to see how often a finding would be found.

Several virtual subjects see the same test images, and training images that each draws from one pool. Sessions
do not drift, and the noise of an average over repeats is drawn at once. The ridge regressions are those of
chapters 5 and 10, written so that all levels of signal to noise share their products.
"""

from math import sqrt

import numpy as np
import torch

from latentcortex import encoding, metrics, nsd, ridge
from latentcortex.mini.cortex import SPECIFIC_SHARE
from latentcortex.ridge.cross_validation import gcv_scores
from latentcortex.ridge.decomposition import Decomposition, eigenvectors
from latentcortex.studies import virtual_subjects
from latentcortex.studies.maps import LOWEST_CEILING

FINDINGS = ("early minus ventral", "V1 minus V2", "z decoded", "nothing planted")
PAIRS = (("early", "ventral"), ("V1", "V2"), ("midventral", "midlateral"))  # of all but z decoded
TRIALS = (375, 750, 1500, 3000, 6000)  # of each subject: half a session of 750 to eight of them
REPEATS = (1, 2, 3)
SIGNAL = (0.5, 0.7, 1.0, 1.4)  # factors of the planted ncsnr
N_SUBJECTS = 8  # simulated for each set of images
N_ALONE = 2  # of them have an interval over images
N_DRAWS = 200  # of test images, for these intervals
TEST_SHARE = 0.2  # of the images, as in the book: 200 of 1,000


def fit_ridge(eigen, cross, total, n_rows, alphas):
    """Return ridge coefficients, each target at the penalty that generalised cross-validation likes best.

    Parameters
    ----------
    eigen : tuple of float64 tensors (p,), (p, p)
        Eigenvalues and eigenvectors of the products of the centred columns.
    cross : tensor (p, n_targets)
        Products of columns with centred targets.
    total : tensor (n_targets,), of the same dtype
        Sums of squares of the centred targets.
    n_rows : int
    alphas : float64 tensor (n_alphas,)

    Returns
    -------
    tensor (p, n_targets), of the dtype of `cross`
    """
    values, vectors = eigen
    vectors = vectors.to(cross.dtype)
    projected = vectors.T @ cross
    decomposed = Decomposition(None, values, vectors, None, False, None)
    weights = torch.ones(n_rows, dtype=torch.float64)
    scores, _ = gcv_scores(decomposed, projected, total, torch.zeros_like(total), weights, alphas)
    return vectors @ (projected / (values[:, None] + alphas[scores.argmax(0)]).to(cross.dtype))


class Seen:
    """Responses of one virtual subject to training and test images, as signal and noise.

    Both are centred on their means over the training images, as a decoder centres them.

    Parameters
    ----------
    body : virtual_subjects.Body
    train, test : int arrays
        Rows of the pool.
    n_repeats : int
        Trials in the average of each image.
    rng : numpy.random.Generator

    Attributes
    ----------
    levels : list of float32 arrays (n_vertices,)
        Ratios of signal to noise (ncsnr) at each factor of SIGNAL.
    """

    def __init__(self, body, train, test, n_repeats, rng):
        self.body, self.train, self.test, self.n_repeats = body, train, test, n_repeats
        self.levels = [np.float32(factor) * body.ncsnr for factor in SIGNAL]
        rows, n = np.concatenate([train, test]), len(body.ncsnr)
        white = rng.standard_normal((2, len(rows), n), dtype=np.float32)
        signal = sqrt(1 - SPECIFIC_SHARE) * body.tuned[rows]
        signal += sqrt(SPECIFIC_SHARE) * (white[0] @ body.specific)
        parts = signal, white[1] @ body.noise / np.float32(sqrt(n_repeats))
        parts = [of - of[: len(train)].mean(0) for of in parts]
        self.signal, self.noise = (of[: len(train)] for of in parts)
        self.test_signal, self.test_noise = (of[len(train) :] for of in parts)

    def tested(self, ncsnr):
        """Return averaged betas of the test images, in standard deviations of a trial's noise."""
        return ncsnr * self.test_signal + self.test_noise

    def encode(self, features, alphas):
        """Yield predicted betas (n_test, n_vertices) of the test images for each level.

        Parameters
        ----------
        features : float32 array (n_images of the pool, n_features)
        alphas : float64 tensor (n_alphas,)
        """
        mean = features[self.train].mean(0)
        columns, test = features[self.train] - mean, features[self.test] - mean
        eigen = eigenvectors(torch.from_numpy(columns.T @ columns).double())
        parts = columns.T @ self.signal, columns.T @ self.noise
        pairs = ((self.signal, self.signal), (self.noise, self.noise), (self.signal, self.noise))
        of_signal, of_noise, of_both = ((a * b).sum(0) for a, b in pairs)
        for ncsnr in self.levels:
            cross = torch.from_numpy(ncsnr * parts[0] + parts[1])
            total = torch.from_numpy(ncsnr**2 * of_signal + of_noise + 2 * ncsnr * of_both)
            yield test @ fit_ridge(eigen, cross, total, len(columns), alphas).numpy()

    def decode(self, features):
        """Yield features (n_test, n_features) that are decoded from V1 for each level.

        They are centred on the mean of the training images.

        Parameters
        ----------
        features : float32 array (n_images of the pool, n_features)
        """
        v1, n = self.body.areas["V1"], len(self.train)
        known = features[self.train] - features[self.train].mean(0)
        signal, noise = self.signal[:, v1], self.noise[:, v1]
        of_signal, of_noise, of_both = signal.T @ signal, noise.T @ noise, signal.T @ noise
        parts, total = (signal.T @ known, noise.T @ known), torch.from_numpy((known**2).sum(0))
        alphas = torch.from_numpy(ridge.alpha_grid(int(v1.sum())))
        for ncsnr in self.levels:
            a = ncsnr[v1][:, None]
            gram = a * a.T * of_signal + of_noise + a * of_both + a.T * of_both.T
            scale = np.sqrt(np.diag(gram) / n)[:, None]  # the responses are z-scored
            eigen = eigenvectors(torch.from_numpy(gram / scale / scale.T).double())
            cross = torch.from_numpy((a * parts[0] + parts[1]) / scale)
            coef = fit_ridge(eigen, cross, total, n, alphas).numpy()
            yield self.tested(ncsnr)[:, v1] / scale.T @ coef


def differences(preference, areas):
    """Return the means of the regions of PAIRS, the first less the second: (..., 3).

    Parameters
    ----------
    preference : array (..., n_vertices)
        NaN where the ceiling is too low.
    areas : dict of str to bool array (n_vertices,)
    """
    asked = np.isfinite(preference).reshape(-1, preference.shape[-1]).all(0)

    def mean(name):
        chosen = preference[..., areas[name] & asked]
        return chosen.mean(-1) if chosen.shape[-1] else np.full(chosen.shape[:-1], np.nan)

    return np.stack([mean(first) - mean(second) for first, second in PAIRS], axis=-1)


def estimates(images, seen, seed=None):
    """Return what one subject finds at each level of signal to noise, and its intervals over images.

    Parameters
    ----------
    images : virtual_subjects.Images
    seen : Seen
    seed : int, optional
        Of the images that are drawn for the intervals; without it there are none.

    Returns
    -------
    of_level : array (n_levels, n_findings)
    intervals : array (n_levels, n_findings, 2), or (0,) without a seed
    """
    predicted = [seen.encode(images.spaces[name], images.alphas[name]) for name in "zc"]
    true = images.decoded[seen.test] - images.decoded[seen.train].mean(0)
    of_level, intervals = [], []
    for ncsnr, decoded, *pair in zip(seen.levels, seen.decode(images.decoded), *predicted, strict=True):
        betas, ceiling = seen.tested(ncsnr), nsd.noise_ceiling(ncsnr, seen.n_repeats)

        def compare(r_z, r_c, ceiling=ceiling):
            preference = encoding.preference(r_z, r_c, ceiling, LOWEST_CEILING)
            return differences(preference, seen.body.areas)

        of_pairs = compare(*(encoding.correlation(of, betas) for of in pair))
        scores = metrics.identification(true, decoded) - 0.5
        of_level.append([*of_pairs[:2], scores.mean(), of_pairs[2]])
        if seed is not None:
            # The same seed draws the same images for both spaces.
            draws = [
                encoding.bootstrap_correlation(of, betas, np.random.default_rng(seed), N_DRAWS) for of in pair
            ]
            ends = np.quantile(compare(*draws), [0.025, 0.975], axis=0).T
            of_scores = metrics.bootstrap_mean(scores, np.random.default_rng(seed))
            intervals.append([*ends[:2], (of_scores.low, of_scores.high), ends[2]])
    return np.array(of_level), np.array(intervals)


def simulate(images, bodies, n_trials, n_repeats, rng):
    """Simulate subjects that see the same test images.

    Parameters
    ----------
    images : virtual_subjects.Images
    bodies : sequence of virtual_subjects.Body
        One for each subject.
    n_trials : int
        Of each subject, for training and test images together.
    n_repeats : int
        Showings of each image.
    rng : numpy.random.Generator

    Returns
    -------
    estimates : float32 array (n_subjects, n_levels, n_findings)
    intervals : float32 array (N_ALONE, n_levels, n_findings, 2)
        95 %, over images, of the first subjects.

    Raises
    ------
    ValueError
        If a fifth of the images is more than there are test images.
    """
    n_images = n_trials // n_repeats
    n_test = round(TEST_SHARE * n_images)
    if n_test > len(images.test):
        raise ValueError(f"Expected at most {len(images.test)} test images, got {n_test}.")
    of_subjects, intervals = [], []
    for k, body in enumerate(bodies):
        train = rng.choice(images.others, n_images - n_test, replace=False)
        seen = Seen(body, train, images.test[:n_test], n_repeats, rng)
        seed = int(rng.integers(2**31)) if k < N_ALONE else None
        of_level, ends = estimates(images, seen, seed)
        of_subjects.append(of_level)
        intervals += [ends] if seed is not None else []
    return np.array(of_subjects, np.float32), np.array(intervals, np.float32)


def described(study):
    """Return what sets of studies depend on besides the code (JSON-able)."""
    trees = [tree.identity for tree in virtual_subjects.trees(study)]
    return {**study.description(*virtual_subjects.NETWORKS), "trees": trees}


def set_of_studies(study, number):
    """Return what subjects who belong to no other set find in every design; a set is kept.

    Parameters
    ----------
    study : Study
    number : int
        Of the set. It sets the seeds.

    Returns
    -------
    dict of str to array
        ``"estimates"`` (n_trials, n_repeats, N_SUBJECTS, n_levels, n_findings), ``"intervals"`` (n_trials,
        n_repeats, N_ALONE, n_levels, n_findings, 2), and ``"ncsnr"`` (N_SUBJECTS, n_vertices).
    """
    shelf = study.shelf("virtual-sets", [_set_of_studies], described(study))
    return shelf.get((number,), lambda: _set_of_studies(study, number))


def _set_of_studies(study, number):
    pool = virtual_subjects.pool(study)
    images = virtual_subjects.draw_images(pool.features, np.random.default_rng(number))
    subjects = range(number * N_SUBJECTS, (number + 1) * N_SUBJECTS)
    bodies = [virtual_subjects.make_body(pool, k) for k in subjects]
    found = {"estimates": [], "intervals": []}
    for n_trials in TRIALS:
        for n_repeats in REPEATS:
            rng = np.random.default_rng([number, n_trials, n_repeats])
            made = simulate(images, bodies, n_trials, n_repeats, rng)
            for of, values in zip(found.values(), made, strict=True):
                of.append(values)
    designs = len(TRIALS), len(REPEATS)
    arrays = {name: np.stack(of).reshape(*designs, *of[0].shape) for name, of in found.items()}
    return {**arrays, "ncsnr": np.stack([body.ncsnr for body in bodies])}
