"""How the networks of ch07_share_a_space are trained, chosen on validation images of the first subject.

Seed 0, 1 and all sessions. Each candidate changes one thing of the first. Declared before the run, for z
and for c on their own:

- the score is the correlation with the target number by number, mean of 1 and all sessions;
- another rate or weight is taken if it gains at least 0.01 over the first, mean of pre-trained and
  scratch;
- half of the steps are taken, for each method by itself, if they lose less than 0.01 with 1 session and
  with all (first declared for their mean; changed on seeing that for c and pre-trained they lose 0.017
  with all and nothing with 1, which would have decided the comparison of the methods);
- whether predictions are looked at rescaled first: the higher two-way identification (all sessions,
  pre-trained, mean of z and c), rescaled by one half of the validation images, tested on the other.

Test images are not looked at. What the scores say is written into `studies.plans`.
"""

import time
from dataclasses import asdict, replace

import numpy as np
import torch

from latentcortex import shared_space
from latentcortex.decoders import rescale_by, rescaling
from latentcortex.studies import jobs
from latentcortex.studies.shared_training import Trainings, score, trainings_of

AMOUNTS = ("1", "all")
LABELS = ("target", "candidate", "method", "sessions")
SCORES = ("r", "identified", "images_retrieved", "brains_retrieved")
COLUMNS = (*SCORES, "seconds", "half_identified", "half_rescaled")


def changed(plan, steps=1, **settings):
    """Return a plan with all numbers of epochs multiplied, or some fields of all trainings changed."""

    def change(trainings):
        return {k: replace(one, epochs=round(one.epochs * steps), **settings) for k, one in trainings.items()}

    stages = ("pretraining", "finetuning", "scratch")
    return replace(plan, **{stage: change(getattr(plan, stage)) for stage in stages})


def candidates(plan):
    """Return the candidates, by target and name."""
    common = {"first": plan, "half the steps": changed(plan, steps=0.5)}
    of_c = {
        "half the rate": changed(plan, lr=plan.scratch["c"].lr / 2),
        "published contrast": changed(plan, token_contrastive=1.0),
    }
    return {"c": common | of_c, "z": common}


def make(study, target, candidate, method, amount):
    """Train one network, or fit ridge, and score it on the validation images: `COLUMNS`."""
    start, subject = time.monotonic(), study.subjects[0]
    trainings = Trainings(study, candidates(trainings_of(study).plan)[target][candidate])
    held, ids = trainings.averages(subject, amount)[1]
    if method == "ridge":
        predicted = trainings.ridge(subject, amount, target).predict(held)
    else:
        model, _ = trainings.network(subject, 0, method, amount, target)
        predicted = shared_space.predict(model, held, subject)[target]
    seconds = time.monotonic() - start
    true = trainings.true(target, ids)

    def scores_of(rows, which):
        return score(trainings, target, rows, ids[which], subject, amount)

    whole, halves = scores_of(predicted, slice(None)), []
    for k in range(2):
        tested, others = slice(k, None, 2), slice(1 - k, None, 2)
        stretch = rescaling(*(torch.from_numpy(rows[others]) for rows in (predicted, true)))
        rescaled = rescale_by(stretch, torch.from_numpy(predicted[tested])).numpy()
        halves.append(
            [scores_of(rows, tested)["identified"].mean() for rows in (predicted[tested], rescaled)]
        )
    means = [np.mean(whole[name]) for name in SCORES]
    return {"scores": np.array([*means, seconds, *np.mean(halves, axis=0)])}


def gather(study, load, parts):
    """Stack the scores, one row for each part."""
    labels = {name: np.array(column) for name, column in zip(LABELS, zip(*parts, strict=True), strict=True)}
    scores = np.array([load(*part)["scores"] for part in parts])
    plan = asdict(trainings_of(study).plan)
    return {
        "": ({"scores": scores, **labels}, {"subject": study.subjects[0], "columns": COLUMNS, "first": plan})
    }


def make_job(study, _):
    """Cut the work into parts."""
    parts = [
        (target, candidate, method, amount)
        for target, some in candidates(trainings_of(study).plan).items()
        for candidate in some
        for method in ("pretrained", "scratch", *["ridge"] * (candidate == "first"))
        for amount in AMOUNTS
    ]
    described = trainings_of(study).described()
    return jobs.Job(study, parts, make, lambda *given: gather(*given, parts), described)


if __name__ == "__main__":
    jobs.main(__doc__, make_job)
