"""The frozen kit for figures 6 to 9 of Takagi and Nishimoto (2023), on the brains of the preset.

Settings and claims stand in studies/takagi2023.toml, which was written before any real response was seen. A
part scores one feature set in one subject. ``--rehearse`` takes the kit's settings of fewer steps; the
simulated world is always a rehearsal, of twenty minutes on one core. Stable Diffusion needs a GPU, see
``latentcortex plan``.
"""

import functools

import numpy as np

from latentcortex import nsd
from latentcortex.studies import jobs, replication
from latentcortex.studies.replication_features import feature_sets
from latentcortex.studies.study import DIFFUSION

TOLERANCE = {"largest": 0.005}  # of an area's mean correlation


def make(study, which, subject, name):
    """Score one feature set in one subject."""
    return replication.score(study, replication.read_kit()[which], subject, name)


def gather(which, study, load):
    """Stack the scores (subject, feature set, ...), print the verdicts, and keep them as provenance."""
    kit = replication.read_kit()
    names = list(feature_sets(kit[which]))
    arrays = jobs.stacked(lambda subject, name: load(which, subject, name), study.subjects, names)
    found = replication.verdicts(kit, names, arrays["areas"], arrays["draws"])
    for claim in found:
        print(f"{claim['name']}  {claim['verdict']:<9}  {claim['says']}")
    arrays["difference"] = np.stack([claim["difference"] for claim in found])
    arrays["interval"] = np.stack([claim["interval"] for claim in found])
    provenance = {
        "kit": replication.FROZEN,
        "settings of the kit": which,
        "subjects": study.subjects,
        "sets": names,
        "areas": list(kit["areas"]),
        "claims": [{name: claim[name] for name in ("name", "says", "area", "verdict")} for claim in found],
        "tolerance": TOLERANCE,
        "axes": {"areas": ["subject", "set", "area"], "interval": ["claim", "subject", "end"]},
    }
    del arrays["draws"]  # 500 of each; the intervals are kept
    return {"": ({name: of.astype(np.float32) for name, of in arrays.items()}, provenance)}


def make_job(study, args):
    """Check what the kit needs, and cut the work into parts."""
    kit, which = replication.read_kit(), replication.settings_name(study.preset, args.rehearse)
    first = next(iter(study.tables.values()))["image_id"].to_numpy()[:1]
    for read in (nsd.captions, nsd.images):  # no response is enough without them: said before hours of work
        read(study.root, first)
    names = list(feature_sets(kit[which]))
    parts = [(which, subject, name) for subject in study.subjects for name in names]
    described = {
        "data": study.identity,
        "weights": study.weights(*DIFFUSION),
        # Responses of other sessions or of another space are other responses.
        "settings": {name: getattr(study.preset, name) for name in ("image_size", "sessions", "space")}
        | {"dtype": str(study.preset.dtype)},
        "kit": replication.FROZEN,
    }
    return jobs.Job(study, parts, make, functools.partial(gather, which), described)


if __name__ == "__main__":
    jobs.main(__doc__, make_job, replication.add_options)
