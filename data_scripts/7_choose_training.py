"""Reads an NSD tree and a preset's networks; writes results/7_choose_training-WORLD.npz.

How the networks of 7_share_a_space.py are trained, chosen on validation images of the first subject
(seed 0, 1 and all sessions). Each candidate changes one thing of the first. Declared before the
run, for z and for c on their own:

- the score is the correlation with the target number by number, mean of 1 and all sessions;
- another rate or weight is taken if it gains at least 0.01 over the first, mean of pre-trained and
  scratch;
- half of the steps are taken, for each method by itself, if they lose less than 0.01 with 1 session
  and with all (first declared for their mean; changed on seeing that for c and pre-trained they
  lose 0.017 with all and nothing with 1, which would have decided the comparison of the methods);
- whether predictions are looked at rescaled first: the higher two-way identification (all sessions,
  pre-trained, mean of z and c), rescaled by one half of the validation images, tested on the other.

Test images are not looked at. The table is printed; what it says is written into `spaces`.
"""

import argparse
import importlib
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import products
import spaces
import torch
from tqdm.auto import tqdm

from latentcortex import presets, shared_space, store
from latentcortex.decoders import rescale_by, rescaling

study = importlib.import_module("7_share_a_space")  # a name that starts with a digit

AMOUNTS = ("1", "all")
COLUMNS = (
    "r",
    "identified",
    "images_retrieved",
    "brains_retrieved",
    "seconds",
    "half_identified",
    "half_rescaled",
)


def changed(plan, steps=1, **settings):
    """Change a plan: all numbers of epochs, or some fields of all trainings."""

    def change(trainings):
        return {
            group: replace(one, epochs=round(one.epochs * steps), **settings)
            for group, one in trainings.items()
        }

    stages = ("pretraining", "finetuning", "scratch")
    trainings = {name: change(getattr(plan, name)) for name in stages}
    return replace(plan, **trainings)


def candidates(plan):
    """List the candidates, by group of targets and name."""
    common = {"first": plan, "half the steps": changed(plan, steps=0.5)}
    return {
        "c": {
            **common,
            "half the rate": changed(plan, lr=plan.scratch["c"].lr / 2),
            "published contrast": changed(plan, token_contrastive=1.0),
        },
        "z": common,
    }


def measure(sharing, subject, group, method, amount):
    """Train one network, or fit ridge, and score it on the validation images: `COLUMNS`."""
    start = time.monotonic()
    held, ids = sharing.held(subject, amount)
    if method == "ridge":
        predicted = sharing.ridge(subject, amount, group).predict(held)
    else:
        model, _ = sharing.network(subject, 0, method, amount, group)
        predicted = shared_space.predict(model, held, subject)[group]
    trained = np.setdiff1d(sharing.trials(subject, amount)[1], ids)
    true, mean = sharing.true(group, ids), sharing.true(group, trained).mean(0)
    found = study.score(predicted, true, mean)
    halves = {"half_identified": [], "half_rescaled": []}
    for k in range(2):
        rows, others = slice(k, None, 2), slice(1 - k, None, 2)
        stretch = rescaling(*(torch.from_numpy(part[others]) for part in (predicted, true)))
        rescaled = rescale_by(stretch, torch.from_numpy(predicted[rows])).numpy()
        for name, values in zip(halves, (predicted[rows], rescaled), strict=True):
            halves[name].append(study.score(values, true[rows], mean)["identified"].mean())
    found |= halves | {"seconds": time.monotonic() - start}
    return np.array([np.mean(found[name]) for name in COLUMNS])


def main():
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    preset = presets.get()
    sharing = spaces.Sharing(preset, preset.open())
    plan, subject, rows = sharing.plan, sharing.subjects[0], {}
    jobs = [
        (group, name, method)
        for group, some in candidates(plan).items()
        for name in some
        for method in (*study.NETWORKS, *(("ridge",) if name == "first" else ()))
    ]
    for group, name, method in tqdm(jobs, desc="candidates", unit="candidate"):
        sharing.plan = candidates(plan)[group][name]
        path = sharing.folder / "validation" / f"{subject}-{group}-{method}.npz"
        if not path.is_file():
            found = [measure(sharing, subject, group, method, amount) for amount in AMOUNTS]
            store.save(path, provenance=sharing.description, scores=np.array(found))
        for amount, scores in zip(AMOUNTS, store.load(path)["scores"], strict=True):
            rows[group, name, method, amount] = scores
    table = pd.DataFrame(rows, index=COLUMNS).T
    table.index.names = ["target", "candidate", "method", "sessions"]
    print(table.to_string(float_format="{:.3f}".format))
    sharing.plan = plan
    path = products.RESULTS / f"7_choose_training-{sharing.root.name}.npz"
    provenance = {
        **sharing.description,
        "script": "data_scripts/7_choose_training.py",
        "subject": subject,
        "columns": COLUMNS,
        "first": spaces.asdict(plan),
    }
    labels = {name: np.array(table.index.get_level_values(name)) for name in table.index.names}
    store.save(
        path,
        provenance=provenance,
        scores=table.to_numpy(),
        **{name: values.astype("U") for name, values in labels.items()},
    )
    print(f"Wrote {path}")


if __name__ == "__main__":
    main()
