"""What the first stage brings: the controls differ from the networks in one thing each."""

import importlib
import sys
from dataclasses import replace

import numpy as np
import pytest
from sharing_world import PLAN, QUICK, make_sharing, shared_ids, spaces, watch_trainings

from latentcortex import store

script = importlib.import_module("7_ask_what_helps")
sharing, trainings = pytest.fixture(make_sharing), pytest.fixture(watch_trainings)
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def controls(sharing):
    plan = replace(PLAN, scratch=spaces.every(replace(QUICK, epochs=3)))
    made = script.Controls(sharing.preset, sharing.root, plan)
    made.sharing._targets = sharing._targets
    return made


def test_others_answer_to_another_of_their_pictures_and_the_target_to_its_own(sharing):
    confused = script.Confused(sharing.preset, sharing.root, "subj01", PLAN)
    for mine, right in zip(confused.trials("subj01"), sharing.trials("subj01"), strict=True):
        np.testing.assert_array_equal(mine, right)
    (betas, wrong), (same, ids) = confused.trials("subj02"), sharing.trials("subj02")
    np.testing.assert_array_equal(betas, same)
    assert set(wrong) == set(ids) and (wrong != ids).all()
    pairs = set(zip(ids, wrong, strict=True))  # showings of an image stay together
    assert len(pairs) == len(np.unique(ids)) == len(np.unique(wrong))
    assert confused.folder != sharing.folder
    assert script.Confused(sharing.preset, sharing.root, "subj02", PLAN).key != confused.key


def test_each_control_changes_one_thing(controls, trainings):
    made = {}
    for name in script.METHODS:
        n = len(trainings)
        controls.predictions("subj01", 0, name)
        made[name] = trainings[n:]
    assert {name: len(calls) for name, calls in made.items()} == {
        "pretrained": 4,
        "pictures": 4,  # z and c, two stages
        "pretrained, long": 2,  # the first stage is there
        "scratch": 2,
        "scratch, short": 2,
    }
    epochs = {name: calls[-1]["settings"].epochs for name, calls in made.items()}
    assert epochs == {
        "pretrained": 2,
        "pictures": 2,
        "pretrained, long": 3,
        "scratch": 3,
        "scratch, short": 2,
    }
    for first, last in (made["pretrained"][:2], made["pictures"][:2]):
        assert set(first["trials"]) == {"subj02"}
        _, ids = last["trials"]["subj01"]
        np.testing.assert_array_equal(ids, controls.sharing.trials("subj01", "1")[1])
    right, wrong = (made[name][0]["trials"]["subj02"] for name in ("pretrained", "pictures"))
    np.testing.assert_array_equal(right[0], wrong[0])
    assert (right[1] != wrong[1]).all()
    for calls in made.values():  # test images train nobody
        for call in calls:
            for _, ids in call["trials"].values():
                assert not set(ids) & set(shared_ids(controls.sharing))


def test_the_product_is_shared_out_and_holds_what_its_axes_say(controls, monkeypatch, capsys):
    monkeypatch.setattr(script, "Controls", lambda *_: controls)
    preset = type("Preset", (), {"open": lambda _: controls.sharing.root})()
    monkeypatch.setattr(script.presets, "get", lambda: preset)
    for shard in ("0/2", "1/2"):
        monkeypatch.setattr(sys, "argv", ["script", "--seeds", "1", "--shard", shard])
        script.main()
    assert "5 parts are left to the other shards." in capsys.readouterr().out
    path = controls.sharing.folder / f"7_ask_what_helps-{controls.sharing.root.name}.npz"
    arrays, made = store.load(path), store.provenance(path)
    n = len(shared_ids(controls.sharing))
    assert arrays["r"].shape == (2, 1, 5, 2) and arrays["identified"].shape == (2, 1, 5, 2, n)
    found = controls.score("subj02", 0, "pictures", "c")
    at = 1, 0, made["methods"].index("pictures"), made["targets"].index("c")
    assert arrays["r"][at] == pytest.approx(found["r"], abs=1e-3)
    np.testing.assert_allclose(arrays["identified"][at], found["identified"], atol=1e-3)
    monkeypatch.setattr(controls, "test_ids", controls.test_ids + 1)
    with pytest.raises(ValueError, match="subj02 saw other shared images than subj01"):
        controls.score("subj02", 0, "pictures", "c")
