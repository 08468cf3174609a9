"""Reads an NSD tree and a preset's networks; writes results/7_draw_images-WORLD*.npz.

What the decoders of 7_share_a_space are worth as pictures: some of the shared images, drawn at
random, from z and c as each method decodes them from 1, 2 and all sessions of the target subject
(first training of each), with the same noise, scored by the preset's protocol.

Drawings lie in the cache; ``--shard 0/2`` and ``--shard 1/2`` share them between two processes.
Decoders that are missing there are trained first. Two files are written: scores of each image, and
``-pictures`` of a few of the first subject.
"""

import argparse
import importlib

import numpy as np
import products
import reconstructions
import spaces
import torch
from tqdm.auto import tqdm

from latentcortex import metrics, presets, store

script7 = importlib.import_module("7_share_a_space")  # names that start with a digit
study9 = importlib.import_module("9_measure_reconstructions")

SEED = 77
N_IMAGES, N_PICTURES = 50, 6
METHODS = ("ridge", "scratch", "pretrained")
TOLERANCE = 0.01  # of means over images: sums are rounded differently between machines


class Drawings(reconstructions.Study):
    """Some test images as drawn from what the methods decode."""

    def __init__(self, preset, root):
        super().__init__(preset, root)
        rng = np.random.default_rng([SEED, 1])
        self.rows = np.sort(rng.permutation(len(self.image_ids))[:N_IMAGES])
        scripts = [__file__, reconstructions.__file__, spaces.__file__, script7.__file__]
        sources = products.sources(scripts, (*reconstructions.MODULES, "shared_space"))
        key = store.source_hash(sources, [self.description, self.image_ids[self.rows].tolist()])
        self.folder = store.cache_folder() / "7_draw_images" / f"{root.name}-{key[:12]}"

    def parts(self):
        """List what is to be drawn: (subject, method, amount)."""
        return [(s, m, a) for s in self.subjects for m in METHODS for a in spaces.AMOUNTS]

    def drawing_path(self, part):
        return self.folder / f"{'-'.join(part)}.npz"

    def drawing(self, part):
        """Read one drawing, or make and keep it: (n, 3, h, w) in [0, 1], as from bytes."""
        ids = self.image_ids[self.rows]

        def draw():
            subject, method, amount = part
            made = script7.predictions(self.preset, self.root, subject, 0, method, amount)
            at, form = np.searchsorted(made["image_ids"], ids), "_rescaled" * self.preset.rescale
            z, c = (torch.from_numpy(made[name + form][at]).float() for name in "zc")
            return reconstructions.draw(self.preset, self.model, "both", 0, z, c, ids)

        return reconstructions.kept_images(self.drawing_path(part), ids, self.description, draw)

    def measure(self, instruments):
        """Score everything: (image, subject, method, sessions, score), and names of the scores."""
        protocol = metrics.PROTOCOLS[self.preset.protocol]
        originals, axes = self.originals[self.rows], (METHODS, spaces.AMOUNTS)
        true, groups, names = study9.prepare(protocol, originals, instruments)
        shape = (len(self.rows), len(self.subjects), *map(len, axes), len(names))
        scores = np.empty(shape, np.float32)
        for part in tqdm(self.parts(), desc="score", unit="drawing"):
            subject, method, amount = part
            found = metrics.score(
                protocol, originals, self.drawing(part), instruments, groups, self.mean_images[subject], true
            )
            at = self.subjects.index(subject), METHODS.index(method), spaces.AMOUNTS.index(amount)
            scores[(slice(None), *at)] = np.stack([found[name] for name in names], axis=1)
        return scores, names

    def write_product(self, folder):
        """Score everything and write the two files."""
        scores, names = self.measure(products.instruments(self.preset))
        ids, subject = self.image_ids[self.rows], self.subjects[0]
        chosen = np.random.default_rng([SEED, 2]).permutation(len(ids))[:N_PICTURES]
        pictures = [
            [reconstructions.to_bytes(self.drawing((subject, m, a))[chosen]) for a in spaces.AMOUNTS]
            for m in METHODS
        ]
        provenance = {
            **self.description,
            "script": "data_scripts/7_draw_images.py",
            "instruments": products.weights_hash(self.preset, "judge", "alexnet"),
            "subjects": self.subjects,
            "methods": METHODS,
            "amounts": spaces.AMOUNTS,
            "scores": names,
            "axes": {"scores": ["image", "subject", "method", "sessions", "score"]},
            "tolerance": TOLERANCE,
        }
        path = folder / f"7_draw_images-{self.root.name}.npz"
        return store.save(
            path, provenance=provenance, image_ids=ids, scores=scores.astype(np.float16)
        ), store.save(
            path.with_stem(f"{path.stem}-pictures"),
            provenance={**provenance, "axes": {"pictures": ["method", "sessions", "image"]}},
            picture_ids=ids[chosen],
            pictures=np.array(pictures),
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shard", default="0/1", metavar="I/N", help="run one share of the parts")
    args = parser.parse_args()
    shard, n_shards = products.parse_shard(args.shard)
    preset = presets.get()
    drawings = Drawings(preset, preset.open())
    for part in tqdm(drawings.parts()[shard::n_shards], desc="draw", unit="drawing"):
        drawings.drawing(part)
    left = sum(not drawings.drawing_path(part).is_file() for part in drawings.parts())
    if left:
        print(f"{left} drawings are left to the other shards.")
        return
    with torch.no_grad():
        for path in drawings.write_product(products.RESULTS):
            print(f"Wrote {path} ({path.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
