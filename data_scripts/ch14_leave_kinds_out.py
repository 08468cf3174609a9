"""What is left of system A where training and test share less than usual.

For each setting, and for each kind of thing, decoders of z and c are fitted without the training images that
show it, and draw the test images that do; next to them decoders of as many training images drawn at random.
Then the further session of held-back scenes, whose kind or combinations no model and no decoder has seen.
What is in an image is read from the ground truth of a simulated tree, and from drawings by the miniature
world's judge, so this needs the preset "mini". A second file, ``-pictures``, holds a few images drawn at
random.
"""

import json

import numpy as np
import pandas as pd
import torch

from latentcortex import features, metrics, nsd
from latentcortex.mini.scenes import KINDS, SETTINGS
from latentcortex.store import rows_of
from latentcortex.studies import decoding, drawings, jobs
from latentcortex.studies.recipes import RECIPES
from latentcortex.studies.scores import Scorer, instruments
from latentcortex.studies.targets import mean_image

SEED = 14
LABELS = {"setting": SETTINGS, "kind": KINDS}
DECODERS = ("without", "as many")  # training images: those that don't show the label, or as many of all
HELD_BACK_ROWS = ("both", "shuffled", "vae", "true_both")
KNOW_NO_SUBJECT = ("vae", "true_both")
NOISE_OF_HELD_BACK = 1_000_000  # added to ids: other noise than that of the ordinary images
N_PICTURES = 8
N_OTHERS = 20  # images that don't show a kind, drawn to count how often it is named all the same


def contents(root, name, ids):
    """Read which labels images show: bool (n, n_labels) by ``"setting"`` and ``"kind"``."""
    path = root / "simulation" / f"{name}.csv"
    if not path.is_file():
        raise FileNotFoundError(
            f"No {path}: this script must know what is in each image, and only simulated trees "
            "say so. Write such a table (columns setting, kind_1, kind_2) for other images."
        )
    table = pd.read_csv(path, index_col=0).loc[ids]
    kinds = [(table[["kind_1", "kind_2"]] == kind).any(axis=1) for kind in KINDS]
    settings = [table["setting"] == setting for setting in SETTINGS]
    return {"setting": np.stack(settings, axis=1), "kind": np.stack(kinds, axis=1)}


def choices(study, subject):
    """Choose images for each label that a test image shows.

    One generator goes through all labels of a subject, so all are chosen at once, whichever is asked for.

    Returns
    -------
    dict of (of, label) to dict
        ``test_ids`` (n,): those that show the label, then others; ``shown``, bool (n,); and by `DECODERS`
        the ids of their training images.
    """
    rng, chosen = np.random.default_rng([SEED, int(subject.removeprefix("subj"))]), {}
    train_ids, test_ids = nsd.split(study.tables[subject])[0], study.image_ids
    train, test = (contents(study.root, "ground_truth", ids) for ids in (train_ids, test_ids))
    for of, k in ((of, k) for of, labels in LABELS.items() for k in range(len(labels))):
        in_train, in_test = train[of][:, k], test[of][:, k]
        if not in_test.any():
            continue
        # Each test image shows one setting. Of kinds, others say how often one is named where it isn't.
        others = np.flatnonzero(~in_test)
        others = rng.choice(others, min(N_OTHERS, len(others)) if of == "kind" else 0, replace=False)
        rows = np.concatenate([np.flatnonzero(in_test), others])
        without = np.flatnonzero(~in_train)
        as_many = np.sort(rng.choice(len(train_ids), len(without), replace=False))
        ids = {"test_ids": test_ids[rows], "without": train_ids[without], "as many": train_ids[as_many]}
        chosen[of, LABELS[of][k]] = {"shown": in_test[rows], **ids}
    return chosen


@torch.no_grad()
def draw_left_out(study, subject, train_ids, test_ids):
    """Draw test images by decoders of z and c that learn from some training images only: (n, 3, h, w)."""
    fitted = (decoding.fit(study, subject, name, train_ids, study.preset.rescale) for name in "zc")
    decoded = [decoding.decode(study, subject, one, test_ids) for one in fitted]
    return drawings.reconstruct(study, RECIPES["both"], 0, test_ids, *decoded)


def held_back(study):
    """Return the scenes of the further session: tensor (n, 3, h, w), and the ids of each block of them."""
    originals = torch.from_numpy(nsd.synthetic_images(study.root, study.preset.image_size))
    ids = np.arange(len(originals))
    return originals, np.split(ids, ids[drawings.N_IN_BLOCK :: drawings.N_IN_BLOCK])


@torch.no_grad()
def draw_held_back(study, subject, row, block):
    """Draw a block of the held-back scenes: tensor (n, 3, h, w)."""
    preset, model, (originals, blocks) = study.preset, study.model, held_back(study)
    ids, decoded = blocks[block], []
    if row == "both":
        for linear in (decoding.linear(study, subject, name) for name in "zc"):
            mask = nsd.roi_mask(study.root, *linear.region, preset.space, subject)
            betas, known, _ = nsd.synthetic_responses(study.root, subject, preset.space, mask)
            decoded.append(linear.decode(betas[rows_of(known, ids, f"the further session of {subject}")]))
    else:
        texts = json.loads((study.root / "simulation/captions_held_back.json").read_text())
        c = features.encode_captions(model.text_encoder, model.tokenizer, [texts[k] for k in ids])
        decoded = [features.encode_images(model.vae, originals[ids], preset.batch_size), c.float().cpu()]
    return drawings.reconstruct(study, RECIPES[row], 0, NOISE_OF_HELD_BACK + ids, *decoded)


def make(study, subject, of, label, how):
    """Draw images of one label or one block of held-back scenes; what was left of a kind is read at once."""
    if of == "held back":
        return {"images": draw_held_back(study, subject, how, label).numpy()}
    chosen = choices(study, subject)[of, label]
    images = draw_left_out(study, subject, chosen[how], chosen["test_ids"])
    if of == "setting":  # not rounded to bytes: scored with those of other settings
        return {"images": images.numpy()}
    return {"named": instruments(study.preset)["judge"](images, ["kinds"])["kinds"][:, KINDS.index(label)]}


def of_subject(study, load, subject, scorers, blocks):
    """Score and read what was drawn for a subject, and gather what was read with kinds left out."""

    def joined(keys, how, name="images"):
        return np.concatenate([load(*key, how)[name] for key in keys])

    def scored(scorer, images):  # scores (n, n_rows, n_scores), and what the judge names (n, n_rows, ...)
        read = [scorer.networks["judge"](of_row, ["setting", "kinds"]) for of_row in images]
        named = [np.stack([one[name] for one in read], axis=1) for name in ("setting", "kinds")]
        return np.stack([scorer(of_row, mean) for of_row in images], axis=1), *named

    mean = mean_image(study.preset, study.root, nsd.split(study.tables[subject])[0])
    chosen = choices(study, subject)
    settings, kinds = ([(subject, *key) for key in chosen if key[0] == of] for of in LABELS)
    order = rows_of(np.concatenate([chosen[key[1:]]["test_ids"] for key in settings]), study.image_ids)
    left_out = [torch.from_numpy(joined(settings, how)[order]) for how in DECODERS]
    whose = {"both": subject, **dict.fromkeys(KNOW_NO_SUBJECT, "all")}
    new = {
        row: torch.from_numpy(joined([(of, "held back", k) for k in range(len(blocks))], row))
        for row, of in whose.items()
    }
    new["shuffled"] = new["both"][metrics.shuffled_rows(len(new["both"]), np.random.default_rng(SEED))]
    scores, settings_named, _ = scored(scorers[0], left_out)
    new_scores, _, new_named = scored(scorers[1], [new[row] for row in HELD_BACK_ROWS])
    pairs = [(chosen[key[1:]]["test_ids"], KINDS.index(key[2])) for key in kinds]
    pairs = np.concatenate([[(row, k) for row in rows_of(study.image_ids, ids)] for ids, k in pairs])
    return {
        "setting_scores": scores,
        "setting_named": settings_named,
        "setting_pixels": drawings.to_bytes(torch.stack(left_out, dim=1)),
        "kind_pairs": pairs,
        "kind_shown": np.concatenate([chosen[key[1:]]["shown"] for key in kinds]),
        "kind_named": np.stack([joined(kinds, how, "named") for how in DECODERS], axis=1),
        "held_back_scores": new_scores,
        "held_back_kinds_named": new_named,
        "held_back_kinds": contents(study.root, "ground_truth_held_back", np.concatenate(blocks))["kind"],
    }


def gather(study, load):
    """Score what was drawn, and stack the arrays of all subjects."""
    originals, blocks = held_back(study)
    scorers = Scorer(study.preset, study.originals), Scorer(study.preset, originals)
    if scorers[0].names != scorers[1].names:
        raise ValueError(f"Scores differ: {scorers[0].names} and, held back, {scorers[1].names}.")
    rows = [of_subject(study, load, subject, scorers, blocks) for subject in study.subjects]
    arrays = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    arrays |= {name: of.astype(np.float16) for name, of in arrays.items() if of.dtype.kind == "f"}
    rng, pixels = np.random.default_rng([SEED, 0]), arrays.pop("setting_pixels")[0]
    some = np.sort(rng.choice(len(study.image_ids), N_PICTURES, replace=False))
    provenance = {
        "subjects": study.subjects,
        "scores": scorers[0].names,
        "settings_left_out": SETTINGS,
        "kinds": KINDS,
        "decoders": DECODERS,
        "held_back_rows": HELD_BACK_ROWS,
        "axes": "arrays of each subject, stacked along a new first axis",
    }
    pictures = {"image_ids": study.image_ids[some], "setting_pixels": pixels[some]}
    return {
        "": (arrays | {"test_image_ids": study.image_ids}, provenance),
        "-pictures": (pictures, provenance),
    }


def make_job(study, _args):
    """Cut the work into parts."""
    jobs.check_simulated(study, "Which kinds and settings an image shows")
    n_blocks, parts = len(held_back(study)[1]), []
    for subject in study.subjects:
        parts += [(subject, *key, how) for key in choices(study, subject) for how in DECODERS]
        parts += [(subject, "held back", block, "both") for block in range(n_blocks)]
    parts += [("all", "held back", block, row) for row in KNOW_NO_SUBJECT for block in range(n_blocks)]
    described = study.description(*drawings.NETWORKS, "judge", "alexnet", seed=SEED)
    return jobs.Job(study, parts, make, gather, described)


if __name__ == "__main__":
    jobs.main(__doc__, make_job)
