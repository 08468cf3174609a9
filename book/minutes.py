"""Write how many minutes a learner needs for each section into the page for teachers.

``python book/minutes.py`` replaces the table between two marks of ``book/teach.md``; a test says when to run
it again. The minutes are estimated by a rule, not measured on readers: see `RULE`.
"""

import json
import re

import prose

PAGE = prose.BOOK / "teach.md"
BEGIN, END = "<!-- minutes: begin -->\n", "<!-- minutes: end -->\n"
WORDS, LINES = 200, 10  # a minute, in text with terms and formulas; and in code that is explained
PICTURE, TABLE = 1, 1  # minutes
EXERCISES = {"Predict": 5, "Change": 10, "Project": 30, "Grades": 15}  # by how their titles begin
EXERCISE = 10  # one of no level
FOLDED = {"hide-cell", "hide-input", "remove-cell", "remove-input"}
RULE = (
    f"The minutes are computed by a rule. A minute is enough for {WORDS} words of text or for {LINES} lines "
    f"of visible code. Each picture, slider or table takes {PICTURE} minute. An exercise of the level "
    f"*predict before you run* takes {EXERCISES['Predict']} minutes, *change one thing* takes "
    f"{EXERCISES['Change']}, and a *project* takes {EXERCISES['Project']}. An exercise that grades itself "
    f"takes {EXERCISES['Grades']} minutes, and an exercise without a level takes {EXERCISE}. Folded code, "
    "such as the set-up, and the section *All numbers* do not count. These minutes were not measured on "
    "readers, so plan half as much again for a first lesson."
)


def minutes(notebook):
    """Return the minutes of each section of a chapter, and of its exercises.

    Parameters
    ----------
    notebook : dict
        As read from its JSON.

    Returns
    -------
    sections : dict of str to float
        By heading; the part before the first one is ``"Opening"``. Folded code, such as the
        set-up, counts as nothing.
    exercises : float
    """
    sections, heading = {"Opening": 0.0}, "Opening"
    exercises = 0.0
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code":
            sections[heading] += _of_code(cell, source)
            continue
        for part in re.split(r"^(?=## )", source, flags=re.MULTILINE):
            found = re.match(r"## (.+)\n?", part)
            if found:
                heading = found[1].strip()
                sections.setdefault(heading, 0.0)
            if heading == "Exercises":
                titles = re.findall(r"\{exercise\} *(.*)", part)
                exercises += sum(_of_exercise(title) for title in titles)
            else:
                words = sum(map(prose.count_words, prose.sentences(part)))
                sections[heading] += words / WORDS + PICTURE * len(prose.TABLES.findall(part))
    return {h: m for h, m in sections.items() if h not in ("Exercises", "All numbers")}, exercises


def _of_code(cell, source):
    tags = set(cell["metadata"].get("tags", []))
    if tags & {"hide-cell", "remove-cell", "skip-execution"}:
        return 0.0
    lines = 0 if tags & FOLDED else sum(bool(line.strip()) for line in source.splitlines())
    shown = PICTURE * bool(prose.FIGURES.search(source)) + TABLE * len(prose.TABLES.findall(source))
    return lines / LINES + shown


def _of_exercise(title):
    return next((m for level, m in EXERCISES.items() if title.startswith(level)), EXERCISE)


def table():
    """Return the Markdown of the table of chapters, the rule, and the folded minutes of sections."""
    rows, items = ["| chapter | read | exercises |", "|---|---|---|"], []
    for path in prose.pages():
        if path.suffix == ".ipynb" and re.match(r"\d\d|primer_", path.name):
            notebook = json.loads(path.read_text(encoding="utf-8"))
            sections, exercises = minutes(notebook)
            title = re.search(r"^# (.+)$", "".join(notebook["cells"][0]["source"]), re.MULTILINE)[1]
            title = f"{path.stem.partition('_')[0]} {title}" if path.stem[0].isdigit() else title
            total = round(sum(sections.values()))
            rows.append(f"| [{title}]({path.name}) | {total} | {exercises:.0f} |")
            each = "; ".join(f"{heading} {max(1, round(m))}" for heading, m in sections.items())
            items.append(f"- **{title}{'' if title.endswith('?') else '.'}** {each}.")
    folded = ":::{dropdown} Minutes of each section\n" + "\n".join(items) + "\n:::"
    return "\n".join(rows) + f"\n\n{RULE}\n\n{folded}\n"


def main():
    """Replace the table of the page."""
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}{table()}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
