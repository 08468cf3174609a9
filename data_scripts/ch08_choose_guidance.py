"""Choose feature_scale and guided_share of the preset on 100 validation images of each subject.

They are drawn by image from the training images; the decoders are fitted on the rest. No test image is
looked at. Settings are chosen for features that are decoded by ridge and, apart, for the images' true
features. Two other grids are run if asked for, and written to a file of their own: ``--grid network``,
where the networks of ch07 decode z, c and g, on their own validation images; and ``--grid limit``, true
features with a limit of the relative step, guided in all steps.

The criterion, declared before the first run, is that of ch06_choose_settings: each cell of the grid draws
every validation image once; the cells, and drawing without a guide, are ranked by each of the protocol's
criteria, averaged over images and subjects; the smallest mean rank is chosen, of equals the one that guides
less. True features joined after the first run, in which decoded ones had hardly any effect: what the
sampler can do with good features is not to be judged at a strength that suits bad ones. Of their cells only
those are ranked that bring the most validation images closer to their features than drawing without a guide
does: the best cell of all (3,000 in all steps) does so for 95 of 100 only, because its first steps go many
times the picture's own length too far. The cell so chosen (1,000 in all steps) had brought 399 of 400
validation images closer and then 98.8 % of the test images. Hence the limit. Its grid was declared after a
look at 32 validation images of the first subject. On two cores the first grid takes some four hours.
"""

import itertools

import numpy as np
import pandas as pd
import torch

from latentcortex import sampler
from latentcortex.studies import drawings, jobs, validation
from latentcortex.studies.recipes import Recipe

GUIDED_SHARES = (0.2, 0.4, 0.7, 1.0)
LIMITS = (0.3, 1.0, 3.0)
NO_GUIDE = (0.0, 0.0, None)
COLUMNS = ["feature_scale", "guided_share", "max_relative_step"]
N_PICTURES = 4


def cross(feature_scales, guided_shares=GUIDED_SHARES, limits=(None,)):
    """Return the cells of a grid, drawing without a guide first."""
    return NO_GUIDE, *itertools.product(feature_scales, guided_shares, limits)


# Of each grid: by whose features guide, cells of COLUMNS.
GRIDS = {
    "ridge": {
        "decoded": cross((30.0, 100.0, 300.0, 1000.0, 3000.0)),
        "true": cross((100.0, 300.0, 1000.0, 3000.0)),
    },
    "network": {"network": cross((30.0, 100.0, 300.0, 1000.0))},
    "limit": {"true": cross((1000.0, 3000.0, 10_000.0), (1.0,), LIMITS)},
}


def make(study, subject, n_images, whose, cell):
    """Draw and score one cell: scores (n, n_criteria), loss (n,), pictures, mean and largest step."""
    held = validation.validation_of(study, subject, n_images, by_network=whose == "network")
    guide, watched = sampler.feature_guide(study.guide, held.targets(whose)), []
    scale, share, limit = cell
    guidance = sampler.Guidance(
        guide, scale, share, decoder=study.model.vae, max_relative_step=limit, watch=watched.append
    )
    z, c = (held.decoded(name, study.preset.rescale) for name in "zc")
    with torch.no_grad():
        images = drawings.reconstruct(study, Recipe(), 0, held.image_ids, z, c, guidance)
        loss = guide(images.to(study.preset.device), held.image_ids).cpu().numpy()
    steps = torch.cat([step.relative_step.cpu() for step in watched] or [torch.zeros(1)])
    return {
        "validation_ids": held.image_ids,
        "scores": held.criteria(images),
        "loss": loss,
        "pictures": drawings.to_bytes(images[:N_PICTURES]),
        "relative_step": np.array([steps.mean(), steps.max()]),
    }


def gather_targets(whose, cells, parts, criteria):
    """Rank the cells of one grid; the arrays of parts are stacked (cell, subject, ...)."""
    settings = pd.DataFrame(cells, columns=COLUMNS).astype(float)
    settings["max_relative_step"] = settings["max_relative_step"].fillna(np.inf)
    means = parts["scores"].mean(axis=(1, 2), dtype=float)
    order = ["guided_share", "feature_scale", "max_relative_step"]
    table = validation.rank(settings, means, order, criteria, parts["loss"] if whose == "true" else None)
    table["relative_step"], table["largest_step"] = parts["relative_step"].mean(1)[table.index].T
    print(f"\n{whose} features\n{table.to_string(index=False, float_format='{:.4f}'.format)}")
    columns = {name: table[name].to_numpy() for name in table.columns}
    columns["scores"] = parts["scores"][table.index].astype(np.float16)
    columns["pictures"] = parts["pictures"][table.index, 0]
    return {f"{whose}_{name}": values for name, values in columns.items()}


def make_job(study, args):
    """Cut the work into parts."""
    n_images, grid, criteria = args.validation_images, GRIDS[args.grid], validation.criteria_of(study.preset)
    # Networks are trained for each subject.
    default = study.preset.subjects[: 1 if args.grid == "network" else None]
    subjects, is_slice = validation.asked(study, args, default)
    parts = [(s, n_images, whose, cell) for s in subjects for whose, cells in grid.items() for cell in cells]
    # Cells don't depend on what the preset says of the settings to choose.
    described = study.description(*drawings.NETWORKS, "judge", ignoring=COLUMNS[:2], n_validation=n_images)

    def gather(_study, load):
        arrays = {}
        for whose, cells in grid.items():
            parts = jobs.stacked(load, subjects, [n_images], [whose], cells)
            parts = {name: values[:, 0, 0].swapaxes(0, 1) for name, values in parts.items()}
            arrays |= gather_targets(whose, cells, parts, criteria)
        if args.grid == "ridge":  # pictures of the other grids are shown nowhere
            arrays["picture_ids"] = parts["validation_ids"][0, 0, :N_PICTURES]
        else:
            arrays = {name: of for name, of in arrays.items() if not name.endswith("_pictures")}
        axes = {"..._scores": ["cell", "subject", "validation image", "criterion"]}
        provenance = {"subjects": subjects, "criteria": list(criteria), "axes": axes}
        return {"" if args.grid == "ridge" else f"-{args.grid}": (arrays, provenance)}

    return jobs.Job(study, parts, make, gather, described, is_slice)


def add_options(parser):
    """Add the options of this script."""
    parser.add_argument("--grid", choices=GRIDS, default="ridge", help="which grid to run")
    validation.add_options(parser)


if __name__ == "__main__":
    jobs.main(__doc__, make_job, add_options)
