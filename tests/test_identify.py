"""Identification among many, against draws; distractors of a group; repeats."""

import itertools
import tracemalloc

import numpy as np
import pytest

from latentcortex.metrics import (
    UndefinedCorrelation,
    correlation_distance,
    identification,
    repeat_consistency,
    retrieval,
    shuffled_identification,
)


def make_features(rng, n=14, noise=1.5):
    true = rng.normal(size=(n, 40))
    return true, true + noise * rng.normal(size=true.shape)


def correlate(true, pred, direction):
    r = np.corrcoef(pred, true)[: len(true), len(true) :]  # rows: reconstructions
    return r if direction == "reconstruction" else r.T


@pytest.mark.parametrize("direction", ["reconstruction", "original"])
@pytest.mark.parametrize("n_way", [2, 3, 5])
def test_n_way_identification_is_the_mean_over_all_galleries(rng, direction, n_way):
    true, pred = make_features(rng, n=8)
    true[3] = true[5]  # a tie between two originals
    r, expected = correlate(true, pred, direction), np.zeros(8)
    for i in range(8):
        galleries = itertools.combinations(np.delete(np.arange(8), i), n_way - 1)
        first = []
        for gallery in galleries:
            beaten = r[i, list(gallery)] < r[i, i] - 1e-12
            tied = np.abs(r[i, list(gallery)] - r[i, i]) <= 1e-12
            first.append((beaten | tied).all() / (tied.sum() + 1))
        expected[i] = np.mean(first)
    found = identification(true, pred, direction, n_way=n_way)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert 0 < found.mean() < 1


def test_retrieval_by_random_draws_converges_to_n_way_identification(rng):
    true, pred = make_features(rng, n=60, noise=4)
    r, hits = correlate(true, pred, "reconstruction"), []
    for _ in range(2000):
        some = rng.choice(60, 20, replace=False)
        hits.append((r[np.ix_(some, some)].argmax(1) == np.arange(20)).mean())
    found = identification(true, pred, n_way=20).mean()
    assert abs(np.mean(hits) - found) < 4 * np.std(hits) / np.sqrt(len(hits))
    whole = identification(true, pred, n_way=60)
    np.testing.assert_allclose(whole, r.argmax(1) == np.arange(60), atol=1e-12)


def test_more_ways_are_harder_and_collapse_is_at_chance(rng):
    true, pred = make_features(rng, noise=5)
    scores = [identification(true, pred, n_way=n).mean() for n in range(2, 15)]
    assert (np.diff(scores) < 0).all()
    same = np.repeat(pred[:1], len(pred), axis=0)
    for n_way in (2, 5, 14):
        chance = identification(true, same, "original", n_way=n_way)
        np.testing.assert_allclose(chance, 1 / n_way)


def test_knowing_the_group_does_not_help_among_images_of_the_group(rng):
    groups = np.repeat(np.arange(10), 8)
    kinds = rng.normal(size=(10, 40))
    true = kinds[groups] + rng.normal(size=(80, 40))
    only_kind = kinds[groups] + 0.1 * rng.normal(size=(80, 40))
    assert identification(true, only_kind).mean() > 0.9
    assert abs(identification(true, only_kind, groups=groups).mean() - 0.5) < 0.06
    r = correlate(true, only_kind, "reconstruction")
    expected = [
        np.mean([r[i, j] < r[i, i] for j in range(80) if j != i and groups[j] == groups[i]])
        for i in range(80)
    ]
    np.testing.assert_allclose(identification(true, only_kind, groups=groups), expected)


def test_blocks_of_numbers_do_not_change_the_result(rng, monkeypatch):
    true, pred = make_features(rng, noise=5)
    true, pred = (100 + values.astype(np.float32) for values in (true, pred))  # far from 0
    whole = identification(true, pred, n_way=4)
    monkeypatch.setattr("latentcortex.metrics.identify.BLOCK", 7)
    np.testing.assert_allclose(identification(true, pred, n_way=4), whole)
    r, n = correlate(true.astype(float), pred.astype(float), "reconstruction"), len(true)
    expected = [(r[i] < r[i, i]).sum() / (n - 1) for i in range(n)]
    np.testing.assert_allclose(identification(true, pred), expected)


@pytest.mark.parametrize("batch_size", [1, 5, 14, 100])
def test_batches_of_images_do_not_change_the_result(rng, batch_size):
    true, pred = make_features(rng, noise=5)
    pred[3] = pred[9]  # a tie across batches
    repeats, groups = np.stack([pred, true + pred], axis=1), np.arange(14) % 3
    for direction in ("reconstruction", "original"):
        for more in ({"n_way": 4}, {"groups": groups}, {"similarity": "cosine"}):
            expected = identification(true, pred, direction, **more)
            found = identification(true, pred, direction, **more, batch_size=batch_size)
            np.testing.assert_array_equal(found, expected)
        expected = identification(true, repeats, direction, repeated=True)
        found = identification(true, repeats, direction, repeated=True, batch_size=batch_size)
        np.testing.assert_array_equal(found, expected)
        shuffled = [
            shuffled_identification(true, pred, np.random.default_rng(1), 9, direction, size)
            for size in (14, batch_size)
        ]
        np.testing.assert_array_equal(*shuffled)
    for one, other in zip(retrieval(true, pred, 5), retrieval(true, pred, 5, batch_size), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "compare",
    [
        lambda true, pred: identification(true, pred, n_way=9, batch_size=100),
        lambda true, pred: retrieval(true, pred, batch_size=100),
        lambda true, pred: shuffled_identification(true, pred, np.random.default_rng(0), 3, batch_size=100),
    ],
)
def test_memory_grows_with_the_batch_and_not_with_the_pairs(rng, compare):
    """One number of 8 bytes for each of 3,000 x 3,000 pairs would be 72 MB."""
    true, pred = make_features(rng, n=3000)
    tracemalloc.start()
    try:
        compare(true, pred)
        assert tracemalloc.get_traced_memory()[1] < 25 * 100 * 3000 + 4e6
    finally:
        tracemalloc.stop()


def test_rows_are_compared_few_at_a_time_with_the_same_result(rng, monkeypatch):
    true, repeats = rng.normal(size=(50, 40)), rng.normal(size=(50, 3, 40))
    whole = correlation_distance(true, repeats[:, 0]), *repeat_consistency(repeats, true)
    for module in ("checks", "identify"):
        monkeypatch.setattr(f"latentcortex.metrics.{module}.NUMBERS", 250)
    again = correlation_distance(true, repeats[:, 0]), *repeat_consistency(repeats, true)
    np.testing.assert_array_equal(again, whole)
    repeats[33] = 4
    with pytest.raises(UndefinedCorrelation, match=r"features_pred is constant in rows \[33\]") as caught:
        correlation_distance(true, repeats[:, 0])
    assert caught.value.rows == [33]
    with pytest.raises(UndefinedCorrelation, match=r"features_pred is constant in rows \[33\]"):
        repeat_consistency(repeats, true)


def test_too_few_others_are_told(rng):
    true, pred = make_features(rng, n=5)
    with pytest.raises(ValueError, match="from 2 to 5, got 6"):
        identification(true, pred, n_way=6)
    with pytest.raises(ValueError, match=r"from 2 to 1, got 2. Rows \[4\] have too few"):
        identification(true, pred, groups=[0, 0, 1, 1, 2])
    with pytest.raises(ValueError, match="groups with one label for each of 5 images"):
        identification(true, pred, groups=[0, 0, 1])
    with pytest.raises(ValueError, match="n_way as a whole number of at least 2, got 1"):
        identification(true, pred, n_way=1)


def test_correlation_distance_of_pairs(rng):
    true, pred = make_features(rng)
    expected = [1 - np.corrcoef(t, p)[0, 1] for t, p in zip(true, pred, strict=True)]
    np.testing.assert_allclose(correlation_distance(true, pred), expected)
    np.testing.assert_allclose(correlation_distance(true, 3 * true + 1), 0, atol=1e-12)


def test_repeats_are_compared_with_one_another_and_with_the_truth(rng):
    true = rng.normal(size=(6, 5, 7))
    repeats = true[:, None] + rng.normal(size=(6, 4, 5, 7))
    among, to_truth = repeat_consistency(repeats, true)
    for i in range(6):
        flat = [repeat.ravel() for repeat in repeats[i]]
        pairs = [np.corrcoef(a, b)[0, 1] for a, b in itertools.combinations(flat, 2)]
        np.testing.assert_allclose(among[i], np.mean(pairs))
        own = [np.corrcoef(a, true[i].ravel())[0, 1] for a in flat]
        np.testing.assert_allclose(to_truth[i], np.mean(own))
    collapsed = np.broadcast_to(repeats[:1, :1], repeats.shape)
    among, to_truth = repeat_consistency(collapsed, true)
    np.testing.assert_allclose(among, 1)
    assert to_truth[1:].mean() < 0.3
    with pytest.raises(ValueError, match="two repeats"):
        repeat_consistency(repeats[:, :1], true)


def test_retrieval_agrees_with_drawn_galleries(rng):
    """MindEye2's way: galleries drawn at random, cosine similarity, both directions."""
    true = rng.normal(size=(40, 12)) + 1
    pred = true + rng.normal(0, 1.2, true.shape)
    images, brains = retrieval(true, pred, n_images=10)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (true, pred)]
    hits = np.zeros((2, 4000))
    for k in range(4000):
        some = rng.choice(40, 10, replace=False)
        similar = unit[1][some] @ unit[0][some].T  # brain x image
        hits[0, k] = (similar.argmax(1) == np.arange(10)).mean()
        hits[1, k] = (similar.argmax(0) == np.arange(10)).mean()
    assert images.mean() == pytest.approx(hits[0].mean(), abs=0.01)
    assert brains.mean() == pytest.approx(hits[1].mean(), abs=0.01)
    assert abs(images.mean() - brains.mean()) > 1e-4
