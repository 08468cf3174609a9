"""Chapter 09's script scores the rows that it names."""

import numpy as np
import pytest
import torch

from data_scripts import ch06_reconstruct_images as shuffles
from data_scripts import ch09_measure_reconstructions as script
from latentcortex import metrics
from latentcortex.studies import decoding, drawings, encoders, scores
from latentcortex.studies.recipes import RECIPES
from latentcortex.studies.targets import train_mean_image

pytestmark = pytest.mark.usefixtures("one_thread")


def features_of(study, name):
    """True features of the training images and decoded ones, (n, ...) each, without the training mean."""
    true = decoding.linear(study, "subj01", name).true_train.flatten(1).numpy()
    return true - true.mean(0), decoding.decoded(study, "subj01", name).flatten(1).numpy() - true.mean(0)


def test_the_nearest_training_image_is_found_by_a_search(study):
    for name in "zc":
        true, decoded = features_of(study, name)
        r = np.array([[np.corrcoef(a, b)[0, 1] for b in true] for a in decoded])
        np.testing.assert_array_equal(script.nearest_rows(study, "subj01", f"nearest_{name}"), r.argmax(1))


def test_nearest_by_both_weighs_z_and_c_alike(study):
    both = 0
    for name in "zc":
        true, decoded = features_of(study, name)
        both = both + np.array([[np.corrcoef(a, b)[0, 1] for b in true] for a in decoded])
    np.testing.assert_array_equal(script.nearest_rows(study, "subj01", "nearest"), both.argmax(1))


def test_random_training_images_differ_between_drawings(study):
    first, second = (script.images_of(study, "subj01", "random_training", k) for k in (0, 1))
    assert first.shape == second.shape == study.originals.shape and not torch.equal(first, second)
    assert len({image.numpy().tobytes() for image in first}) == 8


def test_rows_without_a_drawing_are_what_they_are_called(study):
    mean = script.images_of(study, "subj01", "mean_image")
    assert torch.equal(mean[3], train_mean_image(study, "subj01"))
    blurred = script.images_of(study, "subj01", "blurred_2")
    expected = metrics.blurred(study.originals.numpy(), 2.0)
    np.testing.assert_allclose(blurred, np.clip(expected, 0, 1), atol=1e-6)


def test_brain_correlations_leave_images_without_a_second_showing_undefined(study, monkeypatch):
    betas = np.random.default_rng(0).normal(size=(3, 8, 30)).astype(np.float32)
    betas[2, 3] = np.nan
    shown = dict(zip(script.SHOWINGS.values(), betas, strict=True))
    read = type("Read", (), {"showings": staticmethod(lambda _region, which, _ids: shown[which])})
    encoded = torch.from_numpy(betas[0] + 1)
    monkeypatch.setattr(decoding, "read", lambda *_: read)
    monkeypatch.setattr(encoders, "encoder_of_scores", lambda *_: lambda _: encoded)
    found = encoders.brain_correlations(study, "subj01", None, script.SHOWINGS.values())
    assert np.isnan(found[3, 2]) and np.isfinite(np.delete(found.ravel(), 3 * 3 + 2)).all()
    np.testing.assert_allclose(found[:, 0], 1, atol=1e-6)


def test_parts_and_product_hold_the_scores_of_their_drawings(study, monkeypatch):
    rows = {"z_only": 2, "c_only": 2, "both": 2, "mean_image": 1}
    monkeypatch.setattr(script, "ROWS", rows)
    monkeypatch.setattr(script, "PICTURED", ("both", "mean_image"))
    parts = {
        (s, row): script.make(study, s, row) for s in study.subjects for row in (*rows, script.ORIGINALS)
    }
    products = script.gather(study, lambda *part: parts[part])
    arrays, provenance = products[""]
    names, n = scores.scorer_of(study).names, len(study.image_ids)
    assert arrays["scores"].shape == (n, 2, 4, len(names)) and arrays["drawings"].shape[2:4] == (3, 2)
    assert arrays["brain"].shape == (n, 2, 5, 3) and arrays["retrieved"].shape == (n, 2, 2, 2)
    k, centre = names.index("centred PixCorr"), train_mean_image(study, "subj02")
    for repeat in (0, 1):
        images = drawings.drawings(study, "subj02", RECIPES["both"], repeat)
        expected = metrics.pixcorr(images, study.originals, centre)
        np.testing.assert_allclose(arrays["drawings"][:, 1, 2, repeat, k], expected, atol=1e-3)
    mean = arrays["drawings"].astype(float).mean(3)
    np.testing.assert_allclose(arrays["scores"][:, :, :3], mean, atol=2e-3)
    assert np.isnan(arrays["scores"][:, :, 3, k]).all() and np.isnan(arrays["consistency"][:, :, 3]).all()
    assert provenance["rows"] == list(rows) and provenance["scores"] == names
    pictures = products["-pictures"][0]
    assert pictures["pictures"].shape == (script.N_PICTURES, 2, 64, 64, 3)


def test_shuffles_and_pictures_are_those_of_the_first_drawing(study):
    part = shuffles.make(study, "subj01", "both")
    assert part["shuffled"].shape == (shuffles.N_SHUFFLES,) and part["pictures"].shape == (8, 64, 64, 3)
    images = drawings.drawings(study, "subj01", RECIPES["both"])
    low = [metrics.identification(f(study.originals), f(images)).mean() for f in shuffles.LOW_LEVEL]
    assert part["unshuffled"] == pytest.approx(np.mean(low))
    assert abs(part["shuffled"].mean() - 0.5) < 0.15
    np.testing.assert_array_equal(part["pictures"], drawings.to_bytes(images))
