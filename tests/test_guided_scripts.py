"""The scripts of guided drawing draw what they say, once, from the right responses."""

import dataclasses
import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_models import tiny_clip_image_encoder

from latentcortex import features, nsd, presets

sys.path.insert(0, str(Path(__file__).parents[1] / "data_scripts"))
guided = importlib.import_module("guided")
choose = importlib.import_module("8_choose_guidance")
experiments = importlib.import_module("8_guide_the_sampler")

pytestmark = pytest.mark.usefixtures("one_thread")
Way = guided.Way


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Experiments on made-up subjects, whose drawings tell how they were drawn."""
    study = object.__new__(experiments.Experiments)
    study.preset = dataclasses.replace(presets.get("mini"), n_steps=20, strength=0.6)
    study.image_ids, study.description = np.arange(100, 160), {"a": 1}
    study.folder, study.subjects = tmp_path, [f"subj{s:02d}" for s in range(1, 5)]
    study.strengths = {
        "true": (900.0, 1.0),
        "true, no limit": (500.0, 1.0),
        "decoded": (40.0, 0.25),
        "network": (70.0, 0.5),
    }
    study.limit = 2.0
    study.drawn, study._of_subject = [], {}
    study.decoders = {"full": None, "tiny": None}

    def draw(subject, way, repeat=0, rows=slice(None), watch=None):
        study.drawn.append((subject, way, repeat, len(study.image_ids[rows])))
        if watch is not None:  # each layer's loss has a size of its own
            step = (
                0.5
                if way
                == dataclasses.replace(Way(targets="true"), feature_scale=1.0, guided_share=way.guided_share)
                else 0.1
            )
            watch(SimpleNamespace(relative_step=torch.full((4,), step)))
        level = (study.image_ids[rows] - 100) / 255
        return torch.tensor(level).float()[:, None, None, None].expand(-1, 3, 4, 4)

    monkeypatch.setattr(study, "draw", draw)
    return study


def test_strengths_follow_from_whether_the_guide_knows_the_truth(study):
    assert study.strength_of(Way()) == (40.0, 0.25)
    assert study.strength_of(Way(targets="rescaled")) == (40.0, 0.25)
    for targets in ("true", "other", "mixed 0.5"):
        assert study.strength_of(Way(targets=targets, limited=True)) == (900.0, 1.0)
        assert study.strength_of(Way(targets=targets)) == (500.0, 1.0)
    assert study.strength_of(Way(targets="true", feature_scale=3.0)) == (3.0, 1.0)
    assert study.strength_of(Way(guided_share=0.0)) == (40.0, 0.0)


def test_the_limit_is_for_ways_that_ask_for_it(study, monkeypatch):
    asked = []
    monkeypatch.setattr(guided.sampler, "Guidance", lambda *_, **options: asked.append(options))
    monkeypatch.setattr(study, "_brain_guide", lambda _: None)
    for limited in (True, False):
        study.guidance("subj01", Way(guide="brain", limited=limited))
    assert [options["max_relative_step"] for options in asked] == [2.0, None]
    for group in ("hard", "ablations", "brain"):  # whatever has the strength of true features
        for name, way in experiments.GROUPS[group][0].items():
            strong = way.targets not in ("decoded", "network") or name in experiments.CALIBRATED
            assert way.limited == (strong and "no limit" not in name)


def test_other_guides_take_first_steps_as_long_as_that_with_true_features(study):
    way = experiments.ABLATIONS["layer 3 alone"]
    made = study.calibrated("subj01", "layer 3 alone", way)
    assert made.feature_scale == pytest.approx(900 * 5)
    assert dataclasses.replace(made, feature_scale=None, guided_share=None) == way
    assert made.guided_share == 1
    asked = [way for _, way, *_ in study.drawn]
    assert {way.feature_scale for way in asked} == {1.0}
    assert not any(way.limited for way in asked)  # else all steps were as long
    assert [int(12 * way.guided_share) for way in asked] == [1, 1]  # one of the twelve steps
    assert study.calibrated("subj01", "layer 3 alone", way) == made
    assert len(study.drawn) == 2  # measured once
    assert study.calibrated("subj01", "true g", experiments.TRUE) is experiments.TRUE
    name = "brain, no limit"  # compared with true features without a limit
    free = study.calibrated("subj01", name, experiments.BRAIN[name])
    assert free.feature_scale == pytest.approx(500 * 5) and not free.limited


def test_parts_that_are_drawn_alike_are_drawn_once_and_rows_are_found_by_id(study):
    parts = study.parts()
    assert len(set(parts)) == len(parts)
    for part in parts:
        images = study.images_of(*part)
        wanted = study.rows(experiments.GROUPS[part[0]][2])
        level = (images[:, 0, 0, 0] * 255).round().int().numpy()
        np.testing.assert_array_equal(level, study.image_ids[wanted] - 100)
    whole = [drawn for drawn in study.drawn if drawn[3] == 60 and drawn[1].feature_scale is None]
    # Eight ways of four subjects; the other groups take their first drawings from there.
    assert len(whole) == len(set(whole)) == 32
    n_drawn = len(study.drawn)
    for part in parts:
        study.images_of(*part)
    assert len(study.drawn) == n_drawn


def test_without_a_tiny_autoencoder_nothing_is_drawn_through_it(study):
    whole = [part[1] for part in study.parts()]
    del study.decoders["tiny"]
    left = [part[1] for part in study.parts()]
    gone = {name for name in whole if name not in left}
    assert gone == {"tiny decoder", "tiny, without U-Net"}


def test_mixed_features_lie_between_decoded_and_true_ones(study, monkeypatch):
    true, decoded = ({k: torch.full((60, 2, 3), value) for k in guided.LAYERS} for value in (4, 0))
    monkeypatch.setattr(guided, "encode_g", lambda *_: true)
    monkeypatch.setattr(study, "_decode_g", lambda *_: decoded)
    study.encoder, study.root = None, None
    assert study.g_of("subj01", "true") is true
    assert (study.g_of("subj01", "mixed 0.75")[2] == 3).all()
    assert (study.g_of("subj01", "mixed 0.0")[2] == 0).all()
    with pytest.raises(ValueError, match="No features 'truth'"):
        study.g_of("subj01", "truth")


def test_another_images_features_are_never_the_images_own(study, monkeypatch):
    rows = torch.arange(60.0)[:, None, None].expand(-1, 2, 3)
    monkeypatch.setattr(guided, "encode_g", lambda *_: dict.fromkeys(guided.LAYERS, rows))
    study.encoder, study.root = None, None
    other = study.g_of("subj01", "other")[1][:, 0, 0]
    assert sorted(other.tolist()) == list(range(60))
    assert (other != torch.arange(60.0)).all()


def test_two_showings_and_the_third_share_no_trial(tiny_tree, study):
    table = nsd.trials(tiny_tree, "subj01")
    study.image_ids, study.root = nsd.split(table)[1], tiny_tree
    mask = nsd.roi_mask(tiny_tree, "streams", "early", "fsaverage", "subj01")
    betas = nsd.zscore(
        nsd.betas(tiny_tree, "subj01", mask=mask), table["session"].to_numpy(), ~table["shared"].to_numpy()
    )
    (two, ids), (third, same) = (study.showings("subj01", mask, last) for last in (False, True))
    np.testing.assert_array_equal(ids, same)
    assert len(ids)
    for k, image_id in enumerate(ids):
        rows = np.flatnonzero(table["image_id"] == image_id)
        np.testing.assert_allclose(two[k], betas[rows[:2]].mean(0), atol=1e-5)
        np.testing.assert_allclose(third[k], betas[rows[2]], atol=1e-5)


def test_the_encoding_model_of_the_brain_guide_predicts_and_is_differentiable(monkeypatch):
    monkeypatch.setattr(guided, "N_COMPONENTS", 20)
    encoder = tiny_clip_image_encoder()
    images = torch.rand(140, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    g = features.encode_clip_layers(encoder, images, (1, 3))
    weights = torch.randn(g[3][0].numel(), 4, generator=torch.Generator().manual_seed(2))
    signal = (g[3].flatten(1) - g[3].flatten(1).mean(0)) @ weights
    betas = (signal / signal.std(0) + 0.3 * torch.randn_like(signal)).numpy()
    fit = {k: values[:120] for k, values in g.items()}
    encode = guided.BrainEncoder(encoder, fit, betas[:120], np.arange(120))
    new = images[120:].requires_grad_()
    predicted = encode(new)
    r = np.corrcoef(predicted.detach().numpy().ravel(), signal[120:].numpy().ravel())[0, 1]
    assert r > 0.5
    (gradient,) = torch.autograd.grad(predicted.sum(), new)
    assert (gradient.flatten(1).norm(dim=1) > 0).all()


def test_the_cell_with_the_best_mean_rank_is_chosen_and_of_equals_the_one_that_guides_less():
    cells = choose.GRIDS["ridge"]["decoded"]
    means = np.zeros((len(cells), 4))
    means[[3, 9]] = 1.0, 1.0, 1.0, 0.5
    best = choose.choose(cells, means).iloc[0]
    assert best.guided_share == min(cells[k][1] for k in (3, 9))
    assert (best.feature_scale, best.guided_share, None) in (cells[3], cells[9])
    means[0] = 2.0
    assert choose.choose(cells, means).iloc[0].feature_scale == 0  # without guide is one of them


def test_grids_hold_what_they_say_and_no_guide_once():
    cells = choose.cross((10.0, 30.0), (0.5, 1.0), (1.0, None))
    assert cells[0] == choose.NO_GUIDE and len(cells) == len(set(cells)) == 9
    assert {cell[2] for cell in cells[1:]} == {1.0, None}
    table = choose.choose(cells, np.zeros((9, 4)))
    assert (table["max_relative_step"] == np.inf).sum() == 5  # no limit is the highest one


def test_the_cells_that_help_the_most_images_come_first_and_keep_their_order():
    cells = choose.cross((30.0, 100.0, 300.0), (1.0,))
    means = np.arange(4.0)[:, None].repeat(4, axis=1)  # the strongest is the best
    loss = np.full((4, 2, 100), 1.0)  # cells, subjects, images; the first cell is unguided
    loss[1:] = 0.5
    loss[3, 0, :5] = 2.0
    found = choose.choose(cells, means, loss)
    assert found["feature_scale"].tolist() == [100.0, 30.0, 300.0, 0.0]
    assert found["falls"].tolist() == [1.0, 1.0, 0.975, 0.0]
    loss[1:] = 1.0  # where none helps the order stays
    assert choose.choose(cells, means, loss)["feature_scale"].tolist() == [300, 100, 30, 0]


def test_shares_of_the_parts_are_neighbours_and_together_all_parts():
    parts = list(range(10))
    shares = [guided.share_of(parts, k, 3) for k in range(3)]
    assert sum(shares, []) == parts and shares[0] == [0, 1, 2, 3]


def test_networks_decode_what_a_way_asks_of_them(study, monkeypatch):
    asked = []

    def predictions(_preset, _root, *part):
        asked.append(part)
        ids = np.arange(95, 165)  # more than the study looks at
        right, wrong = ("z_rescaled", "c_rescaled", "g3"), ("z", "c", "g3_rescaled")
        values = {name: ids[:, None] + 1000 * (name in wrong) for name in (*right, *wrong)}
        return {"image_ids": ids, **values}

    monkeypatch.setattr(guided.sharing, "predictions", predictions)
    monkeypatch.setattr(guided, "LAYERS", (3,))
    study.root = None
    z, c = study.z_and_c("subj02", Way(decoder="network"))
    assert z[:, 0].tolist() == c[:, 0].tolist() == study.image_ids.tolist()
    assert study.g_of("subj02", "network")[3][:, 0].tolist() == study.image_ids.tolist()
    assert asked == [("subj02", 0, "pretrained", "all")]
    assert study.strength_of(Way(targets="network")) == (70.0, 0.5)


def test_networks_are_tuned_on_their_own_validation_images(monkeypatch):
    ids, betas = np.arange(50, 60), np.ones((10, 3))
    done = {"rescaled": [], "means": []}

    class Sharing:
        def __init__(self, preset, root):
            pass

        def held(self, *_):
            return betas, ids

        def network(self, subject, seed, method, amount, group):
            assert (subject, seed, method, amount) == ("subj02", 0, "pretrained", "all")
            assert torch.is_grad_enabled()
            return group, {}

        def targets(self, group):
            return {group: None}

        def trials(self, _subject):
            return None, np.arange(40, 60).repeat(3)

    def predict(network, betas, _subject, rescale):
        names = [f"g{k}" for k in guided.LAYERS] if network == "g" else [network]
        assert rescale == (network != "g")
        return {name: np.arange(len(betas))[:, None, None] + np.zeros((1, 2, 2)) for name in names}

    monkeypatch.setattr(choose.guided.sharing, "sharing_of", Sharing)
    monkeypatch.setattr(choose.shared_space, "predict", predict)
    monkeypatch.setattr(
        choose.shared_space, "fit_rescaling", lambda network, *_: done["rescaled"].append(network)
    )
    monkeypatch.setattr(
        choose.reconstructions, "mean_image", lambda _preset, _root, ids: done["means"].append(ids.tolist())
    )
    monkeypatch.setattr(choose.study, "load_judges", lambda _: None)
    monkeypatch.setattr(choose.study, "prepare_originals", lambda _, images: images)
    monkeypatch.setattr(choose.nsd, "images", lambda _root, ids, _size: ids[:, None] * 1.0)
    preset = dataclasses.replace(presets.get("mini"), rescale=True)
    encoder = SimpleNamespace(name="clip")
    with torch.no_grad():
        made = choose.NetworkValidation(preset, None, encoder, None, "subj02", n_images=4)
    assert done == {"rescaled": ["z", "c"], "means": [list(range(40, 50))]}
    assert len(made.image_ids) == 4 and set(made.image_ids) <= set(ids)
    for values in (made.z, made.c):  # rows follow the images
        assert (values[:, 0, 0].numpy() + 50 == made.image_ids).all()
    assert made.originals[:, 0].tolist() == made.image_ids.tolist()
