"""What a decoder is known to know of z, and the correction that follows from it."""

import dataclasses

import numpy as np
import pytest
import torch

from latentcortex import nsd, sampler
from latentcortex.decoders import LinearDecoder
from latentcortex.studies import decoding, drawings, weighing
from latentcortex.studies.recipes import Recipe
from latentcortex.studies.study import Study
from latentcortex.studies.targets import target

pytestmark = pytest.mark.usefixtures("one_thread")


def planted(rng, n=60):
    betas = rng.normal(size=(n, 12)).astype(np.float32)
    values = torch.from_numpy(betas @ rng.normal(size=(12, 6)) + rng.normal(size=(n, 6))).float()
    return betas, values.reshape(n, 2, 3), 100 + rng.permutation(n)


def test_no_image_takes_part_in_its_own_prediction(rng):
    betas, values, ids = planted(rng)
    found = weighing.out_of_fold(betas, values, ids, np.random.default_rng(3))
    fold = np.random.default_rng(3).permutation(np.arange(60) % weighing.N_FOLDS)
    learns = fold != fold[7]
    expected = LinearDecoder(cv="gcv").fit(betas[learns], values[learns], ids[learns]).predict(betas[7:8])
    torch.testing.assert_close(found[7:8], expected.float())
    changed = values.clone()
    changed[7] += 100
    again = weighing.out_of_fold(betas, changed, ids, np.random.default_rng(3))
    same = torch.from_numpy(fold == fold[7])
    torch.testing.assert_close(again[same], found[same], atol=0, rtol=0)
    assert (again[~same] - found[~same]).abs().max() > 1


@pytest.fixture(scope="module")
def known(study):
    return weighing.knowledge(study, "subj01", c_region="all")


def test_knowledge_is_of_training_images_and_kept(study, known, monkeypatch):
    train_ids, test_ids = nsd.split(study.tables["subj01"])
    z = target(study, "z", train_ids)
    x = known.components.of(z)
    torch.testing.assert_close(x.mean(0), torch.zeros(x.shape[1]), atol=1e-4, rtol=0)
    torch.testing.assert_close(x.var(0), known.components.variances, rtol=1e-3, atol=1e-6)
    betas, ids, _ = decoding.read(study, "subj01").averages(("streams", ("early",)))[0]
    assert ids.tolist() == train_ids.tolist() and known.region == ("streams", ("early",))
    predicted = weighing.out_of_fold(betas, x, ids, np.random.default_rng([weighing.SEED, 0]))
    r2 = 1 - (x - predicted).square().mean(0) / x.square().mean(0)
    torch.testing.assert_close(known.r2, r2, atol=1e-4, rtol=0)
    assert known.errors.timesteps == tuple(sorted(known.errors.timesteps, reverse=True))
    assert len(known.errors.timesteps) == study.preset.n_steps
    assert (known.errors.variances[0] > known.errors.variances[-1]).all()  # less noise, less error
    weighing.knowledge.cache_clear()
    monkeypatch.setattr(weighing.sampler, "denoising_errors", None)  # nothing is measured again
    again = weighing.knowledge(study, "subj01", c_region="all")
    torch.testing.assert_close(again.errors.variances, known.errors.variances, atol=0, rtol=0)
    assert np.intersect1d(known.decoder.image_ids_, test_ids).size == 0


def test_the_correction_says_what_the_decoder_says_as_far_as_it_is_known(study, known):
    betas = decoding.read(study, "subj01").showings(known.region, "all", study.image_ids)
    each = weighing.correction(study, known, weighing.Weighing(), betas, study.image_ids)
    (measured,) = each.measurements
    r2 = known.r2.clip(0, 1)
    there = r2 > 0
    assert torch.isinf(measured.noise[~there]).all() and each.errors is known.errors
    predicted = known.decoder.predict(betas).float()
    torch.testing.assert_close(measured.values[:, there], predicted[:, there] / r2[there])
    one = weighing.correction(study, known, weighing.Weighing(r2="one"), betas, study.image_ids)
    (of_one,) = one.measurements
    variances = known.components.variances
    share = ((known.r2 * variances).sum() / variances.sum()).clip(0)  # of z as a whole
    torch.testing.assert_close(of_one.noise / variances, torch.full_like(variances, float(1 / share - 1)))
    by_formula = weighing.correction(
        study, known, weighing.Weighing(errors="schedule"), betas, study.image_ids
    )
    abar = study.model.scheduler.alphas_cumprod[list(known.errors.timesteps)]
    torch.testing.assert_close(by_formula.errors.variances[:, 5], 1 - abar)
    learned = known.decoder.image_ids_[:1]
    with pytest.raises(ValueError, match=str(learned[0])):
        weighing.correction(study, known, weighing.Weighing(), betas[:1], learned)


def test_drawings_come_from_the_responses_given_and_are_corrected_by_them(study, known):
    read, ids = decoding.read(study, "subj01"), study.image_ids[:3]
    betas = weighing.responses_to(study, "subj01", ids[::-1])[::-1]
    np.testing.assert_allclose(betas[1], read.betas[read.image_ids == ids[1]].mean(0), atol=1e-5)
    asked = weighing.Weighing(c_region="all", trust=3.0)
    drawn = weighing.draw(study, "subj01", asked, betas, ids, repeat=1, strength=0.9)
    train_ids = nsd.split(study.tables["subj01"])[0]
    z = decoding.decode(study, "subj01", decoding.linear(study, "subj01", "z"), ids)
    of_c = decoding.fit(study, "subj01", "c", train_ids, study.preset.rescale, region=weighing.VISUAL_CORTEX)
    c = decoding.decode(study, "subj01", of_c, ids)
    corrected = weighing.correction(study, known, asked, read.showings(known.region, "all", ids), ids)
    for correction, found in (
        (corrected, drawn),
        (None, weighing.draw(study, "subj01", asked, betas, ids, 1, is_corrected=False, strength=0.9)),
    ):
        changes = {"strength": 0.9, "correction": correction}
        expected = drawings.reconstruct(study, Recipe(), 1, ids, z, c, **changes)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    assert (drawn - found).abs().max() > 1e-3
    with pytest.raises(ValueError, match=str(train_ids[0])):
        weighing.draw(study, "subj01", asked, betas[:1], train_ids[:1])


def test_words_that_mean_nothing_are_refused():
    with pytest.raises(ValueError, match="Expected r2 of each, one, got 'two'"):
        weighing.Weighing(r2="two")


def test_knowledge_may_leave_images_out_for_validation(study, known):
    train_ids = nsd.split(study.tables["subj01"])[0]
    fewer = weighing.knowledge(study, "subj01", "all", train_ids=tuple(train_ids[:150].tolist()))
    assert set(fewer.decoder.image_ids_) == set(train_ids[:150]) and fewer.region == weighing.VISUAL_CORTEX
    assert fewer.components.name != known.components.name


def test_penalties_are_those_of_the_preset_as_where_drawings_are_decoded(study, monkeypatch):
    asked, errors = [], sampler.DenoisingErrors((1,), torch.ones(1, 1), "new", 1.0, "new")

    class Recorded(LinearDecoder):
        def fit(self, *given):
            asked.append(self.alphas)
            return super().fit(*given)

    monkeypatch.setattr(weighing, "LinearDecoder", Recorded)
    monkeypatch.setattr(
        sampler,
        "denoising_errors",
        lambda *_, components, **__: dataclasses.replace(
            errors, variances=torch.ones(1, len(components.variances))
        ),
    )
    other = Study(dataclasses.replace(study.preset, alphas=(3.0, 30.0)), study.root)
    weighing.knowledge(other, "subj01")
    assert asked == [(3.0, 30.0)] * (2 * weighing.N_FOLDS + 1)
