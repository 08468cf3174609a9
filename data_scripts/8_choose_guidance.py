"""Reads an NSD tree and a preset's networks; writes results/8_choose_guidance-WORLD.npz.

Chooses feature_scale and guided_share of the preset for features that are decoded by ridge, on 100
validation images of each subject, drawn by image from the training images; the decoders are fitted
on the rest. No test image is looked at. The same is chosen for the images' true features. Two other
grids are run if asked for, and written to 8_choose_guidance-GRID-WORLD.npz: ``--grid network``,
where the networks of script 7 decode z, c and g, on their own validation images; and ``--grid
limit``, true features with a limit of the relative step, guided in all steps.

The criterion, declared before the first run, is that of 6_choose_settings: each cell of the grid
draws every validation image once; the cells, and drawing without guide beside them, are ranked by
each of the four CRITERIA, averaged over images and subjects; the smallest mean rank is chosen, of
equals the one that guides less. Every cell is kept in the cache: a run that was killed goes on.
True features joined after the first run, in which decoded ones had hardly any effect: what the
sampler can do with good features is not to be judged at a strength that suits bad ones. Of their
cells only those are ranked that bring the most validation images closer to their features than
drawing without guide does: the best cell of all (3,000 in all steps) does so for 95 of 100 only,
since its first steps go many times the picture's own length too far. The cell so chosen (1,000 in
all steps) had brought 399 of 400 validation images closer and then 98.8 % of the test images. Hence
the limit. Its grid was declared after a look at 32 validation images of the first subject.
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

GUIDED_SHARES = (0.2, 0.4, 0.7, 1.0)
LIMITS = (0.3, 1.0, 3.0)
NO_GUIDE = (0.0, 0.0, None)


def cross(feature_scales, guided_shares=GUIDED_SHARES, limits=(None,)):
    """List the cells of a grid, drawing without guide first."""
    return NO_GUIDE, *itertools.product(feature_scales, guided_shares, limits)


# Of each grid: by whose features guide, cells of (feature_scale, guided_share, max_relative_step).
GRIDS = {
    "ridge": {
        "decoded": cross((30.0, 100.0, 300.0, 1000.0, 3000.0)),
        "true": cross((100.0, 300.0, 1000.0, 3000.0)),
    },
    "network": {"network": cross((30.0, 100.0, 300.0, 1000.0))},
    "limit": {"true": cross((1000.0, 3000.0, 10_000.0), (1.0,), LIMITS)},
}
N_PICTURES = 4
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
            k: reconstructions.fit_decoder(preset, betas[rows], g[k][rows], ids[rows], rescale=False).predict(
                betas[held], image_ids=self.image_ids
            )
            for k in g
        }
        true = {k: g[k][held] for k in g}
        self.targets = {
            name: sampler.FeatureTargets(layers, self.image_ids, encoder.name)
            for name, layers in {"decoded": decoded, "true": true}.items()
        }

    def draw(self, targets, feature_scale, guided_share, max_relative_step, watch=None):
        """Draw all validation images in one cell."""
        preset = self.preset
        guidance = sampler.Guidance(
            sampler.feature_guide(self.encoder, self.targets[targets]),
            feature_scale,
            guided_share,
            decoder=self.model.vae,
            max_relative_step=max_relative_step,
            watch=watch,
        )
        return sampler.reconstruct(
            self.model,
            self.z,
            self.c,
            condition="both",
            image_ids=self.image_ids,
            strength=preset.strength,
            n_steps=preset.n_steps,
            guidance_scale=preset.guidance_scale,
            guidance=guidance,
            batch_size=preset.batch_size,
        ).cpu()

    def run_cell(self, targets, cell):
        """Draw and score one cell: scores (n, n_criteria), loss (n,), pictures, relative steps."""
        watched = []
        images = self.draw(targets, *cell, watched.append)
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


def choose(cells, means, loss=None):
    """Rank the cells of a grid.

    Parameters
    ----------
    cells : sequence of (feature_scale, guided_share, max_relative_step)
        The first one draws without guide.
    means : array (n_cells, n_criteria)
    loss : array (n_cells, ..., n_images), optional
        Then the cells come first that fall below the first one's loss in the most images.

    Returns
    -------
    DataFrame
        The chosen cell first, the index counts `cells`; with `loss` there is a column ``falls``,
        the share of images that do.
    """
    fields = ["feature_scale", "guided_share", "max_relative_step"]
    table = pd.DataFrame(cells, columns=fields).astype(float)
    table["max_relative_step"] = table["max_relative_step"].fillna(np.inf)
    table[list(settings.CRITERIA)] = means
    table["mean_rank"] = table[list(settings.CRITERIA)].rank(ascending=False).mean(axis=1)
    table = table.sort_values(["mean_rank", "guided_share", "feature_scale", "max_relative_step"])
    if loss is not None:
        table["falls"] = (loss < loss[0]).reshape(len(loss), -1).mean(axis=1)[table.index]
        surest = table["falls"] == table["falls"].max()
        table = pd.concat([table[surest], table[~surest]])
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--grid", choices=GRIDS, default="ridge", help="which grid to run")
    parser.add_argument("--subjects", type=int, nargs="+", help="default: all of the preset")
    parser.add_argument(
        "--images",
        type=int,
        default=settings.N_VALIDATION,
        help="fewer images; what such a slice finds is printed and not written",
    )
    parser.add_argument("--shard", default="0/1", metavar="I/N", help="run one share of the cells")
    args = parser.parse_args()
    shard, n_shards = products.parse_shard(args.shard)
    preset = presets.get()
    root = preset.open()
    model = features.load_latent_diffusion(preset.model, preset.revision, preset.dtype, preset.device)
    encoder = features.load_clip_image_encoder(preset.guide, preset.device)
    subjects = [f"subj{s:02d}" for s in args.subjects or preset.subjects]
    # Cells don't depend on what the preset says of the settings to choose.
    neutral = dataclasses.replace(preset, feature_scale=0.0, guided_share=0.0)
    neutral = reconstructions.describe(
        neutral,
        root,
        (*reconstructions.NETWORKS, "guide", "judge"),
        n_images=args.images,
        seed_of_choice=SEED,
    )
    scripts = [__file__, study.__file__, settings.__file__, guided.__file__, spaces.__file__]
    sources = products.sources(scripts, guided.MODULES)
    key = store.source_hash(sources, neutral)[:12]
    folder = store.cache_folder() / "8_choose_guidance" / f"{root.name}-{key}"

    grid = GRIDS[args.grid]
    paths = {
        (subject, targets, cell): folder / f"{subject}-{targets}-{'-'.join(map(str, cell))}.npz"
        for subject in subjects
        for targets, cells in grid.items()
        for cell in cells
    }
    todo = [part for part in guided.share_of(list(paths), shard, n_shards) if not paths[part].is_file()]

    @functools.lru_cache(maxsize=1)
    def validation_of(subject):
        kind = NetworkValidation if args.grid == "network" else Validation
        return kind(preset, model, encoder, root, subject, args.images)

    for part in tqdm(todo, desc="cells", unit="cell"):
        subject, targets, cell = part
        validation = validation_of(subject)
        found = validation.run_cell(targets, cell)
        store.save(paths[part], provenance=neutral, validation_ids=validation.image_ids, **found)
    left = sum(not path.is_file() for path in paths.values())
    if left:
        print(f"{left} cells are left to the other shards.")
        return
    found = {}
    for targets, cells in grid.items():
        parts = [[store.load(paths[s, targets, cell]) for s in subjects] for cell in cells]
        scores, steps, loss = (
            np.array([[part[name] for part in row] for row in parts])
            for name in ("scores", "relative_step", "loss")
        )
        table = choose(cells, scores.mean(axis=(1, 2), dtype=float), loss if targets == "true" else None)
        table["relative_step"], table["largest_step"] = steps.mean(1)[table.index].T
        print(f"\n{targets} features\n{table.to_string(index=False, float_format='{:.4f}'.format)}")
        best = table.iloc[0]
        print(
            f"For the preset {preset.name!r} and {targets} features: feature_scale="
            f"{best.feature_scale:g}, guided_share={best.guided_share:g}, max_relative_step="
            f"{best.max_relative_step:g}"
        )
        columns = {name: table[name].to_numpy() for name in table.columns}
        columns["scores"] = scores[table.index].astype(np.float16)
        columns["pictures"] = np.stack([row[0]["pictures"] for row in parts])[table.index]
        found |= {f"{targets}_{name}": values for name, values in columns.items()}
    if args.images == settings.N_VALIDATION:
        of = "" if args.grid == "ridge" else f"-{args.grid}"
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
