"""Tasks that grade themselves: the chapter's method earns the points, mistakes and shortcuts do not."""

import io
from contextlib import redirect_stdout
from functools import cache

import numpy as np
import pytest
from task_solvers import SHORTCUTS, SOLVERS

from latentcortex import teaching

# Slow methods are tried on fewer seeds, so that the tests stay fast.
N_SEEDS = dict.fromkeys(SOLVERS, 20) | dict.fromkeys(("04_penalty", "10_field", "12_layer", "14_leak"), 8)


@cache
def tasks(name):
    """Return a task of each seed, made once for all methods."""
    return [teaching.task(name, seed) for seed in range(N_SEEDS[name])]


def share_right(name, method):
    """Return in which share of the seeds a method earns the points."""
    with redirect_stdout(io.StringIO()):
        return np.mean([each.check(method(each.data)) for each in tasks(name)])


@pytest.mark.parametrize("name", SOLVERS)
def test_the_method_of_the_chapter_passes_and_the_misunderstanding_fails(name):
    right, wrong = (share_right(name, solve) for solve in SOLVERS[name])
    assert right >= 0.95 and wrong < 0.5


@pytest.mark.parametrize(("name", "way"), [(name, way) for name, ways in SHORTCUTS.items() for way in ways])
def test_a_shortcut_earns_the_points_of_few_seeds(name, way):
    assert share_right(name, SHORTCUTS[name][way]) < 0.5


def test_there_is_a_task_for_each_chapter():
    assert set(teaching.task_names()) == set(SOLVERS)
    assert {int(name[:2]) for name in SOLVERS} == set(range(1, 17))


@pytest.mark.parametrize("name", SOLVERS)
def test_one_seed_gives_the_same_task_and_seeds_differ_in_data_and_answers(name):
    one, again, *others = (teaching.task(name, seed) for seed in ("Ada L", " ada  l ", 1, 2, 3, 4, 5, 6, 7))
    arrays = [next(v for v in each.data.values() if isinstance(v, np.ndarray)) for each in (one, again)]
    assert np.array_equal(*arrays) and one._planted.answer == again._planted.answer
    assert len({str(each._planted.answer) for each in others}) >= 2
    assert one != again and len({one, again}) == 2  # eq of arrays would raise
    assert all(f'data["{key}"]' in one.question for key in one.data)


def test_the_planted_answer_is_right_and_its_neighbours_are_told_the_direction(capsys):
    exercise = teaching.task("02_ceiling", 3)
    (true,) = exercise._planted.answer
    assert [exercise.check(np.float32(true + by)) for by in (0.0, 0.025, -0.025)] == [1, 1, 1]
    assert exercise.check(true + 0.04) == 0 and "too high" in capsys.readouterr().out
    assert exercise.check([true - 0.04]) == 0 and "too low" in capsys.readouterr().out


def test_tries_are_counted_for_each_task(capsys):
    exercise = teaching.task("01_sessions", 3)
    for k in range(12):
        exercise.check(k)
        assert f"seed 3, try {k + 1}: " in capsys.readouterr().out
    assert exercise.tries == 12 and teaching.task("01_sessions", 3).tries == 0


def same(*seeds, name="03_noise_share"):
    return len({teaching.task(name, seed)._planted.answer for seed in seeds}) == 1


def test_a_name_is_the_same_seed_however_it_is_stored():
    assert same("Jos\u00e9", "Jose\u0301", " JOS\u00c9\n", "\uff2aos\u00e9")
    assert same("Strau\u00df", "STRAUSS") and not same("Jos\u00e9", "Jose")
    assert same(3, np.int64(3), np.uint8(3), "3") and not same(3, 4)


@pytest.mark.parametrize(("seed", "noted"), [("your name", True), (" Your  Name", True), ("Ada", False)])
def test_the_seed_of_everybody_is_noted(seed, noted, capsys):
    teaching.task("03_noise_share", seed)
    assert ("everybody's seed" in capsys.readouterr().out) == noted


def test_a_choice_by_number_is_taken_in_every_form_of_a_whole_number():
    exercise = teaching.task("01_sessions", 3)
    k = int(exercise._planted.answer)
    right = [
        str(k),
        k,
        float(k),
        [k],
        (float(k),),
        np.array([k]),
        np.array([[k]]),
        np.float32(k),
        np.int64(k),
    ]
    assert [exercise.check(answer) for answer in right] == [1.0] * len(right)
    wrong = [k + 0.5, [k, k], [], True, None, (k + 1) % 12, float("nan"), float("inf")]
    assert [exercise.check(answer) for answer in wrong] == [0.0] * len(wrong)


def test_a_known_misunderstanding_is_named(capsys):
    exercise = teaching.task("02_ceiling", 3)
    exercise.check(SOLVERS["02_ceiling"][1](exercise.data))
    assert "single showing" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "answer", "said"),
    [
        ("02_ceiling", [0.1, 0.2], "expected one number (ceiling), got 2 numbers"),
        ("02_ceiling", "high", "Wrong shape: expected one number (ceiling), got"),
        ("02_ceiling", None, "got NoneType"),
        ("02_ceiling", 40, "the ceiling lies between 0 and 1, got 40"),
        ("02_ceiling", float("nan"), "Out of range"),
        ("02_ceiling", 10**400, "the ceiling lies between 0 and 1, got inf"),
        ("02_ceiling", [-(10**400)], "the ceiling lies between 0 and 1, got -inf"),
        ("01_sessions", 10**400, "Expected one of 0, 1,"),
        ("10_field", 1.0, "expected 3 numbers (x, y, size)"),
        ("10_field", np.array([0, 9, 1.0]), "the y lies between"),
        ("05_region", "V9", "Expected one of early, midventral"),
    ],
)
def test_what_is_wrong_with_an_answer_is_named(name, answer, said, capsys):
    assert teaching.task(name, 0).check(answer) == 0
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "seed", "error", "message"),
    [
        ("02", 1, ValueError, "Expected one of 01_sessions"),
        ("02_ceiling", -1, ValueError, "at least 0"),
        ("02_ceiling", "  ", ValueError, "at least one letter"),
        ("02_ceiling", 1.5, TypeError, "whole number"),
        ("02_ceiling", True, TypeError, "whole number"),
        ("02_ceiling", None, TypeError, "whole number"),
        ("02_ceiling", np.int64(-1), ValueError, "at least 0"),
        ("02_ceiling", np.float64(3), TypeError, "whole number"),
    ],
)
def test_an_unknown_task_or_seed_is_refused_by_name(name, seed, error, message):
    with pytest.raises(error, match=message):
        teaching.task(name, seed)


def test_points_are_scaled_and_printed(capsys):
    assert teaching.points(1.0, 0.0, 1.0, 1.0, out_of=8) == 6.0
    assert "6 of 8 points" in capsys.readouterr().out
    assert teaching.points(1.0, 0.0) == 1.0


@pytest.mark.parametrize(
    ("scores", "out_of", "message"),
    [
        ((), 1, "at least one score"),
        ((2.0,), 1, "from 0 to 1"),
        (([1, 0],), 1, r"not a list.*got \[1, 0\]"),
        ((None,), 1, "got None"),
        ((1.0, "1"), 1, "got 1.0, '1'"),
        ((float("nan"),), 1, "from 0 to 1"),
        ((1.0,), 0, "above 0"),
        ((1.0,), "8", "above 0"),
        ((1.0,), float("inf"), "above 0"),
    ],
)
def test_points_out_of_range_are_refused(scores, out_of, message):
    with pytest.raises(ValueError, match=message):
        teaching.points(*scores, out_of=out_of)


def test_no_mistake_about_a_corrected_guess_lies_near_the_answer():
    for exercise in tasks("08b_weigh"):
        planted = exercise._planted
        ((answer,), (width,)) = planted.answer, planted.tolerance
        assert len(planted.mistakes) == 5
        assert min(abs(wrong - answer) for (wrong,), _ in planted.mistakes) >= 2 * width
