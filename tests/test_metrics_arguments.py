"""Every argument of every public function of the metrics is checked: what it must be, and what it holds."""

import inspect
import re

import numpy as np
import pytest
import torch

from latentcortex import metrics

N = 6


def noise(*shape):
    return np.random.default_rng(0).random(shape)


IMAGES, FEATURES, SCORES = noise(N, 3, 16, 16), noise(N, 7), noise(N)
SIX = metrics.Protocol(
    "six",
    "these tests",
    (
        metrics.Score("PixCorr", "pixcorr", centred=True),
        metrics.Score("colours", "identification", "colour_means", same_group=True),
    ),
)
# Good arguments of every function: those of a test are one of these, spoiled.
GOOD = {
    "agreement": {"answers_true": np.arange(N), "answers_pred": np.arange(N)},
    "blurred": {"images": IMAGES, "sigma": 1.0},
    "bootstrap_mean": {"scores": SCORES, "rng": None, "n_resamples": 50, "level": 0.9},
    "bottleneck": {"features_pred": FEATURES, "fitted_train": noise(9, 7), "n_dimensions": 2},
    "brain_correlation": {"betas": FEATURES, "encoded": noise(N, 7)},
    "calibration_error": {"confidence": SCORES, "is_true": noise(N) > 0.5, "edges": 4},
    "colour_means": {"images": IMAGES, "n_cells": 4},
    "correlation_distance": {"features_true": FEATURES, "features_pred": noise(N, 7)},
    "extract": {"protocol": SIX, "images": IMAGES, "batch_size": 4},
    "f1": {"named_true": FEATURES > 0.5, "named_pred": FEATURES > 0.3},
    "fit_temperature": {"confidence": SCORES, "is_true": noise(N) > 0.5, "prior": 0.4},
    "gabor_energy": {"images": IMAGES, "n_cells": 4, "n_orientations": 2, "cycles_per_image": (4,)},
    "identification": {
        "features_true": FEATURES,
        "features_pred": noise(N, 7),
        "direction": "original",
        "n_way": 2,
        "groups": [0, 0, 0, 1, 1, 1],
        "similarity": "cosine",
        "batch_size": 4,
    },
    "is_noninferior": {"difference": metrics.Interval(0.0, -0.1, 0.1, 9), "margin": 0.2},
    "mean_image": {"train_images": IMAGES, "n": 2},
    "nearest_training_rows": {"features_train": noise(9, 7), "features_pred": FEATURES},
    "paired_difference": {
        "scores_a": SCORES,
        "scores_b": noise(N),
        "rng": None,
        "n_resamples": 50,
        "level": 0.9,
    },
    "pixcorr": {"images_a": IMAGES, "images_b": noise(N, 3, 16, 16), "mean_image": noise(3, 16, 16) / 2},
    "project_on_span": {"features": FEATURES, "features_train": noise(9, 7)},
    "random_training_rows": {"n_train": 9, "n": N, "rng": None},
    "reliability": {
        "confidence": SCORES,
        "is_true": noise(N) > 0.5,
        "image_ids": [0, 0, 1, 1, 2, 2],
        "rng": None,
        "edges": 4,
        "n_resamples": 50,
        "level": 0.9,
    },
    "repeat_consistency": {"features_pred": noise(N, 2, 7), "features_true": FEATURES},
    "retrieval": {"features_true": FEATURES, "features_pred": noise(N, 7), "n_images": 3, "batch_size": 4},
    "score": {
        "protocol": SIX,
        "originals": IMAGES,
        "reconstructions": noise(N, 2, 3, 16, 16),
        "groups": list("aabbab"),
        "mean_image": noise(3, 16, 16) / 2,
        "features_true": metrics.extract(SIX, IMAGES),
        "features_pred": [metrics.extract(SIX, IMAGES)] * 2,
        "batch_size": 4,
    },
    "share_of": {"counts": np.arange(N), "n": 20, "prior": 0.3},
    "shuffled_identification": {
        "features_true": FEATURES,
        "features_pred": noise(N, 7),
        "rng": None,
        "n_shuffles": 3,
        "direction": "original",
        "batch_size": 4,
    },
    "shuffled_rows": {"n": N, "rng": None},
    "ssim": {"images_a": IMAGES, "images_b": noise(N, 3, 16, 16)},
    "over_subjects": {"values": SCORES, "level": 0.9},
    "t_interval": {"values": SCORES, "level": 0.9},
    "tempered": {"confidence": SCORES, "temperature": 2.0, "prior": 0.4},
}
# Arguments that are no data: flags, dictionaries of functions.
UNCHECKED = {("identification", "repeated"), ("extract", "networks"), ("score", "networks")}
FUNCTIONS = [name for name in metrics.__all__ if inspect.isfunction(getattr(metrics, name))]
ARRAYS = [(f, a) for f, given in GOOD.items() for a, v in given.items() if isinstance(v, np.ndarray)]
PICTURES = [
    (f, a) for f, a in ARRAYS if re.search("image|original|reconstruction", a) and np.ndim(GOOD[f][a]) > 2
]
NUMBERS = [(f, a) for f, given in GOOD.items() for a, v in given.items() if type(v) in (int, float)]


def call(function, **changed):
    given = {**GOOD[function], **changed}
    if "rng" in given and "rng" not in changed:
        given["rng"] = np.random.default_rng(1)
    return getattr(metrics, function)(**given)


def test_these_tests_know_every_argument_of_every_function():
    assert set(GOOD) == set(FUNCTIONS) - {"load_network", "source_of_weights", "protocol"}
    for function, given in GOOD.items():
        asked = {(function, name) for name in inspect.signature(getattr(metrics, function)).parameters}
        assert asked - UNCHECKED == {(function, name) for name in given}
        call(function)


@pytest.mark.parametrize(("function", "argument"), ARRAYS)
def test_missing_values_are_named_wherever_they_stand(function, argument):
    """NaN in row 2, masked or not; and before anything is said of equality or shape."""
    good = GOOD[function][argument]
    if good.dtype.kind == "f":
        spoiled = good.copy()
        spoiled[2] = np.nan
        with pytest.raises(ValueError, match=rf"{argument} has NaN or infinite values in rows \[2\]"):
            call(function, **{argument: spoiled})
        spoiled[2] = -np.inf
        with pytest.raises(ValueError, match=rf"{argument} has NaN or infinite values in rows \[2\]"):
            call(function, **{argument: spoiled})
    masked = np.ma.masked_array(good, mask=np.zeros(good.shape, bool))
    call(function, **{argument: masked})  # hides nothing
    masked[2] = np.ma.masked
    with pytest.raises(ValueError, match=f"{argument} is a masked array that hides"):
        call(function, **{argument: masked})


@pytest.mark.parametrize(("function", "argument"), ARRAYS)
def test_shapes_that_would_broadcast_are_refused(function, argument):
    good = GOOD[function][argument]
    spoiled = [good[None], good[:0], np.float64(0.5)]
    any_size = ("blurred", "colour_means", "extract", "gabor_energy", "mean_image")
    if function not in (*any_size, "over_subjects", "share_of", "tempered"):
        spoiled.append(good[..., :1])  # images may have any size, and there may be one subject or statement
        if function not in ("bottleneck", "nearest_training_rows", "project_on_span"):
            spoiled.append(good[:1])  # rows need not be as many as training images
    for array in spoiled:
        with pytest.raises(ValueError, match="Expected|needs at least two|One image|One drawing|One subject"):
            call(function, **{argument: array})


@pytest.mark.parametrize(("function", "argument"), PICTURES)
def test_pictures_are_floats_between_0_and_1(function, argument):
    """Of bytes, whole numbers and channels last, whichever picture of a function they are."""
    good = GOOD[function][argument]
    last = np.moveaxis(good, -3, -1)
    for spoiled in (good * 255, (good * 255).astype(np.uint8), good.round().astype(int), good - 0.5, last):
        with pytest.raises(ValueError, match=rf"Expected {argument} .* floats in \[0, 1\], got"):
            call(function, **{argument: spoiled})


def test_a_mean_image_of_bytes_no_longer_makes_unrelated_images_alike():
    """Centred PixCorr of unrelated images was 0.9999 with it, and is about 0."""
    a, b = noise(2, 200, 3, 16, 16)
    mean = noise(3, 16, 16) / 2
    assert abs(metrics.pixcorr(a, b, mean).mean()) < 0.4
    with pytest.raises(ValueError, match=r"mean_image \(3, h, w\) as floats in \[0, 1\], .* Divide bytes"):
        metrics.pixcorr(a, b, mean * 255)


@pytest.mark.parametrize(("function", "argument"), NUMBERS)
def test_numbers_out_of_their_bounds_are_refused(function, argument):
    wrong = [np.nan, np.inf, -1, "2", None, True]
    if argument == "level":
        wrong += [0, 1, 95]
    elif argument != "sigma":
        wrong += [0]
    if isinstance(GOOD[function][argument], int):
        wrong += [2.5]
    for value in wrong:
        with pytest.raises(ValueError, match=f"Expected {argument} as a (whole )?number .*, got"):
            call(function, **{argument: value})
    kind = type(GOOD[function][argument])
    call(function, **{argument: {int: np.int64, float: np.float32}[kind](GOOD[function][argument])})


@pytest.mark.parametrize("function", [f for f, given in GOOD.items() if "rng" in given])
def test_randomness_is_a_generator(function):
    for rng in (0, None, np.random.RandomState(0)):
        with pytest.raises(ValueError, match=r"rng as np.random.default_rng\(seed\)"):
            call(function, rng=rng)


@pytest.mark.parametrize("function", ["identification", "score"])
@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([0, 0, 0, 1, 1, np.nan], r"groups has no label in rows \[5\]"),
        (["a", "a", None, "b", "b", None], r"groups has no label in rows \[2, 5\]"),
        (np.ma.masked_equal([0, 0, 0, 1, 1, 9], 9), "groups is a masked array"),
        ([0, 0, 1, 1], r"one label for each of 6 images, got shape \(4,\)"),
        (np.zeros((N, 1)), "one label for each of 6 images"),
    ],
)
def test_a_missing_group_is_no_group(function, groups, message):
    with pytest.raises(ValueError, match=message):
        call(function, groups=groups)


def test_words_are_among_those_known():
    for function in ("identification", "shuffled_identification"):
        with pytest.raises(ValueError, match="direction 'reconstruction' or 'original', got 'column'"):
            call(function, direction="column")
    with pytest.raises(ValueError, match="similarity 'correlation' or 'cosine', got 'dot'"):
        call("identification", similarity="dot")
    with pytest.raises(ValueError, match="compare by one of pixcorr, .* got 'pixelcorr'"):
        metrics.Score("PixCorr", "pixelcorr")
    for function in ("score", "extract"):
        with pytest.raises(ValueError, match="Expected a Protocol, .* got 'mini'"):
            call(function, protocol="mini")
    with pytest.raises(ValueError, match="whole |from 2 to 6"):
        call("retrieval", n_images=N + 1)
    with pytest.raises(ValueError, match="when repeated, got"):
        call("identification", repeated=True)


def test_answers_are_there_and_of_one_kind():
    assert call("agreement", answers_pred=[0, 1, 2, 3, 9, 9]).tolist() == [1, 1, 1, 1, 0, 0]
    with pytest.raises(ValueError, match=r"answers_true has no label in rows \[1\]"):
        metrics.agreement(["hill", None], ["hill", "hill"])
    with pytest.raises(ValueError, match="two readings of one kind"):
        metrics.agreement([0, 1], ["0", "1"])


def test_an_interval_without_ends_shows_nothing():
    with pytest.raises(ValueError, match="lower end of the difference"):
        metrics.is_noninferior(metrics.Interval(0.1, np.nan, np.nan, 3), 0.5)


def test_features_are_those_of_the_images_that_are_scored():
    features = metrics.extract(SIX, IMAGES)
    fewer = metrics.extract(SIX, IMAGES[:4])
    for name, spoiled in {"features_true": fewer, "features_pred": [features, fewer]}.items():
        with pytest.raises(ValueError, match=f"Expected {name} with 6 rows for colours, got 4"):
            call("score", **{name: spoiled})
    with pytest.raises(ValueError, match="features_true with 6 rows for colours, got 0"):
        call("score", features_true={})
    with pytest.raises(ValueError, match=r"mean_image \(3, 16, 16\) to fit the originals, got \(3, 8, 16\)"):
        call("score", mean_image=noise(3, 8, 16))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_a_network_gives_is_finite_and_one_row_per_image(value):
    protocol = metrics.Protocol("p", "", (metrics.Score("a", "distance", "net", "1"),))

    def net(images, layers):
        found = images.flatten(1).numpy().copy()
        found[:, 0] = value
        return dict.fromkeys(layers, found)

    with pytest.raises(ValueError, match="from net, layer '1', one row .* images 4 to 5, .* NaN or infinite"):
        metrics.extract(protocol, IMAGES, {"net": lambda x, y: net(x, y) if len(x) == 2 else {"1": x}}, 4)
    with pytest.raises(ValueError, match="from net, layer '1', one row for each of images 0 to 3"):
        metrics.score(protocol, IMAGES, IMAGES, {"net": lambda x, _: {"1": x[:1].numpy()}}, batch_size=4)


def test_lists_and_tensors_are_taken_as_arrays():
    for function, argument in ARRAYS:
        good = GOOD[function][argument]
        expected = call(function)
        for same in (good.tolist(), torch.from_numpy(good)):
            found = call(function, **{argument: same})
            if isinstance(expected, dict):
                assert list(found) == list(expected)
                found, reference = (list(x.values()) for x in (found, expected))
            else:
                reference = expected
            for one, other in zip(np.atleast_1d(found), np.atleast_1d(reference), strict=True):
                np.testing.assert_allclose(one, other, atol=1e-6)
