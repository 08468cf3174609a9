"""Time our ridge side by side with himalaya and scikit-learn on one simulated problem.

Reads nothing, writes nothing, prints one table. `python benchmarks/ridge.py --help` for sizes.

Every library does the same job, in float32: intercept, one penalty per target from the same grid,
refit, predict. Two jobs: generalised or leave-one-out cross-validation from one decomposition
(scikit-learn's is exact leave-one-out, which has no counterpart in himalaya), and 5 folds
(himalaya's RidgeCV; scikit-learn has no per-target K-fold, so one Ridge per penalty and fold).
Peers are tuned: each takes the fastest of the settings printed, himalaya centred by hand or not,
on its numpy and torch backends, all targets in one batch or in batches.
"""

import argparse
import os
import platform
import time

import himalaya
import numpy as np
import sklearn
import torch
from himalaya.backend import set_backend
from himalaya.ridge import RidgeCV as HimalayaRidgeCV
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.linear_model import RidgeCV as SklearnRidgeCV
from sklearn.model_selection import KFold

from latentcortex.ridge import Ridge, alpha_grid


def simulate(n_samples, n_features, n_targets, rng):
    X = rng.standard_normal((2 * n_samples, n_features), dtype=np.float32)
    r2 = rng.uniform(0, 0.6, n_targets)
    coef = rng.standard_normal((n_features, n_targets)) * np.sqrt(r2 / n_features)
    Y = X @ coef + rng.standard_normal((2 * n_samples, n_targets)) * np.sqrt(1 - r2)
    X -= X[:n_samples].mean(0)
    X /= X[:n_samples].std(0)
    return X[:n_samples], Y[:n_samples].astype(np.float32), X[n_samples:], Y[n_samples:]


def ours(cv, block_size):
    return lambda X, Y, alphas: Ridge(alphas, cv=cv, block_size=block_size).fit(X, Y).predict


def himalaya_folds(backend, batch):
    def fit(X, Y, alphas):
        back = set_backend(backend)
        model = HimalayaRidgeCV(
            alphas, fit_intercept=True, cv=KFold(5), solver_params={"n_targets_batch": batch}
        )
        model.fit(back.asarray(X), back.asarray(Y))
        return lambda X_new: back.to_numpy(model.predict(back.asarray(X_new)))

    return fit


def sklearn_leave_one_out(mode):
    return lambda X, Y, alphas: (
        SklearnRidgeCV(alphas, alpha_per_target=True, gcv_mode=mode).fit(X, Y).predict
    )


def sklearn_folds(solver):
    def fit(X, Y, alphas):
        error = np.zeros((len(alphas), Y.shape[1]))
        for train, test in KFold(5).split(X):
            for i, alpha in enumerate(alphas):
                model = SklearnRidge(alpha, solver=solver).fit(X[train], Y[train])
                error[i] += ((Y[test] - model.predict(X[test])) ** 2).sum(0)
        return SklearnRidge(alphas[error.argmin(0)], solver=solver).fit(X, Y).predict

    return fit


def contenders(n_targets):
    blocks = sorted({min(n_targets, 4096), n_targets})
    for block in blocks:
        yield (
            "one decomposition",
            "latentcortex",
            f"cv='gcv', block_size={block}",
            ours("gcv", block),
        )
    for mode in ("eigen", "svd"):
        yield (
            "one decomposition",
            "scikit-learn",
            f"RidgeCV, gcv_mode={mode!r}",
            (sklearn_leave_one_out(mode)),
        )
    for block in blocks:
        yield "5 folds", "latentcortex", f"cv=5, block_size={block}", ours(5, block)
    for backend in ("numpy", "torch"):
        for block in blocks:
            yield (
                "5 folds",
                "himalaya",
                f"{backend}, n_targets_batch={block}",
                himalaya_folds(backend, block),
            )
    yield "5 folds", "scikit-learn", "Ridge, solver='cholesky'", sklearn_folds("cholesky")


def mean_r2(predicted, Y):
    return float(np.mean(1 - ((Y - predicted) ** 2).sum(0) / ((Y - Y.mean(0)) ** 2).sum(0)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=800)
    parser.add_argument("--features", type=int, default=700)
    parser.add_argument("--targets", type=int, default=4096)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    alphas = alpha_grid(arguments.features)
    data = simulate(
        arguments.samples, arguments.features, arguments.targets, np.random.default_rng(0)
    )
    X, Y, X_test, Y_test = data

    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
        f"{torch.get_num_threads()} threads; numpy {np.__version__}, torch {torch.__version__}, "
        f"scikit-learn {sklearn.__version__}, himalaya {himalaya.__version__}"
    )
    print(
        f"X {X.shape}, Y {Y.shape}, float32; {len(alphas)} penalties from {alphas[0]:g} to "
        f"{alphas[-1]:g}; fastest of {arguments.repeats} runs of fit and predict"
    )
    print(f"{'job':18} {'library':13} {'setting':32} {'seconds':>8} {'mean R2':>8}")
    for job, library, setting, fit in contenders(arguments.targets):
        seconds = []
        for _ in range(arguments.repeats):
            start = time.perf_counter()
            predicted = fit(X, Y, alphas)(X_test)
            seconds.append(time.perf_counter() - start)
        r2 = mean_r2(np.asarray(predicted), Y_test)
        print(f"{job:18} {library:13} {setting:32} {min(seconds):8.2f} {r2:8.4f}", flush=True)


if __name__ == "__main__":
    main()
