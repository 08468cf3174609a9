"""Reads an NSD tree and a preset's networks; writes results/14_leave_kinds_out-WORLD*.npz.

What is left of system A where training and test share less than usual. For each setting, and for
each kind of thing, decoders of z and c are fitted without the training images that show it, and
draw the test images that do; beside them decoders of as many training images drawn at random. Then
the further session of held-back scenes, whose kind or combinations no model and no decoder has
seen. What is in an image is read from the ground truth of a simulated tree; for another one such a
table has to be written first.

What a subject gave is kept in the cache: started again, the script goes on where it was.
``--shard 0/2`` and ``--shard 1/2`` share the subjects between two processes; who finishes last
writes. A second file, ``-pictures``, holds a few images drawn at random.
"""

import argparse
import importlib
import json

import numpy as np
import pandas as pd
import products
import reconstructions
import torch
from tqdm.auto import tqdm

from latentcortex import features, metrics, nsd, presets, store
from latentcortex.mini.scenes import KINDS, SETTINGS

measure = importlib.import_module("9_measure_reconstructions")  # a name that starts with a digit

SEED = 14
WAYS = ("without", "as many, with")
HELD_BACK_ROWS = ("both", "shuffled", "vae", "true_both")
N_PICTURES = 8
N_OTHERS = 20  # images that don't show a kind, drawn to count how often it is named all the same
MODULES = ("sampler", "decoders", "ridge", "metrics", "mini/networks", "mini/classical_judge")


def contents(root, name, ids):
    """Read what is in images: settings (n,) as indices, kinds as bool (n, n_kinds)."""
    path = root / "simulation" / f"{name}.csv"
    if not path.is_file():
        raise FileNotFoundError(
            f"No {path}: this script must know what is in each image, and only simulated trees "
            "say so. Write such a table (columns setting, kind_1, kind_2) for other images."
        )
    table = pd.read_csv(path, index_col=0).loc[ids]
    kinds = [(table[["kind_1", "kind_2"]] == kind).any(axis=1) for kind in KINDS]
    return table["setting"].map(SETTINGS.index).to_numpy(), np.stack(kinds, axis=1)


def decode_without(study, made, shows_train, test_rows, rng):
    """Decode some test images by decoders that have never met what `shows_train` marks.

    Returns two pairs of z and c, in the order of WAYS.
    """
    without = np.flatnonzero(~shows_train)
    as_many = np.sort(rng.choice(len(shows_train), len(without), replace=False))
    decoded = []
    for rows in (without, as_many):
        pair = []
        for betas, test, true in zip(made.train_betas, made.test_betas, made.true_train, strict=True):
            decoder = reconstructions.fit_decoder(
                study.preset, betas[rows], true[rows], made.train_ids[rows], study.preset.rescale
            )
            test_ids = made.image_ids[test_rows]
            pair.append(decoder.predict(test[test_rows], study.preset.rescale, test_ids))
        decoded.append(pair)
    return decoded


def leave_out(study, made, train_labels, test_labels, rng, n_others=0):
    """Leave out each label (columns of bool arrays) in turn.

    Drawn are the test images that show it, and `n_others` that don't. Returns the (test row, label)
    of each drawing and, for each of WAYS, the drawings.
    """
    pairs, z, c = [], ([], []), ([], [])
    for label in tqdm(range(train_labels.shape[1]), desc="decoders", leave=False):
        shows = np.flatnonzero(test_labels[:, label])
        if not len(shows):
            continue
        others = np.flatnonzero(~test_labels[:, label])
        others = rng.choice(others, min(n_others, len(others)), replace=False)
        rows = np.concatenate([shows, others])
        decoded = decode_without(study, made, train_labels[:, label], rows, rng)
        pairs += [(row, label) for row in rows]
        for way, (new_z, new_c) in enumerate(decoded):
            z[way].append(new_z)
            c[way].append(new_c)
    pairs = np.array(pairs)
    ids = made.image_ids[pairs[:, 0]]
    drawn = [
        reconstructions.draw(study.preset, study.model, "both", 0, torch.cat(z[way]), torch.cat(c[way]), ids)
        for way in range(len(WAYS))
    ]
    return pairs, drawn


def run_subject(study, subject, networks):
    """Leave settings out, leave kinds out, and decode the held-back scenes of a subject."""
    made = study.decoded(subject)
    train_setting, train_kinds = contents(study.root, "ground_truth", made.train_ids)
    test_setting, test_kinds = contents(study.root, "ground_truth", made.image_ids)
    rng = np.random.default_rng([SEED, int(subject.removeprefix("subj"))])
    every = np.arange(len(SETTINGS))
    protocol = metrics.PROTOCOLS[study.preset.protocol]
    found = {}

    pairs, drawn = leave_out(
        study, made, train_setting[:, None] == every, test_setting[:, None] == every, rng
    )
    order = np.argsort(pairs[:, 0])  # each test image shows one setting: one drawing of each
    drawn = [images[order] for images in drawn]
    true = metrics.extract(protocol, study.originals, networks)
    groups = measure.judged_groups(protocol, true)
    scored = [
        metrics.score(protocol, study.originals, images, networks, groups, made.mean_image, true)
        for images in drawn
    ]
    found["setting_scores"] = np.stack([np.stack(list(s.values()), -1) for s in scored], 1)
    found["setting_named"] = np.stack([named(networks, images)["setting"] for images in drawn], 1)
    found["setting_pixels"] = reconstructions.to_bytes(torch.stack(drawn, 1))
    score_names = list(scored[0])

    # The others tell how often a kind is named where it isn't: what finding it is worth.
    pairs, drawn = leave_out(study, made, train_kinds, test_kinds, rng, N_OTHERS)
    rows = np.arange(len(pairs))
    found["kind_pairs"] = pairs
    found["kind_shown"] = test_kinds[pairs[:, 0], pairs[:, 1]]
    found["kind_named"] = np.stack(
        [named(networks, images)["kinds"][rows, pairs[:, 1]] for images in drawn], axis=1
    )
    of_held_back, held_back_names = held_back(study, subject, made, networks)
    if held_back_names != score_names:
        raise ValueError(f"Scores differ: {score_names} and, held back, {held_back_names}.")
    return found | of_held_back, score_names


def held_back(study, subject, made, networks):
    """Decode, draw and score the scenes of the further session."""
    preset, model = study.preset, study.model
    originals = torch.from_numpy(nsd.synthetic_images(study.root, preset.image_size))
    decoded = []
    for decoder, rois in zip(made.decoders, (preset.z_rois, preset.c_rois), strict=True):
        mask = nsd.roi_mask(study.root, "streams", rois, preset.space, subject)
        betas, ids, _ = nsd.synthetic_responses(study.root, subject, preset.space, mask)
        decoded.append(decoder.predict(betas, preset.rescale))
    originals = originals[ids]
    texts = json.loads((study.root / "simulation/captions_held_back.json").read_text())
    texts = [texts[synthetic_id] for synthetic_id in ids]
    true_z = features.encode_images(model.vae, originals, preset.batch_size)
    true_c = features.encode_captions(model.text_encoder, model.tokenizer, texts).float().cpu()
    noise = 1_000_000 + ids  # other noise than that of the ordinary images
    both = reconstructions.draw(preset, model, "both", 0, *decoded, noise)
    rows = {
        "both": both,
        "shuffled": both[metrics.shuffled_rows(len(both), np.random.default_rng(SEED))],
        "vae": features.decode_latents(model.vae, true_z, preset.batch_size).clamp(0, 1),
        "true_both": reconstructions.draw(preset, model, "both", 0, true_z, true_c, noise),
    }
    protocol = metrics.PROTOCOLS[preset.protocol]
    _, kinds = contents(study.root, "ground_truth_held_back", ids)
    true = metrics.extract(protocol, originals, networks)
    groups = measure.judged_groups(protocol, true)
    scored = [
        metrics.score(protocol, originals, rows[name], networks, groups, made.mean_image, true)
        for name in HELD_BACK_ROWS
    ]
    return {
        "held_back_scores": np.stack([np.stack(list(s.values()), -1) for s in scored], 1),
        "held_back_kinds_named": np.stack(
            [named(networks, rows[name])["kinds"] for name in HELD_BACK_ROWS], 1
        ),
        "held_back_kinds": kinds,
    }, list(scored[0])


def named(networks, images):
    """Let the judge read images."""
    return networks["judge"](images, ["setting", "kinds"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shard", default="0/1", metavar="I/N", help="run one share of subjects")
    args = parser.parse_args()
    shard, n_shards = products.parse_shard(args.shard)
    preset = presets.get()
    study = reconstructions.Study(preset, preset.open())
    networks = products.instruments(preset)
    sources = products.sources([__file__, measure.__file__, reconstructions.__file__], MODULES)
    instruments = products.weights_hash(preset, "judge", "alexnet")
    folder = (
        store.cache_folder()
        / "14_leave_kinds_out"
        / store.source_hash(sources, [study.description, instruments])[:12]
    )
    paths = {subject: folder / f"{subject}.npz" for subject in study.subjects}
    for subject in tqdm(study.subjects[shard::n_shards], desc="leave out", unit="subject"):
        if not paths[subject].is_file():
            found, names = run_subject(study, subject, networks)
            provenance = {**study.description, "scores": names}
            store.save(paths[subject], provenance=provenance, **found)
    left = sum(not path.is_file() for path in paths.values())
    if left:
        print(f"{left} subjects are left to the other shards.")
        return
    parts = [store.load(path) for path in paths.values()]
    provenance = {
        **study.description,
        "script": "data_scripts/14_leave_kinds_out.py",
        "instruments": instruments,
        "subjects": study.subjects,
        "scores": store.provenance(next(iter(paths.values())))["scores"],
        "settings_left_out": SETTINGS,
        "kinds": KINDS,
        "ways": WAYS,
        "held_back_rows": HELD_BACK_ROWS,
        "axes": "arrays of each subject, stacked along a new first axis",
    }
    arrays = {
        name: np.stack([part[name] for part in parts]) for name in parts[0] if not name.endswith("pixels")
    }
    arrays = {
        name: values.astype(np.float16) if values.dtype.kind == "f" else values
        for name, values in arrays.items()
    }
    path = products.RESULTS / f"14_leave_kinds_out-{study.root.name}.npz"
    store.save(path, provenance=provenance, test_image_ids=study.image_ids, **arrays)
    rng = np.random.default_rng([SEED, 0])
    rows = np.sort(rng.choice(len(study.image_ids), N_PICTURES, replace=False))
    store.save(
        path.with_stem(f"{path.stem}-pictures"),
        provenance=provenance,
        rows=rows,
        setting_pixels=parts[0]["setting_pixels"][rows],
    )
    print(f"Wrote {path} ({path.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    with torch.inference_mode():
        main()
