"""Choose settings on validation images, which are training images left out of training."""

import functools

import numpy as np
import pandas as pd
import torch

from latentcortex import metrics, nsd, sampler, shared_space
from latentcortex.studies import decoding, shared_training
from latentcortex.studies.scores import Scorer
from latentcortex.studies.study import LAYERS
from latentcortex.studies.targets import mean_image, target

SEED = 60
N_VALIDATION = 100


def criteria_of(preset):
    """Return what settings of a preset are chosen by: each criterion with the scores it is the mean of.

    Returns
    -------
    dict of str to tuple of str
        Of the preset's protocol, see `metrics.Protocol`.

    Raises
    ------
    ValueError
        If the preset's ``criteria`` names one that its protocol does not have.
    """
    known = metrics.protocol(preset.protocol).criteria
    names = known if preset.criteria is None else preset.criteria
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(
            f"The preset {preset.name!r} has the criteria {', '.join(unknown)}, but its protocol "
            f"{preset.protocol!r} has {', '.join(known)}. Change criteria or protocol in its file."
        )
    return {name: known[name] for name in names}


class Validation:
    """Hold validation images of a subject, and decode them by decoders fitted on other training images.

    No test image is used. `validation_of` makes it.

    Attributes
    ----------
    image_ids : int array (n,), sorted
    mean_image : tensor (3, h, w)
        Mean of the remaining training images.
    scorer : scores.Scorer
    """

    def __init__(self, study, subject, n_images):
        self.study, self.subject = study, subject
        rng = np.random.default_rng([SEED, int(subject.removeprefix("subj"))])
        train_ids = nsd.split(study.tables[subject])[0]
        self.fit_ids, held = nsd.validation_split(train_ids, N_VALIDATION, rng=rng)
        self._prepare(np.sort(rng.permutation(held)[:n_images]))

    def _prepare(self, image_ids):
        self.image_ids = image_ids
        self.mean_image = mean_image(self.study.preset, self.study.root, self.fit_ids)
        images = nsd.images(self.study.root, image_ids, self.study.preset.image_size)
        self.scorer = Scorer(self.study.preset, torch.from_numpy(images))
        asked = criteria_of(self.study.preset)
        lacking = {score for scores in asked.values() for score in scores} - set(self.scorer.names)
        if lacking:
            raise ValueError(
                f"Settings are chosen by {', '.join(asked)}, but {', '.join(sorted(lacking))} can't be "
                f"computed for these images. Give the preset {self.study.preset.name!r} other criteria."
            )

    @functools.lru_cache(maxsize=16)  # noqa: B019 - the few validations that there are live long
    def decoded(self, name, rescale):
        """Return decoded z, c or a layer of g, a tensor (n, ...)."""
        fitted = decoding.fit(self.study, self.subject, name, self.fit_ids, rescale)
        return decoding.decode(self.study, self.subject, fitted, self.image_ids)

    def targets(self, whose):
        """Return ``"decoded"`` or ``"true"`` g as guide targets, a `sampler.FeatureTargets`."""
        if whose == "true":
            g = {k: target(self.study, f"g{k}", self.image_ids) for k in LAYERS}
        else:
            g = {k: self.decoded(f"g{k}", rescale=False) for k in LAYERS}
        return sampler.FeatureTargets(g, self.image_ids, self.study.guide.name)

    def criteria(self, images):
        """Score drawings of the validation images by the criteria of the preset: (n, n_criteria)."""
        scores = pd.DataFrame(self.scorer(images, self.mean_image), columns=self.scorer.names)
        asked = criteria_of(self.study.preset)
        return np.stack([scores[list(names)].mean(axis=1) for names in asked.values()], axis=1)


class NetworkValidation(Validation):
    """Hold validation images of the shared-space networks, and decode them by these networks."""

    def __init__(self, study, subject, n_images):
        self.study, self.subject = study, subject
        trainings = shared_training.trainings_of(study)
        (_, self.fit_ids), (betas, ids) = trainings.averages(subject, "all")
        made = {}
        for group in "zcg":
            network, _ = trainings.network(subject, 0, "pretrained", "all", group)
            rescale = study.preset.rescale and group != "g"  # g is guided towards as predicted
            if rescale:
                shared_space.fit_rescaling(network, betas, subject, ids, trainings.targets(group))
            made |= shared_space.predict(network, betas, subject, rescale=rescale)
        some = np.sort(np.random.default_rng(SEED).permutation(len(ids))[:n_images])
        self._decoded = {name: torch.from_numpy(values[some]) for name, values in made.items()}
        self._prepare(ids[some])

    def decoded(self, name, rescale):  # noqa: ARG002 - as the networks are used: see above
        """Return z, c or a layer of g decoded by the networks, a tensor (n, ...)."""
        return self._decoded[name]


@functools.lru_cache(maxsize=1)
def validation_of(study, subject, n_images=N_VALIDATION, by_network=False):
    """Return the `Validation` of a subject; the last one is cached."""
    return (NetworkValidation if by_network else Validation)(study, subject, n_images)


def rank(cells, means, order, criteria, loss=None):
    """Rank the cells of a grid by their mean rank over the criteria, the chosen cell first.

    Parameters
    ----------
    cells : DataFrame
        The settings of each cell. The index of the returned table refers to these rows.
    means : array (n_cells, n_criteria)
    order : list of str
        Columns of `cells`: of equal cells the one with the smaller values comes first.
    criteria : sequence of str
        Their names, see `criteria_of`.
    loss : array (n_cells, ..., n_images), optional
        If given, the cells whose loss is below that of the first cell in the most images come first.

    Returns
    -------
    DataFrame
        `cells` with the column ``mean_rank``. With `loss` there is also ``falls``, the share of images in
        which the loss falls.
    """
    table = cells.copy()
    criteria = list(criteria)
    table[criteria] = means
    table["mean_rank"] = table[criteria].rank(ascending=False).mean(axis=1)
    table = table.sort_values(["mean_rank", *order])
    if loss is not None:
        table["falls"] = (loss < loss[0]).reshape(len(loss), -1).mean(axis=1)[table.index]
        surest = table["falls"] == table["falls"].max()
        table = pd.concat([table[surest], table[~surest]])
    return table


def asked(study, args, default):
    """Return the subjects on which settings are chosen, and whether subjects or images were reduced.

    Parameters
    ----------
    study : Study
    args : argparse.Namespace
        Arguments of `add_options`.
    default : sequence of int
        Numbers of the subjects.
    """
    names, usual = ([f"subj{number:02d}" for number in some] for some in (args.subjects or default, default))
    if len(set(names)) < len(names) or not set(names) <= set(study.subjects):
        raise ValueError(
            f"Expected different subjects of {', '.join(study.subjects)}, got {', '.join(names)}."
        )
    return names, args.validation_images != N_VALIDATION or names != usual


def add_options(parser):
    """Add the options of scripts that choose settings."""
    parser.add_argument("--subjects", type=int, nargs="+", help="numbers, such as 1 2")
    parser.add_argument(
        "--validation-images",
        type=int,
        default=N_VALIDATION,
        help="fewer of them; their product stays in the cache",
    )
