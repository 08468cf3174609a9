"""Every way to draw of chapter 8b's guides: what guides, in which steps, and under which c."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from data_scripts import ch08b_weigh_the_guides as script
from latentcortex import sampler
from latentcortex.studies import validation, weighing, weighing_features, weighing_responses

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def drawn(study, monkeypatch):
    """Nothing is measured or drawn; calls are kept."""
    monkeypatch.setattr(script.validation, "N_VALIDATION", 4)
    calls, g = [], SimpleNamespace(residuals=SimpleNamespace(independent=lambda: "independent"))

    def reconstruct(_study, _recipe, repeat, ids, _z, c, **changes):
        calls.append({"repeat": repeat, "ids": ids, "c": c, **changes})
        return study.originals[:1].expand(len(ids), -1, -1, -1)

    def knowledge(name, found):
        def known(_study, _subject, *given, **named):
            (learned,) = [of for of in (*given, *named.values()) if isinstance(of, tuple)]
            calls.append({"knowledge": name, "learned": learned})
            return found

        return known

    def guidance(name):
        return lambda _study, known, betas, ids, **named: (name, known, betas, ids, named)

    monkeypatch.setattr(script.drawings, "reconstruct", reconstruct)
    monkeypatch.setattr(script, "replace", lambda _, residuals: SimpleNamespace(residuals=residuals))
    monkeypatch.setattr(weighing_features, "feature_knowledge", knowledge("g", g))
    monkeypatch.setattr(weighing_features, "feature_guidance", guidance("g"))
    responses = SimpleNamespace(reader=lambda images: images.flatten(1))
    monkeypatch.setattr(weighing_responses, "response_knowledge", knowledge("brain", responses))
    monkeypatch.setattr(weighing_responses, "response_guidance", guidance("brain"))
    decoder = SimpleNamespace(predict=lambda betas, **_: torch.full((len(betas), 2, 3), 7.0))
    of_c = knowledge("c", SimpleNamespace(decoder=decoder))
    monkeypatch.setattr(weighing_features, "condition_knowledge", of_c)
    monkeypatch.setattr(weighing_features, "drawn_c", lambda *of: torch.full((len(of[2]), 2, 3), 8.0))
    return calls


def test_every_way_is_drawn_from_the_same_noise_by_models_of_other_images(study, drawn):
    held = validation.validation_of(study, "subj01", 4)
    shared = set(held.image_ids)
    own, whole = {"guided_share": study.preset.guided_share}, {"guided_share": 1.0}
    precise = dict.fromkeys(["g, precise", "g, independent", "brain, precise"], own)
    precise["g, precise in all steps"] = whole
    betas = weighing.responses_to(study, "subj01", held.image_ids)
    betas = betas[:, weighing.decoding.read(study, "subj01").mask(weighing.VISUAL_CORTEX)]
    of_way = {}
    for way in script.WAYS:
        assert script.make(study, "subj01", 4, way)["scores"].shape == (4, len(held.scorer.names))
        *measured, call = drawn
        drawn.clear()
        assert call["repeat"] == 0 and call["strength"] == script.STRENGTH
        assert call["ids"].tolist() == held.image_ids.tolist()
        for of in measured:
            assert set(of["learned"]) == set(held.fit_ids) and shared.isdisjoint(of["learned"])
        guidance = call.get("guidance")
        assert (guidance is not None) == way.startswith(("g,", "brain,"))
        assert (call.get("correction") is not None) == (way == "weighed")
        if way in precise:
            name, known, of, ids, named = guidance
            assert name == way.split(",")[0] and named == precise[way]
            assert name == "brain" or (known.residuals == "independent") == (way == "g, independent")
            np.testing.assert_array_equal(of, betas)
            assert ids.tolist() == held.image_ids.tolist()
        elif guidance is not None:
            assert type(guidance) is sampler.Guidance and guidance.blend
            assert (guidance.feature_scale, guidance.guided_share) == (
                study.preset.feature_scale,
                study.preset.guided_share,
            )
        of_way[way] = call["c"]
    assert of_way.pop("c drawn").unique().tolist() == [8.0]
    assert of_way.pop("c as predicted").unique().tolist() == [7.0]
    assert all(torch.equal(c, of_way["plain"]) for c in of_way.values())


def test_all_ways_and_images_are_gathered(study):
    job = script.make_job(study, SimpleNamespace(validation_images=validation.N_VALIDATION, subjects=[1, 2]))
    assert not job.is_slice and len(job.parts) == 2 * len(script.WAYS)
    names = validation.validation_of(study, "subj01", validation.N_VALIDATION).scorer.names

    def load(subject, n_images, way):
        number = 100 * (subject == "subj02") + script.WAYS.index(way)
        return {"scores": number + np.zeros((n_images, len(names))) + np.arange(len(names)) / 100}

    arrays, provenance = job.gather(study, load)[""]
    at = provenance["scores"].index("kinds")
    assert arrays["scores"].shape == (2, len(script.WAYS), validation.N_VALIDATION, len(script.SCORES))
    assert arrays["scores"][1, 3, 0, at] == pytest.approx(103 + names.index("kinds") / 100)
