"""Simulated subjects whose voxels are different mixtures of the same few factors, for the tests."""

from types import SimpleNamespace

import numpy as np

from latentcortex.shared_space import NetworkSizes, TrainingSettings

SHAPES = {"c": (3, 8), "z": (4, 4, 4)}
SMALL = NetworkSizes(hidden_size=32, n_blocks=1, latent_channels=(8, 16), prior_depth=0)
QUICK = TrainingSettings(epochs=3, steps_per_epoch=4, warmup_epochs=1, lr=2e-3)
N_OWN, N_TEST = 120, 60


def simulate(subjects=("subj01", "subj02", "subj03"), n_voxels=40, noise=0.5, curved=True, seed=0):
    """Simulate trials of own images (two repeats) and test images (one), and targets of all.

    Voxels mix the factors linearly. Targets are linear in the magnitude of mixtures of factors, of
    which no linear decoder of the voxels knows anything, or without `curved` in the factors.

    Returns
    -------
    SimpleNamespace
        trials, test : dict by subject of (betas, image_ids)
        targets : dict of (features, image_ids), rows in random order
        n_voxels : dict by subject
    """
    rng = np.random.default_rng(seed)
    n_factors, n_images = 3, N_OWN * len(subjects) + N_TEST
    ids = np.sort(rng.choice(73_000, n_images, replace=False))
    factors = rng.standard_normal((n_images, n_factors))
    content = factors
    if curved:
        content = np.abs(factors @ rng.standard_normal((n_factors, n_factors)))
    trials, test, voxels = {}, {}, {}
    for k, subject in enumerate(subjects):
        voxels[subject] = n_voxels + 3 * k
        mixing = rng.standard_normal((n_factors, voxels[subject])) / np.sqrt(n_factors)

        def respond(rows, mixing=mixing):
            clean = factors[rows] @ mixing
            return (clean + noise * rng.standard_normal(clean.shape)).astype(np.float32)

        own = rng.permutation(np.repeat(np.arange(N_OWN) + k * N_OWN, 2))
        trials[subject] = (respond(own), ids[own])
        last = np.arange(n_images - N_TEST, n_images)
        test[subject] = (respond(last), ids[last])
    order = rng.permutation(n_images)
    targets = {}
    for name, shape in SHAPES.items():
        mixing = rng.standard_normal((n_factors, int(np.prod(shape))))
        features = 3 + 0.2 * (content @ mixing)  # not in the units of the network
        targets[name] = (features.reshape(-1, *shape).astype(np.float32)[order], ids[order])
    return SimpleNamespace(trials=trials, test=test, targets=targets, n_voxels=voxels)


def only(targets, *names):
    return {name: targets[name] for name in names}


def rows_of(target, image_ids):
    """Look the rows of a target up, one image after the other."""
    features, known = target
    return np.stack([features[list(known).index(i)] for i in image_ids])


def correlation(predicted, true):
    """Return the mean correlation over images of each number of a target that varies."""
    a, b = (x.reshape(len(x), -1) - x.reshape(len(x), -1).mean(0) for x in (predicted, true))
    return float(((a * b).sum(0) / np.sqrt((a**2).sum(0) * (b**2).sum(0))).mean())
