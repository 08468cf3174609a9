"""Choose how much noise weighed drawings start from, on validation images."""

import numpy as np

from latentcortex.studies import results

SCRIPT = "ch17_choose_weighing"
REFERENCE = "plain, z of all"  # system A with all of visual cortex
WEIGHED = "weighed"


def choose(cells, kinds, centred, strength):
    """Return the strength of weighed drawings that names as many kinds as system A, and is closest in pixels.

    Of the strengths at which weighed drawings have at least the reference's mean of kinds, it is the one with
    the highest mean of centred PixCorr. If there is none, it is the one with the most kinds.

    Parameters
    ----------
    cells : sequence of (str, float)
        Way and strength.
    kinds, centred : arrays (n_cells,)
        Means over validation images and subjects.
    strength : float
        System A's.

    Returns
    -------
    float
    """
    at = {(way, float(of)): k for k, (way, of) in enumerate(cells)}
    if (REFERENCE, float(strength)) not in at:
        raise ValueError(
            f"{REFERENCE!r} was not drawn at the strength {strength:g}, but at "
            f"{sorted(of for way, of in at if way == REFERENCE)}. Add it to the cells of {SCRIPT}."
        )
    kinds, centred = np.asarray(kinds, float), np.asarray(centred, float)
    if not (np.isfinite(kinds).all() and np.isfinite(centred).all()):
        raise ValueError("Scores of validation images should be finite.")
    rows = {of: k for (way, of), k in at.items() if way == WEIGHED}
    enough = {of: k for of, k in rows.items() if kinds[k] >= kinds[at[REFERENCE, float(strength)]]}
    if not enough:
        return max(rows, key=lambda of: kinds[rows[of]])
    return max(enough, key=lambda of: centred[enough[of]])


def strength_of(study):
    """Return the strength of a study's weighed drawings.

    It is chosen from the product of `SCRIPT`. Where there is none it is the preset's ``weighed_strength``, or
    else its ``strength``.
    """
    product = results.product(SCRIPT, study.root, preset=study.preset)
    if not product:
        own = study.preset.weighed_strength
        return study.preset.strength if own is None else own
    names = product.provenance["scores"]
    means = product["scores"].mean(axis=(0, 2))
    kinds, centred = (means[:, names.index(name)] for name in ("kinds", "centred PixCorr"))
    return choose(product.provenance["cells"], kinds, centred, study.preset.strength)
