"""Chapter 08's script draws what it says, once, with strengths that belong to their guide."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from data_scripts import ch08_guide_the_sampler as script
from latentcortex import store
from latentcortex.studies import drawings, scores
from latentcortex.studies.recipes import Recipe

pytestmark = pytest.mark.usefixtures("one_thread")
STRENGTHS = {
    "true": {"feature_scale": 900.0, "guided_share": 1.0, "max_relative_step": 2.0},
    "true, no limit": {"feature_scale": 500.0, "guided_share": 1.0},
    "decoded": {"feature_scale": 40.0, "guided_share": 0.25},
    "network": {"feature_scale": 70.0, "guided_share": 0.5},
}


def recipes_of(study):
    return script.recipes_of(study, STRENGTHS)


def calibrated(study, name, recipe):
    return script.calibrated(study, recipes_of(study), "subj01", name, recipe)


def images_of(study, *part):
    return script.images_of(study, recipes_of(study), *part)


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """What is drawn. A drawing tells which image it is of; only true g moves the first step by 0.5."""
    monkeypatch.setenv("LATENTCORTEX_CACHE", str(tmp_path))
    monkeypatch.setattr(script, "strengths_of", lambda _: STRENGTHS)
    asked = []

    def draw(study, subject, recipe, repeat, image_ids, watch=None):
        asked.append((subject, recipe, repeat, tuple(image_ids)))
        if watch is not None:
            plain = recipe.guide == dataclasses.replace(
                recipes_of(study)["hard"]["true"].guide,
                feature_scale=1.0,
                max_relative_step=None,
                guided_share=recipe.guide.guided_share,
            )
            watch(SimpleNamespace(relative_step=torch.full((4,), 0.5 if plain else 0.1)))
        level = store.rows_of(study.image_ids, image_ids) / 255
        return torch.tensor(level).float()[:, None, None, None].expand(-1, 3, 4, 4)

    monkeypatch.setattr(drawings, "draw", draw)
    return asked


def test_strengths_and_limits_follow_from_whether_the_guide_knows_the_truth(study, drawn):
    recipes = recipes_of(study)
    for group, some in recipes.items():
        for name, recipe in some.items():
            guide = recipe.guide
            if guide is None:
                assert "unguided" in name or name in ("A", "B, no guide")
                continue
            strong = guide.targets not in ("ridge", "network") or name in script.CALIBRATED
            expected = {"ridge": "decoded", "network": "network"}.get(guide.targets)
            expected = ("true, no limit" if "no limit" in name else "true") if strong else expected
            assert guide.feature_scale == STRENGTHS[expected]["feature_scale"], (group, name)
            assert guide.max_relative_step == STRENGTHS[expected].get("max_relative_step"), (group, name)
    assert recipes["systems"]["B"].source == recipes["systems"]["B, no guide"].source == script.B
    assert {recipe.source for recipe in recipes["brain"].values()} == {"ridge two"}
    assert not drawn


def test_other_guides_take_first_steps_as_long_as_that_with_true_features(study, drawn):
    recipe = recipes_of(study)["ablations"]["layer 3 alone"]
    found = calibrated(study, "layer 3 alone", recipe)
    assert found == recipe.guided(feature_scale=pytest.approx(900 * 5))
    guides = [recipe.guide for _, recipe, *_ in drawn]
    assert {guide.feature_scale for guide in guides} == {1.0}
    assert {guide.max_relative_step for guide in guides} == {None}  # else all steps were as long
    n_steps = int(study.preset.n_steps * study.preset.strength)
    assert [int(n_steps * guide.guided_share) for guide in guides] == [1, 1]
    assert calibrated(study, "layer 3 alone", recipe) == found
    assert len(drawn) == 2  # measured once
    true = recipes_of(study)["hard"]["true"]
    assert calibrated(study, "true g", true) is true
    name = "brain, no limit"  # compared with true features without a limit
    free = script.calibrated(study, recipes_of(study), "subj01", name, recipes_of(study)["brain"][name])
    assert free.guide.feature_scale == pytest.approx(500 * 5) and free.guide.max_relative_step is None


def test_a_guide_that_is_redefined_is_measured_again(study, drawn, monkeypatch):
    """Kept strengths once survived a change of the guide that they belong to."""
    recipe = recipes_of(study)["ablations"]["true colours"]
    calibrated(study, "true colours", recipe)
    assert len(drawn) == 2
    script.calibrated(study, recipes_of(study), "subj01", "true colours", recipe.guided(targets="ridge"))
    assert len(drawn) == 3
    monkeypatch.setitem(STRENGTHS, "true", {**STRENGTHS["true"], "feature_scale": 800.0})
    script.calibrated(
        study, recipes_of(study), "subj01", "true colours", recipes_of(study)["ablations"]["true colours"]
    )
    assert len(drawn) == 3  # a strength is multiplied, not measured


def test_drawings_that_groups_share_are_made_once_and_rows_are_found_by_id(study, drawn, monkeypatch):
    monkeypatch.setattr(
        script,
        "GROUPS",
        {name: (5 if n_images else None, *more) for name, (n_images, *more) in script.GROUPS.items()},
    )
    args = SimpleNamespace(images=None)
    parts = [part for part in script.make_job(study, args).parts if part[2] != script.ORIGINALS]
    assert len(set(parts)) == len(parts)
    for subject, group, name in parts:
        for repeat in range(script.GROUPS[group][2]):
            images = script.images_of(study, recipes_of(study), subject, group, name, repeat)
            level = (images[:, 0, 0, 0] * 255).round().int().numpy()
            expected = script.image_ids_of(study, script.GROUPS[group][0])
            np.testing.assert_array_equal(study.image_ids[level], expected)
    whole = [one for one in drawn if len(one[3]) == 8 and one[2] == 0]
    full = {
        one
        for one in whole
        if one[1] in (*recipes_of(study)["hard"].values(), *recipes_of(study)["systems"].values())
    }
    # Eight recipes of two subjects; the other groups take their first drawings from there.
    assert len(full) == 16
    n_drawn = len(drawn)
    for subject, group, name in parts:
        images_of(study, subject, group, name)
    assert len(drawn) == n_drawn == len(set(drawn))


@pytest.mark.usefixtures("drawn")
def test_subsets_are_of_images_whose_third_showing_can_judge(study, monkeypatch):
    assert len(script.image_ids_of(study, 100)) == len(script.image_ids_of(study, None)) == 8
    table, twice = study.tables["subj01"], study.image_ids[[1, 6]]
    fewer = table[~(table["image_id"].isin(twice) & (table["repeat"] == 2))]
    monkeypatch.setitem(study.tables, "subj01", fewer)
    np.testing.assert_array_equal(script.image_ids_of(study, 100), np.delete(study.image_ids, [1, 6]))
    assert len(script.image_ids_of(study, None)) == 8
    monkeypatch.setitem(study.tables, "subj01", table[table["repeat"] < 2])
    with pytest.raises(ValueError, match="subj01 saw no test image three times"):
        script.make_job(study, SimpleNamespace(images=None))


def test_without_a_tiny_autoencoder_nothing_is_drawn_through_it(study, drawn, monkeypatch):
    whole = set(recipes_of(study)["ablations"])
    monkeypatch.setitem(vars(study), "decoders", {"full": None})
    assert whole - set(recipes_of(study)["ablations"]) == {"tiny decoder", "tiny, without U-Net"}
    assert not drawn


def test_a_part_is_scored_as_its_drawings_are(study, monkeypatch):
    monkeypatch.setattr(script, "strengths_of", lambda _: STRENGTHS)
    part = script.score(study, recipes_of(study), "subj01", "systems", "A")
    scorer = scores.scorer_of(study, tuple(study.image_ids))
    assert part["scores"].shape == (8, 1, len(scorer.names)) and part["loss"].shape == (8, 1)
    images = drawings.drawings(study, "subj01", Recipe())
    from latentcortex import metrics

    expected = metrics.pixcorr(images, study.originals)
    np.testing.assert_allclose(part["scores"][:, 0, scorer.names.index("PixCorr")], expected, atol=1e-6)
