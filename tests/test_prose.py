"""The report of the book's prose counts what a reader reads."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("yaml", reason="needs the extra `book`")

PATH = Path(__file__).parents[1] / "book/prose.py"
spec = importlib.util.spec_from_file_location("prose", PATH)
prose = importlib.util.module_from_spec(spec)
spec.loader.exec_module(prose)

MARKDOWN = """# A title
Two words. {term}`Noise ceiling <ceiling>` is $a + b$ [a link](https://example.org/a.b)!
$$
x = 1. Y = 2.
$$
- An item
- another one. takagi2023 said so.

```{note}
Not counted. At all.
```
"""


def test_sentences_are_what_is_read():
    assert prose.sentences(MARKDOWN) == [
        "A title",
        "Two words.",
        "Noise ceiling is x a link!",
        "An item",
        "another one.",
        "takagi2023 said so.",
    ]


def test_a_page_is_counted_up_to_its_exercises(tmp_path):
    long = "Word " * 31 + "end."
    sources = [
        ("markdown", long),
        ("code", "fig, ax = plt.subplots()\n\ntable.style.set_caption('a')"),
        ("markdown", "## Exercises"),
        ("code", "plt.subplots()"),
    ]
    cells = [{"cell_type": kind, "source": [text]} for kind, text in sources]
    path = tmp_path / "page.ipynb"
    path.write_text(json.dumps({"cells": cells}))
    numbers, long_ones = prose.report(path)
    assert numbers == {
        "words": 32,
        "sentences": 1,
        "over 30": 1,
        "longest": 32,
        "tables": 1,
        "figures": 1,
        "lines of code": 2,
    }
    assert long_ones == [(32, long)]


@pytest.mark.parametrize(
    ("code", "is_figure"),
    [
        ("plotting.frame_slider(frames, labels, alt)", True),
        ("plotting.linked_slider(panels, labels, name=name)", True),
        ("display(plotting.grid_slider(", True),
        ("plotting.identification_quiz(", True),
        ("plotting.brain_quiz(", True),
        ("plotting.picture_composer(choices, pictures)", True),
        ("plotting.study_planner(chances, factors, findings, hours)", True),
        ("ax = plotting.winner_map(of_field, names)", True),
        ("ax, _ = plotting.two_dimensional_map(*whole)", True),
        ("plotting.film(frames, captions, alt)", True),
        ("fig, ax = plt.subplots()", True),
        ("sliders = 3", False),
        ("quiz(3)", False),
    ],
)
def test_whatever_draws_counts_as_a_figure(code, is_figure):
    assert bool(prose.FIGURES.search(code)) == is_figure


LONG = "word " * 31 + "end."
CODE = f'''"""Say what the module does.

========  =====
a table   of no
========  =====
"""


class Shown:
    """Hold a thing. Nothing else.

    Parameters
    ----------
    name : str, which is no sentence
        The name; *one* of several.
    Raises
    ------
    ValueError
        {LONG}

    Examples
    --------
    >>> Shown("not counted")
    """

    def method(self):
        """Return as follows::

            literal. And not counted.

        That is all.
        """

    def _hidden(self):
        """Not counted."""


def function():
    """Return one."""

    def inner():
        """Not counted."""
'''


def test_public_docstrings_are_counted_by_folder(tmp_path):
    (tmp_path / "module.py").write_text(CODE)
    (tmp_path / "empty.py").write_text("")
    numbers, long_ones = prose.docstring_report(tmp_path)
    # The module and the function have one sentence, the method two, the class two and two descriptions.
    assert numbers == {"docstrings": 4, "sentences": 8, "over 30": 1}
    assert long_ones == [(32, LONG)]
    assert numbers == prose.docstring_report(tmp_path / "module.py")[0]


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        ("Return a.\n\nReturns\n-------\nint\n    A number.", ["Return a.", "A number."]),
        ("Return a.\n\nNotes\n-----\nKept. Too.", ["Return a.", "Kept.", "Too."]),
        ("Return a::\n\n    not(this)\n\nBut this.", ["Return a::", "But this."]),
    ],
)
def test_prose_of_a_docstring_is_what_is_read(docstring, expected):
    assert prose.sentences(prose.prose_of(docstring)) == expected


def test_all_pages_are_there():
    names = [path.stem for path in prose.pages()]
    assert names[0] == "intro" and "10_encode_voxels" in names and len(names) == len(set(names)) > 15


ON_ANY_SYSTEM = """
import prose, slides
for path in prose.pages():
    prose.parts(path)
slides.deck("01_some", [slides.Frame("title", "A title")])
"""


def test_files_are_read_alike_whatever_the_encoding_of_the_system():
    """Python warns where the encoding of a file is left to the system; here that is an error."""
    strict = [
        "-X",
        "warn_default_encoding",
        *(f"-Werror::EncodingWarning:{name}" for name in ("prose", "slides")),
    ]
    done = subprocess.run(
        [sys.executable, *strict, "-c", ON_ANY_SYSTEM],
        cwd=PATH.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
