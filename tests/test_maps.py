"""Maps of several worlds at once are those of each world, and scripts ch11 and ch12 gather what they made."""

import types

import numpy as np
import pytest
from sklearn.decomposition import PCA

from data_scripts import ch11_follow_the_noise as ch11
from data_scripts import ch12_open_the_unet as ch12
from latentcortex import encoding, nsd
from latentcortex.studies import maps

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def areas(monkeypatch):
    """Regions that the tiny tree has."""
    found = {"early": ("streams", ("early",)), "ventral": ("streams", ("ventral",))}
    monkeypatch.setattr(maps, "AREAS", found)
    maps.read_worlds.cache_clear()
    yield found
    maps.read_worlds.cache_clear()


@pytest.fixture
def seen(study):
    return maps.read_worlds(study, ("measured",), 0, "subj01")


@pytest.fixture
def values(seen, rng):
    return (rng.normal(size=(len(seen.image_ids), 30)) * np.geomspace(9, 0.3, 30)).astype(np.float32)


def test_responses_are_those_of_the_tree(study, seen, areas):
    visual = nsd.roi_mask(study.root, "nsdgeneral", "nsdgeneral")
    train, test = nsd.image_responses(study.root, "subj01")
    np.testing.assert_array_equal(seen.train[0], train[0][:, visual])
    np.testing.assert_array_equal(seen.test_betas, test[0][:, visual])
    np.testing.assert_array_equal(seen.image_ids, [*train[1], *test[1]])
    for name, (atlas, names) in areas.items():
        np.testing.assert_array_equal(seen.areas[name], nsd.roi_mask(study.root, atlas, list(names))[visual])


def test_a_large_mask_is_thinned_and_a_small_one_stays(rng):
    small, large = rng.random((20, 10)) < 0.5, rng.random(40_000) < 0.7
    np.testing.assert_array_equal(maps.thinned(small), small)
    found = maps.thinned(large)
    assert found.sum() == maps.N_THINNED and not (found & ~large).any()
    np.testing.assert_array_equal(maps.thinned(large), found)


def test_features_are_predicted_from_through_their_components(seen, values, monkeypatch):
    monkeypatch.setattr(maps, "N_COMPONENTS", 8)
    n = seen.n_train
    pca = PCA(8, svd_solver="full").fit(values[:n])
    reduced = pca.inverse_transform(pca.transform(values)).astype(np.float32)
    encoder = encoding.VoxelwiseEncoder(cv="gcv").fit(reduced[:n], *seen.train)
    expected = encoder.predict(reduced[n:])
    with_constants = np.hstack([values, np.full((len(values), 3), 7, np.float32)])
    found = seen.predict(with_constants)
    np.testing.assert_allclose(found, expected, atol=2e-3 * np.abs(expected).max())


def test_test_images_move_nothing_that_is_fitted(seen, values):
    other = values.copy()
    other[seen.n_train :] *= 5
    moved = seen.predict(other)
    again = values.copy()
    again[seen.n_train + 1 :] *= 5  # the first test image as it was
    np.testing.assert_allclose(seen.predict(again)[0], seen.predict(values)[0], rtol=1e-4, atol=1e-5)
    assert np.abs(moved - seen.predict(values)).max() > 1e-3


def test_worlds_do_not_see_each_other(seen, values):
    """Each world has the scores that it has alone; other betas next to it change nothing."""
    shuffled = np.random.default_rng(1).permutation(seen.n_train)
    both = maps.Worlds(
        seen.image_ids,
        seen.n_train,
        (np.hstack([seen.train[0], seen.train[0][shuffled]]), *seen.train[1:]),
        np.hstack([seen.test_betas, seen.test_betas]),
        np.concatenate([seen.ceiling, seen.ceiling]),
        seen.areas,
    )
    together, alone = both.predict(values), seen.predict(values)
    n = seen.ceiling.shape[1]
    np.testing.assert_allclose(together[:, :n], alone, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(both.predict(values, 1), alone, rtol=1e-3, atol=1e-4)
    r = both.correlate(together)
    assert r.shape == both.ceiling.shape
    np.testing.assert_allclose(r[0], encoding.correlation(together[:, :n], seen.test_betas), atol=1e-6)
    np.testing.assert_allclose(both.by_area(r)[0], seen.by_area(r[:1])[0])
    draws = both.resampled(together)
    np.testing.assert_allclose(draws, seen.resampled(together[:, :n]))
    np.testing.assert_allclose(
        both.resampled_by_area(draws)[:, 5], both.by_area(np.stack([draws[5], draws[5]]))[0]
    )


def test_the_mean_of_an_area_leaves_out_vertices_that_hardly_repeat(seen):
    ceiling, r = seen.ceiling.copy(), np.zeros(seen.ceiling.shape)
    mask = seen.areas["early"]
    ceiling[0, np.flatnonzero(mask)] = 0.5
    ceiling[0, np.flatnonzero(mask)[0]], r[0, np.flatnonzero(mask)[0]] = 0.01, 1.0
    known = maps.Worlds(seen.image_ids, seen.n_train, seen.train, seen.test_betas, ceiling, seen.areas)
    assert known.by_area(r)[0, 0] == 0
    r[0, np.flatnonzero(mask)[1]] = np.nan
    assert known.by_area(r)[0, 0] == 0


def test_worlds_of_other_images_are_refused(study, monkeypatch, tmp_path):
    from tests.conftest import write_tiny_tree

    write_tiny_tree(tmp_path / "other", n_own=232, n_sessions=(17, 18))
    other = types.SimpleNamespace(root=tmp_path / "other")
    monkeypatch.setattr(
        maps, "study_of_world", lambda study, world, _: other if world == "uniform" else study
    )
    with pytest.raises(ValueError, match="uniform shows subj01 other images than standard"):
        maps.read_worlds(study, ("standard", "uniform"), 0, "subj01")


@pytest.fixture
def small(study, tmp_path, monkeypatch):
    """The study with few components, and with captions that the tokenizer knows."""
    monkeypatch.setenv("LATENTCORTEX_CACHE", str(tmp_path))
    words = ["house", "tree", "car", "red", "blue", "night", "hill", "tower"]

    def captions(_root, image_ids):
        return [[" ".join(np.random.default_rng(i).permutation(words)[:4])] * 5 for i in image_ids]

    monkeypatch.setattr(nsd, "captions", captions)
    monkeypatch.setattr(maps, "N_DRAWS", 5)
    monkeypatch.setattr(maps, "N_COMPONENTS", 20)
    monkeypatch.setattr(ch12, "worlds_of", lambda _: {0: ("measured",)})
    monkeypatch.setattr(ch11, "worlds_of", lambda _: {0: ("measured",), 1: ("measured",)})
    return study


def test_ch12_makes_and_gathers_blocks(small, monkeypatch):
    monkeypatch.setattr(ch12, "SHARES", (0.5,))
    monkeypatch.setattr(ch12, "N_DRAWS", 2)
    monkeypatch.setattr(ch12, "DRAWS", ch12.DRAWS[:2])
    monkeypatch.setattr(ch12, "N_PROJECTIONS", 2)
    parts = {(s, share): ch12.make(small, 0, s, share) for s in small.subjects for share in ch12.SHARES}
    arrays, provenance = ch12.gather(small, lambda _, s, share: parts[s, share])[""]
    n_vertices = len(arrays["vertices"])
    assert provenance["layers"][3] == "mid_block" and provenance["sets"] == list(ch12.SETS)
    assert arrays["areas"].shape == (2, 1, 5, 7, 1, 2) and arrays["r"].shape == (2, 1, 7, n_vertices)
    assert arrays["resampled"].shape == (1, 5, 7, 2, 5)
    part = parts["subj02", 0.5]
    np.testing.assert_allclose(arrays["areas"][1, 0], part["areas"], atol=1e-3)
    np.testing.assert_array_equal(arrays["winner"][1, 0], part["winner"])
    mean = (parts["subj01", 0.5]["resampled"] + part["resampled"]) / 2
    np.testing.assert_allclose(arrays["resampled"][0], mean, atol=1e-3)
    known = part["winner"] >= 0
    np.testing.assert_array_equal(part["winner"][known], part["r"].argmax(0)[known])
    assert ((part["wins"] >= 0) & (part["wins"] <= 1)).all()
    # One block by another way: its scores are those of its own features.
    seen = maps.read_worlds(small, ("measured",), 0, "subj02")
    values = ch12.features_of(small, 0.5, 0, seen.image_ids)
    assert {name for name, _ in values} >= {*ch12.SETS, "form 1", "form pooled", "noised"}
    r = seen.correlate(seen.predict(values["random|text", "mid_block"]))
    np.testing.assert_allclose(part["areas"][3, 3], seen.by_area(r), atol=1e-6)
    np.testing.assert_allclose(
        values["mean|empty", "mid_block"],
        (values["draw|empty", "mid_block"] + values["draw 1|empty", "mid_block"]) / 2,
    )


def test_ch11_makes_and_gathers_z_c(small, monkeypatch):
    monkeypatch.setattr(ch11, "REMOVED", (1, 2))
    monkeypatch.setattr(ch11, "N_STEPS", 2)
    monkeypatch.setattr(ch11, "N_DRAWS", 2)
    monkeypatch.setattr(ch11, "AVERAGED", (2,))
    monkeypatch.setattr(ch11, "REMOVED_AGAIN", (2,))
    parts = {part: ch11.make(small, *part) for part in ch11.make_job(small, None).parts}
    products = ch11.gather(small, lambda *part: parts[part])
    again, described = products["-seed1"]
    parts = {part[1:]: of for part, of in parts.items() if part[0] == 0}
    arrays, provenance = products[""]
    # The same tree was given as the other seed, so its scores are those of the first.
    assert again["areas z_c"].shape == (2, 1, 2) and described["shares"] == provenance["shares"][1:]
    np.testing.assert_array_equal(again["areas z_c"], arrays["areas z_c"][:, 1])
    np.testing.assert_array_equal(again["resampled"], arrays["resampled"][1])
    assert arrays["r_shuffled"].shape == (2, 2, 2, arrays["r"].shape[-1])
    assert (
        abs(arrays["r_shuffled"].mean()) < 0.1 < np.abs(arrays["r_shuffled"] - arrays["r"][:, :, ::3]).max()
    )
    assert "areas z_c mean" not in again and "areas x0 1" not in again
    assert arrays["areas z_c"].shape == (2, 2, 1, 2) and arrays["areas x0 1"].shape == (2, 1, 2)
    assert arrays["areas z_c mean"].shape == (1, 2) and arrays["areas without text"].shape == (2, 1, 2)
    np.testing.assert_allclose(arrays["areas z_c"][1, 0], parts["subj02", 1]["areas z_c"], atol=1e-3)
    np.testing.assert_allclose(arrays["areas x0 1"][1], parts["subj02", 2]["areas x0 1"], atol=1e-3)
    assert provenance["shares"] == sorted(provenance["shares"]) and len(provenance["timesteps"]) == 2
    assert arrays["resampled"].shape == (2, 4, 2, 5)
    np.testing.assert_allclose(
        arrays["resampled"][0], np.mean([parts[s, 1]["resampled"] for s in small.subjects], 0), atol=1e-3
    )


def test_what_z_and_z_c_explain_adds_up(seen, values):
    """Two spaces of the same content share all they explain; a space of noise explains nothing alone."""
    n = seen.ceiling.shape[1]
    weights = np.random.default_rng(2).normal(size=(values.shape[1], n))
    betas = (values @ weights).astype(np.float32)
    known = maps.Worlds(
        seen.image_ids,
        seen.n_train,
        (betas[: seen.n_train], *seen.train[1:]),
        betas[seen.n_train :],
        seen.ceiling,
        seen.areas,
    )
    unique_z, unique_zc, shared = ch11.unique_parts(known, values, values[:, ::-1].copy())
    assert np.abs(unique_z).max() < 0.02 and np.abs(unique_zc).max() < 0.02 and shared.min() > 0.95
    noise = np.random.default_rng(3).normal(size=values.shape).astype(np.float32)
    unique_z, unique_zc, shared = ch11.unique_parts(known, values, noise)
    assert unique_z.min() > 0.9 and np.abs(unique_zc).max() < 0.05
