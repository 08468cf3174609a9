"""Plant the data of the task of the chapter that plans a real study."""

import numpy as np

from latentcortex.teaching.grading import Planted


def plant_rate(number, n_runs=12):
    """Return the task to find the rate of a GPU, free of the time that every run loses at its start."""
    rng = np.random.default_rng(number)
    rate, start = 10 ** rng.uniform(0.3, 2), rng.uniform(4, 8)  # TFLOP a second; seconds
    tflop = rate * rng.uniform(1, 10, n_runs)
    seconds = start + tflop / rate + 0.05 * rng.standard_normal(n_runs)
    naive = float(tflop.sum() / seconds.sum())
    question = f"""A GPU drew images in {n_runs} runs of different length. Each run lost the same time at its
start, whatever its length. How many TFLOP does the GPU do in a second, once it runs?
Within 8 % of the planted rate is right.
    data["tflop"]    ({n_runs},), operations of each run, in TFLOP
    data["seconds"]  ({n_runs},), duration of each run"""
    hint = "That is all operations over all seconds. The seconds also hold the start of every run."
    return Planted(
        question,
        {"tflop": tflop, "seconds": seconds},
        (float(rate),),
        ("rate",),
        ((0, 1000),),
        (0.08 * float(rate),),
        mistakes=(((naive,), hint),),
    )
