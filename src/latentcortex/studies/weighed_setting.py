"""Choose how far weighed drawings trust decoded z, and from how much noise they start."""

import numpy as np

from latentcortex.studies import results
from latentcortex.studies.weighing import Weighing

SCRIPT = "ch08b_choose_weighing"
REFERENCE = "plain, z of all"  # system A with all of visual cortex


def choose(cells, trusts, kinds, centred, strength):
    """Return trust and strength at which weighed drawings name as many kinds as system A, closest in pixels.

    Of the cells in which weighed drawings have at least the reference's mean of kinds, it is the one with the
    highest mean of centred PixCorr. If there is none, it is the one with the most kinds.

    Parameters
    ----------
    cells : sequence of (str, float)
        Way and strength.
    trusts : dict of str to float
        Trust of the ways to choose from.
    kinds, centred : arrays (n_cells,)
        Means over validation images and subjects.
    strength : float
        System A's.

    Returns
    -------
    trust, strength : float
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
    rows = {(trusts[way], of): k for (way, of), k in at.items() if way in trusts}
    enough = {of: k for of, k in rows.items() if kinds[k] >= kinds[at[REFERENCE, float(strength)]]}
    if not enough:
        return max(rows, key=lambda of: kinds[rows[of]])
    return max(enough, key=lambda of: centred[enough[of]])


def setting_of(study):
    """Return the `Weighing` and the strength of a study's weighed drawings.

    They are chosen from the product of `SCRIPT`. Where there is none, noise is trusted as it was estimated,
    and the strength is the preset's ``weighed_strength``, or else its ``strength``.
    """
    product = results.product(SCRIPT, study.root, preset=study.preset)
    if not product:
        own = study.preset.weighed_strength
        return Weighing(c_region="all"), study.preset.strength if own is None else own
    found = product.provenance
    means = product["scores"].mean(axis=(0, 2))
    kinds, centred = (means[:, found["scores"].index(name)] for name in ("kinds", "centred PixCorr"))
    trust, strength = choose(found["cells"], found["trusts"], kinds, centred, study.preset.strength)
    return Weighing(c_region="all", trust=trust), strength
