"""Solutions of the exercises: their code can be read, uses names that exist, and earns the points."""

import ast
import builtins
import json
import re
from pathlib import Path

import numpy as np
import pytest

from latentcortex import encoding, metrics, nsd, teaching
from latentcortex.ridge import Ridge

BOOK = Path(__file__).parents[1] / "book"
CHAPTERS = sorted(BOOK.glob("[01][0-9]_*.ipynb"))
each_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
LEVELS = ("Predict before you run", "Change one thing", "Project", "Grades itself")
SOLUTION = re.compile(r"^(`{3,})\{solution\} *(\S+)\n(.*?)^\1$", re.MULTILINE | re.DOTALL)


def sources(path, kind):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == kind]


def solutions(path):
    """Return the code of each solution by its label: fenced, or lines that are indented."""
    found = {}
    for _, label, body in SOLUTION.findall("\n\n".join(sources(path, "markdown"))):
        fenced = re.findall(r"^```python\n(.*?)^```$", body, re.MULTILINE | re.DOTALL)
        indented = re.findall(r"^    (.*)$|^(?=\n    )$", body, re.MULTILINE)
        found[label] = "\n".join(fenced or indented)
    return found


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


@each_chapter
def test_solutions_use_only_names_of_their_chapter(path):
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
