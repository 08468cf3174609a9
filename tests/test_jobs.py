"""Long work is cut into parts that are made once, kept, shared out and gathered."""

import argparse
import logging
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from latentcortex import store
from latentcortex.studies import jobs, keys, results
from latentcortex.studies.kept import Shelf


def make(_study, folder, number, wait=0.0):
    """Write down who made a part, and make it."""
    with Path(folder, "log.txt").open("a") as log:
        log.write(f"{number} {os.getpid()}\n")
    time.sleep(wait)
    if number == 13:
        raise FloatingPointError("The loss is nan at step 3.")
    return {"square": np.array([number**2])}


def gather(_study, load):
    squares = np.array([load(*part)["square"][0] for part in gather.parts])
    return {"": ({"squares": squares}, {"axes": "part"})}


@pytest.fixture
def job(study, tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTCORTEX_CACHE", str(tmp_path))

    def make_job(numbers, *more):
        gather.parts = [(str(tmp_path), number, *more) for number in numbers]
        return jobs.Job(study, gather.parts, make, gather, {"toy": 1})

    return make_job


def log(tmp_path):
    path = tmp_path / "log.txt"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def test_two_shares_make_every_part_once_and_a_third_run_makes_none(job, tmp_path):
    toy = job(range(6))
    assert toy.run((0, 2)) == (3, [])
    assert [number for number, _ in log(tmp_path)] == ["0", "1", "2"]
    assert toy.run((1, 2)) == (0, [])
    assert toy.run() == (0, [])
    assert [number for number, _ in log(tmp_path)] == list("012345")
    (path,) = toy.write(tmp_path)
    np.testing.assert_array_equal(store.load(path)["squares"], np.arange(6) ** 2)
    written = store.provenance(path)
    assert written["script"] == "test_jobs" and written["toy"] == 1
    assert written["code"] == keys.code_of(__file__) and len(written["date"]) == 10


def test_a_damaged_part_is_named_and_made_again(job, tmp_path, caplog):
    toy = job(range(2))
    toy.run()
    path = toy.shelf.path(toy.parts[1])
    path.write_bytes(path.read_bytes()[:-20])
    with caplog.at_level(logging.WARNING):
        assert toy.run() == (0, [])
    assert str(path) in caplog.text and "made again" in caplog.text
    assert [number for number, _ in log(tmp_path)] == ["0", "1", "1"]


def test_a_part_whose_numbers_explode_is_named_after_all_others(job, tmp_path, capsys):
    left, failed = job([1, 13, 2]).run()
    assert left == 1 and len(failed) == 1
    assert [number for number, _ in log(tmp_path)] == ["1", "13", "2"]
    assert "13" in capsys.readouterr().err


def test_a_worker_with_another_version_of_the_package_is_told_so(job, monkeypatch):
    toy = job([1])
    monkeypatch.setattr(keys, "package_code", lambda: "another")
    with pytest.raises(RuntimeError, match="another version of latentcortex"):
        toy.run()


def test_a_slice_never_takes_the_name_of_the_whole(job, study, tmp_path):
    toy = job(range(2))
    part = jobs.Job(study, toy.parts, make, gather, {"toy": 1}, is_slice=True)
    part.run()
    assert results.folder_to_write(part) == part.shelf.folder != results.folder_to_write(toy)
    label = results.label(study.preset, study.root)  # by which a page looks for it
    assert toy.write(tmp_path)[0].name == f"test_jobs-{label}.npz"
    assert part.write(tmp_path)[0].name == f"test_jobs-slice-{label}.npz"


def test_threads_of_a_worker_make_one_part_at_a_time(study, tmp_path, monkeypatch):
    """Networks give their layers to hooks, which threads of a process share."""
    monkeypatch.setenv("LATENTCORTEX_CACHE", str(tmp_path))
    at_work, most = [], []

    def busy(_study, number):
        at_work.append(number)
        most.append(len(at_work))
        time.sleep(0.05)
        at_work.remove(number)
        return {"x": np.zeros(1)}

    toy = jobs.Job(study, [(k,) for k in range(6)], busy, gather, {"toy": 3})
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(toy.keep, toy.parts))
    assert max(most) == 1


def test_other_settings_keep_their_parts_elsewhere(job, study):
    toy = job(range(2))
    other = jobs.Job(study, toy.parts, make, gather, {"toy": 2})
    assert other.shelf.folder != toy.shelf.folder


def test_files_of_parts_are_told_apart():
    shelf = Shelf("toy", "0" * 64, {})
    parts = [("a b", 1), ("a_b", 1), ("a,b", 1), ("a", "b", 1), (0.5,), (None,), (1.0, 1), (1, 1)]
    assert len({shelf.path(part) for part in parts}) == len(parts)


def test_a_killed_worker_costs_its_part_once_more_and_the_product_is_the_same(job, tmp_path):
    distributed = pytest.importorskip("distributed", reason="Dask is an extra: latentcortex[cluster]")
    import cloudpickle

    whole = job(range(8))
    whole.run()
    expected = store.load(whole.write(tmp_path / "alone")[0])["squares"]
    (tmp_path / "log.txt").unlink()

    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # as the functions of a script are
    toy = job(range(8), 1.0)
    options = {"threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with distributed.LocalCluster(2, **options) as cluster, ThreadPoolExecutor(1) as pool:

        def kill_when_busy():
            while len(log(tmp_path)) < 3:
                time.sleep(0.05)
            number, process = log(tmp_path)[-1]
            os.kill(int(process), signal.SIGKILL)
            return number

        killed = pool.submit(kill_when_busy)
        assert toy.run(scheduler=cluster.scheduler_address) == (0, [])
        lost = killed.result()
    numbers = [number for number, _ in log(tmp_path)]
    assert sorted(set(numbers)) == list("01234567")
    assert [number for number in set(numbers) if numbers.count(number) > 1] == [lost]
    np.testing.assert_array_equal(store.load(toy.write(tmp_path / "shared")[0])["squares"], expected)


def test_shares_are_neighbours_and_together_all_parts():
    parts = list(range(10))
    shares = [jobs.share_of(parts, k, 3) for k in range(3)]
    assert sum(shares, []) == parts and shares[0] == [0, 1, 2, 3]


def test_shards_are_read_and_wrong_ones_refused():
    assert jobs.parse_shard("1/2") == (1, 2)
    for wrong in ("2/2", "0/0", "1", "-1/2", "a/b"):
        with pytest.raises(argparse.ArgumentTypeError, match="0 <= I < N"):
            jobs.parse_shard(wrong)


def test_parts_are_stacked_in_the_order_of_their_words():
    def load(letter, number):
        return {"x": np.array([ord(letter), number]), "y": np.float16(number)}

    found = jobs.stacked(load, "abc", [4, 5])
    assert found["x"].shape == (3, 2, 2) and found["y"].shape == (3, 2) and found["y"].dtype == np.float16
    for k, letter in enumerate("abc"):
        for j, number in enumerate([4, 5]):
            assert found["x"][k, j].tolist() == [ord(letter), number] and found["y"][k, j] == number
