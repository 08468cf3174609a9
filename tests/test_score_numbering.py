"""Folders numbered as NSD, MindEye2 and Brain-Diffuser do it are paired by the table of ids, or refused."""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from latentcortex import metrics, nsd, scorecard
from latentcortex.scorecard import numbering
from latentcortex.scorecard.names import find_numbers

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def table(tiny_tree, monkeypatch):
    """The table of the tiny tree, whose ids of COCO are each in both of its splits; NSD's are not."""
    found = nsd.image_table(tiny_tree).assign(coco_id=lambda of: 100_000 + 37 * of.index)
    monkeypatch.setattr(numbering.nsd, "image_table", lambda _: found)
    return found


def pictures(stems):
    """Pictures of names, by the number in each, in the order of the names."""
    numbers, _ = find_numbers(stems)
    return {numbers[stem][0]: [Path(f"{stem}.png")] for stem in stems}


def names_of(table, ids):
    """Names of some images as projects write them."""
    rows = table.loc[ids]
    return {
        "73k-from-0": [f"{k:05d}" for k in ids],
        "73k-from-1": [f"nsd{k + 1:05d}" for k in ids],
        "coco": [f"coco_{k}" for k in rows["coco_id"]],
        "NSD": rows["name_nsd"].tolist(),
        "shared-from-0": [f"mindeye2_{k}_recon" for k in rows["shared"]],
        "shared-from-1": [f"shared{k:04d}" for k in rows["shared_from_1"]],
        "brain-diffuser-from-0": [str(k) for k in rows["brain_diffuser"]],
        "brain-diffuser-from-1": [f"{k + 1}" for k in rows["brain_diffuser"]],
        "subj01-10k-from-0": [f"{k}" for k in rows["subj01_10k"]],
    }


@pytest.fixture
def some_shared(table):
    """Shared images whose numbers differ between all numberings: not the first few of any."""
    ids = table.index[(table["shared"] >= 0) & (table["brain_diffuser"] >= 0)].to_numpy()
    return ids[[1, 3, 4, 6]]


@pytest.mark.parametrize(
    "second", ["73k-from-0", "73k-from-1", "coco", "shared-from-0", "brain-diffuser-from-0"]
)
def test_named_numberings_pair_the_same_images(tiny_tree, table, some_shared, second):
    names = names_of(table, some_shared)
    sides = pictures(names["NSD"]), pictures(names[second][::-1])
    first, other, note = numbering.as_image_ids(tiny_tree, ["73k-from-1", second], *sides)
    assert sorted(first) == sorted(other) == some_shared.tolist()
    for k, image_id in enumerate(some_shared.tolist()):
        assert first[image_id] == [Path(f"{names['NSD'][k]}.png")]
        assert other[image_id] == [Path(f"{names[second][k]}.png")]
    assert f"reconstructions as {second}" in note


def test_nsds_own_names_and_coco_need_no_naming(tiny_tree, table, some_shared):
    names = names_of(table, some_shared)
    first, other, note = numbering.as_image_ids(
        tiny_tree, (), pictures(names["NSD"]), pictures(names["coco"])
    )
    assert sorted(first) == sorted(other) == some_shared.tolist()
    assert "Originals are numbered as 73k-from-1, reconstructions as coco" in note


def test_the_count_from_0_or_1_is_told_by_the_images(tiny_tree, table):
    ids = np.array([20, 31, 45, 46, 60])  # no id of the one count is the neighbour that the other would need
    names = names_of(table, ids)
    first, other, note = numbering.as_image_ids(
        tiny_tree, (), pictures(names["73k-from-1"]), pictures(names["73k-from-0"])
    )
    assert [path[0].stem for path in first.values()] == names["73k-from-1"]
    assert list(other) == ids.tolist()
    assert "73k-from-1, reconstructions as 73k-from-0" in note


def test_one_way_to_pair_is_no_question_even_if_the_ids_are(tiny_tree):
    sides = pictures(["20", "31", "45"]), pictures(["20_recon", "31_recon", "45_recon"])
    first, other, note = numbering.as_image_ids(tiny_tree, (), *sides)
    assert [first[k][0].stem for k in other] == ["20", "31", "45"]
    assert "under other ids, by 73k-from-1 and 73k-from-1" in note


def test_two_ways_to_pair_are_refused_by_name(tiny_tree, table):
    shared = np.sort(table.index[table["shared"] >= 0].to_numpy())
    rows = pictures([str(k) for k in range(len(shared))])
    assert set(table["brain_diffuser"]) == {-1, *range(len(shared))}, "all shared images were shown"
    with pytest.raises(ValueError, match="pair different pictures") as error:
        numbering.as_image_ids(tiny_tree, (), rows, rows)
    for text in (
        "originals shared-from-0, reconstructions brain-diffuser-from-0",
        "originals 73k-from-0, reconstructions 73k-from-0",
        "--numbering",
    ):
        assert text in str(error.value)
    named = ["shared-from-0", "brain-diffuser-from-0"]
    first, other, _ = numbering.as_image_ids(tiny_tree, named, rows, rows)
    for k in shared.tolist():
        assert first[k][0].stem == str(table["shared"][k])
        assert other[k][0].stem == str(table["brain_diffuser"][k])


def test_a_subjects_own_list_is_never_guessed_but_taken_by_name(tiny_tree, table):
    ids = np.sort(table.index[table["subj01_10k"] >= 12].to_numpy())[:5]
    names = names_of(table, ids)
    sides = pictures(names["subj01-10k-from-0"]), pictures(names["73k-from-0"])
    named = ["subj01-10k-from-0", "73k-from-0"]
    first, other, _ = numbering.as_image_ids(tiny_tree, named, *sides)
    assert sorted(first) == sorted(other) == ids.tolist()


@pytest.mark.parametrize(
    ("named", "stems", "message"),
    [
        (["73k"], (["5"], ["5"]), "no numbering '73k'. There are: 73k-from-0, 73k-from-1, shared-from-0"),
        (["73k-from-0"], (["72", "3"], ["3"]), "originals are of no image in 73k-from-0 of this tree .* 72"),
        ((), (["5", "99"], ["5"]), "no image in any numbering of this tree with 72 images; 73k-from-0 .* 99"),
        (
            (),
            (["20", "31"], ["50", "60"]),
            "In no numbering do both folders .* originals can be 73k-from-0 or",
        ),
    ],
)
def test_what_can_not_be_matched_is_named(tiny_tree, named, stems, message):
    with pytest.raises(ValueError, match=message):
        numbering.as_image_ids(tiny_tree, named, *map(pictures, stems))


def test_ids_of_coco_that_are_of_two_images_number_nothing(tiny_tree):
    assert "coco" not in numbering.numberings(nsd.image_table(tiny_tree))


def test_a_name_of_nsd_that_contradicts_the_table_is_refused(tiny_tree, table):
    shared = table.index[table["shared"] == 2][0]
    wrong = pictures([f"shared0003_nsd{shared:05d}", f"shared0003_nsd{shared + 1:05d}"])
    with pytest.raises(ValueError, match=f"shared0003_nsd{shared:05d}.png is named as NSD's shared image 3"):
        numbering.as_image_ids(tiny_tree, (), wrong, wrong)


def test_images_in_one_folder_only_need_named_numberings(tiny_tree):
    sides = pictures(["20", "31", "45"]), pictures(["21", "32"])
    with pytest.raises(ValueError, match="With --only-common .* by --numbering: originals can be"):
        numbering.as_image_ids(tiny_tree, (), *sides, only_common=True)
    named = ["73k-from-0", "73k-from-1"]
    first, other, _ = numbering.as_image_ids(tiny_tree, named, *sides, only_common=True)
    assert (list(first), list(other)) == ([20, 31, 45], [20, 31])


def test_the_command_scores_folders_of_two_numberings(tiny_tree, table, some_shared, tmp_path, monkeypatch):
    small = metrics.Protocol("small", "these tests", (metrics.Score("PixCorr", "pixcorr"),))
    monkeypatch.setitem(metrics.PROTOCOLS, "small", small)
    rng, names = np.random.default_rng(0), names_of(table, some_shared)
    for folder, stems in (("originals", names["NSD"]), ("drawn", names["brain-diffuser-from-0"])):
        (tmp_path / folder).mkdir()
        for k, stem in enumerate(stems):
            image = np.random.default_rng(k).integers(40, 200, (16, 16, 3)) + rng.integers(0, 9, (16, 16, 3))
            Image.fromarray(image.astype(np.uint8)).save(tmp_path / folder / f"{stem}.png")
    parser = argparse.ArgumentParser()
    scorecard.add_arguments(parser)
    sides = [str(tmp_path / name) for name in ("originals", "drawn")]
    more = ["--out", str(tmp_path / "out"), "--protocol", "small", "--tree", str(tiny_tree)]
    numbers = ["--numbering", "73k-from-1", "brain-diffuser-from-0"]
    assert scorecard.run(parser.parse_args([*sides, *more, *numbers])) == 0
    found = pd.read_csv(tmp_path / "out" / "scores.csv").query("row == 'reconstructions'")
    assert found["id"].tolist() == some_shared.tolist()
    assert found["small/PixCorr"].min() > 0.95, "other pairs have no correlation"
    assert "reconstructions as brain-diffuser-from-0" in (tmp_path / "out" / "scores.md").read_text()
    assert scorecard.run(parser.parse_args([*sides, "--protocol", "small", *numbers])) == 1
