"""Draw images many times, and keep what two judges read in the drawings.

Drawings are weighed, as in ch08b_weigh_the_brain, whose five drawings of each test image come before these:

- test: fifteen more drawings of all test images, so that there are twenty.
- validation: twenty drawings of training images that the decoders have not learned from. These are half of
  the hundred validation images. Confidence is calibrated on them. Trust and strength were chosen on all
  hundred, by scores of one drawing each.
- nothing: what the generative model draws without a brain, five times for each test image's noise.

Expected, written before the first run:

1. The brain brings most of setting and time of day, less of kinds, least of colours and places.
2. Twenty drawings that agree are too sure of themselves: temperatures are above 1. Of the statements that 18
   or more of 20 drawings make, fewer than 90 in 100 are true. After tempering, frequency and confidence
   differ by less than 5 points.

Perfect drawings would not reach 90 in 100 either where much is open. So the same is counted for one drawing
in the place of the truth (see `weighed_ledger`).

On two cores it takes an hour.
"""

import numpy as np

from latentcortex.studies import drawings, jobs, ledger, validation, weighed_setting, weighing
from latentcortex.studies.recipes import RECIPES

N_CALIBRATION = 50  # of the validation images
GROUPS = {"test": range(5, 20), "validation": range(20), "nothing": range(5)}  # numbers of the drawings
NO_SUBJECT = "all"


def make(study, subject, group, repeat, trust, strength):
    """Draw all images of a group once, and return what two judges read."""
    ids, learned = study.image_ids, None
    if group == "nothing":
        images = drawings.draw(study, subject, RECIPES["no_brain"], repeat, ids)
    else:
        if group == "validation":
            held = validation.validation_of(study, subject)
            ids, learned = held.image_ids[:N_CALIBRATION], tuple(held.fit_ids.tolist())
        asked = weighing.Weighing(c_region="all", trust=trust)
        betas = weighing.responses_to(study, subject, ids)
        images = weighing.draw(
            study, subject, asked, betas, ids, repeat, train_ids=learned, strength=strength
        )
    return {"image_ids": ids, **ledger.flat(ledger.read(images))}


def _subjects(study, group):
    return (NO_SUBJECT,) if group == "nothing" else study.subjects


def make_job(study, _args):
    """Cut the work into parts."""
    jobs.check_simulated(study, "What a scene holds")
    asked, strength = weighed_setting.setting_of(study)
    setting = asked.trust, strength
    parts = [
        (subject, group, repeat, *setting)
        for group, repeats in GROUPS.items()
        for subject in _subjects(study, group)
        for repeat in repeats
    ]
    described = study.description(*drawings.NETWORKS, "judge", setting=setting)

    def gather(study, load):
        arrays = {}
        for group, repeats in GROUPS.items():
            subjects = _subjects(study, group)
            found = [[load(s, group, r, *setting) for r in repeats] for s in subjects]
            names = [name for name in found[0][0] if name != "image_ids"]
            arrays |= {f"{group} {name}": np.array([[p[name] for p in of] for of in found]) for name in names}
            arrays[f"{group}_ids"] = np.array([of[0]["image_ids"] for of in found])
        # Drawings of nothing belong to no subject: their first axis has one entry, `NO_SUBJECT`.
        axes = {
            "...": ["subject", "drawing", "image", "kind"],
            "nothing ...": [f"subject (one, {NO_SUBJECT!r})", "drawing", "image", "kind"],
            "..._ids": ["subject", "image"],
            "nothing_ids": [f"subject (one, {NO_SUBJECT!r})", "image"],
        }
        provenance = {"subjects": study.subjects, "setting": setting, "axes": axes}
        return {"": (arrays, provenance)}

    return jobs.Job(study, parts, make, gather, described)


if __name__ == "__main__":
    jobs.main(__doc__, make_job)
