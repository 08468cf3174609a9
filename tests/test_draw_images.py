"""What the methods of script 7 decode is drawn for the right images, once, from the right form."""

import dataclasses
import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from latentcortex import presets

sys.path.insert(0, str(Path(__file__).parents[1] / "data_scripts"))
script = importlib.import_module("7_draw_images")


@pytest.fixture
def drawings(tmp_path, monkeypatch):
    """Drawings of made-up predictions, which hold the ids of their images."""
    made = object.__new__(script.Drawings)
    made.preset = dataclasses.replace(presets.get("mini"), rescale=True)
    made.image_ids, made.rows = np.arange(100, 160), np.array([3, 10, 40])
    made.folder, made.description, made.root, made.model = tmp_path, {"a": 1}, None, None
    made.subjects, made.asked, made.drawn = ["subj01", "subj02"], [], []

    def predictions(_preset, _root, *part):
        made.asked.append(part)
        ids = np.arange(95, 165)  # more images, another order of rows
        values = {name: ids[:, None].astype(np.float16) for name in ("z_rescaled", "c_rescaled")}
        return {"image_ids": ids, **values, "z": -ids[:, None], "c": -ids[:, None]}

    def draw(_preset, _model, condition, repeat, z, c, image_ids):
        made.drawn.append((condition, repeat, image_ids.tolist()))
        np.testing.assert_array_equal(z[:, 0], image_ids)
        np.testing.assert_array_equal(c[:, 0], image_ids)
        return (z / 255)[:, :, None, None].expand(-1, 3, 4, 4)

    monkeypatch.setattr(script.script7, "predictions", predictions)
    monkeypatch.setattr(script.reconstructions, "draw", draw)
    return made


def test_every_part_is_drawn_once_from_the_rescaled_features_of_its_images(drawings):
    parts = drawings.parts()
    assert len(parts) == len(set(parts)) == 2 * 3 * 3
    for _ in range(2):
        for part in parts:
            images = drawings.drawing(part)
            assert torch.equal(images[:, 0, 0, 0] * 255, torch.tensor([103.0, 110, 140]))
    assert drawings.drawn == [("both", 0, [103, 110, 140])] * len(parts)
    assert drawings.asked == [(s, 0, method, amount) for s, method, amount in parts]


def test_without_rescaling_features_are_drawn_as_predicted(drawings, monkeypatch):
    drawings.preset = dataclasses.replace(drawings.preset, rescale=False)
    seen = []
    monkeypatch.setattr(
        script.reconstructions,
        "draw",
        lambda *given: (seen.append(given[4][:, 0].tolist()), torch.zeros(3, 3, 4, 4))[1],
    )
    drawings.drawing(("subj01", "ridge", "1"))
    assert seen == [[-103, -110, -140]]
