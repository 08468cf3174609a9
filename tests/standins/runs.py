"""Run chapters and data scripts on a preset, and say what failed, where, in what time and memory.

``python -m standins.runs SETTINGS NAME...`` in the folder of the tests runs the chapters and scripts whose
file names contain one of the names; the report beside the settings has a line for each.
"""

import ast
import dataclasses
import datetime
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
from nbclient import NotebookClient

from latentcortex.shared_space import TrainingSettings

CLONE = Path(__file__).resolve().parents[2]
CHAPTERS = sorted((CLONE / "book").glob("*.ipynb"))
SCRIPTS = sorted((CLONE / "data_scripts").glob("ch*.py"))
_SECONDS = 1200
_FIRST = "from standins import judges\n\njudges.shrink()"
_LAST = "import resource\n\nresource.getrusage(resource.RUSAGE_SELF).ru_maxrss"
# What makes a script small, besides the settings: constants of the script by name.
_SMALLER = {
    "ch06_choose_settings": {"CELLS": "CELLS[:2]"},
    "ch07_draw_images": {"N_IMAGES": "4", "N_PICTURES": "2"},
    "ch08_choose_guidance": {"GRIDS": "{'ridge': {n: c[:3] for n, c in GRIDS['ridge'].items()}}"},
    "ch08_mix_features": {
        "FEATURE_SCALES": "(100.0,)",
        "CELLS": "(NO_GUIDE, *itertools.product(SHARES, FEATURE_SCALES, GUIDED_SHARES))",
    },
    "ch08_hand_features_round": {"N_FOLDS": "2"},
    "ch09_measure_reconstructions": {"N_DRAWS": "2"},
    "ch08_guide_the_sampler": {"N_DRAWS": "2", "GROUPS": "{**GROUPS, 'repeats': (N_REPEATED, None, 2)}"},
    "ch12_open_the_unet": {"SHARES": "(0.5,)"},
    # Noise is removed from all images, not from a few test images.
    "ch11_follow_the_noise": {"N_STEPS": "4", "REMOVED": "(2, 4)", "AVERAGED": "(2,)", "N_DRAWS": "2"},
}
_SHORT = TrainingSettings(epochs=4, steps_per_epoch=2, warmup_epochs=1, trials_per_subject=14)
_RAISED = re.compile(r"^([\w.]*(?:Error|Exception)): (.*)$", re.MULTILINE)
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_IN_PACKAGE = re.compile(r"(?:latentcortex|data_scripts)/(\S+?\.py)(?::|\", line )(\d+)")


def run_chapter(path, settings, cache):
    """Execute all cells of a chapter; return its record (see `run`)."""
    notebook = nbformat.read(path, as_version=4)
    new = nbformat.v4.new_code_cell
    numbers = [None, *range(len(notebook.cells)), None]
    notebook.cells = [new(_FIRST), *notebook.cells, new(_LAST)]
    os.environ.update(_environment(settings, cache))
    client = NotebookClient(
        notebook, timeout=_SECONDS, allow_errors=True, resources={"metadata": {"path": str(path.parent)}}
    )
    start = time.monotonic()
    client.execute()
    errors = []
    for number, cell in zip(numbers, notebook.cells, strict=True):
        for out in cell.get("outputs", []):
            if out.output_type == "error" and (out.ename != "NameError" or not errors):
                errors.append(_error(f"cell {number}", out.ename, out.evalue, "\n".join(out.traceback)))
    seconds = [_seconds(cell) for cell in notebook.cells]
    slowest = int(np.argmax(seconds))
    print(f"{path.stem}: cell {numbers[slowest]} took {seconds[slowest]:.0f} s")
    memory = int(notebook.cells[-1].outputs[0].data["text/plain"]) * 1024
    return _record(path.stem, errors, time.monotonic() - start, memory)


def run_script(path, settings, cache):
    """Run a data script on few images; return its record (see `run`)."""
    source, options = path.read_text(), ["--results", str(Path(cache, "results"))]
    if "jobs.add_images" in source:
        options += ["--images", "6"]
    if "validation.add_options" in source:
        options += ["--validation-images", "6", "--subjects", "1"]
    if "add_seeds" in source:
        options += ["--seeds", "1"]
    if "replication.add_options" in source:
        options += ["--rehearse"]
    command = [sys.executable, "-m", "standins.runs", "--script", str(path), *options]
    start = time.monotonic()
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | _environment(settings, cache), check=False
    )
    lines = done.stdout.strip().splitlines()
    memory = int(lines[-1]) * 1024 if lines and lines[-1].isdecimal() else 0
    errors = []
    if done.returncode:
        said = _RAISED.findall(done.stderr) or [("killed", f"exit status {done.returncode}")]
        errors.append(_error("script", *said[-1], done.stderr))
    return _record(path.stem, errors, time.monotonic() - start, memory)


def run(path, settings):
    """Run a chapter or a script, and keep its record beside the settings.

    Returns
    -------
    dict
        ``name``; ``errors``, a list, of a notebook without names that an earlier error left undefined;
        ``minutes``; ``gigabytes`` of peak memory.
    """
    of_kind = run_chapter if path.suffix == ".ipynb" else run_script
    record = of_kind(path, settings, settings.parent / "cache")
    records = settings.parent / "records"
    records.mkdir(exist_ok=True)
    Path(records, f"{path.stem}{path.suffix}.json").write_text(json.dumps(record))
    return record


def write_report(folder):
    """Write a table of all records that lie in a folder of `study.write_study`, and return its path."""
    lines = ["| what | result | minutes | GB | first error |", "|---|---|---|---|---|"]
    for path in sorted(Path(folder, "records").glob("*.json")):
        one = json.loads(path.read_text())
        error = one["errors"][0] if one["errors"] else ""
        result = f"{len(one['errors'])} errors" if one["errors"] else "passes"
        lines.append(f"| {path.stem} | {result} | {one['minutes']:.1f} | {one['gigabytes']:.1f} | {error} |")
    report = Path(folder, "report.md")
    report.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return report


def _environment(settings, cache):
    paths = [CLONE / "src", CLONE / "tests", CLONE]
    return {
        "LATENTCORTEX_PRESET": str(settings),
        "LATENTCORTEX_CACHE": str(cache),
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "HF_HUB_OFFLINE": "1",
    }


def _seconds(cell):
    """Return how long a cell took."""
    times = cell.metadata.get("execution", {})
    ends = [times.get("shell.execute_reply" if end else "iopub.status.busy") for end in (0, 1)]
    if None in ends:
        return 0.0
    start, stop = (datetime.datetime.fromisoformat(of) for of in ends)
    return (stop - start).total_seconds()


def _error(where, name, text, trace):
    places = _IN_PACKAGE.findall(_COLOURS.sub("", trace))
    at = f" at {places[-1][0]}:{places[-1][1]}" if places else ""
    return f"{where}{at}: {name}: {text.splitlines()[0] if text else ''}"[:400].replace("|", "/")


def _record(name, errors, seconds, memory):
    return {"name": name, "errors": errors, "minutes": seconds / 60, "gigabytes": memory / 1e9}


def _run_smaller(path, options):
    """Run a script in this process, with some of its constants replaced before its last statement."""
    import resource

    from latentcortex.studies import plans
    from standins import judges

    judges.shrink()
    # Networks of the shared space that have learned next to nothing; the steps are counted by the epoch.
    short = {stage: plans.every(_SHORT) for stage in ("pretraining", "finetuning", "scratch")}
    plans.PLANS[0] = dataclasses.replace(plans.SMALL, **short)
    body, names = ast.parse(path.read_text()), {"__name__": "__main__", "__doc__": None}
    names["__doc__"] = ast.get_docstring(body)
    names["__file__"] = str(path)
    last = ast.Module(body.body[-1:], [])
    body.body = body.body[:-1]
    exec(compile(body, path, "exec"), names)
    for constant, expression in _SMALLER.get(path.stem, {}).items():
        names[constant] = eval(expression, names)
    sys.argv = [str(path), *options]
    exec(compile(last, path, "exec"), names)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def main(settings, *names):
    """Run what the names say, and print where the report lies."""
    settings = Path(settings).resolve()
    for path in [*CHAPTERS, *SCRIPTS]:
        if any(name in path.name for name in names):
            run(path, settings)
    print(write_report(settings.parent))


if __name__ == "__main__":
    if sys.argv[1] == "--script":
        _run_smaller(Path(sys.argv[2]), sys.argv[3:])
    else:
        main(*sys.argv[1:])
