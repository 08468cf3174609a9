"""The cache is where the environment says, its contents are listed, and nothing is left in it for ever."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from filelock import FileLock

from latentcortex import store
from latentcortex.store import writing

posix = pytest.mark.skipif(os.name != "posix", reason="processes are POSIX's")
# Writes half a file, says so, and waits to be killed.
WRITER = """
import sys, time
from pathlib import Path
from latentcortex import store
with store.replacing(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def writer():
    """Start processes that write a file and don't finish."""
    processes = []

    def start(path):
        process = subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


# --- where it is ----------------------------------------------------------------------------------


def test_the_environment_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("SCRATCH", "$HOME/scratch")
    for text, expected in (
        ("~/lc", tmp_path / "lc"),
        ("$HOME/lc", tmp_path / "lc"),
        ("${SCRATCH}/lc", tmp_path / "scratch/lc"),
    ):
        monkeypatch.setenv("LATENTCORTEX_CACHE", text)
        assert store.cache_folder() == expected
    for empty in ("", " "):
        monkeypatch.setenv("LATENTCORTEX_CACHE", empty)
        assert store.cache_folder().name == "latentcortex"


def test_a_cache_that_can_not_be_is_explained(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTCORTEX_CACHE", "$NOT_SET_HERE/lc")
    with pytest.raises(
        ValueError, match=r"LATENTCORTEX_CACHE is '\$NOT_SET_HERE/lc', but \$NOT_SET_HERE is not"
    ):
        store.cache_folder()
    monkeypatch.setenv("LATENTCORTEX_CACHE", "~nobody_of_this_name/lc")
    with pytest.raises(ValueError, match="LATENTCORTEX_CACHE.*Write the whole path"):
        store.cache_folder()
    (tmp_path / "file").touch()
    monkeypatch.setenv("LATENTCORTEX_CACHE", str(tmp_path / "file"))
    with pytest.raises(NotADirectoryError, match="which is a file. Set it to a folder"):
        store.cache_folder()
    message = r"Can't write into .*file/a: .*file is a file, not a folder.*LATENTCORTEX_CACHE"
    with pytest.raises(OSError, match=message):
        store.save(tmp_path / "file/a/b.npz", provenance={}, z=np.zeros(1))


def test_a_folder_that_can_only_be_read_is_explained(tmp_path, monkeypatch):
    monkeypatch.setattr(writing.os, "access", lambda path, _mode: Path(path) != tmp_path)
    with pytest.raises(PermissionError, match=r"Can't write into .*Choose a folder that you may write to"):
        store.save(tmp_path / "b.npz", provenance={}, z=np.zeros(1))
    assert not list(tmp_path.iterdir())


def test_a_disk_without_room_is_refused_with_both_sizes(tmp_path, monkeypatch):
    monkeypatch.setattr(writing.shutil, "disk_usage", lambda _: SimpleNamespace(free=1500))
    with pytest.raises(OSError, match=r"b\.npz needs 8\.0 kB, but 1\.5 kB are free"):
        store.save(tmp_path / "b.npz", provenance={}, z=np.zeros(1000))
    store.save(tmp_path / "b.npz", provenance={}, z=np.zeros(100))
    with pytest.raises(OSError, match="The world needs 1.7 GB, but 1.5 kB are free"):
        store.check_space(tmp_path / "not/there", 1.7e9, "The world")
    with pytest.raises(OSError, match=r"It needs nan bytes.*Ask for less\.$"):
        store.check_space(tmp_path, float("nan"), "It", "Ask for less.")


@pytest.mark.parametrize(
    ("n_bytes", "text"), [(0, "0 bytes"), (999, "999 bytes"), (61_460_000, "61.5 MB"), (1e9, "1.0 GB")]
)
def test_bytes_are_told_in_words(n_bytes, text):
    assert store.in_words(n_bytes) == text


# --- what writers leave ---------------------------------------------------------------------------


@posix
def test_what_a_killed_writer_leaves_goes_with_the_next_write(tmp_path, writer):
    killed, alive = writer(tmp_path / "killed.txt"), writer(tmp_path / "alive.txt")
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert len(list(tmp_path.glob(".*.tmp"))) == 2
    store.save(tmp_path / "next.npz", provenance={}, z=np.zeros(1))
    left = [path.name for path in tmp_path.glob(".*.tmp")]
    assert len(left) == 1 and left[0].startswith(".alive.txt.")
    assert alive.poll() is None


def test_writers_of_other_machines_are_left_alone_for_a_day(tmp_path):
    theirs = [tmp_path / f".a.npz.0123abcd-{k}-x_{k}.tmp" for k in (1, 2)]
    others = [tmp_path / ".a.txt.tmp", tmp_path / "a.tmp", tmp_path / ".vimrc.swp"]
    for path in (*theirs, *others):
        path.write_text("half")
    day = 24 * 60 * 60
    for path, age in (
        (theirs[0], day + 60),
        (theirs[1], day - 60),
        (others[0], 9 * day),
        (others[1], 9 * day),
    ):
        os.utime(path, (time.time() - age,) * 2)
    store.save(tmp_path / "a.npz", provenance={}, z=np.zeros(1))
    assert not theirs[0].exists()
    assert theirs[1].exists() and all(path.exists() for path in others)


def test_the_content_is_on_the_disk_before_the_name(tmp_path, monkeypatch):
    events, path = [], tmp_path / "a.txt"
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(writing.os, "fsync", lambda handle: events.append("fsync") or fsync(handle))
    monkeypatch.setattr(Path, "replace", lambda *args: events.append("rename") or replace(*args))
    with store.replacing(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists()
    assert events == ["fsync", "rename"] and path.read_text() == "whole"


# --- what lies there ------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path):
    """A cache with something of each kind; a world shares a file of 1,000 bytes with the common part."""
    world, common = (tmp_path / f"mini-{name}-seed0-0123456789ab" for name in ("standard", "common"))
    for folder in (world, common):
        folder.mkdir()
        folder.with_name(f"{folder.name}.lock").touch()
    (common / "pictures").write_bytes(bytes(1000))
    os.link(common / "pictures", world / "pictures")
    (world / "betas").write_bytes(bytes(500))
    (tmp_path / "mini-null-seed0-0123456789ab.partial/tree").mkdir(parents=True)
    (tmp_path / "mini-null-seed0-0123456789ab.partial/tree/a").write_bytes(bytes(70))
    parts = tmp_path / "kept/drawings/6e4fc96db722"
    parts.mkdir(parents=True)
    (parts / "a.npz").write_bytes(bytes(20))
    (parts / ".b.npz.0123abcd-1-xyz.tmp").write_bytes(bytes(3))
    (tmp_path / "guided/product.npz").parent.mkdir()
    (tmp_path / "guided/product.npz").write_bytes(bytes(11))
    (tmp_path / "holiday/2026").mkdir(parents=True)
    (tmp_path / "holiday/2026/beach.jpg").write_bytes(bytes(7))
    return tmp_path


def test_contents_are_listed_with_kind_and_size(cache):
    entries = {entry.name: entry for entry in store.cache_contents(cache)}
    assert {name: (entry.kind, entry.n_bytes) for name, entry in entries.items()} == {
        "mini-common-seed0-0123456789ab": ("world", 1000),
        "mini-standard-seed0-0123456789ab": ("world", 500),
        "mini-null-seed0-0123456789ab.partial": ("temporary", 70),
        "kept/drawings/6e4fc96db722": ("kept parts", 20),
        "kept/drawings/6e4fc96db722/.b.npz.0123abcd-1-xyz.tmp": ("temporary", 3),
        "guided/product.npz": ("products", 11),
        "holiday": ("unknown", 7),
    }
    assert store.cache_contents(cache / "none") == []


def test_last_used_is_when_a_file_was_last_read_or_written(cache):
    for path in cache.rglob("*"):
        os.utime(path, (1e9, 1e9))
    os.utime(cache / "guided/product.npz", (1.5e9, 1e9))
    used = {entry.name: entry.last_used.timestamp() for entry in store.cache_contents(cache)}
    assert used.pop("guided/product.npz") == 1.5e9
    assert set(used.values()) == {1e9}


def test_what_is_asked_is_removed_and_nothing_else(cache):
    (left_over,) = cache.rglob(".*.tmp")
    os.utime(left_over, (1e9, 1e9))
    before = store.cache_contents(cache)
    chosen = [entry for entry in before if entry.kind in ("world", "kept parts")]
    assert store.remove_cached(chosen) == 1520
    left = {entry.name for entry in store.cache_contents(cache)}
    kept = {entry.name for entry in before} - {entry.name for entry in chosen}
    assert left == {name for name in kept if not name.startswith("kept/")}
    assert store.remove_cached(chosen) == 0
    with pytest.raises(ValueError, match=r"Expected entries from cache_contents\(\)"):
        store.remove_cached([cache / "holiday"])
    assert (cache / "holiday/2026/beach.jpg").exists()


def test_what_is_at_work_is_not_removed(cache):
    entries = {entry.name: entry for entry in store.cache_contents(cache)}
    name = "mini-null-seed0-0123456789ab.partial"
    with (
        FileLock(cache / name.replace(".partial", ".lock")),
        pytest.raises(RuntimeError, match="being built by another process"),
    ):
        store.remove_cached(entries[name])
    assert store.remove_cached(entries[name]) == 70
    with pytest.raises(RuntimeError, match="being written by a process that is at work"):
        store.remove_cached(entries["kept/drawings/6e4fc96db722"])


def test_an_error_of_the_disk_stays_one(tmp_path):
    path = store.save(tmp_path / "a.npz", provenance={}, z=np.zeros(1))
    with pytest.raises(OSError, match="broken"), store.naming_damage(path):
        raise OSError(errno.EIO, "broken")
