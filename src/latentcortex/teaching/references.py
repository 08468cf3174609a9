r"""Read a BibTeX file, and write its entries as author, year and link.

Only the parts of a citation are read: family names, year, and a DOI or address. Accents and letters in LaTeX
(``D{\"a}hne``, ``Bie{\ss}mann``) become Unicode characters.
"""

import re
import unicodedata
from dataclasses import dataclass

# LaTeX's accents, and the character that Unicode puts after a letter for each.
ACCENTS = {
    **{"`": "\u0300", "'": "\u0301", "^": "\u0302", "~": "\u0303", '"': "\u0308", "=": "\u0304"},
    **{
        ".": "\u0307",
        "u": "\u0306",
        "v": "\u030c",
        "H": "\u030b",
        "c": "\u0327",
        "k": "\u0328",
        "r": "\u030a",
    },
}
LETTERS = {
    **{"ss": "ß", "o": "ø", "O": "Ø", "ae": "æ", "AE": "Æ", "oe": "œ", "OE": "Œ", "aa": "å", "AA": "Å"},
    **{"l": "ł", "L": "Ł", "i": "ı", "j": "ȷ", "&": "&", "%": "%", "_": "_", "$": "$", "#": "#"},
}
ACCENT = re.compile(r"\\([`'^~\"=.]|[uvHckr](?![A-Za-z]))\s*(?:\{\\?([A-Za-z])\}|\\?([A-Za-z]))")
LETTER = re.compile(r"\\(?:([A-Za-z]+)\s*|([&%_$#]))")


@dataclass(frozen=True)
class Reference:
    """Hold one entry of a BibTeX file.

    Attributes
    ----------
    families : tuple of str
        Family names of the authors, in their order.
    year : str
    address : str or None
        Address of the paper: its DOI as an address, or else its ``url``.
    """

    families: tuple
    year: str
    address: str | None

    @property
    def authors(self):
        """Return the names for running text: one, two joined by *and*, or the first with *et al.*."""
        if len(self.families) > 2:
            return f"{self.families[0]} et al."
        return " and ".join(self.families)

    def link(self, text):
        """Return Markdown that links a text to the paper, or only the text if no address is known."""
        if self.address is None:
            return text
        # A bracket, as in some DOIs, would end the link.
        return f"[{text}]({self.address.replace('(', '%28').replace(')', '%29')})"


def read_bibtex(text):
    """Return the entries of a BibTeX file by their keys.

    Parameters
    ----------
    text : str
        Contents of the file.

    Returns
    -------
    dict of str to Reference

    Raises
    ------
    ValueError
        If a key occurs twice, or if an entry lacks its author or year.
    """
    found = {}
    for kind, key, start in (
        (m[1].lower(), m[2], m.end())
        for m in re.finditer(r"^@(\w+)\s*\{\s*([^\s,]+)\s*,", text, re.MULTILINE)
    ):
        fields = _fields(text, start)
        missing = {"author", "year"} - set(fields)
        if missing or key in found:
            fault = f"has no {' and no '.join(sorted(missing))}" if missing else "stands twice"
            raise ValueError(f"The entry @{kind}{{{key}}} of the bibliography {fault}.")
        names = re.split(r"\s+and\s+", fields["author"])
        address = f"https://doi.org/{fields['doi']}" if "doi" in fields else fields.get("url")
        found[key] = Reference(tuple(map(_family, names)), unlatex(fields["year"]), address)
    return found


def unlatex(text):
    """Return text without LaTeX's accents, braces and line breaks; an unknown command raises ValueError."""
    text = ACCENT.sub(lambda m: (m[2] or m[3]) + ACCENTS[m[1]], text)

    def letter(match):
        name = match[1] or match[2]
        if name not in LETTERS:
            raise ValueError(f"Expected an accent or a letter in the bibliography, got \\{name} in {text!r}.")
        return LETTERS[name]

    text = LETTER.sub(letter, text).replace("--", "–")
    return unicodedata.normalize("NFC", " ".join(re.sub(r"[{}]", "", text).split()))


def _family(name):
    """Return the family name of ``Family, Given`` or ``Given Family``."""
    family = name.partition(",")[0] if "," in name else re.split(r"\s+(?![^{]*\})", name.strip())[-1]
    return unlatex(family)


def _fields(text, start):
    """Return the fields of the entry whose first field begins at a position, by lower-case name."""
    fields, at = {}, start
    while found := re.compile(r"\s*(\w+)\s*=\s*").match(text, at):
        at = found.end()
        if text[at] == "{":
            end = _closing(text, at)
            value, at = text[at + 1 : end], end + 1
        elif text[at] == '"':
            end = text.index('"', at + 1)
            value, at = text[at + 1 : end], end + 1
        else:
            value = re.compile(r"[\w.-]+").match(text, at)[0]
            at += len(value)
        fields[found[1].lower()] = value
        at = re.compile(r"\s*,?").match(text, at).end()
    return fields


def _closing(text, at):
    """Return the position of the brace that closes the one at a position."""
    depth = 0
    for k in range(at, len(text)):
        depth += {"{": 1, "}": -1}.get(text[k], 0) if text[k - 1] != "\\" else 0
        if depth == 0:
            return k
    raise ValueError(f"A brace of the bibliography is never closed: {text[at : at + 60]!r}.")
