"""Print how long each page of the book is, and with --sentences its sentences of more than 30 words.

Counted is the text that comes before the exercises: words, sentences, tables, figures and lines of code.
Headings, items of lists, cells of written tables and boxes such as *On real data* count, and a formula in
a line counts as one word. Left out are code, formulas on lines of their own, addresses and the markup of
directives. Also left out is what is not read as running text: descriptions of figures, and whatever the code
prints, *In short* and the numbers of the summary included. With --docstrings the
public docstrings of the package are counted instead, per folder.
"""

import argparse
import ast
import itertools
import json
import re
from pathlib import Path

import pandas as pd
import yaml

BOOK = Path(__file__).parent
PACKAGE = BOOK.parent / "src/latentcortex"
LONG = 30  # words of a sentence; longer ones should be the exception
FIGURES = re.compile(
    r"\b(subplots|subplot_mosaic|image_grid|roi_bars|flatmap|compared_flatmaps|cortex_viewer|film|"
    r"\w*sliders?|\w+_quiz|picture_composer|study_planner|winner_map|two_dimensional_map)\("
)
TYPED = ("Parameters", "Returns", "Yields", "Raises", "Warns", "Attributes")  # sections of numpydoc
TABLES = re.compile(r"\bset_caption\(|^\|[ :|-]+\|$", re.MULTILINE)


def pages():
    """Return the paths of all pages, in the order of the table of contents."""
    contents = yaml.safe_load((BOOK.parent / "_toc.yml").read_text(encoding="utf-8"))
    chapters = [chapter for part in contents["parts"] for chapter in part["chapters"]]
    under = [page for chapter in chapters for page in (chapter, *chapter.get("sections", []))]
    names = [contents["root"], *(page["file"] for page in under)]
    found = [BOOK / f"{Path(name).name}{end}" for name in names for end in (".ipynb", ".md")]
    return [path for path in found if path.is_file()]


def parts(path):
    """Return the Markdown and the code of a page before its exercises, each a list of str."""
    if path.suffix == ".md":
        return [path.read_text(encoding="utf-8")], []
    text, code = [], []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if source.startswith("## Exercises"):
            break
        (text if cell["cell_type"] == "markdown" else code).append(source)
    return text, code


def sentences(markdown):
    """Return the sentences of Markdown, without what is no prose."""
    markdown = re.sub(r"^(`{3,}).*?^\1", "", markdown, flags=re.DOTALL | re.MULTILINE)
    markdown = re.sub(r"^:{3,}.*$|^:[\w-]+:.*$", "", markdown, flags=re.MULTILINE)  # the frames of boxes
    markdown = re.sub(r"\$\$.*?\$\$", "", markdown, flags=re.DOTALL)
    markdown = re.sub(r"\$[^$]+\$", "x", markdown)
    markdown = re.sub(r"\{[\w:]+\}`([^`<]+)[^`]*`", r"\1", markdown)  # roles
    markdown = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", markdown)  # links
    markdown = re.sub(r"<[^>]+>|https?://\S+", "", markdown)
    found, markdown = [], re.sub(r"^(#.*)$", r"\1\n", markdown, flags=re.MULTILINE)
    # A new block begins after an empty line, and with a heading, an item or a row of a table.
    for block in re.split(r"\n\s*\n|\n(?=\s*(?:[-*|#>]|\d+\.)\s?)", markdown):
        plain = re.sub(r"^[\s#>*|-]+|\*\*|\n>", " ", block)
        found += re.split(
            r"(?<=[.!?])[*_)\"]*\s+(?=[\"(*_`]*(?:[A-Z0-9`]|x\b|[a-z]+\d{4}))", " ".join(plain.split())
        )
    return [sentence for sentence in found if re.search(r"\w", sentence)]


def count_words(sentence):
    """Return the number of words, whatever has a letter or a digit."""
    return sum(bool(re.search(r"\w", word)) for word in sentence.split())


def report(path):
    """Return the numbers of one page, dict of str to int, and its long sentences."""
    text, code = parts(path)
    of_page = [sentence for block in text for sentence in sentences(block)]
    n_words = [count_words(sentence) for sentence in of_page]
    everything = "\n".join(text + code)
    numbers = {
        "words": sum(n_words),
        "sentences": len(of_page),
        f"over {LONG}": sum(n > LONG for n in n_words),
        "longest": max(n_words, default=0),
        "tables": len(TABLES.findall(everything)),
        "figures": len(FIGURES.findall("\n".join(code))),
        "lines of code": sum(bool(line.strip()) for cell in code for line in cell.splitlines()),
    }
    return numbers, [(n, of) for n, of in zip(n_words, of_page, strict=True) if n > LONG]


def docstrings(code):
    """Return the public docstrings of Python code: of the module, its classes, functions and methods."""

    def of(node):
        text = ast.get_docstring(node)
        yield from [text] if text else []
        for child in node.body:
            is_definition = isinstance(child, ast.ClassDef | ast.FunctionDef)
            if is_definition and not child.name.startswith("_") and not isinstance(node, ast.FunctionDef):
                yield from of(child)

    return list(of(ast.parse(code)))


def prose_of(docstring):
    """Return a docstring without headings, tables, names and types, examples and literal blocks."""
    plain = re.sub(r"^=+ +=.*^=[= ]+$", "", docstring, flags=re.DOTALL | re.MULTILINE)
    found, section, is_literal = [], "", False
    for line, following in itertools.pairwise([*plain.splitlines(), ""]):
        is_heading = re.fullmatch(r"-{3,}", following)
        section = line if is_heading else section
        is_literal = is_literal and (not line.strip() or line.startswith(" "))
        is_typed = section in TYPED and not line.startswith(" ")
        is_prose = not (
            is_heading or is_literal or is_typed or section == "Examples" or line.startswith("---")
        )
        # An empty line in its place, so that the next description is a block of its own.
        found.append(line if is_prose else "")
        is_literal |= line.endswith("::")
    return "\n".join(found)


def docstring_report(folder):
    """Return the numbers of the docstrings of a folder or file, dict of str to int, and long sentences."""
    files = sorted(folder.rglob("*.py")) if folder.is_dir() else [folder]
    texts = [text for file in files for text in docstrings(file.read_text(encoding="utf-8"))]
    found = [(count_words(of), of) for text in texts for of in sentences(prose_of(text))]
    long = [(n, of) for n, of in found if n > LONG]
    return {"docstrings": len(texts), "sentences": len(found), f"over {LONG}": len(long)}, long


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sentences", action="store_true", help="print the long sentences as well")
    parser.add_argument("--docstrings", action="store_true", help="count the package's docstrings instead")
    args = parser.parse_args()
    if args.docstrings:
        parts_of = [path for path in sorted(PACKAGE.iterdir()) if path.suffix == ".py" or path.is_dir()]
        found = {path.stem: docstring_report(path) for path in parts_of if path.name != "__pycache__"}
    else:
        found = {path.stem: report(path) for path in pages()}
    print(pd.DataFrame({name: numbers for name, (numbers, _) in found.items()}).T.to_string())
    for name, (_, long) in found.items() if args.sentences else ():
        print(f"\n{name}")
        for n, sentence in sorted(long, reverse=True):
            print(f"  {n}: {sentence}")


if __name__ == "__main__":
    main()
