"""Solutions of the exercises: their code can be read, uses names that exist, and earns the points."""

import ast
import builtins
import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest

from latentcortex import encoding, metrics, nsd, teaching
from latentcortex.ridge import Ridge

pytest.importorskip("nbclient", reason="needs the extra `test`")

spec = importlib.util.spec_from_file_location(
    "solutions", Path(__file__).parents[1] / "book" / "solutions.py"
)
exercises = importlib.util.module_from_spec(spec)
spec.loader.exec_module(exercises)
solutions, sources = exercises.solutions, exercises.sources

each_chapter = pytest.mark.parametrize("path", exercises.chapters(), ids=lambda path: path.stem)
each_with_exercises = pytest.mark.parametrize("path", exercises.with_exercises(), ids=lambda path: path.stem)
LEVELS = ("Predict before you run", "Change one thing", "Project", "Grades itself")


def bound(tree):
    """Return every name that code gives a value."""
    names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
    return names


def test_primers_and_other_pages_with_exercises_are_tried_as_chapters_are():
    names = [path.stem for path in exercises.with_exercises()]
    assert {"primer_fmri", "primer_diffusion"} | {path.stem for path in exercises.chapters()} <= set(names)
    assert "intro" not in names


@each_with_exercises
def test_solutions_use_only_names_of_their_page(path):
    code = "\n".join(
        re.sub(r"^\s*[%!].*$", "pass", c, flags=re.MULTILINE)
        for c in sources(path, "code")
        if "%pip" not in c
    )
    known = bound(ast.parse(code)) | set(dir(builtins)) | {"exercise"}
    for label, text in solutions(path).items():
        tree = ast.parse(text)
        used = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
        assert used <= known | bound(tree), f"{label} uses {used - known - bound(tree)}"


@each_chapter
def test_each_exercise_names_its_level_and_one_grades_itself(path):
    titles = re.findall(r"^`{3,}\{exercise\} *(.*)$", "\n\n".join(sources(path, "markdown")), re.MULTILINE)
    levels = [title.partition(":")[0] for title in titles]
    assert set(levels) <= set(LEVELS), titles
    assert set(LEVELS) <= set(levels) and levels.count("Grades itself") == 1


@each_chapter
@pytest.mark.parametrize("seed", ["your name", 1, 2])
def test_the_solution_of_the_exercise_that_grades_itself_earns_the_points(path, seed):
    (name,) = re.findall(r'teaching\.task\("(\w+)", seed="your name"\)', "\n".join(sources(path, "markdown")))
    assert name[:2] == path.name[:2]
    (text,) = [text for label, text in solutions(path).items() if label.endswith("-planted")]
    exercise, given = teaching.task(name, seed), []
    names = {"np": np, "nsd": nsd, "encoding": encoding, "metrics": metrics, "Ridge": Ridge}
    names["exercise"] = Recorded(exercise, given)
    exec(compile(text, path.stem, "exec"), names)
    assert given == [1.0]


class Recorded:
    """A task that keeps the points of its checks."""

    def __init__(self, exercise, given):
        self.data, self._exercise, self._given = exercise.data, exercise, given

    def check(self, answer):
        self._given.append(self._exercise.check(answer))


def test_solutions_run_after_their_chapter_and_an_error_is_named(tmp_path):
    directives = [
        f"```{{exercise}} T\n:label: {label}\n\nAsk.\n```\n\n"
        f"````{{solution}} {label}\n\n```python\n{code}\n```\n````\n\n"
        for label, code in (("good", "assert x == 3"), ("bad", "x / 0"), ("after", "assert x + 1 == 4"))
    ]
    cells = [
        {
            "cell_type": "code",
            "id": "a",
            "metadata": {},
            "source": "x = 3",
            "outputs": [],
            "execution_count": None,
        }
    ]
    cells.append({"cell_type": "markdown", "id": "b", "metadata": {}, "source": "".join(directives)})
    path = tmp_path / "01_small_one.ipynb"
    path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    assert exercises.run(path) == {"good": None, "bad": "ZeroDivisionError: division by zero", "after": None}
