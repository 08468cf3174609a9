"""Convert roles, citations and links within a paragraph to plain Markdown."""

import html
import re

# What is left alone (mathematics, code), then roles and links: whichever begins first is read first.
ROLE = r"\{(?P<role>[A-Za-z][\w:.+-]*)\}(?P<ticks>`+)(?P<content>.+?)(?<!`)(?P=ticks)(?!`)"
CODE = r"(?P<code>(?P<marks>`+)(?!`).+?(?<!`)(?P=marks)(?!`))"
MATH = r"(?P<math>\$\$.+?\$\$|\$(?!\s)[^$]+?(?<![\s\\])\$(?!\d))"
LINK = (
    r"(?P<image>!?)\[(?P<text>(?:[^\[\]`]|\[[^\[\]]*\]|`[^`]*`)*)\]"
    r"\((?P<target>[^()\s]+(?:\([^()\s]*\)[^()\s]*)*)(?P<title>\s+\"[^\"]*\")?\)"
)
INLINE = re.compile("|".join((r"\\.", ROLE, CODE, MATH, LINK)), re.DOTALL)

PYTHON_ROLES = {"func", "class", "meth", "mod", "attr", "data", "obj", "exc"}
# What plain Markdown has no word for and some viewers show as it stands.
REFUSED = {
    "a substitution": r"\{\{.+?\}\}",
    "a footnote": r"\[\^[^\]]+\]",
    "a relative link in HTML": r"<(?:img|a|iframe)\b[^>]*\b(?:src|href)=[\"'](?!https?:|data:|mailto:|#)",
}


def convert(text, file, book):
    """Return a paragraph in plain Markdown.

    Parameters
    ----------
    text : str
        One or several lines in MyST's Markdown.
    file : str
        File name of the page that the text is on.
    book : Book

    Raises
    ------
    ValueError
        If a role is unknown, or if a link, label, term or citation leads nowhere.
    """

    def replace(match):
        if match["role"]:
            return _role(match["role"].removeprefix("py:"), " ".join(match["content"].split()), file, book)
        if match["target"]:
            return _link(match, file, book)
        return match[0]

    outside = INLINE.sub(lambda m: "" if m["code"] or m["math"] else m[0], text)
    for name, pattern in REFUSED.items():
        if found := re.search(pattern, outside):
            raise ValueError(f"{name} is not known to plain Markdown: {found[0]!r}")
    return INLINE.sub(replace, text)


def to_html(text):
    """Return a short Markdown text as HTML, with code, bold and italics, for the summary of a folded box."""
    text = html.escape(text, quote=False)
    for pattern, tag in ((r"`([^`]+)`", "code"), (r"\*\*([^*]+)\*\*", "b"), (r"\*([^*]+)\*", "i")):
        text = re.sub(pattern, rf"<{tag}>\1</{tag}>", text)
    return text


def _link(match, file, book):
    text, target = match["text"], match["target"]
    if match["image"]:
        return f"![{text}]({book.picture(target)}{match['title'] or ''})"
    address = book.address(target, file)
    if not text:  # MyST writes the title of what is linked
        name, _, anchor = target.partition("#")
        text = book.labels[anchor][1] if anchor in book.labels else book.titles[book.page(name)]
    inner = convert(text, file, book)
    if "](" in inner:
        raise ValueError(f"a link inside a link is not known to plain Markdown: {match[0]!r}")
    return f"[{inner}]({address}{match['title'] or ''})"


def _role(name, content, file, book):
    text, target = _text_and_target(content)
    if name in {"cite", "cite:p", "cite:t"}:
        return _cite(name, content, book)
    if name == "term":
        return f"[{text}]({book.term(target, file)})"
    if name == "doc":
        page = book.page(target.removeprefix("/"))
        return f"[{text if text != target else book.titles[page]}]({book.address(page, file)})"
    if name in {"ref", "numref"}:
        if target not in book.labels:
            raise ValueError(f"the book has no label {target!r}")
        return f"[{text if text != target else book.labels[target][1]}]({book.address(f'#{target}', file)})"
    if name == "math":
        return f"${content}$"
    if name == "abbr":
        return content
    if name in {"sub", "sup", "kbd"}:
        return f"<{name}>{html.escape(content, quote=False)}</{name}>"
    if name == "code" or name in PYTHON_ROLES:
        return f"`{text.removeprefix('~') if text != target else target.removeprefix('~')}`"
    raise ValueError(f"the role {{{name}}} is not known: {{{name}}}`{content}`")


def _text_and_target(content):
    """Return the two parts of ``text <target>``, which are equal where there is no target."""
    found = re.fullmatch(r"(.*\S)\s*<([^<>]+)>", content)
    return (found[1], found[2]) if found else (content, content)


def _cite(name, content, book):
    keys = [key.strip() for key in content.split(",")]
    if missing := [key for key in keys if key not in book.references]:
        raise ValueError(f"references.bib has no {', '.join(missing)}")
    found = [book.references[key] for key in keys]
    if name == "cite:t":
        return ", ".join(each.link(f"{each.authors} ({each.year})") for each in found)
    return f"({'; '.join(each.link(f'{each.authors}, {each.year}') for each in found)})"
