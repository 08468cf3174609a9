"""Splits of chapter 10: scaled by their own training trials, of one size, and rows known by their ids."""

import numpy as np
import pandas as pd
import pytest

from latentcortex import nsd
from latentcortex.studies import image_splits
from latentcortex.studies.image_splits import Trials


@pytest.fixture
def trials(study):
    return image_splits.read_trials(study, "subj01")


def test_the_published_split_gives_the_responses_that_all_chapters_use(study, trials):
    assert trials.held_back is None, "a tree without captions of held-back scenes"
    split = image_splits.splits_of(study, "subj01")[0][image_splits.PUBLISHED]
    expected = nsd.image_responses(study.root, "subj01", study.preset.space)
    for found, known in zip(image_splits.responses(trials, split), expected, strict=True):
        for one, other in zip(found, known, strict=True):
            np.testing.assert_array_equal(one, other)


def test_test_trials_and_trials_of_no_set_move_nothing_of_the_training_side(study, trials, rng):
    split = image_splits.splits_of(study, "subj01")[0]["far"]
    train, _ = image_splits.responses(trials, split)
    moved = ~np.isin(trials.table["image_id"], split.train_ids)
    assert moved.sum() > 3 * len(split.test_ids), "the far split leaves images out"
    betas = trials.betas + moved[:, None] * rng.normal(5, 3, trials.betas.shape).astype(np.float32)
    changed, _ = image_splits.responses(trials._replace(betas=betas), split)
    for one, other in zip(train, changed, strict=True):
        np.testing.assert_array_equal(one, other)


def test_held_back_rows_are_found_by_their_ids_and_told_from_ordinary_images(trials, rng):
    order = rng.permutation(6)
    held_back = (10.0 * order[:, None] + np.arange(3), order, order + 1)
    ids = np.unique(trials.table["image_id"])[:40]
    split = nsd.Split(ids, np.array([1, 4]), "nsdsynthetic", np.zeros(2))
    _, test = image_splits.responses(Trials(trials.table, trials.betas, held_back), split)
    np.testing.assert_array_equal(test[0], [[10, 11, 12], [40, 41, 42]])
    np.testing.assert_array_equal(test[1] - image_splits.FIRST_HELD_BACK, [1, 4])
    np.testing.assert_array_equal(test[2], [2, 5])
    assert not np.isin(test[1], ids).any()


def test_all_splits_train_on_equally_many_images_and_on_none_of_their_test_images(study):
    splits, kinds = image_splits.splits_of(study, "subj01")
    train_ids, test_ids = nsd.split(study.tables["subj01"])
    published, *others = splits.values()
    np.testing.assert_array_equal(published.train_ids, train_ids)
    np.testing.assert_array_equal(published.test_ids, test_ids)
    assert list(splits)[1:] == ["random", "far", "clusters"]
    assert len({len(split.train_ids) for split in others}) == 1
    for split in others:
        assert not np.isin(split.test_ids, split.train_ids).any()
        assert len(split.train_ids) < len(train_ids) and (np.diff(split.train_ids) > 0).all()
    clusters = splits["clusters"]
    assert not set(kinds.loc[clusters.train_ids]) & set(kinds.loc[clusters.test_ids])


def test_features_stand_in_the_order_of_the_responses(study):
    split = image_splits.splits_of(study, "subj01")[0]["clusters"]
    values, is_train = image_splits.features_of(study, split)
    assert is_train.sum() == len(split.train_ids) and (np.diff(is_train.astype(int)) <= 0).all()
    last = image_splits.targets(study, "zc", split.test_ids[-1:])
    for name in "zc":
        np.testing.assert_array_equal(values[name][-1], last[name].flatten())


def test_equal_training_sets_are_cut_alike():
    def split(ids):
        return nsd.Split(ids, np.array([900]), "nsd", np.zeros(1))

    cut = image_splits.at_one_size(
        {"a": split(np.arange(80)), "b": split(np.arange(30)), "c": split(np.arange(80))}, (0, 1)
    )
    np.testing.assert_array_equal(cut["b"].train_ids, np.arange(30))
    np.testing.assert_array_equal(cut["a"].train_ids, cut["c"].train_ids)
    assert len(np.unique(cut["a"].train_ids)) == 30


def test_both_feature_sets_weigh_alike_in_a_distance(rng):
    values = {"z": 50 + 9 * rng.standard_normal((60, 5)), "c": 0.1 * rng.standard_normal((60, 400))}
    is_train = np.arange(60) < 40
    found = image_splits.describe(values, is_train)
    np.testing.assert_allclose(found[is_train][:, :5].var(0).sum(), 1, rtol=1e-5)
    np.testing.assert_allclose(found[is_train][:, 5:].var(0).sum(), 1, rtol=1e-5)
    values["z"][~is_train] += 7
    np.testing.assert_array_equal(image_splits.describe(values, is_train)[is_train], found[is_train])


def test_kinds_are_clouds_of_images_in_whatever_order(rng):
    cloud = np.repeat(np.arange(image_splits.N_CLUSTERS), 8)
    values = 100 * rng.standard_normal((image_splits.N_CLUSTERS, 6))[cloud] + rng.standard_normal((96, 6))
    ids = rng.permutation(1000)[:96]
    found = pd.Series(image_splits.image_kinds(values, ids), ids)
    assert (pd.Series(found.to_numpy()).groupby(cloud).nunique() == 1).all()
    assert found.nunique() == image_splits.N_CLUSTERS
    order = rng.permutation(96)
    again = pd.Series(image_splits.image_kinds(values[order], ids[order]), ids[order])
    pd.testing.assert_series_equal(found.sort_index(), again.sort_index())


def test_a_tenth_of_the_vertices_is_compared_and_always_the_same():
    first, again = (image_splits.checked_vertices(253) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert len(np.unique(first)) == 25 and first.max() < 253
