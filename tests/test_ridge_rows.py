"""What Ridge, the decoder and the encoder say about arrays that do not fit, by one set of checks."""

import numpy as np
import pytest
import torch

from latentcortex.decoders import LinearDecoder
from latentcortex.encoding import VoxelwiseEncoder
from latentcortex.ridge import Ridge, alpha_grid
from latentcortex.ridge.rows import all_finite, check_finite, whole_numbers

KINDS = pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor], ids=["numpy", "torch"])


@pytest.fixture
def rows(rng):
    """40 rows of 6 columns and 4 targets, each of an image of its own."""
    X = rng.standard_normal((40, 6)).astype(np.float32)
    return X, (X @ rng.standard_normal((6, 4)) + 1).astype(np.float32), rng.permutation(1000)[:40]


def masked(values, at):
    mask = np.zeros(np.shape(values), bool)
    mask[at] = True
    return np.ma.array(values, mask=mask)


@KINDS
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_missing_are_named_by_row_and_column(rows, kind, bad):
    X, Y, _ = rows
    fit = Ridge(1.0).fit(kind(X), kind(Y))
    for name in "XY":
        broken = {"X": X.copy(), "Y": Y.copy()}
        broken[name][[7, 9], 3] = bad
        message = (
            rf"{name} holds NaN or infinite values in 2 of 40 rows and 1 of {broken[name].shape[1]} columns"
        )
        with pytest.raises(ValueError, match=message + ", first in row 7, column 3"):
            Ridge(1.0).fit(kind(broken["X"]), kind(broken["Y"]))
        with pytest.raises(ValueError, match=message):
            fit.score(kind(broken["X"]), kind(broken["Y"]))
    X[3, 5] = bad
    with pytest.raises(ValueError, match="X holds NaN or infinite values in 1 of 40 rows.*row 3, column 5"):
        fit.predict(kind(X))


def test_finiteness_is_seen_where_a_sum_would_hide_it():
    huge = np.full((3, 2), 3e38, np.float32)
    assert all_finite(huge) and all_finite(torch.from_numpy(huge))
    for pair in ([np.inf, -np.inf], [np.nan, 0], [np.inf, 0]):
        assert not all_finite(np.array(pair)) and not all_finite(torch.tensor(pair))
    with pytest.raises(
        ValueError, match=r"1 of 3 rows and 1 of 12 columns, first in row 2, column \(1, 0, 3\)"
    ):
        check_finite(np.where(np.arange(36).reshape(3, 3, 1, 4) == 31, np.nan, 0), "features")


@pytest.mark.parametrize("where", ["X", "Y", "sample_weight", "groups", "alphas"])
def test_masked_arrays_are_refused_and_masks_of_nothing_are_not(rows, where):
    X, Y, ids = rows
    given = {"X": X, "Y": Y, "sample_weight": np.ones(40), "groups": ids, "alphas": [1.0, 10.0]}
    expected = Ridge(given["alphas"]).fit(X, Y, ids, np.ones(40)).coef_

    def fit(values):
        return Ridge(values["alphas"]).fit(*(values[name] for name in ("X", "Y", "groups", "sample_weight")))

    unmasked = np.ma.array(given[where], mask=False)
    np.testing.assert_array_equal(fit({**given, where: unmasked}).coef_, expected)
    at = (1,) * np.ndim(given[where])
    with pytest.raises(ValueError, match=f"{where} is a masked array with 1 masked values"):
        fit({**given, where: masked(given[where], at)})


@KINDS
def test_a_value_too_large_is_an_error_that_names_its_column(rows, kind):
    X, Y, _ = rows
    for cv in ("gcv", 4):
        large = X.copy()
        large[5, 2] = 1e38
        with pytest.raises(ValueError, match=r"largest value is 1e\+38, in row 5, column 2 of X.*float64"):
            Ridge([1.0, 10.0], cv=cv).fit(kind(large), kind(Y))
        large = Y.copy()
        large[8, 3] = 1e38
        message = r"1 of 4 targets \(first: column 3 of Y\).*1e\+38, in row 8, column 3 of Y"
        with pytest.raises(ValueError, match=message):
            Ridge([1.0, 10.0], cv=cv).fit(kind(X), kind(large))
    # In float64 the same values have finite answers.
    fit = Ridge([1.0, 10.0]).fit(kind(X.astype(float)), kind(large.astype(float)))
    assert np.isfinite(np.asarray(fit.coef_)).all()
    fit = Ridge(1e-3).fit(kind(X), kind(100 * Y))
    X[4] = 3e38
    with pytest.raises(ValueError, match=r"Predictions are too large.*3e\+38, in row 4, column 0"):
        fit.predict(kind(X))


def test_targets_that_overflow_in_the_dtype_of_x_are_named(rows):
    X, Y, _ = rows
    Y = Y.astype(float)
    Y[6, 1] = 1e300
    with pytest.raises(ValueError, match="Y as torch.float32, the dtype of X.*row 6, column 1"):
        Ridge(1.0).fit(X, Y)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alphas": np.nan}, "alphas must be positive"),
        ({"alphas": [1.0, np.inf]}, "alphas must be positive"),
        ({"alphas": "large"}, "alphas must hold real numbers"),
        ({"block_size": np.nan}, "block_size must be a whole number"),
        ({"block_size": 2.5}, "block_size must be a whole number"),
        ({"cv": np.nan}, "cv must be 'gcv' or from 2 to 40 folds"),
        ({"criterion": "r2"}, "criterion must be one of predicted, variance_weighted, uniform_average"),
        (
            {"groups": np.where(np.arange(40) == 3, np.nan, 1.0)},
            "groups holds NaN.*1 of 40 rows, first in row 3",
        ),
        ({"sample_weight": np.full(40, np.nan)}, "sample_weight must be finite"),
        ({"sample_weight": np.ones((40, 1))}, r"sample_weight must be \(40,\), one per row; got \(40, 1\)"),
    ],
)
def test_arguments_beside_the_rows(rows, settings, message):
    X, Y, _ = rows
    beside = {name: settings.pop(name) for name in ("groups", "sample_weight") if name in settings}
    with pytest.raises(ValueError, match=message):
        Ridge(**{"alphas": [1.0, 2.0], **settings}).fit(X, Y, **beside)


def test_numbers_of_numpy_and_lists_are_taken(rows):
    X, Y, ids = rows
    expected = Ridge([1.0, 10.0], cv=4, block_size=2).fit(X, Y, ids, np.ones(40)).coef_
    fit = Ridge([1, 10], cv=np.int64(4), block_size=np.int64(2))
    fit.fit(X.astype(float).tolist(), Y.tolist(), ids.tolist(), [1] * 40)
    np.testing.assert_allclose(fit.coef_, expected, rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="without voxels"):
        alpha_grid(0)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([1, 2], r"must be \(3,\), one per row; got \(2,\)"),
        ([[1], [2], [3]], r"got \(3, 1\)"),
        ([1, 2, np.nan], "whole numbers"),
        ([1, 2, 2.5], "whole numbers"),
        ([True, False, True], "whole numbers"),
        (["a", "b", "c"], "real numbers"),
        ([1, 0, 2], "at least 1 in every row; the smallest is 0"),
    ],
)
def test_ids_are_whole_numbers_one_per_row(ids, message):
    with pytest.raises(ValueError, match=message):
        whole_numbers(ids, "image_ids", 3, lowest=1)


def test_ids_come_in_any_kind():
    for ids in ([3, 1], np.array([3.0, 1.0]), torch.tensor([3, 1]), np.ma.array([3, 1]), np.uint16([3, 1])):
        found = whole_numbers(ids, "image_ids", 2)
        assert found.dtype == np.int64 and found.tolist() == [3, 1]


# The first argument is the one that predictions are made from.
@pytest.mark.parametrize(
    "estimator", [LinearDecoder(cv=4), VoxelwiseEncoder(cv=4)], ids=["decoder", "encoder"]
)
class TestDecoderAndEncoderKeepTheSameRules:
    def test_nan_is_named_before_rows_are_compared(self, rows, estimator):
        X, Y, ids = rows
        for name, broken in (("betas", X.copy()), ("features", X.copy())):
            broken[4, 1] = np.nan
            first = (name == "betas") == isinstance(estimator, LinearDecoder)
            data = (broken, Y) if first else (Y, broken)
            with pytest.raises(ValueError, match=f"{name} holds NaN.*row 4, column 1"):
                estimator.fit(*data, ids)

    def test_masks_are_refused(self, rows, estimator):
        X, Y, ids = rows
        for data in ((masked(X, (2, 2)), Y, ids), (X, masked(Y, (2, 2)), ids), (X, Y, masked(ids, 2))):
            with pytest.raises(ValueError, match="is a masked array with 1 masked values"):
                estimator.fit(*data)
        with pytest.raises(ValueError, match="is a masked array"):
            estimator.fit(X, Y, ids).predict(masked(X, (2, 2)))

    def test_lists_are_taken_as_arrays(self, rows, estimator):
        X, Y, ids = rows
        expected = estimator.fit(X.astype(float), Y.astype(float), ids).predict(X.astype(float))
        found = estimator.fit(X.tolist(), Y.tolist(), ids.tolist()).predict(X.tolist())
        np.testing.assert_array_equal(found, expected)
        with pytest.raises(ValueError, match="must hold rows of one length"):
            estimator.fit([[1.0, 2.0], [3.0]], Y[:2], ids[:2])

    def test_rows_out_of_order_are_refused(self, rows, estimator):
        X, Y, _ = rows
        ids = np.arange(40) // 2
        features_first = isinstance(estimator, VoxelwiseEncoder)
        with pytest.raises(ValueError, match="same image id hold different features"):
            estimator.fit(X, Y, ids)
        repeated = (X[ids], Y) if features_first else (X, Y[ids])
        estimator.fit(*repeated, ids)

    def test_images_that_were_learned_from_are_refused(self, rows, estimator):
        X, Y, ids = rows
        estimator.fit(X[:30], Y[:30], ids[:30])
        np.testing.assert_array_equal(estimator.image_ids_, ids[:30])
        known = [*ids[30:39], ids[3]]
        with pytest.raises(ValueError, match=rf"learned from 1 of these images, such as {ids[3]}"):
            estimator.predict(X[30:], image_ids=known)
        found = estimator.predict(X[30:], image_ids=ids[30:].tolist())
        np.testing.assert_array_equal(found, estimator.predict(X[30:]))
        with pytest.raises(ValueError, match="one per row"):
            estimator.predict(X[30:], image_ids=ids[30:39])

    def test_axes_and_widths_are_those_fitted(self, rows, estimator):
        X, Y, ids = rows
        estimator.fit(X, Y, ids)
        with pytest.raises(ValueError, match=r"must be \(n, 6\).*got \(40, 5\)"):
            estimator.predict(X[:, :5])
        with pytest.raises(ValueError, match="at least one row"):
            estimator.predict(X[:0])


def test_repeats_may_be_decoded_but_are_no_test_rows_of_an_encoder(rows):
    X, Y, ids = rows
    twice = np.r_[30:40, 30:40]
    decoder = LinearDecoder(cv=4).fit(X[:30], Y[:30], ids[:30])
    assert len(decoder.predict(X[twice], image_ids=ids[twice])) == 20
    encoder = VoxelwiseEncoder(cv=4).fit(X[:30], Y[:30], ids[:30])
    with pytest.raises(ValueError, match="10 of 10 images have several rows.*Average the repeats first"):
        encoder.predict(X[twice], image_ids=ids[twice])


def test_an_encoder_keeps_the_order_of_axes_and_counts_whole_trials(rows):
    X, Y, ids = rows
    encoder = VoxelwiseEncoder(cv=4).fit(X.reshape(40, 2, 3), Y, ids)
    with pytest.raises(
        ValueError, match=r"\(n, 2, 3\), in the order of axes that was fitted; got \(40, 3, 2\)"
    ):
        encoder.predict(X.reshape(40, 2, 3).transpose(0, 2, 1))
    for n_repeats in (np.zeros(40), np.full(40, 1.5), np.full(40, np.nan), np.ones(39), np.ones((40, 1))):
        with pytest.raises(ValueError, match="n_repeats must"):
            encoder.fit(X, Y, ids, n_repeats)


def test_predictions_of_an_encoder_keep_their_gradient(rows):
    """The brain guide differentiates through the encoder."""
    X, Y, ids = rows
    encoder = VoxelwiseEncoder(cv=4).fit(torch.from_numpy(X), torch.from_numpy(Y), ids)
    features = torch.from_numpy(X).requires_grad_()
    encoder.predict(features).sum().backward()
    expected = np.asarray(encoder.ridge_.coef_).sum(1)
    np.testing.assert_allclose(features.grad, np.broadcast_to(expected, X.shape), rtol=1e-5)
