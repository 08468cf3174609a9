"""Typeset numbers that a chapter prints."""

import re

MINUS, SPACE = "\N{MINUS SIGN}", "\N{NO-BREAK SPACE}"
# Not between words, as in "two-way", nor between the ends of a range, as in "2-4" and "2%-4%", nor in a path,
# nor as the index of an array, "a[-1]".
HYPHEN = re.compile(r"(?<![\w.)\]%/#-])(?<!\w\[)-(?=\.?\d)")
PERCENT = re.compile(r"(?<=\d) ?%(?!\w)")
INTERVAL = re.compile(rf"\[([\d.]+){SPACE}%, ([\d.]+){SPACE}%\]")


def typeset(text):
    """Return text whose numbers look as in print.

    A hyphen before a number becomes a minus sign. A percent sign is kept on the line of its number by a space
    that does not break, and an interval in percent has it once: "8% [6%, 11%]" becomes "8 % [6 to 11 %]".

    Parameters
    ----------
    text : str
        Plain text or Markdown, without HTML, in which a style such as ``width:50%`` would be changed.

    Returns
    -------
    str

    Raises
    ------
    TypeError
        If it is not a text, for example a number that was not formatted.
    """
    if not isinstance(text, str):
        raise TypeError(f"Expected a text with numbers in it, got {type(text).__name__}: format it first.")
    text = PERCENT.sub(f"{SPACE}%", HYPHEN.sub(MINUS, text))
    return INTERVAL.sub(rf"[\1 to \2{SPACE}%]", text)
