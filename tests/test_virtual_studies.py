"""Virtual studies: their shortcuts against the routes that they replace."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from latentcortex import encoding, ridge
from latentcortex.mini import cortex, scenes, surface, tuning
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
def images(rng):
    z, c = (rng.standard_normal((N_POOL, 12)).astype(np.float32) for _ in range(2))
    alphas, rows = torch.from_numpy(ridge.alpha_grid(12)), rng.permutation(N_POOL)
    return virtual_subjects.Images({"z": z, "c": c}, {"z": alphas, "c": alphas}, z, rows[:150], rows[150:])


def made_up(rng, images, of_early="z", of_ventral="c", ncsnr=2.0):
    """A subject of 60 vertices: early ones follow one space, ventral ones another, 20 others z."""
    spaces, widths = [images.spaces[name] for name in (of_early, of_ventral, "z")], (30, 30, 20)
    tuned = [of @ rng.standard_normal((12, n)) / 12**0.5 for of, n in zip(spaces, widths, strict=True)]
    names, ends = ("V1", "V2", "ventral", "midventral", "midlateral"), (0, 15, 30, 60, 70, 80)
    areas = {name: np.isin(np.arange(80), range(ends[k], ends[k + 1])) for k, name in enumerate(names)}
    areas["early"] = areas["V1"] | areas["V2"]
    tuned, mix = np.hstack(tuned).astype(np.float32), np.eye(80, dtype=np.float32)
    return virtual_subjects.Body(tuned, np.full(80, ncsnr, np.float32), mix, mix, areas)


def seen(rng, images, n_train=200, n_test=100, n_repeats=1, **changes):
    body = made_up(rng, images, **changes)
    return virtual_studies.Seen(body, images.others[:n_train], images.test[:n_test], n_repeats, rng)


def test_tuned_responses_are_those_of_the_simulated_cortex(body, vertices, rng):
    drawn = scenes.sample_scenes(40, rng)
    images = rng.integers(0, 256, (40, 64, 64, 3)).astype(np.uint8)
    low, semantic = body.tuned_signals(images, drawn)
    mixture = body.planted["mixture"].to_numpy()[body.vertices]
    low, semantic = ((of - of.mean(0)) / of.std(0) for of in (low, semantic))
    expected = (np.sqrt(mixture) * low + np.sqrt(1 - mixture) * semantic)[:, np.isin(body.vertices, vertices)]
    maps = virtual_subjects.scaled_maps(tuning.low_level_maps(images).reshape(40, -1))
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
def test_levels_share_products_and_give_what_single_fits_give(n_train, images, rng):
    one = seen(rng, images, n_train)
    z, alphas = images.spaces["z"], images.alphas["z"]
    predicted, decoded = list(one.encode(z, alphas)), list(one.decode(images.decoded))
    v1 = one.body.areas["V1"]
    for ncsnr, encoded_one, decoded_one in zip(one.levels, predicted, decoded, strict=True):
        betas = ncsnr * one.signal + one.noise
        fit = ridge.Ridge(alphas.numpy(), "gcv").fit(z[one.train], betas)
        np.testing.assert_allclose(
            encoded_one,
            fit.predict(z[one.test]) - fit.intercept_ - z[one.train].mean(0) @ fit.coef_,
            atol=1e-3,
        )
        known = z[one.train] - z[one.train].mean(0)
        fit = ridge.Ridge(ridge.alpha_grid(15), "gcv", zscore=True).fit(betas[:, v1], known)
        np.testing.assert_allclose(decoded_one, fit.predict(one.tested(ncsnr)[:, v1]), atol=1e-3)


def test_test_responses_are_centred_on_the_training_images(images, rng):
    """A decoder knows no mean of the test images, so what differs between the two means stays."""
    body, nothing = made_up(rng, images), np.zeros((80, 80), np.float32)
    body = virtual_subjects.Body(body.tuned, body.ncsnr, nothing, nothing, body.areas)
    train, test = images.others[:50], images.test[:30]
    one = virtual_studies.Seen(body, train, test, 1, rng)
    expected = 2 * 0.5**0.5 * (body.tuned[test] - body.tuned[train].mean(0))
    np.testing.assert_allclose(one.tested(body.ncsnr), expected, atol=1e-5)
    assert np.abs(expected.mean(0)).max() > 0.1
    np.testing.assert_allclose(one.signal.mean(0), 0, atol=1e-5)


def test_a_planted_difference_is_estimated_and_its_reverse_is_negative(images, rng):
    for spaces, sign in ((("z", "c"), 1), (("c", "z"), -1)):
        one = seen(rng, images, of_early=spaces[0], of_ventral=spaces[1])
        of_level, intervals = virtual_studies.estimates(images, one, seed=3)
        difference = virtual_studies.FINDINGS.index("early minus ventral")
        assert (sign * of_level[:, difference] > 0.3).all()
        assert (sign * intervals[:, difference] > 0.2).all()
        assert (intervals[..., 0] < intervals[..., 1]).all()
        # Two regions that follow the same space do not differ.
        for name in ("V1 minus V2", "nothing planted"):
            assert np.abs(of_level[-1, virtual_studies.FINDINGS.index(name)]) < 0.15


def test_z_is_decoded_from_cortex_that_follows_it_and_not_from_any_other(images, rng):
    place = virtual_studies.FINDINGS.index("z decoded")
    follows, other = (
        np.mean(
            [
                virtual_studies.estimates(images, seen(rng, images, of_early=name))[0][-1, place]
                for _ in range(8)
            ]
        )
        for name in "zc"
    )
    assert follows > 0.25 and abs(other) < 0.03


def test_vertices_below_the_lowest_ceiling_are_left_out():
    places = {
        "early": (0, 1),
        "ventral": (2, 3),
        "V1": (0,),
        "V2": (1,),
        "midventral": (0,),
        "midlateral": (2,),
    }
    areas = {name: np.isin(np.arange(4), of) for name, of in places.items()}
    found = virtual_studies.differences(np.array([0.5, np.nan, 0.1, 0.3]), areas)
    np.testing.assert_allclose(found, [0.3, np.nan, 0.4])
    draws = virtual_studies.differences(np.tile([0.5, 0.4, np.nan, np.nan], (3, 1)), areas)
    assert draws.shape == (3, 3) and np.isnan(draws[:, [0, 2]]).all()
    np.testing.assert_allclose(draws[:, 1], 0.1)


def test_more_repeats_leave_less_noise(images, rng):
    of = {n: seen(rng, images, n_repeats=n).noise.std() for n in (1, 4)}
    assert of[1] / of[4] == pytest.approx(2, rel=0.05)


def test_columns_predict_what_features_do_that_chapter_10_has_reduced(rng, monkeypatch):
    monkeypatch.setattr(virtual_subjects.maps, "N_COMPONENTS", 12)
    mixed = rng.standard_normal((N_POOL, 30)) @ rng.standard_normal((30, 40))
    features = np.hstack([mixed, np.full((N_POOL, 2), 7.0)]).astype(np.float32)  # two do not vary
    fitted = rng.permutation(N_POOL)[:100]
    columns, _, n_features = virtual_subjects.columns_of(features, fitted)
    assert n_features == 40 and columns.shape == (N_POOL, 12)
    few = encoding.low_rank(features, np.isin(np.arange(N_POOL), fitted), 12)
    scaled = (few - few[fitted].mean(0)) / few[fitted].std(0)
    columns, scaled = (of - of.mean(0) for of in (columns, scaled))
    np.testing.assert_allclose(columns @ columns.T, scaled @ scaled.T, atol=2e-2)
    alphas, betas = ridge.alpha_grid(40), scaled[:, :3] + rng.standard_normal((N_POOL, 3))
    known, new = np.arange(300), np.arange(300, N_POOL)
    predicted = [
        ridge.Ridge(alphas, "gcv").fit(of[known], betas[known]).predict(of[new]) for of in (columns, scaled)
    ]
    np.testing.assert_allclose(*predicted, atol=2e-3)


def test_nothing_is_fitted_to_images_of_a_test(rng):
    features = {name: rng.standard_normal((2600, 250)).astype(np.float32) for name in "zc"}
    first = virtual_subjects.draw_images(features, np.random.default_rng(5))
    assert len(first.test) == virtual_subjects.N_TEST and not np.intersect1d(first.test, first.others).size
    changed = {name: of.copy() for name, of in features.items()}
    for of in changed.values():
        of[first.test] += 100 * rng.standard_normal((len(first.test), 250)).astype(np.float32)
    again = virtual_subjects.draw_images(changed, np.random.default_rng(5))
    np.testing.assert_array_equal(again.test, first.test)
    for one, other in ((first.spaces["z"], again.spaces["z"]), (first.decoded, again.decoded)):
        np.testing.assert_array_equal(one[first.others], other[first.others])
        assert np.abs(one[first.test] - other[first.test]).max() > 10


def test_regions_with_nothing_between_them_are_planted_alike(body):
    of = body.planted[body.planted["mixture"].notna()].groupby("area")[["mixture", "ncsnr", "rf_size"]].mean()
    assert cortex.PLANTED["midventral"] == cortex.PLANTED["midlateral"]
    assert np.isnan(surface.areas().eccentricity[virtual_subjects.regions()["midventral"]]).all()
    assert np.isnan(surface.areas().eccentricity[virtual_subjects.regions()["midlateral"]]).all()
    np.testing.assert_allclose(of.loc["midventral"], of.loc["midlateral"], rtol=0.15)


def test_a_fifth_of_the_images_is_the_test_and_no_subject_trains_on_it(images, rng, monkeypatch):
    made = []

    def estimates(_images, one, seed=None):
        made.append((one, seed))
        return np.zeros((4, 4)), np.zeros((4, 4, 2)) if seed is not None else np.array([])

    monkeypatch.setattr(virtual_studies, "estimates", estimates)
    bodies = [made_up(rng, images) for _ in range(3)]
    found, intervals = virtual_studies.simulate(images, bodies, 450, 3, rng)
    assert found.shape == (3, 4, 4) and intervals.shape == (2, 4, 4, 2)
    for one, _ in made:
        assert (len(one.train), len(one.test), one.n_repeats) == (120, 30, 3)
        assert set(one.train) <= set(images.others) and len(set(one.train)) == 120
        np.testing.assert_array_equal(one.test, images.test[:30])
    assert [seed is None for _, seed in made] == [False, False, True]
    with pytest.raises(ValueError, match="Expected at most 150 test images, got 200"):
        virtual_studies.simulate(images, bodies, 1000, 1, rng)


def test_a_set_simulates_its_own_subjects_in_every_design(monkeypatch):
    """Designs and subjects stand where the docstring says, and no subject belongs to two sets."""
    made = []

    def simulate(images, _bodies, n_trials, n_repeats, _rng):
        assert images == "images"
        value = n_trials + n_repeats
        return np.full((8, 4, 4), value, np.float32), np.full((2, 4, 4, 2), value, np.float32)

    def make_body(_pool, k):
        made.append(k)
        return SimpleNamespace(ncsnr=np.full(3, k))

    monkeypatch.setattr(virtual_subjects, "pool", lambda _: SimpleNamespace(features=None))
    monkeypatch.setattr(virtual_subjects, "draw_images", lambda *_: "images")
    monkeypatch.setattr(virtual_subjects, "make_body", make_body)
    monkeypatch.setattr(virtual_studies, "simulate", simulate)
    of = [virtual_studies._set_of_studies(None, number) for number in range(3)]
    assert made == list(range(24)) and of[2]["ncsnr"][1, 0] == 17
    assert of[0]["estimates"].shape == (5, 3, 8, 4, 4) and of[0]["intervals"].shape == (5, 3, 2, 4, 4, 2)
    for i, j in np.ndindex(5, 3):
        assert (of[1]["estimates"][i, j] == virtual_studies.TRIALS[i] + virtual_studies.REPEATS[j]).all()
