"""Compute the feature sets of the kit for figures 6 to 9, a few images at a time, and keep them."""

import dataclasses
import functools
from dataclasses import dataclass

import numpy as np

from latentcortex import store
from latentcortex.studies.image_rows import N_IN_FILE, keep_part, read_rows
from latentcortex.studies.noisy_features import Reading, read_unet
from latentcortex.studies.removed_noise import Removal, remove
from latentcortex.studies.study import DIFFUSION
from latentcortex.studies.targets import target


@dataclass(frozen=True)
class Run:
    """Describe one run of the networks, which gives several feature sets.

    Attributes
    ----------
    how : Removal or Reading
    kept : tuple of str
        Arrays that are kept, because all latents of 40 steps would take 2.6 MB of an image.
    """

    how: Removal | Reading
    kept: tuple[str, ...]


def runs(settings):
    """Return the runs of the networks that the kit needs, by name.

    Parameters
    ----------
    settings : dict
        ``kit["features"]`` or ``kit["rehearsal"]`` of `replication.read_kit`.

    Returns
    -------
    dict of str to Run
    """
    found = {}
    for strength, n_removed in settings["removed"].items():
        stages = settings["stages"].values() if strength == "much" else ()
        removal = Removal(n_removed, settings["n_steps"], settings["guidance_scale"])
        found[f"removal {strength}"] = Run(removal, ("z_c", *(f"z_t {step}" for step in stages)))
    layers = tuple(f"{layer}|text|0" for layer in settings["layers"].values())
    for stage, share in settings["shares"].items():
        found[f"reading {stage}"] = Run(Reading(share, conditions=("text",)), layers)
    return found


def feature_sets(settings):
    """Return where each feature set comes from: its run and the array in it.

    Parameters
    ----------
    settings : dict
        See `runs`.

    Returns
    -------
    dict of str to (str, str)
        By ``"z"``, ``"c"``, ``"z_c STRENGTH"``, ``"latent STAGE"`` and ``"LAYER STAGE"``. Sets of one run
        stand next to each other. z and c have no run.
    """
    found = {"z": ("", "z"), "c": ("", "c")}
    found |= {f"z_c {strength}": (f"removal {strength}", "z_c") for strength in settings["removed"]}
    found |= {
        f"latent {stage}": ("removal much", f"z_t {step}") for stage, step in settings["stages"].items()
    }
    return found | {
        f"{name} {stage}": (f"reading {stage}", f"{layer}|text|0")
        for stage in settings["shares"]
        for name, layer in settings["layers"].items()
    }


def features_of(study, settings, name, image_ids):
    """Return one feature set of images, float32 (n, n_features); new features are computed and kept.

    Parameters
    ----------
    study : Study
    settings : dict
        See `runs`.
    name : str
        A key of `feature_sets`.
    image_ids : int array (n,)
        Repeats are fine.
    """
    run_name, array = feature_sets(settings)[name]
    if not run_name:
        return target(study, array, image_ids).flatten(1).numpy()
    run = runs(settings)[run_name]
    compute = functools.partial(_compute, study, run)
    ids, arrays = read_rows(_shelf(study, run), compute, np.unique(image_ids), [array], N_IN_FILE)
    values = arrays[array][store.rows_of(ids, image_ids)]
    return values.reshape(len(values), -1).astype(np.float32, copy=False)


def keep_run_part(study, settings, name, image_ids):
    """Keep what a run gives for a few images; see `image_rows.keep_part`.

    Parameters
    ----------
    study, settings, image_ids
        See `features_of`.
    name : str
        A key of `runs`.
    """
    run = runs(settings)[name]
    return keep_part(_shelf(study, run), functools.partial(_compute, study, run), image_ids)


def _compute(study, run, image_ids):
    """Return the arrays of a run that are kept, float16 tensors (n, ...) by name."""
    compute = remove if isinstance(run.how, Removal) else read_unet
    found = compute(study, run.how, image_ids)
    return {name: found[name] for name in run.kept}


def _shelf(study, run):
    described = {
        "data": study.identity,
        "weights": study.weights(*DIFFUSION),
        "image_size": study.preset.image_size,
        "dtype": str(study.preset.dtype),
        **dataclasses.asdict(run),
    }
    return study.shelf("targets-kit", [_compute], described)
