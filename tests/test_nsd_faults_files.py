"""Files as other programs write them: read where the meaning is certain, else named with the mend."""

import gzip
import json
import re
import shutil
import subprocess
import sys

import h5py
import nibabel
import numpy as np
import pytest

from latentcortex import nsd
from latentcortex.nsd import write_measured

LABELS = "nsddata/freesurfer/fsaverage/label"
STIMULI = "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"
VOLUMES = "nsddata_betas/ppdata/subj01/func1pt8mm/betas_fithrf_GLMdenoise_RR"
SHAPE = (4, 9, 9)


@pytest.fixture
def tree(tiny_tree, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(tiny_tree, tmp_path / "nsd")


def add_volumes(root, truth, form):
    for session in (1, 2, 3):
        betas = truth.betas["subj01", session].reshape(-1, *SHAPE)
        write_measured.write_volume_betas_session(root, "subj01", session, betas, form=form)
    write_measured.write_volume(root, "subj01", "ncsnr", truth.ncsnr.reshape(SHAPE).astype(np.float32))
    write_measured.write_volume(root, "subj01", "roi/streams", truth.labels.reshape(SHAPE).astype(np.int16))


# --- captions -----------------------------------------------------------------------------------


def rewrite_captions(root, change):
    path = root / "annotations/captions_train2017.json"
    entries = json.loads(path.read_text())["annotations"]
    change(entries)
    path.write_text(json.dumps({"annotations": entries}))
    return path, entries[0]["image_id"]


def test_captions_are_read_in_utf16_and_from_the_folders_of_other_tools(tree, tiny_truth):
    ids = np.arange(72)
    for path in (tree / "annotations").iterdir():
        path.write_text(path.read_text(), encoding="utf-16")
    assert nsd.captions(tree, ids) == tiny_truth.captions
    for folder in ("annotations_trainval2017/annotations", "nsddata_stimuli/stimuli/nsd/annotations"):
        (tree / folder).parent.mkdir(parents=True, exist_ok=True)
        source = next(p for p in tree.rglob("captions_train2017.json")).parent
        source.rename(tree / folder)
        assert nsd.captions(tree, ids) == tiny_truth.captions


@pytest.mark.parametrize("nothing", [None, "", "  \n"])
def test_empty_captions_are_named(tree, nothing):
    path, coco_id = rewrite_captions(tree, lambda entries: entries[0].update(caption=nothing))
    with pytest.raises(ValueError, match=rf"{path} has an empty caption of image \d+ \(COCO {coco_id}\)"):
        nsd.captions(tree, np.arange(72))


def test_another_file_of_coco_is_not_taken_for_captions(tree):
    path, _ = rewrite_captions(tree, lambda entries: [entry.pop("caption") for entry in entries])
    with pytest.raises(ValueError, match=rf"{path} is not a file of COCO's captions"):
        nsd.captions(tree, np.arange(72))


# --- names of regions and their codes -----------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"#$Id: x\n\n  0  Unknown   25   5  25  0\n  1  early 120 18 134 0\n# end\n  5  ventral  1 2 3 255\n",
        b"\xef\xbb\xbf0 Unknown\r\n1 early\r\n5 ventral\r\n",
        "0\tUnknown\n1\tearly\n5\tventral".encode("utf-16"),
    ],
    ids=("colours and comments", "mark and line ends", "UTF-16"),
)
def test_names_of_regions_as_other_programs_write_them(tree, tiny_truth, content):
    (tree / LABELS / "streams.mgz.ctab").write_bytes(content)
    names = nsd.roi_names(tree, "streams")
    assert names["code"].tolist() == [0, 1, 5] and names["name"].tolist() == ["Unknown", "early", "ventral"]
    np.testing.assert_array_equal(nsd.roi_mask(tree, "streams", "early"), tiny_truth.labels == 1)


def test_names_of_regions_keep_their_spaces_and_digits(tree):
    path = tree / LABELS / "streams.mgz.ctab"
    path.write_text("0 Unknown\n1 area 4 a\n5 area 5 1 2 3 0\n")
    assert nsd.roi_names(tree, "streams")["name"].tolist() == ["Unknown", "area 4 a", "area 5"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("# nothing\n", "nothing but comments"),
        ("0 Unknown\nearly\n", "'early' where a code and a name"),
        ("0 Unknown\n1 early\n1 ventral\n", "has the code 1 twice"),
        ("0 Unknown\n1 early\n5 early\n", "has the name early twice"),
        ("0 Unknown\n1 early\n", "hold the code 5, which .* does not name"),
    ],
)
def test_damaged_names_of_regions_are_refused(tree, content, message):
    path = tree / LABELS / "streams.mgz.ctab"
    path.write_text(content)
    with pytest.raises(ValueError, match=message) as caught:
        nsd.roi(tree, "streams")
    assert str(path) in str(caught.value)


def test_labels_that_were_interpolated_are_refused_and_exact_floats_read(tree, tiny_truth):
    add_volumes(tree, tiny_truth, "hdf5")
    surface, volume = tree / LABELS / "lh.streams.mgz", tree / "nsddata/ppdata/subj01/func1pt8mm/roi"
    volume /= "streams.nii.gz"
    left, whole = tiny_truth.labels[:162].astype(np.float32), tiny_truth.labels.reshape(SHAPE)
    rng = np.random.default_rng(0)

    def save(halves, values):
        nibabel.save(nibabel.MGHImage(halves.astype(np.float32)[:, None, None], np.eye(4)), surface)
        nibabel.save(nibabel.Nifti1Image(values.astype(np.float32), np.eye(4)), volume)

    def read():
        return nsd.roi(tree, "streams"), nsd.roi(tree, "streams", "func1pt8mm", "subj01")

    save(left + rng.uniform(-9e-4, 9e-4, 162), whole + rng.uniform(-9e-4, 9e-4, SHAPE))
    for labels in read():
        assert labels.dtype == int
        np.testing.assert_array_equal(labels.ravel(), tiny_truth.labels)
    for wrong in (1.2, np.nan, np.inf):
        save(np.where(np.arange(162) < 57, wrong, left), whole)
        message = rf"{surface} does not hold labels: 57 of 162 numbers .* {wrong:g}\. .*nearest neighbour"
        with pytest.raises(ValueError, match=message):
            nsd.roi(tree, "streams")
        save(left, np.where(np.indices(SHAPE)[0] == 0, wrong, whole))
        with pytest.raises(ValueError, match=rf"{volume} does not hold labels: 81 of 324 numbers"):
            nsd.roi(tree, "streams", "func1pt8mm", "subj01")


def test_a_region_that_a_subject_lacks_is_said(tree):
    """It gave an empty mask, betas of shape (18, 0), and in the end 'alphas must be positive'."""
    labels = np.zeros(324, int)
    write_measured.write_rois(tree, "floc-faces", labels, {0: "Unknown", 1: "FFA-1"}, "subj02")
    message = "FFA-1 of floc-faces mark nothing in nativesurface: subj02 has no such region"
    with pytest.raises(ValueError, match=message):
        nsd.roi_mask(tree, "floc-faces", "FFA-1", "nativesurface", "subj02")
    for subject in (2, None):
        with pytest.raises(ValueError, match="pass subject=, a name such as 'subj01'"):
            nsd.roi(tree, "floc-faces", "nativesurface", subject)


# --- scales of headers --------------------------------------------------------------------------


def write_scaled(path, values, slope, inter):
    image = nibabel.Nifti1Image(values, np.eye(4))
    image.header.set_slope_inter(slope, inter)
    nibabel.save(image, path)
    with gzip.open(path, "rb") as file:  # nibabel may leave the numbers in place only for its own scale
        header = nibabel.Nifti1Header.from_fileobj(file)
    assert header.get_slope_inter() == (slope, inter)


def test_a_scale_in_a_header_is_applied_to_labels_and_ratios_and_refused_for_betas(tree, tiny_truth):
    add_volumes(tree, tiny_truth, "nii.gz")
    folder, regions = tree / VOLUMES, tree / "nsddata/ppdata/subj01/func1pt8mm/roi/streams.nii.gz"
    labels = tiny_truth.labels.reshape(SHAPE)
    write_scaled(regions, (2 * labels + 6).astype(np.int16), 0.5, -3)
    np.testing.assert_array_equal(nsd.roi(tree, "streams", "func1pt8mm", "subj01"), labels)
    before = nsd.ncsnr(tree, "subj01", "func1pt8mm")
    write_scaled(folder / "ncsnr.nii.gz", np.rint(1024 * before).astype(np.int16), 1 / 1024, 0)
    np.testing.assert_allclose(nsd.ncsnr(tree, "subj01", "func1pt8mm"), before, atol=1e-3)
    path = folder / "betas_session02.nii.gz"
    values = np.asarray(nibabel.load(path).dataobj)
    for slope, inter in ((1 / 256, 0), (1, 2)):
        write_scaled(path, values, slope, inter)
        with pytest.raises(ValueError, match=rf"{path} has a scale in its header \(scl_slope"):
            nsd.betas(tree, "subj01", "func1pt8mm")
    write_scaled(path, values, 1, 0)
    assert nsd.betas(tree, "subj01", "func1pt8mm").shape == (120, 324)


# --- stimuli ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x / 255,
        lambda x: x.astype(np.uint16) * 257,
        lambda x: x.mean(-1).astype(np.uint8),
        lambda x: np.concatenate([x, x[..., :1]], -1),
        lambda x: np.moveaxis(x, -1, 1),
    ],
    ids=("floats", "16 bits", "grey", "RGBA", "channels first"),
)
@pytest.mark.parametrize("experiment", ["nsd", "nsdsynthetic"])
def test_stimuli_of_another_kind_are_refused(tree, tiny_truth, change, experiment):
    path = tree / f"nsddata_stimuli/stimuli/{experiment}/{experiment}_stimuli.hdf5"
    path.parent.mkdir(exist_ok=True)
    stored = change(tiny_truth.images)
    with h5py.File(path, "w") as file:
        file["imgBrick"] = stored
    message = rf"{path} stores images as {stored.dtype} of shape {re.escape(str(stored.shape))}, but .* uint8"
    with pytest.raises(ValueError, match=message):
        nsd.images(tree, [3]) if experiment == "nsd" else nsd.synthetic_images(tree)


def test_a_stimulus_file_that_another_program_writes_to_is_said(tree):
    path = tree / STIMULI
    code = f"import h5py, sys; file = h5py.File({str(path)!r}, 'r+'); print(flush=True); sys.stdin.read()"
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        holder.stdout.readline()
        with pytest.raises(BlockingIOError, match=rf"{path} is held by another program .*Close it there"):
            nsd.images(tree, [0])
    finally:
        holder.communicate()
    assert nsd.images(tree, [0]).shape == (1, 3, 12, 10)


@pytest.mark.parametrize("size", [0, -3, 7.5, np.nan, (8, 8), True, "8"])
def test_sizes_that_are_none_are_refused(tiny_tree, size):
    with pytest.raises(ValueError, match="size"):
        nsd.images(tiny_tree, [0], size)


# --- names and forms of volumes -------------------------------------------------------------------


def test_unpacked_volumes_and_labels_are_read(tree, tiny_truth):
    add_volumes(tree, tiny_truth, "nii.gz")
    before = nsd.betas(tree, "subj01", "func1pt8mm")
    ncsnr = nsd.ncsnr(tree, "subj01", "func1pt8mm")
    for path in [*tree.rglob("*.nii.gz")]:
        path.with_name(path.name.removesuffix(".gz")).write_bytes(gzip.decompress(path.read_bytes()))
        if path.name != "betas_session02.nii.gz":  # beside one another the packed one is read
            path.unlink()
    for path in [*tree.rglob("*.streams.mgz")]:
        path.with_suffix(".mgh").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    assert nsd.sessions(tree, "subj01", "func1pt8mm") == [1, 2, 3]
    np.testing.assert_array_equal(nsd.betas(tree, "subj01", "func1pt8mm"), before)
    np.testing.assert_array_equal(nsd.ncsnr(tree, "subj01", "func1pt8mm"), ncsnr)
    for labels in (nsd.roi(tree, "streams"), nsd.roi(tree, "streams", "func1pt8mm", "subj01").ravel()):
        np.testing.assert_array_equal(labels, tiny_truth.labels)
    path = tree / VOLUMES / "betas_session01.nii"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ValueError, match=rf"{path} is truncated or damaged"):
        nsd.betas(tree, "subj01", "func1pt8mm")


@pytest.mark.parametrize("space", ["func1pt8mm", "fsaverage"])
@pytest.mark.parametrize("name", ["session02 (1)", "session2", "session02 copy"])
def test_sessions_under_almost_the_right_name_are_told(tree, tiny_truth, space, name):
    add_volumes(tree, tiny_truth, "hdf5")
    path = tree / VOLUMES / "betas_session02.hdf5"
    if space == "fsaverage":
        path = tree / VOLUMES.replace("func1pt8mm", space) / "rh.betas_session02.mgh"
    odd = path.with_name(path.name.replace("session02", name))
    shutil.copy(path, odd)
    assert nsd.sessions(tree, "subj01", space) == [1, 2, 3]  # the right name is there, too
    path.unlink()
    for call in (nsd.sessions, nsd.betas):
        with pytest.raises(ValueError, match=f"{re.escape(str(odd))} is not .* rename it to {path.name}"):
            call(tree, "subj01", space)


def test_a_copied_folder_of_a_subject_is_not_a_subject(tree):
    shutil.copytree(tree / "nsddata_betas/ppdata/subj01", tree / "nsddata_betas/ppdata/subj01 (1)")
    assert nsd.subjects(tree) == ["subj01", "subj02"]
