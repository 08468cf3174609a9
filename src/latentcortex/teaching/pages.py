"""Read titles, labels, glossary and references of the book's pages, as targets of links."""

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
    """Hold the targets of links and citations.

    Attributes
    ----------
    titles : dict of str to str
        Title of each page by its file name, such as ``"05_decode_latents.ipynb"``.
    labels : dict of str to tuple of str
        File name of each label, and title of the element after it.
    anchors : dict of str to set of str
        Labels and heading anchors by file name.
    terms : dict of str to str
        Address of each term of the glossary, by the term in lower case.
    references : dict of str to Reference
    copied : frozenset of str, optional
        File names of the notebooks that are written together. By default all but the front page.
    """

    titles: dict
    labels: dict
    anchors: dict
    terms: dict
    references: dict
    copied: frozenset | None = None

    def page(self, name):
        """Return the file name of a page, given with or without its ending; raise ValueError if unknown."""
        for file in (name, f"{name}.ipynb", f"{name}.md"):
            if file in self.titles:
                return file
        raise ValueError(f"there is no page {name!r} in the book")

    def address(self, target, page):
        """Return the address of a link in the plain copy of a page.

        Notebooks that are written together are in the same folder, so links between them are not changed.
        Other notebooks, pages and pictures are linked in the repository.

        Parameters
        ----------
        target : str
            Target in the source, which is an address, a page, or a label after ``#``.
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
        """Return the address of a picture, unchanged or pointing to its file in the repository."""
        if re.match(r"https?:|data:|attachment:", target):
            return target
        return f"{PICTURES}/{posixpath.normpath(target)}"

    def term(self, name, page):
        """Return the address of a glossary term for a page; raise ValueError if the term is missing."""
        key = _term(name)
        if key not in self.terms:
            raise ValueError(f"the glossary has no term {name!r}")
        return f"{'' if page == GLOSSARY else f'{PLAIN}/{GLOSSARY}'}#{self.terms[key]}"


def read_book(folder):
    """Return the targets of links and citations, from the pages of a folder and its ``references.bib``.

    Parameters
    ----------
    folder : path
        Folder with notebooks (``.ipynb``), pages (``.md``) and ``references.bib``.

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
    """Return the terms of a glossary in order, each with the lines of its definition.

    Terms begin at the first column, and definitions are indented.
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
