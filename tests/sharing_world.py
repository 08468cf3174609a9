"""Two simulated subjects for the tests of the scripts of the shared space: bodies of fixtures."""

import importlib
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from shared_space_world import SMALL

from latentcortex import nsd, presets, shared_space
from latentcortex.shared_space import TrainingSettings

sys.path.insert(0, str(Path(__file__).parents[1] / "data_scripts"))
spaces = importlib.import_module("spaces")

SHAPES = {"z": (2, 2, 2), "c": (3, 4), **dict.fromkeys(spaces.GROUPS["g"], (2, 3))}
QUICK = TrainingSettings(epochs=2, steps_per_epoch=2, warmup_epochs=1, trials_per_subject=4, mixing_share=0.5)
PLAN = spaces.Plan(replace(SMALL, hidden_size=8, prior_heads=1), 1, *[spaces.every(QUICK) for _ in range(3)])


def make_sharing(tiny_tree, tmp_path, monkeypatch):
    """Two subjects with 3 and 2 sessions, 8 shared and 32 own images each; made-up targets."""
    monkeypatch.setenv("LATENTCORTEX_CACHE", str(tmp_path))
    monkeypatch.setattr(spaces, "N_VALIDATION", 6)
    mask = nsd.roi_mask(tiny_tree, "streams", "early", "fsaverage", "subj01")
    monkeypatch.setattr(spaces.reconstructions, "visual_cortex", lambda *_: mask)
    made = spaces.Sharing(replace(presets.get("mini"), subjects=(1, 2)), tiny_tree, PLAN)
    rng = np.random.default_rng(3)
    ids = np.unique(np.concatenate([table["image_id"] for table in made.tables.values()]))
    made._targets = {
        name: (rng.normal(size=(len(ids), *shape)).astype(np.float32), ids) for name, shape in SHAPES.items()
    }
    return made


def watch_trainings(monkeypatch):
    """What every training was given, in order."""
    calls, train = [], shared_space.train

    def spy(model, trials, targets, settings, **options):
        calls.append({"trials": trials, "settings": settings, **options})
        return train(model, trials, targets, settings, progress=False, **options)

    monkeypatch.setattr(shared_space, "train", spy)
    return calls


def shared_ids(sharing):
    return nsd.split(sharing.tables["subj01"])[1]
