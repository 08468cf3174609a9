"""Decode z, c and g of the test images from a subject's responses, by linear decoders."""

import functools
from dataclasses import dataclass

import numpy as np
import torch

from latentcortex import metrics, nsd
from latentcortex.decoders import LinearDecoder, rescale_by, rescaling
from latentcortex.store import rows_of
from latentcortex.studies import responses
from latentcortex.studies.responses import VISUAL_CORTEX, streams
from latentcortex.studies.targets import target, targets

SEED = 6


def read(study, subject):
    """Return the `responses.Responses` of a subject."""
    return responses.read(study.root, subject, study.preset.space, study.preset.sessions)


def regions(preset):
    """Return the regions that z and c are decoded from, by name."""
    return {"z": streams(*preset.z_rois), "c": streams(*preset.c_rois)}


def fit_and_validation_ids(image_ids):
    """Return the training images in two parts: 100 for the rescaling, and the rest for the fit."""
    return nsd.validation_split(image_ids, rng=np.random.default_rng([SEED, 1]))


@dataclass(frozen=True)
class Linear:
    """Hold the decoder of one target of one subject, and its training data.

    Attributes
    ----------
    decoder : LinearDecoder
    train_ids : int array (n_train,)
    train_betas : float32 array (n_train, n_voxels)
    true_train : tensor (n_train, ...)
    region : (str, tuple of str)
    rescale : bool
    """

    decoder: LinearDecoder
    train_ids: np.ndarray
    train_betas: np.ndarray
    true_train: torch.Tensor
    region: tuple
    rescale: bool

    @property
    def is_fit(self):
        """Return a mask of the training images used for the fit; the rest was used for the rescaling."""
        return np.isin(self.train_ids, self.decoder.image_ids_)

    def decode(self, betas, image_ids=None):
        """Return decoded features (n, ...) of responses (n, n_voxels)."""
        return self.decoder.predict(betas, self.rescale, image_ids)


def fit(study, subject, name, train_ids, rescale, answered=None, region=None):
    """Return the decoder of a target, fitted on some training images.

    Parameters
    ----------
    study : Study
    subject, name : str
        ``"z"`` and ``"c"`` are decoded from the preset's regions, ``"g1"`` to ``"g6"`` from all of visual
        cortex.
    train_ids : int array (n,)
    rescale : bool
        Whether 100 of these images are left out of the fit and used for the rescaling.
    answered : int array (n,), optional
        For a control, the images whose responses replace those to `train_ids`. By default the same images.
    region : (str, tuple of str), optional
        Another region to decode from.

    Returns
    -------
    Linear
    """
    region = regions(study.preset).get(name, VISUAL_CORTEX) if region is None else region
    betas, known, _ = read(study, subject).averages(region)[0]
    betas = betas[rows_of(known, train_ids if answered is None else answered)]
    true = target(study, name, train_ids)
    decoder = LinearDecoder(study.preset.alphas, cv="gcv", device=study.preset.device)
    learns = np.isin(train_ids, fit_and_validation_ids(train_ids)[0]) if rescale else slice(None)
    decoder.fit(betas[learns], true[learns], train_ids[learns])
    if rescale:
        decoder.fit_rescaling(betas[~learns], true[~learns], train_ids[~learns])
    return Linear(decoder, train_ids, betas, true, region, rescale)


@functools.lru_cache(maxsize=8)
def linear(study, subject, name, shuffle_pairs=False):
    """Return the decoder of a target, fitted on all training images by `fit`; the last 8 are cached.

    z and c are rescaled if the preset says so. g is rescaled if its name says so, as in ``"g1 rescaled"``.
    With `shuffle_pairs` the decoder is fitted to responses that belong to other images.
    """
    (name, _, suffix), ids = name.partition(" "), nsd.split(study.tables[subject])[0]
    rescale = study.preset.rescale if name in regions(study.preset) else suffix == "rescaled"
    # One permutation for both regions: whole brains change places.
    order = np.random.default_rng([SEED, 2]).permutation(len(ids)) if shuffle_pairs else slice(None)
    return fit(study, subject, name, ids, rescale, ids[order])


def decode(study, subject, fitted, image_ids, showings="all"):
    """Return features (n, ...) decoded from means over some repeats, or over all if there are none.

    See `responses.Responses.showings`.
    """
    read_ = read(study, subject)
    betas = read_.showings(fitted.region, showings, image_ids)
    absent = np.isnan(betas).any(axis=1)
    if absent.any():
        betas[absent] = read_.showings(fitted.region, "all", image_ids[absent])
    return fitted.decode(betas, image_ids)


def decoded(study, subject, name, showings="all", shuffle_pairs=False):
    """Return features (n, ...) of the test images decoded by `linear`, in the order of `study.image_ids`."""
    fitted = linear(study, subject, name, shuffle_pairs)
    return decode(study, subject, fitted, study.image_ids, showings)


def through_bottleneck(study, subject, name, n_dimensions):
    """Return features of the test images decoded through few dimensions, which also affect the rescaling."""
    fitted = linear(study, subject, name)
    test = read(study, subject).showings(fitted.region, "all", study.image_ids)
    betas, is_fit = fitted.train_betas, fitted.is_fit
    known, new = (fitted.decoder.predict(rows).numpy() for rows in (betas[is_fit], test))
    new = metrics.bottleneck(new, known, n_dimensions)
    if fitted.rescale:
        held = metrics.bottleneck(fitted.decoder.predict(betas[~is_fit]).numpy(), known, n_dimensions)
        found = rescaling(torch.from_numpy(held), fitted.true_train[~is_fit])
        new = rescale_by(found, torch.from_numpy(new))
    return torch.as_tensor(new).float()


def in_span(study, subject, name):
    """Return true features of the test images, projected on the span of the decoder's training features."""
    fitted = linear(study, subject, name)
    spanning = fitted.true_train[fitted.is_fit].numpy()
    projected = metrics.project_on_span(target(study, name, study.image_ids).numpy(), spanning)
    return torch.from_numpy(projected).float()


def true(study, *names):
    """Return true features of the test images, with a tensor (n, ...) for each name."""
    return list(targets(study, names, study.image_ids).values())
