"""Partition of variance: against himalaya, grids, and mixtures whose parts are known."""

import numpy as np
import pytest
from himalaya.backend import set_backend
from himalaya.scoring import r2_score_split, r2_score_split_svd
from sklearn.metrics import r2_score

from latentcortex.encoding import (
    BandedEncoder,
    VoxelwiseEncoder,
    best_layer,
    correlation,
    difference_of_r,
    draw_shares,
    held_out_predictions,
    out_of_sample_r2,
    product_measure,
    relative_weights,
    residual_method,
    signed_r2,
    stacking_weights,
    unique_and_shared,
)


def mixture(rng, n_images, own_first=0.3, own_second=0.2, common=0.3, n_vertices=80):
    """Two spaces that have 3 of their 6 columns in common, and betas of variance 1 with known parts."""
    first, second, both = rng.standard_normal((3, n_images, 3))
    tuning = rng.standard_normal((3, 3, n_vertices))
    tuning /= np.linalg.norm(tuning, axis=1, keepdims=True)
    parts = [x @ t for x, t in zip((first, second, both), tuning, strict=True)]
    noise = 1 - own_first - own_second - common
    betas = sum(np.sqrt(v) * p for v, p in zip((own_first, own_second, common), parts, strict=True))
    betas = betas + np.sqrt(noise) * rng.standard_normal(betas.shape)
    return {"first": np.hstack([first, both]), "second": np.hstack([second, both])}, betas


def parts_and_measured(rng, n_spaces=3, n_images=40, n_vertices=9, centred=True):
    """Correlated parts of one prediction, and measurements that they predict a little."""
    common = rng.standard_normal((n_images, n_vertices))
    parts = 0.3 * common + 0.4 * rng.standard_normal((n_spaces, n_images, n_vertices))
    measured = parts.sum(0) + rng.standard_normal((n_images, n_vertices))
    if centred:
        return parts - parts.mean(1, keepdims=True), measured - measured.mean(0)
    return parts + 2, measured - 3


def test_unique_and_shared_find_what_was_planted(rng):
    features, betas = mixture(rng, 6000)
    train, test = np.arange(4000), np.arange(4000, 6000)
    of_spaces = {**features, "joint": np.hstack(list(features.values()))}
    predicted = {
        name: VoxelwiseEncoder().fit(f[train], betas[train], train).predict(f[test], test)
        for name, f in of_spaces.items()
    }
    for score in (out_of_sample_r2, signed_r2):
        r2 = [score(predicted[name], betas[test]) for name in ("joint", "first", "second")]
        found = unique_and_shared(*r2)
        np.testing.assert_allclose(np.mean(found, axis=1), [0.3, 0.2, 0.3], atol=0.01)
        np.testing.assert_allclose(np.sum(found, axis=0), r2[0], atol=1e-12)


def test_scores_keep_the_sign_and_equal_scikit_learn(rng):
    predicted, measured = rng.standard_normal((2, 30, 8)) + 1
    expected = r2_score(measured, predicted, multioutput="raw_values")
    np.testing.assert_allclose(out_of_sample_r2(predicted, measured), expected, rtol=1e-12)
    r = [np.corrcoef(a, b)[0, 1] for a, b in zip(predicted.T, measured.T, strict=True)]
    np.testing.assert_allclose(signed_r2(predicted, measured), np.array(r) * np.abs(r), rtol=1e-10)
    np.testing.assert_allclose(signed_r2(-measured, measured), -1)
    # Only one of the two minds the size of a prediction.
    np.testing.assert_allclose(signed_r2(3 * measured, measured), 1)
    assert (out_of_sample_r2(3 * measured, measured) < 0).all()
    measured[:, 2], measured[4, 5] = 0.1, np.nan
    for score in (signed_r2, out_of_sample_r2):
        assert np.flatnonzero(np.isnan(score(predicted, measured))).tolist() == [2, 5]


@pytest.mark.parametrize("n_spaces", [1, 2, 5])
def test_product_measure_and_relative_weights_equal_himalaya(rng, n_spaces):
    set_backend("numpy", on_error="raise")
    parts, measured = parts_and_measured(rng, n_spaces)
    for ours, theirs in ((product_measure, r2_score_split), (relative_weights, r2_score_split_svd)):
        np.testing.assert_allclose(ours(parts, measured), theirs(measured, parts), rtol=0, atol=1e-10)


@pytest.mark.parametrize("divide", [product_measure, relative_weights])
def test_shares_add_up_to_r2_and_an_offset_counts_for_no_space(rng, divide):
    parts, measured = parts_and_measured(rng)
    shares = divide(parts, measured)
    np.testing.assert_allclose(shares.sum(0), out_of_sample_r2(parts.sum(0), measured), atol=1e-12)
    np.testing.assert_allclose(divide(parts + 2, measured - 3), shares, atol=1e-12)
    order = [2, 0, 1]
    np.testing.assert_allclose(divide(parts[order], measured), shares[order], atol=1e-12)
    with_gaps = measured.copy()
    with_gaps[:, 1], with_gaps[3, 4] = 0.1, np.nan
    np.testing.assert_array_equal(
        np.isnan(divide(parts, with_gaps)), np.isin(np.arange(9), [1, 4])[None].repeat(3, 0)
    )


def test_orthogonal_parts_have_their_own_r2_by_both_measures(rng):
    basis = np.linalg.qr(np.hstack([np.ones((50, 1)), rng.standard_normal((50, 3))]))[0][:, 1:]
    parts = (basis * [1, 2, 0.5]).T[:, :, None]
    measured = parts.sum(0)
    expected = np.array([[1], [4], [0.25]]) / 5.25
    np.testing.assert_allclose(product_measure(parts, measured), expected, atol=1e-12)
    np.testing.assert_allclose(relative_weights(parts, measured), expected, atol=1e-12)


def test_relative_weights_take_parts_that_are_copies_or_0(rng):
    parts, measured = parts_and_measured(rng, 2, n_vertices=200)
    copies = np.stack([parts[0], parts[0], 0 * parts[1], parts[0] / 3])
    shares = relative_weights(copies, measured)
    np.testing.assert_allclose(shares[0], shares[1], atol=1e-9)
    np.testing.assert_allclose(shares[2], 0, atol=1e-9)
    np.testing.assert_allclose(shares.sum(0), out_of_sample_r2(copies.sum(0), measured), atol=1e-9)
    assert np.isnan(relative_weights(0 * parts, measured)).all()


def test_parts_of_a_banded_encoder_divide_its_r2(rng):
    features, betas = mixture(rng, 900, common=0)
    train, test = np.arange(600), np.arange(600, 900)
    of_train, of_test = ({n: f[rows][:, :3] for n, f in features.items()} for rows in (train, test))
    encoder = BandedEncoder(draw_shares(2, 6, rng)).fit(of_train, betas[train], train)
    for divide in (product_measure, relative_weights):
        shares = divide(encoder.predict(of_test, test, split=True), betas[test])
        np.testing.assert_allclose(shares.mean(1), [0.3, 0.2], atol=0.05)


def test_the_residual_method_gives_what_is_shared_to_the_first(rng):
    features, betas = mixture(rng, 4000)
    train, test = np.arange(3000), np.arange(3000, 4000)
    for names, own, rest in ((("first", "second"), 0.6, 0.2), (("second", "first"), 0.5, 0.3)):
        a, b = (features[name] for name in names)
        of_first, of_residual = residual_method(a[train], b[train], betas[train], train, a[test], b[test])
        assert out_of_sample_r2(of_first, betas[test]).mean() == pytest.approx(own, abs=0.02)
        # With what is shared gone from the betas, only the second space's own columns are left to find.
        gain = out_of_sample_r2(of_first + of_residual, betas[test]) - out_of_sample_r2(of_first, betas[test])
        assert gain.mean() == pytest.approx(rest, abs=0.02)


def test_the_residual_method_is_two_fits_one_after_the_other(rng):
    features, betas = mixture(rng, 60)
    ids, n_repeats = np.arange(50), rng.integers(1, 4, 50)
    a, b = features.values()
    settings = VoxelwiseEncoder(alphas=[3.0, 30])
    of_first, of_residual = residual_method(
        a[:50], b[:50], betas[:50], ids, a[50:], b[50:], n_repeats, settings
    )
    first = VoxelwiseEncoder([3.0, 30]).fit(a[:50], betas[:50], ids, n_repeats)
    second = VoxelwiseEncoder([3.0, 30]).fit(b[:50], betas[:50] - first.predict(a[:50]), ids, n_repeats)
    np.testing.assert_array_equal(of_first, first.predict(a[50:]))
    np.testing.assert_array_equal(of_residual, second.predict(b[50:]))
    assert not hasattr(settings, "ridge_")


def test_stacking_weights_equal_a_grid_and_fulfil_the_conditions_of_an_optimum(rng):
    n_images, n_vertices = 30, 40
    measured = rng.standard_normal((n_images, n_vertices))
    gain, spread = rng.uniform(0, 1, (3, 1, n_vertices)), rng.uniform(0.2, 2, (3, 1, n_vertices))
    common = rng.standard_normal((n_images, n_vertices))
    held_out = gain * measured + spread * (common + rng.standard_normal((3, n_images, n_vertices)))
    weights = stacking_weights(held_out, measured)
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(0), 1, rtol=1e-12)
    assert set((weights == 0).sum(0)) == {0, 1, 2}, "inside, edges and corners are all to be tested"
    grid = np.array([(i, j, 200 - i - j) for i in range(201) for j in range(201 - i)]) / 200
    errors = measured - held_out
    products = np.einsum("siv,tiv->vst", errors, errors)
    loss = np.einsum("gs,vst,gt->gv", grid, products, grid)
    ours = np.einsum("sv,vst,tv->v", weights, products, weights)
    assert (ours <= loss.min(0) + 1e-10).all()
    np.testing.assert_allclose(grid[loss.argmin(0)].T, weights, atol=0.008)
    # No direction leads down: spaces in use have the same slope, and the others have none below it.
    slope = np.einsum("vst,tv->sv", products, weights)
    np.testing.assert_array_less(ours - 1e-9, slope.min(0))
    np.testing.assert_allclose(np.where(weights > 0, slope, ours), np.tile(ours, (3, 1)), rtol=1e-9)


def test_stacking_is_exact_for_many_spaces_that_are_almost_the_same(rng):
    """Layers of one network predict almost the same: the optimum is flat, but its conditions still hold."""
    measured = rng.standard_normal((200, 10))
    common = 0.5 * measured + 0.5 * rng.standard_normal((200, 10))
    held_out = common + 0.05 * rng.standard_normal((12, 200, 10))
    errors = measured - held_out
    for scale in (1, 1e9, 1e-9):
        weights = stacking_weights(scale * held_out, scale * measured)
        mixed = (weights[:, None] * errors).sum(0)
        loss, slope = (mixed**2).sum(0), np.einsum("siv,iv->sv", errors, mixed)
        assert ((loss - slope.min(0)) / loss).max() < 1e-11
    assert ((weights > 0).sum(0) > 1).mean() > 0.5, "corners alone would test little"


def test_stacking_finds_a_perfect_space_and_leaves_nan_blank(rng):
    measured = rng.standard_normal((20, 3))
    held_out = np.stack([rng.standard_normal((20, 3)), measured])
    np.testing.assert_allclose(stacking_weights(held_out, measured), [[0] * 3, [1] * 3], atol=1e-12)
    held_out[0, 2, 1] = np.nan
    np.testing.assert_array_equal(np.isnan(stacking_weights(held_out, measured)), [[False, True, False]] * 2)


def test_held_out_predictions_never_learn_from_their_own_image(rng):
    features, betas = mixture(rng, 30, n_vertices=5)
    values, n_repeats, ids = features["first"], rng.integers(1, 4, 30), 3 * rng.permutation(30)
    settings = VoxelwiseEncoder([1.0, 100])
    predicted = held_out_predictions(settings, values, betas, ids, n_repeats, n_folds=4)
    assert not hasattr(settings, "ridge_")
    fold = (ids // 3) % 4
    for k in range(4):
        rest = fold != k
        by_hand = VoxelwiseEncoder([1.0, 100]).fit(values[rest], betas[rest], ids[rest], n_repeats[rest])
        np.testing.assert_array_equal(predicted[~rest], by_hand.predict(values[~rest], ids[~rest]))
    order = rng.permutation(30)
    again = held_out_predictions(settings, values[order], betas[order], ids[order], n_repeats[order], 4)
    np.testing.assert_allclose(again, predicted[order], atol=1e-12)
    for n_folds in (1, 31, np.nan, 2.5):
        with pytest.raises(ValueError, match="n_folds must be from 2 to 30"):
            held_out_predictions(settings, values, betas, ids, n_folds=n_folds)
    with pytest.raises(ValueError, match="one row per image"):
        held_out_predictions(settings, values[1:], betas, ids)


def test_repeats_of_an_image_stay_in_one_fold(rng):
    ids = np.repeat(np.arange(12), 2)
    values = rng.standard_normal((12, 3))[ids]
    betas = rng.standard_normal((24, 40))
    predicted = held_out_predictions(VoxelwiseEncoder(1.0, cv=2), values, betas, ids, n_folds=12)
    changed = betas + np.where(ids[:, None] == 5, 10, 0)
    after = held_out_predictions(VoxelwiseEncoder(1.0, cv=2), values, changed, ids, n_folds=12)
    np.testing.assert_array_equal(after[ids == 5], predicted[ids == 5])
    assert (after[ids != 5] != predicted[ids != 5]).all()


def test_stacking_of_held_out_predictions_prefers_the_true_space_and_fitted_values_the_larger(rng):
    small, large = rng.standard_normal((80, 4)), rng.standard_normal((80, 60))
    betas = small @ rng.standard_normal((4, 30)) / 2 + rng.standard_normal((80, 30))
    ids, encoder = np.arange(80), VoxelwiseEncoder(1.0)
    held_out = [held_out_predictions(encoder, space, betas, ids) for space in (small, large)]
    fitted = [encoder.fit(space, betas, ids).predict(space) for space in (small, large)]
    assert stacking_weights(np.array(held_out), betas)[0].mean() > 0.8
    assert stacking_weights(np.array(fitted), betas)[0].mean() < 0.5


def test_difference_of_r_and_the_winning_layer(rng):
    measured = rng.standard_normal((50, 6))
    first, second, third = (measured + size * rng.standard_normal((50, 6)) for size in (1, 2, 4))
    scores = np.array([correlation(layer, measured) for layer in (second, first, third)])
    np.testing.assert_allclose(difference_of_r(first, second, measured), scores[1] - scores[0], atol=1e-15)
    winner, margin = best_layer(scores)
    for vertex, column in enumerate(scores.T):
        assert winner[vertex] == max(range(3), key=lambda layer, column=column: column[layer])
        assert margin[vertex] == pytest.approx(sorted(column)[2] - sorted(column)[1], abs=1e-15)
    scores[:, 0], scores[2, 1] = 0.3, np.nan
    winner, margin = best_layer(scores)
    assert winner[0] == 0 and margin[0] == 0
    assert winner[1] == -1 and np.isnan(margin[1]) and not np.isnan(margin[2:]).any()


def test_errors_name_the_argument(rng):
    parts, measured = parts_and_measured(rng)
    for function, arguments, message in (
        (
            product_measure,
            (parts[0], measured),
            r"parts must be \(n_spaces, n_images, n_vertices\).*got \(40, 9\)",
        ),
        (relative_weights, (parts[:, 1:], measured), r"got \(3, 39, 9\) and \(40, 9\)"),
        (relative_weights, (parts[:0], measured), "parts must be"),
        (stacking_weights, (parts[0], measured), r"held_out must be \(n_spaces"),
        (product_measure, (parts, np.where(measured > 0, np.inf, 0)), "measured holds infinite values"),
        (unique_and_shared, ([0.5], [0.2], [0.1, 0.3]), "must have one shape"),
        (unique_and_shared, ([0.5], [1.2], [0.1]), r"first must lie in \[-inf, 1\]"),
        (best_layer, ([[0.5, 0.1]],), "two layers or more"),
        (best_layer, ([0.5, 0.1],), "two layers or more"),
        (best_layer, ([[0.5], [30.0]],), r"scores must lie in \[-inf, 1\]"),
        (signed_r2, (measured, measured[1:]), "must both be"),
        (out_of_sample_r2, (measured, measured[1:]), "must both be"),
    ):
        with pytest.raises(ValueError, match=message):
            function(*arguments)
