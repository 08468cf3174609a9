"""Write one deck of slides per chapter, from the executed notebooks of the last built book.

Run by ``make book`` and, after a change of ``book/teach.md``, by ``make slides``. Reads
``book/_build/jupyter_execute`` and the questions of ``book/teach.md``; writes ``slides/`` into the built
pages, so that they are published with the book: one file per deck, which needs no other file and no network,
and a page that lists them. Nothing is computed here, so a slide shows what the page of the chapter shows.
"""

import html
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import slides_pictures
import slides_text

BOOK = Path(__file__).parent
EXECUTED, SLIDES = BOOK / "_build" / "jupyter_execute", BOOK / "_build" / "html" / "slides"
MOST_FRAMES = 12
# Bytes of what moves (sliders); a larger one would make the deck slow to open.
LARGEST = 700_000
# Letters of a text that is set smaller, so that it fits.
LONG = 420
MOST_ROWS = 13
NOT_SHOWN = {"hide-cell", "hide-output", "remove-cell", "remove-output", "skip-execution"}


@dataclass
class Frame:
    """One slide.

    Attributes
    ----------
    kind : {"title", "points", "figure", "figure wide", "table", "live", "words", "words long", "question"}
    heading : str
        HTML.
    lead : str
        HTML of what is said before the content.
    content : str
        HTML: a picture, a table, a list.
    note : str
        HTML of a description, shown on demand.
    """

    kind: str
    heading: str
    lead: str = ""
    content: str = ""
    note: str = ""


def frames(notebook, cite=str, question=""):
    """Return the slides of an executed notebook.

    Parameters
    ----------
    notebook : dict
        As read from its JSON.
    cite : callable
        Returns authors and year of a key of the bibliography.
    question : str
        Markdown of the question for discussion; without one there is no such slide.

    Returns
    -------
    list of Frame
        At most `MOST_FRAMES`. First the title with the question of the chapter, last the question for
        discussion. Pictures keep the order of the chapter; where there are too many, tables and sliders go
        first, then the last pictures.
    """
    say = slides_text.Speaker(cite)
    cells = _main_line(notebook["cells"])
    first = _source(cells[0])
    title = say.inline(re.search(r"^# (.+)$", first, re.MULTILINE)[1])
    opening = re.search(r"^\*\*(.+?)\*\*", first, re.MULTILINE | re.DOTALL)
    start = [Frame("title", title, say.inline(opening[1]) if opening else "")]
    aims = slides_text.items_after(r"\*\*You will learn\*\*", "\n\n".join(map(_source, cells)))
    if aims:
        start.append(Frame("points", "You will learn", content=say.block(aims)))
    end = _summary(cells, say)
    if question:
        end.append(Frame("question", "Discuss", content=say.block(question)))
    shown = _choose(_shown(cells, say), MOST_FRAMES - len(start) - len(end))
    # The answer as a picture comes before the aims, as in the chapter.
    return start[:1] + shown[:1] + start[1:] + shown[1:] + end


def _source(cell):
    return "".join(cell["source"])


def _main_line(cells):
    """Return the cells before the exercises, without those of the section *All numbers*."""
    kept, aside = [], False
    for cell in cells:
        if cell["cell_type"] == "markdown":
            found = re.findall(r"^## (.+)$", _source(cell), re.MULTILINE)
            if "Exercises" in found:
                break
            aside = found[-1].strip() == "All numbers" if found else aside
        if not aside:
            kept.append(cell)
    return kept


def _shown(cells, say):
    """Return a frame for each picture, table or slider, in order, before the summary."""
    found, heading, lead = [], "The answer in a picture", ""
    for cell in cells:
        if cell["cell_type"] == "markdown":
            source = _source(cell)
            headings = re.findall(r"^#{2,3} (.+)$", source, re.MULTILINE)
            if "Summary" in headings:
                break
            heading = say.inline(headings[-1]) if headings else heading
            lead = say.inline(slides_text.last_sentences(source))
        elif not NOT_SHOWN & set(cell["metadata"].get("tags", [])):
            alt = cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")
            for output in cell.get("outputs", []):
                kind, content = _content(output.get("data", {}), alt)
                if kind:
                    found.append(Frame(kind, heading, lead, content, html.escape(alt)))
                    lead = ""
    return found


def _content(data, alt):
    """Return the kind and the HTML of one output; empty texts for what is not shown."""
    if "image/png" in data:
        content, is_wide = slides_pictures.picture("".join(data["image/png"]), alt)
        return "figure wide" if is_wide else "figure", content
    text = "".join(data.get("text/html", ""))
    if "<script" in text or "<input" in text:
        return ("live", text) if len(text) < LARGEST and "<iframe" not in text else ("", "")
    if "<table" in text and text.count("<tr") <= MOST_ROWS:
        return "table", text
    return "", ""


def _choose(shown, n):
    """Return at most n frames: tables are left out first, then sliders, then the last pictures."""
    for kind in ("table", "live", "figure"):
        for frame in [f for f in reversed(shown) if f.kind.startswith(kind)]:
            if len(shown) > n:
                shown = [f for f in shown if f is not frame]
    return shown


def _summary(cells, say):
    """Return the frames of the summary: the numbers that were computed, and the answer in words."""
    where = [k for k, cell in enumerate(cells) if re.search(r"^## Summary", _source(cell), re.MULTILINE)]
    if not where:
        return []
    numbers, words = [], []
    for cell in cells[where[0] :]:
        if cell["cell_type"] == "code":
            outputs = [output.get("data", {}) for output in cell.get("outputs", [])]
            numbers += ["".join(data["text/markdown"]) for data in outputs if "text/markdown" in data]
        else:
            # Words that end with a colon lead to the next numbers.
            text = re.split(r"^## Summary *$", _source(cell), flags=re.MULTILINE)[-1].strip()
            words += [text] if text and not text.endswith(":") else []
    found = []
    if numbers:
        found.append(_words("What was found", say.block("\n\n".join(numbers))))
    if words:
        text = slides_text.first_words("\n\n".join(words), 110)
        found.append(_words("The answer", say.block(text)))
    return found


def _words(heading, content):
    is_long = len(re.sub(r"<[^>]+>", "", content)) > LONG
    return Frame("words long" if is_long else "words", heading, content=content)


def questions(teach):
    """Return the question for discussion of each chapter, by the name of its notebook.

    Parameters
    ----------
    teach : str
        Markdown of the page for teachers. A chapter has a heading of level 3 that is a link to it, and
        below it a paragraph that begins with ``**Discuss.**``.

    Returns
    -------
    dict of str to str
    """
    found = {}
    for name, text in re.findall(r"^### \[.*?\]\((\w+)\.ipynb\)\n(.*?)(?=^#|\Z)", teach, re.M | re.S):
        paragraph = re.search(r"^\*\*Discuss\.\*\* (.+?)(?=\n\n|\Z)", text, re.M | re.S)
        if paragraph:
            found[name] = " ".join(paragraph[1].split())
    return found


def deck(name, shown):
    """Return the HTML of a deck: one file with its style, its script and its pictures.

    Parameters
    ----------
    name : str
        Of the notebook.
    shown : list of Frame
    """
    sections = []
    for k, frame in enumerate(shown, 1):
        level = "h1" if frame.kind == "title" else "h2"
        lead = f'<p class="lead">{frame.lead}</p>' if frame.lead else ""
        note = f"<figcaption>{frame.note}</figcaption>" if frame.note else ""
        body = f'<figure class="content">{frame.content}{note}</figure>' if frame.content else ""
        sections.append(
            f'<section class="frame {frame.kind}" id="{k}" aria-label="{k} of {len(shown)}">'
            f'<div class="words"><{level}>{frame.heading}</{level}>{lead}</div>{body}</section>'
        )
    number = name.split("_")[0]
    place = f"{number} " if number.isdigit() else ""
    title = f"{place}{shown[0].heading}"
    return _page(
        re.sub(r"<[^>]+>", "", title), "\n".join(sections), (BOOK / "slides.js").read_text(encoding="utf-8")
    )


def _page(title, body, script=""):
    style = (BOOK / "slides.css").read_text(encoding="utf-8")
    where = f'<span><span class="title">Latent Cortex: {title}.</span> Simulated data.</span>'
    footer = f'<footer>{where} <span id="page"></span></footer>'
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n"
        f"{footer}\n<script>\n{script}</script>\n</body>\n</html>\n"
    )


def write_decks(executed=EXECUTED, folder=SLIDES, book=BOOK):
    """Write the decks of all chapters and primers that were executed, and a page that lists them.

    Parameters
    ----------
    executed, folder, book : Path
        Folders of the executed notebooks, of the decks, and of the book's sources.

    Returns
    -------
    list of Path
        Of the decks.

    Raises
    ------
    FileNotFoundError
        If no book was built.
    """
    notebooks = [p for p in sorted(executed.glob("*.ipynb")) if re.match(r"\d\d|primer_", p.name)]
    if not notebooks:
        raise FileNotFoundError(
            "No book was built yet, and slides show what its pages show. Run `make book` first, then "
            "`make slides` again."
        )
    cite = slides_text.bibliography(book / "references.bib")
    asked = questions((book / "teach.md").read_text(encoding="utf-8"))
    folder.mkdir(parents=True, exist_ok=True)
    written, rows = [], []
    for path in notebooks:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        shown = frames(notebook, cite, asked.get(path.stem, ""))
        number = path.stem.split("_")[0]
        is_chapter = number.isdigit()
        written.append(folder / f"{number if is_chapter else path.stem}.html")
        written[-1].write_text(deck(path.stem, shown), encoding="utf-8")
        name = f"Chapter {int(number)}: {shown[0].heading}" if is_chapter else shown[0].heading
        rows.append(f'<li><a href="{written[-1].name}">{name}</a> ({len(shown)} slides)</li>')
    help_ = "<p>Arrow keys turn the page, D describes a figure, a click enlarges it. Print for a handout.</p>"
    body = f'<section class="list"><h1>Slides</h1>{help_}<ul>{"".join(rows)}</ul></section>'
    (folder / "index.html").write_text(_page("Slides", body), encoding="utf-8")
    return written


def main():
    """Write the decks and say where they lie."""
    try:
        written = write_decks()
    except FileNotFoundError as error:
        sys.exit(str(error))
    print(f"{len(written)} decks: {(SLIDES / 'index.html').relative_to(BOOK.parent)}")


if __name__ == "__main__":
    main()
