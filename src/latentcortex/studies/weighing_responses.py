"""Say how far measured responses are off those of predicted pictures (see `sampler.precise_guides`).

Where `sampler.brain_guide` compares all voxels alike, this guide knows their noise and how it is shared.
"""

import functools
from dataclasses import dataclass

import numpy as np
import torch

from latentcortex import encoding, features, sampler
from latentcortex.studies import weighing, weighing_features
from latentcortex.studies.encoders import LayerEncoder
from latentcortex.studies.guides import N_COMPONENTS
from latentcortex.studies.keys import key_of
from latentcortex.studies.responses import VISUAL_CORTEX
from latentcortex.studies.study import DIFFUSION, LAYERS
from latentcortex.studies.targets import targets


@dataclass(frozen=True, eq=False)
class ResponseKnowledge:
    """Hold what an encoding model knows of responses.

    Attributes
    ----------
    residuals : sampler.ResidualGaussian
        In principal components of the predicted responses, where the model says something.
    reader : sampler.FeatureReader
        The encoding model of all images that were learned from.
    region : (str, tuple of str)
    """

    residuals: sampler.ResidualGaussian
    reader: sampler.FeatureReader
    region: tuple


@functools.lru_cache(maxsize=2)
def response_knowledge(study, subject, c_region="preset", train_ids=None):
    """Return the `ResponseKnowledge` of a subject. What takes long is kept on disk.

    Parameters
    ----------
    study : Study
    subject : str
    c_region, train_ids
        See `weighing_features.feature_knowledge`.
    """
    ids = weighing_features.learned_ids(study, subject, train_ids)
    region = weighing_features.region_of_c(study, c_region)
    train = key_of([], ids.tolist())
    described = study.description(*DIFFUSION, "guide", region=region, train_ids=train)
    shelf = study.shelf("response_knowledge", [_measure], described)
    found = shelf.get((subject, c_region), lambda: _measure(study, subject, ids, region))
    arrays = {name: torch.from_numpy(values) for name, values in found.items() if name != "timesteps"}
    betas = weighing_features.averages(study, subject, VISUAL_CORTEX, ids)
    reader = _reader(study, subject, LayerEncoder(_layers(study, ids), betas, ids, N_COMPONENTS, joint=True))
    basis = sampler.FeatureBasis(arrays["mean"], arrays["directions"], reader.name)
    residuals = sampler.ResidualGaussian(
        basis, arrays["slopes"], found["timesteps"].tolist(), arrays["offsets"], arrays["covariances"]
    )
    return ResponseKnowledge(residuals, reader, VISUAL_CORTEX)


def _measure(study, subject, ids, region):
    """Measure on training images how responses differ from those of predicted pictures."""
    folds, rows = (np.random.default_rng([weighing_features.SEED, k]) for k in (5, 1))
    fold = folds.permutation(np.arange(len(ids)) % weighing.N_FOLDS)
    layers, betas = _layers(study, ids), weighing_features.averages(study, subject, VISUAL_CORTEX, ids)
    # Responses to the images themselves, each by an encoding model that has learned from other images.
    encoded, readers = torch.empty(betas.shape), []
    for k in range(weighing.N_FOLDS):
        learns, new = fold != k, torch.from_numpy(fold == k)
        known = {name: values[~new] for name, values in layers.items()}
        encoder = LayerEncoder(known, betas[learns], ids[learns], N_COMPONENTS, joint=True)
        encoded[new] = encoder({name: values[new] for name, values in layers.items()})
        readers.append(_reader(study, subject, encoder))
    del layers, known
    some = np.sort(rows.permutation(len(ids))[: weighing_features.N_RESIDUALS])
    n_components = min(weighing_features.N_COMPONENTS, (len(some) - 4) // 2)
    reduction = encoding.fit_reduction(encoded, n_components)
    basis = sampler.FeatureBasis(reduction.mean, reduction.directions, readers[0].name)
    measured = basis.of(torch.from_numpy(betas).float())
    slopes = sampler.calibration(measured, basis.of(encoded))
    states = weighing_features.condition(study, subject, ids, region)[some]
    predicted = torch.empty(study.preset.n_steps, len(some), basis.k)
    for k, reader in enumerate(readers):
        rows = np.flatnonzero(fold[some] == k)
        given = ids[some][rows], states[rows], reader, basis
        timesteps, predicted[:, rows] = weighing_features.predicted_features(study, *given)
    found = sampler.residual_gaussian(predicted, measured[some], slopes, basis, timesteps)
    return {
        "mean": basis.mean.numpy(),
        "directions": basis.directions.numpy(),
        "slopes": slopes.numpy(),
        "offsets": found.offsets.numpy(),
        "covariances": found.covariances.numpy(),
        "timesteps": np.array(found.timesteps),
    }


def _layers(study, ids):
    """Return all layers of g of images, tensors (n, ...) by number."""
    return dict(zip(LAYERS, targets(study, [f"g{k}" for k in LAYERS], ids).values(), strict=True))


def _reader(study, subject, encoder):
    """Return an encoding model as a function of images."""

    def read(images):
        g = features.encode_clip_layers(study.guide, images, LAYERS, len(images), clamped=False)
        # Fitted in main memory, whatever draws.
        return encoder({k: values.cpu() for k, values in g.items()}).to(images.device)

    return sampler.FeatureReader(read, f"{study.guide.name} to responses of {subject}")


def response_guidance(study, known, betas, image_ids, **changes):
    """Return the `sampler.PreciseGuidance` of some images by the responses measured to them.

    Parameters
    ----------
    study : Study
    known : ResponseKnowledge
    betas : float array (n, n_voxels)
        Responses of ``known.region``. Keep a showing apart for scoring, as for `sampler.brain_guide`.
    image_ids : int array (n,)
    **changes
        Other attributes of `sampler.PreciseGuidance`.
    """
    measured = known.residuals.basis.of(torch.from_numpy(betas).float())
    guide = sampler.PreciseGuide(known.reader, measured, image_ids, known.residuals)
    return sampler.PreciseGuidance(guide, **{"decoder": study.decoders["full"]} | changes)
