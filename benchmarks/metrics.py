"""Identify 1,000 images by 100,000 features: time and peak memory, beside the loop of public code.

Reads nothing, writes nothing, prints a table. Ours includes the bootstrap of the mean over images.
The loop correlates one original with one reconstruction at a time, as published code does; it is
timed on --loop images and its time scaled by the square of their number.
"""

import argparse
import os
import platform
import time

import numpy as np
from peak_memory import memory, reset_peak

from latentcortex import metrics


def loop(true, pred):
    """Identify two-way with one call of corrcoef for each pair, as published code does."""
    n, scores = len(true), []
    for i in range(n):
        own = np.corrcoef(true[i], pred[i])[0, 1]
        others = [np.corrcoef(true[j], pred[i])[0, 1] for j in range(n) if j != i]
        scores.append(np.mean(np.array(others) < own))
    return np.array(scores)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--features", type=int, default=100_000)
    parser.add_argument("--loop", type=int, default=60)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    true = rng.standard_normal((args.images, args.features), dtype=np.float32)
    pred = 0.01 * true + rng.standard_normal(true.shape, dtype=np.float32)
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores; "
        f"{args.images:,} images, {args.features:,} features, float32"
    )

    before = reset_peak()
    start = time.perf_counter()
    scores = metrics.identification(true, pred)
    mean, low, high, _ = metrics.bootstrap_mean(scores, rng)
    ours = time.perf_counter() - start
    peak = memory("VmHWM")
    print(
        f"latentcortex: {ours:.1f} s, {(peak - before) / 1e9:.2f} GB above the features "
        f"({peak / 1e9:.2f} GB in all); {mean:.3f} [{low:.3f}, {high:.3f}]"
    )

    some = slice(args.loop)
    start = time.perf_counter()
    looped = loop(true[some], pred[some])
    theirs = (time.perf_counter() - start) * (args.images / args.loop) ** 2
    np.testing.assert_allclose(looped, metrics.identification(true[some], pred[some]), atol=1e-6)
    print(f"loop of correlations: {theirs:,.0f} s by {args.loop} images; {theirs / ours:,.0f} times")


if __name__ == "__main__":
    main()
