"""Readings of weighed drawings from two products, and how they are calibrated."""

from types import SimpleNamespace

import numpy as np
import pytest
from test_ledger import planted

from latentcortex import metrics
from latentcortex.studies import ledger, weighed_ledger

N, N_SUBJECTS = 12, 2


def readings_of(rng):
    """Return scenes, and readings (n_subjects, n_drawings, n_scenes, ...) of which 30 % are spoilt."""
    drawn, reading = planted(rng, N)
    of = {name: np.stack([values.swapaxes(0, 1)] * N_SUBJECTS) for name, values in reading.items()}
    for values in of.values():
        spoilt = rng.random(values.shape) < 0.3
        values[spoilt] = rng.integers(0, 2, spoilt.sum())
    return drawn, of


@pytest.fixture
def products(rng):
    """Two products: five drawings of three ways, then fifteen, and those of validation images."""
    drawn, of = readings_of(rng)
    known, of_known = readings_of(rng)
    arrays = {f"judge {name}": np.stack([0 * v[:, :5], v[:, :5], 0 * v[:, :5]], 1) for name, v in of.items()}
    arrays["test_ids"] = 7 * np.arange(N)
    facts = {"ways": ["plain", "weighed", "uncorrected"], "setting": {"weighed": [3.0, 0.75]}}
    weighed = SimpleNamespace(
        arrays=arrays, provenance=facts | {"subjects": ["subj01", "subj02"]}, name="weigh"
    )
    arrays = {f"test judge {name}": values[:, 5:] for name, values in of.items()}
    arrays |= {f"validation judge {name}": values for name, values in of_known.items()}
    arrays |= {f"nothing judge {name}": values[:1, :5] for name, values in of.items()}
    arrays["validation_ids"] = np.arange(2 * N).reshape(2, N)
    arrays["test_ids"] = np.stack([7 * np.arange(N)] * N_SUBJECTS)
    facts = {"subjects": ("subj01", "subj02"), "setting": (3.0, 0.75)}
    more = SimpleNamespace(arrays=arrays, provenance=facts, name="keep")
    return SimpleNamespace(weighed=weighed, more=more, drawn=drawn, of=of, known=[known, known[::-1]])


def test_drawings_of_two_products_are_put_together_in_order(products):
    found = weighed_ledger.of_test_images(products.weighed, products.more, "judge")
    assert weighed_ledger.n_drawings(found) == 20
    for subject, reading in enumerate(found):
        for name, values in products.of.items():
            np.testing.assert_array_equal(reading[name], values[subject].swapaxes(0, 1))
    alone = weighed_ledger.of_test_images(products.weighed, None, "judge")
    assert weighed_ledger.n_drawings(alone) == 5
    np.testing.assert_array_equal(alone[1]["kinds"], found[1]["kinds"][:, :5])


def test_drawings_are_put_together_by_id_and_only_if_they_belong_together(products):
    expected = weighed_ledger.of_test_images(products.weighed, products.more, "judge")
    more = products.more
    for name, of in more.arrays.items():
        if name.startswith("test judge"):
            of[1] = of[1, :, ::-1].copy()
    more.arrays["test_ids"][1] = more.arrays["test_ids"][1, ::-1].copy()
    found = weighed_ledger.of_test_images(products.weighed, more, "judge")
    for one, other in zip(found, expected, strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])
    more.arrays["test_ids"][0, 0] = 999
    with pytest.raises(ValueError, match="0"):
        weighed_ledger.of_test_images(products.weighed, more, "judge")
    more.provenance = {"subjects": ("subj01", "subj02"), "setting": (3.0, 0.6)}
    with pytest.raises(ValueError, match=r"trust and strength \[3.0, 0.75\] and keep \[3.0, 0.6\]"):
        weighed_ledger.of_test_images(products.weighed, more, "judge")
    more.provenance = {"subjects": ("subj02", "subj01"), "setting": (3.0, 0.75)}
    with pytest.raises(ValueError, match="the subjects"):
        weighed_ledger.of_test_images(products.weighed, more, "judge")
    with pytest.raises(ValueError, match="a judge of judge, second judge, got 'third'"):
        weighed_ledger.of_test_images(products.weighed, None, "third")


@pytest.mark.parametrize("sort", ["setting", "kind", "colour", "thing"])
def test_drawings_that_are_as_unsure_as_they_should_be_have_a_temperature_of_one(rng, sort):
    """Truth and drawings come from one posterior, so the scene is one more drawing."""
    n = 150
    _, reading = planted(rng, n)
    sizes = {"setting": 6, "time": 3, "colours": 6, "places": 3}
    for name, values in reading.items():
        guess = rng.integers(0, sizes.get(name, 2), values.shape).astype(np.uint8)
        if name == "kinds":  # one of two kinds, as open as a coin
            pair = rng.permuted(np.tile(np.arange(10), (n, 1)), axis=1)[:, :2]
            chosen = np.take_along_axis(pair[:, None], rng.integers(0, 2, (n, values.shape[1], 1)), axis=2)
            guess = (np.arange(10) == chosen).astype(np.uint8)
        values[:] = np.where(rng.random((n, 1) + (1,) * (values.ndim - 2)) < 0.5, guess, guess[:, :1])
    claims = weighed_ledger.claims_about_a_drawing([reading], sort)
    temperature, prior = weighed_ledger.calibrate(claims, values.shape[1] - 1)
    assert temperature == pytest.approx(1, abs=0.15)
    made = ledger.made(reading, sort)
    np.testing.assert_array_equal(claims.counts, made[:, 1:].sum(1).ravel())
    np.testing.assert_array_equal(claims.is_true, made[:, 0].ravel())
    assert prior == made[:, 0].mean()


def test_claims_keep_their_scene_and_their_truth(products):
    found = weighed_ledger.of_test_images(products.weighed, products.more, "judge")
    claims = weighed_ledger.claims(found, [products.drawn] * N_SUBJECTS, "kind")
    counts = np.stack([of["kinds"].sum(1) for of in found])  # (subjects, scenes, kinds)
    np.testing.assert_array_equal(claims.counts, counts.ravel())
    np.testing.assert_array_equal(claims.rows.reshape(counts.shape)[1, :, 3], np.arange(N))
    assert claims.is_true.sum() == N_SUBJECTS * sum(len(scene.things) for scene in products.drawn)


def test_temperature_is_that_of_validation_images_by_hand(products, monkeypatch):
    known = dict(zip((0, N), products.known, strict=True))  # by the first id of a subject
    monkeypatch.setattr(weighed_ledger.planted, "read_scenes", lambda _, ids: known[ids[0]])
    temperature, prior = weighed_ledger.temperature(products.more, "root", "setting")
    shares, true = [], []
    readings = weighed_ledger.of_validation_images(products.more, "judge")
    for reading, scenes in zip(readings, products.known, strict=True):
        counts, is_true = ledger.statements(reading, scenes, "setting")
        shares.append((counts.ravel() + 1 / 6) / 21)
        true.append(is_true.ravel())
    shares, true = np.concatenate(shares), np.concatenate(true)
    made = shares > 0.5 / 21  # by at least one drawing
    assert prior == pytest.approx(1 / 6)
    assert temperature == pytest.approx(metrics.fit_temperature(shares[made], true[made], 1 / 6))
    monkeypatch.setattr(weighed_ledger.planted, "read_scenes", lambda _, ids: known[N - ids[0]])  # swapped
    assert weighed_ledger.temperature(products.more, "root", "setting")[0] != pytest.approx(temperature)


def test_drawings_without_a_brain_are_those_of_nothing(products):
    table = ledger.truth(products.drawn)
    found = weighed_ledger.without_brain(products.more, "judge", table)
    row = np.flatnonzero(table["attribute"] == "kind")[0]
    kind = table.loc[row, "kind"]
    assert found[row] == pytest.approx(products.of["kinds"][0, :5, :, kind].mean())
