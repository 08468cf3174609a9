"""Make the tasks of chapters 10 to 15: receptive field, noise of draws, layer, mixture, leak."""

import numpy as np

from latentcortex.teaching.grading import Planted

WIDTH = 8.4  # of the picture, in degrees, as in NSD


def plant_field(number, n_images=500, n_cells=21):
    """Return the task to find centre and size of the receptive field of one vertex."""
    rng = np.random.default_rng(number)
    x, y = rng.uniform(1, 2.5, 2) * rng.choice([-1, 1], 2)
    size = rng.uniform(0.5, 2)
    places = ((np.arange(n_cells) + 0.5) / n_cells - 0.5) * WIDTH
    across, down = (np.exp(-0.5 * ((u - c) / size) ** 2) for u, c in ((places, x), (-places, y)))
    field = np.outer(down, across) / (down.sum() * across.sum())
    maps = rng.gamma(1.0, 1.0, (n_images, n_cells, n_cells))
    response = np.tensordot(maps, field, 2)
    response = (response - response.mean()) / response.std()
    betas = response + rng.normal(0, 0.4, n_images)
    question = f"""A vertex responds to the contrast inside its receptive field, a round Gaussian.
Where is the field, and how large? Answer with three numbers in degrees: x (positive to the right),
y (positive upwards) of the centre, where (0, 0) is the middle of the picture, and the standard
deviation. Within 0.35 for x and y and 0.2 for the size is right.
    data["maps"]   ({n_images} images, {n_cells} rows from top to bottom, {n_cells} columns), contrast
    data["betas"]  ({n_images},)
    data["width"]  {WIDTH}, width of the picture in degrees"""
    hint = (
        "The size and x are right, but y points down. Row 0 is the top of the picture, where y is positive."
    )
    return Planted(
        question,
        {"maps": maps, "betas": betas, "width": WIDTH},
        (float(x), float(y), float(size)),
        ("x", "y", "size"),
        ((-WIDTH / 2, WIDTH / 2), (-WIDTH / 2, WIDTH / 2), (0.1, WIDTH / 2)),
        (0.35, 0.35, 0.2),
        mistakes=(((float(x), float(-y), float(size)), hint),),
    )


def plant_two_draws(number, n_images=100, n_draws=4):
    """Return the task to estimate the share of noise in draws of noisy latents, without clean latents."""
    rng = np.random.default_rng(number)
    share = rng.uniform(0.2, 0.8)
    clean = rng.standard_normal((n_images, 4, 8, 8))
    noise = rng.standard_normal((n_draws, *clean.shape))
    noisy = np.sqrt(1 - share) * clean + np.sqrt(share) * noise
    question = f"""The same latents were noised {n_draws} times to the same noise level, with new
noise each time. The clean latents are lost. Which share of the variance of the noisy latents is
noise? Within 0.03 is right.
    data["noisy_latents"]  ({n_draws} draws, {n_images} images, 4, 8, 8), variance 1"""
    hint = "One draw is not the clean latent: both have noise, so their correlation must not be squared."
    return Planted(
        question,
        {"noisy_latents": noisy.astype("float32")},
        (float(share),),
        ("share",),
        ((0, 1),),
        (0.03,),
        mistakes=(((float(1 - (1 - share) ** 2),), hint),),
    )


def plant_layer(number, n_images=300, n_vertices=25):
    """Return the task to find the layer that the vertices respond to."""
    rng = np.random.default_rng(number)
    sizes = rng.permutation([10, 15, 20, 30, 40, 150, 200, 250])
    planted = int(rng.choice(np.flatnonzero(sizes < 100)))
    image = rng.standard_normal((n_images, 10))
    layers = []
    for size in sizes:
        common = image @ rng.standard_normal((10, size)) / np.sqrt(10)
        layers.append(0.5 * common + rng.standard_normal((n_images, size)))
    weights = rng.standard_normal((sizes[planted], n_vertices))
    signal = layers[planted] @ weights
    signal = signal / signal.std(axis=0)
    betas = signal + rng.standard_normal(signal.shape)
    names = tuple(f"layer {k}" for k in range(len(sizes)))
    question = f"""The vertices respond to one of {len(sizes)} layers of a network. The layers
resemble each other and have different numbers of features. Which layer is it? Answer with its name.
    data["layers"]  a dict: for each name ({n_images} images, as many features as the layer has)
    data["betas"]   ({n_images} images, {n_vertices} vertices)"""
    hint = "It has many features, so it fits these images well. Compare on images that were not fitted."
    large = tuple((names[k], hint) for k in np.flatnonzero(sizes > 100))
    return Planted(
        question,
        {"layers": dict(zip(names, layers, strict=True)), "betas": betas},
        names[planted],
        choices=names,
        mistakes=large,
    )


def plant_mixture(number, n_images=1500, n_vertices=40):
    """Return the task to estimate the share of variance that z explains and c does not."""
    rng = np.random.default_rng(number)
    # Variances of what z, c and both explain, and of noise.
    parts = rng.uniform(0.08, 0.6, 3)
    unique, of_c, both = 0.6 * parts / parts.sum()
    z_own, c_own, common = rng.standard_normal((3, n_images, 8))
    mix_z, mix_c = (np.linalg.qr(rng.standard_normal((16, 16)))[0] for _ in range(2))
    betas = np.sqrt(0.4) * rng.standard_normal((n_images, n_vertices))
    for block, variance in ((z_own, unique), (c_own, of_c), (common, both)):
        weights = rng.standard_normal((8, n_vertices))
        betas = betas + np.sqrt(variance) * block @ (weights / np.linalg.norm(weights, axis=0))
    question = f"""Vertices respond to z and to c, which say partly the same about an image. Which
share of the variance of the responses (noise included) do z and c together explain that c alone
does not? Average over vertices. Within 0.02 is right.
    data["z"], data["c"]  ({n_images} images, 16)
    data["betas"]         ({n_images} images, {n_vertices} vertices)"""
    hint = "That is all that z explains. A part of it is explained by c as well, so it is not unique to z."
    return Planted(
        question,
        {"z": np.hstack([z_own, common]) @ mix_z, "c": np.hstack([c_own, common]) @ mix_c, "betas": betas},
        (float(unique),),
        ("share",),
        ((-1, 1),),
        (0.02,),
        mistakes=(((float(unique + both),), hint),),
    )


def plant_leak(number, n_images=120, n_voxels=400):
    """Return the task to find the pipeline that has seen the test images."""
    rng = np.random.default_rng(number)
    z = rng.standard_normal(n_images)
    weights = np.where(np.arange(n_voxels) < 30, 0.5, 0.0)
    betas = z[:, None] * weights + rng.standard_normal((n_images, n_voxels))
    betas = betas[:, rng.permutation(n_voxels)]
    is_train = np.arange(n_images) < n_images * 2 // 3
    # The leak chooses few voxels, so a clean pipeline scores higher on real responses.
    ways = [("train", 3), ("train", 6), ("train", 25), ("train", 30), ("train", 35), ("all", 4)]
    names, order = tuple("ABCDEF"), rng.permutation(len(ways))
    pipelines = {name: _pipeline(*ways[k]) for name, k in zip(names, order, strict=True)}
    question = f"""Six pipelines choose voxels, fit a decoder of one number of z and return its
correlation on test images. One of them chooses its voxels with the help of the test images. Which?
Answer with its letter. You can run each pipeline as often as you like, on these data and on any you
make from them.
    data["pipelines"]  a dict: for each letter a function of (betas, z, is_train) that returns a correlation
    data["betas"]      ({n_images} images, {n_voxels} voxels)
    data["z"]          ({n_images},)
    data["is_train"]   ({n_images},), bool"""
    hint = "A high score is not a leak, and a leak may score low. Try data with nothing to find."
    leaky = names[int(np.flatnonzero(order == len(ways) - 1)[0])]
    return Planted(
        question,
        {"pipelines": pipelines, "betas": betas, "z": z, "is_train": is_train},
        leaky,
        choices=names,
        mistakes=tuple((name, hint) for name in names if name != leaky),
    )


def plant_preference(number, n_images=300, n_features=8):
    """Return the task to find the region that prefers z to c, whatever its noise."""
    rng = np.random.default_rng(number)
    names = tuple("ABCDE")
    prefers, clearest, murkiest = (names[k] for k in rng.choice(len(names), 3, replace=False))
    z, c = rng.standard_normal((2, n_images, n_features))
    betas = {}
    for name, n_voxels in zip(names, rng.permutation([30, 40, 50, 60, 70]), strict=True):
        share = 0.75 if name == prefers else rng.uniform(0.3, 0.45)
        noise = {clearest: 0.6, murkiest: 6.0}.get(name, rng.uniform(1.5, 2.5))
        told = [of @ rng.standard_normal((n_features, n_voxels)) / np.sqrt(n_features) for of in (z, c)]
        signal = np.sqrt(share) * told[0] + np.sqrt(1 - share) * told[1]
        # The level of a response says nothing about noise: each region has a gain of its own.
        betas[name] = rng.uniform(0.5, 2) * (signal + noise * rng.standard_normal(signal.shape))
    question = f"""In one of {len(names)} regions z explains more of the responses than c does; in all
others c explains more. Which region is it? Regions differ in noise and in the number of voxels.
Answer with its letter.
    data["betas"]  a dict: for each letter ({n_images} images, n_voxels), percent signal change
    data["z"]      ({n_images} images, {n_features})
    data["c"]      ({n_images} images, {n_features})"""
    hint = "z is decoded best there because the responses are least noisy. What about c?"
    return Planted(
        question, {"betas": betas, "z": z, "c": c}, prefers, choices=names, mistakes=((clearest, hint),)
    )


def _pipeline(chosen_on, n_chosen, penalty=10.0):
    """Return a decoder of a few voxels that go best with z, chosen on training or on all images."""

    def run(betas, z, is_train):
        rows = is_train if chosen_on == "train" else np.ones_like(is_train)
        x, y = betas[rows] - betas[rows].mean(axis=0), z[rows] - z[rows].mean()
        goes_with = np.abs(x.T @ y) / np.linalg.norm(x, axis=0)
        best = np.argsort(goes_with)[-n_chosen:]
        x = betas[:, best] - betas[is_train][:, best].mean(axis=0)
        y = z[is_train] - z[is_train].mean()
        gram = x[is_train].T @ x[is_train] + penalty * np.eye(n_chosen)
        predicted = x[~is_train] @ np.linalg.solve(gram, x[is_train].T @ y)
        return float(np.corrcoef(predicted, z[~is_train])[0, 1])

    return run
