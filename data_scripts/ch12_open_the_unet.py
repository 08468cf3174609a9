"""Scores of the U-Net's blocks on every vertex, by share of noise, with what else could explain a winner.

Each block is read with and without text, at six shares of noise. Next to the trained network there is one of
random weights, the noised latent itself, pixels at each block's size, and each block averaged to one size.
Where the data are simulated, the same is asked in other simulated worlds.
"""

import numpy as np
import torch

from latentcortex import encoding, features, nsd
from latentcortex.studies import jobs, maps
from latentcortex.studies.noisy_features import Reading, blocks, noised, unet_features
from latentcortex.studies.study import DIFFUSION
from latentcortex.studies.targets import targets

SHARES = (0.1, 0.3, 0.5, 0.7, 0.9, 0.98)
N_DRAWS = 4  # of the noise
N_PROJECTIONS = 5  # random projections of each block, as an automatic reduction would draw them
POOLED_TO = 4  # places a side, or as many as the smallest block has; in `mini` these are 4
CHECKED = 0.5  # share of noise whose scores the chapter computes again, of the first subject
# By seed: counterfactual worlds of the first seed, and the one that should show no hierarchy for all.
OTHER_SHARES = (0.5,)  # of the other seeds
WORLDS = {
    0: ("standard", "swapped", "uniform", "null"),
    1: ("standard", "uniform"),
    2: ("standard", "uniform"),
}
# Of blocks: trained, one draw; its mean over draws; a network of random weights. Without text, and with.
DRAWS = ("draw|empty", *(f"draw {k}|empty" for k in range(1, N_DRAWS)))
SETS = ("draw|empty", "draw|text", "random|empty", "random|text", "mean|empty")
TOLERANCE = {"of 98 in 100": 0.003}


def worlds_of(study):
    """List the worlds of each seed: only simulated data have other worlds."""
    return WORLDS if study.preset.data == "mini" else {0: ("measured",)}


def shares_of(seed):
    """Return the shares of noise that are looked at; the seeds that only repeat have fewer."""
    return SHARES if seed == 0 else OTHER_SHARES


def features_of(study, share, seed, image_ids):
    """Return all feature sets of images at a share of noise: arrays by (set, layer)."""
    found, layers = {}, list(blocks(study))

    def read(name, reading, forms=()):
        names = [(layer, text, "0") for layer in layers for text in reading.conditions]
        names += [(layer, "empty", form) for layer in layers for form in forms]
        for (layer, text, form), values in unet_features(study, reading, names, image_ids).items():
            found[f"{name}|{text}" if form == "0" else f"form {form}", layer] = values

    read("random", Reading(share, 0, "random 0"))
    if seed > 0:
        read("draw", Reading(share))
        return found
    forms = [*map(str, range(1, N_PROJECTIONS)), "pooled"]
    side = min(POOLED_TO, *(n for block in blocks(study).values() for n in block.shape[1:]))
    read("draw", Reading(share, n_projections=N_PROJECTIONS, pooled_to=side), forms)
    for k in range(1, N_DRAWS):
        read(f"draw {k}", Reading(share, k, conditions=("empty",)))
    for layer in layers:
        found["mean|empty", layer] = np.mean([found[draw, layer] for draw in DRAWS], axis=0)
    found["noised", ""] = noised(study, share, 0, image_ids)[0].numpy()
    return found


def plain_features(study, image_ids):
    """Return feature sets without noise: z, c and pixels at the size of each block."""
    images = torch.from_numpy(nsd.images(study.root, image_ids, study.preset.image_size))
    sizes = {layer.shape[-1]: layer for layer in blocks(study).values()}
    found = {name: of.numpy() for name, of in targets(study, "zc", image_ids).items()}
    return found | {f"pixels {n}": features.pixels_of_layer(images, sizes[n]).numpy() for n in sorted(sizes)}


def make(study, seed, subject, share):
    """Score every block at one share of noise for one subject, in all worlds of a seed."""
    worlds = worlds_of(study)[seed]
    base, seen = maps.study_of_world(study, worlds[0], seed), maps.read_worlds(study, worlds, seed, subject)
    layers, r, draws = list(blocks(base)), {}, {}
    for (name, layer), values in features_of(base, share, seed, seen.image_ids).items():
        in_all = name in (*SETS, "noised")
        predicted = seen.predict(values, None if in_all else 1)
        r[name, layer] = seen.correlate(predicted)
        if name in SETS:
            draws[name, layer] = seen.resampled(predicted)

    def of_layers(name):
        return np.array([r[name, layer] for layer in layers])  # (n_layers, n_worlds, n_vertices)

    def winners(names):
        return np.array([encoding.best_layer(of_layers(name)[:, 0])[0] for name in names], np.int8)

    def in_areas(names):  # (n_names, n_layers, n_areas), of the first world
        return np.array([[seen.by_area(of)[0] for of in of_layers(name)] for name in names])

    sets = [name for name in SETS if (name, layers[0]) in r]
    result = {
        "areas": np.array([[seen.by_area(of) for of in of_layers(name)] for name in sets]),
        "resampled": np.array([[seen.resampled_by_area(draws[name, of]) for of in layers] for name in sets]),
    }
    if seed > 0:
        return result
    winner = winners(["mean|empty"])[0]
    resampled = np.array([draws["mean|empty", layer] for layer in layers])
    result |= {
        "pooled": in_areas(["form pooled"])[0],
        "noised": seen.by_area(r["noised", ""]),
        "ceiling": seen.ceiling[0],
        "r": of_layers("mean|empty")[:, 0],
        "winner": winner,
        # How often the winner wins when the test images are drawn again.
        "wins": (np.nan_to_num(resampled, nan=-2).argmax(0) == winner).mean(0),
        "by_projection": winners(["draw|empty", *(f"form {k}" for k in range(1, N_PROJECTIONS))]),
        "by_draw": winners(DRAWS),
        "areas_by_draw": in_areas(DRAWS),
    }
    if share == CHECKED:
        result["checked"] = of_layers("draw|empty")[:, 0]
        for name, values in plain_features(base, seen.image_ids).items():
            result[f"plain {name}"] = seen.by_area(seen.correlate(seen.predict(values)))
    return result


def gather(study, load):
    """Stack the parts (subject, share, ...): the first seed in the main file, each other one in its own."""
    products = {}
    for seed, worlds in worlds_of(study).items():
        shares = shares_of(seed)
        parts = [[load(seed, subject, share) for share in shares] for subject in study.subjects]
        names = [name for name in parts[0][0] if name != "checked" and not name.startswith("plain ")]
        arrays = {name: np.array([[part[name] for part in row] for row in parts]) for name in names}
        # All subjects see the same test images, so the mean over subjects has an interval over images.
        arrays["resampled"] = arrays["resampled"].mean(0)
        if seed == 0:
            with_more = [row[shares.index(CHECKED)] for row in parts]
            plain = [name for name in with_more[0] if name.startswith("plain ")]
            arrays |= {name: np.array([part[name] for part in with_more]) for name in plain}
            arrays |= {"checked": with_more[0]["checked"], "ceiling": arrays["ceiling"][:, 0]}
            visual = nsd.roi_mask(study.root, "nsdgeneral", "nsdgeneral", study.preset.space)
            arrays["vertices"] = np.flatnonzero(visual).astype(np.int32)
        is_float = {name: of.dtype.kind == "f" for name, of in arrays.items()}
        arrays = {name: of.astype(np.float16) if is_float[name] else of for name, of in arrays.items()}
        provenance = {
            "worlds": worlds,
            "subjects": study.subjects,
            "layers": list(blocks(study)),
            "shares": shares,
            "sets": [name for name in SETS if seed == 0 or not name.startswith("mean")],
            "areas": list(maps.AREAS),
            "tolerance": TOLERANCE,
        }
        products["" if seed == 0 else f"-seed{seed}"] = arrays, provenance
    return products


def make_job(study, _args):
    """Cut the work into parts."""
    maps.check_surface(study)
    worlds = worlds_of(study)
    parts = [(s, subject, share) for s in worlds for subject in study.subjects for share in shares_of(s)]
    return jobs.Job(study, parts, make, gather, study.description(*DIFFUSION, worlds=worlds))


if __name__ == "__main__":
    jobs.main(__doc__, make_job)
