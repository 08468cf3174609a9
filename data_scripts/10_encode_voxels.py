"""Score z, c and the planted variables on every vertex, in the preset's data and other worlds.

Reads the preset's NSD tree and model; for simulated data also other simulated worlds, which are
built if they are not there (1.7 GB and two minutes each), and what was planted in them. Writes one
file, results/10_encode_voxels-<tree>.npz. What a subject gave is kept in the cache: started again,
the script goes on where it was. Nothing is deleted.
"""

import argparse
import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import products
import torch
from scipy import stats
from sklearn.decomposition import PCA
from tqdm.auto import tqdm

from latentcortex import encoding, features, nsd, presets, ridge, store

# Of z and of c alike. Chosen on training images of one subject by generalised cross-validation,
# from 6 to 400: the score rises up to here and stays flat after.
N_COMPONENTS = 200
LOWEST_CEILING = 0.05  # in R2: vertices that preference is asked of
Q = 0.05  # false discovery rate
N_DRAWS = 200  # of images, and with each of vertices where two regions are compared
SEED = 0
# A region of the book: an atlas and the names in it.
REGIONS = {
    "V1": ("prf-visualrois", ["V1v", "V1d"]),
    "V2": ("prf-visualrois", ["V2v", "V2d"]),
    "V3": ("prf-visualrois", ["V3v", "V3d"]),
    "hV4": ("prf-visualrois", ["hV4"]),
    "early": ("streams", ["early"]),
    "ventral": ("streams", ["ventral"]),
    "lateral": ("streams", ["lateral"]),
    "parietal": ("streams", ["parietal"]),
    "faces": ("floc-faces", ["OFA", "FFA-1", "FFA-2"]),
    "places": ("floc-places", ["OPA", "PPA", "RSC"]),
    "bodies": ("floc-bodies", ["EBA", "FBA-1"]),
}
COMPARED = ("early", "ventral")  # first minus second, at matched numbers of vertices
WORLDS = ["standard:0", "swapped:0", "uniform:0", "uniform:1", "uniform:2"]
WORLDS += ["null:0", "null:1", "null:2", "standard:1", "standard:2"]
# Three seeds were declared; seven more tell whether what they show is chance.
WORLDS += [f"uniform:{seed}" for seed in range(3, 10)]


def read_scenes(root, image_ids):
    """Read the ground truth of simulated images as scenes."""
    from latentcortex.mini.scenes import Scene, Thing

    def fill(kind, row, end, **known):
        names = {field.name for field in dataclasses.fields(kind)} - set(known)
        return kind(**{name: row[name + end] for name in names}, **known)

    table = pd.read_csv(root / "simulation/ground_truth.csv", index_col="image_id")
    scenes = []
    for row in table.loc[image_ids].to_dict("records"):
        things = tuple(fill(Thing, row, f"_{i + 1}") for i in range(row["n_things"]))
        scenes.append(fill(Scene, row, "", things=things))
    return scenes


def planted_features(root, image_ids, is_train):
    """Compute the variables that simulated vertices are tuned to, each (n_images, n_features).

    Low-level maps pooled to 8 x 8 places; what is in the scene, and how much of each of 6 x 6
    fields of the picture a thing of each kind fills. Scaled as the simulated cortex scales them.
    """
    from latentcortex.mini import tuning

    images = (255 * nsd.images(root, image_ids)).round().astype(np.uint8).transpose(0, 2, 3, 1)
    maps = tuning.low_level_maps(images)
    n, channels, side, _ = maps.shape
    low = maps.reshape(n, channels, 8, side // 8, 8, side // 8).mean((3, 5)).reshape(n, -1)
    scenes = read_scenes(root, image_ids)
    places = np.linspace(-3.5, 3.5, 6)  # degrees
    x, y = (grid.ravel() for grid in np.meshgrid(places, places))
    kinds = tuning.kinds_in_fields(scenes, x, y, np.full(x.shape, 1.0)).reshape(n, -1)
    variables = tuning.scene_variables(scenes)

    def standardised(values):
        scale = values[is_train].std(0)
        return (values - values[is_train].mean(0)) / np.where(scale > 0, scale, 1)

    return {"low": standardised(low), "semantic": np.hstack([standardised(variables), 3 * kinds])}


def reduce(space, is_train):
    """Keep N_COMPONENTS directions of a feature space (n_images, n_features), fitted on training.

    The components are turned back into the features' own axes: z-scoring each component, as the
    encoder would, gives the smallest as much weight as the largest and lowers every score.
    """
    scale = space[is_train].std(0)
    space = space[:, scale > 1e-3 * scale.max()]  # the first token of a caption is always the same
    pca = PCA(N_COMPONENTS, svd_solver="full").fit(space[is_train])
    return pca.inverse_transform(pca.transform(space)).astype(np.float32)


def predict(space, is_train, train):
    """Fit one feature space (n_images, n_features) on training rows, predict the test rows.

    Returns the predicted betas (n_test, n_vertices), and which penalties lie at the grid's edge.
    """
    reduced = reduce(space, is_train)
    encoder = encoding.VoxelwiseEncoder(cv="gcv")
    encoder.fit(reduced[is_train], *train)
    alphas = encoder.ridge_.alpha_
    at_edge = np.isin(alphas, ridge.alpha_grid(reduced.shape[1])[[0, -1]])
    return encoder.predict(reduced[~is_train]), at_edge


def interval(draws):
    return np.quantile(draws, [0.025, 0.975], axis=0)


def compare_regions(preference, draws, first, second, rng):
    """Compare two regions at matched numbers of vertices.

    Parameters
    ----------
    preference : array (n_vertices,)
    draws : array (n_draws, n_vertices)
        Of the same over resampled images. Each is given a subsample of vertices of its own.
    first, second : bool array (n_vertices,)

    Returns
    -------
    array (3,)
        Mean over subsamples of first minus second; lower and upper end of the 95% interval.
    """
    n = min(first.sum(), second.sum())
    found, resampled = [], []
    for draw in draws:
        a, b = (rng.choice(np.flatnonzero(mask), n, replace=False) for mask in (first, second))
        found.append(preference[a].mean() - preference[b].mean())
        resampled.append(draw[a].mean() - draw[b].mean())
    return np.array([np.mean(found), *interval(resampled)])


def encode_subject(root, subject, preset, model):
    """Score one subject; a dict of arrays, see `main` for what becomes of them."""
    train, (test_betas, test_ids, test_repeats) = nsd.image_responses(root, subject, preset.space)
    image_ids = np.concatenate([train[1], test_ids])
    is_train = np.arange(len(image_ids)) < len(train[1])
    latents = zip("zc", products.encode(preset, model, root, image_ids), strict=True)
    spaces = {name: values.flatten(1).numpy() for name, values in latents}
    simulated = (root / "simulation").is_dir()
    if simulated:
        spaces |= planted_features(root, image_ids, is_train)
    fitted = {name: predict(space, is_train, train) for name, space in spaces.items()}
    predicted = {name: values for name, (values, _) in fitted.items()}
    r = {name: encoding.correlation(p, test_betas) for name, p in predicted.items()}
    ceiling = nsd.noise_ceiling(nsd.ncsnr(root, subject, preset.space), test_repeats)
    visual = nsd.roi_mask(root, "nsdgeneral", "nsdgeneral")
    asked = visual & (ceiling >= LOWEST_CEILING)
    result = {"ceiling": ceiling[visual], "n_test_images": len(test_betas)}

    for name in ("z", "c"):
        p = encoding.p_values(r[name], len(test_betas))
        found, _ = encoding.fdr(p, Q)
        result[f"r_{name}"] = r[name][visual]
        result[f"edge_share_{name}"] = fitted[name][1][asked].mean()
        # Discoveries in visual cortex and outside, and what would be called so without correction.
        result[f"discoveries_{name}"] = np.array([found[visual].sum(), found[~visual].sum()])
        result[f"uncorrected_{name}"] = np.array([(p[visual] <= Q).sum(), (p[~visual] <= Q).sum()])
    result["n_tested"] = np.array([visual.sum(), (~visual).sum()])

    # The same seed draws the same images, so that differences are paired.
    draws = {
        name: encoding.bootstrap_correlation(
            predicted[name][:, asked], test_betas[:, asked], np.random.default_rng(SEED), N_DRAWS
        )
        for name in ("z", "c")
    }
    preferred = encoding.preference(r["z"], r["c"], ceiling, LOWEST_CEILING)[asked]
    preferred_draws = encoding.preference(draws["z"], draws["c"], ceiling[asked], LOWEST_CEILING)
    masks = {name: nsd.roi_mask(root, *region)[asked] for name, region in REGIONS.items()}
    for name, values, resampled in (
        ("z", r["z"][asked], draws["z"]),
        ("c", r["c"][asked], draws["c"]),
        ("preference", preferred, preferred_draws),
    ):
        result[f"regions_{name}"] = np.array(
            [[values[m].mean(), *interval(resampled[:, m].mean(1))] for m in masks.values()]
        )
    result["region_sizes"] = np.array([m.sum() for m in masks.values()])
    result["difference"] = compare_regions(
        preferred, preferred_draws, *(masks[name] for name in COMPARED), np.random.default_rng(SEED)
    )
    if simulated:
        planted = pd.read_csv(root / f"simulation/planted_{subject}.csv").mixture.to_numpy()[asked]
        # Found; with one of the two replaced by what was really planted; with both.
        pairs = [("z", "c"), ("low", "c"), ("z", "semantic"), ("low", "semantic")]
        maps = [encoding.preference(r[a], r[b], ceiling, LOWEST_CEILING)[asked] for a, b in pairs]
        result["spearman"] = np.array([stats.spearmanr(planted, m).statistic for m in maps])
    return result


def open_roots(preset, worlds):
    """Open the data: (world, seed) and root of each."""
    if preset.data != "mini":
        yield ("measured", 0), preset.open()
        return
    from latentcortex.mini import build

    for text in worlds:
        world, _, seed = text.partition(":")
        yield (world, int(seed)), build.open_tree(world, int(seed))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", help="by default $LATENTCORTEX_PRESET, else mini")
    parser.add_argument("--worlds", nargs="+", default=WORLDS, metavar="WORLD:SEED", help="of simulated data")
    parser.add_argument("--results", type=Path, default=products.RESULTS)
    args = parser.parse_args()

    preset = presets.get(args.preset)
    model = features.load_latent_diffusion(preset.model, preset.revision, device=preset.device)
    settings = {
        "preset": preset.name,
        "space": preset.space,
        "image_size": preset.image_size,
        "n_components": N_COMPONENTS,
        "lowest_ceiling": LOWEST_CEILING,
        "q": Q,
        "n_draws": N_DRAWS,
        "seed": SEED,
        "regions": list(REGIONS),
        "compared": list(COMPARED),
    }
    source = store.source_hash(products.sources([__file__], ("encoding", "ridge")), settings)
    weights = products.weights_hash(preset, "vae", "text_encoder", "tokenizer")
    cache = store.cache_folder() / "10_encode_voxels"

    subjects = [f"subj{number:02d}" for number in preset.subjects]
    runs, trees, rows = [], [], []
    n_runs = len(args.worlds) if preset.data == "mini" else 1
    with tqdm(total=n_runs * len(subjects), unit="subject") as bar:
        for run, root in open_roots(preset, args.worlds):
            for subject in subjects:
                bar.set_description(f"{run[0]}, seed {run[1]}, {subject}")
                path = cache / f"{root.name}-{subject}-{source[:8]}-{weights[:8]}.npz"
                if not path.is_file():
                    arrays = encode_subject(root, subject, preset, model)
                    store.save(path, provenance=settings | {"tree": root.name}, **arrays)
                rows.append(store.load(path))
                bar.update()
            runs.append(run)
            trees.append(root.name)
            vertices = np.flatnonzero(nsd.roi_mask(root, "nsdgeneral", "nsdgeneral"))

    # Every array gets the axes (n_runs, n_subjects) in front; scores of vertices become float16.
    arrays = {}
    for name in rows[0]:
        stacked = np.stack([row[name] for row in rows])
        stacked = stacked.reshape(len(runs), len(subjects), *stacked.shape[1:])
        arrays[name] = stacked.astype(np.float16) if stacked.shape[-1] == len(vertices) else stacked
    path = store.save(
        args.results / f"{Path(__file__).stem}-{preset.open().name}.npz",
        provenance=settings
        | {
            "script": f"data_scripts/{Path(__file__).name}",
            "trees": trees,
            "subjects": subjects,
            "source_hash": source,
            "weights_hash": weights,
            "simulated": preset.data == "mini",
            # float16, and penalties that flip between neighbours where the arithmetic differs.
            "tolerance": {"r": 0.003, "share_of_vertices": 0.98},
        },
        worlds=np.array([world for world, _ in runs]),
        seeds=np.array([seed for _, seed in runs]),
        subjects=np.array(subjects),
        regions=np.array(list(REGIONS)),
        vertices=vertices.astype(np.int32),
        **arrays,
    )
    print(f"Wrote {path} ({path.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    with torch.inference_mode():
        main()
