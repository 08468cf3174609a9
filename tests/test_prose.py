"""The report of the book's prose counts what a reader reads."""

import importlib.util
import json
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


def test_all_pages_are_there():
    names = [path.stem for path in prose.pages()]
    assert names[0] == "intro" and "10_encode_voxels" in names and len(names) == len(set(names)) > 15
