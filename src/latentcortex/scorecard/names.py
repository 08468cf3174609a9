"""Find the id of a picture, and the number of its drawing, in the name of its file."""

import re

SHOWN = 5  # names or ids that a message lists
# Words before a number that is never an id, and before one that always is: subj01_nsd02951.
SUBJECTS = {"sub", "subj", "subject", "ses", "session"}
IDS = {"nsd", "img", "image", "id", "idx", "imgidx", "stim", "coco"}


def some(items):
    """Return the first few of many items as text, such as "1, 2, 3, 4, 5 and 7 more"."""
    items = list(items)
    more = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return ", ".join(map(str, items[:SHOWN])) + more


def find_numbers(stems, pattern=None):
    """Return the id and the drawing (or None) in each name, and how a name of each form was read.

    Names are those of files without their endings. The result leaves out names without a number, and names
    that do not match the pattern. The pattern is a regular expression whose first group is the id and whose
    second group, if any, is the drawing.

    Without a pattern both are guessed, separately for each form of a name. The id is the number after a word
    such as "nsd" or "img". Without such a word it is the first number that differs between the names. If
    names consist only of numbers, it is the first number. The drawing is the next number. A number after
    "subj" or "ses" is neither.

    A ValueError is raised if the pattern is not valid, or if names belong to several subjects.
    """
    forms = {}
    for stem in sorted(set(stems)):
        forms.setdefault(re.sub("[0-9]+", "#", stem), []).append(stem)
    if pattern is not None:
        patterns = dict.fromkeys(forms, _compiled(pattern))
    else:
        patterns = {form: _guess(form, alike) for form, alike in forms.items() if "#" in form}
    numbers, shown = {}, []
    for form, compiled in patterns.items():
        found = {stem: compiled.search(stem) for stem in forms[form]}
        found = {stem: match.groups() for stem, match in found.items() if match}
        for stem, texts in found.items():
            if not all(text and text.isdecimal() for text in texts):
                raise ValueError(f"--id {pattern!r} finds {texts} in {stem!r}: expected whole numbers.")
            numbers[stem] = int(texts[0]), int(texts[1]) if len(texts) > 1 else None
        for stem in list(found)[:1]:
            of_drawing = "" if numbers[stem][1] is None else f", drawing {numbers[stem][1]}"
            shown.append(f"`{stem}` as id {numbers[stem][0]}{of_drawing}")
    return numbers, shown


def _compiled(pattern):
    """Return a regular expression of one or two groups."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"--id {pattern!r} is not a regular expression: {error}.") from error
    if compiled.groups not in (1, 2):
        raise ValueError(
            f"--id {pattern!r} has {compiled.groups} groups: put the id in parentheses, such as "
            "'nsd([0-9]+)', and the number of the drawing in a second pair if there is one."
        )
    return compiled


def _guess(form, stems):
    """Return the regular expression that finds id and drawing in names of one form."""
    fields = [re.findall("([a-z]*)[^a-z0-9]*([0-9]+)", stem.lower()) for stem in stems]
    words = [word for word, _ in fields[0]]
    differs = [len({int(of[k][1]) for of in fields}) > 1 for k in range(len(words))]
    subjects = [k for k, word in enumerate(words) if word in SUBJECTS]
    if any(differs[k] for k in subjects):
        raise ValueError(
            f"Names such as {stems[0]} and {stems[-1]} are of several subjects: score one by one."
        )
    free = [k for k in range(len(words)) if k not in subjects] or subjects
    known = [k for k in free if words[k] in IDS]
    varied = [k for k in free if differs[k] and re.search("[^#_-]", form)]
    at = (known or varied or free)[0]
    wanted = [at, *[k for k in free if k > at][:1]]
    return re.compile("[^0-9]*".join("([0-9]+)" if k in wanted else "[0-9]+" for k in range(wanted[-1] + 1)))
