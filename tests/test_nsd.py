"""NSD's files are read by id and by name; trials are split, scaled and averaged without leaks."""

import json
import re
import shutil

import h5py
import nibabel
import numpy as np
import pandas as pd
import pytest
from scipy.io import loadmat, savemat

from latentcortex import nsd

BETAS = "nsddata_betas/ppdata/subj01/fsaverage/betas_fithrf_GLMdenoise_RR"
DESIGN = "nsddata/experiments/nsd/nsd_expdesign.mat"
STIM_INFO = "nsddata/experiments/nsd/nsd_stim_info_merged.csv"


@pytest.fixture
def tree_copy(tiny_tree, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(tiny_tree, tmp_path / "copy")


def rewrite_surface(path, values):
    nibabel.save(nibabel.MGHImage(values, np.eye(4)), path)


# --- design ---------------------------------------------------------------------------------------


def test_subjects_and_their_unequal_sessions(tiny_tree):
    assert nsd.subjects(tiny_tree) == ["subj01", "subj02"]
    assert nsd.sessions(tiny_tree, "subj01") == [1, 2, 3]
    assert nsd.sessions(tiny_tree, "subj02") == [1, 2]
    assert len(nsd.trials(tiny_tree, "subj01")) == 120
    assert len(nsd.trials(tiny_tree, "subj02")) == 80


def test_a_session_with_one_hemisphere_does_not_count(tree_copy):
    (tree_copy / BETAS / "rh.betas_session02.mgh").unlink()
    assert nsd.sessions(tree_copy, "subj01") == [1, 3]


@pytest.mark.parametrize("subject", ["subj01", "subj02"])
def test_image_ids_by_the_design_are_those_of_the_log(tiny_tree, tiny_truth, subject):
    """Two routes: subjectim[masterordering] of MATLAB's file, and 73KID of the log."""
    design = loadmat(tiny_tree / DESIGN)
    log = pd.read_csv(tiny_tree / f"nsddata/ppdata/{subject}/behav/responses.tsv", sep="\t")
    trials = nsd.trials(tiny_tree, subject)
    np.testing.assert_array_equal(trials["image_id"], log["73KID"] - 1)
    for t in (0, 7, len(trials) - 1):
        position = int(design["masterordering"][0, t])
        assert design["subjectim"][int(subject[-1]) - 1, position - 1] - 1 == trials["image_id"][t]
        # NSD's rule: an image is shared where masterordering <= number of shared images.
        assert (position <= design["sharedix"].size) == trials["shared"][t]
    assert set(trials["image_id"][trials["shared"]]) <= set(tiny_truth.shared)
    assert set(trials["image_id"]) <= set(tiny_truth.subjectim[int(subject[-1]) - 1])
    # Old means seen before; repeats count up from 0.
    np.testing.assert_array_equal(trials["is_old"], trials["repeat"] > 0)
    seen = {}
    for image_id, repeat in zip(trials["image_id"], trials["repeat"], strict=True):
        assert repeat == seen.get(image_id, 0)
        seen[image_id] = repeat + 1


def test_trials_name_runs_and_answers(tiny_tree):
    trials = nsd.trials(tiny_tree, "subj01")
    assert list(trials) == [
        "subject",
        "session",
        "run",
        "trial",
        "image_id",
        "repeat",
        "shared",
        "is_old",
        "correct",
        "reaction_time",
    ]
    assert trials.groupby(["session", "run"]).size().eq(10).all()
    assert set(trials["correct"].dropna()) == {0.0, 1.0}
    assert 300 < trials["reaction_time"].median() < 2000


def test_sessions_come_in_the_order_asked_for(tiny_tree, tiny_truth):
    trials = nsd.trials(tiny_tree, "subj01", sessions=[3, 1])
    whole = nsd.trials(tiny_tree, "subj01")
    assert trials["session"].tolist() == [3] * 40 + [1] * 40
    # The third showing stays the third when the first session is left out.
    np.testing.assert_array_equal(trials["repeat"][:40], whole["repeat"][80:])
    betas = nsd.betas(tiny_tree, "subj01", sessions=[3, 1])
    np.testing.assert_array_equal(betas[:40], tiny_truth.betas["subj01", 3])
    np.testing.assert_array_equal(betas[40:], tiny_truth.betas["subj01", 1])


def test_stim_info_agrees_with_the_trials(tiny_tree):
    """The table's 1-based trial numbers are a third route to who saw what when."""
    table = pd.read_csv(tiny_tree / STIM_INFO).set_index("nsdId")
    for k, subject in enumerate(nsd.subjects(tiny_tree), 1):
        for t, row in nsd.trials(tiny_tree, subject).iterrows():
            assert table.loc[row["image_id"], f"subject{k}_rep{row['repeat']}"] == t + 1
            assert table.loc[row["image_id"], f"subject{k}"] == 1
            assert table.loc[row["image_id"], "shared1000"] == row["shared"]


def test_design_and_log_that_disagree_are_refused(tree_copy):
    design = loadmat(tree_copy / DESIGN)
    design["masterordering"] = np.roll(design["masterordering"], 1)
    savemat(tree_copy / DESIGN, {k: v for k, v in design.items() if not k.startswith("__")})
    with pytest.raises(ValueError, match=r"different images in \d+ trials.*trial 1\."):
        nsd.trials(tree_copy, "subj01")
    design["masterordering"] = design["masterordering"][:, :100]
    savemat(tree_copy / DESIGN, {k: v for k, v in design.items() if not k.startswith("__")})
    with pytest.raises(ValueError, match="100 trials, but .* has 120 trials"):
        nsd.trials(tree_copy, "subj01")


def test_trials_without_an_image_are_told(tree_copy):
    path = tree_copy / "nsddata/ppdata/subj01/behav/responses.tsv"
    log = pd.read_csv(path, sep="\t")
    for nothing in (0, np.nan):
        log.loc[[7, 30], "73KID"] = nothing
        log.to_csv(path, sep="\t", index=False)
        with pytest.raises(ValueError, match=r"2 trials of .* have no image.*being trial 8\."):
            nsd.trials(tree_copy, "subj01")


def test_files_of_another_release_are_told(tree_copy):
    path = tree_copy / "nsddata/ppdata/subj01/behav/responses.tsv"
    log = pd.read_csv(path, sep="\t")
    log.drop(columns=["RT", "73KID"]).to_csv(path, sep="\t", index=False)
    with pytest.raises(ValueError, match=r"responses.tsv lacks 73KID, RT, .* another release"):
        nsd.trials(tree_copy, "subj01")
    log.to_csv(path, sep="\t", index=False)
    design = loadmat(tree_copy / DESIGN)
    savemat(tree_copy / DESIGN, {"subjectim": design["subjectim"]})
    with pytest.raises(ValueError, match=r"expdesign.mat lacks masterordering, sharedix, "):
        nsd.trials(tree_copy, "subj01")
    folder = "nsddata_betas/ppdata/subj01/fsaverage/betas_fithrf_GLMdenoise_RR"
    (tree_copy / folder / "lh.ncsnr.mgh").unlink()
    with pytest.raises(FileNotFoundError, match="No lh.ncsnr.mgh in .*Download that part"):
        nsd.ncsnr(tree_copy, "subj01")
    (tree_copy / folder).rename(tree_copy / folder.replace("GLMdenoise_RR", "of_2031"))
    with pytest.raises(FileNotFoundError, match="There are: betas_fithrf_of_2031"):
        nsd.ncsnr(tree_copy, "subj01")


def test_bad_roots_subjects_sessions_and_spaces_are_explained(tiny_tree, tmp_path):
    for call in (nsd.subjects, lambda root: nsd.images(root, [0])):
        with pytest.raises(FileNotFoundError, match="No NSD tree at .*nowhere"):
            call(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="No subject 'subj09'.*subj01, subj02"):
        nsd.trials(tiny_tree, "subj09")
    with pytest.raises(ValueError, match="No subject 1 .*subj01, subj02"):
        nsd.betas(tiny_tree, 1)
    for sessions in ([3], [1, 1], [], [0]):
        with pytest.raises(ValueError, match=re.escape("distinct sessions of [1, 2]")):
            nsd.trials(tiny_tree, "subj02", sessions)
    with pytest.raises(ValueError, match="space 'MNI'. There are: fsaverage"):
        nsd.betas(tiny_tree, "subj01", "MNI")
    with pytest.raises(FileNotFoundError, match="betas_assumehrf"):
        nsd.betas(tiny_tree, "subj01", betas="betas_assumehrf")


# --- betas ----------------------------------------------------------------------------------------


def test_betas_are_read_as_written_left_hemisphere_first(tiny_tree, tiny_truth):
    betas = nsd.betas(tiny_tree, "subj02")
    expected = np.concatenate([tiny_truth.betas["subj02", s] for s in (1, 2)])
    np.testing.assert_array_equal(betas, expected)
    assert betas.dtype == np.float32 and betas.dtype.isnative
    # An independent route: the bytes of the file, big-endian after a header of 284 bytes.
    raw = (tiny_tree / BETAS.replace("subj01", "subj02") / "lh.betas_session01.mgh").read_bytes()
    left = np.frombuffer(raw, ">f4", count=162 * 40, offset=284).reshape(40, 162)
    np.testing.assert_array_equal(betas[:40, :162], left)


def test_only_the_vertices_asked_for_come_back(tiny_tree, tiny_truth, rng):
    mask = rng.random(324) < 0.2
    betas = nsd.betas(tiny_tree, "subj01", sessions=[2], mask=mask)
    np.testing.assert_array_equal(betas, tiny_truth.betas["subj01", 2][:, mask])
    with pytest.raises(ValueError, match=r"mask of shape \(324,\) marks nothing in fsaverage"):
        nsd.betas(tiny_tree, "subj01", mask=np.zeros(324, bool))
    np.testing.assert_allclose(nsd.ncsnr(tiny_tree, "subj01"), tiny_truth.ncsnr, rtol=1e-6)
    for bad in (mask[:300], np.flatnonzero(mask), mask[None]):
        with pytest.raises(ValueError, match=r"shape \(324,\) in fsaverage: expected a mask"):
            nsd.betas(tiny_tree, "subj01", mask=bad)


def test_a_missing_session_is_named(tree_copy):
    (tree_copy / BETAS / "lh.betas_session02.mgh").unlink()
    with pytest.raises(FileNotFoundError, match=r"lh\.betas_session02\.mgh.*nsd\.sessions"):
        nsd.betas(tree_copy, "subj01")
    assert len(nsd.betas(tree_copy, "subj01", sessions=nsd.sessions(tree_copy, "subj01"))) == 80


@pytest.mark.parametrize("size", [0, 100, 284, 20_000])
def test_a_truncated_session_is_named(tree_copy, size):
    path = tree_copy / BETAS / "rh.betas_session03.mgh"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match=rf"session03\.mgh is truncated.* got {size:,}"):
        nsd.betas(tree_copy, "subj01")


def test_integer_betas_are_refused(tree_copy):
    """Integers are percent signal change times 300: as floats they'd be 300 times too large."""
    values = np.ones((162, 1, 1, 40), np.int16)
    rewrite_surface(tree_copy / BETAS / "lh.betas_session01.mgh", values)
    with pytest.raises(ValueError, match="holds int16.*divide by 300"):
        nsd.betas(tree_copy, "subj01")
    with pytest.raises(ValueError, match="got int16.*divide by 300"):
        nsd.zscore(np.ones((4, 2), np.int16), None, np.ones(4, bool))


@pytest.mark.parametrize("shape", [(162, 1, 1, 39), (162, 40, 1), (40, 1, 1, 162)])
def test_betas_of_another_shape_are_refused(tree_copy, shape):
    for hemisphere in ("lh", "rh"):
        path = tree_copy / BETAS / f"{hemisphere}.betas_session01.mgh"
        rewrite_surface(path, np.ones(shape, np.float32))
    with pytest.raises(ValueError, match=re.escape("expected (n_vertices, 1, 1, 40)")):
        nsd.betas(tree_copy, "subj01")


def test_sessions_with_other_numbers_of_vertices_are_refused(tree_copy):
    left, right = (tree_copy / BETAS / f"{h}.betas_session02.mgh" for h in ("lh", "rh"))
    rewrite_surface(left, np.ones((150, 1, 1, 40), np.float32))
    with pytest.raises(ValueError, match=rf"{left} has 150 vertices and {right} has 162"):
        nsd.betas(tree_copy, "subj01")
    rewrite_surface(right, np.ones((150, 1, 1, 40), np.float32))
    with pytest.raises(ValueError, match=rf"Session 2 of subj01 has the shape \(300,\).*{left} and {right}"):
        nsd.betas(tree_copy, "subj01")


# --- stimuli --------------------------------------------------------------------------------------


def test_images_come_in_any_order_scaled_to_one(tiny_tree, tiny_truth, rng):
    ids = np.concatenate([rng.permutation(72)[:20], [5, 5, 0, 71]])
    images = nsd.images(tiny_tree, ids)
    assert images.shape == (24, 3, 12, 10) and images.dtype == np.float32
    expected = np.moveaxis(tiny_truth.images[ids], -1, 1) / 255
    np.testing.assert_allclose(images, expected, rtol=1e-6)
    assert images.min() == 0 and images.max() == 1


def test_images_come_at_the_size_asked_for(tiny_tree):
    stored = nsd.images(tiny_tree, [3, 1, 3])
    height, width = stored.shape[2:]
    assert height != width
    smaller, larger = (nsd.images(tiny_tree, [3, 1, 3], size) for size in (width // 2, 4 * height))
    assert smaller.shape == (3, 3, width // 2, width // 2)
    assert smaller.dtype == np.float32 and smaller.min() >= 0 and smaller.max() <= 1
    # Averages survive, in the order asked for; so does what is left and right, up and down.
    for resized in (smaller, larger):
        np.testing.assert_allclose(resized.mean((2, 3)), stored.mean((2, 3)), atol=0.05)
        np.testing.assert_array_equal(resized[0], resized[2])
    corner = larger[..., : larger.shape[2] // height, : larger.shape[3] // width].mean((2, 3))
    np.testing.assert_allclose(corner, stored[..., 0, 0], atol=0.2)


def test_captions_are_found_through_cocos_ids(tiny_tree, tiny_truth, rng):
    """COCO's ids are used twice in the tiny tree, once in each split."""
    ids = np.concatenate([rng.permutation(72), [3, 3]])
    assert nsd.captions(tiny_tree, ids) == [tiny_truth.captions[i] for i in ids]


def test_rows_of_the_stim_table_may_come_in_any_order(tree_copy, tiny_truth):
    path = tree_copy / STIM_INFO
    pd.read_csv(path, index_col=0).sample(frac=1, random_state=0).to_csv(path)
    assert nsd.captions(tree_copy, np.array([9, 2])) == [tiny_truth.captions[9], tiny_truth.captions[2]]


def test_permuted_stimuli_give_the_same_images_by_id(tree_copy, tiny_truth, rng):
    """Move the images in the file and rename them in the design: subjects saw the same pictures."""
    new_id = rng.permutation(72)  # new_id[old id]
    before = nsd.images(tree_copy, nsd.trials(tree_copy, "subj01")["image_id"])
    with h5py.File(tree_copy / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5", "r+") as file:
        file["imgBrick"][...] = tiny_truth.images[np.argsort(new_id)]
    design = loadmat(tree_copy / DESIGN)
    for key in ("subjectim", "sharedix"):
        design[key] = new_id[design[key].astype(int) - 1] + 1
    savemat(tree_copy / DESIGN, {k: v for k, v in design.items() if not k.startswith("__")})
    path = tree_copy / "nsddata/ppdata/subj01/behav/responses.tsv"
    log = pd.read_csv(path, sep="\t")
    log["73KID"] = new_id[log["73KID"] - 1] + 1
    log.to_csv(path, sep="\t", index=False)
    after = nsd.trials(tree_copy, "subj01")
    np.testing.assert_array_equal(nsd.images(tree_copy, after["image_id"]), before)


@pytest.mark.parametrize("read", [nsd.images, nsd.captions])
def test_ids_out_of_range_are_refused(tiny_tree, read):
    for ids in ([0, 72], [-1, 3]):
        with pytest.raises(ValueError, match=rf"from 0 to 71 here, got {ids[0] or ids[1]}.*73KID"):
            read(tiny_tree, ids)
    for ids in ([0.0], 3, np.array([True, False])):
        with pytest.raises(ValueError, match="must be 1-D integers"):
            read(tiny_tree, ids)


def test_absent_captions_are_explained(tree_copy):
    table = pd.read_csv(tree_copy / STIM_INFO, index_col="nsdId")
    image_id = table.index[table["cocoSplit"] == "val2017"][0]
    path = tree_copy / "annotations/captions_val2017.json"
    entries = json.loads(path.read_text())["annotations"]
    coco_id = table.loc[image_id, "cocoId"]
    kept = [entry for entry in entries if entry["image_id"] != coco_id]
    path.write_text(json.dumps({"annotations": kept}))
    with pytest.raises(ValueError, match=rf"no caption of image {image_id} \(COCO {coco_id}\)"):
        nsd.captions(tree_copy, [image_id])
    path.unlink()
    with pytest.raises(FileNotFoundError, match="captions_val2017.json.*COCO 2017"):
        nsd.captions(tree_copy, [image_id])


# --- regions --------------------------------------------------------------------------------------


def test_regions_by_name(tiny_tree, tiny_truth):
    names = nsd.roi_names(tiny_tree, "streams")
    assert dict(zip(names["code"], names["name"], strict=True)) == {0: "Unknown", 1: "early", 5: "ventral"}
    np.testing.assert_array_equal(nsd.roi(tiny_tree, "streams"), tiny_truth.labels)
    mask = nsd.roi_mask(tiny_tree, "streams", "ventral")
    np.testing.assert_array_equal(mask, tiny_truth.labels == 5)
    both = nsd.roi_mask(tiny_tree, "streams", ["early", "ventral"])
    np.testing.assert_array_equal(both, tiny_truth.labels > 0)


def test_a_subjects_own_regions(tiny_tree, tiny_truth):
    """-1, where the atlas was not drawn, is no region."""
    mask = nsd.roi_mask(tiny_tree, "floc-faces", "FFA-1", "nativesurface", "subj01")
    np.testing.assert_array_equal(mask, tiny_truth.own_labels == 1)
    assert (mask != nsd.roi_mask(tiny_tree, "floc-faces", "FFA-1")).any()
    with pytest.raises(FileNotFoundError, match="no nsddata/freesurfer/subj02/label"):
        nsd.roi(tiny_tree, "floc-faces", "nativesurface", "subj02")


def test_unknown_regions_are_answered_with_those_that_exist(tiny_tree):
    with pytest.raises(ValueError, match=r"\['V1'\] in streams.*Unknown, early, ventral"):
        nsd.roi_mask(tiny_tree, "streams", ["early", "V1"])
    with pytest.raises(FileNotFoundError, match="'stream'.*floc-faces, nsdgeneral, streams"):
        nsd.roi_mask(tiny_tree, "stream", "early")
