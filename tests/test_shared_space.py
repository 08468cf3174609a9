import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from shared_space_world import QUICK, SHAPES, SMALL, correlation, rows_of, simulate

from latentcortex.shared_space import NetworkSizes, SharedSpace, fit_rescaling, predict, train

WITH_PRIOR = dataclasses.replace(SMALL, prior_depth=1, prior_heads=2)


@pytest.fixture(autouse=True)
def _one_thread(one_thread):
    pass


@pytest.fixture(scope="module")
def world():
    return simulate()


@pytest.fixture(scope="module")
def trained(world):
    """A network with latents, tokens and a prior, trained on three subjects."""
    model = SharedSpace(world.n_voxels, SHAPES, WITH_PRIOR)
    train(model, world.trials, world.targets, QUICK, progress=False)
    return model


def test_forward_is_the_formula():
    model = SharedSpace({"subj01": 5}, {"c": (3, 4)}, SMALL).eval()
    betas = torch.randn(7, 5)
    weights = model.state_dict()

    def linear(x, name):
        return x @ weights[name + ".weight"].T + weights[name + ".bias"]

    h = linear(betas, "subjects.subj01")
    normed = (h - h.mean(1, keepdim=True)) / (h.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
    # LayerNorm's own weights are 1 and 0 before training.
    inner = linear(normed, "backbone.0.layers.1")
    inner = inner * 0.5 * (1 + torch.erf(inner / 2**0.5))
    h = h + linear(inner, "backbone.0.layers.4")
    expected = linear(h, "heads.c.linear").reshape(7, 3, 4)
    tokens, projected = model({"subj01": betas})["c"]
    torch.testing.assert_close(tokens, expected)
    for k in (0, 3, 6):
        expected = (
            F.gelu(F.layer_norm(expected, (4,))) @ weights[f"heads.c.projector.{k + 2}.weight"].T
            + weights[f"heads.c.projector.{k + 2}.bias"]
        )
    torch.testing.assert_close(projected, expected)


def test_subjects_are_decoded_one_after_the_other(world):
    model = SharedSpace(world.n_voxels, SHAPES, SMALL).eval()
    betas = {s: torch.from_numpy(world.trials[s][0][:4]) for s in ("subj03", "subj01")}
    both = model(betas)
    for k, subject in enumerate(betas):
        for name, parts in model({subject: betas[subject]}).items():
            for part, of_both in zip(parts, both[name], strict=True):
                assert part.shape == (4, *SHAPES[name])
                torch.testing.assert_close(of_both[4 * k : 4 * k + 4], part)


def test_the_defaults_are_the_published_sizes():
    sizes = NetworkSizes()
    assert (sizes.hidden_size, sizes.n_blocks, sizes.dropout, sizes.prior_depth) == (4096, 4, 0.15, 6)
    with torch.device("meta"):
        latents = SharedSpace({"subj01": 2}, {"z": (4, 64, 64)}, sizes)
        assert latents.heads["z"].linear.out_features == 16384
        hidden = torch.zeros(2, sizes.hidden_size)
        assert [x.shape for x in latents.heads["z"](hidden)] == [(2, 4, 64, 64)] * 2


def test_weights_follow_from_the_seed_alone():
    state = torch.random.get_rng_state()
    one, same, other = (SharedSpace({"a": 5}, SHAPES, SMALL, seed=k) for k in (3, 3, 4))
    assert torch.equal(torch.random.get_rng_state(), state)
    for name, weights in one.state_dict().items():
        assert torch.equal(weights, same.state_dict()[name])
    assert not torch.equal(one.subjects["a"].weight, other.subjects["a"].weight)
    assert not torch.equal(one.heads["c"].linear.weight, other.heads["c"].linear.weight)


def test_a_new_subject_takes_over_everything_but_its_own_layer(trained, world):
    before = {name: w.clone() for name, w in trained.state_dict().items()}
    new = trained.with_new_subject("subj09", 17)
    assert list(new.n_voxels) == list(new.subjects) == ["subj09"]
    shared = {k: w for k, w in new.state_dict().items() if not k.startswith("subjects")}
    assert len(shared) > 30
    for name, weights in shared.items():
        assert torch.equal(weights, before[name])
    assert all(p.requires_grad for p in new.parameters())
    np.testing.assert_array_equal(new.training_image_ids, trained.training_image_ids)
    # It goes on from there, all of it, and the first network stays as it was.
    betas, image_ids = world.test["subj01"]
    train(new, {"subj09": (betas[:, :17], image_ids)}, world.targets, QUICK, progress=False)
    after = dict(new.named_parameters())
    for name in ("backbone.0.layers.1.weight", "heads.c.linear.bias", "heads.z.linear.weight"):
        assert not torch.equal(after[name], before[name])
    assert all(torch.equal(w, before[name]) for name, w in trained.state_dict().items())
    learned = np.union1d(trained.training_image_ids, image_ids)
    np.testing.assert_array_equal(new.training_image_ids, learned)
    with pytest.raises(ValueError, match="knows subj02 already"):
        trained.with_new_subject("subj02", 17)


@pytest.mark.parametrize("shape", [(8,), (2, 3, 4, 4)])
def test_targets_are_tokens_or_latents(shape):
    with pytest.raises(ValueError, match="n_tokens, width"):
        SharedSpace({"a": 3}, {"c": shape}, SMALL)
    with pytest.raises(ValueError, match="can't be halved"):
        SharedSpace({"a": 3}, {"z": (4, 5, 4)}, SMALL)


def test_predictions_do_not_depend_on_the_batch(trained, world):
    betas, _ = world.test["subj02"]
    state = torch.random.get_rng_state()
    predicted = predict(trained, betas, "subj02")
    assert torch.equal(torch.random.get_rng_state(), state)
    for name, shape in SHAPES.items():
        assert predicted[name].shape == (60, *shape) and predicted[name].dtype == np.float32
    alone = predict(trained, betas[7:8], "subj02")
    for batch_size in (1, 7, 60):
        other = predict(trained, torch.from_numpy(betas), "subj02", batch_size=batch_size)
        for name in SHAPES:
            np.testing.assert_allclose(other[name], predicted[name], atol=1e-5)
    for name in SHAPES:
        np.testing.assert_allclose(alone[name], predicted[name][7:8], atol=1e-5)


def test_prediction_leaves_the_mode_of_the_network(trained, world):
    trained.train()
    one, same = (predict(trained, world.test["subj01"][0], "subj01")["c"] for _ in range(2))
    assert trained.training
    np.testing.assert_array_equal(one, same)
    trained.eval()
    predict(trained, world.test["subj01"][0], "subj01")
    assert not trained.training


def test_prediction_has_no_way_in_for_targets(trained, world, monkeypatch):
    """Noising a target is how a prior's output gets contaminated: nothing is noised here."""
    expected = predict(trained, world.test["subj01"][0], "subj01")

    def refuse(*_args, **_kwargs):
        raise AssertionError("a target was noised")

    prior = trained.heads["c"].prior
    monkeypatch.setattr(prior, "loss", refuse)
    monkeypatch.setattr(type(prior.scheduler), "add_noise", refuse)
    predicted = predict(trained, world.test["subj01"][0], "subj01")
    for name in SHAPES:
        np.testing.assert_array_equal(predicted[name], expected[name])


def test_predictions_are_in_the_units_of_the_targets(trained, world):
    betas = world.test["subj01"][0]
    c, z = trained.heads["c"], trained.heads["z"]
    with torch.no_grad():
        standardised = trained.eval()({"subj01": torch.from_numpy(betas)})
    drawn = c.prior.sample(standardised["c"][0], seed=5)
    predicted = predict(trained, betas, "subj01", seed=5)
    np.testing.assert_allclose(predicted["c"], c.mean + c.scale * drawn, atol=1e-5)
    expected = z.mean + z.scale * standardised["z"][0]
    np.testing.assert_allclose(predicted["z"], expected, atol=1e-5)


def test_projections_are_those_of_the_forward_pass(trained, world):
    betas = world.test["subj01"][0]
    with torch.no_grad():
        expected = trained.eval()({"subj01": torch.from_numpy(betas)})
    projected = predict(trained, betas, "subj01", projected=True)
    for name in SHAPES:
        np.testing.assert_allclose(projected[name], expected[name][1], atol=1e-5)


def test_rescaling_restores_mean_and_spread_of_validation_images(world):
    model = SharedSpace(world.n_voxels, SHAPES, SMALL)
    train(model, world.trials, world.targets, QUICK, progress=False)
    betas, image_ids = world.test["subj01"]
    validation, test = (betas[:30], image_ids[:30]), (betas[30:], image_ids[30:])
    with pytest.raises(ValueError, match="call fit_rescaling"):
        predict(model, betas, "subj01", rescale=True)
    plain = predict(model, test[0], "subj01")
    fit_rescaling(model, validation[0], "subj01", validation[1], world.targets)
    rescaled = predict(model, validation[0], "subj01", rescale=True)
    for name in SHAPES:
        true = rows_of(world.targets[name], validation[1])
        np.testing.assert_allclose(rescaled[name].mean(0), true.mean(0), atol=1e-4)
        np.testing.assert_allclose(rescaled[name].std(0), true.std(0), rtol=1e-3)
    of_test = predict(model, test[0], "subj01", rescale=True, image_ids=test[1])
    alone = predict(model, test[0][:1], "subj01", rescale=True)
    unscaled = predict(model, test[0], "subj01")
    for name in SHAPES:
        np.testing.assert_allclose(alone[name], of_test[name][:1], atol=1e-4)
        np.testing.assert_array_equal(unscaled[name], plain[name])
        assert correlation(of_test[name], plain[name]) > 0.999
    with pytest.raises(ValueError, match="learned from 30 of these images"):
        predict(model, validation[0], "subj01", rescale=True, image_ids=validation[1])
    predict(model, validation[0], "subj01", image_ids=validation[1])
    with pytest.raises(ValueError, match="of subj02's predictions"):
        predict(model, world.test["subj02"][0], "subj02", rescale=True)
    # Trained on, its predictions have another spread.
    train(model, world.trials, world.targets, QUICK, progress=False)
    with pytest.raises(ValueError, match="of subj01's predictions"):
        predict(model, betas, "subj01", rescale=True)


def test_a_network_refuses_to_be_tested_on_what_it_has_learned_from(trained, world):
    betas, image_ids = world.test["subj01"]
    own = world.trials["subj03"][1][:1]
    with pytest.raises(ValueError, match=rf"learned from 1 of these images, such as {own[0]}"):
        predict(trained, betas, "subj01", image_ids=[*own, *image_ids[1:]])
    with pytest.raises(ValueError, match="learned from"):
        rows = world.trials["subj01"]
        fit_rescaling(trained, rows[0], "subj01", rows[1], world.targets)
    # The second stage remembers the images of the first.
    later = trained.with_new_subject("new", 40)
    with pytest.raises(ValueError, match="learned from"):
        predict(later, betas[:1, :40], "new", image_ids=own)
    with pytest.raises(ValueError, match="one image id, a whole number, for each of 60 rows"):
        predict(trained, betas, "subj01", image_ids=image_ids[:5])


def test_betas_that_do_not_fit(trained, world):
    betas, _ = world.test["subj01"]
    with pytest.raises(ValueError, match="knows the subjects subj01, subj02, subj03, not 'subj08'"):
        predict(trained, betas, "subj08")
    with pytest.raises(ValueError, match=r"\(n_trials, 43\) of subj02, got \(60, 40\)"):
        predict(trained, betas, "subj02")
    with pytest.raises(ValueError, match="one trial is one row"):
        predict(trained, betas[0], "subj01")
    broken = betas.copy()
    broken[[3, 8], 5] = np.nan, np.inf
    with pytest.raises(ValueError, match=r"subj01 have NaN or infinite values in rows \[3, 8\]"):
        predict(trained, broken, "subj01")


def test_trains_and_predicts_on_each_device(device, world):
    model = SharedSpace(world.n_voxels, SHAPES, WITH_PRIOR).to(device)
    history = train(
        model,
        world.trials,
        world.targets,
        QUICK,
        progress=False,
        validation_image_ids=np.unique(world.trials["subj01"][1])[:10],
    )
    assert model.device.type == device.type
    assert history[-1]["loss"] < history[0]["loss"]
    new = model.with_new_subject("new", 4)
    assert new.device.type == device.type
    betas, image_ids = world.test["subj01"]
    fit_rescaling(model, betas, "subj01", image_ids, world.targets)
    rescaled = predict(model, betas, "subj01", rescale=True)
    assert np.isfinite(rescaled["c"]).all() and np.isfinite(rescaled["z"]).all()
