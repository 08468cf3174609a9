"""Scripts of chapter 8b: what is drawn, what is kept of it, and how it is gathered."""

from types import SimpleNamespace

import numpy as np
import pytest

from data_scripts import ch08b_choose_weighing as choose
from data_scripts import ch08b_weigh_the_brain as weigh
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
