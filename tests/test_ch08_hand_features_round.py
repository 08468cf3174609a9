"""Features handed round: everybody's are used once, and shared errors are told from new information."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from data_scripts import ch08_hand_features_round as script
from latentcortex.studies import drawings, guides, scores

pytestmark = pytest.mark.usefixtures("one_thread")
SUBJECTS = ("subj01", "subj02", "subj03", "subj04")


class _Study:
    subjects, image_ids = SUBJECTS, np.arange(500, 700)[::-1]
    preset = SimpleNamespace(feature_scale=100.0, guided_share=0.2, protocol="mini", criteria=None)


def test_features_are_handed_round_so_that_each_subjects_are_used_once():
    given = {whose: [script.lenders(SUBJECTS, s, whose) for s in SUBJECTS] for whose in script.DECODED}
    assert given["own"] == [[s] for s in SUBJECTS]
    assert sorted(s for (s,) in given["next"]) == list(SUBJECTS)
    for subject, lent, all_others in zip(SUBJECTS, given["next"], given["others"], strict=True):
        assert subject not in lent
        assert set(all_others) == set(SUBJECTS) - {subject}


def test_a_guide_is_given_the_mean_of_its_lenders_or_the_truth(monkeypatch):
    level = {subject: 10.0**k for k, subject in enumerate(SUBJECTS)}
    monkeypatch.setattr(
        script,
        "decoded_g",
        lambda _, s: {k: np.full((2, 3, 4), k * level[s], np.float32) for k in range(1, 7)},
    )
    monkeypatch.setattr(guides, "g_of", lambda _study, _subject, whose: whose)
    study = _Study()
    found = {whose: script.g_given(study, "subj02", whose) for whose in ("own", "next", "others")}
    for k in range(1, 7):
        means = {whose: float(g[k].mean()) for whose, g in found.items()}
        assert means == pytest.approx({"own": 10 * k, "next": 100 * k, "others": k * 1101 / 3})
        assert found["others"][k].shape == (2, 3, 4)
    assert script.g_given(study, "subj02", "true") == "true"


@pytest.fixture
def world():
    """What z and c tell of 100 images, and true features that hold it and as much again."""
    rng = np.random.default_rng(0)
    z_and_c, hidden = rng.normal(size=(2, 100, 6)).astype(np.float32)
    of_z, of_hidden = rng.normal(size=(2, 6, 40)).astype(np.float32)
    noise = rng.normal(size=(2, 100, 6)).astype(np.float32)
    return z_and_c, hidden, of_z, of_hidden, noise


def test_features_that_z_and_c_give_bring_nothing_new_and_others_do(world):
    z_and_c, hidden, of_z, of_hidden, noise = world
    true = z_and_c @ of_z + hidden @ of_hidden
    # Both are wrong in what z and c don't tell. Of the first this error is a function of z and c.
    redundant = z_and_c @ (of_z + of_hidden)
    informed = z_and_c @ of_z + 0.7 * (hidden + 0.5 * noise[0]) @ of_hidden
    lost = z_and_c @ of_z + noise[1] @ of_hidden
    folds = np.arange(100) % 5
    found = script.new_part(
        z_and_c, true, {"redundant": redundant, "informed": informed, "lost": lost}, folds
    )
    predictable = dict(zip(("true", "redundant", "informed", "lost"), found["predictable"], strict=True))
    share = (z_and_c @ of_z).var(0).sum() / true.var(0).sum()
    assert predictable["true"] == pytest.approx(share, abs=0.1)
    assert predictable["redundant"] > 0.999
    new = dict(zip(("redundant", "informed", "lost"), found["identified_new"].mean(-1), strict=True))
    assert new["informed"] > 0.9
    assert new["lost"] == pytest.approx(0.5, abs=0.1)
    # Of the redundant one next to nothing is left, and it says nothing of the rest of the truth.
    assert new["redundant"] == pytest.approx(0.5, abs=0.1)
    assert (found["identified"].mean(-1) > 0.7).all()
    rows = {"redundant": redundant, "informed": informed, "lost": lost}
    for accuracy, decoded in zip(found["accuracy"], rows.values(), strict=True):
        error = ((true - decoded) ** 2).sum() / ((true - true.mean(0)) ** 2).sum()
        assert accuracy == pytest.approx(1 - error, abs=1e-5)


def test_what_is_predicted_of_an_image_never_learned_from_it():
    rng = np.random.default_rng(1)
    x = np.eye(40, dtype=np.float32) + 0.01 * rng.normal(size=(40, 40)).astype(np.float32)
    y = rng.normal(size=(40, 5)).astype(np.float32)  # learned by heart, R2 would be 1
    folds = script.folds_of(40)
    assert sorted(np.bincount(folds)) == [8] * 5
    assert script.explained(y, script.held_out(x, y, folds)) < 0.05
    assert script.explained(y, y) == 1
    assert script.explained(y, np.broadcast_to(y.mean(0), y.shape)) == pytest.approx(0, abs=1e-6)


def test_layers_count_alike_whatever_their_size():
    rng = np.random.default_rng(2)
    g = {k: 10.0**k * rng.normal(size=(50, k, 3)) for k in script.LAYERS}
    joined = script.flat(g, script.spread_of(g))
    assert joined.shape == (50, 3 * 21)
    ends = np.cumsum([3 * k for k in script.LAYERS])
    variances = [part.var(0).sum() for part in np.split(joined, ends[:-1], axis=1)]
    np.testing.assert_allclose(variances, 1)


def test_drawings_differ_in_the_guide_alone(study, monkeypatch):
    asked = []

    def reconstruct(_study, recipe, repeat, ids, z, c, guidance):
        asked.append((recipe, repeat, ids, z, c, guidance))
        return study.originals[: len(ids)]

    targets = []
    monkeypatch.setattr(drawings, "reconstruct", reconstruct)
    monkeypatch.setattr(script.sampler, "FeatureTargets", lambda *g: targets.append(g) or g)
    monkeypatch.setattr(script.sampler, "feature_guide", lambda _encoder, g: lambda *_: g)
    monkeypatch.setattr(script, "g_given", lambda _, subject, whose: (subject, whose))
    monkeypatch.setattr(
        scores, "scorer_of", lambda *_: lambda images, _mean: np.zeros((len(images), 9), np.float32)
    )
    scorer = scores.scorer_of()
    scorer.names = ["other", *script.SCORES]
    monkeypatch.setattr(scores, "scorer_of", lambda *_: scorer)
    parts = [(), ("gentle", "own"), ("gentle", "next"), ("firm", "true")]
    for part in parts:
        assert script.scored(study, "subj02", *part).shape == (8, len(script.SCORES))
    plain, *guided = asked
    assert plain[-1] is None
    for recipe, repeat, ids, z, c, _ in guided:
        assert (recipe, repeat) == plain[:2]
        for mine, of_plain in zip((ids, z, c), plain[2:5], strict=True):
            np.testing.assert_array_equal(mine, of_plain)
    assert [g[0] for g in targets] == [("subj02", "own"), ("subj02", "next"), ("subj02", "true")]
    strengths = [(of[-1].feature_scale, of[-1].guided_share) for of in guided]
    gentle = study.preset.feature_scale, study.preset.guided_share
    assert strengths == [gentle, gentle, (300.0, 1.0)]
    assert all(of[-1].decoder is study.decoders["full"] for of in guided)


def test_the_product_holds_each_part_where_its_axes_say():
    study = _Study()
    strengths = list(script.strengths_of(study.preset))

    def load(kind, subject, *how):
        s = SUBJECTS.index(subject)
        if kind == "features":
            return {"accuracy": np.full(3, s), "identified_new": np.full((3, 200), s)}
        number = 100 * s
        if how:
            number += 10 * (1 + strengths.index(how[0])) + script.WHOSE.index(how[1])
        rows = np.arange(50)[:, None] / 1000 + np.arange(5) / 10
        return {"scores": number + rows}

    arrays, described = script.gather(study, load)[""]
    assert arrays["guided"].shape == (50, 4, 2, 4, 5) and arrays["unguided"].shape == (50, 4, 5)
    assert arrays["guided"][7, 3, 1, 2, 4] == np.float16(322.407)
    assert arrays["unguided"][7, 3, 4] == np.float16(300.407)
    np.testing.assert_array_equal(arrays["accuracy"], np.arange(4)[:, None] * np.ones(3))
    assert described["strength_names"] == ["gentle", "firm"]  # a dictionary is sorted when it is kept
    assert described["lenders"]["next"] == [["subj02"], ["subj03"], ["subj04"], ["subj01"]]
    assert len(set(arrays["drawn_ids"])) == 50 and set(arrays["drawn_ids"]) <= set(study.image_ids)


def test_photographs_are_scored_by_the_criteria_of_their_protocol(study):
    """Kinds and settings are read by a judge of rendered scenes, which photographs do not have."""
    assert script.scores_of(study.preset) == list(script.SCORES)
    measured = dataclasses.replace(study.preset, protocol="mindeye2")
    assert script.scores_of(measured) == ["PixCorr", "AlexNet(2)", "Inception", "CLIP"]
