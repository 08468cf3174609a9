"""The scripts that draw and measure: rows stay with their images, baselines are what they say."""

import dataclasses
import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from latentcortex import metrics, nsd, presets, store

sys.path.insert(0, str(Path(__file__).parents[1] / "data_scripts"))
reconstructions = importlib.import_module("reconstructions")
measure = importlib.import_module("9_measure_reconstructions")
leave_out = importlib.import_module("14_leave_kinds_out")


@pytest.fixture
def preset():
    return dataclasses.replace(presets.get("mini"), rescale=True)


@pytest.fixture
def made(preset, rng):
    """Decoders of 160 training images and 12 test images with few voxels."""
    train_ids, image_ids = rng.permutation(1000)[:160], np.arange(2000, 2012)
    z, c = (torch.from_numpy(rng.normal(size=(172, *shape))).float() for shape in ((2, 3), (4, 2)))
    made = SimpleNamespace(
        decoders=[], train_betas=[], test_betas=[], true_train=[], train_ids=train_ids, image_ids=image_ids
    )
    decoded = []
    for true in (z, c):
        flat = true.flatten(1).numpy()
        betas = flat @ rng.normal(size=(flat.shape[1], 20)) + rng.normal(0, 1, (172, 20))
        betas = betas.astype(np.float32)
        decoder = reconstructions.fit_decoder(preset, betas[:160], true[:160], train_ids, preset.rescale)
        decoded.append(decoder.predict(betas[160:], preset.rescale, image_ids))
        made.decoders.append(decoder)
        made.train_betas.append(betas[:160])
        made.test_betas.append(betas[160:])
        made.true_train.append(true[:160])
    made.z, made.c = decoded
    made.true_test = z[160:], c[160:]
    return made


@pytest.mark.usefixtures("one_thread")
def test_the_widest_bottleneck_is_no_bottleneck_and_the_narrowest_one_dimension(preset, made):
    for wide, decoded in zip(
        reconstructions.through_bottleneck(preset, made, 100), (made.z, made.c), strict=True
    ):
        np.testing.assert_allclose(wide, decoded, atol=1e-4)
    for narrow in reconstructions.through_bottleneck(preset, made, 1):
        rows = narrow.flatten(1).numpy()
        assert np.linalg.matrix_rank(rows - rows.mean(0), tol=1e-4) == 1


@pytest.mark.usefixtures("one_thread")
def test_validation_images_train_nothing_but_the_rescaling(made):
    for decoder in made.decoders:
        learned = set(decoder.image_ids_), set(decoder.rescaling_ids_)
        assert [len(ids) for ids in learned] == [60, 100]
        assert learned[0] | learned[1] == set(made.train_ids) and not learned[0] & learned[1]


@pytest.mark.usefixtures("one_thread")
def test_the_nearest_training_image_is_found_by_a_search(made):
    means = [true.flatten(1).mean(0).numpy() for true in made.true_train]
    r = [
        np.array(
            [
                [np.corrcoef(a - mean, b - mean)[0, 1] for b in true.flatten(1).numpy()]
                for a in decoded.flatten(1).numpy()
            ]
        )
        for true, decoded, mean in zip(made.true_train, (made.z, made.c), means, strict=True)
    ]
    for name, expected in {"nearest_z": r[0], "nearest_c": r[1]}.items():
        rows = measure.training_rows(name, made, 12, 0)
        np.testing.assert_array_equal(rows, expected.argmax(1))


@pytest.mark.usefixtures("one_thread")
def test_nearest_by_both_weighs_z_and_c_alike(made):
    rows = measure.training_rows("nearest", made, 12, 0)
    made.true_train[0] *= 100  # the unit of z must not matter
    made.z *= 100
    np.testing.assert_array_equal(measure.training_rows("nearest", made, 12, 0), rows)


def test_random_training_images_differ_between_drawings(made):
    first, second = (measure.training_rows("random_training", made, 12, k) for k in (0, 1))
    assert len(set(first.tolist())) == 12 and (first != second).any()


@pytest.mark.usefixtures("one_thread")
def test_decoders_without_a_label_never_met_it_and_the_others_are_as_many(made, preset, monkeypatch):
    fitted = []

    def spy(_preset, betas, targets, image_ids, _rescale):
        fitted.append(set(image_ids.tolist()))
        return reconstructions.LinearDecoder(cv="gcv").fit(betas, targets, image_ids)

    monkeypatch.setattr(leave_out.reconstructions, "fit_decoder", spy)
    study = SimpleNamespace(preset=dataclasses.replace(preset, rescale=False))
    shows = np.arange(160) % 4 == 0
    decoded = leave_out.decode_without(study, made, shows, np.arange(12) < 5, np.random.default_rng(0))
    without_z, without_c, with_z, with_c = fitted
    assert without_z == without_c == set(made.train_ids[~shows].tolist())
    assert with_z == with_c and len(with_z) == 120 and with_z & set(made.train_ids[shows].tolist())
    assert [tuple(values.shape) for pair in decoded for values in pair] == [(5, 2, 3), (5, 4, 2)] * 2


def test_showings_are_the_first_and_the_others(tiny_tree, preset, monkeypatch):
    mask = nsd.roi_mask(tiny_tree, "streams", "early", "fsaverage", "subj01")
    table = nsd.trials(tiny_tree, "subj01")
    test_ids = nsd.split(table)[1]
    study = SimpleNamespace(root=tiny_tree, preset=preset, image_ids=test_ids)
    betas = nsd.zscore(
        nsd.betas(tiny_tree, "subj01", mask=mask), table["session"].to_numpy(), ~table["shared"].to_numpy()
    )
    monkeypatch.setattr(reconstructions, "visual_cortex", lambda *_: mask)
    mean, first, others = measure.showings(study, "subj01")
    for k, image_id in enumerate(test_ids):
        rows = np.flatnonzero(table["image_id"] == image_id)
        np.testing.assert_allclose(mean[k], betas[rows].mean(0), atol=1e-5)
        np.testing.assert_array_equal(first[k], betas[rows[0]])
        np.testing.assert_allclose(others[k], betas[rows[1:]].mean(0), atol=1e-5)


def test_brain_correlations_leave_images_without_a_second_showing_undefined(rng):
    measured = [rng.normal(size=(5, 30)) for _ in range(3)]
    measured[2][3] = np.nan
    encoded = rng.normal(size=(5, 30))
    found = measure.brain_correlations(measured, encoded)
    assert np.isnan(found[3, 2]) and np.isfinite(np.delete(found.ravel(), 3 * 3 + 2)).all()
    expected = metrics.brain_correlation(measured[0], encoded)
    np.testing.assert_allclose(found[:, 0], expected)


@pytest.mark.usefixtures("one_thread")
def test_the_first_showing_is_decoded_alone(tiny_tree, preset):
    plain = dataclasses.replace(preset, rescale=False)
    ids = nsd.split(nsd.trials(tiny_tree, "subj01"))[1]
    asked = []
    decoder = SimpleNamespace(predict=lambda betas, *_: asked.append(betas) or torch.zeros(1))
    reconstructions.first_showings(plain, tiny_tree, "subj01", SimpleNamespace(decoders=[decoder] * 2))
    table = nsd.trials(tiny_tree, "subj01")
    mask = nsd.roi_mask(tiny_tree, "streams", "early", "fsaverage", "subj01")
    betas = nsd.zscore(
        nsd.betas(tiny_tree, "subj01", mask=mask), table["session"].to_numpy(), ~table["shared"].to_numpy()
    )
    first = [np.flatnonzero(table["image_id"] == image_id)[0] for image_id in ids]
    np.testing.assert_array_equal(asked[0], betas[first])


def test_drawings_are_kept_shared_and_known_by_their_ids(tmp_path, monkeypatch):
    study = object.__new__(reconstructions.Study)
    study.folder, study.image_ids, study.description = tmp_path, np.array([5, 2, 9]), {"a": 1}
    calls = []

    def make(subject, name, repeat):
        calls.append((subject, name, repeat))
        return torch.full((3, 3, 4, 4), len(calls) / 10)

    monkeypatch.setattr(study, "_make", make)
    for subject in ("subj01", "subj02"):
        study.images(subject, "vae")
        study.images(subject, "both", 1)
    assert calls == [("subj01", "vae", 0), ("subj01", "both", 1), ("subj02", "both", 1)]
    again = study.images("subj02", "both", 1)
    assert len(calls) == 3
    np.testing.assert_allclose(again, round(0.3 * 255) / 255)
    saved = store.load(study.path("subj02", "both", 1))
    np.testing.assert_array_equal(saved["image_ids"], study.image_ids)


def test_a_way_to_draw_that_is_unknown_is_named(monkeypatch):
    study = object.__new__(reconstructions.Study)
    study.preset, study.model, study.image_ids = None, None, np.array([1])
    monkeypatch.setattr(study, "decoded", lambda *_: SimpleNamespace(z=0, c=0))
    with pytest.raises(ValueError, match="No way 'bothe' to draw"):
        study._make("subj01", "bothe", 0)


@pytest.fixture
def brains(monkeypatch, preset, rng):
    """A subject whose early cortex knows z and whose ventral cortex knows c, by image id."""
    ids = rng.permutation(5000)[:212]
    z = dict(zip(ids.tolist(), rng.normal(size=(212, 2, 3)), strict=True))
    c = dict(zip(ids.tolist(), rng.normal(size=(212, 2, 2)), strict=True))
    train_ids, test_ids = np.sort(ids[:200]), np.sort(ids[200:])
    weights = {"early": rng.normal(size=(6, 15)), "ventral": rng.normal(size=(4, 15))}
    responses = {}
    for region, true in {"early": z, "ventral": c}.items():
        responses[region] = [
            (
                np.stack([true[i].ravel() for i in part]) @ weights[region]
                + rng.normal(0, 0.3, (len(part), 15))
            ).astype(np.float32)
            for part in (train_ids, test_ids)
        ]

    def read(_preset, _root, _subject, rois):
        train, test = responses[rois[0]]
        return (train, train_ids, 3), (test, test_ids, 3)

    def encode(_preset, _model, _root, image_ids):
        return [torch.from_numpy(np.stack([true[i] for i in image_ids.tolist()])).float() for true in (z, c)]

    monkeypatch.setattr(reconstructions, "responses", read)
    monkeypatch.setattr(reconstructions.products, "encode", encode)
    monkeypatch.setattr(reconstructions, "mean_image", lambda *_: torch.zeros(3, 4, 4))
    preset = dataclasses.replace(preset, z_rois=("early",), c_rois=("ventral",))
    return SimpleNamespace(preset=preset, responses=responses, z=z, c=c, test_ids=test_ids)


def correlation(a, b):
    return np.corrcoef(np.ravel(a), np.ravel(b))[0, 1]


@pytest.mark.usefixtures("one_thread")
def test_what_is_decoded_belongs_to_its_image_and_its_region(brains):
    made = reconstructions.decode(brains.preset, None, None, "subj01")
    np.testing.assert_array_equal(made.image_ids, brains.test_ids)
    for decoded, true in ((made.z, brains.z), (made.c, brains.c)):
        expected = np.stack([true[i] for i in made.image_ids.tolist()])
        assert correlation(decoded, expected) > 0.95
    shuffled = reconstructions.decode(brains.preset, None, None, "subj01", shuffle_pairs=True)
    expected = np.stack([brains.z[i] for i in made.image_ids.tolist()])
    assert abs(correlation(shuffled.z, expected)) < 0.4
    # Whole brains change places: both regions by one permutation.
    of_z, of_c = (
        [np.flatnonzero((known == row).all(1))[0] for row in exchanged[:20]]
        for known, exchanged in zip(made.train_betas, shuffled.train_betas, strict=True)
    )
    assert of_z == of_c != list(range(20))


@pytest.mark.usefixtures("one_thread")
def test_one_test_image_is_decoded_alike_whatever_the_others_are(brains):
    """With the rescaling on, which the preset uses: no statistic of the test set enters."""
    made = reconstructions.decode(brains.preset, None, None, "subj01")
    narrow = reconstructions.through_bottleneck(brains.preset, made, 2)
    for _, test in brains.responses.values():
        test[1:] = test[1:] * 5 + 3
    again = reconstructions.decode(brains.preset, None, None, "subj01")
    narrow_again = reconstructions.through_bottleneck(brains.preset, again, 2)
    for one, other in ((made.z, again.z), (made.c, again.c), *zip(narrow, narrow_again, strict=True)):
        np.testing.assert_allclose(one[0], other[0], atol=1e-4)
        assert np.abs(np.asarray(one[1:] - other[1:])).max() > 0.1


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    ("name", "condition", "true"),
    [
        ("true_z", "z_only", "z"),
        ("true_c", "c_only", "c"),
        ("true_both", "both", "zc"),
        ("both", "both", ""),
        ("z_only", "z_only", ""),
        ("in_span", "both", ""),
        ("shuffled_brain", "both", ""),
    ],
)
def test_every_row_is_drawn_from_what_it_says(brains, monkeypatch, name, condition, true):
    study = object.__new__(reconstructions.Study)
    study.preset, study.model, study.root = brains.preset, None, None
    study.image_ids, study._decoded = brains.test_ids, {}
    asked = {}

    def draw(_model, z, c, **options):
        asked.update(options, z=z, c=c)
        return torch.zeros(12, 3, 4, 4)

    monkeypatch.setattr(reconstructions.sampler, "reconstruct", draw)
    study._make("subj01", name, 4)
    assert asked["condition"] == condition and asked["repeat"] == 4
    np.testing.assert_array_equal(asked["image_ids"], brains.test_ids)
    truth = {key: np.stack([getattr(brains, key)[i] for i in brains.test_ids.tolist()]) for key in "zc"}
    for key in true:
        np.testing.assert_allclose(asked[key], truth[key], atol=1e-6)
    own = correlation(asked["z"], truth["z"])
    if name == "shuffled_brain":
        assert abs(own) < 0.5
    elif name == "in_span":  # 100 training images span all of six numbers
        np.testing.assert_allclose(asked["z"], truth["z"], atol=1e-5)
    else:
        assert own > 0.95


@pytest.mark.usefixtures("one_thread")
def test_the_span_is_that_of_training_images(brains, monkeypatch):
    """Training images that vary in one number alone leave nothing of the others."""
    for image_id, value in brains.z.items():
        if image_id not in brains.test_ids:
            value.ravel()[1:] = 0
    study = object.__new__(reconstructions.Study)
    study.preset, study.model, study.root = brains.preset, None, None
    study.image_ids, study._decoded, asked = brains.test_ids, {}, {}
    monkeypatch.setattr(
        reconstructions.sampler,
        "reconstruct",
        lambda _model, z, _c, **_: asked.update(z=z) or torch.zeros(12, 3, 4, 4),
    )
    study._make("subj01", "in_span", 0)
    np.testing.assert_allclose(asked["z"].flatten(1)[:, 1:], 0, atol=1e-6)


def test_shards_are_read_and_wrong_ones_refused():
    assert reconstructions.products.parse_shard("1/2") == (1, 2)
    for wrong in ("2/2", "0/0", "1", "-1/2", "a/b"):
        with pytest.raises(ValueError, match="0 <= I < N"):
            reconstructions.products.parse_shard(wrong)
