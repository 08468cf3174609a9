"""Names of files that people give their reconstructions, and what their folders hide."""

import argparse

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from latentcortex import metrics, scorecard
from latentcortex.scorecard import folders, names, report

SMALL = metrics.Protocol("small", "these tests", (metrics.Score("PixCorr", "pixcorr"),))

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setitem(metrics.PROTOCOLS, "small", SMALL)
    monkeypatch.setattr(report, "N_SHOWN", 1)


@pytest.mark.parametrize(
    ("stems", "expected"),
    [
        (["00003", "00042"], [(3, None), (42, None)]),
        (["00003_000", "00003_001", "00042_000"], [(3, 0), (3, 1), (42, 0)]),  # Takagi & Nishimoto
        (["00042_000", "00042_001"], [(42, 0), (42, 1)]),
        (["nsd02951", "nsd03049"], [(2951, None), (3049, None)]),
        (["subj01_00000", "subj01_00001"], [(0, None), (1, None)]),
        (["subj01_00000_001", "subj01_00001_000"], [(0, 1), (1, 0)]),
        (["sub-02_img-7_rep-1", "sub-02_img-7_rep-2"], [(7, 1), (7, 2)]),
        (["0_recon", "10_recon"], [(0, None), (10, None)]),
        (["1_nsd02951", "2_nsd03049"], [(2951, None), (3049, None)]),
        (["mindeye2_3_seed5", "mindeye2_4_seed5"], [(3, 5), (4, 5)]),
        (["img_42"], [(42, None)]),
        (["Subject 1 image 42"], [(42, None)]),
        (["mean", "readme"], []),
    ],
)
def test_names_are_read_as_a_person_would(stems, expected):
    numbers, shown = names.find_numbers(stems)
    assert [numbers[stem] for stem in stems if stem in numbers] == expected
    assert len(shown) == bool(expected)


def test_a_guess_is_shown_and_a_pattern_overrules_it():
    stems = ["run5_00_a", "run6_00_b"]
    assert names.find_numbers(stems)[1] == [
        "`run5_00_a` as id 5, drawing 0",
        "`run6_00_b` as id 6, drawing 0",
    ]
    numbers, shown = names.find_numbers([*stems, "mean"], "_([0-9]+)_")
    assert numbers == {"run5_00_a": (0, None), "run6_00_b": (0, None)}
    assert shown[0] == "`run5_00_a` as id 0"
    assert names.find_numbers(stems, "run([0-9]+)_([0-9]+)")[0]["run6_00_b"] == (6, 0)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(", "is not a regular expression"),
        ("[0-9]+", "has 0 groups: put the id in parentheses"),
        ("(a)(b)(c)", "has 3 groups"),
        ("(.*)", r"finds \('7a',\) in '7a': expected whole numbers"),
        ("([0-9]+)(b)?", "expected whole numbers"),
    ],
)
def test_patterns_that_find_no_id_are_refused(pattern, message):
    with pytest.raises(ValueError, match=message):
        names.find_numbers(["7a"], pattern)


def test_several_subjects_in_a_folder_are_refused():
    with pytest.raises(ValueError, match="subj01_00003 and subj02_00003 are of several subjects"):
        names.find_numbers(["subj01_00003", "subj02_00003"])


@pytest.fixture
def pictures(rng):
    smooth = metrics.blurred(rng.random((8, 3, 16, 16)), 2).transpose(0, 2, 3, 1)
    smooth = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    noisy = np.clip(smooth + rng.normal(0, 0.05, smooth.shape), 0, 1)
    return tuple((images * 255).round().astype(np.uint8) for images in (smooth, noisy))


def put(root, originals, reconstructions):
    for side, images in {"originals": originals, "reconstructions": reconstructions}.items():
        (root / side).mkdir(exist_ok=True)
        for name, image in images.items():
            Image.fromarray(image).save(root / side / name)


def run(root, *more, sides=("originals", "reconstructions")):
    parser = argparse.ArgumentParser()
    scorecard.add_arguments(parser)
    paths = [str(root / side) for side in sides]
    status = scorecard.run(
        parser.parse_args([*paths, "--out", str(root / "out"), "--protocol", "small", *map(str, more)])
    )
    if status:
        return None, status
    table = pd.read_csv(root / "out" / "scores.csv")
    return table[table["row"] == "reconstructions"], (root / "out" / "scores.md").read_text()


def test_the_report_shows_how_names_were_read(tmp_path, pictures):
    put(
        tmp_path,
        {f"nsd{2950 + k:05}.png": image for k, image in enumerate(pictures[0])},
        {f"subj01_{2950 + k:05}_000.png": image for k, image in enumerate(pictures[1])},
    )
    table, text = run(tmp_path)
    assert list(table["id"]) == list(range(2950, 2958))
    assert "originals `nsd02950` as id 2950; reconstructions `subj01_02950_000` as id 2950, drawing 0" in text
    table, _ = run(tmp_path, "--id", "nsd0295([0-9])", "subj01_0295([0-9])_")
    assert list(table["id"]) == list(range(8))


def test_one_folder_may_hold_both_if_two_patterns_tell_them_apart(tmp_path, pictures, capsys):
    """As Takagi & Nishimoto's code writes them."""
    of_both = {f"{k:05}_org.png": image for k, image in enumerate(pictures[0])}
    of_both |= {f"{k:05}_{m:03}.png": image for k, image in enumerate(pictures[1]) for m in range(2)}
    put(tmp_path, of_both, {})
    both = ("originals", "originals")
    table, text = run(tmp_path, "--id", "([0-9]+)_org", "([0-9]+)_([0-9]+)", sides=both)
    assert "drawings of each: 2" in text and len(table) == 8
    assert run(tmp_path, sides=both)[1] == 1
    assert "one folder: all scores are perfect" in capsys.readouterr().err


def test_ids_that_are_shifted_by_one_are_told(tmp_path, pictures, capsys):
    put(
        tmp_path,
        {f"{k}.png": image for k, image in enumerate(pictures[0])},
        {f"{k + 1}.png": image for k, image in enumerate(pictures[1])},
    )
    assert run(tmp_path)[1] == 1
    told = capsys.readouterr().err
    assert "Were the ids of the reconstructions one lower, all would have an original" in told
    _, text = run(tmp_path, "--only-common")
    assert "LOOK: originals fit the reconstructions whose ids are one higher much better" in text
    assert "LOOK" in capsys.readouterr().err


def test_right_and_unrelated_pictures_raise_no_alarm(tmp_path, pictures, rng):
    ids = list(range(8))
    right = {f"{k}.png": image for k, image in enumerate(pictures[1])}
    put(tmp_path, {f"{k}.png": image for k, image in enumerate(pictures[0])}, right)
    assert "LOOK" not in run(tmp_path)[1]
    from latentcortex.scorecard.pairs import shifted

    alarms = [shifted(ids, *rng.normal(size=(2, 8, 20))) for _ in range(1000)]
    assert sum(map(bool, alarms)) < 10
    true = rng.normal(size=(8, 20))
    assert shifted(ids, true, np.roll(true, 1, axis=0)) and shifted(ids, true, np.roll(true, -1, axis=0))
    assert not shifted([0, 2, 4, 6, 8, 10, 12, 14], true, np.roll(true, 1, axis=0))  # have no neighbours


def test_pictures_that_are_equal_are_named(tmp_path, pictures, capsys):
    originals, drawn = ({f"{k}.png": image for k, image in enumerate(side)} for side in pictures)
    for k in (2, 5, 7):
        originals[f"{k}.png"] = pictures[0][0]
    drawn["3.png"] = drawn["4.png"]
    drawn["6.png"] = pictures[0][6]
    put(tmp_path, originals, drawn)
    _, text = run(tmp_path)
    told = capsys.readouterr().err
    for line in (
        "Identical originals, which nothing can tell apart: ids 0, 2, 5, 7.",
        "Identical reconstructions, which nothing can tell apart: ids 3, 4.",
        "Reconstructions that equal their originals pixel by pixel: ids 6.",
    ):
        assert line in text and line in told


def test_jpeg_is_read_and_called_lossy(tmp_path, pictures):
    put(
        tmp_path,
        {f"{k}.png": image for k, image in enumerate(pictures[0])},
        {f"{k}.jpg": image for k, image in enumerate(pictures[1])},
    )
    table, text = run(tmp_path)
    assert "8 reconstructions are JPEG, which is lossy" in text
    decoded = [np.asarray(Image.open(tmp_path / "reconstructions" / f"{k}.jpg")) for k in range(8)]
    expected = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(decoded, pictures[0], strict=True)]
    np.testing.assert_allclose(table["small/PixCorr"], expected, atol=1e-9)


def test_jpeg_is_turned_as_its_head_says_and_other_colours_are_refused(tmp_path, pictures):
    upright = Image.fromarray(np.repeat(np.repeat(pictures[0][0][:, :8], 8, 0), 8, 1))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees to the right
    upright.rotate(90, expand=True).save(tmp_path / "turned.jpg", exif=exif, quality=98)
    assert folders.size_of(tmp_path / "turned.jpg") == (128, 64)
    found = folders.read_image(tmp_path / "turned.jpg")
    np.testing.assert_allclose(found, np.moveaxis(np.asarray(upright), 2, 0) / 255, atol=0.15)
    upright.convert("CMYK").save(tmp_path / "print.jpg")
    with pytest.raises(ValueError, match="print.jpg has the colours of CMYK: convert it to RGB"):
        folders.read_image(tmp_path / "print.jpg")


@pytest.mark.parametrize("side", [8000, 13_400])
def test_large_pictures_are_refused_before_they_are_decoded(tmp_path, side, monkeypatch):
    Image.new("L", (side, side)).save(tmp_path / "1.png")

    def decode(_):
        raise AssertionError("decoded")

    monkeypatch.setattr(folders, "_decoded", decode)
    with pytest.raises(
        ValueError, match=f"1.png .*({side} x {side} pixels, more than 50 mega|{side * side})"
    ):
        folders.read_image(tmp_path / "1.png")
    np.lib.format.open_memmap(tmp_path / "1.npy", "w+", "u1", (side, side, 3))  # takes no room on the disk
    with pytest.raises(ValueError, match=f"1.npy has {side} x {side} pixels, more than 50 megapixels"):
        folders.read_image(tmp_path / "1.npy")


def test_few_pictures_are_in_memory_at_a_time(tmp_path, pictures, monkeypatch):
    """Every slice that is asked for has at most as many pictures as a batch."""
    put(
        tmp_path,
        {f"{k}.png": image for k, image in enumerate(pictures[0])},
        {f"{k}.png": image for k, image in enumerate(pictures[1])},
    )
    whole, _ = run(tmp_path)
    asked, get = [], folders.Pictures.__getitem__

    def count(self, rows):
        found = get(self, rows)
        asked.append(len(found))
        return found

    monkeypatch.setattr(folders.Pictures, "__getitem__", count)
    table, _ = run(tmp_path, "--batch-size", 3)
    assert max(asked) == 3
    np.testing.assert_allclose(table["small/PixCorr"], whole["small/PixCorr"], rtol=1e-12)
