"""For each task of `latentcortex.teaching`: the method of its chapter, and a common misunderstanding."""

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


def spread(data):
    centred = {k: data["betas"][data["session"] == k] for k in np.unique(data["session"])}
    return best_of({k: rows.std(axis=0).mean() for k, rows in centred.items()})


def farthest_mean(data):
    mean = {k: data["betas"][data["session"] == k].mean() for k in np.unique(data["session"])}
    return best_of({k: abs(m - np.mean(list(mean.values()))) for k, m in mean.items()})


def ceiling(data, n=3):
    return nsd.noise_ceiling(nsd.estimate_ncsnr(data["betas"], data["image_ids"]), n).mean()


def correlate(a, b):
    return np.corrcoef(a.ravel(), b.ravel())[0, 1]


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


def looks_most_alike(data):
    rows = range(len(data["originals"]))
    pairs = {
        k: [np.corrcoef(data["originals"][i], d[i])[0, 1] for i in rows] for k, d in data["drawings"].items()
    }
    return best_of({k: np.mean(r) for k, r in pairs.items()})


def receptive_field(data, sign=1):
    sizes = (0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6)
    candidates = encoding.candidate_fields(data["width"], 21, sizes)
    fields = encoding.gaussian_fields(candidates, data["maps"].shape[1:], data["width"])
    features = data["maps"].reshape(len(data["maps"]), -1) @ fields.T
    r = encoding.correlation(features, np.repeat(data["betas"][:, None], len(candidates), axis=1))
    x, y, size = candidates[r.argmax()]
    return x, sign * y, size


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


def highest_score(data):
    return best_of(
        {k: run(data["betas"], data["z"], data["is_train"]) for k, run in data["pipelines"].items()}
    )


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
    "09_needs_brain": (needs_brain, looks_most_alike),
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
    "14_leak": (leak, highest_score),
}
