"""Reads an NSD tree and a preset's networks; writes results/8_guide_the_sampler-WORLD.npz.

Draws the shared images with guides and without, from decoded z and c, and scores them:

- hard: all images of all subjects without guide, with true g, with another image's g, with decoded
  g, and with true g whose steps may be of any length;
- systems: all images of all subjects by system A (ridge, no guide), by system B (networks of script
  7 decode z, c and g, and g guides), and by what lies between them;
- repeats: some images of all subjects, five drawings each;
- ablations: some images of the first subjects, one thing changed at a time, mostly of the guide
  that knows the true g, since there is an effect to be lost;
- brain: the same images, everything read from the first two showings, scored on the third.

Strengths, shares of the steps and the limit of a step's length are those that 8_choose_guidance
chose on validation images (the preset's and none, where it has not run). Steps are limited where
the guide is strong: with true or another image's g, and with guides of other kinds.
Guides of other kinds have losses of other sizes: each takes a strength at which its first step,
before it is cut, is as long as with true g (relative step, mean over some test images; no score is
looked at for it).
Drawings are kept in the cache; ``--shard 0/2`` and ``--shard 1/2`` share them between processes.
"""

import argparse
import importlib
from dataclasses import replace

import numpy as np
import products
import reconstructions
import torch
from guided import LAYERS, UNGUIDED, GuidedStudy, Way, share_of
from tqdm.auto import tqdm

from latentcortex import metrics, presets, sampler, store

study9 = importlib.import_module("9_measure_reconstructions")  # a name that starts with a digit

SEED = 8
N_DRAWS, N_REPEATED, N_SOME, N_ABLATED, N_PICTURES, N_CALIBRATION = 5, 30, 50, 1, 8, 16
TRUE, DECODED = Way(targets="true", limited=True), Way()
HARD = {
    "unguided": UNGUIDED,
    "true": TRUE,
    "other": replace(TRUE, targets="other"),
    "decoded": DECODED,
    "true, no limit": replace(TRUE, limited=False),
}
SYSTEMS = {
    "A": UNGUIDED,
    "A, guided": DECODED,
    "A, guided by network": Way(targets="network"),
    "B, no guide": replace(UNGUIDED, decoder="network"),
    "B": Way(targets="network", decoder="network"),
}
REPEATED = {name: HARD[name] for name in ("unguided", "true", "other", "decoded")}
REPEATED["B"] = SYSTEMS["B"]
ABLATIONS = {
    "unguided": UNGUIDED,
    "true g": TRUE,
    "no limit": HARD["true, no limit"],
    "without U-Net": replace(TRUE, through_unet=False),
    "tiny decoder": replace(TRUE, tiny=True),
    "tiny, without U-Net": replace(TRUE, tiny=True, through_unet=False),
    "x0 itself": replace(TRUE, blend=False),
    "DPM-Solver++, unguided": replace(UNGUIDED, dpm=True),
    "DPM-Solver++": replace(TRUE, dpm=True),
    **{
        f"quarter {k} of the steps": replace(TRUE, guided_share=0.25, guided_from=(k - 1) / 4)
        for k in (1, 2, 3, 4)
    },
    "equal weights": replace(TRUE, weights="mean"),
    **{f"layer {k} alone": replace(TRUE, layers=(k,)) for k in LAYERS},
    "true colours": replace(TRUE, guide="colours"),
    "colours of decoded z": replace(DECODED, guide="colours", limited=True),
    **{
        f"true g, {100 * share:.0f} %": replace(TRUE, targets=f"mixed {share}")
        for share in (0.75, 0.5, 0.25, 0.0)
    },
}
# Everything is read from the first two showings, so that the third can judge.
BRAIN = {
    "unguided": replace(UNGUIDED, showings="two"),
    "brain": replace(DECODED, guide="brain", showings="two", limited=True),
    "brain, no limit": replace(DECODED, guide="brain", showings="two"),
}
CALIBRATED = {
    "equal weights",
    "true colours",
    "colours of decoded z",
    "brain",
    "brain, no limit",
    *(f"layer {k} alone" for k in LAYERS),
}
# Of each group: its ways, of how many subjects, on how many images, how many drawings.
GROUPS = {
    "hard": (HARD, None, None, 1),
    "systems": (SYSTEMS, None, None, 1),
    "repeats": (REPEATED, None, N_REPEATED, N_DRAWS),
    "ablations": (ABLATIONS, N_ABLATED, N_SOME, 1),
    "brain": (BRAIN, N_ABLATED, N_SOME, 1),
}
PICTURED = {"hard": tuple(HARD), "systems": ("B, no guide", "B"), "brain": tuple(BRAIN)}
N_REPEATED_PICTURES = 2
# Guided steps amplify rounding, in a few images a thousandfold: with one and with two threads, 200
# drawings by true features differ by 0.0004 (median) and up to 0.07, means of 20 by up to 0.007.
TOLERANCE = {"median_row": 0.005, "mean_over_rows": 0.02}


class Experiments(GuidedStudy):
    """The groups of drawings, and their scores."""

    @property
    def groups(self):
        """GROUPS without what looks through a tiny autoencoder where there is none."""
        return {
            group: (
                {name: way for name, way in ways.items() if not way.tiny or "tiny" in self.decoders},
                *more,
            )
            for group, (ways, *more) in GROUPS.items()
        }

    def rows(self, n_images):
        """Choose images at random, the same whenever so many are asked for; None for all."""
        order = np.random.default_rng([SEED, 1]).permutation(len(self.image_ids))
        return np.sort(order[:n_images])

    def parts(self):
        """List what is to be drawn, by subject: (group, name of the way, subject, repeat)."""
        return [
            (group, name, subject, repeat)
            for subject in self.subjects
            for group, (ways, n_subjects, _, n_draws) in self.groups.items()
            if subject in self.subjects[:n_subjects]
            for name in ways
            for repeat in range(n_draws)
        ]

    def file_of(self, group, name, subject, repeat):
        """Say which drawing a part is: its way, repeat and rows. Some parts share one."""
        ways, _, n_images, _ = self.groups[group]
        way = self.calibrated(subject, name, ways[name])
        shared = repeat == 0 and way in (*HARD.values(), *SYSTEMS.values())
        return subject, way, repeat, self.rows(None if shared else n_images)

    def images_of(self, group, name, subject, repeat):
        """Get the images of a part, drawing them where they are missing: (n, 3, h, w)."""
        subject, way, repeat, rows = self.file_of(group, name, subject, repeat)
        wanted = self.rows(self.groups[group][2])
        return self.drawing(subject, way, repeat, rows)[np.searchsorted(rows, wanted)]

    def calibrated(self, subject, name, way):
        """Give a guide of another kind the strength at which its first step is as long."""
        if name not in CALIBRATED:
            return way
        path = self.folder / f"{subject}-{name.replace(' ', '_')}-strength.npz"
        if not path.is_file():
            lengths = [self.first_relative_step(subject, each) for each in (TRUE, way)]
            store.save(path, provenance=self.description, ratio=np.array(lengths[0] / lengths[1]))
        scale, share = self.strength_of(replace(TRUE, limited=way.limited))
        scale = scale * float(store.load(path)["ratio"])
        return replace(way, feature_scale=scale, guided_share=share)

    def first_relative_step(self, subject, way):
        """Measure how far the first guided step moves, as a share of x0: mean over some images."""
        watched = []
        one_step = 1.01 / int(self.preset.n_steps * self.preset.strength)
        first = replace(way, guided_share=one_step, feature_scale=1.0, limited=False)
        self.draw(subject, first, rows=self.rows(N_CALIBRATION), watch=watched.append)
        return float(torch.cat([step.relative_step for step in watched]).mean())

    def own_loss(self, images, rows):
        """Compute the published loss of images under their own, true features: (n,)."""
        targets = sampler.FeatureTargets(self.g_of("test", "true"), self.image_ids, self.encoder.name)
        guide = sampler.feature_guide(self.encoder, targets)
        ids = torch.as_tensor(self.image_ids[rows])
        pairs = zip(images.split(32), ids.split(32), strict=True)
        return torch.cat([guide(some.to(self.preset.device), i).cpu() for some, i in pairs])

    def measure(self, group, instruments):
        """Score a group: scores (image, subject, way, drawing, score), loss, agreement, names."""
        ways, n_subjects, n_images, n_draws = self.groups[group]
        protocol, rows = metrics.PROTOCOLS[self.preset.protocol], self.rows(n_images)
        originals, subjects = self.originals[rows], self.subjects[:n_subjects]
        true, groups, names = study9.prepare(protocol, originals, instruments)
        key = next(one.key for one in protocol.scores if one.name == "AlexNet(5)")
        shape = len(rows), len(subjects), len(ways), n_draws
        scores, loss = np.empty((*shape, len(names)), np.float32), np.empty(shape, np.float32)
        agreement = np.full((*shape[:3], 2), np.nan, np.float32)
        for s, subject in enumerate(tqdm(subjects, desc=f"score {group}", unit="subject")):
            for w, way in enumerate(ways):
                drawn = [self.images_of(group, way, subject, r) for r in range(n_draws)]
                pred = [metrics.extract(protocol, images, instruments) for images in drawn]
                for r, images in enumerate(drawn):
                    found = metrics.score(
                        protocol,
                        originals,
                        images,
                        instruments,
                        groups,
                        self.mean_images[subject],
                        true,
                        pred[r : r + 1],
                    )
                    scores[:, s, w, r] = np.stack([found[name] for name in names], axis=1)
                    loss[:, s, w, r] = self.own_loss(images, rows)
                if n_draws > 1:
                    repeats = np.stack([one[key] for one in pred], axis=1)
                    both = metrics.repeat_consistency(repeats, true[key])
                    agreement[:, s, w] = np.stack(both, axis=1)
        return {"scores": scores, "loss": loss, "agreement": agreement}, names

    def responses(self, instruments):
        """Correlate the drawings of `brain`, and the originals, with measured responses.

        Returns (image, subject, way or original, first two showings or the third).
        """
        protocol, rows = metrics.PROTOCOLS[self.preset.protocol], self.rows(N_SOME)
        subjects, ids = self.subjects[:N_ABLATED], self.image_ids[rows]
        found = np.empty((len(ids), len(subjects), len(BRAIN) + 1, 2), np.float32)
        for s, subject in enumerate(subjects):
            encoder = study9.Encoder(self, subject, protocol, instruments)
            mask = reconstructions.visual_cortex(self.preset, self.root, subject)
            measured = [self.showings(subject, mask, third) for third in (False, True)]
            shown = [self.images_of("brain", name, subject, 0) for name in BRAIN]
            for w, images in enumerate([*shown, self.originals[rows]]):
                encoded = encoder(metrics.extract(protocol, images, instruments))
                for k, (betas, known) in enumerate(measured):
                    here = betas[np.searchsorted(known, ids)]
                    found[:, s, w, k] = metrics.brain_correlation(here, encoded)
        return found

    def write_product(self, folder):
        """Score everything and write the two files."""
        instruments, arrays, names = products.instruments(self.preset), {}, {}
        for group in GROUPS:
            # Few images may have a setting to themselves: then no score is of the same group.
            found, names[group] = self.measure(group, instruments)
            arrays |= {f"{group}_{name}": values for name, values in found.items()}
            arrays[f"{group}_ids"] = self.image_ids[self.rows(self.groups[group][2])]
        arrays["brain_responses"] = self.responses(instruments)
        # What the networks decode for a tenth of the images, so that a page can draw it again.
        checked, first = self.rows(len(self.image_ids) // 10), self.subjects[0]
        for name in "zc":
            decoded = self.by_network(first, name, self.preset.rescale)[checked]
            arrays[f"checked_{name}"] = decoded.numpy()
        arrays["checked_ids"] = self.image_ids[checked]
        ablated = self.subjects[:N_ABLATED]
        calibrated = {
            name: [self.calibrated(s, name, way).feature_scale for s in ablated]
            for ways in (ABLATIONS, BRAIN)
            for name, way in ways.items()
            if name in CALIBRATED
        }
        chosen, subject = self.rows(N_REPEATED)[:N_PICTURES], self.subjects[0]
        at = {group: np.searchsorted(self.rows(self.groups[group][2]), chosen) for group in GROUPS}
        pictures = {
            f"{group} {name}": self.images_of(group, name, subject, 0)[at[group]]
            for group, pictured in PICTURED.items()
            for name in pictured
            if name in self.groups[group][0]
        }
        some = at["repeats"][:N_REPEATED_PICTURES]
        five = {
            f"repeats {name} {r}": self.images_of("repeats", name, subject, r)[some]
            for name in REPEATED
            for r in range(N_DRAWS)
        }
        provenance = {
            **self.description,
            "script": "data_scripts/8_guide_the_sampler.py",
            "instruments": products.weights_hash(self.preset, "judge", "alexnet"),
            "subjects": self.subjects,
            "ways": {group: list(ways) for group, (ways, *_) in self.groups.items()},
            "calibrated": calibrated,
            "scores": names,
            "axes": {
                "scores": ["image", "subject", "way", "drawing", "score"],
                "loss": ["image", "subject", "way", "drawing"],
                "agreement": ["image", "subject", "way", "among drawings, to truth"],
                "brain_responses": ["image", "subject", "way, originals last", "first two showings, third"],
                "checked_z, checked_c": ["image", "...: as system B decodes them, first subject"],
            },
            "tolerance": TOLERANCE,
        }
        path = folder / f"8_guide_the_sampler-{self.root.name}.npz"
        halves = {
            name: values.astype(np.float16) if values.dtype.kind == "f" else values
            for name, values in arrays.items()
        }
        return (
            store.save(path, provenance=provenance, **halves),
            store.save(
                path.with_stem(f"{path.stem}-pictures"),
                provenance={**self.description, "subject": subject},
                picture_ids=self.image_ids[chosen],
                **{name: reconstructions.to_bytes(images) for name, images in (pictures | five).items()},
            ),
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--images",
        type=int,
        help="only so many test images, drawn at random; the product of such a slice is left in the cache",
    )
    parser.add_argument("--shard", default="0/1", metavar="I/N", help="run one share of the parts")
    args = parser.parse_args()
    shard, n_shards = products.parse_shard(args.shard)
    preset = presets.get()
    root = preset.open()
    chosen = {
        "true": ("8_choose_guidance-limit", "true"),
        "true, no limit": ("8_choose_guidance", "true"),
        "network": ("8_choose_guidance-network", "network"),
    }
    strengths, limit = dict.fromkeys(chosen, (preset.feature_scale, preset.guided_share)), None
    for name, (script, targets) in chosen.items():
        path = products.RESULTS / f"{script}-{root.name}.npz"
        if path.is_file():
            made = store.load(path)
            strengths[name] = tuple(
                float(made[f"{targets}_{field}"][0]) for field in ("feature_scale", "guided_share")
            )
            if name == "true":
                limit = float(made["true_max_relative_step"][0])
    study = Experiments(preset, root, strengths, limit, args.images)
    parts = study.parts()
    for part in tqdm(share_of(parts, shard, n_shards), desc="draw", unit="drawing"):
        study.images_of(*part)
    missing = [part for part in parts if not study.guided_path(*study.file_of(*part)).is_file()]
    if missing:
        print(f"{len(missing)} drawings are left to the other shards.")
        return
    for path in study.write_product(study.folder if args.images else products.RESULTS):
        print(f"Wrote {path} ({path.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    with torch.no_grad():  # not inference mode: guidance needs gradients
        main()
