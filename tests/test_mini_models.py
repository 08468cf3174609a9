"""The scripts that train the miniature world's models, run small.

A training that was killed goes on as if nothing had happened.
"""

import argparse

import numpy as np
import pytest
import torch

from data_scripts.mini_models import instruments, train
from data_scripts.mini_models import scenes as made_scenes
from data_scripts.mini_models.scores import calibration_error
from latentcortex.mini import networks, scenes


class Killed(Exception):
    pass


def arguments(folder, **changes):
    args = argparse.Namespace(
        work=folder,
        out=folder / "model",
        device=torch.device("cpu"),
        scenes=30,
        checkpoint_seconds=0.0,
        vae_steps=6,
    )
    folder.mkdir(exist_ok=True)
    vars(args).update(changes)
    return args


def fit_line(args, kill_at=None):
    """Fit a small network to a line, drawing batches and noise as the real trainings do."""
    torch.manual_seed(0)
    net = torch.nn.Linear(3, 1)
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(1))
    calls = []

    def loss_of(rows, generator):
        calls.append(rows.tolist())
        if len(calls) - 1 == kill_at:
            raise Killed
        noise = torch.randn(len(rows), 3, generator=generator)
        return (net(x[rows] + 0.1 * noise).float()[:, 0] - x[rows].sum(1)).pow(2).mean()

    train.fit(args, "vae", {"net": net}, loss_of, len(x), lr=0.01, batch_size=8)
    return net.weight.clone(), calls


def test_a_killed_training_ends_like_an_uninterrupted_one(tmp_path):
    whole, batches = fit_line(arguments(tmp_path / "whole"))
    args = arguments(tmp_path / "killed")
    with pytest.raises(Killed):
        fit_line(args, kill_at=3)
    resumed, rest = fit_line(args)
    assert rest == batches[3:]
    torch.testing.assert_close(resumed, whole, rtol=0, atol=0)


def test_a_finished_training_is_not_repeated(tmp_path):
    args = arguments(tmp_path / "whole")
    first, _ = fit_line(args)
    again, batches = fit_line(args)
    assert batches == []
    torch.testing.assert_close(again, first, rtol=0, atol=0)


def test_a_training_with_more_steps_goes_on_and_tells_what_was_planned(tmp_path):
    args = arguments(tmp_path / "longer")
    fit_line(args)
    args.vae_steps = 9
    _, batches = fit_line(args)
    assert len(batches) == 3
    saved = torch.load(args.work / "vae.pt", weights_only=True)
    assert saved["planned"] == [[6, 1], [9, 1]] and saved["step"] == 9


def test_a_loss_that_is_not_finite_names_the_step(tmp_path):
    net = torch.nn.Linear(1, 1)
    with pytest.raises(FloatingPointError, match="at step 0"):
        train.fit(
            arguments(tmp_path / "bad"),
            "vae",
            {"net": net},
            lambda *_: net.weight.sum() * torch.nan,
            5,
            lr=0.1,
            batch_size=2,
        )


def test_training_scenes_are_made_once_and_labelled(tmp_path, monkeypatch):
    monkeypatch.setattr(made_scenes, "N_TEST", 4)
    monkeypatch.setattr(made_scenes, "N_HELD_BACK", 4)
    monkeypatch.setattr(made_scenes, "N_ALEXNET", 2)
    monkeypatch.setattr(made_scenes, "N_ALEXNET_HELD_BACK", 2)
    args = arguments(tmp_path / "work", scenes=6)
    made_scenes.make_scenes(args)
    files = {path: path.stat().st_mtime_ns for path in (args.work / "scenes").iterdir()}
    made_scenes.make_scenes(args)
    assert {path: path.stat().st_mtime_ns for path in (args.work / "scenes").iterdir()} == files
    data = made_scenes.load_scenes(args, "train")
    assert data["images"].shape == (6, 3, 64, 64)
    assert data["captions"].shape == (6, 5)
    n_kinds = len(scenes.KINDS)
    rng = np.random.default_rng((made_scenes.SEED, 0, 0))
    for drawn, label in zip(scenes.sample_scenes(6, rng), data["labels"], strict=True):
        assert scenes.SETTINGS[label[0]] == drawn.setting
        kinds = {scenes.KINDS[k] for k in np.flatnonzero(label[2 : 2 + n_kinds])}
        assert kinds == {thing.kind for thing in drawn.things}
    held_back = made_scenes.load_scenes(args, "held_back")["images"]
    assert len(held_back) == 4


def test_missing_scenes_are_explained(tmp_path):
    with pytest.raises(FileNotFoundError, match="stage 'scenes'"):
        made_scenes.load_scenes(arguments(tmp_path / "empty"), "train")


def test_blur_keeps_block_means_and_scramble_keeps_blocks_but_no_place():
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    blurred = made_scenes.blur(images, 64)
    torch.testing.assert_close(blurred, images.mean((2, 3), keepdim=True).expand_as(blurred))

    def blocks(x):
        cut = x.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
        return cut.numpy()

    mixed = made_scenes.scramble(images, torch.Generator().manual_seed(1))
    for before, after in zip(blocks(images), blocks(mixed), strict=True):
        order = [np.flatnonzero((before == block).all(1)).item() for block in after]
        assert sorted(order) == list(range(256)) and order != list(range(256))


def test_the_judge_is_shown_every_way_of_degrading_and_told_where_nothing_is_left(monkeypatch):
    images = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    vae = networks.make_vae().eval()

    def each_way_once(weights, n, **_):
        assert len(weights) == n == 8 and (weights >= 1).all()
        return torch.arange(n)

    monkeypatch.setattr(torch.Tensor, "multinomial", each_way_once)
    pictures, lost = instruments.degrade(vae, images, torch.Generator().manual_seed(1))
    assert pictures.shape == images.shape and pictures.min() >= 0 and pictures.max() <= 1
    assert lost.tolist() == [False] * 6 + [True] * 2
    assert torch.equal(pictures[0], images[0])
    for way, factor in enumerate((2, 4, 8), start=1):
        blurred = made_scenes.blur(images[way : way + 1], factor)
        torch.testing.assert_close(pictures[way : way + 1], blurred)
    assert all((pictures[k] - images[k]).abs().mean() > 0.01 for k in range(4, 8))


def test_calibration_error_is_zero_for_honest_answers_and_found_for_boasting(rng):
    honest = rng.uniform(0, 1, 40_000)
    right = rng.uniform(0, 1, 40_000) < honest
    assert calibration_error(honest, right) < 0.02
    assert calibration_error(np.sqrt(honest), right) > 0.1
