"""Each product holds the numbers of every part where its axes say, and nothing else."""

import itertools
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from data_scripts import ch05_decode_latents as ch05
from data_scripts import ch06_choose_settings as ch06_choose
from data_scripts import ch06_reconstruct_images as ch06
from data_scripts import ch07_ask_what_helps as ask
from data_scripts import ch07_draw_images as draw
from data_scripts import ch08_choose_guidance as ch08_choose
from data_scripts import ch08_guide_the_sampler as ch08
from data_scripts import ch10_encode_voxels as ch10
from data_scripts import ch10_leave_more_out as more
from latentcortex import presets, sampler
from latentcortex.studies import validation

CHOICE = {"validation_images": validation.N_VALIDATION, "subjects": None}
N_CRITERIA = len(validation.criteria_of(presets.get("mini")))


def made_up(shapes):
    """Return a loader of parts: arrays of these shapes, other numbers for each name and part."""

    def load(*part):
        rng = np.random.default_rng(zlib.crc32(repr(part).encode()))
        return {name: rng.uniform(size=shape).astype(np.float16) for name, shape in shapes.items()}

    return load


def test_ch05(study, monkeypatch):
    monkeypatch.setattr(ch05, "caption_ceiling", lambda _: 0.5)
    n, t = len(study.image_ids), len(ch05.TARGETS)
    scores = {"r": (), "edge_share": (), "identified": (n,)}
    of_region = made_up({name: (t, ch05.N_SUBSAMPLES, *of) for name, of in scores.items()} | {"n_voxels": ()})
    of_all = made_up({name: (len(ch05.FITS), t, *of) for name, of in scores.items()})
    power = made_up({"power": (2, 3, 2), "n_trained": (2, 3, 2)})

    def load(subject, name):
        return {"all voxels": of_all, "power": power}.get(name, of_region)(subject, name)

    arrays = ch05.gather(study, load)[""][0]
    for s, subject in enumerate(study.subjects):
        for k, region in enumerate(ch05.regions_of(study)):
            for name, values in load(subject, region).items():
                found = arrays[name][s] if name == "n_voxels" else arrays[name][s, k]
                assert k or name != "n_voxels" or found == values
                assert name == "n_voxels" or (found == values).all()
        for name, values in load(subject, "all voxels").items():
            np.testing.assert_array_equal(arrays[f"whole_{name}"][s], values)
        np.testing.assert_array_equal(arrays["power"][s], load(subject, "power")["power"])
    np.testing.assert_array_equal(arrays["whole_retrieved"], arrays["whole_identified"] == 1)


def test_choices_of_settings(study):
    load = made_up({"scores": (7, N_CRITERIA)})
    job = ch06_choose.make_job(study, SimpleNamespace(**CHOICE))
    assert not job.is_slice and len(job.parts) == 2 * len(ch06_choose.CELLS)
    arrays = job.gather(study, load)[""][0]
    for row, s in itertools.product(range(len(ch06_choose.CELLS)), range(2)):
        cell = tuple(arrays[name][row].item() for name in ch06_choose.COLUMNS)
        expected = load(study.subjects[s], validation.N_VALIDATION, cell)["scores"]
        np.testing.assert_array_equal(arrays["scores"][row, s], expected)
    for change in ({"validation_images": 9}, {"subjects": [1]}, {"subjects": [2, 1]}):
        assert ch06_choose.make_job(study, SimpleNamespace(**{**CHOICE, **change})).is_slice
    for wrong in ([1, 1], [9]):
        with pytest.raises(ValueError, match="different subjects of subj01"):
            ch06_choose.make_job(study, SimpleNamespace(**{**CHOICE, "subjects": wrong}))


def test_choices_of_guidance(study):
    n, pixels = validation.N_VALIDATION, (ch08_choose.N_PICTURES, 2, 2, 3)
    shapes = {"scores": (n, N_CRITERIA), "loss": (n,), "pictures": pixels, "relative_step": (2,)}
    load = made_up({**shapes, "validation_ids": (n,)})
    job = ch08_choose.make_job(study, SimpleNamespace(**CHOICE, grid="ridge"))
    arrays = job.gather(study, load)[""][0]
    for whose, cells in ch08_choose.GRIDS["ridge"].items():
        limits = arrays[f"{whose}_max_relative_step"]
        for row in range(len(cells)):
            cell = tuple(arrays[f"{whose}_{name}"][row].item() for name in ch08_choose.COLUMNS[:2])
            cell = (*cell, None if np.isinf(limits[row]) else limits[row])
            parts = [load(subject, n, whose, cell) for subject in study.subjects]
            np.testing.assert_array_equal(arrays[f"{whose}_scores"][row], [part["scores"] for part in parts])
            np.testing.assert_array_equal(arrays[f"{whose}_pictures"][row], parts[0]["pictures"])
            steps = np.mean([part["relative_step"] for part in parts], axis=0)
            assert arrays[f"{whose}_largest_step"][row] == pytest.approx(steps[1], abs=1e-3)


def test_ch06_and_ch07(study, monkeypatch):
    load = made_up({"shuffled": (5,), "unshuffled": (), "pictures": (8, 2, 2, 3)})
    products = ch06.gather(study, load)
    shuffles, pictures = (products[ending][0] for ending in ("-shuffles", "-pictures"))
    for (s, subject), (k, name) in itertools.product(
        enumerate(study.subjects), enumerate(sampler.CONDITIONS)
    ):
        np.testing.assert_array_equal(shuffles["shuffled"][s, k], load(subject, name)["shuffled"])
        np.testing.assert_array_equal(pictures["pictures"][:, s, k], load(subject, name)["pictures"])

    load = made_up({"r": (), "identified": (8,)})
    arrays = ask.gather(study, load, 2)[""][0]
    for at in np.ndindex(len(study.subjects), 2, len(ask.METHODS), len(ask.TARGETS)):
        part = study.subjects[at[0]], at[1], list(ask.METHODS)[at[2]], ask.TARGETS[at[3]]
        np.testing.assert_array_equal(arrays["identified"][at], load(*part)["identified"])

    monkeypatch.setattr(draw, "scorer_of", lambda *_: SimpleNamespace(names=["a", "b"]))
    ids = draw.drawn_ids(study)
    load = made_up({"scores": (len(ids), 2), "images": (len(ids), 2, 2, 3)})
    products = draw.gather(study, load)
    scores, shown = products[""][0]["scores"], products["-pictures"][0]
    for at in np.ndindex(len(study.subjects), len(draw.METHODS), len(draw.AMOUNTS)):
        part = load(study.subjects[at[0]], draw.METHODS[at[1]], draw.AMOUNTS[at[2]])
        np.testing.assert_array_equal(scores[(slice(None), *at)], part["scores"])
        if at[0] == 0:
            rows = [ids.tolist().index(image_id) for image_id in shown["picture_ids"]]
            np.testing.assert_array_equal(shown["pictures"][at[1:]], part["images"][rows])


def test_ch08(study, monkeypatch):
    strengths = {"feature_scale": 1.0, "guided_share": 1.0}
    strengths = dict.fromkeys(("true", "true, no limit", "decoded", "network"), strengths)
    recipes, n = ch08.recipes_of(study, strengths), len(study.image_ids)
    monkeypatch.setattr(ch08, "gather_pictures", lambda *_: {})
    monkeypatch.setattr(ch08, "calibrated", lambda *given: given[-1])
    monkeypatch.setattr(ch08, "scores", SimpleNamespace(scorer_of=lambda *_: SimpleNamespace(names=["a"])))
    monkeypatch.setattr(ch08.shared_training, "decoded", lambda *_: torch.zeros(n, 2))

    def load(subject, group, name):
        shapes = {"scores": (n, ch08.GROUPS[group][2], 1), "agreement": (n, 2)}
        shapes = {"responses": (n, 2)} if name == ch08.ORIGINALS else shapes
        return made_up({**shapes, **({"responses": (n, 2)} if group == "brain" else {})})(
            subject, group, name
        )

    arrays = ch08.stack(study, recipes, strengths, load)[""][0]
    for group, (_, n_subjects, _) in ch08.GROUPS.items():
        for s, subject in enumerate(study.subjects[:n_subjects]):
            for k, name in enumerate(recipes[group]):
                for what, values in load(subject, group, name).items():
                    np.testing.assert_array_equal(arrays[f"{group}_{what}"][:, s, k], values)
    originals = load(study.subjects[0], "brain", ch08.ORIGINALS)["responses"]
    np.testing.assert_array_equal(arrays["brain_responses"][:, 0, -1], originals)


def test_ch10(study, monkeypatch):
    monkeypatch.setattr(ch10, "worlds_of", lambda _: [("standard", 0), ("null", 1), ("null", 2)])
    shapes = {"ceiling": (4,), "r_z": (4,), "r_c": (4,), "difference": (3,)}

    def load(world, seed, subject):
        return {"tree": np.array(f"{world}{seed}"), **made_up(shapes)(world, seed, subject)}

    arrays, provenance = ch10.gather(study, load)[""]
    assert provenance["trees"] == ["standard0", "null1", "null2"] and arrays["seeds"].tolist() == [0, 1, 2]
    for w, s in itertools.product(range(3), range(len(study.subjects))):
        part = load(arrays["worlds"][w].item(), arrays["seeds"][w].item(), study.subjects[s])
        for name in shapes:
            np.testing.assert_array_equal(arrays[name][w, s], part[name])


def test_ch10_harder_splits(study):
    n_vertices = 20
    shapes = {"r": (4, 2, 2, n_vertices), "means": (4, 4, 2), "draws": (4, 4, 2, 9)}
    of_splits = made_up({**shapes, "ceiling": (4, n_vertices), "distance": (4,), "n_train": (4,)})
    of_tests = made_up({"called": (2, 2, 3, 2)})

    def load(subject, what):
        return {"splits": of_splits, "tests": of_tests}[what](subject, what)

    arrays, provenance = more.gather(study, load)[""]
    assert provenance["sets"] == more.SETS and provenance["splits"][1:] == ["random", "far", "clusters"]
    parts = [load(subject, "splits") for subject in study.subjects]
    for s, subject in enumerate(study.subjects):
        np.testing.assert_array_equal(arrays["called"][s], load(subject, "tests")["called"])
        for name in ("means", "distance", "n_train"):
            np.testing.assert_array_equal(arrays[name][s], parts[s][name])
    np.testing.assert_allclose(arrays["draws"], np.mean([of["draws"] for of in parts], axis=0), atol=2e-3)
    shares = []
    for of in parts:  # each split by its own ceilings
        ceiling = of["ceiling"][:, None, None]
        shares.append(np.where(ceiling >= 0.05, of["r"] / np.sqrt(ceiling), np.nan))
    np.testing.assert_allclose(arrays["maps"], np.nanmean(shares, axis=0), rtol=4e-3)
    tenth = more.image_splits.checked_vertices(n_vertices)
    np.testing.assert_array_equal(arrays["checked"], parts[0]["r"][:, 0][..., tenth])
