"""Script ch10: features reduced and turned back, regions compared, discoveries counted, scenes read."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from data_scripts import ch10_encode_voxels as ch10
from latentcortex import encoding
from latentcortex.studies import maps


@pytest.mark.usefixtures("one_thread")
def test_features_are_predicted_from_through_their_first_components(rng, monkeypatch):
    monkeypatch.setattr(maps, "N_COMPONENTS", 8)
    values = (rng.normal(size=(120, 12)) * np.geomspace(9, 0.3, 12)).astype(np.float32)
    values = np.hstack([values @ rng.normal(size=(12, 30)).astype(np.float32), np.ones((120, 2), np.float32)])
    is_train, ids = np.arange(120) < 90, np.arange(90)
    betas = (values[:90, :5] + rng.normal(0, 9, (90, 5))).astype(np.float32)
    found = maps.predict(values, is_train, (betas, ids, np.ones(90, int)), np.arange(90, 120))
    pca = PCA(8, svd_solver="full").fit(values[:90, :-2])  # the last two never vary
    reduced = pca.inverse_transform(pca.transform(values[:, :-2])).astype(np.float32)
    encoder = encoding.VoxelwiseEncoder(cv="gcv").fit(reduced[:90], betas, ids, np.ones(90, int))
    np.testing.assert_allclose(found, encoder.predict(reduced[90:]), atol=1e-3 * np.abs(found).max())


def test_regions_are_compared_at_matched_numbers(rng):
    first, second = np.arange(300) < 200, np.arange(300) >= 200
    values = np.where(first, 0.5, 0.2)
    draws = values + rng.normal(0, 0.1, (400, 1)) * first  # the images move the first region alone
    mean, low, high = ch10.compare_regions(values, draws, first, second, np.random.default_rng(0))
    assert abs(mean - 0.3) < 1e-12
    np.testing.assert_allclose([low, high], [0.3 - 0.196, 0.3 + 0.196], atol=0.03)
    # The larger region is given a subsample for each draw, so that its size brings no advantage.
    noise = rng.normal(size=300)
    noise -= noise.mean()
    matched = ch10.compare_regions(noise, np.tile(noise, (200, 1)), first, second, np.random.default_rng(0))
    spread = noise[first].std() * np.sqrt(1 / 100 - 1 / 200)
    assert abs(matched[0] - (noise[first].mean() - noise[second].mean())) < 4 * spread / np.sqrt(200)
    assert matched[2] - matched[1] > 2 * spread


def test_discoveries_are_counted_inside_and_outside():
    r = np.array([0.9, 0.9, 0.0, 0.31, 0.0, 0.9])
    visual = np.array([True, True, True, False, False, False])
    corrected, uncorrected = ch10.discoveries(r, np.arange(50), visual)
    assert uncorrected.tolist() == [2, 2] and corrected.tolist() in ([2, 1], [2, 2])
    assert ch10.discoveries(np.zeros(6), np.arange(50), visual)[1].sum() == 0
