"""Saved arrays keep their ids, their provenance and their wholeness."""

import os

import numpy as np
import pytest
import torch

from latentcortex import store

SUFFIXES = pytest.mark.parametrize("suffix", [".npz", ".safetensors"])


@SUFFIXES
def test_round_trip_keeps_values_dtypes_and_provenance(tmp_path, rng, suffix):
    arrays = {
        "latents": rng.normal(size=(6, 4, 2, 2)).astype(np.float32),
        "scores": rng.normal(size=6),
        "codes": rng.integers(0, 9, (6, 3)),
        "hits": rng.random(6) < 0.5,
        # A transposed view lies in memory in another order than its values are read.
        "view": rng.normal(size=(3, 6)).T,
    }
    ids = np.array([40, 3, 8, 9, 71, 0])
    path = store.save(tmp_path / "new" / f"a{suffix}", provenance={"seed": 3}, image_ids=ids, **arrays)
    loaded = store.load(path)
    assert set(loaded) == {*arrays, "image_ids"}
    np.testing.assert_array_equal(loaded["image_ids"], ids)
    for name, array in arrays.items():
        np.testing.assert_array_equal(loaded[name], array)
        assert loaded[name].dtype == array.dtype
    assert store.provenance(path) == {"seed": 3}


@SUFFIXES
def test_rows_are_known_by_id_whatever_their_order_on_disk(tmp_path, rng, suffix):
    """Permuting the rows on disk changes nothing for whoever asks by id."""
    ids, values = rng.permutation(1000)[:50], rng.normal(size=(50, 7))
    wanted = np.concatenate([rng.permutation(ids)[:20], ids[:2]])
    expected = np.array([values[np.flatnonzero(ids == i)[0]] for i in wanted])
    for order in (np.arange(50), rng.permutation(50)):
        path = store.save(tmp_path / f"a{suffix}", provenance={}, image_ids=ids[order], z=values[order])
        part = store.load(path, wanted)
        np.testing.assert_array_equal(part["z"], expected)
        np.testing.assert_array_equal(part["image_ids"], wanted)
    assert store.load(path, np.array([], int))["z"].shape == (0, 7)


@SUFFIXES
def test_bad_requests_are_explained(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    with pytest.raises(FileNotFoundError, match="Run the script"):
        store.load(path)
    store.save(path, provenance={}, image_ids=[1, 2, 2], z=np.zeros(3))
    with pytest.raises(ValueError, match="several rows for image 2"):
        store.load(path, [1])
    store.save(path, provenance={}, image_ids=[1, 2, 3], z=np.zeros(3))
    with pytest.raises(ValueError, match="no row for 2 of the images asked for, such as 4"):
        store.load(path, [5, 1, 4])
    with pytest.raises(ValueError, match="1-D array of integers"):
        store.load(path, [1.0])
    store.save(path, provenance={}, z=np.zeros(3))
    with pytest.raises(ValueError, match=r"a\.\w+ was saved without image_ids: it can only be read whole"):
        store.load(path, [1])


@SUFFIXES
def test_what_cannot_be_saved_is_refused(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    with pytest.raises(ValueError, match=r"z has shape \(2,\), but there are 3"):
        store.save(path, provenance={}, image_ids=[1, 2, 3], z=np.zeros(2))
    with pytest.raises(ValueError, match="pickle"):
        store.save(path, provenance={}, z=np.array([{}], object))
    with pytest.raises(ValueError, match="JSON-able"):
        store.save(path, provenance={"path": path}, z=np.zeros(2))
    with pytest.raises(ValueError, match="at least one array"):
        store.save(path, provenance={})
    with pytest.raises(ValueError, match="must be a dict"):
        store.save(path, provenance="me", z=np.zeros(2))
    with pytest.raises(ValueError, match="npz or .safetensors"):
        store.save(tmp_path / "a.pkl", provenance={}, z=np.zeros(2))
    assert not list(tmp_path.iterdir())


def test_text_fits_into_npz_only(tmp_path):
    names = np.array(["early", "ventral"])
    path = store.save(tmp_path / "a.npz", provenance={}, names=names)
    np.testing.assert_array_equal(store.load(path)["names"], names)
    with pytest.raises(ValueError, match="dtype U"):
        store.save(tmp_path / "a.safetensors", provenance={}, names=names)


@SUFFIXES
def test_a_write_that_fails_leaves_the_old_file_whole(tmp_path, monkeypatch, suffix):
    path = store.save(tmp_path / f"a{suffix}", provenance={}, z=np.arange(3))

    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(store.arrays.np, "savez_compressed", fail)
    monkeypatch.setattr(store.arrays, "save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        store.save(path, provenance={}, z=np.arange(4))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    np.testing.assert_array_equal(store.load(path)["z"], np.arange(3))


def test_pickled_content_is_never_loaded(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", provenance=np.array("{}"), z=np.array([{}], object))
    with pytest.raises(ValueError, match="allow_pickle"):
        store.load(tmp_path / "a.npz")


def test_source_hash_sees_content_names_and_settings_but_no_folders(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.py").write_text("x = 1")
        (tmp_path / folder / "b.py").write_text("y = 2")
    one, two = [sorted((tmp_path / folder).iterdir()) for folder in ("one", "two")]
    first = store.source_hash(one, {"seed": 0})
    assert store.source_hash(two[::-1], {"seed": 0}) == first
    assert store.source_hash(one, {"seed": 1}) != first
    two[0].write_text("x = 3")
    assert store.source_hash(two, {"seed": 0}) != first


@pytest.mark.parametrize(
    ("other", "is_same"),
    [
        ("def f(x):\n    # a comment\n    return (\n        x + 'a'\n    )\n", True),
        ('"""Of the file."""\ndef f(x):\n    """Say it."""\n    return x + "a"\n', True),
        ("def f(x):\n    return x + 'b'\n", False),
        ("def f(x=None):\n    return x + 'a'\n", False),
        ("def f(x):\n    'a'\n    return x - 'a'\n", False),
        ("def f(x):\n    return f'{x}a'\n", False),
        ("async def f(x):\n    return x + 'a'\n", False),
    ],
)
def test_comments_docstrings_and_layout_are_not_code(tmp_path, other, is_same):
    path = tmp_path / "a.py"
    path.write_text("def f(x):\n    return x + 'a'\n")
    first = store.source_hash([path])
    path.write_text(other)
    assert (store.source_hash([path]) == first) == is_same


def test_code_has_the_same_hash_in_every_version_of_python(tmp_path):
    path = tmp_path / "a.py"
    path.write_text(
        "class A:\n    x: int = None\n\n    def f(self, *a, **b):\n        return f'{a!r:>{b}} b', {**b}\n"
    )
    assert store.source_hash([path]) == "6c41f919ea457d991dcddaa5c111866b0edb557a4ea95e97f0105386bc7e0a66"


def test_cache_folder_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTCORTEX_CACHE", str(tmp_path))
    assert store.cache_folder() == tmp_path
    monkeypatch.delenv("LATENTCORTEX_CACHE")
    assert store.cache_folder().name == "latentcortex"


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")
def test_saved_files_have_the_mode_of_ordinary_files(tmp_path):
    (tmp_path / "plain").touch()
    path = store.save(tmp_path / "a.npz", provenance={}, z=np.zeros(1))
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


# --- what other kinds of values become ------------------------------------------------------------


@SUFFIXES
def test_lists_tensors_and_numbers_of_numpy_are_saved_as_arrays(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    provenance = {"seed": np.int64(3), "share": np.float32(0.5), "found": np.True_}
    store.save(path, provenance=provenance, image_ids=[2, 1], z=[[1, 2], [3, 4]], c=torch.ones(2, 3))
    loaded = store.load(path, torch.tensor([1]))
    np.testing.assert_array_equal(loaded["z"], [[3, 4]])
    np.testing.assert_array_equal(loaded["c"], np.ones((1, 3), np.float32))
    assert store.provenance(path) == {"seed": 3, "share": 0.5, "found": True}


@SUFFIXES
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.ma.masked_array([1.0, 2], [True, False]), "z is a masked array, whose mask would be lost"),
        ([np.ma.masked_array([1.0, 2], [True, False])], "z is a masked array"),
        ([[1, 2], [3]], "z is no array and can't become one"),
        (torch.ones(2, requires_grad=True), r"z.detach\(\).cpu\(\)"),
        (torch.ones(2, dtype=torch.bfloat16), r"z.detach\(\).cpu\(\)"),
    ],
)
def test_values_that_would_lose_something_are_refused_in_one_sentence(tmp_path, suffix, value, message):
    with pytest.raises(ValueError, match=message):
        store.save(tmp_path / f"a{suffix}", provenance={}, z=value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dtype", ["c16", "longdouble", "M8[s]", "i4,f4", "U3"])
def test_safetensors_holds_plain_numbers_only(tmp_path, dtype):
    with pytest.raises(ValueError, match="z has dtype .* which .safetensors can't hold"):
        store.save(tmp_path / "a.safetensors", provenance={}, z=np.zeros(2, dtype))


@pytest.mark.parametrize("wrong", [np.array([True, False, True]), np.ma.masked_array([4, 5, 6], [0, 1, 0])])
def test_a_mask_is_not_taken_for_image_ids(tmp_path, wrong):
    with pytest.raises(ValueError, match="betas: expected image ids"):
        store.rows_of([0, 1, 2], wrong, "betas")
    with pytest.raises(ValueError, match="image_ids must be a 1-D array of integers"):
        store.save(tmp_path / "a.npz", provenance={}, image_ids=wrong, z=np.zeros(3))


def test_rows_of_no_image_are_none():
    assert store.rows_of([3, 1], []).tolist() == []
    assert store.rows_of([3, 1], [1, 3, 1]).tolist() == [1, 0, 1]


def test_ids_beyond_64_bits_do_not_turn_round(tmp_path):
    with pytest.raises(ValueError, match=r"below 2\*\*63"):
        store.save(tmp_path / "a.npz", provenance={}, image_ids=np.array([2**63], np.uint64), z=np.zeros(1))


def test_the_hash_of_files_of_one_name_does_not_depend_on_their_order(tmp_path):
    paths = [tmp_path / folder / "__init__.py" for folder in "ab"]
    for number, path in enumerate(paths):
        path.parent.mkdir()
        path.write_text(f"x = {number}")
    assert store.source_hash(paths) == store.source_hash(paths[::-1])
    with pytest.raises(ValueError, match="list of paths, got the single path"):
        store.source_hash(paths[0])
    assert store.source_hash([], {"n": np.int64(3)}) == store.source_hash([], {"n": 3})
