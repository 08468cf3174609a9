"""What networks with a space that subjects share decode, beside ridge: z and c of the test images, scored.

For every subject, three trainings each, from 1, 2 and all of the subject's sessions, once pre-trained on
the other subjects and once from scratch. Six layers of g from all sessions, pre-trained and by ridge. Once
(first subject, first training, all sessions): one network for z and c together, and c with a diffusion
prior or without.

How networks are trained was chosen by ch07_choose_training on validation images; so was the form of the
predictions that is looked at first (`PRIMARY_FORM`), by two-way identification. A training whose loss is
no longer finite is named at the end, after all others. On two cores a first run takes three hours.
"""

import itertools

import numpy as np

from latentcortex.studies import jobs
from latentcortex.studies.plans import GROUPS
from latentcortex.studies.shared_training import (
    AMOUNTS,
    FORMS,
    METHODS,
    N_SEEDS,
    SUFFIXES,
    add_seeds,
    score,
    trainings_of,
)

NETWORKS = ("pretrained", "scratch")
TARGETS = ("z", "c")
COMPARED = ("pretrained", "joint", "prior")
METHODS_OF_G = ("pretrained", "ridge")
PRIMARY_FORM = "rescaled"
SCORES = ("r", "identified", "images_retrieved", "brains_retrieved")
TOLERANCE = {"largest": 0.01}  # of r: sums are rounded differently between machines
AXES = {
    "network": ["subject", "training", "network", "sessions", "target", "form"],
    "ridge": ["subject", "sessions", "target", "form"],
    "g": ["subject", "pretrained, ridge", "layer", "form"],
    "compared": ["method", "target", "form"],
    "last": ["subject", "training", "network", "sessions", "target", "epoch"],
    "first": ["subject", "training", "target", "epoch"],
}


def list_parts(study, n_seeds):
    """List the parts as (subject, seed, method, amount, group), in the order they are made in.

    Seeds come last: a run that is cut short has fewer of them, of everything.
    """
    parts = []
    for seed, subject in itertools.product(range(n_seeds), study.subjects):
        methods = ("ridge", *NETWORKS) if seed == 0 else NETWORKS
        parts += [(subject, seed, *of) for of in itertools.product(methods, AMOUNTS, TARGETS)]
        if seed == 0:
            once = [("joint", "zc"), ("prior", "c")] if subject == study.subjects[0] else []
            once += [(method, "g") for method in METHODS_OF_G]
            parts += [(subject, seed, method, "all", group) for method, group in once]
    return parts


def make(study, subject, seed, method, amount, group):
    """Score what a method decodes, (target, form, ...), and bring the curves of its training to one length.

    Curves are of networks with one target. Projections of g are left out, since ridge has none.
    """
    trainings = trainings_of(study)
    decoded = trainings.predictions(subject, seed, method, amount, group)
    ids, names = decoded["test_image_ids"], GROUPS[group]
    forms = FORMS[: 2 if method == "ridge" or group == "g" else 3]

    def scored(name, form):
        rows = decoded[name + SUFFIXES[form]]
        return score(trainings, name, rows, ids, subject, amount, form == "projected")

    arrays = jobs.stacked(scored, names, forms)
    for stage in ("first", "last"):
        if f"{stage}_loss" in decoded and len(names) == 1:
            curves = {"loss": decoded[f"{stage}_loss"], "retrieval": decoded[f"{stage}_retrieval"][:, 0]}
            lengths = {what: lengthened(trainings.plan, of, stage, group) for what, of in curves.items()}
            arrays |= {f"{stage}_{what}": values for what, values in lengths.items()}
    return {name: np.float16(values) for name, values in arrays.items()}


def lengthened(plan, curve, stage, group):
    """Fill a curve (n_epochs,) up with NaN to the epochs of the longest training of this stage."""
    trainings = [plan.pretraining] if stage == "first" else [plan.finetuning, plan.scratch]
    longest = max(settings[group].epochs for settings in trainings)
    return np.pad(curve, (0, longest - len(curve)), constant_values=np.nan)


def stack(study, load, n_seeds):
    """Stack the scores of all parts as the axes say; NaN where there is nothing to be decoded."""
    subjects, first = study.subjects, study.subjects[0]
    networks = subjects, range(n_seeds), NETWORKS, AMOUNTS, TARGETS

    def scores(*part):
        found = load(*part)
        return {what: found[what] for what in SCORES}

    def alone(*part):  # of one target
        return {what: values[0] for what, values in scores(*part).items()}

    def curves(stage, *part):
        found = load(*part)
        return {f"{stage}_{what}": found[f"{stage}_{what}"] for what in ("loss", "retrieval")}

    prior = alone(first, 0, "prior", "all", "c")  # of c alone
    compared = {
        "pretrained": jobs.stacked(lambda name: alone(first, 0, "pretrained", "all", name), TARGETS),
        "joint": scores(first, 0, "joint", "all", "zc"),
        "prior": {what: np.stack([np.full_like(values, np.nan), values]) for what, values in prior.items()},
    }
    families = {
        "network": jobs.stacked(alone, *networks),
        "ridge": jobs.stacked(lambda s, *of: alone(s, 0, "ridge", *of), subjects, AMOUNTS, TARGETS),
        "g": jobs.stacked(lambda s, method: scores(s, 0, method, "all", "g"), subjects, METHODS_OF_G),
        "compared": jobs.stacked(lambda method: compared[method], compared),
    }
    arrays = {f"{of}_{what}": values for of, some in families.items() for what, values in some.items()}
    arrays |= jobs.stacked(lambda *of: curves("last", *of), *networks)
    return arrays | jobs.stacked(
        lambda s, seed, name: curves("first", s, seed, "pretrained", "all", name), *networks[:2], TARGETS
    )


def gather(study, load, n_seeds):
    """Stack the scores; with them go what they mean and the ids of validation images."""
    trainings = trainings_of(study)
    arrays = {
        "test_image_ids": study.image_ids,
        **stack(study, load, n_seeds),
        **{f"validation_ids_{subject}": trainings.validation[subject] for subject in study.subjects},
    }
    provenance = {
        "subjects": study.subjects,
        "pretrained_on": {s: [other for other in study.subjects if other != s] for s in study.subjects},
        "networks": NETWORKS,
        "methods": METHODS,
        "amounts": AMOUNTS,
        "targets": TARGETS,
        "forms": FORMS,
        "primary_form": PRIMARY_FORM,
        "layers": GROUPS["g"],
        "compared_methods": COMPARED,
        "axes": AXES,
        "scores": "per image in the last axis, but r",
        "test_responses": "means of all showings in all sessions, for every amount",
        "tolerance": TOLERANCE,
    }
    return {"": (arrays, provenance)}


def make_job(study, args):
    """Cut the work into parts."""
    parts, is_slice = list_parts(study, args.seeds), args.seeds != N_SEEDS
    described = trainings_of(study).described()
    return jobs.Job(study, parts, make, lambda *given: gather(*given, args.seeds), described, is_slice)


if __name__ == "__main__":
    jobs.main(__doc__, make_job, add_seeds)
