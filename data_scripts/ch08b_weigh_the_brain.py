"""Draw the test images weighed and plain, five times each, score them, and keep what judges read in them.

Weighed drawings are corrected by decoded z, with the trust and the strength that ch08b_choose_weighing chose
on validation images; z is decoded from the preset's region and c from all of visual cortex. Plain drawings
are system A with all of visual cortex, at the preset's strength. Uncorrected drawings are weighed
ones without the correction. They differ from plain ones in the region that z is decoded from, and also in
the strength where the chosen one is not the preset's. In `mini` both strengths are 0.6.

Expected, written before the first run and after the validation images: centred PixCorr of weighed drawings is
at least 0.03 above that of plain ones and low-level identification at least 0.015, in all four subjects, and
kinds are equal. Expected of uncorrected drawings, from the validation images: they account for 0.02 of that
gain, because z of all of visual cortex is worse.

On two cores it takes forty minutes.
"""

import numpy as np

from latentcortex.studies import drawings, jobs, ledger, weighed_setting, weighing
from latentcortex.studies.scores import scorer_of
from latentcortex.studies.targets import train_mean_image

SEED = 88
N_DRAWINGS, N_PICTURES = 5, 8
# Of all scores, those that are kept.
SCORES = (
    "centred PixCorr",
    "SSIM",
    "colours in cells",
    "contrast energy",
    "AlexNet(2)",
    "AlexNet(5)",
    "setting",
)
SCORES = (*SCORES, "kinds", "kinds with colours", "kinds with places", "kinds, second judge")
# Of scores by another machine: a judge's answer may change where a drawing is at the edge.
TOLERANCE = {"median": 0.01, "mean": 0.02}
WAYS = {"weighed": "preset", "plain": "all", "uncorrected": "preset"}  # and where z is decoded from


def make(study, subject, way, repeat, trust, strength):
    """Draw all test images in one way once: scores (n_images, n_scores), and what two judges read."""
    asked = weighing.Weighing(WAYS[way], "all", trust)
    ids = study.image_ids
    betas = weighing.responses_to(study, subject, ids)
    images = weighing.draw(study, subject, asked, betas, ids, repeat, way == "weighed", strength=strength)
    scores = scorer_of(study)(images, train_mean_image(study, subject))
    found = {"scores": np.float16(scores), **ledger.flat(ledger.read(images))}
    if repeat == 0 and subject == study.subjects[0]:
        found["pictures"] = drawings.to_bytes(images[_pictured(study)])
    return found


def _pictured(study):
    """Return the rows of test images whose first drawings by the first subject are kept as pictures."""
    n = len(study.image_ids)
    return np.sort(np.random.default_rng(SEED).permutation(n)[:N_PICTURES])


def make_job(study, _args):
    """Cut the work into parts."""
    jobs.check_simulated(study, "What a scene holds")
    asked, strength = weighed_setting.setting_of(study)
    setting = {way: (asked.trust, study.preset.strength if way == "plain" else strength) for way in WAYS}
    parts = [
        (subject, way, repeat, *setting[way])
        for subject in study.subjects
        for way in WAYS
        for repeat in range(N_DRAWINGS)
    ]
    described = study.description(*drawings.NETWORKS, "judge", setting=setting)

    def gather(study, load):
        found = [
            [[load(s, way, r, *setting[way]) for r in range(N_DRAWINGS)] for way in WAYS]
            for s in study.subjects
        ]
        names = [name for name in found[0][0][0] if name != "pictures"]
        known_scores = scorer_of(study).names
        arrays = {name: np.array([[[p[name] for p in way] for way in of] for of in found]) for name in names}
        arrays["scores"] = arrays["scores"][..., [known_scores.index(name) for name in SCORES]]
        # Of the first subject, for the chapter: measuring the errors of the network takes longest.
        known = weighing.knowledge(study, study.subjects[0], c_region="all")
        arrays["pictures"] = np.array([way[0]["pictures"] for way in found[0]])
        arrays["picture_ids"] = study.image_ids[_pictured(study)]
        arrays |= {"r2": known.r2.numpy(), "errors": known.errors.variances.numpy()}
        provenance = {
            "subjects": study.subjects,
            "ways": list(WAYS),
            "setting": setting,
            "scores": SCORES,
            "timesteps": known.errors.timesteps,
            "axes": {
                "...": ["subject", "way", "drawing", "image", "score or kind"],
                "pictures": ["way", "picture", "row", "column", "colour"],
                "r2": ["component"],
                "errors": ["timestep", "component"],
            },
            "tolerance": TOLERANCE,
        }
        return {"": ({"test_ids": study.image_ids, **arrays}, provenance)}

    return jobs.Job(study, parts, make, gather, described)


if __name__ == "__main__":
    jobs.main(__doc__, make_job)
