"""Reads an NSD tree and a preset's networks; writes results/6_choose_settings-WORLD.npz.

Chooses strength, guidance_scale and rescale of the preset on 100 validation images, drawn by image
from the training images of each subject; the decoders are fitted on the rest. No test image is
looked at.

The criterion, declared before the first run: each cell of the grid draws every validation image
once under the condition "both"; the cells are ranked (1 is best, ties share their mean rank) by
each of the four scores of CRITERIA, averaged over images and subjects; the cell with the smallest
mean rank is chosen, of equals the one with less guidance, then with less strength, then without
rescaling. (A guidance scale of 8 joined the grid when 5, its end until then, had been chosen.)
Every cell is kept in the cache: a run that was killed goes on with those that are missing.
"""

import argparse
import dataclasses
import importlib
import itertools

import numpy as np
import pandas as pd
import products
import reconstructions
import torch
from tqdm.auto import tqdm

from latentcortex import features, nsd, presets, store

study = importlib.import_module("6_reconstruct_images")  # a name that starts with a digit

CRITERIA = ("centred_pixcorr", "low_level", "kinds", "setting")
STRENGTHS = (0.3, 0.45, 0.6, 0.75)
GUIDANCE_SCALES = (1.5, 3.0, 5.0, 8.0)
RESCALE = (False, True)
N_VALIDATION = 100
SEED = 60
MODULES = ("sampler", "decoders", "ridge", "metrics", "mini/networks", "mini/classical_judge")


def split(preset, model, root, subject, n_images):
    """Prepare what a subject's cells share: for both regions betas and features, and the split."""
    regions = []
    for k, rois in enumerate((preset.z_rois, preset.c_rois)):
        # Nothing of the test images is looked at.
        (betas, image_ids, _), _ = reconstructions.responses(preset, root, subject, rois)
        if k == 0:
            true = products.encode(preset, model, root, image_ids)
        regions.append((betas, true[k]))
    rng = np.random.default_rng([SEED, int(subject.removeprefix("subj"))])
    fit_ids, validation_ids = nsd.validation_split(image_ids, N_VALIDATION, rng=rng)
    validation_ids = np.sort(rng.permutation(validation_ids)[:n_images])
    mean_image = reconstructions.mean_image(preset, root, fit_ids)
    originals = torch.from_numpy(nsd.images(root, validation_ids, preset.image_size))
    judges = study.load_judges(preset)
    originals = study.prepare_originals(judges, originals)
    return regions, image_ids, fit_ids, validation_ids, mean_image, originals, judges


def decode(preset, shared, rescale):
    """Fit both decoders on the rest of the training images, decode the validation images."""
    regions, image_ids, fit_ids, validation_ids, *_ = shared
    rows, held = np.isin(image_ids, fit_ids), np.isin(image_ids, validation_ids)
    return [
        reconstructions.fit_decoder(preset, betas[rows], targets[rows], image_ids[rows], rescale).predict(
            betas[held], rescale, validation_ids
        )
        for betas, targets in regions
    ]


def run_cell(preset, model, shared, decoded, strength, guidance_scale):
    """Score one cell of the grid: (n_images, n_criteria)."""
    *_, validation_ids, mean_image, originals, judges = shared
    preset = dataclasses.replace(preset, strength=strength, guidance_scale=guidance_scale)
    images = reconstructions.draw(preset, model, "both", 0, *decoded, validation_ids)
    scores = study.score(judges, images, originals, mean_image)
    scores["low_level"] = (scores["colour"] + scores["gabor"]) / 2
    return np.stack([scores[name] for name in CRITERIA], axis=1)


def choose(cells, means):
    """Rank the cells by each criterion; return a table, the chosen cell first."""
    table = pd.DataFrame(cells, columns=["rescale", "strength", "guidance_scale"])
    table[list(CRITERIA)] = means
    table["mean_rank"] = table[list(CRITERIA)].rank(ascending=False).mean(axis=1)
    return table.sort_values(["mean_rank", "guidance_scale", "strength", "rescale"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, nargs="+", help="default: the preset's first")
    parser.add_argument(
        "--images",
        type=int,
        default=N_VALIDATION,
        help="fewer validation images; what such a slice finds is printed and not written",
    )
    args = parser.parse_args()
    preset = presets.get()
    root = preset.open()
    model = features.load_latent_diffusion(preset.model, preset.revision, preset.dtype, preset.device)
    cells = list(itertools.product(RESCALE, STRENGTHS, GUIDANCE_SCALES))
    subjects = [f"subj{s:02d}" for s in args.subjects or preset.subjects[:1]]
    # Cells don't depend on what the preset says of the settings to choose.
    neutral = dataclasses.replace(preset, strength=1.0, guidance_scale=1.0, rescale=False)
    networks = (*reconstructions.NETWORKS, "judge")
    description = reconstructions.describe(neutral, root, networks, n_images=args.images, seed_of_choice=SEED)
    sources = products.sources([__file__, study.__file__, reconstructions.__file__], MODULES)
    key = store.source_hash(sources, description)[:12]
    folder = store.cache_folder() / "6_choose_settings" / f"{root.name}-{key}"

    scores = np.zeros((len(cells), len(subjects), args.images, len(CRITERIA)), np.float16)
    bar = tqdm(total=len(subjects) * len(cells), desc="cells", unit="cell")
    for s, subject in enumerate(subjects):
        shared, decoded = None, {}
        for k, (rescale, strength, guidance_scale) in enumerate(cells):
            path = folder / f"{subject}-{rescale}-{strength}-{guidance_scale}.npz"
            if not path.exists():
                shared = shared or split(preset, model, root, subject, args.images)
                if rescale not in decoded:
                    decoded[rescale] = decode(preset, shared, rescale)
                found = run_cell(preset, model, shared, decoded[rescale], strength, guidance_scale)
                store.save(path, provenance=description, image_ids=shared[3], scores=found)
            scores[k, s] = store.load(path)["scores"]
            bar.update()
    bar.close()
    table = choose(cells, scores.mean(axis=(1, 2), dtype=float))
    print(table.to_string(index=False, float_format="{:.3f}".format))
    best = table.iloc[0]
    print(
        f"\nFor the preset {preset.name!r}: strength={best.strength:g}, "
        f"guidance_scale={best.guidance_scale:g}, rescale={bool(best.rescale)}"
    )
    if args.images == N_VALIDATION:
        path = products.RESULTS / f"6_choose_settings-{root.name}.npz"
        described = {
            **description,
            "script": "data_scripts/6_choose_settings.py",
            "subjects": subjects,
            "criteria": CRITERIA,
            "axes": ["cell", "subject", "validation image", "criterion"],
        }
        columns = {name: table[name].to_numpy() for name in table.columns}
        columns["scores"] = scores[table.index]
        print("wrote", store.save(path, provenance=described, **columns))


if __name__ == "__main__":
    with torch.inference_mode():
        main()
