"""Fewer dimensions: exact components against scikit-learn and numpy, and what a projection costs."""

import numpy as np
import pytest
import torch
from scipy.linalg import subspace_angles
from sklearn.decomposition import PCA
from sklearn.random_projection import SparseRandomProjection

from latentcortex.encoding.reduction import (
    SparseProjection,
    fit_reduction,
    low_rank,
    same_dimensions,
    variance_kept,
)

pytestmark = pytest.mark.usefixtures("one_thread")

MORE_FEATURES, MORE_IMAGES = (40, 150), (150, 40)
N_COST, P_COST, K_COST = 200, 2000, 20


def made(n, p, rng, power=0.5):
    """Make features (n, p) with a mean, whose k-th singular value is proportional to k^-power."""
    n_directions = min(n - 1, p)
    left = rng.normal(size=(n, n_directions))
    left = np.linalg.qr(left - left.mean(0))[0]
    right = np.linalg.qr(rng.normal(size=(p, n_directions)))[0]
    features = 30 * (left * np.arange(1.0, n_directions + 1) ** -power) @ right.T
    return (features + rng.normal(size=p)).astype(np.float32)


def angles(first, second):
    """Return the angles in degrees between the spans of two sets of components, over images."""
    return np.degrees(subspace_angles(*(np.asarray(one, np.float64) for one in (first, second))))


@pytest.mark.parametrize("shape", [MORE_FEATURES, MORE_IMAGES])
def test_exact_components_are_those_of_scikit_learn_signs_included(shape, rng):
    features, new = made(*shape, rng), rng.normal(size=(7, shape[1])).astype(np.float32)
    found = fit_reduction(features, 12)
    expected = PCA(12, svd_solver="full").fit(features.astype(np.float64))
    np.testing.assert_allclose(found.directions.numpy().T, expected.components_, atol=2e-6)
    np.testing.assert_allclose(found(new).numpy(), expected.transform(new), atol=2e-5)
    np.testing.assert_allclose(found.variances.numpy(), expected.explained_variance_, rtol=1e-5)
    share = (found.variances / found.total_variance).numpy()
    np.testing.assert_allclose(share, expected.explained_variance_ratio_, rtol=1e-5)
    assert found.projection is None


@pytest.mark.parametrize("shape", [MORE_FEATURES, MORE_IMAGES])
def test_components_are_uncorrelated_and_hold_everything_when_all_are_kept(shape, rng):
    features = made(*shape, rng)
    reduction = fit_reduction(features)
    assert len(reduction.variances) == (39 if shape == MORE_FEATURES else 40)
    components = reduction(features).double()
    covariance = components.T @ components / (len(features) - 1)
    torch.testing.assert_close(covariance, reduction.variances.diag(), rtol=0, atol=1e-5)
    eye = torch.eye(len(reduction.variances))
    torch.testing.assert_close(reduction.directions.T @ reduction.directions, eye, rtol=0, atol=1e-5)
    np.testing.assert_allclose(reduction.back(reduction(features)).numpy(), features, atol=2e-5)
    assert variance_kept(features, components) == pytest.approx(1, abs=1e-6)


def test_a_low_rank_is_what_the_components_leave(rng):
    features = made(*MORE_FEATURES, rng)
    features[:, 3], is_train = 1.0, np.arange(len(features)) < 30
    varying = np.delete(features, 3, axis=1)
    pca = PCA(8, svd_solver="full").fit(varying[is_train])
    found = low_rank(features, is_train, 8)
    np.testing.assert_allclose(found, pca.inverse_transform(pca.transform(varying)), atol=1e-4)
    changed = np.where(is_train[:, None], features, 7)
    np.testing.assert_array_equal(low_rank(changed, is_train, 8)[is_train], found[is_train])
    np.testing.assert_array_equal(low_rank(features, is_train, 10_000), varying)
    repeated = np.tile(features[:, :5], 4)  # four dimensions that vary, sixteen columns
    found = low_rank(repeated, is_train, 12)
    np.testing.assert_allclose(found, np.delete(repeated, [3, 8, 13, 18], 1), atol=1e-4)


def test_a_low_rank_refuses_what_does_not_vary_and_numbers_that_are_no_counts(rng):
    features, is_train = made(*MORE_FEATURES, rng), np.arange(40) < 30
    for constant in (np.full((40, 5), 0.1, np.float32), np.where(is_train[:, None], 1, features)):
        with pytest.raises(ValueError, match="varies over the 30 training images"):
            low_rank(constant, is_train, 3)
    for wrong in (0, -3, 2.5):
        with pytest.raises(ValueError, match="n_components"):
            low_rank(features, is_train, wrong)
    half = (50 * rng.standard_normal((40, 20)) + 1000).astype(np.float16)  # whose sums of squares overflow
    np.testing.assert_allclose(
        low_rank(half, is_train, 5), low_rank(half.astype(np.float32), is_train, 5), atol=0.01
    )


@pytest.mark.parametrize("wrong", [np.arange(40), np.ones(5, bool), np.zeros(40, bool)])
def test_a_low_rank_needs_training_images(wrong, rng):
    with pytest.raises(ValueError, match="is_train must mark at least two"):
        low_rank(made(*MORE_FEATURES, rng), wrong, 5)


@pytest.mark.parametrize("shape", [MORE_FEATURES, MORE_IMAGES])
def test_blocks_memory_maps_tensors_and_shapes_change_nothing(shape, rng, tmp_path):
    features = made(*shape, rng)
    whole = fit_reduction(features, 9)
    mapped = np.lib.format.open_memmap(tmp_path / "features.npy", "w+", np.float32, features.shape)
    mapped[:] = features
    deep = features.reshape(len(features), 5, 2, -1)
    for given, block_size in ((features, 7), (mapped, 16), (torch.from_numpy(features), 1), (deep, 1024)):
        found = fit_reduction(given, 9, block_size=block_size)
        torch.testing.assert_close(found.directions, whole.directions, rtol=0, atol=1e-6)
        torch.testing.assert_close(found(given), whole(features), rtol=0, atol=1e-5)
    several = np.concatenate([features] * 8)  # more rows than one block of the call
    torch.testing.assert_close(whole(several)[-len(features) :], whole(features), rtol=0, atol=1e-5)


def test_a_large_mean_does_not_hide_the_directions(rng):
    features = made(*MORE_FEATURES, rng).astype(np.float64)
    far = fit_reduction(features + 1e5, 9)
    torch.testing.assert_close(far.directions, fit_reduction(features, 9).directions, rtol=0, atol=1e-5)


@pytest.mark.parametrize("max_bytes", [4e9, 0])
def test_the_first_components_are_those_of_a_fit_with_fewer(max_bytes, rng):
    features = made(*MORE_FEATURES, rng)
    many, few = (
        fit_reduction(features, k, np.random.default_rng(1), 60, max_bytes=max_bytes) for k in (15, 6)
    )
    torch.testing.assert_close(many.first(6).directions, few.directions, rtol=0, atol=1e-6)
    torch.testing.assert_close(many.first(6)(features), few(features), rtol=0, atol=1e-5)
    assert many.first(6).total_variance == pytest.approx(few.total_variance)
    for wrong in (0, 16):
        with pytest.raises(ValueError, match=r"in \[1, 15\]"):
            many.first(wrong)


def test_sets_are_cut_to_the_number_of_the_smallest(rng):
    sets = {"wide": made(40, 150, rng), "narrow": made(40, 11, rng)}
    cut = same_dimensions({name: fit_reduction(features) for name, features in sets.items()})
    for name, reduction in cut.items():
        assert reduction(sets[name]).shape == (40, 11)
        expected = PCA(11, svd_solver="full").fit_transform(sets[name].astype(np.float64))
        np.testing.assert_allclose(reduction(sets[name]).numpy(), expected, atol=3e-5)


def test_images_that_vary_in_few_dimensions_are_told(rng):
    features = rng.normal(size=(40, 5)) @ rng.normal(size=(5, 150)) + 3
    for dtype in (np.float32, np.float64):
        assert len(fit_reduction(features.astype(dtype)).variances) == 5
        with pytest.raises(ValueError, match="vary in 5 dimensions only, and n_components is 6"):
            fit_reduction(features.astype(dtype), 6)
    for constant in (1.0, 0.1, 7.3):  # the mean of the last two is rounded
        with pytest.raises(ValueError, match="vary in 0 dimensions"):
            fit_reduction(np.full((41, 150), constant))
    far = (features + 1000).astype(np.float32)
    assert len(fit_reduction(far).variances) == 5


def test_the_projection_is_scikit_learns_and_takes_each_image_by_itself(rng):
    features = rng.normal(size=(20, 9, 10, 10)).astype(np.float32)
    projection = SparseProjection(900, 200, np.random.default_rng(3))
    seed = int(np.random.default_rng(3).integers(2**31))
    expected = SparseRandomProjection(200, random_state=seed).fit_transform(features.reshape(20, -1))
    np.testing.assert_allclose(projection(features).numpy(), expected, atol=1e-4)
    assert torch.equal(projection(features)[[4, 2]], projection(torch.from_numpy(features[[4, 2]])))
    assert torch.equal(projection(features), SparseProjection(900, 200, np.random.default_rng(3))(features))
    assert not torch.equal(projection(features), SparseProjection(900, 200, rng)(features))


def test_the_projection_keeps_distances(rng):
    features = made(40, 3000, rng)
    projected = SparseProjection(3000, 600, rng)(features).double()
    pairs = np.triu_indices(40, 1)
    kept = (
        torch.cdist(projected, projected)[pairs]
        / torch.cdist(*[torch.from_numpy(features).double()] * 2)[pairs]
    )
    assert abs(float(kept.mean()) - 1) < 0.02
    assert float((kept - 1).abs().max()) < (8 * np.log(40) / 600) ** 0.5


def test_nothing_is_lost_where_the_features_have_few_dimensions(rng):
    """A random projection of a space of 15 dimensions to 100 dimensions is one to one."""
    features = (rng.normal(size=(60, 15)) @ rng.normal(size=(15, 1500))).astype(np.float32)
    exact = fit_reduction(features, 15)
    projected = fit_reduction(features, 15, rng, 100, max_bytes=0)
    assert angles(exact(features), projected(features)).max() < 0.01
    assert variance_kept(features, projected(features)) == pytest.approx(1, abs=1e-6)


def cost(features, n_projected, seed):
    """Return which share of the exact components' variance is kept, and the median angle in degrees."""
    exact = fit_reduction(features, K_COST)(features)
    rng = np.random.default_rng(seed)
    projected = fit_reduction(features, K_COST, rng, n_projected, max_bytes=0)(features)
    share = variance_kept(features, projected) / variance_kept(features, exact)
    return share, np.median(angles(exact, projected))


@pytest.mark.parametrize(
    ("power", "shares_kept", "median_angles"),
    [(0.5, (0.653, 0.845, 0.909), (51.1, 32.2, 24.2)), (1.0, (0.959, 0.9907, 0.9954), (28.1, 13.3, 9.3))],
)
def test_what_a_projection_costs_against_exact_components(power, shares_kept, median_angles):
    """Record the costs of one, four and eight dimensions for each component, as means over five seeds.

    The figures were measured over 15 seeds. The tolerance is four standard errors of a mean over five.
    """
    features = made(N_COST, P_COST, np.random.default_rng(0), power)
    costs = np.array([[cost(features, m * K_COST, seed) for m in (1, 4, 8)] for seed in range(5)])
    shares, degrees = costs.transpose(2, 0, 1)
    assert (shares < 1).all()
    assert (np.diff(shares, axis=1) > 0).all()
    assert (np.diff(degrees, axis=1) < 0).all()
    errors = {0.5: ((0.03, 0.012, 0.007), (3.7, 1.9, 2.1)), 1.0: ((0.007, 0.0012, 0.0007), (3.8, 1.2, 0.9))}
    assert (np.abs(shares.mean(0) - shares_kept) < errors[power][0]).all()
    assert (np.abs(degrees.mean(0) - median_angles) < errors[power][1]).all()


def test_a_fit_is_the_same_for_a_seed_and_another_for_another(rng):
    features = made(60, 400, rng)
    first, again, other = (
        fit_reduction(features, 5, np.random.default_rng(seed), max_bytes=0) for seed in (1, 1, 2)
    )
    assert torch.equal(first(features), again(features))
    assert not torch.allclose(first(features), other(features), atol=0.01)
    assert first.projection.matrix.shape == (20, 400)
    exact = [fit_reduction(features, 5, np.random.default_rng(seed)) for seed in (1, 2)]
    assert torch.equal(exact[0].directions, exact[1].directions)


def test_the_way_follows_from_the_bytes_that_the_exact_way_needs(rng):
    features = made(60, 400, rng)
    needed = 24 * 60**2 + 4 * 400 * 5
    assert fit_reduction(features, 5, max_bytes=needed).projection is None
    assert fit_reduction(features, 5, rng, max_bytes=needed - 1).projection is not None
    with pytest.raises(ValueError, match="Pass rng and n_components"):
        fit_reduction(features, 5, max_bytes=needed - 1)
    with pytest.raises(ValueError, match="Pass rng and n_components"):
        fit_reduction(features, rng=rng, max_bytes=10)
    with pytest.raises(ValueError, match="cannot be undone"):
        fit_reduction(features, 5, rng, max_bytes=0).back(torch.zeros(1, 5))


def test_variance_kept_is_the_r2_of_a_regression_on_the_components(rng):
    features, components = made(*MORE_FEATURES, rng), rng.normal(size=(40, 6))
    design = np.column_stack([components, np.ones(40)])
    rest = features - design @ np.linalg.lstsq(design, features, rcond=None)[0]
    expected = 1 - (rest**2).sum() / ((features - features.mean(0)) ** 2).sum()
    assert variance_kept(features, components) == pytest.approx(expected, abs=1e-6)
    doubled = np.column_stack([components, components[:, :2]])  # two components said twice
    assert variance_kept(features, doubled, block_size=7) == pytest.approx(expected, abs=1e-6)
    reduction = fit_reduction(features, 8)
    kept = float(reduction.variances.sum()) / reduction.total_variance
    assert variance_kept(features, reduction(features)) == pytest.approx(kept, abs=1e-6)
    assert np.isnan(variance_kept(np.ones((40, 3)), components))


def test_wrong_input_is_refused(rng):
    features = made(*MORE_FEATURES, rng)
    for wrong in (0, 40, 2.5, float("nan")):
        with pytest.raises(ValueError, match="have 1 to 39 components"):
            fit_reduction(features, wrong)
    with pytest.raises(ValueError, match=r"Expected 150 features for each image, as fitted; got 149"):
        fit_reduction(features, 5)(features[:, 1:])
    with pytest.raises(ValueError, match=r"Expected 150 features"):
        fit_reduction(features, 5, rng, max_bytes=0)(features[:, 1:])
    with pytest.raises(ValueError, match="takes 150 features"):
        SparseProjection(150, 5, rng)(features[:, 1:])
    for wrong in (0, 150, float("nan")):
        with pytest.raises(ValueError, match="less than the 150 features"):
            SparseProjection(150, wrong, rng)
    with pytest.raises(ValueError, match="one row per image"):
        fit_reduction(features[:, 0])
    with pytest.raises(ValueError, match="40 and 39 rows"):
        variance_kept(features, features[1:])
    features[3, 4] = np.nan
    for call in (fit_reduction, fit_reduction(made(*MORE_FEATURES, rng), 5)):
        with pytest.raises(ValueError, match="features holds NaN or infinite values.*row 3, column 4"):
            call(features)
