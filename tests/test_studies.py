"""A study reads every subject once, encodes every image once, and keeps rows with their images."""

import dataclasses
import logging
import pickle
import shutil
import sys

import numpy as np
import pytest
import torch

from latentcortex import features, nsd, store
from latentcortex.nsd import responses as nsd_responses
from latentcortex.studies import decoding, open_study, responses, targets
from latentcortex.studies.responses import VISUAL_CORTEX, streams

pytestmark = pytest.mark.usefixtures("one_thread")
EARLY = streams("early")


@pytest.fixture
def fresh(study, tmp_path, monkeypatch):
    """The study as another process would find it: nothing kept, nothing read."""
    monkeypatch.setenv("LATENTCORTEX_CACHE", str(tmp_path))
    responses.read.cache_clear()
    decoding.linear.cache_clear()
    yield study
    responses.read.cache_clear()
    decoding.linear.cache_clear()


def own_ids(study, subject="subj01"):
    return nsd.split(study.tables[subject])[0]


def test_a_subject_is_read_once_and_an_image_encoded_once(fresh, monkeypatch):
    """What every decoder, drawing and score asks of a subject costs one reading and one encoding."""
    read, encoded = [], []
    betas, encode_images = nsd_responses.betas, features.encode_images

    def read_betas(root, subject, *more, **options):
        read.append(subject)
        return betas(root, subject, *more, **options)

    def encode(vae, images, *more):
        encoded.append(len(images))
        return encode_images(vae, images, *more)

    monkeypatch.setattr(nsd_responses, "betas", read_betas)
    monkeypatch.setattr(features, "encode_images", encode)
    for subject in fresh.subjects:
        for shuffle in (False, True):
            decoding.decoded(fresh, subject, "z", shuffle_pairs=shuffle)
        decoding.decoded(fresh, subject, "z", "first")
        decoding.through_bottleneck(fresh, subject, "z", 2)
        decoding.in_span(fresh, subject, "z")
        decoding.read(fresh, subject).showings(VISUAL_CORTEX, "others", fresh.image_ids)
    assert read == ["subj01", "subj02"]
    shown = np.unique(np.concatenate([table["image_id"] for table in fresh.tables.values()]))
    assert sum(encoded) == len(shown) == 2 * 232 + 8


def test_regions_hold_what_a_reading_of_their_own_would_hold(study):
    for region in (EARLY, streams("ventral"), VISUAL_CORTEX):
        mask = nsd.roi_mask(study.root, region[0], list(region[1]))
        alone = nsd.image_responses(study.root, "subj01", mask=mask)
        for expected, found in zip(alone, decoding.read(study, "subj01").averages(region), strict=True):
            for one, other in zip(expected, found, strict=True):
                np.testing.assert_array_equal(one, other)


def test_showings_are_those_that_they_are_called(study):
    read = decoding.read(study, "subj01")
    betas, ids = read.single(EARLY), study.image_ids[::-1]  # in the order asked for
    shown = {which: read.showings(EARLY, which, ids) for which in ("all", "first", "others", "two", "third")}
    for k, image_id in enumerate(ids):
        rows = np.flatnonzero(read.image_ids == image_id)
        assert len(rows) == 3
        np.testing.assert_allclose(shown["all"][k], betas[rows].mean(0), atol=1e-5)
        np.testing.assert_array_equal(shown["first"][k], betas[rows[0]])
        np.testing.assert_allclose(shown["others"][k], betas[rows[1:]].mean(0), atol=1e-5)
        np.testing.assert_allclose(shown["two"][k], betas[rows[:2]].mean(0), atol=1e-5)
        np.testing.assert_array_equal(shown["third"][k], betas[rows[2]])


def test_images_without_such_showings_are_undefined(study):
    read = decoding.read(study, "subj01")
    once = dataclasses.replace(read, table=read.table.iloc[:5], betas=read.betas[:5])
    ids = np.unique(once.image_ids)
    assert np.isnan(once.showings(EARLY, "third", ids)).all()
    assert np.isfinite(once.showings(EARLY, "first", ids)).all()


def test_targets_grow_by_image_and_come_in_the_order_asked_for(fresh, monkeypatch):
    monkeypatch.setattr(targets, "N_IN_FILE", 4)
    ids, asked = own_ids(fresh)[:10], []
    encode = targets.encode

    def spy(study, kind, image_ids):
        asked.append(list(image_ids))
        return encode(study, kind, image_ids)

    monkeypatch.setattr(targets, "encode", spy)
    first = targets.targets(fresh, ["g3", "z"], ids[:6])
    assert list(first) == ["g3", "z"] and [len(some) for some in asked] == [4, 2, 4, 2]
    more = targets.targets(fresh, ["z"], ids[::-1])["z"]
    assert asked[4:] == [list(ids[6:])]
    torch.testing.assert_close(more.flip(0)[:6], first["z"])
    again = targets.target(fresh, "z", np.repeat(ids[3], 3))
    assert len(asked) == 5 and torch.equal(again[2], more.flip(0)[3])
    images = torch.from_numpy(nsd.images(fresh.root, ids, fresh.preset.image_size))
    torch.testing.assert_close(
        more.flip(0), features.encode_images(fresh.model.vae, images), atol=1e-5, rtol=0
    )


def test_a_damaged_file_of_targets_is_named_and_computed_again(fresh, caplog):
    ids = own_ids(fresh)[:5]
    before = targets.target(fresh, "z", ids)
    (path,) = targets._shelf(fresh, "latents").folder.glob("*.safetensors")
    content = bytearray(path.read_bytes())
    content[-10] ^= 1
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        after = targets.target(fresh, "z", ids)
    assert str(path) in caplog.text and torch.equal(before, after)


def test_decoders_learn_from_training_images_alone_and_the_rescaling_from_others(study):
    fitted = decoding.linear(study, "subj01", "z")
    learned = set(fitted.decoder.image_ids_), set(fitted.decoder.rescaling_ids_)
    assert [len(ids) for ids in learned] == [132, 100] and not learned[0] & learned[1]
    assert learned[0] | learned[1] == set(own_ids(study))


def test_the_widest_bottleneck_is_no_bottleneck_and_the_narrowest_one_dimension(study):
    wide = decoding.through_bottleneck(study, "subj01", "z", 1000)
    torch.testing.assert_close(wide, decoding.decoded(study, "subj01", "z"), atol=1e-3, rtol=1e-3)
    fitted = decoding.linear(study, "subj01", "z")
    rows = decoding.through_bottleneck(study, "subj01", "z", 1).flatten(1)
    gain = fitted.decoder.rescaling_[1].flatten()
    assert np.linalg.matrix_rank(((rows - rows.mean(0)) / gain).numpy(), tol=1e-2) == 1


def test_shuffled_pairs_exchange_whole_brains(study):
    z, c = (decoding.linear(study, "subj01", name, shuffle_pairs=True) for name in "zc")
    rows = []
    for exchanged, name in ((z, "z"), (c, "c")):
        known = decoding.linear(study, "subj01", name).train_betas
        rows.append([int(np.flatnonzero((known == row).all(1))[0]) for row in exchanged.train_betas[:20]])
    assert rows[0] == rows[1] != list(range(20))


def test_one_test_image_is_decoded_alike_whatever_the_others_are(study, monkeypatch):
    """With the rescaling on, which the preset uses: no statistic of the test set enters."""
    whole = decoding.decoded(study, "subj01", "z"), decoding.through_bottleneck(study, "subj01", "z", 2)
    showings = responses.Responses.showings

    def others_louder(self, region, which, image_ids):
        betas = showings(self, region, which, image_ids)
        betas[1:] = betas[1:] * 5 + 3
        return betas

    monkeypatch.setattr(responses.Responses, "showings", others_louder)
    louder = decoding.decoded(study, "subj01", "z"), decoding.through_bottleneck(study, "subj01", "z", 2)
    for one, other in zip(whole, louder, strict=True):
        torch.testing.assert_close(one[0], other[0], atol=1e-4, rtol=1e-4)
        assert (one[1:] - other[1:]).abs().max() > 0.1


def test_a_study_travels_without_its_networks_and_is_opened_once(study):
    text = pickle.dumps(study)
    assert len(text) < 10_000 and pickle.loads(text) is study
    assert open_study(study.preset, study.root) is study


def test_test_images_that_subjects_do_not_share_are_refused(study, monkeypatch):
    other = dataclasses.replace(study)
    tables = dict(study.tables)
    tables["subj02"] = tables["subj02"][tables["subj02"]["image_id"] != study.image_ids[0]]
    monkeypatch.setitem(vars(other), "tables", tables)
    with pytest.raises(ValueError, match="different shared images"):
        _ = other.image_ids


@pytest.fixture
def short_samples(monkeypatch):
    """Files that are longer than what their hash reads at both ends, as real ones are."""
    monkeypatch.setattr(sys.modules[nsd.identity.__module__], "_SAMPLE", 2**12)
    nsd.identity.cache_clear()
    yield
    nsd.identity.cache_clear()


@pytest.mark.usefixtures("short_samples")
def test_the_identity_of_data_is_that_of_files_not_of_folders(study, tiny_tree, tmp_path):
    names = "subj01", "subj02"
    first = nsd.identity(tiny_tree, names)
    assert first.startswith("nsd-") and nsd.identity(study.root, names) != first
    moved = shutil.copytree(tiny_tree, tmp_path / "moved")
    assert nsd.identity(moved, names) == first
    assert nsd.identity(moved, names[:1]) != first
    changed = shutil.copytree(tiny_tree, tmp_path / "changed")
    path = next(changed.glob("nsddata_betas/ppdata/subj02/fsaverage/*/lh.betas_session01.mgh"))
    path.write_bytes(path.read_bytes()[:-4] + b"\x00\x00\x00\x01")
    assert nsd.identity(changed, names) != first
    assert nsd.identity(changed, names[:1]) == nsd.identity(tiny_tree, names[:1])
    renamed = shutil.copytree(tiny_tree, tmp_path / "renamed")
    path = renamed / "nsddata/experiments/nsd/nsd_stim_info_merged.csv"  # decides which captions an image has
    path.write_text(path.read_text().replace("train2017", "val2017", 1))
    assert nsd.identity(renamed, names) != first
    fewer = shutil.copytree(tiny_tree, tmp_path / "fewer")
    next(fewer.glob("nsddata_betas/ppdata/subj01/fsaverage/*/rh.betas_session03.mgh")).unlink()
    assert nsd.identity(fewer, names) != first


def test_the_keys_of_targets_and_data_are_in_the_provenance(study):
    targets.target(study, "z", study.image_ids)
    path = next(targets._shelf(study, "latents").folder.glob("*.safetensors"))
    assert store.provenance(path)["data"] == study.identity
