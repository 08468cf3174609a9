"""What the front page shows: its film, and of each chapter the sentence and the number that it found.

Everything is computed from the products in ``results/`` and the networks in the package, so that the
simulated world need not be built. It lies next to the page and not in the package, because no other page
needs it. ``front_pictures.py`` draws the pictures, ``front_html.py`` writes them into the page.
"""

import functools
import re
from types import SimpleNamespace

import numpy as np
import torch

from latentcortex import features, metrics, plotting, presets, sampler
from latentcortex.open_data import bold5000
from latentcortex.studies import costs, drawings, recovery_table, results

# Where z and where c is decoded better.
ORDERS = (("early", "ventral"), ("ventral", "early"))
BOTH = sampler.CONDITIONS.index("both")
CHAPTERS = {
    "01_meet_the_data": "Meet the data",
    "02_estimate_the_noise_ceiling": "Estimate the noise ceiling",
    "03_look_into_the_latents": "Look into the latents",
    "04_understand_ridge": "Understand ridge regression",
    "05_decode_latents": "Decode latents",
    "06_reconstruct_images": "Reconstruct images",
    "07_share_a_space": "Share a space",
    "08_guide_the_sampler": "Guide the sampler",
    "08b_ask_how_sure": "How sure is the picture?",
    "09_measure_reconstructions": "Measure reconstructions",
    "10_encode_voxels": "Encode voxels",
    "11_follow_the_noise": "Follow the noise",
    "12_open_the_unet": "Open the U-Net",
    "13_partition_variance": "Partition variance",
    "14_what_we_may_conclude": "What we may conclude",
    "15_meet_a_real_brain": "Meet a real brain",
    "16_run_the_real_study": "Run the real study",
}


@functools.cache
def product(name, ending=""):
    """Return the shipped product of a script, of the standard simulated world."""
    pattern = re.compile(rf"{name}-mini-standard-seed0-[0-9a-f]{{12}}{ending}")
    found = [p for p in results.shipped_folder("results").glob(f"{name}-*.npz") if pattern.fullmatch(p.stem)]
    if len(found) != 1:
        raise FileNotFoundError(f"Expected one product {name}{ending} in results/, found {len(found)}.")
    return results.Product(name, found[0])


@functools.cache
def preset():
    """Return the preset of the simulated world, whatever the reader's own is."""
    return presets.get("mini")


@functools.cache
def model():
    """Return the small diffusion model of the package."""
    return features.load_latent_diffusion(preset().model, preset().revision, device=preset().device)


@functools.cache
def originals():
    """Return the scenes that were seen by image id: float32 (3, 64, 64) in [0, 1]."""
    front = product("ch00_open_the_book")
    pixels = drawings.from_bytes(front["originals"]).numpy()
    return dict(zip(front["originals_ids"].tolist(), pixels, strict=True))


@functools.cache
def film_frames():
    """Draw the scenes of the film from decoded z and c, and keep every step.

    Returns
    -------
    frames : array (n_frames, 2, 3, h, w) in [0, 1]
        What was seen, and what is being drawn: one scene after the other, from noise to the drawing.
    order : list of int
        Frames in the order shown: each scene stays for two seconds when it is drawn.
    """
    front, networks = product("ch00_open_the_book"), model()
    z, c = (torch.from_numpy(front[name]).float() for name in ("film_z", "film_c"))
    ids, steps = front["originals_ids"][: len(z)], []

    def keep(_step, _timestep, latents, _guess):
        steps.append(features.decode_latents(networks.vae, latents).clamp(0, 1))

    generators = [sampler.make_generator(image_id, 0) for image_id in ids]
    start = noised(z, generators)
    images = sampler.reconstruct(
        networks, z, c, condition="both", image_ids=ids, callback=keep, **preset().sampling
    )
    steps = torch.stack([features.decode_latents(networks.vae, start).clamp(0, 1), *steps[:-1], images])
    frames, order = [], []
    for k, image_id in enumerate(ids):
        order += [*range(len(frames), len(frames) + len(steps)), *[len(frames) + len(steps) - 1] * 8]
        frames += [np.stack([originals()[image_id], drawn]) for drawn in steps[:, k].numpy()]
    return np.stack(frames), order


def noised(z, generators):
    """Return the latents that the drawing starts from: z with as much noise as the preset's strength says."""
    scheduler, given = model().scheduler, preset().sampling
    first = sampler.denoising_timesteps(scheduler, given["n_steps"], given["strength"])[0]
    noise = torch.stack([torch.randn(z.shape[1:], generator=generator) for generator in generators])
    return scheduler.add_noise(z, noise, first)


def percent(interval):
    """Write an interval of shares as the chapters do, such as "16 % [11 to 21 %]"."""
    return plotting.typeset(f"{interval:.0%}")


def signed(interval, digits=2):
    """Write an interval of differences as the chapters do, with signs."""
    return plotting.typeset(f"{interval:+z.{digits}f}")


def over_images(scores, seed=0):
    """Return the mean of scores (n_images, n_subjects) with its interval over images."""
    return metrics.bootstrap_mean(scores.mean(axis=1), np.random.default_rng(seed))


# What each chapter found, in one sentence. Brackets hold 95 % intervals.


def found_01():
    """Return how much of a single response repeats."""
    share = metrics.t_interval(product("ch00_open_the_book")["one_showing"])
    return f"Most of a response is noise: only {percent(share)} of its variance repeats with the picture."


def found_02():
    """Return the ceiling of the test pictures."""
    share = metrics.t_interval(product("ch00_open_the_book")["test_pictures"])
    return (
        f"A perfect model could predict {percent(share)} of the variance of a mean of up to three responses."
    )


def found_03():
    """Return how well z keeps an image."""
    front = product("ch00_open_the_book")
    kept = metrics.bootstrap_mean(front["psnr"], np.random.default_rng(3))
    times = front["originals"][0].size // front["film_z"][0].size
    text = f"{kept.mean:.1f} [{kept.low:.1f} to {kept.high:.1f}]"
    return f"The latent z has {times} times fewer numbers than the image, and gives it back with {text} dB."


def found_04():
    """Return what a decoder of the first subject explains with the smallest and with the best penalty."""
    r2 = product("ch00_open_the_book")["penalty_r2"][0, :, 1]  # by penalty, of new images
    none, best = (plotting.typeset(f"{value:.2f}") for value in (r2[0], r2.max()))
    return (
        f"In subject 1, a penalty lifts a decoder's R² on new images from {none}, with hardly any, to {best} "
        "at best."
    )


def found_05():
    """Return the regions that z and c are decoded from best."""
    of = product("ch05_decode_latents")
    at = {name: of.provenance["regions"].index(name) for name in ("early", "ventral")}
    r = of["r"].mean(axis=3)
    z, c = (metrics.t_interval(r[:, at[a], k] - r[:, at[b], k]) for k, (a, b) in enumerate(ORDERS))
    return f"z is decoded better from early cortex (r higher by {z:.2f}), c from ventral cortex (by {c:.2f})."


def found_06():
    """Return how often a drawing keeps the setting of its scene, from z and c and from each alone."""
    of = product("ch09_measure_reconstructions")
    setting = of["drawings"][..., of.provenance["scores"].index("setting")].mean(axis=3)
    both, c_only, z_only = (
        setting[:, :, sampler.CONDITIONS.index(name)] for name in ("both", "c_only", "z_only")
    )
    c_alone, z_alone = (plotting.typeset(f"{of_one.mean():.0%}") for of_one in (c_only, z_only))
    return (
        f"Drawn from both z and c, {percent(over_images(both, 7))} of the scenes keep their setting, from c "
        f"alone {c_alone}, from z alone {z_alone}."
    )


def found_07():
    """Return what training on others adds to one session."""
    of = product("ch07_share_a_space")
    facts = of.provenance
    z, form = facts["targets"].index("z"), facts["forms"].index(facts["primary_form"])
    r = of["network_r"][..., z, form].mean(axis=1)  # (subjects, networks, sessions)
    pretrained, scratch = (r[:, facts["networks"].index(name)] for name in ("pretrained", "scratch"))
    one, every = (metrics.t_interval((pretrained - scratch)[:, k]) for k in (0, -1))
    return (
        f"Training on others first raises the r of z by {one:.3f} with one session, by {every:.3f} with all."
    )


def found_08():
    """Return what a guide by decoded and by true features adds."""
    of = product("ch08_guide_the_sampler")
    ways = of.provenance["recipes"]["hard"]
    scores = of["hard_scores"][:, :, :, 0, of.provenance["scores"]["hard"].index("centred PixCorr")]
    plain = scores[:, :, ways.index("unguided")]
    true, decoded = (over_images(scores[:, :, ways.index(name)] - plain, 8) for name in ("true", "decoded"))
    return f"True features as a guide add {true:.3f} to the pixel correlation, decoded ones {decoded:.3f}."


def found_08b():
    """Return what a correction by decoded z, weighed by its noise, adds to the same drawings."""
    of = product("ch08b_weigh_the_brain")
    at = [of.provenance["ways"].index(way) for way in ("weighed", "uncorrected")]
    scores = of["scores"].mean(axis=2)[
        ..., [of.provenance["scores"].index(s) for s in ("centred PixCorr", "kinds")]
    ]
    pixels, kinds = np.moveaxis(scores[:, at[0]] - scores[:, at[1]], (2, 1), (0, 1))
    pixels, kinds = (over_images(gain, 8) for gain in (pixels, kinds))
    return (
        f"Corrected by decoded z, weighed by its noise, drawings gain {signed(pixels, 3)} in pixel "
        f"correlation without a further pass of the network. Objects change by {signed(kinds, 3)}."
    )


def found_09():
    """Return how far a score lies on the way from its floor to its ceiling."""
    of = product("ch09_measure_reconstructions")
    rows, names = of.provenance["rows"], of.provenance["scores"]
    ends = [rows.index(row) for row in ("both", "shuffled_pairs", "true_both")]
    scores = of["scores"][..., ends, names.index("AlexNet(5)")].mean(axis=1).T  # (3, images)
    rng = np.random.default_rng(9)
    value, floor, ceiling = scores[:, rng.integers(scores.shape[1], size=(2000, scores.shape[1]))].mean(-1)
    low, high = np.quantile((value - floor) / (ceiling - floor), [0.025, 0.975])
    value, floor, ceiling = scores.mean(axis=1)
    way = percent(metrics.Interval((value - floor) / (ceiling - floor), low, high, scores.shape[1]))
    return f"“{100 * value:.0f} % identified” is {way} of the way from shuffled pairs to a perfect decoder."


def found_10():
    """Return how far z is ahead of c in early and in ventral cortex."""
    of = product("ch10_leave_more_out")
    means, draws = of["means"][:, 0].mean(0), of["draws"][0]  # of the published split
    texts = []
    for k, region in enumerate(of.provenance["regions"]):
        ends = np.quantile(draws[0, k] - draws[1, k], [0.025, 0.975])
        gap = metrics.Interval(means[0, k] - means[1, k], *ends, of.provenance["n_images"])
        texts.append(f"{signed(gap)} in {region} cortex")
    return (
        "z predicts early cortex better, c ventral cortex. In r divided by the largest r that noise allows, "
        f"z minus c is {' and '.join(texts)}."
    )


def found_11():
    """Return what z_c loses against z when nearly all of the image is noise."""
    of = product("ch11_follow_the_noise")
    facts = of.provenance
    texts = []
    for area in ("V1", "ventral"):
        a = facts["areas"].index(area)
        draws = of["resampled"][-1][[facts["sets"].index(name) for name in ("z", "z_c")], a]
        gain = (of["areas z_c"] - of["areas z"])[:, -1, 0, a].mean()
        low, high = np.quantile(draws[1] - draws[0], [0.025, 0.975])
        where = "V1" if area == "V1" else f"{area} cortex"
        # With two digits the end of a small loss would read as zero.
        texts.append(f"{signed(metrics.Interval(gain, low, high, 0), 3)} in {where}")
    share = facts["shares"][-1]
    lead = (of["areas z_c"] - of["areas z"])[:, :, 0].mean(axis=0).max()
    return (
        f"The r of z_c is at most {lead:.3f} above that of z. At a share of noise of {share:.2f}, r changes "
        f"by {' and '.join(texts)}."
    )


def found_12():
    """Return the place of the middle block, and what random weights reach."""
    of = product("ch12_open_the_unet")
    facts = of.provenance
    r = of["areas"][..., 0, :].mean(0).max(0)  # (sets, layers, areas), each layer at its best noise
    trained, random = (r[facts["sets"].index(name)] for name in ("draw|empty", "random|empty"))
    place = (trained > trained[facts["layers"].index("mid_block")]).sum(axis=0) + 1
    v1 = facts["areas"].index("V1")
    return (
        f"Each at its best share of noise, the middle block takes places {place.min()} to {place.max()} of "
        f"{len(trained)} everywhere. In V1, random weights reach r = {random[:, v1].max():.2f}, trained ones "
        f"{trained[:, v1].max():.2f}."
    )


def recoveries():
    """Return the recovery of the planted map by each way to divide two spaces, by name."""
    of = product("ch13_recover_maps")
    axes = of.provenance
    ask = SimpleNamespace(**{name: axes[name] for name in ("worlds", "noise", "seeds")}, sets="spaces")
    found = recovery_table.of_product(of, ask)
    return {name: recovery_table.summarise(a, axes["worlds"])["recovery"] for name, a in found.items()}


def found_13():
    """Return how well the ways to divide variance find what was planted."""
    r = recoveries()
    best = max(r.values())
    return (
        f"The map of z alone has a rank correlation of {r['first_alone']:.2f} with the planted truth, the "
        f"best of {len(r)} ways {best:.2f}, as means of nine simulated studies."
    )


def found_14():
    """Return how often a setting is drawn right by decoders that met it, and by decoders that never did."""
    left_out, scored = product("ch14_leave_kinds_out"), product("ch09_measure_reconstructions")
    names, rows = scored.provenance["scores"], scored.provenance["rows"]
    right = scored["scores"][..., names.index("setting")].mean(axis=1).T  # (rows, images)
    own, other = (right[rows.index(row)] for row in ("both", "shuffled_brain"))
    setting = left_out.provenance["scores"].index("setting")
    never, known = left_out["setting_scores"][..., setting].mean(axis=0).T
    rng = np.random.default_rng(14)  # one for all four, in the order of the chapter
    *_, never, known = (percent(metrics.bootstrap_mean(of, rng)) for of in (own, other, never, known))
    return (
        f"The setting is right in {known} of the drawings, but in {never} if the decoder never met it. Both "
        "decoders learned from as many images."
    )


def found_15():
    """Return how much of real brains lies open: numbers of trials and not scores, which a stand-in has."""
    trials = bold5000_trials()
    return (
        f"Without any form: {max(trials.values()):,} responses of each of three people to photographs, and "
        f"{min(trials.values()):,} of a fourth. Built without a network, the page shows a stand-in."
    )


def bold5000_trials():
    """Return the number of trials of each subject of BOLD5000, as published."""
    return {
        subject: bold5000.N_PER_RUN * (9 * n_sessions + len(long))
        for subject, (n_sessions, long) in bold5000.SESSIONS.items()
    }


def plan():
    """Return the plan of the study with four subjects of NSD and Stable Diffusion, from NSD's design."""
    real = presets.get("sd14")
    return costs.plan(real, costs.sizes_of_design(real)[0])


def found_16():
    """Return how many hours of a GPU the whole study takes by estimate."""
    hours = costs.hours(plan(), "A100")
    share = hours.filter(regex="^(drawings|z_c)").sum() / hours.sum()
    return (
        f"The study of four real subjects takes about {hours.sum():.0f} hours of an A100, by estimate. The "
        f"U-Net runs in {100 * share:.0f} % of them."
    )


def findings():
    """Return what each chapter found by the name of its page, in order."""
    return {page: globals()[f"found_{page.partition('_')[0]}"]() for page in CHAPTERS}
