"""Why decoded g corrects so little: hand the decoded features round among the subjects.

Two reasons are possible. Decoded g may be too inaccurate. Or it may be redundant: z, c and g are read from
one brain, so where decoded z and c are wrong, decoded g is wrong in the same way. To separate the two, each
subject's drawings are also guided by the g decoded from the *next* subject's responses to the same image.
Over all subjects these are the same features, so they are exactly as accurate, but their errors come from
another brain.

- own, next: g decoded from the subject's own responses, and from the next subject's.
- others: the mean of what all other subjects decode, which is more accurate as well.
- true: true g, to show that the guide could help at this strength.

Strengths: *gentle* is the one chosen for decoded g. *Firm* is three times as strong, in all steps. In `mini`
(300) this is the one of the same grid at which decoded g brought most centred PixCorr on validation images.

Beside the drawings, the same question is asked of the features of all test images, without drawing. How
much of g is predictable from the decoded z and c (R2 of held-out images)? And does the part of decoded g that
z and c don't predict identify the same part of true g, among the images of the same fold?

Expected, written before the first run:

1. Decoded z and c predict more of their own brain's g than of the next one's, and than true z and c
   predict of true g.
2. The part of g that z and c don't predict identifies images less well with own g than with the next one's.
3. Firmly guided, the next subject's g raises centred PixCorr and low-level identification above own g; in
   kinds neither is better than no guide.

Rule: for a score, *redundant* if next minus own and next minus no guide both lie above 0 (95 % intervals over
images); *inaccurate* if next minus no guide does not. If own minus no guide is above 0 and next minus own
includes 0, neither reason is needed. A run takes some 25 minutes on one core.
"""

import functools

import numpy as np
import torch

from latentcortex import metrics, sampler
from latentcortex.decoders import LinearDecoder
from latentcortex.store import rows_of
from latentcortex.studies import decoding, drawings, guides, jobs, scores
from latentcortex.studies.live_scores import names_for
from latentcortex.studies.recipes import Recipe
from latentcortex.studies.study import LAYERS
from latentcortex.studies.targets import train_mean_image

SEED = 8
N_IMAGES, N_FOLDS = 50, 5
WHOSE = ("own", "next", "others", "true")
DECODED = WHOSE[:3]
FIRM = 3  # times the preset's feature_scale
SCORES = ("centred PixCorr", "colours in cells", "contrast energy", "setting", "kinds")


def strengths_of(preset):
    """Return the fields of `sampler.Guidance` by the name of a strength."""
    gentle = {"feature_scale": preset.feature_scale, "guided_share": preset.guided_share}
    return {"gentle": gentle, "firm": {"feature_scale": FIRM * preset.feature_scale, "guided_share": 1.0}}


def scores_of(preset):
    """Return the names of the scores: photographs have the criteria of their protocol."""
    return names_for(preset, *SCORES)


def asked(study):
    """Choose the images that are drawn: ids, the same on every machine."""
    order = np.random.default_rng([SEED, 400]).permutation(len(study.image_ids))
    return study.image_ids[np.sort(order[:N_IMAGES])]


def lenders(subjects, subject, whose):
    """Return the names of the subjects whose decoded g a subject is given."""
    at = subjects.index(subject)
    round_ = [*subjects[at:], *subjects[:at]]
    return {"own": round_[:1], "next": round_[1:2], "others": round_[1:]}[whose]


def decoded_g(study, subject):
    """Return g as one subject's decoders give it, kept: float32 arrays (n, tokens, width) by layer."""
    shelf = study.shelf("decoded-g", [guides.g_of], study.description("guide"))

    def make():
        return {f"g{k}": of.numpy() for k, of in guides.g_of(study, subject, "ridge").items()}

    found = shelf.get((subject,), make)
    return {k: found[f"g{k}"] for k in LAYERS}


@functools.lru_cache(maxsize=8)
def g_given(study, subject, whose):
    """Return the g that guides a subject's drawings: tensors (n, tokens, width) by layer."""
    if whose == "true":
        return guides.g_of(study, subject, "true")
    lent = [decoded_g(study, other) for other in lenders(study.subjects, subject, whose)]
    return {k: torch.from_numpy(np.mean([g[k] for g in lent], axis=0)) for k in LAYERS}


def scored(study, subject, strength=None, whose=None):
    """Draw the images and score them by `scores_of`: (n, n_scores); unguided without a strength."""
    ids = asked(study)
    rows, guidance = rows_of(study.image_ids, ids), None
    if strength is not None:
        g = sampler.FeatureTargets(g_given(study, subject, whose), study.image_ids, study.guide.name)
        options = {"decoder": study.decoders["full"], **strengths_of(study.preset)[strength]}
        guidance = sampler.Guidance(sampler.feature_guide(study.guide, g), **options)
    z, c = (values[rows] for values in drawings.z_and_c(study, subject, "ridge"))
    with torch.no_grad():
        images = drawings.reconstruct(study, Recipe(), 0, ids, z, c, guidance)
    scorer = scores.scorer_of(study, tuple(ids))
    found = scorer(drawings.from_bytes(drawings.to_bytes(images)), train_mean_image(study, subject))
    return found[:, [scorer.names.index(name) for name in scores_of(study.preset)]]


def flat(g, spread):
    """Return layers as one matrix (n, n_numbers), each divided by its spread, so that all count alike."""
    return np.concatenate([np.asarray(g[k]).reshape(len(g[k]), -1) / spread[k] for k in LAYERS], axis=1)


def spread_of(g):
    """Return the root of the total variance over images of each layer."""
    return {k: np.sqrt(np.asarray(g[k]).reshape(len(g[k]), -1).var(0).sum()) for k in g}


def folds_of(n_images):
    """Return the fold of each image (n_images,), the same on every machine."""
    return np.random.default_rng([SEED, 401]).permutation(np.arange(n_images) % N_FOLDS)


def held_out(x, y, folds):
    """Predict y (n, n_targets) from x (n, n_features) linearly, each fold from all others: (n, n_targets)."""
    predicted, ids = np.empty_like(y), np.arange(len(y))
    for fold in np.unique(folds):
        test = folds == fold
        decoder = LinearDecoder(cv="gcv", alpha_per_target=False).fit(x[~test], y[~test], ids[~test])
        predicted[test] = decoder.predict(x[test], image_ids=ids[test])
    return predicted


def explained(y, predicted):
    """Return the share of the variance of y over images that predictions explain: R2 over all numbers."""
    return 1 - np.square(y - predicted).sum() / np.square(y - y.mean(0)).sum()


def new_part(z_and_c, true, decoded, folds):
    """Ask what decoded g tells that z and c don't.

    Parameters
    ----------
    z_and_c : array (n, n_features)
    true : array (n, n_numbers)
    decoded : dict of str to array (n, n_numbers)
        g by whose it is.
    folds : int array (n,)

    Returns
    -------
    dict of str to array
        ``predictable`` (1 + n_whose,): R2 of true and decoded g from z and c; ``accuracy`` (n_whose,): R2 of
        true g by decoded g; ``identified`` (1 + n_whose, n): of true g by what z and c predict of it, and by
        decoded g; ``identified_new`` (n_whose, n): of the parts that z and c don't predict.
    """
    by_true = held_out(z_and_c, true, folds)
    arrays = {
        "predictable": [explained(true, by_true)],
        "accuracy": [],
        "identified": [metrics.identification(true - true.mean(0), by_true - true.mean(0), groups=folds)],
        "identified_new": [],
    }
    for g in decoded.values():
        predicted = held_out(z_and_c, g, folds)
        arrays["predictable"].append(explained(g, predicted))
        arrays["accuracy"].append(explained(true, g))
        centred = true - true.mean(0), g - g.mean(0)
        arrays["identified"].append(metrics.identification(*centred, groups=folds))
        new = metrics.identification(true - by_true, g - predicted, groups=folds)
        arrays["identified_new"].append(new)
    return {name: np.array(values) for name, values in arrays.items()}


def joined(values):
    """Return z and c of images as one matrix (n, n_features) of the numbers that vary."""
    z, c = (np.asarray(of).reshape(len(of), -1) for of in values)
    return np.concatenate([z, c[:, scores.varies(c)]], axis=1)


def ask_features(study, subject):
    """Ask the features of all test images of a subject, see `new_part`."""
    true = g_given(study, subject, "true")
    spread, folds = spread_of(true), folds_of(len(study.image_ids))
    decoded = {whose: flat(g_given(study, subject, whose), spread) for whose in DECODED}
    found = new_part(joined(drawings.z_and_c(study, subject, "ridge")), flat(true, spread), decoded, folds)
    by_true = held_out(joined(decoding.true(study, "z", "c")), flat(true, spread), folds)
    return found | {"true_from_true": np.array(explained(flat(true, spread), by_true))}


def make(study, kind, subject, *how):
    """Make one part: the drawings of a strength and whose g guides them, or the features of a subject."""
    return {"scores": scored(study, subject, *how)} if kind == "drawings" else ask_features(study, subject)


def gather(study, load):
    """Stack the parts as the axes say."""
    strengths, subjects = strengths_of(study.preset), study.subjects
    guided = jobs.stacked(lambda *how: load("drawings", *how), subjects, strengths, WHOSE)["scores"]
    plain = jobs.stacked(lambda subject: load("drawings", subject), subjects)["scores"]
    arrays = {
        "drawn_ids": asked(study),
        "guided": guided.transpose(3, 0, 1, 2, 4),
        "unguided": plain.transpose(1, 0, 2),
        "test_image_ids": study.image_ids,
        **jobs.stacked(lambda subject: load("features", subject), subjects),
    }
    provenance = {
        "subjects": subjects,
        "lenders": {whose: [lenders(subjects, s, whose) for s in subjects] for whose in DECODED},
        "strengths": strengths,
        "strength_names": list(strengths),
        "whose": WHOSE,
        "scores": scores_of(study.preset),
        "n_folds": N_FOLDS,
        "axes": {
            "guided": ["image", "subject", "strength", "whose", "score"],
            "unguided": ["image", "subject", "score"],
            "predictable": ["subject", "true, own, next, others: from decoded z and c"],
            "true_from_true": ["subject"],
            "accuracy": ["subject", "own, next, others"],
            "identified": ["subject", "z and c, own, next, others", "image"],
            "identified_new": ["subject", "own, next, others", "image"],
        },
    }
    halves = {k: v.astype(np.float16) if v.dtype.kind == "f" else v for k, v in arrays.items()}
    return {"": (halves, provenance)}


def make_job(study, args):
    """Cut the work into parts."""
    strengths = strengths_of(study.preset)
    parts = [("features", subject) for subject in study.subjects]
    parts += [("drawings", subject) for subject in study.subjects]
    parts += [
        ("drawings", subject, strength, whose)
        for strength in strengths
        for whose in WHOSE
        for subject in study.subjects
    ]
    instruments = study.weights("judge", "alexnet")
    described = study.description(*drawings.NETWORKS, instruments=instruments, strengths=strengths)
    return jobs.Job(study, parts, make, gather, described, is_slice=args.images is not None)


if __name__ == "__main__":
    jobs.main(__doc__, make_job, jobs.add_images)
