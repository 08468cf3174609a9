"""Leaks, switched on one by one: each must show on known data, and our own path must be clean.

The chapter 14_what_we_may_conclude measures what they bring. Here the package's path is held still
while everything about the test images changes.
"""

import dataclasses
import itertools
import json
import shutil

import h5py
import numpy as np
import pytest
import torch

from latentcortex import metrics, nsd, presets
from latentcortex.decoders import LinearDecoder
from latentcortex.studies import decoding, open_study
from latentcortex.studies.targets import mean_image


@pytest.fixture
def world(rng):
    """Betas (90 images, 50 voxels) that say something of features (90, 6)."""
    z = rng.normal(size=(90, 6)).astype(np.float32)
    x = (z @ rng.normal(size=(6, 50)) + rng.normal(0, 4, (90, 50))).astype(np.float32)
    return x, z, np.arange(90), np.arange(90) < 60


@pytest.fixture
def preset():
    return dataclasses.replace(
        presets.get("mini"), subjects=(1, 2), z_rois=("early",), c_rois=("ventral",), rescale=False
    )


@pytest.fixture
def two_trees(tiny_tree, tmp_path):
    """A tree, and its twin with other pictures and captions of the test images."""
    twin = tmp_path / "twin"
    shutil.copytree(tiny_tree, twin)
    test_ids = nsd.split(nsd.trials(twin, "subj01"))[1]
    with h5py.File(twin / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5", "r+") as file:
        for image_id in test_ids:
            file["imgBrick"][image_id] = 255 - file["imgBrick"][image_id]
    for path in (twin / "annotations").glob("captions_*.json"):
        texts = json.loads(path.read_text())
        known = nsd.captions(twin, test_ids)
        of_test = {text for five in known for text in five}
        for entry in texts["annotations"]:
            if entry["caption"] in of_test:
                entry["caption"] = "something else altogether"
        path.write_text(json.dumps(texts))
    assert nsd.captions(twin, test_ids) != nsd.captions(tiny_tree, test_ids)
    return tiny_tree, twin, test_ids


@pytest.mark.usefixtures("one_thread")
def test_nothing_that_is_decoded_knows_pictures_or_captions_of_test_images(
    two_trees, preset, tmp_path, monkeypatch
):
    monkeypatch.setenv("LATENTCORTEX_CACHE", str(tmp_path / "cache"))
    *roots, test_ids = two_trees
    one, other = (open_study(preset, root) for root in roots)
    np.testing.assert_array_equal(one.image_ids, test_ids)
    for name in ("z", "c", "g1", "g6"):
        pair = [decoding.decoded(study, "subj01", name) for study in (one, other)]
        np.testing.assert_array_equal(*pair, err_msg=name)
    for k, name in itertools.product((1, 3), "zc"):
        pair = [decoding.through_bottleneck(study, "subj01", name, k) for study in (one, other)]
        np.testing.assert_array_equal(*pair, err_msg=f"{name} through {k}")
    train_ids = nsd.split(one.tables["subj01"])[0]
    np.testing.assert_array_equal(*(mean_image(preset, root, train_ids) for root in roots))
    # The check itself can fail: a decoder that is handed the test features does change.
    for name in ("z", "c", "g1"):
        assert not torch.equal(*(decoding.true(study, name)[0] for study in (one, other)))


def test_what_is_decoded_from_one_response_does_not_depend_on_the_other_test_responses(world):
    x, z, ids, train = world
    decoder = LinearDecoder(cv="gcv").fit(x[train][:40], z[train][:40], ids[train][:40])
    decoder.fit_rescaling(x[train][40:], z[train][40:], ids[train][40:])
    alone = decoder.predict(x[~train][:1], rescale=True)
    together = decoder.predict(x[~train], rescale=True)
    np.testing.assert_allclose(together[:1], alone, atol=1e-5)
    # Statistics of the test predictions do depend on them: what the published rescaling does.
    by_test = together - together.mean(0)
    other = np.concatenate([together[:1], 3 * together[1:]])
    assert np.abs(by_test[0] - (other - other.mean(0))[0]).max() > 0.01


def test_scaling_of_training_trials_ignores_test_trials(rng):
    betas = rng.normal(size=(40, 5))
    sessions, is_train = np.repeat([1, 2], 20), np.arange(40) % 4 > 0
    changed = betas.copy()
    changed[~is_train] *= 100
    np.testing.assert_array_equal(
        nsd.zscore(betas, sessions, is_train)[is_train], nsd.zscore(changed, sessions, is_train)[is_train]
    )
    leaky = [nsd.zscore(b, sessions, np.ones(40, bool))[is_train] for b in (betas, changed)]
    assert np.abs(leaky[0] - leaky[1]).max() > 0.1


def test_voxels_chosen_by_the_answer_find_something_in_noise_and_our_choice_does_not():
    """Training-only ncsnr selects among noise without finding anything; the answer does."""
    clean, leaky = [], []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        x, z = rng.normal(size=(160, 800)), rng.normal(size=(160, 4))
        train = np.arange(160) < 80
        for look, scores in ((train, clean), (np.ones(160, bool), leaky)):
            r = np.corrcoef(x[look].T, z[look].T)[:800, 800:]
            some = np.argsort(np.abs(r).max(1))[-40:]
            decoder = LinearDecoder(cv="gcv").fit(x[train][:, some], z[train], np.arange(80))
            predicted = decoder.predict(x[~train][:, some])
            scores.append(metrics.identification(z[~train], predicted).mean())
    assert abs(np.mean(clean) - 0.5) < 0.03
    assert np.mean(leaky) > 0.55


def test_a_shuffled_brain_ends_at_one_half_and_a_prior_fed_with_the_target_does_not(world, rng):
    x, z, ids, train = world
    x = x[np.concatenate([rng.permutation(60), 60 + rng.permutation(30)])]
    decoder = LinearDecoder(cv="gcv").fit(x[train], z[train], ids[train])
    predicted = decoder.predict(x[~train], image_ids=ids[~train])
    shuffled = metrics.identification(z[~train], predicted).mean()
    fed = 0.5 * predicted + 0.5 * (z[~train] + rng.normal(0, 0.5, predicted.shape))
    assert abs(shuffled - 0.5) < 0.15
    assert metrics.identification(z[~train], fed).mean() > 0.9
