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
    weighed = SimpleNamespace(arrays=arrays, provenance={"ways": ["plain", "weighed", "uncorrected"]})
    arrays = {f"test judge {name}": values[:, 5:] for name, values in of.items()}
    arrays |= {f"validation judge {name}": values for name, values in of_known.items()}
    arrays |= {f"nothing judge {name}": values[:1, :5] for name, values in of.items()}
    arrays["validation_ids"] = np.arange(2 * N).reshape(2, N)
    return SimpleNamespace(
        weighed=weighed, more=SimpleNamespace(arrays=arrays), drawn=drawn, of=of, known=known
    )


def test_drawings_of_two_products_are_put_together_in_order(products):
    found = weighed_ledger.of_test_images(products.weighed, products.more, "judge")
    assert weighed_ledger.n_drawings(found) == 20
    for subject, reading in enumerate(found):
        for name, values in products.of.items():
            np.testing.assert_array_equal(reading[name], values[subject].swapaxes(0, 1))
    alone = weighed_ledger.of_test_images(products.weighed, None, "judge")
    assert weighed_ledger.n_drawings(alone) == 5
    np.testing.assert_array_equal(alone[1]["kinds"], found[1]["kinds"][:, :5])


def test_claims_keep_their_scene_and_their_truth(products):
    found = weighed_ledger.of_test_images(products.weighed, products.more, "judge")
    claims = weighed_ledger.claims(found, [products.drawn] * N_SUBJECTS, "kind")
    counts = np.stack([of["kinds"].sum(1) for of in found])  # (subjects, scenes, kinds)
    np.testing.assert_array_equal(claims.counts, counts.ravel())
    np.testing.assert_array_equal(claims.rows.reshape(counts.shape)[1, :, 3], np.arange(N))
    assert claims.is_true.sum() == N_SUBJECTS * sum(len(scene.things) for scene in products.drawn)


def test_temperature_is_that_of_validation_images_by_hand(products, monkeypatch):
    asked = []
    monkeypatch.setattr(
        weighed_ledger.planted, "read_scenes", lambda _, ids: asked.append(ids) or products.known
    )
    temperature, prior = weighed_ledger.temperature(products.more, "root", "setting")
    assert [ids.tolist() for ids in asked] == products.more.arrays["validation_ids"].tolist()
    shares, true = [], []
    for reading in weighed_ledger.of_validation_images(products.more, "judge"):
        counts, is_true = ledger.statements(reading, products.known, "setting")
        shares.append((counts.ravel() + 0.5) / 21)
        true.append(is_true.ravel())
    shares, true = np.concatenate(shares), np.concatenate(true)
    assert prior == pytest.approx(1 / 6)
    assert temperature == pytest.approx(metrics.fit_temperature(shares, true, 1 / 6))


def test_drawings_without_a_brain_are_those_of_nothing(products):
    table = ledger.truth(products.drawn)
    found = weighed_ledger.without_brain(products.more, "judge", table)
    row = np.flatnonzero(table["attribute"] == "kind")[0]
    kind = table.loc[row, "kind"]
    assert found[row] == pytest.approx(products.of["kinds"][0, :5, :, kind].mean())
