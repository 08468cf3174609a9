"""Say how much of z a subject's decoder knows, and correct drawings by it (see `sampler.kalman`).

R2 is that of decoders of four fifths of the images, for averages of as many showings as training images have.
So averages of more showings hold less noise than is taken for granted.
"""

import functools
import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from latentcortex import encoding, features, nsd, sampler
from latentcortex.decoders import LinearDecoder, rescale_by, rescaling
from latentcortex.store import rows_of
from latentcortex.studies import decoding, drawings
from latentcortex.studies.keys import key_of
from latentcortex.studies.recipes import Recipe
from latentcortex.studies.responses import VISUAL_CORTEX
from latentcortex.studies.study import DIFFUSION
from latentcortex.studies.targets import target

N_FOLDS = 5
N_COMPONENTS = 1000  # of z, at most
N_FITTED = 10_000  # images that components are fitted on, at most: their products take 2.4 GB
N_ERRORS = 200  # training images on which the errors of the network are measured
SEED = 19


@dataclass(frozen=True)
class Weighing:
    """Describe how drawings are corrected by decoded z.

    Attributes
    ----------
    z_region, c_region : {"preset", "all"}
        Where the z that measures is decoded from, and where c is: the preset's regions or all of visual
        cortex. The errors of the network are measured under this c.
    trust : float
        See `sampler.KalmanCorrection`.
    r2 : {"each", "one"}
        Whether each component has the R2 that was found for it, or all have that of z as a whole.
    errors : {"measured", "schedule"}
        Whether the errors of the network were measured, or are 1 - abar in all components, as if nothing were
        known but the share of noise.
    """

    z_region: str = "preset"
    c_region: str = "preset"
    trust: float = 1.0
    r2: str = "each"
    errors: str = "measured"

    def __post_init__(self):
        known = {"z_region": ("preset", "all"), "c_region": ("preset", "all")}
        known |= {"r2": ("each", "one"), "errors": ("measured", "schedule")}
        if not 0 < self.trust < math.inf:
            raise ValueError(f"Expected a trust above 0, got {self.trust}.")
        for field, words in known.items():
            if getattr(self, field) not in words:
                raise ValueError(f"Expected {field} of {', '.join(words)}, got {getattr(self, field)!r}.")


@dataclass(frozen=True, eq=False)
class Knowledge:
    """Hold what a decoder and a network know of the components of z.

    Attributes
    ----------
    components : sampler.Components
    decoder : LinearDecoder
        From responses to components, without rescaling.
    region : (str, tuple of str)
        Where the responses come from.
    r2 : float32 tensor (k,)
        Share of the variance of each component that is decoded from images that were not learned from. It can
        be negative.
    errors : sampler.DenoisingErrors
        Of the network, under c that was decoded from images that were not learned from.
    """

    components: sampler.Components
    decoder: LinearDecoder
    region: tuple
    r2: torch.Tensor
    errors: sampler.DenoisingErrors


def out_of_fold(betas, values, image_ids, rng, device=None, alphas=None):
    """Return values (n, ...) of each image as a decoder predicts them that has learned from other images.

    Parameters
    ----------
    betas : float array (n, n_voxels)
        Averages, one row for each image.
    values : tensor (n, ...)
    image_ids : int array (n,)
    rng : numpy.random.Generator
        Draws the `N_FOLDS` folds.
    device, alphas : optional
        See `LinearDecoder`.

    Returns
    -------
    float32 tensor (n, ...)
    """
    fold, predicted = rng.permutation(np.arange(len(image_ids)) % N_FOLDS), torch.empty_like(values).float()
    for k in range(N_FOLDS):
        learns = fold != k
        decoder = LinearDecoder(alphas, cv="gcv", device=device)
        decoder.fit(betas[learns], values[learns], image_ids[learns])
        predicted[~learns] = decoder.predict(betas[~learns], image_ids=image_ids[~learns]).float().cpu()
    return predicted


@functools.lru_cache(maxsize=4)
def knowledge(study, subject, z_region="preset", c_region="preset", train_ids=None):
    """Return the `Knowledge` of a subject. What takes long is kept on disk.

    Parameters
    ----------
    study : Study
    subject : str
    z_region, c_region : str
        See `Weighing`.
    train_ids : tuple of int, optional
        Images to learn from. By default all training images.
    """
    ids = nsd.split(study.tables[subject])[0] if train_ids is None else np.array(train_ids)
    if len(set(ids.tolist())) < len(ids):
        raise ValueError("train_ids name an image twice, which would then lie on both sides of a fold.")
    regions = _region(study, "z", z_region), _region(study, "c", c_region)
    described = study.description(*DIFFUSION, regions=regions, train_ids=key_of([], ids.tolist()))
    shelf = study.shelf("knowledge", [_measure], described)
    found = shelf.get((subject, z_region, c_region), lambda: _measure(study, subject, ids, *regions))
    arrays = {
        name: torch.from_numpy(found[name]) for name in ("mean", "directions", "variances", "r2", "errors")
    }
    components = sampler.Components(arrays["mean"], arrays["directions"], arrays["variances"], shelf.key[:12])
    decoder = LinearDecoder(study.preset.alphas, cv="gcv", device=study.preset.device)
    decoder.fit(_betas(study, subject, regions[0], ids), components.of(target(study, "z", ids)), ids)
    timesteps, scale = tuple(found["timesteps"].tolist()), study.preset.guidance_scale
    errors = sampler.DenoisingErrors(timesteps, arrays["errors"], components.name, scale, shelf.key[:12])
    return Knowledge(components, decoder, regions[0], arrays["r2"], errors)


def _measure(study, subject, ids, z_region, c_region):
    """Measure on training images what the decoder explains and how far the network is off."""
    preset, model = study.preset, study.model
    folds, others, rows = (np.random.default_rng([SEED, k]) for k in range(3))
    z, c = target(study, "z", ids), target(study, "c", ids)
    fitted = z[np.sort(np.random.default_rng([SEED, 3]).permutation(len(ids))[:N_FITTED])].flatten(1)
    reduction = encoding.fit_reduction(fitted, min(N_COMPONENTS, len(fitted) - 1, fitted.shape[1]))
    mean, variances = reduction.mean.reshape(z.shape[1:]), reduction.variances.float()
    components = sampler.Components(mean, reduction.directions, variances, "new")
    x = components.of(z)
    fits = preset.device, preset.alphas
    off = x - out_of_fold(_betas(study, subject, z_region, ids), x, ids, folds, *fits)
    decoded = out_of_fold(_betas(study, subject, c_region, ids), c, ids, others, *fits)
    if preset.rescale:
        decoded = rescale_by(rescaling(decoded, c), decoded)
    some = np.sort(rows.permutation(len(ids))[:N_ERRORS])
    # All of the preset's steps, so that every strength finds its own among them.
    timesteps = sampler.denoising_timesteps(model.scheduler, preset.n_steps)
    empty = features.unconditional(model.text_encoder, model.tokenizer)
    errors = sampler.denoising_errors(
        model.unet,
        model.scheduler,
        z[some],
        decoded[some].to(empty),
        empty,
        components=components,
        timesteps=timesteps,
        guidance_scale=preset.guidance_scale,
        generators=[sampler.make_generator(int(image_id), 0, SEED) for image_id in ids[some]],
        network="new",
        batch_size=preset.batch_size,
    )
    return {
        "mean": mean.numpy(),
        "directions": reduction.directions.numpy(),
        "variances": variances.numpy(),
        "r2": (1 - off.square().mean(0) / x.square().mean(0)).numpy(),
        "errors": errors.variances.numpy(),
        "timesteps": np.array(errors.timesteps),
    }


def correction(study, known, weighing, betas, image_ids):
    """Return the `sampler.KalmanCorrection` of some images by their responses.

    Parameters
    ----------
    study : Study
    known : Knowledge
    weighing : Weighing
    betas : float array (n, n_voxels)
        Responses of ``known.region``.
    image_ids : int array (n,)
        Images that the decoder has not learned from.
    """
    r2, errors = known.r2, known.errors
    if weighing.r2 == "one":
        variances = known.components.variances
        r2 = torch.full_like(r2, float((r2 * variances).sum() / variances.sum()))
    if weighing.errors == "schedule":
        abar = study.model.scheduler.alphas_cumprod[list(errors.timesteps)]
        errors = replace(errors, variances=(1 - abar)[:, None].expand_as(errors.variances))
    predicted = known.decoder.predict(betas, image_ids=image_ids).float()
    measurement = sampler.measurement_of(predicted, r2.clip(0, 1), known.components, image_ids)
    return sampler.KalmanCorrection(known.components, (measurement,), errors, weighing.trust)


def responses_to(study, subject, image_ids):
    """Return averages (n, n_read) over all showings of images, of all voxels that `decoding.read` reads."""
    read = decoding.read(study, subject)
    rows = np.isin(read.image_ids, image_ids)
    averages, shown, _ = nsd.average_repeats(read.betas[rows], read.image_ids[rows])
    return averages[rows_of(shown, image_ids)]


@torch.no_grad()
def draw(study, subject, weighing, betas, image_ids, repeat=0, is_corrected=True, train_ids=None, **changes):
    """Return images drawn from responses: img2img from decoded z under decoded c, corrected by decoded z.

    Parameters
    ----------
    study : Study
    subject : str
    weighing : Weighing
        Names the regions also where nothing is corrected.
    betas : float32 array (n, n_read)
        Responses of all voxels that `decoding.read` reads, such as those of `responses_to`.
    image_ids : int array (n,)
        Images that the decoders have not learned from. Their noise is drawn by these ids.
    repeat : int
        Number of the drawing of each image. Another repeat has other noise.
    is_corrected : bool
        False draws by img2img alone, with the same decoders.
    train_ids : tuple of int, optional
        Images that the decoders learn from. By default all training images.
    **changes
        See `drawings.reconstruct`.

    Returns
    -------
    tensor (n, 3, h, w) in [0, 1]
    """
    z, c = decoded(study, subject, weighing, betas, image_ids, train_ids)
    if is_corrected:
        changes["correction"] = correction_of(study, subject, weighing, betas, image_ids, train_ids)
    return drawings.reconstruct(study, Recipe(), repeat, image_ids, z, c, **changes)


def decoded(study, subject, weighing, betas, image_ids, train_ids=None):
    """Return z and c as they are decoded from responses, rescaled if the preset says so.

    Arguments are those of `draw`.
    """
    read = decoding.read(study, subject)
    asked = {"z": weighing.z_region, "c": weighing.c_region}
    decoders = [_decoder(study, subject, name, region, train_ids) for name, region in asked.items()]
    return [of.decode(betas[:, read.mask(of.region)], image_ids) for of in decoders]


def correction_of(study, subject, weighing, betas, image_ids, train_ids=None):
    """Return the `sampler.KalmanCorrection` of some images by responses of all voxels, as `draw` uses it."""
    known = knowledge(study, subject, weighing.z_region, weighing.c_region, train_ids)
    in_region = decoding.read(study, subject).mask(known.region)
    return correction(study, known, weighing, betas[:, in_region], image_ids)


@functools.lru_cache(maxsize=8)
def _decoder(study, subject, name, asked, train_ids):
    """Return the decoder of z or c."""
    ids = nsd.split(study.tables[subject])[0] if train_ids is None else np.array(train_ids)
    return decoding.fit(study, subject, name, ids, study.preset.rescale, region=_region(study, name, asked))


def _region(study, name, asked):
    """Return where z or c is decoded from."""
    return VISUAL_CORTEX if asked == "all" else decoding.regions(study.preset)[name]


def _betas(study, subject, region, image_ids):
    """Return the averaged responses (n, n_voxels) of a region to training images."""
    betas, known, _ = decoding.read(study, subject).averages(region)[0]
    return betas[rows_of(known, image_ids)]
