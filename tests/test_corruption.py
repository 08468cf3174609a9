"""Damaged files are told by their hashes, and the error names the file."""

import json
import shutil
import time

import numpy as np
import pytest
import torch
from shared_space_world import SHAPES, SMALL
from test_networks import MODEL, trained

from latentcortex import features, shared_space, store
from latentcortex.mini import networks
from latentcortex.mini.classical_judge import load_classical_judge

pytestmark = pytest.mark.usefixtures("one_thread")
WAYS = ("flip", "header", "tail", "truncate", "zero", "empty")


def damage(raw, way, rng):
    """Return bytes with one bit or one block changed, or cut short."""
    damaged, place = bytearray(raw), rng.integers(len(raw))
    if way == "header":
        place = rng.integers(min(len(raw), 400))
    elif way == "tail":
        place = len(raw) - 1 - rng.integers(min(len(raw), 300))
    if way == "truncate":
        return raw[:place]
    if way == "zero":
        return raw[:place] + bytes(len(raw[place : place + 4096])) + raw[place + 4096 :]
    damaged[place] ^= 1 << rng.integers(8)
    return b"" if way == "empty" else bytes(damaged)


def as_bytes(value):
    """Return what was loaded in a form that compares bit by bit."""
    if isinstance(value, dict | tuple):
        items = sorted(value.items()) if isinstance(value, dict) else value
        return [as_bytes(item) for item in items]
    if isinstance(value, torch.Tensor):
        value = value.numpy()
    return (value.dtype.str, value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value


def outcomes(path, read, n, rng):
    """Damage a file n times and count: named, without a path, harmless, silent."""
    raw, counts = path.read_bytes(), dict.fromkeys(("named", "without a path", "harmless", "silent"), 0)
    expected = as_bytes(read())
    for k in range(n):
        damaged = damage(raw, WAYS[k % 5] if k >= 12 else WAYS[k % 6], rng)
        if damaged == raw:
            continue
        path.write_bytes(damaged)
        try:
            counts["harmless" if as_bytes(read()) == expected else "silent"] += 1
        except Exception as error:
            counts["named" if str(path) in str(error) else "without a path"] += 1
    path.write_bytes(raw)
    return counts


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_no_damage_to_saved_arrays_is_silent(tmp_path, rng, suffix):
    path = store.save(
        tmp_path / f"a{suffix}",
        provenance={"seed": 3, "axes": ["image", "voxel"]},
        image_ids=rng.permutation(500)[:60],
        z=rng.normal(size=(60, 40)).astype(np.float32),
        codes=rng.integers(0, 9, (60, 3)),
    )
    counts = outcomes(path, lambda: (store.load(path), store.provenance(path)), 300, rng)
    assert counts["silent"] == counts["without a path"] == 0, counts
    assert counts["named"] > 200
    # Zip files hold dates and the like, which say nothing about the arrays.
    assert counts["harmless"] == 0 or suffix == ".npz"


def test_no_damage_to_a_trained_network_is_silent(tmp_path, rng):
    path = tmp_path / "network.safetensors"
    model = shared_space.SharedSpace({"subj01": 12}, SHAPES, SMALL)
    model.training_image_ids = np.arange(10)
    shared_space.save(model, path, preset="mini")

    def read():
        found = shared_space.load(path, preset="mini")
        return found.state_dict(), found.training_image_ids, found.n_voxels, repr(found.sizes)

    counts = outcomes(path, read, 150, rng)
    assert counts["silent"] == counts["without a path"] == counts["harmless"] == 0, counts


@trained
@pytest.mark.parametrize(
    ("file", "read"),
    [
        ("judge/judge.safetensors", lambda folder: networks.load_judge(folder).state_dict()),
        ("alexnet/alexnet.safetensors", lambda folder: networks.load_alexnet(folder).state_dict()),
        ("judge/classical.safetensors", lambda folder: vars(load_classical_judge(folder))),
        (
            "guide/visual.safetensors",
            lambda folder: features.load_clip_image_encoder(folder).visual.state_dict(),
        ),
        ("guide/config.json", lambda folder: features.load_clip_image_encoder(folder).visual.state_dict()),
        ("tiny_vae/config.json", lambda folder: features.load_tiny_vae(folder).state_dict()),
        (
            "unet/diffusion_pytorch_model.safetensors",
            lambda f: vars(features.load_latent_diffusion(f.parent)),
        ),
        ("vae/config.json", lambda folder: vars(features.load_latent_diffusion(folder.parent))),
        ("tokenizer/tokenizer.json", lambda folder: vars(features.load_latent_diffusion(folder.parent))),
    ],
)
def test_no_damage_to_the_weights_that_ship_is_silent(tmp_path, rng, file, read):
    shutil.copy(MODEL / "provenance.json", tmp_path)
    is_part = "load_latent_diffusion" in read.__code__.co_names
    for name in (
        ("vae", "unet", "text_encoder", "tokenizer", "scheduler") if is_part else [file.split("/")[0]]
    ):
        shutil.copytree(MODEL / name, tmp_path / name)
    path = tmp_path / file
    raw = path.read_bytes()
    for k in range(24):
        path.write_bytes(damage(raw, WAYS[k % 6], rng))
        if path.read_bytes() != raw:
            with pytest.raises(
                store.DamagedFileError, match=f"{path} is damaged.*Install latentcortex again"
            ):
                read(path.parent)
    path.unlink()
    with pytest.raises((store.DamagedFileError, FileNotFoundError), match=str(path.parent)):
        read(path.parent)


@trained
def test_the_provenance_has_the_hash_of_each_file_that_ships():
    files = json.loads((MODEL / "provenance.json").read_text())["files"]
    there = {path.relative_to(MODEL).as_posix() for path in MODEL.rglob("*") if path.is_file()}
    assert set(files) == there - {"provenance.json"}
    store.check_files(MODEL)


@trained
def test_a_file_is_read_once_as_long_as_it_does_not_change(tmp_path, monkeypatch):
    shutil.copytree(MODEL / "judge", tmp_path / "judge")
    shutil.copy(MODEL / "provenance.json", tmp_path)
    store.note_files(tmp_path)
    read, hash_of = [], store.damage._hash_of
    monkeypatch.setattr(store.damage, "_hash_of", lambda file: read.append(file.name) or hash_of(file))
    for _ in range(3):
        networks.load_judge(tmp_path / "judge")
    assert read == ["judge.safetensors"]
    time.sleep(0.01)
    (tmp_path / "judge/judge.safetensors").touch()
    store.check_files(tmp_path)
    assert sorted(read) == ["classical.safetensors", "judge.safetensors", "judge.safetensors"]


def test_hashes_are_noted_where_there_is_a_provenance_and_hold_for_any_line_ends(tmp_path):
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae/config.json").write_bytes(b'{\n "a": 1\n}\n')
    store.note_files(tmp_path)
    assert not (tmp_path / "provenance.json").exists()
    (tmp_path / "provenance.json").write_text('{"seed": 1}')
    store.check_files(tmp_path / "vae")
    store.note_files(tmp_path)
    assert json.loads((tmp_path / "provenance.json").read_text())["seed"] == 1
    (tmp_path / "vae/config.json").write_bytes(b'{\r\n "a": 1\r\n}\r\n')
    store.check_files(tmp_path / "vae")
    (tmp_path / "vae/config.json").write_bytes(b'{\n "a": 2\n}\n')
    with pytest.raises(store.DamagedFileError, match="has not the hash"):
        store.check_files(tmp_path)
    # A training that changes the files says so first.
    store.note_files(tmp_path, [])
    store.check_files(tmp_path)


@trained
def test_a_folder_of_ones_own_loads_without_hashes_and_damage_is_named(tmp_path):
    shutil.copytree(MODEL / "judge", tmp_path / "judge")
    networks.load_judge(tmp_path / "judge")
    path = tmp_path / "judge/judge.safetensors"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(store.DamagedFileError, match=str(path)):
        networks.load_judge(tmp_path / "judge")
    for part in ("vae", "unet", "text_encoder", "tokenizer", "scheduler"):
        shutil.copytree(MODEL / part, tmp_path / part)
    features.load_latent_diffusion(tmp_path)
    for name in ("tokenizer/tokenizer.json", "text_encoder/model.safetensors", "vae/config.json"):
        raw = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(raw[:-5])
        with pytest.raises(store.DamagedFileError, match=str(tmp_path / name)):
            features.load_latent_diffusion(tmp_path)
        (tmp_path / name).write_bytes(raw)


def test_rows_are_read_from_a_sealed_file_whose_header_is_checked(tmp_path):
    path = store.save(tmp_path / "a.safetensors", provenance={"n": 11}, image_ids=range(5), z=np.ones((5, 3)))
    raw = path.read_bytes()
    path.write_bytes(raw.replace(rb"\"n\": 11", rb"\"n\": 12"))
    for read in (store.load, store.provenance, lambda p: store.load(p, [2])):
        with pytest.raises(store.DamagedFileError, match="has not the hash"):
            read(path)
    # A number in a row: only a whole reading can tell.
    path.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    assert store.load(path, [0])["z"].tolist() == [[1, 1, 1]]
    with pytest.raises(store.DamagedFileError, match="has not the hash"):
        store.load(path)


def test_the_same_arrays_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        store.save(tmp_path / f"{name}.safetensors", provenance={"x": 1, "y": 2}, z=np.arange(6.0))
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
