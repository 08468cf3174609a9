"""What real data need: sessions that are chosen, vertices of NaN, blocks of cortex, refusals in time."""

import dataclasses
import shutil

import nibabel
import numpy as np
import pytest
import torch

from data_scripts import (
    ch00_open_the_book,
    ch10_compose_scenes,
    ch10_plan_a_study,
    ch13_recover_maps,
    ch14_leave_kinds_out,
)
from data_scripts import ch10_encode_voxels as ch10
from latentcortex import encoding, nsd
from latentcortex.studies import decoding, image_splits, maps, scores, shared_training, targets, vertex_cards
from latentcortex.studies.plans import plan_for
from latentcortex.studies.study import Study

pytestmark = pytest.mark.usefixtures("one_thread")
OF_SIMULATED_WORLDS = (
    ch00_open_the_book,
    ch10_compose_scenes,
    ch10_plan_a_study,
    ch13_recover_maps,
    ch14_leave_kinds_out,
)
AREAS = {"early": ("streams", ("early",)), "ventral": ("streams", ("ventral",))}


def changed(study, **fields):
    """The study with other fields of its preset."""
    return Study(dataclasses.replace(study.preset, **fields), study.root)


def test_the_sessions_of_the_preset_are_those_that_are_read(study, monkeypatch):
    monkeypatch.setattr(maps, "AREAS", AREAS)
    some = changed(study, sessions=(2, 3, 5, 7))
    visual = nsd.roi_mask(study.root, "nsdgeneral", "nsdgeneral")
    expected = nsd.trials(study.root, "subj01", (2, 3, 5, 7))
    assert some.tables["subj01"].equals(expected)
    assert decoding.read(some, "subj01").table.equals(expected)
    assert len(image_splits.read_trials(some, "subj01", visual).betas) == len(expected)
    ids = maps.read_worlds(some, ("measured",), 0, "subj01").image_ids
    assert set(ids) == set(expected["image_id"])
    trials = shared_training.Trainings(some, plan_for(some.preset)).trials("subj01", "2")[1]
    first = expected[expected["session"].isin([2, 3]) & ~expected["shared"]]
    np.testing.assert_array_equal(trials, first["image_id"])
    with pytest.raises(ValueError, match="1 to 4 sessions of subj01, got 5"):
        shared_training.Trainings(some, plan_for(some.preset)).trials("subj01", "5")


def test_networks_get_batches_and_numbers_of_the_preset(study):
    some, ids, seen = changed(study, batch_size=3, dtype=torch.bfloat16), np.arange(7), []
    for network in (some.model.vae.encoder, some.guide.visual):
        network.register_forward_pre_hook(lambda _, arguments: seen.append(len(arguments[0])))
    for kind in ("latents", "clip"):
        targets.encode(some, kind, ids)
    assert seen == [3, 3, 1] * 2
    assert some.model.unet.dtype == some.model.vae.dtype == torch.bfloat16


@pytest.fixture
def with_nan(study, tmp_path):
    """The study on a tree in which one session has two vertices of NaN, one of them in visual cortex."""
    root = tmp_path / "nsd"
    shutil.copytree(study.root, root)
    visual = nsd.roi_mask(root, "nsdgeneral", "nsdgeneral")
    missing = np.flatnonzero(visual)[3], np.flatnonzero(~visual)[5]
    folder = root / "nsddata_betas/ppdata/subj01/fsaverage/betas_fithrf_GLMdenoise_RR"
    n = len(visual) // 2
    for hemisphere, start in (("lh", 0), ("rh", n)):
        path = folder / f"{hemisphere}.betas_session02.mgh"
        values = np.array(nibabel.load(path).dataobj)
        values[[v - start for v in missing if start <= v < start + n]] = np.nan
        nibabel.save(nibabel.MGHImage(values, np.eye(4)), path)
    return Study(study.preset, root), missing


def test_all_of_cortex_is_read_in_blocks_without_the_vertices_of_nan(with_nan, monkeypatch):
    study, missing = with_nan
    finite = nsd.finite_mask(study.root, "subj01")
    whole = nsd.image_responses(study.root, "subj01", mask=finite)
    monkeypatch.setattr(maps, "N_IN_BLOCK", 100)
    blocks = list(maps.each_block(study, "subj01"))
    assert [len(of[0]) for of in blocks] == [100, 100, 100, len(finite) - 302]
    vertices = np.concatenate([of[0] for of in blocks])
    np.testing.assert_array_equal(vertices, np.setdiff1d(np.arange(len(finite)), missing))
    for k in (0, 1):
        np.testing.assert_array_equal(np.hstack([of[k + 1][0] for of in blocks]), whole[k][0])
        np.testing.assert_array_equal(blocks[0][k + 1][1], whole[k][1])


def test_a_split_is_read_in_blocks_as_at_once(with_nan, monkeypatch):
    """The test images of the published split are the shared ones, so that another reader has the answer."""
    study, missing = with_nan
    split = nsd.Split(*nsd.split(study.tables["subj01"]), "nsd", np.empty(0))
    finite = maps.cortex_mask(study.preset, study.root, "subj01")
    assert np.flatnonzero(~finite).tolist() == sorted(missing)
    monkeypatch.setattr(maps, "N_IN_BLOCK", 100)
    blocks = list(image_splits.each_block(study, "subj01", split))
    whole = nsd.image_responses(study.root, "subj01", mask=finite)
    np.testing.assert_array_equal(np.concatenate([of[0] for of in blocks]), np.flatnonzero(finite))
    for k in (0, 1):
        np.testing.assert_array_equal(np.hstack([of[k + 1][0] for of in blocks]), whole[k][0])


def test_cortex_in_a_volume_is_what_the_atlas_does_not_leave_out(study, monkeypatch):
    volume = dataclasses.replace(study.preset, space="func1pt8mm")
    codes = np.array([[[-1, 0], [1, -1]]])
    monkeypatch.setattr(nsd, "finite_mask", lambda *_: np.ones(codes.shape, bool))
    monkeypatch.setattr(nsd, "roi", lambda *_: codes)
    np.testing.assert_array_equal(maps.cortex_mask(volume, study.root, "subj01"), codes >= 0)


def test_areas_that_are_not_drawn_are_left_out_and_named(capsys):
    masks = {"V1": np.array([True, False]), "faces": np.zeros(2, bool)}
    found = maps.drawn(masks)
    assert list(found) == ["V1"] and found["V1"] is masks["V1"]
    assert "as faces, so" in capsys.readouterr().out
    maps.drawn(found)
    assert not capsys.readouterr().out


def test_cortex_is_predicted_block_by_block_as_at_once(with_nan, monkeypatch):
    study, missing = with_nan
    visual = nsd.roi_mask(study.root, "nsdgeneral", "nsdgeneral")
    values = torch.randn(study.tables["subj01"]["image_id"].max() + 1, 2, 30)
    features = {name: values[:, k] for k, name in enumerate("zc")}
    monkeypatch.setattr(
        ch10, "targets", lambda _study, _names, ids: {k: of[ids] for k, of in features.items()}
    )
    found = []
    for n in (10_000, 90):
        monkeypatch.setattr(maps, "N_IN_BLOCK", n)
        found.append(ch10.predict_cortex(study, "measured", "subj01", lambda _: visual))
    (r, predicted, test), (r_blocks, predicted_blocks, test_blocks) = found
    np.testing.assert_array_equal(test[0], test_blocks[0])
    for name in "zc":
        np.testing.assert_allclose(r[name], r_blocks[name], atol=1e-4)
        np.testing.assert_allclose(predicted[name], predicted_blocks[name], atol=1e-4)
        np.testing.assert_array_equal(np.flatnonzero(np.isnan(r[name])), np.sort(missing))
    inside = np.delete(np.flatnonzero(visual), 3)
    np.testing.assert_allclose(r["z"][inside], encoding.correlation(predicted["z"], test[0]), atol=1e-6)


def test_maps_of_voxels_are_refused_before_anything_is_computed(study):
    for job_of in (ch10.make_job,):
        with pytest.raises(ValueError, match="has the space 'func1pt8mm', in which each subject has voxels"):
            job_of(changed(study, space="func1pt8mm"), None)


@pytest.mark.parametrize("script", OF_SIMULATED_WORLDS, ids=lambda script: script.__name__)
def test_what_only_simulated_worlds_know_is_refused_on_real_data(study, script):
    with pytest.raises(ValueError, match="run this script with the preset 'mini'"):
        script.make_job(changed(study, data=str(study.root)), None)


def test_images_are_described_a_few_at_a_time(study, monkeypatch):
    ids, asked, read = np.arange(7), [], nsd.images
    monkeypatch.setattr(vertex_cards, "N_CELLS", 4)  # of the 12 x 10 pixels of the tiny tree
    monkeypatch.setattr(vertex_cards, "N_AT_A_TIME", 3)
    monkeypatch.setattr(nsd, "images", lambda root, some: asked.append(len(some)) or read(root, some))
    found = vertex_cards.channels_of(study.root, ids)
    assert asked == [3, 3, 1]
    np.testing.assert_array_equal(found, vertex_cards.channels(read(study.root, ids)))


def test_several_drawings_are_scored_one_at_a_time(study):
    scorer, ids = scores.scorer_of(study), study.image_ids
    mean, drawn = targets.train_mean_image(study, "subj01"), [study.originals, study.originals.flip(0)]
    held = []

    def one_by_one():
        for images in drawn:
            held.append(len(held))
            yield images

    found, consistency, first = scorer.of_drawings(one_by_one(), mean)
    assert held == [0, 1] and found.shape == (len(ids), 2, len(scorer.names))
    for k, images in enumerate(drawn):
        np.testing.assert_array_equal(found[:, k], scorer(images, mean))
    np.testing.assert_array_equal(first[scorer.key("AlexNet(5)")], scorer.true[scorer.key("AlexNet(5)")])
    assert np.isfinite(consistency).all()
