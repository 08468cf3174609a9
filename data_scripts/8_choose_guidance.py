"""Reads an NSD tree and a preset's networks; writes results/8_choose_guidance-WORLD.npz.

With ``--decoder network`` it writes results/8_choose_guidance-network-WORLD.npz instead: the same
grid where the networks of script 7 decode z, c and g, on their own validation images.

Chooses feature_scale and guided_share of the preset for features that are decoded by ridge, on 100
validation images of each subject, drawn by image from the training images; the decoders are fitted
on the rest. No test image is looked at. The same is chosen for the images' true features.

The criterion, declared before the first run, is that of 6_choose_settings: each cell of the grid
draws every validation image once; the cells, and drawing without guide beside them, are ranked by
each of the four CRITERIA, averaged over images and subjects; the smallest mean rank is chosen, of
equals the one that guides less. Every cell is kept in the cache: a run that was killed goes on.
(True features joined after the first run, in which decoded ones had hardly any effect: what the
sampler can do with good features is not to be judged at a strength that suits bad ones. Of their
cells, best first, the first one is chosen that brings SURE of the validation images closer to their
features than drawing without guide does. That joined, too, when the best cell had done so for 95 of
100 test images only: its first steps go many times the picture's own length too far. Of one
subject's validation images the next one was sure for 100 of 100 and then for 98.8 % of all test
images; since then all subjects' validation images are asked.)
"""

import argparse
import dataclasses
import functools
import importlib
import itertools

import guided
import numpy as np
import pandas as pd
import products
import reconstructions
import spaces
import torch
from tqdm.auto import tqdm

from latentcortex import features, nsd, presets, sampler, shared_space, store

study = importlib.import_module("6_reconstruct_images")  # names that start with a digit
settings = importlib.import_module("6_choose_settings")

FEATURE_SCALES = {
    "decoded": (30.0, 100.0, 300.0, 1000.0, 3000.0),
    "true": (100.0, 300.0, 1000.0, 3000.0),
    "network": (30.0, 100.0, 300.0, 1000.0),
}
GUIDED_SHARES = (0.2, 0.4, 0.7, 1.0)
CELLS = {targets: ((0.0, 0.0), *itertools.product(scales, GUIDED_SHARES))
         for targets, scales in FEATURE_SCALES.items()}  # fmt: skip
TARGETS = {"ridge": ("decoded", "true"), "network": ("network",)}  # by what decodes
N_PICTURES, SURE = 4, 0.99
SEED = settings.SEED


class Validation:
    """Validation images of a subject: z, c and g decoded by decoders fitted on the other images."""

    def __init__(self, preset, model, encoder, root, subject, n_images):
        self.preset, self.model, self.encoder = preset, model, encoder
        shared = settings.split(preset, model, root, subject, n_images)
        _, image_ids, fit_ids, self.image_ids, self.mean_image, self.originals, self.judges = shared
        self.z, self.c = settings.decode(preset, shared, preset.rescale)
        # All of visual cortex, and one row an image in the order of `image_ids`.
        mask = reconstructions.visual_cortex(preset, root, subject)
        (betas, ids, _), _ = nsd.image_responses(root, subject, preset.space, mask=mask)
        if not np.array_equal(ids, image_ids):
            raise ValueError("The regions hold different training images: check the sessions.")
        rows, held = np.isin(ids, fit_ids), np.isin(ids, self.image_ids)
        g = guided.encode_g(preset, encoder, root, ids)
        decoded = {
            k: reconstructions.fit_decoder(
                preset, betas[rows], g[k][rows], ids[rows], rescale=False
            ).predict(betas[held], image_ids=self.image_ids)
            for k in g
        }  # fmt: skip
        true = {k: g[k][held] for k in g}
        self.targets = {
            name: sampler.FeatureTargets(layers, self.image_ids, encoder.name)
            for name, layers in zip(TARGETS["ridge"], (decoded, true), strict=True)
        }

    def draw(self, targets, feature_scale, guided_share, watch=None):
        """Draw all validation images in one cell."""
        preset = self.preset
        guidance = sampler.Guidance(
            sampler.feature_guide(self.encoder, self.targets[targets]), feature_scale, guided_share,
            decoder=self.model.vae, watch=watch,
        )  # fmt: skip
        return sampler.reconstruct(
            self.model, self.z, self.c, condition="both", image_ids=self.image_ids,
            strength=preset.strength, n_steps=preset.n_steps, guidance_scale=preset.guidance_scale,
            guidance=guidance, batch_size=preset.batch_size,
        ).cpu()  # fmt: skip

    def run_cell(self, targets, feature_scale, guided_share):
        """Draw and score one cell: scores (n, n_criteria), loss (n,), pictures, relative steps."""
        watched = []
        images = self.draw(targets, feature_scale, guided_share, watched.append)
        scores = study.score(self.judges, images, self.originals, self.mean_image)
        scores["low_level"] = (scores["colour"] + scores["gabor"]) / 2
        guide = sampler.feature_guide(self.encoder, self.targets[targets])
        loss = guide(images.to(self.preset.device), self.image_ids)
        relative = torch.cat([step.relative_step.cpu() for step in watched] or [torch.zeros(1)])
        return {
            "scores": np.stack([scores[name] for name in settings.CRITERIA], axis=1),
            "loss": loss.cpu().numpy(),
            "pictures": reconstructions.to_bytes(images[:N_PICTURES]),
            "relative_step": np.array([relative.mean(), relative.max()]),
        }


class NetworkValidation(Validation):
    """Validation images of the networks of script 7: z, c and g decoded by them."""

    def __init__(self, preset, model, encoder, root, subject, n_images):
        self.preset, self.model, self.encoder = preset, model, encoder
        sharing = guided.sharing.sharing_of(preset, root)
        betas, ids = sharing.held(subject, "all")
        made = {}
        for group in "zcg":
            with torch.enable_grad():
                network, _ = sharing.network(subject, 0, "pretrained", "all", group)
            rescale = preset.rescale and group != "g"  # as in `guided`
            if rescale:
                targets = sharing.targets(group)
                shared_space.fit_rescaling(network, betas, subject, ids, targets)
            made |= shared_space.predict(network, betas, subject, rescale=rescale)
        some = np.sort(np.random.default_rng(SEED).permutation(len(ids))[:n_images])
        made = {name: torch.from_numpy(values[some]) for name, values in made.items()}
        self.image_ids, self.z, self.c = ids[some], made["z"], made["c"]
        g = {k: made[f"g{k}"] for k in guided.LAYERS}
        self.targets = {"network": sampler.FeatureTargets(g, self.image_ids, encoder.name)}
        fit_ids = np.setdiff1d(sharing.trials(subject)[1], ids)
        self.mean_image = reconstructions.mean_image(preset, root, fit_ids)
        self.judges = study.load_judges(preset)
        originals = torch.from_numpy(nsd.images(root, self.image_ids, preset.image_size))
        self.originals = study.prepare_originals(self.judges, originals)


def choose(cells, means):
    """Rank cells by each criterion (n_cells, n_criteria); a table, the chosen cell first."""
    table = pd.DataFrame(cells, columns=["feature_scale", "guided_share"])
    table[list(settings.CRITERIA)] = means
    table["mean_rank"] = table[list(settings.CRITERIA)].rank(ascending=False).mean(axis=1)
    return table.sort_values(["mean_rank", "guided_share", "feature_scale"])


def put_sure_first(table, loss):
    """Move the first cell of a table that is SURE to its head.

    Parameters
    ----------
    table : DataFrame
        Its index tells the cells.
    loss : array (n_cells, n_subjects, n_images)
        Of all cells in the order of the index; the first one draws without guide.

    Returns
    -------
    DataFrame
        With a column ``falls``: share of images whose loss is below that of the first cell.
    """
    falls = (loss < loss[0]).mean(axis=(1, 2))[table.index]
    sure = falls >= SURE
    first = np.arange(len(table)) == (sure.argmax() if sure.any() else 0)
    table = table.assign(falls=falls)
    return pd.concat([table[first], table[~first]])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--decoder", choices=TARGETS, default="ridge", help="of z, c and g")
    parser.add_argument("--subjects", type=int, nargs="+", help="default: all of the preset")
    parser.add_argument("--images", type=int, default=settings.N_VALIDATION, help="fewer images; "
                        "what such a slice finds is printed and not written")  # fmt: skip
    parser.add_argument("--shard", default="0/1", metavar="I/N", help="run one share of the cells")
    args = parser.parse_args()
    shard, n_shards = products.parse_shard(args.shard)
    preset = presets.get()
    root = preset.open()
    model = features.load_latent_diffusion(
        preset.model, preset.revision, preset.dtype, preset.device
    )
    encoder = features.load_clip_image_encoder(preset.guide, preset.device)
    subjects = [f"subj{s:02d}" for s in args.subjects or preset.subjects]
    # Cells don't depend on what the preset says of the settings to choose.
    neutral = dataclasses.replace(preset, feature_scale=0.0, guided_share=0.0)
    neutral = reconstructions.describe(
        neutral, root, (*reconstructions.NETWORKS, "guide", "judge"), n_images=args.images,
        seed_of_choice=SEED,
    )  # fmt: skip
    scripts = [__file__, study.__file__, settings.__file__, guided.__file__, spaces.__file__]
    sources = products.sources(scripts, guided.MODULES)
    key = store.source_hash(sources, neutral)[:12]
    folder = store.cache_folder() / "8_choose_guidance" / f"{root.name}-{key}"

    paths = {(subject, targets, cell): folder / f"{subject}-{targets}-{cell[0]:g}-{cell[1]:g}.npz"
             for subject in subjects for targets in TARGETS[args.decoder]
             for cell in CELLS[targets]}  # fmt: skip
    todo = [part for part in guided.share_of(list(paths), shard, n_shards)
            if not paths[part].is_file()]  # fmt: skip

    @functools.lru_cache(maxsize=1)
    def validation_of(subject):
        kind = Validation if args.decoder == "ridge" else NetworkValidation
        return kind(preset, model, encoder, root, subject, args.images)

    for part in tqdm(todo, desc="cells", unit="cell"):
        subject, targets, cell = part
        validation = validation_of(subject)
        found = validation.run_cell(targets, *cell)
        store.save(paths[part], provenance=neutral, validation_ids=validation.image_ids, **found)
    left = sum(not path.is_file() for path in paths.values())
    if left:
        print(f"{left} cells are left to the other shards.")
        return
    found = {}
    for targets in TARGETS[args.decoder]:
        cells = CELLS[targets]
        parts = [[store.load(paths[s, targets, cell]) for s in subjects] for cell in cells]
        scores, steps = (np.array([[part[name] for part in row] for row in parts])
                         for name in ("scores", "relative_step"))  # fmt: skip
        table = choose(cells, scores.mean(axis=(1, 2), dtype=float))
        table["relative_step"], table["largest_step"] = steps.mean(1)[table.index].T
        if targets == "true":
            loss = np.array([[part["loss"] for part in row] for row in parts])
            table = put_sure_first(table, loss)
        print(f"\n{targets} features\n{table.to_string(index=False, float_format='{:.3f}'.format)}")
        best = table.iloc[0]
        print(f"For the preset {preset.name!r} and {targets} features: feature_scale="
              f"{best.feature_scale:g}, guided_share={best.guided_share:g}")  # fmt: skip
        columns = {name: table[name].to_numpy() for name in table.columns}
        columns["scores"] = scores[table.index].astype(np.float16)
        columns["pictures"] = np.stack([row[0]["pictures"] for row in parts])[table.index]
        found |= {f"{targets}_{name}": values for name, values in columns.items()}
    if args.images == settings.N_VALIDATION:
        of = "" if args.decoder == "ridge" else f"-{args.decoder}"
        path = products.RESULTS / f"8_choose_guidance{of}-{root.name}.npz"
        described = {
            **neutral,
            "script": "data_scripts/8_choose_guidance.py",
            "subjects": subjects,
            "criteria": settings.CRITERIA,
            "axes": ["cell", "subject", "validation image", "criterion"],
        }
        found["picture_ids"] = parts[0][0]["validation_ids"][:N_PICTURES]
        print("wrote", store.save(path, provenance=described, **found))


if __name__ == "__main__":
    with torch.no_grad():  # not inference mode: guidance needs gradients
        main()
