"""Building the book: failures are named, pages that worked are written, the last good book stays."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="needs the extra `book`")
pytest.importorskip("jupyter_book", reason="needs the extra `book`")

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def builder():
    spec = importlib.util.spec_from_file_location("build_book", ROOT / "book" / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_chapter(path, *cells):
    code = [nbformat.v4.new_code_cell(cell) for cell in cells]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(f"# {path.stem}"), *code])
    nbformat.write(notebook, path)
    return path


@pytest.fixture
def small(tmp_path):
    """A book of a page and two chapters that work."""
    (tmp_path / "book").mkdir()
    (tmp_path / "_config.yml").write_text(
        'title: Small\nonly_build_toc_files: true\nexecute: {execute_notebooks: "off"}\n'
    )
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: intro\nchapters: [{file: one}, {file: two}]\n")
    (tmp_path / "book" / "intro.md").write_text("# A small book\n")
    write_chapter(tmp_path / "book" / "one.ipynb", "print('of ' + 'one')")
    write_chapter(tmp_path / "book" / "two.ipynb", "print('of ' + 'two')")
    return tmp_path


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("# first line\nraise KeyError('why')", "(# first line): KeyError: 'why'"),
        ("import time; time.sleep(60)", "it took over 0 minutes"),
        ("import os; os._exit(9)", "its kernel died"),
    ],
    ids=["raises", "hangs", "dies"],
)
def test_a_chapter_that_fails_is_named_with_its_cell_and_reason(builder, tmp_path, cell, reason):
    path = write_chapter(tmp_path / "bad.ipynb", "print('before')", cell, "print('after')")
    notebook, failure = builder.execute(path, cell_limit=5)
    assert failure.startswith("bad.ipynb, code cell 2 of 3 ") and reason in failure
    assert notebook.cells[1].outputs[0].text == "before\n"
    assert notebook.cells[3].outputs == []


def test_no_cell_is_ended_within_an_hour(builder):
    assert builder.CELL_LIMIT >= 3600
    assert "timeout" not in (ROOT / "_config.yml").read_text()


def test_a_whole_book_takes_the_place_of_the_last_one_and_a_failed_one_does_not(builder, small):
    checked = []
    assert builder.build(small, lambda html: checked.append(html) or True) == []
    place = small / "book" / "_build" / "html"
    assert "of two" in (place / "two.html").read_text()
    assert (place / builder.WHOLE).exists() and len(checked) == 1
    assert not (small / "book" / "_build.new").exists()

    write_chapter(small / "book" / "one.ipynb", "print('changed ' * 2)")
    write_chapter(small / "book" / "two.ipynb", "print('of ' + 'two')", "1 / 0")
    failures = builder.build(small, lambda html: checked.append(html) or True)
    assert failures == ["two.ipynb, code cell 2 of 2 (1 / 0): ZeroDivisionError: division by zero"]
    assert len(checked) == 1, "the pages of a failed book are not checked"
    beside = small / "book" / "_build.new" / "_build" / "html"
    assert "changed changed" in (beside / "one.html").read_text(), "a page that worked is written"
    assert not (beside / builder.WHOLE).exists()
    assert "of one" in (place / "one.html").read_text(), "the last good book stays"
    assert (place / builder.WHOLE).exists()


def test_a_book_whose_pages_fail_their_checks_does_not_take_the_place(builder, small):
    assert builder.build(small, lambda _: False) == ["checks of the pages: named above"]
    assert not (small / "book" / "_build").exists()


def test_slides_are_among_the_pages_before_these_are_checked(builder, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "book")
    html, executed = tmp_path / "html", tmp_path / "jupyter_execute"
    executed.mkdir()
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Ask\n\n**Who?** We.")])
    nbformat.write(notebook, executed / "05_ask_it.ipynb")
    found = []
    monkeypatch.setattr(builder, "check_pages", lambda html: found.extend((html / "slides").iterdir()))
    builder.finish_pages(html)
    assert {path.name for path in found} == {"05.html", "index.html"}


INTERRUPTED = """
import importlib.util, signal, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("build_book", sys.argv[1])
builder = importlib.util.module_from_spec(spec)
spec.loader.exec_module(builder)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have switched it off
builder.build(Path(sys.argv[2]), lambda html: True)
"""


def wait_until(there, seconds):
    end = time.monotonic() + seconds
    while not there() and time.monotonic() < end:
        time.sleep(0.1)
    return there()


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.skipif(sys.platform == "win32", reason="another process gets no Ctrl-C there")
def test_ctrl_c_ends_the_chapters_that_are_running_and_their_kernels(small):
    """Each chapter would run for 10 minutes; the process and both kernels are gone within 20 seconds."""
    names = ("one", "two", "three")
    (small / "_toc.yml").write_text(
        "format: jb-book\nroot: intro\nchapters: [{file: one}, {file: two}, {file: three}]\n"
    )
    told = [small / name for name in names]
    for file in told:
        cell = f"import os, pathlib, time\npathlib.Path({str(file)!r}).write_text(str(os.getpid()))"
        write_chapter(small / "book" / f"{file.name}.ipynb", cell, "time.sleep(600)")
    command = [sys.executable, "-c", INTERRUPTED, ROOT / "book" / "build.py", small]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert wait_until(lambda: any(file.exists() and file.read_text() for file in told), 60)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=20)
    finally:
        process.kill()
    kernels = [int(file.read_text()) for file in told if file.exists()]
    assert kernels and wait_until(lambda: not any(map(is_alive, kernels)), 5)
    assert "KeyboardInterrupt" in errors and process.returncode != 0
    assert "executed" not in out and "FAILED" not in out
    assert not told[2].exists(), "no other chapter begins"


def test_a_run_ended_between_the_two_renames_loses_nothing(builder, tmp_path):
    place, old = tmp_path / "_build", tmp_path / "_build.old"
    old.mkdir()
    (old / "page").write_text("the last good book")
    builder.restore(place)
    assert (place / "page").read_text() == "the last good book" and not old.exists()
    new = tmp_path / "new"
    new.mkdir()
    (new / "page").write_text("a new one")
    builder.replace(new, place)
    assert (place / "page").read_text() == "a new one"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["_build"]


def test_docstrings_make_a_page_without_a_warning(tmp_path):
    import yaml
    from sphinx.application import Sphinx

    config = yaml.safe_load((ROOT / "_config.yml").read_text())["sphinx"]["config"]
    words = ("autosummary", "autodoc", "napoleon")
    settings = {key: value for key, value in config.items() if key.startswith(words)}
    settings["extensions"] = ["myst_parser", *(f"sphinx.ext.{name}" for name in words), "sphinx.ext.mathjax"]
    (tmp_path / "api.md").write_text((ROOT / "book" / "api.md").read_text())
    warnings = (tmp_path / "warnings").open("w+")
    app = Sphinx(
        tmp_path,
        None,
        tmp_path / "out",
        tmp_path / "trees",
        "dummy",
        {**settings, "root_doc": "api"},
        status=None,
        warning=warnings,
    )
    app.build()
    warnings.seek(0)
    assert warnings.read() == ""
    assert "latentcortex.ridge.Ridge.predict" in app.env.get_domain("py").objects
