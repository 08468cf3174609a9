"""A reader's own method in the recovery benchmark: how it is loaded, run by the command and kept."""

import argparse
import re
import sys

import numpy as np
import pytest

from latentcortex import command
from latentcortex.studies import (
    recovery,
    recovery_methods,
    recovery_own,
    recovery_scores,
    recovery_table,
    recovery_worlds,
)
from latentcortex.studies.recovery import load_method, rehearse

SIZES = recovery_worlds.Sizes(n_train=90, n_test=30, n_vertices=15, n_sessions=2, n_trials=150)


def write(folder, text, name="mine.py"):
    path = folder / name
    path.write_text("import numpy as np\n\ndef method(train, test, rng):\n    " + text + "\n")
    return path


def test_methods_are_loaded_from_files_and_modules(tmp_path, monkeypatch):
    path = write(tmp_path, "return {'preference': np.zeros(train.betas.shape[1])}")
    assert load_method(f"{path}:method").__name__ == "method"
    monkeypatch.chdir(tmp_path)
    rehearse(load_method("mine:method"), "mine")
    loaded = load_method("latentcortex.studies.recovery_methods:difference_of_r")
    assert loaded is recovery_methods.difference_of_r
    for text, message in (
        ("mine", "Expected MODULE:FUNCTION"),
        ("mine:", "Expected MODULE:FUNCTION"),
        ("nothing:method", "No module named 'nothing'.*Run the command where"),
        ("nothing.py:method", "There is no file nothing.py"),
        ("mine:other", "has no function other. It has: method"),
        ("mine:np", "has no function np"),
    ):
        with pytest.raises(ValueError, match=message):
            load_method(text)
    (tmp_path / "broken.py").write_text("def method(:\n")
    (tmp_path / "failing.py").write_text("1 / 0\n")
    for name, message in (("broken", "SyntaxError"), ("failing", r"ZeroDivisionError.*failing.py, line 1")):
        with pytest.raises(RuntimeError, match=message):
            load_method(f"{name}:method")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import sys; sys.exit(3)", "could not be read: SystemExit: 3"),
        ("def (", "could not be read: SyntaxError"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(tmp_path, text, message):
    (tmp_path / "broken.py").write_text(text)
    with pytest.raises(RuntimeError, match=message):
        recovery.load_method(f"{tmp_path / 'broken.py'}:method")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("return {'preference': np.zeros(3)}", "must have the shape"),
        ("return {'share': np.full(train.betas.shape[1], np.nan)}", "NaN"),
        ("raise KeyError('g9')", r"KeyError: 'g9' \(mine.py, line 4\)"),
        ("return None", "must return a dict"),
    ],
)
def test_a_wrong_method_is_found_before_the_first_cell(tmp_path, monkeypatch, capsys, text, message):
    def never(*_):
        raise AssertionError("a cell was made before the method was tried")

    monkeypatch.setattr(recovery_own, "score_cell", never)
    assert command.main(["recover", f"{write(tmp_path, text)}:method"]) == 1
    assert re.search(message, capsys.readouterr().err)


def test_the_command_tabulates_a_method_of_a_reader_and_keeps_its_parts(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LATENTCORTEX_CACHE", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "72")  # of the terminal
    log = tmp_path / "log.txt"
    path = write(
        tmp_path,
        f"open({str(log)!r}, 'a').write('x')\n"
        "    first, last = [np.corrcoef(v.mean(1), train.betas.T)[0, 1:] for v in train.features.values()]\n"
        "    return {'preference': first - last}",
    )
    args = argparse.Namespace(
        method=f"{path}:method",
        worlds=["standard", "null"],
        seeds=[0],
        noise=[2.0],
        sets="spaces",
        fresh=False,
    )
    tables = recovery_table.run(args, SIZES)
    rows = tables[0]
    assert rows[0][:2] == ("method", "recovery") and rows[1][0] == "mine.py:method"
    assert "null" in rows[0] and rows[1][rows[0].index("null")] == "-"
    printed = capsys.readouterr().out
    assert "share of what the method reaches" in printed
    n_calls = len(log.read_text())
    assert recovery_table.run(args, SIZES) == tables
    assert len(log.read_text()) == n_calls + 1, "only the rehearsal asks again"
    args.fresh = True
    recovery_table.run(args, SIZES)
    assert len(log.read_text()) == 2 * n_calls + 1
    args.noise = [float("nan")]
    with pytest.raises(ValueError, match="--noise must be at least"):
        recovery_table.run(args, SIZES)


def asked_for(method, noise=2.0):
    return argparse.Namespace(
        method=method, worlds=["standard"], seeds=[0], noise=[noise], sets="spaces", fresh=False
    )


def test_a_method_of_a_reader_is_asked_again_of_more_images_and_over_projections(
    tmp_path, monkeypatch, capsys
):
    """At the noise of the reference: a map that follows its test images, with intervals that hold all."""
    monkeypatch.setenv("LATENTCORTEX_CACHE", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "72")  # of the terminal
    log = tmp_path / "log.txt"
    text = (
        "r = [np.corrcoef(v.mean(1), test.betas.T)[0, 1:] for v in test.features.values()]\n"
        f"    open({str(log)!r}, 'a').write(f'{{len(test.betas)}} {{len(train.betas)}}\\n')\n"
        "    map_ = r[0] - r[1]\n"
        "    return {'preference': map_, 'draws': map_ + 9 * rng.standard_normal((40, len(map_)))}"
    )
    asked = asked_for(f"{write(tmp_path, text)}:method", recovery_scores.REFERENCE_NOISE)
    table, regions, by_world = recovery_table.run(asked, SIZES)
    row = dict(zip(*table, strict=True))
    assert (row["covered"], row["at vertices"]) == ("1.00", "1.00")
    assert regions[0][1:] == recovery_scores.PLACES and regions[1][-1] == "0"
    agreement = float(by_world[1][1])
    assert by_world[0] == ("agreement over projections", "standard") and 0.3 < agreement <= 1
    assert by_world[2][0] == "semantic explained by low-level" and 0 < float(by_world[2][1]) < 1
    counts = [tuple(map(int, line.split())) for line in log.read_text().splitlines()]
    n_train = counts[1][1]
    more = (recovery_scores.MORE * SIZES.n_test, n_train)
    projected = [(SIZES.n_test, n_train)] * recovery_scores.N_REDUCTIONS
    # The rehearsal, the features given, more images of the same training, the planted variables.
    assert counts[1:] == [(SIZES.n_test, n_train), more, (SIZES.n_test, n_train), *projected]
    printed = capsys.readouterr().out
    assert "many more test" in " ".join(printed.split())
    assert max(map(len, printed.splitlines())) <= 72


FACTORY = """
from __future__ import annotations
import dataclasses
import numpy as np
from signs_of_mine import SIGNS

@dataclasses.dataclass
class Made:
    sign: float

    def __call__(self, train, test, rng):
        r = [np.corrcoef(v.mean(1), train.betas.T)[0, 1:] for v in train.features.values()]
        return {"preference": self.sign * (r[0] - r[1])}

plus, minus = (Made(sign) for sign in SIGNS)

def writes(train, test, rng):
    answer = plus(train, test, rng)
    rng.shuffle(train.betas)
    return answer
"""


def test_methods_of_one_file_do_not_share_their_scores(tmp_path, monkeypatch):
    """Two objects of one class, in a file that needs a module next to it and names of its own module."""
    monkeypatch.setenv("LATENTCORTEX_CACHE", str(tmp_path))
    monkeypatch.setattr("sys.path", sys.path[:])
    (tmp_path / "signs_of_mine.py").write_text("SIGNS = (1.0, -1.0)")
    (tmp_path / "several.py").write_text(FACTORY)
    rows = [
        recovery_table.run(asked_for(f"{tmp_path / 'several.py'}:{name}"), SIZES)[0][1]
        for name in ("plus", "minus")
    ]
    assert float(rows[0][1]) == -float(rows[1][1]) != 0
    # What a method writes into its betas does not reach the next question.
    writes = recovery_table.run(asked_for(f"{tmp_path / 'several.py'}:writes"), SIZES)[0][1]
    assert writes[1:-1] == rows[0][1:-1]
    # A change in the module next to it is noticed.
    (tmp_path / "signs_of_mine.py").write_text("SIGNS = (-1.0, 1.0)")
    del sys.modules["signs_of_mine"]
    changed = recovery_table.run(asked_for(f"{tmp_path / 'several.py'}:plus"), SIZES)[0][1]
    assert float(changed[1]) == -float(rows[0][1])


def test_scores_are_kept_by_the_code_of_this_package_too(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTCORTEX_CACHE", str(tmp_path))
    made = []

    def score(*_):
        made.append(1)
        return {"seconds": np.zeros((1, 2))}

    monkeypatch.setattr(recovery_own, "score_cell", score)
    own = recovery_methods.METHODS["difference_of_r"]
    study = argparse.Namespace(weights=lambda *_: "")
    asked = asked_for("")
    for code, n_made in (("a" * 64, 1), ("a" * 64, 1), ("b" * 64, 2)):
        monkeypatch.setattr(recovery_own.keys, "package_code", lambda code=code: code)
        recovery_own.collect(study, own, asked, SIZES)
        assert len(made) == n_made


def test_files_that_a_method_imports_are_followed_and_no_others(tmp_path):
    texts = {
        "mine.py": "import numpy, json\nimport near\n\ndef method():\n    from pack.deep import inner as i\n",
        "near.py": "from second import thing",
        "second.py": "import mine  # a circle",
        "pack/__init__.py": "",
        "pack/deep/__init__.py": "from . import sibling\nfrom ..upper import *",
        "pack/deep/inner.py": "import ceiling.of.a.folder.without.a.file",
        "pack/deep/sibling.py": "from .. import upper",
        "pack/upper.py": "",
        "pack/unread.py": "",
        "unread.py": "",
        "tests/near.py": "import unread",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    unread = {"pack/unread.py", "unread.py", "tests/near.py"}
    found = recovery_own.files_of(tmp_path / "mine.py", tmp_path)
    assert {path.relative_to(tmp_path).as_posix() for path in found} == set(texts) - unread
    # Of an installed package nothing outside it counts.
    (tmp_path / "pack/deep/inner.py").write_text("import near, pack.unread")
    found = recovery_own.files_of(tmp_path / "pack/deep/inner.py", tmp_path, "pack")
    assert [path.relative_to(tmp_path / "pack").as_posix() for path in found] == [
        "__init__.py",
        "deep/inner.py",
        "unread.py",
    ]


def test_scores_are_kept_by_the_code_of_the_files(tmp_path, monkeypatch):
    """Comments change nothing; code that is imported does, by file, by module and in an installed package."""
    folder = tmp_path / "package_of_mine"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "helper.py").write_text("K = 1")
    write(folder, "from .helper import K; return {'preference': np.full(train.betas.shape[1], K)}")
    monkeypatch.syspath_prepend(tmp_path)
    name = "package_of_mine.mine:method"
    for start in (tmp_path, folder):  # found by its path, or installed
        monkeypatch.chdir(start)
        method = load_method(name)
        rehearse(method, name)
        own = recovery_methods.Method(method, "spaces", name, "yours")
        (folder / "helper.py").write_text("K = 1")
        first = recovery_own._source(own)
        (folder / "helper.py").write_text("K = 1  # the same")
        assert recovery_own._source(own) == first
        (folder / "helper.py").write_text("K = 2")
        assert recovery_own._source(own) != first
    # A module that lies alone on the path, next to another one, and a package's own face.
    (tmp_path / "alone_of_mine.py").write_text("import next_to_mine\ndef method(): pass")
    (folder / "__init__.py").write_text("from package_of_mine.helper import K\ndef method(): pass")
    for module, other in (
        ("alone_of_mine", "next_to_mine.py"),
        ("package_of_mine", "package_of_mine/helper.py"),
    ):
        (tmp_path / other).write_text("K = 1")
        sys.modules.pop(module, None)
        own = recovery_methods.Method(load_method(f"{module}:method"), "spaces", f"{module}:method", "yours")
        first = recovery_own._source(own)
        (tmp_path / other).write_text("K = 2")
        assert recovery_own._source(own) != first
