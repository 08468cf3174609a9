"""Drawings are made by their recipe, in blocks, once, and known by their ids."""

import dataclasses
import functools
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_models import tiny_clip_image_encoder

from latentcortex import features, sampler, store
from latentcortex.studies import decoding, drawings, guides, shared_training
from latentcortex.studies.encoders import LayerEncoder, OneLayerAtATime
from latentcortex.studies.recipes import RECIPES, Guide, Recipe
from latentcortex.studies.study import LAYERS

pytestmark = pytest.mark.usefixtures("one_thread")


def correlation(a, b):
    return np.corrcoef(np.ravel(a), np.ravel(b))[0, 1]


@pytest.fixture
def counted(study, tmp_path, monkeypatch):
    """The study, and what was drawn: drawings tell by their level which image they are of."""
    monkeypatch.setenv("LATENTCORTEX_CACHE", str(tmp_path))
    drawn = []

    def draw(study, subject, recipe, repeat, image_ids):
        drawn.append((subject, recipe, repeat, list(image_ids)))
        level = store.rows_of(study.image_ids, image_ids) / 255
        return torch.tensor(level).float()[:, None, None, None].expand(-1, 3, 4, 4)

    monkeypatch.setattr(drawings, "draw", draw)
    return study, drawn


def test_drawings_are_kept_in_blocks_and_come_in_the_order_asked_for(counted, monkeypatch):
    study, drawn = counted
    monkeypatch.setattr(drawings, "N_IN_BLOCK", 3)
    ids = study.image_ids[::-1]
    for _ in range(2):
        images = drawings.drawings(study, "subj01", Recipe(), 1, ids)
    assert [len(some) for *_, some in drawn] == [3, 3, 2]
    np.testing.assert_array_equal((images[:, 0, 0, 0] * 255).round(), np.arange(8)[::-1])
    drawings.drawings(study, "subj01", Recipe(), 1)  # other blocks
    assert len(drawn) == 6


def test_what_needs_no_brain_is_drawn_once_for_all_subjects(counted):
    study, drawn = counted
    for subject in study.subjects:
        for name in ("vae", "true_both", "no_brain", "both", "in_span"):
            drawings.drawings(study, subject, RECIPES[name])
    assert [recipe for _, recipe, *_ in drawn].count(RECIPES["vae"]) == 1
    assert len(drawn) == 3 + 2 * 2


def test_recipes_and_strengths_have_drawings_of_their_own(counted):
    study, drawn = counted
    recipes = [
        Recipe(),
        Recipe(condition="z_only"),
        Recipe(guide=Guide(feature_scale=1.0)),
        Recipe(guide=Guide(feature_scale=2.0)),
        Recipe(guide=Guide(feature_scale=2.0, max_relative_step=3.0)),
        Recipe(dpm=True),
    ]
    for recipe in recipes:
        drawings.drawings(study, "subj01", recipe)
    assert [recipe for _, recipe, *_ in drawn] == recipes


@pytest.mark.parametrize(
    ("name", "condition", "true"),
    [
        ("true_z", "z_only", "z"),
        ("true_c", "c_only", "c"),
        ("true_both", "both", "zc"),
        ("both", "both", ""),
        ("z_only", "z_only", ""),
        ("no_brain", "c_only", ""),
        ("shuffled_brain", "both", ""),
    ],
)
def test_every_recipe_is_drawn_from_what_it_says(study, monkeypatch, name, condition, true):
    asked = {}

    def reconstruct(_model, z, c, **options):
        asked.update(options, z=z, c=c)
        return torch.zeros(len(z), 3, 4, 4)

    monkeypatch.setattr(sampler, "reconstruct", reconstruct)
    ids = study.image_ids[[5, 2]]
    drawings.draw(study, "subj01", RECIPES[name], 4, ids)
    assert asked["condition"] == condition and asked["repeat"] == 4
    np.testing.assert_array_equal(asked["image_ids"], ids)
    truth = dict(zip("zc", (values[[5, 2]] for values in decoding.true(study, "z", "c")), strict=True))
    for key in true:
        assert torch.equal(asked[key], truth[key])
    decoded = decoding.decoded(study, "subj01", "z")
    if name in ("both", "z_only"):
        assert torch.equal(asked["z"], decoded[[5, 2]])
    if name == "shuffled_brain":
        rows = [int((decoded == z).flatten(1).all(1).nonzero()) for z in asked["z"]]
        assert not set(zip(rows, (5, 2), strict=True)) & {(5, 5), (2, 2)}
    expected = 1.0 if name == "no_brain" else study.preset.guidance_scale
    assert asked["guidance_scale"] == expected and asked["strength"] == study.preset.strength


def test_the_span_is_that_of_the_images_that_a_decoder_was_fitted_on(study):
    fitted = decoding.linear(study, "subj01", "z")
    spanning = fitted.true_train[fitted.is_fit].flatten(1).double().numpy()
    new = decoding.in_span(study, "subj01", "z").flatten(1).double().numpy()
    outside = new - spanning.mean(0)
    directions = np.linalg.svd(spanning - spanning.mean(0), full_matrices=False)[2][: len(spanning) - 1]
    np.testing.assert_allclose(outside, outside @ directions.T @ directions, atol=1e-4)


def test_a_source_that_is_unknown_is_named(study):
    with pytest.raises(ValueError, match="one of true, empty, ridge, network, got 'bridge all'"):
        drawings.z_and_c(study, "subj01", "bridge all")


def test_two_showings_are_decoded_alone(study):
    z, _ = drawings.z_and_c(study, "subj01", "ridge two")
    fitted, read = decoding.linear(study, "subj01", "z"), decoding.read(study, "subj01")
    betas = read.showings(fitted.region, "two", study.image_ids)
    torch.testing.assert_close(z, fitted.decode(betas))


def test_images_without_such_showings_are_decoded_from_all_of_theirs(study, monkeypatch):
    fitted, read, ids = decoding.linear(study, "subj01", "z"), decoding.read(study, "subj01"), study.image_ids
    absent = ids[[1, 5, 6]]

    def showings(region, which, image_ids):
        betas = read.showings(region, "all", image_ids)
        if which == "two":
            betas[np.isin(image_ids, absent)] = np.nan
            betas += 1
        return betas

    monkeypatch.setattr(decoding, "read", lambda *_: SimpleNamespace(showings=showings))
    betas = showings(fitted.region, "two", ids)
    betas[[1, 5, 6]] = read.showings(fitted.region, "all", absent)
    order = np.array([5, 0, 6, 1, 7])
    found = decoding.decode(study, "subj01", fitted, ids[order], "two")
    torch.testing.assert_close(found, fitted.decode(betas[order]))


def test_networks_decode_what_a_recipe_asks_of_them(study, monkeypatch):
    asked = []

    def predictions(_trainings, *part):
        asked.append(part)
        ids = np.append(study.image_ids[::-1], 10**6)  # in another order, and more
        right, wrong = ("z_rescaled", "c_rescaled", "g3"), ("z", "c", "g3_rescaled")
        return {
            "test_image_ids": ids,
            **{name: ids[:, None] + 1000 * (name in wrong) for name in (*right, *wrong)},
        }

    monkeypatch.setattr(shared_training.Trainings, "predictions", predictions)
    monkeypatch.setattr(guides, "LAYERS", (3,))
    z, c = drawings.z_and_c(study, "subj02", "network pretrained all")
    assert z[:, 0].tolist() == c[:, 0].tolist() == study.image_ids.tolist()
    assert guides.g_of(study, "subj02", "network")[3][:, 0].tolist() == study.image_ids.tolist()
    assert [part[-1] for part in asked] == ["z", "c", "g"]
    assert {part[:4] for part in asked} == {("subj02", 0, "pretrained", "all")}


def test_mixed_features_lie_between_decoded_and_true_ones(study):
    true, ridge, mixed, none = (
        guides.g_of(study, "subj01", f"{name}") for name in ("true", "ridge", "mixed 0.75", "mixed 0.0")
    )
    torch.testing.assert_close(mixed[2], 0.75 * true[2] + 0.25 * ridge[2])
    torch.testing.assert_close(none[2], ridge[2])
    with pytest.raises(ValueError, match="no features 'truth'"):
        guides.g_of(study, "subj01", "truth")


def test_another_images_features_are_never_the_images_own(study):
    true, other = (guides.g_of(study, None, name)[1].flatten(1) for name in ("true", "other"))
    rows = [int((true == one).all(1).nonzero()) for one in other]
    assert sorted(rows) == list(range(8)) and all(k != row for k, row in enumerate(rows))


@pytest.mark.parametrize(
    ("guide", "limit", "decoder"),
    [
        (Guide(targets="true", max_relative_step=2.0), 2.0, "full"),
        (Guide(looks_at="colours", targets="true", tiny=True), None, "tiny"),
        (Guide(looks_at="brain", guided_from=0.5), None, "full"),
    ],
)
def test_a_guide_is_made_with_what_its_recipe_says(study, guide, limit, decoder):
    made = guides.guidance_of(
        study, "subj01", dataclasses.replace(guide, feature_scale=7.0, guided_share=0.5)
    )
    assert (made.feature_scale, made.guided_share, made.guided_from) == (7.0, 0.5, guide.guided_from)
    assert made.max_relative_step == limit and made.decoder is study.decoders[decoder]
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    (gradient,) = torch.autograd.grad(made.guide(images, study.image_ids[:2]).sum(), images)
    assert (gradient.flatten(1).norm(dim=1) > 0).all()


def test_the_own_loss_of_an_original_is_zero(study):
    loss = guides.own_loss(study, study.originals, study.image_ids)
    assert loss.shape == (8,) and loss.max() < 1e-8
    assert guides.own_loss(study, study.originals[:2].flip(0), study.image_ids[:2]).min() > 0.01


@pytest.mark.parametrize("joint", [True, False])
def test_an_encoding_model_predicts_and_is_differentiable(joint):
    encoder = tiny_clip_image_encoder()
    images = torch.rand(140, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    g = features.encode_clip_layers(encoder, images, (1, 3))
    weights = torch.randn(g[3][0].numel(), 4, generator=torch.Generator().manual_seed(2))
    signal = (g[3].flatten(1) - g[3].flatten(1).mean(0)) @ weights
    betas = (signal / signal.std(0) + 0.3 * torch.randn_like(signal)).numpy()
    fit = {k: values[:120] for k, values in g.items()}
    encode = LayerEncoder(fit, betas[:120], np.arange(120), 20, joint)
    new = images[120:].requires_grad_()
    predicted = encode(features.encode_clip_layers(encoder, new, (1, 3)))
    r = np.corrcoef(predicted.detach().numpy().ravel(), signal[120:].numpy().ravel())[0, 1]
    assert r > 0.5
    (gradient,) = torch.autograd.grad(predicted.sum(), new)
    assert (gradient.flatten(1).norm(dim=1) > 0).all()


def test_layers_are_asked_for_one_by_one_and_let_go():
    """Early layers of NSD's images take 7 GB: two of them, or one twice, would be too much."""
    rng, alive, most = torch.Generator().manual_seed(3), weakref.WeakSet(), []
    known = {name: torch.randn(60, 4, 5, generator=rng) for name in ("early", "late")}
    betas = (known["early"].flatten(1)[:, :3] + known["late"].flatten(1)[:, :3]).numpy()

    def asked(name):
        layer = known[name].clone()
        alive.add(layer)
        most.append(len(alive))
        return layer

    of_functions = {name: functools.partial(asked, name) for name in known}
    lazy = OneLayerAtATime(of_functions, betas, np.arange(60), 10)
    assert most == [1, 1] and not alive
    plain = LayerEncoder(known, betas, np.arange(60), 10)
    torch.testing.assert_close(lazy(known), plain(known), rtol=0, atol=1e-5)


def test_all_layers_are_asked_for_unless_a_guide_says_otherwise():
    assert Guide().layers == LAYERS and Recipe().guided(layers=(3,)).guide.layers == (3,)
