"""What `make test-colab` decides: which versions it starts from, and what it calls a fault."""

import importlib.util
import json
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location("colab", ROOT / ".ci" / "colab.py")
colab = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(colab)


def code(*kinds, name="x", source="x"):
    outputs = [{"output_type": kind} for kind in kinds]
    return {"cell_type": "code", "id": name, "source": [source], "outputs": outputs}


def notebook(*cells, widgets=None):
    return {
        "cells": [{"cell_type": "markdown", "id": "m", "source": []}, *cells],
        "metadata": {"widgets": widgets or {}},
    }


def test_what_colab_has_is_what_the_project_allows():
    lines = [li for li in (ROOT / ".ci" / "colab.txt").read_text().splitlines() if not li.startswith("#")]
    versions = {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {canonicalize_name(r.name): r for r in map(Requirement, project["dependencies"])}
    both = set(versions) & set(wanted)
    assert {"torch", "numpy", "pandas", "ipywidgets"} <= both
    assert [name for name in both if not wanted[name].specifier.contains(versions[name])] == []


def test_a_package_that_was_replaced_or_removed_is_named():
    before = {"a": "1", "b": "1", "c": "1"}
    assert colab.replaced(before, {"a": "1", "b": "2", "d": "1"}) == ["b 1 by 2", "c 1 by nothing"]
    assert colab.replaced(before, before | {"d": "1"}) == []


def test_the_setup_cell_of_each_chapter_is_given_the_wheel(tmp_path):
    wheel = tmp_path / "latentcortex-1-py3-none-any.whl"
    for path in (ROOT / "book").glob("[0-9]*.ipynb"):
        new = colab.from_wheel(path.read_text(), wheel)
        first = next(c for c in json.loads(new)["cells"] if c["cell_type"] == "code")
        assert re.findall(r'"latentcortex @ (\S+)"', "".join(first["source"])) == [wheel.as_uri()]
    with pytest.raises(ValueError, match="one address"):
        colab.from_wheel("%pip install latentcortex @ git+a\n%pip install latentcortex @ git+b", wheel)


def test_a_cell_that_shows_less_than_in_the_clone_is_named():
    full, empty = code("stream", "display_data", name="a"), code(name="b")
    assert colab.faults_of(notebook(empty), None) == []
    table, picture = code("execute_result", name="b"), code("display_data", name="b")
    assert colab.faults_of(notebook(full, table), notebook(full, picture)) == []
    shown = code("stream", "display_data", name="b")
    (fault,) = colab.faults_of(notebook(full, empty), notebook(code(name="a"), shown))
    assert fault == "code cell 2 shows no picture or table and no text as it does in the clone"


def test_a_bar_that_showed_how_the_data_were_built_is_not_asked_for():
    bar = code("display_data")
    bar["outputs"][0]["data"] = {"application/vnd.jupyter.widget-view+json": {}, "text/plain": "drawing"}
    assert colab.faults_of(notebook(code()), notebook(bar)) == []
    bar["outputs"][0]["data"] = {"image/png": ""}
    assert len(colab.faults_of(notebook(code()), notebook(bar))) == 1


def test_only_cells_of_equal_source_are_compared():
    here = notebook(code(name="a"), code(name="b"), code(name="c"))
    there = notebook(code("stream", name="c"), code("stream", name="a", source="older"))
    assert list(colab.same_cells(here, there)) == [2] and colab.same_cells(here, None) == {}
    assert len(colab.faults_of(here, there)) == 1


def test_an_error_behind_a_live_widget_is_named():
    outputs = [{"output_type": "error", "ename": "NameError"}]
    broken = {"state": {"1": {"state": {"outputs": outputs}}}}
    assert colab.faults_of(notebook(widgets=broken), None) == ["a live widget shows an error"]
    outputs[0]["output_type"] = "display_data"
    assert colab.faults_of(notebook(widgets=broken), None) == []
