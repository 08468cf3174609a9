"""Trainings of the shared space: who trains on what, and that predictions belong to their images."""

from dataclasses import asdict, replace

import numpy as np
import pytest
from sharing_world import PLAN, QUICK, SHAPES, make_study, watch_trainings

from latentcortex import nsd, presets, shared_space
from latentcortex.decoders import LinearDecoder
from latentcortex.shared_space import NetworkSizes, TrainingSettings
from latentcortex.studies import decoding, plans
from latentcortex.studies.responses import VISUAL_CORTEX
from latentcortex.studies.shared_training import METHODS, SUFFIXES, Trainings, decoded, score, trainings_of

study, trained = pytest.fixture(make_study), pytest.fixture(watch_trainings)
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def trainings(study):
    return trainings_of(study)


def test_test_images_train_nobody_and_validation_images_are_taken_out(study, trainings, trained):
    trainings.predictions("subj01", 0, "pretrained", "1", "z")
    first, last = trained
    assert set(first["trials"]) == {"subj02"} and set(last["trials"]) == {"subj01"}
    for call in trained:
        for subject, (_, ids) in call["trials"].items():
            held = set(call["validation_image_ids"].tolist())
            assert not set(ids.tolist()) & set(study.image_ids.tolist())
            assert held == set(ids.tolist()) & set(trainings.validation[subject].tolist())
            assert held
    assert len(trainings.validation["subj01"]) == 6


def test_all_sessions_of_others_and_the_first_of_the_target_train(study, trainings, trained):
    for target in "zc":
        trainings.predictions("subj01", 0, "pretrained", "1", target)
    for call, subject, sessions in zip(
        trained, ("subj02", "subj01", "subj02", "subj01"), (2, 1, 2, 1), strict=True
    ):
        table = nsd.trials(study.root, subject, sessions)
        own = table["image_id"][~table["shared"]].to_numpy()
        betas, ids = call["trials"][subject]
        np.testing.assert_array_equal(ids, own)
        mask = nsd.roi_mask(study.root, "nsdgeneral", "nsdgeneral", "fsaverage", subject)
        expected = nsd.scaled_betas(study.root, subject, sessions=sessions, mask=mask)[1]
        np.testing.assert_array_equal(betas, expected[~table["shared"].to_numpy()])


def test_all_methods_learn_from_the_same_images(trainings, trained, monkeypatch):
    fitted, fit = [], LinearDecoder.fit
    monkeypatch.setattr(LinearDecoder, "fit", lambda self, *data: fitted.append(data[2]) or fit(self, *data))
    for method in ("pretrained", "scratch", "ridge"):
        for target in "zc":
            trainings.predictions("subj01", 1, method, "2", target)
    of_target = [call for call in trained if "subj01" in call["trials"]]
    assert len(of_target) == 4 and len(fitted) == 2
    expected = set(of_target[0]["trials"]["subj01"][1]) - set(trainings.validation["subj01"])
    for call in of_target:
        held = set(call["validation_image_ids"])
        assert set(call["trials"]["subj01"][1]) - held == expected
        assert call["settings"].seed == 1
    for ids in fitted:
        assert sorted(ids) == sorted(expected)


def test_predictions_hold_every_target_of_the_group_in_all_forms(study, trainings):
    for method, group in (("pretrained", "g"), ("joint", "zc"), ("ridge", "c")):
        arrays = trainings.predictions("subj01", 0, method, "all", group)
        np.testing.assert_array_equal(arrays["test_image_ids"], study.image_ids)
        forms = list(SUFFIXES.values())[: 2 if method == "ridge" else 3]
        expected = {name + suffix: SHAPES[name] for name in plans.GROUPS[group] for suffix in forms}
        features = {name: rows.shape[1:] for name, rows in arrays.items() if name[0] in "zcg"}
        assert features == expected
    rescaled = decoded(study, "subj01", "g3", "pretrained", "all", rescaled=True).numpy()
    kept = trainings.predictions("subj01", 0, "pretrained", "all", "g")["g3_rescaled"]
    np.testing.assert_array_equal(rescaled, kept)


@pytest.mark.parametrize("method", ["pretrained", "ridge"])
def test_one_test_image_is_decoded_alike_whatever_the_others_are(
    study, trainings, monkeypatch, tmp_path, method
):
    """With the rescaling: no statistic of the test images enters."""
    part = "subj01", 0, method, "2", "z"
    before = trainings.predictions(*part)
    monkeypatch.setenv("LATENTCORTEX_CACHE", str(tmp_path / "again"))
    read = decoding.read(study, "subj01")
    others = read.table["shared"].to_numpy() & (read.image_ids != before["test_image_ids"][0])
    read.betas[others] *= -3
    after = trainings.predictions(*part)
    for name in [name for name in before if name.startswith("z")]:
        np.testing.assert_allclose(after[name][0], before[name][0], rtol=2e-3, atol=2e-3)
        assert np.abs(after[name][1:] - before[name][1:]).max() > 0.01


def test_predictions_of_networks_belong_to_their_images(study, trainings):
    read = decoding.read(study, "subj01")
    for name in "zc":
        arrays = trainings.predictions("subj01", 0, "scratch", "all", name)
        model, _ = trainings.network("subj01", 0, "scratch", "all", name)
        for i, image_id in enumerate(arrays["test_image_ids"]):
            shown = read.single(VISUAL_CORTEX)[read.image_ids == image_id].mean(0, keepdims=True)
            alone = shared_space.predict(model, shown, "subj01")[name][0]
            np.testing.assert_allclose(arrays[name][i], alone, rtol=2e-3, atol=2e-3)


def test_ridge_finds_what_is_linear_in_the_responses_by_image(study, trainings):
    read = decoding.read(study, "subj01")
    betas, ids, _ = nsd.average_repeats(read.single(VISUAL_CORTEX), read.image_ids)
    values, known = trainings.targets("z")["z"]
    first = np.linalg.svd(betas - betas.mean(0), full_matrices=False)[2][:8].T
    for image_id, row in zip(ids, (betas @ first).reshape(-1, *SHAPES["z"]), strict=True):
        values[known == image_id] = row
    arrays = trainings.predictions("subj01", 0, "ridge", "all", "z")
    test_ids = arrays["test_image_ids"]
    assert score(trainings, "z", arrays["z"], test_ids, "subj01", "all")["r"] > 0.5
    assert score(trainings, "z", arrays["z"], np.roll(test_ids, 3), "subj01", "all")["r"] < 0.3


def test_the_prior_is_in_its_own_run_alone(trainings):
    for method, group in (("pretrained", "c"), ("prior", "c"), ("joint", "zc")):
        model, _ = trainings.network("subj01", 0, method, "1", group)
        assert (model.heads["c"].prior is not None) == (method == "prior")
        assert set(model.heads) == set(plans.GROUPS[group])


def test_curves_have_a_value_for_each_epoch_of_each_stage(study):
    longer = Trainings(study, replace(PLAN, finetuning=plans.every(replace(QUICK, epochs=3))))
    curves = longer.predictions("subj01", 0, "joint", "1", "zc")
    assert curves["first_loss"].shape == (2,) and curves["last_loss"].shape == (3,)
    assert curves["first_retrieval"].shape == (2, 2) and curves["last_retrieval"].shape == (3, 2)
    assert np.isfinite(curves["last_loss"]).all() and (curves["last_retrieval"] >= 0).all()
    assert "first_loss" not in longer.predictions("subj01", 0, "scratch", "1", "z")


def test_plans_follow_from_the_latents():
    small, large = (replace(presets.get("mini"), latent_shape=(4, side, side)) for side in (16, 64))
    assert plans.plan_for(large).sizes == NetworkSizes()
    published = asdict(TrainingSettings(trials_per_subject=42))
    assert asdict(plans.plan_for(large).finetuning["z"]) == published
    assert plans.plan_for(small).sizes.hidden_size < 1024


def test_a_method_reads_of_the_plan_what_it_trains_with():
    for method in METHODS:
        sizes, stages = plans.SMALL.of(method, "c")
        assert len(stages) == {"ridge": 0, "scratch": 1}.get(method, 2)
        if method != "ridge":
            assert sizes.prior_depth == (2 if method == "prior" else 0)
