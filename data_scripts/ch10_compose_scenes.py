"""What each subject's decoders draw from the responses predicted for composed scenes.

The page *Compose a scene* shows them. Only simulated scenes can be composed, so this needs the miniature
world's renderer, whatever the preset. Takes about half a minute on one core for each subject.
"""

import io

import numpy as np
from PIL import Image

from latentcortex.studies import composed, drawings, jobs

N_COLUMNS = 9  # of the sheet that holds all drawings of a subject
QUALITY = 75  # of its WebP file, out of 100
# Of mean colours in cells: WebP and the arithmetic of other machines change single pixels by more.
TOLERANCE = {"median": 0.02, "of 98 in 100": 0.1}


def make(study, subject):
    """Draw all composed scenes from one subject's predicted responses."""
    n = len(composed.scenes())
    return {"images": drawings.to_bytes(composed.draw(study, subject, np.arange(n)))}


def sheet(images):
    """Return uint8 images (n, h, w, 3) side by side in rows of N_COLUMNS, as the bytes of a WebP file."""
    n, h, w, _ = images.shape
    blank = np.zeros((-(-n // N_COLUMNS) * N_COLUMNS, h, w, 3), np.uint8)
    blank[:n] = images
    pixels = blank.reshape(-1, N_COLUMNS, h, w, 3).transpose(0, 2, 1, 3, 4).reshape(-1, N_COLUMNS * w, 3)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", quality=QUALITY, method=6)
    return np.frombuffer(file.getvalue(), np.uint8)


def gather(study, load):
    """Keep each subject's drawings as one picture."""
    subjects = study.subjects
    arrays = {subject: sheet(load(subject)["images"]) for subject in subjects}
    provenance = {
        "subjects": subjects,
        "choices": composed.CHOICES,
        "columns": N_COLUMNS,
        "tolerance": TOLERANCE,
        "axes": "of each subject a WebP file: scenes in rows, the last choice fastest",
    }
    return {"": (arrays, provenance)}


def make_job(study, _args):
    """Cut the work into parts."""
    jobs.check_simulated(study, "How a brain would answer to a scene that nobody saw")
    parts = [(subject,) for subject in study.subjects]
    described = study.description(*drawings.NETWORKS, choices=composed.CHOICES)
    return jobs.Job(study, parts, make, gather, described)


if __name__ == "__main__":
    jobs.main(__doc__, make_job)
