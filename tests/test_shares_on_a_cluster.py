"""Files for clusters: shares of a Slurm array are the whole, killed ones go on; Dask has a GPU per worker."""

import os
import runpy
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from data_scripts import ch16_replicate_figures, fill_features, fill_kit
from latentcortex import store
from latentcortex.studies import image_rows, results, targets
from latentcortex.studies.study import Study

SCRIPTS = results.shipped_folder("data_scripts")
SLURM = SCRIPTS / "slurm_array.sh"
# A script as those that are shipped, of parts that take no time.
SCRIPT = '''
"""Squares of numbers."""
import os, time
from pathlib import Path
import numpy as np
from latentcortex.studies import jobs

def make(study, number):
    with Path(os.environ["LOG"]).open("a") as log:
        log.write(f"{number}\\n")
    time.sleep(float(os.environ.get("WAIT", 0)))
    return {"square": np.array([number**2])}

def gather(study, load):
    return {"": ({"squares": np.array([load(k)["square"][0] for k in range(6)])}, {})}

def make_job(study, args):
    return jobs.Job(study, [(k,) for k in range(6)], make, gather, {"toy": 1})

jobs.main(__doc__, make_job)
'''


@pytest.fixture
def array(tmp_path, tiny_tree):
    """Run tasks of a Slurm array: ``array(k, n)`` returns the process of task k of n."""
    script = tmp_path / "squares.py"
    script.write_text(SCRIPT)
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin/latentcortex"  # `latentcortex run NAME` of a script that is not shipped
    command.write_text(f'#!/bin/sh\nshift 2\nexec {sys.executable} {script} "$@"\n')
    command.chmod(command.stat().st_mode | stat.S_IEXEC)
    settings = tmp_path / "my.toml"
    settings.write_text(f'base = "mini"\ndata = "{tiny_tree.as_posix()}"\nsubjects = [1]\n')
    environment = {
        **os.environ,
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "LATENTCORTEX_CACHE": str(tmp_path / "cache"),
        "LOG": str(tmp_path / "log.txt"),
    }

    def task(number, n_tasks, wait=0.0):
        # Slurm counts from the first number that --array names.
        slurm = {
            "SLURM_ARRAY_TASK_ID": 3 + number,
            "SLURM_ARRAY_TASK_MIN": 3,
            "SLURM_ARRAY_TASK_COUNT": n_tasks,
        }
        options = ["squares", "--preset", str(settings), "--results", str(tmp_path / "results")]
        return subprocess.Popen(
            ["bash", str(SLURM), *options],
            env=environment | {name: str(value) for name, value in slurm.items()} | {"WAIT": str(wait)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return task


def test_shares_of_an_array_are_the_whole_and_a_killed_one_goes_on(array, tmp_path):
    log = tmp_path / "log.txt"
    killed = array(0, 2, wait=0.5)
    while not log.exists() or len(log.read_text().split()) < 2:
        assert killed.poll() is None, killed.communicate()[0]
        time.sleep(0.02)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    tasks = [array(0, 2), array(1, 2)]
    printed = [task.communicate()[0] for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0], printed
    made = log.read_text().split()
    assert sorted(set(made)) == list("012345") and made.count("1") == 2 and len(made) == 7
    (path,) = (tmp_path / "results").glob("*.npz")
    np.testing.assert_array_equal(store.load(path)["squares"], np.arange(6) ** 2)


def test_the_array_says_what_it_needs():
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "LATENTC"))}
    ask = {"capture_output": True, "text": True, "check": False}
    outside = subprocess.run(["bash", str(SLURM), "fill_drawings"], env=plain, **ask)
    assert outside.returncode == 2 and "usage: sbatch --array" in outside.stderr
    inside = subprocess.run(
        ["bash", str(SLURM), "fill_drawings"], env=plain | {"SLURM_ARRAY_TASK_ID": "0"}, **ask
    )
    assert inside.returncode != 0 and "a folder that all nodes share" in inside.stderr
    steps = {"SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_MAX": "14"}
    cache = {"LATENTCORTEX_CACHE": "cache", "SLURM_ARRAY_TASK_COUNT": "8"}
    gaps = subprocess.run(["bash", str(SLURM), "fill_drawings"], env=plain | steps | cache, **ask)
    assert gaps.returncode == 2 and "give --array=0-7" in gaps.stderr


@pytest.mark.parametrize(("lent", "names"), [(None, ["0", "1"]), ("2, GPU-5c", ["2", "GPU-5c"])])
def test_each_worker_of_dask_sees_one_gpu_of_those_that_were_lent(monkeypatch, lent, names):
    distributed = pytest.importorskip("distributed", reason="Dask is an extra: latentcortex[cluster]")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if lent:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", lent)
    script = runpy.run_path(str(SCRIPTS / "dask_gpus.py"))
    monkeypatch.setattr(script["torch"].cuda, "device_count", lambda: 2)
    with script["local_cluster"]() as cluster, distributed.Client(cluster) as client:
        client.wait_for_workers(2)
        found = client.run(os.getenv, "CUDA_VISIBLE_DEVICES")
    assert sorted(found.values()) == names


def test_parts_of_features_are_those_that_one_process_computes(study, tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTCORTEX_CACHE", str(tmp_path))
    targets._shelf.cache_clear()
    try:
        ids = study.image_ids
        path = targets.keep_target_part(study, "latents", ids[:5])
        assert targets.keep_target_part(study, "latents", ids[:5]) == path
        asked = []
        encode = targets.encode
        monkeypatch.setattr(targets, "encode", lambda s, k, i: asked.extend(i) or encode(s, k, i))
        found = targets.target(study, "z", ids)
        assert asked == list(ids[5:])
        np.testing.assert_allclose(found[:5], encode(study, "latents", ids[:5])["z"], atol=1e-5)
        for wrong in (ids[:0], np.arange(image_rows.N_IN_FILE + 1)):
            with pytest.raises(ValueError, match="Expected 1 to 128 images in a part"):
                targets.keep_target_part(study, "latents", wrong)
    finally:
        targets._shelf.cache_clear()


@pytest.mark.parametrize("name", ["fill_features", "fill_drawings", "fill_kit"])
def test_scripts_that_fill_the_cache_are_run_by_name(name, capsys, monkeypatch):
    from latentcortex.command import main

    monkeypatch.setattr(sys, "argv", ["latentcortex"])
    with pytest.raises(SystemExit) as end:
        main(["run", name, "--help"])
    assert end.value.code == 0 and "--shard" in capsys.readouterr().out
    assert Path(SCRIPTS, f"{name}.py").is_file()


@pytest.mark.parametrize("script", [ch16_replicate_figures, fill_features, fill_kit])
def test_subjects_of_other_data_need_not_have_seen_the_same_test_images(study, script):
    halves = Study(study.preset, study.root)
    halves.__dict__["tables"] = {
        subject: table[(table["image_id"] % 2 == k) | ~table["shared"]]
        for k, (subject, table) in enumerate(study.tables.items())
    }
    with pytest.raises(ValueError, match="different shared images"):
        _ = halves.image_ids
    assert script.make_job(halves, SimpleNamespace(rehearse=True)).parts
