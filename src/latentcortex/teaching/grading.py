"""Provide exercises that grade themselves, because the seed of each student plants another small brain.

The answer to a task is a parameter that was planted when its data were made. So the notebook contains no key,
and a neighbour's answer does not help. All data are simulated in seconds and need no download.
"""

import hashlib
import math
import operator
import unicodedata
from dataclasses import dataclass, field
from numbers import Real

# By module that plants them.
MODULES = {
    "planted_data": ("01_sessions", "02_ceiling", "03_noise_share", "04_penalty"),
    "planted_decoding": (
        "05_region",
        "06_strength",
        "07_shared",
        "08_setting",
        "08b_weigh",
        "09_needs_brain",
    ),
    "planted_encoding": ("10_field", "11_two_draws", "12_layer", "13_mixture", "14_leak", "15_preference"),
    "planted_study": ("16_rate",),
}


# What stands in the exercises in the place of a student's name.
PLACEHOLDER = "your name"


# Two tasks hold arrays, which have no single answer to "are they equal?", so each is equal to itself only.
@dataclass(frozen=True, eq=False)
class Planted:
    """Hold the data of a task, and the answer that was planted.

    Attributes
    ----------
    question : str
        What is asked, with the unit and the tolerance of the answer.
    data : dict of str to object
        Arrays, and in a few tasks a number, a list of arrays or functions.
    answer : tuple of float, or str
        The planted answer. A str is a choice.
    names : tuple of str
        The name of each number of the answer.
    bounds : tuple of (float, float)
        For each number, the range of possible answers.
    tolerance : tuple of float
        For each number, the largest error that still earns the points.
    choices : tuple of str
        All choices, if the answer is a choice.
    mistakes : tuple of (tuple of float or str, str)
        Answers that result from common misunderstandings, each with a hint.
    """

    question: str
    data: dict
    answer: tuple | str
    names: tuple = ()
    bounds: tuple = ()
    tolerance: tuple = ()
    choices: tuple = ()
    mistakes: tuple = ()


@dataclass(eq=False)
class Task:
    """Hold one exercise with the data of one student, as `task` returns it.

    Attributes
    ----------
    name : str
        Name such as ``"02_ceiling"``. The number is that of the chapter.
    seed : int or str
        The seed of the student.
    question : str
        The question. It names every array of `data` with its shape, and the tolerance of the answer.
    data : dict of str to object
    tries : int
        The number of calls of `check`.
    """

    name: str
    seed: int | str
    question: str
    data: dict = field(repr=False)
    _planted: Planted = field(repr=False)
    tries: int = field(default=0, init=False)

    def check(self, answer):
        """Print and return the points for an answer, 1.0 if it is correct and otherwise 0.0.

        A message says why a wrong answer is wrong. It may have another shape, be out of the possible range,
        be too low or too high, or result from a common misunderstanding. The correct value is never printed.

        Parameters
        ----------
        answer : float, sequence of float, or str
            The answer as the question asks for it. An array with the same number of values is also accepted.

        Returns
        -------
        float

        Notes
        -----
        Tries are counted and printed, but not limited. A loop over all choices finds the correct one, and
        bisection with "too high" and "too low" finds a number. A task that is made again begins at try 1. So
        don't grade what a student's notebook prints. Instead run the student's code again with a seed of your
        own.
        """
        planted = self._planted
        self.tries += 1
        right, text = _judge_choice(answer, planted) if planted.choices else _judge(answer, planted)
        print(f"{self.name}, seed {self.seed}, try {self.tries}: {float(right):.0f} of 1 points. {text}")
        return float(right)


def task(name, seed):
    """Return one exercise, whose data depend on the seed.

    ::

        exercise = teaching.task("02_ceiling", seed="ada@example.org")
        print(exercise.question)
        exercise.data["betas"].shape
        exercise.check(0.4)

    Parameters
    ----------
    name : str
        One of `task_names`.
    seed : int or str
        A number of at least 0, a name or an e-mail address. Capitals, surrounding spaces and the encoding of
        accents are ignored. For ``"your name"``, the placeholder of the exercises, a note is printed.

    Returns
    -------
    Task

    Raises
    ------
    ValueError
        If the task does not exist, the number is negative or the name is empty.
    TypeError
        If the seed is neither a whole number nor text.

    Notes
    -----
    The answer is not printed, but a student who searches the object can find it. To grade, run the student's
    code again with a seed of your own and check its answer.
    """
    for module, names in MODULES.items():
        if name in names:
            text = _text_of(seed)
            if text == PLACEHOLDER:
                print(f"Note: {seed!r} is everybody's seed. Put in a name of your own for data of your own.")
            planted = getattr(_modules()[module], f"plant_{name.partition('_')[2]}")(_number_of(name, text))
            return Task(name, seed, planted.question, planted.data, planted)
    raise ValueError(f"Expected one of {', '.join(task_names())}, got {name!r}.")


def task_names():
    """Return the names of all tasks, at least one for each chapter, in the order of the chapters."""
    return tuple(name for names in MODULES.values() for name in names)


def points(*scores, out_of=None):
    """Print and return the sum of scores from `Task.check`, scaled to the points of an exercise sheet.

    In nbgrader the value of the last line of an automatically graded cell is the partial credit::

        from latentcortex import teaching
        exercise = teaching.task("02_ceiling", seed=student)
        teaching.points(exercise.check(answer), out_of=5)

    In otter a test is a function, and any failed assertion costs its points::

        def test_ceiling(student, answer):
            exercise = teaching.task("02_ceiling", seed=student)
            assert exercise.check(answer) == 1

    Parameters
    ----------
    *scores : float
        Scores from 0 to 1, at least one score.
    out_of : float, optional
        Points for all tasks together, above 0. By default the number of tasks.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If there are no scores, if a score is not a number in [0, 1], or if `out_of` is not a number above 0.
    """
    if not scores or not all(isinstance(score, Real) and 0 <= score <= 1 for score in scores):
        got = ", ".join(map(repr, scores)) or "none"
        raise ValueError(f"Expected at least one score, each a number from 0 to 1 (not a list), got {got}.")
    out_of = len(scores) if out_of is None else out_of
    if not (isinstance(out_of, Real) and 0 < out_of < math.inf):
        raise ValueError(f"out_of is a number of points above 0, got {out_of!r}.")
    total = float(sum(scores) / len(scores) * out_of)
    print(f"{total:g} of {out_of:g} points")
    return total


def _modules():
    """Return the modules of `MODULES`. They need NumPy, so they are loaded with a task."""
    from latentcortex.teaching import planted_data, planted_decoding, planted_encoding, planted_study

    return {
        module.__name__.rpartition(".")[2]: module
        for module in (planted_data, planted_decoding, planted_encoding, planted_study)
    }


def _text_of(seed):
    """Return a seed as text, the same for all ways to write it."""
    if not isinstance(seed, str):
        try:
            if isinstance(seed, bool):
                raise TypeError
            seed = operator.index(seed)  # NumPy's whole numbers, too
        except TypeError:
            message = f"A seed is a whole number, a name or an e-mail address, got {seed!r}."
            raise TypeError(message) from None
        if seed < 0:
            raise ValueError(f"A seed that is a number is at least 0, got {seed}.")
    # An accented letter can be stored as one character or as two, which look the same.
    text = " ".join(unicodedata.normalize("NFKC", str(seed)).casefold().split())
    if not text:
        raise ValueError("A seed that is text has at least one letter.")
    return unicodedata.normalize("NFKC", text)


def _number_of(name, text):
    """Return the whole number that a task's random numbers start from."""
    return int.from_bytes(hashlib.sha256(f"{name}/{text}".encode()).digest()[:8], "big")


def _judge_choice(answer, planted):
    """Return whether a choice is right, and what to say about it."""
    chosen = _choice_of(answer)
    if chosen not in planted.choices:
        return False, f"Expected one of {', '.join(planted.choices)}, got {answer!r}."
    if chosen == planted.answer:
        return True, "Right."
    hints = [hint for wrong, hint in planted.mistakes if wrong == chosen]
    return False, " ".join(["Another one was planted.", *hints])


def _judge(answer, planted):
    """Return whether the numbers of an answer are right, and what to say about them."""
    numbers, n = _numbers(answer), len(planted.answer)
    if numbers is None or len(numbers) != n:
        what = "one number" if n == 1 else f"{n} numbers"
        came = f"{len(numbers)} numbers" if numbers else type(answer).__name__
        return False, f"Wrong shape: expected {what} ({', '.join(planted.names)}), got {came}."
    for name, number, (low, high) in zip(planted.names, numbers, planted.bounds, strict=True):
        if not low <= number <= high:
            return False, f"Out of range: the {name} lies between {low:g} and {high:g}, got {number:g}."
    if _near(numbers, planted.answer, planted.tolerance):
        return True, "Right."
    for wrong, hint in planted.mistakes:
        if _near(numbers, wrong, planted.tolerance):
            return False, hint
    said = []
    for name, number, true, width in zip(
        planted.names, numbers, planted.answer, planted.tolerance, strict=True
    ):
        if abs(number - true) > width:
            said.append(f"The {name} is too {'high' if number > true else 'low'}.")
    return False, " ".join(said)


def _near(numbers, others, widths):
    return all(abs(a - b) <= width for a, b, width in zip(numbers, others, widths, strict=True))


def _choice_of(answer):
    """Return a choice as text. Of 5, 5.0, [5] and an array of one 5 it is "5"."""
    answer = _plain(answer)
    while isinstance(answer, list | tuple) and len(answer) == 1:
        (answer,) = answer
    if isinstance(answer, float) and answer.is_integer():
        answer = int(answer)
    return str(answer)


def _numbers(answer):
    """Return the numbers of an answer as a list of float, or None if it does not consist of numbers."""
    answer = _plain(answer)
    answer = answer if isinstance(answer, list | tuple) else [answer]
    try:
        return [
            _float(number[0] if isinstance(number, list) and len(number) == 1 else number)
            for number in answer
        ]
    except (TypeError, ValueError):
        return None


def _plain(answer):
    """Return an answer without torch or NumPy: a number, text, or lists of these."""
    for method in ("detach", "tolist"):
        answer = getattr(answer, method)() if hasattr(answer, method) else answer
    return answer


def _float(number):
    """Return a number as float. A whole number that is too large for one is infinite."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf
