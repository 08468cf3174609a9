"""Banded ridge: against closed forms, plain ridge, single trials and himalaya."""

import numpy as np
import pytest
import torch
from himalaya.backend import set_backend
from himalaya.kernel_ridge import MultipleKernelRidgeCV
from himalaya.ridge import GroupRidgeCV
from sklearn.base import clone
from sklearn.metrics import r2_score

from latentcortex.encoding import BandedEncoder, VoxelwiseEncoder, correlation, draw_shares

SIZES = {
    "more rows": (60, {"z": (3, 2), "c": (4,), "g": (5,)}),
    "more columns": (20, {"z": (9, 2), "c": (14,)}),
}


def simulate(rng, n_images, shapes, n_vertices=12, strengths=None, noise=1.0):
    """Features with an offset and unequal scales; every vertex mixes the spaces."""
    features = {
        name: 3 + rng.standard_normal((n_images, *shape)) * rng.uniform(0.5, 2, shape)
        for name, shape in shapes.items()
    }
    betas = 5 + noise * rng.standard_normal((n_images, n_vertices))
    strengths = np.ones((len(shapes), n_vertices)) if strengths is None else strengths
    for values, strength in zip(features.values(), strengths, strict=True):
        flat = values.reshape(n_images, -1)
        tuning = rng.standard_normal((flat.shape[1], n_vertices)) / np.sqrt(flat.shape[1])
        betas += (flat - 3) @ tuning * strength
    return features, betas


def by_hand(features, betas, weights, penalties):
    """Return coefficients with the intercept first, and GCV, from the normal equations of all columns.

    `penalties` holds one penalty for each space; columns are z-scored with weights. Nothing is
    decomposed, centred or shared between candidates, and the intercept is a column of its own.
    """
    flat = [values.reshape(len(values), -1) for values in features.values()]
    share = weights / weights.sum()
    zscored = [(f - share @ f) / np.sqrt(share @ (f - share @ f) ** 2) for f in flat]
    columns = np.hstack([np.ones((len(betas), 1)), *zscored])
    penalty = np.concatenate([[0.0], *(np.full(f.shape[1], p) for f, p in zip(flat, penalties, strict=True))])
    normal = columns.T @ (weights[:, None] * columns) + np.diag(penalty)
    to_coef = np.linalg.solve(normal, columns.T * weights)
    trace = np.trace(columns @ to_coef)
    coef = to_coef @ betas
    residual = weights @ (betas - columns @ coef) ** 2
    return coef, len(betas) * residual / (len(betas) - trace) ** 2


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("weighted", [False, True])
def test_candidates_and_coefficients_equal_the_normal_equations(rng, size, weighted):
    n_images, shapes = SIZES[size]
    features, betas = simulate(rng, n_images, shapes)
    n_repeats = rng.integers(1, 4, n_images) if weighted else None
    weights = np.ones(n_images) if n_repeats is None else n_repeats.astype(float)
    shares, alphas = draw_shares(len(shapes), 6, rng, 1.0), np.array([0.5, 5, 50, 500])
    encoder = BandedEncoder(shares, alphas, block_size=5).fit(features, betas, np.arange(n_images), n_repeats)
    mean_only = len(betas) * (weights @ (betas - weights @ betas / weights.sum()) ** 2) / (n_images - 1) ** 2
    candidates = [(k, alpha) for k in range(6) for alpha in alphas]
    found = [by_hand(features, betas, weights, alpha / shares[k]) for k, alpha in candidates]
    scores = np.array([1 - gcv / mean_only for _, gcv in found])
    np.testing.assert_allclose(encoder.gcv_scores_, scores.reshape(6, 4, -1).max(1), rtol=0, atol=1e-8)
    assert len(set(scores.argmax(0))) > 2, "all vertices choose the same: the choice is not tested"
    flat = {n: f.reshape(n_images, -1) for n, f in features.items()}
    sd = {
        n: np.sqrt(np.average((f - encoder.mean_[n]) ** 2, axis=0, weights=weights)) for n, f in flat.items()
    }
    for vertex, best in enumerate(scores.argmax(0)):
        k, alpha = candidates[best]
        assert encoder.alpha_[vertex] == alpha
        np.testing.assert_allclose(encoder.share_[:, vertex], shares[k], rtol=1e-12)
        coef = np.concatenate([encoder.coef_[n][:, vertex] * sd[n] for n in features])
        np.testing.assert_allclose(coef, found[best][0][1:, vertex], rtol=0, atol=1e-8)
        assert encoder.intercept_[vertex] == pytest.approx(found[best][0][0, vertex], abs=1e-8)


def test_equal_shares_are_plain_ridge(rng):
    """All columns in one space, or equal shares of two with the alpha divided: one and the same model."""
    for n_images in (80, 15):
        features, betas = simulate(rng, n_images, {"z": (6,), "c": (12,)})
        joint = np.hstack(list(features.values()))
        alphas = np.logspace(-1, 3, 9)
        plain = VoxelwiseEncoder(alphas).fit(joint, betas, np.arange(n_images))
        one = BandedEncoder([[1.0]], alphas).fit({"all": joint}, betas, np.arange(n_images))
        two = BandedEncoder([[0.5, 0.5]], alphas / 2).fit(features, betas, np.arange(n_images))
        new, _ = simulate(rng, 10, {"z": (6,), "c": (12,)})
        expected = plain.predict(np.hstack(list(new.values())))
        np.testing.assert_allclose(one.predict({"all": np.hstack(list(new.values()))}), expected, atol=1e-9)
        np.testing.assert_allclose(two.predict(new), expected, atol=1e-9)
        np.testing.assert_array_equal(one.alpha_, plain.ridge_.alpha_)
        assert one.edge_share_ == plain.ridge_.edge_share_


def test_the_two_routes_agree_and_a_space_of_share_0_is_left_out(rng):
    """Columns without variance change nothing, but there are then more columns than rows."""
    features, betas = simulate(rng, 30, {"z": (6,), "c": (8,)})
    shares = np.array([[1.0, 0.0], [0.3, 0.7]])
    few = BandedEncoder(shares, [1.0, 10]).fit(features, betas, np.arange(30))
    padded = {"z": features["z"], "c": np.hstack([features["c"], np.full((30, 40), 7.3)])}
    many = BandedEncoder(shares, [1.0, 10]).fit(padded, betas, np.arange(30))
    np.testing.assert_allclose(many.gcv_scores_, few.gcv_scores_, atol=1e-9)
    np.testing.assert_allclose(many.predict(padded), few.predict(features), atol=1e-9)
    alone = BandedEncoder(shares[:1], [1.0, 10]).fit(features, betas, np.arange(30))
    single = VoxelwiseEncoder([1.0, 10]).fit(features["z"], betas, np.arange(30))
    np.testing.assert_allclose(alone.predict(features), single.predict(features["z"]), atol=1e-9)
    assert (alone.coef_["c"] == 0).all()


@pytest.mark.parametrize("size", SIZES)
def test_parts_add_up_to_the_prediction(rng, size):
    n_images, shapes = SIZES[size]
    features, betas = simulate(rng, n_images, shapes)
    encoder = BandedEncoder(draw_shares(len(shapes), 5, rng)).fit(features, betas, np.arange(n_images))
    new, _ = simulate(rng, 9, shapes)
    parts = encoder.predict(new, split=True)
    assert parts.shape == (len(shapes), 9, 12)
    np.testing.assert_allclose(encoder.intercept_ + parts.sum(0), encoder.predict(new), rtol=1e-12)
    np.testing.assert_allclose(encoder.predict(features, split=True).mean(1), 0, atol=1e-12)
    # A part needs the features of its own space only, found by name.
    others = {name: values if name == "z" else 0 * values for name, values in reversed(new.items())}
    np.testing.assert_array_equal(encoder.predict(others, split=True)[0], parts[0])


def test_averages_weighted_by_repeats_equal_single_trials(rng):
    """At one candidate; the single trials are fitted by hand, since GCV refuses repeats."""
    features, betas = simulate(rng, 40, {"z": (4,), "c": (6,)})
    n_repeats = rng.integers(1, 4, 40)
    image = np.repeat(np.arange(40), n_repeats)
    trials = betas[image] + rng.standard_normal((len(image), 12))
    averages = np.array([trials[image == i].mean(0) for i in range(40)])
    encoder = BandedEncoder([[0.2, 0.8]], 7.0).fit(features, averages, np.arange(40), n_repeats)
    of_trials = {name: values[image] for name, values in features.items()}
    coef, _ = by_hand(of_trials, trials, np.ones(len(image)), [7 / 0.2, 7 / 0.8])
    zscored = [(f - f.mean(0)) / f.std(0) for f in of_trials.values()]
    expected = np.hstack([np.ones((len(image), 1)), *zscored]) @ coef
    np.testing.assert_allclose(encoder.predict(of_trials), expected, atol=1e-9)


def himalaya_data(rng, n_images=(150, 100), n_vertices=60):
    shapes = {"z": (20,), "c": (30,)}
    strengths = np.stack([np.linspace(0, 1, n_vertices), np.linspace(1, 0, n_vertices)])
    features, betas = simulate(rng, sum(n_images), shapes, n_vertices, strengths)
    train, test = np.arange(n_images[0]), np.arange(n_images[0], sum(n_images))
    mean, sd = ({n: getattr(f[train], how)(0) for n, f in features.items()} for how in ("mean", "std"))
    return {n: (f - mean[n]) / sd[n] for n, f in features.items()}, betas, train, test


def test_himalaya_predicts_the_same_at_the_candidates_chosen(rng):
    """himalaya is given the one candidate that GCV has chosen, and predicts the same vertex by vertex."""
    set_backend("numpy", on_error="raise")
    features, betas, train, test = himalaya_data(rng)
    shares, alphas = draw_shares(2, 8, rng), np.logspace(0, 3, 7)
    encoder = BandedEncoder(shares, alphas).fit(
        {n: f[train] for n, f in features.items()}, betas[train], train
    )
    r2 = r2_score(
        betas[test],
        encoder.predict({n: f[test] for n, f in features.items()}, test),
        multioutput="raw_values",
    )
    columns = list(features.values())
    kernels = np.array([f @ f[train].T for f in columns])
    chosen = np.unique(np.vstack([encoder.share_, encoder.alpha_]), axis=1).T
    assert len(chosen) > 5
    for *share, alpha in chosen:
        vertices = np.flatnonzero((share == encoder.share_.T).all(1) & (encoder.alpha_ == alpha))
        params = {"n_iter": np.array([share]), "alphas": np.array([alpha]), "progress_bar": False}
        group = GroupRidgeCV("input", solver_params=params, fit_intercept=True, cv=2)
        group.fit([f[train] for f in columns], betas[train][:, vertices])
        kernel = MultipleKernelRidgeCV("precomputed", solver_params=params, fit_intercept=True, cv=2)
        kernel.fit(kernels[:, train], betas[train][:, vertices])
        for theirs in (group.predict([f[test] for f in columns]), kernel.predict(kernels[:, test])):
            theirs = r2_score(betas[test][:, vertices], theirs, multioutput="raw_values")
            np.testing.assert_allclose(r2[vertices], theirs, atol=1e-9)


def test_himalaya_chooses_as_well_on_the_same_candidates(rng):
    """Folds and GCV may choose differently, but the choices predict new images equally well."""
    set_backend("numpy", on_error="raise")
    features, betas, train, test = himalaya_data(rng, (600, 400))
    shares, alphas = draw_shares(2, 8, rng), np.logspace(0, 3, 7)
    encoder = BandedEncoder(shares, alphas).fit(
        {n: f[train] for n, f in features.items()}, betas[train], train
    )
    params = {"n_iter": shares, "alphas": alphas, "progress_bar": False}
    group = GroupRidgeCV("input", solver_params=params, fit_intercept=True, cv=10)
    group.fit([f[train] for f in features.values()], betas[train])
    ours = encoder.predict({n: f[test] for n, f in features.items()}, test)
    theirs = group.predict([f[test] for f in features.values()])
    r2, r2_of_theirs = (r2_score(betas[test], p, multioutput="raw_values") for p in (ours, theirs))
    assert r2.max() > 0.3
    assert (r2 - r2_of_theirs).mean() == pytest.approx(0, abs=1e-3)


def test_a_space_that_does_not_help_gets_a_small_share_and_costs_little(rng):
    n_vertices = 40
    strengths = np.zeros((2, n_vertices))
    strengths[0, :20], strengths[1, 20:] = 1, 1
    features, betas = simulate(rng, 250, {"z": (10,), "c": (120,)}, n_vertices, strengths)
    train, test = np.arange(100), np.arange(100, 250)
    of_train, of_test = ({n: f[rows] for n, f in features.items()} for rows in (train, test))
    banded = BandedEncoder(draw_shares(2, 20, rng)).fit(of_train, betas[train], train)
    joint = BandedEncoder([[0.5, 0.5]]).fit(of_train, betas[train], train)
    r, r_joint = (correlation(model.predict(of_test), betas[test]) for model in (banded, joint))
    assert (r - r_joint)[:20].mean() > 0.05
    assert np.median(banded.share_[1, :20]) < 0.05 < 0.8 < np.median(banded.share_[1, 20:])


def test_order_of_rows_and_blocks_do_not_change_the_result(rng):
    features, betas = simulate(rng, 50, {"z": (6,), "c": (70,)})
    shares = draw_shares(2, 6, rng)
    encoder = BandedEncoder(shares).fit(features, betas, np.arange(50))
    order = rng.permutation(50)
    permuted = {n: f[order] for n, f in features.items()}
    again = BandedEncoder(shares, block_size=1).fit(permuted, betas[order], order)
    np.testing.assert_allclose(again.predict(features), encoder.predict(features), atol=1e-9)
    assert clone(encoder).get_params()["block_size"] == 1024


def test_float32_is_close_to_float64_and_kinds_and_devices_follow_the_betas(rng, device):
    features, betas = simulate(rng, 60, {"z": (6, 2), "c": (70,)})
    shares = draw_shares(2, 6, rng)
    exact = BandedEncoder(shares).fit(features, betas, np.arange(60))
    small = {n: torch.as_tensor(f, dtype=torch.float32) for n, f in features.items()}
    on_device = torch.as_tensor(betas, dtype=torch.float32, device=device)
    encoder = BandedEncoder(shares).fit(small, on_device, np.arange(60))
    predicted = encoder.predict(small)
    assert predicted.dtype == torch.float32 and predicted.device.type == device.type
    same = (encoder.alpha_.cpu().numpy() == exact.alpha_) & (
        encoder.share_.cpu().numpy() == exact.share_
    ).all(0)
    assert same.mean() > 0.8
    np.testing.assert_allclose(predicted.cpu()[:, same], exact.predict(features)[:, same], atol=2e-3)
    assert isinstance(BandedEncoder(shares).fit(small, betas, np.arange(60)).predict(small), np.ndarray)


def test_a_direction_that_dominates_the_columns_costs_no_digits(rng):
    """Weights of rows in float32 lost two digits here: the direction multiplies their rounding."""
    fine = {name: rng.normal(size=(500, n)) for name, n in (("z", 700), ("c", 350))}
    betas = np.hstack(list(fine.values()))[:400] @ rng.normal(size=(1050, 5)) + rng.normal(0, 30, (400, 5))
    common = np.sqrt(99) * rng.normal(size=(500, 1))  # 99 % of the variance of every column
    features = {name: values + common for name, values in fine.items()}
    shares, ids = draw_shares(2, 3, rng), np.arange(400)
    train, new = ({name: f[rows] for name, f in features.items()} for rows in (slice(400), slice(400, None)))
    exact = BandedEncoder(shares).fit(train, betas, ids).predict(new)
    train, new = ({name: f.astype(np.float32) for name, f in some.items()} for some in (train, new))
    found = BandedEncoder(shares).fit(train, betas.astype(np.float32), ids).predict(new)
    assert np.abs(found - exact).max() < 1e-4 * exact.std(0).min()


def test_constant_vertices_are_their_mean(rng):
    for n_images in (60, 10):
        features, betas = simulate(rng, n_images, {"z": (6,), "c": (7,)})
        betas[:, 3] = 0.1
        encoder = BandedEncoder(draw_shares(2, 4, rng)).fit(features, betas, np.arange(n_images))
        np.testing.assert_allclose(encoder.predict(features)[:, 3], 0.1, rtol=1e-12)
        assert (encoder.gcv_scores_[:, 3] == 0).all()
        # Of equal scores the first candidate is taken.
        assert (encoder.share_[:, 3] == 0.5).all()
        shares, alphas = draw_shares(2, 4, rng), np.logspace(0, 3, 4)
        with_it, without = (
            BandedEncoder(shares, alphas).fit(features, b, np.arange(n_images)).edge_share_
            for b in (betas, np.delete(betas, 3, axis=1))
        )
        assert with_it == without


def test_shares_are_drawn_on_the_simplex_and_the_first_are_the_same(rng):
    shares = draw_shares(3, 400, np.random.default_rng(1))
    np.testing.assert_allclose(shares.sum(1), 1)
    np.testing.assert_array_equal(shares[0], np.full(3, 1 / 3))
    np.testing.assert_array_equal(shares[:7], draw_shares(3, 7, np.random.default_rng(1)))
    # Of concentration 0.1 most draws are nearly one space; of 1 the largest share is 11 / 18 on average.
    assert np.median(shares[1::2].max(1)) > 0.95
    assert shares[2::2].max(1).mean() == pytest.approx(11 / 18, abs=0.03)
    for arguments, message in (
        ((0, 5), "n_spaces must be a whole number"),
        ((2, 1.5), "n_candidates must be a whole number"),
        ((2, 5, rng, (0.1, 0)), "concentration must hold positive numbers"),
        ((2, 5, rng, np.nan), "concentration must hold positive numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            draw_shares(*arguments[:2], *(arguments[2:] or (rng,)))


def test_bad_input_is_named_and_a_fit_that_fails_forgets_nothing(rng):
    features, betas = simulate(rng, 20, {"z": (3, 2), "c": (4,)})
    ids, shares = np.arange(20), [[0.5, 0.5]]
    encoder = BandedEncoder(shares).fit(features, betas, ids)
    missing = features["c"].copy()
    missing[4, 1] = np.nan
    for arguments, message in (
        ((list(features.values()), betas, ids), "features must be a dict of name to array.*got list"),
        (({}, betas, ids), "features must be a dict"),
        (({**features, "c": missing}, betas, ids), r"features\['c'\] holds NaN.*row 4, column 1"),
        (({**features, "c": missing[1:, :1]}, betas, ids), "one row per image.*got 20, 19, 20 and 20"),
        ((features, betas[:, 0], ids), r"betas must be \(n_images, n_vertices\), two dimensions"),
        ((features, betas, ids + 0.5), "image_ids must hold whole numbers"),
        ((features, betas, ids // 2), "hold different features"),
        ((features, betas, ids, np.zeros(20)), "n_repeats must be at least 1"),
        (({n: f[ids // 2] for n, f in features.items()}, betas, ids // 2), "Average the repeats first"),
        (({"z": features["z"]}, betas, ids), r"shares must be \(n_candidates, 1\).*got \(1, 2\)"),
        (({n: f[:1] for n, f in features.items()}, betas[:1], ids[:1]), "two images or more"),
    ):
        with pytest.raises(ValueError, match=message):
            encoder.fit(*arguments)
    for settings, message in (
        ({"shares": [[0.5, 0.6]]}, "each row must sum to 1; 1 of 1 rows do not, such as"),
        ({"shares": [[1.5, -0.5], [1, 0]]}, "at least 0 and each row must sum to 1; 1 of 2 rows"),
        ({"shares": [[np.nan, 1]]}, "at least 0"),
        ({"shares": [0.5, 0.5]}, r"shares must be \(n_candidates, 2\)"),
        ({"shares": shares, "alphas": [0.0, 1]}, "alphas must be positive numbers"),
        ({"shares": shares, "alphas": np.nan}, "alphas must be positive numbers"),
        ({"shares": shares, "block_size": 0}, "block_size must be a whole number"),
    ):
        with pytest.raises(ValueError, match=message):
            BandedEncoder(**settings).fit(features, betas, ids)
    for given, image_ids, message in (
        (features, ids, "encoder has learned from 20 of these images"),
        (features, np.full(20, 99), "1 of 1 images have several rows"),
        ({"z": features["z"]}, None, r"a dict of the spaces fitted, \['z', 'c'\]; got \['z'\]"),
        (features["z"], None, "a dict of the spaces fitted"),
        ({**features, "z": features["z"][:, ::-1, :1]}, None, r"features\['z'\] must be \(n, 3, 2\)"),
        ({**features, "z": features["z"][1:]}, None, "one row per image"),
    ):
        with pytest.raises(ValueError, match=message):
            encoder.predict(given, image_ids)
    assert encoder.predict(features, ids + 100).shape == betas.shape


def test_shares_that_are_rounded_are_made_to_sum_to_1(rng):
    features, betas = simulate(rng, 20, {"z": (3,), "c": (4,), "g": (2,)})
    encoder = BandedEncoder([[0.33333, 0.33333, 0.33333]]).fit(features, betas, np.arange(20))
    np.testing.assert_allclose(encoder.share_, 1 / 3, rtol=1e-15)


def test_values_too_large_for_float32_are_refused(rng):
    features, betas = simulate(rng, 20, {"z": (3,), "c": (4,)})
    small = {n: f.astype(np.float32) for n, f in features.items()}
    with pytest.raises(ValueError, match="not finite in torch.float32"):
        BandedEncoder([[0.5, 0.5]]).fit(small, (betas * 1e30).astype(np.float32), np.arange(20))
    encoder = BandedEncoder([[0.5, 0.5]]).fit(small, 1e3 * betas, np.arange(20))
    with pytest.raises(ValueError, match="Predictions are not finite"):
        encoder.predict({n: f * np.float32(1e37) for n, f in small.items()})
