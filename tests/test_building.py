"""How a clone is set up: its environment, its versions, its threads, its workflows."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REQUIREMENTS = [
    Requirement(r) for r in PROJECT["dependencies"] + sum(PROJECT["optional-dependencies"].values(), [])
]
PYTHONS = ("3.11", "3.12", "3.13")
SYSTEMS = {
    "Linux": {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64"},
    "Mac": {"sys_platform": "darwin", "platform_system": "Darwin", "platform_machine": "arm64"},
}

# Stands for an interpreter: writes down what is asked of it, and makes an "environment" that holds itself.
FAKE_PYTHON = """#!/bin/sh
case "$1 $2" in
    "-c "*print*) echo "VERSION" ;;
    "-c "*) exit 0 ;;
    "-m venv") rm -rf "$4"; mkdir -p "$4/bin"; cp "$0" "$4/bin/python"; echo "venv $PWD" >> "$LOG" ;;
    "-m pip") shift 2; echo "pip $*" >> "$LOG"; exit "${PIP_FAILS:-0}" ;;
    *) echo "run $*" >> "$LOG" ;;
esac
"""


class Clone:
    """A small clone whose interpreters only write down what is asked of them."""

    def __init__(self, folder, log):
        self.folder, self.log = folder, log

    def python(self, version):
        path = self.log.parent / f"python{version}"
        path.write_text(FAKE_PYTHON.replace("VERSION", version))
        path.chmod(0o755)
        return str(path)

    def make(self, *arguments, **environment):
        """Call make and return its result and what was asked of the interpreters, a line each."""
        self.log.write_text("")
        answer = subprocess.run(
            ["make", *arguments],
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "LOG": str(self.log), **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        return answer, self.log.read_text().splitlines()


@pytest.fixture
def clone(tmp_path):
    if shutil.which("make") is None:
        pytest.skip("needs make")
    folder = tmp_path / "a clone"
    shutil.copytree(ROOT / ".ci", folder / ".ci")
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    return Clone(folder, tmp_path / "log")


def install_line(constraints="-c constraints.txt "):
    return f"pip install {constraints}-e .[book,cluster,lint,test]"


# The environment --------------------------------------------------------------------------------


def test_the_environment_is_made_once(clone):
    python = clone.python("3.12")
    answer, log = clone.make("test", f"PYTHON={python}")
    assert answer.returncode == 0, answer.stderr
    assert log == [f"venv {clone.folder}", install_line(), "run -m pytest"]
    assert clone.make("test", f"PYTHON={python}")[1] == ["run -m pytest"]
    # Nobody has to name the interpreter again.
    assert clone.make("test")[1] == ["run -m pytest"]


@pytest.mark.parametrize("how", [shutil.copytree, shutil.move])
def test_a_copied_or_moved_clone_makes_its_own(clone, how):
    python = clone.python("3.12")
    clone.make("test", f"PYTHON={python}")
    other = Clone(clone.folder.with_name("other"), clone.log)
    how(clone.folder, other.folder)
    answer, log = other.make("test", f"PYTHON={python}")
    assert log == [f"venv {other.folder}", install_line(), "run -m pytest"]
    assert str(clone.folder) in answer.stderr, "says where the environment came from"


def test_another_python_makes_it_again(clone):
    clone.make("test", f"PYTHON={clone.python('3.12')}")
    _, log = clone.make("test", f"PYTHON={clone.python('3.13')}")
    assert log == [f"venv {clone.folder}", install_line(), "run -m pytest"]


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_what_is_to_be_installed_is_installed_again_when_it_changes(clone, name):
    python = clone.python("3.12")
    clone.make("test", f"PYTHON={python}")
    with (clone.folder / name).open("a") as file:
        file.write("# another line\n")
    assert clone.make("test", f"PYTHON={python}")[1] == [install_line(), "run -m pytest"]


def test_constraints_can_be_left_out(clone):
    python = clone.python("3.12")
    clone.make("test", f"PYTHON={python}")
    assert clone.make("test", f"PYTHON={python}", "CONSTRAINTS=")[1] == [install_line(""), "run -m pytest"]


def test_a_failed_installation_says_how_to_go_without_constraints_and_is_tried_again(clone):
    python = clone.python("3.12")
    answer, log = clone.make("book", f"PYTHON={python}", PIP_FAILS="1")
    assert answer.returncode != 0
    assert log == [f"venv {clone.folder}", install_line()], "nothing runs after it"
    assert "make CONSTRAINTS= book" in answer.stderr
    assert clone.make("book", f"PYTHON={python}")[1] == [install_line(), "run book/build.py"]


def test_an_interpreter_that_does_not_run_is_named(clone):
    answer, log = clone.make("test", "PYTHON=/nowhere/python")
    assert answer.returncode != 0 and log == []
    assert "PYTHON=/nowhere/python" in answer.stderr


def test_cleaning_says_what_it_leaves(clone):
    clone.make("test", f"PYTHON={clone.python('3.12')}")
    for name in ("_build", "_build.new", "_build.old"):
        (clone.folder / "book" / name).mkdir(parents=True)
    answer, _ = clone.make("clean")
    assert list((clone.folder / "book").iterdir()) == []
    assert re.search(r"Left: \.venv \(\S+\).*rm -rf \.venv", answer.stdout)
    assert (clone.folder / ".venv").exists()


def test_no_script_of_the_environment_is_called_because_each_names_the_folder_it_was_installed_in():
    texts = [(ROOT / name).read_text() for name in ("Makefile", ".ci/environment", ".ci/run")]
    called = re.findall(r"(?:\.venv(?:-floors)?|\$VENV)/bin/([\w-]+)", "\n".join(texts))
    assert called and set(called) == {"python"}


def test_ci_checks_style_before_tests_before_the_book():
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    assert [line for line in lines if line.startswith("make ")] == ["make lint", "make test", "make book"]
    lint = (ROOT / "Makefile").read_text().split("\nlint:")[1].split("\n\n")[0]
    assert [word for word in ("ruff check", "ruff format --check", "codespell") if word not in lint] == []


# The versions -----------------------------------------------------------------------------------


def floors_of(text):
    spec = importlib.util.spec_from_file_location("floors", ROOT / ".ci" / "floors.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.floors(text)


def test_every_requirement_has_a_lowest_version():
    lowest = {canonicalize_name(n): v for n, v in (line.split("==") for line in floors_of_project())}
    for requirement in REQUIREMENTS:
        if requirement.name != PROJECT["name"]:
            assert lowest[canonicalize_name(requirement.name)] in requirement.specifier, requirement


def floors_of_project():
    return floors_of((ROOT / "pyproject.toml").read_text())


def test_lowest_versions_are_read_or_missed_by_name():
    text = (
        '[project]\nname = "a"\ndependencies = ["x_y>=1.2.post1,<2", {}]\noptional-dependencies = {{t = []}}'
    )
    assert floors_of(text.format('"z[extra]>=3", "a[t]"')) == ["x_y==1.2.post1", "z==3"]
    with pytest.raises(ValueError, match="'z'"):
        floors_of(text.format('"z"'))


@pytest.mark.parametrize("name", ["torch", "transformers", "diffusers", "nilearn", "jupyter-book"])
def test_the_next_major_of_what_is_likely_to_break_is_shut_out(name):
    (requirement,) = [r for r in REQUIREMENTS if r.name == name]
    assert [s for s in requirement.specifier if s.operator == "<"]


def test_the_range_of_pythons_is_said_alike_everywhere():
    assert PROJECT["requires-python"] == ">=3.11,<3.14"
    found = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert tuple(found) == PYTHONS
    assert "(3, 11) <= sys.version_info[:2] <= (3, 13)" in (ROOT / ".ci" / "environment").read_text()
    assert '["3.11", "3.12", "3.13"]' in (ROOT / ".github" / "workflows" / "tests.yml").read_text()


def constraints(python, system):
    """Return the versions that constraints.txt pins for one Python and system, by name."""
    marks = {"python_version": python, "python_full_version": f"{python}.9", "os_name": "posix"}
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    here = [p for p in pins if p.marker is None or p.marker.evaluate({**marks, **SYSTEMS[system]})]
    assert len({p.name for p in here}) == len(here), "two versions of one package"
    return {canonicalize_name(p.name): str(p.specifier).removeprefix("==") for p in here}


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("python", PYTHONS)
def test_constraints_pin_what_the_project_asks_for_within_its_bounds(python, system):
    pinned = constraints(python, system)
    for requirement in (r for r in REQUIREMENTS if r.name != PROJECT["name"]):
        version = pinned[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version, prereleases=True), f"{requirement}: {version}"


def test_constraints_ask_a_mac_for_nothing_of_nvidia():
    for python in PYTHONS:
        assert not [n for n in constraints(python, "Mac") if n.startswith(("nvidia", "cuda", "triton"))]


# The threads ------------------------------------------------------------------------------------


def policy(before, **environment):
    """Return how threads wait in a process that imports these modules first, as their library says."""
    code = f"import {before}; import torch, os; print(os.environ.get('OMP_WAIT_POLICY'))"
    environment = {**os.environ, "OMP_DISPLAY_ENV": "VERBOSE", **environment}
    if "OMP_WAIT_POLICY" not in environment or environment["OMP_WAIT_POLICY"] == "":
        environment.pop("OMP_WAIT_POLICY", None)
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    spins = re.search(r"GOMP_SPINCOUNT = '(\w+)'", run.stderr)
    return run.stdout.strip(), spins and spins.group(1)


def test_waiting_threads_sleep_in_a_process_that_imports_the_package_before_torch():
    said, spins = policy("latentcortex", OMP_WAIT_POLICY="")
    assert said == "PASSIVE"
    if spins is None:
        pytest.skip("torch uses another library of threads here")
    assert spins == "0"


def test_a_policy_of_the_readers_own_wins():
    said, spins = policy("latentcortex", OMP_WAIT_POLICY="ACTIVE")
    assert said == "ACTIVE" and spins != "0"


def test_make_lets_waiting_threads_sleep_and_leaves_their_number_to_the_reader(clone):
    makefile = clone.folder / "Makefile"
    makefile.write_text(makefile.read_text() + "\nshow:\n\t@echo $$OMP_WAIT_POLICY $$OMP_NUM_THREADS.\n")
    assert clone.make("show")[0].stdout.strip() == "PASSIVE ."
    assert clone.make("show", OMP_WAIT_POLICY="ACTIVE", OMP_NUM_THREADS="1")[0].stdout.strip() == "ACTIVE 1."


# For strangers ----------------------------------------------------------------------------------

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_a_workflow_has_no_rights_by_default_and_runs_actions_of_known_commits(path):
    text = path.read_text()
    assert re.search(r"^permissions: \{\}$", text, flags=re.MULTILINE)
    used = re.findall(r"uses: (\S+)", text)
    assert used and all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action) for action in used)
    assert text.count("actions/checkout@") == text.count("persist-credentials: false")
    assert text.count("runs-on:") == text.count("timeout-minutes:")


def test_forms_ask_for_what_helps():
    text = (ROOT / ".github" / "ISSUE_TEMPLATE" / "machine.yml").read_text()
    assert "preset.report()" in text and "latentcortex results" in text
    for name in ("CODE_OF_CONDUCT.md", "SECURITY.md", "SUPPORT.md", ".github/pull_request_template.md"):
        assert (ROOT / name).exists()
