"""Trees as they are downloaded: some of the sessions, and regions that were drawn for each subject."""

import shutil

import nibabel
import numpy as np
import pandas as pd
import pytest

from latentcortex import nsd
from latentcortex.nsd import write_measured

LABELS = "nsddata/freesurfer/{}/label"


@pytest.fixture
def tree_copy(tiny_tree, tmp_path):
    return shutil.copytree(tiny_tree, tmp_path / "nsd")


def test_sessions_that_are_not_on_disk_are_left_out_by_default(tree_copy):
    """NSD's log names all 40 sessions, however few were downloaded."""
    whole = nsd.trials(tree_copy, "subj01")
    for path in tree_copy.glob("nsddata_betas/ppdata/subj01/*/betas_*/*betas_session02*"):
        path.unlink()
    begun = tree_copy / "nsddata_betas/ppdata/subj01/fsaverage/betas_fithrf_GLMdenoise_RR"
    (begun / ".lh.betas_session02.mgh.part").touch()
    assert nsd.sessions_on_disk(tree_copy, "subj01") == [1, 3]
    table, betas = nsd.trials(tree_copy, "subj01"), nsd.betas(tree_copy, "subj01")
    expected = whole[whole["session"] != 2].reset_index(drop=True)
    pd.testing.assert_frame_equal(table, expected)  # repeats are counted over all sessions
    assert table["repeat"].max() > 0 and len(betas) == 80
    np.testing.assert_array_equal(betas, nsd.betas(tree_copy, "subj01", sessions=[1, 3]))
    train, test = nsd.image_responses(tree_copy, "subj01")
    assert set(train[1]) | set(test[1]) == set(expected["image_id"])
    with pytest.raises(FileNotFoundError, match="betas_session02"):
        nsd.betas(tree_copy, "subj01", sessions=[2])


def write_spheres(root, rng, n_own=200):
    """Write spheres of fsaverage (162 vertices) and of a subject, whose nearest vertices are known."""
    nearest = {}
    for hemisphere in ("lh", "rh"):
        own = rng.normal(size=(n_own, 3))
        own *= 100 / np.linalg.norm(own, axis=1, keepdims=True)
        chosen = nearest[hemisphere] = rng.choice(n_own, 162, replace=False)
        # Beside the vertex, by far less than the distance of any two, and of another radius.
        common = 0.5 * (own[chosen] + rng.normal(0, 1e-3, (162, 3)))
        for owner, vertices in (("subj01", own), ("fsaverage", common)):
            folder = root / f"nsddata/freesurfer/{owner}/surf"
            folder.mkdir(parents=True, exist_ok=True)
            nibabel.freesurfer.write_geometry(
                folder / f"{hemisphere}.sphere.reg", vertices, np.array([[0, 1, 2]])
            )
    return nearest


@pytest.fixture
def drawn_tree(tree_copy, rng):
    """A tree whose places are drawn on the native surface of subj01 alone, as NSD's are."""
    labels = rng.integers(-1, 3, (2, 200))
    names = {0: "Unknown", 1: "OPA", 2: "PPA"}
    write_measured.write_rois(tree_copy, "floc-places", labels.ravel(), names, "subj01")
    nearest = write_spheres(tree_copy, rng)
    expected = np.concatenate([half[nearest[h]] for half, h in zip(labels, ("lh", "rh"), strict=True)])
    return tree_copy, expected


def test_regions_of_one_subject_come_to_fsaverage_by_the_nearest_vertex(drawn_tree):
    root, expected = drawn_tree
    np.testing.assert_array_equal(nsd.roi(root, "floc-places", subject="subj01"), expected)
    np.testing.assert_array_equal(nsd.roi_mask(root, "floc-places", "PPA", subject="subj01"), expected == 2)
    assert nsd.roi_names(root, "floc-places")["name"].tolist() == ["Unknown", "OPA", "PPA"]
    assert len(nsd.roi(root, "floc-places", "nativesurface", "subj01")) == 400
    # Labels that lie on fsaverage are read as they are, with and without a subject.
    common = nsd.roi(root, "streams")
    np.testing.assert_array_equal(nsd.roi(root, "streams", subject="subj01"), common)


def test_regions_of_one_subject_need_a_subject_and_its_spheres(drawn_tree):
    root, _ = drawn_tree
    with pytest.raises(ValueError, match=r"floc-places was drawn for each subject.*pass subject="):
        nsd.roi(root, "floc-places")
    with pytest.raises(FileNotFoundError, match="subj02/label"):
        nsd.roi(root, "floc-places", subject="subj02")
    (root / "nsddata/freesurfer/fsaverage/surf/rh.sphere.reg").unlink()
    with pytest.raises(FileNotFoundError, match=r"fsaverage/surf/rh\.sphere\.reg.*leave the atlas out"):
        nsd.roi(root, "floc-places", subject="subj01")


def test_labels_of_another_surface_than_the_sphere_are_refused(drawn_tree):
    root, _ = drawn_tree
    short = np.zeros(2 * 50, int)
    write_measured.write_rois(root, "floc-places", short, {0: "Unknown", 1: "OPA", 2: "PPA"}, "subj01")
    with pytest.raises(ValueError, match=r"lh\.floc-places\.mgz has 50 vertices, fewer than the sphere"):
        nsd.roi(root, "floc-places", subject="subj01")


def test_a_damaged_sphere_is_named(drawn_tree):
    root, _ = drawn_tree
    path = root / "nsddata/freesurfer/subj01/surf/lh.sphere.reg"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ValueError, match=r"subj01/surf/lh\.sphere\.reg is truncated or damaged"):
        nsd.roi(root, "floc-places", subject="subj01")
