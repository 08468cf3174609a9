import dataclasses

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from shared_space_world import QUICK, SHAPES, SMALL, simulate

from latentcortex.shared_space import SharedSpace, fit_rescaling, load, predict, save, train
from latentcortex.shared_space.checkpoints import read_tensors

SIZES = dataclasses.replace(SMALL, prior_depth=1, prior_heads=2, dropout=0.3)


@pytest.fixture(autouse=True)
def _one_thread(one_thread):
    pass


@pytest.fixture(scope="module")
def world():
    return simulate()


@pytest.fixture
def saved(world, tmp_path):
    model = SharedSpace(world.n_voxels, SHAPES, SIZES)
    train(
        model, world.trials, world.targets, QUICK, progress=False, checkpoint=tmp_path / "state.safetensors"
    )
    betas, image_ids = world.test["subj02"]
    fit_rescaling(model, betas[:20], "subj02", image_ids[:20], world.targets)
    path = tmp_path / "new" / "network.safetensors"
    save(model, path, preset="mini")
    return model, path


def test_a_network_comes_back_as_it_was(saved, world, device, monkeypatch):
    # Or a GPU rounds the factors of a convolution to ten bits.
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    model, path = saved
    loaded = load(path, preset="mini", device=device)
    assert loaded.device.type == device.type and not loaded.training
    assert loaded.sizes == SIZES and loaded.target_shapes == SHAPES
    assert loaded.n_voxels == world.n_voxels
    np.testing.assert_array_equal(loaded.training_image_ids, model.training_image_ids)
    betas, image_ids = world.test["subj02"]
    for options in ({}, {"rescale": True}, {"projected": True}):
        expected = predict(model, betas, "subj02", **options)
        for name, values in predict(loaded, betas, "subj02", **options).items():
            np.testing.assert_allclose(values, expected[name], atol=1e-4 * (device.type != "cpu"))
    with pytest.raises(ValueError, match="learned from 20 of these images"):
        predict(loaded, betas, "subj02", rescale=True, image_ids=image_ids)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_loaded_network_goes_into_the_second_stage(saved, world):
    model, path = saved
    betas, image_ids = world.test["subj01"]
    first = []
    for network in (model, load(path)):
        new = network.with_new_subject("subj09", 40, seed=3)
        train(new, {"subj09": (betas, image_ids)}, world.targets, QUICK, progress=False)
        first.append(predict(new, betas, "subj09")["z"])
    np.testing.assert_array_equal(*first)


def test_files_that_can_not_be_used(saved, tmp_path):
    _, path = saved
    with pytest.raises(ValueError, match="for the preset 'mini', expected 'sd14'"):
        load(path, preset="sd14")
    load(path)
    with pytest.raises(FileNotFoundError, match="Train the network"):
        load(tmp_path / "none.safetensors")
    with pytest.raises(ValueError, match="belongs to a training under way"):
        load(tmp_path / "state.safetensors")
    other = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(3)}, other)
    with pytest.raises(ValueError, match="was not written by"):
        load(other)
    other.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="not whole"):
        load(other)
    with pytest.raises(ValueError, match="ending in .safetensors"):
        save(saved[0], tmp_path / "network.pt")


def test_a_write_that_fails_leaves_the_older_file(saved, monkeypatch):
    model, path = saved
    before = path.read_bytes()

    def fail(_tensors, partial, metadata):
        partial.write_bytes(b"half")
        raise OSError(f"no space left for {sorted(metadata)}")

    monkeypatch.setattr("latentcortex.shared_space.checkpoints.save_file", fail)
    with pytest.raises(OSError, match="no space left"):
        save(model, path)
    assert path.read_bytes() == before
    monkeypatch.undo()
    save(model, path)
    assert read_tensors(path)[1]["preset"] is None
