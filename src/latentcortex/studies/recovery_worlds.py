"""Simulate the worlds of the recovery benchmark in memory, with the planted truth.

A cell is one world at one noise level with one seed. Scenes are rendered for the benchmark and kept.
Responses come from `mini.cortex`, unchanged. The fifth world, ``correlated``, is the standard cortex over
images in which low-level and semantic variables are correlated. Additional test images of a cell serve as a
reference for intervals and do not change the cell.
"""

import copy
import dataclasses
import functools

import numpy as np
import pandas as pd
import torch

from latentcortex import encoding, features, nsd
from latentcortex.mini import captions, cortex, experiment, scenes, tuning
from latentcortex.mini.props import COLOURS, GROUNDS
from latentcortex.studies.scores import varies
from latentcortex.studies.study import LAYERS

WORLDS = (*cortex.WORLDS, "correlated")
NOISE = (0.5, 1.0, 2.0)  # factors of the planted ncsnr: half, as it is, twice
SEEDS = (0, 1, 2)
SUBJECT = 1  # the simulated subject whose ncsnr have NSD's means
DEGREE = 0.9  # asked for in `correlated`: share of the images in which one variable follows another
REGIONS = ("V1", "V2", "V3", "hV4", "ventral", "lateral", "parietal", "faces", "places", "bodies")
OUTSIDE = "outside"  # of visual cortex, where nothing is planted
N_PROJECTED = 800  # dimensions that layers are projected to at random before their components are taken
SEED_OF_MORE = 10_000  # added to a seed: other scenes, and another part of the responses that is of the image


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Hold the sizes of a cell: images, and vertices of each region (three times as many outside)."""

    n_train: int = 700
    n_test: int = 200
    n_vertices: int = 40
    n_sessions: int = 4
    n_trials: int = 600


@dataclasses.dataclass(frozen=True)
class Rows:
    """Hold training or test images, as a method gets them.

    Attributes
    ----------
    features : dict of str to float32 array (n_images, n_features)
        Feature sets in order. The first is low-level, and the last is semantic.
    betas : float32 array (n_images, n_vertices)
        Betas z-scored by session and averaged over repeats.
    image_ids : int array (n_images,)
    n_repeats : int array (n_images,)
        Number of trials in each average.
    noise_ceiling : array (n_vertices,)
        Ceiling on R2 of averages over the repeats of test images, in [0, 1], estimated from the training
        trials.
    """

    features: dict
    betas: np.ndarray
    image_ids: np.ndarray
    n_repeats: np.ndarray
    noise_ceiling: np.ndarray


def draw_scenes(correlated, seed, n):
    """Return n scenes of a seed; if `correlated`, appearance depends on content.

    In `correlated` scenes the setting determines the time of day and the ground, and the kind of a thing
    determines its colour. Each holds in a share `DEGREE` of the cases. In all other cases the value is
    random. All other variables are those of the uncorrelated scene of the same seed. Held-back combinations
    do not occur.
    """
    drawn = scenes.sample_scenes(n, np.random.default_rng([seed, 0]))
    if not correlated:
        return drawn
    rng = np.random.default_rng([seed, 31])
    return [_follow(scene, rng) for scene in drawn]


def _follow(scene, rng):
    times, grounds, colours = scenes.TIMES, list(GROUNDS), list(COLOURS)
    place = scenes.SETTINGS.index(scene.setting)
    changed = {}
    if rng.random() < DEGREE:
        changed["time"] = times[place % len(times)]
    if rng.random() < DEGREE:
        changed["ground"] = grounds[place % len(grounds)]
    things = []
    for thing in scene.things:
        first = scenes.KINDS.index(thing.kind)
        options = [colours[(first + k) % len(colours)] for k in range(len(colours))]
        allowed = [c for c in options if not scenes.is_held_back(thing.kind, c, scene.setting)]
        follows = rng.random() < DEGREE
        things.append(dataclasses.replace(thing, colour=allowed[0]) if follows else thing)
    return dataclasses.replace(scene, things=tuple(things), **changed)


@functools.lru_cache(maxsize=2)  # those of a cell and of its reference
def pictures(study, correlated, seed, n):
    """Return the scenes of a seed and their images, uint8 (n, 64, 64, 3); images are kept."""
    drawn = draw_scenes(correlated, seed, n)
    shelf = study.shelf("recovery-images", [draw_scenes, scenes.render], {})
    made = shelf.get((correlated, seed, n), lambda: {"images": scenes.render(drawn)})
    return drawn, made["images"]


def planted_features(images, drawn, is_train):
    """Return the variables that simulated vertices are tuned to, each (n_images, n_features).

    The low-level variables are maps pooled to 8 x 8 places. The semantic variables are the contents of the
    scene, and how much of each of 6 x 6 fields of the picture a thing of each kind fills. They are scaled as
    in the simulated cortex.

    Parameters
    ----------
    images : uint8 array (n_images, h, w, 3)
    drawn : list of scenes.Scene
    is_train : bool array (n_images,)
        Mask of the rows whose statistics are used.
    """
    maps = tuning.low_level_maps(images)
    n, channels, side, _ = maps.shape
    low = maps.reshape(n, channels, 8, side // 8, 8, side // 8).mean((3, 5)).reshape(n, -1)
    places = np.linspace(-3.5, 3.5, 6)  # degrees
    x, y = (grid.ravel() for grid in np.meshgrid(places, places))
    kinds = tuning.kinds_in_fields(drawn, x, y, np.full(x.shape, 1.0)).reshape(n, -1)

    def standardised(values):
        scale = values[is_train].std(0)
        return (values - values[is_train].mean(0)) / np.where(scale > 0, scale, 1)

    semantic = np.hstack([standardised(tuning.scene_variables(drawn)), 3 * kinds])
    return {"low": standardised(low), "semantic": semantic}


@functools.lru_cache(maxsize=1)
def raw_features(study, correlated, seed, n, n_test):
    """Return features of all images of a seed: ``{"spaces": ..., "layers": ..., "truth": ...}``.

    The first `n_test` images are the test images.
    """
    drawn, images = pictures(study, correlated, seed, n)
    sets = _features_of_networks(study, drawn, images, seed)
    return {**sets, "truth": planted_features(images, drawn, np.arange(n) >= n_test)}


@functools.lru_cache(maxsize=1)
def raw_features_of_more(study, correlated, seed, n):
    """Return features of the first n of a seed's further test images: ``{"spaces": ..., "layers": ...}``."""
    seed += SEED_OF_MORE
    return _features_of_networks(study, *pictures(study, correlated, seed, n), seed)


def _features_of_networks(study, drawn, images, seed):
    preset, pixels = study.preset, torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    rng = np.random.default_rng([seed, 32])
    texts = [captions.write_captions(scene, rng) for scene in drawn]
    model = study.model
    with torch.no_grad():
        spaces = {
            "z": features.encode_images(model.vae, pixels, preset.batch_size),
            "c": features.encode_captions(model.text_encoder, model.tokenizer, texts),
        }
        layers = features.encode_clip_layers(study.guide, pixels, LAYERS, preset.batch_size)
    sets = {"spaces": spaces, "layers": {f"g{k}": of for k, of in layers.items()}}
    return {kind: {k: v.float().cpu().flatten(1).numpy() for k, v in of.items()} for kind, of in sets.items()}


def reduced(values, is_train, n_components, projection=None):
    """Return features reduced to few dimensions, in their original axes, float32 (n_images, n_features).

    With a generator as `projection`, a random projection to `N_PROJECTED` dimensions comes first.
    """
    if projection is not None and values.shape[1] > N_PROJECTED:
        values = encoding.SparseProjection(values.shape[1], N_PROJECTED, projection)(values).numpy()
    return encoding.low_rank(values, is_train, n_components)


def chosen_vertices(seed, n_vertices):
    """Return vertices of every region and outside, and the region of each, the same in all worlds."""
    areas = cortex.area_of_vertices()
    rng = np.random.default_rng([seed, 33])
    found = [rng.choice(np.flatnonzero(areas == name), n_vertices, replace=False) for name in REGIONS]
    found.append(rng.choice(np.flatnonzero(areas == ""), 3 * n_vertices, replace=False))
    names = np.repeat([*REGIONS, OUTSIDE], [len(of) for of in found])
    return np.concatenate(found), names


@functools.lru_cache(maxsize=1)
def _body(study, world, seed, n):
    """Return the simulated subject of a world and its repeatable responses to the images of a seed."""
    drawn, images = pictures(study, world == "correlated", seed, n)
    body = cortex.Cortex(SUBJECT, "standard" if world == "correlated" else world, seed)
    return body, body.signal(images, drawn)


def respond(body, signal, noise, shown, vertices, first=1):
    """Return trials (n_trials_in_all, n_vertices) of a subject whose ncsnr are multiplied by `noise`.

    Parameters
    ----------
    body : cortex.Cortex
        The simulated subject, which is not changed.
    signal : array (n_images, n_vertices of visual cortex)
    noise : float
    shown : sequence of int arrays
        Row of `signal` of each trial, for each session.
    vertices : int array
    first : int
        Number of the first session. The number of a session determines its noise.
    """
    planted = body.planted["ncsnr"].copy()
    body.planted["ncsnr"] = noise * planted
    try:
        sessions = enumerate(shown, first)
        return np.concatenate([body.respond(signal[rows], k)[:, vertices] for k, rows in sessions])
    finally:
        body.planted["ncsnr"] = planted


def simulate(study, world, noise, seed, sizes):
    """Return one cell: averaged betas of training and test images, and the planted truth.

    Every image should have three repeats, but the subject stops early, so some averages are over one or two.
    All test images are seen. The noise of a trial depends only on the seed. So worlds and noise levels share
    the same noise, and it cannot explain differences between them.

    Returns
    -------
    train, test : tuples of (betas, image_ids, n_repeats)
        Image ids are rows of the features of `raw_features`.
    noise_ceiling : array (n_vertices,)
    planted : pandas.DataFrame
        One row per vertex, with ``region``, ``mixture`` (NaN outside) and ``ceiling`` (R2 of the test
        averages).
    """
    if world not in WORLDS:
        raise ValueError(f"No world {world!r}. There are: {', '.join(WORLDS)}.")
    n = sizes.n_train + sizes.n_test
    body, signal = _body(study, world, seed, n)
    rng = np.random.default_rng([seed, 34])
    n_first = sizes.n_sessions * sizes.n_trials
    order = experiment.order_trials(n, 3, rng, sizes.n_test, n_first)
    vertices, names = chosen_vertices(seed, sizes.n_vertices)
    by_session = np.split(order[: sizes.n_sessions * sizes.n_trials], sizes.n_sessions)
    betas = respond(body, signal, noise, by_session, vertices)
    shown, sessions = np.concatenate(by_session), np.repeat(np.arange(sizes.n_sessions), len(by_session[0]))
    is_train = shown >= sizes.n_test
    scaled = nsd.zscore(betas, sessions, is_train)
    train, test = (nsd.average_repeats(scaled[rows], shown[rows]) for rows in (is_train, ~is_train))
    ncsnr = nsd.estimate_ncsnr(scaled[is_train], shown[is_train])
    truth = body.planted.iloc[vertices]
    planted = pd.DataFrame({"region": names, "mixture": truth["mixture"].to_numpy()})
    planted["ceiling"] = nsd.noise_ceiling(noise * truth["ncsnr"].to_numpy(), test[2])
    return train, test, nsd.noise_ceiling(ncsnr, test[2]), planted


def simulate_more(study, world, noise, seed, sizes, n_repeats):
    """Return averaged betas of additional test images, which the subject sees after those of a cell.

    The scenes are new scenes of the same kind. Scenes, trials and noise of the cell itself do not change. As
    in the cell, the signal has mean 0 and variance 1 over its images. Each session is z-scored by all of its
    trials, because none of them is used for training.

    Parameters
    ----------
    study, world, noise, seed, sizes
        As in `simulate`.
    n_repeats : int array (n_images,)
        Number of times that each image is shown.

    Returns
    -------
    betas : array (n_images, n_vertices)
    image_ids : int array (n_images,)
        Rows of the features of `raw_features_of_more`.
    n_repeats : int array (n_images,)
    """
    n = len(n_repeats)
    body, _ = _body(study, world, seed, sizes.n_train + sizes.n_test)
    drawn, images = pictures(study, world == "correlated", seed + SEED_OF_MORE, n)
    drawing = copy.copy(body)  # the same tuning; what is specific to an image is drawn from the seed
    drawing.seed = seed + SEED_OF_MORE
    signal = drawing.signal(images, drawn)
    order = np.random.default_rng([seed, 39]).permutation(np.repeat(np.arange(n), n_repeats))
    by_session = np.array_split(order, -(-len(order) // sizes.n_trials))
    vertices, _ = chosen_vertices(seed, sizes.n_vertices)
    betas = respond(body, signal, noise, by_session, vertices, sizes.n_sessions + 1)
    sessions = np.repeat(np.arange(len(by_session)), [len(shown) for shown in by_session])
    scaled = nsd.zscore(betas, sessions, np.ones(len(betas), bool))
    return nsd.average_repeats(scaled, order)


def realised_correlation(study, correlated, seed, sizes):
    """Return how strongly low-level and semantic variables are correlated over the images of a seed.

    Returns
    -------
    explained : float
        Share of variance of planted scene variables that planted low-level variables explain linearly, in
        test images.
    between_terms : float
        Mean over vertices of the absolute correlation over images between the two tuned terms of a vertex.
    """
    n = sizes.n_train + sizes.n_test
    drawn, images = pictures(study, correlated, seed, n)
    is_train = np.arange(n) >= sizes.n_test
    low = planted_features(images, drawn, is_train)["low"]
    known = tuning.scene_variables(drawn)
    known = known[:, varies(known[is_train])]
    known = (known - known[is_train].mean(0)) / known[is_train].std(0)
    fitted = encoding.VoxelwiseEncoder().fit(low[is_train], known[is_train], np.flatnonzero(is_train))
    error = known[~is_train] - fitted.predict(low[~is_train], np.flatnonzero(~is_train))
    explained = 1 - (error**2).sum() / (known[~is_train] ** 2).sum()
    terms = cortex.Cortex(SUBJECT, "standard", seed).tuned_signals(images, drawn)
    terms = [(term - term.mean(0)) / term.std(0) for term in terms]
    return float(explained), float(np.abs((terms[0] * terms[1]).mean(0)).mean())
