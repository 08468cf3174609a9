"""The simulated cortex holds what was planted in it, where it was planted, and nothing else."""

import numpy as np
import pytest
import torch

from latentcortex import nsd
from latentcortex.mini import cortex, scenes, surface

N_IMAGES = 160


@pytest.fixture(scope="module")
def shown():
    """Pictures, at half their size to be quick, and their scenes."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    drawn = scenes.sample_scenes(N_IMAGES, np.random.default_rng(1))
    images = scenes.render(drawn, size=32)
    torch.set_num_threads(n_threads)
    return images, drawn


@pytest.fixture(scope="module")
def subject():
    return cortex.Cortex(0)


@pytest.fixture(scope="module")
def worlds(subject):
    return {w: subject if w == "standard" else cortex.Cortex(0, w) for w in cortex.WORLDS}


@pytest.fixture(scope="module")
def signal(subject, shown):
    return subject.signal(*shown)


def standardised(x):
    return (x - x.mean(0)) / x.std(0)


def correlation(a, b):
    """Correlate column by column."""
    return (standardised(a) * standardised(b)).mean(0)


def measured_ncsnr(simulated, signal):
    """Estimate ncsnr of all vertices from three sessions, each image shown once in each."""
    image_ids = np.arange(len(signal))
    betas = [simulated.respond(signal, session) for session in (1, 2, 3)]
    sessions = np.repeat([1, 2, 3], len(signal))
    scaled = nsd.zscore(np.concatenate(betas), sessions, np.ones(len(sessions), bool))
    return nsd.estimate_ncsnr(scaled, np.tile(image_ids, 3))


# --- areas ----------------------------------------------------------------------------------------


def test_areas_have_nsds_names_and_codes_in_both_hemispheres():
    atlases = surface.areas().atlases
    expected = {
        "streams": {
            0: "Unknown",
            1: "early",
            2: "midventral",
            3: "midlateral",
            4: "midparietal",
            5: "ventral",
            6: "lateral",
            7: "parietal",
        },
        "prf-visualrois": {
            0: "Unknown",
            1: "V1v",
            2: "V1d",
            3: "V2v",
            4: "V2d",
            5: "V3v",
            6: "V3d",
            7: "hV4",
        },
        "floc-faces": {0: "Unknown", 1: "OFA", 2: "FFA-1", 3: "FFA-2"},
        "floc-places": {0: "Unknown", 1: "OPA", 2: "PPA", 3: "RSC"},
        "floc-bodies": {0: "Unknown", 1: "EBA", 2: "FBA-1"},
        "nsdgeneral": {0: "Unknown", 1: "nsdgeneral"},
    }
    assert {name: labels for name, (_, labels) in atlases.items()} == expected
    for codes, labels in atlases.values():
        assert codes.shape == (2 * surface.N_VERTICES,)
        for half in np.split(codes, 2):
            counts = np.bincount(half, minlength=len(labels))
            assert (counts[1:] >= 15).all() and len(counts) == len(labels)
    sizes = np.bincount(atlases["streams"][0])[1:]
    assert sizes[0] > 500 and (sizes[[4, 5, 6]] > 200).all()
    # Early cortex is V1 to V3, hV4 is midventral, and category areas lie outside of early cortex.
    streams, retinotopic = atlases["streams"][0], atlases["prf-visualrois"][0]
    np.testing.assert_array_equal(streams == 1, (retinotopic > 0) & (retinotopic < 7))
    assert (streams[retinotopic == 7] == 2).all()
    for name in ("floc-faces", "floc-places", "floc-bodies"):
        assert not (streams[atlases[name][0] > 0] == 1).any()
    everything = np.any([c > 0 for n, (c, _) in atlases.items() if n != "nsdgeneral"], axis=0)
    np.testing.assert_array_equal(atlases["nsdgeneral"][0] == 1, everything)


def test_each_area_lies_in_one_piece_in_each_hemisphere():
    from scipy.sparse.csgraph import connected_components

    for name in ("streams", "prf-visualrois"):
        codes, labels = surface.areas().atlases[name]
        for half, (_, sphere, faces) in zip(np.split(codes, 2), surface.meshes(), strict=True):
            near = surface.edges(sphere, faces)
            for code in set(labels) - {0}:
                here = np.flatnonzero(half == code)
                _, piece = connected_components(near[here][:, here], directed=False)
                assert np.bincount(piece).max() > 0.6 * len(here), (name, labels[code])


# --- receptive fields -----------------------------------------------------------------------------


def test_receptive_fields_lie_in_the_picture_opposite_to_the_hemisphere(subject):
    planted = subject.planted.loc[subject.vertices]
    side = np.where(planted.index < surface.N_VERTICES, 1, -1)
    assert (side * planted["rf_x"] > 0).mean() > 0.93
    assert (side * planted["rf_x"] > -0.5).all()
    retinotopic = planted["area"].isin(["V1", "V2", "V3", "hV4"])
    assert np.hypot(planted["rf_x"], planted["rf_y"])[retinotopic].max() < 4.2 + 0.6
    codes, labels = surface.areas().atlases["prf-visualrois"]
    for code, name in labels.items():
        y = subject.planted["rf_y"][codes == code]
        if name.endswith("v"):  # the lower bank sees the upper field
            assert y.mean() > 0.4, name
        elif name.endswith("d"):
            assert y.mean() < -0.4, name
    # They grow with eccentricity and from area to area.
    size = planted.groupby("area")["rf_size"].mean()
    assert size["V1"] < size["V2"] < size["V3"] < size["hV4"] < size["ventral"]
    v1 = planted[planted["area"] == "V1"]
    assert np.corrcoef(np.hypot(v1["rf_x"], v1["rf_y"]), v1["rf_size"])[0, 1] > 0.95


# --- what is planted ------------------------------------------------------------------------------


def test_areas_have_the_planted_mixtures_in_each_world(worlds):
    means = {w: c.planted.groupby("area")["mixture"].mean() for w, c in worlds.items()}
    for area, (mixture, *_) in cortex.PLANTED.items():
        # The spread is smooth over the surface: the mean of a small area may lie off by 0.1.
        assert means["standard"][area] == pytest.approx(mixture, abs=0.1), area
        assert means["swapped"][area] == pytest.approx(1 - mixture, abs=0.1), area
        assert means["uniform"][area] == pytest.approx(0.5, abs=0.1), area
    order = ["V1", "V2", "V3", "hV4", "ventral", "faces"]
    assert means["standard"][order].is_monotonic_decreasing
    assert means["swapped"][order].is_monotonic_increasing
    inside = worlds["standard"].planted["mixture"].dropna()
    assert inside.between(0, 1, inclusive="neither").all()
    # Within an area vertices differ, but less than areas do.
    spread = worlds["standard"].planted.groupby("area")["mixture"].std()
    assert 0.05 < spread["ventral"] < 0.2


def test_uniform_has_one_receptive_field_size_and_one_ncsnr_and_null_has_none(worlds):
    by_area = worlds["uniform"].planted.loc[worlds["uniform"].vertices].groupby("area")
    assert by_area["rf_size"].mean().to_numpy() == pytest.approx(1.5)
    large = by_area.size() > 300
    assert by_area["ncsnr"].mean()[large].to_numpy() == pytest.approx(0.44 * 1.1, abs=0.05)
    assert by_area["rf_x"].apply(lambda x: x.abs().mean())[large].std() < 0.1
    assert not worlds["null"].planted["ncsnr"].any()
    with pytest.raises(ValueError, match="world must be one of"):
        cortex.Cortex(0, "inverted")


def test_ncsnr_has_the_areas_means_the_subjects_gain_and_values_near_zero(subject):
    for k, simulated in enumerate((subject, cortex.Cortex(3))):
        gain = cortex.SUBJECT_GAIN[3 * k]
        by_area = simulated.planted.loc[simulated.vertices].groupby("area")["ncsnr"]
        for area, (_, ncsnr, *_) in cortex.PLANTED.items():
            assert by_area.mean()[area] == pytest.approx(ncsnr * gain, abs=0.07), area
        assert (by_area.min()[["V1", "ventral", "lateral"]] < 0.1).all()


def test_the_signal_has_mean_0_and_variance_1_and_half_of_it_is_specific(subject, shown, signal):
    assert signal.dtype == np.float32
    assert signal.shape == (N_IMAGES, len(subject.vertices))
    np.testing.assert_allclose(signal.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(signal.var(0), 1, atol=1e-3)
    low, semantic = (standardised(part) for part in subject.tuned_signals(*shown))
    m = subject.planted["mixture"].to_numpy()[subject.vertices]
    tuned = np.sqrt(m) * low + np.sqrt(1 - m) * semantic
    r = correlation(tuned, signal)
    assert np.mean(r**2) == pytest.approx(1 - cortex.SPECIFIC_SHARE, abs=0.03)
    # What is left knows nothing of either part.
    rest = signal - r * standardised(tuned)
    assert abs(np.mean(correlation(rest, low))) < 0.02
    assert abs(np.mean(correlation(rest, semantic))) < 0.02


def test_the_signal_follows_the_mixture_and_swapped_turns_it_round(worlds, shown):
    preference = {}
    for world in ("standard", "swapped", "uniform"):
        simulated = worlds[world]
        low, semantic = simulated.tuned_signals(*shown)
        answer = simulated.signal(*shown)
        difference = correlation(answer, low) - correlation(answer, semantic)
        area = simulated.planted["area"].to_numpy()[simulated.vertices]
        preference[world] = [difference[area == name].mean() for name in ("V1", "ventral")]
    (early, late), (early_swapped, late_swapped) = preference["standard"], preference["swapped"]
    assert early > 0.3 and late < -0.05
    assert early_swapped < -0.3 and late_swapped > 0.05
    assert np.abs(preference["uniform"]).max() < 0.1


def test_nothing_is_tuned_outside_of_visual_cortex(subject, signal):
    outside = np.setdiff1d(np.arange(2 * surface.N_VERTICES), subject.vertices)
    planted = subject.planted.loc[outside]
    assert (planted["area"] == "").all() and not planted["ncsnr"].any()
    assert planted[["mixture", "rf_x", "rf_y", "rf_size"]].isna().all(axis=None)
    few = signal[:20]
    with_signal, without = subject.respond(few, 1), subject.respond(np.zeros_like(few), 1)
    np.testing.assert_array_equal(with_signal[:, outside], without[:, outside])
    inside = (with_signal != without).any(0)[subject.vertices]
    assert inside.mean() > 0.99


# --- what is measured -----------------------------------------------------------------------------


def test_ncsnr_estimated_from_sessions_is_the_planted_one(subject, signal):
    estimate = measured_ncsnr(subject, signal)
    planted = subject.planted["ncsnr"].to_numpy()
    inside = subject.vertices
    assert np.corrcoef(estimate[inside], planted[inside])[0, 1] > 0.85
    for area, rows in subject.planted.loc[inside].groupby("area").groups.items():
        # Away from zero, where the cut makes estimates too large; drift is a little more noise.
        rows = [row for row in rows if planted[row] > 0.3]
        assert np.mean(estimate[rows]) == pytest.approx(np.mean(planted[rows]), abs=0.05), area
    outside = np.setdiff1d(np.arange(len(planted)), inside)
    assert estimate[outside].mean() < 0.15


def test_null_has_no_repeatable_signal(worlds, subject, signal):
    null = worlds["null"]
    first, second = (null.respond(signal, session) for session in (1, 2))
    r = correlation(first, second)[null.vertices]
    assert abs(r.mean()) < 0.015 and r.std() < 1.5 / np.sqrt(N_IMAGES)
    real = correlation(*(subject.respond(signal, session) for session in (1, 2)))
    assert real[subject.vertices].mean() > 0.1


@pytest.mark.parametrize("part", cortex.NOISE)
def test_each_part_of_the_noise_has_its_share(subject, monkeypatch, part):
    assert sum(cortex.NOISE.values()) == pytest.approx(1)
    for other in set(cortex.NOISE) - {part}:
        monkeypatch.setitem(cortex.NOISE, other, 0.0)
    n = 100
    betas = subject.respond(np.zeros((n, len(subject.vertices)), np.float32), 1)
    # Without the slow drift, in the units in which noise has variance one.
    time = np.linspace(-1, 1, n)
    slope = (time @ betas) / (time @ time)
    residual = (betas - betas.mean(0) - np.outer(time, slope)) / subject._spread
    variance = residual.var(0)
    outside = np.setdiff1d(np.arange(betas.shape[1]), subject.vertices)
    share = cortex.NOISE[part]
    assert variance[subject.vertices].mean() == pytest.approx(share, rel=0.1)
    # Outside no noise is tuned; the other parts make up for it.
    assert variance[outside].mean() == pytest.approx(0 if part == "tuned" else share, rel=0.1)
    # Neighbours share what is smooth and nothing of what is private.
    _, sphere, faces = surface.meshes()[0]
    pairs = np.array([face[:2] for face in faces if set(face) <= set(subject.vertices)])
    neighbours = correlation(residual[:, pairs[:, 0]], residual[:, pairs[:, 1]]).mean()
    if part == "private":
        assert abs(neighbours) < 0.01
    elif part == "smooth":
        assert neighbours > 0.5


def test_responses_drift_from_session_to_session_and_within(subject):
    nothing = np.zeros((200, len(subject.vertices)), np.float32)
    sessions = [subject.respond(nothing, k) for k in (1, 2, 3)]
    scaled = [(betas - subject._mean) / subject._spread for betas in sessions]
    shift = np.array([betas.mean(0) for betas in scaled])
    assert 0.2 < shift.std(0, ddof=1).mean() < 0.4
    trend = np.mean([betas[150:].mean(0) - betas[:50].mean(0) for betas in scaled], axis=0)
    assert trend.std() > 0.1


# --- random numbers -------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_betas_in_any_order_of_sessions(subject, shown, signal):
    again = cortex.Cortex(0)
    subject.respond(signal[:10], 3)
    np.testing.assert_array_equal(again.signal(*shown), signal)
    np.testing.assert_array_equal(again.respond(signal[:10], 2), subject.respond(signal[:10], 2))
    assert not np.array_equal(subject.respond(signal[:10], 1), subject.respond(signal[:10], 2))
    assert again.planted.equals(subject.planted)
    for other in (cortex.Cortex(1), cortex.Cortex(0, seed=1)):
        for name in ("mixture", "rf_y"):
            r = np.corrcoef(other.planted[name][subject.vertices], subject.planted[name].dropna())
            assert r[0, 1] < 0.995
        same = other.signal(*shown)
        assert abs(np.mean(correlation(same, signal))) < 0.3
