import contextlib
from unittest import SkipTest

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge as ReferenceRidge
from sklearn.metrics import r2_score
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

from latentcortex.ridge import Ridge

ALPHAS = np.logspace(-1, 4, 7)
SHAPES = pytest.mark.parametrize("shape", [(60, 13), (30, 90)], ids=["tall", "wide"])


def make_data(rng, shape, n_targets=9, dtype=np.float64):
    """Rows with unequal column scales and means; targets from noiseless to pure noise."""
    n_samples, n_features = shape
    X = rng.standard_normal(shape) * rng.uniform(0.3, 3, n_features) + rng.uniform(-5, 5)
    signal = X @ rng.standard_normal((n_features, n_targets)) / np.sqrt(n_features)
    noise = rng.standard_normal((n_samples, n_targets)) * np.geomspace(0.05, 30, n_targets)
    return X.astype(dtype), (signal + noise + rng.uniform(-9, 9, n_targets)).astype(dtype)


@SHAPES
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("cv", ["gcv", 4])
def test_equals_scikit_learn_with_a_penalty_per_target(rng, shape, weighted, cv):
    X, Y = make_data(rng, shape)
    weights = rng.uniform(0.2, 3, len(X)) if weighted else None
    ours = Ridge(ALPHAS, cv=cv).fit(X, Y, sample_weight=weights)
    assert len(np.unique(ours.alpha_)) > 3, "the data must ask for different penalties"

    theirs = ReferenceRidge(ours.alpha_, solver="svd").fit(X, Y, sample_weight=weights)
    np.testing.assert_allclose(ours.coef_.T, theirs.coef_, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-9, atol=1e-9)
    expected = r2_score(Y, theirs.predict(X), sample_weight=weights, multioutput="raw_values")
    np.testing.assert_allclose(ours.score(X, Y, sample_weight=weights), expected, atol=1e-9)


@SHAPES
def test_float32_predicts_as_float64_does(rng, shape):
    X, Y = make_data(rng, shape)
    # A penalty far below the largest eigenvalue, where X'X in float32 would have no digits left.
    double = Ridge(1e-2).fit(X, Y)
    single = Ridge(1e-2).fit(X.astype(np.float32), Y.astype(np.float32))
    assert single.coef_.dtype == np.float32
    predicted = single.predict(X.astype(np.float32))
    assert predicted.dtype == np.float32
    np.testing.assert_allclose(predicted / Y.std(0), double.predict(X) / Y.std(0), atol=1e-3)
    for cv in ("gcv", 4):
        double = Ridge(ALPHAS, cv=cv).fit(X, Y)
        single = Ridge(ALPHAS, cv=cv).fit(X.astype(np.float32), Y.astype(np.float32))
        np.testing.assert_allclose(single.cv_scores_, double.cv_scores_, atol=1e-4)


@pytest.mark.parametrize("shape", [(60, 13), (30, 90), (61, 48)], ids=["tall", "wide", "between"])
@pytest.mark.parametrize("criterion", [None, "predicted", "variance_weighted", "uniform_average"])
@pytest.mark.parametrize("zscore", [True, False])
def test_grouped_folds_equal_brute_force(rng, shape, criterion, zscore):
    X, Y = make_data(rng, shape)
    # Groups of two to four rows: between tall and wide some folds have more rows than columns.
    groups = rng.permutation(np.repeat(np.arange(len(X)), rng.integers(2, 5, len(X)))[: len(X)]) * 7
    weights = rng.uniform(0.2, 3, len(X))
    error, error_of_mean = np.zeros((len(ALPHAS), Y.shape[1])), np.zeros(Y.shape[1])
    sizes = []
    for train, test in GroupKFold(5).split(X, groups=groups):
        assert not set(groups[train]) & set(groups[test])
        sizes.append(len(train))
        mean = np.average(Y[train], axis=0, weights=weights[train])
        error_of_mean += weights[test] @ (Y[test] - mean) ** 2
        scaler = StandardScaler(with_mean=zscore, with_std=zscore)
        scaler.fit(X[train], sample_weight=weights[train])
        for i, alpha in enumerate(ALPHAS):
            model = ReferenceRidge(alpha, solver="svd")
            model.fit(scaler.transform(X[train]), Y[train], sample_weight=weights[train])
            error[i] += weights[test] @ (Y[test] - model.predict(scaler.transform(X[test]))) ** 2
    if shape == (61, 48):
        assert min(sizes) <= 48 < max(sizes)
    scores = 1 - error / error_of_mean

    ours = Ridge(ALPHAS, cv=5, alpha_per_target=criterion is None, zscore=zscore)
    if criterion is not None:
        ours.set_params(criterion=criterion)
    ours.fit(X, Y, groups=groups, sample_weight=weights)
    np.testing.assert_allclose(ours.cv_scores_, scores, rtol=1e-9, atol=1e-9)
    shared = {
        "predicted": (scores * np.maximum(scores.max(0), 0)).sum(1),
        "variance_weighted": -error.sum(1),
        "uniform_average": scores.mean(1),
    }
    best = scores.argmax(0) if criterion is None else np.full(Y.shape[1], shared[criterion].argmax())
    np.testing.assert_array_equal(ours.alpha_, ALPHAS[best])


@SHAPES
@pytest.mark.parametrize("weighted", [False, True])
def test_generalised_cross_validation_equals_brute_force(rng, shape, weighted):
    """Each column of the hat matrix is the fit of a unit vector: its trace needs no theory."""
    X, Y = make_data(rng, shape)
    n_samples = len(X)
    weights = rng.uniform(0.2, 3, n_samples) if weighted else np.ones(n_samples)
    scores = np.zeros((len(ALPHAS), Y.shape[1]))
    mean = np.average(Y, axis=0, weights=weights)
    of_mean = n_samples * (weights @ (Y - mean) ** 2) / (n_samples - 1) ** 2
    for i, alpha in enumerate(ALPHAS):
        model = ReferenceRidge(alpha, solver="svd")
        hat = model.fit(X, np.eye(n_samples), sample_weight=weights).predict(X)
        residual = Y - hat @ Y
        gcv = n_samples * (weights @ residual**2) / (n_samples - np.trace(hat)) ** 2
        scores[i] = 1 - gcv / of_mean
    ours = Ridge(ALPHAS).fit(X, Y, sample_weight=None if not weighted else weights)
    np.testing.assert_allclose(ours.cv_scores_, scores, rtol=1e-8, atol=1e-8)
    np.testing.assert_array_equal(ours.alpha_, ALPHAS[scores.argmax(0)])


def test_folds_in_float32_are_as_exact_with_one_common_column_as_without(rng):
    """The intercept's direction is taken out before float32, or its rounding would be enlarged."""
    X, Y = make_data(rng, (50, 120))
    X += 30 * rng.standard_normal((50, 1))
    alphas = [1e-2, 1.0, 100.0]
    double = Ridge(alphas, cv=5).fit(X, Y)
    single = Ridge(alphas, cv=5).fit(X.astype(np.float32), Y.astype(np.float32))
    np.testing.assert_allclose(single.cv_scores_, double.cv_scores_, atol=3e-5)


@SHAPES
def test_hstack_twin(rng, shape):
    """[X, X] at 2 alpha fits as X does at alpha, each copy taking half of the coefficients."""
    X, Y = make_data(rng, shape)
    single, double = Ridge(ALPHAS).fit(X, Y), Ridge(2 * ALPHAS).fit(np.hstack([X, X]), Y)
    np.testing.assert_allclose(double.alpha_, 2 * single.alpha_)
    half = np.vstack([single.coef_, single.coef_]) / 2
    np.testing.assert_allclose(double.coef_, half, rtol=1e-8, atol=1e-8)


@SHAPES
def test_vstack_twin(rng, shape):
    """Every row twice at 2 alpha is every row once at alpha."""
    X, Y = make_data(rng, shape)
    once, twice = Ridge(10.0).fit(X, Y), Ridge(20.0).fit(np.vstack([X, X]), np.vstack([Y, Y]))
    np.testing.assert_allclose(twice.coef_, once.coef_, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(twice.intercept_, once.intercept_, rtol=1e-9, atol=1e-9)


@SHAPES
@pytest.mark.parametrize("zscore", [False, True])
def test_weighted_averages_equal_repeated_rows(rng, shape, zscore):
    X, trials = make_data(rng, shape)
    n_repeats = rng.integers(1, 4, len(X))
    row = np.repeat(np.arange(len(X)), n_repeats)
    trials = trials[row] + rng.standard_normal((len(row), trials.shape[1]))
    averages = np.array([trials[row == i].mean(0) for i in range(len(X))])
    single = Ridge(10.0, zscore=zscore).fit(X[row], trials)
    averaged = Ridge(10.0, zscore=zscore).fit(X, averages, sample_weight=n_repeats)
    np.testing.assert_allclose(averaged.coef_, single.coef_, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(averaged.intercept_, single.intercept_, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("cv", ["gcv", 3])
def test_rows_of_weight_zero_are_left_out(rng, cv):
    X, Y = make_data(rng, (40, 8))
    groups, weights = np.arange(40), np.ones(40)
    weights[25:] = 0
    Y[25:] = 1e6
    kept = Ridge(ALPHAS, cv=cv).fit(X[:25], Y[:25], groups=groups[:25])
    weighted = Ridge(ALPHAS, cv=cv).fit(X, Y, groups=groups, sample_weight=weights)
    np.testing.assert_allclose(weighted.cv_scores_, kept.cv_scores_, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(weighted.coef_, kept.coef_, rtol=1e-9, atol=1e-9)


@SHAPES
def test_zscore_equals_a_scaler_before(rng, shape):
    X, Y = make_data(rng, shape)
    ours = Ridge(10.0, zscore=True).fit(X, Y)
    theirs = make_pipeline(StandardScaler(), ReferenceRidge(10.0, solver="svd")).fit(X, Y)
    X_new = rng.standard_normal((5, shape[1]))
    np.testing.assert_allclose(ours.predict(X_new), theirs.predict(X_new), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_constant_column_takes_no_part(rng, dtype):
    X, Y = make_data(rng, (50, 6), dtype=dtype)
    constant = np.full((50, 1), 0.7312, dtype) * (1 + np.finfo(dtype).eps * rng.choice([0, 1], 50))[
        :, None
    ].astype(dtype)
    with_constant = Ridge(ALPHAS, zscore=True).fit(np.hstack([X, constant]), Y)
    without = Ridge(ALPHAS, zscore=True).fit(X, Y)
    assert np.all(with_constant.coef_[-1] == 0)
    np.testing.assert_allclose(with_constant.coef_[:-1], without.coef_, rtol=1e-4)


@SHAPES
@pytest.mark.parametrize("cv", ["gcv", 3])
def test_block_size_does_not_change_the_result(rng, shape, cv):
    X, Y = make_data(rng, shape)
    fits = [Ridge(ALPHAS, cv=cv, block_size=size).fit(X, Y) for size in (1, 4, 100)]
    for other in fits[1:]:
        np.testing.assert_array_equal(other.alpha_, fits[0].alpha_)
        np.testing.assert_allclose(other.coef_, fits[0].coef_, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(other.cv_scores_, fits[0].cv_scores_, rtol=1e-10, atol=1e-10)


@SHAPES
def test_scales(rng, shape):
    """X times s at s^2 alpha: the same predictions. Y times s: the same penalties, s times B."""
    X, Y = make_data(rng, shape)
    fit = Ridge(ALPHAS).fit(X, Y)
    larger_x, larger_y = Ridge(ALPHAS * 1e6).fit(1e3 * X, Y), Ridge(ALPHAS).fit(X, 1e-3 * Y)
    np.testing.assert_allclose(larger_x.predict(1e3 * X), fit.predict(X), rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(larger_y.alpha_, fit.alpha_)
    np.testing.assert_allclose(larger_y.coef_, 1e-3 * fit.coef_, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("cv", ["gcv", 5])
def test_order_of_rows_does_not_matter(rng, cv):
    X, Y = make_data(rng, (60, 13))
    groups, order = rng.permutation(1000)[:60], rng.permutation(60)
    fit = Ridge(ALPHAS, cv=cv).fit(X, Y, groups=groups)
    permuted = Ridge(ALPHAS, cv=cv).fit(X[order], Y[order], groups=groups[order])
    np.testing.assert_array_equal(permuted.alpha_, fit.alpha_)
    np.testing.assert_allclose(permuted.coef_, fit.coef_, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("cv", ["gcv", 3])
def test_tensors_in_tensors_out(rng, cv, device):
    X, Y = make_data(rng, (40, 12), dtype=np.float32)
    groups = np.arange(40)
    fit = Ridge(ALPHAS, cv=cv).fit(X, Y, groups=groups)
    tensors = torch.tensor(X, device=device), torch.tensor(Y, device=device)
    on_device = Ridge(ALPHAS, cv=cv).fit(*tensors, groups=torch.tensor(groups))
    predicted = on_device.predict(tensors[0])
    assert predicted.device.type == device.type and predicted.dtype == torch.float32
    np.testing.assert_array_equal(on_device.alpha_.cpu(), fit.alpha_)
    np.testing.assert_allclose(predicted.cpu(), fit.predict(X), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(on_device.score(*tensors).cpu(), fit.score(X, Y), atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alphas": [1.0, 0.0]}, "alphas must be positive"),
        ({"alphas": [[1.0, 2.0]]}, "one dimension"),
        ({"cv": 1}, "from 2 to 20 folds"),
        ({"cv": "loo"}, "cv must be 'gcv'"),
        ({"cv": 11, "groups": np.arange(20) // 2}, "from 2 to 10 folds"),
        ({"cv": "gcv", "groups": np.arange(20) // 2}, "average the repeats"),
        ({"block_size": 0}, "block_size must be a whole number, at least 1"),
        ({"groups": np.arange(19)}, "one per row"),
        ({"sample_weight": np.full(20, -1.0)}, "at least 0"),
        ({"sample_weight": np.eye(20)[0]}, "two rows of non-zero weight"),
    ],
)
def test_errors(rng, changes, message):
    X, Y = make_data(rng, (20, 3))
    rows = {key: changes.pop(key) for key in ("groups", "sample_weight") if key in changes}
    with pytest.raises(ValueError, match=message):
        Ridge(**{"alphas": ALPHAS, **changes}).fit(X, Y, **rows)


@pytest.mark.parametrize("cv", ["gcv", 3])
def test_tensors_that_ask_for_gradients_are_fitted_without(rng, cv):
    X, Y = (torch.tensor(array, requires_grad=True) for array in make_data(rng, (20, 3)))
    assert not Ridge(ALPHAS, cv=cv).fit(X, Y).coef_.requires_grad


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_errors_of_shape_and_value(rng, kind):
    X, Y = (kind(array) for array in make_data(rng, (20, 3)))
    fit = Ridge(1.0).fit(X, Y)
    for X_bad, Y_bad in ((X, Y[:-1]), (X[:, 0], Y), (X * np.nan, Y), (X, Y * np.nan)):
        with pytest.raises(ValueError):
            Ridge(1.0).fit(X_bad, Y_bad)
    with pytest.raises(ValueError):
        fit.predict(X[:, :2])
    with pytest.raises(ValueError, match="Y must be"):
        fit.score(X, Y[:, 0])


def test_keeps_scikit_learns_rules():
    # Generalised cross-validation of weighted rows is not that of repeated rows, by design; and
    # score(X, Y) has the name of this module for its second argument, not y.
    other = {"check_sample_weight_equivalence_on_dense_data", "check_n_features_in_after_fitting"}
    names = set()
    for estimator, check in estimator_checks_generator(Ridge()):
        names.add(check.func.__name__)
        # Some checks skip themselves, e.g. where an optional setting of scipy is off.
        if check.func.__name__ not in other:
            with contextlib.suppress(SkipTest):
                check(estimator)
    assert other < names and len(names) > 30


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_columns_that_never_vary_take_no_part_however_many_rows_there_are(rng, dtype):
    X = rng.normal(size=(3000, 12)).astype(dtype)
    X[:, :8] = rng.uniform(-10, 10, 8)
    weights = rng.integers(1, 4, 3000)
    for sample_weight in (None, weights):
        model = Ridge(1.0, zscore=True).fit(X, rng.normal(size=(3000, 3)).astype(dtype), sample_weight)
        assert (model.coef_[:8] == 0).all() and (model.coef_[8:] != 0).all()
