"""Scores of z and c on test images unlike the training images, and vertices called by three tests.

Every subject's images are split by the names of `nsd.splits`, at equal numbers of training images. Which
vertices are predicted is tested for the published split: by the distribution of r, by permutation of all test
images, and by permutation within clusters of like images. Where the data are simulated, all of it is asked in
a world of noise alone as well, and of the variables that were really planted.
"""

import numpy as np

from latentcortex import encoding, nsd
from latentcortex.studies import image_splits, jobs, maps
from latentcortex.studies.planted import planted_variables

WORLDS = ("standard", "null")
SETS = ("z", "c", "low", "semantic")  # the last two are the planted variables
REGIONS = ("early", "ventral")
TESTS = ("published", "all images", "within clusters")
Q = 0.05  # false discovery rate
N_PERMUTATIONS = 10_000
SEED = 10
NETWORKS = ("vae", "text_encoder", "tokenizer")
TOLERANCE = {"of 98 in 100": 0.003}


def worlds_of(study):
    """List the worlds that are looked at: only simulated data have other worlds."""
    return WORLDS if study.preset.data == "mini" else ("measured",)


def side_by_side(trials, split):
    """Return responses to the training and the test images of a split, those of all worlds in one array."""
    pairs = [image_splits.responses(of_world, split) for of_world in trials]
    return [(np.hstack([pair[k][0] for pair in pairs]), *pairs[0][k][1:]) for k in (0, 1)]


def score_split(study, split, train, test, masks, ceiling):
    """Score all feature sets under one split.

    Parameters
    ----------
    study : Study
    split : nsd.Split
    train, test : tuples of (betas, image_ids, n_repeats)
        The worlds side by side.
    masks : sequence of bool array (n_vertices,)
        Regions, of the vertices of one world.
    ceiling : array (n_vertices,)
        In R2, of these test images: splits can differ in how often their test images were shown.

    Returns
    -------
    dict of str to array
        ``r`` (n_worlds, 2, n_vertices) of z and c; ``means`` (n_sets, n_regions) and ``draws`` (n_sets,
        n_regions, n_draws) over resampled test images, of the first world: mean r as a share of the mean of
        what the noise allows.
    """
    n = len(masks[0])
    values, is_train = image_splits.features_of(study, split)
    if study.preset.data == "mini":
        values |= planted_variables(study.root, split.train_ids, split.test_ids, split.experiment)
    maps_of, means, draws, allowed = [], [], [], np.sqrt(ceiling)
    for name, of in values.items():
        # The planted variables are not asked in the other worlds.
        n_asked = train[0].shape[1] if name in "zc" else n
        seen = (train[0][:, :n_asked], *train[1:])
        predicted = maps.predict(of, is_train, seen, test[1], study.preset.device)
        r = encoding.correlation(predicted, test[0][:, :n_asked], test[1]).reshape(-1, n)
        if name in "zc":
            maps_of.append(r)
        # The same seed draws the same images, so that differences are paired.
        rng = np.random.default_rng(SEED)
        drawn = encoding.bootstrap_correlation(predicted[:, :n], test[0][:, :n], rng, maps.N_DRAWS)
        means.append([r[0, mask].mean() / allowed[mask].mean() for mask in masks])
        draws.append([drawn[:, mask].mean(1) / allowed[mask].mean() for mask in masks])
    return {"r": np.stack(maps_of, axis=1), "means": np.array(means), "draws": np.array(draws)}


def score_splits(study, subject):
    """Score one subject under every split, in visual cortex."""
    root, space = study.root, study.preset.space
    visual = nsd.roi_mask(root, "nsdgeneral", "nsdgeneral", space, subject)
    ncsnr = nsd.ncsnr(root, subject, space)[visual]
    # By the ceiling of the published test images, so that all splits ask the same vertices.
    test_repeats = nsd.image_responses(root, subject, space, study.preset.sessions, visual)[1][2]
    asked = nsd.noise_ceiling(ncsnr, test_repeats) >= maps.LOWEST_CEILING
    masks = [nsd.roi_mask(root, "streams", name, space, subject)[visual] & asked for name in REGIONS]
    studies = [maps.study_of_world(study, world, 0) for world in worlds_of(study)]
    trials = [image_splits.read_trials(of_world, subject, visual) for of_world in studies]
    splits, _ = image_splits.splits_of(study, subject)
    found = []
    for split in splits.values():
        train, test = side_by_side(trials, split)
        ceiling = nsd.noise_ceiling(ncsnr, test[2])
        scores = score_split(study, split, train, test, masks, ceiling)
        more = {"distance": np.median(split.distances), "n_train": len(split.train_ids), "ceiling": ceiling}
        found.append(scores | more)
    return {name: np.array([of[name] for of in found]) for name in found[0]}


def p_of_tests(predicted, measured, image_ids, clusters):
    """Return p of each test at every vertex, (n_tests, n_vertices)."""
    r = encoding.correlation(predicted, measured, image_ids)
    p = [encoding.p_values(r, len(image_ids), image_ids)]
    for labels in (None, clusters):
        rng = np.random.default_rng(SEED)  # the same permutations for all vertices
        p.append(encoding.permutation_p_values(predicted, measured, rng, N_PERMUTATIONS, labels, image_ids))
    return np.array(p)


def count(p, visual):
    """Count the vertices that each test calls, (n_tests, 2): in visual cortex and outside."""
    called = [encoding.fdr(of_test, Q)[0] for of_test in p]
    return np.array([[of[visual].sum(), of[~visual].sum()] for of in called])


def call_vertices(study, subject):
    """Count the vertices called, (n_worlds, 2, n_tests, 2), for z and c, for the published split."""
    visual = nsd.roi_mask(study.root, "nsdgeneral", "nsdgeneral", study.preset.space, subject)
    splits, kinds = image_splits.splits_of(study, subject)
    split = splits[image_splits.PUBLISHED]
    values, is_train = image_splits.features_of(study, split)
    values = [maps.reduced(of, is_train) for of in values.values()]
    called = []
    for world in worlds_of(study):
        known, p = [], [[] for _ in values]
        for vertices, train, test in maps.each_block(maps.study_of_world(study, world, 0), subject):
            known.append(visual[vertices])
            clusters = kinds.loc[test[1]].to_numpy()
            for of_set, of in zip(p, values, strict=True):
                predicted = maps.predict_from(of, is_train, train, test[1], study.preset.device)
                of_set.append(p_of_tests(predicted, *test[:2], clusters))
        called += [count(np.hstack(of_set), np.concatenate(known)) for of_set in p]
    return {"called": np.reshape(called, (-1, 2, len(TESTS), 2))}


def make(study, subject, what):
    """Do one part: score the splits, or test the vertices."""
    return {"splits": score_splits, "tests": call_vertices}[what](study, subject)


def gather(study, load):
    """Stack the parts: (subject, ...); maps are means over subjects, as shares of what noise allows."""
    parts = jobs.stacked(lambda subject: load(subject, "splits"), study.subjects)
    arrays = jobs.stacked(lambda subject: load(subject, "tests"), study.subjects)
    r, ceiling = parts.pop("r").astype(float), parts.pop("ceiling")
    # (n_subjects, n_splits, n_worlds, 2, n_vertices), by the ceilings of the first world
    shares = [
        [encoding.normalised_correlation(*pair, maps.LOWEST_CEILING) for pair in zip(*of, strict=True)]
        for of in zip(r, ceiling, strict=True)
    ]
    arrays["maps"] = mean_of_known(np.array(shares)).astype(np.float16)
    arrays["checked"] = r[0, :, 0].astype(np.float16)[..., image_splits.checked_vertices(r.shape[-1])]
    arrays["draws"] = parts.pop("draws").mean(0).astype(np.float16)
    arrays |= parts
    visual = nsd.roi_mask(study.root, "nsdgeneral", "nsdgeneral", study.preset.space, study.subjects[0])
    arrays["vertices"] = np.flatnonzero(visual).astype(np.int32)
    provenance = {
        "worlds": worlds_of(study),
        "subjects": study.subjects,
        "splits": list(image_splits.splits_of(study, study.subjects[0])[0]),
        "sets": SETS[: parts["means"].shape[2]],
        "regions": REGIONS,
        "tests": TESTS,
        "tolerance": TOLERANCE,
    }
    return {"": (arrays, provenance)}


def mean_of_known(values):
    """Return means over the first axis of the values that are not NaN; NaN where there is none."""
    n = np.isfinite(values).sum(0)
    return np.where(n > 0, np.nansum(values, axis=0) / np.maximum(n, 1), np.nan)


def make_job(study, _args):
    """Cut the work into parts."""
    maps.check_surface(study)
    parts = [(subject, what) for subject in study.subjects for what in ("splits", "tests")]
    description = study.description(*NETWORKS, worlds=worlds_of(study))
    return jobs.Job(study, parts, make, gather, description)


if __name__ == "__main__":
    jobs.main(__doc__, make_job)
