"""The chance that a virtual study finds what is planted, by subjects, trials, repeats and signal to noise.

The page *Plan a study* shows it. Only simulated worlds have a planted truth, so this needs the miniature
world, whatever the preset. Takes about six minutes on one core, and two more for the subjects and images.

Findings (the planted sign of the first three is positive):

- *early minus ventral*: z minus c predicts early cortex better than ventral cortex, chapter 10's difference.
- *V1 minus V2*: the same of two regions that are planted alike, 95 and 88 % low-level: a small difference.
- *z decoded*: images are identified by the z that is decoded from V1; the estimate is the share of
  pairs less one half.
- *nothing planted*: two random halves of early cortex, to see how often there is a false alarm.

Found: the 95 % interval excludes 0. With several subjects it is the t interval over subjects; with one it
comes from drawing the test images again. Right: found, with the planted sign.

Factors: subjects, trials of each (`TRIALS`, a fifth of the images for the test, at most 200), showings of
each image at equal trials, and the planted signal to noise times `SIGNAL`. Eight subjects who see the same
test images are simulated at a time. Every choice among them is a study, and the sets of eight are what is
independent. Subjects are drawn from 32 bodies, of which 240 early and 120 ventral vertices are kept.

Expected, after a look at three single sets of subjects and before the rest was run: *early minus ventral* is
found nearly always from two sessions on, *V1 minus V2* in less than half of the studies of four subjects,
*z decoded* always, *nothing planted* in about 5 % with several subjects. With one subject false alarms should
be more frequent, because an interval over images does not know that other vertices could have been drawn.
"""

import numpy as np

from latentcortex.studies import jobs, power, virtual_studies, virtual_subjects

SUBJECTS = (1, 2, 4, 8)
TRIALS = (375, 750, 1500, 3000, 6000)  # half a session of 750 to eight of them
REPEATS = (1, 2, 3)
N_IN_BLOCK = 8  # sets of subjects who see the same test images
BLOCKS = range(4, 7)  # their numbers set the seeds


def make(study, n_trials, n_repeats, block):
    """Simulate some sets of subjects of one design, at all levels of signal to noise."""
    seeds = range(block * N_IN_BLOCK, (block + 1) * N_IN_BLOCK)
    made = [virtual_studies.simulate(study, n_trials, n_repeats, seed) for seed in seeds]
    estimates, intervals = (np.stack(of) for of in zip(*made, strict=True))
    return {"estimates": estimates, "intervals": intervals}


def gather(study, load):
    """Turn the estimates into chances, arrays (n_subjects, n_trials, n_repeats, n_levels, n_findings)."""
    parts = jobs.stacked(load, TRIALS, REPEATS, BLOCKS)
    # Blocks and sets become one axis, the first: (n_sets, n_simulated, n_trials, n_repeats, ...).
    joined = {name: np.moveaxis(of, (2, 3, 4), (0, 1, 2)) for name, of in parts.items()}
    estimates, intervals = (of.reshape(-1, *of.shape[2:]) for of in joined.values())
    by_number = []
    for n in SUBJECTS:
        alone = estimates[:, : intervals.shape[1]], intervals[..., 0], intervals[..., 1]
        by_number.append(power.rates(*(alone if n == 1 else power.studies_of(estimates, n))))
    arrays = {name: np.stack([of[name] for of in by_number]).astype(np.float16) for name in by_number[0]}
    planted = np.concatenate([body.ncsnr for body in virtual_subjects.bodies(study)])
    provenance = {
        "findings": virtual_studies.FINDINGS,
        "subjects": SUBJECTS,
        "trials": TRIALS,
        "repeats": REPEATS,
        "signal": virtual_studies.SIGNAL,
        "n_sets": len(estimates),
        "planted_median": float(np.median(planted[planted >= power.NEAR_ZERO])),
        "axes": "subjects, trials, repeats, signal to noise, findings",
    }
    return {"": (arrays, provenance)}


def make_job(study, _args):
    """Cut the work into parts."""
    jobs.check_simulated(study, "The truth that a study may find or miss")
    parts = [(n, r, block) for block in BLOCKS for n in TRIALS for r in REPEATS]
    described = study.description(*virtual_subjects.NETWORKS)
    described["trees"] = [tree.identity for tree in virtual_subjects.trees(study)]
    return jobs.Job(study, parts, make, gather, described)


if __name__ == "__main__":
    jobs.main(__doc__, make_job)
