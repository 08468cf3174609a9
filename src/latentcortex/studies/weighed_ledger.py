"""Read what judges said of weighed drawings from products of chapter 8b, and calibrate how sure they are."""

from typing import NamedTuple

import numpy as np

from latentcortex import metrics
from latentcortex.store import rows_of
from latentcortex.studies import ledger, planted


class Claims(NamedTuple):
    """Hold all statements of one sort about scenes, by all subjects; each array is (n_statements,).

    Attributes
    ----------
    counts : int array
        How many drawings make the statement.
    is_true : bool array
    rows : int array
        Row of the scene that the statement is about, among those of its subject.
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

    Raises
    ------
    ValueError
        If the products hold other subjects, images or settings, or if there is no such judge.

    Returns
    -------
    list of dict of str to array (n_scenes, n_drawings, ...)
        One for each subject.
    """
    at = weighed.provenance["ways"].index("weighed")
    found = {name: of[:, at] for name, of in _reading(weighed, judge).items()}
    if more:
        _check_same(weighed, more)
        # Rows of the further drawings, by id, for each subject.
        order = [rows_of(ids, weighed.arrays["test_ids"], more.name) for ids in more.arrays["test_ids"]]
        for name, of in _reading(more, judge, "test ").items():
            further = np.stack([one[:, rows] for one, rows in zip(of, order, strict=True)])
            found[name] = np.concatenate([found[name], further], axis=1)
    return _by_subject(found)


def _check_same(weighed, more):
    """Raise ValueError unless two products hold drawings of the same subjects with the same setting."""
    for name, one, other in (
        ("subjects", *(list(of.provenance["subjects"]) for of in (weighed, more))),
        ("trust and strength", weighed.provenance["setting"]["weighed"], list(more.provenance["setting"])),
    ):
        if one != other:
            raise ValueError(
                f"{weighed.name} has the {name} {one} and {more.name} {other}, so their drawings can't be "
                f"counted together: make {more.name} again."
            )


def _reading(product, judge, begin=""):
    """Return what a judge read in the drawings of a product."""
    if judge not in ledger.JUDGES:
        raise ValueError(f"Expected a judge of {', '.join(ledger.JUDGES)}, got {judge!r}.")
    return ledger.reading_of(product.arrays, judge, begin)


def of_validation_images(more, judge):
    """Return what a judge read in drawings of validation images, as `of_test_images`."""
    return _by_subject(_reading(more, judge, "validation "))


def without_brain(more, judge, table):
    """Return how often drawings without a brain show the rows of `ledger.truth` that a judge reads."""
    found = _reading(more, judge, "nothing ")
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
    return _pooled(np.stack(counts), np.stack(true))


def claims_about_a_drawing(readings, attribute):
    """Return the `Claims` of all drawings but the first about the first, as if it were the scene.

    They are what the claims about scenes would be if drawings were as unsure as they should be, because the
    scene would then be one more drawing. Of statements that many drawings make, fewer are true than drawings
    make them even then.
    """
    all_made = np.stack([ledger.made(of, attribute) for of in readings])  # (subjects, scenes, drawings, ...)
    return _pooled(all_made[:, :, 1:].sum(2), all_made[:, :, 0])


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
        See `calibrate`.
    """
    readings = of_validation_images(more, "judge")
    scenes = [planted.read_scenes(root, ids) for ids in more.arrays["validation_ids"]]
    return calibrate(claims(readings, scenes, attribute), n_drawings(readings))


def calibrate(known, n):
    """Return the temperature of statements that at least one of n drawings makes, and the prior of all.

    Statements that no drawing makes are left out of the fit. They are so many that they would decide it, and
    they are no answer to how far drawings that do say something may be believed.

    Parameters
    ----------
    known : Claims
    n : int

    Returns
    -------
    temperature, prior : float
        See `metrics.tempered`. The prior is the share of all statements that are true.
    """
    made, prior = known.counts > 0, float(known.is_true.mean())
    share = metrics.share_of(known.counts[made], n, prior)
    return metrics.fit_temperature(share, known.is_true[made], prior), prior


def n_drawings(readings):
    """Return the number of drawings of each image."""
    return readings[0]["setting"].shape[1]


def _pooled(counts, is_true):
    """Return the `Claims` of counts and truths, each (n_subjects, n_scenes, n_statements)."""
    rows = np.broadcast_to(np.arange(counts.shape[1])[:, None], counts.shape)
    return Claims(counts.ravel(), is_true.ravel(), rows.ravel())


def _by_subject(found):
    """Return one reading for each subject, with the axis of scenes before that of drawings."""
    subjects = range(len(next(iter(found.values()))))
    return [{name: of[s].swapaxes(0, 1) for name, of in found.items()} for s in subjects]
