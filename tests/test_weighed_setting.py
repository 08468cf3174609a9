"""How trust and strength of weighed drawings are chosen."""

import dataclasses

import numpy as np
import pytest

from latentcortex.studies import results, weighed_setting
from latentcortex.studies.study import Study

CELLS = [
    ("plain, z of all", 0.6),
    ("plain, z of all", 0.75),
    ("weighed", 0.6),
    ("trust 3", 0.6),
    ("weighed", 0.9),
]
TRUSTS = {"weighed": 1.0, "trust 3": 3.0}


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ([0.5, 0.9, 0.55, 0.5, 0.6], (1.0, 0.6)),  # enough kinds at all: the closest in pixels
        ([0.5, 0.9, 0.4, 0.5, 0.6], (3.0, 0.6)),
        ([0.5, 0.1, 0.2, 0.3, 0.4], (1.0, 0.9)),  # nowhere enough: the most
    ],
)
def test_it_names_as_many_kinds_as_system_a_and_is_closest_in_pixels(kinds, expected):
    centred = [0.9, 0.9, 0.5, 0.45, 0.4]
    assert weighed_setting.choose(CELLS, TRUSTS, kinds, centred, 0.6) == expected
    order = [4, 2, 0, 3, 1]
    shuffled = [[of[k] for k in order] for of in (CELLS, kinds, centred)]
    assert weighed_setting.choose(shuffled[0], TRUSTS, *shuffled[1:], 0.6) == expected


def test_bad_grids_are_refused():
    ones = np.ones(5)
    with pytest.raises(ValueError, match=r"not drawn at the strength 0.8, but at \[0.6, 0.75\]"):
        weighed_setting.choose(CELLS, TRUSTS, ones, ones, 0.8)
    with pytest.raises(ValueError, match="finite"):
        weighed_setting.choose(CELLS, TRUSTS, ones, np.full(5, np.nan), 0.6)


def test_without_a_product_the_preset_says_it(study, monkeypatch, tmp_path):
    monkeypatch.setattr(results, "folders", lambda: [tmp_path])
    weighing, strength = weighed_setting.setting_of(study)
    assert (weighing.trust, weighing.c_region, strength) == (1.0, "all", study.preset.strength)
    own = Study(dataclasses.replace(study.preset, weighed_strength=0.35), study.root)
    assert weighed_setting.setting_of(own)[1] == 0.35
    with pytest.raises(ValueError, match="weighed_strength of the preset"):
        dataclasses.replace(study.preset, weighed_strength=float("nan"))


def test_scores_of_a_product_are_averaged_over_subjects_and_images(study, monkeypatch):
    scores = np.zeros((2, 5, 3, 2))
    scores[:, :, :, 0] = np.array([0.5, 0.9, 0.4, 0.5, 0.6])[:, None]
    scores[:, :, :, 1] = np.array([0.9, 0.9, 0.5, 0.45, 0.4])[:, None]
    scores[0] += 0.1
    scores[1] -= 0.1

    class Found:
        provenance = {"cells": CELLS, "trusts": TRUSTS, "scores": ["kinds", "centred PixCorr"]}

        def __getitem__(self, name):
            return {"scores": scores}[name]

    monkeypatch.setattr(results, "product", lambda *_, **__: Found())
    weighing, strength = weighed_setting.setting_of(study)
    assert (weighing.trust, weighing.c_region, strength) == (3.0, "all", 0.6)
