"""Reads an NSD tree and a preset's networks; writes results/9_measure_reconstructions-WORLD.npz.

Scores of the preset's protocol for system A, its baselines and its ceilings, on every subject and
every shared image. Drawings lie in the cache (`reconstructions`), shared with script 6, and are
made where they are missing; so are the scores of each subject. ``--shard 0/2`` and ``--shard 1/2``
share the subjects between two processes; who finishes last writes.
"""

import argparse

import numpy as np
import products
import reconstructions
import torch
from sklearn.decomposition import PCA
from tqdm.auto import tqdm

from latentcortex import metrics, nsd, presets, sampler, store
from latentcortex.metrics.checks import standardise
from latentcortex.ridge import Ridge

SEED = 9
N_DRAWS, N_PICTURES = 5, 6
BLURS = (1, 2, 4, 8)  # standard deviations in pixels
# Rows of the tables and how many drawings of each are scored.
ROWS = {
    **dict.fromkeys(sampler.CONDITIONS, N_DRAWS),
    "decoded_z": 1,
    "mean_image": 1,
    "random_training": N_DRAWS,
    "no_brain": N_DRAWS,
    "shuffled_brain": 1,
    **dict.fromkeys(("nearest_z", "nearest_c", "nearest"), 1),
    **{f"blurred_{sigma}": 1 for sigma in BLURS},
    "one_showing": 1,
    **{f"bottleneck_{k}": 1 for k in reconstructions.BOTTLENECKS},
    "in_span": 1,
    **dict.fromkeys(("true_z", "true_c", "true_both"), 2),
    "vae": 1,
    "shuffled_pairs": 1,  # last: it needs decoders of its own
}
PICTURED = ("no_brain", "nearest", *sampler.CONDITIONS, "decoded_z", "blurred_2", "true_both", "vae")
N_WAYS = (2, 5, 10, 20, 50, 100, 200)
CURVES = ("AlexNet(2)", "AlexNet(5)")
SHOWINGS = ("mean of all showings", "first showing", "mean of the others")
TOLERANCE = {"one_row": 0.02, "mean_over_rows": 0.01}
MODULES = ("sampler", "decoders", "ridge", "metrics", "mini/networks", "mini/classical_judge")


def training_rows(name, made, n_images, repeat):
    """Say which training image stands for each test image in a row of the tables."""
    if name == "random_training":
        rng = np.random.default_rng([SEED, repeat])
        return metrics.random_training_rows(len(made.train_ids), n_images, rng)
    # What all images share is taken off, or the mean would decide.
    pairs = {
        target: (
            true.flatten(1).numpy() - (mean := true.flatten(1).mean(0).numpy()),
            decoded.flatten(1).numpy() - mean,
        )
        for target, true, decoded in zip("zc", made.true_train, (made.z, made.c), strict=True)
    }
    if name == "nearest":  # the sum of both correlations
        unit = {t: [standardise(t, x) for x in pair] for t, pair in pairs.items()}
        pairs[name] = [np.concatenate([unit["z"][k], unit["c"][k]], axis=1) for k in (0, 1)]
    return metrics.nearest_training_rows(*pairs[name.removeprefix("nearest_")])[0]


def images_of(study, subject, name, repeat):
    """Get the images of one row of the tables: (n, 3, h, w)."""
    made, n = study.decoded(subject), len(study.image_ids)
    if name == "mean_image":
        return made.mean_image.expand(n, -1, -1, -1)
    if name.startswith("blurred_"):
        blurred = metrics.blurred(study.originals, float(name.split("_")[1]))
        return torch.from_numpy(blurred).float().clamp(0, 1)
    if name == "random_training" or name.startswith("nearest"):
        ids = made.train_ids[training_rows(name, made, n, repeat)]
        return torch.from_numpy(nsd.images(study.root, ids, study.preset.image_size))
    return study.images(subject, name, repeat)


class Encoder:
    """An encoding model from images to all of visual cortex, by two layers of the protocol.

    Fitted on the subject's training images; no part of the decoders or of the sampler.
    """

    def __init__(self, study, subject, protocol, networks):
        curves = tuple(one for one in protocol.scores if one.name in CURVES)
        protocol = metrics.Protocol("layers", "", curves, protocol.first)
        mask = reconstructions.visual_cortex(study.preset, study.root, subject)
        (betas, ids, _), _ = nsd.image_responses(study.root, subject, study.preset.space, mask=mask)
        parts = [
            metrics.extract(protocol, images, networks)
            for images in products.image_parts(study.preset, study.root, ids)
        ]
        layers = {
            key: np.concatenate([part[key].reshape(len(part[key]), -1) for part in parts]) for key in parts[0]
        }
        n = min(400, len(ids) // 2)
        self._pcas = {key: PCA(n, random_state=SEED).fit(x) for key, x in layers.items()}
        self._ridge = Ridge(cv="gcv", zscore=True).fit(self._reduce(layers), betas, groups=ids)

    def _reduce(self, features):
        reduced = [
            pca.transform(features[key].reshape(len(features[key]), -1)) for key, pca in self._pcas.items()
        ]
        return np.concatenate(reduced, axis=1).astype(np.float32)

    def __call__(self, features):
        """Predict responses (n, n_voxels) to images from what was extracted from them."""
        return self._ridge.predict(self._reduce(features))


def showings(study, subject):
    """Read all of visual cortex: mean of all showings, the first, mean of the others.

    Returns three arrays (n, n_voxels); of images that were shown once the last holds NaN.
    """
    mask = reconstructions.visual_cortex(study.preset, study.root, subject)
    table, betas = nsd.scaled_betas(study.root, subject, study.preset.space, mask=mask)
    shared, ids = table["shared"].to_numpy(), table["image_id"].to_numpy()
    first = ~table.duplicated("image_id").to_numpy()
    kept, found = shared & np.isin(ids, study.image_ids), []
    for rows in (kept, kept & first, kept & ~first):
        averages, shown, _ = nsd.average_repeats(betas[rows], ids[rows])
        found.append(np.full((len(study.image_ids), betas.shape[1]), np.nan, np.float32))
        found[-1][np.searchsorted(study.image_ids, shown)] = averages
    return found


def brain_correlations(measured, encoded):
    """Correlate with each of the `showings`: (n, 3), NaN where an image has none."""
    found = np.full((len(encoded), len(measured)), np.nan)
    for k, betas in enumerate(measured):
        rows = np.isfinite(betas).all(axis=1)
        found[rows, k] = metrics.brain_correlation(betas[rows], encoded[rows])
    return found


def measure(study, subject, networks):
    """Score all rows for a subject; the axes of the arrays stand in the provenance."""
    protocol = metrics.PROTOCOLS[study.preset.protocol]
    true, groups, names = prepare(protocol, study.originals, networks)
    mean_image = study.decoded(subject).mean_image
    encoder = Encoder(study, subject, protocol, networks)
    measured = showings(study, subject)
    curves = [one for one in protocol.scores if one.name in CURVES]
    keys = [one.key for one in curves]
    n, n_rows, n_ways = len(study.image_ids), len(ROWS), n_ways_of(study)
    scores = np.full((n, n_rows, N_DRAWS, len(names)), np.nan, np.float32)
    curve = np.full((n, n_rows, len(curves), len(n_ways)), np.nan, np.float32)
    consistency = np.full((n, n_rows, 2), np.nan, np.float32)
    brain = np.full((n, n_rows + 1, len(SHOWINGS)), np.nan, np.float32)
    for row, (name, n_draws) in enumerate(tqdm(ROWS.items(), desc=subject, unit="row")):
        drawings = [images_of(study, subject, name, repeat) for repeat in range(n_draws)]
        features = [metrics.extract(protocol, images, networks) for images in drawings]
        for repeat, (images, pred) in enumerate(zip(drawings, features, strict=True)):
            # Nothing of the mean image is left after centring: that score stays undefined.
            centre = None if name == "mean_image" else mean_image
            found = metrics.score(protocol, study.originals, images, networks, groups, centre, true, [pred])
            for k, of in enumerate(names):
                if of in found:
                    scores[:, row, repeat, k] = found[of]
        for k, key in enumerate(keys):
            for w, n_way in enumerate(n_ways):
                pair = true[key], features[0][key]
                curve[:, row, k, w] = metrics.identification(*pair, n_way=n_way)
        if n_draws > 1:
            repeats = np.stack([one[keys[-1]] for one in features], axis=1)
            both = metrics.repeat_consistency(repeats, true[keys[-1]])
            consistency[:, row] = np.stack(both, axis=1)
        brain[:, row] = brain_correlations(measured, encoder(features[0]))
    brain[:, -1] = brain_correlations(measured, encoder(true))
    return {
        "scores": scores,
        "score_names": np.array(names),
        "curve": curve,
        "consistency": consistency,
        "brain": brain,
        "retrieved": retrieved(study, subject),
    }


def prepare(protocol, originals, networks):
    """Prepare a protocol for drawings of these images, centred by a mean image.

    Returns
    -------
    true : dict
        What `metrics.extract` finds in the originals.
    groups : array or None
        See `judged_groups`.
    names : list of str
        Of the scores that can be computed.
    """
    true = metrics.extract(protocol, originals, networks)
    groups = judged_groups(protocol, true)
    lacking = protocol.left_out(networks, groups, mean_image=originals[0])  # any: there is one
    return true, groups, [one.name for one in protocol.scores if one.name not in lacking]


def judged_groups(protocol, features):
    """Read each image's setting, for distractors of the same; None where nobody names it.

    A setting of a single image has nothing to tell it from: then there are no groups.
    """
    for one in protocol.scores:
        if one.name == "setting" and one.key in features:
            groups = features[one.key]
            return groups if np.unique(groups, return_counts=True)[1].min() > 1 else None
    return None


def n_ways_of(study):
    """List how many images are told from one another: no more than there are."""
    return [k for k in N_WAYS if k <= len(study.image_ids)]


def retrieved(study, subject):
    """Retrieve among all test images, by decoded z and c: (n, 2 targets, 2 directions)."""
    made = study.decoded(subject)
    found = [
        metrics.retrieval(features.flatten(1).numpy(), decoded.flatten(1).numpy(), len(study.image_ids))
        for features, decoded in zip(study.true, (made.z, made.c), strict=True)
    ]
    return np.moveaxis(np.array(found), -1, 0)


def write_product(study, folder, parts):
    """Gather what the subjects gave, and the pictures of a few images drawn at random."""
    rng = np.random.default_rng([SEED, 100])
    n = min(N_PICTURES, len(study.image_ids))
    chosen = np.sort(rng.choice(study.image_ids, n, replace=False))
    rows, subject = np.isin(study.image_ids, chosen), study.subjects[0]
    pictures = [reconstructions.to_bytes(images_of(study, subject, name, 0)[rows]) for name in PICTURED]
    arrays = {
        name: np.stack([part[name] for part in parts], axis=1)
        for name in ("scores", "curve", "consistency", "brain", "retrieved")
    }
    # All drawings of the three conditions, the mean over drawings of everything.
    arrays["drawings"] = arrays["scores"][:, :, : len(sampler.CONDITIONS)]
    with np.errstate(invalid="ignore"):
        arrays["scores"] = np.nansum(arrays["scores"], 3) / (~np.isnan(arrays["scores"])).sum(3)
    return store.save(
        folder / f"9_measure_reconstructions-{study.root.name}.npz",
        provenance={
            **study.description,
            "script": "data_scripts/9_measure_reconstructions.py",
            "instruments": products.weights_hash(study.preset, "judge", "alexnet"),
            "protocol": study.preset.protocol,
            "subjects": study.subjects,
            "rows": list(ROWS),
            "scores": parts[0]["score_names"].tolist(),
            "n_ways": n_ways_of(study),
            "curves": CURVES,
            "showings": SHOWINGS,
            "axes": {
                "scores": ["image", "subject", "row", "score"],
                "drawings": ["image", "subject", "condition", "drawing", "score"],
                "curve": ["image", "subject", "row", "layer", "ways"],
                "consistency": ["image", "subject", "row", "among drawings, to truth"],
                "brain": ["image", "subject", "row, originals last", "showings"],
                "retrieved": ["image", "subject", "z, c", "images, brains"],
            },
            "tolerance": TOLERANCE,
        },
        image_ids=study.image_ids,
        **{name: values.astype(np.float16) for name, values in arrays.items()},
    ), store.save(
        folder / f"9_measure_reconstructions-{study.root.name}-pictures.npz",
        provenance={**study.description, "rows": PICTURED, "subject": subject},
        image_ids=chosen,
        pictures=np.stack(pictures, axis=1),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--images",
        type=int,
        help="only so many test images, drawn at random; the product of such a slice is left in the cache",
    )
    parser.add_argument("--shard", default="0/1", metavar="I/N", help="run one share of subjects")
    args = parser.parse_args()
    shard, n_shards = products.parse_shard(args.shard)
    preset = presets.get()
    study = reconstructions.Study(preset, preset.open(), args.images)
    networks = products.instruments(preset)
    sources = products.sources([__file__, reconstructions.__file__], MODULES)
    instruments = products.weights_hash(preset, "judge", "alexnet")
    key = store.source_hash(sources, [study.description, instruments])[:12]
    folder = store.cache_folder() / "9_measure_reconstructions" / key
    paths = {subject: folder / f"{subject}.npz" for subject in study.subjects}
    for subject in study.subjects[shard::n_shards]:
        if not paths[subject].is_file():
            made = measure(study, subject, networks)
            store.save(paths[subject], provenance=study.description, **made)
    left = sum(not path.is_file() for path in paths.values())
    if left:
        print(f"{left} subjects are left to the other shards.")
        return
    parts = [store.load(path) for path in paths.values()]
    for path in write_product(study, folder if args.images else products.RESULTS, parts):
        print(f"Wrote {path} ({path.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    with torch.inference_mode():
        main()
