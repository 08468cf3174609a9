"""The scripts of the shared space: who trains on what, what is kept, and whose it is."""

import importlib
from dataclasses import asdict, replace

import numpy as np
import pytest
from sharing_world import PLAN, QUICK, SHAPES, make_sharing, shared_ids, spaces, watch_trainings

from latentcortex import nsd, presets, shared_space
from latentcortex.shared_space import NetworkSizes, TrainingSettings, training

study = importlib.import_module("7_share_a_space")
sharing, trainings = pytest.fixture(make_sharing), pytest.fixture(watch_trainings)
pytestmark = pytest.mark.usefixtures("one_thread")


class Killed(Exception):
    pass


def test_test_images_train_nobody_and_validation_images_are_taken_out(sharing, trainings):
    sharing.predictions("subj01", 0, "pretrained", "1")
    first, last = trainings[:2]
    assert set(first["trials"]) == {"subj02"} and set(last["trials"]) == {"subj01"}
    for call in trainings:
        for subject, (_, ids) in call["trials"].items():
            held = set(call["validation_image_ids"].tolist())
            assert not set(ids.tolist()) & set(shared_ids(sharing).tolist())
            assert held == set(ids.tolist()) & set(sharing.validation[subject].tolist())
            assert held
    assert len(sharing.validation["subj01"]) == 6


def test_all_sessions_of_others_and_the_first_of_the_target_train(sharing, trainings):
    sharing.predictions("subj01", 0, "pretrained", "1")
    for call, subject, sessions in zip(
        trainings, ("subj02", "subj01", "subj02", "subj01"), (2, 1, 2, 1), strict=True
    ):
        table = nsd.trials(sharing.root, subject, sessions)
        own = table["image_id"][~table["shared"]].to_numpy()
        betas, ids = call["trials"][subject]
        np.testing.assert_array_equal(ids, own)
        expected = nsd.scaled_betas(sharing.root, subject, sessions=sessions, mask=sharing.masks[subject])[1][
            ~table["shared"].to_numpy()
        ]
        np.testing.assert_array_equal(betas, expected)


def test_all_methods_learn_from_the_same_images(sharing, trainings, monkeypatch):
    fitted, fit = [], spaces.LinearDecoder.fit
    monkeypatch.setattr(
        spaces.LinearDecoder, "fit", lambda self, *data: fitted.append(data[2]) or fit(self, *data)
    )
    for method in ("pretrained", "scratch", "ridge"):
        sharing.predictions("subj01", 1, method, "2")
    of_target = [call for call in trainings if "subj01" in call["trials"]]
    assert len(of_target) == 4 and len(fitted) == 2
    expected = set(of_target[0]["trials"]["subj01"][1]) - set(sharing.validation["subj01"])
    for call in of_target:
        held = set(call["validation_image_ids"])
        assert set(call["trials"]["subj01"][1]) - held == expected
        assert call["settings"].seed == 1
    for ids in fitted:
        assert sorted(ids) == sorted(expected)


def test_what_was_made_is_not_made_again(sharing, trainings):
    sharing.predictions("subj01", 0, "pretrained", "1")
    n = len(trainings)
    first = sharing.predictions("subj01", 0, "pretrained", "1")
    assert len(trainings) == n == 4
    sharing.predictions("subj01", 0, "pretrained", "2")  # the first stages are there
    assert [set(call["trials"]) for call in trainings[n:]] == [{"subj01"}] * 2
    np.testing.assert_array_equal(first["image_ids"], shared_ids(sharing))
    assert {name: values.shape[1:] for name, values in first.items() if name[0] in "zc"} == {
        name + suffix: SHAPES[name] for name in "zc" for suffix in spaces.SUFFIXES.values()
    }
    left = sorted(path.suffix for path in sharing.folder.iterdir())
    assert left == [".lock", ".lock", ".npz", ".npz"]


def test_a_killed_run_repeats_no_training_that_had_ended(sharing, monkeypatch, tmp_path):
    whole = sharing.predictions("subj01", 0, "pretrained", "1")
    monkeypatch.setenv("LATENTCORTEX_CACHE", str(tmp_path / "again"))
    fit_rescaling, calls = shared_space.fit_rescaling, []

    def kill(*args, **options):
        calls.append(args)
        if len(calls) == 2:  # z is done, c is trained
            raise Killed
        fit_rescaling(*args, **options)

    monkeypatch.setattr(shared_space, "fit_rescaling", kill)
    with pytest.raises(Killed):
        sharing.predictions("subj01", 0, "pretrained", "1")
    assert not sharing.path("subj01", 0, "pretrained", "1").exists()
    steps, step_loss = [], training.step_loss
    monkeypatch.setattr(training, "step_loss", lambda *a: steps.append(1) or step_loss(*a))
    again = sharing.predictions("subj01", 0, "pretrained", "1")
    assert not steps
    assert again.keys() == whole.keys()
    for name, values in whole.items():
        np.testing.assert_array_equal(again[name], values)


@pytest.mark.parametrize("method", ["pretrained", "ridge"])
def test_one_test_image_is_decoded_alike_whatever_the_others_are(sharing, monkeypatch, tmp_path, method):
    """With the rescaling: no statistic of the test images enters."""
    made = sharing.predictions("subj01", 0, method, "2")
    monkeypatch.setenv("LATENTCORTEX_CACHE", str(tmp_path / "again"))
    table = sharing.tables["subj01"]
    others = (table["shared"] & (table["image_id"] != made["image_ids"][0])).to_numpy()
    sharing.responses["subj01"][others] *= -3
    again = sharing.predictions("subj01", 0, method, "2")
    for name in set(made) - {"image_ids"}:
        np.testing.assert_allclose(again[name][0], made[name][0], rtol=2e-3, atol=2e-3)
        assert np.abs(again[name][1:] - made[name][1:]).max() > 0.01


def test_predictions_of_networks_belong_to_their_images(sharing):
    made = sharing.predictions("subj01", 0, "scratch", "all")
    ids = sharing.tables["subj01"]["image_id"].to_numpy()
    for name in "zc":
        model, _ = sharing.network("subj01", 0, "scratch", "all", name)
        for i, image_id in enumerate(made["image_ids"]):
            shown = sharing.responses["subj01"][ids == image_id].mean(0, keepdims=True)
            alone = shared_space.predict(model, shown, "subj01")[name][0]
            np.testing.assert_allclose(made[name][i], alone, rtol=2e-3, atol=2e-3)


def test_ridge_finds_what_is_linear_in_the_responses_by_image(sharing):
    betas, ids, _ = nsd.average_repeats(
        sharing.responses["subj01"], sharing.tables["subj01"]["image_id"].to_numpy()
    )
    values, known = sharing._targets["z"]
    first = np.linalg.svd(betas - betas.mean(0), full_matrices=False)[2][:8].T
    values[np.searchsorted(known, ids)] = (betas @ first).reshape(-1, *SHAPES["z"])
    made = sharing.predictions("subj01", 0, "ridge", "all")
    true, mean = sharing.true("z", made["image_ids"]), values.mean(0)
    assert study.score(made["z"], true, mean)["r"] > 0.5
    assert study.score(made["z"], np.roll(true, 3, axis=0), mean)["r"] < 0.3


def test_g_is_decoded_where_it_is_asked_for_alone(sharing):
    asked = {
        part: sharing.groups(*part)
        for part in (
            (0, "pretrained", "all"),
            (0, "ridge", "all"),
            (0, "scratch", "all"),
            (1, "pretrained", "all"),
            (0, "pretrained", "2"),
            (0, "joint", "all"),
            (0, "prior", "all"),
        )
    }
    with_g, without = ("z", "c", "g"), ("z", "c")
    assert list(asked.values()) == [with_g, with_g, without, without, without, ("zc",), ("c",)]
    made = sharing.predictions("subj01", 0, "pretrained", "all")
    assert {f"g{k}" for k in range(1, 7)} < set(made)


def test_the_prior_is_in_its_own_run_alone(sharing):
    for method, group in (("pretrained", "c"), ("prior", "c"), ("joint", "zc")):
        model, _ = sharing.network("subj01", 0, method, "1", group)
        assert (model.heads["c"].prior is not None) == (method == "prior")
        assert set(model.heads) == set(spaces.GROUPS[group])


def test_plans_follow_from_the_latents():
    small, large = (replace(presets.get("mini"), latent_shape=(4, side, side)) for side in (16, 64))
    assert spaces.plan_for(large).sizes == NetworkSizes()
    published = asdict(TrainingSettings(trials_per_subject=42))
    assert asdict(spaces.plan_for(large).finetuning["z"]) == published
    assert spaces.plan_for(small).sizes.hidden_size < 1024


def test_settings_of_samplers_change_no_key(sharing, tiny_tree):
    other = replace(sharing.preset, feature_scale=9.0, strength=0.1)
    assert spaces.Sharing(other, tiny_tree, PLAN).folder == sharing.folder
    longer = replace(PLAN, scratch=spaces.every(replace(QUICK, epochs=3)))
    assert spaces.Sharing(sharing.preset, tiny_tree, longer).folder != sharing.folder
