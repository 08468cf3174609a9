"""Script ch10: composed scenes, the responses predicted for them, and the sheet of drawings."""

import itertools

import numpy as np
import pytest
import torch

from data_scripts import ch10_compose_scenes as ch10
from latentcortex import encoding, store
from latentcortex.mini.scenes import image_position, is_held_back
from latentcortex.studies import composed, decoding, results
from latentcortex.studies.targets import targets


def test_scenes_are_all_combinations_and_none_is_held_back():
    scenes = composed.scenes()
    cases = list(itertools.product(*composed.CHOICES.values()))
    assert len(scenes) == len(set(cases)) == 72
    for scene, (setting, time, kind, colour, side) in zip(scenes, cases, strict=True):
        (thing,) = scene.things
        assert (scene.setting, scene.time, thing.kind, thing.colour) == (setting, time, kind, colour)
        assert thing.place == side and not is_held_back(kind, colour, setting)
        x, _, extent = image_position(scene, thing)
        assert np.sign(x) == (1 if side == "right" else -1) and abs(x) + extent / 2 < 1  # within the picture


def test_a_sheet_gives_back_its_drawings_in_their_order(rng):
    tiles = rng.integers(0, 256, (20, 4, 4, 3)).astype(np.uint8).repeat(16, axis=1).repeat(16, axis=2)
    found = composed.from_sheet(ch10.sheet(tiles), ch10.N_COLUMNS, 20)
    assert found.shape == (20, 3, 64, 64)
    difference = composed.mean_colours(found, 4) - tiles[:, ::16, ::16].transpose(0, 3, 1, 2) / 255
    assert np.median(np.abs(difference)) < 0.02 and np.abs(difference).max() < 0.3


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(composed, "CHOICES", {name: of[:1] for name, of in composed.CHOICES.items()})
    monkeypatch.setitem(composed.CHOICES, "time", ("day", "night"))
    cached = composed.rendered, composed.z_and_c, composed.predicted
    for one in cached:
        one.cache_clear()
    yield
    for one in cached:
        one.cache_clear()


@pytest.mark.usefixtures("few", "one_thread")
def test_responses_are_predicted_from_z_and_c_together_and_drawn_row_by_row(study, monkeypatch):
    """With few components the prediction is an independent ridge regression on z and c cut to them."""
    monkeypatch.setattr(composed, "N_COMPONENTS", 5)

    def true(study, names, ids):  # the made-up images have one caption, so their c is made up, too
        made_up = [np.random.default_rng(k).normal(size=(24, 128)).astype(np.float32) for k in ids]
        return targets(study, names, ids) if names == ["z"] else {"c": torch.tensor(np.array(made_up))}

    monkeypatch.setattr(composed, "targets", true)
    found = composed.predicted(study, "subj01")
    read = decoding.read(study, "subj01")
    assert found.shape == (2, read.voxels.sum())
    betas, ids, n_repeats = composed.averaged(study, "subj01")
    assert not set(ids) & set(study.image_ids) and n_repeats.min() >= 1
    parts, n = [], len(ids)
    for name, new in composed.z_and_c(study).items():
        values = np.vstack([true(study, [name], ids)[name].flatten(1), new.flatten(1)]).astype(float)
        mean = values[:n].mean(axis=0)
        directions = np.linalg.svd(values[:n] - mean, full_matrices=False)[2][:5]
        parts.append(mean + (values - mean) @ directions.T @ directions)
    joint = np.hstack(parts).astype(np.float32)
    encoder = encoding.VoxelwiseEncoder(cv="gcv").fit(joint[:n], betas, ids, n_repeats)
    np.testing.assert_allclose(found, encoder.predict(joint[n:]), atol=0.02 * np.abs(found).max())
    both, second = (composed.draw(study, "subj01", np.array(rows)) for rows in ([0, 1], [1]))
    assert both.shape == (2, 3, 64, 64) and (both[0] - both[1]).abs().max() > 0.01
    np.testing.assert_allclose(both[1], second[0], atol=1e-3)


def test_the_shipped_drawings_lead_back_to_their_times_of_day():
    """Night is dark: whoever drew the scenes in another order would not tell night from day."""
    (path,) = results.shipped_folder("results").glob("ch10_compose_scenes-*.npz")
    facts, arrays = store.provenance(path), store.load(path)
    assert facts["subjects"] == list(arrays) and path.stat().st_size < 180_000
    assert {name: tuple(of) for name, of in facts["choices"].items()} == composed.CHOICES
    cases = np.array(list(itertools.product(*composed.CHOICES.values())))
    for sheet in arrays.values():
        light = composed.from_sheet(sheet, facts["columns"], len(cases)).mean(dim=(1, 2, 3))
        night = torch.from_numpy(cases[:, 1] == "night")
        assert light[night].max() < light[~night].min()
