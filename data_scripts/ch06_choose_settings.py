"""Choose strength, guidance_scale and rescale of the preset on 100 validation images of each subject.

They are drawn by image from the training images of each subject; the decoders are fitted on the rest. No
test image is looked at.

The criterion, declared before the first run: each cell of the grid draws every validation image once under
the condition "both"; the cells are ranked (1 is best, ties share their mean rank) by each of the criteria
of the preset's protocol, averaged over images and subjects; the cell with the smallest mean rank is chosen,
of equals the one with less guidance, then with less strength, then without rescaling. (A guidance scale of 8
joined the grid when 5, its end until then, had been chosen.) On two cores a subject takes some 20 minutes.
"""

import itertools

import numpy as np
import pandas as pd

from latentcortex.studies import drawings, jobs, validation
from latentcortex.studies.recipes import Recipe

STRENGTHS = (0.3, 0.45, 0.6, 0.75)
GUIDANCE_SCALES = (1.5, 3.0, 5.0, 8.0)
RESCALE = (False, True)
CELLS = list(itertools.product(RESCALE, STRENGTHS, GUIDANCE_SCALES))
COLUMNS = ["rescale", "strength", "guidance_scale"]


def make(study, subject, n_images, cell):
    """Draw and score one cell of the grid: (n_images, n_criteria)."""
    settings = dict(zip(COLUMNS, cell, strict=True))
    held = validation.validation_of(study, subject, n_images)
    z, c = (held.decoded(name, settings["rescale"]) for name in "zc")
    sampling = {name: settings[name] for name in COLUMNS[1:]}
    images = drawings.reconstruct(study, Recipe(), 0, held.image_ids, z, c, **sampling)
    return {"image_ids": held.image_ids, "scores": held.criteria(images)}


def make_job(study, args):
    """Cut the work into parts."""
    n_images = args.validation_images
    criteria = validation.criteria_of(study.preset)
    subjects, is_slice = validation.asked(study, args, study.preset.subjects[:2])
    parts = [(subject, n_images, cell) for subject in subjects for cell in CELLS]
    # Cells don't depend on what the preset says of the settings to choose.
    described = study.description(*drawings.NETWORKS, "judge", ignoring=COLUMNS, n_validation=n_images)

    def gather(_study, load):
        scores = jobs.stacked(load, subjects, [n_images], CELLS)["scores"][:, 0].swapaxes(0, 1)
        scores, cells = scores.astype(np.float16), pd.DataFrame(CELLS, columns=COLUMNS)
        means = scores.mean(axis=(1, 2), dtype=float)
        table = validation.rank(cells, means, ["guidance_scale", "strength", "rescale"], criteria)
        print(table.to_string(index=False, float_format="{:.3f}".format))
        columns = {name: table[name].to_numpy() for name in table.columns}
        axes = {"scores": ["cell", "subject", "validation image", "criterion"]}
        provenance = {"subjects": subjects, "criteria": list(criteria), "axes": axes}
        return {"": ({**columns, "scores": scores[table.index]}, provenance)}

    return jobs.Job(study, parts, make, gather, described, is_slice)


if __name__ == "__main__":
    jobs.main(__doc__, make_job, validation.add_options)
