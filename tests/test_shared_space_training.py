import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from shared_space_world import QUICK, SHAPES, SMALL, only, rows_of, simulate

from latentcortex.shared_space import SharedSpace, predict, train, training
from latentcortex.shared_space.data import TrainingData

WITH_PRIOR = dataclasses.replace(SMALL, prior_depth=1, prior_heads=2)
TOKENS = only(SHAPES, "c")


@pytest.fixture(autouse=True)
def _one_thread(one_thread):
    pass


@pytest.fixture
def world():
    return simulate()


def train_new(world, targets=None, settings=QUICK, sizes=SMALL, trials=None, **options):
    targets = world.targets if targets is None else targets
    model = SharedSpace(world.n_voxels, {n: SHAPES[n] for n in targets}, sizes)
    trials = world.trials if trials is None else trials
    return model, train(model, trials, targets, settings, progress=False, **options)


def assert_same_weights(one, other):
    assert one.state_dict().keys() == other.state_dict().keys()
    for name, weights in one.state_dict().items():
        assert torch.equal(weights, other.state_dict()[name]), name


@pytest.mark.parametrize("killed_at", [3, 7, 11])
def test_killed_and_resumed_equals_uninterrupted(world, tmp_path, monkeypatch, killed_at):
    validation = np.unique(world.trials["subj02"][1])[:15]
    options = {"sizes": WITH_PRIOR, "validation_image_ids": validation}
    whole, history = train_new(world, **options)
    options |= {"checkpoint": tmp_path / "state.safetensors", "checkpoint_seconds": 0}
    steps = []

    def killed(model, data, settings, step, epoch_steps, step_loss=training.step_loss):
        if step == killed_at and killed_at not in steps:
            steps.append(step)
            raise KeyboardInterrupt
        steps.append(step)
        return step_loss(model, data, settings, step, epoch_steps)

    monkeypatch.setattr(training, "step_loss", killed)
    with pytest.raises(KeyboardInterrupt):
        train_new(world, **options)
    torch.manual_seed(99)  # nothing may hang on the global state
    resumed, resumed_history = train_new(world, **options)
    assert steps == [*range(killed_at + 1), *range(killed_at, 12)]
    assert_same_weights(resumed, whole)
    assert resumed_history == history and len(history) == 3
    # Finished, it is only read.
    again, again_history = train_new(world, **options)
    assert len(steps) == 13
    assert_same_weights(again, whole)
    assert again_history == history


def test_the_global_random_state_is_neither_used_nor_moved(world):
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    one, _ = train_new(world, sizes=WITH_PRIOR)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(2)
    other, _ = train_new(world, sizes=WITH_PRIOR)
    assert_same_weights(one, other)
    seeded, _ = train_new(world, settings=dataclasses.replace(QUICK, seed=1), sizes=WITH_PRIOR)
    assert not torch.equal(seeded.heads["c"].linear.weight, one.heads["c"].linear.weight)


def test_a_checkpoint_of_another_training_is_refused(world, tmp_path):
    path = tmp_path / "state.safetensors"
    tokens = only(world.targets, "c")
    model, _ = train_new(world, tokens, checkpoint=path)

    def refused(**changes):
        with pytest.raises(ValueError, match="is of another training"):
            train_new(world, **({"targets": tokens, "checkpoint": path} | changes))

    refused(settings=dataclasses.replace(QUICK, lr=1e-3))
    refused(sizes=dataclasses.replace(SMALL, dropout=0.1))
    refused(validation_image_ids=world.trials["subj01"][1][:1])
    refused(trials={s: (2 * b, i) for s, (b, i) in world.trials.items()})
    refused(targets={"c": (1 + tokens["c"][0], tokens["c"][1])})
    # A network that has been trained since is not the one the training began with.
    with pytest.raises(ValueError, match="first weights differ"):
        train(model, world.trials, tokens, QUICK, checkpoint=path, progress=False)
    assert not path.with_suffix(".partial").exists()


def test_rows_are_known_by_their_ids(world):
    expected, _ = train_new(world)
    order = np.random.default_rng(5).permutation(len(world.targets["c"][1]))
    features, image_ids = world.targets["c"]
    moved, _ = train_new(world, world.targets | {"c": (features[order], image_ids[order])})
    # The mean of the same rows in another order is the same up to rounding.
    for name, weights in moved.state_dict().items():
        torch.testing.assert_close(weights, expected.state_dict()[name], atol=1e-4, rtol=1e-3)


def test_targets_of_test_images_are_never_looked_at(world):
    betas, image_ids = world.test["subj01"]
    model, _ = train_new(world, sizes=WITH_PRIOR)
    expected = predict(model, betas, "subj01", image_ids=image_ids)
    for features, known in world.targets.values():
        features[np.isin(known, image_ids)] = np.nan
    poisoned, _ = train_new(world, sizes=WITH_PRIOR)
    for features, _ in world.targets.values():
        features[:] = np.nan
    for trained in (model, poisoned):
        for name, values in predict(trained, betas, "subj01").items():
            np.testing.assert_array_equal(values, expected[name])


def test_validation_images_are_not_trained_on(world):
    """With all their repeats, in every subject: other betas and targets of them change nothing."""
    seen = [np.unique(world.trials[s][1])[:20] for s in ("subj01", "subj03")]
    validation = np.concatenate(seen)
    model, history = train_new(world, validation_image_ids=validation)
    assert not np.intersect1d(model.training_image_ids, validation).size
    assert len(model.training_image_ids) == 3 * 120 - 40
    others = {}
    for subject, (betas, image_ids) in world.trials.items():
        others[subject] = (np.where(np.isin(image_ids, validation)[:, None], 7, betas), image_ids)
    changed = {n: (f.copy(), ids) for n, (f, ids) in world.targets.items()}
    for features, known in changed.values():
        features[np.isin(known, validation)] += 5
    same, other_history = train_new(world, changed, trials=others, validation_image_ids=validation)
    assert_same_weights(model, same)
    assert other_history[-1]["loss"] == history[-1]["loss"]
    # Betas that are all the same retrieve one image, of each subject's 20.
    assert other_history[-1]["retrieval"]["c"] == pytest.approx(1 / 20)


def test_retrieval_is_counted_subject_by_subject(world):
    ids = {s: np.unique(world.trials[s][1])[:n] for s, n in (("subj01", 20), ("subj02", 8))}
    model, history = train_new(world, validation_image_ids=np.concatenate(list(ids.values())))
    shares = []
    for subject, wanted in ids.items():
        betas, shown = world.trials[subject]
        averaged = np.stack([betas[shown == i].mean(0) for i in wanted])
        projected = predict(model, averaged, subject, projected=True)["c"].reshape(len(wanted), -1)
        head = model.heads["c"]
        true = (rows_of(world.targets["c"], wanted) - head.mean.numpy()) / head.scale.numpy()
        true = true.reshape(len(wanted), -1)
        found = [np.argmax([p @ t / np.linalg.norm(t) for t in true]) == k for k, p in enumerate(projected)]
        shares.append(np.mean(found))
    assert history[-1]["retrieval"]["c"] == pytest.approx(np.mean(shares))
    assert 0.1 < np.mean(shares) < 1


def test_validation_images_must_be_new_and_seen(world):
    model, _ = train_new(world)
    later = model.with_new_subject("new", 40)
    learned = world.trials["subj01"][1][:1]
    with pytest.raises(ValueError, match=f"1 of the validation images already, such as {learned}"):
        train(later, {"new": world.trials["subj01"]}, world.targets, QUICK, validation_image_ids=learned)
    with pytest.raises(ValueError, match="1 validation images are in nobody's trials"):
        train_new(world, validation_image_ids=world.test["subj01"][1][:1])


def test_batches_have_as_many_trials_of_every_subject(world):
    """Betas and targets that hold nothing but the image's id."""
    trials, targets = {}, {}
    for subject, (betas, image_ids) in world.trials.items():
        trials[subject] = (np.broadcast_to(image_ids[:, None], betas.shape), image_ids)
    for name, (features, image_ids) in world.targets.items():
        one = np.ones(features.shape[1:])
        targets[name] = (np.multiply.outer(image_ids, one), image_ids)
    validation = np.unique(world.trials["subj02"][1])[:100]
    data = TrainingData(SharedSpace(world.n_voxels, SHAPES, SMALL), trials, targets, validation)
    drawn = {subject: set() for subject in trials}
    rng = np.random.default_rng(0)
    for _ in range(60):
        betas, features = data.batch(6, rng)
        ids = torch.cat([rows[:, 0] for rows in betas.values()])
        for name in SHAPES:
            assert torch.equal(
                features[name].flatten(1), ids[:, None].expand(18, -1)[:, [0] * features[name][0].numel()]
            )
        for subject, rows in betas.items():
            images = set(rows[:, 0].long().tolist())
            assert len(images) == 6
            drawn[subject] |= images
    assert drawn["subj02"] == set(world.trials["subj02"][1]) - set(validation)
    assert drawn["subj01"] <= set(world.trials["subj01"][1]) and len(drawn["subj01"]) > 100


def test_targets_are_standardised_by_training_images_once(world):
    model, _ = train_new(world, validation_image_ids=world.trials["subj01"][1][:30])
    true = rows_of(world.targets["c"], model.training_image_ids)
    head = model.heads["c"]
    np.testing.assert_allclose(head.mean, true.mean(0), rtol=1e-5)
    np.testing.assert_allclose(head.scale, np.sqrt(true.var(0).mean()), rtol=1e-5)
    features = torch.from_numpy(true[:5])
    torch.testing.assert_close(head.restore(head.standardise(features)), features)
    later = model.with_new_subject("new", 40)
    moved = {n: (f + 1, ids) for n, (f, ids) in world.targets.items()}
    train(later, {"new": world.trials["subj01"]}, moved, QUICK, progress=False)
    assert torch.equal(later.heads["c"].mean, head.mean)


def make_exact(world, **settings):
    """A linear network that already decodes: betas are the targets, all its layers are 1."""
    features, image_ids = world.targets["c"]
    betas = features.reshape(-1, 24)
    trials = {"a": (betas[:200], image_ids[:200]), "b": (betas[200:], image_ids[200:])}
    sizes = dataclasses.replace(SMALL, hidden_size=24, n_blocks=0)
    model = SharedSpace({"a": 24, "b": 24}, TOKENS, sizes)
    for layer in (*model.subjects.values(), model.heads["c"].linear):
        layer.weight.data.copy_(torch.eye(24))
        layer.bias.data.zero_()
    settings = dataclasses.replace(QUICK, mixing_share=1, **settings)
    return model, TrainingData(model, trials, only(world.targets, "c"), ()), settings


def test_mixed_betas_are_answered_by_mixed_targets(world):
    model, data, settings = make_exact(world, mixing_threshold=1, token_contrastive=0)
    assert training.step_loss(model, data, settings, 0, 4) < 1e-8
    model.heads["c"].linear.bias.data += 0.1
    loss = training.step_loss(model, data, settings, 0, 4)
    assert loss.item() == pytest.approx(30 * 0.1**2, rel=1e-4)


def test_losses_switch_after_a_third_of_the_epochs(world, monkeypatch):
    called = []
    for name in ("bimixco", "softclip"):
        loss = getattr(training, name)
        monkeypatch.setattr(training, name, lambda *a, n=name, f=loss: (called.append((n, a[-1])), f(*a))[1])
    train_new(world, only(world.targets, "c"))
    assert [name for name, _ in called] == ["bimixco"] * 4 + ["softclip"] * 8
    temperatures = [t for _, t in called]
    assert temperatures[:4] == [0.006] * 4
    assert temperatures[4] == pytest.approx(0.004) and temperatures[-1] == pytest.approx(0.0075)
    assert (np.diff(temperatures[4:]) > 0).all()


def test_latents_are_learned_from_whole_trials(world, monkeypatch):
    """Beside tokens the mixed rows are left out, on their own nothing is mixed."""
    pairs = []
    l1 = F.l1_loss
    monkeypatch.setattr(training.F, "l1_loss", lambda *a: (pairs.append(a), l1(*a))[1])
    sizes = dataclasses.replace(SMALL, dropout=0.0)
    for names, least in ((["c", "z"], 4), (["z"], 18)):
        shapes = {name: SHAPES[name] for name in names}
        model = SharedSpace(world.n_voxels, shapes, sizes)
        data = TrainingData(model, world.trials, only(world.targets, *names), ())
        training.step_loss(model, data, QUICK, 0, 4)
        predicted, target = pairs.pop()
        assert least <= len(target) <= (14 if least == 4 else 18)
        betas, features = data.batch(6, np.random.default_rng([0, 0]))
        unmixed = model(betas)["z"][0]
        for p, t in zip(predicted, target, strict=True):
            (row,) = (features["z"] == t).flatten(1).all(1).nonzero().flatten()
            torch.testing.assert_close(p, unmixed[row])


def test_rates_clipping_and_decay(world, monkeypatch):
    made, rates, norms = [], [], []

    def adamw(*args, optimiser=torch.optim.AdamW, **options):
        made.append(optimiser(*args, **options))
        made[-1].register_step_pre_hook(note)
        return made[-1]

    def note(optimiser, *_):
        rates.append(optimiser.param_groups[0]["lr"])
        gradients = [p.grad.norm() for g in optimiser.param_groups for p in g["params"]]
        norms.append(float(torch.stack(gradients).norm()))

    monkeypatch.setattr(torch.optim, "AdamW", adamw)
    model, _ = train_new(world, only(world.targets, "c"))
    weights, others = made[0].param_groups
    assert (weights["weight_decay"], others["weight_decay"]) == (0.01, 0)
    # One cycle of 12 steps: up in the first epoch, down in the other two.
    assert rates[0] == pytest.approx(QUICK.lr / 25) and np.argmax(rates) == 3
    assert rates[3] == pytest.approx(QUICK.lr) and rates[11] == pytest.approx(QUICK.lr / 25_000)
    # Losses of this size have long gradients, all of them cut to the same length.
    np.testing.assert_allclose(norms, 1, rtol=1e-4)
    layer_norms = [m for m in model.modules() if isinstance(m, torch.nn.LayerNorm)]
    expected = {id(p) for norm in layer_norms for p in norm.parameters()}
    expected |= {id(p) for name, p in model.named_parameters() if name.endswith("bias")}
    assert {id(p) for p in others["params"]} == expected
    assert len(weights["params"]) == len(list(model.parameters())) - len(expected)


def test_a_loss_that_is_not_finite_is_reported(world):
    huge = {s: (1e30 * b, i) for s, (b, i) in world.trials.items()}
    with pytest.raises(FloatingPointError, match="at step 0 of 12. Lower lr"):
        train_new(world, trials=huge)


def test_trials_and_targets_that_do_not_fit(world):
    def refused(message, error=ValueError, **changes):
        with pytest.raises(error, match=message):
            train_new(world, **changes)

    z, image_ids = world.targets["z"]
    c = world.targets["c"][0]
    model = SharedSpace(world.n_voxels, SHAPES, SMALL)
    for targets, message in (
        ({"z": (z, image_ids)}, "heads for c, z, got targets z. Pass exactly those"),
        ({"z": (z, image_ids), "c": (c[:, :2], image_ids)}, r"\(n_tokens, width\) = \(3, 8\)"),
        ({"z": (z[:, :, :2], image_ids), "c": (c, image_ids)}, r"\(channels, h, w\) = \(4, 4, 4\)"),
        (
            {"z": (z, image_ids[1:]), "c": (c, image_ids)},
            r"for each of 420 rows of z, got ids of shape \(419,\)",
        ),
        ({"z": (z[:300], image_ids[:300]), "c": (c, image_ids)}, "z has no row for"),
        ({"z": (z, np.full(len(z), 7)), "c": (c, image_ids)}, "several rows for image 7"),
    ):
        with pytest.raises(ValueError, match=message):
            train(model, world.trials, targets, QUICK)
    assert not len(model.training_image_ids)
    betas, shown = world.trials["subj01"]
    refused(
        "subjects are subj01, subj02, subj03, the trials are of subj01", trials={"subj01": (betas, shown)}
    )
    refused(
        "one image id, a whole number, for each of 240 trials", trials=world.trials | {"subj01": (betas, [1])}
    )
    refused("Batches need 200 different images", settings=dataclasses.replace(QUICK, trials_per_subject=200))
    refused("leave the rate no steps", settings=dataclasses.replace(QUICK, steps_per_epoch=1))
    z[list(image_ids).index(shown[0])] = np.nan
    refused(f"z has NaN or infinite values in training images, such as {shown[0]}")
