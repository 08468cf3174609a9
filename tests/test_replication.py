"""The kit for figures 6 to 9 is the frozen one; its verdicts follow its rule; parts are those of one run."""

import dataclasses
import shutil

import numpy as np
import pytest

from data_scripts import ch16_replicate_figures as ch16
from latentcortex import store
from latentcortex.studies import replication, replication_features
from latentcortex.studies.study import Study

# The hash of the kit as it was frozen on 2026-11-30. A test that has to be changed for a result is no test.
FROZEN = "1b7f3cc4497c41d43b2f4935ae45d301a2e813800d63722c749ea26d8e329c22"
DECISION = {"level": 0.95, "holds_in": 0.8, "refuted_by": 0.5}


def test_the_kit_was_not_changed():
    assert replication.FROZEN == FROZEN
    assert replication.read_kit()["written"] == "2026-11-30"


@pytest.mark.parametrize(
    ("old", "new"),
    [('better = "z"', 'better = "c"'), ("seed = 18", "seed = 19"), ("n_steps = 50", "n_steps = 40")],
)
def test_a_changed_kit_is_refused(tmp_path, old, new):
    path = tmp_path / "kit.toml"
    text = replication.PATH.read_text(encoding="utf-8")
    path.write_text(text + "\n# a comment\n", encoding="utf-8")
    assert replication.read_kit(path) == replication.read_kit()
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ValueError, match=f"frozen kit has {FROZEN[:12]}.*another kit"):
        replication.read_kit(path)


def test_every_claim_names_sets_and_areas_that_exist():
    kit = replication.read_kit()
    names = replication_features.feature_sets(kit["features"])
    assert list(names) == list(replication_features.feature_sets(kit["rehearsal"]))
    for claim in kit["claims"]:
        assert {claim["better"], claim["worse"]} <= set(names) and claim["area"] in kit["areas"]
        assert claim["better"] != claim["worse"]
    assert {claim["name"][0] for claim in kit["claims"]} == set("6789")
    found = {name: run.kept for name, run in replication_features.runs(kit["features"]).items()}
    for run, array in list(names.values())[2:]:
        assert array in found[run]


def subjects(*means):
    """Draws of subjects whose intervals are their means +- 0.02."""
    return np.array([mean + np.linspace(-0.02, 0.02, 101) for mean in means])


@pytest.mark.parametrize(
    ("means", "verdict"),
    [
        ((0.1, 0.1, 0.1, 0.1, 0.0), "confirmed"),  # four of five
        ((0.1, 0.1, 0.1, 0.0, 0.0), "undecided"),
        ((0.1, 0.1, 0.1, 0.1, -0.1), "undecided"),  # the opposite in one
        ((-0.1, -0.1, -0.1, 0.1, 0.1), "refuted"),
        ((-0.1, -0.1, 0.1, 0.1), "undecided"),  # half is not more than half
        ((0.01, 0.01), "undecided"),
        ((np.nan, 0.1), "confirmed"),  # a subject without the area is not counted
        ((np.nan, np.nan), "not asked"),
    ],
)
def test_verdicts_follow_the_rule(means, verdict):
    assert replication.decide(subjects(*means), DECISION)[0] == verdict


def test_verdicts_take_the_right_sets_and_areas():
    kit = replication.read_kit()
    names, areas = list(replication_features.feature_sets(kit["features"])), list(kit["areas"])
    score = np.zeros((5, len(names), len(areas)))
    score[:, names.index("z"), areas.index("early")] = 0.2
    score[:, names.index("c"), areas.index("ventral")] = 0.1
    score[:, names.index("bottleneck late"), areas.index("early")] = 0.3
    draws = score[..., None] + np.linspace(-0.001, 0.001, 50)
    for k in range(len(names)):  # differences have a width of their own
        draws[:, k] += 1e-4 * k * np.linspace(-1, 1, 50)
    found = {of["name"]: of for of in replication.verdicts(kit, names, score, draws)}
    assert found["6a"]["verdict"] == found["6b"]["verdict"] == found["7a"]["verdict"] == "confirmed"
    assert found["9c"]["verdict"] == "refuted" and found["9a"]["verdict"] == "undecided"
    np.testing.assert_allclose(found["9c"]["difference"], -0.3)
    assert found["6a"]["interval"].shape == (5, 2)


@pytest.fixture
def small(study, tmp_path, monkeypatch):
    """The tiny study with a kit of few components, in a cache of its own."""
    monkeypatch.setenv("LATENTCORTEX_CACHE", str(tmp_path))
    monkeypatch.setattr(replication, "read_kit", lambda: KIT)
    KIT["areas"] = {"early": ["streams", "early"], "V1": ["prf-visualrois", "V1v"]}
    replication.read_areas.cache_clear()
    yield Study(dataclasses.replace(study.preset, subjects=(1,)), study.root)
    replication.read_areas.cache_clear()


KIT = replication.read_kit()
KIT["encoding"] = {**KIT["encoding"], "n_components": 5, "n_draws": 20, "lowest_ceiling": 0.01}


@pytest.mark.usefixtures("one_thread")
def test_features_that_were_made_in_parts_are_those_of_one_run(small, monkeypatch):
    settings, ids = KIT["rehearsal"], small.image_ids
    once = replication_features.features_of(small, settings, "latent early", ids[:4])
    assert once.shape == (4, 4 * 16 * 16) and np.isfinite(once).all()
    path = replication_features.keep_run_part(small, settings, "removal much", ids[4:])
    assert set(store.load(path)) == {"image_ids", "z_c", "z_t 2", "z_t 4", "z_t 6"}
    monkeypatch.setattr(replication_features, "remove", lambda *_: pytest.fail("computed again"))
    both = replication_features.features_of(small, settings, "latent early", ids)
    np.testing.assert_array_equal(both[:4], once)
    again = replication_features.keep_run_part(small, settings, "removal much", ids[4:])
    assert again == path


@pytest.mark.usefixtures("one_thread")
def test_a_score_finds_a_planted_feature_and_an_area_that_is_missing_is_nan(small, monkeypatch, rng):
    seen = replication.read_areas(small, "subj01")
    assert set(seen.areas) == {"early"}
    responses = np.concatenate([seen.train[0], seen.test_betas])
    planted = (responses[:, :6] @ rng.normal(size=(6, 9))).astype(np.float32)
    monkeypatch.setattr(replication, "features_of", lambda *_: planted)
    found = replication.score(small, KIT["rehearsal"], "subj01", "z")
    noise = rng.normal(size=planted.shape).astype(np.float32)
    monkeypatch.setattr(replication, "features_of", lambda *_: noise)
    nothing = replication.score(small, KIT["rehearsal"], "subj01", "z")
    assert found["areas"][0] > nothing["areas"][0] + 0.01
    assert np.isnan(found["areas"][1]) and found["draws"].shape == (2, 20)
    assert abs(np.mean(found["draws"][0]) - found["areas"][0]) < 0.15


def test_the_script_asks_for_captions_and_images_before_it_begins(small, monkeypatch):
    def missing(*_):
        raise FileNotFoundError("no captions here")

    args = type("Args", (), {"rehearse": True})
    assert len(ch16.make_job(small, args).parts) == len(replication_features.feature_sets(KIT["rehearsal"]))
    monkeypatch.setattr(ch16.nsd, "captions", missing)
    with pytest.raises(FileNotFoundError, match="no captions here"):
        ch16.make_job(small, args)


@pytest.mark.usefixtures("one_thread")
def test_other_sessions_keep_their_scores_elsewhere(small):
    args = type("Args", (), {"rehearse": True})
    settings = {"all": {}, "some": {"sessions": (1, 2, 3)}, "space": {"space": "fsaverage5"}}
    folders = {
        name: ch16.make_job(
            Study(dataclasses.replace(small.preset, **changes), small.root), args
        ).shelf.folder
        for name, changes in settings.items()
    }
    assert len(set(folders.values())) == 3


def test_a_damaged_area_is_an_error_and_not_one_that_was_never_drawn(small, tmp_path):
    root = shutil.copytree(small.root, tmp_path / "damaged")
    KIT["areas"] = {"early": ["streams", "early"], "faces": ["floc-faces", "FFA-1"]}
    assert set(replication.read_areas(Study(small.preset, root), "subj01").areas) == {"early", "faces"}
    path = root / "nsddata/freesurfer/fsaverage/label/lh.floc-faces.mgz"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ValueError, match="lh.floc-faces.mgz"):
        replication.read_areas(Study(small.preset, root), "subj01")
    KIT["areas"] = {"V1": ["prf-visualrois", "V1v"]}
    with pytest.raises(FileNotFoundError, match="none of the areas V1 of subj01"):
        replication.read_areas(Study(small.preset, root), "subj01")
