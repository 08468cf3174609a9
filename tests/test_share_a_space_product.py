"""The product of the shared space: shares of the work, scores and where they go."""

import importlib
import sys
from dataclasses import asdict

import numpy as np
import pytest
from sharing_world import SHAPES, make_sharing, shared_ids, spaces, watch_trainings

from latentcortex import store

study = importlib.import_module("7_share_a_space")
choice = importlib.import_module("7_choose_training")
sharing, trainings = pytest.fixture(make_sharing), pytest.fixture(watch_trainings)
pytestmark = pytest.mark.usefixtures("one_thread")


def test_shares_are_disjoint_whole_and_pre_train_nothing_twice():
    subjects = ["subj01", "subj02", "subj05"]
    parts = study.list_parts(subjects, subjects, 3, list(spaces.AMOUNTS))
    assert len(set(parts)) == len(parts) == 3 * (2 * 3 * 3 + 3) + 2
    shares = [study.share_of(parts, k, 4) for k in range(4)]
    assert sorted(part for share in shares for part in share) == sorted(parts)
    firsts = [{part[:3] for part in share} for share in shares]
    assert sum(map(len, firsts)) == len(set().union(*firsts))
    assert study.list_parts(["subj02"], subjects, 1, ["1"]) == [
        ("subj02", 0, method, "1") for method in ("ridge", "pretrained", "scratch")
    ]


def test_scores_are_those_of_a_double_loop(rng):
    true, mean = rng.normal(size=(9, 3, 4)) + 5, np.full((3, 4), 5.0)
    true[:, 0] = 2  # the same for every image
    predicted = true + rng.normal(0, 1.5, true.shape)
    found = study.score(predicted, true, mean)
    a, b = (np.asarray(rows - mean, np.float32).reshape(9, -1) for rows in (predicted, true))
    r = [np.corrcoef(a[:, k], b[:, k])[0, 1] for k in range(4, 12)]
    assert found["r"] == pytest.approx(np.mean(r), abs=1e-5)
    cosine = [[x @ y / np.linalg.norm(x) / np.linalg.norm(y) for y in b] for x in a]
    corr = [[np.corrcoef(x, y)[0, 1] for y in b] for x in a]
    for i in range(9):
        assert found["images_retrieved"][i] == (np.argmax(cosine[i]) == i)
        assert found["brains_retrieved"][i] == (np.argmax([row[i] for row in cosine]) == i)
        beaten = sum(corr[i][j] < corr[i][i] for j in range(9) if j != i)
        assert found["identified"][i] == pytest.approx(beaten / 8)
    projected = study.score(predicted - mean, true, mean, "projected")
    for name, values in found.items():
        np.testing.assert_allclose(projected[name], values, atol=1e-5)


@pytest.fixture
def product(sharing, monkeypatch):
    """A product of made-up predictions, right for one part and one form of z alone."""
    amounts = ["1", "all"]
    parts = study.list_parts(sharing.subjects, sharing.subjects, 2, amounts)
    right = ("subj02", 1, "scratch", "all"), ("subj02", 0, "ridge", "1")
    rng = np.random.default_rng(8)
    ids = shared_ids(sharing)

    def make(*part):
        made = {}
        for group in sharing.groups(*part[1:]):
            for name in spaces.GROUPS[group]:
                for form in spaces.FORMS[: 2 if part[2] == "ridge" else 3]:
                    rows = rng.normal(size=(len(ids), *SHAPES[name]))
                    if name == "z" and form == "rescaled" and part in right:
                        rows = sharing.true(name, ids)
                    made[name + spaces.SUFFIXES[form]] = rows.astype(np.float16)
        loss = [float(part[1]), 5.0] + [1.0] * (part[3] == "all")
        curve = {"loss": loss, "retrieval": {"z": loss[1:], "c": loss[1:]}}
        stages = {"last": curve} if part[2] == "scratch" else {"first": curve, "last": curve}
        found = {} if part[2] == "ridge" else dict.fromkeys(sharing.groups(*part[1:]), stages)
        path = sharing.path(*part)
        if not path.is_file():
            store.save(path, provenance={"curves": found}, image_ids=ids, **made)
        return store.load(path)

    monkeypatch.setattr(sharing, "predictions", make)
    product = study.Product(sharing, sharing.subjects, 2, amounts)
    for part in parts:
        product.add(part)
    return product


def test_scores_lie_where_the_axes_say(product, tmp_path):
    path = product.write(tmp_path)
    arrays, described = store.load(path), store.provenance(path)
    network, ridge = arrays["network_r"], arrays["ridge_r"]
    assert network.shape == (2, 2, 2, 2, 2, 3) and ridge.shape == (2, 2, 2, 2)
    best = np.unravel_index(np.argmax(network), network.shape)
    found = [
        described["subjects"][best[0]],
        best[1],
        described["networks"][best[2]],
        described["amounts"][best[3]],
        described["targets"][best[4]],
        described["forms"][best[5]],
    ]
    assert found == ["subj02", 1, "scratch", "all", "z", "rescaled"]
    assert np.unravel_index(np.argmax(ridge), ridge.shape) == (1, 0, 0, 1)
    assert ridge.max() > 0.99 and network.max() > 0.99
    assert arrays["network_identified"][best].shape == (8,)
    assert arrays["network_identified"][best].min() == 1
    assert np.isfinite(arrays["g_r"]).all() and np.isfinite(arrays["network_r"]).all()
    compared = np.isnan(arrays["compared_r"]).all(-1)
    assert compared.tolist() == [[False, False], [False, False], [True, False]]
    np.testing.assert_array_equal(arrays["compared_r"][0], network[0, 0, 0, 1])


def test_curves_keep_their_length_and_training(product):
    made = product.histories()
    assert made["last_loss"].shape == (2, 2, 2, 2, 2, 3) and made["first_loss"].shape[-1] == 3
    for seed in range(2):
        np.testing.assert_array_equal(made["last_loss"][1, seed, 1, 1, 0], [seed, 5, 1])
        np.testing.assert_array_equal(made["last_loss"][1, seed, 1, 0, 0], [seed, 5, np.nan])
    np.testing.assert_array_equal(made["last_retrieval"][0, 0, 0, 1, 1], [5, 1, np.nan])


def test_subjects_with_other_shared_images_are_refused(product, monkeypatch):
    made = product.sharing.predictions("subj02", 0, "scratch", "1")
    monkeypatch.setattr(
        product.sharing, "predictions", lambda *_: {**made, "image_ids": made["image_ids"] + 1}
    )
    with pytest.raises(ValueError, match="other shared images than subj01"):
        product.add(("subj02", 0, "scratch", "1"))


def test_candidates_change_one_thing_each():
    for group, some in choice.candidates(spaces.SMALL).items():
        first = asdict(some.pop("first"))
        assert first == asdict(spaces.SMALL) and some
        for plan in map(asdict, some.values()):
            differing = {
                field
                for stage in ("pretraining", "finetuning", "scratch")
                for field, value in plan[stage][group].items()
                if value != first[stage][group][field]
            }
            assert len(differing) == 1 and plan["sizes"] == first["sizes"]


def test_candidates_are_scored_on_validation_images(sharing, monkeypatch):
    asked, score = [], study.score
    monkeypatch.setattr(choice.study, "score", lambda *a: asked.append(len(a[0])) or score(*a))
    monkeypatch.setattr(sharing, "test", lambda *_: pytest.fail("test images were read"))
    for method in ("pretrained", "ridge"):
        found = choice.measure(sharing, "subj01", "z", method, "all")
        assert found.shape == (len(choice.COLUMNS),) and np.isfinite(found).all()
    assert asked == [6, 3, 3, 3, 3] * 2


def run(monkeypatch, sharing, *options):
    preset = type("Preset", (), {"subjects": (1, 2), "open": lambda _: sharing.root})()
    monkeypatch.setattr(study.presets, "get", lambda: preset)
    monkeypatch.setattr(study, "Sharing", lambda *_: sharing)
    monkeypatch.setattr(sys, "argv", ["7_share_a_space.py", *options])
    study.main()


def test_a_slice_is_run_by_two_shares_and_left_in_the_cache(sharing, trainings, monkeypatch, capsys):
    a_slice = "--subjects", "2", "--sessions", "1", "--seeds", "1"
    run(monkeypatch, sharing, *a_slice, "--shard", "0/2")
    assert "1 parts are missing" in capsys.readouterr().out
    run(monkeypatch, sharing, *a_slice, "--shard", "1/2")
    n = len(trainings)
    assert n == 6  # z and c in both stages and from scratch
    product = sharing.folder / f"7_share_a_space-{sharing.root.name}.npz"
    arrays = store.load(product)
    assert arrays["network_identified"].shape == (1, 1, 2, 1, 2, 3, 8)
    assert np.isfinite(arrays["network_r"]).all() and np.isfinite(arrays["ridge_r"]).all()
    run(monkeypatch, sharing, *a_slice)
    assert len(trainings) == n


def test_a_training_that_fails_costs_no_other(sharing, monkeypatch, capsys):
    train = spaces.shared_space.train

    def fail(model, trials, *args, **options):
        if set(trials) == {"subj01"}:  # first stage of subj02, scratch and last stage of subj01
            raise FloatingPointError("The loss is nan at step 3")
        return train(model, trials, *args, progress=False, **options)

    monkeypatch.setattr(spaces.shared_space, "train", fail)
    with pytest.raises(SystemExit) as end:
        run(monkeypatch, sharing, "--sessions", "1", "--seeds", "1")
    assert end.value.code == 1
    made = {path.stem for path in sharing.folder.glob("*.npz")}
    assert made == {"subj01-0-ridge-1", "subj02-0-ridge-1", "subj02-0-scratch-1"}
    printed = capsys.readouterr().out
    assert "('subj01', 0, 'scratch', '1'): The loss is nan" in printed
    assert "3 parts are missing" in printed


def test_an_unknown_subject_is_named(sharing, monkeypatch):
    with pytest.raises(ValueError, match="subj01, subj02, got {'subj07'}"):
        run(monkeypatch, sharing, "--subjects", "7")
