"""For each task of `latentcortex.teaching`: its chapter's method, a misunderstanding, and shortcuts."""

import numpy as np

from latentcortex import encoding, metrics, nsd
from latentcortex.ridge import Ridge

GRID = np.logspace(-1, 6, 29)


def held_out(features, betas, alphas=None):
    """Return the mean correlation on the last third of rows after a ridge on the others."""
    n = len(betas) * 2 // 3
    fit = Ridge(GRID if alphas is None else alphas, cv="gcv" if alphas is None else None)
    fit = fit.fit(features[:n], betas[:n])
    return np.nanmean(encoding.correlation(fit.predict(features[n:]), betas[n:]))


def fitted(features, betas):
    """Return the mean correlation on the very rows that were fitted."""
    return np.nanmean(encoding.correlation(Ridge(1.0).fit(features, betas).predict(features), betas))


def best_of(scores):
    return max(scores, key=scores.get)


def least_of(scores):
    return min(scores, key=scores.get)


def all_std(sets):
    return {name: x.std() for name, x in sets.items()}


def spread(data):
    centred = {k: data["betas"][data["session"] == k] for k in np.unique(data["session"])}
    return best_of({k: rows.std(axis=0).mean() for k, rows in centred.items()})


def by_session(data, summary):
    return best_of({k: summary(data["betas"][data["session"] == k]) for k in np.unique(data["session"])})


def farthest_mean(data):
    mean = {k: data["betas"][data["session"] == k].mean() for k in np.unique(data["session"])}
    return best_of({k: abs(m - np.mean(list(mean.values()))) for k, m in mean.items()})


def ceiling(data, n=3):
    return nsd.noise_ceiling(nsd.estimate_ncsnr(data["betas"], data["image_ids"]), n).mean()


def correlate(a, b):
    return np.corrcoef(a.ravel(), b.ravel())[0, 1]


def preference(data):
    """Return how much better z than c is decoded from each region."""
    return {
        name: held_out(betas, data["z"]) - held_out(betas, data["c"]) for name, betas in data["betas"].items()
    }


def penalty(data):
    return np.log10(Ridge(GRID, cv="gcv").fit(data["betas"], data["features"]).alpha_).mean()


def penalty_of_the_fit(data):
    x, y = data["betas"], data["features"]
    left = {a: ((y - Ridge(a).fit(x, y).predict(x)) ** 2).sum() for a in GRID[::4]}
    return np.log10(min(left, key=left.get))


def strength(data):
    slope = (data["latents"] * data["start"]).sum() / (data["latents"] ** 2).sum()
    return (np.abs(np.sqrt(data["alphas_cumprod"]) - slope).argmin() + 1) / len(data["alphas_cumprod"])


def share_as_strength(data):
    return 1 - correlate(data["latents"], data["start"]) ** 2


def canonical(data):
    """Count canonical correlations that hold on the other half of the images."""
    n = len(data["first"]) // 2
    first, second = (data[name] - data[name][:n].mean(axis=0) for name in ("first", "second"))
    (_, s1, v1), (_, s2, v2) = (np.linalg.svd(x[:n], full_matrices=False) for x in (first, second))
    white = (v1.T / s1, v2.T / s2)
    u, _, v = np.linalg.svd((first[:n] @ white[0]).T @ (second[:n] @ white[1]))
    a, b = first[n:] @ white[0] @ u, second[n:] @ white[1] @ v.T
    return int((encoding.correlation(a, b) > 0.5).sum())


def dimensions_of_one(data):
    values = np.linalg.eigvalsh(np.cov(data["first"].T))
    return int((values > 5).sum())


def needs_brain(data):
    true = data["originals"] - data["originals"].mean(axis=0)
    drawn = {k: d - d.mean(axis=0) for k, d in data["drawings"].items()}
    return best_of({k: metrics.identification(true, d).mean() for k, d in drawn.items()})


def likeness(data):
    """Return the mean correlation of drawings with their originals, over features, for each system."""
    return {k: encoding.correlation(data["originals"].T, d.T).mean() for k, d in data["drawings"].items()}


def corrected(data, shrunk=False):
    """Return the guess after a correction by the prediction, whose shrinking is undone or not."""
    true, predicted = data["true"], data["predicted"]
    r2 = 1 - (true - predicted).var() / true.var()
    measured = data["prediction"] / (1 if shrunk else r2)
    gain = data["guess_variance"] / (data["guess_variance"] + true.var() * (1 - r2) / r2)
    return data["guess"] + gain * (measured - data["guess"])


def receptive_field(data, sign=1):
    sizes = np.arange(0.4, 2.3, 0.2)
    candidates = encoding.candidate_fields(data["width"], 21, sizes)
    fields = encoding.gaussian_fields(candidates, data["maps"].shape[1:], data["width"])
    features = data["maps"].reshape(len(data["maps"]), -1) @ fields.T
    r = encoding.correlation(features, np.repeat(data["betas"][:, None], len(candidates), axis=1))
    x, y, size = candidates[r.argmax()]
    return x, sign * y, size


def spectrum(x):
    """Return the largest share of the variance of responses that one dimension has."""
    values = np.linalg.eigvalsh(np.cov(x.T))
    return values[-1] / values.sum()


def difference(data):
    return (data["latents"] - data["noisy_latents"]).var()


def mean_of_draws(draws):
    return np.mean([correlate(a, b) for k, a in enumerate(draws) for b in draws[:k]])


def unique(data):
    n = len(data["betas"]) // 2
    r2 = {}
    for name, x in (("both", np.hstack([data["z"], data["c"]])), ("c", data["c"]), ("z", data["z"])):
        fit = Ridge(GRID, cv="gcv").fit(x[:n], data["betas"][:n])
        left = data["betas"][n:] - fit.predict(x[n:])
        r2[name] = (1 - left.var(axis=0) / data["betas"][n:].var(axis=0)).mean()
    return r2


def leak(data):
    rng, score = np.random.default_rng(0), dict.fromkeys(data["pipelines"], 0.0)
    for _ in range(60):
        shuffled = rng.permutation(data["z"])
        for name, run in data["pipelines"].items():
            score[name] += run(data["betas"], shuffled, data["is_train"])
    return best_of(score)


def scores_of(data):
    return {k: run(data["betas"], data["z"], data["is_train"]) for k, run in data["pipelines"].items()}


# Task: the method of the chapter, and the misunderstanding.
SOLVERS = {
    "01_sessions": (spread, farthest_mean),
    "02_ceiling": (ceiling, lambda d: ceiling(d, 1)),
    "03_noise_share": (
        lambda d: 1 - correlate(d["latents"], d["noisy_latents"]) ** 2,
        lambda d: 1 - correlate(d["latents"], d["noisy_latents"]),
    ),
    "04_penalty": (penalty, penalty_of_the_fit),
    "05_region": (
        lambda d: best_of({k: held_out(x, d["z"]) for k, x in d["betas"].items()}),
        lambda d: best_of({k: x.std() for k, x in d["betas"].items()}),
    ),
    "06_strength": (strength, share_as_strength),
    "07_shared": (canonical, dimensions_of_one),
    "08_setting": (
        lambda d: d["kappa"][d["scores"].mean(axis=0).argmax()],
        lambda d: d["kappa"][d["scores"][:12].mean(axis=0).argmax()],
    ),
    "08b_weigh": (corrected, lambda d: corrected(d, shrunk=True)),
    "09_needs_brain": (needs_brain, lambda d: best_of(likeness(d))),
    "10_field": (receptive_field, lambda d: receptive_field(d, -1)),
    "11_two_draws": (
        lambda d: 1 - mean_of_draws(d["noisy_latents"]),
        lambda d: 1 - mean_of_draws(d["noisy_latents"]) ** 2,
    ),
    "12_layer": (
        lambda d: best_of({k: held_out(x, d["betas"]) for k, x in d["layers"].items()}),
        lambda d: best_of({k: fitted(x, d["betas"]) for k, x in d["layers"].items()}),
    ),
    "13_mixture": (lambda d: unique(d)["both"] - unique(d)["c"], lambda d: unique(d)["z"]),
    "14_leak": (leak, lambda d: best_of(scores_of(d))),
    "15_preference": (
        lambda d: best_of(preference(d)),
        lambda d: best_of({k: held_out(x, d["z"]) for k, x in d["betas"].items()}),
    ),
    "16_rate": (
        lambda d: 1 / np.polyfit(d["tflop"], d["seconds"], 1)[0],
        lambda d: d["tflop"].sum() / d["seconds"].sum(),
    ),
}

# Task: answers that need no method, because of how the data are made or because the tolerance is wide.
SHORTCUTS = {
    "01_sessions": {
        "standard deviation of all responses": lambda d: by_session(d, np.std),
        "largest response": lambda d: by_session(d, lambda x: np.abs(x).max()),
    },
    "02_ceiling": {"middle": lambda _: 0.6, "two showings": lambda d: ceiling(d, 2)},
    "03_noise_share": {
        "middle": lambda _: 0.6,
        "variance of the difference": lambda d: min(1, difference(d)),
        "half of it": lambda d: difference(d) / 2,
    },
    "04_penalty": {
        "middle": lambda _: 2.2,
        "number of voxels": lambda d: np.log10(d["betas"].shape[1]),
        "number of images": lambda d: np.log10(len(d["betas"])),
    },
    "05_region": {
        "quietest": lambda d: least_of(all_std(d["betas"])),
        "most dimensions": lambda d: least_of({k: spectrum(x) for k, x in d["betas"].items()}),
        "fewest dimensions": lambda d: best_of({k: spectrum(x) for k, x in d["betas"].items()}),
    },
    "06_strength": {
        "middle": lambda _: 0.385,
        "one minus the slope": lambda d: 1 - (d["latents"] * d["start"]).sum() / (d["latents"] ** 2).sum(),
        "deviation of the noise": lambda d: share_as_strength(d) ** 0.5,
    },
    "07_shared": {"middle": lambda _: 5, "half of one subject's": lambda d: dimensions_of_one(d) // 2},
    "08_setting": {
        "middle": lambda d: d["kappa"][5],
        "best single image": lambda d: d["kappa"][d["scores"].max(axis=0).argmax()],
    },
    "08b_weigh": {
        "half-way": lambda d: (d["guess"] + d["prediction"]) / 2,
        "the guess alone": lambda d: d["guess"],
        "variance of what is left": lambda d: (
            d["guess"]
            + (d["prediction"] - d["guess"])
            * d["guess_variance"]
            / (d["guess_variance"] + (d["true"] - d["predicted"]).var())
        ),
    },
    "09_needs_brain": {
        "smallest standard deviation": lambda d: least_of(all_std(d["drawings"])),
        "weakest mean": lambda d: least_of({k: np.abs(x.mean(0)).mean() for k, x in d["drawings"].items()}),
        "least alike": lambda d: least_of(likeness(d)),
        "second most alike": lambda d: sorted((r, k) for k, r in likeness(d).items())[-2][1],
    },
    "10_field": {"size always 1": lambda d: (*receptive_field(d)[:2], 1.0)},
    "11_two_draws": {
        "middle": lambda _: 0.5,
        "variance across draws": lambda d: d["noisy_latents"].var(axis=0).mean(),
    },
    "12_layer": {
        "fewest features": lambda d: least_of({k: x.shape[1] for k, x in d["layers"].items()}),
        "20 features": lambda d: next(k for k, x in d["layers"].items() if x.shape[1] == 20),
    },
    "13_mixture": {"middle": lambda _: 0.2, "z less c": lambda d: unique(d)["z"] - unique(d)["c"]},
    "14_leak": {"lowest score": lambda d: least_of(scores_of(d))},
    "15_preference": {
        "worst c": lambda d: least_of({k: held_out(x, d["c"]) for k, x in d["betas"].items()}),
        "loudest": lambda d: best_of(all_std(d["betas"])),
        "most voxels": lambda d: best_of({k: x.shape[1] for k, x in d["betas"].items()}),
    },
    "16_rate": {
        "middle": lambda _: 14,
        "longest run alone": lambda d: d["tflop"].max() / d["seconds"][d["tflop"].argmax()],
    },
}
