"""How well z, c and layers of g are decoded from regions, and what sessions and repeats bring.

Ridge decoders of z, c and six layers of g from early, ventral, lateral and parietal cortex and from all
of visual cortex, for every subject, at matched numbers of voxels; the same from all voxels of visual
cortex, without and with rescaling; then power curves of z and c: the first sessions only, the first
showings of each image only.
"""

import numpy as np

from latentcortex import features, nsd
from latentcortex.decoders import LinearDecoder
from latentcortex.studies import decoding, jobs, maps
from latentcortex.studies.responses import VISUAL_CORTEX, matched_voxels, streams
from latentcortex.studies.scores import score_features, varies
from latentcortex.studies.study import LAYERS
from latentcortex.studies.targets import targets

SEED = 5
REGIONS = {name: streams(name) for name in ("early", "ventral", "lateral", "parietal")}
REGIONS["all"] = VISUAL_CORTEX
TARGETS = ("z", "c", *(f"g{k}" for k in LAYERS))
N_SUBSAMPLES = 5  # of the voxels of each region
FITS = ("all training images", "without the validation images", "these, rescaled")
N_VALIDATION = 100  # training images that teach the rescaling and train nothing
MAX_REPEATS = 3
NETWORKS = ("vae", "text_encoder", "tokenizer", "guide")
TOLERANCE = {"largest": 0.01}  # sums are rounded differently between machines, and a tie may break otherwise


def regions_of(study):
    """Return the regions of `REGIONS` that all subjects have. BOLD5000, for one, draws two of the streams."""
    drawn = [maps.areas_of(study.root, study.preset.space, subject, REGIONS) for subject in study.subjects]
    return {name: of for name, of in REGIONS.items() if all(masks[name].any() for masks in drawn)}


def flat(study, image_ids, names=TARGETS):
    """Return true features of images by name, arrays (n, n_features)."""
    return {name: values.flatten(1).numpy() for name, values in targets(study, names, image_ids).items()}


def decode(test, true, betas, known, image_ids, is_fit=None, device=None):
    """Fit a decoder of `known` (n_train, n_features) on betas, and score it on the test images.

    `test` holds their betas and ids, `true` their features. Training images that are not `is_fit`, bool
    (n_train,), teach a rescaling and nothing else. Returns a list of scores, as ridge predicts and, with
    `is_fit`, rescaled: ``r``, ``identified`` (n_test,) and ``edge_share``, the share of penalties at an edge
    of the grid.
    """
    rows = np.ones(len(image_ids), bool) if is_fit is None else is_fit
    decoder = LinearDecoder(cv="gcv", device=device).fit(betas[rows], known[rows], image_ids[rows])
    if is_fit is not None:
        decoder.fit_rescaling(betas[~rows], known[~rows], image_ids[~rows])
    scores = []
    for rescale in (False,) if is_fit is None else (False, True):
        found = score_features(decoder.predict(test[0], rescale, test[1]), true, known[rows].mean(0))
        found = {name: found[name] for name in ("r", "identified")}
        scores.append({**found, "edge_share": decoder.ridge_.edge_share_})
    return scores


def from_region(study, subject, region):
    """Decode from random voxels of a region, as many as the smallest one has: (target, subsample, ...)."""
    read = decoding.read(study, subject)
    sizes = {name: int(read.mask(one).sum()) for name, one in regions_of(study).items()}
    (betas, ids, _), (test, test_ids, _) = read.averages(REGIONS[region])
    true_train, true_test = flat(study, ids), flat(study, test_ids)
    subsamples = [matched_voxels(sizes, number)[region] for number in range(N_SUBSAMPLES)]

    def scored(name, number):
        voxels = subsamples[number]
        shown = test[:, voxels], test_ids
        of = shown, true_test[name], betas[:, voxels], true_train[name], ids
        (found,) = decode(*of, device=study.preset.device)
        return found

    # All targets of the same voxels one after the other: they share the decomposition.
    scores = jobs.stacked(lambda number, name: scored(name, number), range(N_SUBSAMPLES), TARGETS)
    scores = {name: values.swapaxes(0, 1) for name, values in scores.items()}
    return {**scores, "n_voxels": np.array(min(sizes.values()))}


def from_all_voxels(study, subject):
    """Decode from all of visual cortex, fitted in the ways of `FITS`: (fit, target, ...)."""
    (betas, ids, _), test = decoding.read(study, subject).averages(VISUAL_CORTEX)
    true_train, true_test, rng = flat(study, ids), flat(study, test[1]), np.random.default_rng([SEED, 1])
    is_fit = np.isin(ids, nsd.validation_split(ids, N_VALIDATION, rng=rng)[0])
    data = {name: (test[:2], true_test[name], betas, true_train[name], ids) for name in TARGETS}
    scores = {name: [] for name in TARGETS}
    for learned_by in (None, is_fit):  # the targets of the same rows share the decomposition
        for name, of in data.items():
            scores[name] += decode(*of, learned_by, study.preset.device)
    return jobs.stacked(lambda fit, name: scores[name][fit], range(len(FITS)), TARGETS)


def measured(table, sessions, n_repeats):
    """Mark the first showings of each image that is not shared, in some sessions: bool (n_trials,)."""
    rows = ~table["shared"].to_numpy() & table["session"].isin(sessions).to_numpy()
    rows[rows] = table[rows].groupby("image_id").cumcount() < n_repeats
    return rows


def averages_of(read, rows):
    """Average some trials of each image: betas (n_images, n_voxels) of all visual cortex, and the ids.

    Neither means nor deviations know of other trials: scaling by these alone undoes the scaling by all.
    """
    single, session = read.single(VISUAL_CORTEX)[rows], read.table["session"].to_numpy()[rows]
    scaled = nsd.zscore(single, session, np.ones(len(single), bool))
    return nsd.average_repeats(scaled, read.image_ids[rows])[:2]


def power(study, subject):
    """Decode z and c after fewer sessions and showings: (sessions, showings, ...), NaN if not measured."""
    read = decoding.read(study, subject)
    test, sessions = read.averages(VISUAL_CORTEX)[1][:2], sorted(read.table["session"].unique())
    true_test = flat(study, test[1], "zc")
    most = max(table["session"].nunique() for table in study.tables.values())
    r = np.full((most, MAX_REPEATS, 2), np.nan)
    n_trained = np.zeros((most, MAX_REPEATS, 2), int)  # images, trials
    for i, k in np.ndindex(len(sessions), MAX_REPEATS):
        rows = measured(read.table, sessions[: i + 1], k + 1)
        betas, ids = averages_of(read, rows)
        true = flat(study, ids, "zc")
        device = study.preset.device
        r[i, k] = [decode(test, true_test[t], betas, true[t], ids, None, device)[0]["r"] for t in "zc"]
        n_trained[i, k] = len(ids), rows.sum()
    return {"power": r, "n_trained": n_trained}


def ceiling_of_means(values, groups):
    """Estimate how means over a few members are correlated with those over all there could be: (n_numbers,).

    The spread of a group's members, rows of `values` (n_members, n_numbers), says how much of the spread of
    the means is chance; each group needs at least two. 0 where the means vary no more than by chance.
    """
    _, group, n = np.unique(groups, return_inverse=True, return_counts=True)
    means = np.stack([values[group == k].mean(0) for k in range(len(n))])
    within = np.stack([values[group == k].var(0, ddof=1) for k in range(len(n))])
    by_chance = (within / n[:, None]).mean(0)
    spread = means.var(0, ddof=1)
    return np.sqrt(np.maximum(1 - by_chance / np.maximum(spread, 1e-12), 0))


def caption_ceiling(study):
    """Return how far captions agree: c is a mean over a few of those that people could have written.

    A brain can know the mean of all of them at most, so its correlation with c is a ceiling; the mean over
    the numbers of c that vary.
    """
    texts = nsd.captions(study.root, study.image_ids)
    single = [[text] for of_image in texts for text in of_image]
    states = features.encode_captions(study.model.text_encoder, study.model.tokenizer, single).flatten(1)
    states = states.float().cpu().numpy()
    image = np.repeat(study.image_ids, [len(of_image) for of_image in texts])
    return ceiling_of_means(states[:, varies(states)], image).mean()


def make(study, subject, name):
    """Score decoders from a region, from ``"all voxels"`` of visual cortex, or with more ``"power"``."""
    if name in REGIONS:
        return from_region(study, subject, name)
    return {"all voxels": from_all_voxels, "power": power}[name](study, subject)


def gather(study, load):
    """Stack the scores of all subjects, subjects first."""
    regions = list(regions_of(study))
    arrays = jobs.stacked(load, study.subjects, regions)
    arrays["n_voxels"] = arrays["n_voxels"][:, 0]
    whole = jobs.stacked(lambda subject: load(subject, "all voxels"), study.subjects)
    arrays |= {f"whole_{name}": values for name, values in whole.items()}
    arrays |= jobs.stacked(lambda subject: load(subject, "power"), study.subjects)
    for whose in ("", "whole_"):
        identified = arrays[f"{whose}identified"]
        # Identified among all others, two at a time: retrieved.
        arrays |= {f"{whose}retrieved": identified == 1, f"{whose}identified": identified.astype(np.float16)}
    axes = {
        "identified": ["subject", "region", "target", "subsample", "test image"],
        "whole_identified": ["subject", "fit", "target", "test image"],
        "power": ["subject", "sessions", "repeats", "z and c"],
    }
    provenance = {"subjects": study.subjects, "regions": regions, "targets": TARGETS, "fits": FITS}
    more = {"test_image_ids": study.image_ids, "caption_ceiling": np.array(caption_ceiling(study))}
    return {"": (arrays | more, {**provenance, "axes": axes, "tolerance": TOLERANCE})}


def make_job(study, _args):
    """Cut the work into parts."""
    names = (*regions_of(study), "all voxels", "power")
    parts = [(subject, name) for subject in study.subjects for name in names]
    return jobs.Job(study, parts, make, gather, study.description(*NETWORKS, seed=SEED))


if __name__ == "__main__":
    jobs.main(__doc__, make_job)
