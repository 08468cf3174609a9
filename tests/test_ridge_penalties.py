"""Which penalty is chosen, and when no choice can be trusted."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge as ReferenceRidge
from sklearn.linear_model import RidgeCV
from test_ridge import ALPHAS, make_data

from latentcortex.ridge import Ridge, alpha_grid
from latentcortex.ridge.regression import CRITERIA


def test_rounding_is_not_taken_for_a_perfect_fit(rng):
    """One column less than rows and next to no penalty: all residuals are rounding."""
    X, Y = make_data(rng, (31, 30), dtype=np.float32)
    alphas = [1e-9, 1e-7, 1e-5, 1.0, 100.0]
    single = Ridge(alphas).fit(X, Y)
    assert (single.cv_scores_ <= 1).all()
    assert (single.alpha_ >= 1).all()


def test_generalised_cross_validation_agrees_with_leaving_one_row_out(rng):
    """With leverages nearly equal GCV is leave-one-out; scikit-learn's is exact leave-one-out."""
    X, Y = make_data(rng, (400, 12))
    theirs = RidgeCV(ALPHAS, alpha_per_target=True).fit(X, Y)
    np.testing.assert_array_equal(Ridge(ALPHAS).fit(X, Y).alpha_, theirs.alpha_)
    left_out = np.zeros_like(Y)
    for i in range(len(X)):
        rest = np.arange(len(X)) != i
        left_out[i] = ReferenceRidge(10.0).fit(X[rest], Y[rest]).predict(X[i : i + 1])[0]
    scores = Ridge([10.0, 11.0]).fit(X, Y).cv_scores_[0]
    n = len(X)
    expected = 1 - ((Y - left_out) ** 2).sum(0) / (Y.var(0) * n**3 / (n - 1) ** 2)
    np.testing.assert_allclose(scores, expected, atol=5e-3)


def test_groups_never_part(rng):
    """Repeats that share X and a random Y are learned by heart, unless they stay together."""
    image = np.tile(np.arange(40), 3)
    X = rng.standard_normal((40, 80))[image] + 0.05 * rng.standard_normal((120, 80))
    Y = rng.standard_normal((40, 30))[image]
    alphas = [0.1, 1.0]
    assert Ridge(alphas, cv=5).fit(X, Y).cv_scores_.mean() > 0.8
    assert Ridge(alphas, cv=5).fit(X, Y, groups=image).cv_scores_.mean() < 0


def test_penalties_on_the_scale_of_the_problem(rng):
    """The best penalty is near p (1 - R2) / R2, for any R2, and lies inside the grid."""
    X = rng.standard_normal((1000, 100))
    r2 = np.array([0.05, 0.2, 0.5, 0.8])
    coef = rng.standard_normal((100, 4)) * np.sqrt(r2 / 100)
    Y = X @ coef + rng.standard_normal((1000, 4)) * np.sqrt(1 - r2)
    for cv in ("gcv", 5):
        fit = Ridge(cv=cv, zscore=True).fit(X, Y)
        assert fit.edge_share_ == 0
        assert np.all(np.abs(np.log10(fit.alpha_ / (100 * (1 - r2) / r2))) <= 0.75)
    assert alpha_grid(100)[0] == 1 and alpha_grid(100)[-1] == 1e5


def test_edge_share_counts_both_edges(rng):
    X, Y = make_data(rng, (60, 13))
    fit = Ridge([1e-6, 10.0, 1e9]).fit(X, Y)
    assert fit.edge_share_ == np.mean(fit.alpha_ != 10)
    assert 0 < fit.edge_share_ < 1
    assert Ridge(10.0).fit(X, Y).edge_share_ == 0


@pytest.mark.parametrize("cv", ["gcv", 3])
@pytest.mark.parametrize("n_samples", [60, 5000])
def test_targets_that_vary_by_rounding_alone_are_constants(rng, cv, n_samples):
    X, Y = make_data(rng, (n_samples, 13), dtype=np.float32)
    alphas = [1e-6, 10.0, 1e9]
    expected = Ridge(alphas, cv=cv).fit(X, Y)
    assert 0 < expected.edge_share_ < 1
    constant = np.full((n_samples, 30), 0.7312, np.float32)
    constant *= 1 + np.finfo(np.float32).eps * rng.choice([0, 1], constant.shape)
    fit = Ridge(alphas, cv=cv).fit(X, np.hstack([Y, constant]).astype(np.float32))
    assert (fit.cv_scores_[:, 9:] == 0).all()
    assert fit.edge_share_ == expected.edge_share_
    np.testing.assert_allclose(fit.predict(X)[:, 9:], 0.7312, rtol=1e-4)


def test_constant_targets_do_not_choose_the_shared_penalty(rng):
    X, Y = make_data(rng, (60, 13))
    with_constant = np.hstack([Y, np.ones((60, 50))])
    fit, expected = (Ridge(ALPHAS, alpha_per_target=False).fit(X, y) for y in (with_constant, Y))
    assert np.unique(fit.alpha_) == np.unique(expected.alpha_)
    np.testing.assert_allclose(fit.predict(X)[:, 9:], 1)


def shared_penalty(X, Y, criterion):
    return Ridge(alpha_per_target=False, zscore=True, cv=5, criterion=criterion).fit(X, Y).alpha_[0]


@pytest.mark.parametrize("n_noise", [40, 400])
def test_targets_that_nothing_predicts_do_not_choose_the_shared_penalty(rng, n_noise):
    """What 20 predictable targets ask for stays, whatever noise of whatever unit stands next to them."""
    X = rng.standard_normal((300, 60))
    Y = X @ rng.standard_normal((60, 20)) / np.sqrt(60) + 1.5 * rng.standard_normal((300, 20))
    noise = rng.standard_normal((300, n_noise))
    alone = shared_penalty(X, Y, "predicted")
    for unit in (1e-3, 1, 1e3):
        assert shared_penalty(X, np.hstack([Y, unit * noise]), "predicted") == alone
    # The two others can be led astray: by the number of noisy targets, or by their unit.
    assert shared_penalty(X, np.hstack([Y, 1e-3 * noise]), "variance_weighted") == alone
    assert shared_penalty(X, np.hstack([Y, 1e3 * noise]), "variance_weighted") > 10 * alone
    if n_noise == 400:
        assert shared_penalty(X, np.hstack([Y, 1e-3 * noise]), "uniform_average") > 2 * alone


def test_where_nothing_is_predicted_the_shared_penalty_is_that_of_the_mean(rng):
    X, Y = rng.standard_normal((100, 60)), rng.standard_normal((100, 50))
    fits = [
        Ridge(alpha_grid(60)[:6], alpha_per_target=False, criterion=criterion).fit(X, Y)
        for criterion in ("predicted", "uniform_average")
    ]
    assert (fits[0].cv_scores_.max(0) <= 0).any()
    assert fits[0].alpha_[0] == fits[1].alpha_[0] == alpha_grid(60)[5]


def test_the_criterion_does_not_touch_penalties_per_target(rng):
    X, Y = make_data(rng, (60, 13))
    fits = [Ridge(ALPHAS, criterion=name).fit(X, Y) for name in CRITERIA]
    for other in fits[1:]:
        np.testing.assert_array_equal(other.alpha_, fits[0].alpha_)
        np.testing.assert_array_equal(other.coef_, fits[0].coef_)
