"""Make the tasks of chapters 01 to 04: sessions, noise ceiling, noise in a latent, ridge penalty."""

import numpy as np

from latentcortex.teaching.grading import Planted


def plant_sessions(number, n_sessions=12, n_trials=75, n_vertices=60):
    """Return the task to find the session that was measured with another gain."""
    rng = np.random.default_rng(number)
    odd = int(rng.integers(n_sessions))
    session = np.repeat(np.arange(n_sessions), n_trials)
    # Means differ more between the vertices of some sessions, so the spread of all responses says nothing.
    pattern = rng.uniform(0.3, 2.5, (n_sessions, 1)) * rng.standard_normal((n_sessions, n_vertices))
    level = pattern + rng.normal(0, 1.5, (n_sessions, 1))
    gain = rng.normal(1, 0.02, n_sessions)
    gain[odd] = 1.25
    noise = rng.standard_normal((len(session), n_vertices))
    betas = (level[session] + gain[session, None] * noise).astype("float32")
    means = np.array([betas[session == k].mean() for k in range(n_sessions)])
    farthest = str(int(np.abs(means - means.mean()).argmax()))
    question = f"""In every session the responses of each vertex have a mean of their own. In one
session, the scanner also multiplied all responses by another factor. Which session is it? Answer
with its number, as text or int.
    data["betas"]    ({len(session)} trials, {n_vertices} vertices), percent signal change
    data["session"]  ({len(session)},), 0 to {n_sessions - 1}"""
    hint = "Its mean lies farthest from the others', but a mean is not a gain: look at the spread."
    return Planted(
        question,
        {"betas": betas, "session": session},
        str(odd),
        choices=tuple(map(str, range(n_sessions))),
        mistakes=((farthest, hint),),
    )


def plant_ceiling(number, n_images=300, n_vertices=200, n_repeats=3):
    """Return the task to estimate the mean noise ceiling of responses averaged over three repeats."""
    rng = np.random.default_rng(number)
    ncsnr = rng.uniform(0.4, 1.2) * rng.uniform(0.7, 1.3, n_vertices)
    image_ids = np.repeat(rng.choice(73_000, n_images, replace=False), n_repeats)
    signal = np.repeat(rng.standard_normal((n_images, n_vertices)), n_repeats, axis=0) * ncsnr
    betas = signal + rng.standard_normal(signal.shape)
    order = rng.permutation(len(betas))
    true, once = ((ncsnr**2 / (ncsnr**2 + 1 / n)).mean() for n in (n_repeats, 1))
    question = f"""Each image was shown {n_repeats} times, in random order. What is the noise ceiling
of the mean of {n_repeats} showings, averaged over vertices? It is a share of variance. Within 0.03
of the planted ceiling is right.
    data["betas"]      ({len(betas)} trials, {n_vertices} vertices)
    data["image_ids"]  ({len(betas)},), which image was shown"""
    hint = "That is the ceiling of a single showing. Averaging takes noise out, so the ceiling rises."
    return Planted(
        question,
        {"betas": betas[order].astype("float32"), "image_ids": image_ids[order]},
        (float(true),),
        ("ceiling",),
        ((0, 1),),
        (0.03,),
        mistakes=(((float(once),), hint),),
    )


def plant_noise_share(number, n_images=64):
    """Return the task to estimate the share of noise in the variance of a noisy latent."""
    rng = np.random.default_rng(number)
    # Below 0.4, the variance of the difference is almost the share, because little was scaled.
    share = rng.uniform(0.4, 0.8)
    clean = rng.standard_normal((n_images, 4, 8, 8))
    noisy = np.sqrt(1 - share) * clean + np.sqrt(share) * rng.standard_normal(clean.shape)
    question = f"""Noise was added to latents, and the sum was scaled back to a variance of 1. Which
share of the variance of the noisy latents is noise? Within 0.03 of the planted share is right.
    data["latents"]        ({n_images}, 4, 8, 8), variance 1
    data["noisy_latents"]  ({n_images}, 4, 8, 8), variance 1"""
    hint = "That is 1 - r. Variances add, not standard deviations, so the correlation must be squared."
    return Planted(
        question,
        {"latents": clean.astype("float32"), "noisy_latents": noisy.astype("float32")},
        (float(share),),
        ("share",),
        ((0, 1),),
        (0.03,),
        mistakes=(((float(1 - np.sqrt(1 - share)),), hint),),
    )


def plant_penalty(number, n_images=600, n_features=60):
    """Return the task to find the logarithm of the penalty that predicts new images best.

    For weights with variance v and noise with variance s, the best penalty is s / v, regardless of the
    responses (Hoerl and Kennard 1970, in their Bayesian interpretation).
    """
    rng = np.random.default_rng(number)
    log_alpha, n_voxels = rng.uniform(1.2, 3.2), int(rng.integers(150, 401))
    betas = rng.standard_normal((n_images, n_voxels))
    weights = rng.standard_normal((n_voxels, n_features)) / np.sqrt(n_voxels)
    noise = rng.standard_normal((n_images, n_features)) * np.sqrt(10**log_alpha / n_voxels)
    question = f"""Ridge regression predicts {n_features} features from responses. Which penalty, the
same for all features, predicts new images best? Answer with its logarithm to base 10, from -1 to 6.
Within 0.3 is right: near the best penalty the score hardly changes.
    data["betas"]     ({n_images} images, {n_voxels} voxels), standard deviation 1
    data["features"]  ({n_images} images, {n_features}), mean 0"""
    hint = "So small a penalty fits the training images best, and new images badly."
    return Planted(
        question,
        {"betas": betas, "features": betas @ weights + noise},
        (float(log_alpha),),
        ("logarithm of the penalty",),
        ((-1, 6),),
        (0.3,),
        mistakes=(((-1.0,), hint),),
    )
