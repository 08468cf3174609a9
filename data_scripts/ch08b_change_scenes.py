"""Whether a decoded picture changes where a scene was edited, and only there.

In each of 100 test scenes, one thing is removed, moved or recoloured, in turns. Each simulated subject sees
the edited scenes in one further session, three times each. In the same session, the subject sees the scenes
again unchanged, as other images. Base, edited and unchanged scenes are drawn five times each, with the same
noise and with the setting of ch08b_weigh_the_brain. The judge reads the drawings, and 16 x 16 cells show
where they change. Unchanged scenes are the scale: there, only noise and what is specific to an image differ.

Expected, written before the first run:

1. All three effects are above those of unchanged pairs, with intervals above 0. That of removed things is
   the largest, and that of moved ones the smallest.
2. Removed things are detected in a third of the pairs or more, moved ones in fewer than a third.
3. False alarms for what was not edited stay close to the 5 % that they are defined by. Those for the other
   thing may be higher, because the judge takes a thing for another where one of two is missing.
4. Change is localised: the AUC of edited pairs is above 0.5 and above that of unchanged pairs. It is below
   0.8, because decoded z is blurred and half of what repeats is specific to an image.

The script takes about an hour on one core. ``--scenes 4`` is a trial of a few minutes, too small to conclude
anything from.
"""

import numpy as np

from latentcortex.mini.networks import load_judge
from latentcortex.studies import causal, edited_scenes, jobs, weighed_setting, weighing
from latentcortex.studies.study import DIFFUSION

N_REPEATS = 5
SEED = 17
ROLES = ("base", "edited", "unchanged")
LOOKS = ("setting", "time", "kind", "colour", "place")


def scenes_and_rows(study, n_scenes):
    """Return all edited and unchanged scenes, and the rows of the first n edited and n unchanged ones."""
    edits = edited_scenes.choose(study)
    half = len(edits) // 2
    rows = np.arange(min(n_scenes, half))
    return edits, rows, half + rows


def make(study, subject, repeat, n_scenes, trust, strength):
    """Draw all scenes of a subject once; keep the judge's probabilities and the means of cells."""
    edits, edited, unchanged = scenes_and_rows(study, n_scenes)
    ids = np.array([edits[row].image_id for row in edited])
    betas = edited_scenes.responses(study, subject, edits)
    base = weighing.responses_to(study, subject, ids)
    asked = weighing.Weighing(c_region="all", trust=trust)
    judge, found = load_judge(), {}
    for role, of in zip(ROLES, (base, betas[edited], betas[unchanged]), strict=True):
        # The ids of the base for all three, so that the noise is the same.
        images = weighing.draw(study, subject, asked, of, ids, repeat, strength=strength)
        found[f"{role}_cells"] = causal.cell_means(images)
        looks = causal.probabilities(judge, images)
        found |= {f"{role}_{name}": looks[name].astype(np.float16) for name in LOOKS}
    return {"image_ids": ids, **found}


def gather(study, load, subjects, n_scenes, setting):
    """Compute changes of each pair, and where they are, from the drawings of all subjects."""
    edits, edited, unchanged = scenes_and_rows(study, n_scenes)
    asked = edited_scenes.questions(edits).iloc[edited]
    rendered = edited_scenes.images(study, edits)
    mask = edited_scenes.where_changed(rendered[unchanged], rendered[edited])
    cells, change, local = causal.changed_cells(mask), [], []
    for subject in subjects:
        parts = [load(subject, repeat, n_scenes, *setting) for repeat in range(N_REPEATS)]
        drawn = {
            name: np.stack([part[name] for part in parts], axis=1) for name in parts[0] if name != "image_ids"
        }
        looks = [{name: drawn[f"{role}_{name}"] for name in LOOKS} for role in ROLES]
        base, *after = (causal.quantities(of, asked) for of in looks)
        change.append(np.stack([causal.changes(of, base) for of in after], axis=1))
        pictures = [drawn[f"{role}_cells"] for role in ROLES]
        local.append(np.stack([causal.localised(of, pictures[0], cells) for of in pictures[1:]], axis=1))
    change, local = np.stack(change), np.stack(local)
    found = causal.summary(change, local, asked, np.random.default_rng(SEED))
    arrays = {
        "change": change.astype(np.float32),
        "local": local.astype(np.float32),
        "n_changed_cells": cells.sum(axis=(1, 2)).astype(np.int16),
        "asked": asked.drop(columns=["edit"]).to_numpy(np.int32),
        "intervals": np.array([row.interval for row in found], np.float32),
    }
    provenance = {
        "subjects": subjects,
        "setting": setting,
        "edits": asked["edit"].tolist(),
        "asked": [name for name in asked.columns if name != "edit"],
        "measures": [(row.measure, row.edit) for row in found],
        "read": causal.READ,
        "local": causal.LOCAL,
        "axes": {
            "change": ["subject", "scene", "edited or unchanged", "read"],
            "local": ["subject", "scene", "edited or unchanged", "local"],
            "asked": ["scene", "asked"],
            "intervals": ["measure", "mean, low, high, n"],
        },
    }
    print(causal.table(found).round(3).to_string(index=False))
    return {"": (arrays, provenance)}


def make_job(study, args):
    """Cut the work into parts."""
    jobs.check_simulated(study, "How a brain would respond to an edited scene")
    subjects = list(study.subjects)[: args.subjects]
    n_scenes = edited_scenes.N_SCENES if args.scenes is None else args.scenes
    asked, strength = weighed_setting.setting_of(study)
    setting = asked.trust, strength
    parts = [(subject, repeat, n_scenes, *setting) for subject in subjects for repeat in range(N_REPEATS)]
    described = study.description(*DIFFUSION, "judge", setting=setting)
    is_slice = args.scenes is not None or args.subjects is not None

    def gather_these(study, load):
        return gather(study, load, subjects, n_scenes, setting)

    return jobs.Job(study, parts, make, gather_these, described, is_slice)


def add_options(parser):
    """Add the options of a trial, whose product stays in the cache."""
    parser.add_argument("--scenes", type=int, help="only so many scenes; their product stays in the cache")
    parser.add_argument("--subjects", type=int, help="only the first so many subjects; likewise")


if __name__ == "__main__":
    jobs.main(__doc__, make_job, add_options)
