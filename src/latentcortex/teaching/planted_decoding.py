"""Make the tasks of chapters 05 to 09: regions, strength, shared space, settings, weighing, needed brains."""

import numpy as np

from latentcortex.teaching.grading import Planted

REGIONS = ("early", "midventral", "midlateral", "ventral", "lateral", "parietal")


def plant_region(number, n_images=300, n_voxels=40, n_features=30):
    """Return the task to find the region that carries information about z."""
    rng = np.random.default_rng(number)
    carrier = str(rng.choice(REGIONS))
    z = rng.standard_normal((n_images, n_features))
    betas = {}
    for region in REGIONS:
        # What every region responds to, such as how bright the image is, says nothing about z.
        other = rng.standard_normal((n_images, 6)) @ rng.standard_normal((6, n_voxels))
        # The other regions carry as many features of something else, so no region stands out without z.
        carried = z if region == carrier else rng.standard_normal(z.shape)
        told = carried @ rng.standard_normal((n_features, n_voxels)) / np.sqrt(n_features)
        noise = rng.standard_normal((n_images, n_voxels))
        betas[region] = rng.uniform(0.5, 2) * (0.6 * other + told + noise)
    loud = max(REGIONS, key=lambda region: betas[region].std())
    question = f"""One of {len(REGIONS)} regions carries information about z. Which? Answer with its
name.
    data["betas"]  a dict: for each region ({n_images} images, {n_voxels} voxels), percent signal change
    data["z"]      ({n_images} images, {n_features})"""
    hint = "It responds most strongly. How strongly a region responds does not say what it responds to."
    mistakes = () if loud == carrier else ((loud, hint),)
    return Planted(question, {"betas": betas, "z": z}, carrier, choices=REGIONS, mistakes=mistakes)


def plant_strength(number, n_images=200, n_timesteps=1000):
    """Return the task to estimate the strength with which latents were noised."""
    rng = np.random.default_rng(number)
    betas = np.linspace(0.00085**0.5, 0.012**0.5, n_timesteps) ** 2
    kept = np.cumprod(1 - betas)
    # Later than that, 1 - sqrt(alphas_cumprod) is almost the strength, for no reason.
    timestep = int(rng.integers(250, 521))
    latents = rng.standard_normal((n_images, 4, 8, 8))
    noise = rng.standard_normal(latents.shape)
    start = np.sqrt(kept[timestep]) * latents + np.sqrt(1 - kept[timestep]) * noise
    question = f"""Decoded latents were noised to a timestep t of {n_timesteps}, from where the
sampler starts. The strength is (t + 1) / {n_timesteps}. Which strength was it? Within 0.02 is
right.
    data["latents"]         ({n_images}, 4, 8, 8), decoded
    data["start"]           ({n_images}, 4, 8, 8), where the sampler starts
    data["alphas_cumprod"]  ({n_timesteps},), share of the variance that is left of the latents at each t"""
    hint = "That is the share of noise at this timestep. Look up its timestep in the schedule."
    return Planted(
        question,
        {"latents": latents, "start": start, "alphas_cumprod": kept},
        ((timestep + 1) / n_timesteps,),
        ("strength",),
        ((0, 1),),
        (0.02,),
        mistakes=(((float(1 - kept[timestep]),), hint),),
    )


def plant_shared(number, n_images=800, n_vertices=40):
    """Return the task to find how many dimensions the responses of two subjects share."""
    rng = np.random.default_rng(number)
    n_shared, private = int(rng.integers(2, 9)), rng.integers(3, 9, 2)
    common = rng.standard_normal((n_images, n_shared))
    data = {}
    for name, n_private in zip(("first", "second"), private, strict=True):
        own = rng.standard_normal((n_images, n_private))
        weights = np.linalg.qr(rng.standard_normal((n_vertices, n_shared + n_private)))[0].T * 5
        data[name] = np.hstack([common, own]) @ weights + rng.standard_normal((n_images, n_vertices))
    question = f"""Two subjects saw the same {n_images} images. Both respond along a few dimensions.
Some of the dimensions are shared: the same picture lies at the same place in both. Others belong to
one subject alone. How many dimensions are shared? Answer with a whole number.
    data["first"], data["second"]  ({n_images} images in the same order, {n_vertices} vertices)"""
    hint = "That many dimensions has one subject alone. Which of them does the other subject have as well?"
    return Planted(
        question,
        data,
        (float(n_shared),),
        ("number of dimensions",),
        ((0, n_vertices),),
        (0.0,),
        mistakes=tuple(((float(n_shared + n),), hint) for n in private),
    )


def plant_setting(number, n_images=3000):
    """Return the task to find the strength of guidance that is best on average."""
    rng = np.random.default_rng(number)
    kappa = np.array([0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8])
    best = int(rng.integers(1, len(kappa) - 1))
    curve = 0.7 - 0.02 * np.abs(np.arange(len(kappa)) - best)
    difficulty = rng.normal(0, 0.15, (n_images, 1))
    scores = (curve + difficulty + rng.normal(0, 0.25, (n_images, len(kappa)))).astype("float32")
    few = int(scores[:12].mean(axis=0).argmax())
    question = f"""Validation images were drawn with {len(kappa)} strengths of guidance, and each
drawing was scored. The first 12 images are shown in a figure. Which strength is best for images in
general? Answer with a value of data["kappa"].
    data["kappa"]   ({len(kappa)},)
    data["scores"]  ({n_images} images, {len(kappa)} strengths), higher is better"""
    hint = "It looks best on the dozen images of the figure. A dozen images is too few to choose by."
    return Planted(
        question,
        {"kappa": kappa, "scores": scores},
        (float(kappa[best]),),
        ("strength",),
        ((0, float(kappa[-1])),),
        (1e-6,),
        mistakes=() if few == best else (((float(kappa[few]),), hint),),
    )


def plant_weigh(number, n_images=4000):
    """Return the task to correct the guess of a network by a decoder's prediction."""
    rng, width, far = np.random.default_rng(number), 0.0, -1.0
    while far < 2 * width:  # until each mistake is far from the answer
        spread, r2 = rng.uniform(2, 6), rng.uniform(0.2, 0.5)
        noise, left = spread**2 * (1 - r2) / r2, spread**2 * (1 - r2)
        measured = spread * rng.choice([-1, 1]) * rng.uniform(1.5, 2.5)
        guess, gain = -measured * rng.uniform(0.3, 0.6), rng.uniform(0.3, 0.7)
        error, width = noise * gain / (1 - gain), 0.08 * spread
        answer = _corrected(guess, error, measured, noise)
        wrong = {
            "shrunk": _corrected(guess, error, r2 * measured, noise),
            "left": _corrected(guess, error, measured, left),
            "both": _corrected(guess, error, r2 * measured, left),
            "measurement": measured,
            "prediction": r2 * measured,
        }
        far = min(abs(of - answer) for of in wrong.values())
    true = spread * rng.standard_normal(n_images)
    predicted = r2 * (true + noise**0.5 * rng.standard_normal(n_images))
    data = {
        "true": true,
        "predicted": predicted,
        "prediction": float(r2 * measured),
        "guess": float(guess),
        "guess_variance": float(error),
    }
    question = f"""A component of z was decoded from the responses to {n_images} training images, each
by a decoder that had not learned from it. For a new image, the decoder makes the prediction
data["prediction"]. The network guesses data["guess"], and its error has the variance
data["guess_variance"]. What is the guess after the correction, at a trust of 1? Within {width:.2f} is
right.
    data["true"], data["predicted"]  ({n_images} images), mean 0
    data["prediction"], data["guess"], data["guess_variance"]  numbers"""
    shrunk = "Ridge shrinks its prediction. Undo that before you weigh it as a measurement."
    hints = {
        "shrunk": shrunk,
        "left": "That variance is what the prediction leaves open. The noise of the measurement is larger.",
        "both": shrunk,
        "measurement": "That is the measurement itself, as if it had no noise.",
        "prediction": "That is the prediction itself. The guess of the network counts as well.",
    }
    mistakes = tuple(((float(of),), hints[name]) for name, of in wrong.items())
    ends = (-10 * spread, 10 * spread)
    return Planted(question, data, (float(answer),), ("guess",), (ends,), (width,), mistakes=mistakes)


def _corrected(guess, error, measured, noise):
    """Return a guess whose error has a variance, corrected by a measurement of some noise."""
    return guess + error / (error + noise) * (measured - guess)


def plant_needs_brain(number, n_sets=8, n_images=150, n_features=60):
    """Return the task to find the drawings that needed the brain of someone who saw the image."""
    rng = np.random.default_rng(number)
    names = tuple("ABCDEFGHIJ"[:n_sets])
    informed, average = rng.choice(n_sets, 2, replace=False)
    # How strongly a system draws the average scene. The informed one is seldom the weakest. It is not the one
    # most like the originals either, because another system draws little but the average scene.
    habits = np.exp(rng.uniform(np.log(0.3), np.log(3), n_sets))
    habits[informed], habits[average] = rng.uniform(0.4, 0.8), 3
    typical = rng.standard_normal(n_features)
    own = rng.standard_normal((n_images, n_features))
    drawings = {}
    for k, name in enumerate(names):
        about = own if k == informed else rng.standard_normal(own.shape)
        drawings[name] = habits[k] * typical + 0.3 * about + 0.8 * rng.standard_normal(own.shape)
    question = f"""{n_sets} systems drew one picture for each of {n_images} images. Only one system
had the responses of a brain; the others draw what scenes look like on average. Which system had
them? Answer with its letter.
    data["originals"]  ({n_images} images, {n_features} features)
    data["drawings"]   a dict: for each letter ({n_images} images, {n_features} features), same order"""
    typical_hint = (
        "All images resemble the average scene. Compare with how much a drawing resembles other images."
    )
    others = tuple((name, typical_hint) for k, name in enumerate(names) if k != informed)
    return Planted(
        question,
        {"originals": typical + own, "drawings": drawings},
        names[informed],
        choices=names,
        mistakes=others,
    )
