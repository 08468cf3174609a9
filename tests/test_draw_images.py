"""What the methods of the shared space decode is drawn for the right images, once, from the right form."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sharing_world import PRESET, make_study

from data_scripts import ch07_draw_images as script
from latentcortex.studies import drawings, open_study
from latentcortex.studies.shared_training import Trainings

study = pytest.fixture(make_study)


@pytest.fixture
def calls(study, monkeypatch):
    """What is asked for and drawn, from made-up predictions that hold the ids of their images."""
    asked, drawn = [], []

    def predictions(_, *part):
        asked.append(part)
        ids = np.append(study.image_ids[::-1], 999)  # more images, another order of rows
        values = {f"{part[4]}_rescaled": ids[:, None].astype(np.float16)}
        return {"test_image_ids": ids, **values, part[4]: -ids[:, None]}

    def reconstruct(_study, recipe, repeat, image_ids, z, c, guidance):
        sign = 1 if _study.preset.rescale else -1
        for values in (z, c):
            np.testing.assert_array_equal(sign * values[:, 0], image_ids)
        drawn.append((recipe.condition, repeat, guidance, image_ids.tolist()))
        return (sign * z / 255)[:, :, None, None].expand(-1, 3, 64, 64)

    class Scorer:
        names = ["red"]

        def __init__(self, _study, image_ids):
            assert len(image_ids) == 3

        def __call__(self, images, mean_image):
            assert mean_image.shape == (3, 64, 64)
            return (images[:, :1, 0, 0] * 255).numpy()

    monkeypatch.setattr(script, "N_IMAGES", 3)
    monkeypatch.setattr(script, "scorer_of", Scorer)
    monkeypatch.setattr(Trainings, "predictions", predictions)
    monkeypatch.setattr(drawings, "reconstruct", reconstruct)
    return asked, drawn


def test_every_part_is_drawn_once_from_the_rescaled_features_of_its_images(study, calls):
    asked, drawn = calls
    parts, ids = script.make_job(study, None).parts, script.drawn_ids(study)
    assert len(parts) == len(set(parts)) == 2 * 3 * 3 and len(set(ids)) == 3 < len(study.image_ids)
    scored = {}
    for _ in range(2):
        for part in parts:
            scored[part] = script.make(study, *part)
            np.testing.assert_array_equal(scored[part]["images"][:, 0, 0, 0], ids)
            np.testing.assert_array_equal(scored[part]["scores"][:, 0], ids)
    assert drawn == [("both", 0, None, ids.tolist())] * len(parts)
    assert asked == [(s, 0, method, amount, name) for s, method, amount in parts for name in "zc"]
    written = script.gather(study, lambda *part: scored[part])
    assert written[""][0]["scores"].shape == (3, 2, 3, 3, 1)
    shown = written["-pictures"][0]
    assert shown["pictures"].shape == (3, 3, 3, 64, 64, 3)
    np.testing.assert_array_equal(shown["pictures"][1, 2, :, 0, 0, 0], shown["picture_ids"])


@pytest.mark.usefixtures("calls")
def test_without_rescaling_features_are_drawn_as_predicted(study):
    plain = open_study(replace(PRESET, rescale=False), study.root)
    images = script.make(plain, "subj01", "ridge", "1")["images"]
    assert torch.equal(torch.from_numpy(images[:, 0, 0, 0]).long(), torch.from_numpy(script.drawn_ids(plain)))
