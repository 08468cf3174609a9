"""The stand-in of BOLD5000 is read as the real files are, says what it is, and holds what was planted."""

import json

import numpy as np
import pytest

from latentcortex import nsd
from latentcortex.open_data import bold5000, bold5000_images, bold5000_standin

SPACE, N_PER_RUN = "func1pt8mm", 4
N = bold5000_standin.n_images(N_PER_RUN)
COLOURS = ("red", "green", "blue", "white", "black", "yellow", "purple")


def write(folder, n=N):
    rng = np.random.default_rng(0)
    cells = rng.integers(0, 256, (n, 8, 8, 3), np.uint8).repeat(2, axis=1).repeat(2, axis=2)
    words = rng.integers(0, len(COLOURS), n)
    captions = [[f"a {COLOURS[k]} ball", f"a ball that is {COLOURS[k]}"] for k in words]
    kinds, settings = [f"{COLOURS[k]} ball" for k in words], ["shore"] * n
    names = bold5000_standin.write_standin(folder, cells, captions, kinds, settings, n_per_run=N_PER_RUN)
    return dict(zip(names, words, strict=True))


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    folder = tmp_path_factory.mktemp("standin")
    words = write(folder / "source")
    return bold5000.import_bold5000(folder / "source", folder / "tree"), words


def test_the_tree_has_the_sessions_and_repeats_of_the_real_data_and_says_what_it_is(tree):
    root, _ = tree
    about = json.loads((root / "provenance.json").read_text())
    assert about["name"] == "bold5000-standin" and "no brain" in about["source"]
    tables = {subject: nsd.trials(root, subject) for subject in nsd.subjects(root)}
    assert [table["session"].nunique() for table in tables.values()] == [15, 15, 15, 9]
    assert [len(table) for table in tables.values()] == [142 * N_PER_RUN] * 3 + [84 * N_PER_RUN]
    shown = tables["subj01"].groupby("image_id").size()
    assert shown.value_counts().to_dict() == {1: N - 113, 4: 112, 3: 1}
    assert len(nsd.split(tables["subj01"])[1]) == 113


def test_a_label_is_all_that_is_said_of_images_that_are_not_of_coco(tree):
    root, words = tree
    names = nsd.read_image_names(root)
    captions = dict(zip(names, nsd.captions(root, names.index.to_numpy()), strict=True))
    kinds = {name: bold5000_images.collection(name) for name in names}
    assert set(kinds.values()) == {"COCO", "ImageNet", "SUN"}
    for name, word in list(words.items())[:15]:
        expected = {
            "COCO": [f"a {COLOURS[word]} ball", f"a ball that is {COLOURS[word]}"],
            "ImageNet": [f"a photo of {COLOURS[word]} ball"],
            "SUN": ["a photo of shore"],
        }
        assert captions[name] == expected[kinds[name]]


def test_planted_tuning_and_noise_are_found_by_another_route(tree):
    """A region's responses follow the words as far as planted, and repeat as far as planted."""
    root, words = tree
    names = nsd.read_image_names(root)
    explained, ratio = {}, {}
    table = nsd.trials(root, "subj01")
    word = names.map(words).loc[table["image_id"]].to_numpy()
    for region in ("EarlyVis", "PPA"):
        mask = nsd.roi_mask(root, "bold5000", [f"LH{region}", f"RH{region}"], SPACE, "subj01")
        betas = nsd.zscore(
            nsd.betas(root, "subj01", SPACE, mask=mask), table["session"], np.ones(len(table), bool)
        )
        means = np.stack([betas[word == k].mean(axis=0) for k in range(len(COLOURS))])
        explained[region] = means[word].var(axis=0).mean()
        ratio[region] = nsd.estimate_ncsnr(betas, table["image_id"]).mean()
    # Share of the variance of a trial: half of the repeatable one, times the share of words; 6 means of
    # noise explain 6 / n_trials by chance.
    for region, (_, low, ncsnr) in {k: bold5000_standin.PLANTED[k] for k in explained}.items():
        repeatable = ncsnr**2 / (1 + ncsnr**2)
        planted = (1 - bold5000_standin.OWN) * (1 - low) * repeatable
        assert explained[region] == pytest.approx(planted + 6 / len(table), abs=0.03)
        assert ratio[region] == pytest.approx(ncsnr, abs=0.12)
    assert explained["PPA"] > 2 * explained["EarlyVis"]


def test_too_few_images_are_refused_with_both_numbers(tmp_path):
    with pytest.raises(ValueError, match=f"need {N} images.*'images': 50"):
        write(tmp_path, 50)
