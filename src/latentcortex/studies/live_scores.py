"""Score what a page draws, and choose which scores it shows, by whatever protocol the preset has."""

import dataclasses

import numpy as np

from latentcortex import metrics
from latentcortex.studies.scores import scorer_of
from latentcortex.studies.validation import criteria_of


def names_for(preset, *names):
    """Return the names of scores that a page shows.

    Pages are written for the miniature world, whose protocol reads the setting and the kinds of things. The
    protocols of photographs cannot.

    Parameters
    ----------
    preset : Preset
    *names : str
        Names of scores and of criteria that the page would show.

    Returns
    -------
    list of str
        Those that the preset's protocol has. If it lacks one, its other criteria follow.
    """
    criteria = criteria_of(preset)
    known = {one.name for one in metrics.protocol(preset.protocol).scores} | set(criteria)
    found = [name for name in names if name in known]
    return found if len(found) == len(names) else list(dict.fromkeys([*found, *criteria]))


def with_criteria(preset, scores):
    """Return scores and, by name, the criteria of the preset, which are means of some scores.

    Parameters
    ----------
    preset : Preset
    scores : dict of str to array

    Returns
    -------
    dict of str to array
        Without the criteria that are means of a score which is not there.
    """
    asked = {name: parts for name, parts in criteria_of(preset).items() if scores.keys() >= set(parts)}
    return {
        **scores,
        **{name: np.mean([scores[one] for one in parts], axis=0) for name, parts in asked.items()},
    }


def score_some(study, drawings, rows, mean_image, names):
    """Return scores of drawings of some originals, which are identified among all originals.

    Where nothing was drawn, the original itself fills the place. This does not change an identification in
    the direction ``"reconstruction"``, which compares a drawing with originals alone. In the direction
    ``"original"`` it makes the task another one, because drawings are compared with each other there.

    Parameters
    ----------
    study : Study
        The originals are its test images.
    drawings : iterable of tensors (n_rows, 3, h, w)
        First drawings, second drawings, and so on, in [0, 1].
    rows : int array (n_rows,)
        Which of the originals were drawn.
    mean_image : tensor (3, h, w)
        Mean of the training images, for centred scores.
    names : sequence of str
        Scores of the protocol.

    Returns
    -------
    dict of str to array (n_rows, n_drawings)

    Raises
    ------
    ValueError
        If a score can't be computed.
    """
    scorer = scorer_of(study)
    unknown = [name for name in names if name not in scorer.names]
    if unknown:
        raise ValueError(f"Expected scores among {', '.join(scorer.names)}, got {', '.join(unknown)}.")
    asked = [one for one in scorer.protocol.scores if one.name in names]
    pixels, features = (
        dataclasses.replace(
            scorer.protocol, scores=tuple(one for one in asked if (one.network is None) == is_pixels)
        )
        for is_pixels in (True, False)
    )
    found = []
    for images in drawings:
        filled = {one.key: scorer.true[one.key].copy() for one in features.scores}
        for key, values in metrics.extract(features, images, scorer.networks).items():
            filled[key][rows] = values
        of_all = metrics.score(
            features,
            scorer.originals,
            scorer.originals,
            scorer.networks,
            scorer.groups,
            features_true=scorer.true,
            features_pred=[filled],
        )
        of_rows = metrics.score(pixels, scorer.originals[rows], images, mean_image=mean_image)
        found.append(of_rows | {name: of[rows] for name, of in of_all.items()})
    return {name: np.stack([of[name] for of in found], axis=1) for name in names}
