"""The two primers: first in the book, and read in ten minutes. Their other manners are in test_book.py."""

import importlib.util
import json
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml", reason="needs the extra `book`")

BOOK = Path(__file__).parents[1] / "book"
PRIMERS = ("primer_fmri", "primer_diffusion")

spec = importlib.util.spec_from_file_location("prose", BOOK / "prose.py")
prose = importlib.util.module_from_spec(spec)
spec.loader.exec_module(prose)


def test_primers_come_first_and_there_are_no_others():
    contents = yaml.safe_load((BOOK.parent / "_toc.yml").read_text())
    assert tuple(page["file"] for page in contents["parts"][0]["chapters"]) == PRIMERS
    assert {path.stem for path in BOOK.glob("primer_*.ipynb")} == set(PRIMERS)


@pytest.mark.parametrize("name", PRIMERS)
def test_a_primer_is_read_in_ten_minutes(name):
    path = BOOK / f"{name}.ipynb"
    numbers, long_sentences = prose.report(path)
    assert numbers["words"] <= 1500
    assert 3 <= numbers["figures"] <= 4
    assert long_sentences == []
    assert sum(cell["cell_type"] == "code" for cell in json.loads(path.read_text())["cells"]) <= 12


@pytest.mark.parametrize("name", PRIMERS)
def test_a_primer_leads_to_the_other_one_and_to_the_glossary(name):
    text = "\n".join(prose.parts(BOOK / f"{name}.ipynb")[0])
    (other,) = set(PRIMERS) - {name}
    assert f"]({other}.ipynb)" in text
    assert "](glossary.md)" in text
