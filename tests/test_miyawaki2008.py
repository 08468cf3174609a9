"""Patches that were planted in files of Miyawaki et al. (2008) come back, and noise gets no weight."""

import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nilearn import datasets

from latentcortex import encoding, nsd
from latentcortex.decoders import LinearDecoder
from latentcortex.open_data import miyawaki2008, miyawaki_stand_in


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("miyawaki")
    miyawaki_stand_in.write_stand_in(folder, np.random.default_rng(0))
    return folder


@pytest.fixture(scope="module")
def blocks(written):
    return miyawaki2008.read_miyawaki2008(datasets.fetch_miyawaki2008(data_dir=str(written), verbose=0))


@pytest.fixture
def data(written, tmp_path):
    """The files of two runs of each kind, to be spoilt."""
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    found = datasets.fetch_miyawaki2008(data_dir=str(tmp_path), verbose=0)
    few = [0, 1, 12, 13]
    return {**found, **{name: [found[name][k] for k in few] for name in ("func", "label")}}


def averaged(test):
    """Responses to each figure, averaged over its showings, and the figures."""
    betas, ids, _ = nsd.average_repeats(test.responses, test.image_ids)
    return betas, ids, np.stack([test.patches[test.image_ids == k][0] for k in ids])


def agreement(predicted, patches):
    """Correlation of each reconstruction with its figure."""
    pairs = zip(predicted.reshape(len(patches), -1), patches.reshape(len(patches), -1), strict=True)
    return np.array([np.corrcoef(one, other)[0, 1] for one, other in pairs])


def test_blocks_are_those_that_were_shown(blocks, written):
    train, test, regions = blocks
    assert train.patches.shape == (440, 10, 10) and test.patches.shape == (120, 10, 10)
    assert train.responses.shape == (440, 560) and train.responses.dtype == np.float32
    np.testing.assert_array_equal(np.unique(train.runs), np.arange(1, 21))
    assert not np.isin(test.image_ids, train.image_ids).any()
    known = {one.tobytes() for one in miyawaki_stand_in.figures().astype(np.float32)}
    assert {one.tobytes() for one in test.patches} == known
    # Another route to the images of a run: as nilearn's own example reads them.
    path = written / "miyawaki2008/label/data_random_run07_label.csv"
    rows = np.loadtxt(path, dtype=int, delimiter=",").reshape(-1, 10, 10, order="F")
    shown = rows[rows[:, 0, 0] != -1][::3]  # an image takes three volumes
    np.testing.assert_array_equal(train.patches[train.runs == 7], shown)
    assert {name: int(mask.sum()) for name, mask in regions.items()} == {
        **{"V1": 160, "V2": 120, "V3": 80, "V3A": 40, "V4": 80, "other": 80}
    }
    assert (sum(regions.values()) == 1).all()


def test_responses_are_percent_of_the_right_image(tmp_path):
    """Without noise the voxels of V4 do not answer, and every figure has one response pattern."""
    data = miyawaki_stand_in.write_stand_in(tmp_path, np.random.default_rng(1), noise=0)
    _, test, regions = miyawaki2008.read_miyawaki2008(data)
    silent, answering = (test.responses[:, regions[name]].std(axis=0) for name in ("V4", "V1"))
    assert silent.max() < 0.1 < 0.2 < answering.mean()
    of_one = test.responses[test.image_ids == test.image_ids[0]][:, regions["V1"]]
    assert np.corrcoef(of_one)[0, 1:].min() > 0.9


def test_ridge_reconstructs_figures_that_it_never_saw(blocks):
    train, test, _ = blocks
    betas, ids, figures = averaged(test)
    decoder = LinearDecoder(cv="gcv").fit(train.responses, train.patches, train.image_ids)
    r = agreement(decoder.predict(betas, image_ids=ids), figures)
    assert r.min() > 0.4 and r.mean() > 0.55
    shuffled = train.patches[np.random.default_rng(2).permutation(len(train.patches))]
    null = LinearDecoder(cv="gcv").fit(train.responses, shuffled, train.image_ids)
    assert abs(agreement(null.predict(betas, image_ids=ids), figures).mean()) < 0.2
    with pytest.raises(ValueError, match="learned from"):
        decoder.predict(train.responses, image_ids=train.image_ids)


def test_areas_of_noise_get_a_small_weight_and_the_figures_gain(blocks):
    train, test, regions = blocks
    betas, ids, figures = averaged(test)
    areas = {name: train.responses[:, mask] for name, mask in regions.items()}
    shares = encoding.draw_shares(len(areas), 30, np.random.default_rng(0))
    banded = encoding.BandedEncoder(shares).fit(areas, train.patches.reshape(440, 100), train.image_ids)
    weight = dict(zip(areas, banded.share_.mean(axis=1), strict=True))
    assert max(weight, key=weight.get) == "V1"
    assert weight["V4"] < 0.1 and weight["other"] < 0.1, weight
    predicted = banded.predict({name: betas[:, mask] for name, mask in regions.items()}, ids)
    one_penalty = LinearDecoder(cv="gcv").fit(train.responses, train.patches, train.image_ids)
    gain = agreement(predicted, figures) - agreement(one_penalty.predict(betas, image_ids=ids), figures)
    assert gain.mean() > 0.01


def test_without_the_delay_the_answer_is_worse(written, blocks):
    data = datasets.fetch_miyawaki2008(data_dir=str(written), verbose=0)
    found = {}
    for delay, (train, test, _) in {2: blocks, 0: miyawaki2008.read_miyawaki2008(data, delay=0)}.items():
        betas, ids, figures = averaged(test)
        decoder = LinearDecoder(cv="gcv").fit(train.responses, train.patches, train.image_ids)
        found[delay] = agreement(decoder.predict(betas, image_ids=ids), figures).mean()
    assert found[0] < found[2] - 0.1


def shorter_labels(data):
    path = Path(data["label"][0])
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def strange_label(data):
    path = Path(data["label"][2])
    path.write_text(path.read_text().replace("0", "2", 1))


def fewer_patches(data):
    path = Path(data["label"][1])
    path.write_text("\n".join(line.rpartition(",")[0] for line in path.read_text().splitlines()))


def damaged_run(data):
    path = Path(data["func"][3])
    path.write_bytes(path.read_bytes()[:5000])


def silent_voxel(data):
    image = nibabel.load(data["func"][1])
    values = np.array(image.dataobj)
    values[0, 0, 0] = 0
    nibabel.save(nibabel.Nifti1Image(values, image.affine), data["func"][1])


def other_name(data):
    data["func"][0] = data["func"][0].replace("figure_run", "strange_run")


def other_grid(data):
    nibabel.save(nibabel.Nifti1Image(np.ones((3, 3, 3), np.uint8), np.eye(4)), data["mask"])


def no_mask_of_v2(data):
    data["mask_roi"] = [path for path in data["mask_roi"] if "RHV2v" not in path]


def figure_among_random_images(data):
    data["label"][2] = data["label"][0]
    data["func"][2] = shutil.copy(data["func"][0], Path(data["func"][2]))


def only_figures(data):
    data["func"], data["label"] = data["func"][:2], data["label"][:2]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (shorter_labels, "data_figure_run01.nii.gz has 130 volumes, but .*label.csv has 129 rows"),
        (strange_label, "random_run01_label.csv must have 100 numbers .* it has 100, from -1 to 2"),
        (fewer_patches, "figure_run02_label.csv must have 100 numbers .* it has 99"),
        (damaged_run, "random_run02.nii.gz is truncated or damaged"),
        (silent_voxel, "figure_run02.nii.gz has no signal in 1 of 560 voxels"),
        (other_name, "expected a name such as data_random_run01.nii.gz"),
        (other_grid, "figure_run01.nii.gz is truncated or damaged .*shape"),
        (no_mask_of_v2, "no mask RHV2v.nii.gz, which V2 is made of"),
        (figure_among_random_images, "A figure is also shown in random run 1"),
        (only_figures, "no block in any run called data_random_run"),
    ],
)
def test_broken_files_are_refused_by_name(data, spoil, message):
    spoil(data)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        miyawaki2008.read_miyawaki2008(data)


@pytest.mark.parametrize("delay", [-1, 0.5, np.nan])
def test_a_delay_is_a_whole_number_of_volumes(data, delay):
    with pytest.raises(ValueError, match="delay must be a whole number"):
        miyawaki2008.read_miyawaki2008(data, delay)


def test_noise_is_a_standard_deviation(tmp_path):
    with pytest.raises(ValueError, match="noise must be"):
        miyawaki_stand_in.write_stand_in(tmp_path, np.random.default_rng(0), noise=np.nan)
