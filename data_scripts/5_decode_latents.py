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

from latentcortex import encoding, features, metrics, nsd, presets, store
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
    g = [
        features.encode_clip_layers(encoder, images, LAYERS, preset.batch_size)
        for images in products.image_parts(preset, root, image_ids)
    ]
    made = {"z": z, "c": c, **{f"g{k}": torch.cat([part[k] for part in g]) for k in LAYERS}}
    return {name: values.flatten(1).numpy() for name, values in made.items()}


def varies(values):
    """Mark the numbers that differ between rows: a caption's first token never does."""
    return values.std(0) > 1e-3 * values.std(0).max()


def score(predicted, true, train_mean):
    """Score decoded against true features of the test images, both (n_images, n_features).

    Returns the correlation over images, mean over the numbers that vary, and for each image its
    2-way identification and whether it is retrieved: closest of all true features to the decoded
    ones. For the latter the training mean is taken off, so that what all images share counts for
    nothing.
    """
    some = varies(true)
    r = encoding.correlation(predicted[:, some], true[:, some])
    predicted, true = predicted - train_mean, true - train_mean
    identified = metrics.identification(true, predicted)
    # Who is told from all others is retrieved.
    return np.nan_to_num(r).mean(), identified, identified == 1


def decode(train, test, true_train, true_test, is_fit=slice(None), rescale=False):
    """Fit one decoder of each target and score it on the test images.

    Images that are not `is_fit`, boolean (n_images,), train nothing but the rescaling. Returns, by
    target, what `score` gives and the share of penalties at an edge of the grid.
    """
    (betas, image_ids, _), scores = train, {}
    for name, true in true_train.items():
        decoder = LinearDecoder(cv="gcv").fit(betas[is_fit], true[is_fit], image_ids[is_fit])
        if rescale:
            decoder.fit_rescaling(betas[~is_fit], true[~is_fit], image_ids[~is_fit])
        predicted = decoder.predict(test[0], rescale=rescale)
        found = score(predicted, true_test[name], true[is_fit].mean(0))
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
    regions = {name: nsd.roi_mask(root, *region, preset.space, subject) for name, region in ROIS.items()}
    some = np.any(list(regions.values()), axis=0)
    masks = {name: mask[some] for name, mask in regions.items()}
    train, test = nsd.image_responses(root, subject, preset.space, mask=some)
    true_train, true_test = (true_features(preset, model, encoder, root, part[1]) for part in (train, test))
    n_voxels = min(mask.sum() for mask in masks.values())
    shape = len(ROIS), len(TARGETS), N_SUBSAMPLES
    made = {
        "r": np.empty(shape),
        "edge_share": np.empty(shape),
        "identified": np.empty((*shape, len(test[1]))),
        "retrieved": np.empty((*shape, len(test[1])), bool),
    }

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

    # All of visual cortex in three ways: made["whole_r"].shape = (3, n_targets)
    whole = {
        name: np.empty((len(WAYS), *values.shape[1:2], *values.shape[3:]), values.dtype)
        for name, values in made.items()
    }
    rng = np.random.default_rng([SEED, 1])
    is_fit = np.isin(train[1], nsd.validation_split(train[1], N_VALIDATION, rng=rng)[0])
    ways = {}, {"is_fit": is_fit}, {"is_fit": is_fit, "rescale": True}
    train, test = ((betas[:, masks["all"]], *rest) for betas, *rest in (train, test))
    for k, way in enumerate(ways):
        keep(whole, (k,), decode(train, test, true_train, true_test, **way))
    made |= {f"whole_{name}": values for name, values in whole.items()}

    # Power: sessions x repeats, all of visual cortex, z and c
    table = nsd.trials(root, subject)
    is_train = ~table["shared"].to_numpy()
    betas = nsd.betas(root, subject, preset.space, mask=regions["all"])
    session = table["session"]
    n_sessions = max(len(nsd.sessions(root, f"subj{n:02d}", preset.space)) for n in preset.subjects)
    power = np.full((n_sessions, MAX_REPEATS, 2), np.nan)
    n_trained = np.zeros((n_sessions, MAX_REPEATS, 2), int)  # images, trials
    sessions = sorted(session.unique())
    for i in range(len(sessions)):
        measured = is_train & session.isin(sessions[: i + 1]).to_numpy()
        for repeats in range(1, MAX_REPEATS + 1):
            rows = first_showings(table, measured, repeats)
            # Neither means nor deviations know of trials that were not measured.
            scaled = nsd.zscore(betas[rows], session[rows], np.ones(rows.sum(), bool))
            part = nsd.average_repeats(scaled, table["image_id"].to_numpy()[rows])
            at = np.searchsorted(train[1], part[1])
            true = {name: true_train[name][at] for name in ("z", "c")}
            scores = decode(part, test, true, true_test)
            power[i, repeats - 1] = [scores[name][0] for name in ("z", "c")]
            n_trained[i, repeats - 1] = len(part[1]), rows.sum()
    return made | {"power": power, "n_trained": n_trained, "n_voxels": n_voxels}


def ceiling_of_means(values, groups):
    """Estimate how means over a few members are correlated with those over all there could be.

    The spread of a group's members tells how much of the spread of the means is chance.

    Parameters
    ----------
    values : array (n_members, n_numbers)
    groups : int array (n_members,)
        At least two members each.

    Returns
    -------
    array (n_numbers,)
        0 where the means vary no more than by chance.
    """
    _, group, n = np.unique(groups, return_inverse=True, return_counts=True)
    means = np.stack([values[group == k].mean(0) for k in range(len(n))])
    within = np.stack([values[group == k].var(0, ddof=1) for k in range(len(n))])
    by_chance = (within / n[:, None]).mean(0)
    spread = means.var(0, ddof=1)
    return np.sqrt(np.maximum(1 - by_chance / np.maximum(spread, 1e-12), 0))


def caption_ceiling(preset, model, root):
    """Ask how far captions agree: c is a mean over a few of those that people could have written.

    A brain can know the mean of all of them at most, so its correlation with c is a ceiling; the
    mean over the numbers of c that vary.
    """
    ids = nsd.split(nsd.trials(root, f"subj{preset.subjects[0]:02d}"))[1]
    texts = nsd.captions(root, ids)
    single = [[text] for of_image in texts for text in of_image]
    states = features.encode_captions(model.text_encoder, model.tokenizer, single).flatten(1)
    states, image = states.float().cpu().numpy(), np.repeat(ids, [len(some) for some in texts])
    return ceiling_of_means(states[:, varies(states)], image).mean()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shard", default="0/1", metavar="I/N", help="run one share of subjects")
    parser.add_argument("--results", type=Path, default=products.RESULTS)
    args = parser.parse_args()
    shard, n_shards = products.parse_shard(args.shard)
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
    sources = products.sources([__file__], ("decoders", "ridge", "metrics", "encoding"))
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
        caption_ceiling=caption_ceiling(preset, model, root),
        **arrays,
    )
    print(f"Wrote {path} ({path.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    with torch.inference_mode():
        main()
