"""Start Dask workers that have one GPU each, and run a script on them: on this machine or on a Slurm cluster.

``python dask_gpus.py SCRIPT [OPTION ...]`` uses the GPUs of this machine, or its cores if it has none.
``--slurm N`` asks Slurm for N workers, through dask-jobqueue (``pip install dask-jobqueue``). All
workers must see the same cache folder.
"""

import argparse
import os
import subprocess
import sys

import torch
from dask import distributed


def local_cluster(n_workers=None):
    """Return a cluster of this machine, one worker per GPU, or on the CPU if there is none.

    Parameters
    ----------
    n_workers : int, optional
        By default one per GPU, or one.
    """
    workers, gpus = {}, _gpus()
    for number in range(n_workers or max(1, len(gpus))):
        # Each worker sees one GPU, which its process takes for the only one.
        environment = {"CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]} if gpus else {}
        workers[number] = {"cls": distributed.Nanny, "options": {"nthreads": 1, "env": environment}}
    scheduler = {"cls": distributed.Scheduler, "options": {"dashboard": False, "port": 0}}
    return distributed.SpecCluster(workers, scheduler)


def _gpus():
    """Return the names of the GPUs that this process may use, as CUDA_VISIBLE_DEVICES takes them."""
    n_gpus, lent = torch.cuda.device_count(), os.environ.get("CUDA_VISIBLE_DEVICES")
    # A shared machine lends some of its GPUs by their names; the others are somebody else's.
    return lent.replace(" ", "").split(",")[:n_gpus] if lent else [str(k) for k in range(n_gpus)]


def slurm_cluster(n_workers):
    """Return a cluster of Slurm jobs with one GPU each. Written from dask-jobqueue's manual, never run."""
    from dask_jobqueue import SLURMCluster

    cluster = SLURMCluster(
        cores=4, processes=1, memory="32GB", walltime="04:00:00", job_extra_directives=["--gpus=1"]
    )
    cluster.scale(jobs=n_workers)
    return cluster


def main():
    """Run a script with the address of a cluster, and close the cluster afterwards."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slurm", type=int, metavar="N", help="ask Slurm for N workers")
    parser.add_argument("--workers", type=int, metavar="N", help="on this machine; default: one per GPU")
    parser.add_argument("script", help="such as fill_drawings")
    parser.add_argument("options", nargs=argparse.REMAINDER, help="of the script")
    args = parser.parse_args()
    with slurm_cluster(args.slurm) if args.slurm else local_cluster(args.workers) as cluster:
        command = [sys.executable, "-m", "latentcortex.command", "run", args.script, *args.options]
        command += ["--scheduler", cluster.scheduler_address]
        return subprocess.run(command, env=os.environ, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
