"""Tasks that grade themselves: the chapter's method earns the points, a common misunderstanding does not."""

import numpy as np
import pytest
from task_solvers import SOLVERS

from latentcortex import teaching

# Slow methods are tried on fewer seeds, so that the tests stay fast.
N_SEEDS = dict.fromkeys(SOLVERS, 20) | dict.fromkeys(("04_penalty", "10_field", "12_layer", "14_leak"), 6)


@pytest.mark.parametrize("name", SOLVERS)
def test_the_method_of_the_chapter_passes_and_the_misunderstanding_fails(name):
    tasks = [teaching.task(name, seed) for seed in range(N_SEEDS[name])]
    right, wrong = ([each.check(solve(each.data)) for each in tasks] for solve in SOLVERS[name])
    assert np.mean(right) >= 0.95 and np.mean(wrong) < 0.5


def test_there_is_a_task_for_each_of_the_fourteen_chapters():
    assert set(teaching.task_names()) == set(SOLVERS)
    assert {int(name[:2]) for name in SOLVERS} == set(range(1, 15))


@pytest.mark.parametrize("name", SOLVERS)
def test_one_seed_gives_the_same_task_and_seeds_differ_in_data_and_answers(name):
    one, again, *others = (teaching.task(name, seed) for seed in ("Ada L", " ada  l ", 1, 2, 3, 4, 5, 6, 7))
    arrays = [next(v for v in each.data.values() if isinstance(v, np.ndarray)) for each in (one, again)]
    assert np.array_equal(*arrays) and one._planted.answer == again._planted.answer
    assert len({str(each._planted.answer) for each in others}) >= 2
    assert all(f'data["{key}"]' in one.question for key in one.data)


def test_the_planted_answer_is_right_and_its_neighbours_are_told_the_direction(capsys):
    exercise = teaching.task("02_ceiling", 3)
    (true,) = exercise._planted.answer
    assert [exercise.check(np.float32(true + by)) for by in (0.0, 0.025, -0.025)] == [1, 1, 1]
    assert exercise.check(true + 0.04) == 0 and "too high" in capsys.readouterr().out
    assert exercise.check([true - 0.04]) == 0 and "too low" in capsys.readouterr().out


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
    [((), 1, "at least one score"), ((2.0,), 1, "from 0 to 1"), ((1.0,), 0, "above 0")],
)
def test_points_out_of_range_are_refused(scores, out_of, message):
    with pytest.raises(ValueError, match=message):
        teaching.points(*scores, out_of=out_of)
