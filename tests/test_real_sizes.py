"""What real data need: sessions that are chosen, vertices of NaN, blocks of cortex, refusals in time."""

import dataclasses
import shutil
import weakref

import nibabel
import numpy as np
import pytest
import torch

from data_scripts import (
    ch00_open_the_book,
    ch08b_change_scenes,
    ch08b_choose_weighing,
    ch08b_cover_the_truth,
    ch08b_keep_a_ledger,
    ch08b_weigh_the_brain,
    ch08b_weigh_the_guides,
    ch10_compose_scenes,
    ch10_plan_a_study,
    ch13_edit_scenes,
    ch13_recover_maps,
    ch14_leave_kinds_out,
)
from data_scripts import ch10_encode_voxels as ch10
from latentcortex import encoding, nsd
from latentcortex.presets import Preset
from latentcortex.ridge import Ridge
from latentcortex.studies import (
    decoding,
    drawings,
    encoders,
    image_splits,
    maps,
    scores,
    shared_training,
    targets,
    vertex_cards,
)
from latentcortex.studies.plans import plan_for
from latentcortex.studies.recipes import RECIPES, Recipe
from latentcortex.studies.study import Study

pytestmark = pytest.mark.usefixtures("one_thread")
OF_SIMULATED_WORLDS = (
    ch00_open_the_book,
    ch08b_change_scenes,
    ch08b_choose_weighing,
    ch08b_cover_the_truth,
    ch08b_keep_a_ledger,
    ch08b_weigh_the_brain,
    ch08b_weigh_the_guides,
    ch10_compose_scenes,
    ch10_plan_a_study,
    ch13_edit_scenes,
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
    vae, unet = some.model.vae, some.model.unet
    for network in (vae.encoder, some.guide.visual, unet, vae.decoder):
        network.register_forward_pre_hook(lambda _, arguments: seen.append(len(arguments[0])))
    for kind in ("latents", "clip"):
        targets.encode(some, kind, ids)
    assert seen == [3, 3, 1] * 2
    drawn_from = ids, torch.randn(7, *some.preset.latent_shape), torch.randn(7, 24, 128)
    seen.clear()
    drawings.reconstruct(some, Recipe(condition="c_only"), 0, *drawn_from)
    assert seen == [6, 6, 2] * some.preset.n_steps + [3, 3, 1]  # with and without condition
    seen.clear()
    drawings.reconstruct(some, RECIPES["vae"], 0, *drawn_from)
    assert seen == [3, 3, 1]
    assert some.model.unet.dtype == some.model.vae.dtype == torch.bfloat16


def test_regressions_run_on_the_device_of_the_preset(study, monkeypatch):
    """The CPU by another name stands for a GPU."""
    used, fit, ids = [], Ridge.fit, nsd.split(study.tables["subj01"])[0]
    trainings = shared_training.Trainings(study, plan_for(study.preset))
    trainings.targets("z")  # computed by networks where these lie
    monkeypatch.setattr(Preset, "device", "cpu:0")
    monkeypatch.setattr(
        Ridge, "fit", lambda self, *of, **more: used.append(self.device) or fit(self, *of, **more)
    )
    decoding.fit(study, "subj01", "z", ids, rescale=False)
    trainings.ridge("subj01", "2", "z")
    maps.read_worlds.cache_clear()
    worlds = maps.read_worlds(study, ("measured",), 0, "subj01")
    worlds.predict(torch.randn(len(worlds.image_ids), 30).numpy())
    maps.read_worlds.cache_clear()
    z = torch.randn(study.tables["subj01"]["image_id"].max() + 1, 30)
    monkeypatch.setattr(ch10, "targets", lambda _study, _names, of: {"z": z[of]})
    ch10.predict_cortex(study, "measured", "subj01", lambda _: np.zeros(2 * 162, bool))
    assert used == ["cpu:0"] * 4


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


def test_a_session_that_is_not_read_says_nothing_of_vertices_and_images(with_nan, monkeypatch):
    """All vertices hold numbers in the other two sessions."""
    study, _ = with_nan
    some = changed(study, sessions=(1, 3))
    ids, described = set(some.tables["subj01"]["image_id"]), []
    assert maps.cortex_mask(some.preset, some.root, "subj01").all()
    ((vertices, train, test),) = maps.each_block(some, "subj01")
    assert len(vertices) == 2 * 162 and {*train[1], *test[1]} == ids

    def stop(_root, image_ids):
        described.extend(image_ids)
        raise InterruptedError

    monkeypatch.setattr(vertex_cards, "channels_of", stop)
    with pytest.raises(InterruptedError):
        vertex_cards.describe(some, "subj01", {})
    assert set(described) == set(train[1])


def test_a_split_is_read_in_blocks_as_at_once(with_nan, monkeypatch):
    """The test images of the published split are the shared ones, so that another reader has the answer."""
    study, missing = with_nan
    split = nsd.Split(*nsd.split(study.tables["subj01"]), "nsd", np.empty(0))
    finite = maps.cortex_mask(study.preset, study.root, "subj01")
    assert np.flatnonzero(~finite).tolist() == sorted(missing)
    monkeypatch.setattr(maps, "N_IN_BLOCK", 100)
    blocks = list(image_splits.each_block(study, "subj01", split))
    assert [len(of[0]) for of in blocks] == [100, 100, 100, 22]
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
    found, sizes, read = [], [], nsd.image_responses
    monkeypatch.setattr(
        nsd, "image_responses", lambda *asked: sizes.append(np.count_nonzero(asked[-1])) or read(*asked)
    )
    for n in (10_000, 90):
        monkeypatch.setattr(maps, "N_IN_BLOCK", n)
        found.append(ch10.predict_cortex(study, "measured", "subj01", lambda _: visual))
    assert sizes == [322, 90, 90, 90, 52]
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


def test_images_are_averaged_and_seen_by_networks_a_few_at_a_time(study, monkeypatch):
    """While some are read, at most those before them are in memory."""
    ids, read, made, held = np.arange(10), nsd.images, [], []
    (score,) = [one for one in scores.scorer_of(study).protocol.scores if one.name == "AlexNet(2)"]
    whole = torch.from_numpy(read(study.root, ids, study.preset.image_size))
    mean, seen = whole.mean(0), scores.scorer_of(study).extract(whole)[score.key]

    def recorded(*asked):
        images = read(*asked)
        held.append((len(images), sum(reference() is not None for reference in made)))
        made.append(weakref.ref(images))
        return images

    monkeypatch.setattr(nsd, "images", recorded)
    monkeypatch.setattr(targets.image_parts, "__defaults__", (3,))
    torch.testing.assert_close(targets.mean_image(study.preset, study.root, ids), mean)
    np.testing.assert_allclose(encoders._layer_of_images(study, score, ids), seen, atol=1e-4)
    assert held == [(3, 0), (3, 1), (3, 1), (1, 1)] * 2


def test_several_drawings_are_scored_one_at_a_time(study, monkeypatch):
    scorer, ids = scores.scorer_of(study), study.image_ids
    mean, drawn = targets.train_mean_image(study, "subj01"), [study.originals, study.originals.flip(0)]
    done, extract = [], scorer.extract

    def one_by_one():
        for images in drawn:
            done.append("drawn")
            yield images

    monkeypatch.setattr(scorer, "extract", lambda images: done.append("scored") or extract(images))
    found, consistency, first = scorer.of_drawings(one_by_one(), mean)
    assert done == ["drawn", "scored"] * 2 and found.shape == (len(ids), 2, len(scorer.names))
    for k, images in enumerate(drawn):
        np.testing.assert_array_equal(found[:, k], scorer(images, mean))
    np.testing.assert_array_equal(first[scorer.key("AlexNet(5)")], scorer.true[scorer.key("AlexNet(5)")])
    assert np.isfinite(consistency).all()
