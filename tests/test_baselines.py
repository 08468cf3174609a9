"""What scores are compared with: each baseline against what it should be on known arrays."""

import numpy as np
import pytest

from latentcortex import metrics


@pytest.fixture
def train(rng):
    return rng.random((30, 3, 16, 16))


def test_the_mean_image_is_the_training_mean_for_everyone(train):
    made = metrics.mean_image(train, 4)
    assert made.shape == (4, 3, 16, 16)
    np.testing.assert_allclose(made, np.broadcast_to(train.mean(0), made.shape))


def test_blur_keeps_the_mean_and_takes_the_contrast(train):
    once, more = metrics.blurred(train, 1), metrics.blurred(train, 4)
    np.testing.assert_allclose(once.mean((2, 3)), train.mean((2, 3)), atol=1e-9)
    assert (train.std((2, 3)) > once.std((2, 3))).all()
    assert (once.std((2, 3)) > more.std((2, 3))).all()
    np.testing.assert_array_equal(metrics.blurred(train, 0), train)
    # Colours don't run into one another, nor do images.
    alone = metrics.blurred(train[:1], 2)
    np.testing.assert_allclose(metrics.blurred(train, 2)[:1], alone)
    with pytest.raises(ValueError, match="sigma as a number of at least 0, got -1"):
        metrics.blurred(train, -1)


def test_random_training_rows_differ_and_follow_their_seed():
    rows = metrics.random_training_rows(50, 20, np.random.default_rng(3))
    assert len(set(rows.tolist())) == 20 and rows.max() < 50
    again = metrics.random_training_rows(50, 20, np.random.default_rng(3))
    np.testing.assert_array_equal(rows, again)
    with pytest.raises(ValueError, match="20 different images out of 10"):
        metrics.random_training_rows(10, 20, np.random.default_rng(3))


def test_the_nearest_training_image_equals_a_search_pair_by_pair(rng):
    train, pred = rng.normal(size=(12, 5, 7)), rng.normal(size=(6, 5, 7))
    rows, r = metrics.nearest_training_rows(train, pred)
    for i in range(6):
        all_r = [np.corrcoef(pred[i].ravel(), one.ravel())[0, 1] for one in train]
        assert rows[i] == np.argmax(all_r)
        assert r[i] == pytest.approx(max(all_r))
    rows, r = metrics.nearest_training_rows(train, 3 * train[[4, 1]] + 2)
    np.testing.assert_array_equal(rows, [4, 1])
    np.testing.assert_allclose(r, 1)
    with pytest.raises(ValueError, match=r"one shape, got \(5, 7\) and \(7,\)"):
        metrics.nearest_training_rows(train, pred[:, 0])


def test_shuffled_rows_keep_none_in_its_place_and_are_drawn_evenly():
    rng = np.random.default_rng(0)
    drawn = [tuple(metrics.shuffled_rows(4, rng).tolist()) for _ in range(3000)]
    assert all(row != k for rows in drawn for k, row in enumerate(rows))
    # There are nine permutations of four without a fixed point.
    counts = [drawn.count(one) for one in set(drawn)]
    assert len(counts) == 9 and min(counts) > 250
    with pytest.raises(ValueError, match="n as a whole number of at least 2, got 1"):
        metrics.shuffled_rows(1, rng)


def test_the_span_of_training_features_holds_what_combines_them(rng):
    train = rng.normal(size=(6, 4, 5)) + 3
    weights = rng.normal(size=(2, 6))
    weights /= weights.sum(1, keepdims=True)
    inside = np.einsum("nm,mij->nij", weights, train)
    np.testing.assert_allclose(metrics.project_on_span(inside, train), inside)
    outside = rng.normal(size=(2, 4, 5))
    projected = metrics.project_on_span(outside, train)
    # Closest point: what is left stands upright on every difference of training features.
    left = (outside - projected).reshape(2, -1)
    directions = (train[1:] - train[0]).reshape(5, -1)
    np.testing.assert_allclose(left @ directions.T, 0, atol=1e-9)
    np.testing.assert_allclose(metrics.project_on_span(projected, train), projected)


def test_a_bottleneck_lets_so_many_dimensions_through(rng):
    """Against reduced-rank regression in closed form (Izenman 1975) for uncorrelated inputs."""
    x = rng.normal(size=(400, 6))
    coef = rng.normal(size=(6, 9)) * 2.0 ** -np.arange(6)[:, None]
    y = x @ coef + rng.normal(size=(400, 9))
    x_mean, y_mean = x.mean(0), y.mean(0)
    ols = np.linalg.lstsq(x - x_mean, y - y_mean, rcond=None)[0]
    fitted = (x - x_mean) @ ols + y_mean
    new = rng.normal(size=(5, 6))
    pred = (new - x_mean) @ ols + y_mean
    for k in (1, 3):
        made = metrics.bottleneck(pred, fitted, k)
        assert np.linalg.matrix_rank(made - y_mean, tol=1e-8) == k
        _, _, v = np.linalg.svd((x - x_mean) @ ols, full_matrices=False)
        expected = (new - x_mean) @ ols @ v[:k].T @ v[:k] + y_mean
        np.testing.assert_allclose(made, expected)
    np.testing.assert_allclose(metrics.bottleneck(pred, fitted, 100), pred)
    with pytest.raises(ValueError, match="at least 1"):
        metrics.bottleneck(pred, fitted, 0)


def test_brain_correlation_equals_a_loop_and_says_what_it_can_not_do(rng):
    betas, encoded = rng.normal(size=(2, 7, 40))
    expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(betas, encoded, strict=True)]
    np.testing.assert_allclose(metrics.brain_correlation(betas, encoded), expected)
    encoded[2] = 0.3
    with pytest.raises(ValueError, match=r"encoded is constant in rows \[2\]"):
        metrics.brain_correlation(betas, encoded)
    with pytest.raises(ValueError, match="equal size"):
        metrics.brain_correlation(betas, encoded[:, 1:])
