"""How a map compares with what was planted, in one cell and over cells."""

import itertools
import time

import numpy as np
from scipy import stats

from latentcortex import encoding
from latentcortex.studies.recovery import ask
from latentcortex.studies.recovery_worlds import (
    LOWEST_CEILING,
    N_COMPONENTS,
    OUTSIDE,
    REGIONS,
    Rows,
    raw_features,
    reduced,
    simulate,
)

Q = 0.05  # false discovery rate of what a map calls
CLEAR = 0.1  # a planted mixture this far from one half is called low-level or semantic
COMPARED = (("V1", "V2", "V3"), ("ventral", "faces", "places", "bodies"))  # early and ventral cortex
PLACES = (*REGIONS, OUTSIDE)
PAIRS = list(itertools.combinations(range(len(REGIONS)), 2))
N_REDUCTIONS = 5  # random projections over which winners should agree


def cell_rows(study, world, noise, seed, sizes):
    """Return what methods are given in a cell, and what was planted there.

    Returns
    -------
    given : callable
        ``given(sets, projection=None)`` returns `Rows` of training and test images with the features
        ``"spaces"``, ``"layers"`` or ``"truth"``; a generator as `projection` draws another reduction.
    planted : pandas.DataFrame
        See `recovery_worlds.simulate`.
    """
    train, test, ceiling, planted = simulate(study, world, noise, seed, sizes)
    n = sizes.n_train + sizes.n_test
    raw = raw_features(study, world == "correlated", seed, n, sizes.n_test)
    is_train = np.isin(np.arange(n), train[1])
    n_components = min(N_COMPONENTS, sizes.n_train // 3)

    def given(sets, projection=None):
        if projection is None and sets == "layers":  # too wide to be used as they are
            projection = np.random.default_rng([seed, 35])
        few = {k: reduced(v, is_train, n_components, projection) for k, v in raw[sets].items()}
        return tuple(
            Rows({name: values[ids] for name, values in few.items()}, betas, ids, repeats, ceiling)
            for betas, ids, repeats in (train, test)
        )

    return given, planted


def score_method(method, name, rows, planted, rng):
    """Run a method on a cell and score its map; see `score` for the numbers, and ``seconds``."""
    start = time.perf_counter()
    answer = ask(method, name, *rows, rng)
    seconds = time.perf_counter() - start
    return {**score(answer, planted), "seconds": seconds}, answer


def called(answer):
    """Return +1 where a map calls a vertex low-level, -1 semantic, 0 where it calls nothing.

    By p-values where the method gives them, otherwise by the spread of the draws, at a false discovery rate
    of `Q` over the vertices. Winners are always called, as they are in papers; so is a map that comes
    without p-values and draws.
    """
    side = np.sign(answer.lowness)
    p = answer.p
    if p is None and answer.draws is not None and answer.kind != "winner":
        spread = answer.draws.std(0, ddof=1)
        z = np.abs(answer.lowness) / np.where(spread > 0, spread, np.inf)
        p = 2 * stats.norm.sf(z)
    return side if p is None else side * encoding.fdr(p, Q)[0]


def score(answer, planted):
    """Score a map against the planted mixture.

    Parameters
    ----------
    answer : recovery.Answer
    planted : pandas.DataFrame

    Returns
    -------
    dict of str to float or array
        ``spearman`` with the mixture, over visual vertices whose ceiling is at least `LOWEST_CEILING` (all,
        where no vertex has one). By region of `PLACES`: ``n_vertices``; ``n_called``; ``n_clear``, vertices
        that are clearly low-level or semantic; ``n_right`` and ``n_wrong`` of those by the sign called;
        ``mean`` of the map. ``difference`` and ``standard_error`` (NaN without draws) of early minus ventral
        cortex; ``pair_difference`` and ``pair_error`` of all `PAIRS` of regions.
    """
    mixture, regions = planted["mixture"].to_numpy(), planted["region"].to_numpy()
    calls, asked = called(answer), vertices_asked(planted)
    has_signal = planted["ceiling"].to_numpy() >= LOWEST_CEILING
    truth = np.where(np.abs(np.nan_to_num(mixture, nan=0.5) - 0.5) > CLEAR, np.sign(mixture - 0.5), 0)
    truth = np.where(has_signal, truth, 0)
    masks = np.array([regions == place for place in PLACES]).astype(int)
    varies = np.ptp(answer.lowness[asked]) > 0
    found = {
        "spearman": stats.spearmanr(answer.lowness[asked], mixture[asked]).statistic if varies else 0.0,
        "n_vertices": masks.sum(1),
        "n_called": masks @ (calls != 0),
        "n_clear": masks @ (truth != 0),
        "n_right": masks @ ((truth != 0) & (calls == truth)),
        "n_wrong": masks @ ((truth != 0) & (calls == -truth)),
    }
    weights = masks / masks.sum(1, keepdims=True)
    early, ventral = (np.isin(regions, names) for names in COMPARED)
    contrast = early / early.sum() - ventral / ventral.sum()
    pairs = np.array([weights[a] - weights[b] for a, b in PAIRS])
    found["mean"] = weights @ answer.lowness
    for name, of in (("difference", contrast[None]), ("pair_difference", pairs)):
        found[name] = of @ answer.lowness
    for name, of in (("standard_error", contrast[None]), ("pair_error", pairs)):
        missing = answer.draws is None
        found[name] = np.full(len(of), np.nan) if missing else (answer.draws @ of.T).std(0, ddof=1)
    return {name: np.asarray(value, np.float64) for name, value in found.items()}


def agreement(methods, given, sets, planted, seed):
    """Return how often what a map calls agrees between random projections of the features.

    Of winners, how often the winner itself agrees, of other maps the sign: the mean over pairs of
    `N_REDUCTIONS` projections, and over visual vertices with a ceiling of at least `LOWEST_CEILING` (all
    visual ones, where none has).

    Parameters
    ----------
    methods : dict of str to callable
        Which are given the same projections.
    given, planted
        Of `cell_rows`.
    sets : str
        The features of these methods.
    seed : int

    Returns
    -------
    dict of str to float, in [0, 1]
    """
    maps = {name: [] for name in methods}
    for k in range(N_REDUCTIONS):
        rows = given(sets, np.random.default_rng([seed, 36, k]))
        for name, method in methods.items():
            answer = ask(method, name, *rows, np.random.default_rng([seed, 37]))
            maps[name].append(answer.lowness if answer.kind == "winner" else np.sign(answer.lowness))
    asked = vertices_asked(planted)
    return {
        name: float(np.mean([(a == b)[asked].mean() for a, b in itertools.combinations(of, 2)]))
        for name, of in maps.items()
    }


def vertices_asked(planted):
    """Mark visual vertices whose ceiling is at least `LOWEST_CEILING`; all visual ones, where none has."""
    visual = planted["mixture"].notna().to_numpy()
    asked = visual & (planted["ceiling"].to_numpy() >= LOWEST_CEILING)
    return asked if asked.any() else visual
