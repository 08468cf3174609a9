"""Hold the frozen kit that replicates figures 6 to 9 of Takagi and Nishimoto (2023), and decide its claims.

The settings, areas and claims stand in ``takagi2023.toml``. `FROZEN` is the hash of their content, so a kit
that was changed after a look at results is refused.
"""

import functools
import tomllib
from pathlib import Path

import numpy as np

from latentcortex import encoding, nsd, store
from latentcortex.studies import maps
from latentcortex.studies.replication_features import features_of

PATH = Path(__file__).with_name("takagi2023.toml")
FROZEN = "1b7f3cc4497c41d43b2f4935ae45d301a2e813800d63722c749ea26d8e329c22"
VERDICTS = ("confirmed", "undecided", "refuted")


def read_kit(path=PATH):
    """Return the kit as a dictionary.

    Parameters
    ----------
    path : path

    Raises
    ------
    ValueError
        If its content is not the frozen one. Spaces and comments may differ.
    """
    kit = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    found = store.source_hash([], kit)
    if found != FROZEN:
        raise ValueError(
            f"{path} has the hash {found[:12]}, but the frozen kit has {FROZEN[:12]}: a setting or a claim "
            "was changed. Restore the file from the release, or publish the change as another kit."
        )
    return kit


def add_options(parser):
    """Add the option of a rehearsal to a script's parser."""
    parser.add_argument("--rehearse", action="store_true", help="fewer steps; decides nothing about brains")


def settings_name(preset, rehearse):
    """Return which settings of the kit a preset runs; the simulated world always rehearses."""
    return "rehearsal" if rehearse or preset.data == "mini" else "features"


@functools.lru_cache(maxsize=1)
def read_areas(study, subject):
    """Return the responses of a subject in all areas of the kit, with masks of those that the tree has.

    Parameters
    ----------
    study : Study
    subject : str

    Returns
    -------
    maps.Worlds
        One world. Voxels that hold NaN in some trial are left out.

    Raises
    ------
    FileNotFoundError
        If the tree has none of the areas.
    ValueError
        If the file of an area is damaged.
    """
    root, space, sessions = study.root, study.preset.space, study.preset.sessions
    found, areas = {}, read_kit()["areas"]
    for name, (atlas, *regions) in areas.items():
        try:
            table, codes = nsd.roi_names(root, atlas), nsd.roi(root, atlas, space, subject)
        except FileNotFoundError:  # not drawn in this data set; a damaged file is an error
            continue
        mask = np.isin(codes, table["code"][table["name"].isin(regions)])
        if mask.any() and set(regions) <= set(table["name"]):
            found[name] = mask
    if not found:
        raise FileNotFoundError(
            f"{root} has none of the areas {', '.join(areas)} of {subject} in {space}: latentcortex check "
            "says what is missing."
        )
    mask = np.logical_or.reduce(list(found.values())) & nsd.finite_mask(root, subject, space, sessions)
    train, test = nsd.image_responses(root, subject, space, sessions, mask)
    try:
        ceiling = nsd.noise_ceiling(nsd.ncsnr(root, subject, space)[mask], test[2])
    except FileNotFoundError:  # not published with every data set: then all voxels count
        ceiling = np.ones(np.count_nonzero(mask))
    areas = {name: of[mask] for name, of in found.items()}
    ids = np.concatenate([train[1], test[1]])
    return maps.Worlds(ids, len(train[1]), train, test[0], ceiling[None], areas, study.preset.device)


def score(study, settings, subject, name):
    """Return how well one feature set predicts each area of a subject.

    Parameters
    ----------
    study, settings, name
        See `replication_features.features_of`.
    subject : str

    Returns
    -------
    dict of str to array
        ``areas`` (n_areas,), mean correlation with the responses to test images, NaN where the tree lacks an
        area; ``draws`` (n_areas, n_draws), the same over resampled test images; ``shuffled`` (n_areas,), the
        same after the test images were shuffled, which should be near 0.
    """
    kit, seen = read_kit(), read_areas(study, subject)
    how = kit["encoding"]
    values = features_of(study, settings, name, seen.image_ids)
    reduced = encoding.low_rank(values, seen.is_train, how["n_components"])
    test_ids = seen.image_ids[seen.n_train :]
    predicted = maps.predict_from(reduced, seen.is_train, seen.train, test_ids, seen.device)
    rng = np.random.default_rng(how["seed"])  # the same test images for every feature set
    draws = encoding.bootstrap_correlation(predicted, seen.test_betas, rng, how["n_draws"])
    order = np.random.default_rng(how["seed"]).permutation(len(predicted))
    return {
        "areas": _means(kit, seen, seen.correlate(predicted))[:, 0],
        "draws": _means(kit, seen, draws),
        "shuffled": _means(kit, seen, seen.correlate(predicted[order]))[:, 0],
    }


def _means(kit, seen, r):
    """Return the means (n_areas, n) of correlations (n, n_voxels) over the voxels with a ceiling."""
    has_ceiling = seen.ceiling[0] >= kit["encoding"]["lowest_ceiling"]
    means = np.full((len(kit["areas"]), len(r)), np.nan)
    for k, name in enumerate(kit["areas"]):
        mask = seen.areas.get(name, np.zeros(len(has_ceiling), bool)) & has_ceiling
        if mask.any():
            means[k] = np.nanmean(r[:, mask], axis=1)
    return means


def decide(draws, decision):
    """Return the verdict on a claim, and its difference in each subject.

    Parameters
    ----------
    draws : array (n_subjects, n_draws)
        Score of the better set minus that of the worse one, over resampled images. NaN if a subject lacks the
        area.
    decision : dict
        ``kit["decision"]``.

    Returns
    -------
    verdict : str
        One of `VERDICTS`, or ``"not asked"`` if no subject has the area.
    interval : array (n_subjects, 2)
        Lower and upper end.
    """
    tail = (1 - decision["level"]) / 2
    interval = np.quantile(draws, [tail, 1 - tail], axis=1).T
    known = np.isfinite(interval).all(axis=1)
    if not known.any():
        return "not asked", interval
    holds, opposite = (interval[known, 0] > 0).mean(), (interval[known, 1] < 0).mean()
    if holds >= decision["holds_in"] and opposite == 0:
        return "confirmed", interval
    return ("refuted" if opposite > decision["refuted_by"] else "undecided"), interval


def verdicts(kit, names, areas, draws):
    """Return the verdicts on all claims of the kit.

    Parameters
    ----------
    kit : dict
    names : sequence of str
        Feature sets along the axis of `draws`.
    areas : array (n_subjects, n_sets, n_areas)
    draws : array (n_subjects, n_sets, n_areas, n_draws)
        From `score`.

    Returns
    -------
    list of dict
        For each claim ``name``, ``says``, ``verdict``, ``difference`` (n_subjects,) and ``interval``
        (n_subjects, 2).
    """
    names, found = list(names), []
    for claim in kit["claims"]:
        better, worse = (names.index(claim[side]) for side in ("better", "worse"))
        k = list(kit["areas"]).index(claim["area"])
        verdict, interval = decide(draws[:, better, k] - draws[:, worse, k], kit["decision"])
        difference = areas[:, better, k] - areas[:, worse, k]
        chosen = {"name": claim["name"], "says": claim["says"], "area": claim["area"]}
        found.append({**chosen, "verdict": verdict, "difference": difference, "interval": interval})
    return found
