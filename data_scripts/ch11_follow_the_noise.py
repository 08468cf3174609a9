"""Scores of z_c on every vertex: noise is added to z and removed again under c, at several strengths.

Next to it there are z, c and the noised latent itself. For the first subject there are several draws of the
noise and their mean, and the same removal without text. Where the data are simulated, the same is asked in
other simulated worlds, and at two strengths with other seeds: other scenes, other brains, other noise.
"""

import numpy as np

from latentcortex import encoding, nsd
from latentcortex.studies import jobs, maps
from latentcortex.studies.noisy_features import noised
from latentcortex.studies.removed_noise import Removal, removed
from latentcortex.studies.study import DIFFUSION
from latentcortex.studies.targets import targets

N_STEPS = 10  # from pure noise to an image
REMOVED = (2, 3, 4, 6, 8, 10)  # of these steps: shares of noise of 0.33 to 0.99
N_DRAWS = 4  # of the noise, of the first subject, at these strengths
AVERAGED = (4, 8)
# By seed: counterfactual worlds of the first seed, and the one that should show no hierarchy for all.
WORLDS = {
    0: ("standard", "swapped", "uniform", "null"),
    1: ("standard", "uniform"),
    2: ("standard", "uniform"),
}
REMOVED_AGAIN = (6, 10)  # steps of the other seeds: just before z_c falls, and where it is lowest
SETS = ("z", "c", "noised", "z_c")
SHUFFLED = ("z", "z_c")  # scores that are also computed after the test images were shuffled
SEED_OF_SHUFFLE = 19
# For the joint model of z and z_c: either alone, both alike, and in between.
BANDS = np.array([[1, 0], [0.8, 0.2], [0.5, 0.5], [0.2, 0.8], [0, 1]])
TOLERANCE = {"of 98 in 100": 0.003}


def worlds_of(study):
    """List the worlds of each seed: only simulated data have other worlds."""
    return WORLDS if study.preset.data == "mini" else {0: ("measured",)}


def removed_of(seed):
    """Return the numbers of steps that are looked at; the seeds that only repeat have fewer."""
    return REMOVED if seed == 0 else REMOVED_AGAIN


def removal_of(study, n_removed, draw=0, **more):
    """Return a removal of so many of N_STEPS steps, with the preset's guidance scale."""
    return Removal(n_removed, N_STEPS, study.preset.guidance_scale, draw, **more)


def features_of(study, n_removed, image_ids, is_first, along):
    """Return all feature sets of images at one strength, by name."""
    removal = removal_of(study, n_removed)
    share, names = removal.share(study.model.scheduler), ["z_c"]
    if along:  # the whole way
        names += [f"x0 {k}" for k in range(N_STEPS)] + [f"z_t {k}" for k in range(1, N_STEPS)]
    found = {name: of.numpy() for name, of in targets(study, "zc", image_ids).items()}
    found["noised"] = noised(study, share, 0, image_ids)[0].numpy()
    found |= removed(study, removal, names, image_ids)
    if is_first:
        without = removal_of(study, n_removed, with_text=False)
        found["without text"] = removed(study, without, ["z_c"], image_ids)["z_c"]
    if is_first and n_removed in AVERAGED:
        for k in range(1, N_DRAWS):
            found[f"noised {k}"] = noised(study, share, k, image_ids)[0].numpy()
            found[f"z_c {k}"] = removed(study, removal_of(study, n_removed, k), ["z_c"], image_ids)["z_c"]
        for name in ("noised", "z_c"):
            draws = [found[name], *(found[f"{name} {k}"] for k in range(1, N_DRAWS))]
            found[f"{name} mean"] = np.mean(draws, axis=0)
    return found


def unique_parts(seen, z, z_c):
    """Return what z and z_c explain alone and what they share, (3, n_vertices) of the first world, in R2."""
    n, n_vertices = seen.n_train, seen.ceiling.shape[1]
    spaces = {
        name: encoding.low_rank(values, seen.is_train, maps.N_COMPONENTS)
        for name, values in {"z": z, "z_c": z_c}.items()
    }
    betas, ids, n_repeats = seen.train
    measured, r2 = seen.test_betas[:, :n_vertices], {}
    for name, bands in {"both": BANDS, "z": BANDS[:1], "z_c": BANDS[-1:]}.items():
        encoder = encoding.BandedEncoder(bands)
        encoder.fit({k: v[:n] for k, v in spaces.items()}, betas[:, :n_vertices], ids, n_repeats)
        predicted = encoder.predict({k: v[n:] for k, v in spaces.items()}, seen.image_ids[n:])
        r2[name] = encoding.out_of_sample_r2(predicted, measured)
    return np.stack(encoding.unique_and_shared(r2["both"], r2["z"], r2["z_c"]))


def make(study, seed, subject, n_removed):
    """Score all sets at one strength for one subject, in all worlds of a seed."""
    worlds = worlds_of(study)[seed]
    base, seen = maps.study_of_world(study, worlds[0], seed), maps.read_worlds(study, worlds, seed, subject)
    is_first, along = seed == 0 and subject == study.subjects[0], seed == 0 and n_removed == N_STEPS
    values = features_of(base, n_removed, seen.image_ids, is_first, along)
    result, r, resampled, of_first = {}, {}, {}, {}
    for name, of in values.items():
        predicted = seen.predict(of)
        if name in SHUFFLED:  # of the first world
            of_first[name] = predicted[:, : seen.ceiling.shape[1]]
        r[name] = seen.correlate(predicted)
        result[f"areas {name}"] = seen.by_area(r[name])
        if name in SETS:
            resampled[name] = seen.resampled_by_area(seen.resampled(predicted))
    result["resampled"] = np.array([resampled[name] for name in SETS])
    if seed > 0:
        return result
    order = np.random.default_rng(SEED_OF_SHUFFLE).permutation(len(seen.test_betas))
    unique = unique_parts(seen, values["z"], values["z_c"])
    return result | {
        "r_shuffled": np.array([seen.correlate(of_first[name][order])[0] for name in SHUFFLED]),
        "unique": np.stack([seen.by_area(part[None])[0] for part in unique]),
        "ceiling": seen.ceiling[0],
        "r": np.array([r[name][0] for name in SETS]),
    }


def gather(study, load):
    """Stack the parts of each seed in a file: (subject, strength, ...), without an axis of one word only."""
    return {"" if seed == 0 else f"-seed{seed}": _of_seed(study, load, seed) for seed in worlds_of(study)}


def _of_seed(study, load, seed):
    removed_steps = removed_of(seed)
    parts = {(s, n): load(seed, s, n) for s in study.subjects for n in removed_steps}
    first, arrays = study.subjects[0], {}
    for name in sorted({name for part in parts.values() for name in part}):
        subjects = [s for s in study.subjects if any(name in parts[s, n] for n in removed_steps)]
        strengths = [n for n in removed_steps if name in parts[first, n]]
        stacked = np.array([[parts[s, n][name] for n in strengths] for s in subjects])
        one = tuple(k for k, words in enumerate((subjects, strengths)) if len(words) == 1)
        arrays[name] = stacked.squeeze(one) if one else stacked
    # All subjects see the same test images, so the mean over subjects has an interval over images.
    arrays["resampled"] = arrays["resampled"].mean(0)
    if seed == 0:
        arrays["ceiling"] = arrays["ceiling"][:, 0]
    arrays = {name: of.astype(np.float16) for name, of in arrays.items()}
    if seed == 0:
        visual = nsd.roi_mask(study.root, "nsdgeneral", "nsdgeneral", study.preset.space)
        arrays["vertices"] = np.flatnonzero(visual).astype(np.int32)
    scheduler = study.model.scheduler
    provenance = {
        "worlds": worlds_of(study)[seed],
        "subjects": study.subjects,
        "removed": removed_steps,
        "averaged": AVERAGED,
        "shares": [removal_of(study, n).share(scheduler) for n in removed_steps],
        "timesteps": removal_of(study, N_STEPS).timesteps(scheduler).tolist(),
        "sets": SETS,
        "shuffled": SHUFFLED,
        "areas": list(maps.AREAS),
        "tolerance": TOLERANCE,
    }
    return arrays, provenance


def make_job(study, _args):
    """Cut the work into parts."""
    maps.check_surface(study)
    worlds = worlds_of(study)
    parts = [(seed, subject, n) for seed in worlds for n in removed_of(seed) for subject in study.subjects]
    return jobs.Job(study, parts, make, gather, study.description(*DIFFUSION, worlds=worlds))


if __name__ == "__main__":
    jobs.main(__doc__, make_job)
