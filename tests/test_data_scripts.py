"""The scripts, run small: a training that was killed goes on as if nothing had happened."""

import argparse
import dataclasses
import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "data_scripts"))

import mini_model_instruments as instruments  # noqa: E402
import mini_model_scenes  # noqa: E402
import products  # noqa: E402
import train_mini_models as training  # noqa: E402
from mini_model_scores import calibration_error  # noqa: E402

from latentcortex import encoding, features, nsd, presets  # noqa: E402
from latentcortex.mini import captions, networks, scenes  # noqa: E402

decode_latents = importlib.import_module("5_decode_latents")


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

    training.fit(args, "vae", {"net": net}, loss_of, len(x), lr=0.01, batch_size=8)
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
        training.fit(
            arguments(tmp_path / "bad"),
            "vae",
            {"net": net},
            lambda *_: net.weight.sum() * torch.nan,
            5,
            lr=0.1,
            batch_size=2,
        )


def test_training_scenes_are_made_once_and_labelled(tmp_path, monkeypatch):
    monkeypatch.setattr(mini_model_scenes, "N_TEST", 4)
    monkeypatch.setattr(mini_model_scenes, "N_HELD_BACK", 4)
    monkeypatch.setattr(mini_model_scenes, "N_ALEXNET", 2)
    monkeypatch.setattr(mini_model_scenes, "N_ALEXNET_HELD_BACK", 2)
    args = arguments(tmp_path / "work", scenes=6)
    training.make_scenes(args)
    files = {path: path.stat().st_mtime_ns for path in (args.work / "scenes").iterdir()}
    training.make_scenes(args)
    assert {path: path.stat().st_mtime_ns for path in (args.work / "scenes").iterdir()} == files
    data = training.load_scenes(args, "train")
    assert data["images"].shape == (6, 3, 64, 64)
    assert data["captions"].shape == (6, 5)
    n_kinds = len(scenes.KINDS)
    rng = np.random.default_rng((training.SEED, 0, 0))
    for drawn, label in zip(scenes.sample_scenes(6, rng), data["labels"], strict=True):
        assert scenes.SETTINGS[label[0]] == drawn.setting
        kinds = {scenes.KINDS[k] for k in np.flatnonzero(label[2 : 2 + n_kinds])}
        assert kinds == {thing.kind for thing in drawn.things}
    held_back = training.load_scenes(args, "held_back")["images"]
    assert len(held_back) == 4


def test_missing_scenes_are_explained(tmp_path):
    with pytest.raises(FileNotFoundError, match="stage 'scenes'"):
        training.load_scenes(arguments(tmp_path / "empty"), "train")


def test_blur_keeps_block_means_and_scramble_keeps_blocks_but_no_place():
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    blurred = mini_model_scenes.blur(images, 64)
    torch.testing.assert_close(blurred, images.mean((2, 3), keepdim=True).expand_as(blurred))

    def blocks(x):
        cut = x.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
        return cut.numpy()

    mixed = mini_model_scenes.scramble(images, torch.Generator().manual_seed(1))
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
        blurred = mini_model_scenes.blur(images[way : way + 1], factor)
        torch.testing.assert_close(pictures[way : way + 1], blurred)
    assert all((pictures[k] - images[k]).abs().mean() > 0.01 for k in range(4, 8))


def test_calibration_error_is_zero_for_honest_answers_and_found_for_boasting(rng):
    honest = rng.uniform(0, 1, 40_000)
    right = rng.uniform(0, 1, 40_000) < honest
    assert calibration_error(honest, right) < 0.02
    assert calibration_error(np.sqrt(honest), right) > 0.1


@pytest.fixture
def local_preset(tmp_path):
    parts = {"vae", "unet", "text_encoder", "tokenizer", "scheduler", "guide", "judge"}
    for part in parts:
        (tmp_path / part).mkdir()
        (tmp_path / part / "config.json").write_text("0")
    places = {name: str(tmp_path / name) for name in ("guide", "judge")}
    return dataclasses.replace(presets.get("mini"), model=str(tmp_path), **places), parts


def test_a_product_knows_the_networks_it_was_made_with(tmp_path, local_preset):
    preset, parts = local_preset
    before = {part: products.weights_hash(preset, part) for part in parts}
    whole = products.weights_hash(preset, *sorted(parts))
    for part in parts:
        (tmp_path / part / "config.json").write_text("1")
        assert products.weights_hash(preset, part) != before[part]
        assert products.weights_hash(preset, *sorted(parts)) != whole
        (tmp_path / part / "config.json").write_text("0")
    assert products.weights_hash(preset, *sorted(parts)) == whole
    with pytest.raises(FileNotFoundError, match="No .*nowhere.*guide and judge"):
        products.weights_hash(dataclasses.replace(preset, judge="/nowhere"), "judge")


def test_the_ceiling_of_means_is_their_correlation_with_the_truth(rng):
    truth, n = rng.normal(size=(3000, 6)), rng.integers(2, 8, 3000)
    groups = rng.permutation(np.repeat(np.arange(3000), n))
    members = truth[groups] + rng.uniform(0.5, 3, 6) * rng.normal(size=(len(groups), 6))
    members[:, 5] = rng.normal(size=len(groups))  # says nothing about its group
    means = np.stack([members[groups == k].mean(0) for k in range(3000)])
    expected = [np.corrcoef(means[:, k], truth[:, k])[0, 1] for k in range(6)]
    found = decode_latents.ceiling_of_means(members, groups)
    np.testing.assert_allclose(found[:5], expected[:5], atol=0.03)
    assert found[5] < 0.25


@pytest.mark.usefixtures("one_thread")
def test_the_ceiling_holds_for_the_captions_of_the_miniature_world(rng):
    drawn = scenes.sample_scenes(150, rng)
    texts = [[text for _ in range(7) for text in captions.write_captions(scene, rng)] for scene in drawn]
    model = features.load_latent_diffusion(networks.MODEL_FOLDER)
    with torch.no_grad():
        single = [[text] for row in texts for text in row]
        states = features.encode_captions(model.text_encoder, model.tokenizer, single)
    states = states.flatten(1).numpy()
    states = states[:, decode_latents.varies(states)].reshape(150, 35, -1)
    five, thirty = states[:, :5], states[:, 5:].mean(1)
    ceiling = decode_latents.ceiling_of_means(five.reshape(750, -1), np.repeat(np.arange(150), 5)).mean()
    shown = encoding.correlation(five.mean(1), thirty).mean()
    # Thirty more stand for all that could be written.
    assert abs(ceiling - shown) < 0.02


def test_first_showings_are_counted_among_the_rows_asked_for(tiny_tree):
    table = nsd.trials(tiny_tree, "subj01")
    rows = table["session"].to_numpy() > 1
    chosen = decode_latents.first_showings(table, rows, 2)
    seen = {}
    for row, image_id in enumerate(table["image_id"]):
        if rows[row]:
            seen[image_id] = seen.get(image_id, 0) + 1
        assert chosen[row] == (rows[row] and seen[image_id] <= 2)
    assert 0 < chosen.sum() < rows.sum()


def test_scores_of_decoded_features_are_those_of_a_double_loop(rng):
    true, mean = rng.normal(size=(12, 30)) + 3, rng.normal(size=30)
    true[:, 0] = 1  # the first token is the same in every caption
    predicted = true + 2 * rng.normal(size=true.shape)
    r, identified, retrieved = decode_latents.score(predicted, true, mean)
    expected = [np.corrcoef(predicted[:, k], true[:, k])[0, 1] for k in range(1, 30)]
    np.testing.assert_allclose(r, np.mean(expected))
    for i in range(12):
        similar = [np.corrcoef(predicted[i] - mean, t - mean)[0, 1] for t in true]
        assert identified[i] == np.mean(np.delete(similar, i) < similar[i])
        assert retrieved[i] == (np.argmax(similar) == i)


@pytest.mark.usefixtures("one_thread")
def test_images_kept_out_of_a_decoder_teach_its_rescaling_and_nothing_else(rng, monkeypatch):
    betas = rng.normal(size=(60, 8)).astype(np.float32)
    z = (betas @ rng.normal(size=(8, 5)) + rng.normal(size=(60, 5))).astype(np.float32)
    train, is_fit, taught = (betas, np.arange(60) + 7, np.ones(60)), np.arange(60) < 40, []
    learn = decode_latents.LinearDecoder.fit_rescaling

    def spy(decoder, *arrays):
        taught.append((decoder.image_ids_, *arrays))
        return learn(decoder, *arrays)

    monkeypatch.setattr(decode_latents.LinearDecoder, "fit_rescaling", spy)
    plain, stretched = (
        decode_latents.decode(train, (betas[:20],), {"z": z}, {"z": z[:20]}, is_fit, rescale)["z"]
        for rescale in (False, True)
    )
    assert len(taught) == 1
    for found, expected in zip(
        taught[0], (train[1][is_fit], betas[~is_fit], z[~is_fit], train[1][~is_fit]), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    # Each number is moved along a straight line: its correlation stays, what is identified may not.
    np.testing.assert_allclose(plain[0], stretched[0], rtol=1e-5)
