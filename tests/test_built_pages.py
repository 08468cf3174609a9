"""The manners of the built pages: of the build that is being checked, or of the last whole book."""

import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

yaml = pytest.importorskip("yaml", reason="needs the extra `book`")

ROOT = Path(__file__).parents[1]
BOOK = ROOT / "book"
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
CHAPTERS = [chapter for part in TOC["parts"] for chapter in part["chapters"]]
PAGES = [TOC["root"]] + [page["file"] for c in CHAPTERS for page in (c, *c.get("sections", []))]


class Page(HTMLParser):
    """What a page fetches by itself, and its pictures."""

    FETCHING_LINKS = {
        *("stylesheet", "icon", "preload", "modulepreload", "prefetch", "preconnect"),
        *("dns-prefetch", "manifest", "apple-touch-icon"),
    }

    def __init__(self, text):
        super().__init__()
        self.requests, self.images, self.scripts, self.styles = [], [], [], []
        self._inside = None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = {name: value or "" for name, value in attrs}
        self._inside = tag if tag in {"script", "style"} else None
        if tag == "link" and set(attrs.get("rel", "").split()) & self.FETCHING_LINKS:
            self.requests.append(attrs.get("href", ""))
        self.requests += [attrs[a] for a in ("src", "data", "poster") if attrs.get(a)]
        self.requests += [p.split()[0] for p in attrs.get("srcset", "").split(",") if p.strip()]
        self.styles.append(attrs.get("style", ""))
        self.scripts += [value for name, value in attrs.items() if name.startswith("on")]
        if tag == "img":
            self.images.append(attrs)
        if attrs.get("srcdoc"):
            self.requests += Page(attrs["srcdoc"]).requests

    def handle_endtag(self, _):
        self._inside = None

    def handle_data(self, data):
        if self._inside == "script":
            self.scripts.append(data)
        elif self._inside == "style":
            self.styles.append(data)


def styled_requests(css):
    return re.findall(r"url\(\s*[\"']?([^\"')]+)|@import\s+[\"']([^\"']+)", css)


def leaves_the_machine(address):
    parts = urlsplit(address.strip())
    return parts.scheme in {"http", "https", "ws", "wss", "ftp"} or bool(parts.netloc)


# These name formats and are not fetched.
HARMLESS = re.compile(r"https?://(www\.)?(w3|schema)\.org/")

# Sphinx adds the last three.
EACH = [*PAGES, "genindex", "py-modindex", "search"]


@pytest.fixture(scope="module")
def built():
    """Return the folder of pages: of the build that is being checked, or of the last whole book."""
    if "LATENTCORTEX_BUILT_BOOK" in os.environ:
        return Path(os.environ["LATENTCORTEX_BUILT_BOOK"])
    html = BOOK / "_build" / "html"
    if not (html / "whole.json").exists():
        pytest.skip("no whole book in book/_build: run `make book`")
    if json.loads((html / "whole.json").read_text()) != PAGES:
        pytest.skip("the book in book/_build is of another table of contents: run `make book`")
    return html


@pytest.fixture(params=EACH)
def path(request, built):
    return built / f"{request.param}.html"


def test_the_built_book_has_exactly_its_pages(built):
    assert {p.stem for p in built.glob("*.html")} == {"index", *EACH}


def test_built_page_asks_nothing_of_the_network(path):
    page = Page(path.read_text())
    assert [a for a in page.requests if leaves_the_machine(a)] == []
    styles = [a for css in page.styles for pair in styled_requests(css) for a in pair]
    assert [a for a in styles if leaves_the_machine(a)] == []
    in_scripts = re.findall(r"[\"'`](?:https?:)?//[\w.-]+\.\w+[^\"'`\s]*", "\n".join(page.scripts))
    assert [a for a in in_scripts if not HARMLESS.match(a[1:])] == []


def test_built_page_finds_its_own_files(path):
    for address in Page(path.read_text()).requests:
        parts = urlsplit(address)
        if not parts.scheme and parts.path:
            assert (path.parent / unquote(parts.path)).exists(), address


def test_style_sheets_ask_nothing_of_the_network(built):
    sheets = sorted(built.rglob("*.css"))
    assert sheets
    for sheet in sheets:
        found = [a for pair in styled_requests(sheet.read_text()) for a in pair]
        assert [a for a in found if leaves_the_machine(a)] == [], sheet.name


def test_built_page_describes_its_pictures_and_is_not_heavy(path):
    for img in Page(path.read_text()).images:
        alt = img.get("alt", "").strip()
        described = alt and not re.search(r"\.(png|jpe?g|svg)$", alt)
        assert described or img.get("aria-hidden") == "true", str(img)[:200]
    assert path.stat().st_size < 15e6


def test_mathematics_comes_from_the_book_itself(path):
    loaded = [a for a in Page(path.read_text()).requests if "mathjax" in a.lower()]
    assert all(a.startswith("_static/mathjax/") for a in loaded)


def test_every_rule_of_our_style_sheet_is_closed():
    # A brace that is missing makes browsers drop all rules after it, without a word.
    for sheet in (BOOK / "webassets").glob("*.css"):
        plain = re.sub(r"/\*.*?\*/", "", sheet.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert plain.count("{") == plain.count("}"), sheet.name
        assert not re.search(r"\{[^{}]*\{[^{}]*\{", plain), f"{sheet.name}: a rule inside a rule"


def test_the_reader_of_pages_sees_every_way_to_ask():
    page = Page(
        '<link rel="stylesheet" href="https://a.org/x.css"><script src="//b.org/y.js"></script>'
        '<img srcset="https://c.org/1.png 1x, 2.png 2x" src="data:image/png;base64,AA">'
        '<div style="background:url(https://d.org/z.png)"></div><a href="https://e.org">click</a>'
        '<style>@import "https://f.org/f.css";</style><script>load("https://g.org/g.js")</script>'
    )
    away = [a for a in page.requests if leaves_the_machine(a)]
    assert away == ["https://a.org/x.css", "//b.org/y.js", "https://c.org/1.png"]
    styles = [a for css in page.styles for pair in styled_requests(css) for a in pair if a]
    assert styles == ["https://d.org/z.png", "https://f.org/f.css"]
    assert page.scripts == ['load("https://g.org/g.js")']
