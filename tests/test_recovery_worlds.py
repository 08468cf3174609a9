"""The worlds of the recovery benchmark: common random numbers, correlated images, what is held back."""

import numpy as np
import pytest
import torch

from latentcortex import encoding, presets
from latentcortex.mini import cortex, scenes
from latentcortex.studies import open_study, recovery_scores
from latentcortex.studies import recovery_worlds as worlds

SIZES = worlds.Sizes(n_train=90, n_test=30, n_vertices=15, n_sessions=2, n_trials=150)


@pytest.fixture(scope="module")
def world_study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recovery")
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LATENTCORTEX_CACHE", str(folder))
        yield open_study(presets.get("mini"), folder)
    torch.set_num_threads(n_threads)


def noise_of(body, vertices):
    """Return the responses of a cortex to a signal of 0: noise, drift and mean alone."""
    nothing = np.zeros((40, len(body.vertices)), np.float32)
    return worlds.respond(body, nothing, 1.0, np.split(np.arange(40), 2), vertices)


def test_worlds_of_a_seed_share_their_noise_and_their_specific_responses():
    vertices, names = worlds.chosen_vertices(0, 20)
    bodies = {w: cortex.Cortex(worlds.SUBJECT, w, 0) for w in cortex.WORLDS}
    noise = {w: noise_of(body, vertices) for w, body in bodies.items()}
    for world in ("swapped", "null"):
        np.testing.assert_array_equal(noise[world], noise["standard"])
    # No category area is preferred in `uniform`, whose tuned noise differs there and nowhere else.
    category = np.isin(names, ["faces", "places", "bodies"])
    np.testing.assert_array_equal(noise["uniform"][:, ~category], noise["standard"][:, ~category])
    assert (noise["uniform"][:, category] != noise["standard"][:, category]).any()
    other = noise_of(cortex.Cortex(worlds.SUBJECT, "standard", 1), vertices)
    assert abs(np.corrcoef(other.ravel(), noise["standard"].ravel())[0, 1]) < 0.9


def test_noise_levels_add_more_of_the_same_signal_to_the_same_noise(rng):
    body = cortex.Cortex(worlds.SUBJECT, "standard", 0)
    signal = rng.standard_normal((40, len(body.vertices))).astype(np.float32)
    vertices, _ = worlds.chosen_vertices(0, 20)
    shown = np.split(np.arange(40), 2)
    none, half, whole = (worlds.respond(body, signal, noise, shown, vertices) for noise in (0.0, 0.5, 1.0))
    np.testing.assert_allclose(whole - none, 2 * (half - none), atol=2e-5)
    np.testing.assert_array_equal(none, noise_of(body, vertices))
    assert (whole != none).any() and body.planted["ncsnr"].max() > 0.5, "the cortex is left as it was"


def test_looks_follow_from_what_is_there_in_the_share_asked_for():
    drawn, plain = (worlds.draw_scenes(correlated, 0, 1500) for correlated in (True, False))
    assert plain == scenes.sample_scenes(1500, np.random.default_rng([0, 0]))
    ruled = [scene.time == scenes.TIMES[scenes.SETTINGS.index(scene.setting) % 3] for scene in drawn]
    by_chance = [scene.time == scenes.TIMES[scenes.SETTINGS.index(scene.setting) % 3] for scene in plain]
    expected = worlds.DEGREE + (1 - worlds.DEGREE) * np.mean(by_chance)
    assert np.mean(ruled) == pytest.approx(expected, abs=0.02) and np.mean(by_chance) < 0.45
    for one, other in zip(drawn, plain, strict=True):
        assert (one.setting, one.structure, one.light_azimuth) == (
            other.setting,
            other.structure,
            other.light_azimuth,
        )
        assert [(t.kind, t.x) for t in one.things] == [(t.kind, t.x) for t in other.things]
        assert not any(scenes.is_held_back(t.kind, t.colour, one.setting) for t in one.things)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_correlation_asked_for_is_realised(world_study, seed):
    sizes = worlds.Sizes(n_train=300, n_test=100)
    standard, correlated = (worlds.realised_correlation(world_study, of, seed, sizes) for of in (False, True))
    assert correlated[0] > standard[0] + 0.08
    assert correlated[1] > 1.25 * standard[1]


def test_a_cell_holds_what_was_planted(world_study):
    (betas, ids, repeats), test, ceiling, planted = worlds.simulate(world_study, "standard", 1.0, 0, SIZES)
    assert not np.intersect1d(ids, test[1]).size and len(test[1]) == SIZES.n_test
    assert set(repeats) == {1, 2, 3}, "the subject stops before all showings were seen"
    assert betas.shape == (len(ids), len(planted)) and ceiling.shape == (len(planted),)
    assert planted["mixture"].isna().sum() == 3 * SIZES.n_vertices
    assert (planted["ceiling"][planted["region"] == worlds.OUTSIDE] == 0).all()
    quiet = worlds.simulate(world_study, "standard", 2.0, 0, SIZES)[3]
    inside = planted["mixture"].notna()
    assert (quiet["ceiling"][inside] > planted["ceiling"][inside]).all()
    null = worlds.simulate(world_study, "null", 1.0, 0, SIZES)[3]
    assert (null["ceiling"] == 0).all()
    with pytest.raises(ValueError, match="No world 'mars'. There are: standard"):
        worlds.simulate(world_study, "mars", 1.0, 0, SIZES)


def test_more_test_images_are_new_and_leave_the_cell_as_it_was(world_study):
    """The reference of intervals: other images, other noise, the same tuning; the first cell bit for bit."""

    def cell():
        given, _ = recovery_scores.cell_rows(world_study, "standard", 2.0, 0, SIZES)
        return given("spaces")

    first = cell()
    more = recovery_scores.reference_rows(world_study, "standard", 2.0, 0, SIZES, first)("spaces")
    again = cell()
    for cache in (worlds.pictures, worlds.raw_features, worlds.raw_features_of_more, worlds._body):
        cache.cache_clear()
    for other in (again, cell()):
        for one, two in zip(first, other, strict=True):
            np.testing.assert_array_equal(one.betas, two.betas)
            np.testing.assert_array_equal(one.n_repeats, two.n_repeats)
            for name, values in one.features.items():
                np.testing.assert_array_equal(values, two.features[name])
    train, test = first
    assert len(more.betas) == recovery_scores.MORE * SIZES.n_test
    assert not np.isin(more.image_ids, np.r_[train.image_ids, test.image_ids]).any()
    assert np.bincount(more.n_repeats).tolist() == (5 * np.bincount(test.n_repeats)).tolist()
    assert [of.shape[1] for of in more.features.values()] == [of.shape[1] for of in test.features.values()]
    pixels, new = (worlds.pictures(world_study, False, k, 120)[1] for k in (0, worlds.SEED_OF_MORE))
    assert not {image.tobytes() for image in pixels} & {image.tobytes() for image in new}
    # A model of the cell predicts the new images as well as its own test images: tuning is the same.
    model = encoding.VoxelwiseEncoder().fit(train.features["z"], train.betas, train.image_ids)
    r = [
        encoding.correlation(model.predict(rows.features["z"]), rows.betas)[: 4 * SIZES.n_vertices].mean()
        for rows in (test, more)
    ]
    assert min(r) > 0.1 and abs(r[0] - r[1]) < 0.08
    shuffled = more.betas[np.roll(np.arange(len(more.betas)), 1)]
    assert abs(encoding.correlation(model.predict(more.features["z"]), shuffled).mean()) < 0.04


def test_noise_of_later_sessions_is_another_one():
    body = cortex.Cortex(worlds.SUBJECT, "standard", 0)
    vertices, _ = worlds.chosen_vertices(0, 20)
    nothing, shown = np.zeros((40, len(body.vertices)), np.float32), np.split(np.arange(40), 2)
    early, late = (worlds.respond(body, nothing, 1.0, shown, vertices, first) for first in (1, 2))
    np.testing.assert_array_equal(late[:20], early[20:])
    assert (late[20:] != early[:20]).all()


def test_features_are_cut_with_training_images_alone(rng):
    values = (rng.standard_normal((60, 12)) @ rng.standard_normal((12, 30))).astype(np.float32)
    is_train = np.arange(60) < 40
    found = worlds.reduced(values, is_train, 5)
    assert np.linalg.matrix_rank(found[is_train] - found[is_train].mean(0), tol=1e-2) == 5
    changed = values.copy()
    changed[~is_train] += 9
    np.testing.assert_array_equal(worlds.reduced(changed, is_train, 5)[is_train], found[is_train])
    assert worlds.reduced(np.tile(values, 40), is_train, 5, rng).shape == (60, worlds.N_PROJECTED)
