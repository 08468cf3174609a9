"""Reads an NSD tree and a preset's networks; writes results/6_reconstruct_images-WORLD*.npz.

System A on every subject and every shared image: decoders of z and c fitted on the training images,
five drawings under each of the three conditions, each scored against what was seen. What was
declared before the run stands in the chapter 06_reconstruct_images.

The drawings lie in the cache (`reconstructions`); a run that was killed goes on with those that are
missing. ``--shard 0/2`` and ``--shard 1/2`` share them between two processes; who finishes last
scores them and writes.

Three files are written: scores of each image (its name ends with the world's), ``-shuffles``
(identification after shuffling reconstructions against originals) and ``-pictures`` (the first
drawing of a few images drawn at random).
"""

import argparse

import numpy as np
import products
import reconstructions
import torch
import torch.nn.functional as F
from tqdm.auto import tqdm

from latentcortex import metrics, presets, sampler, store
from latentcortex.mini import networks
from latentcortex.mini.classical_judge import load_classical_judge

SEED = reconstructions.SEED
N_DRAWS, N_SHUFFLES, N_PICTURES, PICTURE_SIZE = 5, 100, 8, 64
# Drawn once: what they hold has no noise in it, or one drawing is enough to tell.
BASELINES = ("decoded_z", "shuffled_pairs", "vae", "mean_image")
LOW_LEVEL = {"colour": metrics.colour_means, "gabor": metrics.gabor_energy}
SCORES = (
    *("pixcorr", "centred_pixcorr", "ssim"),
    *(f"{name}{judge}" for judge in ("", "_classical") for name in ("setting", "kinds")),
    *(f"{name}{of}" for name in LOW_LEVEL for of in ("", "_of_originals")),
)
# Between machines sums are rounded differently, and a judge on the fence may fall to either side.
TOLERANCE = {"pixels_of_one_row": 0.02, "mean_over_rows": 0.01}


def load_judges(preset):
    """Load both judges, small enough for the CPU, by the ending of the names of their scores."""
    return {"": networks.load_judge(preset.judge), "_classical": load_classical_judge(preset.judge)}


def prepare_originals(judges, images):
    """Compute once what every reconstruction is compared with."""
    low_level = {name: feature(images) for name, feature in LOW_LEVEL.items()}
    contents = {f"read{end}": networks.readings(judge(images)) for end, judge in judges.items()}
    return {"images": images, **contents, **low_level}


def score(judges, images, originals, mean_image):
    """Score reconstructions (n, 3, h, w) of `prepare_originals`' images: arrays (n,), by name."""
    true = originals["images"]
    # The mean image less itself is no picture, and nothing correlates with it.
    undefined = torch.equal(images[0], mean_image)
    scores = {
        "pixcorr": metrics.pixcorr(images, true),
        "centred_pixcorr": np.full(len(true), np.nan)
        if undefined
        else metrics.pixcorr(images, true, mean_image),
        "ssim": metrics.ssim(images, true),
    }
    for end, judge in judges.items():
        true_contents, drawn = originals[f"read{end}"], networks.readings(judge(images))
        scores[f"setting{end}"] = metrics.agreement(true_contents["setting"], drawn["setting"])
        scores[f"kinds{end}"] = metrics.f1(true_contents["kinds"], drawn["kinds"])
    for name, feature in LOW_LEVEL.items():
        pair = originals[name], feature(images)
        scores[name] = metrics.identification(*pair)
        scores[f"{name}_of_originals"] = metrics.identification(*pair, direction="original")
    return {name: values.astype(np.float32) for name, values in scores.items()}


def images_of(study, subject, name, repeat):
    """Read the images of a condition or baseline: (n, 3, h, w)."""
    if name == "mean_image":
        return study.decoded(subject).mean_image.expand(len(study.image_ids), -1, -1, -1)
    return study.images(subject, name, repeat)


def write_product(study, n_draws, folder):
    """Score the drawings and gather the scores into the three files."""
    conditions, ids = sampler.CONDITIONS, study.image_ids
    judges = load_judges(study.preset)
    originals = prepare_originals(judges, study.originals)
    n = len(ids), len(study.subjects)
    shape = (*n, len(conditions), n_draws)
    arrays = {name: np.empty(shape, np.float32) for name in SCORES}
    arrays |= {f"baseline_{name}": np.empty((*n, len(BASELINES)), np.float32) for name in SCORES}
    low_level = np.empty((*shape[1:3], N_SHUFFLES)), np.empty(shape[1:3])
    rng = np.random.default_rng([SEED, 4])
    chosen = np.sort(rng.choice(ids, min(N_PICTURES, len(ids)), replace=False))
    pictures = np.empty((len(chosen), *shape[1:3], PICTURE_SIZE, PICTURE_SIZE, 3), np.uint8)
    for s, subject in enumerate(tqdm(study.subjects, desc="score", unit="subject")):
        mean_image = study.decoded(subject).mean_image
        for b, name in enumerate(BASELINES):
            images = images_of(study, subject, name, 0)
            for key, values in score(judges, images, originals, mean_image).items():
                arrays[f"baseline_{key}"][:, s, b] = values
        for k, condition in enumerate(conditions):
            for repeat in range(n_draws):
                images = study.images(subject, condition, repeat)
                for key, values in score(judges, images, originals, mean_image).items():
                    arrays[key][:, s, k, repeat] = values
            first = study.images(subject, condition, 0)
            for into, values in zip(low_level, shuffle(originals, first), strict=True):
                into[s, k] = values
            small = F.interpolate(first[np.isin(ids, chosen)], PICTURE_SIZE, mode="area")
            pictures[:, s, k] = (small * 255).round().byte().permute(0, 2, 3, 1)
    provenance = {
        **study.description,
        "script": "data_scripts/6_reconstruct_images.py",
        "weights": products.weights_hash(study.preset, *reconstructions.NETWORKS, "judge"),
        "n_draws": n_draws,
        "axes": ["image", "subject", "condition or baseline", "drawing"],
        "subjects": study.subjects,
        "conditions": conditions,
        "baselines": BASELINES,
        "tolerance": TOLERANCE,
    }
    path = folder / f"6_reconstruct_images-{study.root.name}.npz"
    store.save(path, provenance=provenance, image_ids=ids, **arrays)
    store.save(
        path.with_stem(f"{path.stem}-shuffles"),
        provenance=provenance,
        shuffled=low_level[0],
        unshuffled=low_level[1],
    )
    store.save(
        path.with_stem(f"{path.stem}-pictures"), provenance=provenance, image_ids=chosen, pictures=pictures
    )
    return path


def shuffle(originals, images):
    """Identify after shuffling (N_SHUFFLES,) and as they are: low-level, mean of both features."""
    shuffled, unshuffled = 0, 0
    for name, feature in LOW_LEVEL.items():
        pair = originals[name], feature(images)
        rng = np.random.default_rng([SEED, 5])  # the same shuffles for both features
        shuffled += metrics.shuffled_identification(*pair, rng, N_SHUFFLES) / len(LOW_LEVEL)
        unshuffled += metrics.identification(*pair).mean() / len(LOW_LEVEL)
    return shuffled, unshuffled


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--images",
        type=int,
        help="only so many test images, drawn at random; the product of such a slice is left in the cache",
    )
    parser.add_argument("--draws", type=int, default=N_DRAWS)
    parser.add_argument("--shard", default="0/1", metavar="I/N", help="run one share of the parts")
    args = parser.parse_args()
    shard, n_shards = products.parse_shard(args.shard)
    preset = presets.get()
    study = reconstructions.Study(preset, preset.open(), args.images)
    drawn = [(name, repeat) for repeat in range(args.draws) for name in sampler.CONDITIONS]
    # Shuffled pairs last: they need decoders of their own.
    drawn += [("vae", 0), ("decoded_z", 0), ("shuffled_pairs", 0)]
    paths = {study.path(subject, *name): (subject, *name) for subject in study.subjects for name in drawn}
    todo = [path for path in list(paths)[shard::n_shards] if not path.is_file()]
    for path in tqdm(todo, desc="draw", unit="drawing"):
        study.images(*paths[path])
    left = sum(not path.is_file() for path in paths)
    if left:
        print(f"{left} drawings are left to the other shards.")
        return
    is_slice = args.images or args.draws < N_DRAWS
    print("wrote", write_product(study, args.draws, study.folder if is_slice else products.RESULTS))


if __name__ == "__main__":
    with torch.inference_mode():
        main()
