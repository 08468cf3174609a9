"""Numbers and arrays that a network can't be made, trained or asked with are refused where they come in."""

from dataclasses import asdict, fields

import numpy as np
import pytest
import torch
from shared_space_world import QUICK, SHAPES, SMALL, simulate

from latentcortex.shared_space import (
    DiffusionPrior,
    NetworkSizes,
    SharedSpace,
    TrainingSettings,
    bimixco,
    draw_mixing,
    fit_rescaling,
    mix,
    predict,
    softclip,
    train,
)

nan, inf = float("nan"), float("inf")


@pytest.fixture(autouse=True)
def _one_thread(one_thread):
    pass


@pytest.fixture(scope="module")
def world():
    return simulate()


@pytest.fixture
def model(world):
    return SharedSpace(world.n_voxels, SHAPES, SMALL)


def test_no_field_of_the_settings_takes_nan_infinity_or_text():
    for settings in (TrainingSettings, NetworkSizes):
        for field in fields(settings):
            for value in (nan, inf, -inf, "3", None, (nan, nan), -1, [nan]):
                if (field.name, value) != ("steps_per_epoch", None):
                    with pytest.raises(ValueError, match=f"Expected.*{field.name}"):
                        settings(**{field.name: value})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 2.5}, "epochs as a whole number of at least 1, got 2.5"),
        ({"epochs": 0}, "epochs as a whole number of at least 1, got 0"),
        ({"steps_per_epoch": 0}, "steps_per_epoch as a whole number"),
        ({"lr": 0}, "lr as a number above 0, got 0"),
        ({"mixing_share": 1.01}, "mixing_share as a number of at least 0 and at most 1, got 1.01"),
        ({"mixing_threshold": -0.1}, "mixing_threshold as a number of at least 0 and at most 1"),
        ({"bimixco_temperature": 0.0}, "bimixco_temperature as a number above 0"),
        ({"softclip_temperatures": (0.004, 0.0)}, "softclip_temperatures as a number above 0"),
        ({"softclip_temperatures": (0.004,)}, "first and the last of softclip_temperatures"),
        ({"seed": -1}, "seed as a whole number of at least 0"),
    ],
)
def test_settings_out_of_their_range_are_refused_by_name(settings, message):
    with pytest.raises(ValueError, match=message):
        TrainingSettings(**settings)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"hidden_size": 0}, "hidden_size as a whole number of at least 1"),
        ({"n_blocks": 1.0}, "n_blocks as a whole number of at least 0, got 1.0"),
        ({"dropout": 1}, "A dropout of 1"),
        ({"dropout": 1.5}, "dropout as a number of at least 0 and at most 1"),
        ({"latent_channels": ()}, "at least one number of latent_channels"),
        ({"latent_channels": (8, 0)}, "latent_channels as a whole number of at least 1, got 0"),
        ({"prior_heads": 0}, "prior_heads as a whole number of at least 1"),
    ],
)
def test_sizes_out_of_their_range_are_refused_by_name(sizes, message):
    with pytest.raises(ValueError, match=message):
        NetworkSizes(**sizes)


def test_numpys_numbers_are_taken_as_pythons():
    plain = TrainingSettings(epochs=3, lr=0.5, seed=4)
    assert asdict(plain) == asdict(TrainingSettings(epochs=np.int64(3), lr=np.float32(0.5), seed=np.uint8(4)))
    assert type(TrainingSettings(epochs=np.int64(3)).epochs) is int
    sizes = NetworkSizes(hidden_size=np.int32(8), latent_channels=[np.int64(8), 16])
    assert sizes == NetworkSizes(hidden_size=8, latent_channels=(8, 16))
    assert type(sizes.latent_channels[0]) is int


def test_shapes_and_voxels_are_whole_numbers():
    with pytest.raises(ValueError, match="voxels of subj01 as a whole number"):
        SharedSpace({"subj01": 5.5}, SHAPES, SMALL)
    with pytest.raises(ValueError, match="the shape of c as a whole number"):
        SharedSpace({"subj01": 5}, {"c": (3, 2.5)}, SMALL)
    for voxels, shapes in (({}, SHAPES), ({"subj01": 5}, {})):
        with pytest.raises(ValueError, match="at least one subject and one target"):
            SharedSpace(voxels, shapes, SMALL)


def test_a_prior_is_refused_what_it_can_not_mean():
    with pytest.raises(ValueError, match="3 heads don't divide the 8 numbers of a token"):
        DiffusionPrior(2, 8, 1, 3)
    with pytest.raises(ValueError, match="drop_share as a number"):
        DiffusionPrior(2, 8, 1, 2, drop_share=nan)
    prior, condition = DiffusionPrior(2, 8, 1, 2), torch.zeros(1, 2, 8)
    for changes in ({"n_steps": 0}, {"n_steps": 2.5}, {"n_steps": 101}, {"cond_scale": nan}):
        with pytest.raises(ValueError, match=f"{next(iter(changes))} as a"):
            prior.sample(condition, **changes)


def test_losses_are_refused_what_they_can_not_mean(rng):
    values, one = torch.eye(4), torch.ones(4)
    for temperature in (nan, 0, -1.0, inf):
        with pytest.raises(ValueError, match="temperature as a number above 0"):
            softclip(values, values, temperature)
        with pytest.raises(ValueError, match="temperature as a number above 0"):
            bimixco(values, values, one, torch.arange(4), temperature)
    for changes in ({"beta": nan}, {"beta": 0}, {"threshold": nan}, {"threshold": 1.5}):
        with pytest.raises(ValueError, match=f"{next(iter(changes))} as a number"):
            draw_mixing(4, rng, **changes)
    with pytest.raises(ValueError, match="a weight and a partner for each of 4 rows, got 1 and 4"):
        mix(values, one[:1], torch.arange(4))


@pytest.mark.parametrize("batch_size", [0, -3, 2.5, nan])
def test_batches_of_no_whole_number_are_refused(world, model, batch_size):
    betas, image_ids = world.test["subj01"]
    with pytest.raises(ValueError, match="batch_size as a whole number of at least 1"):
        predict(model, betas, "subj01", batch_size=batch_size)
    with pytest.raises(ValueError, match="batch_size as a whole number of at least 1"):
        fit_rescaling(model, betas, "subj01", image_ids, world.targets, batch_size=batch_size)


def test_masked_arrays_and_lists_are_refused(world, model):
    betas, image_ids = world.test["subj01"]
    with pytest.raises(ValueError, match="betas of subj01 is a masked array"):
        predict(model, np.ma.masked_less(betas, 0), "subj01")
    c, ids = world.targets["c"]
    for wrong, message in (
        (np.ma.masked_less(c, 0), "c is a masked array"),
        (list(c), "c as an array or tensor"),
    ):
        with pytest.raises(ValueError, match=message):
            train(model, world.trials, world.targets | {"c": (wrong, ids)}, QUICK, progress=False)
        with pytest.raises(ValueError, match=message):
            fit_rescaling(model, betas, "subj01", image_ids, world.targets | {"c": (wrong, ids)})


def test_ids_are_whole_numbers_everywhere(world, model):
    betas, image_ids = world.test["subj01"]
    halves = image_ids + 0.5
    with pytest.raises(ValueError, match="one image id, a whole number, for each of 60 rows of betas"):
        predict(model, betas, "subj01", image_ids=halves)
    with pytest.raises(ValueError, match="for each of 60 rows of betas"):
        fit_rescaling(model, betas, "subj01", halves, world.targets)
    for validation in ([1.5, 2.5], [[1], [2]]):
        with pytest.raises(ValueError, match="for each of 2 validation images"):
            train(model, world.trials, world.targets, QUICK, validation_image_ids=validation, progress=False)
    trials = {s: (b, i + 0.5) for s, (b, i) in world.trials.items()}
    with pytest.raises(ValueError, match="a whole number, for each of 240 trials of subj01"):
        train(model, trials, world.targets, QUICK, progress=False)
    # Lists of numpy's numbers are taken.
    expected = predict(model, betas, "subj01", image_ids=image_ids)
    got = predict(
        model, betas, "subj01", image_ids=[np.int32(i) for i in image_ids], batch_size=np.int64(256)
    )
    np.testing.assert_array_equal(got["c"], expected["c"])


def test_a_rescaling_needs_a_spread_and_finite_targets(world, model):
    betas, image_ids = world.test["subj01"]
    with pytest.raises(ValueError, match="at least two validation images, got 1"):
        fit_rescaling(model, betas[:1], "subj01", image_ids[:1], world.targets)
    with pytest.raises(ValueError, match="for each of 59 rows of betas"):
        fit_rescaling(model, betas[1:], "subj01", image_ids, world.targets)
    c, known = world.targets["c"]
    with pytest.raises(ValueError, match=r"The head of c makes .* got targets of shape \(420, 8, 3\)"):
        fit_rescaling(model, betas, "subj01", image_ids, world.targets | {"c": (c.transpose(0, 2, 1), known)})
    broken = c.copy()
    broken[known == image_ids[3], 0, 0] = np.nan
    with pytest.raises(ValueError, match=f"c has NaN or infinite values in 1 of the .*{image_ids[3]}"):
        fit_rescaling(model, betas, "subj01", image_ids, world.targets | {"c": (broken, known)})
    assert not model.rescaling
    # NaN of images that it is not fitted on is nobody's business.
    fit_rescaling(
        model,
        np.delete(betas, 3, 0),
        "subj01",
        np.delete(image_ids, 3),
        {"c": (broken, known)} | {"z": world.targets["z"]},
    )
    assert torch.isfinite(model.rescaling["subj01"]["c"][1]).all()


def test_predictions_that_are_not_finite_name_target_and_rows(world, model):
    betas, _ = world.test["subj01"]
    extreme = betas.copy()
    extreme[[2, 5]] = 3e38  # finite, and its products with the weights are not
    with pytest.raises(
        FloatingPointError, match=r"infinite values of c for the rows \[2, 5\] \(2 of 60 rows\)"
    ):
        predict(model, extreme, "subj01")
    broken = SharedSpace(world.n_voxels, SHAPES, SMALL)
    with torch.no_grad():
        broken.heads["z"].linear.bias[0] = nan
    with pytest.raises(FloatingPointError, match=r"values of z .*\(60 of 60 rows\)"):
        predict(broken, betas, "subj01")
