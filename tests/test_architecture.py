"""The rooms of the package and the doors between them, read from the source without running it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "latentcortex"

# room: the sibling rooms it may import from. A new module gets its line here.
DOORS = {
    "__init__": set(),
    "presets": {"mini", "nsd", "store"},
    "store": set(),
    "nsd": {"store"},
    "open_data": {"nsd", "store"},
    "features": {"store"},
    "ridge": set(),
    "decoders": {"ridge"},
    "shared_space": {"decoders", "store"},
    "sampler": {"features", "store"},
    "metrics": set(),
    "encoding": {"ridge", "metrics"},
    "plotting": set(),
    "mini": {"nsd", "store"},
    "prebuilt": {"mini", "presets", "store"},
    "command": {"nsd", "open_data", "prebuilt", "presets", "scorecard", "store", "studies", "teaching"},
    "studies": {
        *("presets", "store", "nsd", "features", "decoders", "shared_space", "sampler", "metrics"),
        *("encoding", "mini", "open_data", "ridge"),
    },
    "scorecard": {"metrics", "nsd", "store", "mini"},
    "teaching": set(),
}

FILES = sorted(PACKAGE.rglob("*.py"))
ALL_CODE = [
    path
    for folder in ("src", "tests", "data_scripts", "benchmarks")
    for path in sorted((ROOT / folder).rglob("*.py"))
]


def relative(path):
    return path.relative_to(ROOT).as_posix()


def room_of(path):
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imported_modules(tree, package):
    """Yield (node, dotted name) of every import, relative ones made absolute.

    ``from a import b`` gives both ``a`` and ``a.b``, since b may be a module.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name
        elif isinstance(node, ast.ImportFrom):
            parents = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*parents, *([node.module] if node.module else [])])
            yield node, base
            for alias in node.names:
                yield node, f"{base}.{alias.name}"


def siblings(tree, package):
    """Yield (node, room) of every import of a room of the package."""
    for node, name in imported_modules(tree, package):
        parts = name.split(".")
        if parts[0] == "latentcortex" and len(parts) > 1 and parts[1] in DOORS:
            yield node, parts[1]


def package_of(path):
    return ("latentcortex", *path.relative_to(PACKAGE).parts[:-1])


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_imports_keep_to_the_doors(path):
    room = room_of(path)
    assert room in DOORS, f"{relative(path)} is a new room: give it a line in DOORS."
    used = {name for _, name in siblings(ast.parse(path.read_text()), package_of(path))} - {room}
    assert used <= DOORS[room], f"{room} may import {DOORS[room] or 'nothing'}, imports {used}."


@pytest.mark.parametrize("name", ["presets/preset.py", "scorecard/score.py"])
def test_the_miniature_world_is_opened_only_when_asked(name):
    path = PACKAGE / name
    tree = ast.parse(path.read_text())
    at_the_top = [name for node, name in siblings(tree, package_of(path)) if node in tree.body]
    assert "mini" not in at_the_top


@pytest.mark.parametrize(
    ("source", "package", "rooms"),
    [
        ("from latentcortex import ridge", ("latentcortex",), {"ridge"}),
        ("import latentcortex.ridge as r", ("latentcortex",), {"ridge"}),
        ("from .ridge import Ridge", ("latentcortex",), {"ridge"}),
        ("from . import ridge", ("latentcortex",), {"ridge"}),
        ("from .. import ridge", ("latentcortex", "mini"), {"ridge"}),
        ("from ..store import save", ("latentcortex", "mini"), {"store"}),
        ("def f():\n    from latentcortex.mini import build", ("latentcortex",), {"mini"}),
        ("from latentcortex import __version__", ("latentcortex",), set()),
        ("from sklearn import metrics", ("latentcortex",), set()),
    ],
)
def test_the_reader_of_imports_sees_every_way_to_write_one(source, package, rooms):
    assert {name for _, name in siblings(ast.parse(source), package)} == rooms


@pytest.mark.parametrize("path", ALL_CODE, ids=relative)
def test_no_file_is_longer_than_350_lines(path):
    n_lines = len(path.read_text().splitlines())
    assert n_lines <= 350, f"{relative(path)} has {n_lines} lines: split it by subject."


ABOVE_THE_ROOMS = [
    path
    for path in ALL_CODE
    if relative(path).startswith(("data_scripts/", "src/latentcortex/s"))
    and ("data_scripts" in path.parts or room_of(path) in {"studies", "scorecard"})
]


@pytest.mark.parametrize("path", ABOVE_THE_ROOMS, ids=relative)
def test_functions_above_the_rooms_are_short_and_ask_for_little(path):
    text = path.read_text()
    lines = text.splitlines()
    for node in (n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef)):
        arguments = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
        names = [a.arg for a in arguments if a.arg not in {"self", "cls"}]
        assert len(names) <= 8, f"{node.name} takes {len(names)} arguments"
        body = node.body[ast.get_docstring(node) is not None :]
        code = [] if not body else lines[body[0].lineno - 1 : node.end_lineno]
        n_lines = sum(bool(line.strip()) and not line.strip().startswith("#") for line in code)
        assert n_lines <= 60, f"{node.name} has {n_lines} lines of code"


@pytest.mark.parametrize("path", sorted((ROOT / "data_scripts").glob("*.py")), ids=relative)
def test_scripts_import_the_package_and_no_script(path):
    stems = {other.stem for other in (ROOT / "data_scripts").rglob("*.py")} | {"data_scripts"}
    names = {name.split(".")[0] for _, name in imported_modules(ast.parse(path.read_text()), ())}
    assert not names & stems


@pytest.mark.parametrize("path", ALL_CODE, ids=relative)
def test_modules_are_imported_by_name_and_rows_found_by_one_function(path):
    text = path.read_text()
    allowed = {"tests/test_architecture.py"}
    if relative(path) in allowed:
        return
    for call in (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)):
        name = ast.unparse(call.func)
        assert name not in {"importlib.import_module", "import_module", "sys.path.insert"}, call.lineno
        if relative(path) != "src/latentcortex/store/rows.py":
            assert name != "np.searchsorted", f"line {call.lineno}: store.rows_of refuses an unknown id"


def test_there_is_no_drawer_for_odds_and_ends():
    assert not [relative(path) for path in ALL_CODE if path.stem in {"utils", "util", "helpers"}]


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_nothing_is_unpickled_and_no_remote_code_is_trusted(path):
    tree = ast.parse(path.read_text())
    names = {name.split(".")[0] for _, name in imported_modules(tree, package_of(path))}
    assert not names & {"pickle", "cloudpickle", "dill", "joblib"}
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        assert ast.unparse(call.func) != "torch.load", f"line {call.lineno}: weights are safetensors"
        for keyword in call.keywords:
            trusting = keyword.arg in {"allow_pickle", "trust_remote_code"}
            assert not (trusting and ast.unparse(keyword.value) == "True"), f"line {call.lineno}"


@pytest.mark.parametrize("path", [p for p in FILES if room_of(p) != "ridge"], ids=relative)
def test_only_the_ridge_speaks_of_x_and_y(path):
    functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    for node in (n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, functions)):
        arguments = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
        wrong = {a.arg for a in arguments} & {"X", "Y", "n_targets"}
        assert not wrong, f"line {node.lineno}: {wrong}; use the field's words outside ridge/"


def test_the_package_itself_is_light():
    code = "import sys, latentcortex; print(*sorted(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = set(answer.stdout.split())
    assert not {"torch", "diffusers", "transformers", "nilearn", "matplotlib"} & modules
