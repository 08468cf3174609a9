"""Script ch05: decoders of regions, ceilings of captions, and what more sessions and repeats bring."""

import dataclasses

import numpy as np
import pytest
import torch

from data_scripts import ch05_decode_latents as ch05
from latentcortex import encoding, features, nsd
from latentcortex.decoders import LinearDecoder
from latentcortex.mini import captions, networks, scenes
from latentcortex.studies import decoding
from latentcortex.studies.responses import matched_voxels
from latentcortex.studies.scores import score_features, varies


def test_the_ceiling_of_means_is_their_correlation_with_the_truth(rng):
    truth, n = rng.normal(size=(3000, 6)), rng.integers(2, 8, 3000)
    groups = rng.permutation(np.repeat(np.arange(3000), n))
    members = truth[groups] + rng.uniform(0.5, 3, 6) * rng.normal(size=(len(groups), 6))
    members[:, 5] = rng.normal(size=len(groups))  # says nothing about its group
    means = np.stack([members[groups == k].mean(0) for k in range(3000)])
    expected = [np.corrcoef(means[:, k], truth[:, k])[0, 1] for k in range(6)]
    found = ch05.ceiling_of_means(members, groups)
    np.testing.assert_allclose(found[:5], expected[:5], atol=0.03)
    assert found[5] < 0.25


@pytest.mark.usefixtures("one_thread")
def test_the_ceiling_holds_for_the_captions_of_the_miniature_world(rng):
    drawn = scenes.sample_scenes(150, rng)
    texts = [[text for _ in range(7) for text in captions.write_captions(scene, rng)] for scene in drawn]
    model = features.load_latent_diffusion(networks.MODEL_FOLDER)
    with torch.no_grad():
        single = [[text] for row in texts for text in row]
        states = features.encode_captions(model.text_encoder, model.tokenizer, single)
    states = states.flatten(1).numpy()
    states = states[:, varies(states)].reshape(150, 35, -1)
    five, thirty = states[:, :5], states[:, 5:].mean(1)
    ceiling = ch05.ceiling_of_means(five.reshape(750, -1), np.repeat(np.arange(150), 5)).mean()
    shown = encoding.correlation(five.mean(1), thirty).mean()
    # Thirty more stand for all that could be written.
    assert abs(ceiling - shown) < 0.02


def test_first_showings_are_counted_among_the_sessions_asked_for(tiny_tree):
    table = nsd.trials(tiny_tree, "subj01")
    chosen = ch05.measured(table, [2, 3], 2)
    asked = table["session"].to_numpy() > 1
    seen = {}
    for row, (image_id, is_shared) in enumerate(zip(table["image_id"], table["shared"], strict=True)):
        if asked[row]:
            seen[image_id] = seen.get(image_id, 0) + 1
        assert chosen[row] == (asked[row] and not is_shared and seen[image_id] <= 2)
    assert 0 < chosen.sum() < (asked & ~table["shared"]).sum()


def test_each_region_gives_as_many_voxels_as_the_smallest_has():
    sizes = {"small": 7, "large": 50, "middle": 12}
    drawn = matched_voxels(sizes)
    for name, columns in drawn.items():
        assert len(columns) == 7 and (np.diff(columns) > 0).all() and columns[0] >= 0
        assert columns[-1] < sizes[name]
    assert not np.array_equal(drawn["large"], matched_voxels(sizes, 1)["large"])
    # Further regions leave the others' voxels as they were, unless one of them is smaller.
    np.testing.assert_array_equal(matched_voxels({**sizes, "all": 60})["large"], drawn["large"])


def test_scores_of_decoded_features_are_those_of_a_double_loop(rng):
    true, mean = rng.normal(size=(12, 30)) + 3, rng.normal(size=30)
    true[:, 0] = 1  # the first token is the same in every caption
    predicted = true + 2 * rng.normal(size=true.shape)
    found = score_features(predicted.reshape(12, 5, 6), true.reshape(12, 5, 6), mean.reshape(5, 6))
    expected = [np.corrcoef(predicted[:, k], true[:, k])[0, 1] for k in range(1, 30)]
    np.testing.assert_allclose(found["r"], np.mean(expected), rtol=1e-5)
    for i in range(12):
        similar = [np.corrcoef(predicted[i] - mean, t - mean)[0, 1] for t in true]
        assert found["identified"][i] == np.mean(np.delete(similar, i) < similar[i])
        # What the product calls retrieved.
        assert (found["identified"][i] == 1) == (np.argmax(similar) == i)


@pytest.mark.usefixtures("one_thread")
def test_images_kept_out_of_a_decoder_teach_its_rescaling_and_nothing_else(rng):
    betas, ids = rng.normal(size=(80, 8)).astype(np.float32), np.arange(80) + 7
    z = (betas @ rng.normal(size=(8, 5)) + rng.normal(size=(80, 5))).astype(np.float32)
    train, test, is_fit = np.arange(60), np.arange(60, 80), np.arange(60) < 40

    def decode(known):
        return ch05.decode((betas[test], ids[test]), z[test], betas[train], known, ids[train], is_fit)

    plain, stretched = decode(z[train])
    decoder = LinearDecoder(cv="gcv").fit(betas[:40], z[:40], ids[:40])
    decoder.fit_rescaling(betas[40:60], z[40:60], ids[40:60])
    for found, rescale in ((plain, False), (stretched, True)):
        predicted = decoder.predict(betas[test], rescale)
        expected = score_features(predicted, z[test], z[:40].mean(0))
        np.testing.assert_array_equal(found["identified"], expected["identified"])
        np.testing.assert_allclose(found["r"], expected["r"])
    # Each number is moved along a straight line, so its correlation stays; what is identified may not.
    np.testing.assert_allclose(plain["r"], stretched["r"], rtol=1e-5)
    other = z[train].copy()
    other[40:] = other[40:] * rng.uniform(1, 9, 5) + 5
    unmoved, moved = decode(other)
    np.testing.assert_array_equal(unmoved["identified"], plain["identified"])
    assert not np.array_equal(moved["identified"], stretched["identified"])


def test_responses_are_scaled_by_the_trials_that_were_measured_and_no_others(study):
    subject, root, space = study.subjects[0], study.root, study.preset.space
    table = nsd.trials(root, subject)
    rows = ch05.measured(table, [1, 2, 3], 2)
    found, ids = ch05.averages_of(decoding.read(study, subject), rows)
    # From the responses as they lie on disk, without the trials that were not measured.
    mask = nsd.roi_mask(root, "nsdgeneral", "nsdgeneral", space, subject)
    betas = nsd.betas(root, subject, space, mask=mask)[rows]
    scaled = nsd.zscore(betas, table["session"].to_numpy()[rows], np.ones(rows.sum(), bool))
    expected, expected_ids, _ = nsd.average_repeats(scaled, table["image_id"].to_numpy()[rows])
    np.testing.assert_array_equal(ids, expected_ids)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    by_all = decoding.read(study, subject).single(ch05.VISUAL_CORTEX)[rows]
    assert np.abs(nsd.average_repeats(by_all, table["image_id"].to_numpy()[rows])[0] - expected).max() > 0.1


@pytest.mark.usefixtures("one_thread")
def test_power_counts_images_and_trials_and_leaves_absent_sessions_open(study, monkeypatch):
    subject, table = study.subjects[0], nsd.trials(study.root, study.subjects[0])
    read = decoding.read(study, subject)
    first = dataclasses.replace(read, table=table[table["session"] < 3])
    first = dataclasses.replace(first, betas=read.betas[: len(first.table)])
    monkeypatch.setattr(decoding, "read", lambda *_: first)
    found = ch05.power(study, subject)
    assert np.isfinite(found["power"][:2, :, 0]).all() and np.isnan(found["power"][2:]).all()
    rows = ch05.measured(table, [1, 2], 2)
    assert found["n_trained"][1, 1].tolist() == [table["image_id"][rows].nunique(), rows.sum()]
    assert not found["n_trained"][2:].any()


@pytest.mark.usefixtures("one_thread")
def test_voxels_that_rescaling_saw_are_those_of_all_visual_cortex(study, monkeypatch):
    monkeypatch.setattr(ch05, "TARGETS", ("z",))
    found = ch05.from_all_voxels(study, study.subjects[1])
    assert found["identified"].shape == (len(ch05.FITS), 1, len(study.image_ids))
    assert found["r"].shape == found["edge_share"].shape == (len(ch05.FITS), 1)
    np.testing.assert_allclose(found["r"][1], found["r"][2], rtol=1e-4)
    assert found["r"][0] != found["r"][1]


def test_only_regions_that_all_subjects_have_are_decoded(study):
    # The tiny tree draws two of the four streams, as BOLD5000 does.
    assert list(ch05.regions_of(study)) == ["early", "ventral", "all"]
    job = ch05.make_job(study, None)
    assert {name for _, name in job.parts} == {"early", "ventral", "all", "all voxels", "power"}
