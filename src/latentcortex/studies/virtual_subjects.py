"""Virtual subjects: what is planted in some vertices of simulated brains, and the images that they see.

A virtual subject is a simulated cortex of `mini.cortex`, of which some vertices of early and ventral cortex
are kept. The images are those of three simulated trees. `virtual_studies` draws experiments from both.
"""

import functools
from dataclasses import dataclass

import numpy as np
import torch

from latentcortex import encoding, nsd, ridge
from latentcortex.mini import cortex, surface, tuning
from latentcortex.studies import maps
from latentcortex.studies.planted import read_scenes
from latentcortex.studies.targets import targets

POOL_SEEDS = (0, 1, 2)  # of the simulated trees whose images are shown
N_BODIES = 32
SEED_OF_BODIES = 1000  # the first one's; no simulated tree has such a seed
N_VERTICES = {"early": 240, "ventral": 120}  # of each stream, drawn at random
N_DECODED = 60  # principal components of z that are decoded
NETWORKS = ("vae", "text_encoder", "tokenizer")
AREAS = ("early", "ventral", "V1", "V2")
PLANTED = ("tuned", "ncsnr", "specific", "noise")


@dataclass(frozen=True)
class Pool:
    """The images that virtual studies draw from, as features.

    Attributes
    ----------
    spaces : dict of str to float32 array (n_images, n_components)
        z and c, each cut to `maps.N_COMPONENTS` components, z-scored in its own axes and rotated to as many
        columns as it has dimensions: a ridge regression on them is that on the features themselves.
    alphas : dict of str to float64 tensor (n_alphas,)
        Penalties of each space.
    decoded : float32 array (n_images, N_DECODED)
        Principal components of z, largest first.
    """

    spaces: dict
    alphas: dict
    decoded: np.ndarray


@dataclass(frozen=True)
class Body:
    """What is planted in the vertices that are kept of one virtual subject.

    Attributes
    ----------
    tuned : float32 array (n_images, n_vertices)
        What its tuning answers to each image of the pool: mean 0, variance 1.
    ncsnr : float32 array (n_vertices,)
    specific, noise : float32 arrays (n_vertices, n_vertices)
        They turn white noise into what is specific to an image, and into the noise of a trial.
    areas : dict of str to bool array (n_vertices,)
        One for each of AREAS.
    """

    tuned: np.ndarray
    ncsnr: np.ndarray
    specific: np.ndarray
    noise: np.ndarray
    areas: dict


def trees(study):
    """Return the studies of the simulated trees whose images are shown."""
    return [maps.study_of_world(study, "standard", seed) for seed in POOL_SEEDS]


def _image_ids(tree):
    return np.unique(np.concatenate([np.concatenate(nsd.split(of)) for of in tree.tables.values()]))


@functools.lru_cache(maxsize=1)
def pool(study):
    """Return the `Pool`; its features are kept."""
    described = {"trees": [tree.identity for tree in trees(study)], "weights": study.weights(*NETWORKS)}
    made = study.shelf("virtual-pool", [_make_pool], described).get(("pool",), lambda: _make_pool(study))
    spaces = {name: made[name] for name in "zc"}
    alphas = {name: torch.from_numpy(ridge.alpha_grid(int(made[f"n_{name}"]))) for name in "zc"}
    return Pool(spaces, alphas, made["decoded"])


def _make_pool(study):
    found = {}
    for name in "zc":
        rows = [targets(tree, [name], _image_ids(tree))[name].flatten(1).numpy() for tree in trees(study)]
        rows = np.concatenate(rows)
        if name == "z":
            found["decoded"] = _components(rows - rows.mean(0), N_DECODED)
        few = encoding.low_rank(rows, np.ones(len(rows), bool), maps.N_COMPONENTS)
        found[name] = _components((few - few.mean(0)) / few.std(0), maps.N_COMPONENTS)
        found[f"n_{name}"] = np.array(few.shape[1])
    return found


def _components(rows, n):
    """Return the first principal components of centred rows, float32 (n_rows, n)."""
    directions = torch.linalg.eigh(torch.from_numpy(rows.T @ rows).double())[1].flip(1)[:, :n]
    return rows @ directions.float().numpy()


@functools.lru_cache(maxsize=1)
def _maps_and_scenes(study):
    maps_, scenes = [], []
    for tree in trees(study):
        ids = _image_ids(tree)
        pixels = (255 * nsd.images(tree.root, ids)).round().astype(np.uint8).transpose(0, 2, 3, 1)
        maps_.append(tuning.low_level_maps(pixels).reshape(len(ids), -1))
        scenes += read_scenes(tree.root, ids)
    return np.concatenate(maps_), scenes


@functools.lru_cache(maxsize=1)
def bodies(study):
    """Return the virtual subjects, a list of N_BODIES `Body`; each is kept."""
    described = {"trees": [tree.identity for tree in trees(study)]}
    shelf = study.shelf("virtual-bodies", [_make_body], described)
    found = []
    for k in range(N_BODIES):
        made = shelf.get((k,), lambda k=k: _make_body(k, *_maps_and_scenes(study)))
        planted = {name: made[name].astype(np.float32) for name in PLANTED}
        found.append(Body(areas={name: made[name] for name in AREAS}, **planted))
    return found


def _make_body(k, low_maps, scenes):
    # The four gains of the simulated subjects in turns; all else is of the seed.
    body = cortex.Cortex(k % len(cortex.SUBJECT_GAIN), "standard", SEED_OF_BODIES + k)
    vertices = chosen_vertices(np.random.default_rng([SEED_OF_BODIES, k]))
    codes, names = surface.areas().atlases["streams"]
    streams = {name: codes[vertices] == code for code, name in names.items() if name in N_VERTICES}
    areas = cortex.area_of_vertices()[vertices]
    specific, noise = covariances(body, vertices)
    return {
        **streams,
        **{name: areas == name for name in AREAS[2:]},
        "tuned": tuned_responses(body, vertices, low_maps, scenes).astype(np.float16),
        "ncsnr": body.planted["ncsnr"].to_numpy()[vertices],
        "specific": _root(specific),
        "noise": _root(noise),
    }


def chosen_vertices(rng):
    """Return vertices of early and ventral cortex drawn at random, sorted int (n_vertices,)."""
    codes, names = surface.areas().atlases["streams"]
    of = {name: np.flatnonzero(codes == code) for code, name in names.items()}
    return np.sort(np.concatenate([rng.choice(of[name], n, replace=False) for name, n in N_VERTICES.items()]))


def tuned_responses(body, vertices, low_maps, scenes):
    """Return what the tuning of some vertices answers to images: `mini.cortex` without its specific part.

    Parameters
    ----------
    body : mini.cortex.Cortex
    vertices : int array (n_vertices,)
        Of visual cortex.
    low_maps : array (n_images, 11 * 32 * 32)
        Of `mini.tuning.low_level_maps`.
    scenes : list of mini.scenes.Scene

    Returns
    -------
    float32 array (n_images, n_vertices), mean 0 and variance 1 over images
    """
    rows = np.flatnonzero(np.isin(body.vertices, vertices))
    columns = ["rf_x", "rf_y", "rf_size", "mixture"]
    x, y, size, mixture = body.planted.loc[body.vertices[rows], columns].to_numpy().T
    n_channels = len(body._low_weights)
    scale = low_maps.std(0)
    fields = tuning.receptive_fields(x, y, size)
    weights = (body._low_weights[:, rows].T[:, :, None] * fields[:, None]).reshape(len(rows), -1)
    assert weights.shape[1] == n_channels * fields.shape[1] == low_maps.shape[1]
    low = low_maps @ (weights / np.where(scale > 0, scale, 1)).T
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
