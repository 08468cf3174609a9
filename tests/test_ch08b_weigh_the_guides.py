"""Every way to draw of chapter 8b's guides: what guides, in which steps, and under which c."""

import inspect
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
    """Nothing is measured or drawn; calls are kept, with all arguments that decide what is drawn."""
    monkeypatch.setattr(script.validation, "N_VALIDATION", 4)
    calls, g = [], SimpleNamespace(residuals=SimpleNamespace(independent=lambda: "independent"))

    def reconstruct(_study, _recipe, repeat, ids, z, c, **changes):
        calls.append({"repeat": repeat, "ids": ids, "z": z, "c": c, **changes})
        return study.originals[:1].expand(len(ids), -1, -1, -1)

    def knowledge(function, found):
        def known(*given, **named):
            asked = inspect.signature(function).bind(*given, **named).arguments
            assert (asked["subject"], asked["c_region"]) == ("subj01", "all")
            calls.append({"learned": asked["train_ids"]})
            return found

        return known

    def kept(function):
        def call(*given):
            calls.append({"guide": function.__name__, "given": given})
            return function(*given)

        return call

    def guidance(name):
        return lambda _study, known, betas, ids, **named: (name, known, betas, ids, named)

    monkeypatch.setattr(script.drawings, "reconstruct", reconstruct)
    monkeypatch.setattr(script, "replace", lambda _, residuals: SimpleNamespace(residuals=residuals))
    of_g = knowledge(weighing_features.feature_knowledge, g)
    monkeypatch.setattr(weighing_features, "feature_knowledge", of_g)
    monkeypatch.setattr(weighing_features, "feature_guidance", guidance("g"))
    responses = SimpleNamespace(reader=lambda images: images.flatten(1))
    of_brain = knowledge(weighing_responses.response_knowledge, responses)
    monkeypatch.setattr(weighing_responses, "response_knowledge", of_brain)
    monkeypatch.setattr(weighing_responses, "response_guidance", guidance("brain"))
    for function in (sampler.feature_guide, sampler.brain_guide):
        monkeypatch.setattr(sampler, function.__name__, kept(function))

    def as_predicted(betas, image_ids):
        calls.append({"c": "as predicted", "betas": betas, "ids": image_ids})
        return torch.full((len(betas), 2, 3), 7.0)

    def drawn_c(known, betas, ids):
        assert known is known_c
        calls.append({"c": "drawn", "betas": betas, "ids": ids})
        return torch.full((len(ids), 2, 3), 8.0)

    known_c = SimpleNamespace(decoder=SimpleNamespace(predict=as_predicted))
    of_c = knowledge(weighing_features.condition_knowledge, known_c)
    monkeypatch.setattr(weighing_features, "condition_knowledge", of_c)
    monkeypatch.setattr(weighing_features, "drawn_c", drawn_c)
    return calls


def test_every_way_is_drawn_from_the_same_noise_by_models_of_other_images(study, drawn):
    held = validation.validation_of(study, "subj01", 4)
    shared = set(held.image_ids)
    own, whole = {"guided_share": study.preset.guided_share}, {"guided_share": 1.0}
    precise = dict.fromkeys(["g, precise", "g, independent", "brain, precise"], own)
    precise["g, precise in all steps"] = whole
    betas = weighing.responses_to(study, "subj01", held.image_ids)
    learned = tuple(held.fit_ids.tolist())
    asked = study, "subj01", weighing.Weighing(c_region="all"), betas, held.image_ids, learned
    z, c = weighing.decoded(*asked)
    assert not np.allclose(betas, betas[::-1]) and z.std() > 0
    betas = betas[:, weighing.decoding.read(study, "subj01").mask(weighing.VISUAL_CORTEX)]
    of_way = {}
    for way in script.WAYS:
        assert script.make(study, "subj01", 4, way)["scores"].shape == (4, len(held.scorer.names))
        *before, call = drawn
        drawn.clear()
        measured, guides, of_c = ([of for of in before if name in of] for name in ("learned", "guide", "c"))
        assert len(measured) == (way not in ("plain", "weighed", "g, published"))
        torch.testing.assert_close(call["z"], z)
        assert call["repeat"] == 0 and call["strength"] == script.STRENGTH
        assert call["ids"].tolist() == held.image_ids.tolist()
        for of in of_c:
            assert of["ids"].tolist() == held.image_ids.tolist()
            np.testing.assert_array_equal(of["betas"], betas)
        if way == "g, published":
            ((encoder, targets),) = (of["given"] for of in guides)
            assert encoder is study.guide and targets.image_ids.tolist() == held.image_ids.tolist()
            for k, of_layer in held.targets("decoded").layers.items():
                torch.testing.assert_close(targets.layers[k], of_layer)
                assert not torch.allclose(of_layer, held.targets("true").layers[k])
        if way == "brain, published":
            ((encode, of, ids),) = (of["given"] for of in guides)
            np.testing.assert_array_equal(of, betas)
            assert ids.tolist() == held.image_ids.tolist()
            assert encode(study.originals[:1]).shape == (1, study.originals[0].numel())
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
    for of in of_way.values():
        torch.testing.assert_close(of, c)


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
