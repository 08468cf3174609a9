"""Virtual subjects: what is planted in some vertices of simulated brains, and the images that they see.

A virtual subject is a simulated cortex of `mini.cortex`, of which some vertices of a few regions are kept.
The images are those of three simulated trees. `virtual_studies` draws experiments from both.
"""

import functools
from dataclasses import dataclass

import numpy as np
import torch

from latentcortex import nsd, ridge
from latentcortex.mini import cortex, surface, tuning
from latentcortex.studies import maps
from latentcortex.studies.planted import read_scenes
from latentcortex.studies.targets import targets

POOL_SEEDS = (0, 1, 2)  # of the simulated trees whose images are shown
SEED_OF_BODIES = 1000  # the first one's; no simulated tree has such a seed
# Vertices drawn at random. The last two regions are planted alike: one mixture, one distribution of receptive
# fields and of ncsnr.
N_VERTICES = {"early": 240, "ventral": 120, "midventral": 100, "midlateral": 100}
N_TEST = 1200  # images of a set of studies that are kept for the test: a fifth of the largest design's
N_FITTED = 800  # other images that components and scales are fitted to: the book's subjects train on 800
N_DECODED = 60  # principal components of z that are decoded
LEAST_SPREAD = 1e-3  # of the largest: features that vary less are left out, as `encoding.low_rank` does
NETWORKS = ("vae", "text_encoder", "tokenizer")


@dataclass(frozen=True)
class Pool:
    """Hold the images that virtual studies draw from.

    Attributes
    ----------
    features : dict of str to float32 array (n_images, n_features)
        z and c of every image.
    low_maps : float32 array (n_images, 11 * 32 * 32)
        Of `mini.tuning.low_level_maps`, each column with variance 1, or 0 where it does not vary.
    scenes : list of mini.scenes.Scene
    """

    features: dict
    low_maps: np.ndarray
    scenes: list


@dataclass(frozen=True)
class Images:
    """Hold the images of one set of studies.

    Attributes
    ----------
    spaces : dict of str to float32 array (n_images of the pool, maps.N_COMPONENTS)
        z and c as chapter 10 gives them to an encoder, see `columns_of`.
    alphas : dict of str to float64 tensor (n_alphas,)
        Penalties of each space.
    decoded : float32 array (n_images of the pool, N_DECODED)
        Principal components of z, largest first.
    test, others : int arrays (N_TEST,), (n_others,)
        Rows of the pool: images of the tests, and all others. Nothing is fitted to the first.
    """

    spaces: dict
    alphas: dict
    decoded: np.ndarray
    test: np.ndarray
    others: np.ndarray


def draw_images(features, rng):
    """Return the `Images` of one set of studies, drawn from the pool's features z and c."""
    order = rng.permutation(len(features["z"]))
    test, others = np.split(order, [N_TEST])
    made = {name: columns_of(features[name], others[:N_FITTED]) for name in "zc"}
    return Images(
        {name: of[0] for name, of in made.items()},
        {name: torch.from_numpy(ridge.alpha_grid(of[2])) for name, of in made.items()},
        made["z"][1][:, :N_DECODED],
        test,
        others,
    )


def columns_of(features, fitted):
    """Return a feature space as chapter 10 gives it to an encoder, in fewer columns.

    Chapter 10 reduces features to principal components, transforms these back to the features' own axes and
    z-scores them there. The result is Z = S V' / d, with scores S, directions V and deviations d. If
    V' / d = Q s W', the columns S Q s have the same products ZZ' between images as Z, and predictions of a
    ridge regression depend on nothing else.

    Parameters
    ----------
    features : float32 array (n_images, n_features)
    fitted : int array (n_fitted,)
        Images that the components and deviations are fitted to.

    Returns
    -------
    columns : float32 array (n_images, n_components)
    scores : float32 array (n_images, n_components)
        Principal components, largest first.
    n_features : int
        Number of features that vary.
    """
    spread = features[fitted].std(0)
    varying = spread > LEAST_SPREAD * spread.max()
    rows = features[:, varying] - features[fitted][:, varying].mean(0)
    values, left = np.linalg.eigh((rows[fitted] @ rows[fitted].T).astype(float))
    values, left = (of[..., ::-1][..., : maps.N_COMPONENTS] for of in (values, left))
    directions = rows[fitted].T @ (left / np.sqrt(values)).astype(np.float32)
    deviations = np.sqrt(directions.astype(float) ** 2 @ values / len(fitted))
    scaled = directions / deviations[:, None]
    squares, rotation = np.linalg.eigh(scaled.T @ scaled)
    scores = rows @ directions
    return scores @ (rotation * np.sqrt(squares.clip(0))).astype(np.float32), scores, int(varying.sum())


@dataclass(frozen=True)
class Body:
    """Hold what is planted in the vertices that are kept of one virtual subject.

    Attributes
    ----------
    tuned : float32 array (n_images, n_vertices)
        What its tuning answers to each image of the pool: mean 0, variance 1.
    ncsnr : float32 array (n_vertices,)
    specific, noise : float32 arrays (n_vertices, n_vertices)
        They turn white noise into what is specific to an image, and into the noise of a trial.
    areas : dict of str to bool array (n_vertices,)
        See `regions`.
    """

    tuned: np.ndarray
    ncsnr: np.ndarray
    specific: np.ndarray
    noise: np.ndarray
    areas: dict


def trees(study):
    """Return the studies of the simulated trees whose images are shown."""
    return [maps.study_of_world(study, "standard", seed) for seed in POOL_SEEDS]


@functools.lru_cache(maxsize=1)
def pool(study):
    """Return the `Pool`; it stays in memory, where it takes 0.6 GB."""
    features, low_maps, scenes = {"z": [], "c": []}, [], []
    for tree in trees(study):
        ids = np.unique(np.concatenate([np.concatenate(nsd.split(of)) for of in tree.tables.values()]))
        for name, rows in targets(tree, list(features), ids).items():
            features[name].append(rows.flatten(1).numpy())
        pixels = (255 * nsd.images(tree.root, ids)).round().astype(np.uint8).transpose(0, 2, 3, 1)
        low_maps.append(tuning.low_level_maps(pixels).reshape(len(ids), -1))
        scenes += read_scenes(tree.root, ids)
    joined = {name: np.concatenate(rows) for name, rows in features.items()}
    return Pool(joined, scaled_maps(np.concatenate(low_maps)), scenes)


def scaled_maps(low_maps):
    """Return columns divided by their standard deviation over images; what does not vary stays."""
    scale = low_maps.std(0)
    return low_maps / np.where(scale > 0, scale, 1)


def make_body(images, k):
    """Return a virtual subject.

    Parameters
    ----------
    images : Pool
    k : int
        Number of the subject. The four gains of the simulated subjects come in turns; all else is drawn
        with a seed of its own.

    Returns
    -------
    Body
    """
    body = cortex.Cortex(k % len(cortex.SUBJECT_GAIN), "standard", SEED_OF_BODIES + k)
    vertices = chosen_vertices(np.random.default_rng([SEED_OF_BODIES, k]))
    specific, noise = covariances(body, vertices)
    return Body(
        tuned_responses(body, vertices, images.low_maps, images.scenes),
        body.planted["ncsnr"].to_numpy(np.float32)[vertices],
        _root(specific),
        _root(noise),
        {name: mask[vertices] for name, mask in regions().items()},
    )


@functools.cache
def regions():
    """Return masks of all vertices by region: two streams, and four areas as they are planted."""
    codes, names = surface.areas().atlases["streams"]
    streams = {name: codes == code for code, name in names.items() if name in ("early", "ventral")}
    areas = cortex.area_of_vertices()
    return streams | {name: areas == name for name in ("V1", "V2", "midventral", "midlateral")}


def chosen_vertices(rng):
    """Return N_VERTICES of each region drawn at random, sorted int (n_vertices,)."""
    drawn = [rng.choice(np.flatnonzero(regions()[name]), n, replace=False) for name, n in N_VERTICES.items()]
    return np.sort(np.concatenate(drawn))


def tuned_responses(body, vertices, low_maps, scenes):
    """Return what the tuning of some vertices answers to images: `mini.cortex` without its specific part.

    Parameters
    ----------
    body : mini.cortex.Cortex
    vertices : int array (n_vertices,)
        Of visual cortex.
    low_maps : array (n_images, 11 * 32 * 32)
        As `scaled_maps` returns them.
    scenes : list of mini.scenes.Scene

    Returns
    -------
    float32 array (n_images, n_vertices), mean 0 and variance 1 over images
    """
    rows = np.flatnonzero(np.isin(body.vertices, vertices))
    columns = ["rf_x", "rf_y", "rf_size", "mixture"]
    x, y, size, mixture = body.planted.loc[body.vertices[rows], columns].to_numpy().T
    n_channels = len(body._low_weights)
    fields = tuning.receptive_fields(x, y, size)
    weights = (body._low_weights[:, rows].T[:, :, None] * fields[:, None]).reshape(len(rows), -1)
    assert weights.shape[1] == n_channels * fields.shape[1] == low_maps.shape[1]
    low = low_maps @ weights.T
    semantic = _standardised(tuning.scene_variables(scenes)) @ body._scene_weights[:, rows]
    kinds = tuning.kinds_in_fields(scenes, x, y, size)
    semantic += np.einsum("ikv,kv->iv", 3 * (kinds - kinds.mean(0)), body._kind_weights[:, rows])
    return _standardised(
        np.sqrt(mixture) * _standardised(low) + np.sqrt(1 - mixture) * _standardised(semantic)
    )


def _standardised(values):
    values, scale = values - values.mean(0), values.std(0)
    return (values / np.where(scale > 0, scale, 1)).astype(np.float32)


def covariances(body, vertices):
    """Return how two parts of a response covary over vertices, both (n_vertices, n_vertices), variances 1.

    Returns
    -------
    specific : array
        Of what is specific to an image: smooth on the surface.
    noise : array
        Of a trial's noise, without the drift of sessions.
    """
    half = surface.N_VERTICES
    smooth = np.zeros((len(vertices),) * 2)
    for k, block in enumerate(body._smoother):
        here = np.flatnonzero(vertices // half == k)
        rows = block[vertices[here] - k * half]
        smooth[np.ix_(here, here)] = (rows @ rows.T).toarray()
    weights = np.concatenate([body._scene_weights, body._kind_weights])
    weights = weights[:, np.isin(body.vertices, vertices)]
    noise = cortex.NOISE["smooth"] * smooth + cortex.NOISE["private"] * np.eye(len(vertices))
    for name, loadings in (("shared", body._shared[:, vertices]), ("tuned", weights)):
        loadings = loadings / np.sqrt((loadings**2).sum(0))
        noise += cortex.NOISE[name] * loadings.T @ loadings
    return smooth, noise


def _root(covariance):
    values, vectors = np.linalg.eigh(covariance)
    return (np.sqrt(values.clip(0))[:, None] * vectors.T).astype(np.float32)
