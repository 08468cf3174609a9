"""Find the id of a picture, and the number of its drawing, in the name of its file."""

import re

SHOWN = 5  # names or ids that a message lists
# What stands before a number that is never an id, and before one that always is: subj01_nsd02951.
SUBJECTS = {"sub", "subj", "subject", "ses", "session"}
IDS = {"nsd", "img", "image", "id", "idx", "imgidx", "stim", "coco"}
_NUMBER = re.compile("([a-z]*)[^a-z0-9]*([0-9]+)", re.IGNORECASE)


def some(items):
    """Return the first few of many items as text: "1, 2, 3, 4, 5 and 7 more"."""
    items = list(items)
    more = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return ", ".join(map(str, items[:SHOWN])) + more


def find_numbers(stems, pattern=None):
    """Return the id and the drawing that each name holds.

    Parameters
    ----------
    stems : list of str
        Names of files without their endings.
    pattern : str, optional
        A regular expression that is searched in each name; its group is the id, a second one the number
        of the drawing. Without it both are guessed, for each form of a name by itself: the id is the
        number after a word such as "nsd" or "img", else the first one that differs between the names
        (of names of numbers only, the first), and the drawing is the next one. A number after "subj" or
        "ses" is neither.

    Returns
    -------
    numbers : dict of str to (int, int or None)
        Names without a number, or that the pattern doesn't fit, are left out.
    shown : list of str
        A name of each form with the id in [brackets] and the drawing in (parentheses).

    Raises
    ------
    ValueError
        For a pattern that is not one, or names of several subjects.
    """
    if pattern is not None:
        spans = _by_pattern(stems, pattern)
    else:
        forms = {}
        for stem in stems:
            forms.setdefault(re.sub("[0-9]+", "#", stem), []).append(stem)
        forms.pop("", None)
        spans = {}
        for form, alike in forms.items():
            spans |= _guess(form, alike) if "#" in form else {}
    numbers, shown = {}, {}
    for stem, (of_id, of_drawing) in spans.items():
        numbers[stem] = int(stem[slice(*of_id)]), int(stem[slice(*of_drawing)]) if of_drawing else None
        marked = stem
        for (start, stop), (left, right) in reversed(
            sorted(zip([span for span in (of_id, of_drawing) if span], ("[]", "()"), strict=False))
        ):
            marked = f"{marked[:start]}{left}{marked[start:stop]}{right}{marked[stop:]}"
        shown.setdefault(re.sub("[0-9]+", "#", stem), f"`{marked}`")
    return numbers, list(shown.values())


def _by_pattern(stems, pattern):
    """Return the spans of id and drawing (or None) in each name that a pattern fits."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"--id {pattern!r} is not a regular expression: {error}.") from error
    if compiled.groups not in (1, 2):
        raise ValueError(
            f"--id {pattern!r} has {compiled.groups} groups: put the id in parentheses, such as "
            "'nsd([0-9]+)', and the number of the drawing in a second pair if there is one."
        )
    spans = {}
    for stem in stems:
        match = compiled.search(stem)
        if match is None:
            continue
        wrong = [text for text in match.groups() if text is None or not text.isdecimal()]
        if wrong:
            raise ValueError(f"--id {pattern!r} finds {wrong[0]!r} in {stem!r}: expected a whole number.")
        spans[stem] = match.span(1), match.span(2) if compiled.groups == 2 else None
    return spans


def _guess(form, stems):
    """Return the spans of id and drawing (or None) in names of one form, the same number in all."""
    fields = {stem: list(_NUMBER.finditer(stem)) for stem in stems}
    words = [field[1].lower() for field in fields[stems[0]]]
    differs = [len({int(of[k][2]) for of in fields.values()}) > 1 for k in range(len(words))]
    subjects = [k for k, word in enumerate(words) if word in SUBJECTS]
    if any(differs[k] for k in subjects):
        raise ValueError(
            f"Names such as {some(sorted(stems)[::-1])} are of several subjects: score one by one."
        )
    free = [k for k in range(len(words)) if k not in subjects] or subjects
    known = [k for k in free if words[k] in IDS]
    varied = [k for k in free if differs[k] and re.search("[^#_-]", form)]
    at = (known or varied or free)[0]
    after = [k for k in free if k > at][:1]
    return {
        stem: (of[at].span(2), *([of[k].span(2) for k in after] or [None])) for stem, of in fields.items()
    }
