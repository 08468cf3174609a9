"""Compare maps with the planted truth, in one cell and over cells."""

import copy
import itertools
import time

import numpy as np
from scipy import stats

from latentcortex import encoding
from latentcortex.studies.maps import LOWEST_CEILING, N_COMPONENTS
from latentcortex.studies.recovery import ask
from latentcortex.studies.recovery_worlds import (
    OUTSIDE,
    REGIONS,
    Rows,
    raw_features,
    raw_features_of_more,
    reduced,
    simulate,
    simulate_more,
)

Q = 0.05  # false discovery rate of what a map calls
CLEAR = 0.1  # a planted mixture this far from one half is called low-level or semantic
COMPARED = (("V1", "V2", "V3"), ("ventral", "faces", "places", "bodies"))  # early and ventral cortex
PLACES = (*REGIONS, OUTSIDE)
PAIRS = list(itertools.combinations(range(len(REGIONS)), 2))
N_REDUCTIONS = 5  # random projections over which winners should agree
AGREEMENT_AT = (1.0, 0)  # noise level and seed at which features are reduced again and again
# Where a map is also asked of further test images: in the worlds with a signal, at their own noise.
REFERENCE_WORLDS, REFERENCE_NOISE = ("standard", "swapped", "uniform", "correlated"), 1.0
MORE = 5  # times as many test images as in a cell
# Intervals are widened, because the reference, of `MORE` times as many images, has an error of its own.
WIDER = (1 + 1 / MORE) ** 0.5


def cell_rows(study, world, noise, seed, sizes):
    """Return the data that methods get in a cell, and the planted truth.

    Returns
    -------
    given : callable
        ``given(sets, projection=None)`` returns `Rows` of training and test images with the features
        ``"spaces"``, ``"layers"`` or ``"truth"``. A generator as `projection` draws another reduction.
    planted : pandas.DataFrame
        See `recovery_worlds.simulate`.
    """
    train, test, ceiling, planted = simulate(study, world, noise, seed, sizes)
    n = sizes.n_train + sizes.n_test
    raw = raw_features(study, world == "correlated", seed, n, sizes.n_test)
    is_train = np.isin(np.arange(n), train[1])

    def given(sets, projection=None):
        few = _few(raw[sets], is_train, sizes, sets, seed, projection)
        return tuple(
            Rows({name: values[ids] for name, values in few.items()}, betas, ids, repeats, ceiling)
            for betas, ids, repeats in (train, test)
        )

    return given, planted


def _few(raw, is_train, sizes, sets, seed, projection=None):
    if projection is None and sets == "layers":  # too wide to be used as they are
        projection = np.random.default_rng([seed, 35])
    n_components = min(N_COMPONENTS, sizes.n_train // 3)
    return {name: reduced(values, is_train, n_components, projection) for name, values in raw.items()}


def reference_rows(study, world, noise, seed, sizes, rows):
    """Return a function that gives `MORE` times as many test images of a cell, all of which are new.

    They are shown as often as the test images of the cell, in other trials. Their features are reduced by the
    training images of the cell.

    Parameters
    ----------
    study, world, noise, seed, sizes
        As in `cell_rows`.
    rows : tuple of Rows
        Training and test images of the cell.

    Returns
    -------
    more : callable
        ``more(sets)`` returns `Rows` with the features ``"spaces"`` or ``"layers"``.
    """
    train, test = rows
    n, correlated = sizes.n_train + sizes.n_test, world == "correlated"
    shown = np.tile(test.n_repeats, MORE)
    betas, ids, repeats = simulate_more(study, world, noise, seed, sizes, shown)
    raw = raw_features(study, correlated, seed, n, sizes.n_test)
    of_more = raw_features_of_more(study, correlated, seed, len(ids))
    is_train = np.isin(np.arange(n + len(ids)), train.image_ids)

    def more(sets):
        together = {name: np.concatenate([of, of_more[sets][name]]) for name, of in raw[sets].items()}
        few = _few(together, is_train, sizes, sets, seed)
        # Ids go on where those of the cell end: none of these images was in it.
        features = {name: values[n + ids] for name, values in few.items()}
        return Rows(features, betas, n + ids, repeats, test.noise_ceiling)

    return more


def score_cell(study, methods, world, noise, seed, sizes):
    """Return the scores of methods in one cell, on the features given and on the planted variables.

    Parameters
    ----------
    study : Study
    methods : dict of str to recovery_methods.Method
    world, noise, seed, sizes
        As in `cell_rows`.

    Returns
    -------
    dict of str to array
        The numbers of `score_method`, (n_methods, 2, ...): on the features given, and on the planted
        features. On the features given there are also the numbers of `compare_with_reference`, (n_methods,
        ...), and ``agreement`` (n_methods,) of `agreement`. The former are NaN in worlds outside
        `REFERENCE_WORLDS` and at noise outside `REFERENCE_NOISE`. The latter is NaN outside `AGREEMENT_AT`.
    """
    given, planted = cell_rows(study, world, noise, seed, sizes)
    kinds = {method.sets for method in methods.values()}
    rows, more, agreed = {sets: given(sets) for sets in (*kinds, "truth")}, {}, {}
    if world in REFERENCE_WORLDS and noise == REFERENCE_NOISE:
        reference = reference_rows(study, world, noise, seed, sizes, rows["truth"])
        more = {sets: reference(sets) for sets in kinds}
    scored, compared = [], []
    for name, method in methods.items():
        for sets in (method.sets, "truth"):
            rng, asked = np.random.default_rng([seed, 38]), copy.deepcopy(rows[sets])
            found, answer = score_method(method.function, name, asked, planted, rng)
            scored.append(found)
            if sets in more:
                again = copy.deepcopy((rows[sets][0], more[sets]))
                rng = np.random.default_rng([seed, 38])
                found = compare_with_reference(method.function, name, answer, again, planted, rng)
                compared.append(found)
        if not more:
            compared.append(no_reference())
    if (noise, seed) == AGREEMENT_AT:
        for sets in kinds:
            chosen = {name: method.function for name, method in methods.items() if method.sets == sets}
            agreed |= agreement(chosen, given, sets, planted, seed)
    arrays = {name: np.array([one[name] for one in scored]) for name in scored[0]}
    arrays = {name: of.reshape(len(methods), 2, *of.shape[1:]) for name, of in arrays.items()}
    arrays |= {name: np.array([one[name] for one in compared]) for name in compared[0]}
    return {**arrays, "agreement": np.array([agreed.get(name, np.nan) for name in methods])}


def score_method(method, name, rows, planted, rng):
    """Run a method on a cell and return the scores of its map, as in `score`, and ``seconds``."""
    start = time.perf_counter()
    answer = ask(method, name, *rows, rng)
    seconds = time.perf_counter() - start
    return {**score(answer, planted), "seconds": seconds}, answer


def called(answer):
    """Return +1 where a map calls a vertex low-level, -1 where semantic, and 0 where it calls nothing.

    Calls use p-values if the method gives them, otherwise the spread of the draws, at a false discovery rate
    of `Q` over the vertices. Winners are always called, as in papers. A map without p-values and draws is
    also always called.
    """
    side = np.sign(answer.lowness)
    p = answer.p
    if p is None and answer.draws is not None and answer.kind != "winner":
        spread = answer.draws.std(0, ddof=1)
        z = np.abs(answer.lowness) / np.where(spread > 0, spread, np.inf)
        p = 2 * stats.norm.sf(z)
    return side if p is None else side * encoding.fdr(p, Q)[0]


def score(answer, planted):
    """Return the scores of a map against the planted mixture.

    Parameters
    ----------
    answer : recovery.Answer
    planted : pandas.DataFrame

    Returns
    -------
    dict of str to float or array
        ``spearman`` is the correlation with the mixture, over visual vertices with a ceiling of at least
        `LOWEST_CEILING` (over all if no vertex has one). For each region of `PLACES` there are
        ``n_vertices``, ``n_called`` and the ``mean`` of the map. ``n_clear`` counts vertices that are clearly
        low-level or semantic, and ``n_right`` and ``n_wrong`` count them by the sign called. ``difference``
        and ``standard_error`` (NaN without draws) are those of early minus ventral cortex.
        ``pair_difference`` and ``pair_error`` are those of all `PAIRS` of regions.
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


def compare_with_reference(method, name, answer, rows, planted, rng):
    """Return a method's map over many more test images, and how often intervals contain it.

    Parameters
    ----------
    method, name
        As in `recovery.ask`.
    answer : recovery.Answer
        The map over the cell's own test images.
    rows : tuple of Rows
        The training images of the cell, and `reference_rows`.
    planted : pandas.DataFrame
    rng : numpy.random.Generator
        The generator in the state before `answer` was computed, so that training is repeated exactly.

    Returns
    -------
    dict of str to array
        ``pair_reference`` holds the differences of all `PAIRS` of regions in the map over more images. For
        each region of `PLACES`, ``n_asked`` is the number of `vertices_asked`. ``n_covered`` counts vertices
        whose 95 % interval contains the value of that map. The result is that of `no_reference` if the method
        gives no draws, or if its map does not depend on the test images.
    """
    if answer.draws is None:
        return no_reference()
    reference = ask(method, name, *rows, rng).lowness
    if np.allclose(reference, answer.lowness, rtol=0, atol=1e-12):
        return no_reference()
    masks = np.array([planted["region"] == place for place in PLACES]).astype(int)
    asked, spread = vertices_asked(planted), answer.draws.std(0, ddof=1)
    holds = np.abs(answer.lowness - reference) <= 1.96 * WIDER * spread
    means = masks @ reference / masks.sum(1)
    found = {
        "pair_reference": [means[a] - means[b] for a, b in PAIRS],
        "n_asked": masks @ asked,
        "n_covered": masks @ (asked & holds),
    }
    return {name: np.asarray(value, np.float64) for name, value in found.items()}


def no_reference():
    """Return the arrays of `compare_with_reference` filled with NaN."""
    sizes = {"pair_reference": len(PAIRS), "n_asked": len(PLACES), "n_covered": len(PLACES)}
    return {name: np.full(size, np.nan) for name, size in sizes.items()}


def agreement(methods, given, sets, planted, seed):
    """Return how often the calls of a map agree between random projections of the features.

    For winners this is agreement of the winner, and for other maps agreement of the sign. It is averaged over
    pairs of `N_REDUCTIONS` projections and over visual vertices with a ceiling of at least `LOWEST_CEILING`
    (over all if none has one).

    Parameters
    ----------
    methods : dict of str to callable
        Methods, which all get the same projections.
    given, planted
        Results of `cell_rows`.
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
            # A copy, because a method may write into what it is given.
            answer = ask(method, name, *copy.deepcopy(rows), np.random.default_rng([seed, 37]))
            maps[name].append(answer.lowness if answer.kind == "winner" else np.sign(answer.lowness))
    asked = vertices_asked(planted)
    return {
        name: float(np.mean([(a == b)[asked].mean() for a, b in itertools.combinations(of, 2)]))
        for name, of in maps.items()
    }


def vertices_asked(planted):
    """Return a mask of visual vertices with a ceiling of at least `LOWEST_CEILING`, or of all if none."""
    visual = planted["mixture"].notna().to_numpy()
    asked = visual & (planted["ceiling"].to_numpy() >= LOWEST_CEILING)
    return asked if asked.any() else visual
