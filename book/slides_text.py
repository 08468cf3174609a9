"""From the Markdown of a chapter to the few words and the HTML of a slide."""

import html
import re

from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin
from pybtex.database import parse_file

# What the formulas of running text need; a formula with anything else is shown as it was written.
SIGNS = {
    **{"alpha": "α", "beta": "β", "epsilon": "ε", "eta": "η", "kappa": "κ", "lambda": "λ", "mu": "μ"},
    **{"sigma": "σ", "theta": "θ", "tau": "τ", "times": "×", "cdot": "·", "approx": "≈", "le": "≤"},
    **{"ge": "≥", "pm": "±", "to": "→", "infty": "∞", "hat": "", "bar": "", "mathrm": "", "text": ""},
    **{",": " ", "%": "%", "in": "∈", "ne": "≠"},
}


class Speaker:
    """Turns Markdown of the book into HTML without links.

    Parameters
    ----------
    cite : callable
        Returns authors and year of a key of the bibliography.
    """

    def __init__(self, cite=str):
        self._cite = cite
        self._markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
        self._markdown.use(dollarmath_plugin, renderer=lambda tex, _: formula(tex))

    def block(self, markdown):
        """Return the HTML of paragraphs and lists."""
        return self._markdown.render(self._plain(markdown)).strip()

    def inline(self, markdown):
        """Return the HTML of a sentence."""
        return self._markdown.renderInline(" ".join(self._plain(markdown).split()))

    def _plain(self, markdown):
        """Resolve roles, and keep the words of links alone."""
        markdown = re.sub(r"\{cite:(\w)\}`([^`]+)`", self._cited, markdown)
        markdown = re.sub(r"\{[\w:]+\}`([^`<]+?)(?: *<[^`]*>)?`", r"\1", markdown)
        markdown = re.sub(r"^\([\w-]+\)=\n", "", markdown, flags=re.MULTILINE)
        return re.sub(r"(?<!!)\[([^]]*)\]\([^)]*\)", r"\1", markdown)

    def _cited(self, found):
        names = [self._cite(key.strip()) for key in found[2].split(",")]
        return " and ".join(names) if found[1] == "t" else f"({'; '.join(names)})"


def formula(tex):
    """Return the HTML of a short formula, or the formula itself where that can't say it.

    Parameters
    ----------
    tex : str
        Letters, digits, signs, ``_``, ``^``, braces and the commands of `SIGNS`.
    """
    text, known = html.escape(tex.strip(), quote=False), True

    def sign(found):
        nonlocal known
        known = known and found[1] in SIGNS
        return SIGNS.get(found[1], "")

    text = re.sub(r"\\([A-Za-z]+|.) ?", sign, text)
    for mark, tag in (("_", "sub"), ("^", "sup")):
        text = re.sub(rf"{re.escape(mark)}(?:\{{([^{{}}]*)\}}|(\S))", rf"<{tag}>\1\2</{tag}>", text)
    text = text.replace("{", "").replace("}", "")
    if not known or "_" in text or "^" in text:
        return f"<code>{html.escape(tex)}</code>"
    # Variables are letters outside of tags.
    return re.sub(r"(<[^>]*>|&\w+;)|([A-Za-zα-ω])", lambda m: m[1] or f"<i>{m[2]}</i>", text)


def bibliography(path):
    """Return a function from a key of a BibTeX file to authors and year, such as *Takagi et al. 2023*."""
    entries = parse_file(str(path), bib_format="bibtex").entries

    def cite(key):
        if key not in entries:
            raise KeyError(f"{path} has no entry {key!r}, which a chapter cites.")
        people = [re.sub(r"[{}]", "", " ".join(p.last_names)) for p in entries[key].persons["author"]]
        names = f"{people[0]} et al." if len(people) > 2 else " and ".join(people)
        return f"{names} {entries[key].fields['year']}"

    return cite


def paragraphs(markdown):
    """Return the paragraphs of Markdown: no headings, lists, quotes, tables, directives, display formulas."""
    markdown = re.sub(r"^(`{3,}|:{3,}).*?^\1 *$", "", markdown, flags=re.DOTALL | re.MULTILINE)
    markdown = re.sub(r"\$\$.*?\$\$", "", markdown, flags=re.DOTALL)
    markdown = re.sub(r"^#.*$", "", markdown, flags=re.MULTILINE)
    blocks = [" ".join(block.split()) for block in re.split(r"\n\s*\n", markdown)]
    return [b for b in blocks if b and not re.match(r"[-*+>|(] ?(?!\*)|\d+\. |\[Open in Colab", b)]


def last_sentences(markdown, n=3, most_words=50):
    """Return the last sentences of the last paragraph: up to n, fewer if they have too many words."""
    found = paragraphs(markdown)
    if not found or found[-1].startswith("**You"):
        return ""
    # A full stop inside a formula or between digits ends nothing.
    each = re.split(r"(?<=[.!?])[*_)]*\s+(?=[A-Z*$\"(])", found[-1])[-n:]
    while len(each) > 1 and len(" ".join(each).split()) > most_words:
        each = each[1:]
    return " ".join(each)


def items_after(pattern, markdown):
    """Return the list that follows a line, or an empty text."""
    found = re.search(rf"^{pattern}\s*\n\s*\n?((?:[-*] .*\n?(?:  .*\n?)*)+)", markdown, re.MULTILINE)
    return found[1].strip() if found else ""


def first_words(markdown, most):
    """Return the first paragraphs that have at most so many words together; at least one."""
    kept = []
    for block in re.split(r"\n\s*\n", markdown):
        if kept and len(" ".join([*kept, block]).split()) > most:
            break
        kept.append(block)
    return "\n\n".join(kept)
