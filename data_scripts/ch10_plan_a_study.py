"""The chance that a virtual study finds what is planted, by subjects, trials, repeats and signal to noise.

The page *Plan a study* shows it. Only simulated worlds have a planted truth, so this needs the miniature
world, whatever the preset. Takes forty minutes on one idle core.

Findings (the planted sign of the first three is positive):

- *early minus ventral*: z minus c predicts early cortex better than ventral cortex, chapter 10's difference.
- *V1 minus V2*: the same of two regions that are planted alike, 95 and 88 % low-level: a small difference.
- *z decoded*: images are identified by the z that is decoded from V1; the estimate is the share of
  pairs less one half.
- *nothing planted*: the same of midventral and midlateral cortex, two regions that are planted exactly alike,
  to see how often there is a false alarm.

Found: the 95 % interval excludes 0. With several subjects it is the t interval over subjects; with one it
comes from drawing the test images again. Right: found, with the planted sign.

Factors: subjects, trials of each (a fifth of the images for the test), showings of each image at equal
trials, and the planted signal to noise times 0.5 to 1.4. Eight subjects who see the same test images are a
set. Every choice among them is a study. No subject belongs to two sets, so the sets are independent, but for
the pool of images that all draw from. Of each subject 240 early, 120 ventral and twice 100 other vertices are
kept. Principal components and scales of features are fitted to 800 images that are not in the test, as many
as the book's subjects train on.

An earlier version drew its sets from 32 subjects, tested with at most 200 images and compared two halves of
early cortex. Its numbers were known when this version was written. Expected of this one: with more test
images, large designs of single showings find *V1 minus V2* more often than before; *nothing planted* stays at
about 5 % with several subjects and is far more frequent with one, because in any single brain two regions
differ by chance.
"""

import numpy as np

from latentcortex.studies import jobs, power, virtual_studies

SUBJECTS = (1, 2, 4, 8)
SETS = range(36)  # their numbers set the seeds; sets are kept, so more of them can be added at any time


def make(study, number):
    """Simulate a set of subjects in every design, at all levels of signal to noise."""
    return virtual_studies.set_of_studies(study, number)


def gather(_study, load):
    """Turn the estimates into chances, arrays (n_subjects, n_trials, n_repeats, n_levels, n_findings)."""
    parts = jobs.stacked(load, SETS)
    # The subjects come second: (n_sets, n_simulated, n_trials, n_repeats, n_levels, n_findings).
    estimates, intervals = (np.moveaxis(parts[name], 3, 1) for name in ("estimates", "intervals"))
    alone = estimates[:, : intervals.shape[1]], intervals[..., 0], intervals[..., 1]
    of_number = [alone if n == 1 else power.studies_of(estimates, n) for n in SUBJECTS]
    by_number = [power.rates(*of) for of in of_number]
    # Of all designs together, because no single one has enough studies to tell 5 from 10 %.
    for rates, of in zip(by_number, of_number, strict=True):
        alarms = power.rates(*(ends[..., -1].reshape(len(ends), -1) for ends in of))
        rates |= {"alarms": alarms["found"], "alarms_se": alarms["found_se"]}
        rates["exaggeration"][..., -1] = np.nan  # nothing is planted there that could be exaggerated
    arrays = {
        name: np.stack([rates[name] for rates in by_number]).astype(np.float16) for name in by_number[0]
    }
    planted = parts["ncsnr"]
    provenance = {
        "findings": virtual_studies.FINDINGS,
        "subjects": SUBJECTS,
        "trials": virtual_studies.TRIALS,
        "repeats": virtual_studies.REPEATS,
        "signal": virtual_studies.SIGNAL,
        "n_sets": len(estimates),
        "planted_median": float(np.median(planted[planted >= power.NEAR_ZERO])),
        "axes": "subjects, trials, repeats, signal to noise, findings",
        "alarms": "what is found of the last finding, over all designs, by subjects",
    }
    return {"": (arrays, provenance)}


def make_job(study, _args):
    """Cut the work into parts."""
    jobs.check_simulated(study, "The truth that a study may find or miss")
    return jobs.Job(study, [(number,) for number in SETS], make, gather, virtual_studies.described(study))


if __name__ == "__main__":
    jobs.main(__doc__, make_job)
