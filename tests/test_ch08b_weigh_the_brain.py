"""Scripts of chapter 8b: what is drawn, what is kept of it, and how it is gathered."""

from types import SimpleNamespace

import numpy as np
import pytest

from data_scripts import ch08b_choose_weighing as choose
from data_scripts import ch08b_cover_the_truth as cover
from data_scripts import ch08b_keep_a_ledger as keep
from data_scripts import ch08b_weigh_the_brain as weigh
from latentcortex import nsd, sampler
from latentcortex.studies import drawings, ledger, validation, weighed_setting, weighing

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def setting(monkeypatch):
    found = weighing.Weighing(c_region="all", trust=3.0), 0.75
    monkeypatch.setattr(weighed_setting, "setting_of", lambda _: found)


@pytest.fixture
def drawn(study, monkeypatch):
    """Whatever is asked for, the first test image is drawn; calls are kept."""
    calls = []

    def draw(*given, **changes):
        calls.append((given, changes))
        return study.originals[:1].expand(len(given[4]), -1, -1, -1)

    monkeypatch.setattr(weighing, "draw", draw)
    monkeypatch.setattr(drawings, "draw", draw)
    return calls


@pytest.mark.usefixtures("setting")
def test_drawings_are_scored_and_read_in_their_ways(study, drawn):
    job = weigh.make_job(study, None)
    assert len(job.parts) == len(set(job.parts)) == 2 * 3 * weigh.N_DRAWINGS
    found = job.make(study, *job.parts[0])
    (_, subject, asked, betas, ids, repeat, is_corrected), changes = drawn.pop()
    assert (subject, repeat, is_corrected, changes) == ("subj01", 0, True, {"strength": 0.75})
    assert (asked.z_region, asked.c_region, asked.trust) == ("preset", "all", 3.0)
    assert ids.tolist() == study.image_ids.tolist()
    read = weighing.decoding.read(study, "subj01")
    np.testing.assert_allclose(betas[2], read.betas[read.image_ids == ids[2]].mean(0), atol=1e-5)
    expected = ledger.read(study.originals[:1].expand(len(ids), -1, -1, -1))
    np.testing.assert_array_equal(ledger.reading_of(found, "judge")["kinds"], expected["judge"]["kinds"])
    plain = next(part for part in job.parts if part[1:3] == ("plain", 2))
    assert "pictures" not in job.make(study, *plain)
    (_, _, asked, _, _, _, is_corrected), changes = drawn.pop()
    assert not is_corrected and changes == {"strength": study.preset.strength}
    assert asked.z_region == "all"
    uncorrected = next(part for part in job.parts if part[1:3] == ("uncorrected", 2))
    job.make(study, *uncorrected)
    (_, _, asked, _, _, _, is_corrected), changes = drawn.pop()
    assert not is_corrected and changes == {"strength": 0.75}
    assert (asked.z_region, asked.c_region) == ("preset", "all")

    arrays, provenance = job.gather(study, lambda *part: {**found, "scores": found["scores"] + part[2]})[""]
    n = len(study.image_ids)
    assert arrays["scores"].shape == (2, 3, weigh.N_DRAWINGS, n, len(provenance["scores"]))
    at = weigh.scorer_of(study).names.index("AlexNet(2)")
    stored = arrays["scores"][0, 1, 3, :, provenance["scores"].index("AlexNet(2)")]
    np.testing.assert_array_equal(stored, found["scores"][:, at] + 3)
    assert arrays["second judge kinds"].shape == (2, 3, weigh.N_DRAWINGS, n, 10)
    assert arrays["pictures"].shape == (3, *found["pictures"].shape)
    assert np.isin(arrays["picture_ids"], study.image_ids).all()
    known = weighing.knowledge(study, "subj01", c_region="all")
    np.testing.assert_array_equal(arrays["errors"], known.errors.variances)


@pytest.mark.usefixtures("setting")
def test_a_ledger_goes_on_after_the_scored_drawings_and_leaves_validation_images_out(
    study, drawn, monkeypatch
):
    monkeypatch.setattr(keep, "N_CALIBRATION", 6)
    job = keep.make_job(study, None)
    of_test = [part for part in job.parts if part[:2] == ("subj02", "test")]
    assert [part[2] for part in of_test] == list(range(weigh.N_DRAWINGS, 20))
    job.make(study, *of_test[0])
    given, changes = drawn.pop()
    assert given[5] == weigh.N_DRAWINGS and changes == {"train_ids": None, "strength": 0.75}

    found = job.make(study, "subj01", "validation", 1, 3.0, 0.75)
    held = validation.validation_of(study, "subj01")
    _, changes = drawn.pop()
    assert found["image_ids"].tolist() == held.image_ids[:6].tolist()
    assert set(changes["train_ids"]) == set(held.fit_ids)
    assert set(changes["train_ids"]).isdisjoint(held.image_ids)
    job.make(study, keep.NO_SUBJECT, "nothing", 0, 3.0, 0.75)
    assert drawn.pop()[0][2].source == "empty"

    def load(subject, group, repeat, trust, strength):
        assert (subject, group, repeat, trust, strength) in job.parts
        number = 50 * keep._subjects(study, group).index(subject) + repeat
        return {"image_ids": np.arange(4), "judge setting": np.full(4, number, np.uint8)}

    arrays, provenance = job.gather(study, load)[""]
    assert "one" in provenance["axes"]["nothing_ids"][0] and arrays["nothing_ids"].shape == (1, 4)
    assert arrays["test judge setting"][:, 0, 0].tolist() == [5, 55]
    assert arrays["validation judge setting"].shape == (2, 20, 4)
    assert arrays["nothing judge setting"].shape == (1, 5, 4) and arrays["validation_ids"].shape == (2, 4)
    assert set(ledger.reading_of(arrays, "judge", "test ")) == {"setting"}


def test_cells_hold_all_that_the_choice_needs(study):
    args = SimpleNamespace(validation_images=validation.N_VALIDATION, subjects=None)
    job = choose.make_job(study, args)
    names = validation.validation_of(study, "subj01").scorer.names
    scores = np.zeros((validation.N_VALIDATION, len(names)), np.float16)

    def load(_subject, _n, way, strength):
        found = scores.copy()
        found[:, names.index("kinds")] = way != "plain"
        found[:, names.index("centred PixCorr")] = strength + (way == "trust 3")
        return {"scores": found}

    arrays, provenance = job.gather(study, load)[""]
    assert arrays["scores"].shape == (2, len(choose.CELLS), validation.N_VALIDATION, len(choose.SCORES))
    means = arrays["scores"].mean(axis=(0, 2), dtype=float)
    kinds, centred = (means[:, provenance["scores"].index(name)] for name in ("kinds", "centred PixCorr"))
    asked = provenance["cells"], provenance["trusts"], kinds, centred, study.preset.strength
    assert weighed_setting.choose(*asked) == (3.0, 1.0)


def test_every_way_to_draw_is_drawn(study, monkeypatch):
    """One image, each way once: what is corrected, guided, and decoded from where."""
    monkeypatch.setattr(choose.validation, "N_VALIDATION", 4)
    seen = []

    def reconstruct(_study, _recipe, _repeat, ids, _z, _c, guidance, **changes):
        seen.append((guidance, changes["correction"]))
        return study.originals[:1].expand(len(ids), -1, -1, -1)

    monkeypatch.setattr(choose.drawings, "reconstruct", reconstruct)
    for name, way in choose.WAYS.items():
        choose.make(study, "subj01", 4, name, 0.6)
        guidance, correction = seen.pop()
        assert (guidance is not None) == way.is_guided
        assert (correction is not None) == (way.weighing is not None)
        assert correction is None or correction.trust == way.weighing.trust


def test_measured_components_are_covered_more_tightly(study, monkeypatch):
    monkeypatch.setattr(cover, "N_DRAWINGS", 6)
    monkeypatch.setattr(cover, "N_ERRORS", 12)
    monkeypatch.setattr(cover, "N_COMPONENTS", 20)
    train_ids = nsd.split(study.tables["subj01"])[0]
    assert len(train_ids) > 12
    wide, narrow = (cover.make(study, 1.0, r2, int(study.image_ids[0])) for r2 in (0.0, 0.99))
    assert narrow["spread"].mean() < wide["spread"].mean() / 2
    assert np.abs(narrow["error"]).mean() < 0.3 and wide["covered"].shape == (20,)
    job = cover.make_job(study, None)
    assert len(job.parts) == 2 * 3 * min(cover.N_IMAGES, len(study.image_ids))
    arrays, provenance = job.gather(study, lambda *_: narrow)[""]
    assert arrays["covered"].shape == (2, 3, len(study.image_ids), 20)
    assert provenance["axes"]["covered_ids"] == ["image"]
    assert arrays["covered_ids"].tolist() == sorted(study.image_ids.tolist())
    assert isinstance(cover._known(study, 1.0)[1], sampler.DenoisingErrors)


def test_ninety_of_a_hundred_truths_lie_where_ninety_of_a_hundred_drawings_do(rng):
    """Gaussian drawings and truths; another method for quantiles would cover 0.87 of them."""
    k, scales = 20_000, np.array([0.5, 4.0]).repeat(10_000)
    means = 3 * rng.normal(size=k)
    drawn, truth = rng.normal(size=(cover.N_DRAWINGS, k)), rng.normal(size=k)

    def of(drawn, truth):
        return cover.compare(scales * (means + drawn), scales * (means + truth), scales)

    found = of(drawn, truth)
    assert found["covered"].mean() == pytest.approx(0.9, abs=0.01)
    assert found["spread"].mean(dtype=float) == pytest.approx(0.99, abs=0.01)
    # The mean of fifty drawings, and one truth: no bias, and a variance of 1 + 1 / 50.
    errors = found["error"].astype(float)
    assert errors.mean() == pytest.approx(0, abs=0.03)
    assert np.square(errors).mean() == pytest.approx(1 + 1 / cover.N_DRAWINGS, abs=0.05)
    # Both ends leave out as much.
    outside = [(~of(drawn, np.full(k, at))["covered"]).mean() for at in (-1.645, 1.645)]
    assert outside[0] == pytest.approx(outside[1], abs=0.02)
    # Biased drawings that are too wide cover as much: only the error and the spread show it.
    wrong = of(1 + 1.39 * drawn, truth)
    assert wrong["covered"].mean() == pytest.approx(0.9, abs=0.015)
    assert wrong["error"].mean(dtype=float) == pytest.approx(1, abs=0.03)
    assert wrong["spread"].mean(dtype=float) == pytest.approx(1.38, abs=0.02)
