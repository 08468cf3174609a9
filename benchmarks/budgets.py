"""Measure what the README promises: drawing, building, importing, sampling, and sizes.

    python benchmarks/budgets.py            # a minute
    python benchmarks/budgets.py --build    # and the build of the simulated tree, into a new folder

Run it on an idle machine. Budgets are for two cores.
"""

import argparse
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from latentcortex.mini import build, networks, scenes

ROOT = Path(__file__).resolve().parents[1]


def best_of(n, function):
    """Return the shortest of n runs in seconds; the first run warms up and does not count."""
    function()
    seconds = []
    for _ in range(n):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def import_seconds():
    command = [sys.executable, "-c", "import latentcortex"]
    bare = best_of(5, lambda: subprocess.run([*command[:2], "pass"], check=True))
    return best_of(5, lambda: subprocess.run(command, check=True)) - bare


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", action="store_true")
    args = parser.parse_args()
    drawn = scenes.sample_scenes(96, np.random.default_rng(0))
    unet = networks.make_unet().eval().requires_grad_(False)
    latents, states = torch.randn(32, 4, 16, 16), torch.randn(32, 24, 128)
    package = ROOT / "src" / "latentcortex"
    megabytes = sum(f.stat().st_size for f in package.rglob("*") if "__pycache__" not in f.parts)
    rows = [
        ("scenes drawn a second", 96 / best_of(2, lambda: scenes.render(drawn)), "at least 60"),
        ("U-Net, 32 images, ms", 1e3 * best_of(5, lambda: unet(latents, 500, states)), "at most 180"),
        ("import latentcortex, s", import_seconds(), "under 0.5"),
        ("package with weights, MB", megabytes / 1e6, "at most 60"),
    ]
    if args.build:
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            tree = build.open_tree(cache=folder)
            rows.append(("build of the tree, s", time.perf_counter() - start, "at most 180"))
            size = sum(f.stat().st_size for f in tree.rglob("*") if f.is_file())
            rows.append(("the tree, GB", size / 1e9, "at most 1.7"))
    cores = torch.get_num_threads()
    print(f"{platform.processor() or platform.machine()}, {cores} threads, torch {torch.__version__}")
    for name, value, budget in rows:
        print(f"{name:28}{value:10.3g}   {budget}")


if __name__ == "__main__":
    main()
