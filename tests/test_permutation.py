"""Permutation of test images: against loops, scipy, and worlds in which nothing is to be found."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from latentcortex.encoding import VoxelwiseEncoder, correlation, fdr, p_values, permutation_p_values
from latentcortex.encoding.permutation import draw_orders

HAXBY = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "haxby_slice" / "haxby_slice.npz"


def clustered(rng, n_clusters=15, n_each=4, n_vertices=300, share=0.6):
    """Predictions and measurements that know nothing of each other, both alike within clusters."""
    labels = np.repeat(np.arange(n_clusters), n_each)

    def rows():
        common = rng.standard_normal((n_clusters, n_vertices))[labels]
        return np.sqrt(share) * common + np.sqrt(1 - share) * rng.standard_normal((len(labels), n_vertices))

    return rows(), rows(), labels


@pytest.mark.parametrize("with_clusters", [False, True])
def test_p_values_equal_a_double_loop_over_permutations(rng, with_clusters):
    n_images, n_vertices = 24, 7
    predicted = rng.standard_normal((n_images, n_vertices))
    measured = 0.3 * predicted + rng.standard_normal((n_images, n_vertices))
    clusters = rng.integers(0, 5, n_images) if with_clusters else None
    p = permutation_p_values(predicted, measured, np.random.default_rng(3), 130, clusters)
    generator = np.random.default_rng(3)
    sigmas, taus = (draw_orders(n_images, 12, generator, clusters) for _ in range(2))
    r, b, n_permutations = correlation(predicted, measured), np.zeros(n_vertices), 0
    for j, sigma in enumerate(sigmas):
        for k, tau in enumerate(taus):
            if (j, k) != (0, 0):
                n_permutations += 1
                b += correlation(predicted[sigma], measured[tau]) >= r - 1e-10
    assert n_permutations == 143, "the smallest square, less one, of at least 130"
    np.testing.assert_allclose(p, (1 + b) / 144, rtol=1e-12)


def test_p_values_agree_with_scipy_and_with_all_permutations(rng):
    predicted = rng.standard_normal((7, 5))
    measured = 0.5 * predicted + rng.standard_normal((7, 5))
    p = permutation_p_values(predicted, measured, rng, 250_000)
    for a, b, got in zip(predicted.T, measured.T, p, strict=True):
        exact = stats.permutation_test(
            (b,),
            lambda values, a=a: np.corrcoef(a, values)[0, 1],
            permutation_type="pairings",
            alternative="greater",
            vectorized=False,
            n_resamples=np.inf,
        ).pvalue
        # 5 standard errors of a share among 250,000 draws.
        assert got == pytest.approx(exact, abs=5 * np.sqrt(exact * (1 - exact) / 250_000) + 1e-5)


def test_p_values_within_clusters_agree_with_all_such_permutations(rng):
    """Three clusters of two images have eight orders in all."""
    predicted, measured = rng.standard_normal((2, 6, 20))
    clusters = np.array([4, 7, 4, 1, 1, 7])
    swaps = [np.array(pair) for pair in ((0, 2), (1, 5), (3, 4))]
    reached, r = np.zeros(20), correlation(predicted, measured)
    for which in np.ndindex(2, 2, 2):
        order = np.arange(6)
        for swap, (first, second) in zip(which, swaps, strict=True):
            if swap:
                order[[first, second]] = second, first
        reached += correlation(predicted, measured[order]) >= r - 1e-10
    p = permutation_p_values(predicted, measured, rng, 160_000, clusters)
    np.testing.assert_allclose(p, reached / 8, atol=5 * 0.5 / np.sqrt(160_000))


def test_ties_count_as_at_least_as_extreme():
    """Two images differ from the others in both: 1 of 6 orders of 4 images reaches r, always by a tie."""
    predicted = np.array([[1.0, 1, 0, 0]]).T
    measured = np.array([[0.1, 0.1, 0.3, 0.3]]).T
    p = permutation_p_values(predicted, -measured, np.random.default_rng(0), 90_000)
    assert p[0] == pytest.approx(Fraction(1, 6), abs=0.007)
    # The lowest correlation of all is reached by every permutation.
    assert permutation_p_values(predicted, measured, np.random.default_rng(0), 400)[0] == 1
    increasing = np.arange(30.0)[:, None]
    for n_permutations, smallest in ((99, 1 / 100), (100, 1 / 121)):
        p = permutation_p_values(increasing, increasing, np.random.default_rng(0), n_permutations)
        assert p[0] == smallest


def test_any_two_permutations_are_independent_draws(rng):
    """The count of a vertex spreads as a binomial count does, which rows shared by cells could break."""
    predicted, measured = rng.standard_normal((2, 12, 1))
    exact = permutation_p_values(predicted, measured, rng, 400_000)[0]
    counts = np.array([100 * permutation_p_values(predicted, measured, rng, 99)[0] - 1 for _ in range(4000)])
    assert counts.mean() == pytest.approx(99 * exact, abs=0.5)
    assert counts.var() == pytest.approx(99 * exact * (1 - exact), rel=0.12)


def test_blocks_and_other_vertices_do_not_change_the_result(rng):
    predicted, measured = rng.standard_normal((2, 40, 70)).astype(np.float32)
    p = permutation_p_values(predicted, measured, np.random.default_rng(5), 400)
    for block_size in (1, 7, 70, 1000):
        again = permutation_p_values(
            predicted, measured, np.random.default_rng(5), 400, block_size=block_size
        )
        np.testing.assert_array_equal(again, p)
    some = permutation_p_values(predicted[:, 20:33], measured[:, 20:33], np.random.default_rng(5), 400)
    np.testing.assert_array_equal(some, p[20:33])
    assert (permutation_p_values(predicted, measured, np.random.default_rng(6), 400) != p).any()


def test_p_is_uniform_where_images_are_independent(rng):
    n_worlds = 4000
    p = np.array(
        [permutation_p_values(*rng.standard_normal((2, 30, 1)), rng, 399)[0] for _ in range(n_worlds)]
    )
    assert stats.kstest(p, "uniform").pvalue > 0.01
    for alpha in (0.0025, 0.05, 0.2):
        assert stats.binomtest(int((p <= alpha).sum()), n_worlds, alpha, "greater").pvalue > 0.01


def test_p_is_exact_with_three_permutations(rng):
    """Of four cells of the table the true one is as likely as any other to be the largest."""
    n_worlds = 8000
    p = [permutation_p_values(*rng.standard_normal((2, 8, 1)), rng, 3)[0] for _ in range(n_worlds)]
    values, counts = np.unique(p, return_counts=True)
    np.testing.assert_array_equal(values, [0.25, 0.5, 0.75, 1])
    # Orders of 8 images hit the same r twice only rarely.
    assert stats.chisquare(counts).pvalue > 0.001


def test_p_is_uniform_where_the_distribution_has_heavy_tails(rng):
    """Student's t is wrong here in the tail, while a permutation knows the values that there are."""
    predicted, measured = rng.standard_cauchy((2, 25, 4000))
    p = permutation_p_values(predicted, measured, rng, 2500)
    by_formula = p_values(correlation(predicted, measured), 25)
    assert np.mean(by_formula <= 0.001) > 0.005
    assert np.mean(p <= 0.001) < 0.003


def test_correlated_images_need_the_permutation_within_clusters(rng):
    plain, within, by_formula = [], [], []
    for _ in range(8):
        predicted, measured, labels = clustered(rng)
        plain.append(permutation_p_values(predicted, measured, rng, 899))
        within.append(permutation_p_values(predicted, measured, rng, 899, labels))
        by_formula.append(p_values(correlation(predicted, measured), len(labels)))
    plain, within, by_formula = map(np.concatenate, (plain, within, by_formula))
    assert np.mean(plain <= 0.05) > 0.1
    assert np.mean(by_formula <= 0.05) > 0.1
    # Vertices of a world share their permutations, so the rate spreads by more than a binomial does.
    assert np.mean(within <= 0.05) == pytest.approx(0.05, abs=0.02)
    assert np.mean(within <= 0.01) == pytest.approx(0.01, abs=0.008)


def test_an_effect_within_clusters_is_found_and_one_between_them_is_not(rng):
    labels = np.repeat(np.arange(20), 5)
    between = np.repeat(rng.standard_normal((20, 60)), 5, axis=0)
    detail = rng.standard_normal((100, 60))
    noise = rng.standard_normal((100, 60))
    of_detail = permutation_p_values(between + detail, detail + noise, rng, 899, labels)
    of_means = permutation_p_values(between + detail, between + noise, rng, 899, labels)
    assert np.mean(of_detail <= 0.05) > 0.9
    assert np.mean(of_means <= 0.05) < 0.2
    assert np.mean(permutation_p_values(between + detail, between + noise, rng, 899) <= 0.05) > 0.9


def test_orders_keep_to_their_clusters_and_all_are_equally_likely(rng):
    labels = np.array([3, 1, 3, 1, 3])
    orders = draw_orders(5, 24_001, rng, labels)
    np.testing.assert_array_equal(orders[0], np.arange(5))
    np.testing.assert_array_equal(labels[orders], np.tile(labels, (24_001, 1)))
    np.testing.assert_array_equal(np.sort(orders, axis=1), np.tile(np.arange(5), (24_001, 1)))
    distinct, counts = np.unique(orders[1:], axis=0, return_counts=True)
    assert len(distinct) == 12
    assert stats.chisquare(counts).pvalue > 0.001
    _, counts = np.unique(draw_orders(4, 24_001, rng)[1:], axis=0, return_counts=True)
    assert len(counts) == 24 and stats.chisquare(counts).pvalue > 0.001


def test_nan_and_constant_vertices_have_no_p_value(rng):
    predicted, measured = rng.standard_normal((2, 20, 5))
    measured[4, 1], predicted[:, 3] = np.nan, 0.3
    p = permutation_p_values(predicted, measured, rng, 99)
    np.testing.assert_array_equal(np.isnan(p), [False, True, False, True, False])


def test_errors_say_what_to_give(rng):
    predicted, measured = rng.standard_normal((2, 12, 3))
    ids = np.arange(12) // 2
    for arguments, message in (
        ({"n_permutations": 0}, "n_permutations must be a whole number, at least 1; got 0"),
        ({"n_permutations": np.nan}, "n_permutations must be a whole number"),
        ({"block_size": 2.5}, "block_size must be a whole number"),
        ({"image_ids": ids}, "6 of 6 images have several rows"),
        ({"clusters": np.arange(12)}, "Each of 12 images is a cluster of its own"),
        ({"clusters": ids[1:]}, r"clusters must be \(12,\), one per row"),
        ({"clusters": np.full(12, np.nan)}, "clusters must hold whole numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            permutation_p_values(predicted, measured, rng, **arguments)
    with pytest.raises(ValueError, match="must both be"):
        permutation_p_values(predicted, measured[1:], rng)


@pytest.fixture(scope="module")
def haxby():
    """Return patterns (96, n_voxels) of the voxels that vary, categories and runs (96,)."""
    if not HAXBY.exists():
        pytest.skip("real input haxby_slice is not there: expected in ../shared/data of the project")
    with np.load(HAXBY) as data:
        patterns, category, run = data["patterns"], data["category"], data["run"]
    return patterns[:, patterns.std(0) > 0], category, run


def predict_left_out_runs(patterns, category, run):
    one_hot, rows = (category[:, None] == np.unique(category)).astype(np.float32), np.arange(len(run))
    predicted = np.empty_like(patterns)
    for left_out in np.unique(run):
        train, test = run != left_out, run == left_out
        encoder = VoxelwiseEncoder().fit(one_hot[train], patterns[train], rows[train])
        predicted[test] = encoder.predict(one_hot[test], rows[test])
    return predicted


def test_three_ways_call_the_same_voxels_of_real_fmri(haxby, rng):
    """Categories predict voxels: the published test, permutation within runs, and a loop over orders."""
    patterns, category, run = haxby
    predicted = predict_left_out_runs(patterns, category, run)
    r = correlation(predicted, patterns)
    by_formula = fdr(p_values(r, len(run)))[0]
    within = fdr(permutation_p_values(predicted, patterns, rng, clusters=run))[0]
    reached = np.zeros(len(r))
    for _ in range(3000):
        order = np.arange(len(run))
        for one in np.unique(run):
            order[run == one] = rng.permutation(order[run == one])
        reached += correlation(predicted, patterns[order]) >= r
    by_loop = fdr((1 + reached) / 3001)[0]
    called = {"formula": by_formula.sum(), "within runs": within.sum(), "loop": by_loop.sum()}
    print(f"\nvoxels called: {called}")
    assert within.sum() > 50
    for other in (by_formula, by_loop):
        assert np.mean(other == within) > 0.97


def test_on_shuffled_labels_of_real_fmri_each_way_keeps_its_rate(haxby, rng):
    patterns, category, run = haxby
    rates = []
    for _ in range(20):
        shuffled = category.copy()
        for one in np.unique(run):
            shuffled[run == one] = rng.permutation(category[run == one])
        predicted = predict_left_out_runs(patterns, shuffled, run)
        by_formula = p_values(correlation(predicted, patterns), len(run))
        within = permutation_p_values(predicted, patterns, rng, 899, run)
        rates.append([np.mean(p <= 0.05) for p in (by_formula, within)])
    print(f"\nrates at p <= 0.05 on shuffled labels: {np.mean(rates, axis=0)} +- {np.std(rates, axis=0)}")
    # Voxels of one slice are alike, so a rate spreads over shuffles; their mean has this standard error.
    assert (np.mean(rates, axis=0) <= 0.05 + 2.5 * np.std(rates, axis=0) / np.sqrt(20)).all()
