"""Score drawings by the preset's protocol, and score decoded features."""

import functools
from pathlib import Path

import numpy as np
import torch

from latentcortex import encoding, metrics
from latentcortex.mini import networks
from latentcortex.store import rows_of


@functools.cache
def instruments(preset):
    """Return the networks that the preset's protocol asks for, by name."""
    asked = {score.network for score in metrics.protocol(preset.protocol).scores}
    folder = preset.judge if Path(preset.judge).is_dir() else None
    published = {
        name: metrics.load_network(name, folder, True, preset.device, preset.judge_revision)
        for name in asked.intersection(metrics.NETWORKS)
    }
    own = networks.load_instruments() if asked & {"small_alexnet", "judge"} else {}
    return published | own


class Scorer:
    """Score drawings of some images by the preset's protocol.

    Parameters
    ----------
    preset : Preset
    originals : tensor (n, 3, h, w) in [0, 1]

    Attributes
    ----------
    true : dict
        The result of `metrics.extract` for the originals.
    groups : array (n,) or None
        The setting read in each original, for distractors of the same setting. None if no network names
        settings, or if an image is alone in its setting.
    names : list of str
        Names of the scores that can be computed.
    """

    def __init__(self, preset, originals):
        self.protocol, self.originals = metrics.protocol(preset.protocol), originals
        self.networks = instruments(preset)
        self.true = self.extract(originals)
        self.groups = self._groups()
        # Any image will do as the mean image: there is one.
        lacking = self.protocol.left_out(self.networks, self.groups, mean_image=originals[0])
        self.names = [one.name for one in self.protocol.scores if one.name not in lacking]

    def _groups(self):
        for one in self.protocol.scores:
            if one.name == "setting" and one.key in self.true:
                groups = self.true[one.key]
                return groups if np.unique(groups, return_counts=True)[1].min() > 1 else None
        return None

    def key(self, name):
        """Return the key under which `extract` keeps what a score compares."""
        return next(one.key for one in self.protocol.scores if one.name == name)

    def extract(self, images):
        """Return the features that the protocol's networks extract from images, as in `metrics.extract`."""
        return metrics.extract(self.protocol, images, self.networks)

    def __call__(self, images, mean_image, extracted=None):
        """Return the scores of drawings of the originals, in their order.

        Parameters
        ----------
        images : tensor (n, 3, h, w) in [0, 1]
        mean_image : tensor (3, h, w)
            Mean of the training images. Drawings that equal it get NaN for centred scores.
        extracted : dict, optional
            The result of `extract` for the drawings.

        Returns
        -------
        float32 array (n, n_scores)
            Scores in the order of `names`.
        """
        centre = None if torch.equal(images[0], mean_image) else mean_image
        features = None if extracted is None else [extracted]
        found = metrics.score(
            self.protocol, self.originals, images, self.networks, self.groups, centre, self.true, features
        )
        undefined = np.full(len(images), np.nan)
        return np.stack([found.get(name, undefined) for name in self.names], axis=1).astype(np.float32)

    def of_drawings(self, drawn, mean_image):
        """Return the scores of several drawings of each original.

        Parameters
        ----------
        drawn : iterable of tensors (n, 3, h, w)
            First drawings of all originals, second drawings, and so on. One of them is held at a time.
        mean_image : see `__call__`

        Returns
        -------
        scores : float32 array (n, n_drawings, n_scores)
        consistency : array (n, 2)
            Correlation of AlexNet(5) features among the drawings of an original, and between drawings and
            original. NaN for a single drawing.
        extracted : dict
            The result of `extract` for the first drawings.
        """
        scores, repeats, first, key = [], [], None, self.key("AlexNet(5)")
        for images in drawn:
            extracted = self.extract(images)
            scores.append(self(images, mean_image, extracted))
            repeats.append(extracted[key])
            first = extracted if first is None else first
        scores = np.stack(scores, axis=1)
        consistency = np.full((len(scores), 2), np.nan)
        if len(repeats) > 1:
            repeats = np.stack(repeats, axis=1)
            consistency = np.stack(metrics.repeat_consistency(repeats, self.true[key]), axis=1)
        return scores, consistency, first


@functools.lru_cache(maxsize=4)
def scorer_of(study, image_ids=None):
    """Return the scorer of a study's test images, or of the images in a tuple of ids."""
    rows = slice(None) if image_ids is None else rows_of(study.image_ids, image_ids)
    return Scorer(study.preset, study.originals[rows])


def varies(values):
    """Return a mask (n_features,) of the numbers that differ between rows, unlike a caption's first token."""
    return values.std(0) > 1e-3 * values.std(0).max()


def score_features(predicted, true, train_mean, projected=False):
    """Return the scores of decoded features against true features, both (n, ...).

    Parameters
    ----------
    predicted, true : arrays (n, ...)
    train_mean : array (...)
        Mean over training images. It is subtracted, so that what all images share does not count.
    projected : bool
        Whether the predictions are projections, which have no mean to subtract.

    Returns
    -------
    dict
        ``r`` is the correlation over images, averaged over the numbers that vary. ``identified`` (n,) is
        identification among two. ``images_retrieved`` and ``brains_retrieved`` (n,) are retrieval among all
        by cosine.
    """
    predicted, true = (np.asarray(rows, np.float32) for rows in (predicted, true))
    predicted = predicted if projected else predicted - train_mean
    true = true - train_mean
    predicted, true = (rows.reshape(len(rows), -1) for rows in (predicted, true))
    some = varies(true)
    r = encoding.correlation(predicted[:, some], true[:, some])
    images, brains = metrics.retrieval(true, predicted, len(true))
    return {
        "r": np.nan_to_num(r).mean(),
        "identified": metrics.identification(true, predicted),
        "images_retrieved": images,
        "brains_retrieved": brains,
    }
