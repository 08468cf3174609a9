"""What networks with a space that subjects share decode, beside ridge: z and c of the test images, scored.

For every subject, three trainings each, from 1, 2 and all of the subject's sessions, once pre-trained on
the other subjects and once from scratch. Six layers of g from all sessions, pre-trained and by ridge. Once
(first subject, first training, all sessions): one network for z and c together, and c with a diffusion
prior or without.

How networks are trained was chosen by ch07_choose_training on validation images; so was the form of the
predictions that is looked at first (`PRIMARY_FORM`), by two-way identification. A training whose loss is
no longer finite is named at the end, after all others. On two cores a first run takes three hours.
"""

import numpy as np

from latentcortex.studies import jobs
from latentcortex.studies.plans import GROUPS
from latentcortex.studies.shared_training import AMOUNTS, FORMS, METHODS, SUFFIXES, score, trainings_of

N_SEEDS = 3
NETWORKS = ("pretrained", "scratch")
TARGETS = ("z", "c")
COMPARED = ("pretrained", "joint", "prior")
PRIMARY_FORM = "rescaled"
SCORES = ("r", "identified", "images_retrieved", "brains_retrieved")
CURVES = ("loss", "retrieval")
TOLERANCE = {"largest": 0.01}  # of r: sums are rounded differently between machines
AXES = {
    "network": ["subject", "training", "network", "sessions", "target", "form"],
    "ridge": ["subject", "sessions", "target", "form"],
    "g": ["subject", "pretrained, ridge", "layer", "form"],
    "compared": ["method", "target", "form"],
    "last": ["subject", "training", "network", "sessions", "target", "epoch"],
    "first": ["subject", "training", "target", "epoch"],
}


def list_parts(subjects, first_subject, n_seeds, amounts):
    """List the parts as (subject, seed, method, amount, group), in the order they are made in.

    Seeds come last: a run that is cut short has fewer of them, of everything.
    """
    parts = []
    for seed in range(n_seeds):
        for subject in subjects:
            methods = ("ridge", *NETWORKS) if seed == 0 else NETWORKS
            parts += [(subject, seed, method, a, t) for method in methods for a in amounts for t in TARGETS]
            if seed == 0 and "all" in amounts:
                parts += [(subject, seed, method, "all", "g") for method in ("ridge", "pretrained")]
                once = [("joint", "zc"), ("prior", "c")] if subject == first_subject else []
                parts += [(subject, seed, method, "all", group) for method, group in once]
    return parts


def make(study, subject, seed, method, amount, group):
    """Score what a method decodes in all forms, and bring the curves of its training to one length."""
    trainings = trainings_of(study)
    decoded = trainings.predictions(subject, seed, method, amount, group)
    arrays = {}
    for t, name in enumerate(GROUPS[group]):
        forms = {form: decoded.get(name + SUFFIXES[form]) for form in FORMS}
        scores = [
            score(trainings, name, rows, decoded["test_image_ids"], subject, amount, form == "projected")
            for form, rows in forms.items()
            if rows is not None
        ]
        arrays |= {f"{name}_{what}": np.float16([of[what] for of in scores]) for what in SCORES}
        for stage in ("first", "last"):
            if f"{stage}_loss" in decoded:
                loss, retrieval = decoded[f"{stage}_loss"], decoded[f"{stage}_retrieval"][:, t]
                arrays[f"{name}_{stage}_loss"] = lengthened(trainings.plan, loss, stage, group)
                arrays[f"{name}_{stage}_retrieval"] = lengthened(trainings.plan, retrieval, stage, group)
    return arrays


def lengthened(plan, curve, stage, group):
    """Fill a curve (n_epochs,) up with NaN to the epochs of the longest training of this stage."""
    trainings = [plan.pretraining] if stage == "first" else [plan.finetuning, plan.scratch]
    longest = max(settings[group].epochs for settings in trainings)
    return np.float16(np.pad(curve, (0, longest - len(curve)), constant_values=np.nan))


def places(part, subjects, amounts):
    """Yield where the scores of a part belong, for each of its targets: (target, family, place)."""
    subject, seed, method, amount, group = part
    s, a = subjects.index(subject), amounts.index(amount)
    for t, name in enumerate(GROUPS[group]):
        if group == "g":
            yield name, "g", (s, int(method == "ridge"), t)
            continue
        t = TARGETS.index(name)
        if method == "ridge":
            yield name, "ridge", (s, a, t)
        if method in NETWORKS:
            yield name, "network", (s, seed, NETWORKS.index(method), a, t)
            yield name, "last", (s, seed, NETWORKS.index(method), a, t)
        if method == "pretrained":
            yield name, "first", (s, seed, t)
        if method in COMPARED and (s, seed, amount) == (0, 0, "all"):
            yield name, "compared", (COMPARED.index(method), t)


def stack(load, parts):
    """Put the scores of all parts where the axes say; NaN where nothing was made."""
    subjects, seeds, _, amounts, _ = (list(dict.fromkeys(column)) for column in zip(*parts, strict=True))
    n, n_seeds, n_amounts, n_networks = len(subjects), len(seeds), len(amounts), len(NETWORKS)
    grid = (n, n_seeds, n_networks, n_amounts, len(TARGETS))
    shapes = {
        "network": grid,
        "ridge": (n, n_amounts, len(TARGETS)),
        "g": (n, 2, len(GROUPS["g"])),
        "compared": (len(COMPARED), len(TARGETS)),
        "last": grid,
        "first": (n, n_seeds, len(TARGETS)),
    }
    arrays = {}
    for part in parts:
        scored = load(*part)
        for name, family, place in places(part, subjects, amounts):
            of_curves = family in ("first", "last")
            for what in CURVES if of_curves else SCORES:
                values = scored[f"{name}_{family}_{what}" if of_curves else f"{name}_{what}"]
                values = values[:2] if family == "g" else values  # no projections
                shape = shapes[family] + values.shape
                arrays.setdefault(f"{family}_{what}", np.full(shape, np.nan, np.float16))[place] = values
    return arrays


def gather(study, load, parts):
    """Stack the scores; with them go what they mean and the ids of validation images."""
    trainings = trainings_of(study)
    subjects, _, _, amounts, _ = (list(dict.fromkeys(column)) for column in zip(*parts, strict=True))
    arrays = {
        "test_image_ids": study.image_ids,
        **stack(load, parts),
        **{f"validation_ids_{subject}": trainings.validation[subject] for subject in subjects},
    }
    provenance = {
        "subjects": subjects,
        "pretrained_on": {s: [other for other in study.subjects if other != s] for s in subjects},
        "networks": NETWORKS,
        "methods": METHODS,
        "amounts": amounts,
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


def add_options(parser):
    """Add the options of a slice, whose product stays in the cache."""
    parser.add_argument("--subjects", type=int, nargs="+", help="only these")
    parser.add_argument("--seeds", type=int, default=N_SEEDS, help="trainings of each network")
    parser.add_argument(
        "--sessions", nargs="+", choices=AMOUNTS, default=AMOUNTS, help="of the target subject"
    )


def make_job(study, args):
    """Cut the work into parts."""
    subjects = [f"subj{number:02d}" for number in args.subjects or study.preset.subjects]
    unknown = sorted(set(subjects) - set(study.subjects))
    if unknown:
        raise ValueError(f"Expected subjects of {', '.join(study.subjects)}, got {', '.join(unknown)}.")
    amounts = [amount for amount in AMOUNTS if amount in args.sessions]
    parts = list_parts(subjects, study.subjects[0], args.seeds, amounts)
    is_slice = parts != list_parts(study.subjects, study.subjects[0], N_SEEDS, AMOUNTS)
    described = trainings_of(study).described()
    return jobs.Job(study, parts, make, lambda *given: gather(*given, parts), described, is_slice)


if __name__ == "__main__":
    jobs.main(__doc__, make_job, add_options)
