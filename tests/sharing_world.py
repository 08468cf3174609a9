"""Two simulated subjects for the tests of the shared space's trainings: bodies of fixtures."""

import shutil
import zlib
from dataclasses import replace

import numpy as np
import torch
from shared_space_world import SMALL

from latentcortex import nsd, presets, shared_space
from latentcortex.nsd import write_measured
from latentcortex.shared_space import TrainingSettings
from latentcortex.studies import open_study, plans, targets
from latentcortex.studies.plans import GROUPS, Plan, every

SHAPES = {"z": (2, 2, 2), "c": (3, 4), **dict.fromkeys(GROUPS["g"], (2, 3))}
QUICK = TrainingSettings(epochs=2, steps_per_epoch=2, warmup_epochs=1, trials_per_subject=4, mixing_share=0.5)
PLAN = Plan(
    replace(SMALL, hidden_size=8, prior_heads=1), 1, every(QUICK), every(QUICK), every(QUICK), n_validation=6
)
PRESET = replace(presets.get("mini"), subjects=(1, 2))


def encode(_study, kind, image_ids):
    """Make targets up, the same for an image at each call."""

    def rows(name):
        seeds = [(zlib.crc32(name.encode()), int(image_id)) for image_id in image_ids]
        return np.stack([np.random.default_rng(seed).normal(size=SHAPES[name]) for seed in seeds])

    return {name: torch.from_numpy(rows(name)).float() for name in targets.KINDS[kind][0]}


def make_study(tiny_tree, tmp_path, monkeypatch):
    """Open a study of two subjects with 3 and 2 sessions, 8 shared and 32 own images each."""
    monkeypatch.setenv("LATENTCORTEX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(targets, "encode", encode)
    monkeypatch.setitem(plans.PLANS, 0, PLAN)
    return open_study(PRESET, copy_tree(tiny_tree, tmp_path / "tree"))


def copy_tree(tiny_tree, root):
    """Copy the tiny tree and call its early stream all of visual cortex."""
    shutil.copytree(tiny_tree, root)
    early = nsd.roi_mask(tiny_tree, "streams", "early", "fsaverage", "subj01")
    write_measured.write_rois(root, "nsdgeneral", early.astype(int), {0: "Unknown", 1: "nsdgeneral"})
    return root


def watch_trainings(monkeypatch):
    """List what every training was given, in order."""
    calls, train = [], shared_space.train

    def spy(model, trials, targets, settings, **options):
        calls.append({"trials": trials, "targets": set(targets), "settings": settings, **options})
        return train(model, trials, targets, settings, progress=False, **options)

    monkeypatch.setattr(shared_space, "train", spy)
    return calls
