"""LAION-fMRI as its authors publish it becomes a tree that returns every planted value."""

import json
import shutil

import nibabel
import numpy as np
import open_data_files as files
import pandas as pd
import pytest

from latentcortex import command, nsd
from latentcortex.open_data import laion_files, laion_fmri

SPACE = "func1pt8mm"
FUNC = "derivatives/glmsingle-tedana/sub-01/ses-01/func/sub-01_ses-01_task-images_"
BETAS = FUNC + "space-T1w_stat-effect_desc-SingletrialBetas_statmap.nii.gz"
TRIALS = FUNC + "desc-SingletrialBetas_trials.tsv"


@pytest.fixture
def source(tmp_path, rng):
    files.write_laion_fmri(tmp_path / "source", rng)
    return tmp_path / "source"


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("laion")
    planted = files.write_laion_fmri(folder / "source", np.random.default_rng(7))
    return laion_fmri.import_laion_fmri(folder / "source", folder / "tree"), planted, folder / "source"


def test_betas_and_trials_come_back_at_their_places(imported):
    root, planted, _ = imported
    assert nsd.subjects(root) == ["subj01", "subj03"]
    names = nsd.read_image_names(root)
    for subject, sessions in {1: [1, 2], 3: [1, 3]}.items():
        name = f"subj{subject:02d}"
        assert nsd.sessions(root, name, SPACE) == sessions
        mask = planted.masks[subject]["laion-general"]
        for session in sessions:
            table = nsd.trials(root, name, [session])
            shown = [files.NAMES[k] for k in files.SESSIONS[subject, session]]
            assert names[table["image_id"]].tolist() == shown
            assert table["run"].tolist() == [1, 1] + [2] * (len(shown) - 2)
            assert table["shared"].tolist() == [label.startswith("shared_") for label in shown]
            betas = nsd.betas(root, name, SPACE, [session], mask)
            expected = planted.betas[subject, session][mask].T
            np.testing.assert_allclose(betas, expected, atol=0.5 / 300 + 1e-6)


def test_regions_keep_their_names_and_get_nsds(imported):
    root, planted, _ = imported
    for subject in (1, 3):
        masks, name = planted.masks[subject], f"subj{subject:02d}"
        for label, mask in masks.items():
            np.testing.assert_array_equal(nsd.roi_mask(root, label, label, SPACE, name), mask)
        early = nsd.roi_mask(root, "streams", "early", SPACE, name)
        np.testing.assert_array_equal(early, masks["laion-EVC"])
        ventral = nsd.roi_mask(root, "streams", "ventral", SPACE, name)
        np.testing.assert_array_equal(ventral, masks["laion-ventral"] & ~masks["laion-EVC"])
        dorsal = nsd.roi_mask(root, "prf-visualrois", "V1d", SPACE, name)
        np.testing.assert_array_equal(dorsal, masks["V1d"] & ~masks["V1v"])
        face = nsd.roi_mask(root, "floc-faces", "FFA-1", SPACE, name)
        np.testing.assert_array_equal(face, masks["FFA-1"])
    codes = nsd.roi_names(root, "streams").set_index("name")["code"]
    assert codes["ventral"] == 5


def test_ceilings_become_the_ratios_that_give_them_again(imported):
    root, planted, _ = imported
    mask = planted.masks[3]["laion-general"]
    share = nsd.noise_ceiling(nsd.ncsnr(root, "subj03", SPACE)[mask], 12)
    np.testing.assert_allclose(100 * share, planted.ceiling[3][mask], rtol=1e-4)


def test_captions_are_those_of_people_in_order(imported):
    root, _, _ = imported
    names = nsd.read_image_names(root)
    for image_id, texts in zip(names.index, nsd.captions(root, names.index.to_numpy()), strict=True):
        assert texts == [f"1 of {names[image_id]}", f"2 of {names[image_id]}"]


def test_without_images_it_is_said_why(imported):
    root, _, _ = imported
    with pytest.raises(FileNotFoundError, match="only after its own agreement"):
        nsd.images(root, [0])
    train, test = nsd.image_responses(root, "subj01", SPACE, [1, 2])
    assert (len(train[1]), len(test[1])) == (3, 3)


def test_images_come_resized_and_transparent_ones_on_grey(tmp_path, rng):
    files.write_laion_fmri(tmp_path / "source", rng, images=True)
    root = tmp_path / "tree"
    arguments = ["import", "laion-fmri", str(tmp_path / "source"), str(root), "--image-size", "20"]
    assert command.main(arguments) == 0
    names = nsd.read_image_names(root)
    images = nsd.images(root, names.index.to_numpy())
    for name, image in zip(names, images, strict=True):
        expected = 128 if name.endswith(".png") else 20 + 20 * files.NAMES.index(name)
        np.testing.assert_allclose(255 * image, expected, atol=3)
    assert images.shape[1:] == (3, 20, 20)


def test_named_splits_map_onto_ids(imported, tmp_path):
    root, planted, _ = imported
    train, test = files.NAMES[3:6], files.NAMES[:2]
    path = files.write_split(tmp_path / "tau.json", train, test)
    names = nsd.read_image_names(root)
    split = laion_fmri.named_split(path, root)
    assert names[split.train_ids].tolist() == sorted(train)
    assert names[split.test_ids].tolist() == sorted(test)
    assert split.experiment == "nsd"
    vectors = {name: of.astype(float) for name, of in planted.embeddings.items()}
    nearest = [min(np.linalg.norm(vectors[one] - vectors[other]) for other in train) for one in sorted(test)]
    np.testing.assert_allclose(split.distances, nearest, rtol=1e-3)
    path = files.write_split(tmp_path / "own.json", [*files.NAMES[3:8], "elsewhere.jpg"], test)
    own = laion_fmri.named_split(path, root, "subj03")
    assert names[own.train_ids].tolist() == files.NAMES[6:8]
    for train, test, message in [
        ([files.NAMES[0]], [files.NAMES[0]], "among the training and the test images"),
        (["elsewhere.jpg"], [files.NAMES[0]], "1 images that .* does not know.*elsewhere.jpg"),
        ([], [files.NAMES[0]], "0 training and 1 test images are left"),
    ]:
        with pytest.raises(ValueError, match=message):
            laion_fmri.named_split(files.write_split(tmp_path / "bad.json", train, test), root)
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(ValueError, match="is not a split"):
        laion_fmri.named_split(tmp_path / "bad.json", root)


def test_embeddings_come_by_image_id(imported):
    root, planted, source = imported
    values, image_ids = laion_fmri.read_embeddings(source, root)
    names = nsd.read_image_names(root)
    assert image_ids.tolist() == names.index.tolist()
    expected = np.stack([planted.embeddings[name] for name in names])
    np.testing.assert_array_equal(values, expected.astype(np.float32))
    with pytest.raises(FileNotFoundError, match="DINOv2"):
        laion_fmri.read_embeddings(source, root, "DINOv2")


def test_embeddings_come_with_the_tree(imported, tmp_path):
    root, planted, source = imported
    assert nsd.published_models(root) == ["CLIP"]
    names = nsd.read_image_names(root)
    ids = names.index.to_numpy()[[3, 0, 3]]
    found = nsd.published_features(root, "CLIP", ids)
    np.testing.assert_array_equal(found, [planted.embeddings[name].astype(np.float32) for name in names[ids]])
    with pytest.raises(FileNotFoundError, match="No published features of 'DINOv2' .* There are: CLIP"):
        nsd.published_features(root, "DINOv2", ids)
    # Those of another network were downloaded later.
    shutil.copytree(root, tmp_path / "tree")
    shutil.copytree(source / "stimuli", tmp_path / "stimuli")
    clip, other = (tmp_path / laion_files.EMBEDDINGS.format(model) for model in ("CLIP", "DINOv2"))
    shutil.copy(clip, other)
    assert laion_fmri.keep_embeddings(tmp_path, tmp_path / "tree") == ["CLIP", "DINOv2"]
    assert nsd.published_features(tmp_path / "tree", "DINOv2", ids).shape == (3, 6)


def test_without_metadata_the_shown_images_are_known(source, tmp_path):
    shutil.rmtree(source / "stimuli")
    root = laion_fmri.import_laion_fmri(source, tmp_path / "tree", [1])
    assert nsd.read_image_names(root).tolist() == sorted(files.NAMES[:6])
    with pytest.raises(FileNotFoundError, match="captions"):
        nsd.captions(root, [0])


def rewrite(source, relative, change):
    image = nibabel.load(source / relative)
    files.save(source / relative, change(np.array(image.dataobj)), image.affine)


def truncated(source):
    path = source / BETAS
    path.write_bytes(path.read_bytes()[:-300])


def one_trial_less(source):
    rewrite(source, BETAS, lambda values: values[..., :-1])


def other_grid(source):
    rewrite(source, BETAS, lambda values: values[:-1])


def one_nan(source):
    def change(values):
        values[0, 0, 0, 2] = np.nan
        return values

    rewrite(source, BETAS, change)


def no_trials(source):
    (source / TRIALS).unlink()


def no_label(source):
    table = pd.read_csv(source / TRIALS, sep="\t")
    table.rename(columns={"label": "image"}).to_csv(source / TRIALS, sep="\t", index=False)


def unknown_label(source):
    path = source / TRIALS
    path.write_text(path.read_text().replace(files.NAMES[3], "strange.jpg"))


def no_regions(source):
    shutil.rmtree(source / "derivatives/rois/sub-01")


def region_twice(source):
    path = next((source / "derivatives/rois/sub-01").rglob("*_res-1pt8_label-V1v_mask.nii.gz"))
    (path.parent / "older").mkdir()
    shutil.copy(path, path.parent / "older")


def half_the_embeddings(source):
    path = source / laion_files.EMBEDDINGS.format("CLIP")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def ceiling_beyond(source):
    rewrite(source, laion_files.CEILING.format(1, 12), lambda values: values + 60)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (truncated, "statmap.nii.gz is truncated or damaged"),
        (one_trial_less, "trials.tsv .* it has 5 rows, and the betas have 4 trials"),
        (other_grid, r"has the voxels \(4, 6, 4\), but the masks of regions \(5, 6, 4\)"),
        (one_nan, "session 1 of subj01 holds NaN or infinity, first in trial 3, voxel 1"),
        (no_trials, "No .*trials.tsv"),
        (no_label, "lacks label"),
        (unknown_label, "metadata.csv lacks strange.jpg"),
        (no_regions, "No masks of regions"),
        (region_twice, "Two masks are of the region V1v: .*older"),
        (half_the_embeddings, "CLIP_embeddings.h5 is truncated or damaged"),
        (ceiling_beyond, "percent from 0 to below 100"),
    ],
)
def test_broken_files_are_refused_by_name(source, tmp_path, spoil, message):
    spoil(source)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        laion_fmri.import_laion_fmri(source, tmp_path / "tree", [1])
    assert not (tmp_path / "tree").exists()


def test_a_voxel_without_values_in_a_session_is_counted(source, tmp_path):
    def change(values):
        values[0, 0, 1] = np.nan
        return values

    rewrite(source, BETAS, change)
    root = laion_fmri.import_laion_fmri(source, tmp_path / "tree", [1])
    changed = json.loads((root / "provenance.json").read_text())["changed"]
    assert changed["session 1 of subj01"]["voxels_without_values"] == 1


def test_unknown_subjects_are_refused(source, tmp_path):
    with pytest.raises(ValueError, match="LAION-fMRI has the subjects 1, 3, 5, 6, 7: .*, got 2"):
        laion_fmri.import_laion_fmri(source, tmp_path / "tree", [2])
    with pytest.raises(FileNotFoundError, match="No session with betas"):
        laion_fmri.import_laion_fmri(source, tmp_path / "tree", [5])


def test_chapters_that_look_outside_visual_cortex_are_told_that_there_is_none(imported):
    findings = nsd.inspect(imported[0], ("subj01",), "func1pt8mm", chapters=(2, 4))
    (found,) = (of for of in findings if of.part == "other cortex")
    assert found.chapters == (4,) and found.state == "missing"
