"""Fit encoding models from principal components of network layers to the responses of a region."""

import dataclasses
import functools

import numpy as np
import torch

from latentcortex import metrics
from latentcortex.encoding import VoxelwiseEncoder, fit_reduction
from latentcortex.studies import decoding
from latentcortex.studies.responses import VISUAL_CORTEX
from latentcortex.studies.scores import instruments
from latentcortex.studies.targets import image_parts


class LayerEncoder:
    """Predict responses from several layers of a network, differentiably.

    Each layer, or all layers together, is reduced to principal components of the training images. A voxelwise
    ridge regression on z-scored components then predicts the responses.

    Parameters
    ----------
    layers : dict of tensors (n_images, ...)
        Layers of the training images.
    betas : array (n_images, n_voxels)
    image_ids : int array (n_images,)
    n_components : int
    joint : bool
        Whether all layers share one set of components. Each layer is then divided by its standard deviation.
    """

    def __init__(self, layers, betas, image_ids, n_components, joint=False):
        self._scale = {name: values.std() if joint else 1.0 for name, values in layers.items()}
        self._groups = [list(layers)] if joint else [[name] for name in layers]
        n = min(n_components, len(image_ids) - 1)
        self._reductions = [fit_reduction(self._join(layers, names), n) for names in self._groups]
        self._model = VoxelwiseEncoder().fit(self._reduce(layers), torch.as_tensor(betas), image_ids)

    def _join(self, layers, names):
        return torch.cat([(layers[name] / self._scale[name]).flatten(1) for name in names], dim=1)

    def _reduce(self, layers):
        pairs = zip(self._reductions, self._groups, strict=True)
        # Written out, because a call of the reduction has no gradient.
        parts = [(self._join(layers, names) - of.mean) @ of.directions for of, names in pairs]
        return torch.cat(parts, dim=1)

    def __call__(self, layers):
        """Return predicted responses (n, n_voxels) from layers in the form of the training images."""
        return self._model.predict(self._reduce(layers))


class OneLayerAtATime(LayerEncoder):
    """`LayerEncoder` of layers that do not fit into memory together: an early one of NSD's images takes 7 GB.

    A class of its own, because all drawings would be made again if the code of `LayerEncoder` changed.

    Parameters
    ----------
    layers : dict of functions
        Each returns a layer of the training images, a tensor (n_images, ...).
    betas, image_ids, n_components
        See `LayerEncoder`.
    """

    def __init__(self, layers, betas, image_ids, n_components):
        self._scale, self._groups = dict.fromkeys(layers, 1.0), [[name] for name in layers]
        n = min(n_components, len(image_ids) - 1)
        self._reductions, components = [], []
        for ask in layers.values():
            rows = ask().flatten(1)
            self._reductions.append(fit_reduction(rows, n))
            components.append(self._reductions[-1](rows))
            del rows  # before the next is asked for
        self._model = VoxelwiseEncoder().fit(torch.cat(components, dim=1), torch.as_tensor(betas), image_ids)


JUDGED_BY = ("AlexNet(2)", "AlexNet(5)")  # scores whose layers encode the responses that judge
N_COMPONENTS_OF_SCORES = 400  # of each layer; with fewer images half as many as there are


@functools.lru_cache(maxsize=2)
def encoder_of_scores(study, subject):
    """Return an encoding model from the layers that JUDGED_BY compare to all of visual cortex.

    It is not used for decoding or drawing, so its predicted responses can be used to judge drawings.

    Parameters
    ----------
    study : Study
    subject : str

    Returns
    -------
    callable
        Function from the result of `scores.Scorer.extract` to responses, a tensor (n, n_voxels).
    """
    protocol = metrics.protocol(study.preset.protocol)
    betas, ids, _ = decoding.read(study, subject).averages(VISUAL_CORTEX)[0]
    layers = {
        one.key: functools.partial(_layer_of_images, study, one, ids)
        for one in protocol.scores
        if one.name in JUDGED_BY
    }
    encoder = OneLayerAtATime(layers, betas, ids, min(N_COMPONENTS_OF_SCORES, len(ids) // 2))
    return lambda extracted: encoder({key: torch.from_numpy(extracted[key]) for key in layers})


def _layer_of_images(study, score, image_ids):
    """Return what a score compares, a tensor (n, ...), of images that are read in parts."""
    protocol = metrics.protocol(study.preset.protocol)
    protocol, networks = dataclasses.replace(protocol, scores=(score,)), instruments(study.preset)
    found, start = None, 0
    for images in image_parts(study.preset, study.root, image_ids):
        rows = metrics.extract(protocol, images, networks)[score.key]
        if found is None:  # filled, not joined at the end, which would hold everything twice
            found = np.empty((len(image_ids), *rows.shape[1:]), rows.dtype)
        found[start : start + len(rows)] = rows
        start += len(rows)
    return torch.from_numpy(found)


def brain_correlations(study, subject, extracted, showings, image_ids=None):
    """Return the correlation of responses predicted from images with measured responses.

    Parameters
    ----------
    study : Study
    subject : str
    extracted : dict
        The result of `scores.Scorer.extract` for images, or for drawings of them.
    showings : list of str
        See `responses.Responses.showings`.
    image_ids : int array (n,), optional
        By default the test images.

    Returns
    -------
    array (n, n_showings)
        Correlations over voxels. NaN if an image has no such repeats. Some images must have them.
    """
    image_ids = study.image_ids if image_ids is None else image_ids
    encoded = encoder_of_scores(study, subject)(extracted).numpy()
    found = np.full((len(encoded), len(showings)), np.nan)
    for k, which in enumerate(showings):
        measured = decoding.read(study, subject).showings(VISUAL_CORTEX, which, image_ids)
        rows = np.isfinite(measured).all(axis=1)
        found[rows, k] = metrics.brain_correlation(measured[rows], encoded[rows])
    return found
