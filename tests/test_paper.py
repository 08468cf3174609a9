"""The paper about the book: its sections, its citations, and no number that the book doesn't compute."""

import re
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml", reason="needs the extra `book`")

ROOT = Path(__file__).parents[1]
_, HEAD, BODY = (ROOT / "paper.md").read_text(encoding="utf-8").split("---\n", 2)
BIBLIOGRAPHY = (ROOT / "paper.bib").read_text(encoding="utf-8")
ENTRIES = dict(re.findall(r"^@\w+\{(\w+),\n(.*?)^\}", BIBLIOGRAPHY, re.MULTILINE | re.DOTALL))


def test_the_head_names_what_the_journal_asks_for():
    head = yaml.safe_load(HEAD)
    assert {"title", "tags", "authors", "affiliations", "date", "bibliography"} <= head.keys()
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert [a["name"] for a in head["authors"]] == [a["name"] for a in citation["authors"]]
    assert {a["affiliation"] for a in head["authors"]} <= {a["index"] for a in head["affiliations"]}
    assert (ROOT / head["bibliography"]).is_file()


def test_every_citation_has_an_entry_and_every_entry_is_cited():
    assert set(re.findall(r"@(\w+)", BODY)) == set(ENTRIES)


@pytest.mark.parametrize("key", ENTRIES)
def test_every_entry_leads_somewhere(key):
    assert re.search(r"^ *(doi|url|eprint) *= *\{.+\}", ENTRIES[key], re.MULTILINE), (
        f"{key}: no DOI, no address"
    )


def test_the_sections_are_those_of_a_learning_module():
    assert re.findall(r"^# (.+)$", BODY, re.MULTILINE) == [
        *("Summary", "Statement of need", "Learning objectives", "Content and instructional design"),
        *("Experience of use", "Story of the project", "Acknowledgements", "References"),
    ]
    assert 1000 <= len(BODY.split()) <= 1500


def test_no_number_is_typed():
    assert re.findall(r"\d", re.sub(r"@\w+", "", BODY)) == []
