"""Named splits of images, against brute-force distances and what their names promise."""

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist

from latentcortex import nsd

LABELS = np.array(["beach", "city", "forest", "lake"])


def make_world(rng, n_own=160, n_shared=40):
    """Trials of one subject, and features in four overlapping clouds of unequal sizes."""
    ids = np.sort(rng.choice(10_000, n_own + n_shared, replace=False))
    shared = np.isin(np.arange(len(ids)), rng.choice(len(ids), n_shared, replace=False))
    kind = rng.choice(4, len(ids), p=[0.4, 0.3, 0.2, 0.1])
    features = 3 * rng.standard_normal((4, 6))[kind] + rng.standard_normal((len(ids), 6))
    trial = rng.permutation(np.repeat(np.arange(len(ids)), 3))
    table = pd.DataFrame({"image_id": ids[trial], "shared": shared[trial]})
    return table, features, ids, LABELS[kind]


@pytest.fixture
def world(rng):
    return make_world(rng)


def make(world, seed=0, **more):
    table, features, ids, labels = world
    return nsd.splits(
        table, features, ids, np.random.default_rng(seed), **{"labels": labels, "names": None} | more
    )


def test_random_is_the_published_split_and_no_image_is_in_both_sets(world, rng):
    table, features, ids, _ = world
    found = make(world, held_back=rng.standard_normal((9, 6)))
    assert tuple(found) == nsd.SPLIT_NAMES
    for part, published in zip(found["random"][:2], nsd.split(table), strict=True):
        np.testing.assert_array_equal(part, published)
    for name, part in found.items():
        if part.experiment == "nsd":
            assert not set(part.train_ids) & set(part.test_ids)
            assert set(part.train_ids) | set(part.test_ids) <= set(table["image_id"])
        assert len(part.test_ids) == (9 if name == "out of distribution" else 40)
        for some in part[:2]:
            assert (np.diff(some) > 0).all()


@pytest.mark.parametrize("use_labels", [True, False])
def test_distances_equal_brute_force(world, rng, use_labels):
    _, features, ids, labels = world
    held_back = 4 + rng.standard_normal((9, 6))
    for part in make(world, held_back=held_back, labels=labels if use_labels else None).values():
        asked = features[np.isin(ids, part.test_ids)]
        if part.experiment == "nsdsynthetic":
            np.testing.assert_array_equal(part.test_ids, np.arange(9))
            asked = held_back
        expected = cdist(asked, features[np.isin(ids, part.train_ids)]).min(axis=1)
        np.testing.assert_allclose(part.distances, expected, rtol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_every_far_test_image_is_farther_than_its_kind_is_apart_and_kinds_match(world, seed):
    _, features, ids, labels = world
    found = make(world, seed)
    part = found["far"]
    between = cdist(features, features)
    np.fill_diagonal(between, np.inf)
    for label in LABELS:
        apart = np.median(between.min(axis=1)[labels == label])
        of_kind = part.distances[labels[np.isin(ids, part.test_ids)] == label]
        assert len(of_kind) and of_kind.min() > apart
    shares = [
        np.mean(labels[np.isin(ids, some)] == label)
        for label in LABELS
        for some in (ids, part.test_ids, part.train_ids)
    ]
    of_all, of_test, of_train = np.reshape(shares, (4, 3)).T
    np.testing.assert_allclose(of_test, of_all, atol=1 / 40)
    # Each kind is rounded down by less than one image.
    np.testing.assert_allclose(of_train, of_test, atol=4 / len(part.train_ids))
    assert np.median(part.distances) > np.median(found["random"].distances)


@pytest.mark.parametrize("seed", range(5))
def test_clusters_are_held_out_whole(world, seed):
    _, features, ids, labels = world
    part = make(world, seed)["clusters"]
    of_train, of_test = (set(labels[np.isin(ids, some)]) for some in part[:2])
    assert not of_test & of_train
    # What is not held out trains.
    assert set(part.train_ids) == set(ids[np.isin(labels, list(of_train))])


def test_without_labels_the_clusters_are_those_of_the_features(rng):
    """Twelve clouds far apart, as many as there are clusters: each is held out whole or not at all."""
    table, _, ids, _ = make_world(rng)
    cloud = np.arange(len(ids)) % 12
    features = 100 * rng.standard_normal((12, 6))[cloud] + 0.1 * rng.standard_normal((len(ids), 6))
    part = nsd.splits(table, features, ids, np.random.default_rng(3), names="clusters")["clusters"]
    of_train, of_test = (set(cloud[np.isin(ids, some)]) for some in part[:2])
    assert of_test and of_train and not of_test & of_train and len(of_test | of_train) == 12
    assert part.distances.min() > 10


def test_the_order_of_rows_and_the_other_names_change_nothing_and_the_seed_does(world, rng):
    table, features, ids, labels = world
    rows, trials = rng.permutation(len(ids)), rng.permutation(len(table))
    for use in (labels, None):
        found = make(world, labels=use)
        mixed = nsd.splits(
            table.iloc[trials],
            features[rows],
            ids[rows],
            np.random.default_rng(0),
            labels=None if use is None else use[rows],
        )
        for name, part in found.items():
            for a, b in zip(part, mixed[name], strict=True):
                np.testing.assert_array_equal(a, b)
            alone = make(world, labels=use, names=name)
            assert list(alone) == [name]
            np.testing.assert_array_equal(alone[name].test_ids, part.test_ids)
        other = make(world, 1, labels=use)
        assert set(other["far"].test_ids) != set(found["far"].test_ids)


def test_fewer_test_images_are_drawn_on_request(world, rng):
    found = make(world, held_back=rng.standard_normal((30, 6)), n_test=20)
    shared = nsd.split(world[0])[1]
    assert [len(part.test_ids) for part in found.values()] == [20] * 4
    assert set(found["random"].test_ids) <= set(shared)
    assert set(found["random"].train_ids) == set(nsd.split(world[0])[0])


def test_the_table_of_distances(world):
    found = make(world)
    table = nsd.distance_quantiles(found, (0, 0.5, 1))
    assert list(table.index) == ["random", "far", "clusters"]
    assert list(table.columns) == ["n_train", "n_test", "0%", "50%", "100%"]
    for name, part in found.items():
        n_train, n_test, *values = table.loc[name]
        assert (n_train, n_test) == (len(part.train_ids), len(part.test_ids))
        np.testing.assert_allclose(
            values, [part.distances.min(), np.median(part.distances), part.distances.max()]
        )


def test_errors(world, rng):
    table, features, ids, labels = world
    holed = features.copy()
    holed[7, 2] = np.nan
    few = {"table": table, "features": features, "image_ids": ids, "labels": labels}
    for changed, message in (
        ({"names": "near"}, "No split .'near'.. There are: random, far, clusters, out of distribution"),
        ({"names": []}, "There are: random"),
        ({"names": "out of distribution"}, "pass their features as held_back="),
        ({"features": holed}, "NaN or infinite values in 1 of 200 rows, the first being row 7"),
        ({"features": features[1:]}, "features has 199 rows of 6 numbers, expected 200 rows"),
        ({"features": features[0]}, "features must be numbers"),
        (
            {"features": features[1:], "image_ids": ids[1:], "labels": labels[1:]},
            "no row for 1 of the images",
        ),
        ({"image_ids": np.append(ids[:-1], ids[0])}, "several rows for image"),
        ({"held_back": rng.standard_normal((5, 4))}, "of 6 numbers, as features has"),
        ({"held_back": np.full((5, 6), np.inf)}, "held_back holds NaN or infinite"),
        ({"held_back": rng.standard_normal((5, 6)), "n_test": 8}, "8 test images of 5 held-back images"),
        ({"labels": labels[1:]}, r"labels must be \(200,\)"),
        ({"labels": np.where(labels == "lake", np.nan, 1.0)}, "none missing"),
        ({"labels": np.zeros(200)}, "all of one kind"),
        ({"n_test": 0}, "whole number from 1 to 199"),
        ({"n_test": 200}, "whole number from 1 to 199"),
        ({"n_test": 41}, "Asked for 41 test images of 40 shared images"),
        ({"n_test": [3, 4]}, "whole number from 1 to 199"),
        ({"n_test": 195, "names": "clusters"}, "leave none of 200 for training"),
        ({"n_test": 190, "names": "far"}, "Fewer images than asked for"),
    ):
        with pytest.raises(ValueError, match=message):
            nsd.splits(**few | {"rng": rng} | changed)
