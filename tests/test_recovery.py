"""The recovery benchmark: what a method may return, and how it is scored."""

import numpy as np
import pandas as pd
import pytest
import torch

from latentcortex import encoding
from latentcortex.studies import recovery, recovery_methods, recovery_scores, recovery_worlds
from latentcortex.studies.recovery import check_answer
from latentcortex.studies.recovery_worlds import OUTSIDE, REGIONS, Rows

N = 15  # vertices of a region
SIZES = recovery_worlds.Sizes(n_train=90, n_test=30, n_vertices=15, n_sessions=2, n_trials=150)


@pytest.fixture
def planted(rng):
    regions = np.repeat([*REGIONS, OUTSIDE], [N] * len(REGIONS) + [3 * N])
    mixture = np.where(np.isin(regions, ["V1", "V2", "V3", "hV4"]), 0.8, 0.2) + 0.05 * rng.random(
        len(regions)
    )
    inside = regions != OUTSIDE
    return pd.DataFrame(
        {"region": regions, "mixture": np.where(inside, mixture, np.nan), "ceiling": np.where(inside, 0.4, 0)}
    )


def rows_of_mixture(rng, mixture, n_train=300, n_test=300):
    """Simulate responses to two independent spaces with a known mixture, of which half is noise."""
    n = n_train + n_test
    spaces = {name: rng.standard_normal((n, 6)).astype(np.float32) for name in ("z", "c")}
    tuned = []
    for values in spaces.values():
        weights = rng.standard_normal((6, len(mixture)))
        tuned.append(values @ (weights / np.linalg.norm(weights, axis=0)))
    m = np.nan_to_num(mixture)
    signal = np.where(np.isnan(mixture), 0, np.sqrt(m) * tuned[0] + np.sqrt(1 - m) * tuned[1])
    betas = (signal + rng.standard_normal(signal.shape)).astype(np.float32)
    ids, ceiling = np.arange(n), np.where(np.isnan(mixture), 0, 0.5)
    return tuple(
        Rows({k: v[s] for k, v in spaces.items()}, betas[s], ids[s], np.full(len(ids[s]), 3), ceiling)
        for s in (slice(n_train), slice(n_train, n))
    )


def test_the_three_kinds_of_maps_become_one_scale():
    assert check_answer({"preference": [0.3, -2.0]}, 2, 2).lowness.tolist() == [0.3, -2.0]
    assert check_answer({"share": [1.0, 0.25]}, 2, 2).lowness.tolist() == [0.5, -0.25]
    assert check_answer({"winner": [0, 1, 2]}, 3, 3).lowness.tolist() == [1, 0, -1]
    answer = check_answer({"winner": [0, 1], "draws": np.ones((20, 2), int), "p": [0.1, 1]}, 2, 2)
    assert (answer.draws == -1).all() and answer.p.tolist() == [0.1, 1]
    assert check_answer({"preference": torch.tensor([1.0])}, 1, 2).lowness.tolist() == [1]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (np.zeros(3), "must return a dict, got ndarray"),
        ({}, "exactly one of preference, share, winner.*an empty dict"),
        ({"preference": np.zeros(3), "share": np.zeros(3)}, "exactly one of"),
        ({"preference": np.zeros(3), "map": 1}, "got preference, map"),
        ({"preference": np.zeros(4)}, r"preference must have the shape \(3,\).*got \(4,\)"),
        ({"preference": np.zeros((3, 1))}, r"got \(3, 1\)"),
        ({"preference": [0, np.nan, 1]}, "NaN or infinite values in 1 of 3 rows, first in row 1"),
        ({"share": [0.1, 0.2, 1.2]}, r"share must lie in \[0, 1\]; got 0.1 to 1.2"),
        ({"share": ["a", "b", "c"]}, "must hold real numbers"),
        ({"winner": [0, 1, 2]}, "whole numbers from 0 to 1"),
        ({"winner": [0, 0.5, 1]}, "whole numbers from 0 to 1"),
        ({"winner": [0, -1, 1]}, "whole numbers from 0 to 1"),
        ({"preference": np.zeros(3), "draws": np.zeros((5, 3))}, r"at least 20 rows.*got the shape \(5, 3\)"),
        ({"preference": np.zeros(3), "draws": np.zeros((30, 2))}, r"draws must have the shape \(30, 3\)"),
        ({"preference": np.zeros(3), "draws": np.full((30, 3), np.nan)}, "draws, returned by the method"),
        ({"preference": np.zeros(3), "p": [0, 1, 2]}, r"p must lie in \[0, 1\]"),
    ],
)
def test_answers_that_are_not_as_described_are_refused(answer, message):
    with pytest.raises(ValueError, match=message):
        check_answer(answer, 3, 2)


def test_a_method_that_adds_a_set_of_features_does_not_move_its_own_scale(rng):
    """The place of a winner counts among the sets that were given: 1 is the last of two."""

    def adds(_train, test, _rng):
        test.features["both"] = np.hstack(list(test.features.values()))
        return {"winner": [0, 1, 1]}

    answer = recovery.ask(adds, "adds", *rows_of_mixture(rng, np.array([0.9, 0.2, 0.2]), 8, 8), rng)
    assert answer.lowness.tolist() == [1, -1, -1]


@pytest.mark.parametrize("name", recovery_methods.METHODS)
@pytest.mark.parametrize("sets", ["zc", ("g1", "g2", "g3")])
def test_every_built_in_method_finds_the_set_that_drives_a_vertex(name, sets, rng):
    """The first five vertices follow the first set and the last five the last one, next to noise."""
    rows, weights = [], rng.standard_normal((2, 4, 5))
    for n in (np.arange(120), np.arange(120, 200)):
        features = {one: rng.standard_normal((len(n), 4)) for one in sets}
        signal = np.hstack([features[sets[k]] @ weights[k] for k in (0, -1)])
        betas = signal + 0.5 * rng.standard_normal(signal.shape)
        rows.append(Rows(features, betas, n, np.full(len(n), 3), np.full(10, 0.7)))
    lowness = recovery.ask(recovery_methods.METHODS[name].function, name, *rows, rng).lowness
    assert lowness[:5].min() > lowness[5:].max() + 0.05


def test_a_perfect_map_and_its_opposite_have_the_scores_they_should(planted):
    mixture = planted["mixture"].to_numpy()
    lowness = np.nan_to_num(mixture - 0.5)
    draws = lowness + 0.01 * np.random.default_rng(0).standard_normal((50, len(lowness)))
    for sign in (1, -1):
        found = recovery_scores.score(recovery.Answer("preference", sign * lowness, sign * draws), planted)
        assert found["spearman"] == pytest.approx(sign)
        assert found["n_clear"].tolist() == [N] * 10 + [0]
        assert found["n_right" if sign > 0 else "n_wrong"].tolist() == [N] * 10 + [0]
        assert found["n_called"][-1] == 0
        early, ventral = (planted["region"].isin(of) for of in recovery_scores.COMPARED)
        expected = sign * (mixture[early].mean() - mixture[ventral].mean())
        assert found["difference"][0] == pytest.approx(expected)
        expected = 0.01 * np.sqrt(1 / early.sum() + 1 / ventral.sum())
        assert found["standard_error"][0] == pytest.approx(expected, rel=0.3)
        first, second = (REGIONS.index(of) for of in ("V1", "ventral"))
        pair = recovery_scores.PAIRS.index((first, second))
        difference = found["mean"][first] - found["mean"][second]
        assert found["pair_difference"][pair] == pytest.approx(difference)


def test_calls_follow_p_values_or_draws_and_winners_are_always_called(rng):
    lowness = np.array([0.5, -0.5, 0.01, -0.01])
    answer = recovery.Answer("preference", lowness, p=np.array([1e-4, 0.9, 1e-4, 1.0]))
    assert recovery_scores.called(answer).tolist() == [1, 0, 1, 0]
    draws = lowness + 0.1 * rng.standard_normal((100, 4))
    assert recovery_scores.called(recovery.Answer("preference", lowness, draws)).tolist() == [1, -1, 0, 0]
    assert recovery_scores.called(recovery.Answer("winner", lowness, draws)).tolist() == [1, -1, 1, -1]
    nothing = rng.standard_normal(4000)
    draws = nothing + rng.standard_normal((200, 4000))
    calls = recovery_scores.called(recovery.Answer("preference", nothing, draws))
    assert (calls != 0).mean() < 0.005


def test_a_constant_map_recovers_nothing_and_a_map_without_draws_has_no_interval(planted):
    found = recovery_scores.score(recovery.Answer("share", np.zeros(len(planted))), planted)
    assert found["spearman"] == 0 and np.isnan(found["standard_error"]).all()
    assert found["n_called"].sum() == 0


@pytest.mark.parametrize("name", [n for n, m in recovery_methods.METHODS.items() if m.sets == "spaces"])
def test_methods_recover_independent_spaces(rng, planted, name):
    """With spaces of one size that share nothing, every comparison of the two must find the mixture."""
    train, test = rows_of_mixture(rng, planted["mixture"].to_numpy())
    method = recovery_methods.METHODS[name].function
    found, answer = recovery_scores.score_method(method, name, (train, test), planted, rng)
    one_sided = name in ("first_alone", "unique_of_first", "unique_of_last")
    assert found["spearman"] > 0.7 and found["seconds"] > 0
    assert found["difference"][0] > 0
    if not one_sided:
        assert found["n_right"].sum() > 0.9 * found["n_clear"].sum()
        assert found["n_wrong"].sum() < 0.02 * found["n_clear"].sum()
    if answer.kind == "preference":
        assert found["n_called"][-1] <= 0.1 * 3 * N


def test_shares_are_of_the_first_and_depths_of_all():
    two = recovery_methods._share(np.array([[0.3, -0.1, 0.0], [0.1, 0.2, -0.5]]))
    np.testing.assert_allclose(two, [0.75, 0, 0.5], rtol=1e-12)
    three = recovery_methods._share(np.array([[0.0], [0.4], [0.4]]))
    np.testing.assert_allclose(three, [0.25], rtol=1e-12)


def test_draws_of_images_are_the_map_of_these_images(rng):
    train, test = rows_of_mixture(rng, np.array([0.9, 0.2, np.nan]))
    answer = recovery_methods.difference_of_r(train, test, np.random.default_rng(3))
    rows = np.random.default_rng(3).integers(len(test.betas), size=len(test.betas))
    r = [
        encoding.correlation(
            encoding.VoxelwiseEncoder()
            .fit(train.features[k], train.betas, train.image_ids, train.n_repeats)
            .predict(test.features[k])[rows],
            test.betas[rows],
        )
        for k in ("z", "c")
    ]
    np.testing.assert_allclose(answer["draws"][0], r[0] - r[1], atol=1e-6)


def test_intervals_over_test_images_hold_what_more_images_say(rng, planted):
    """A map whose error is known: draws of the right, of a third of, and of no spread, around the truth."""
    truth = rng.standard_normal(len(planted))
    rows = rows_of_mixture(rng, planted["mixture"].to_numpy(), 20, 20)
    error, noise = 0.3, rng.standard_normal((2000, len(planted)))
    for factor, expected in ((1, 0.95), (1 / 3, 0.485)):
        draws = truth + factor * error * noise
        held = []
        for _ in range(30):
            first, more = (
                truth + scale * error * rng.standard_normal(len(truth))
                for scale in (1, recovery_scores.MORE**-0.5)
            )
            answer = recovery.Answer("preference", first, draws)
            method = lambda *_, more=more: {"preference": more}  # noqa: E731
            held.append(recovery_scores.compare_with_reference(method, "known", answer, rows, planted, rng))
        n_asked, n_covered = (np.sum([of[name] for of in held]) for name in ("n_asked", "n_covered"))
        assert n_covered / n_asked == pytest.approx(expected, abs=0.02)
        assert held[0]["n_asked"].tolist() == [N] * 10 + [0]
    means = [more[(planted["region"] == name).to_numpy()].mean() for name in REGIONS]
    expected = [means[a] - means[b] for a, b in recovery_scores.PAIRS]
    np.testing.assert_allclose(held[-1]["pair_reference"], expected, atol=1e-12)
    # Neither a map without draws nor one that does not depend on the test images is asked.
    for answer in (recovery.Answer("preference", first), recovery.Answer("preference", more, draws)):
        found = recovery_scores.compare_with_reference(method, "known", answer, rows, planted, rng)
        assert all(np.isnan(of).all() for of in found.values())
