"""Open brains: what they are asked, on planted responses, and what is said where files or networks fail."""

import dataclasses
import shutil

import numpy as np
import pandas as pd
import pytest

from latentcortex import nsd, presets
from latentcortex.open_data import bold5000, bold5000_images, bold5000_standin
from latentcortex.studies import decoding, open_brains, open_study
from latentcortex.studies import open_brains_scores as scores

N_PER_RUN = 4
THINGS = ("ball", "house", "car", "tower")


def write(folder):
    """Write scenes whose left half says the colour, and whose captions name a thing and a colour."""
    rng, n = np.random.default_rng(0), bold5000_standin.n_images(N_PER_RUN)
    images = rng.integers(0, 256, (n, 4, 4, 3), np.uint8).repeat(16, axis=1).repeat(16, axis=2)
    words = rng.choice(THINGS, (n, 2))
    captions = [[f"a {a} next to a {b}"] for a, b in words]
    bold5000_standin.write_standin(folder, images, captions, list(words[:, 0]), ["shore"] * n, 0, N_PER_RUN)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("open") / "bold5000"
    write(folder)
    return folder


@pytest.fixture(scope="module")
def brains(source, tmp_path_factory):
    """Two subjects, one of them with nine sessions, and the networks of the preset mini."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LATENTCORTEX_CACHE", str(tmp_path_factory.mktemp("cache")))
        root = bold5000.import_bold5000(source, source.parent / "two", [1, 4])
        preset = dataclasses.replace(
            presets.get("mini"), name="bold5000", data=str(root), subjects=(1, 4), space="func1pt8mm"
        )
        regions = {name: ("bold5000", (f"LH{name}", f"RH{name}")) for name in open_brains.REGIONS}
        yield open_brains.Brains(open_study(preset, root), "stand-in", regions)


@pytest.fixture(scope="module")
def found(brains):
    return scores.identify(brains), scores.ceilings(brains), scores.leak_of_repeats(brains)


def test_what_was_planted_low_level_is_found_in_z_of_the_early_region(found):
    identified, _, _ = found
    assert set(identified["subject"]) == {"subj01", "subj04"} and identified["all"].between(0, 1).all()
    z = scores.means(identified).loc["z"]
    assert (z.loc["EarlyVis"] > 0.6).all()
    assert (scores.lead(identified, "z") > 0).all()


def test_ceilings_are_those_of_the_planted_noise(found):
    ceilings = found[1].set_index(["subject", "region"])
    early = ceilings.loc["subj01", "EarlyVis"]
    ncsnr = bold5000_standin.PLANTED["EarlyVis"][2]
    assert early["n_showings"] == pytest.approx((112 * 4 + 3) / 113)
    assert early["ceiling"] == pytest.approx(ncsnr**2 / (ncsnr**2 + 1 / 4), abs=0.1)
    # In nine sessions an image comes back less often.
    assert ceilings.loc["subj04", "EarlyVis"]["ceiling"] < early["ceiling"] - 0.05


def test_other_showings_of_the_test_images_in_the_training_raise_the_score(found):
    gain = found[2].groupby(["subject", "target"])[["with", "without"]].mean()
    assert (gain["with"] > gain["without"]).loc[(slice(None), "z")].all()
    assert len(found[2]) == sum(3 * n for n in found[2].groupby("subject")["image_id"].nunique())


def test_rows_of_earlier_showings_hold_as_much_noise_as_training_rows(brains):
    read = decoding.read(brains.study, "subj01")
    _, _, earlier, ids, last = scores._showings(read, np.random.default_rng(0))
    single, known = read.single(scores.VISUAL_CORTEX), read.image_ids
    assert len(earlier) == len(last) == len(ids)
    for k in (0, len(ids) - 1):
        rows = np.flatnonzero(known == ids[k])
        np.testing.assert_allclose(earlier[k], single[rows[0]], atol=1e-6)  # training images are shown once
        np.testing.assert_allclose(last[k], single[rows[-1]], atol=1e-6)


def test_claims_are_differences_with_the_sign_that_their_names_say():
    rows = [
        (subject, region, target, k, score, score - 0.1)
        for subject in ("subj01", "subj02")
        for target, early, other in (("z", 0.9, 0.7), ("c", 0.6, 0.8), ("g", 0.7, 0.7))
        for region in open_brains.REGIONS
        for k, score in enumerate([early if region == "EarlyVis" else other] * 2)
    ]
    identified = pd.DataFrame(rows, columns=["subject", "region", "target", "image_id", "all", "similar"])
    ceiling = pd.DataFrame(
        [(s, r, 0.5 if r == "EarlyVis" else 0.2) for s in ("subj01", "subj02") for r in open_brains.REGIONS],
        columns=["subject", "region", "ceiling"],
    )
    leak = pd.DataFrame(
        {"subject": ["subj01", "subj02"], "target": "c", "with": [0.9, 0.7], "without": [0.8, 0.8]}
    )
    claims = scores.claims(identified, ceiling, leak)
    expected = [0.2, 0.2, 0.4, 0.1, -0.1, 0.3]
    np.testing.assert_allclose(claims.iloc[:6].to_numpy(float), np.repeat(expected, 2).reshape(6, 2))
    np.testing.assert_allclose(claims.iloc[6].to_numpy(float), [0.1, -0.1])
    assert list(scores.summary(claims)["as expected"]) == ["2 of 2"] * 6 + ["1 of 2"]


def test_pictures_are_of_test_images_and_in_range(brains):
    seen, decoded = scores.pictures(brains, 3)
    assert seen.shape == decoded.shape == (3, 3, 64, 64)
    assert decoded.min() >= 0 and decoded.max() <= 1 and decoded.std() > 0.01


def test_similar_images_are_those_of_one_collection(brains):
    names = nsd.read_image_names(brains.study.root)
    groups = brains.groups(names.index.to_numpy())
    assert len(set(groups)) == 3
    assert pd.Series(groups).groupby(names.map(bold5000_images.collection).to_numpy()).nunique().eq(1).all()


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="No folder at .*nowhere"):
        open_brains.open_bold5000(tmp_path / "nowhere")


def test_files_without_photographs_are_refused_before_anything_is_computed(source, tmp_path):
    folder = tmp_path / "bold5000"
    shutil.copytree(source, folder)
    shutil.rmtree(folder / "BOLD5000_Stimuli/Scene_Stimuli/Presented_Stimuli")
    with pytest.raises(FileNotFoundError, match=r"imported without photographs.*remove .*bold5000-tree"):
        open_brains.open_bold5000(folder)


def test_downloaded_files_are_imported_once_and_photographs_ask_for_real_networks(source, monkeypatch):
    brains = open_brains.open_bold5000(source)
    assert brains.study.root == source.parent / "bold5000-tree"
    assert brains.origin == "stand-in" and brains.study.subjects == ("subj01", "subj02", "subj03", "subj04")
    assert open_brains.open_bold5000(brains.study.root).study.root == brains.study.root
    assert brains.study.preset.latent_shape == (4, 32, 32)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(RuntimeError, match="tiny_vae is 'madebyollin/taesd'. It is not in the hub's cache"):
        brains.features("z", [0])
