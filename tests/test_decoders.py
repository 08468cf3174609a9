import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import r2_score

from latentcortex.decoders import LinearDecoder, rescale_by, rescaling


@pytest.fixture
def world():
    """120 images seen twice; 50 voxels that carry 4x3x3 latents and noise."""
    rng = np.random.default_rng(0)
    latents = rng.standard_normal((120, 4, 3, 3)).astype(np.float32) + 2
    tuning = rng.standard_normal((36, 50)) / 6
    image = np.tile(np.arange(120), 2)
    betas = (latents.reshape(120, -1) @ tuning)[image] + 0.7 * rng.standard_normal((240, 50))
    betas = (betas * rng.uniform(0.1, 10, 50) + rng.uniform(-5, 5, 50)).astype(np.float32)
    image_ids = rng.permutation(73_000)[:120][image]
    test = image >= 100
    return betas, latents[image], image_ids, test


def test_decodes_held_out_images_in_their_shape(world):
    betas, latents, image_ids, test = world
    decoder = LinearDecoder().fit(betas[~test], latents[~test], image_ids[~test])
    decoded = decoder.predict(betas[test])
    assert decoded.shape == latents[test].shape and decoded.dtype == np.float32
    # Signal and noise are known: 50 voxels of R2 near 2/3 for 36 numbers.
    r = np.corrcoef(decoded.ravel() - 2, latents[test].ravel() - 2)[0, 1]
    assert 0.6 < r < 0.95
    assert decoder.score(betas[test], latents[test]).shape == (4, 3, 3)
    np.testing.assert_array_equal(decoder.image_ids_, image_ids[~test])
    assert clone(decoder).get_params() == decoder.get_params()


def test_the_unit_of_a_voxel_does_not_matter(world):
    betas, latents, image_ids, test = world
    other = betas * np.geomspace(1e-3, 1e3, 50, dtype=np.float32) + 7
    decoded = [
        LinearDecoder().fit(b[~test], latents[~test], image_ids[~test]).predict(b[test])
        for b in (betas, other)
    ]
    np.testing.assert_allclose(decoded[1], decoded[0], atol=2e-3)


@pytest.mark.parametrize("cv", [5, "gcv"])
def test_order_of_rows_does_not_matter(world, cv):
    betas, latents, image_ids, test = world
    train = np.flatnonzero(~test)
    train = train[:100] if cv == "gcv" else train
    order = np.random.default_rng(1).permutation(train)
    decoded = [
        LinearDecoder(cv=cv).fit(betas[rows], latents[rows], image_ids[rows]).predict(betas[test])
        for rows in (train, order)
    ]
    np.testing.assert_allclose(decoded[1], decoded[0], atol=1e-4)


def test_repeats_of_an_image_stay_in_one_fold():
    """Betas that know the image but nothing of its features must not seem to predict them."""
    rng = np.random.default_rng(0)
    image = np.tile(np.arange(60), 3)
    betas = rng.standard_normal((60, 100))[image] + 0.1 * rng.standard_normal((180, 100))
    features = rng.standard_normal((60, 20))[image]
    decoder = LinearDecoder().fit(betas, features, image)
    assert decoder.ridge_.cv_scores_.max(0).mean() < 0.05


def test_features_may_be_tensors(world):
    betas, latents, image_ids, test = world
    tensors = torch.from_numpy(latents)
    decoder = LinearDecoder().fit(betas[~test], tensors[~test], image_ids[~test])
    decoded = decoder.predict(betas[test])
    assert torch.is_tensor(decoded) and decoded.dtype == torch.float32
    expected = LinearDecoder().fit(betas[~test], latents[~test], image_ids[~test])
    np.testing.assert_allclose(decoded, expected.predict(betas[test]), atol=1e-5)
    decoder.fit_rescaling(betas[test], tensors[test], image_ids[test])
    assert torch.is_tensor(decoder.predict(betas[test], rescale=True))


def test_rescaling_restores_mean_and_spread_of_validation_images(world):
    betas, latents, image_ids, test = world
    latents[:, 0, 0, 0] = 0.3
    decoder = LinearDecoder().fit(betas[~test], latents[~test], image_ids[~test])
    with pytest.raises(Exception, match="fit_rescaling"):
        decoder.predict(betas[test], rescale=True)
    plain = decoder.predict(betas[test])
    decoder.fit_rescaling(betas[test], latents[test], image_ids[test])
    rescaled = decoder.predict(betas[test], rescale=True)
    np.testing.assert_allclose(rescaled.std(0), latents[test].std(0), atol=1e-4)
    np.testing.assert_allclose(rescaled.mean(0), latents[test].mean(0), atol=1e-4)
    np.testing.assert_array_equal(decoder.predict(betas[test]), plain)
    # One row alone gives what it gives among others: no statistics of the rows predicted enter.
    alone = decoder.predict(betas[test][:1], rescale=True)
    np.testing.assert_allclose(alone, rescaled[:1], atol=1e-5)


def test_a_decoder_refuses_to_be_tested_on_what_it_has_learned_from(world):
    betas, latents, image_ids, test = world
    decoder = LinearDecoder().fit(betas[~test], latents[~test], image_ids[~test])
    known = image_ids[~test][:1]
    with pytest.raises(ValueError, match=rf"learned from 1 of these images, such as {known[0]}"):
        decoder.predict(betas[test], image_ids=[*image_ids[test][1:], *known])
    with pytest.raises(ValueError, match="learned from"):
        decoder.fit_rescaling(betas[~test], latents[~test], image_ids[~test])
    half = np.flatnonzero(test)[:5]
    decoder.fit_rescaling(betas[half], latents[half], image_ids[half])
    with pytest.raises(ValueError, match="learned from"):
        decoder.predict(betas[half], rescale=True, image_ids=image_ids[half])
    # Without rescaling these images are new.
    decoder.predict(betas[half], image_ids=image_ids[half])


def test_errors(world):
    betas, latents, image_ids, _ = world
    with pytest.raises(
        ValueError, match="one row per image, or one row per trial; got 240, 239 and 240 rows"
    ):
        LinearDecoder().fit(betas, latents[:-1], image_ids)
    with pytest.raises(ValueError, match="different features"):
        LinearDecoder().fit(betas, np.random.default_rng(0).permutation(latents), image_ids)
    with pytest.raises(ValueError, match="average the repeats"):
        LinearDecoder(cv="gcv").fit(betas, latents, image_ids)


def fitted_with_validation(world):
    betas, latents, image_ids, test = world
    decoder = LinearDecoder().fit(betas[~test], latents[~test], image_ids[~test])
    return decoder, betas[test], latents[test].copy(), image_ids[test]


def test_the_rescaling_checks_features_as_fit_does(world):
    decoder, betas, latents, ids = fitted_with_validation(world)
    broken = latents.copy()
    broken[3, 2, 1, 0] = np.nan
    for features, rows, message in (
        (broken, slice(None), r"features holds NaN.*row 3, column \(2, 1, 0\)"),
        (latents.transpose(0, 2, 1, 3), slice(None), r"\(n, 4, 3, 3\), in the order of axes that was fitted"),
        (latents[:-1], slice(None), "got 40, 39 and 40 rows"),
        (latents[:1], slice(1), "one image has no spread"),
        (latents[[0, 20]], [0, 20], "one image has no spread"),
        (latents[[1, 0, *range(2, 40)]], slice(None), "same image id hold different features"),
    ):
        with pytest.raises(ValueError, match=message):
            decoder.fit_rescaling(betas[rows], features, ids[rows])
        with pytest.raises(NotFittedError, match="fit_rescaling"):
            decoder.predict(betas, rescale=True)
    decoder.fit_rescaling(betas.tolist(), latents.tolist(), ids.tolist())
    np.testing.assert_allclose(
        decoder.predict(betas, rescale=True).std(0), latents.std(0), rtol=1e-3, atol=1e-4
    )


def test_rescaling_finds_the_known_gain_and_refuses_what_has_none(rng):
    predicted = torch.from_numpy(rng.standard_normal((50, 2, 3)))
    mean, gain, of_features = rescaling(predicted, 5 * predicted.numpy() - 2)
    np.testing.assert_allclose(gain, 5)
    np.testing.assert_allclose(of_features, 5 * mean - 2)
    np.testing.assert_allclose(rescale_by((mean, gain, of_features), predicted), 5 * predicted - 2)
    for features, message in (
        (predicted[:, :1], r"features must be \(n, 2, 3\)"),
        (predicted[:1], "got 50 and 1 rows"),
        (predicted * np.nan, "features holds NaN"),
        (predicted.numpy().astype(object), "real numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            rescaling(predicted, features)
    with pytest.raises(ValueError, match="too large for torch.float32"):
        rescaling(predicted.float(), predicted * 1e39)
    with pytest.raises(ValueError, match=r"predicted must be \(n, 2, 3\)"):
        rescale_by((mean, gain, of_features), predicted[:, :, :1])
    with pytest.raises(ValueError, match="predicted holds NaN"):
        rescale_by((mean, gain, of_features), predicted * np.nan)


def test_scores_are_asked_of_features_in_the_axes_that_were_fitted(world):
    decoder, betas, latents, _ = fitted_with_validation(world)
    expected = r2_score(
        latents.reshape(40, -1), decoder.predict(betas).reshape(40, -1), multioutput="raw_values"
    )
    np.testing.assert_allclose(decoder.score(betas, latents).ravel(), expected, atol=1e-4)
    for features in (latents.transpose(0, 2, 1, 3), latents.reshape(40, -1)):
        with pytest.raises(ValueError, match="in the order of axes that was fitted"):
            decoder.score(betas, features)
