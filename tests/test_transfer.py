"""Files come whole or not at all, over interruptions and kills, and no byte comes twice for nothing."""

import hashlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from loopback import QUICK, expected, random_files, remotes_of, serving, states

from latentcortex.store import transfer
from latentcortex.store.partial import Partial
from latentcortex.store.transfer import Remote

BLOCK = QUICK["block"]


@pytest.fixture
def server():
    with serving(random_files()) as server:
        yield server


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


def test_a_file_that_has_not_the_hash_that_is_wanted_now_is_fetched_again(server, tmp_path):
    transfer.fetch([Remote(server.url("c.bin"), "c.bin")], tmp_path, **QUICK)
    server.files["c.bin"] = server.files["c.bin"][::-1]
    wanted = hashlib.sha256(server.files["c.bin"]).hexdigest()
    remote = Remote(server.url("c.bin"), "c.bin", sha256=wanted)
    assert states(transfer.fetch([remote], tmp_path, **QUICK)) == ["fetched"]
    assert states(transfer.fetch([remote], tmp_path, **QUICK)) == ["there already"]
    assert (tmp_path / "c.bin").read_bytes() == server.files["c.bin"]


def test_one_who_watches_is_told_each_byte_and_can_end_a_fetch(server, tmp_path):
    remote, told = Remote(server.url("a.bin"), "a.bin"), []

    def watch(done, n_new, pause):
        told.append((done, n_new, pause))
        if done > 100_000:
            raise TimeoutError("long enough")

    with pytest.raises(TimeoutError, match="long enough"):
        transfer.fetch([remote], tmp_path, watch=watch, **QUICK)
    assert sum(n_new for _, n_new, _ in told) == told[-1][0] < 300_000
    assert states(transfer.fetch([remote], tmp_path, **QUICK)) == ["fetched"]
    assert server.requests[-1]["start"] == told[-1][0]  # what had come was kept


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
from latentcortex.store import partial, transfer

add, added = partial.Partial.add, os.open(sys.argv[2] + "/added", os.O_CREAT | os.O_APPEND | os.O_WRONLY)

def noted(self, piece):
    os.write(added, f"{self.path.name} {self.done} {len(piece)}\\n".encode())
    add(self, piece)

partial.Partial.add = noted
files = [transfer.Remote(sys.argv[1] + f"{k}.bin", f"{k}.bin") for k in range(3)]
for line in sys.stdin:
    pid = os.fork()
    if not pid:
        transfer.fetch(files, sys.argv[2], connections=3, block=2**16, quiet=True)
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
        added = [line.split() for line in (tmp_path / "added").read_text().splitlines()]
        for path in files:  # what each process began with, and what the one before had come to
            spans = [(int(at), int(at) + int(n)) for name, at, n in added if name == f".{path}.part"]
            again = [end - start for (_, end), (start, _) in itertools.pairwise(spans)]
            assert max(again) <= 2**16
            assert sum(n > 0 for n in again) <= 20
        remotes = [Remote(server.url(path), path) for path in files]
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
