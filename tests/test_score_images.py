"""Scoring folders of pictures: matched by id whatever the files are called, or refused by name."""

import argparse
import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from latentcortex import metrics, scorecard
from latentcortex.metrics.networks import View
from latentcortex.scorecard import report, score
from latentcortex.scorecard.folders import read_image

IDS = [3, 7, 12, 40, 41]
SMALL = metrics.Protocol(
    "small",
    "these tests",
    (
        metrics.Score("PixCorr", "pixcorr"),
        metrics.Score("SSIM", "ssim"),
        metrics.Score("colours", "identification", "colour_means"),
        metrics.Score("centred PixCorr", "pixcorr", centred=True),
        metrics.Score("AlexNet(2)", "identification", "alexnet", "features.4", View(64)),
    ),
)
FOUND = ["small/PixCorr", "small/SSIM", "small/colours"]  # without networks and training images

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """A protocol without the published ones' large pixels, and a small picture: fast."""
    monkeypatch.setitem(metrics.PROTOCOLS, "small", SMALL)
    monkeypatch.setattr(report, "N_SHOWN", 1)


@pytest.fixture
def pictures(rng):
    """Bytes of five originals and of their reconstructions, both (5, 16, 16, 3)."""
    smooth = metrics.blurred(rng.random((5, 3, 16, 16)), 1).transpose(0, 2, 3, 1)
    originals = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    noisy = np.clip(originals + rng.normal(0, 0.25, originals.shape), 0, 1)
    return tuple((images * 255).round().astype(np.uint8) for images in (originals, noisy))


def put(folder, name, image):
    folder.mkdir(exist_ok=True)
    path = folder / name
    if path.suffix == ".npy":
        np.save(path, image)
    else:
        Image.fromarray(image).save(path)


@pytest.fixture
def folders(tmp_path, pictures):
    for side, images in zip(("originals", "reconstructions"), pictures, strict=True):
        for image_id, image in zip(IDS, images, strict=True):
            put(tmp_path / side, f"{image_id:05}.png", image)
    return tmp_path


def run(root, *more, protocol="small", out="scores"):
    parser = argparse.ArgumentParser()
    scorecard.add_arguments(parser)
    sides = [str(root / side) for side in ("originals", "reconstructions")]
    scorecard.score_folders(
        parser.parse_args(
            [*sides, "--out", str(root / out), "--protocol", *protocol.split(), *map(str, more)]
        )
    )
    return pd.read_csv(root / out / "scores.csv"), (root / out / "scores.md").read_text()


def of(table, row="reconstructions"):
    return table[table["row"] == row].set_index("id").drop(columns="row")


def as_floats(images):
    return torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float32) / 255)


def test_scores_are_those_of_the_metrics(folders, pictures):
    table, text = run(folders)
    assert list(table.columns) == ["id", "row", *FOUND]
    assert list(of(table).index) == IDS
    expected = metrics.score(SMALL, *map(as_floats, pictures))
    for name, values in expected.items():
        # Sums over pixels that lie differently in memory are rounded differently.
        np.testing.assert_allclose(of(table)[f"small/{name}"], values, rtol=1e-12)
    mean = metrics.bootstrap_mean(expected["PixCorr"], np.random.default_rng([0, 3]))
    line = next(line for line in text.splitlines() if line.startswith("| reconstructions | 0"))
    assert f"| {mean.mean:.3f} [{mean.low:.3f}, {mean.high:.3f}] |" in line
    assert "n = 5 images" in text and "other 4 images" in text and "can't be compared" in text
    assert (folders / "scores" / "scores.png").read_bytes()[:4] == b"\x89PNG"


def test_baselines_are_what_they_are_called(folders, pictures):
    table, text = run(folders, "--seed", 4)
    originals, reconstructions = map(as_floats, pictures)
    order = metrics.shuffled_rows(5, np.random.default_rng([4, score.SHUFFLE]))
    blurred = torch.from_numpy(metrics.blurred(originals.numpy(), 1)).float()
    for row, images in {"shuffled": reconstructions[order], "blurred truth": blurred}.items():
        for name, values in metrics.score(SMALL, originals, images).items():
            np.testing.assert_allclose(of(table, row)[f"small/{name}"], values, atol=1e-6)
        a, b = (of(table, which)["small/PixCorr"].to_numpy() for which in ("reconstructions", row))
        interval = metrics.paired_difference(a, b, np.random.default_rng([4, 3]))
        assert f"| reconstructions minus {row} | {report.cell(interval)} |" in text


def test_names_order_and_endings_of_files_do_not_matter(folders, pictures, tmp_path_factory):
    table, _ = run(folders)
    root = tmp_path_factory.mktemp("renamed")
    floats = pictures[1] / np.float32(255)
    for k, image_id in reversed(list(enumerate(IDS))):
        put(root / "originals", f"img_{image_id}.npy", pictures[0][k])
        # The alphabet puts 12 and 40 before 3, and larger ids first where there are more zeros.
        made = {0: pictures[1][k], 1: floats[k], 2: floats[k].transpose(2, 0, 1)}[k % 3]
        put(root / "reconstructions", f"{'0' * k}{image_id}.npy", made)
    again, _ = run(root)
    pd.testing.assert_frame_equal(table, again)


def test_exchanged_contents_exchange_the_scores(folders, pictures):
    before = of(run(folders)[0])
    order = [4, 2, 0, 1, 3]
    for side, images in zip(("originals", "reconstructions"), pictures, strict=True):
        for image_id, k in zip(IDS, order, strict=True):
            put(folders / side, f"{image_id:05}.png", images[k])
    after = of(run(folders)[0])
    np.testing.assert_allclose(after.to_numpy(), before.to_numpy()[order], atol=1e-12)
    assert np.abs(after.to_numpy() - before.to_numpy()).max() > 0.01


def test_equal_images_are_perfect_and_beat_every_baseline(folders, pictures):
    for image_id, image in zip(IDS, pictures[0], strict=True):
        put(folders / "reconstructions", f"{image_id:05}.png", image)
    table, _ = run(folders)
    np.testing.assert_allclose(of(table), 1)
    for row in ("shuffled", "blurred truth"):
        assert (of(table, row).mean()[["small/PixCorr", "small/SSIM"]] < 0.99).all()


def test_running_twice_writes_the_same_bytes_and_leaves_other_files_alone(folders):
    run(folders, "--seed", 1)
    first = (folders / "scores" / "scores.csv").read_bytes()
    (folders / "scores" / "notes.txt").write_text("mine")
    run(folders, "--seed", 1)
    assert (folders / "scores" / "scores.csv").read_bytes() == first
    assert {p.name for p in (folders / "scores").iterdir()} == {
        "notes.txt",
        "scores.csv",
        "scores.md",
        "scores.png",
    }
    run(folders, "--seed", 2)
    assert (folders / "scores" / "scores.csv").read_bytes() != first


def test_several_drawings_are_averaged_and_compared(folders, pictures, rng):
    second = np.clip(pictures[1] + rng.normal(0, 60, pictures[1].shape), 0, 255).astype(np.uint8)
    for image_id, one, two in zip(IDS, pictures[1], second, strict=True):
        (folders / "reconstructions" / f"{image_id:05}.png").unlink()
        put(folders / "reconstructions", f"{image_id:05}_000.png", one)
        put(folders / "reconstructions", f"{image_id:05}_001.png", two)
    table, text = run(folders)
    originals, first, second = map(as_floats, (*pictures, second))
    for name in ("PixCorr", "colours"):
        both = [metrics.score(SMALL, originals, images)[name] for images in (first, second)]
        np.testing.assert_allclose(of(table)[f"small/{name}"], np.mean(both, axis=0), atol=1e-12)
    among = [np.corrcoef(a.flatten(), b.flatten())[0, 1] for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(of(table)["pixels, among drawings"], among, atol=1e-6)
    # Plain PixCorr is a correlation of pixels, too.
    np.testing.assert_allclose(of(table)["pixels, drawings to truth"], of(table)["small/PixCorr"], atol=1e-6)
    assert of(table, "shuffled")["pixels, among drawings"].isna().all()
    assert "drawings of each: 2" in text and "## Repeat consistency" in text


def test_reconstructions_of_another_size_are_resized_and_the_report_says_so(folders, pictures):
    large = pictures[1].repeat(2, axis=1).repeat(3, axis=2)
    for image_id, image in zip(IDS, large, strict=True):
        put(folders / "reconstructions", f"{image_id:05}.png", image)
    table, text = run(folders)
    assert "from 32 x 48 to 16 x 16 pixels (bilinear interpolation, antialiased), which" in text
    rows = torch.nn.functional.interpolate(as_floats(large), (16, 16), mode="bilinear", antialias=True)
    expected = metrics.pixcorr(rows, as_floats(pictures[0]))
    np.testing.assert_allclose(of(table)["small/PixCorr"], expected, atol=1e-6)


def test_published_protocols_see_pictures_in_their_own_size(folders, pictures, monkeypatch):
    """Resized once, by the protocol, not twice."""
    view = metrics.PROTOCOLS["mindeye2"].scores[0].view
    at_20 = dataclasses.replace(view, size=20)
    own = metrics.Protocol("own", "", (metrics.Score("PixCorr", "pixcorr", view=at_20),))
    monkeypatch.setitem(metrics.PROTOCOLS, "own", own)
    large = pictures[1].repeat(2, axis=1).repeat(2, axis=2)
    for image_id, image in zip(IDS, large, strict=True):
        put(folders / "reconstructions", f"{image_id:05}.png", image)
    table, text = run(folders, protocol="own")
    expected = metrics.score(own, as_floats(pictures[0]), as_floats(large))["PixCorr"]
    np.testing.assert_allclose(of(table)["own/PixCorr"], expected, atol=1e-9)
    assert "were resized" not in text


def test_grey_and_opaque_pictures_become_rgb(tmp_path, pictures):
    image = pictures[0][0]
    put(tmp_path, "rgba.png", np.dstack([image, np.full((16, 16), 255, np.uint8)]))
    put(tmp_path, "grey.png", image[..., 0])
    opaque, grey = (read_image(tmp_path / f"{n}.png") for n in ("rgba", "grey"))
    np.testing.assert_array_equal(opaque, as_floats(image[None])[0])
    np.testing.assert_array_equal(grey, as_floats(image[None, ..., [0, 0, 0]])[0])


def test_stray_files_are_named(folders, capsys):
    for name in ("readme.txt", "._00007.png", "mean.png"):
        (folders / "reconstructions" / name).write_bytes(b"")
    (folders / "originals" / "old").mkdir()
    table, text = run(folders)
    warned = capsys.readouterr().err
    for name in ("readme.txt", "._00007.png", "mean.png", "old"):
        assert f"{name}`" in text and f"{name}`" in warned
    assert list(of(table).index) == IDS


def test_only_common_ids_are_scored_if_asked_for(folders, pictures):
    (folders / "reconstructions" / "00007.png").unlink()
    put(folders / "reconstructions", "99.png", pictures[0][0])
    with pytest.raises(ValueError, match=r"no reconstruction of 1 ids: 7\..*original of 1 ids: 99"):
        run(folders)
    table, text = run(folders, "--only-common")
    assert list(of(table).index) == [3, 12, 40, 41]
    assert "no reconstruction: 1 ids (7)" in text and "no original: 1 ids (99)" in text


def change(name, image, side="reconstructions"):
    return lambda root, pictures: put(root / side, name, image(pictures[1][1]))


def remove(*names):
    return lambda root, _: [(root / "reconstructions" / f"{name}.png").unlink() for name in names]


def spoiled(value):
    def spoil(image):
        floats = image / 255
        floats[2, 3, 1] = value
        return floats

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (change("7b.png", np.copy), "00007.png and .*7b.png have the same numbers"),
        (change("img_12_1.npy", np.copy, "originals"), "an id has one original"),
        (change("00007_1.png", np.copy), "as many drawings .* are 2 of some, but of 3 only 1"),
        (change("00007.png", lambda x: x[:8]), r"00007.png has 8 x 16 pixels, .*00003.png 16 x 16"),
        (change("00007.png", lambda x: x[:8], "originals"), "originals/00007.png has 8 x 16"),
        (change("00007.png", np.zeros_like), "00007.png is constant"),
        (change("00007.png", np.zeros_like, "originals"), "originals/00007.png is constant"),
        (change("00007.png", lambda x: np.dstack([x, x[..., 0]])), "00007.png is transparent"),
        (change("00007.png", lambda x: x[..., 0].astype(np.uint16)), "16 bits a channel"),
        (remove("00003", "00007", "00012", "00040"), "There is no reconstruction of 4 ids"),
        (remove(*(f"{k:05}" for k in IDS)), "No picture in .*expected files ending in .png"),
        (
            lambda root, _: (root / "reconstructions" / "00007.png").write_bytes(b"\x89PNG"),
            "00007.png can't be read",
        ),
    ],
)
def test_bad_folders_are_refused_and_nothing_is_written(folders, pictures, spoil, message):
    spoil(folders, pictures)
    with pytest.raises(ValueError, match=message):
        run(folders)
    assert not (folders / "scores").exists()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoiled(np.nan), "7.npy has NaN"),
        (spoiled(1.5), r"7.npy has floats from .* to 1.5: expected \[0, 1\]. Divide"),
        (spoiled(-0.5), "floats from -0.5"),
        (lambda x: x.astype(np.int64), r"7.npy: expected uint8 .* got int64 \(16, 16, 3\)"),
        (lambda x: x.transpose(2, 0, 1), r"got uint8 \(3, 16, 16\)"),
        (lambda x: x[None] / 255, r"got float64 \(1, 16, 16, 3\)"),
        (lambda x: x[:3] / 255, r"got float64 \(3, 16, 3\)"),  # which are the colours?
        (lambda x: x.astype(object), "7.npy can't be read: .*Python objects"),
    ],
)
def test_bad_arrays_are_refused_by_name(folders, pictures, spoil, message):
    remove("00007")(folders, pictures)
    change("7.npy", spoil)(folders, pictures)
    with pytest.raises(ValueError, match=message):
        run(folders)
    assert not (folders / "scores").exists()


def test_a_single_image_missing_folders_and_no_numbers_are_refused(folders, pictures, tmp_path):
    remove("00003", "00007", "00012", "00040")(folders, pictures)
    with pytest.raises(ValueError, match="got id 41 alone"):
        run(folders, "--only-common")
    (folders / "reconstructions" / "00041.png").rename(folders / "reconstructions" / "last.png")
    with pytest.raises(ValueError, match="has a number in its name"):
        run(folders)
    with pytest.raises(FileNotFoundError, match="There is no folder .*nowhere"):
        run(folders, "--weights", tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="There is no folder .*originals"):
        run(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="folder of pictures: give --out another"):
        run(folders, out="originals")


def test_an_error_at_the_end_leaves_what_was_there(folders, monkeypatch):
    run(folders)
    before = {path: path.read_bytes() for path in (folders / "scores").iterdir()}

    def fail(*_):
        raise ValueError("no picture")

    monkeypatch.setattr(report, "picture", fail)
    with pytest.raises(ValueError, match="no picture"):
        run(folders, "--seed", 1)
    assert {path: path.read_bytes() for path in (folders / "scores").iterdir()} == before
