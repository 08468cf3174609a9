"""Draw the shared images with guides and without, from decoded z and c, and score the drawings.

- hard: all images of all subjects without a guide, with true g, with another image's g, with decoded g,
  and with true g whose steps may be of any length;
- systems: all images of all subjects by system A (ridge, no guide), by system B (the networks of ch07 decode
  z, c and g, and g guides), and by what lies between them;
- repeats: some images of all subjects, five drawings each;
- ablations: some images of the first subject, one thing changed at a time, mostly of the guide that knows
  the true g, since there is an effect to be lost;
- brain: the same images, everything read from the first two showings, scored on the third.

Strengths, shares of the steps and the limit of a step's length are those that ch08_choose_guidance chose on
validation images (the preset's and none, where it has not run). Steps are limited where the guide is
strong: with true or another image's g, and with guides of other kinds. Guides of other kinds have losses of
other sizes: each takes a strength at which its first step, before it is cut, is as long as with true g
(relative step, mean over some test images; no score is looked at for it). On two cores it takes some four
hours.
"""

import dataclasses
from dataclasses import replace

import numpy as np
import torch

from latentcortex.store import rows_of
from latentcortex.studies import drawings, encoders, guides, jobs, results, scores, shared_training
from latentcortex.studies.recipes import Guide, Recipe
from latentcortex.studies.study import LAYERS
from latentcortex.studies.targets import train_mean_image

SEED = 8
N_DRAWS, N_REPEATED, N_SOME, N_ABLATED, N_PICTURES, N_CALIBRATION = 5, 30, 50, 1, 8, 16
N_REPEATED_PICTURES = 2
B = "network pretrained all"  # the source of system B
UNGUIDED = Recipe()
# Groups of drawings: on how many images (None: all), by how many subjects, how many drawings of each.
GROUPS = {
    "hard": (None, None, 1),
    "systems": (None, None, 1),
    "repeats": (N_REPEATED, None, N_DRAWS),
    "ablations": (N_SOME, N_ABLATED, 1),
    "brain": (N_SOME, N_ABLATED, 1),
}
CALIBRATED = {
    *("equal weights", "true colours", "colours of decoded z", "brain", "brain, no limit"),
    *(f"layer {k} alone" for k in LAYERS),
}
PICTURED = {
    "hard": ("unguided", "true", "other", "decoded", "true, no limit"),
    "systems": ("B, no guide", "B"),
    "brain": ("unguided", "brain", "brain, no limit"),
}
SHOWINGS = ("two", "third")  # those that guide, and the one that judges
ORIGINALS = "originals"
# Guided steps amplify rounding, in a few images a thousandfold: with one and with two threads, 200
# drawings by true features differ by 0.0004 (median) and up to 0.07, means of 20 by up to 0.007.
TOLERANCE = {"median": 0.005, "mean": 0.02}


def strengths_of(study):
    """Return what was chosen on validation images, as fields of a `Guide`, by whose features guide."""
    preset = study.preset
    own = {"feature_scale": preset.feature_scale, "guided_share": preset.guided_share}
    chosen = {"decoded": own}
    for name, ending, whose in (
        ("true", "-limit", "true"),
        ("true, no limit", "", "true"),
        ("network", "-network", "network"),
    ):
        product = results.product("ch08_choose_guidance", study.root, ending, preset)
        chosen[name] = {f: float(product[f"{whose}_{f}"][0]) for f in own} if product else own
        if name == "true" and product:
            limit = float(product["true_max_relative_step"][0])
            chosen[name] = {**chosen[name], "max_relative_step": None if np.isinf(limit) else limit}
    return chosen


def recipes_of(study, strengths):
    """Return the recipes by group and name, those of CALIBRATED before their strength is calibrated."""
    true = Recipe(guide=Guide(targets="true", **strengths["true"]))
    free = Recipe(guide=Guide(targets="true", **strengths["true, no limit"]))
    decoded = Recipe(guide=Guide(**strengths["decoded"]))
    network = Guide(targets="network", **strengths["network"])
    hard = {
        "unguided": UNGUIDED,
        "true": true,
        "other": true.guided(targets="other"),
        "decoded": decoded,
        "true, no limit": free,
    }
    systems = {
        "A": UNGUIDED,
        "A, guided": decoded,
        "A, guided by network": Recipe(guide=network),
        "B, no guide": Recipe(B),
        "B": Recipe(B, guide=network),
    }
    quarters = {"guided_share": 0.25}
    ablations = {
        "unguided": UNGUIDED,
        "true g": true,
        "no limit": free,
        "without U-Net": true.guided(through_unet=False),
        "tiny decoder": true.guided(tiny=True),
        "tiny, without U-Net": true.guided(tiny=True, through_unet=False),
        "x0 itself": true.guided(blend=False),
        "DPM-Solver++, unguided": Recipe(dpm=True),
        "DPM-Solver++": replace(true, dpm=True),
        **{
            f"quarter {k} of the steps": true.guided(guided_from=(k - 1) / 4, **quarters)
            for k in (1, 2, 3, 4)
        },
        "equal weights": true.guided(weights="mean"),
        **{f"layer {k} alone": true.guided(layers=(k,)) for k in LAYERS},
        "true colours": true.guided(looks_at="colours"),
        "colours of decoded z": true.guided(looks_at="colours", targets="ridge"),
        **{
            f"true g, {100 * share:.0f} %": true.guided(targets=f"mixed {share}")
            for share in (0.75, 0.5, 0.25, 0.0)
        },
    }
    if "tiny" not in study.decoders:
        ablations = {name: recipe for name, recipe in ablations.items() if not name.startswith("tiny")}
    # Everything is read from the first two showings, so that the third can judge.
    brain = {
        "unguided": Recipe("ridge two"),
        "brain": replace(true.guided(looks_at="brain", targets="ridge"), source="ridge two"),
        "brain, no limit": replace(free.guided(looks_at="brain", targets="ridge"), source="ridge two"),
    }
    repeats = {name: hard[name] for name in ("unguided", "true", "other", "decoded")} | {"B": systems["B"]}
    return {"hard": hard, "systems": systems, "repeats": repeats, "ablations": ablations, "brain": brain}


def image_ids_of(study, n_images):
    """Choose images at random, the same whenever so many are asked for; None for all.

    The subjects of the ablations saw each of them three times, so that two showings can guide and the third
    one judge.
    """
    if n_images is None:
        return study.image_ids
    counts = [study.tables[subject].groupby("image_id").size() for subject in study.subjects[:N_ABLATED]]
    seen = study.image_ids[np.all([of.reindex(study.image_ids, fill_value=0) >= 3 for of in counts], axis=0)]
    if not len(seen):
        raise ValueError(
            f"{', '.join(study.subjects[:N_ABLATED])} saw no test image three times in these sessions. Two "
            "showings guide here and the third one judges: give the preset more sessions."
        )
    return seen[np.sort(np.random.default_rng([SEED, 1]).permutation(len(seen))[:n_images])]


def first_step(study, subject, recipe):
    """Measure how far the first guided step moves at strength 1, as a share of x0: mean over some images."""
    watched, preset = [], study.preset
    one_step = 1.01 / int(preset.n_steps * preset.strength)
    first = recipe.guided(guided_share=one_step, feature_scale=1.0, max_relative_step=None)

    def make():
        drawings.draw(study, subject, first, 0, image_ids_of(study, N_CALIBRATION), watched.append)
        return {"length": torch.cat([step.relative_step for step in watched]).mean().numpy()}

    described = study.description(*drawings.NETWORKS, recipe=dataclasses.asdict(first))
    shelf = study.shelf("first-steps", [first_step, drawings.z_and_c, guides.guidance_of], described)
    return float(shelf.get((subject,), make)["length"])


def calibrated(study, recipes, subject, name, recipe):
    """Give a guide of another kind the strength at which its first step is as long as with true g."""
    if name not in CALIBRATED:
        return recipe
    lengths = [first_step(study, subject, one) for one in (recipes["hard"]["true"], recipe)]
    return recipe.guided(feature_scale=recipe.guide.feature_scale * lengths[0] / lengths[1])


def images_of(study, recipes, subject, group, name, repeat=0):
    """Return the drawings of one name in a group: (n, 3, h, w). What groups share is drawn once."""
    ids = image_ids_of(study, GROUPS[group][0])
    recipe = calibrated(study, recipes, subject, name, recipes[group][name])
    if repeat == 0 and recipe in (*recipes["hard"].values(), *recipes["systems"].values()):
        return drawings.drawings(study, subject, recipe)[rows_of(study.image_ids, ids)]
    return drawings.drawings(study, subject, recipe, repeat, ids)


def score(study, recipes, subject, group, name):
    """Score the drawings of one name in a group."""
    ids = image_ids_of(study, GROUPS[group][0])
    scorer = scores.scorer_of(study, tuple(ids))
    if name == ORIGINALS:
        return {"responses": encoders.brain_correlations(study, subject, scorer.true, SHOWINGS, ids)}
    drawn = [images_of(study, recipes, subject, group, name, repeat) for repeat in range(GROUPS[group][2])]
    found, agreement, extracted = scorer.of_drawings(drawn, train_mean_image(study, subject))
    loss = np.stack([guides.own_loss(study, images, ids).numpy() for images in drawn], axis=1)
    arrays = {"scores": found, "loss": loss, "agreement": agreement}
    if group == "brain":
        arrays["responses"] = encoders.brain_correlations(study, subject, extracted, SHOWINGS, ids)
    return arrays


def gather_pictures(study, subject, recipes):
    """Return pictures of a few of the repeated images, by group, name and, of repeats, drawing."""
    chosen = image_ids_of(study, N_REPEATED)[:N_PICTURES]
    names = [(group, name, 0) for group, some in PICTURED.items() for name in some]
    names += [("repeats", name, repeat) for name in recipes["repeats"] for repeat in range(N_DRAWS)]
    pictures = {"picture_ids": chosen}
    for group, name, repeat in names:
        is_repeat = group == "repeats"
        at = rows_of(
            image_ids_of(study, GROUPS[group][0]), chosen[: N_REPEATED_PICTURES if is_repeat else None]
        )
        images = images_of(study, recipes, subject, group, name, repeat)[at]
        pictures[f"{group} {name} {repeat}" if is_repeat else f"{group} {name}"] = drawings.to_bytes(images)
    return pictures


def stack(study, recipes, strengths, load):
    """Stack what the parts give, by group; the axes stand in the provenance."""
    arrays, names = {}, {}
    for group, (n_images, n_subjects, _) in GROUPS.items():
        subjects, ids = study.subjects[:n_subjects], image_ids_of(study, n_images)
        for array, values in jobs.stacked(load, subjects, [group], recipes[group]).items():
            arrays[f"{group}_{array}"] = np.moveaxis(values[:, 0], (0, 1), (1, 2))
        arrays[f"{group}_ids"], names[group] = ids, scores.scorer_of(study, tuple(ids)).names
    of_originals = [load(subject, "brain", ORIGINALS)["responses"] for subject in study.subjects[:N_ABLATED]]
    of_originals = np.stack(of_originals, axis=1)[:, :, None]
    arrays["brain_responses"] = np.concatenate([arrays["brain_responses"], of_originals], axis=2)
    # What the networks decode for a tenth of the images, so that a page can draw it again.
    subject, checked = study.subjects[0], image_ids_of(study, len(study.image_ids) // 10)
    for name in "zc":
        decoded = shared_training.decoded(study, subject, name, "pretrained", "all")
        arrays[f"checked_{name}"] = decoded[rows_of(study.image_ids, checked)].numpy()
    arrays["checked_ids"] = checked
    calibrated_scales = {
        name: [
            calibrated(study, recipes, s, name, recipe).guide.feature_scale
            for s in study.subjects[:N_ABLATED]
        ]
        for group in ("ablations", "brain")
        for name, recipe in recipes[group].items()
        if name in CALIBRATED
    }
    provenance = {
        "subjects": study.subjects,
        "recipes": {group: list(some) for group, some in recipes.items()},
        "strengths": strengths,
        "calibrated": calibrated_scales,
        "scores": names,
        "axes": {
            "scores": ["image", "subject", "recipe", "drawing", "score"],
            "loss": ["image", "subject", "recipe", "drawing"],
            "agreement": ["image", "subject", "recipe", "among drawings, to truth"],
            "brain_responses": ["image", "subject", "recipe, originals last", "first two showings, third"],
            "checked_z, checked_c": ["image", "...: as system B decodes them, first subject"],
        },
        "tolerance": TOLERANCE,
    }
    halves = {k: v.astype(np.float16) if v.dtype.kind == "f" else v for k, v in arrays.items()}
    pictures = gather_pictures(study, subject, recipes)
    return {"": (halves, provenance), "-pictures": (pictures, {"subject": subject})}


def make_job(study, args):
    """Cut the work into parts, by subject: what is decoded for one serves all groups.

    Strengths are read here, once, and travel with the parts: another process may find other products.
    """
    image_ids_of(study, N_SOME)  # refuses data before the first drawing
    strengths = strengths_of(study)
    recipes = recipes_of(study, strengths)

    def make(study, *part):
        return score(study, recipes, *part)

    def gather(study, load):
        return stack(study, recipes, strengths, load)

    parts = [
        (subject, group, name)
        for subject in study.subjects
        for group, (_, n_subjects, _) in GROUPS.items()
        if subject in study.subjects[:n_subjects]
        for name in (*recipes[group], *([ORIGINALS] if group == "brain" else []))
    ]
    instruments = study.weights("judge", "alexnet")
    described = study.description(*drawings.NETWORKS, instruments=instruments, strengths=strengths)
    return jobs.Job(study, parts, make, gather, described, is_slice=args.images is not None)


if __name__ == "__main__":
    jobs.main(__doc__, make_job, jobs.add_images)
