"""Reads an NSD tree and a preset's networks; writes results/7_share_a_space-WORLD.npz.

Networks with a space that subjects share decode z and c of the test images: for every subject,
three trainings each, from 1, 2 and all of the subject's sessions, once pre-trained on the other
subjects and once from scratch, beside ridge. Six layers of g from all sessions, pre-trained and by
ridge. Once (first subject, first training, all sessions): one network for z and c together, and c
with a diffusion prior or without.

How networks are trained was chosen by 7_choose_training.py on validation images; so was the form
of the predictions that is looked at first (`PRIMARY_FORM`), by two-way identification.

What is decoded is kept in the cache and made where it is missing (`predictions`). ``--shard 0/2``
and ``--shard 1/2`` share the trainings between two processes; who finishes last writes. A training
whose loss is no longer finite is named at the end, after all others.
"""

import argparse
import functools
import sys

import numpy as np
import products
import spaces
from spaces import AMOUNTS, FORMS, GROUPS, METHODS, SUFFIXES, Sharing
from tqdm.auto import tqdm

from latentcortex import encoding, metrics, presets, store

N_SEEDS = 3
NETWORKS = ("pretrained", "scratch")
TARGETS = ("z", "c")
COMPARED = ("pretrained", "joint", "prior")
PRIMARY_FORM = "rescaled"
SCORES = ("r", "identified", "images_retrieved", "brains_retrieved")
TOLERANCE = 0.01  # sums are rounded differently between machines, and a tie may break otherwise


def score(predicted, true, train_mean, form=FORMS[0]):
    """Score decoded against true features of images, both (n, ...).

    Parameters
    ----------
    predicted, true : arrays (n, ...)
    train_mean : array (...)
        Of the images trained on. It is taken off, so that what all images share counts for
        nothing; a projection has none.
    form : str, one of `FORMS`

    Returns
    -------
    dict
        ``r``, correlation over images, mean over the numbers that vary (a caption's first token
        never does); and (n,) each: ``identified`` among two, ``images_retrieved`` and
        ``brains_retrieved`` among all by cosine.
    """
    predicted, true = (np.asarray(rows, np.float32) for rows in (predicted, true))
    predicted = predicted if form == "projected" else predicted - train_mean
    true = true - train_mean
    predicted, true = (rows.reshape(len(rows), -1) for rows in (predicted, true))
    some = true.std(0) > 1e-3 * true.std(0).max()
    r = encoding.correlation(predicted[:, some], true[:, some])
    images, brains = metrics.retrieval(true, predicted, len(true))
    return {
        "r": np.nan_to_num(r).mean(),
        "identified": metrics.identification(true, predicted),
        "images_retrieved": images,
        "brains_retrieved": brains,
    }


def predictions(preset, root, subject, seed, method, amount):
    """Get what a method decodes for the test images; see `spaces.Sharing.predictions`."""
    return sharing_of(preset, root).predictions(subject, seed, method, amount)


sharing_of = functools.cache(Sharing)  # responses and targets are read once


def list_parts(subjects, all_subjects, n_seeds, amounts):
    """List the parts as (subject, seed, method, amount), in the order they are made in.

    Seeds come last: a run that is cut short has fewer of them, of everything.
    """
    parts = []
    for seed in range(n_seeds):
        for subject in subjects:
            methods = ("ridge", *NETWORKS) if seed == 0 else NETWORKS
            parts += [(subject, seed, method, a) for method in methods for a in amounts]
            if seed == 0 and subject == all_subjects[0] and "all" in amounts:
                parts += [(subject, seed, method, "all") for method in COMPARED[1:]]
    return parts


def share_of(parts, shard, n_shards):
    """Take one share of the parts; those that begin with the same pre-training stay together."""
    groups = list(dict.fromkeys(part[:3] for part in parts))
    mine = set(groups[shard::n_shards])
    return [part for part in parts if part[:3] in mine]


class Product:
    """The arrays of the product, filled part by part."""

    def __init__(self, sharing, subjects, n_seeds, amounts):
        self.sharing, self.subjects, self.amounts = sharing, subjects, amounts
        self.test_ids = sharing.test(subjects[0])[1]
        n, n_amounts, n_forms = len(subjects), len(amounts), len(FORMS)
        self.axes = {
            "network": (n, n_seeds, len(NETWORKS), n_amounts, len(TARGETS), n_forms),
            "ridge": (n, n_amounts, len(TARGETS), n_forms - 1),
            "g": (n, 2, len(GROUPS["g"]), n_forms - 1),
            "compared": (len(COMPARED), len(TARGETS), n_forms),
        }
        self.arrays = {}
        for family, shape in self.axes.items():
            for name in SCORES:
                more = () if name == "r" else (len(self.test_ids),)
                self.arrays[f"{family}_{name}"] = np.full(shape + more, np.nan, np.float16)
        self.curves = {}

    def add(self, part):
        """Score a part and put its scores where they belong."""
        subject, seed, method, amount = part
        made = self.sharing.predictions(*part)
        self.curves[part] = store.provenance(self.sharing.path(*part)).get("curves", {})
        if not np.array_equal(made["image_ids"], self.test_ids):
            raise ValueError(
                f"{subject} saw other shared images than {self.subjects[0]}: choose sessions in "
                "which all of them saw the same, or run the subjects one by one."
            )
        s, a = self.subjects.index(subject), self.amounts.index(amount)
        trained = np.setdiff1d(self.sharing.trials(subject, amount)[1], self.sharing.validation[subject])
        for group in self.sharing.groups(seed, method, amount):
            for t, name in enumerate(GROUPS[group]):
                true = self.sharing.true(name, self.test_ids)
                mean = self.sharing.true(name, trained).mean(0)
                for f, form in enumerate(FORMS):
                    if name + SUFFIXES[form] not in made:
                        continue
                    found = score(made[name + SUFFIXES[form]], true, mean, form)
                    if group == "g":
                        if f < 2:
                            self._keep("g", (s, int(method == "ridge"), t, f), found)
                        continue
                    k = TARGETS.index(name)
                    if method in NETWORKS:
                        at = s, seed, NETWORKS.index(method), a, k, f
                        self._keep("network", at, found)
                    elif method == "ridge":
                        self._keep("ridge", (s, a, k, f), found)
                    if method in COMPARED and (s, seed, amount) == (0, 0, "all"):
                        self._keep("compared", (COMPARED.index(method), k, f), found)

    def _keep(self, family, at, found):
        for name, value in found.items():
            self.arrays[f"{family}_{name}"][at] = value

    def histories(self):
        """Collect the curves of all trainings of the grid over epochs; NaN where they are shorter.

        Returns arrays by name, (subject, training, network, amount, target, epoch) of the last
        stage and (subject, training, target, epoch) of the first one.
        """
        made = {}
        for stage, shape in (
            ("last", self.axes["network"][:5]),
            ("first", (*self.axes["network"][:2], len(TARGETS))),
        ):
            rows = {}
            for (subject, seed, method, amount), found in self.curves.items():
                for k, name in enumerate(TARGETS):
                    if method not in NETWORKS or stage not in found.get(name, {}):
                        continue
                    at = self.subjects.index(subject), seed
                    if stage == "last":
                        at += NETWORKS.index(method), self.amounts.index(amount)
                    of_stage = found[name][stage]
                    rows[(*at, k)] = of_stage["loss"], of_stage["retrieval"].get(name, [])
            longest = max((len(loss) for loss, _ in rows.values()), default=0)
            for c, kind in enumerate(("loss", "retrieval")):
                values = made[f"{stage}_{kind}"] = np.full((*shape, longest), np.nan, np.float16)
                for at, pair in rows.items():
                    values[at][: len(pair[c])] = pair[c]
        return made

    def write(self, folder):
        """Write the product."""
        sharing = self.sharing
        network = ["subject", "training", "network", "sessions", "target", "form"]
        provenance = {
            **sharing.description,
            "script": "data_scripts/7_share_a_space.py",
            "key": sharing.folder.name,
            "plan": spaces.asdict(sharing.plan),
            "subjects": self.subjects,
            "pretrained_on": {s: [o for o in sharing.subjects if o != s] for s in self.subjects},
            "networks": NETWORKS,
            "methods": METHODS,
            "amounts": self.amounts,
            "targets": TARGETS,
            "forms": FORMS,
            "primary_form": PRIMARY_FORM,
            "layers": GROUPS["g"],
            "compared": COMPARED,
            "axes": {
                "network": network,
                "ridge": ["subject", "sessions", "target", "form"],
                "g": ["subject", "pretrained, ridge", "layer", "form"],
                "compared": ["method", "target", "form"],
                "last": [*network[:-1], "epoch"],
                "first": ["subject", "training", "target", "epoch"],
            },
            "scores": "per image in the last axis, but r",
            "test_responses": "means of all showings in all sessions, for every amount",
            "tolerance": TOLERANCE,
        }
        return store.save(
            folder / f"7_share_a_space-{sharing.root.name}.npz",
            provenance=provenance,
            test_image_ids=self.test_ids,
            **self.arrays,
            **self.histories(),
            **{f"validation_ids_{s}": sharing.validation[s] for s in self.subjects},
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, nargs="+", help="only these")
    parser.add_argument("--seeds", type=int, default=N_SEEDS, help="trainings of each network")
    parser.add_argument(
        "--sessions",
        nargs="+",
        choices=AMOUNTS,
        default=list(AMOUNTS),
        help="of the target subject; the product of a slice of subjects, seeds or "
        "sessions is left in the cache",
    )
    parser.add_argument("--shard", default="0/1", metavar="I/N", help="run one share of the parts")
    args = parser.parse_args()
    shard, n_shards = products.parse_shard(args.shard)
    preset = presets.get()
    sharing = Sharing(preset, preset.open())
    subjects = [f"subj{s:02d}" for s in args.subjects or preset.subjects]
    unknown = set(subjects) - set(sharing.subjects)
    if unknown:
        raise ValueError(f"Expected subjects of {', '.join(sharing.subjects)}, got {unknown}.")
    amounts = [amount for amount in AMOUNTS if amount in args.sessions]
    parts = list_parts(subjects, sharing.subjects, args.seeds, amounts)
    failed = {}
    for part in tqdm(share_of(parts, shard, n_shards), desc="train", unit="part"):
        try:
            sharing.predictions(*part)
        except FloatingPointError as error:
            failed[part] = error
    for part, error in failed.items():
        print(f"{part}: {error}")
    missing = [part for part in parts if not sharing.path(*part).is_file()]
    if missing:
        print(f"{len(missing)} parts are missing: left to other shards, or failed.")
        if failed:
            sys.exit(1)
        return
    product = Product(sharing, subjects, args.seeds, amounts)
    for part in tqdm(parts, desc="score", unit="part"):
        product.add(part)
    whole = (subjects, args.seeds, amounts) == (sharing.subjects, N_SEEDS, list(AMOUNTS))
    path = product.write(products.RESULTS if whole else sharing.folder)
    print(f"Wrote {path} ({path.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
