"""The product of the shared space: parts, where scores lie, slices; and the choice of trainings."""

import itertools
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest
from sharing_world import PLAN, QUICK, SHAPES, make_study, watch_trainings

from data_scripts import ch07_choose_training as choice
from data_scripts import ch07_share_a_space as script
from latentcortex import shared_space, store
from latentcortex.studies import plans
from latentcortex.studies.scores import score_features
from latentcortex.studies.shared_training import FORMS, SUFFIXES, Trainings, trainings_of

study, trained = pytest.fixture(make_study), pytest.fixture(watch_trainings)
pytestmark = pytest.mark.usefixtures("one_thread")


def test_parts_are_whole_and_those_with_one_first_stage_are_neighbours():
    three = SimpleNamespace(subjects=["subj01", "subj02", "subj05"])
    parts = script.list_parts(three, 3)
    assert len(set(parts)) == len(parts) == 3 * (3 * 2 * 3 * 2 + 3 * 2 + 2) + 2
    assert len(list(itertools.groupby(parts, key=lambda part: part[:2]))) == 3 * 3


def test_g_is_decoded_once_and_one_network_for_both_too():
    parts = script.list_parts(SimpleNamespace(subjects=["subj01", "subj02"]), 2)
    rare = [part for part in parts if part[4] not in script.TARGETS or part[2] == "prior"]
    assert sorted(rare) == [
        ("subj01", 0, "joint", "all", "zc"),
        ("subj01", 0, "pretrained", "all", "g"),
        ("subj01", 0, "prior", "all", "c"),
        ("subj01", 0, "ridge", "all", "g"),
        ("subj02", 0, "pretrained", "all", "g"),
        ("subj02", 0, "ridge", "all", "g"),
    ]


def test_scores_are_those_of_a_double_loop(rng):
    true, mean = rng.normal(size=(9, 3, 4)) + 5, np.full((3, 4), 5.0)
    true[:, 0] = 2  # the same for every image
    predicted = true + rng.normal(0, 1.5, true.shape)
    scores = score_features(predicted, true, mean)
    a, b = (np.asarray(rows - mean, np.float32).reshape(9, -1) for rows in (predicted, true))
    r = [np.corrcoef(a[:, k], b[:, k])[0, 1] for k in range(4, 12)]
    assert scores["r"] == pytest.approx(np.mean(r), abs=1e-5)
    cosine = [[x @ y / np.linalg.norm(x) / np.linalg.norm(y) for y in b] for x in a]
    corr = [[np.corrcoef(x, y)[0, 1] for y in b] for x in a]
    for i in range(9):
        assert scores["images_retrieved"][i] == (np.argmax(cosine[i]) == i)
        assert scores["brains_retrieved"][i] == (np.argmax([row[i] for row in cosine]) == i)
        beaten = sum(corr[i][j] < corr[i][i] for j in range(9) if j != i)
        assert scores["identified"][i] == pytest.approx(beaten / 8)
    projected = score_features(predicted - mean, true, mean, projected=True)
    for name, values in scores.items():
        np.testing.assert_allclose(projected[name], values, atol=1e-5)


@pytest.fixture
def product(study, monkeypatch, tmp_path):
    """A product of made-up predictions, right for one part and one form of z alone."""
    monkeypatch.setitem(plans.PLANS, 0, replace(PLAN, finetuning=plans.every(replace(QUICK, epochs=3))))
    parts = script.list_parts(study, 2)
    right = ("subj02", 1, "scratch", "all", "z"), ("subj02", 0, "ridge", "1", "z")
    rng = np.random.default_rng(8)

    def predictions(trainings, *part):
        arrays = {"test_image_ids": study.image_ids}
        names = plans.GROUPS[part[4]]
        for name, form in itertools.product(names, FORMS[: 2 if part[2] == "ridge" else 3]):
            rows = rng.normal(size=(len(study.image_ids), *SHAPES[name]))
            if form == "rescaled" and part in right:
                rows = trainings.true(name, study.image_ids)
            arrays[name + SUFFIXES[form]] = rows.astype(np.float16)
        loss = np.array([float(part[1]), 5.0] + [1.0] * (part[3] == "all"))
        curves = {"loss": loss, "retrieval": np.repeat(loss[:, None] + 1, len(names), axis=1)}
        stages = {"ridge": [], "scratch": ["last"]}.get(part[2], ["first", "last"])
        return arrays | {
            f"{stage}_{name}": curve[: {"first": 2}.get(stage)]
            for stage in stages
            for name, curve in curves.items()
        }

    monkeypatch.setattr(Trainings, "predictions", predictions)
    scored = {part: script.make(study, *part) for part in parts}
    ((arrays, provenance),) = script.gather(study, lambda *part: dict(scored[part]), 2).values()
    path = store.save(tmp_path / "product.npz", provenance=provenance, **arrays)
    return store.load(path), store.provenance(path), scored


def test_scores_lie_where_the_axes_say(product):
    arrays, described, scored = product
    network, ridge = arrays["network_r"], arrays["ridge_r"]
    assert network.shape == (2, 2, 2, 3, 2, 3) and ridge.shape == (2, 3, 2, 2)
    best = np.unravel_index(np.argmax(network), network.shape)
    labels = [
        described["subjects"][best[0]],
        best[1],
        described["networks"][best[2]],
        described["amounts"][best[3]],
        described["targets"][best[4]],
        described["forms"][best[5]],
    ]
    assert labels == ["subj02", 1, "scratch", "all", "z", "rescaled"]
    assert np.unravel_index(np.argmax(ridge), ridge.shape) == (1, 0, 0, 1)
    assert ridge.max() > 0.99 and network.max() > 0.99
    assert arrays["network_identified"][best].shape == (8,)
    assert arrays["network_identified"][best].min() == 1
    assert np.isfinite(arrays["g_r"]).all() and np.isfinite(arrays["network_r"]).all()
    assert arrays["g_r"].shape == (2, 2, 6, 2)
    compared = np.isnan(arrays["compared_r"]).all(-1)
    assert compared.tolist() == [[False, False], [False, False], [True, False]]
    np.testing.assert_array_equal(arrays["compared_r"][0], network[0, 0, 0, 2])
    joint, prior = scored["subj01", 0, "joint", "all", "zc"], scored["subj01", 0, "prior", "all", "c"]
    np.testing.assert_array_equal(arrays["compared_r"][1], joint["r"])
    np.testing.assert_array_equal(arrays["compared_r"][2, 1], prior["r"][0])
    for s, m in np.ndindex(2, 2):
        part = scored[described["subjects"][s], 0, ("pretrained", "ridge")[m], "all", "g"]
        np.testing.assert_array_equal(arrays["g_r"][s, m], part["r"])


def test_curves_keep_their_length_and_training(product):
    arrays, *_ = product
    assert arrays["last_loss"].shape == (2, 2, 2, 3, 2, 3) and arrays["first_loss"].shape == (2, 2, 2, 2)
    for seed in range(2):
        np.testing.assert_array_equal(arrays["last_loss"][1, seed, 1, 2, 0], [seed, 5, 1])
        np.testing.assert_array_equal(arrays["last_loss"][1, seed, 1, 0, 0], [seed, 5, np.nan])
        np.testing.assert_array_equal(arrays["first_loss"][1, seed, 0], [seed, 5])
    np.testing.assert_array_equal(arrays["last_retrieval"][0, 0, 0, 2, 1], [1, 6, 2])


def test_a_slice_is_run_by_two_shares_and_left_in_the_cache(study, trained):
    job = script.make_job(study, SimpleNamespace(seeds=1))
    assert job.is_slice and job.run(shard=(0, 2)) == (21, [])
    assert job.run(shard=(1, 2)) == (0, [])
    n = len(trained)
    # z and c of each subject: a first stage, and for each amount a second one and one from scratch; g;
    # and once one network for both, and one with a prior, each with a first stage of its own.
    assert n == 2 * (2 * (1 + 2 * 3) + 2) + 4
    (path,) = job.write(job.shelf.folder)
    arrays = store.load(path)
    assert arrays["network_identified"].shape == (2, 1, 2, 3, 2, 3, 8)
    assert np.isfinite(arrays["network_r"]).all() and np.isfinite(arrays["ridge_r"]).all()
    assert job.run() == (0, []) and len(trained) == n
    assert not script.make_job(study, SimpleNamespace(seeds=script.N_SEEDS)).is_slice


def test_a_training_that_fails_costs_no_other(study, monkeypatch, capsys):
    train = shared_space.train

    def fail(model, trials, *args, **options):
        if set(trials) == {"subj01"}:  # first stage of subj02, scratch and last stage of subj01
            raise FloatingPointError("The loss is nan at step 3")
        return train(model, trials, *args, progress=False, **options)

    monkeypatch.setattr(shared_space, "train", fail)
    job = script.make_job(study, SimpleNamespace(seeds=1))
    assert job.run()[0] == 22
    left = [part for part in job.parts if not job.shelf.path(part).is_file()]
    assert {part[:3] for part in left} == {
        ("subj01", 0, "pretrained"),
        ("subj01", 0, "scratch"),
        ("subj01", 0, "joint"),
        ("subj01", 0, "prior"),
        ("subj02", 0, "pretrained"),
    }
    assert "('subj01', 0, 'scratch', '1', 'z'): The loss is nan" in capsys.readouterr().err


def test_candidates_change_one_thing_each():
    for group, some in choice.candidates(plans.SMALL).items():
        first = asdict(some.pop("first"))
        assert first == asdict(plans.SMALL) and some
        for plan in map(asdict, some.values()):
            differing = {
                field
                for stage in ("pretraining", "finetuning", "scratch")
                for field, value in plan[stage][group].items()
                if value != first[stage][group][field]
            }
            assert len(differing) == 1 and plan["sizes"] == first["sizes"]


def test_candidates_are_scored_on_validation_images(study, monkeypatch):
    asked, score = [], choice.score
    monkeypatch.setattr(choice, "score", lambda *given: asked.append(given[3]) or score(*given))
    monkeypatch.setattr(Trainings, "test", lambda *_: pytest.fail("test images were read"))
    for method in ("pretrained", "ridge"):
        scores = choice.make(study, "z", "first", method, "all")["scores"]
        assert scores.shape == (len(choice.COLUMNS),) and np.isfinite(scores).all()
    assert list(map(len, asked)) == [6, 3, 3, 3, 3] * 2
    assert set(np.concatenate(asked)) == set(trainings_of(study).validation["subj01"])


def test_the_table_of_candidates_names_its_rows(study):
    job = choice.make_job(study, None)
    marked = {part: {"scores": np.full(len(choice.COLUMNS), k)} for k, part in enumerate(job.parts)}
    arrays, described = job.gather(study, lambda *part: marked[part])[""]
    row = job.parts.index(("c", "published contrast", "scratch", "all"))
    labels = [arrays[name][row] for name in choice.LABELS]
    assert labels == ["c", "published contrast", "scratch", "all"]
    assert (arrays["scores"][row] == row).all() and described["subject"] == "subj01"
