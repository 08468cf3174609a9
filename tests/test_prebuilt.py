"""Fetching a world: whole or not at all, never slower than building, and no request that is not needed."""

# ruff: noqa: F811 (fixtures are imported under the names that tests ask for them by)

import functools
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
import zipfile

import pytest
from archive_server import SEED, SIZES, cache, contents, drawn, encrypt, fakes, leftovers, made, server  # noqa: F401
from loopback import serving

from latentcortex import command, nsd, prebuilt
from latentcortex.mini import build
from latentcortex.prebuilt import archives, fetching, publishing


def fetch(table):
    return prebuilt.fetch_world(seed=SEED, sizes=SIZES, table=table)


@pytest.mark.parametrize("world", build.cortex.WORLDS)
def test_the_names_are_those_that_the_builder_gives(cache, world):
    root = build.open_tree(world, SEED, sizes=SIZES)
    names = prebuilt.folder_names(world, SEED, SIZES)
    assert {p.name for p in cache.iterdir() if p.is_dir()} == set(names)
    assert root.name == names[0]


def test_the_shipped_table_is_in_order_and_belongs_to_this_code():
    table = prebuilt.read_table()
    names = {
        name for world in build.cortex.WORLDS for s in range(3) for name in prebuilt.folder_names(world, s)
    }
    assert set(table) <= names, "archives of another version: run `make world-archive`"
    assert all(entry["address"].startswith("https://") for entry in table.values())


def test_fetched_scenes_are_those_that_would_be_drawn_and_none_is_drawn(made, cache, server, drawn):
    there, scenes, table = made
    drawn.clear()
    assert fetch(table) == cache / scenes
    root = build.open_tree(seed=SEED, sizes=SIZES)
    assert server.requests == 1 and drawn == []
    assert contents(cache / scenes) == contents(there / scenes)
    assert nsd.betas(root, "subj01").shape == nsd.betas(there / root.name, "subj01").shape
    assert leftovers(cache) == []


def test_a_whole_world_is_taken_before_its_scenes(made, cache, server, tmp_path):
    there, scenes, table = made
    name, _ = prebuilt.folder_names(seed=SEED, sizes=SIZES)
    entry = prebuilt.pack(there / name, tmp_path / "world.zip")
    server.body = (tmp_path / "world.zip").read_bytes()
    table[name] = {**entry, "address": server.address, "build_seconds": 60}
    assert fetch(table) == cache / name and not (cache / scenes).exists()
    assert build.open_tree(seed=SEED, sizes=SIZES) == cache / name
    assert contents(cache / name) == contents(there / name)


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("absent", r"the server has no such file \(HTTP 404\)"),
        ("page", r"answers with a web page"),
        ("cut", r"ended early"),
        ("slow", r"it would take \d+ s, and building it takes about 60 s"),
        ("silent", r"it could not be read \(.*timed out"),
    ],
)
def test_what_a_server_does_wrong_is_said_in_one_line_and_the_world_is_built(
    made, cache, server, drawn, monkeypatch, capsys, behaviour, reason
):
    monkeypatch.setattr(fetching, "_FIRST_LOOK", 0.3)
    monkeypatch.setattr(fetching, "_SILENCE", 0.5)
    server.behaviour = behaviour
    start = time.monotonic()
    assert fetch(made[2]) is None
    assert time.monotonic() - start < 3
    (line,) = capsys.readouterr().out.splitlines()
    assert re.search(reason, line), line
    assert line.endswith("What is missing will be built.") and leftovers(cache) == []
    drawn.clear()
    assert build.open_tree(seed=SEED, sizes=SIZES).is_dir() and drawn


def test_a_slow_server_is_waited_for_where_building_is_slower_still(made, cache, server, monkeypatch):
    monkeypatch.setattr(fetching, "_FIRST_LOOK", 0)
    (entry,) = made[2].values()
    entry["build_seconds"] = 1e6
    server.behaviour, handler_sleep = "slow", time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: handler_sleep(seconds / 1e4))
    assert fetch(made[2]) == cache / made[1]


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("sha256", "0" * 64, "has not the sha256"),
        ("n_bytes", 10, "bytes by the server, but 10"),
        ("address", "http://127.0.0.1:9/x", "read"),
    ],
)
def test_what_is_not_what_the_table_says_is_not_used(made, cache, capsys, field, value, reason):
    (entry,) = made[2].values()
    entry[field] = value
    assert fetch(made[2]) is None
    assert reason in capsys.readouterr().out and leftovers(cache) == []


def test_no_room_on_the_disk_is_said_before_anything_is_asked_for(made, server, capsys):
    (entry,) = made[2].values()
    entry["unpacked_bytes"] = 10**18
    assert fetch(made[2]) is None
    assert "no room" in capsys.readouterr().out and server.requests == 0


def test_nothing_is_asked_for_when_it_is_there_or_unpublished_or_when_offline(
    made, cache, server, monkeypatch
):
    _, scenes, table = made
    assert fetch({}) is None and not cache.exists()
    monkeypatch.setenv("LATENTCORTEX_OFFLINE", "1")
    assert fetch(table) is None and server.requests == 0
    monkeypatch.setenv("LATENTCORTEX_OFFLINE", "0")
    assert fetch(table) == fetch(table) == cache / scenes and server.requests == 1
    root = build.open_tree(seed=SEED, sizes=SIZES)
    assert fetch({**table, root.name: next(iter(table.values()))}) == root and server.requests == 1


def test_a_build_that_was_ended_goes_on_after_a_fetch_that_failed(made, server, monkeypatch, drawn):
    draw, calls = build.scenes.render, []

    def break_off(scenes, **options):
        if calls:
            raise KeyboardInterrupt
        calls.append(len(scenes))
        return draw(scenes, **options)

    monkeypatch.setattr(build, "_BLOCK", 32)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(build.scenes, "render", break_off)
        build.open_tree(seed=SEED, sizes=SIZES)
    server.behaviour = "absent"
    assert fetch(made[2]) is None
    drawn.clear()
    build.open_tree(seed=SEED, sizes=SIZES)
    n_scenes = SIZES.n_shared + 2 * SIZES.n_own + SIZES.n_held_back
    assert sum(drawn) == n_scenes - calls[0]


FETCH = """
import json, sys
from latentcortex.prebuilt import fetch
print(fetch(sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]))
"""


def test_of_two_processes_one_fetches_and_the_other_waits(made, cache, server):
    _, scenes, table = made
    command_line = [sys.executable, "-c", FETCH, scenes, json.dumps(table[scenes]), str(cache)]
    both = [subprocess.Popen(command_line, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    printed = [process.communicate(timeout=120)[0].splitlines()[-1] for process in both]
    assert printed == [str(cache / scenes)] * 2 and server.requests == 1


@pytest.fixture
def ranges(made, server):
    """A server that sends parts of files, and the entry of the scenes there."""
    _, scenes, table = made
    with serving({"scenes.zip": server.body}) as other:
        yield other, scenes, {**table[scenes], "address": other.url("scenes.zip")}


def test_a_connection_that_breaks_goes_on_where_it_was(ranges, cache):
    server, scenes, entry = ranges
    server.piece = 2**10
    server.fault = lambda *_: "drop" if len(server.requests) < 3 else None
    assert prebuilt.fetch(scenes, entry, cache) == cache / scenes
    assert sum(request["sent"] for request in server.requests) == entry["n_bytes"]
    assert [request["fault"] for request in server.requests][:3] == ["drop"] * 3 and leftovers(cache) == []


def test_a_server_that_asks_to_wait_longer_than_building_takes_is_not_waited_for(ranges, cache):
    server, scenes, entry = ranges
    server.fault, server.retry_after = (lambda *_: 503), "100"
    with pytest.raises(prebuilt.TooSlowError, match="it would take 100 s, and building it takes about 60 s"):
        prebuilt.fetch(scenes, entry, cache)
    assert len(server.requests) == 1 and leftovers(cache) == []


@pytest.mark.skipif(os.name != "posix", reason="processes are forked")
def test_after_a_kill_the_next_fetch_goes_on_with_what_came(ranges, cache):
    server, scenes, entry = ranges

    def fetch_and_die():
        # On a busy machine all bytes may be there at the first read, and the note covers none of them yet.
        fetching.transfer.remote_bytes._PIECE = 2**10
        fetching.transfer.fetch = functools.partial(fetching.transfer.fetch, block=2**10)
        judged = fetching._Pace.__call__

        def killed(pace, done, *of):
            judged(pace, done, *of)
            if done > entry["n_bytes"] / 2:
                os.kill(os.getpid(), signal.SIGKILL)

        fetching._Pace.__call__ = killed
        prebuilt.fetch(scenes, entry, cache)

    process = multiprocessing.get_context("fork").Process(target=fetch_and_die)
    process.start()
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    assert prebuilt.fetch(scenes, entry, cache) == cache / scenes
    assert server.requests[-1]["start"] > 0 and leftovers(cache) == []


@pytest.mark.parametrize("member", ["../outside", "{name}/../../outside", "/outside", "other/file", "{name}"])
def test_an_archive_writes_nowhere_else(tmp_path, member):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("name/file", "good")
        archive.writestr(member.format(name="name"), "bad")
    into = tmp_path / "into" / "deep"
    into.mkdir(parents=True)
    with pytest.raises(prebuilt.NotUsableError, match="does not lie in name"):
        prebuilt.unpack(tmp_path / "a.zip", into, "name")
    assert list(into.iterdir()) == []


def test_a_damaged_archive_is_refused(tmp_path):
    (tmp_path / "name").mkdir()
    (tmp_path / "name" / "file").write_bytes(b"abc" * 1000)
    prebuilt.pack(tmp_path / "name", tmp_path / "a.zip", compressed=False)
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[1000] ^= 1
    for damaged in (content, content[:2000], b"<html>"):
        (tmp_path / "b.zip").write_bytes(damaged)
        with pytest.raises(prebuilt.NotUsableError, match="no whole zip file"):
            prebuilt.unpack(tmp_path / "b.zip", tmp_path / "into", "name")
    with pytest.raises(NotADirectoryError, match="Expected a folder"):
        prebuilt.pack(tmp_path / "absent", tmp_path / "c.zip")


def test_what_can_not_be_unpacked_is_a_reason_to_build_and_no_other_error(tmp_path):
    (tmp_path / "name").mkdir()
    (tmp_path / "name" / "file").write_bytes(b"abc")
    prebuilt.pack(tmp_path / "name", tmp_path / "a.zip")
    (tmp_path / "into").mkdir()
    (tmp_path / "into" / "name").touch()
    with pytest.raises(prebuilt.NotUsableError, match=r"could not be unpacked \(.*directory"):
        prebuilt.unpack(tmp_path / "a.zip", tmp_path / "into", "name")
    encrypt(tmp_path / "a.zip")
    with pytest.raises(prebuilt.NotUsableError, match=r"could not be unpacked \(.*encrypted"):
        prebuilt.unpack(tmp_path / "a.zip", tmp_path, "name")


def test_two_that_pack_at_once_have_files_of_their_own(tmp_path, monkeypatch):
    (tmp_path / "name").mkdir()
    (tmp_path / "name" / "file").write_bytes(b"abc" * 1000)
    copy, others = archives.shutil.copyfileobj, []

    def interrupted(*given):
        if not others:  # another process packs, while this one is in the middle
            others.append(None)
            others.append(prebuilt.pack(tmp_path / "name", tmp_path / "a.zip"))
        copy(*given)

    monkeypatch.setattr(archives.shutil, "copyfileobj", interrupted)
    entry = prebuilt.pack(tmp_path / "name", tmp_path / "a.zip")
    assert entry == others[1] and archives.sha256(tmp_path / "a.zip") == entry["sha256"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "name"]


def test_what_a_session_that_was_ended_left_of_an_archive_is_removed_after_a_day(tmp_path):
    (tmp_path / "name").mkdir()
    old, new = (tmp_path / f".a.zip.{when}.tmp" for when in ("old", "new"))
    old.touch(), new.touch()
    os.utime(old, (time.time() - 100_000,) * 2)
    prebuilt.pack(tmp_path / "name", tmp_path / "a.zip")
    assert new.exists() and not old.exists()


def test_equal_folders_give_equal_archives(tmp_path):
    entries = []
    for place in ("a", "b"):
        for name in ("y", "x") if place == "a" else ("x", "y"):
            path = tmp_path / place / "name" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
        entries.append(prebuilt.pack(tmp_path / place / "name", tmp_path / f"{place}.zip"))
    assert entries[0] == entries[1]
    assert entries[0]["sha256"] == archives.sha256(tmp_path / "b.zip") and entries[0]["unpacked_bytes"] == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "no JSON"), ('{"a": {"sha256": 1}}', "entry a has no valid address, sha256"), ("[]", "no valid")],
)
def test_a_table_that_is_none_is_refused_by_name(tmp_path, text, message):
    (tmp_path / "worlds.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        prebuilt.read_table(tmp_path / "worlds.json")


@pytest.mark.parametrize("whole", [False, True])
def test_what_is_published_can_be_fetched(cache, tmp_path, monkeypatch, whole):
    monkeypatch.setattr(publishing, "RELEASE", tmp_path.as_uri())
    archive = prebuilt.publish(tmp_path / "out", seed=SEED, sizes=SIZES, whole=whole)
    assert {p.name for p in (tmp_path / "out").iterdir()} == {archive.name, "worlds.json"}
    table = prebuilt.read_table(tmp_path / "out" / "worlds.json")
    (entry,) = table.values()
    assert entry["address"] == f"{tmp_path.as_uri()}/{archive.name}" and entry["build_seconds"] >= 0
    archive.rename(tmp_path / archive.name)
    entry["build_seconds"] = 60
    assert fetch(table) == cache / archive.stem
    publishing.write_entry(tmp_path / "out" / "worlds.json", "another", {})
    kept = json.loads((tmp_path / "out" / "worlds.json").read_text())
    assert set(kept) == {"another", archive.stem}, "other archives stay in the table"


def test_the_command_says_what_the_cache_holds(cache, capsys, monkeypatch):
    monkeypatch.setattr(fetching, "fetch_world", lambda world, seed: cache / f"{world}-{seed}")
    assert command.main(["fetch-world", "--seed", "2"]) == 0
    assert capsys.readouterr().out == f"In the cache: {cache / 'standard-2'}\n"
    monkeypatch.setattr(fetching, "fetch_world", lambda *_: None)
    assert command.main(["fetch-world"]) == 0
    assert "Nothing was fetched" in capsys.readouterr().out
