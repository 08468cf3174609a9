"""`latentcortex student`: which notebooks it writes, and that it never writes over others by accident."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from latentcortex.command import main
from latentcortex.teaching import book_folder, write_notebooks
from latentcortex.teaching.pages import PLAIN, REPOSITORY
from latentcortex.teaching.references import read_bibtex, unlatex

ROOT = Path(__file__).parents[1]
CHAPTER = "05_decode_latents"


def text_of(folder):
    return (folder / f"{CHAPTER}.ipynb").read_text()


def test_all_notebooks_and_the_glossary_are_written_without_solutions(tmp_path, capsys):
    assert main(["student", str(tmp_path / "class")]) == 0
    written = {path.name for path in (tmp_path / "class").iterdir()}
    notebooks = {path.name for path in (ROOT / "book").glob("*.ipynb")}
    assert written == notebooks - {"intro.ipynb"} | {"glossary.md"}
    text = text_of(tmp_path / "class")
    assert "Exercise 1" in text and "Solution" not in text
    assert "colab.research.google.com" not in text, "the copy there has the solutions"
    assert f"Wrote {len(written)} files" in capsys.readouterr().out


def test_the_sources_are_never_replaced(tmp_path, capsys):
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "references.bib").write_text("")
    source = tmp_path / "book" / "a.ipynb"
    source.write_text(json.dumps({"cells": []}))
    with pytest.raises(ValueError, match="holds the sources"):
        write_notebooks(tmp_path / "book", overwrite=True, source=tmp_path / "book")
    with pytest.raises(FileExistsError, match="is a file"):
        write_notebooks(source, overwrite=True, source=tmp_path / "book")
    assert json.loads(source.read_text()) == {"cells": []}
    with pytest.raises(SystemExit):
        main(["student"])
    assert "required: FOLDER\n" in capsys.readouterr().err


def test_links_to_notebooks_that_are_not_written_lead_to_the_project(tmp_path):
    write_notebooks(tmp_path / "one", "05")
    write_notebooks(tmp_path / "two", ["04", "05"])
    assert f"]({PLAIN}/04_understand_ridge.ipynb)" in text_of(tmp_path / "one")
    assert "](04_understand_ridge.ipynb)" in text_of(tmp_path / "two")


def test_solutions_are_kept_folded_when_they_are_asked_for(tmp_path):
    assert main(["student", str(tmp_path), "05", "--solutions"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == [f"{CHAPTER}.ipynb"]
    assert text_of(tmp_path).count("<summary>Solution</summary>") >= 2
    assert text_of(tmp_path).count("colab.research.google.com") == 1


def test_written_notebooks_are_valid(tmp_path):
    nbformat = pytest.importorskip("nbformat", reason="needs the extra `test`")
    for path in write_notebooks(tmp_path):
        if path.suffix == ".ipynb":
            nbformat.validate(nbformat.read(path, as_version=4))


def test_a_file_that_is_there_stops_all_and_force_replaces_it(tmp_path, capsys):
    mine = tmp_path / f"{CHAPTER}.ipynb"
    mine.write_text("mine")
    assert main(["student", str(tmp_path), "04", "05"]) == 1
    assert "05_decode_latents.ipynb, so nothing was written" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [mine.name] and mine.read_text() == "mine"
    assert main(["student", str(tmp_path), "04", "05", "--force"]) == 0
    assert json.loads(mine.read_text())["cells"] and len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("name", "message"), [("99", "No notebook begins with '99'"), ("1", "notebooks begin with '1'")]
)
def test_a_name_of_no_or_several_notebooks_is_refused(name, message, tmp_path, capsys):
    assert main(["student", str(tmp_path / "class"), name]) == 1
    said = capsys.readouterr().err
    assert message in said and CHAPTER in said
    assert not (tmp_path / "class").exists()


def test_nothing_is_written_when_one_notebook_cannot_be_converted(tmp_path):
    (tmp_path / "references.bib").write_text("")
    for name, text in (("a", "fine"), ("b", "{unheard}`x`")):
        cell = {"cell_type": "markdown", "id": "m", "metadata": {}, "source": [text]}
        (tmp_path / f"{name}.ipynb").write_text(json.dumps({"cells": [cell]}))
    with pytest.raises(ValueError, match=r"b.ipynb, cell 0 \(m\): the role \{unheard\}"):
        write_notebooks(tmp_path / "out", source=tmp_path)
    assert not (tmp_path / "out").exists()


def test_links_lead_to_the_one_address_of_the_project():
    assert yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["url"] == REPOSITORY
    assert book_folder() == ROOT / "book"


def test_the_workflow_that_publishes_the_book_pushes_to_the_branch_that_is_linked():
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "book.yml").read_text())["jobs"]
    branch = PLAIN.removeprefix(f"{REPOSITORY}/blob/")
    steps = "\n".join(step.get("run", "") for job in ("build", "notebooks") for step in jobs[job]["steps"])
    assert "student notebooks --solutions" in steps and "latent-cortex@$GITHUB_SHA/" in steps
    assert re.search(rf"git push --force \S+ {branch}$", steps, re.MULTILINE)
    assert "main" in jobs["notebooks"]["if"] and jobs["notebooks"]["needs"] == "build"


def test_writing_needs_nothing_but_python():
    code = "import sys, latentcortex.teaching; print(*sorted({n.split('.')[0] for n in sys.modules}))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "nbformat", "markdown_it"} & set(answer.stdout.split())


# The bibliography -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("latex", "text"),
    [
        (r"Doll{\'a}r", "Dollár"),
        (r"Dupr\'{e} la Tour", "Dupré la Tour"),
        (r"Bie{\ss}mann", "Bießmann"),
        (r"S{\o}ren {\v{C}}ech {\c c}", "Søren Čech ç"),
        (r"{\'\i} \& {ABC} 1--2", "í & ABC 1–2"),
    ],
)
def test_latex_becomes_the_characters(latex, text):
    assert unlatex(latex) == text


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        ("@article{a, year = 2000}", "has no author"),
        ("@article{a, author = {B, C}}", "has no year"),
        ("@article{a, author={B}, year=2000}\n@book{a, author={B}, year=2000}", "stands twice"),
        (r"@article{a, author={\unheard}, year=2000}", "unheard"),
        ("@article{a, author={B, year=2000", "never closed"),
    ],
)
def test_a_faulty_entry_is_named(entry, fault):
    with pytest.raises(ValueError, match=fault):
        read_bibtex(entry)


def test_every_entry_of_the_book_is_read():
    text = (ROOT / "book" / "references.bib").read_text()
    found = read_bibtex(text)
    assert len(found) == sum(line.startswith("@") for line in text.splitlines())
    assert found["haufe2014"].authors == "Haufe et al." and found["haufe2014"].families[2] == "Görgen"
    assert found["li2025"].link("x") == "[x](https://doi.org/10.1109/TIP.2025.3526051)"
