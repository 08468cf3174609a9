"""Say how far a subject's decoded g, responses and c are off (see `sampler.precise_guides`).

All of it is measured on training images that the decoders have not learned from, for averages of as many
showings as training images have. Decoders of four fifths of the images err a little more than those of all.
"""

import functools
from dataclasses import dataclass

import numpy as np
import torch

from latentcortex import encoding, features, nsd, sampler
from latentcortex.decoders import LinearDecoder, rescale_by, rescaling
from latentcortex.store import rows_of
from latentcortex.studies import decoding, weighing
from latentcortex.studies.keys import key_of
from latentcortex.studies.responses import VISUAL_CORTEX
from latentcortex.studies.study import DIFFUSION, LAYERS
from latentcortex.studies.targets import target, targets

N_COMPONENTS = 100  # of g, at most
N_AXES = 300  # of the residuals of c, at most
N_FITTED = 2000  # images that components of g and of the residuals of c are fitted on, at most
N_RESIDUALS = 300  # training images whose noisy latents are looked at
N_AT_ONCE = 500  # images whose layers are in memory at a time
SEED = 23


@dataclass(frozen=True, eq=False)
class FeatureKnowledge:
    """Hold what a decoder knows of g.

    Attributes
    ----------
    residuals : sampler.ResidualGaussian
    reader : sampler.FeatureReader
    decoder : LinearDecoder
        From responses to components of g, without rescaling.
    region : (str, tuple of str)
        Where the responses come from.
    """

    residuals: sampler.ResidualGaussian
    reader: sampler.FeatureReader
    decoder: LinearDecoder
    region: tuple


@dataclass(frozen=True, eq=False)
class ConditionKnowledge:
    """Hold what a decoder knows of c.

    Attributes
    ----------
    noise : sampler.ConditionNoise
    decoder : LinearDecoder
        From responses to c, without rescaling, because draws have the spread that predictions lack.
    region : (str, tuple of str)
    """

    noise: sampler.ConditionNoise
    decoder: LinearDecoder
    region: tuple


@functools.lru_cache(maxsize=4)
def feature_knowledge(study, subject, layers=LAYERS, c_region="preset", train_ids=None):
    """Return the `FeatureKnowledge` of a subject. What takes long is kept on disk.

    Parameters
    ----------
    study : Study
    subject : str
    layers : tuple of int
        Layers of g. Each is divided by its standard deviation before components of all of them are taken.
    c_region : {"preset", "all"}
        Where the c is decoded from under which pictures are predicted, see `weighing.Weighing`.
    train_ids : tuple of int, optional
        Images to learn from. By default all training images.
    """
    ids, region = learned_ids(study, subject, train_ids), region_of_c(study, c_region)
    described = study.description(
        *DIFFUSION, "guide", layers=list(layers), region=region, train_ids=key_of([], ids.tolist())
    )
    shelf = study.shelf("feature_knowledge", [_measure_g], described)
    make = functools.partial(_measure_g, study, subject, ids, layers, region)
    found = shelf.get((subject, c_region), make)
    arrays = {name: torch.from_numpy(values) for name, values in found.items() if name != "timesteps"}
    reader = sampler.clip_features(study.guide, layers)
    basis = sampler.FeatureBasis(arrays["mean"], arrays["directions"], reader.name)
    residuals = sampler.ResidualGaussian(
        basis, arrays["slopes"], found["timesteps"].tolist(), arrays["offsets"], arrays["covariances"]
    )
    decoder = _fitted(study, averages(study, subject, VISUAL_CORTEX, ids), arrays["components"], ids)
    return FeatureKnowledge(residuals, reader, decoder, VISUAL_CORTEX)


def _measure_g(study, subject, ids, layers, region):
    """Measure on training images how decoded g differs from that of predicted pictures."""
    folds, rows, fitted = (np.random.default_rng([SEED, k]) for k in range(3))
    some = np.sort(rows.permutation(len(ids))[:N_RESIDUALS])
    n_components = min(N_COMPONENTS, (len(some) - 4) // 2)
    basis = _basis_of_g(study, ids[np.sort(fitted.permutation(len(ids))[:N_FITTED])], layers, n_components)
    blocks = (ids[start : start + N_AT_ONCE] for start in range(0, len(ids), N_AT_ONCE))
    true = torch.cat([basis.of(_joined(study, block, layers)) for block in blocks])
    betas = averages(study, subject, VISUAL_CORTEX, ids)
    decoded = weighing.out_of_fold(betas, true, ids, folds, study.preset.device, study.preset.alphas)
    slopes = sampler.calibration(decoded, true)
    reader, states = sampler.clip_features(study.guide, layers), condition(study, subject, ids, region)[some]
    timesteps, predicted = predicted_features(study, ids[some], states, reader, basis)
    found = sampler.residual_gaussian(predicted, decoded[some], slopes, basis, timesteps)
    return {
        "mean": basis.mean.numpy(),
        "directions": basis.directions.numpy(),
        "components": true.numpy(),
        "slopes": slopes.numpy(),
        "offsets": found.offsets.numpy(),
        "covariances": found.covariances.numpy(),
        "timesteps": np.array(found.timesteps),
    }


def predicted_features(study, ids, states, reader, basis):
    """Return all timesteps of the preset, and what a reader reads of pictures that are predicted at them.

    Parameters
    ----------
    study : Study
    ids : int array (n,)
    states : tensor (n, n_tokens, d)
        The condition of each image, see `condition`.
    reader : sampler.FeatureReader
    basis : sampler.FeatureBasis

    Returns
    -------
    timesteps : int tensor (n_timesteps,)
        All of the preset's steps, so that every strength finds its own among them.
    predicted : tensor (n_timesteps, n, k)
    """
    model, preset = study.model, study.preset
    timesteps = sampler.denoising_timesteps(model.scheduler, preset.n_steps)
    return timesteps, sampler.predicted_features(
        model.unet,
        model.scheduler,
        target(study, "z", ids),
        states,
        reader,
        basis,
        timesteps=timesteps,
        generators=[sampler.make_generator(int(image_id), 0, SEED) for image_id in ids],
        decoder=study.decoders["full"],
        batch_size=preset.batch_size,
    )


def _basis_of_g(study, ids, layers, n_components):
    """Return the principal components of all layers together, each divided by its standard deviation."""
    names = [f"g{k}" for k in layers]
    found = targets(study, names, ids)
    scales = torch.cat([values[0].flatten() * 0 + values.std() for values in found.values()])
    rows = torch.cat([values.flatten(1) for values in found.values()], dim=1) / scales
    reduction = encoding.fit_reduction(rows, min(n_components, len(ids) - 1, rows.shape[1]))
    name = sampler.clip_features(study.guide, layers).name
    return sampler.FeatureBasis(reduction.mean * scales, reduction.directions / scales[:, None], name)


def _joined(study, ids, layers):
    """Return the layers of g of images, one after the other, a tensor (n, p)."""
    found = targets(study, [f"g{k}" for k in layers], ids)
    return torch.cat([values.flatten(1) for values in found.values()], dim=1)


def feature_guidance(study, known, betas, image_ids, **changes):
    """Return the `sampler.PreciseGuidance` of some images by their responses.

    Parameters
    ----------
    study : Study
    known : FeatureKnowledge
    betas : float array (n, n_voxels)
        Responses of ``known.region``.
    image_ids : int array (n,)
        Images that the decoder has not learned from.
    **changes
        Other attributes of `sampler.PreciseGuidance`, such as `feature_scale`.
    """
    decoded = known.decoder.predict(betas, image_ids=image_ids).float()
    guide = sampler.PreciseGuide(known.reader, decoded, image_ids, known.residuals)
    return sampler.PreciseGuidance(guide, **{"decoder": study.decoders["full"]} | changes)


@functools.lru_cache(maxsize=4)
def condition_knowledge(study, subject, c_region="preset", train_ids=None):
    """Return the `ConditionKnowledge` of a subject. What takes long is kept on disk.

    Parameters
    ----------
    study : Study
    subject : str
    c_region : {"preset", "all"}
        See `weighing.Weighing`.
    train_ids : tuple of int, optional
        Images to learn from. By default all training images.
    """
    ids, region = learned_ids(study, subject, train_ids), region_of_c(study, c_region)
    described = study.description(
        "text_encoder", "tokenizer", region=region, train_ids=key_of([], ids.tolist())
    )
    shelf = study.shelf("condition_knowledge", [_measure_c], described)
    found = shelf.get((subject, c_region), lambda: _measure_c(study, subject, ids, region))
    arrays = [torch.from_numpy(found[name]) for name in ("offset", "directions", "covariance")]
    noise = sampler.ConditionNoise(*arrays, float(found["share"]))
    decoder = _fitted(study, averages(study, subject, region, ids), target(study, "c", ids), ids)
    return ConditionKnowledge(noise, decoder, region)


def _measure_c(study, subject, ids, region):
    """Measure on training images how far decoded c lies from true c."""
    decoded, true = _decoded_c(study, subject, ids, region), target(study, "c", ids)
    some = np.sort(np.random.default_rng([SEED, 4]).permutation(len(ids))[:N_FITTED])
    noise = sampler.condition_noise(decoded[some], true[some], min(N_AXES, len(some) - 1))
    arrays = {name: getattr(noise, name).numpy() for name in ("offset", "directions", "covariance")}
    return arrays | {"share": np.array(noise.share)}


def drawn_c(known, betas, image_ids, repeat=0):
    """Return one c (n, n_tokens, d) for each image, drawn from what its responses leave open.

    Parameters
    ----------
    known : ConditionKnowledge
    betas : float array (n, n_voxels)
        Responses of ``known.region``.
    image_ids : int array (n,)
        Images that the decoder has not learned from.
    repeat : int
        Number of the drawing of each image.
    """
    decoded = known.decoder.predict(betas, image_ids=image_ids).float()
    return sampler.draw_conditions(decoded, known.noise, image_ids, repeat)


def _decoded_c(study, subject, ids, region):
    """Return c (n, n_tokens, d) of training images, each by a decoder that has learned from others."""
    betas, preset = averages(study, subject, region, ids), study.preset
    folds = np.random.default_rng([SEED, 3])
    return weighing.out_of_fold(betas, target(study, "c", ids), ids, folds, preset.device, preset.alphas)


def condition(study, subject, ids, region):
    """Return decoded c of training images as drawings have it, rescaled if the preset says so."""
    decoded = _decoded_c(study, subject, ids, region)
    if study.preset.rescale:
        decoded = rescale_by(rescaling(decoded, target(study, "c", ids)), decoded)
    return decoded.to(features.unconditional(study.model.text_encoder, study.model.tokenizer))


def learned_ids(study, subject, train_ids):
    """Return the images to learn from, each once."""
    ids = nsd.split(study.tables[subject])[0] if train_ids is None else np.array(train_ids)
    if len(set(ids.tolist())) < len(ids):
        raise ValueError("train_ids name an image twice, which would then lie on both sides of a fold.")
    return ids


def region_of_c(study, asked):
    """Return where c is decoded from."""
    if asked not in ("preset", "all"):
        raise ValueError(f"Expected c_region of preset, all, got {asked!r}.")
    return VISUAL_CORTEX if asked == "all" else decoding.regions(study.preset)["c"]


def averages(study, subject, region, image_ids):
    """Return the averaged responses (n, n_voxels) of a region to training images."""
    betas, known, _ = decoding.read(study, subject).averages(region)[0]
    return betas[rows_of(known, image_ids)]


def _fitted(study, betas, values, ids):
    """Return the decoder of all training images."""
    decoder = LinearDecoder(study.preset.alphas, cv="gcv", device=study.preset.device)
    return decoder.fit(betas, values, ids)
