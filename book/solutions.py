"""Execute the solutions of exercises after their chapter or primer, in the same kernel.

Run by ``make test-solutions``, with ``CHAPTERS="04 primer"`` if not all are wanted. It takes about as long as
the book, so it is not part of ``make test``, which only checks that solutions use names of their page.
"""

import json
import re
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

BOOK = Path(__file__).parent
EXERCISE = re.compile(r"^(`{3,})\{(exercise|solution)\}([^\n]*)\n(.*?)^\1$", re.MULTILINE | re.DOTALL)
FENCED = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"^    (.*)$|^(?=\n    )$", re.MULTILINE)


def chapters():
    """Return the paths of all chapters, in their order; each has an exercise that grades itself."""
    return sorted(BOOK.glob("[01][0-9]*_*.ipynb"))


def with_exercises():
    """Return the paths of all notebooks that have exercises: chapters, primers and others, by name."""
    return [path for path in sorted(BOOK.glob("*.ipynb")) if any(_directives(path))]


def sources(path, kind):
    """Return the sources of a notebook's cells of one kind, "code" or "markdown"."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == kind]


def solutions(path):
    """Return the code of each solution by its label: what is fenced, or else the lines that are indented."""
    return {name.strip(): _code(body) for kind, name, body in _directives(path) if kind == "solution"}


def given(path):
    """Return the code that an exercise hands to its reader, by label; only those that have some."""
    found = {}
    for kind, _, body in _directives(path):
        if kind == "exercise" and FENCED.search(body):
            found[re.search(r"^:label: *(\S+)", body, re.MULTILINE)[1]] = "\n".join(FENCED.findall(body))
    return found


def run(path):
    """Execute a notebook and then its solutions.

    Returns
    -------
    dict of str to str or None
        By label: the error, or None where the solution runs.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        If a cell of the notebook itself fails.
    """
    notebook, before = nbformat.read(path, as_version=4), given(path)
    added = {}
    for label, code in solutions(path).items():
        if code.strip():
            added[label] = nbformat.v4.new_code_cell(f"{before.get(label, '')}\n{code}".strip())
            # The others are tried, too.
            added[label].metadata.tags = ["raises-exception"]
    notebook.cells += list(added.values())
    client = NotebookClient(notebook, timeout=7200, resources={"metadata": {"path": str(path.parent)}})
    client.execute()
    return {label: _error(cell) for label, cell in added.items()}


def main(names):
    """Run the notebooks that begin with the names, or all; return 1 if a solution fails."""
    failed = False
    for path in with_exercises():
        if names and not any(path.stem.startswith(name) for name in names):
            continue
        start = time.monotonic()
        found = run(path)
        print(f"{path.stem}: {time.monotonic() - start:.0f} s", flush=True)
        for label, error in found.items():
            print(f"    {label}: {error or 'runs'}", flush=True)
            failed |= error is not None
    return int(failed)


def _directives(path):
    """Return (kind, rest of the line, body) of all exercises and solutions."""
    return [match[1:] for match in EXERCISE.findall("\n\n".join(sources(path, "markdown")))]


def _code(body):
    return "\n".join(FENCED.findall(body) or INDENTED.findall(body))


def _error(cell):
    errors = [f"{out.ename}: {out.evalue}" for out in cell.outputs if out.output_type == "error"]
    return errors[0] if errors else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
