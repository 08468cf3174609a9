"""Pages score what they draw as the scripts do, and show what the preset's protocol has."""

import dataclasses

import numpy as np
import pytest

from latentcortex.studies.live_scores import names_for, score_some, with_criteria
from latentcortex.studies.scores import scorer_of
from latentcortex.studies.targets import train_mean_image

pytestmark = pytest.mark.usefixtures("one_thread")


def of_protocol(study, name, criteria=None):
    return dataclasses.replace(study.preset, protocol=name, criteria=criteria)


def test_names_that_the_protocol_has_are_shown_as_asked(study):
    asked = "SSIM", "kinds", "low-level identification"
    assert names_for(study.preset, *asked) == list(asked)


def test_criteria_stand_in_for_what_a_protocol_of_photographs_lacks(study):
    preset = of_protocol(study, "mindeye2")
    expected = ["SSIM", "CLIP", "PixCorr", "AlexNet(2)", "Inception"]
    assert names_for(preset, "SSIM", "setting", "CLIP") == expected
    assert names_for(preset, "SSIM", "CLIP") == ["SSIM", "CLIP"]
    assert names_for(of_protocol(study, "brain-diffuser", ("CLIP",)), "SSIM", "kinds") == ["SSIM", "CLIP"]


def test_criteria_are_means_of_their_parts(study):
    scores = {"colours in cells": np.array([0.0, 1.0]), "contrast energy": np.array([0.5, 0.5])}
    found = with_criteria(study.preset, scores)
    np.testing.assert_array_equal(found["low-level identification"], [0.25, 0.75])
    assert set(found) == {*scores, "low-level identification"}  # nothing of pixels was there to average


@pytest.fixture
def drawn(study):
    """Drawings of two of the originals: those of other images, and a blend with them."""
    originals, rows = study.originals, np.array([1, 4])
    return rows, [originals[[2, 5]], 0.7 * originals[rows] + 0.3 * originals[[2, 5]]]


def test_some_drawings_score_as_they_do_among_all(study, drawn):
    """The route of the scripts: all images are drawn, here the others as their originals."""
    (rows, drawings), scorer = drawn, scorer_of(study)
    mean_image = train_mean_image(study, "subj01")
    some = [name for name in scorer.names if "by original" not in name]
    found = score_some(study, drawings, rows, mean_image, some)
    for k, images in enumerate(drawings):
        all_of_them = study.originals.clone()
        all_of_them[rows] = images
        expected = scorer(all_of_them, mean_image)[rows]
        for name in some:
            np.testing.assert_allclose(
                found[name][:, k], expected[:, scorer.names.index(name)], atol=1e-6, err_msg=name
            )
    assert (found["AlexNet(5)"][:, 1] > found["AlexNet(5)"][:, 0]).any()


def test_what_the_protocol_lacks_is_refused_by_name(study, drawn):
    rows, drawings = drawn
    with pytest.raises(ValueError, match="Expected scores among PixCorr, .*, got CLIP"):
        score_some(study, drawings, rows, study.originals[0], ["SSIM", "CLIP"])
