"""BOLD5000 as its authors publish it becomes a tree that returns every planted value."""

import json
import shutil
import zipfile

import numpy as np
import open_data_files
import pytest

from latentcortex import command, nsd
from latentcortex.open_data import bold5000

SPACE = "func1pt8mm"


@pytest.fixture
def source(tmp_path, rng):
    return tmp_path / "source", open_data_files.write_bold5000(tmp_path / "source", rng)


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bold5000")
    planted = open_data_files.write_bold5000(folder / "source", np.random.default_rng(5))
    return bold5000.import_bold5000(folder / "source", folder / "tree", [1, 2]), planted


def test_betas_and_order_come_back(imported):
    root, planted = imported
    assert nsd.subjects(root) == ["subj01", "subj02"]
    names = nsd.read_image_names(root)
    for subject, theirs in {"subj01": "CSI1", "subj02": "CSI2"}.items():
        table = nsd.trials(root, subject)
        assert names[table["image_id"]].tolist() == planted.shown[theirs]
        np.testing.assert_allclose(
            nsd.betas(root, subject, SPACE), planted.betas[theirs], atol=0.5 / 300 + 1e-6
        )
    table = nsd.trials(root, "subj01")
    assert table["session"].tolist() == [1] * 6 + [2] * 4
    assert table["run"].tolist() == [1, 1, 1, 2, 2, 2, 1, 1, 1, 1]
    assert nsd.betas(root, "subj01", SPACE).shape == (10, 24)
    assert nsd.betas(root, "subj02", SPACE).shape == (7, 34)


def test_regions_have_their_names_and_those_of_presets(imported):
    root, planted = imported
    for hemisphere, region, columns in (("LH", "EarlyVis", slice(0, 4)), ("RH", "PPA", slice(20, 22))):
        mask = nsd.roi_mask(root, "bold5000", hemisphere + region, SPACE, "subj01")
        found = nsd.betas(root, "subj01", SPACE, mask=mask)
        np.testing.assert_allclose(found, planted.betas["CSI1"][:, columns], atol=0.5 / 300 + 1e-6)
    early = nsd.roi_mask(root, "streams", "early", SPACE, "subj01").ravel()
    assert np.flatnonzero(early).tolist() == [0, 1, 2, 3, 12, 13, 14, 15]
    np.testing.assert_array_equal(nsd.roi_mask(root, "streams", "ventral", SPACE, "subj01").ravel(), ~early)
    assert nsd.roi_mask(root, "nsdgeneral", "nsdgeneral", SPACE, "subj02").sum() == 34
    place = nsd.roi_mask(root, "floc-places", "PPA", SPACE, "subj01").ravel()
    assert np.flatnonzero(place).tolist() == [8, 9, 20, 21]


def test_repeated_images_test_and_say_the_ceiling(imported):
    root, planted = imported
    table = nsd.trials(root, "subj01")
    names = nsd.read_image_names(root)
    assert set(names[table["image_id"][table["shared"]]]) == {planted.names[0], planted.names[6]}
    betas = planted.betas["CSI1"]
    scaled = nsd.zscore(betas.astype(np.float32), np.array([1] * 6 + [2] * 4), np.ones(10, bool))
    expected = nsd.estimate_ncsnr(scaled, table["image_id"].to_numpy())
    np.testing.assert_allclose(nsd.ncsnr(root, "subj01", SPACE).ravel(), expected, rtol=1e-5)
    assert (expected > 0).any()


def test_photographs_and_captions_belong_to_their_images(imported):
    root, planted = imported
    names = nsd.read_image_names(root)
    ids = [int(names.index[names == name][0]) for name in planted.names]
    images = nsd.images(root, ids)
    assert images.shape == (7, 3, 375, 375)
    for image, name in zip(images, planted.names, strict=True):
        np.testing.assert_allclose(255 * image[:, 9, 9], planted.pixels[name][9, 9], atol=3)
    captions = dict(zip(planted.names, nsd.captions(root, ids), strict=True))
    assert captions["COCO_train2014_000000131072.jpg"] == ["caption 0 of 131072", "caption 1 of 131072"]
    assert captions["n01440764_15.JPEG"] == ["a photo of tench"]
    assert captions["airport_terminal3.jpg"] == ["a photo of airport terminal"]
    table = nsd.image_table(root)
    assert table.loc[ids[2], ["coco_id", "coco_split"]].tolist() == [131_072, "train2014"]


def test_archives_need_not_be_unpacked(imported, tmp_path):
    root, _ = imported
    open_data_files.write_bold5000(tmp_path / "source", np.random.default_rng(5))
    packed = tmp_path / "packed"
    packed.mkdir()
    betas = "BOLD5000_GLMsingle_ROI_betas"
    inner = shutil.make_archive(str(packed / "inner"), "zip", tmp_path / "source", betas)
    with zipfile.ZipFile(packed / "article.zip", "w") as archive:  # figshare packs what is packed
        archive.write(inner, f"{betas}.zip")
    (packed / "inner.zip").unlink()
    shutil.rmtree(tmp_path / "source" / betas)
    shutil.make_archive(str(packed / "BOLD5000_Stimuli"), "zip", tmp_path / "source")
    status = command.main(["import", "bold5000", str(packed), str(tmp_path / "tree"), "--subjects", "1", "2"])
    assert status == 0
    subjects = ("subj01", "subj02")
    assert nsd.identity(tmp_path / "tree", subjects, SPACE) == nsd.identity(root, subjects, SPACE)


def test_without_photographs_and_captions_the_rest_works(source, tmp_path):
    folder, _ = source
    shutil.rmtree(folder / "BOLD5000_Stimuli/Scene_Stimuli/Presented_Stimuli")
    shutil.rmtree(folder / "annotations")
    root = bold5000.import_bold5000(folder, tmp_path / "tree", [1])
    with pytest.raises(FileNotFoundError, match="photographs were not in the folder"):
        nsd.images(root, [0])
    about = json.loads((root / "provenance.json").read_text())
    assert about["captions"].startswith("none: 3 of 7 images")
    train, test = nsd.image_responses(root, "subj01", SPACE)
    assert (len(train[1]), len(test[1])) == (5, 2)


def test_the_published_sessions_add_up():
    """Chang et al.: 5,254 trials of three subjects; runs of 37 trials, nine or ten in a session."""
    rows = {
        subject: bold5000.N_PER_RUN * (9 * n_sessions + len(long))
        for subject, (n_sessions, long) in bold5000.SESSIONS.items()
    }
    assert rows == {"CSI1": 5254, "CSI2": 5254, "CSI3": 5254, "CSI4": 3108}


def py(folder, name):
    return folder / "BOLD5000_GLMsingle_ROI_betas/py" / bold5000.BETAS.format("CSI1", *name)


def without_hemisphere(folder):
    py(folder, ("RH", "LOC")).unlink()


def fewer_rows(folder):
    np.save(py(folder, ("LH", "OPA")), np.ones((9, 1)))


def with_nan(folder):
    values = np.load(py(folder, ("LH", "PPA")))
    values[3, 1] = np.nan
    np.save(py(folder, ("LH", "PPA")), values)


def truncated(folder):
    path = py(folder, ("LH", "RSC"))
    path.write_bytes(path.read_bytes()[:-20])


def unknown_image(folder):
    for path in [folder / "CSI01_stim_lists.txt", *folder.rglob("CSI1_sess01_run01.txt")]:
        path.write_text(path.read_text().replace("n01440764_15", "n99999999_1"))


def unequal_lists(folder):
    path = next(folder.rglob("CSI1_sess02_run01.txt"))
    path.write_text(path.read_text() + "barn1.jpg\n")


def without_run_lists(folder):
    shutil.rmtree(folder / "BOLD5000_Stimuli/Stimuli_Presentation_Lists")


def web_page(folder):
    (folder / "BOLD5000_Stimuli.zip").write_text("<!DOCTYPE html><html>Are you a person?</html>")


def half_an_archive(folder):
    path = shutil.make_archive(str(folder / "more"), "zip", folder / "annotations")
    with open(path, "rb+") as file:  # noqa: PTH123
        file.truncate(60)


def strange_repeat(folder):
    path = next(folder.rglob("repeated_stimuli_113_list.txt"))
    path.write_text("nowhere.jpg\n")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without_hemisphere, "allses_RHLOC.npy"),
        (fewer_rows, "LHOPA.npy has 9 rows, but the list of trials of CSI1 has 10"),
        (with_nan, "LHPPA.npy holds NaN or infinity in 1 places, first in row 4, column 2"),
        (truncated, "LHRSC.npy is truncated or damaged"),
        (unknown_image, "1 of 7 images.*n99999999_1.JPEG"),
        (unequal_lists, "has 10 trials, the lists of presentation of the runs 11"),
        (without_run_lists, "has 10 trials, but CSI1 has 15 sessions of 5,254"),
        (web_page, "BOLD5000_Stimuli.zip is a web page, not an archive"),
        (half_an_archive, "more.zip is not a zip archive, or was cut short"),
        (strange_repeat, "nowhere.jpg, which no subject's list"),
    ],
)
def test_broken_files_are_refused_by_name(source, tmp_path, capsys, spoil, message):
    folder, _ = source
    spoil(folder)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        bold5000.import_bold5000(folder, tmp_path / "tree", [1])
    assert not (tmp_path / "tree").exists()
    assert command.main(["import", "bold5000", str(folder), str(tmp_path / "tree"), "--subjects", "1"]) == 1
    assert capsys.readouterr().err.startswith("latentcortex import: ")


def test_unknown_subjects_and_options_are_refused(source, tmp_path, capsys):
    for wrong, told in {(5,): "5", (1, 1): "1, 1", (): "none"}.items():
        message = f"BOLD5000 has the subjects 1, 2, 3, 4: expected .* each once, got {told}\\."
        with pytest.raises(ValueError, match=message):
            bold5000.import_bold5000(source[0], tmp_path / "tree", wrong)
        with pytest.raises(ValueError, match=message):
            bold5000.files(wrong)
    assert command.main(["import", "bold5000", "a", "b", "--image-size", "9"]) == 1
    assert "stay as they are" in capsys.readouterr().err


def test_the_lists_of_the_runs_alone_are_enough(imported, source, tmp_path):
    """The archive of Release 2.0 may have no list of all trials; it was published with the first release."""
    for path in source[0].glob("*_stim_lists.txt"):
        path.unlink()
    root, planted = bold5000.import_bold5000(source[0], tmp_path / "tree", [1]), imported[1]
    names = nsd.read_image_names(root)
    assert names[nsd.trials(root, "subj01")["image_id"]].tolist() == planted.shown["CSI1"]
    shutil.rmtree(source[0] / "BOLD5000_Stimuli/Stimuli_Presentation_Lists")
    with pytest.raises(FileNotFoundError, match="No CSI01_stim_lists.txt"):
        bold5000.import_bold5000(source[0], tmp_path / "other", [1])
