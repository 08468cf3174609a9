"""Virtual studies: their shortcuts against the routes that they replace."""

import numpy as np
import pytest
import torch

from latentcortex import encoding, ridge
from latentcortex.mini import cortex, scenes, tuning
from latentcortex.ridge.decomposition import eigenvectors
from latentcortex.studies import virtual_studies, virtual_subjects

N_POOL = 400


@pytest.fixture(scope="module")
def body():
    return cortex.Cortex(1, "standard", 77)


@pytest.fixture(scope="module")
def vertices():
    return virtual_subjects.chosen_vertices(np.random.default_rng(0))


@pytest.fixture
def pool(rng):
    z, c = (rng.standard_normal((N_POOL, 12)).astype(np.float32) for _ in range(2))
    alphas = torch.from_numpy(ridge.alpha_grid(12))
    return virtual_subjects.Pool({"z": z, "c": c}, {"z": alphas, "c": alphas}, z)


def made_up(rng, pool, of_early="z", of_ventral="c", ncsnr=2.0):
    """A subject whose early vertices follow one space and whose ventral vertices follow another."""
    spaces = [pool.spaces[of_early], pool.spaces[of_ventral]]
    tuned = np.hstack([of @ rng.standard_normal((12, 30)) / 12**0.5 for of in spaces]).astype(np.float32)
    early = np.arange(60) < 30
    areas = {"early": early, "ventral": ~early, "V1": np.arange(60) < 15, "V2": early & (np.arange(60) >= 15)}
    mix, noise = np.eye(60, dtype=np.float32), np.eye(60, dtype=np.float32)
    return virtual_subjects.Body(tuned, np.full(60, ncsnr, np.float32), mix, noise, areas)


def seen(rng, pool, n_train=200, n_test=100, n_repeats=1, **changes):
    rows = rng.permutation(N_POOL)
    body = made_up(rng, pool, **changes)
    return virtual_studies.Seen(body, rows[:n_train], rows[n_train : n_train + n_test], n_repeats, rng)


def test_tuned_responses_are_those_of_the_simulated_cortex(body, vertices, rng):
    drawn = scenes.sample_scenes(40, rng)
    images = rng.integers(0, 256, (40, 64, 64, 3)).astype(np.uint8)
    low, semantic = body.tuned_signals(images, drawn)
    mixture = body.planted["mixture"].to_numpy()[body.vertices]
    low, semantic = ((of - of.mean(0)) / of.std(0) for of in (low, semantic))
    expected = (np.sqrt(mixture) * low + np.sqrt(1 - mixture) * semantic)[:, np.isin(body.vertices, vertices)]
    maps = tuning.low_level_maps(images).reshape(40, -1)
    found = virtual_subjects.tuned_responses(body, vertices, maps, drawn)
    np.testing.assert_allclose(found, (expected - expected.mean(0)) / expected.std(0), atol=2e-3)


def test_noise_covaries_over_vertices_as_in_the_simulated_cortex(body, vertices):
    n = 600
    measured = body.respond(np.zeros((n, len(body.vertices)), np.float32), session=1)[:, vertices]
    found = np.corrcoef(measured.T)
    smooth, noise = virtual_subjects.covariances(body, vertices)
    np.testing.assert_allclose(np.diag(noise), 1, atol=1e-5)
    np.testing.assert_allclose(np.diag(smooth), 1, atol=1e-5)
    off = ~np.eye(len(vertices), dtype=bool)
    # The error of one correlation is 0.04, that of the slope over 129,000 far smaller.
    slope = (found[off] * noise[off]).sum() / (noise[off] ** 2).sum()
    assert slope == pytest.approx(1, abs=0.1)
    assert np.sqrt(np.mean((found - noise)[off] ** 2)) < 0.06
    root = virtual_subjects._root(noise)
    np.testing.assert_allclose(root.T @ root, noise, atol=1e-4)


def test_the_fit_from_products_is_the_ridge_regression(rng):
    x, y = rng.standard_normal((90, 20)), rng.standard_normal((90, 7))
    y[:, :3] += x[:, :3]
    alphas = ridge.alpha_grid(20)
    expected = ridge.Ridge(alphas, "gcv").fit(x, y).coef_
    x, y = torch.from_numpy(x - x.mean(0)), torch.from_numpy(y - y.mean(0))
    given = eigenvectors(x.T @ x), x.T @ y, (y**2).sum(0), 90, torch.from_numpy(alphas)
    np.testing.assert_allclose(virtual_studies.fit_ridge(*given), expected, rtol=1e-6)


@pytest.mark.parametrize("n_train", [200, 20])  # more images than vertices, and fewer
def test_levels_share_products_and_give_what_single_fits_give(n_train, pool, rng):
    one = seen(rng, pool, n_train)
    levels = [factor * one.body.ncsnr for factor in (0.3, 1.0)]
    predicted = list(one.encode(pool.spaces["z"], pool.alphas["z"], levels))
    decoded = list(one.decode(pool.decoded, levels))
    v1 = one.body.areas["V1"]
    for ncsnr, encoded_one, decoded_one in zip(levels, predicted, decoded, strict=True):
        betas = ncsnr * one.signal + one.noise
        z = pool.spaces["z"]
        fit = ridge.Ridge(pool.alphas["z"].numpy(), "gcv").fit(z[one.train], betas)
        np.testing.assert_allclose(
            encoded_one,
            fit.predict(z[one.test]) - fit.intercept_ - z[one.train].mean(0) @ fit.coef_,
            atol=1e-3,
        )
        known = z[one.train] - z[one.train].mean(0)
        fit = ridge.Ridge(ridge.alpha_grid(15), "gcv", zscore=True).fit(betas[:, v1], known)
        np.testing.assert_allclose(decoded_one, fit.predict(one.tested(ncsnr)[:, v1]), atol=1e-3)


def test_a_planted_difference_is_estimated_and_its_reverse_is_negative(pool, rng):
    for spaces, sign in ((("z", "c"), 1), (("c", "z"), -1)):
        one = seen(rng, pool, of_early=spaces[0], of_ventral=spaces[1])
        of_level, intervals = virtual_studies.estimates(one, pool, rng, alone=True)
        difference = virtual_studies.FINDINGS.index("early minus ventral")
        assert (sign * of_level[:, difference] > 0.3).all()
        assert (sign * intervals[:, difference] > 0.2).all()
        assert (intervals[..., 0] < intervals[..., 1]).all()
        # Two halves of one region, or two regions that follow the same space, do not differ.
        for name in ("V1 minus V2", "nothing planted"):
            assert np.abs(of_level[-1, virtual_studies.FINDINGS.index(name)]) < 0.15


def test_z_is_decoded_from_cortex_that_follows_it_and_not_from_any_other(pool, rng):
    place = virtual_studies.FINDINGS.index("z decoded")
    follows, other = (
        np.mean(
            [
                virtual_studies.estimates(seen(rng, pool, of_early=name), pool, rng, False)[0][-1, place]
                for _ in range(8)
            ]
        )
        for name in "zc"
    )
    assert follows > 0.25 and abs(other) < 0.03


def test_vertices_below_the_lowest_ceiling_are_left_out():
    areas = {"early": np.array([1, 1, 0, 0], bool), "ventral": np.array([0, 0, 1, 1], bool)}
    areas |= {"V1": np.array([1, 0, 0, 0], bool), "V2": np.array([0, 1, 0, 0], bool)}
    half = np.array([1, 0, 0, 0], bool)
    found = virtual_studies.differences(np.array([0.5, np.nan, 0.1, 0.3]), areas, half)
    np.testing.assert_allclose(found, [0.3, np.nan, np.nan])
    draws = virtual_studies.differences(np.tile([0.5, 0.4, np.nan, np.nan], (3, 1)), areas, half)
    assert draws.shape == (3, 3) and np.isnan(draws[:, 0]).all()
    np.testing.assert_allclose(draws[:, 1:], 0.1)


def test_more_repeats_leave_less_noise(pool, rng):
    of = {n: seen(rng, pool, n_repeats=n).noise.std() for n in (1, 4)}
    assert of[1] / of[4] == pytest.approx(2, rel=0.05)


def test_encoders_are_those_of_chapter_10_up_to_the_scaling_of_all_images(pool, rng):
    """Rotating z-scored features changes no prediction of a ridge regression."""
    features = rng.standard_normal((N_POOL, 12)).astype(np.float32) @ rng.standard_normal((12, 40)).astype(
        np.float32
    )
    scaled = (features - features.mean(0)) / features.std(0)
    few = virtual_subjects._components(scaled, 12)
    one = seen(rng, pool)
    found = next(one.encode(few, torch.from_numpy(ridge.alpha_grid(40)), [one.body.ncsnr]))
    fit = ridge.Ridge(ridge.alpha_grid(40), "gcv").fit(
        scaled[one.train], one.body.ncsnr * one.signal + one.noise
    )
    expected = fit.predict(scaled[one.test])
    r = encoding.correlation(found, expected - expected.mean(0))
    assert r.min() > 0.9999
