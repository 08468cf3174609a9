"""What the pages leave out: Thebe, MathJax that no page loads, second copies of outputs."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest

nbformat = pytest.importorskip("nbformat", reason="needs the extra `book`")
nodes = pytest.importorskip("docutils.nodes", reason="needs the extra `book`")

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def lean():
    spec = importlib.util.spec_from_file_location("lean", ROOT / "book" / "lean.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write(path, text=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def test_only_what_a_page_may_load_stays(lean, tmp_path):
    mathjax = tmp_path / "_static" / "mathjax"
    stay = [
        "tex-chtml.js",
        "output/chtml/fonts/woff-v2/a.woff",
        "input/tex/extensions/mhchem.js",
        "ui/menu.js",
    ]
    go = ["tex-svg.js", "tex-chtml-full.js", "output/svg.js", "sre/mathmaps/de.json", "core.js"]
    for name in stay + go:
        write(mathjax / name)
    write(tmp_path / "_static" / "sphinx-thebe.js")
    write(tmp_path / "_static" / "enlarge.js")
    lean.lighten(tmp_path)
    left = {p.relative_to(mathjax).as_posix() for p in mathjax.rglob("*") if p.is_file()}
    assert left == set(stay)
    assert [p.name for p in (tmp_path / "_static").glob("*.js")] == ["enlarge.js"]
    assert not (mathjax / "output" / "svg.js").exists() and (mathjax / "output").exists()


def test_the_bundle_that_pages_name_is_there_to_be_kept():
    # The name stands in the extension that copies MathJax; another one would leave pages without formulas.
    spec = importlib.util.find_spec("sphinx-mathjax-offline")
    if spec is None:
        pytest.skip("needs the extra `book`")
    text = Path(spec.origin).read_text("utf-8")
    assert '"mathjax/tex-chtml.js"' in text
    assert (Path(spec.origin).parent / "static" / "mathjax" / "tex-chtml.js").exists()


def test_notebooks_for_download_have_cells_and_no_outputs(lean, tmp_path):
    code = nbformat.v4.new_code_cell(
        "1 + 1", execution_count=3, outputs=[nbformat.v4.new_output("stream", text="2")]
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Title"), code])
    path = write(tmp_path / "_sources" / "one.ipynb")
    nbformat.write(notebook, path)
    lean.lighten(tmp_path)
    title, left = nbformat.read(path, as_version=4).cells
    assert (title.source, left.source) == ("# Title", "1 + 1")
    assert left.outputs == [] and left.execution_count is None


def test_a_page_keeps_its_scripts_but_those_of_thebe(lean):
    scripts = [
        SimpleNamespace(filename="enlarge.js", attributes={}),
        SimpleNamespace(filename=None, attributes={"body": 'const THEBE_JS_URL = "x"'}),
        SimpleNamespace(filename="_static/sphinx-thebe.js", attributes={}),
    ]
    context = {"script_files": scripts, "css_files": ["a.css", "sphinx-thebe.css"]}
    lean.without_thebe(None, "one", "page.html", context, None)
    assert [s.filename for s in context["script_files"]] == ["enlarge.js"]
    assert context["css_files"] == ["a.css"] and context["default_mode"] == "auto"


def test_a_document_keeps_its_raw_html_but_the_settings_of_thebe(lean):
    stays = nodes.raw("", "<b>bold</b>", format="html")
    goes = nodes.raw("", '<script type="text/x-thebe-config">{}</script>', format="html")
    document = nodes.section("", stays, goes)
    lean.without_thebe_settings(None, document, "one")
    assert document.children == [stays]


def test_pages_of_a_build_that_failed_or_is_none_of_html_are_left_alone(lean, tmp_path):
    kept = write(tmp_path / "_static" / "mathjax" / "core.js")
    app = SimpleNamespace(builder=SimpleNamespace(format="html"), outdir=tmp_path)
    lean.lighten_built(app, ValueError("failed"))
    app.builder.format = "latex"
    lean.lighten_built(app, None)
    assert kept.exists()
    app.builder.format = "html"
    lean.lighten_built(app, None)
    assert not kept.exists()


def test_a_list_of_references_is_not_announced_as_an_empty_list(lean):
    context = {"body": '<div role="list" class="citation-list"><div role="doc-biblioentry">x</div></div>'}
    lean.with_plain_lists(None, "one", "page.html", context, None)
    assert context["body"] == '<div class="citation-list"><div role="doc-biblioentry">x</div></div>'
    lean.with_plain_lists(None, "genindex", "genindex.html", {}, None)
