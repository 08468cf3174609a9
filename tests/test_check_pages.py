"""The check of the built pages: a page with a fault is named with it, a page without one passes."""

from pathlib import Path

import pytest

BOOK = Path(__file__).parents[1] / "book"
HEAD = '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>A page</title>'
STYLE = "<style>body{background:#fff;color:#222;margin:8px}</style></head><body>"


@pytest.fixture(scope="module")
def pages_checked():
    """Return the modules `check_pages` and `page_faults`; the first finds the second next to itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BOOK)
        import check_pages
        import page_faults
    return check_pages, page_faults


@pytest.fixture(scope="module")
def faults_of(pages_checked):
    return pages_checked[1]


def write(path, body):
    path.write_text(f'{HEAD}{STYLE}<main class="bd-article"><h1>A title</h1>{body}</main>', "utf-8")
    return path


# Without a browser ------------------------------------------------------------------------------


def test_links_to_files_and_anchors_that_are_there_pass(faults_of, tmp_path):
    write(
        tmp_path / "one.html",
        '<a href="two.html#here">a</a><a href="#top" id="top">b</a><img src="p%20q.png">',
    )
    write(tmp_path / "two.html", '<p id="here">x</p><a href="https://example.org/x#y">c</a><a href="#">d</a>')
    (tmp_path / "p q.png").write_bytes(b"")
    assert faults_of.of_links(tmp_path) == []
    assert faults_of.external_links(tmp_path) == ["https://example.org/x#y"]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ('<a href="gone.html">x</a>', "one: gone.html: no such file"),
        ('<a href="two.html#gone">x</a>', "one: two.html#gone: two.html has no such anchor"),
        ('<a href="#gone">x</a>', "one: #gone: one.html has no such anchor"),
        ('<img src="gone.png" alt="">', "one: gone.png: no such file"),
        ('<img srcset="gone.png 2x" alt="">', "one: gone.png: no such file"),
        ('<script src="gone.js"></script>', "one: gone.js: no such file"),
    ],
)
def test_what_leads_nowhere_is_named(faults_of, tmp_path, body, named):
    write(tmp_path / "one.html", body)
    write(tmp_path / "two.html", "")
    (fault,) = faults_of.of_links(tmp_path)
    assert fault.startswith(named)


def test_a_heavy_site_is_named_with_its_largest_file(faults_of, tmp_path):
    (tmp_path / "large.png").write_bytes(bytes(2_000_000))
    assert faults_of.of_size(tmp_path, limit=2) == []
    (fault,) = faults_of.of_size(tmp_path, limit=1.9)
    assert fault.startswith("site: 2.0 MB") and "large.png 2.0" in fault


def test_what_a_cell_wrote_to_the_standard_error_is_a_fault(faults_of, tmp_path):
    pre = "<div class='highlight'><pre><span></span>/tmp/1.py:8: <span>Loud</span>Warning: cut\n</pre></div>"
    for kind in ("stdout", "stderr"):
        page = f'{HEAD}<div class="output {kind} highlight-myst-ansi">{pre}</div>'
        (tmp_path / f"{kind}.html").write_text(page)
    (fault,) = faults_of.of_warnings(tmp_path)
    assert fault.startswith("stderr: a warning in red, '/tmp/1.py:8: LoudWarning: cut'")


def test_only_addresses_on_other_machines_leave_the_machine(faults_of):
    stays = ["file:///a/b.css", "data:image/png;base64,AA", "blob:null/1", "about:blank"]
    assert [a for a in stays if faults_of.leaving(a)] == []
    assert all(map(faults_of.leaving, ["https://a.org/x.js", "http://b.org", "wss://c.org/s"]))


def test_time_console_and_rules_are_faults_from_their_limits_on(faults_of):
    assert faults_of.too_slow(3.0) == [] and "3.1 s" in faults_of.too_slow(3.1)[0]
    assert faults_of.console_error("log", "x") == [] and faults_of.console_error("error", "x")
    rules = [
        {"impact": impact, "id": impact, "help": "Help", "nodes": [{"html": f"<p>{impact}</p>"}]}
        for impact in ("minor", "moderate", "serious", "critical")
    ]
    found = faults_of.against_axe(390, "dark", rules)
    assert [fault.split(":")[0] for fault in found] == ["<p>serious</p>", "<p>critical</p>"]


def test_without_a_browser_it_is_skipped_with_a_reason(pages_checked, monkeypatch, capsys):
    monkeypatch.setattr(pages_checked[0], "find_browser", lambda: None)
    assert pages_checked[0].main() == 0
    assert capsys.readouterr().out.startswith("Skipped: no browser.")


def test_without_pages_it_fails_and_says_what_to_do(pages_checked, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(pages_checked[0], "find_browser", lambda: "/a/browser")
    monkeypatch.setenv("LATENTCORTEX_BUILT_BOOK", str(tmp_path))
    assert pages_checked[0].main() == 1
    assert "make book" in capsys.readouterr().out


# In a browser -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checker(pages_checked):
    check_pages, _ = pages_checked
    browser, tools = check_pages.find_browser(), check_pages.installed_tools()
    if browser is None or tools is None:
        pytest.skip("needs a browser, and what `make check-pages` installs at its first run")
    with check_pages.Checker(*tools, browser) as one:
        yield one


CLEAN = """
<p>Text that <a href="#end">can</a> be read.</p>
<details><summary>More</summary><p id="end">Folded.</p></details>
<label>Frame <input type="range" max="3" value="3" oninput="this.nextElementSibling.textContent = this.value">
<output>3</output></label>
<button onclick="this.nextElementSibling.hidden = false">Show</button><p hidden>Shown</p>
<div style="overflow-x:auto" tabindex="0"><div style="width:2000px">wide, in a frame</div></div>
<img alt="a dot" src="data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7">
<div style="background:linear-gradient(#fff,#ddd)">Text over a gradient.</div>
"""


def test_a_page_without_faults_passes(checker, tmp_path):
    assert checker.check(write(tmp_path / "clean.html", CLEAN)) == []


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ("<script>throw new Error('stop')</script>", "script: stop"),
        ("<script>const a = 1;</script><script>const a = 2;</script>", "script: Identifier 'a' has already"),
        ("<script>console.error('worse')</script>", "console: worse"),
        (
            '<img alt="x" src="https://example.invalid/x.png">',
            "request: https://example.invalid/x.png leaves",
        ),
        (
            '<img alt="x" src="data:image/png;base64,AAAA">',
            "picture data:image/png;base64,AAAA: cannot be shown",
        ),
        (
            '<p style="color:#999">pale words</p>',
            '<p> "pale words": contrast 2.85 in light mode, 4.5 is needed',
        ),
        (
            "<style>[data-theme=dark] .x { color: #333; background: #111 }</style><p class='x'>dim</p>",
            '<p.x> "dim": contrast 1.49 in dark mode',
        ),
        ('<div style="width:1000px" class="w">w</div>', '<div.w> "w": sticks out of a window of 390 px'),
        ('<input type="range" aria-label="dead">', 'slider <input> "dead": nothing changes on ArrowRight'),
        ("<button>idle</button>", 'button <button> "idle": nothing changes on Enter'),
        (
            "<details><summary onkeydown='event.preventDefault()'>stuck</summary>x</details>",
            'details <summary> "stuck": nothing changes on Enter',
        ),
        (
            '<img src="data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7">',
            "image-alt",
        ),
        ("<iframe srcdoc='x'></iframe>", "frame-title"),
        ("<button></button>", "button-name"),
    ],
    ids=lambda value: None if "<" in value else value[:24],
)
def test_a_page_with_a_fault_is_named_with_it(checker, tmp_path, body, named):
    found = checker.check(write(tmp_path / "bad.html", body))
    assert [fault for fault in found if named in fault], found
    assert all(fault.startswith("bad: ") for fault in found)
