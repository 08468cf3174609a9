"""The pictures of the quizzes: which images are asked about, and by which recipe each was drawn."""

import numpy as np
import torch

from data_scripts import ch09_ask_readers as script
from latentcortex.studies import drawings
from latentcortex.studies.recipes import RECIPES


class _Study:
    image_ids, subjects = np.arange(500, 700)[::-1], ("subj01", "subj02")


def test_each_image_is_asked_about_once_and_half_of_the_second_quiz_needed_no_brain():
    ids, rows = script.asked(_Study)
    assert len(ids) == len(set(ids)) == script.N_SEEN + script.N_MIXED
    assert not rows[: script.N_SEEN].any() and rows[script.N_SEEN :].sum() == script.N_MIXED // 2
    assert set(ids) <= set(_Study.image_ids)


def test_pictures_are_the_drawings_of_their_own_images(monkeypatch):
    asked_for = []

    def draw(study, subject, recipe):
        asked_for.append((subject, recipe))
        value = torch.tensor(study.image_ids - 500) / 255 if recipe == RECIPES["both"] else torch.zeros(200)
        return value[:, None, None, None].expand(-1, 3, 4, 4)

    monkeypatch.setattr(drawings, "drawings", draw)
    parts = {row: script.make(_Study, row) for row in script.ROWS}
    arrays, provenance = script.gather(_Study, parts.get)[""]
    assert asked_for == [("subj01", RECIPES["both"]), ("subj01", RECIPES["no_brain"])]
    expected = np.where(arrays["row"] == 0, arrays["image_ids"] - 500, 0)
    np.testing.assert_array_equal(
        arrays["pictures"], expected[:, None, None, None] * np.ones((1, 4, 4, 3), int)
    )
    assert provenance["n_seen"] == script.N_SEEN and provenance["rows"] == ("both", "no_brain")
