"""Run the chapters as Google Colab would: its versions, its setup cell, plain notebooks, an empty folder.

Run by ``make test-colab``, with ``CHAPTERS="05 06"`` if not all are wanted. Makes .venv-colab with the
versions of .ci/colab.txt (about 6 GB, once). Installs the wheel through the chapters' own setup cell, asks
whether pip replaced anything, and executes each chapter, cells with live widgets included.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv-colab"
PYTHON = VENV / "bin" / "python"
VERSIONS = ROOT / ".ci" / "colab.txt"
# What runs the notebooks here. Colab has its own.
TOOLS = ["ipykernel", "nbclient"]
EXECUTE = """
import sys
import nbformat
from nbclient import NotebookClient

notebook = nbformat.read(sys.argv[1], as_version=4)
client = NotebookClient(notebook, timeout=7200, kernel_name="python3", skip_cells_with_tag="",
                        resources={"metadata": {"path": "."}})
try:
    client.execute()
finally:
    nbformat.write(notebook, sys.argv[2])
"""


def run(*command, cwd=None, python_path=None):
    """Run a command and return what it prints; if it fails, RuntimeError holds the end of that."""
    # A PYTHONPATH of the reader's would let the chapters find the clone instead of the wheel.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"PYTHONPATH": str(python_path)} if python_path else {}
    words = [str(word) for word in command]
    done = subprocess.run(words, text=True, capture_output=True, cwd=cwd, env=environment)
    if done.returncode:
        raise RuntimeError(
            f"{' '.join(map(str, command[:4]))} … failed:\n{(done.stdout + done.stderr)[-3000:]}"
        )
    return done.stdout


def installed():
    """Return the versions in the environment by name."""
    listed = json.loads(run(PYTHON, "-m", "pip", "list", "--format=json"))
    return {package["name"]: package["version"] for package in listed}


def replaced(before, after):
    """Name the packages whose version has changed or that are gone, each with both versions."""
    return [f"{n} {v} by {after.get(n, 'nothing')}" for n, v in before.items() if after.get(n) != v]


def make_environment():
    """Make the environment, or bring it back to what it was before a setup cell; return its versions."""
    kept = VENV / "colab.json"
    wanted = VERSIONS.read_text(encoding="utf-8")
    if kept.exists() and (made := json.loads(kept.read_text(encoding="utf-8")))["wanted"] == wanted:
        added = set(installed()) - set(made["versions"])
        if added:
            run(PYTHON, "-m", "pip", "uninstall", "--yes", "--quiet", *sorted(added))
        if not replaced(made["versions"], installed()):
            return made["versions"]
    print(f"Making {VENV.name} of Colab's versions; this takes some minutes.", flush=True)
    run(sys.executable, "-m", "venv", "--clear", VENV)
    run(PYTHON, "-m", "pip", "install", "--quiet", "--upgrade", "pip", "setuptools", "wheel")
    run(PYTHON, "-m", "pip", "install", "--quiet", "-r", VERSIONS, *TOOLS)
    kept.write_text(json.dumps({"wanted": wanted, "versions": installed()}), encoding="utf-8")
    return installed()


def build_wheel(folder):
    """Build the wheel from a copy of the clone, because a build leaves files behind; return its path."""
    unneeded = shutil.ignore_patterns(".*", "_build*", "tests", "build", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, folder / "copy", ignore=unneeded)
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder)
    run(PYTHON, "-m", "pip", "wheel", folder / "copy", *options)
    return next(folder.glob("latentcortex-*.whl"))


def from_wheel(notebook, wheel):
    """Return the text of a notebook whose setup cell installs a wheel instead of a tag of the repository.

    A page without a setup cell, such as the front page, stays as it is.
    """
    # In the setup cell, not in commands that the text shows.
    address = r"(%pip install [^\n]*latentcortex @ )git\+[^\s\\\"]+"
    text, n = re.subn(address, lambda match: match[1] + wheel.as_uri(), notebook)
    if n > 1:
        raise ValueError(f"Expected one address that the notebook installs from, got {n}.")
    return text


def faults_of(notebook, in_clone):
    """Name what a notebook that ran lacks: a working live widget, or what a cell shows in the clone.

    Parameters
    ----------
    notebook, in_clone : dict
        As executed here, and by ``make book`` (None: no comparison).
    """
    faults = []
    if '"output_type": "error"' in json.dumps(notebook["metadata"].get("widgets", {})):
        faults.append("a live widget shows an error")
    for k, (one, other) in same_cells(notebook, in_clone).items():
        lost = _kinds(other) - _kinds(one)
        if lost:
            faults.append(
                f"code cell {k + 1} shows no {' and no '.join(sorted(lost))} as it does in the clone"
            )
    return faults


def same_cells(notebook, in_clone):
    """Pair the code cells that both notebooks have with equal source, by their number in the first one.

    The built book may be of an older version of the chapter, and the setup cell always differs.
    """
    there = {cell["id"]: cell for cell in (in_clone or {"cells": []})["cells"]}
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    pairs = {k: (cell, there.get(cell["id"])) for k, cell in enumerate(code)}
    return {k: (one, other) for k, (one, other) in pairs.items() if other and _text(one) == _text(other)}


def _text(cell):
    return "".join(cell["source"])


def _kinds(cell):
    names = {"display_data": "picture or table", "execute_result": "picture or table", "stream": "text"}
    # A bar that shows how far the building of the data has come: there is none where they were built before.
    bar = "application/vnd.jupyter.widget-view+json"
    shown = [o for o in cell["outputs"] if bar not in o.get("data", {})]
    return {names[o["output_type"]] for o in shown if o["output_type"] in names}


def run_chapter(path, folder, versions):
    """Execute one plain notebook in an empty folder; return what is wrong, a line each."""
    place = folder / path.stem
    place.mkdir()
    start, out = time.monotonic(), folder / f"executed_{path.name}"
    try:
        run(PYTHON, "-c", EXECUTE, path, out, cwd=place)
    except RuntimeError as error:
        return [str(error)]
    built = ROOT / "book" / "_build" / "jupyter_execute" / path.name
    in_clone = json.loads(built.read_text(encoding="utf-8")) if built.exists() else None
    notebook = json.loads(out.read_text(encoding="utf-8"))
    faults = faults_of(notebook, in_clone)
    faults += [f"pip replaced {change}" for change in replaced(versions, installed())]
    n = sum(cell["cell_type"] == "code" for cell in notebook["cells"])
    compared = f"{len(same_cells(notebook, in_clone))} of {n} cells compared with the clone's built book"
    print(
        f"{path.stem}: {time.monotonic() - start:.0f} s, {compared}, {'; '.join(faults) or 'no fault'}",
        flush=True,
    )
    return faults


def main(names):
    """Run the chapters of these names, or all; return the exit status."""
    versions = make_environment()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        wheel = build_wheel(folder)
        command = ("-m", "latentcortex.command", "student", folder / "plain", *names, "--solutions")
        run(PYTHON, *command, python_path=folder / "copy" / "src")
        faults = []
        for path in sorted((folder / "plain").glob("*.ipynb")):
            path.write_text(from_wheel(path.read_text(encoding="utf-8"), wheel), encoding="utf-8")
            faults += [f"{path.stem}: {fault}" for fault in run_chapter(path, folder, versions)]
        added = {n: v for n, v in installed().items() if n not in versions}
    print(f"{len(versions)} packages were there. Added: {', '.join(f'{n} {v}' for n, v in added.items())}.")
    print("\n".join(["", "FAILED", *faults]) if faults else "Every chapter ran.")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
