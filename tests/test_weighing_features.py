"""What a subject's decoders are known to know of g and c, and the guides and draws that follow from it."""

import numpy as np
import pytest
import torch

from latentcortex import nsd, sampler
from latentcortex.studies import decoding, drawings, weighing, weighing_features, weighing_responses
from latentcortex.studies.recipes import Recipe
from latentcortex.studies.targets import target

pytestmark = pytest.mark.usefixtures("one_thread")
LAYERS = (1, 3)


@pytest.fixture(scope="module")
def of_g(study):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weighing_features, "N_RESIDUALS", 24)
        yield weighing_features.feature_knowledge(study, "subj01", LAYERS)


def made_up_c(_study, name, image_ids):
    """The tokenizer knows no sign of the fixture's captions, so their own c is the same for all images."""
    assert name == "c"
    rows = [np.random.default_rng(int(image_id)).normal(size=(24, 128)) for image_id in image_ids]
    return torch.from_numpy(np.stack(rows)).float()


@pytest.fixture(scope="module")
def of_c(study):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weighing_features, "target", made_up_c)
        known = weighing_features.condition_knowledge(study, "subj01", "all")
    return known


def test_g_is_known_from_training_images_and_kept(study, of_g, monkeypatch):
    train_ids, test_ids = nsd.split(study.tables["subj01"])
    g = torch.cat([target(study, f"g{k}", train_ids).flatten(1) for k in LAYERS], dim=1)
    true, residuals = of_g.residuals.basis.of(g), of_g.residuals
    assert true.shape[1] == 10  # 24 images allow for no more
    torch.testing.assert_close(true.mean(0), torch.zeros(10), atol=1e-3, rtol=0)
    correlations = torch.corrcoef(true.T) - torch.eye(10)
    assert correlations.abs().max() < 1e-3  # principal components
    betas, ids, _ = decoding.read(study, "subj01").averages(of_g.region)[0]
    folds = np.random.default_rng([weighing_features.SEED, 0])
    decoded = weighing.out_of_fold(betas, true, ids, folds, study.preset.device, study.preset.alphas)
    torch.testing.assert_close(residuals.slopes, sampler.calibration(decoded, true), atol=1e-3, rtol=0)
    assert len(residuals.timesteps) == study.preset.n_steps
    assert set(of_g.decoder.image_ids_) == set(train_ids) and not set(test_ids) & set(train_ids)
    weighing_features.feature_knowledge.cache_clear()
    monkeypatch.setattr(weighing_features.sampler, "predicted_features", None)  # nothing is measured again
    again = weighing_features.feature_knowledge(study, "subj01", LAYERS)
    assert torch.equal(again.residuals.covariances, residuals.covariances)


def test_drawings_are_guided_by_the_responses_given(study, of_g):
    ids = study.image_ids[:2]
    betas = decoding.read(study, "subj01").showings(of_g.region, "all", ids)
    guidance = weighing_features.feature_guidance(study, of_g, betas, ids, feature_scale=0.5)
    expected = of_g.decoder.predict(betas).float()
    torch.testing.assert_close(guidance.guide.decoded, expected)
    assert guidance.decoder is study.model.vae and not guidance.blend and guidance.feature_scale == 0.5
    z, c = target(study, "z", ids), target(study, "c", ids)
    with torch.no_grad():
        drawn, free = (drawings.reconstruct(study, Recipe(), 0, ids, z, c, of) for of in (guidance, None))
    assert torch.isfinite(drawn).all() and drawn.shape == free.shape
    learned = of_g.decoder.image_ids_[:1]
    with pytest.raises(ValueError, match=str(learned[0])):
        weighing_features.feature_guidance(study, of_g, betas[:1], learned)


def test_c_is_known_from_training_images_and_drawn_around_its_prediction(study, of_c, monkeypatch):
    train_ids, ids = nsd.split(study.tables["subj01"])
    assert of_c.region == weighing_features.VISUAL_CORTEX
    assert set(of_c.decoder.image_ids_) == set(train_ids)
    betas = decoding.read(study, "subj01").showings(of_c.region, "all", ids)
    drawn = torch.stack([weighing_features.drawn_c(of_c, betas, ids, of) for of in range(40)])
    predicted = of_c.decoder.predict(betas, image_ids=ids).float() + of_c.noise.offset
    off = (drawn - predicted).flatten(2).flatten(0, 1)
    expected = float(of_c.noise.covariance.trace())
    assert off.square().sum(1).mean() == pytest.approx(expected, rel=0.1)
    assert torch.equal(drawn[3], weighing_features.drawn_c(of_c, betas, ids, 3))
    weighing_features.condition_knowledge.cache_clear()
    monkeypatch.setattr(weighing_features, "target", made_up_c)
    monkeypatch.setattr(weighing_features.sampler, "condition_noise", None)  # nothing is measured again
    again = weighing_features.condition_knowledge(study, "subj01", "all")
    assert torch.equal(again.noise.covariance, of_c.noise.covariance)
    with pytest.raises(ValueError, match=str(train_ids[0])):
        weighing_features.drawn_c(of_c, betas[:1], train_ids[:1])


def test_responses_are_known_in_the_axes_in_which_they_are_predicted(study, monkeypatch):
    monkeypatch.setattr(weighing_features, "N_RESIDUALS", 24)
    found = weighing_features.averages

    def answering(study, subject, region, ids):  # the fixture's responses have nothing to do with its images
        betas, g = found(study, subject, region, ids), target(study, "g3", ids).flatten(1).numpy()
        mixed = g @ np.random.default_rng(0).normal(size=(g.shape[1], betas.shape[1])).astype(np.float32)
        return betas + 3 * (mixed - mixed.mean(0)) / mixed.std(0)

    monkeypatch.setattr(weighing_features, "averages", answering)
    known = weighing_responses.response_knowledge(study, "subj01")
    assert known.residuals.basis.k == 10 and len(known.residuals.timesteps) == study.preset.n_steps
    read, ids = decoding.read(study, "subj01"), study.image_ids[:2]
    betas = read.showings(known.region, "all", ids)
    guidance = weighing_responses.response_guidance(study, known, betas, ids, guided_share=0.5)
    assert known.residuals.slopes[0] > 0.3
    timestep = known.residuals.timesteps[-1]
    images = torch.rand(2, 3, 64, 64, requires_grad=True)
    loss = guidance.guide.at(timestep)(images, torch.as_tensor(ids))
    values = known.residuals.basis.of(known.reader(images))
    off = known.residuals.basis.of(torch.from_numpy(betas).float()) - known.residuals.slopes * values
    off = (off - known.residuals.offsets[-1]).double()
    covariance = known.residuals.covariances[-1]
    says = torch.isfinite(covariance.diagonal())
    inverse = torch.linalg.inv(covariance[says][:, says])
    expected = 0.5 * (off[:, says] @ inverse * off[:, says]).sum(1)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-3, atol=1e-4)
    (gradient,) = torch.autograd.grad(loss.sum(), images)
    assert torch.isfinite(gradient).all() and gradient.abs().max() > 0
    weighing_responses.response_knowledge.cache_clear()
    monkeypatch.setattr(weighing_responses.sampler, "residual_gaussian", None)  # nothing is measured again
    again = weighing_responses.response_knowledge(study, "subj01")
    assert torch.equal(again.residuals.covariances, known.residuals.covariances)


def test_words_and_images_that_mean_nothing_are_refused(study):
    with pytest.raises(ValueError, match="c_region of preset, all, got 'none'"):
        weighing_features.condition_knowledge(study, "subj01", "none")
    with pytest.raises(ValueError, match="name an image twice"):
        weighing_features.condition_knowledge(study, "subj01", train_ids=(3, 3))
