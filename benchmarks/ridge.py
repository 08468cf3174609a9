"""Time our ridge side by side with himalaya and scikit-learn, on the same simulated data.

Reads nothing, writes nothing, prints a table for each of three shapes. Every contender chooses one
of ten penalties for each target, fits again on all rows and predicts new rows, with an intercept;
each runs in a process of its own. A process gives the seconds of the fastest of --repeats runs,
without imports; memory is the most that was held above data and libraries (Linux). The contenders
take turns, --rounds times. Printed are the median seconds, and the median ratio to our five folds
in the same round, which a machine with other work distorts less.

How the penalty is chosen is each contender's own: ours by generalised cross-validation or by five
folds, himalaya's by five folds, scikit-learn's by leaving out one row at a time, in float64, to
which it casts; the others are given and use float32. RidgeCV and ours end with a weight for each
column, KernelRidgeCV with one for each row.

Peers are tuned as their documentation says, and the best setting counts: himalaya on its numpy and
its torch backend, its targets in one batch or, where there are more, in batches of 4,096, its
penalties all or one at a time; scikit-learn with either of its two decompositions.

For ours the last column tells how much of the machine's own rate of matrix products is used: the
products with targets that the method can't do without (projections, held-out predictions,
coefficients, predictions of new rows), over the rate of one large float32 product measured beside
it. The decompositions, in float64, are not among them.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time

import numpy as np
import torch
from peak_memory import memory, reset_peak

CASES = {  # n_samples, n_features, n_targets
    "long": (2000, 1000, 2000),
    "wide": (1000, 6000, 2000),
    "many targets": (2000, 1000, 20_000),
}
N_ALPHAS, N_FOLDS = 10, 5
BATCH = 4096


def simulate(n_samples, n_features, n_targets):
    """Draw training and new rows of a problem with R2 between 0 and 0.6; X is z-scored."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((2 * n_samples, n_features), dtype=np.float32)
    r2 = rng.uniform(0, 0.6, n_targets).astype(np.float32)
    coef = rng.standard_normal((n_features, n_targets), dtype=np.float32)
    coef *= np.sqrt(r2 / n_features)
    Y = X @ coef
    Y += rng.standard_normal(Y.shape, dtype=np.float32) * np.sqrt(1 - r2)
    X -= X[:n_samples].mean(0)
    X /= X[:n_samples].std(0)
    return X[:n_samples], Y[:n_samples], X[n_samples:], Y[n_samples:]


def fit_ours(cv):
    from latentcortex.ridge import Ridge

    return lambda X, Y, alphas: Ridge(alphas, cv=cv).fit(X, Y).predict


def fit_himalaya(name, backend, n_targets_batch, n_alphas_batch):
    from himalaya.backend import set_backend
    from himalaya.kernel_ridge import KernelRidgeCV
    from himalaya.ridge import RidgeCV

    back = set_backend(backend)
    classes = {"RidgeCV": RidgeCV, "KernelRidgeCV": KernelRidgeCV}
    batches = {"n_targets_batch": n_targets_batch, "n_alphas_batch": n_alphas_batch}

    def fit(X, Y, alphas):
        model = classes[name](alphas, cv=N_FOLDS, fit_intercept=True, solver_params=batches)
        model.fit(back.asarray(X), back.asarray(Y))
        return lambda rows: back.to_numpy(model.predict(back.asarray(rows)))

    return fit


def fit_sklearn(mode):
    from sklearn.linear_model import RidgeCV

    return lambda X, Y, alphas: RidgeCV(alphas, alpha_per_target=True, gcv_mode=mode).fit(X, Y).predict


OURS = "latentcortex, K-fold"
CONTENDERS = {"latentcortex, gcv": (fit_ours, "gcv"), OURS: (fit_ours, N_FOLDS)}
for peer in ("RidgeCV", "KernelRidgeCV"):
    for backend in ("numpy", "torch"):
        for batch in (None, BATCH):
            for few in (None, 1):
                text = f"himalaya {peer}, {backend}, n_targets_batch={batch}, n_alphas_batch={few}"
                CONTENDERS[text] = fit_himalaya, peer, backend, batch, few
for gcv_mode in ("eigen", "svd"):
    text = f"scikit-learn RidgeCV, gcv_mode={gcv_mode}"
    CONTENDERS[text] = fit_sklearn, gcv_mode


def product_rate():
    """Measure the rate of a large float32 matrix product, in operations a second."""
    a, b = torch.randn(2, 3000, 3000)
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - start)
    return 2 * 3000**3 / min(seconds)


def needed_products(name, n, p, t):
    """Count the operations of the products with targets that our method can't do without."""
    rank = min(n, p)
    refit = 2 * t * rank * (n + p)  # project the targets, form the coefficients
    predict = 2 * t * n * p
    if "gcv" in name:  # leave-one-out is a pass over rank x targets for each penalty
        return refit + predict
    if n <= p:  # one matrix of rows x rows for each penalty serves all folds
        return refit + predict + 2 * t * n * n * N_ALPHAS
    in_folds = min(n * (N_FOLDS - 1) // N_FOLDS, p)
    project = 2 * t * in_folds * n * (N_FOLDS - 1)
    return refit + predict + project + 2 * t * in_folds * n * N_ALPHAS


def run_one(name, case, repeats):
    """Run one contender; return its seconds, peak memory (GB) and held-out correlation."""
    n, p, t = CASES[case]
    X, Y, X_new, Y_new = simulate(n, p, t)
    alphas = (p * np.logspace(-2, 2.5, N_ALPHAS)).astype(np.float32)
    make, *arguments = CONTENDERS[name]
    fit, seconds = make(*arguments), []
    before = reset_peak()
    for _ in range(repeats):
        start = time.perf_counter()
        predicted = fit(X, Y, alphas)(X_new)
        seconds.append(time.perf_counter() - start)
    gigabytes = (memory("VmHWM") - before) / 1e9
    predicted = np.asarray(predicted, np.float64)
    predicted -= predicted.mean(0)
    Y_new = Y_new - Y_new.mean(0)
    r = (predicted * Y_new).sum(0) / np.sqrt((predicted**2).sum(0) * (Y_new**2).sum(0))
    return {"seconds": min(seconds), "gigabytes": gigabytes, "r": float(r.mean()), "rate": product_rate()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument(
        "--only", nargs="+", default=[""], metavar="TEXT", help="contenders named so; and our folds"
    )
    parser.add_argument("--one", choices=CONTENDERS, help="run this contender alone, print JSON")
    args = parser.parse_args()
    if args.one:
        print(json.dumps(run_one(args.one, args.cases[0], args.repeats)))
        return
    versions = (
        f"{name} {importlib.metadata.version(name)}"
        for name in ("numpy", "torch", "scikit-learn", "himalaya")
    )
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores;", *versions)
    for case in args.cases:
        n, p, t = CASES[case]
        print(f"\n{case}: X ({n}, {p}), Y ({n}, {t}), float32, {N_ALPHAS} penalties")
        # One batch holds all targets where there are few.
        names = [name for name, (_, *of) in CONTENDERS.items() if not (BATCH in of and t <= BATCH)]
        names = [name for name in names if name == OURS or any(text in name for text in args.only)]
        found = {name: [] for name in names}
        for k in range(args.rounds):
            for name in names:
                print(f"round {k + 1}, {name}", end="\r", file=sys.stderr)
                found[name].append(run_process(name, case, args.repeats))
        print(f"{'seconds':>8} {'ratio':>6} {'GB':>6} {'r':>7} {'of rate':>8}")
        for name, made in found.items():
            if isinstance(made[0], str):
                print(f"{'failed':>8} {name}: {made[0]}", flush=True)
                continue
            seconds, rate = (np.median([one[key] for one in made]) for key in ("seconds", "rate"))
            ratio = np.median([a["seconds"] / b["seconds"] for a, b in zip(made, found[OURS], strict=True)])
            share = f"{needed_products(name, n, p, t) / seconds / rate:.0%}"
            share = share if "latentcortex" in name else "-"
            numbers = f"{seconds:8.2f} {ratio:6.2f} {made[0]['gigabytes']:6.2f} {made[0]['r']:7.4f}"
            print(f"{numbers} {share:>8}  {name}", flush=True)


def run_process(name, case, repeats):
    """Run one contender in a process of its own; return what `run_one` does, or why it failed."""
    command = [sys.executable, __file__, "--one", name, "--cases", case, "--repeats", str(repeats)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["killed"])[-1][:80]
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
