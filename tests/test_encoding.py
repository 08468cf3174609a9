import numpy as np
import pytest
import torch
from scipy import stats

from latentcortex.decoders import LinearDecoder
from latentcortex.encoding import (
    VoxelwiseEncoder,
    bootstrap_correlation,
    correlation,
    fdr,
    normalised_correlation,
    p_values,
    preference,
)


def simulate(rng, n_images=(200, 100), n_features=20, n_vertices=400, share_null=0.75):
    """Vertices without any signal, and some whose signal ranges from faint to strong."""
    features = rng.standard_normal((sum(n_images), n_features))
    is_null = np.arange(n_vertices) < share_null * n_vertices
    strength = np.where(is_null, 0, rng.uniform(0.2, 1.5, n_vertices))
    tuning = rng.standard_normal((n_features, n_vertices)) / np.sqrt(n_features)
    betas = features @ tuning * strength + rng.standard_normal((sum(n_images), n_vertices))
    return features, betas, is_null


def held_out_correlation(features, betas, n_train=200):
    encoder = VoxelwiseEncoder().fit(features[:n_train], betas[:n_train], np.arange(n_train))
    return correlation(encoder.predict(features[n_train:]), betas[n_train:])


def test_false_discoveries_stay_below_q_and_do_not_without_the_correction():
    q, false_share, uncorrected_share, found, null_p = 0.1, [], [], [], []
    for seed in range(20):
        features, betas, is_null = simulate(np.random.default_rng(seed))
        p = p_values(held_out_correlation(features, betas), 100)
        rejected, _ = fdr(p, q)
        false_share.append((rejected & is_null).sum() / max(1, rejected.sum()))
        uncorrected_share.append(((p <= q) & is_null).sum() / (p <= q).sum())
        found.append(rejected[~is_null].mean())
        null_p.append(p[is_null])
    assert np.mean(false_share) <= q
    assert np.mean(uncorrected_share) > q, "the planted nulls are too few to test a correction"
    assert np.mean(found) > 0.6
    assert stats.kstest(np.concatenate(null_p), "uniform").pvalue > 0.01


def test_nothing_but_nulls_gives_discoveries_in_a_share_q_of_worlds(rng):
    discoveries = [fdr(rng.uniform(size=500), 0.2)[0].any() for _ in range(400)]
    assert 0.13 < np.mean(discoveries) < 0.27


def test_fdr_equals_the_procedure_step_by_step(rng):
    p = np.concatenate([rng.uniform(size=60), rng.uniform(0, 0.01, size=20)])
    for q in (0.01, 0.05, 0.3):
        passing = np.flatnonzero(np.sort(p) <= q * np.arange(1, 81) / 80)
        threshold = np.sort(p)[passing[-1]] if len(passing) else -1
        rejected, adjusted = fdr(p, q)
        np.testing.assert_array_equal(rejected, p <= threshold)
        np.testing.assert_array_equal(rejected, adjusted <= q)


def test_vertices_not_tested_do_not_count(rng):
    p = rng.uniform(0, 0.2, size=50)
    with_gaps = np.insert(p, [0, 10, 50], np.nan)
    gaps = np.isnan(with_gaps)
    for got, expected in zip(fdr(with_gaps), fdr(p), strict=True):
        np.testing.assert_array_equal(got[~gaps], expected)
    assert not fdr(with_gaps)[0][gaps].any()
    assert not fdr(np.full(3, np.nan))[0].any()


def test_p_values_equal_scipy_and_are_one_sided(rng):
    predicted, measured = rng.standard_normal((2, 30, 50))
    r = correlation(predicted, measured)
    expected = [
        stats.pearsonr(a, b, alternative="greater") for a, b in zip(predicted.T, measured.T, strict=True)
    ]
    np.testing.assert_allclose(r, [e.statistic for e in expected], atol=1e-12)
    np.testing.assert_allclose(p_values(r, 30), [e.pvalue for e in expected], rtol=1e-9)
    np.testing.assert_array_equal(p_values([-1, 0, 1, np.nan], 30), [1, 0.5, 0, np.nan])


def test_correlation_survives_scale_and_leaves_constants_undefined(rng):
    predicted, measured = rng.standard_normal((2, 40, 6)).astype(np.float32)
    shifted = predicted * np.float32(1e-3) + 50
    np.testing.assert_allclose(correlation(shifted, measured), correlation(predicted, measured), atol=0.05)
    measured[:, 2] = 0.1
    assert np.flatnonzero(np.isnan(correlation(predicted, measured))).tolist() == [2]


def test_bootstrap_equals_drawing_rows(rng):
    predicted, measured = rng.standard_normal((2, 40, 5)) + 3
    draws = bootstrap_correlation(predicted, measured, np.random.default_rng(7), n_draws=3)
    counts = np.random.default_rng(7).multinomial(40, np.full(40, 1 / 40), size=3)
    for draw, count in zip(draws, counts, strict=True):
        rows = np.repeat(np.arange(40), count)
        np.testing.assert_allclose(draw, correlation(predicted[rows], measured[rows]), atol=1e-12)


def test_bootstrap_spreads_as_correlations_of_new_images_do(rng):
    x = rng.standard_normal((100, 500))
    y = 0.5 * x + rng.standard_normal((100, 500))
    draws = bootstrap_correlation(x, y, rng, n_draws=200)
    assert draws.std(0).mean() == pytest.approx(correlation(x, y).std(), rel=0.15)


@pytest.mark.parametrize("n_repeats", [1, 3])
def test_the_true_model_reaches_the_noise_ceiling(rng, n_repeats):
    """With the true signal as prediction the normalised correlation is 1 (methods: NC in R2)."""
    ncsnr = np.linspace(0.3, 1.5, 200)
    signal = rng.standard_normal((2000, 200))
    noise = rng.standard_normal((2000, 200)) / ncsnr / np.sqrt(n_repeats)
    noise_ceiling = ncsnr**2 / (ncsnr**2 + 1 / n_repeats)
    normalised = normalised_correlation(correlation(signal, signal + noise), noise_ceiling)
    assert normalised.mean() == pytest.approx(1, abs=0.01)
    assert normalised.std() < 0.06


def test_low_ceilings_are_left_out_and_percent_is_refused():
    noise_ceiling = np.array([0.04, 0.25, np.nan])
    r = np.array([0.5, 0.4, 0.5])
    np.testing.assert_allclose(normalised_correlation(r, noise_ceiling), [np.nan, 0.8, np.nan])
    np.testing.assert_allclose(preference(r, r / 2, noise_ceiling), [np.nan, 0.4, np.nan])
    with pytest.raises(ValueError, match="divide percent by 100"):
        normalised_correlation(r, 100 * noise_ceiling)


def test_averages_weighted_by_repeats_equal_single_trials(rng):
    features, betas, _ = simulate(rng, n_images=(80, 0), n_vertices=30)
    features = features.reshape(80, 4, 5)
    n_repeats = rng.integers(1, 4, 80)
    image = np.repeat(np.arange(80), n_repeats)
    trials = betas[image] + rng.standard_normal((len(image), 30))
    averages = np.array([trials[image == i].mean(0) for i in range(80)])
    averaged = VoxelwiseEncoder(10.0).fit(features, averages, np.arange(80), n_repeats)
    single = VoxelwiseEncoder(10.0).fit(features[image], trials, image)
    np.testing.assert_allclose(averaged.predict(features), single.predict(features), rtol=1e-9)


def test_order_of_rows_does_not_matter(rng):
    features, betas, _ = simulate(rng, n_images=(100, 50), n_vertices=30)
    order, test_order = rng.permutation(100), 100 + rng.permutation(50)
    encoder = VoxelwiseEncoder(cv=5).fit(features[:100], betas[:100], np.arange(100))
    permuted = VoxelwiseEncoder(cv=5).fit(features[order], betas[order], order)
    r = correlation(encoder.predict(features[100:]), betas[100:])
    permuted_r = correlation(permuted.predict(features[test_order]), betas[test_order])
    np.testing.assert_allclose(permuted_r, r, atol=1e-9)


def test_tensors_of_features_follow_the_betas(rng):
    features, betas, _ = simulate(rng, n_images=(60, 0), n_vertices=5)
    encoder = VoxelwiseEncoder().fit(torch.as_tensor(features), betas, np.arange(60))
    assert isinstance(encoder.predict(torch.as_tensor(features)), np.ndarray)


def test_errors(rng):
    features, betas, _ = simulate(rng, n_images=(30, 0), n_vertices=5)
    with pytest.raises(ValueError, match="one row per image"):
        VoxelwiseEncoder().fit(features, betas[1:], np.arange(30))
    with pytest.raises(ValueError, match="average the repeats"):
        VoxelwiseEncoder().fit(features[np.arange(30) // 3], betas, np.arange(30) // 3)
    with pytest.raises(ValueError, match="must both be"):
        correlation(betas, betas[:, 1:])
    with pytest.raises(ValueError, match="at least 3"):
        p_values(np.zeros(3), 2)


@pytest.mark.parametrize("q", [0, 1, 5, np.nan])
def test_q_lies_between_0_and_1(q):
    with pytest.raises(ValueError, match="between 0 and 1"):
        fdr(np.zeros(3), q)


@pytest.mark.parametrize("n_images", [2, np.nan, 30.5, None])
def test_a_test_needs_a_whole_number_of_images(n_images):
    with pytest.raises(ValueError, match="give at least 3"):
        p_values(np.zeros(3), n_images)


@pytest.mark.parametrize("n_draws", [0, np.nan, 2.5])
def test_draws_are_a_whole_number(rng, n_draws):
    with pytest.raises(ValueError, match="n_draws must be a whole number"):
        bootstrap_correlation(*rng.standard_normal((2, 10, 3)), rng, n_draws)


def test_values_out_of_their_range_are_refused_and_counted():
    r, ceiling = np.array([0.5, np.nan, -0.2]), np.full(3, 0.5)
    wrong = np.array([0.5, np.nan, -1.2])
    for function, arguments, message in (
        (p_values, (wrong, 30), r"r must lie in \[-1, 1\].*1 of 3 values do not, such as -1.2"),
        (p_values, ([0.5, np.inf], 30), "1 of 2 values do not, such as inf"),
        (fdr, ([0.5, 1.01],), r"p_values must lie in \[0, 1\].*such as 1.01"),
        (normalised_correlation, (2 * wrong, ceiling), r"r must lie in \[-2, 2\]"),
        (normalised_correlation, (r, -ceiling), r"noise_ceiling must lie in \[0, 1\]"),
        (preference, (r, wrong, ceiling), r"r_second must lie in \[-1, 1\]"),
        (preference, (r, r[:1], ceiling), "must have one shape"),
    ):
        with pytest.raises(ValueError, match=message):
            function(*arguments)
    for lowest in (-0.1, 1.5, np.nan):
        with pytest.raises(ValueError, match="lowest must be a share of variance"):
            normalised_correlation(r, ceiling, lowest)


def test_a_ceiling_has_one_value_for_each_vertex(rng):
    r = rng.uniform(-1, 1, (4, 2, 3))
    for ceiling in (0.5, np.full(1, 0.5), np.full((1, 3), 0.5), np.full((4, 1, 3), 0.5), np.full(2, 0.5)):
        with pytest.raises(ValueError, match="one value for each vertex of r"):
            normalised_correlation(r, ceiling)
    ceiling = rng.uniform(0.1, 1, (2, 3))
    np.testing.assert_allclose(normalised_correlation(r, ceiling)[1], r[1] / np.sqrt(ceiling))
    np.testing.assert_allclose(normalised_correlation(r[0], ceiling[0]), r[0] / np.sqrt(ceiling[0]))
    # Without a lower limit a ceiling of 0 is still none that can be divided by.
    np.testing.assert_array_equal(normalised_correlation([0.5, 0.5], [0, 0.25], lowest=0), [np.nan, 1])


def test_nan_stays_nan_from_the_betas_to_the_discoveries(rng):
    predicted = rng.standard_normal((40, 5))
    measured = predicted + rng.standard_normal((40, 5))
    measured[3, 2] = np.nan
    r = correlation(predicted, measured)
    others = [0, 1, 3, 4]
    expected = correlation(predicted[:, others], measured[:, others])
    np.testing.assert_allclose(r[others], expected, rtol=1e-12)
    draws = bootstrap_correlation(predicted, measured, rng, 10)
    adjusted = fdr(p_values(r, 40))[1]
    for found in (r, draws, adjusted, normalised_correlation(r, np.full(5, 0.5))):
        np.testing.assert_array_equal(
            np.isnan(found).any(axis=tuple(range(found.ndim - 1))), np.arange(5) == 2
        )
    assert not fdr(p_values(r, 40))[0][2]


def test_masked_and_infinite_values_are_refused_and_lists_are_not(rng):
    predicted, measured = rng.standard_normal((2, 10, 3))
    r = correlation(predicted, measured)
    np.testing.assert_array_equal(correlation(predicted.tolist(), torch.from_numpy(measured)), r)
    np.testing.assert_array_equal(p_values(r.tolist(), np.int64(10)), p_values(r, 10))
    hidden = np.ma.array(measured, mask=np.arange(30).reshape(10, 3) == 4)
    of_r = np.ma.array(r, mask=[True, False, False])
    for function, arguments in (
        (correlation, (predicted, hidden)),
        (bootstrap_correlation, (hidden, predicted, rng)),
        (p_values, (of_r, 10)),
        (fdr, (np.abs(of_r),)),
        (normalised_correlation, (of_r, np.ones(3))),
        (normalised_correlation, (r, np.abs(of_r))),
        (preference, (r, of_r, np.ones(3))),
    ):
        with pytest.raises(ValueError, match="is a masked array with 1 masked values"):
            function(*arguments)
    measured[2, 1] = np.inf
    with pytest.raises(ValueError, match="measured holds infinite values in 1 of 3 vertices, the first is 1"):
        correlation(predicted, measured)


def test_repeats_and_single_trials_are_no_rows_of_a_test(rng):
    """Rows that depend on each other find something in most maps without any signal."""
    image = np.repeat(np.arange(20), 3)
    discoveries = []
    for _ in range(60):
        predicted = rng.standard_normal((20, 200))[image]
        measured = rng.standard_normal((20, 200))[image] + 0.5 * rng.standard_normal((60, 200))
        discoveries.append(fdr(p_values(correlation(predicted, measured), 60))[0].any())
    assert np.mean(discoveries) > 0.9
    message = "20 of 20 images have several rows, such as image 0 with 3"
    for function, arguments in (
        (correlation, (predicted, measured)),
        (bootstrap_correlation, (predicted, measured, rng)),
        (p_values, (np.zeros(200), 60)),
    ):
        with pytest.raises(ValueError, match=message):
            function(*arguments, image_ids=image)
        with pytest.raises(ValueError, match=r"image_ids must be \(60,\), one per row"):
            function(*arguments, image_ids=image[1:])
    r = correlation(predicted[::3], measured[::3], image_ids=image[::3])
    np.testing.assert_array_equal(p_values(r, 20, image_ids=image[::3]), p_values(r, 20))


def test_a_fit_that_fails_forgets_nothing(rng):
    features, betas, ids = rng.normal(size=(40, 2, 3)), rng.normal(size=(40, 9)), np.arange(40)
    encoder, decoder = VoxelwiseEncoder().fit(features, betas, ids), LinearDecoder().fit(betas, features, ids)
    with pytest.raises(ValueError, match="n_repeats"):
        encoder.fit(features, betas, ids + 100, np.zeros(40))
    decoder.fit_rescaling(betas + 1, features + 1, ids + 100)
    decoder.cv = 41
    with pytest.raises(ValueError, match="folds"):
        decoder.fit(betas, features, ids + 200)
    for model, rows in ((encoder, features), (decoder, betas)):
        with pytest.raises(ValueError, match="has learned from 40"):
            model.predict(rows, image_ids=ids)
    assert decoder.predict(betas, rescale=True).shape == features.shape


def test_betas_have_two_axes(rng):
    with pytest.raises(ValueError, match="dim"):
        VoxelwiseEncoder().fit(rng.normal(size=(40, 3)), rng.normal(size=(40, 9, 1)), np.arange(40))
