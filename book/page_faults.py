"""Faults of built pages, each a line that names the element and what to do: what `check_pages.py` prints.

Functions of files and of what a browser said; none of them needs a browser.
"""

import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

MEGABYTES = 60  # of the whole site
SECONDS = 3  # until a page has loaded
SHOWN = 110  # characters of an element


@cache
def script(name):
    """Return the function of check_pages.js with a name, as JavaScript."""
    return f"({Path(__file__).with_name('check_pages.js').read_text('utf-8').strip()}).{name}"


class Page(HTMLParser):
    """The anchors of a page and the addresses that it links to or loads.

    Parameters
    ----------
    text : str
        HTML.

    Attributes
    ----------
    anchors : set of str
    addresses : list of str
        In order of appearance, of links, pictures, scripts, style sheets and frames.
    """

    def __init__(self, text):
        super().__init__()
        self.anchors, self.addresses = set(), []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        """Keep the anchors and addresses of an element."""
        attrs = {name: value or "" for name, value in attrs}
        self.anchors |= {attrs[name] for name in ("id", "name") if attrs.get(name)}
        self.addresses += [attrs[name] for name in ("src", "href", "poster", "data") if attrs.get(name)]
        if tag in {"img", "source"}:
            self.addresses += [part.split()[0] for part in attrs.get("srcset", "").split(",") if part.strip()]


def is_external(address):
    """Return whether an address lies on another machine; ``mailto:`` and ``data:`` don't."""
    parts = urlsplit(address)
    return parts.scheme in {"http", "https", "ws", "wss", "ftp"} or bool(parts.netloc)


def read_pages(folder):
    """Return the built pages of a folder as {path: Page}."""
    return {path: Page(path.read_text("utf-8")) for path in sorted(Path(folder).glob("*.html"))}


def external_links(folder):
    """Return the addresses on other machines that pages name, sorted; they are not opened.

    Those of the buttons that edit a page or report an issue are left out: they are made of the page's name.
    """
    addresses = {a for page in read_pages(folder).values() for a in page.addresses if is_external(a)}
    return sorted(a for a in addresses if "/edit/" not in a and "/issues/new?" not in a)


def of_links(folder):
    """Return a fault for each link, picture or anchor of the pages that leads nowhere.

    Parameters
    ----------
    folder : Path
        Pages ``*.html`` that refer to each other and to files by relative addresses.

    Returns
    -------
    list of str
    """
    pages, faults = read_pages(folder), []
    for path, page in pages.items():
        for address in dict.fromkeys(page.addresses):
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path.resolve()
            if not target.exists():
                faults.append(f"{path.stem}: {address}: no such file; mend the address or add the file")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                where = f"{target.name} has no such anchor"
                faults.append(f"{path.stem}: {address}: {where}; link a heading or a label that is there")
    return faults


def of_warnings(folder):
    """Return a fault for each text that pages of a folder show from a cell's standard error, in red."""
    shown, faults = r'<div class="output stderr[^>]*>.*?<pre>(.*?)</pre>', []
    for path in sorted(Path(folder).glob("*.html")):
        for found in re.findall(shown, path.read_text("utf-8"), re.DOTALL):
            text = " ".join(re.sub("<[^>]+>", "", found).split())[:SHOWN]
            faults.append(f"{path.stem}: a warning in red, {text!r}; tag its cell remove-stderr")
    return faults


def of_size(folder, limit=MEGABYTES):
    """Return a fault, with the largest files, if a folder has more than `limit` megabytes (1e6 bytes)."""
    sizes = {p: p.stat().st_size / 1e6 for p in Path(folder).rglob("*") if p.is_file()}
    total = sum(sizes.values())
    if total <= limit:
        return []
    largest = sorted(sizes, key=sizes.get, reverse=True)[:5]
    named = ", ".join(f"{p.relative_to(folder)} {sizes[p]:.1f}" for p in largest)
    return [f"site: {total:.1f} MB, at most {limit} are allowed; the largest files: {named}"]


def script_error(message):
    """Return the fault of a script that stopped."""
    return f"script: {message.splitlines()[0][:200]}; find the script in the browser's console"


def console_error(kind, text):
    """Return the faults of a line of the console: one if its kind is ``error``, unless it tells of a request.

    A request that fails is named by `leaving` if it left the machine, otherwise by `of_links`.
    """
    if kind != "error" or text.startswith("Failed to load resource"):
        return []
    return [f"console: {text.splitlines()[0][:200]}; find what reports it in the browser's console"]


def leaving(address):
    """Return a fault if a page that is read asks for an address on another machine."""
    if not is_external(address):
        return []
    return [f"request: {address[:SHOWN]} leaves the machine; put the file into the book"]


def too_slow(seconds, limit=SECONDS):
    """Return a fault if a page takes more than `limit` seconds to load."""
    what = "make pictures smaller or fewer, or split the page"
    return [] if seconds <= limit else [f"page: {seconds:.1f} s to load, at most {limit} are allowed; {what}"]


def too_wide(width, found):
    """Return a fault for each element that sticks out of a window of `width` pixels.

    Parameters
    ----------
    width : int
    found : dict
        ``beyond``, pixels that the page is wider than the window, and ``elements``, list of str.
    """
    elements = found["elements"] or (["page"] if found["beyond"] > 1 else [])
    what = "let it wrap, shrink (max-width: 100%) or scroll in its own frame (overflow-x: auto)"
    return [f"{element}: sticks out of a window of {width} px; {what}" for element in elements]


def broken_pictures(addresses):
    """Return a fault for each picture that the browser could not show."""
    return [f"picture {a[:SHOWN]}: cannot be shown; is it there, and is it a picture?" for a in addresses]


def too_pale(mode, found):
    """Return a fault for each text whose contrast is too low in a colour mode.

    Parameters
    ----------
    mode : str
        ``light`` or ``dark``.
    found : list of dict
        ``element``, ``ratio`` and ``needed``, the ratio that text of its size needs.
    """
    return [
        f"{one['element']}: contrast {one['ratio']:.2f} in {mode} mode, {one['needed']} is needed; "
        "change its colour in webassets/latentcortex.css or where it is made"
        for one in found
    ]


def against_axe(width, mode, violations):
    """Return a fault for each element that breaks a rule of axe-core seriously or critically.

    Parameters
    ----------
    width : int
    mode : str
    violations : list of dict
        As ``axe.run`` returns them.
    """
    faults = []
    for rule in violations:
        if rule["impact"] in {"serious", "critical"}:
            # Only these two depend on the view; others would be named three times.
            seen = {"color-contrast": f" in {mode} mode", "scrollable-region-focusable": f" at {width} px"}
            for node in rule["nodes"]:
                element = " ".join(node["html"].split())[:SHOWN]
                faults.append(f"{element}: {rule['help']} (axe {rule['id']}{seen.get(rule['id'], '')})")
    return faults


def silent(kind, name, key):
    """Return the fault of a control that nothing follows when its key is pressed."""
    what = {
        "slider": "listen to its input event",
        "button": "listen to click",
        "details": "keep the summary plain",
    }
    return f"{kind} {name}: nothing changes on {key}; {what[kind]}"
