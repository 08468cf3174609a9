"""Read what judges said of weighed drawings from products of chapter 8b, and calibrate how sure they are."""

from typing import NamedTuple

import numpy as np

from latentcortex import metrics
from latentcortex.studies import ledger, planted


class Claims(NamedTuple):
    """Hold all statements of one sort about scenes, by all subjects; each array is (n_statements,).

    Attributes
    ----------
    counts : int array
        How many drawings make the statement.
    is_true : bool array
    rows : int array
        Row of the scene that the statement is about.
    """

    counts: np.ndarray
    is_true: np.ndarray
    rows: np.ndarray


def of_test_images(weighed, more, judge):
    """Return what a judge read in weighed drawings of test images.

    Parameters
    ----------
    weighed : results.Product
        Of ch08b_weigh_the_brain.
    more : results.Product
        Of ch08b_keep_a_ledger, whose drawings come after those; it may be missing.
    judge : str
        One of `ledger.JUDGES`.

    Returns
    -------
    list of dict of str to array (n_scenes, n_drawings, ...)
        One for each subject.
    """
    at = weighed.provenance["ways"].index("weighed")
    parts = [{name: of[:, at] for name, of in ledger.reading_of(weighed.arrays, judge).items()}]
    parts += [ledger.reading_of(more.arrays, judge, "test ")] if more else []
    return _by_subject({name: np.concatenate([part[name] for part in parts], axis=1) for name in parts[0]})


def of_validation_images(more, judge):
    """Return what a judge read in drawings of validation images, as `of_test_images`."""
    return _by_subject(ledger.reading_of(more.arrays, judge, "validation "))


def without_brain(more, judge, table):
    """Return how often drawings without a brain show the rows of `ledger.truth` that a judge reads."""
    found = ledger.reading_of(more.arrays, judge, "nothing ")
    return ledger.without_brain({name: of[0] for name, of in found.items()}, table)


def claims(readings, scenes, attribute):
    """Return the `Claims` of several subjects.

    Parameters
    ----------
    readings : list of dict
        One for each subject, see `of_test_images`.
    scenes : list of list of mini.scenes.Scene
        The scenes of each subject. All have the same number.
    attribute : str
        See `ledger.statements`.
    """
    pairs = zip(readings, scenes, strict=True)
    counts, true = zip(*(ledger.statements(*pair, attribute) for pair in pairs), strict=True)
    counts, true = np.stack(counts), np.stack(true)  # (subjects, scenes, statements)
    rows = np.broadcast_to(np.arange(counts.shape[1])[:, None], counts.shape)
    return Claims(counts.ravel(), true.ravel(), rows.ravel())


def temperature(more, root, attribute):
    """Return the temperature of statements of one sort, and how often they are true, on validation images.

    Parameters
    ----------
    more : results.Product
        Of ch08b_keep_a_ledger.
    root : path
        The tree, which holds the scenes.
    attribute : str

    Returns
    -------
    temperature, prior : float
        See `metrics.tempered`.
    """
    readings = of_validation_images(more, "judge")
    scenes = [planted.read_scenes(root, ids) for ids in more.arrays["validation_ids"]]
    known = claims(readings, scenes, attribute)
    share, prior = metrics.share_of(known.counts, n_drawings(readings)), float(known.is_true.mean())
    return metrics.fit_temperature(share, known.is_true, prior), prior


def n_drawings(readings):
    """Return the number of drawings of each image."""
    return readings[0]["setting"].shape[1]


def _by_subject(found):
    """Return one reading for each subject, with the axis of scenes before that of drawings."""
    subjects = range(len(next(iter(found.values()))))
    return [{name: of[s].swapaxes(0, 1) for name, of in found.items()} for s in subjects]
