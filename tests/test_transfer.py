"""Files come whole or not at all, over interruptions of every kind; nothing is fetched twice for nothing."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from loopback import serving

from latentcortex.store import remote_bytes, transfer
from latentcortex.store.partial import Partial
from latentcortex.store.transfer import Remote

BLOCK = 2**14
QUICK = {"block": BLOCK, "pause": 0.002, "timeout": 2.0, "quiet": True}


@pytest.fixture
def server():
    names = {"a.bin": 300_000, "b/b.bin": 123_457, "b/empty.bin": 0, "c.bin": 40}
    with serving({name: random.Random(name).randbytes(size) for name, size in names.items()}) as server:
        yield server


def remotes_of(server):
    whole = [Remote(server.url(path), path) for path in server.files]
    a = server.files["a.bin"]
    spans = tuple((start, 1_000) for start in range(17, len(a) - 1_000, 3_000))
    return [*whole, Remote(server.url("a.bin"), "cut.bin", ranges=spans, header=b"H" * 1_500)]


def expected(server, remote):
    content = server.files[remote.url.split("/", 3)[3]]
    if remote.ranges is None:
        return content
    parts = b"".join(content[start : start + length] for start, length in remote.ranges)
    return remote.header + parts[len(remote.header) :]


def states(outcomes):
    return [outcome.state for outcome in outcomes]


def check_whole(server, remotes, folder):
    for remote in remotes:
        assert (folder / remote.path).read_bytes() == expected(server, remote)
    entries = json.loads((folder / transfer.MANIFEST).read_text())["files"]
    assert set(entries) == {remote.path for remote in remotes}
    for path, entry in entries.items():
        assert entry["sha256"] == hashlib.sha256((folder / path).read_bytes()).hexdigest()
        assert {"url", "etag", "n_bytes", "date"} <= set(entry)
    names = {path.name for path in folder.rglob("*") if path.is_file()}
    assert not [name for name in names if ".part" in name or name.endswith(".tmp")]


def test_files_and_parts_come_in_one_request_each_over_few_connections(server, tmp_path):
    remotes = remotes_of(server)
    assert states(transfer.fetch(remotes, tmp_path, connections=2, **QUICK)) == ["fetched"] * 5
    check_whole(server, remotes, tmp_path)
    assert len(server.requests) == 4 + len(remotes[-1].ranges) - 1  # the header takes the first one's place
    assert server.connections <= 3  # kept alive; an answer that is not read to its end would cost one each


def test_a_second_download_asks_the_server_nothing_and_mends_what_was_damaged(server, tmp_path):
    remotes = remotes_of(server)
    assert transfer.what_is_missing(remotes, tmp_path) == remotes
    transfer.fetch(remotes, tmp_path, **QUICK)
    assert transfer.what_is_missing(remotes, tmp_path) == []
    server.requests.clear()
    assert states(transfer.fetch(remotes, tmp_path, **QUICK)) == ["there already"] * 5
    assert not server.requests
    for name, change in (("b/b.bin", lambda c: c[:-1] + bytes([c[-1] ^ 1])), ("c.bin", lambda c: c[:-1])):
        path = tmp_path / name
        path.write_bytes(change(path.read_bytes()))
    outcomes = transfer.fetch(remotes, tmp_path, **QUICK)
    assert {o.remote.path for o in outcomes if o.state == "fetched"} == {"b/b.bin", "c.bin"}
    check_whole(server, remotes, tmp_path)


def test_a_whole_file_serves_for_its_parts_and_takes_their_place(server, tmp_path):
    cut = Remote(server.url("a.bin"), "a.bin", ranges=((10, 20), (40, 5)))
    whole = cut.whole
    transfer.fetch([cut], tmp_path, **QUICK)
    assert (tmp_path / "a.bin").read_bytes() == expected(server, cut)
    assert states(transfer.fetch([whole], tmp_path, **QUICK)) == ["fetched"]
    assert states(transfer.fetch([cut], tmp_path, **QUICK)) == ["there already"]
    assert (tmp_path / "a.bin").read_bytes() == server.files["a.bin"]


def test_files_of_another_program_are_taken_when_whole_and_left_alone_when_not(server, tmp_path):
    for path, content in server.files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(content)
    (tmp_path / "c.bin").write_bytes(b"mine")
    *others, last = transfer.fetch([Remote(server.url(p), p) for p in server.files], tmp_path, **QUICK)
    assert states(others) == ["there already"] * 3
    assert last.state == "failed"
    assert "4 bytes" in last.text
    assert "move it away" in last.text
    assert (tmp_path / "c.bin").read_bytes() == b"mine"


def test_two_hundred_random_interruptions(tmp_path, monkeypatch):
    draw, left = random.Random(3), [200]
    files = {f"{k}.bin": draw.randbytes(draw.randrange(200_000, 500_000)) for k in range(6)}

    def fault(_path, headers):
        if not left[0] or draw.random() < 0.1:
            return None
        left[0] -= 1
        of_parts = ["long", "short", "other total"] if "Range" in headers else []
        return draw.choice(["drop", "drop", "reset", 503, 429, *of_parts])

    taken, add = dict.fromkeys([*files, "cut.bin"], 0), Partial.add

    def counting(self, piece):
        taken[self.path.name[1:-5]] += len(piece)
        add(self, piece)

    monkeypatch.setattr(Partial, "add", counting)

    with serving(files) as server:
        server.fault = fault
        remotes = [Remote(server.url(path), path) for path in files]
        spans = tuple((start, 2_000) for start in range(0, 200_000, 4_000))
        remotes.append(Remote(server.url("0.bin"), "cut.bin", ranges=spans))
        for _ in range(20):  # an interrupted run may give up, never wrongly say that a file is whole
            outcomes = transfer.fetch(remotes, tmp_path, connections=4, tries=20, **QUICK)
            for outcome in outcomes:
                if outcome.state == "fetched":
                    path = tmp_path / outcome.remote.path
                    assert path.read_bytes() == expected(server, outcome.remote)
                else:
                    assert outcome.state == "there already" or "Run the command again" in outcome.text
            if left == [0] and "failed" not in states(outcomes):
                break
        assert left == [0]
        check_whole(server, remotes, tmp_path)
        # No byte was taken twice, over all interruptions.
        assert taken == {remote.path: len(expected(server, remote)) for remote in remotes}
        assert len(server.requests) > 200


_CHILD = """
import os, sys
from latentcortex.store import transfer
url = sys.argv[1]
files = [transfer.Remote(url + f"{k}.bin", f"{k}.bin") for k in range(3)]
for line in sys.stdin:
    pid = os.fork()
    if not pid:
        transfer.fetch(files, sys.argv[2], connections=3, block=16384, quiet=True)
        os._exit(0)
    print(pid, flush=True)
    print(os.waitpid(pid, 0)[1], flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows can't fork")
def test_twenty_kills(tmp_path):
    draw = random.Random(4)
    files = {f"{k}.bin": draw.randbytes(600_000) for k in range(3)}
    with serving(files) as server:
        server.piece, server.delay = 4096, 0.002  # so slow that nothing waits in the network's buffers
        arguments = [sys.executable, "-c", _CHILD, server.url(""), str(tmp_path)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(arguments, text=True, bufsize=1, **pipes) as child:
            kills = 0
            for _ in range(60):
                child.stdin.write("go\n")
                pid = int(child.stdout.readline())
                before, end = len(server.requests), time.monotonic() + 5
                while len(server.requests) == before and time.monotonic() < end and kills < 20:
                    time.sleep(0.002)
                time.sleep(draw.uniform(0, 0.03))
                if kills < 20:
                    os.kill(pid, signal.SIGKILL)
                    kills += 1
                finished = child.stdout.readline() == "0\n"
                for path, content in files.items():  # nothing half has its name
                    assert not (tmp_path / path).exists() or (tmp_path / path).read_bytes() == content
                if finished:
                    break
            child.stdin.close()
        assert finished
        assert kills == 20
        remotes = [Remote(server.url(path), path) for path in files]
        server.requests.clear()
        assert states(transfer.fetch(remotes, tmp_path, **QUICK)) == ["there already"] * 3
        assert not server.requests
        check_whole(server, remotes, tmp_path)


def test_after_a_kill_at_most_a_block_is_fetched_again(tmp_path):
    """The same process, with bytes on disk that no note speaks of, as a kill leaves them."""
    content = random.Random(0).randbytes(10 * BLOCK)
    with serving({"a.bin": content}) as server:
        remote = Remote(server.url("a.bin"), "a.bin")
        server.fault = lambda *_: "drop" if not server.requests else 403
        transfer.fetch([remote], tmp_path, **QUICK)
        part, note = tmp_path / ".a.bin.part", tmp_path / ".a.bin.part.json"
        noted = json.loads(note.read_text())["done"]
        assert noted == part.stat().st_size == server.requests[0]["sent"]
        with part.open("ab") as file:
            file.write(b"no bytes of this file")
        server.fault = lambda *_: None
        transfer.fetch([remote], tmp_path, **QUICK)
        assert (tmp_path / "a.bin").read_bytes() == content
        assert server.requests[-1]["start"] == noted


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "parts"])
def test_a_file_that_changes_between_two_halves_comes_from_one_version(tmp_path, whole):
    old, new = (random.Random(k).randbytes(200_000) for k in (1, 2))
    with serving({"a.bin": old}) as server:

        def fault(*_):
            if len(server.requests) == 1:
                server.files["a.bin"] = new
            return "drop" if not server.requests else None

        server.fault = fault
        ranges = None if whole else ((0, 50_000), (100_000, 50_000))
        remote = Remote(server.url("a.bin"), "a.bin", ranges=ranges)
        assert states(transfer.fetch([remote], tmp_path, **QUICK)) == ["fetched"]
        assert (tmp_path / "a.bin").read_bytes() == expected(server, remote)


def test_a_file_that_changes_all_the_time_is_an_error(server, tmp_path):
    def fault(*_):
        server.etags["a.bin"] = f'"{len(server.requests)}"'
        return "drop"

    server.fault = fault
    (outcome,) = transfer.fetch([Remote(server.url("a.bin"), "a.bin")], tmp_path, **QUICK)
    assert outcome.state == "failed"
    assert "it changed 3 times" in outcome.text
    assert not (tmp_path / "a.bin").exists()


def test_a_server_without_ranges_serves_whole_files_and_refuses_parts(server, tmp_path):
    server.ranges = False
    faults = iter(["drop", "drop"])
    server.fault = lambda path, _: next(faults, None) if path == "a.bin" else None
    outcomes = transfer.fetch(remotes_of(server)[::4], tmp_path, connections=1, **QUICK)
    assert states(outcomes) == ["fetched", "failed"]
    assert (tmp_path / "a.bin").read_bytes() == server.files["a.bin"]
    assert "whole files only" in outcomes[1].text


def test_a_server_without_ranges_that_always_drops_is_given_up(tmp_path):
    with serving({"a.bin": b"x" * 100_000}) as server:
        server.ranges, server.fault = False, lambda *_: "drop"
        (outcome,) = transfer.fetch([Remote(server.url("a.bin"), "a.bin")], tmp_path, tries=4, **QUICK)
        assert outcome.state == "failed"
        assert "given up after 4 attempts" in outcome.text


@pytest.mark.parametrize("fault", ["long", "short", "other total", 503, 429])
def test_a_fault_that_stays_ends_in_an_error_that_names_the_address(server, tmp_path, fault):
    server.fault = lambda *_: "reset" if fault == "other total" and not server.requests else fault
    remote = Remote(server.url("a.bin"), "a.bin", n_bytes=300_000)
    (outcome,) = transfer.fetch([remote], tmp_path, **QUICK | {"tries": 3})
    assert outcome.state == "failed"
    assert remote.url in outcome.text
    assert not (tmp_path / "a.bin").exists()


@pytest.mark.parametrize("fault", ["reset", "halt"])
def test_a_server_that_breaks_off_each_time_is_asked_until_all_is_there(server, tmp_path, fault):
    server.fault = lambda *_: fault
    quick = QUICK | {"tries": 20, "timeout": 0.05}
    (outcome,) = transfer.fetch([Remote(server.url("a.bin"), "a.bin")], tmp_path, **quick)
    assert outcome.state == "fetched"
    assert (tmp_path / "a.bin").read_bytes() == server.files["a.bin"]


def test_a_size_that_the_list_does_not_know_is_refused_with_both_numbers(server, tmp_path):
    remote = Remote(server.url("c.bin"), "c.bin", n_bytes=41)
    (outcome,) = transfer.fetch([remote], tmp_path, **QUICK | {"tries": 2})
    assert "has 40 bytes by the server, but 41" in outcome.text


def test_a_wrong_hash_is_refused_after_a_second_try(server, tmp_path):
    right = hashlib.md5(server.files["c.bin"]).hexdigest()
    good, bad = (Remote(server.url("c.bin"), name, md5=md5) for name, md5 in (("1", right), ("2", "0" * 32)))
    outcomes = transfer.fetch([good, bad], tmp_path, **QUICK)
    assert states(outcomes) == ["fetched", "failed"]
    assert "not the md5" in outcomes[1].text
    assert not (tmp_path / "2").exists()
    assert sum(request["path"] == "c.bin" for request in server.requests) == 3


def test_what_is_refused_is_said_and_does_not_stop_the_others(server, tmp_path):
    server.fault = lambda path, _: 403 if path == "c.bin" else None
    remotes = [
        Remote(server.url("c.bin"), "c.bin"),
        Remote(server.url("c.bin"), "held.bin", optional="held out by its authors"),
        Remote(server.url("none.bin"), "none.bin"),
        Remote(server.url("a.bin"), "a.bin"),
    ]
    outcomes = transfer.fetch(remotes, tmp_path, **QUICK)
    assert states(outcomes) == ["failed", "refused as expected", "failed", "fetched"]
    assert "HTTP 403" in outcomes[0].text
    assert outcomes[1].text == "held out by its authors"
    assert {path.name for path in tmp_path.iterdir() if not path.name.startswith(".lat")} == {
        "a.bin",
        transfer.MANIFEST,
    }
    assert "no such file" in outcomes[2].text


def test_the_servers_own_waiting_time_is_kept(server, tmp_path):
    server.retry_after = "1"
    server.fault = lambda *_: None if server.requests else 429
    started = time.monotonic()
    assert states(transfer.fetch([Remote(server.url("c.bin"), "c.bin")], tmp_path, **QUICK)) == ["fetched"]
    assert time.monotonic() - started >= 1
    assert remote_bytes.seconds_to_wait(1, 1.0, 10_000) == 120
    waits = [remote_bytes.seconds_to_wait(k, 1.0) for k in range(1, 12)]
    assert all(min(60, 2 ** (k - 1)) / 2 <= wait <= min(60, 2 ** (k - 1)) for k, wait in enumerate(waits, 1))


def test_a_trickle_counts_as_silence(server, tmp_path):
    server.piece, server.delay = 1, 0.05
    (outcome,) = transfer.fetch([Remote(server.url("a.bin"), "a.bin")], tmp_path, **QUICK | {"timeout": 0.2})
    assert outcome.state == "failed"


@pytest.mark.parametrize("name", ["x.hdf5", "x.mgz", "x.mgh", "x.zip", "x.mat", "x.json", "x.npy", "x.csv"])
@pytest.mark.parametrize("typed", [True, False])
def test_a_page_in_place_of_a_file_is_recognised(tmp_path, name, typed):
    page = b"\n<!doctype HTML><title>Are you human?</title>"
    with serving({name: page}) as server:
        server.fault = lambda *_: "page" if typed else None
        (outcome,) = transfer.fetch([Remote(server.url(name), name)], tmp_path, **QUICK)
    assert outcome.state == "failed"
    assert "web page" in outcome.text
    assert not (tmp_path / name).exists()


def test_a_file_of_another_kind_is_recognised(tmp_path):
    with serving({"x.hdf5": b"\x1f\x8b" + b"0" * 100, "y.hdf5": b"\x89HDF\r\n\x1a\n" + b"0" * 100}) as server:
        x, y = transfer.fetch([Remote(server.url(n), n) for n in server.files], tmp_path, **QUICK)
    assert (x.state, y.state) == ("failed", "fetched")
    assert "no .hdf5 file" in x.text


def test_a_part_beyond_the_end_is_an_error(server, tmp_path):
    (outcome,) = transfer.fetch([Remote(server.url("c.bin"), "c.bin", ranges=((30, 30),))], tmp_path, **QUICK)
    assert "has 40 bytes, but a part up to byte 60" in outcome.text


def test_two_downloads_into_one_folder_are_refused(server, tmp_path):
    held = transfer.FileLock(tmp_path / f".{transfer.MANIFEST}.lock")
    with held, pytest.raises(RuntimeError, match="Another download"):
        transfer.fetch(remotes_of(server), tmp_path, **QUICK)


@pytest.mark.parametrize("path", ["/etc/x", "../x", "a/../../x", "", "a\\b"])
def test_paths_stay_in_the_folder(path):
    with pytest.raises(ValueError, match="inside of the target folder"):
        Remote("http://x", path)


def test_a_damaged_manifest_is_named(server, tmp_path):
    (tmp_path / transfer.MANIFEST).write_text("{")
    with pytest.raises(ValueError, match="Delete it and run"):
        transfer.fetch(remotes_of(server), tmp_path, **QUICK)


def test_a_full_disk_stops_everything(server, tmp_path, monkeypatch):
    def add(_self, _piece):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("latentcortex.store.partial.Partial.add", add)
    with pytest.raises(OSError, match="No space left"):
        transfer.fetch(remotes_of(server), tmp_path, **QUICK)


def test_a_remote_file_can_be_sought_in(server):
    file = remote_bytes.RangeFile(server.url("a.bin"), block=1000)
    content = server.files["a.bin"]
    assert file.seek(-10, 2) == len(content) - 10
    assert file.read(100) == content[-10:]
    file.seek(500)
    assert file.read(2700) == content[500:3200]
    n_requests = len(server.requests)
    file.seek(100)
    assert file.read(3000) == content[100:3100]
    assert len(server.requests) == n_requests
