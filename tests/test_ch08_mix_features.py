"""Mixtures of decoded and true features: the grid, its recipes, and whose image is identified."""

import numpy as np
import pytest
import torch

from data_scripts import ch08_mix_features as script
from latentcortex.studies import mosaics, results, scores
from latentcortex.studies.recipes import Recipe


class _Study:
    image_ids, subjects, preset, root = np.arange(500, 700)[::-1], ("subj01", "subj02"), None, None


def test_the_grid_holds_each_combination_once_and_drawing_without_a_guide_first():
    n = len(script.SHARES) * len(script.FEATURE_SCALES) * len(script.GUIDED_SHARES)
    assert len(script.CELLS) == len(set(script.CELLS)) == n + 1
    assert script.recipe_of(3.0, *script.CELLS[0]) == Recipe()


def test_a_cell_guides_with_its_own_mixture_strength_steps_and_limit():
    guide = script.recipe_of(2.5, 0.25, 300.0, 0.5).guide
    assert (guide.looks_at, guide.targets) == ("features", "mixed 0.25")
    assert (guide.feature_scale, guide.guided_share, guide.max_relative_step) == (300.0, 0.5, 2.5)


@pytest.mark.parametrize(("chosen", "expected"), [([3.0, 1.0], 3.0), ([np.inf], None), (None, None)])
def test_the_limit_is_the_first_of_those_that_were_ranked(monkeypatch, chosen, expected):
    product = None if chosen is None else {"true_max_relative_step": np.array(chosen)}
    monkeypatch.setattr(results, "product", lambda *_: product)
    assert script.limit_of(_Study) == expected


def test_each_drawing_is_held_against_all_originals(monkeypatch):
    rng = np.random.default_rng(0)
    true = rng.normal(size=(200, 30))

    class Scorer:
        def __init__(self):
            self.true = {"late": true}

        def key(self, name):
            assert name == script.SCORE
            return "late"

        def extract(self, images):
            return {"late": images.numpy()}

    monkeypatch.setattr(scores, "scorer_of", lambda _study: Scorer())
    ids = np.array([650, 503, 700 - 1])
    rows = [np.flatnonzero(_Study.image_ids == one)[0] for one in ids]
    drawn = torch.from_numpy(np.stack([true[rows[0]], -true[rows[1]], rng.normal(size=30)]))
    r = np.corrcoef(drawn, true)[:3, 3:]
    expected = [(r[j] < r[j, row]).sum() / 199 for j, row in enumerate(rows)]
    assert expected[:2] == [1, 0]
    np.testing.assert_allclose(script.identified(_Study, drawn, ids), expected)


def test_the_product_keeps_the_order_of_the_grid(monkeypatch):
    monkeypatch.setattr(script, "limit_of", lambda _study: 3.0)

    def load(limit, *cell):
        k = script.CELLS.index(cell)
        assert limit == 3.0
        return {
            "pictures": np.full((4, 8, 8, 3), 4 * k, np.uint8),
            "loss": np.full((4, 2), k),
            "identified": np.full(4, k / 100),
        }

    arrays, provenance = script.gather(_Study, load)[""]
    n = len(script.CELLS)
    np.testing.assert_array_equal(arrays["cells"], np.float32(script.CELLS))
    np.testing.assert_array_equal(arrays["loss"][:, 3, 1], np.arange(n))
    shown = mosaics.unpacked(arrays["pictures"], n, 4)
    assert np.abs(shown.mean(axis=(2, 3, 4)) - 4 * np.arange(n)[:, None]).max() < 4
    assert set(arrays["picture_ids"]) <= set(_Study.image_ids) and len(set(arrays["picture_ids"])) == 4
    assert provenance["max_relative_step"] == 3.0 and provenance["subject"] == "subj01"
