"""Build the book beside the last good one, check its pages, and let it take that one's place.

Run by ``make book``. The chapters are executed here, not by Jupyter Book, because a kernel that dies (out
of memory, say) would end its build before a page is written. Whatever fails, the other pages are written
to ``book/_build.new``, the failures are named at the end, and the last whole book stays where it is.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import yaml
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

ROOT = Path(__file__).resolve().parents[1]

# Seconds for one cell. It ends a cell that hangs, not one that meets a busy machine: none takes 2 minutes.
CELL_LIMIT = 2 * 60 * 60

# Chapters executed at the same time. With the preset `mini` each computes on one thread and takes up to 3 GB.
AT_ONCE = min(2, os.cpu_count() or 1)

# In the folder of pages: the pages that a whole, checked book holds. `tests/test_built_pages.py` asks for it.
WHOLE = "whole.json"

JUPYTER_BOOK = "from jupyter_book.cli.main import main; main()"


def pages_of(toc):
    """Return the names of all pages of a table of contents, in order; a chapter may have pages under it."""
    chapters = toc.get("chapters", []) + [c for part in toc.get("parts", []) for c in part["chapters"]]
    pages = [page for chapter in chapters for page in (chapter, *chapter.get("sections", []))]
    return [toc["root"], *(page["file"] for page in pages)]


def execute(path, cell_limit=CELL_LIMIT, clients=None):
    """Execute a notebook in its own folder, as far as it goes.

    Parameters
    ----------
    path : Path
    cell_limit : float
        Seconds that one cell may take.
    clients : list, optional
        Gets the client, so that others can end its kernel.

    Returns
    -------
    notebook : nbformat.NotebookNode
        With the outputs up to the cell that failed.
    failure : str or None
        The chapter, the cell and the reason; None if every cell ran.
    """
    notebook = nbformat.read(path, as_version=4)
    started = []
    client = NotebookClient(
        notebook,
        timeout=cell_limit,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        record_timing=False,
        on_cell_start=lambda cell_index, **_: started.append(cell_index),
    )
    if clients is not None:
        clients.append(client)
    try:
        client.execute()
    except CellExecutionError as error:
        reason = f"{error.ename}: {error.evalue}"
    except CellTimeoutError:
        reason = f"it took over {cell_limit / 60:.0f} minutes"
    except DeadKernelError:
        reason = "its kernel died; when memory runs out, the system ends it like this"
    else:
        return notebook, None
    code = [k for k, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    lines = notebook.cells[started[-1]].source.splitlines() or [""]
    where = f"{path.name}, code cell {code.index(started[-1]) + 1} of {len(code)} ({lines[0]})"
    return notebook, f"{where}: {reason}"


def execute_chapters(book, source, pages, cell_limit=CELL_LIMIT):
    """Copy a book's sources and put the executed chapters in; return what failed, a line each.

    Ctrl-C ends the kernels of the chapters that are running, and no other chapter begins.
    """
    shutil.copytree(book, source, ignore=shutil.ignore_patterns("_build*", ".ipynb_checkpoints"))

    clients, stopped = [], []

    def one(path):
        start = time.monotonic()
        notebook, failure = execute(path, cell_limit, clients)
        if stopped:
            return failure
        nbformat.write(notebook, source / path.name)
        took = f"{time.monotonic() - start:.0f} s"
        print(f"{path.stem}: {'FAILED' if failure else 'executed'}, {took}", flush=True)
        return failure

    paths = [path for page in pages if (path := book / f"{page}.ipynb").exists()]
    pool = ThreadPoolExecutor(AT_ONCE)
    chapters = [pool.submit(one, path) for path in paths]
    try:
        return [failure for chapter in chapters if (failure := chapter.result())]
    except KeyboardInterrupt:
        stopped.append(True)
        pool.shutdown(wait=False, cancel_futures=True)
        # Python ends after its threads, and these wait for kernels, which Ctrl-C does not reach.
        while not all(chapter.done() for chapter in chapters):
            _end_kernels(clients)
            time.sleep(0.2)
        raise
    finally:
        pool.shutdown()


def _end_kernels(clients):
    """Kill the kernels of clients, where they have one."""
    for client in clients:
        if client.km is not None and client.km.has_kernel:
            asyncio.run(client.km.provisioner.kill())


def restore(place):
    """Bring the last book back if a run was ended between the two renames of `replace`."""
    old = place.with_name(f"{place.name}.old")
    if old.exists() and not place.exists():
        old.rename(place)
    shutil.rmtree(old, ignore_errors=True)


def replace(new, place):
    """Rename a folder to a place where another one may lie, which is removed last."""
    restore(place)
    old = place.with_name(f"{place.name}.old")
    if place.exists():
        place.rename(old)
    new.rename(place)
    shutil.rmtree(old, ignore_errors=True)


def build(root, check, cell_limit=CELL_LIMIT):
    """Build the book of a clone and return what failed, a line each; empty if it is whole.

    Parameters
    ----------
    root : Path
        A folder with ``_config.yml``, ``_toc.yml`` and ``book/``.
    check : callable
        Gets the folder of the built pages and returns whether they are as they should be.
    cell_limit : float
        Seconds that one cell may take.
    """
    book, place, work = root / "book", root / "book" / "_build", root / "book" / "_build.new"
    restore(place)
    # From nothing: pages of an earlier run would hide a chapter that fails in this one.
    shutil.rmtree(work, ignore_errors=True)
    pages = pages_of(yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8")))
    failures = execute_chapters(book, work / "source", pages, cell_limit)
    arguments = ["--path-output", work, "--config", root / "_config.yml", "--toc", root / "_toc.yml"]
    command = [sys.executable, "-c", JUPYTER_BOOK, "build", work / "source", *arguments, "-W", "--keep-going"]
    if subprocess.run([str(word) for word in command], cwd=root, check=False).returncode:
        failures.append("Jupyter Book: errors or warnings, named above")
    html = work / "_build" / "html"
    failures += [f"{page}: no page was written" for page in pages if not (html / f"{page}.html").exists()]
    if not failures and not check(html):
        failures.append("checks of the pages: named above")
    if not failures:
        (html / WHOLE).write_text(json.dumps(pages, indent=1) + "\n", encoding="utf-8")
        replace(work / "_build", place)
        shutil.rmtree(work)
    return failures


def check_pages(html):
    """Run the tests of the book on built pages and return whether they pass."""
    command = [sys.executable, "-m", "pytest", "-q", "tests/test_built_pages.py", "tests/test_wheel.py"]
    environment = {**os.environ, "LATENTCORTEX_BUILT_BOOK": str(html)}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0


def finish_pages(html):
    """Write the slides into built pages, which link them, and return whether the pages pass their tests."""
    import slides

    slides.write_decks(html.parent / "jupyter_execute", html / "slides")
    return check_pages(html)


def main():
    """Build the book and say at the end where it lies, or what failed and where its pages lie."""
    failures = build(ROOT, finish_pages)
    if not failures:
        print("The book is whole: book/_build/html/index.html")
        return 0
    print("\nThe book is not whole:", *failures, sep="\n  ")
    print("The pages of this run: book/_build.new/_build/html")
    if (ROOT / "book" / "_build").exists():
        print("The last whole book is still there: book/_build/html/index.html")
    return 1


if __name__ == "__main__":
    sys.exit(main())
