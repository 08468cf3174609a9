import numpy as np
import pytest
from scipy import stats

from latentcortex.metrics import (
    Interval,
    bootstrap_mean,
    colour_means,
    gabor_energy,
    identification,
    is_noninferior,
    over_subjects,
    paired_difference,
    pixcorr,
    shuffled_identification,
    ssim,
    t_interval,
)


@pytest.fixture
def images(rng):
    return rng.random((6, 3, 16, 16))


def brute_force_identification(true, pred, direction):
    n = len(true)
    true, pred = true.reshape(n, -1), pred.reshape(n, -1)
    scores = np.zeros(n)
    for own in range(n):
        r_own = np.corrcoef(true[own], pred[own])[0, 1]
        for other in range(n):
            if other == own:
                continue
            if direction == "reconstruction":
                r_other = np.corrcoef(true[other], pred[own])[0, 1]
            else:
                r_other = np.corrcoef(true[own], pred[other])[0, 1]
            if abs(r_own - r_other) < 1e-12:
                scores[own] += 0.5
            elif r_own > r_other:
                scores[own] += 1
    return scores / (n - 1)


def test_pixcorr_equals_numpy_and_ignores_brightness_and_contrast(images, rng):
    noisy = images + 0.3 * rng.standard_normal(images.shape)
    expected = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(images, noisy, strict=True)]
    np.testing.assert_allclose(pixcorr(images, noisy), expected, atol=1e-12)
    np.testing.assert_allclose(pixcorr(images, 0.5 * noisy + 0.2), expected, atol=1e-12)


def test_centred_pixcorr_takes_away_what_all_images_share(rng):
    # Images that share nothing but the mean image: plain PixCorr praises them, the centred not.
    mean_image = 0.3 + 0.4 * rng.random((3, 16, 16))
    originals, unrelated = mean_image + rng.uniform(-0.09, 0.09, (2, 200, 3, 16, 16))
    assert pixcorr(originals, unrelated).mean() > 0.8
    assert abs(pixcorr(originals, unrelated, mean_image).mean()) < 0.01
    expected = pixcorr(originals - mean_image, unrelated - mean_image)
    np.testing.assert_allclose(pixcorr(originals, unrelated, mean_image), expected, atol=1e-12)


def test_ssim_equals_its_formula_with_a_gaussian_window():
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(1)
    a, b = rng.random((2, 1, 3, 24, 24))
    weights = np.array([0.2125, 0.7154, 0.0721])
    x, y = np.tensordot(weights, a[0], 1), np.tensordot(weights, b[0], 1)

    def blur(image):
        return gaussian_filter(image, 1.5, truncate=3.5)

    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    values = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    )
    # The window of 11 pixels does not reach over the border.
    np.testing.assert_allclose(ssim(a, b), [values[5:-5, 5:-5].mean()], atol=1e-10)


def test_identical_images_score_one(images):
    np.testing.assert_allclose(pixcorr(images, images), 1)
    np.testing.assert_allclose(ssim(images, images), 1)
    np.testing.assert_allclose(identification(images, images), 1)


@pytest.mark.parametrize("direction", ["reconstruction", "original"])
def test_identification_equals_a_double_loop(rng, direction):
    true = rng.standard_normal((12, 4, 5))
    pred = true + 2 * rng.standard_normal(true.shape)
    pred[3] = pred[7]  # two reconstructions that are the same: ties
    true[5] = true[2]
    expected = brute_force_identification(true, pred, direction)
    np.testing.assert_allclose(identification(true, pred, direction), expected, atol=1e-15)
    assert len(np.unique(expected)) > 3


def test_the_two_directions_are_different_questions(rng):
    true = rng.standard_normal((30, 20))
    pred = true + 2 * rng.standard_normal(true.shape)
    reconstruction = identification(true, pred, "reconstruction")
    original = identification(true, pred, "original")
    assert not np.allclose(reconstruction, original)
    # Exchanging the two sets exchanges the two questions.
    np.testing.assert_array_equal(identification(pred, true, "original"), reconstruction)


@pytest.mark.parametrize("n", [2, 7, 33, 200])
def test_collapsed_reconstructions_are_at_chance_whatever_the_rounding(rng, n):
    # The same image for every original: among reconstructions, each comparison is a tie.
    true = rng.standard_normal((n, 301))
    pred = np.repeat(rng.standard_normal((1, 301)), n, axis=0)
    np.testing.assert_array_equal(identification(true, pred, "original"), 0.5)
    assert identification(true, pred, "reconstruction").mean() == pytest.approx(0.5)


@pytest.mark.parametrize("direction", ["reconstruction", "original"])
def test_shuffles_are_at_chance_and_below_the_true_pairs(rng, direction):
    true = rng.standard_normal((100, 30))
    pred = true + 3 * rng.standard_normal(true.shape)
    shuffled = shuffled_identification(true, pred, rng, direction=direction)
    assert shuffled.shape == (100,)
    assert abs(shuffled.mean() - 0.5) < 0.01
    assert (identification(true, pred, direction).mean() > shuffled).all()


def test_a_shuffle_equals_identification_of_reordered_rows():
    rng = np.random.default_rng(2)
    true, pred = rng.standard_normal((2, 15, 10))
    order = np.random.default_rng(3).permutation(15)
    for direction in ("reconstruction", "original"):
        got = shuffled_identification(true, pred, np.random.default_rng(3), 1, direction)
        # "reconstruction" gives reconstruction i the original order[i], "original" the reverse.
        if direction == "reconstruction":
            expected = identification(true[order], pred, direction)
        else:
            expected = identification(true, pred[order], direction)
        np.testing.assert_allclose(got, [expected.mean()])


def test_gabor_energy_peaks_at_a_gratings_frequency_orientation_and_place():
    y, x = np.mgrid[:64, :64] / 64
    n_cells, n_orientations, frequencies = 8, 4, (4, 8, 16)
    for f_index, f in enumerate(frequencies):
        for o_index in range(n_orientations):
            angle = o_index * np.pi / n_orientations
            grating = 0.5 + 0.4 * np.sin(2 * np.pi * f * (x * np.cos(angle) + y * np.sin(angle)))
            grating[:, :32] = 0.5  # on the right half only
            image = np.broadcast_to(grating, (1, 3, 64, 64))
            energy = gabor_energy(image, n_cells, n_orientations, frequencies)
            energy = energy.reshape(len(frequencies), n_orientations, n_cells, n_cells)
            right, left = energy[..., 5:], energy[..., :3]
            strongest = np.unravel_index(right.mean(axis=(2, 3)).argmax(), (3, 4))
            assert strongest == (f_index, o_index)
            assert right[f_index, o_index].mean() > 5 * left[f_index, o_index].mean()


def test_gabor_energy_ignores_phase_and_brightness():
    x = np.arange(64) / 64

    def grating(phase, mean):
        row = mean + 0.3 * np.sin(2 * np.pi * 8 * x + phase)
        return np.broadcast_to(row, (1, 3, 64, 64))

    reference = gabor_energy(grating(0, 0.5))
    strongest = reference.max()
    moved = gabor_energy(grating(np.pi / 2, 0.4)).reshape(-1, 8, 8)[:, 1:-1, 1:-1]
    difference = moved - reference.reshape(-1, 8, 8)[:, 1:-1, 1:-1]  # cells off the border
    assert np.abs(difference).max() < 0.1 * strongest
    np.testing.assert_allclose(gabor_energy(np.full((1, 3, 64, 64), 0.7)), 0, atol=1e-12)


def test_colour_means_are_means_of_cells_also_of_uneven_ones(rng):
    images = rng.random((2, 3, 10, 13))
    got = colour_means(images, n_cells=4).reshape(2, 3, 4, 4)
    rows, columns = [0, 2, 5, 7, 10], [0, 3, 6, 9, 13]
    for i in range(4):
        for j in range(4):
            cell = images[:, :, rows[i] : rows[i + 1], columns[j] : columns[j + 1]]
            np.testing.assert_allclose(got[:, :, i, j], cell.mean(axis=(2, 3)))
    with pytest.raises(ValueError, match="cells"):
        colour_means(images, n_cells=11)


def test_bootstrap_covers_the_true_mean_as_often_as_it_says():
    rng = np.random.default_rng(4)
    covered = 0
    for _ in range(400):
        mean, low, high, n = bootstrap_mean(rng.normal(1, 2, 100), rng, n_resamples=400)
        assert low < mean < high and n == 100
        covered += low < 1 < high
    assert 0.90 < covered / 400 < 0.98


def test_paired_difference_uses_the_pairing(rng):
    b = rng.normal(0, 10, 200)  # images differ far more than the two methods
    a = b + 0.5 + rng.normal(0, 0.1, 200)
    difference = paired_difference(a, b, rng)
    assert difference.mean == pytest.approx((a - b).mean())
    assert 0.45 < difference.low < difference.high < 0.55
    unpaired = paired_difference(a, rng.permutation(b), rng)
    assert unpaired.high - unpaired.low > 2


def test_noninferiority_is_read_from_the_lower_end():
    assert is_noninferior(Interval(-0.01, -0.029, 0.01, 9), margin=0.03)
    assert not is_noninferior(Interval(0.01, -0.031, 0.05, 9), margin=0.03)
    with pytest.raises(ValueError, match="margin as a number above 0"):
        is_noninferior(Interval(0, 0, 0, 9), margin=-0.03)


def test_the_ends_of_a_bootstrap_are_the_percentiles_that_they_are_called():
    """Of a mean of many numbers: 1.96 standard errors for 95 %, 1.645 for 90 %; and of all resamples."""
    rng = np.random.default_rng(5)
    scores = rng.normal(0, 1, 5000)
    error = scores.std() / np.sqrt(5000)
    for level, z in {0.95: 1.960, 0.9: 1.645, 0.5: 0.674}.items():
        mean, low, high, _ = bootstrap_mean(scores, np.random.default_rng(6), 20_000, level)
        assert (mean - low) / error == pytest.approx(z, abs=0.05)
        assert (high - mean) / error == pytest.approx(z, abs=0.05)
    # Two images have means of 0, 1/2, 1/2 and 1: a quarter lies below the lowest half.
    assert bootstrap_mean([0.0, 1.0], rng, 4000, 0.4)[:3] == (0.5, 0.5, 0.5)
    assert bootstrap_mean([0.0, 1.0], rng, 4000, 0.6)[:3] == (0.5, 0.0, 1.0)


def test_a_bootstrap_of_many_images_draws_what_one_of_few_at_a_time_draws(monkeypatch):
    scores = np.random.default_rng(7).random(300)
    whole = bootstrap_mean(scores, np.random.default_rng(8), 500)
    monkeypatch.setattr("latentcortex.metrics.intervals.NUMBERS", 1001)
    assert bootstrap_mean(scores, np.random.default_rng(8), 500) == whole


def test_an_interval_is_written_with_its_ends():
    found = Interval(0.0094, 0.0061, 0.0119, 7)
    assert str(found) == f"{found}" == "+0.009 [+0.006, +0.012]"
    assert f"{found:.2f}" == "0.01 [0.01, 0.01]"
    assert str(Interval(-0.0001, -0.25, 0.25, 7)) == "+0.000 [-0.250, +0.250]"


def test_a_single_subject_has_a_mean_and_no_interval():
    assert over_subjects([0.2, 0.5]) == t_interval([0.2, 0.5])
    mean, low, high, n = over_subjects([0.2])
    assert (mean, n) == (0.2, 1) and np.isnan([low, high]).all()


def test_t_interval_equals_scipy():
    values = np.array([0.3, 0.35, 0.28, 0.41])
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    got = t_interval(values)
    np.testing.assert_allclose(got, [values.mean(), expected.low, expected.high, 4])
    assert t_interval(values, level=0.5).high < got.high


def test_what_can_not_be_scored_is_refused_with_the_reason(images, rng):
    with_nan = images.copy()
    with_nan[2, 0, 3, 3] = np.nan
    constant = images.copy()
    constant[4] = 0.3
    for score in (pixcorr, ssim, identification):
        with pytest.raises(ValueError, match=r"NaN or infinite values in rows \[2\]"):
            score(images, with_nan)
        with pytest.raises(ValueError, match="shapes"):
            score(images, images[:5])
    for score in (pixcorr, identification):
        with pytest.raises(ValueError, match=r"constant in rows \[4\]"):
            score(images, constant)
    with pytest.raises(ValueError, match="at least two images"):
        identification(images[:1], images[:1])
    with pytest.raises(ValueError, match="direction"):
        identification(images, images, "column")
    with pytest.raises(ValueError, match="4 axes"):
        pixcorr(images[0], images[0])
    with pytest.raises(ValueError, match="clamp what a decoder gave"):
        ssim(images, images + 0.5)
    with pytest.raises(ValueError, match="at least two"):
        bootstrap_mean(np.ones(1), rng)
    with pytest.raises(ValueError, match="at least two"):
        t_interval([0.5])
