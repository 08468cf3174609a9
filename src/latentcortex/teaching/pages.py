"""The pages of the book as links see them: titles, labels, glossary and references."""

import json
import posixpath
import re
from dataclasses import dataclass
from pathlib import Path

from latentcortex.teaching.references import read_bibtex

# The one address of the project, as in _config.yml, and the branch that holds the plain notebooks.
REPOSITORY = "https://github.com/latent-cortex/latent-cortex"
SOURCES = f"{REPOSITORY}/blob/main/book"
PICTURES = f"{REPOSITORY}/raw/main/book"
PLAIN = f"{REPOSITORY}/blob/notebooks"

GLOSSARY = "glossary.md"
FRONT = "intro.ipynb"
CODE = re.compile(r"^ *(`{3,}|~{3,})(?!\{)[^\n]*\n.*?^ *\1`*$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^(#{1,6}) +(.+?)(?: +#+)?$", re.MULTILINE)
LABEL = re.compile(r"^\(([^()\s]+)\)=\s*$", re.MULTILINE)
LABELLED = re.compile(
    r"^ *[`:]{3,}\{[\w-]+\} *([^\n]*)\n(?: *:\w+:[^\n]*\n)*? *:(?:label|name): *(\S+)", re.MULTILINE
)


@dataclass(frozen=True)
class Book:
    """What links and citations are looked up in.

    Attributes
    ----------
    titles : dict of str to str
        Title of each page by its file name, such as ``"05_decode_latents.ipynb"``.
    labels : dict of str to tuple of str
        File name and title of what each label stands before.
    anchors : dict of str to set of str
        By file name: its labels, and its headings as addresses have them.
    terms : dict of str to str
        Of the glossary: the address of each term (in lower case) on its page.
    references : dict of str to Reference
    copied : frozenset of str, optional
        File names of the notebooks that are written together. Default: all but the front page.
    """

    titles: dict
    labels: dict
    anchors: dict
    terms: dict
    references: dict
    copied: frozenset | None = None

    def page(self, name):
        """Return the file name of a page that is named with or without its ending; unknown ones raise."""
        for file in (name, f"{name}.ipynb", f"{name}.md"):
            if file in self.titles:
                return file
        raise ValueError(f"there is no page {name!r} in the book")

    def address(self, target, page):
        """Return where a link of a page leads in the plain copy of that page.

        Notebooks that are written together lie next to each other, so links between them stay as they are.
        Other notebooks, pages and pictures are linked in the repository.

        Parameters
        ----------
        target : str
            As it stands in the source: an address, a page, a label after ``#``.
        page : str
            File name of the page that holds the link.

        Raises
        ------
        ValueError
            If the target is not a page, label or heading of the book.
        """
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            return target
        name, sign, anchor = target.partition("#")
        if name.startswith("../"):
            return f"{REPOSITORY}/blob/main/{posixpath.normpath(posixpath.join('book', name))}{sign}{anchor}"
        if not name and anchor not in self.anchors[page] and anchor in self.labels:
            name = self.labels[anchor][0]
        file = self.page(name) if name else page
        if sign and anchor not in self.anchors[file]:
            where = file if name else f"{file} and no label of another page"
            raise ValueError(f"there is no label or heading {anchor!r} in {where}")
        if not name:
            return target
        plain = file == GLOSSARY or (file.endswith(".ipynb") and file != FRONT)
        beside = plain and file != GLOSSARY if self.copied is None else file in self.copied
        folder = "" if beside else f"{PLAIN if plain else SOURCES}/"
        return f"{folder}{file}{sign}{anchor}"

    def picture(self, target):
        """Return the address of a picture: as it is, or of its file in the repository."""
        if re.match(r"https?:|data:|attachment:", target):
            return target
        return f"{PICTURES}/{posixpath.normpath(target)}"

    def term(self, name, page):
        """Return where a page links a word of the glossary; a word that is not there raises ValueError."""
        key = _term(name)
        if key not in self.terms:
            raise ValueError(f"the glossary has no term {name!r}")
        return f"{'' if page == GLOSSARY else f'{PLAIN}/{GLOSSARY}'}#{self.terms[key]}"


def read_book(folder):
    """Read what links and citations need from the pages of a folder and its ``references.bib``.

    Parameters
    ----------
    folder : path
        With notebooks (``.ipynb``), pages (``.md``) and ``references.bib``.

    Returns
    -------
    Book
    """
    folder = Path(folder)
    texts = {p.name: text_of(p) for p in sorted(folder.iterdir()) if p.suffix in {".ipynb", ".md"}}
    titles, labels, anchors = {}, {}, {}
    for file, text in texts.items():
        prose = CODE.sub("", text)
        headings = [match[2] for match in HEADING.finditer(prose)]
        titles[file] = headings[0] if headings else file.rpartition(".")[0]
        own = _labels(prose, titles[file])
        labels |= {label: (file, title) for label, title in own.items()}
        anchors[file] = set(own) | set(map(slug, headings))
    terms = {_term(term): slug(term) for term, _ in glossary_entries(texts.get(GLOSSARY, ""))}
    anchors[GLOSSARY] = anchors.get(GLOSSARY, set()) | set(terms.values())
    references = read_bibtex((folder / "references.bib").read_text(encoding="utf-8"))
    return Book(titles, labels, anchors, terms, references)


def text_of(path):
    """Return the Markdown of a page, or of all Markdown cells of a notebook."""
    text = Path(path).read_text(encoding="utf-8")
    if path.suffix == ".md":
        return text
    cells = json.loads(text)["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def glossary_entries(text):
    """Return the terms of a glossary, each with the lines of its definition, in their order.

    Terms begin at the first column, definitions are indented.
    """
    found = re.search(r"^(`{3,}|:{3,})\{glossary\}[^\n]*\n(.*?)^\1$", text, re.MULTILINE | re.DOTALL)
    entries = []
    for line in found[2].splitlines() if found else []:
        if not line.strip() or line.startswith(":"):
            if entries:
                entries[-1][1].append("")
        elif line[0].isspace():
            entries[-1][1].append(line.strip())
        else:
            entries.append((line.strip(), []))
    return entries


def slug(heading):
    """Return the anchor that GitHub gives to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def _term(text):
    return " ".join(text.replace("`", "").lower().split())


def _labels(prose, title):
    """Return the title of what each label stands before: a heading, a directive with a title, or the page."""
    found = {}
    for match in LABEL.finditer(prose):
        heading = HEADING.match(prose[match.end() :].lstrip("\n"))
        found[match[1]] = heading[2] if heading else title
    for match in LABELLED.finditer(prose):
        found[match[2]] = match[1].strip() or title
    return found
