"""Reads an NSD tree and a preset's networks; writes results/7_ask_what_helps-WORLD.npz.

What does the first stage of 7_share_a_space bring to a subject with one session? Beside both
networks of that script, three controls for every subject and training, z and c:

- pictures: the first stage gives each response of the others to another of their images. It sees
  the same pictures and learns nothing about brains.
- pretrained, long: the second stage takes as many steps as training from scratch does.
- scratch, short: training from scratch takes as many steps as the second stage does.

Trainings are kept in the cache, and those of 7_share_a_space are used where they are. ``--shard
0/2`` and ``--shard 1/2`` share the subjects between two processes; who finishes last writes.
"""

import argparse
import copy
import importlib
from dataclasses import replace

import numpy as np
import products
import spaces
from spaces import Sharing
from tqdm.auto import tqdm

from latentcortex import metrics, presets, store

study = importlib.import_module("7_share_a_space")  # a name that starts with a digit

AMOUNT = "1"
# How each is made: method of 7_share_a_space, and what is changed.
METHODS = {
    "pretrained": ("pretrained", None),
    "pictures": ("pretrained", "confused"),
    "pretrained, long": ("pretrained", "long"),
    "scratch": ("scratch", None),
    "scratch, short": ("scratch", "short"),
}


class Confused(Sharing):
    """All subjects but one answer to pictures that they did not see: each to another of theirs."""

    def __init__(self, preset, root, target, plan=None):
        super().__init__(preset, root, plan)
        self.target = target
        self.key = store.source_hash([], [self.key, "confused", target])[:12]

    def trials(self, subject, amount="all"):
        """Get the trials as `Sharing.trials`, of other subjects than the target with wrong ids."""
        betas, ids = super().trials(subject, amount)
        if subject == self.target:
            return betas, ids
        known = np.unique(ids)
        rng = np.random.default_rng([spaces.SEED, 1, int(subject.removeprefix("subj"))])
        return betas, known[metrics.shuffled_rows(len(known), rng)][np.searchsorted(known, ids)]


class Controls:
    """The predictions of all methods."""

    def __init__(self, preset, root, plan=None):
        self.sharing = Sharing(preset, root, plan)
        self.test_ids = self.sharing.test(self.sharing.subjects[0])[1]
        self._made = {None: self.sharing}

    def of(self, subject, name):
        """Get what trains a method's networks for a subject, and the method there."""
        method, change = METHODS[name]
        key = (change, subject) if change == "confused" else change
        if key not in self._made:
            plan = self.sharing.plan
            if change == "confused":
                made = Confused(self.sharing.preset, self.sharing.root, subject, plan)
                # Read and encoded once.
                made.responses, made._targets = self.sharing.responses, self.sharing._targets
            else:
                made = copy.copy(self.sharing)  # the same trials and targets
                made.plan = (
                    replace(plan, finetuning=plan.scratch)
                    if change == "long"
                    else replace(plan, scratch=plan.finetuning)
                )
            self._made[key] = made
        return self._made[key], method

    def predictions(self, subject, seed, name):
        """Get what a method decodes for the test images; see `Sharing.predictions`."""
        sharing, method = self.of(subject, name)
        return sharing.predictions(subject, seed, method, AMOUNT)

    def path(self, subject, seed, name):
        """Say where it lies."""
        sharing, method = self.of(subject, name)
        return sharing.path(subject, seed, method, AMOUNT)

    def score(self, subject, seed, name, target):
        """Score a part, rescaled: r, and (n,) for each image; see `7_share_a_space.score`."""
        made, sharing = self.predictions(subject, seed, name), self.sharing
        if not np.array_equal(made["image_ids"], self.test_ids):
            raise ValueError(
                f"{subject} saw other shared images than {sharing.subjects[0]}: choose sessions in "
                "which all of them saw the same."
            )
        trained = np.setdiff1d(sharing.trials(subject, AMOUNT)[1], sharing.validation[subject])
        mean = sharing.true(target, trained).mean(0)
        true = sharing.true(target, made["image_ids"])
        return study.score(made[f"{target}_rescaled"], true, mean, "rescaled")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--seeds",
        type=int,
        default=study.N_SEEDS,
        help="trainings of each network; the product of fewer is left in the cache",
    )
    parser.add_argument("--shard", default="0/1", metavar="I/N", help="run one share of subjects")
    args = parser.parse_args()
    shard, n_shards = products.parse_shard(args.shard)
    preset = presets.get()
    controls = Controls(preset, preset.open())
    sharing = controls.sharing
    subjects, seeds = sharing.subjects, range(args.seeds)
    parts = [(s, seed, name) for seed in seeds for s in subjects for name in METHODS]
    mine = set(subjects[shard::n_shards])
    for part in tqdm([part for part in parts if part[0] in mine], desc="train", unit="part"):
        controls.predictions(*part)
    missing = [part for part in parts if not controls.path(*part).is_file()]
    if missing:
        print(f"{len(missing)} parts are left to the other shards.")
        return
    shape = len(subjects), args.seeds, len(METHODS), len(study.TARGETS)
    arrays = {
        name: np.empty(shape if name == "r" else (*shape, len(controls.test_ids)), np.float16)
        for name in study.SCORES
    }
    for at in tqdm(list(np.ndindex(shape)), desc="score", unit="part"):
        s, seed, m, t = at
        found = controls.score(subjects[s], seed, list(METHODS)[m], study.TARGETS[t])
        for name, values in found.items():
            arrays[name][at] = values
    folder = products.RESULTS if args.seeds == study.N_SEEDS else sharing.folder
    provenance = {
        **sharing.description,
        "script": "data_scripts/7_ask_what_helps.py",
        "plan": spaces.asdict(sharing.plan),
        "methods": list(METHODS),
        "sessions": AMOUNT,
        "targets": study.TARGETS,
        "form": "rescaled",
        "axes": ["subject", "training", "method", "target", "image (but r)"],
    }
    path = store.save(
        folder / f"7_ask_what_helps-{sharing.root.name}.npz",
        provenance=provenance,
        test_image_ids=controls.test_ids,
        **arrays,
    )
    print(f"Wrote {path} ({path.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
