"""What the first stage brings: the controls differ from the networks in one thing each."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from sharing_world import PLAN, QUICK, make_study, watch_trainings

from data_scripts import ch07_ask_what_helps as script
from data_scripts import ch07_share_a_space
from latentcortex import store
from latentcortex.studies import plans
from latentcortex.studies.shared_training import trainings_of

trained = pytest.fixture(watch_trainings)
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def study(tiny_tree, tmp_path, monkeypatch):
    opened = make_study(tiny_tree, tmp_path, monkeypatch)
    monkeypatch.setitem(plans.PLANS, 0, replace(PLAN, scratch=plans.every(replace(QUICK, epochs=3))))
    return opened


def test_others_answer_to_another_of_their_pictures_and_the_target_to_its_own(study):
    confused, usual = trainings_of(study, "confused", "subj01"), trainings_of(study)
    for mine, right in zip(confused.trials("subj01"), usual.trials("subj01"), strict=True):
        np.testing.assert_array_equal(mine, right)
    (betas, wrong), (same, ids) = confused.trials("subj02"), usual.trials("subj02")
    np.testing.assert_array_equal(betas, same)
    assert set(wrong) == set(ids) and (wrong != ids).all()
    pairs = set(zip(ids, wrong, strict=True))  # showings of an image stay together
    assert len(pairs) == len(np.unique(ids)) == len(np.unique(wrong))


def test_each_control_changes_one_thing(study, trained):
    calls = {}
    for name in script.METHODS:
        n = len(trained)
        for target in script.TARGETS:
            script.make(study, "subj01", 0, name, target)
        calls[name] = trained[n:]
    assert {name: len(of) for name, of in calls.items()} == {
        "pretrained": 4,
        "pictures": 4,  # z and c, two stages
        "pretrained, long": 2,  # the first stage is there
        "scratch": 2,
        "scratch, short": 2,
    }
    assert {name: of[-1]["settings"].epochs for name, of in calls.items()} == {
        "pretrained": 2,
        "pictures": 2,
        "pretrained, long": 3,
        "scratch": 3,
        "scratch, short": 2,
    }
    for first, last in (calls["pretrained"][:2], calls["pictures"][:2]):
        assert set(first["trials"]) == {"subj02"}
        _, ids = last["trials"]["subj01"]
        np.testing.assert_array_equal(ids, trainings_of(study).trials("subj01", "1")[1])
    right, wrong = (calls[name][0]["trials"]["subj02"] for name in ("pretrained", "pictures"))
    np.testing.assert_array_equal(right[0], wrong[0])
    assert (right[1] != wrong[1]).all()
    for call in trained:  # test images train nobody
        for _, ids in call["trials"].values():
            assert not set(ids) & set(study.image_ids)


def test_networks_of_the_other_script_are_not_trained_again(study, trained):
    for target in script.TARGETS:
        for method in ch07_share_a_space.NETWORKS:
            ch07_share_a_space.make(study, "subj02", 1, method, "1", target)
    n = len(trained)
    scores = (
        script.make(study, "subj02", 1, "pretrained", "c"),
        script.make(study, "subj02", 1, "scratch", "z"),
    )
    assert len(trained) == n == 6
    form = ch07_share_a_space.FORMS.index("rescaled")
    theirs = ch07_share_a_space.make(study, "subj02", 1, "pretrained", "1", "c")
    np.testing.assert_array_equal(scores[0]["identified"], theirs["identified"][0, form])


def test_the_product_is_shared_out_and_holds_what_its_axes_say(study):
    job = script.make_job(study, SimpleNamespace(seeds=1))
    assert job.is_slice and job.run(shard=(0, 2)) == (10, []) and job.run(shard=(1, 2)) == (0, [])
    (path,) = job.write(job.shelf.folder)
    arrays, described = store.load(path), store.provenance(path)
    n = len(study.image_ids)
    assert arrays["r"].shape == (2, 1, 5, 2) and arrays["identified"].shape == (2, 1, 5, 2, n)
    scores = script.make(study, "subj02", 0, "pictures", "c")
    at = 1, 0, described["methods"].index("pictures"), described["targets"].index("c")
    for name, values in scores.items():
        np.testing.assert_array_equal(arrays[name][at], values)
    assert len(np.unique(arrays["r"])) > 10
