"""Plan what a study of a preset computes: parts, bytes, GPU hours and cost, before anything is downloaded.

Operations are counted (`operations`). The rate at which a GPU does them was measured once, on an H200. For
other GPUs, and wherever no rate is given, hours are estimates: operations over peak rate times the same share
of the peak. ``benchmarks/rate_of_the_unet.py`` measures the rate of the GPU at hand.
"""

import math
from dataclasses import dataclass

import pandas as pd

from latentcortex import nsd
from latentcortex.nsd import files
from latentcortex.studies import maps
from latentcortex.studies.drawings import N_IN_BLOCK
from latentcortex.studies.noisy_features import N_PROJECTED
from latentcortex.studies.operations import STABLE_DIFFUSION, operations_of
from latentcortex.studies.replication import read_kit
from latentcortex.studies.replication_features import feature_sets, runs
from latentcortex.studies.targets import N_IN_FILE

# Peak rates in TFLOP/s by the makers' data sheets: half precision on tensor cores, and float32.
PEAKS = {"T4": (65, 8.1), "A100": (312, 19.5), "H100": (989, 67), "H200": (989, 67)}
MACHINES = {"one T4": ("T4", 1), "one A100": ("A100", 1), "eight H100": ("H100", 8)}
# Measured on an H200 (benchmarks/guided_sampler.py, in the README): 3.07 images a second, each 37 steps of 2
# passes of Stable Diffusion's U-Net in float16, four images at a time.
UTILISATION = 3.07 * 2 * 37 * STABLE_DIFFUSION["unet"] / 989e12  # 0.18 of the peak
UTILISATION_OF_RIDGE = 0.5  # of float32; assumed
# Round numbers to be replaced by your own; nobody quoted them. In dollars per GPU hour.
ASSUMED_PRICES = {"T4": 0.5, "A100": 2.0, "H100": 3.0}
ASSUMED_IN = "November 2026"
# NSD's design, for a plan without data: distinct images and shared ones of a subject, trials of a session.
_NSD = {"images": 10_000, "shared": 1_000, "trials": 750}
_VERTICES = {"fsaverage": 327_684, "fsaverage5": 20_484, "func1pt8mm": 15_724}  # the last: nsdgeneral, subj01


def _kit():
    """Return what the kit for figures 6 to 9 computes: steps of removal, readings, feature sets."""
    settings = read_kit()["features"]
    kept = [array for run in runs(settings).values() for array in run.kept]
    n_projected = sum("|" in array for array in kept)
    return {
        "steps": sum(settings["removed"].values()),
        "readings": len(settings["shares"]),
        "spaces": len(feature_sets(settings)),
        "latents": len(kept) - n_projected,
        "projections": n_projected,
    }


@dataclass(frozen=True)
class Sizes:
    """Hold the numbers that a plan depends on.

    Attributes
    ----------
    n_subjects : int
    n_train, n_test : int
        Training images of each subject, and test images, which all subjects share.
    n_images : int
        Different images of all subjects together.
    n_voxels : int
        Vertices or voxels of a subject that are mapped.
    n_repeats : int
        Drawings of each test image.
    """

    n_subjects: int
    n_train: int
    n_test: int
    n_images: int
    n_voxels: int
    n_repeats: int = 5

    def __post_init__(self):
        for name, value in vars(self).items():
            if not value >= 1:
                raise ValueError(f"{name} of a plan is {value}: expected at least 1.")


def sizes_of(preset, n_sessions=40, n_repeats=5):
    """Return the sizes of a preset's data, or of NSD's design where the data are not there yet.

    Parameters
    ----------
    preset : latentcortex.presets.Preset
    n_sessions : int
        Of each subject, for data that are not there yet.
    n_repeats : int
        Drawings of each test image.

    Returns
    -------
    sizes : Sizes
    origin : str
        In words, where the sizes come from.
    """
    subjects = preset.subject_names
    try:
        root = preset.open()
    except (OSError, ValueError):
        return sizes_of_design(preset, n_sessions, n_repeats)
    tables = {subject: nsd.trials(root, subject, preset.sessions) for subject in subjects}
    train, test = nsd.split(tables[subjects[0]])
    seen = set().union(*(table["image_id"].tolist() for table in tables.values()))
    mask = nsd.roi_mask(root, "nsdgeneral", "nsdgeneral", preset.space, subjects[0])
    n_voxels = _VERTICES[preset.space] if preset.space.startswith("fsaverage") else int(mask.sum())
    sizes = Sizes(len(subjects), len(train), len(test), len(seen), n_voxels, n_repeats)
    return sizes, f"counted in {root}"


def sizes_of_design(preset, n_sessions=40, n_repeats=5):
    """Return the sizes that NSD's design gives; parameters and results as for `sizes_of`.

    Raises
    ------
    ValueError
        If the space is unknown, or if there are not 1 to 40 sessions.
    """
    if preset.space not in _VERTICES:
        raise ValueError(
            f"A plan without data knows the spaces {', '.join(_VERTICES)}, got {preset.space!r}."
        )
    if preset.sessions is not None:
        n_sessions = len(preset.sessions)
    if not 1 <= n_sessions <= 40:
        raise ValueError(f"Expected 1 to 40 sessions, got {n_sessions}.")
    # A session shows new images and repeats: so many different ones at most.
    n_seen = min(_NSD["images"], _NSD["trials"] * n_sessions)
    n_test = min(_NSD["shared"], n_seen // 10)
    n_subjects, n_own = len(preset.subjects), n_seen - n_test
    sizes = Sizes(n_subjects, n_own, n_test, n_test + n_subjects * n_own, _VERTICES[preset.space], n_repeats)
    return sizes, f"NSD's design at {n_sessions} sessions: at most so many, because the data are not there"


def download_of(preset, n_sessions=40):
    """Return what a preset's part of NSD brings by name and size of its files, a dict of str to number.

    ``files`` counts the files without images, ``gigabytes`` is their size, and ``images`` the size of the
    photographs at most. ``memory`` is what responses take while they are scaled, in GB: single trials of at
    most `maps.N_IN_BLOCK` vertices, twice.
    """
    listed = files.files(preset.subjects, n_sessions, preset.space)
    n_trials = max(map(len, files.chosen_sessions(preset.subjects, n_sessions).values())) * files.N_TRIALS
    n_at_once = min(_VERTICES[preset.space], maps.N_IN_BLOCK)
    return {
        "files": len(listed),
        "gigabytes": sum(of.size or 0 for of in listed) / 1e9,
        "images": files.most_images(preset.subjects, n_sessions) * files.IMAGE_BYTES / 1e9,
        "memory": 2 * 4 * n_trials * n_at_once / 1e9,
    }


def plan(preset, sizes):
    """Return what a study computes, one row per kind of work.

    Parameters
    ----------
    preset : latentcortex.presets.Preset
    sizes : Sizes

    Returns
    -------
    pandas.DataFrame
        The index is the work. ``count`` units are computed in ``parts`` parts that are made and kept alone.
        ``tflop`` are its operations in 10^12, ``gigabytes`` is what is kept, ``precision`` is ``"half"`` or
        ``"single"``, and ``formula`` says how the operations of one unit follow.
    """
    kit, n_bytes = _kit(), _bytes_of(preset)
    each = _operations(preset, sizes, kit)
    images, drawn = sizes.n_images, sizes.n_subjects * sizes.n_test * sizes.n_repeats
    maps = sizes.n_subjects * kit["spaces"]
    rows = [
        ("z of the images", images, N_IN_FILE, "encode", n_bytes["z"]),
        ("c of the captions", images, N_IN_FILE, "captions", n_bytes["c"]),
        ("g of the images", images, N_IN_FILE, "guide", n_bytes["g"]),
        ("decoders of z and c", sizes.n_subjects, 1, "decoders", 0),
        ("drawings, z only", drawn, N_IN_BLOCK, "z only", n_bytes["drawing"]),
        ("drawings, c only", drawn, N_IN_BLOCK, "c only", n_bytes["drawing"]),
        ("drawings, both", drawn, N_IN_BLOCK, "both", n_bytes["drawing"]),
        ("drawings, guided", drawn, N_IN_BLOCK, "guided", n_bytes["drawing"]),
        ("z_c of figures 6 to 8", images, N_IN_FILE, "removal", kit["latents"] * n_bytes["z"] / 2),
        ("U-Net of figure 9", images, N_IN_FILE, "readings", kit["projections"] * N_PROJECTED * 2),
        ("maps of figures 6 to 9", maps, 1, "map", 2 * sizes.n_voxels),
    ]
    table = pd.DataFrame(
        {
            "count": [count for _, count, *_ in rows],
            "parts": [math.ceil(count / size) for _, count, size, *_ in rows],
            "tflop": [count * each[name][0] / 1e12 for _, count, _, name, _ in rows],
            "gigabytes": [count * size / 1e9 for _, count, _, _, size in rows],
            "precision": ["single" if name in ("decoders", "map") else "half" for *_, name, _ in rows],
            "formula": [each[name][1] for *_, name, _ in rows],
        },
        index=pd.Index([work for work, *_ in rows], name="work"),
    )
    return table


def _bytes_of(preset):
    """Return the bytes kept of an image: float32 features, and drawings of three bytes a pixel."""
    width_of_c, tokens_of_g, width_of_g = 768, 50, 768
    return {
        "z": 4 * math.prod(preset.latent_shape),
        "c": 4 * preset.n_tokens * width_of_c,
        "g": 4 * 6 * tokens_of_g * width_of_g,
        "drawing": 3 * preset.image_size**2,
    }


def _operations(preset, sizes, kit):
    """Return operations of a unit of each kind of work, and the formula in words."""
    one = operations_of(preset)
    taken = max(1, int(preset.n_steps * preset.strength))
    passes = 2 if preset.guidance_scale > 1 else 1  # with and without text
    guided = max(1, int(preset.guided_share * taken))
    both = passes * taken * one["unet"] + one["decode"]
    n, n_targets = sizes.n_train, math.prod(preset.latent_shape) + preset.n_tokens * 768
    kernel = 9 * n**3  # of its eigenvectors
    return {
        "encode": (one["encode"], "VAE encoder"),
        "captions": (5 * one["text"], "5 x text encoder"),
        "guide": (one["guide"], "CLIP image encoder"),
        "decoders": (kernel + 4 * n**2 * n_targets, "9 n^3 + 4 n^2 targets, n training images"),
        "z only": (taken * one["unet"] + one["decode"], f"{taken} x U-Net + VAE decoder"),
        "c only": (
            passes * preset.n_steps * one["unet"] + one["decode"],
            f"{passes * preset.n_steps} x U-Net + VAE decoder",
        ),
        "both": (both, f"{passes * taken} x U-Net + VAE decoder"),
        # Backwards through frozen networks takes as many operations as forwards.
        "guided": (
            both + guided * (one["unet"] + 2 * one["decode"] + 2 * one["guide"]),
            f"both + {guided} x (U-Net + 2 decoders + 2 CLIP)",
        ),
        "removal": (kit["steps"] * passes * one["unet"], f"{kit['steps'] * passes} x U-Net"),
        "readings": (kit["readings"] * one["unet"], f"{kit['readings']} x U-Net"),
        "map": (kernel + 4 * n**2 * sizes.n_voxels, "9 n^3 + 4 n^2 voxels, n training images"),
    }


def hours(table, gpu, n_gpus=1, half_rate=None, single_rate=None):
    """Return the hours of each row of a plan on some GPUs that share the parts.

    Parameters
    ----------
    table : pandas.DataFrame
        From `plan`.
    gpu : str
        A key of `PEAKS`.
    n_gpus : int
    half_rate, single_rate : float, optional
        Measured rates of one GPU in TFLOP/s. By default the peak times `UTILISATION` (half precision) and
        times `UTILISATION_OF_RIDGE` (float32): an estimate.

    Returns
    -------
    pandas.Series
        Hours that pass. Times `n_gpus` they are GPU hours.

    Raises
    ------
    ValueError
        If the GPU is unknown, or a number is not above 0.
    """
    if gpu not in PEAKS:
        raise ValueError(f"Expected a GPU of {', '.join(PEAKS)}, got {gpu!r}. Give its measured rates.")
    half, single = PEAKS[gpu]
    rates = {"half": half * UTILISATION, "single": single * UTILISATION_OF_RIDGE}
    rates |= {k: v for k, v in {"half": half_rate, "single": single_rate}.items() if v is not None}
    for name, value in {"n_gpus": n_gpus, **{f"{k}_rate": v for k, v in rates.items()}}.items():
        if not 0 < value < math.inf:
            raise ValueError(f"Expected {name} above 0, got {value}.")
    return table["tflop"] / table["precision"].map(rates) / 3600 / n_gpus


def machines_table(table, prices=None, half_rates=None):
    """Return hours and cost of a plan on the machines of `MACHINES`.

    Parameters
    ----------
    table : pandas.DataFrame
        From `plan`.
    prices : dict of str to float, optional
        Price of a GPU hour by GPU. By default `ASSUMED_PRICES`.
    half_rates : dict of str to float, optional
        Measured rates in TFLOP/s by GPU.

    Returns
    -------
    pandas.DataFrame
        One row per machine: ``hours`` that pass, ``gpu_hours`` and ``cost`` in the unit of the prices.

    Raises
    ------
    ValueError
        If a GPU is unknown or a price is below 0.
    """
    prices, half_rates = {**ASSUMED_PRICES, **(prices or {})}, half_rates or {}
    for name, value in {**prices, **half_rates}.items():
        if name not in PEAKS:
            raise ValueError(f"Expected a GPU of {', '.join(PEAKS)}, got {name!r}.")
        if not 0 <= value < math.inf:
            raise ValueError(f"Expected a number of at least 0 for {name}, got {value}.")
    rows = {}
    for name, (gpu, n_gpus) in MACHINES.items():
        passed = float(hours(table, gpu, n_gpus, half_rates.get(gpu)).sum())
        rows[name] = {"hours": passed, "gpu_hours": passed * n_gpus, "cost": passed * n_gpus * prices[gpu]}
    return pd.DataFrame.from_dict(rows, orient="index")
