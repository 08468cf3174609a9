"""A data set without images is decoded and mapped by c and published features; planted answers come back."""

import dataclasses
import shutil

import numpy as np
import pytest

from latentcortex import encoding, features, nsd, presets, studies
from latentcortex.decoders import LinearDecoder
from latentcortex.studies import decoding, image_splits, maps, targets, without_pixels
from latentcortex.studies.responses import VISUAL_CORTEX

pytestmark = pytest.mark.usefixtures("one_thread")
SPACE = "func1pt8mm"
N_IMAGES, N_SHARED, N_FEATURES = 120, 20, 12
EARLY, VENTRAL = np.arange(60) < 30, np.arange(60) >= 30


@pytest.fixture(scope="module")
def planted():
    """Published features, captions that say nothing of them, and betas: early voxels are noise."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(N_IMAGES, N_FEATURES))
    colours, things = ("red", "blue", "green", "yellow"), ("ball", "cone", "tree")
    texts = [[f"a {rng.choice(colours)} {rng.choice(things)}"] for _ in range(N_IMAGES)]
    signal = vectors @ rng.normal(size=(N_FEATURES, 60)) / np.sqrt(N_FEATURES)
    order = np.concatenate([rng.permutation(N_IMAGES) for _ in range(2)])
    betas = np.where(VENTRAL, signal[order], 0) + rng.normal(0, 0.5, (2 * N_IMAGES, 60))
    return vectors.astype(np.float32), texts, order, betas.astype(np.float32)


@pytest.fixture(scope="module")
def without(tmp_path_factory, planted):
    """A study of voxels without places, images and areas, by the miniature world's networks."""
    vectors, texts, order, betas = planted
    recording = nsd.Recording(
        order,
        betas,
        regions={
            "streams": {"early": EARLY, "ventral": VENTRAL},
            "nsdgeneral": {"nsdgeneral": np.ones(60, bool)},
        },
        ncsnr=np.where(VENTRAL, 2.0, 0.1).astype(np.float32),
    )
    image_set = nsd.ImageSet([f"image {k}" for k in range(N_IMAGES)], None, "They are not public.", texts)
    about = {"name": "made-up", "source": "this test", "licence": "none needed"}
    root = tmp_path_factory.mktemp("without") / "tree"
    nsd.write_tree(root, {"subj01": recording}, image_set, np.arange(N_SHARED), about)
    ids = np.random.default_rng(1).permutation(N_IMAGES)
    nsd.write_published(root, "CLIP", vectors[ids], ids, about)
    preset = dataclasses.replace(presets.get("mini"), data=str(root), subjects=(1,), space=SPACE)
    return studies.open_study(preset, root)


def test_what_a_tree_allows_is_known(without, study, capsys):
    assert without_pixels.target_names(without) == ("c", "g")
    assert without_pixels.pair(without) == ("g", "c")
    assert "no images here" in capsys.readouterr().out
    assert without_pixels.target_names(study) == ("z", "c", *(f"g{k}" for k in range(1, 7)))
    assert without_pixels.pair(study) == ("z", "c") and without_pixels.has_pixels(study)
    assert not capsys.readouterr().out


def test_targets_are_the_published_ones_and_those_of_captions(without, planted):
    vectors, texts, *_ = planted
    ids = np.array([7, 3, 7, 110])
    found = without_pixels.targets(without, ("g", "c"), ids)
    assert list(found) == ["g", "c"]
    np.testing.assert_array_equal(found["g"], vectors[ids])
    model = without.model
    expected = features.encode_captions(model.text_encoder, model.tokenizer, [texts[k] for k in ids])
    np.testing.assert_allclose(found["c"], expected.float().cpu(), atol=1e-4)
    with pytest.raises(FileNotFoundError, match="They are not public"):
        without_pixels.targets(without, ["z"], ids)


def test_with_images_nothing_changes(study):
    ids = study.image_ids[:3]
    found = without_pixels.targets(study, ["c", "z"], ids)
    for name in ("z", "c"):
        np.testing.assert_array_equal(found[name], targets.target(study, name, ids))
    split = nsd.Split(ids[:2], ids[2:], "nsd", None)
    values, is_train = without_pixels.features_of(study, split)
    assert list(values) == ["z", "c"] and is_train.tolist() == [True, True, False]


def test_published_features_are_decoded_where_they_were_planted(without):
    """As in chapter 05: ventral voxels carry g, early voxels nothing, and nobody carries c."""
    seen = decoding.read(without, "subj01")
    found = {}
    for region in ("early", "ventral"):
        train, test = seen.averages(("streams", (region,)))
        for name in ("g", "c"):
            of_train, of_test = (
                without_pixels.targets(without, [name], ids)[name].flatten(1).numpy()
                for ids in (train[1], test[1])
            )
            decoder = LinearDecoder(cv="gcv").fit(train[0], of_train, train[1])
            r = encoding.correlation(decoder.predict(test[0], image_ids=test[1]), of_test)
            found[region, name] = np.nanmean(r)
    assert found["ventral", "g"] > 0.7
    others = [r for key, r in found.items() if key != ("ventral", "g")]
    assert np.abs(others).max() < 0.35


def test_the_map_of_g_and_c_shows_what_was_planted(without):
    """As in chapters 10 and 13: published features predict the ventral voxels, captions none."""
    splits, kinds = without_pixels.splits_of(without, "subj01")
    ((name, split),) = splits.items()
    assert name == image_splits.PUBLISHED and kinds is None
    values, is_train = without_pixels.features_of(without, split)
    assert list(values) == ["g", "c"]
    train, test = nsd.image_responses(without.root, "subj01", SPACE, None, np.ones((60, 1, 1), bool))
    np.testing.assert_array_equal(np.concatenate([train[1], test[1]]), [*split.train_ids, *split.test_ids])
    reduced = {name: encoding.low_rank(of, is_train, 10) for name, of in values.items()}
    shares = encoding.draw_shares(2, 8, np.random.default_rng(0))
    fit = {
        "both": encoding.BandedEncoder(shares).fit({n: of[is_train] for n, of in reduced.items()}, *train),
        **{n: encoding.BandedEncoder([[1.0]]).fit({n: of[is_train]}, *train) for n, of in reduced.items()},
    }
    r2 = {
        name: encoding.out_of_sample_r2(
            one.predict({n: reduced[n][~is_train] for n in one.names_}, test[1]), test[0]
        )
        for name, one in fit.items()
    }
    only_g, only_c, _ = encoding.unique_and_shared(r2["both"], r2["g"], r2["c"])
    assert only_g[VENTRAL].mean() > 0.5 > 0.1 > np.abs(only_c).mean()
    assert fit["both"].share_[0, VENTRAL].mean() > 0.8


def test_the_check_says_which_chapters_need_no_pixels(without, tmp_path):
    asked = [4, 5, 10, 13]
    for root, ready in ((without.root, [5, 10, 13]), (shutil.copytree(without.root, tmp_path / "tree"), [])):
        if not ready:  # without published features nothing stands for z
            shutil.rmtree(next(root.rglob("CLIP.safetensors")).parent)
        findings = nsd.inspect(root, space=SPACE, chapters=asked)
        faults = nsd.inspecting.blocked([one for one in findings if one.part == "images"], asked)
        assert [chapter for chapter in asked if not faults[chapter]] == ready
        notes = [one.text for one in findings if one.part == "images" and one.state == "note"]
        assert [note.rpartition(": ")[2] for note in notes] == ["05, 10, 13"] * bool(ready)


def test_named_areas_are_asked_for_alone(without):
    found = maps.areas_of(without.root, SPACE, "subj01", maps.STREAMS)
    assert {name: int(mask.sum()) for name, mask in found.items()} == {
        "early": 30,
        "ventral": 30,
        "lateral": 0,
        "parietal": 0,
    }


def test_areas_that_are_not_drawn_are_empty_and_have_no_score(without):
    areas = maps.areas_of(without.root, SPACE, "subj01")
    assert list(areas) == list(maps.AREAS)
    assert not areas["V1"].any() and not areas["lateral"].any()
    np.testing.assert_array_equal(areas["ventral"].ravel(), VENTRAL)
    seen = maps.read_worlds(without, ("measured",), 0, "subj01")
    r = seen.correlate(seen.predict(without_pixels.targets(without, ["g"], seen.image_ids)["g"]))
    means = dict(zip(maps.AREAS, seen.by_area(r)[0], strict=True))
    assert means["ventral"] > 0.7 and np.isnan([means["V1"], means["places"]]).all()


def test_people_who_agree_identify_images_and_others_do_not(without, monkeypatch):
    words = [
        f"{a} {b}" for a in ("red", "blue", "green", "yellow") for b in ("ball", "cone", "tree", "house")
    ]
    shuffled = [words[(k + 5) % 16] for k in range(16)]  # another colour, and mostly another thing
    agreeing = [[f"a {word}", f"there is a {word}", f"a {word} here"] for word in words]
    strangers = [[f"a {word}", f"there is a {other}"] for word, other in zip(words, shuffled, strict=True)]
    found = {}
    for name, texts in {"agreeing": agreeing, "strangers": strangers}.items():
        monkeypatch.setattr(nsd, "captions", lambda _, ids, texts=texts: [texts[k] for k in ids])
        found[name] = without_pixels.caption_agreement(without, np.arange(16))
    assert found["agreeing"].mean() > 0.9
    assert found["strangers"].mean() < 0.55, "captions of other images fit as well, or better"
    single = [*agreeing[:3], ["a red ball"]]
    monkeypatch.setattr(nsd, "captions", lambda _, ids: [single[k] for k in ids])
    scores = without_pixels.caption_agreement(without, np.arange(4))
    assert np.isnan(scores).tolist() == [False, False, False, True]
    with pytest.raises(ValueError, match="1 of 2 images have several captions"):
        without_pixels.caption_agreement(without, np.array([0, 3]))


def test_ceilings_need_no_images(without):
    """As in chapter 02, from the repeats alone."""
    seen = decoding.read(without, "subj01")
    ncsnr = nsd.estimate_ncsnr(seen.single(VISUAL_CORTEX), seen.image_ids)
    share = nsd.noise_ceiling(ncsnr, 1)
    assert share[VENTRAL].mean() > 0.6 > 0.15 > share[EARLY].mean()


def test_features_that_are_no_features_are_refused(tmp_path):
    ids = np.arange(3)
    for model, values, image_ids in (
        ("../x", np.zeros((3, 2)), ids),
        ("CLIP", np.full((3, 2), np.nan), ids),
        ("CLIP", np.zeros(3), ids),
        ("CLIP", np.zeros((3, 2)), ids // 2),
    ):
        with pytest.raises(ValueError, match="model must be a name|must be finite"):
            nsd.write_published(tmp_path, model, values, image_ids, {})
    assert not list(tmp_path.iterdir())
