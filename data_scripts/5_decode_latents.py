"""Reads an NSD tree and a preset's networks; writes results/5_decode_latents-WORLD.npz.

Ridge decoders of z, c and six layers of g from early, ventral, lateral and parietal cortex and from
all of visual cortex, for every subject, at matched numbers of voxels; then power curves of z and c:
the first sessions only, the first showings of each image only. What a subject gave is kept in the
cache: started again, the script goes on where it was. ``--shard 0/2`` and ``--shard 1/2`` share the
subjects between two processes; who finishes last writes.
"""

import argparse
from pathlib import Path

import numpy as np
import products
import torch
from tqdm.auto import tqdm

from latentcortex import features, metrics, nsd, presets, store
from latentcortex.decoders import LinearDecoder

SEED = 5
ROIS = {
    "early": ("streams", "early"),
    "ventral": ("streams", "ventral"),
    "lateral": ("streams", "lateral"),
    "parietal": ("streams", "parietal"),
    "all": ("nsdgeneral", "nsdgeneral"),
}
LAYERS = range(1, 7)
TARGETS = ("z", "c", *(f"g{k}" for k in LAYERS))
N_SUBSAMPLES = 5  # of the voxels of each region, as many as the smallest region has
WAYS = ("all training images", "without the validation images", "these, rescaled")
N_VALIDATION = 100  # training images that teach the rescaling and train nothing
MAX_REPEATS = 3
SCORES = ("r", "identified", "retrieved")
TOLERANCE = 0.01  # sums are rounded differently between machines, and a tie may break otherwise


def true_features(preset, model, encoder, root, image_ids):
    """Compute every target of images, each (n_images, n_features), float32."""
    z, c = products.encode(preset, model, root, image_ids)
    images = torch.from_numpy(nsd.images(root, image_ids, preset.image_size))
    g = features.encode_clip_layers(encoder, images, LAYERS, preset.batch_size)
    made = {"z": z, "c": c, **{f"g{k}": values for k, values in g.items()}}
    return {name: values.flatten(1).numpy() for name, values in made.items()}


def column_correlation(predicted, true):
    """Correlate each number that varies over images; returns as many correlations."""
    predicted, true = predicted - predicted.mean(0), true - true.mean(0)
    norms = np.linalg.norm(predicted, axis=0) * np.linalg.norm(true, axis=0)
    varies = true.std(0) > 1e-3 * true.std(0).max()
    return (predicted * true).sum(0)[varies] / np.maximum(norms[varies], 1e-12)


def score(predicted, true, train_mean):
    """Score decoded against true features of the test images, both (n_images, n_features).

    Returns the mean correlation over numbers, and for each image its 2-way identification and
    whether it is retrieved: closest of all true features to the decoded ones. The training mean
    is taken off first, so that what all images share counts for nothing.
    """
    predicted, true = predicted - train_mean, true - train_mean
    identified = metrics.identification(true, predicted)
    # Who is told from all others is retrieved.
    return column_correlation(predicted, true).mean(), identified, identified == 1


def decode(train, test, true_train, true_test, is_fit=slice(None), rescale=False):
    """Fit one decoder of each target and score it on the test images: a dict by target.

    Images that are not `is_fit`, boolean (n_images,), train nothing but the rescaling.
    """
    (betas, image_ids, _), scores = train, {}
    for name, true in true_train.items():
        decoder = LinearDecoder(cv="gcv").fit(betas[is_fit], true[is_fit], image_ids[is_fit])
        if rescale:
            decoder.fit_rescaling(betas[~is_fit], true[~is_fit])
        predicted = decoder.predict(test[0], rescale=rescale)
        found = score(predicted, true_test[name], true.mean(0))
        scores[name] = (*found, decoder.ridge_.edge_share_)
    return scores


def first_showings(table, rows, n_repeats):
    """Mark the first `n_repeats` showings of each image among some rows of a table of trials."""
    number = table[rows].groupby("image_id").cumcount()
    chosen = np.zeros(len(table), bool)
    chosen[np.flatnonzero(rows)] = number.to_numpy() < n_repeats
    return chosen


def run_subject(root, subject, preset, model, encoder):
    """Score all decoders of one subject; see `main` for the axes of the arrays."""
    masks = {
        name: nsd.roi_mask(root, *region, preset.space, subject) for name, region in ROIS.items()
    }
    some = np.any(list(masks.values()), axis=0)
    masks = {name: mask[some] for name, mask in masks.items()}
    train, test = nsd.image_responses(root, subject, preset.space, mask=some)
    true_train, true_test = (
        true_features(preset, model, encoder, root, part[1]) for part in (train, test)
    )
    n_voxels = min(mask.sum() for mask in masks.values())
    shape = len(ROIS), len(TARGETS), N_SUBSAMPLES
    made = {
        "r": np.empty(shape), "edge_share": np.empty(shape),
        "identified": np.empty((*shape, len(test[1]))),
        "retrieved": np.empty((*shape, len(test[1])), bool),
    }  # fmt: skip

    def keep(arrays, at, scores):
        for t, name in enumerate(TARGETS):
            values = dict(zip((*SCORES, "edge_share"), scores[name], strict=True))
            for key, value in values.items():
                arrays[key][(*at[:1], t, *at[1:])] = value

    for s in range(N_SUBSAMPLES):
        for k, mask in enumerate(masks.values()):
            rng = np.random.default_rng([SEED, 2, s, k])
            voxels = np.sort(rng.choice(np.flatnonzero(mask), n_voxels, replace=False))
            parts = [(betas[:, voxels], *rest) for betas, *rest in (train, test)]
            keep(made, (k, s), decode(*parts, true_train, true_test))

    # All voxels in three ways: made["whole_r"].shape = (3, n_targets)
    whole = {name: np.empty((len(WAYS), *values.shape[1:2], *values.shape[3:]), values.dtype)
             for name, values in made.items()}  # fmt: skip
    rng = np.random.default_rng([SEED, 1])
    is_fit = np.isin(train[1], nsd.validation_split(train[1], N_VALIDATION, rng=rng)[0])
    ways = {}, {"is_fit": is_fit}, {"is_fit": is_fit, "rescale": True}
    for k, way in enumerate(ways):
        keep(whole, (k,), decode(train, test, true_train, true_test, **way))
    made |= {f"whole_{name}": values for name, values in whole.items()}

    # Power: sessions x repeats, all voxels, z and c
    table = nsd.trials(root, subject)
    is_train = ~table["shared"].to_numpy()
    betas = nsd.betas(root, subject, preset.space, mask=some)
    betas = nsd.zscore(betas, table["session"].to_numpy(), is_train)
    n_sessions = max(len(nsd.sessions(root, f"subj{n:02d}", preset.space)) for n in preset.subjects)
    power = np.full((n_sessions, MAX_REPEATS, 2), np.nan)
    n_trained = np.zeros((n_sessions, MAX_REPEATS, 2), int)  # images, trials
    sessions = sorted(table["session"].unique())
    for i in range(len(sessions)):
        for repeats in range(1, MAX_REPEATS + 1):
            rows = is_train & table["session"].isin(sessions[: i + 1]).to_numpy()
            rows = first_showings(table, rows, repeats)
            part = nsd.average_repeats(betas[rows], table["image_id"].to_numpy()[rows])
            at = np.searchsorted(train[1], part[1])
            true = {name: true_train[name][at] for name in ("z", "c")}
            scores = decode(part, test, true, true_test)
            power[i, repeats - 1] = [scores[name][0] for name in ("z", "c")]
            n_trained[i, repeats - 1] = len(part[1]), rows.sum()
    return made | {"power": power, "n_trained": n_trained, "n_voxels": n_voxels}


def correlation_with_all_captions(r, n_first, n_second):
    """Predict how a mean caption is correlated with the mean of all captions there could be.

    The formula of Spearman and Brown, in both directions: `r` is the correlation between means of
    `n_first` and of `n_second` captions of the same images, a number or an array; from it follows
    rho, how reliable a single caption is, and from that the answer for n_first + n_second captions.
    """
    # r^2 = rho^2 n1 n2 / ((1 + (n1 - 1) rho) (1 + (n2 - 1) rho)), as a rho^2 = b rho + c
    c = np.maximum(r, 0) ** 2
    a = n_first * n_second - c * (n_first - 1) * (n_second - 1)
    b = c * (n_first + n_second - 2)
    rho = (b + np.sqrt(b**2 + 4 * a * c)) / (2 * a)
    n = n_first + n_second
    return np.sqrt(n * rho / (1 + (n - 1) * rho))


def caption_ceiling(preset, model, root):
    """Ask how far captions agree: c is a mean over a few of those that people could have written.

    A brain can know the mean of all of them at most, so its correlation with c is a ceiling.
    Returns the correlation between the halves of the captions of an image, and that ceiling.
    """
    rng = np.random.default_rng([SEED, 3])
    ids = nsd.split(nsd.trials(root, f"subj{preset.subjects[0]:02d}"))[1]
    halves = [], []
    for texts in nsd.captions(root, ids):
        texts = rng.permutation(texts).tolist()
        middle = len(texts) // 2
        halves[0].append(texts[:middle])
        halves[1].append(texts[middle:])
    first, second = (
        features.encode_captions(model.text_encoder, model.tokenizer, half).flatten(1).cpu().numpy()
        for half in halves
    )
    r = column_correlation(first, second)
    n_first, n_second = (np.mean([len(texts) for texts in half]) for half in halves)
    return r.mean(), correlation_with_all_captions(r, n_first, n_second).mean()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shard", default="0/1", metavar="I/N", help="run one share of subjects")
    parser.add_argument("--results", type=Path, default=products.RESULTS)
    args = parser.parse_args()
    shard, n_shards = map(int, args.shard.split("/"))
    preset = presets.get()
    root = preset.open()
    model = features.load_latent_diffusion(preset.model, preset.revision, device=preset.device)
    encoder = features.load_clip_image_encoder(preset.guide, preset.device)
    settings = {
        "script": f"data_scripts/{Path(__file__).name}",
        "preset": preset.name,
        "world": root.name,
        "weights": products.weights_hash(preset, "vae", "text_encoder", "tokenizer", "guide"),
        "seed": SEED,
        "n_validation": N_VALIDATION,
        "n_subsamples": N_SUBSAMPLES,
    }
    sources = products.sources([__file__], ("decoders", "ridge", "metrics"))
    folder = store.cache_folder() / "5_decode_latents" / store.source_hash(sources, settings)[:12]

    subjects = [f"subj{number:02d}" for number in preset.subjects]
    paths = {subject: folder / f"{subject}.npz" for subject in subjects}
    for subject in tqdm(subjects[shard::n_shards], desc="decode", unit="subject"):
        if not paths[subject].is_file():
            made = run_subject(root, subject, preset, model, encoder)
            store.save(paths[subject], provenance=settings, **made)
    left = sum(not path.is_file() for path in paths.values())
    if left:
        print(f"{left} subjects are left to the other shards.")
        return
    parts = [store.load(path) for path in paths.values()]
    # The axis of subjects comes first in every array.
    arrays = {name: np.stack([part[name] for part in parts]) for name in parts[0]}
    for name in ("identified", "whole_identified"):
        arrays[name] = arrays[name].astype(np.float16)
    halves, ceiling = caption_ceiling(preset, model, root)
    path = store.save(
        args.results / f"5_decode_latents-{root.name}.npz",
        provenance={
            **settings,
            "subjects": subjects,
            "rois": list(ROIS),
            "targets": TARGETS,
            "axes": ["subject", "region", "target", "subsample", "test image"],
            "ways": WAYS,
            "whole_axes": ["subject", "way", "target", "test image"],
            "power_axes": ["subject", "sessions", "repeats", "z and c"],
            "tolerance": TOLERANCE,
        },
        test_image_ids=nsd.split(nsd.trials(root, subjects[0]))[1],
        caption_halves=halves,
        caption_ceiling=ceiling,
        **arrays,
    )
    print(f"Wrote {path} ({path.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    with torch.inference_mode():
        main()
