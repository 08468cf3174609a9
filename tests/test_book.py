"""The manners of the book's sources; those of its built pages are in test_built_pages.py."""

import ast
import json
import re
import tomllib
from pathlib import Path

import pytest

import latentcortex

yaml = pytest.importorskip("yaml", reason="needs the extra `book`")

ROOT = Path(__file__).parents[1]
BOOK = ROOT / "book"

CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text())
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
URL = CONFIG["repository"]["url"]
IN_ORDER = [page for part in TOC["parts"] for c in part["chapters"] for page in (c, *c.get("sections", []))]
PAGES = [TOC["root"]] + [page["file"] for page in IN_ORDER]
NOTEBOOKS = sorted(BOOK.glob("*.ipynb"))
# Chapters and primers teach: they have aims, exercises and a summary. The front page shows no code.
CHAPTERS = [p for p in NOTEBOOKS if p.stem[0].isdigit() or p.stem.startswith("primer_")]
TO_RUN = [p for p in NOTEBOOKS if p.stem != "intro"]

# What opens a figure; the cell that calls one needs alt text for the picture that follows.
DRAWING = {"image_grid", "roi_bars", "flatmap", "inflated", "subplots", "subplot_mosaic", "figure"}
DRAWING |= {"compared_flatmaps", "two_dimensional_map", "winner_map"}

# The width in inches where a cell sets the size of a figure.
WIDTH = re.compile(r"""figsize["']?\s*[=:]\s*\(([\d.]+)""")

each_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
each_to_run = pytest.mark.parametrize("path", TO_RUN, ids=lambda p: p.stem)
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)


def cells(path, kind=None):
    notebook = json.loads(path.read_text())
    return [c for c in notebook["cells"] if kind in {None, c["cell_type"]}]


def source(cell):
    return "".join(cell["source"])


def prose(path):
    return "\n\n".join(source(c) for c in cells(path, "markdown"))


def called(cell):
    """Names of the functions that a code cell calls; magics and shell lines are left out."""
    plain = re.sub(r"^(\s*)[%!].*$", r"\1pass", source(cell), flags=re.MULTILINE)
    functions = [node.func for node in ast.walk(ast.parse(plain)) if isinstance(node, ast.Call)]
    return {f.attr if isinstance(f, ast.Attribute) else getattr(f, "id", "") for f in functions}


def metadata(cell, *keys):
    value = cell["metadata"]
    for key in keys:
        value = value.get(key, {})
    return value


# The sources ------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_every_page_of_the_table_of_contents_exists(page):
    assert [s for s in (".md", ".ipynb") if (BOOK / f"{page}{s}").exists()], f"book/{page} is missing"


def test_every_page_is_in_the_table_of_contents():
    written = {p.stem for p in BOOK.iterdir() if p.suffix in {".md", ".ipynb"}}
    assert written <= set(PAGES)
    assert len(PAGES) == len(set(PAGES))


def test_chapters_are_named_number_verb_object():
    chapters = [p.name for p in CHAPTERS if not p.stem.startswith("primer_")]
    assert [name for name in chapters if not re.fullmatch(r"\d\d[b-z]?(_[a-z]+){2,}\.ipynb", name)] == []


def test_settings_that_keep_a_build_honest():
    sphinx = CONFIG["sphinx"]["config"]
    # book/build.py executes every chapter at each build; tests/test_building.py holds it to that.
    assert CONFIG["execute"] == {"execute_notebooks": "off"}
    assert '"-W", "--keep-going"' in (BOOK / "build.py").read_text()
    assert "sphinx-mathjax-offline" in CONFIG["sphinx"]["extra_extensions"]
    assert sphinx["nb_ipywidgets_js"] == {}
    # Version 1 would load any script found there on every page, which is right for this one alone.
    assert not (BOOK / "_static").exists()
    assert (
        [p.name for p in BOOK.joinpath("webassets").rglob("*.js")]
        == sphinx["html_js_files"]
        == ["enlarge.js"]
    )


def test_chapters_are_numbered_as_their_files_and_nothing_else_is():
    chapters = [c for part in TOC["parts"] if part.get("numbered") == 1 for c in part["chapters"]]
    numbered = [c["file"] for c in chapters]
    assert [int(name.partition("_")[0]) for name in numbered] == list(range(1, len(numbered) + 1))
    # A page under a chapter has its number and a letter, and no number in the margin.
    under = [(c["file"][:2], page["file"]) for c in chapters for page in c.get("sections", [])]
    assert all(page.partition("_")[0] in {f"{number}b", f"{number}c"} for number, page in under)
    assert sorted([*numbered, *(page for _, page in under)]) == [
        p.stem for p in CHAPTERS if p.stem[0].isdigit()
    ]
    others = [part.get("numbered") for part in TOC["parts"] if not part["chapters"][0]["file"][:2].isdigit()]
    assert not any(others)


def test_each_reference_has_one_doi_or_address():
    entries = re.split(r"\n(?=@)", (BOOK / "references.bib").read_text("utf-8").strip())
    assert len(entries) > 30
    for entry in entries:
        found = re.findall(r"^ +(doi|url) += \{(\S+)\}", entry, flags=re.MULTILINE)
        assert len(found) == 1, entry
        (kind, value) = found[0]
        assert value.startswith("https://" if kind == "url" else "10."), entry


def test_readme_and_citation_name_the_one_address_and_both_commands():
    readme, citation = (ROOT / "README.md").read_text(), (ROOT / "CITATION.cff").read_text()
    assert set(re.findall(r"https://github\.com/[\w./-]+\w", readme)) == {URL}
    assert yaml.safe_load(citation)["repository-code"] == URL
    assert "make book" in readme and "make test" in readme


def test_project_metadata_names_no_other_address():
    found = re.findall(r"https://github\.com/[\w.-]+/[\w.-]+\w", (ROOT / "pyproject.toml").read_text())
    assert set(found) <= {URL}


@each_to_run
def test_colab_link_leads_to_this_chapter(path):
    owner_and_name = URL.removeprefix("https://github.com/")
    expected = (
        # Of the plain copies, which the workflow that publishes the book writes to a branch of their own.
        f"https://colab.research.google.com/github/{owner_and_name}/blob/notebooks/{path.name}"
    )
    assert re.findall(r"https://colab\.[^)\s>\"]+", prose(path)) == [expected]
    assert expected in source(cells(path)[0]), "the link stands at the top, in the first cell"
    badge = re.search(r"!\[[^\]]*\]\(\s*https?:|<img", source(cells(path)[0]))
    assert badge is None, "a text link: a badge picture would be fetched from another machine"


@each_to_run
def test_setup_cell_installs_from_the_one_address_and_only_if_the_import_fails(path):
    installing = [c for c in cells(path, "code") if re.search(r"\bpip\b.*\binstall\b", source(c))]
    assert installing == cells(path, "code")[:1], "exactly the first code cell installs"
    text = source(installing[0])
    assert re.findall(r"git\+([^\s\"'@#]+)", text) == [URL]
    assert re.search(r"find_spec\(\s*[\"']latentcortex|except ImportError|except ModuleNotFound", text)
    # What Colab has is left as it is: `make test-colab` asks pip whether that is so.
    assert not re.search(r"\b(torch|torchvision|numpy|pandas)\b", text)
    order = [text.find(part) for part in ("%pip list --format=freeze > installed.txt", "-c installed.txt")]
    assert 0 <= order[0] < order[1]


def test_the_setup_cell_is_the_same_in_all_notebooks_and_keeps_nothing_on_drive_unasked():
    (text,) = {source(cells(path, "code")[0]) for path in TO_RUN}
    assert "\nKEEP_ON_DRIVE = False" in text and "\nprebuilt.set_up(KEEP_ON_DRIVE)" in text


@each_to_run
def test_setup_cell_installs_the_tag_of_this_version(path):
    # A chapter of a release meets the package that it was written for, whatever main has become.
    text = source(cells(path, "code")[0])
    assert re.findall(r"git\+[^\s\"'@#]+@([^\s\"'#]+)", text) == [f"v{latentcortex.__version__}"]


def test_the_version_stands_in_three_places_and_is_one():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert project["version"] == latentcortex.__version__ == citation["version"]


def test_edit_and_issue_buttons_lead_to_the_one_address():
    assert CONFIG["html"]["use_edit_page_button"] is True
    assert CONFIG["html"]["use_issues_button"] is True
    assert (ROOT / CONFIG["repository"]["path_to_book"]) == BOOK


def test_the_page_of_the_package_lists_every_room():
    rooms = {p.stem for p in (ROOT / "src" / "latentcortex").iterdir() if p.suffix == ".py" or p.is_dir()}
    rooms = {r for r in rooms if not r.startswith("_")} - {"command"}
    text = (BOOK / "api.md").read_text()
    assert set(re.findall(r"^   latentcortex\.(\w+)$", text, flags=re.MULTILINE)) == rooms
    assert set(re.findall(r"automodule:: latentcortex\.(\w+)$", text, flags=re.MULTILINE)) == rooms


@each_to_run
def test_chapter_starts_with_the_three_lines_of_the_preset(path):
    start = "\n".join(source(c) for c in cells(path, "code")[:3])
    order = [start.find(text) for text in ("presets.get(", ".open()", ".report(")]
    assert order[0] >= 0 and min(order[1:]) > order[0]


@each_notebook
def test_chapter_is_committed_without_outputs(path):
    for cell in cells(path, "code"):
        assert cell["outputs"] == [] and cell["execution_count"] is None
    assert "widgets" not in json.loads(path.read_text())["metadata"]


@each_notebook
def test_code_cells_are_short_and_stand_after_prose(path):
    lines = [[li for li in source(c).splitlines() if li.strip()] for c in cells(path, "code")]
    assert max(map(len, lines)) <= 20
    kinds = [c["cell_type"] for c in cells(path)]
    bare = sum(a == b == "code" for a, b in zip(kinds, kinds[1:], strict=False))
    assert bare <= len(lines) / 4, "prose before nearly every code cell"


@each_notebook
def test_figures_have_alt_text(path):
    for cell in cells(path, "code"):
        if called(cell) & DRAWING:
            alt = metadata(cell, "mystnb", "image", "alt")
            assert alt and len(alt) >= 15, f'no metadata mystnb.image.alt: "{source(cell)[:80]}"'
    assert not re.findall(r"!\[\s*\]\(", prose(path))
    for tag in re.findall(r"<img[^>]*>", prose(path)):
        assert re.search(r"alt=[\"'][^\"']{15}", tag), tag


@each_notebook
def test_live_widgets_are_not_executed_by_the_build(path):
    for cell in cells(path, "code"):
        if re.search(r"\bipywidgets\b|\binteract\b|\bwidgets\.", source(cell)):
            assert "skip-execution" in metadata(cell, "tags")


@each_chapter
def test_chapter_says_simulated_minutes_and_what_one_learns(path):
    text = prose(path).lower()
    assert "simulated" in text
    assert "you will learn" in text
    assert "minute" in text or "seconds" in text
    assert "t4" in text
    assert re.search(r"^#+ .*summary", text, flags=re.MULTILINE), "a summary closes the chapter"


@each_chapter
def test_exercises_have_folded_solutions(path):
    text = prose(path)
    exercises = re.findall(r"\{exercise(?:-start)?\}[^\n]*\n(?::\w+:[^\n]*\n)*?:label: *(\S+)", text)
    solutions = re.findall(r"\{solution(?:-start)?\} *(\S+)\n((?::\w+:[^\n]*\n)*)", text)
    assert 2 <= len(exercises) <= 4
    assert sorted(exercises) == sorted(label for label, _ in solutions)
    assert all("dropdown" in options for _, options in solutions), "`:class: dropdown` folds it"


@each_chapter
def test_type_of_figures_can_be_read_on_a_phone(path):
    """The column of a telephone is 358 pixels wide, so 10 points in 5.6 inches are 8.9 pixels high there."""
    widths = [float(found) for cell in cells(path, "code") for found in WIDTH.findall(source(cell))]
    assert max(widths, default=0) <= 5.6, f"{path.name}: figures of {widths} inches; stack their panels."


@pytest.mark.parametrize("path", [p for p in CHAPTERS if p.stem[0].isdigit()], ids=lambda p: p.stem)
def test_lines_have_colours_that_all_readers_can_tell_apart(path):
    code = "\n".join(map(source, cells(path, "code")))
    if "plt.subplots" in code:
        assert "plotting.use_distinct_colours()" in code or "DISTINCT" in code
    assert "tab10" not in code
