"""Scores of z, c and the planted variables on every vertex, in the preset's data and other worlds.

Where the data are simulated, the same is asked in other simulated worlds, which are built if they are not
there (1.7 GB and two minutes each), and what was planted in them is read for a check.
"""

import numpy as np
import pandas as pd
from scipy import stats

from latentcortex import encoding, nsd
from latentcortex.studies import jobs, maps
from latentcortex.studies.planted import planted_variables
from latentcortex.studies.targets import targets

Q = 0.05  # false discovery rate
N_DRAWS = 200  # of images, and with each of vertices where two regions are compared
SEED = 0
COMPARED = ("early", "ventral")  # first minus second, at matched numbers of vertices
WORLDS = [("standard", 0), ("swapped", 0), ("uniform", 0), ("uniform", 1), ("uniform", 2)]
WORLDS += [("null", 0), ("null", 1), ("null", 2), ("standard", 1), ("standard", 2)]
# Three seeds were declared; seven more show whether what they find is chance.
WORLDS += [("uniform", seed) for seed in range(3, 10)]
NETWORKS = ("vae", "text_encoder", "tokenizer")
# Half precision, and penalties that flip between neighbours where the arithmetic differs.
TOLERANCE = {"of 98 in 100": 0.003}


def worlds_of(study):
    """List world and seed of the trees that are looked at: only simulated data have other worlds."""
    return WORLDS if study.preset.data == "mini" else [("measured", 0)]


def discoveries(r, test_ids, visual):
    """Count the vertices called in visual cortex and outside: with correction, and without."""
    p = encoding.p_values(r, len(test_ids), test_ids)
    pair = encoding.fdr(p, Q)[0], p <= Q
    return [np.array([called[visual].sum(), called[~visual].sum()]) for called in pair]


def compare_regions(preference, draws, first, second, rng):
    """Compare the mean of two regions at matched numbers of vertices.

    Parameters
    ----------
    preference : array (n_vertices,)
    draws : array (n_draws, n_vertices)
        Of the same over resampled images. Each is given a subsample of vertices of its own.
    first, second : bool array (n_vertices,)

    Returns
    -------
    array (3,)
        Mean over subsamples of first minus second; lower and upper end of the 95% interval.
    """
    n = min(first.sum(), second.sum())
    observed, resampled = [], []
    for draw in draws:
        a, b = (rng.choice(np.flatnonzero(mask), n, replace=False) for mask in (first, second))
        observed.append(preference[a].mean() - preference[b].mean())
        resampled.append(draw[a].mean() - draw[b].mean())
    return np.array([np.mean(observed), *np.quantile(resampled, [0.025, 0.975])])


def features_of(study, world, train_ids, test_ids):
    """Return z and c of images as `maps.predict` reduces them, in simulated worlds also what was planted."""
    ids = np.concatenate([train_ids, test_ids])
    is_train = np.arange(len(ids)) < len(train_ids)
    values = {name: of.flatten(1).numpy() for name, of in targets(study, "zc", ids).items()}
    if world != "measured":
        values |= planted_variables(study.root, train_ids, test_ids)
    return {name: maps.reduced(of, is_train) for name, of in values.items()}, is_train


def predict_cortex(study, world, subject, asked_of):
    """Predict all of cortex from each feature set, block by block.

    ``asked_of(n_repeats)`` marks the vertices, bool (n_vertices,), whose predictions are kept.

    Returns
    -------
    r : dict of str to array (n_vertices,)
        NaN where a vertex holds NaN in some trial.
    predicted : dict of str to array (n_test, n_asked)
    test : tuple of (betas, image_ids, n_repeats)
        Betas (n_test, n_asked).
    """
    r, predicted, measured, values = {}, {}, [], None
    for vertices, train, test in maps.each_block(study, subject):
        if values is None:
            values, is_train = features_of(study, world, train[1], test[1])
            asked = asked_of(test[2])
        kept = asked[vertices]
        measured.append(test[0][:, kept])
        for name, of in values.items():
            found = maps.predict_from(of, is_train, train, test[1], study.preset.device)
            predicted.setdefault(name, []).append(found[:, kept])
            r.setdefault(name, np.full(len(asked), np.nan))[vertices] = encoding.correlation(
                found, test[0], test[1]
            )
    return r, {name: np.hstack(of) for name, of in predicted.items()}, (np.hstack(measured), *test[1:])


def make(study, world, seed, subject):
    """Score one subject of one world."""
    study = maps.study_of_world(study, world, seed)
    root, space = study.root, study.preset.space
    ncsnr = nsd.ncsnr(root, subject, space)
    visual = nsd.roi_mask(root, "nsdgeneral", "nsdgeneral", space, subject)

    def asked_of(n_repeats):
        return visual & (nsd.noise_ceiling(ncsnr, n_repeats) >= maps.LOWEST_CEILING)

    r, predicted, (test_betas, test_ids, test_repeats) = predict_cortex(study, world, subject, asked_of)
    ceiling, asked = nsd.noise_ceiling(ncsnr, test_repeats), asked_of(test_repeats)

    def preference(of_a, of_b):
        return encoding.preference(of_a, of_b, ceiling[asked], maps.LOWEST_CEILING)

    result, draws = {"tree": np.array(study.identity), "ceiling": ceiling[visual]}, {}
    for name in "zc":
        result[f"r_{name}"] = r[name][visual]
        known = np.isfinite(r[name])
        counts = discoveries(r[name][known], test_ids, visual[known])
        result[f"discoveries_{name}"], result[f"uncorrected_{name}"] = counts
        pair = predicted[name], test_betas
        # The same seed draws the same images, so that differences are paired.
        draws[name] = encoding.bootstrap_correlation(*pair, np.random.default_rng(SEED), N_DRAWS)
    r = {name: of[asked] for name, of in r.items()}
    masks = [nsd.roi_mask(root, "streams", name, space, subject)[asked] for name in COMPARED]
    pair = preference(r["z"], r["c"]), preference(draws["z"], draws["c"])
    result["difference"] = compare_regions(*pair, *masks, np.random.default_rng(SEED))
    if world != "measured":
        planted = pd.read_csv(root / f"simulation/planted_{subject}.csv").mixture.to_numpy()[asked]
        # As decoded; with one of the two replaced by what was really planted; with both.
        pairs = [("z", "c"), ("low", "c"), ("z", "semantic"), ("low", "semantic")]
        found = [preference(r[a], r[b]) for a, b in pairs]
        result["spearman"] = np.array([stats.spearmanr(planted, m).statistic for m in found])
    return result


def gather(study, load):
    """Stack all arrays (world, subject, ...); scores of vertices are kept in half precision."""
    worlds = worlds_of(study)
    arrays = jobs.stacked(lambda world, subject: load(*world, subject), worlds, study.subjects)
    trees = arrays.pop("tree")[:, 0].tolist()
    arrays |= {name: arrays[name].astype(np.float16) for name in ("ceiling", "r_z", "r_c")}
    arrays["worlds"], arrays["seeds"] = (np.array(column) for column in zip(*worlds, strict=True))
    visual = nsd.roi_mask(study.root, "nsdgeneral", "nsdgeneral", study.preset.space)
    arrays["vertices"] = np.flatnonzero(visual).astype(np.int32)
    provenance = {"trees": trees, "subjects": study.subjects, "compared": COMPARED, "tolerance": TOLERANCE}
    return {"": (arrays, provenance)}


def make_job(study, _args):
    """Cut the work into parts."""
    maps.check_surface(study)
    parts = [(*world, subject) for world in worlds_of(study) for subject in study.subjects]
    return jobs.Job(study, parts, make, gather, study.description(*NETWORKS, seed=SEED))


if __name__ == "__main__":
    jobs.main(__doc__, make_job)
