"""Script of the harder splits: what three tests call, and means over subjects where values are missing."""

import numpy as np
import pytest

from data_scripts import ch10_leave_more_out as script


@pytest.mark.usefixtures("one_thread")
def test_each_test_calls_what_it_asks_for(rng, monkeypatch):
    monkeypatch.setattr(script, "N_PERMUTATIONS", 2_000)
    clusters = np.repeat(np.arange(10), 10)
    between, within = rng.standard_normal(10)[clusters], rng.standard_normal(100)
    within -= np.array([within[clusters == k].mean() for k in range(10)])[clusters]
    noise = rng.standard_normal((100, 30))
    # Ten vertices driven by what differs between clusters, ten by what differs within, ten by the
    # opposite of what is predicted, which no test may call.
    signal = np.repeat(np.stack([3 * between, 3 * within, -3 * within], axis=1), 10, axis=1)
    visual = np.arange(30) < 20
    predicted = np.repeat(np.stack([between, within, within], axis=1), 10, axis=1)
    p = script.p_of_tests(predicted, signal + noise, np.arange(100), clusters)
    called = script.count(p, visual)
    assert called.tolist() == [[20, 0], [20, 0], [10, 0]]


def test_means_leave_out_what_is_missing():
    values = np.array([[1.0, np.nan, np.nan], [3.0, 5.0, np.nan]])
    np.testing.assert_array_equal(script.mean_of_known(values), [2, 5, np.nan])


@pytest.mark.usefixtures("one_thread")
def test_scores_are_those_of_the_worlds_and_sets_named(study, rng, monkeypatch):
    split = script.image_splits.splits_of(study, "subj01")[0]["clusters"]
    is_train = np.arange(len(split.train_ids) + len(split.test_ids)) < len(split.train_ids)
    values = {name: rng.standard_normal((len(is_train), 20)).astype(np.float32) for name in "zc"}
    monkeypatch.setattr(script.image_splits, "features_of", lambda *_: (dict(values), is_train))
    known = {"low": values["c"], "semantic": values["z"]}
    monkeypatch.setattr(script, "planted_variables", lambda *_: known)
    z = values["z"] @ rng.standard_normal((20, 6))
    z = (z - z.mean(0)) / z.std(0)
    betas = np.hstack([z, rng.standard_normal(z.shape)]).astype(np.float32)  # a world of z, one of noise
    ids = np.concatenate([split.train_ids, split.test_ids])
    train, test = ((betas[rows], ids[rows], np.ones(rows.sum(), int)) for rows in (is_train, ~is_train))
    masks = [np.arange(6) < 2, np.arange(6) >= 2]
    ceiling = np.array([0.81, 0.81, 0.25, 0.25, 0.25, 0.25])
    found = script.score_split(study, split, train, test, masks, ceiling)
    assert found["r"].shape == (2, 2, 6) and found["draws"].shape == (4, 2, 200)
    assert found["r"][0, 0].min() > 0.99 and np.abs(found["r"][1]).mean() < 0.6
    for k, mask in enumerate(masks):
        np.testing.assert_allclose(found["means"][:2, k], found["r"][0][:, mask].mean(1) / (0.9, 0.5)[k])
    np.testing.assert_allclose(found["means"][2:], found["means"][1::-1], atol=1e-5)
    np.testing.assert_allclose(found["draws"][2:], found["draws"][1::-1], atol=1e-4)
