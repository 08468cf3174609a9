"""Time encoding analyses side by side with their peers, on the same simulated data.

Reads nothing, writes nothing, prints a table for each of five cases. Each contender runs in a process of its
own. They take turns, --rounds times. Printed are the median seconds and the median ratio to ours in the same
round, which a machine with other work distorts less; the most memory that was held above data and libraries
(Linux); and the mean correlation with new rows, which has to be the same for a ratio to mean anything.

- map: a map of 20,484 vertices from 1,000 features of 2,000 images, ten penalties, a penalty for each vertex.
  How it is chosen is each contender's own: ours by generalised cross-validation, himalaya's by five folds,
  scikit-learn's by leaving out one row at a time. The last row is no contender: two products that no exact
  solution can do without, of the targets with the rows fitted and of the coefficients with the new rows. It
  bounds the ratio that can be reached.
- banded: two spaces of 300 and 200 features, 1,000 images, 4,000 vertices, 20 candidates of shares and ten
  penalties, the same for both contenders.
- large: one tenth of a map of 300,000 vertices from 6,400 features of 9,000 images, which is how much is
  fitted at a time. Minutes. Seconds times ten are those of the map; the memory is that of the map.
- permutation: 10,000 permutations of 200 and of 982 test images, 20,484 vertices. There is no peer; the
  seconds of 20 permutations one after the other are multiplied by 500.
- unet: the blocks of the small U-Net, read and projected, beside the bare passes.
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
from peak_memory import memory, reset_peak

ALPHAS = np.logspace(-2, 2.5, 10)  # times the number of columns
N_CANDIDATES, N_PERMUTATIONS, N_LOOPED = 20, 10_000, 20


def simulate(n_images, n_features, n_vertices, n_new=None):
    """Draw training and new rows (as many, by default), R2 between 0 and 0.6, features z-scored."""
    rng, n_new = np.random.default_rng(0), n_new or n_images
    features = rng.standard_normal((n_images + n_new, n_features), dtype=np.float32)
    r2 = rng.uniform(0, 0.6, n_vertices).astype(np.float32)
    betas = features @ (
        rng.standard_normal((n_features, n_vertices), dtype=np.float32) * np.sqrt(r2 / n_features)
    )
    betas += rng.standard_normal(betas.shape, dtype=np.float32) * np.sqrt(1 - r2)
    features -= features[:n_images].mean(0)
    features /= features[:n_images].std(0)
    return features[:n_images], betas[:n_images], features[n_images:], betas[n_images:]


def map_ours(features, betas, new):
    from latentcortex.encoding import VoxelwiseEncoder

    encoder = VoxelwiseEncoder(alphas=features.shape[1] * ALPHAS, cv="gcv")
    return encoder.fit(features, betas, np.arange(len(betas))).predict(new)


def map_products(features, betas, new):
    """Compute what every exact solution has to, with made-up coefficients."""
    import torch

    rows, targets, new = (torch.from_numpy(of) for of in (features, betas, new))
    return (new @ (rows.T @ targets)).numpy()


def map_himalaya(features, betas, new, batch):
    from himalaya.backend import set_backend
    from himalaya.ridge import RidgeCV

    back = set_backend("torch")
    alphas = (features.shape[1] * ALPHAS).astype(np.float32)
    model = RidgeCV(alphas, cv=5, fit_intercept=True, solver_params={"n_targets_batch": batch})
    model.fit(back.asarray(features), back.asarray(betas))
    return back.to_numpy(model.predict(back.asarray(new)))


def map_sklearn(features, betas, new):
    from sklearn.linear_model import RidgeCV

    model = RidgeCV(features.shape[1] * ALPHAS, alpha_per_target=True)
    return model.fit(features, betas).predict(new)


def shares():
    from latentcortex.encoding import draw_shares

    return draw_shares(2, N_CANDIDATES, np.random.default_rng(1))


def banded_ours(features, betas, new):
    from latentcortex.encoding import BandedEncoder

    spaces = [{"first": of[:, :300], "second": of[:, 300:]} for of in (features, new)]
    encoder = BandedEncoder(shares(), features.shape[1] * ALPHAS)
    return encoder.fit(spaces[0], betas, np.arange(len(betas))).predict(spaces[1])


def banded_himalaya(features, betas, new, backend):
    from himalaya.backend import set_backend
    from himalaya.ridge import GroupRidgeCV

    back = set_backend(backend)
    params = {
        "n_iter": back.asarray(shares().astype(np.float32)),
        "alphas": back.asarray((features.shape[1] * ALPHAS).astype(np.float32)),
        "progress_bar": False,
        "n_targets_batch": 1000,
    }
    model = GroupRidgeCV("input", solver_params=params, fit_intercept=True, cv=5)
    model.fit([back.asarray(of) for of in np.split(features, [300], axis=1)], back.asarray(betas))
    return back.to_numpy(model.predict([back.asarray(of) for of in np.split(new, [300], axis=1)]))


def permutation_ours(_features, betas, new_betas):
    from latentcortex.encoding import permutation_p_values

    permutation_p_values(betas, new_betas, np.random.default_rng(0), N_PERMUTATIONS)


def permutation_loop(_features, betas, new_betas):
    """Permute and correlate anew, as a first script would: N_LOOPED times."""
    rng = np.random.default_rng(0)
    a, b = ((of - of.mean(0)) / of.std(0) for of in (betas, new_betas))
    reached, r = 0, (a * b).mean(0)
    for _ in range(N_LOOPED):
        reached = reached + ((a[rng.permutation(len(a))] * b).mean(0) >= r)


def unet(read):
    """Pass 128 images through the small U-Net, without text."""
    import torch

    from latentcortex import encoding, features, presets

    preset = presets.get("mini")
    model = features.load_latent_diffusion(preset.model, preset.revision)
    empty = features.unconditional(model.text_encoder, model.tokenizer)
    latents = torch.randn(128, *preset.latent_shape, generator=torch.Generator().manual_seed(0))
    layers = features.unet_layers(model.unet, preset.latent_shape, preset.n_tokens)
    blocks = [name for name, layer in layers.items() if layer.kind == "block"]
    rng, n = np.random.default_rng(0), {name: int(np.prod(layers[name].shape)) for name in blocks}
    projections = {name: encoding.SparseProjection(n[name], 800, rng) for name in blocks}

    def bare():
        with torch.no_grad():
            for rows in latents.split(32):
                model.unet(rows, 300, empty.expand(len(rows), -1, -1))

    def activations():
        features.unet_activations(
            model.unet, {300: latents}, None, blocks, empty, reduce=projections, batch_size=32
        )

    return activations if read else bare


# By case: size of the data, and by contender the function and its arguments, ours first.
CASES = {
    "map": (
        (2000, 1000, 20_484),
        {
            "latentcortex, gcv": (map_ours,),
            "himalaya RidgeCV, all vertices at once": (map_himalaya, None),
            "himalaya RidgeCV, 4,096 at a time": (map_himalaya, 4096),
            "scikit-learn RidgeCV": (map_sklearn,),
            "two products": (map_products,),
        },
    ),
    "large": ((9000, 6400, 30_000, 1000), {"latentcortex, gcv": (map_ours,)}),
    "banded": (
        (1000, 500, 4000),
        {
            "latentcortex": (banded_ours,),
            "himalaya GroupRidgeCV, numpy": (banded_himalaya, "numpy"),
            "himalaya GroupRidgeCV, torch": (banded_himalaya, "torch"),
        },
    ),
    "permutation 200": ((200, 1, 20_484), {"latentcortex": (permutation_ours,), "loop": (permutation_loop,)}),
    "permutation 982": ((982, 1, 20_484), {"latentcortex": (permutation_ours,), "loop": (permutation_loop,)}),
    "unet": (None, {"latentcortex, all blocks": (unet, True), "bare passes": (unet, False)}),
}


def run_one(case, name):
    """Run one contender; return its seconds, peak memory (GB) and correlation with new rows."""
    size, contenders = CASES[case]
    function, *arguments = contenders[name]
    if size is None:
        call = function(*arguments)
        call()  # the first pass also chooses kernels
    else:
        data, few = simulate(*size), simulate(60, size[1], 20)
        new_betas, used = data[3], [0, 1, 3 if case.startswith("permutation") else 2]
        function(*(few[k] for k in used), *arguments)  # the first call also imports

        def call():
            return function(*(data[k] for k in used), *arguments)

    before, start = reset_peak(), time.perf_counter()
    predicted = call()
    seconds = time.perf_counter() - start
    if function is permutation_loop:
        seconds *= N_PERMUTATIONS / N_LOOPED
    found = {"seconds": seconds, "gigabytes": (memory("VmHWM") - before) / 1e9, "r": float("nan")}
    if predicted is not None:
        pair = [np.asarray(of, np.float64) - np.mean(of, axis=0) for of in (predicted, new_betas)]
        products = [
            (one * other).sum(0) for one, other in ((pair[0], pair[1]), (pair[0],) * 2, (pair[1],) * 2)
        ]
        found["r"] = float(np.mean(products[0] / np.sqrt(products[1] * products[2])))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", help="run this contender of the first case alone, print JSON")
    args = parser.parse_args()
    if args.one:
        print(json.dumps(run_one(args.cases[0], args.one)))
        return
    libraries = ("numpy", "torch", "scikit-learn", "himalaya")
    versions = (f"{name} {importlib.metadata.version(name)}" for name in libraries)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores;", *versions)
    for case in args.cases:
        names = list(CASES[case][1])
        found = {name: [] for name in names}
        for k in range(args.rounds):
            for name in names:
                print(f"{case}, round {k + 1}, {name}", end="\r", file=sys.stderr)
                command = [sys.executable, __file__, "--cases", case, "--one", name]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode:
                    raise RuntimeError(f"{name} failed in {case}: {done.stderr[-2000:]}")
                found[name].append(json.loads(done.stdout.splitlines()[-1]))
        print(f"\n{case}\n{'seconds':>9} {'to ours':>8} {'GB':>6} {'r':>7}")
        for name, made in found.items():
            pairs = zip(made, found[names[0]], strict=True)
            ratio = np.median([one["seconds"] / ours["seconds"] for one, ours in pairs])
            seconds = np.median([one["seconds"] for one in made])
            print(
                f"{seconds:9.2f} {ratio:8.2f} {made[0]['gigabytes']:6.2f} {made[0]['r']:7.4f}  {name}",
                flush=True,
            )


if __name__ == "__main__":
    main()
