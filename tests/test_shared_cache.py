"""One cache serves a class: no reader tries to write, and links bring a world into another cache."""

import os
import stat
import subprocess
import sys

import numpy as np
import pytest
from test_build import SIZES, fakes  # noqa: F401 (a fixture)

from latentcortex import nsd, store
from latentcortex.mini import build
from latentcortex.studies import image_rows
from latentcortex.studies.kept import Shelf

SEED = 3
# Refuses what would write below a folder, as the file system does for those who have no right to: also for
# root, who has it always. Then reads a world and a kept result, while another process does the same.
READER = """
import os, sys
import numpy as np

shared = os.path.realpath(sys.argv[1])
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.chmod", "os.chown",
           "os.utime", "os.truncate", "shutil.rmtree", "shutil.move", "shutil.copyfile"}

def refuse(event, args):
    if event not in CHANGES and not (event == "open" and (args[2] or 0) & WRITING):
        return
    for path in args[:2]:
        if isinstance(path, (str, bytes, os.PathLike)) and os.path.realpath(path).startswith(shared):
            raise PermissionError(13, f"{event} would write", os.fspath(path))

sys.addaudithook(refuse)
from latentcortex import nsd
from latentcortex.mini import build
from latentcortex.studies.kept import Shelf

root = build.open_tree(seed=SEED, sizes=build.SIZES)
print(root, flush=True)
sys.stdin.readline()  # both processes are here before either reads
betas = nsd.betas(root, "subj02")
n = len(nsd.trials(root, "subj02"))
nsd.images(root, [0, 1]), nsd.captions(root, [0, 1]), nsd.ncsnr(root, "subj02"), nsd.roi(root, "streams")
kept = Shelf("toy", "0" * 64, {}).get(("a",), lambda: sys.exit("made again"))
print(len(betas) == n, float(kept["x"].sum()), flush=True)
try:
    open(os.path.join(sys.argv[1], "new"), "w")
except PermissionError:
    print("refused")
""".replace("SEED", str(SEED)).replace("build.SIZES", f"build.{SIZES!r}")


@pytest.fixture
def shared(fakes, tmp_path, monkeypatch):  # noqa: F811, ARG001
    """A cache with a small world and a kept result, which nobody may write to."""
    folder = tmp_path / "shared"
    monkeypatch.setenv("LATENTCORTEX_CACHE", str(folder))
    build.open_tree(seed=SEED, sizes=SIZES)
    Shelf("toy", "0" * 64, {}).get(("a",), lambda: {"x": np.arange(4.0)})
    everything = [folder, *folder.rglob("*")]
    for path in everything:
        path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    yield folder
    for path in everything:
        path.chmod(path.stat().st_mode | stat.S_IWUSR)


def contents(folder):
    """Return what a change would change: names, sizes, times."""
    return {p: (p.stat().st_size, p.stat().st_mtime_ns) for p in sorted(folder.rglob("*"))}


def test_two_processes_read_a_read_only_cache_and_neither_tries_to_write(shared):
    before = contents(shared)
    readers = [
        subprocess.Popen(
            [sys.executable, "-c", READER, shared],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for reader in readers:
        assert str(shared) in reader.stdout.readline()
    for reader in readers:
        out, errors = reader.communicate("go\n", timeout=120)
        assert (out.split(), reader.returncode) == (["True", "6.0", "refused"], 0), errors
    assert contents(shared) == before


def test_what_is_missing_in_a_read_only_cache_says_which_variable_to_set(shared, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, _: not str(path).startswith(str(shared)))
    shelf = Shelf("toy", "0" * 64, {})
    with pytest.raises(OSError, match="set the environment variable LATENTCORTEX_CACHE"):
        shelf.get(("not kept",), dict)
    with pytest.raises(OSError, match="set the environment variable LATENTCORTEX_CACHE"):
        image_rows.read_rows(shelf, dict, np.arange(2), ["x"], 2)


def test_links_bring_the_world_of_a_class_into_a_cache_of_ones_own(shared, tmp_path, monkeypatch):
    own = tmp_path / "own"
    own.mkdir()
    for world in shared.glob("mini-*"):
        if world.is_dir():
            (own / world.name).symlink_to(world)
    monkeypatch.setenv("LATENTCORTEX_CACHE", str(own))
    before = contents(shared)
    root = build.open_tree(seed=SEED, sizes=SIZES)
    assert root.is_relative_to(own) and root.resolve().is_relative_to(shared)
    assert len(nsd.betas(root, "subj02")) == len(nsd.trials(root, "subj02"))
    # What a chapter keeps lies in the cache of one's own.
    shelf = Shelf("toy", "0" * 64, {})
    ids, rows = image_rows.read_rows(shelf, lambda ids: {"x": 2.0 * ids}, np.arange(3), ["x"], 2)
    assert sorted(zip(ids, rows["x"], strict=True)) == [(0, 0.0), (1, 2.0), (2, 4.0)]
    assert shelf.folder.is_relative_to(own) and list(shelf.folder.glob("*.safetensors"))
    # Tidying up one's own cache removes the links, not what they lead to.
    assert any(path.is_symlink() for path in own.glob("mini-*-seed*[0-9a-f]"))
    store.remove_cached(store.cache_contents())
    assert not list(own.glob("mini-*-seed*[0-9a-f]")) and contents(shared) == before
