"""What is kept of the trainings of the shared space: under which key, made once, resumed after a kill."""

import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from sharing_world import PLAN, PRESET, QUICK, copy_tree, make_study, watch_trainings

from latentcortex import shared_space
from latentcortex.shared_space import training
from latentcortex.studies import open_study, plans, shared_training
from latentcortex.studies.responses import streams
from latentcortex.studies.shared_training import Trainings, trainings_of

study, trained = pytest.fixture(make_study), pytest.fixture(watch_trainings)
pytestmark = pytest.mark.usefixtures("one_thread")
FIRST_SESSION = "subj01", 0, "pretrained", "1", "z"


class Killed(Exception):
    pass


def kept(name="predictions"):
    """List the folders of a shelf, one for each key."""
    return {path.name for path in Path(os.environ["LATENTCORTEX_CACHE"], "kept", name).iterdir()}


def is_made_again(trainings, method="ridge"):
    """Tell whether predictions are another result than those that are there."""
    before = kept()
    trainings.predictions("subj01", 0, method, "1", "z")
    return kept() != before


def test_what_was_made_is_not_made_again(study, trained):
    trainings = trainings_of(study)
    first = trainings.predictions(*FIRST_SESSION)
    again = trainings.predictions(*FIRST_SESSION)
    assert len(trained) == 2 and first.keys() == again.keys()
    trainings.predictions("subj01", 0, "pretrained", "2", "z")  # the first stage is there
    assert [set(call["trials"]) for call in trained[2:]] == [{"subj01"}]
    cache = Path(os.environ["LATENTCORTEX_CACHE"])
    left = sorted(path.suffix for path in cache.rglob("kept/pre*/*/*"))
    assert left == [".lock"] * 3 + [".npz"] * 3 + [".safetensors"]  # no states


def test_the_key_knows_region_data_and_number_of_validation_images(study, monkeypatch, tmp_path, tiny_tree):
    trainings_of(study).predictions("subj01", 0, "ridge", "1", "z")
    assert not is_made_again(Trainings(study, PLAN))
    assert is_made_again(Trainings(study, replace(PLAN, n_validation=5)))
    assert is_made_again(Trainings(study, PLAN, confused_but="subj01"))
    elsewhere = copy_tree(tiny_tree, tmp_path / "elsewhere")
    assert not is_made_again(trainings_of(open_study(PRESET, elsewhere)))
    other = copy_tree(tiny_tree, tmp_path / "other")
    path = next(other.rglob("subj02/fsaverage/**/lh.betas_session01.mgh"))
    image = nibabel.load(path)
    nibabel.save(nibabel.MGHImage(-image.get_fdata(dtype=np.float32), np.eye(4)), path)
    assert is_made_again(trainings_of(open_study(PRESET, other)))
    monkeypatch.setattr(shared_training, "VISUAL_CORTEX", streams("early", "ventral"))
    assert is_made_again(Trainings(study, PLAN))


def test_the_key_knows_what_a_method_reads_of_the_plan_and_no_more(study):
    trainings = trainings_of(study)
    for method in ("scratch", "ridge", "pretrained"):
        trainings.predictions("subj01", 0, method, "1", "z")
    longer = plans.every(replace(QUICK, epochs=3))
    changes = {
        "scratch": replace(PLAN, scratch=longer),
        "pretrained": replace(PLAN, finetuning=longer),
        "sizes": replace(PLAN, sizes=replace(PLAN.sizes, hidden_size=9)),
        "another group": replace(PLAN, scratch={**PLAN.scratch, "c": longer["c"]}),
    }
    made_again = {
        name: [m for m in ("scratch", "ridge", "pretrained") if is_made_again(Trainings(study, plan), m)]
        for name, plan in changes.items()
    }
    assert made_again == {
        "scratch": ["scratch"],
        "pretrained": ["pretrained"],
        "sizes": ["scratch", "pretrained"],
        "another group": [],
    }
    assert len(kept("pretrained")) == 2  # of two sizes; the second stage changes nothing of the first


def test_settings_of_samplers_change_no_key(study):
    trainings_of(study).predictions("subj01", 0, "scratch", "1", "z")
    other = open_study(replace(PRESET, feature_scale=9.0, strength=0.1), study.root)
    assert not is_made_again(trainings_of(other), "scratch")


@pytest.mark.parametrize("last_step", [3, 6])  # of the four steps of the first stage; of the second
def test_a_killed_training_goes_on_where_it_was(study, monkeypatch, tmp_path, last_step):
    trainings, train = trainings_of(study), shared_space.train
    whole = trainings.predictions(*FIRST_SESSION)
    monkeypatch.setenv("LATENTCORTEX_CACHE", str(tmp_path / "again"))
    monkeypatch.setattr(
        shared_space, "train", lambda *given, **options: train(*given, checkpoint_seconds=0, **options)
    )
    steps, step_loss = [], training.step_loss

    def count(*given):
        steps.append(given)
        if len(steps) == last_step:
            raise Killed
        return step_loss(*given)

    monkeypatch.setattr(training, "step_loss", count)
    with pytest.raises(Killed):
        trainings.predictions(*FIRST_SESSION)
    again = trainings.predictions(*FIRST_SESSION)
    assert len(steps) == 8 + 1  # only the step that was killed was begun twice
    assert again.keys() == whole.keys()
    for name, values in whole.items():
        np.testing.assert_array_equal(again[name], values)


def test_no_second_process_trains_the_same_network(study, trained, monkeypatch):
    train = shared_space.train

    def slowly(*given, **options):
        time.sleep(0.3)
        return train(*given, **options)

    monkeypatch.setattr(shared_space, "train", slowly)
    trainings, start, failed = trainings_of(study), threading.Barrier(3), []
    trainings.targets("z")
    for subject in study.subjects:
        trainings.trials(subject)

    def ask(amount):
        start.wait()
        try:
            trainings.predictions("subj01", 0, "pretrained", amount, "z")
        except Exception as error:  # noqa: BLE001 (a thread would swallow it)
            failed.append(error)

    threads = [threading.Thread(target=ask, args=(amount,)) for amount in ("1", "1", "2")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    stages = sorted(list(call["trials"])[0] for call in trained)
    assert stages == ["subj01", "subj01", "subj02"]  # two second stages after one first stage


def test_a_damaged_network_is_named_and_trained_again(study, trained, caplog):
    trainings = trainings_of(study)
    trainings.predictions(*FIRST_SESSION)
    (weights,) = Path(os.environ["LATENTCORTEX_CACHE"]).rglob("kept/pretrained/*/*.safetensors")
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-100])
    trainings.predictions("subj01", 0, "pretrained", "2", "z")
    assert weights.name in caplog.text
    assert [set(call["trials"]) for call in trained[2:]] == [{"subj02"}, {"subj01"}]
    assert weights.read_bytes() == whole
