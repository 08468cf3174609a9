"""Scoring folders of pictures: networks, training images and groups, or what lacks without them."""

import argparse

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from safetensors.torch import save_file

from latentcortex import metrics, scorecard
from latentcortex.mini.networks import load_instruments
from latentcortex.scorecard import report, score

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def one_picture(monkeypatch):
    monkeypatch.setattr(report, "N_SHOWN", 1)


@pytest.fixture(scope="module")
def pictures():
    """Four smooth originals, two drawings of each and five training images, of 64 x 64 pixels."""
    rng = np.random.default_rng(0)
    smooth = metrics.blurred(rng.random((9, 3, 64, 64)), 3)
    smooth = ((smooth - smooth.min()) / (smooth.max() - smooth.min())).astype(np.float32)
    drawings = np.clip(smooth[:4, None] + rng.normal(0, 0.2, (4, 2, 3, 64, 64)), 0, 1)
    return smooth[:4], drawings.astype(np.float32), smooth[4:]


@pytest.fixture
def folders(tmp_path, pictures):
    originals, drawings, training = pictures
    for side in ("originals", "reconstructions", "training", "weights"):
        (tmp_path / side).mkdir()
    for k in range(4):
        np.save(tmp_path / "originals" / f"{k}.npy", originals[k])
        for repeat in range(2):
            np.save(tmp_path / "reconstructions" / f"{k}_{repeat}.npy", drawings[k, repeat])
    for k, image in enumerate(training):
        np.save(tmp_path / "training" / f"any name {'abcde'[k]}.npy", image)
    torch.manual_seed(0)
    state = torchvision.models.alexnet(weights=None).features.state_dict(prefix="features.")
    save_file(state, tmp_path / "weights" / "alexnet.safetensors")
    return tmp_path


def run(root, *more):
    parser = argparse.ArgumentParser()
    scorecard.add_arguments(parser)
    sides = [str(root / side) for side in ("originals", "reconstructions")]
    scorecard.score_folders(parser.parse_args([*sides, "--out", str(root / "scores"), *map(str, more)]))
    return pd.read_csv(root / "scores" / "scores.csv"), (root / "scores" / "scores.md").read_text()


def of(table, row, prefix):
    found = table[table["row"] == row].filter(like=prefix + "/")
    return found.rename(columns=lambda name: name.removeprefix(prefix + "/"))


def test_weights_enable_their_scores_and_the_others_are_named_with_what_they_need(folders, pictures):
    """Two protocols at once; of this AlexNet the classifier is missing, which one of them asks."""
    protocols = ["mindeye2", "takagi"]
    weights = folders / "weights"
    table, text = run(folders, "--protocol", *protocols, "--weights", weights)
    originals, drawings, _ = pictures
    networks = {"alexnet": metrics.load_network("alexnet", weights)}
    wanted = {
        "mindeye2": ["PixCorr", "SSIM", "AlexNet(2)", "AlexNet(5)"],
        "takagi": ["AlexNet pool 2", "AlexNet pool 5"],
    }
    for name, scores in wanted.items():
        part, whole = of(table, "reconstructions", name), metrics.PROTOCOLS[name]
        assert [column for column in part if "drawings" not in column] == scores
        some = tuple(one for one in whole.scores if one.name in scores)
        only = metrics.Protocol(name, "", some, whole.first, whole.repeated)
        expected = metrics.score(only, originals, drawings, networks)
        for one in scores:
            np.testing.assert_allclose(part[one], expected[one], atol=1e-9)
    for lacking in ("inception_v3", "clip_vit_l_14", "efficientnet_b1_v2", "swav_resnet50"):
        assert f"needs {lacking} ({lacking}.safetensors in --weights FOLDER, or --download)" in text
    assert "AlexNet fc 7: needs classifier.5 of alexnet" in text
    # Drawings agree in the features, too: compared with a plain correlation.
    protocol = metrics.PROTOCOLS["mindeye2"]
    view, layer = protocol.scores[3].view, protocol.scores[3].layer
    first, second = (
        networks["alexnet"](view(protocol.first(torch.from_numpy(drawings[:, k]))), [layer])[layer]
        for k in range(2)
    )
    found = of(table, "reconstructions", "mindeye2")["AlexNet(5), among drawings"]
    expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_without_weights_all_networks_are_named_and_a_protocol_of_networks_is_refused(folders):
    with pytest.raises(ValueError, match="Nothing of --protocol takagi .* --weights or --download"):
        run(folders, "--protocol", "takagi")
    table, text = run(folders)  # mindeye2
    assert list(of(table, "reconstructions", "mindeye2")) == ["PixCorr", "SSIM"]
    assert "- AlexNet(2): needs alexnet (" in text and "MindEyeV2" in text


def test_mini_with_groups_and_training_images_is_complete(folders, pictures):
    groups = folders / "groups.csv"
    groups.write_text("group,id\nhill,0\nshore,02\nhill,1\nshore,3\nhill,99\n")
    more = "--protocol", "mini", "--groups", groups, "--training", folders / "training"
    table, text = run(folders, *more, "--seed", 6)
    originals, drawings, training = pictures
    known = {"groups": ["hill", "hill", "shore", "shore"], "mean_image": training.mean(0)}
    mini, instruments = metrics.PROTOCOLS["mini"], load_instruments()
    rows = metrics.random_training_rows(5, 4, np.random.default_rng([6, score.TRAINING]))
    for row, images in {
        "reconstructions": drawings,
        "random training images": training[rows],
        "mean training image": None,
    }.items():
        part = of(table, row, "mini")
        if images is None:
            assert part["centred PixCorr"].isna().all()
            assert part.drop(columns="centred PixCorr").iloc[:, :16].notna().all().all()
            np.testing.assert_allclose(
                part["PixCorr"],
                metrics.pixcorr(originals, np.repeat(training.mean(0)[None], 4, axis=0)),
                atol=1e-6,
            )
            continue
        expected = metrics.score(mini, originals, images, instruments, **known)
        assert [one.name for one in mini.scores] == list(expected)
        for name, values in expected.items():
            np.testing.assert_allclose(part[name], values, atol=1e-6, err_msg=name)
    line = next(line for line in text.splitlines() if line.startswith("| mean training image | 0"))
    assert line.split(" | ")[2] == "undefined"
    assert "Left out:" not in text


def test_a_mean_of_grey_leaves_other_scores_defined(folders, pictures):
    """Each training image and its negative: their mean is one grey."""
    for path, image in zip(sorted((folders / "training").iterdir()), pictures[2], strict=True):
        np.save(path, np.round(image * 8) / 8)
        np.save(path.with_name(f"negative {path.name}"), 1 - np.round(image * 8) / 8)
    table, _ = run(folders, "--training", folders / "training")
    mean = of(table, "mean training image", "mindeye2")
    assert mean["PixCorr"].isna().all() and mean["SSIM"].notna().all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,kind\n0,a\n", "Expected columns id and group"),
        ("id,group\n0,a\n1,a\n2,a\n", "Without a group: 3"),
        ("id,group\n0,a\n1,a\n2,a\n3,\n", "Without a group: 3"),
        ("id,group\n0,a\n1,a\n2,a\n3,a\n02,a\n", "Twice: 2"),
        ("id,group\n0,a\n1,a\n2,a\n3,b\n", "Ids 3 are alone"),
        ("id,group\n0,a\n1,a\n2,a\n3.0,a\n", "no whole numbers: 3.0"),
    ],
)
def test_bad_groups_are_refused(folders, content, message):
    (folders / "groups.csv").write_text(content)
    with pytest.raises(ValueError, match=message):
        run(folders, "--protocol", "mini", "--groups", folders / "groups.csv")
    assert not (folders / "scores").exists()


def test_what_does_not_fit_a_protocol_is_refused(folders, pictures):
    with pytest.raises(ValueError, match="--groups is for the scores of --protocol mini"):
        run(folders, "--groups", folders / "groups.csv")
    with pytest.raises(ValueError, match="has 3 images for 4 originals"):
        for path in sorted((folders / "training").iterdir())[:2]:
            path.unlink()
        run(folders, "--training", folders / "training")
    for k, image in enumerate(pictures[0]):
        np.save(folders / "originals" / f"{k}.npy", image[:, :32])
    with pytest.raises(ValueError, match="see 64 x 64 pixels, the originals have 32 x 64"):
        run(folders, "--protocol", "mini")
