"""Time our ridge side by side with himalaya and scikit-learn, on the same simulated data.

Reads nothing, writes nothing, prints a table for each of three shapes. Every contender chooses one
of ten penalties for each target, fits again on all rows and predicts new rows, with an intercept;
each runs in a process of its own. Seconds are those of the fastest of --repeats runs, without
imports; memory is the most that was held above data and libraries (Linux).

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


CONTENDERS = {"latentcortex, gcv": (fit_ours, "gcv"), "latentcortex, K-fold": (fit_ours, N_FOLDS)}
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
        print(f"{'seconds':>8} {'GB':>6} {'r':>7} {'of rate':>8}")
        for name, (_, *settings) in CONTENDERS.items():
            if BATCH in settings and t <= BATCH:
                continue  # one batch holds all targets
            command = [sys.executable, __file__, "--one", name, "--cases", case]
            command += ["--repeats", str(args.repeats)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                reason = (done.stderr.strip().splitlines() or ["killed"])[-1]
                print(f"{'failed':>8} {name}: {reason[:80]}", flush=True)
                continue
            made = json.loads(done.stdout.splitlines()[-1])
            share = needed_products(name, n, p, t) / made["seconds"] / made["rate"]
            share = f"{share:.0%}" if "latentcortex" in name else "-"
            numbers = f"{made['seconds']:8.2f} {made['gigabytes']:6.2f} {made['r']:7.4f} {share:>8}"
            print(f"{numbers}  {name}", flush=True)


if __name__ == "__main__":
    main()
