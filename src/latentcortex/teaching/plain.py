"""Convert notebooks of the book to plain Markdown, for viewers without MyST.

Colab, JupyterLab, VS Code and nbconvert show the source of roles and directives, and every solution open.
Here citations become author, year and link, and boxes become quotes. Solutions become ``<details>`` with an
empty line after the summary, because this folds everywhere. Unknown roles and directives raise an error that
names them.
"""

import copy
import re

from latentcortex.teaching import inline
from latentcortex.teaching.pages import LABEL, glossary_entries

OPENING = re.compile(
    r"^(?P<indent>\s*)(?P<fence>`{3,}|~{3,}|:{3,})\s*(?:\{(?P<name>[^}\s]+)\})?\s*(?P<argument>.*?)\s*$"
)
BOXES = {
    **{name: name.capitalize() for name in ("attention", "caution", "danger", "error", "hint", "important")},
    **{"note": "Note", "seealso": "See also", "tip": "Tip", "warning": "Warning"},
}
ASIDE = {"aside", "epigraph", "margin", "pull-quote", "sidebar", "topic"}
CONTAINERS = {"grid", "grid-item", "tab-set", "div"}
CARDS = {"card", "grid-item-card"}
NOTHING = {"contents", "exercise-end", "index", "tableofcontents"}
# Tags that fold a code cell in the built book; what folds it in JupyterLab and in Colab stands in `fold`.
HIDING = {"hide-cell", "hide-input", "remove-input"}
SOLUTIONS = ("folded", "stripped")
# Leads to a copy with solutions, so a copy without them does not have it.
TO_COLAB = re.compile(r"^\[[^\]]*\]\(https://colab\.research\.google\.com/[^)]*\)\n*", re.MULTILINE)


def plain_notebook(notebook, file, book, solutions="folded"):
    """Return a copy of a notebook whose Markdown is plain.

    Code cells keep their source. Cells that the built book folds are marked, so that JupyterLab and Colab
    also fold them. Markdown cells that become empty are left out.

    Parameters
    ----------
    notebook : dict
        Contents of the file, in nbformat 4.
    file : str
        File name of the notebook, such as ``"05_decode_latents.ipynb"``.
    book : Book
        Targets of its links, from `latentcortex.teaching.pages.read_book`.
    solutions : {"folded", "stripped"}
        Whether solutions are kept and folded, or left out. Without solutions the link to Colab is also left
        out, because the notebook there contains them.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If a role or directive is unknown, or if a link or citation leads nowhere. The message names the cell.
    """
    converter = _Page(file, book, solutions)
    cells = []
    for k, cell in enumerate(notebook["cells"]):
        new = copy.deepcopy(cell)
        if cell["cell_type"] == "markdown":
            try:
                text = converter.convert("".join(cell["source"]))
            except ValueError as error:
                raise ValueError(f"{file}, cell {k} ({cell.get('id', 'no id')}): {error}.") from error
            if not text:
                continue
            new["source"] = text.splitlines(keepends=True)
        elif cell["cell_type"] == "code":
            new["metadata"] |= _fold(cell["metadata"])
        cells.append(new)
    return copy.deepcopy({key: value for key, value in notebook.items() if key != "cells"}) | {"cells": cells}


def plain_page(text, file, book):
    """Return a Markdown page, such as the glossary, in plain Markdown; see `plain_notebook`."""
    try:
        return _Page(file, book, "folded").convert(text) + "\n"
    except ValueError as error:
        raise ValueError(f"{file}: {error}.") from error


def _fold(metadata):
    if not HIDING & set(metadata.get("tags", [])):
        return {}
    return {"jupyter": metadata.get("jupyter", {}) | {"source_hidden": True}, "cellView": "form"}


class _Page:
    """One page on its way, from its first cell to its last: exercises are counted, headings nested."""

    def __init__(self, file, book, solutions):
        if solutions not in SOLUTIONS:
            raise ValueError(f"Expected solutions folded or stripped, got {solutions!r}.")
        self.file, self.book, self.solutions = file, book, solutions
        self.level, self.n_exercises = 1, 0

    def convert(self, text):
        """Return the text of a cell in plain Markdown."""
        if self.solutions == "stripped":
            text = TO_COLAB.sub("", text)
        return "\n".join(self._blocks(text.splitlines()))

    def _blocks(self, lines):
        """Return lines in plain Markdown, one empty line between a fence and what stands around it."""
        parts, prose, k = [], [], 0
        while k < len(lines):
            opening = OPENING.match(lines[k])
            if opening is None:
                prose.append(lines[k])
                k += 1
                continue
            end = _end_of(lines, k, opening["fence"])
            parts.append(self._prose(prose))
            parts.append(self._fence(opening, lines[k : end + 1]))
            prose, k = [], end + 1
        parts.append(self._prose(prose))
        filled = [part for part in map(_stripped, parts) if part]
        return [line for n, part in enumerate(filled) for line in ([""] if n else []) + part]

    def _prose(self, lines):
        """Convert what stands outside fences, paragraph by paragraph."""
        text = "\n".join(line for line in lines if not re.match(r"%(\s|$)|\+\+\+", line))
        text = re.sub(r"^(.*\$\$)\s*\([\w:-]+\)$", r"\1", text, flags=re.MULTILINE)
        out, in_list = [], False
        for part in re.split(r"(\n[ \t]*\n)", LABEL.sub(r'<a id="\1"></a>' + "\n", text)):
            for heading in re.finditer(r"^(#{1,6}) ", part, re.MULTILINE):
                self.level = len(heading[1])
            if not part.strip():
                out.append(part)
                continue
            indented = part.startswith("    ") or (part.startswith("\n    ") and not out)
            if not indented:
                in_list = bool(re.match(r"\s*([-*+]|\d+\.)\s", part)) or (in_list and part.startswith(" "))
            if stray := re.search(r"(?:[`:~]{3,})\s*\{[\w-]+\}", part):
                raise ValueError(f"a directive inside a quote or line is not known: {stray[0]}")
            out.append(part if indented and not in_list else inline.convert(part, self.file, self.book))
        return "".join(out).split("\n")

    def _fence(self, opening, lines):
        """Convert a block between two fences: code as it is, a directive by its name."""
        name, indent = opening["name"], len(opening["indent"])
        if name is None:
            if opening["fence"].startswith(":"):
                raise ValueError(f"a block of colons has no name: {lines[0].strip()!r}")
            return lines
        inner = [line[min(indent, len(line) - len(line.lstrip())) :] for line in lines[1:-1]]
        options, body = _options(inner)
        new = self._directive(name, opening["argument"], options, body)
        label = options.get("label") or options.get("name")
        if new and label:
            new = [f'<a id="{label}"></a>', "", *new]
        return [" " * indent + line if line else line for line in new]

    def _directive(self, name, argument, options, body):
        if name in {"solution", "exercise", "exercise-start", "dropdown", "admonition"} | set(BOXES) | ASIDE:
            return self._box(name, argument, options, body)
        if name in NOTHING:
            return []
        if name in CONTAINERS:
            return self._blocks(body)
        if name == "tab-item":
            return [f"**{self._inline(argument)}**", "", *self._blocks(body)]
        if name in CARDS:
            return self._card(argument, options, body)
        if name in {"figure", "image"}:
            picture = f"![{options.get('alt', '')}]({self.book.picture(argument)})"
            return [picture, "", *self._blocks(body)]
        if name == "math":
            return ["$$", *_stripped(body), "$$"]
        if name in {"code", "code-block"}:
            return [f"```{argument}", *body, "```"]
        if name == "raw" and argument == "html":
            return body
        if name in {"rubric", "table"}:
            return [f"**{self._inline(argument)}**", "", *self._blocks(body)]
        if name == "glossary":
            return self._glossary(body)
        raise ValueError(f"the directive {{{name}}} is not known")

    def _box(self, name, argument, options, body):
        """Convert what has a frame in the built book: an exercise, a solution, a note, a box that folds."""
        if name.startswith("exercise"):
            self.n_exercises += 1
            title = f"Exercise {self.n_exercises}" + (f": {self._inline(argument)}" if argument else "")
            return [f"{'#' * min(self.level + 1, 6)} {title}", "", *self._blocks(body)]
        if name == "solution":
            return _details("Solution", self._blocks(body)) if self.solutions == "folded" else []
        folds = name == "dropdown" or "dropdown" in options.get("class", "").split()
        if name in BOXES and argument:  # text on the line of the name is part of the body
            body, argument = [argument, *body], ""
        title, inner = BOXES.get(name, argument or ("More" if folds else "")), self._blocks(body)
        if folds:
            return _details(title, inner)
        inner = ([f"**{self._inline(title)}**", ""] if title else []) + inner
        return [f"> {line}".rstrip() for line in inner]

    def _card(self, argument, options, body):
        title, target = self._inline(argument), options.get("link")
        if target:
            kind = options.get("link-type", "url")
            address = self.book.address(f"#{target}" if kind == "ref" else target, self.file)
            title = f"[{title or self.book.titles[self.book.page(target)]}]({address})"
        image = [f"![]({self.book.picture(options['img-top'])})", ""] if "img-top" in options else []
        return [*image, *([f"**{title}**", ""] if title else []), *self._blocks(body)]

    def _glossary(self, body):
        lines = []
        for term, definition in glossary_entries("\n".join(["```{glossary}", *body, "```"])):
            lines += [f"### {term}", "", *self._blocks(definition), ""]
        return lines

    def _inline(self, text):
        return inline.convert(text, self.file, self.book)


def _end_of(lines, start, fence):
    """Return the index of the line that closes a fence: as long or longer, of the same sign, nothing else."""
    for k in range(start + 1, len(lines)):
        line = lines[k].strip()
        if len(line) >= len(fence) and set(line) == {fence[0]}:
            return k
    raise ValueError(f"a fence is never closed: {lines[start].strip()!r}")


def _options(lines):
    """Return the options of a directive (``:name: value``), and its body."""
    options, k = {}, 0
    while k < len(lines) and (found := re.fullmatch(r"\s*:([\w-]+):(?:\s+(.*))?", lines[k])):
        options[found[1]] = (found[2] or "").strip()
        k += 1
    if not options and lines and lines[0].strip() == "---":
        raise ValueError("options between two lines of dashes are not known; write them as :name: value")
    return options, lines[k:]


def _details(title, lines):
    # The empty lines make the viewer read what is between them as Markdown.
    return ["<details>", f"<summary>{inline.to_html(title)}</summary>", "", *lines, "", "</details>"]


def _stripped(lines):
    """Return lines without the empty ones at both ends."""
    filled = [k for k, line in enumerate(lines) if line.strip()]
    return lines[filled[0] : filled[-1] + 1] if filled else []
