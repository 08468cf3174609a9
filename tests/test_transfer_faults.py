"""Servers that lie, refuse, change their files or send pages: the end is a verified file or a clear error."""

import hashlib
import random
import time

import pytest
from loopback import QUICK, expected, random_files, remotes_of, serving, states

from latentcortex.store import remote_bytes, transfer
from latentcortex.store.transfer import Remote


@pytest.fixture
def server():
    with serving(random_files()) as server:
        yield server


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
