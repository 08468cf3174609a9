"""Test which vertices are predicted, with p-values and control of the false discovery rate."""

import numpy as np
from scipy import stats

from latentcortex.ridge.rows import check_no_repeats, whole_numbers, within


def p_values(r, n_images, image_ids=None):
    """Return the p-values of correlations between held-out predictions and measurements.

    The test is one-sided, because a negative correlation is not evidence for a prediction. The null
    hypothesis assumes independent images, and a Gaussian measurement that is unrelated to the prediction.
    Then r sqrt((n - 2) / (1 - r^2)) follows Student's t with n - 2 degrees of freedom.

    Rows that are not independent invalidate the test. With an autocorrelation of 0.5 between rows, most maps
    without any signal have discoveries. Use one row per image, and pass the image ids, so that repeats and
    single trials raise an error.

    Parameters
    ----------
    r : array, in [-1, 1]
    n_images : int
        Number of rows correlated, at least 3.
    image_ids : array of int, shape (n_images,), optional
        The image of each row. Several rows of one image are then an error.

    Returns
    -------
    array of the shape of r, in [0, 1]; NaN where r is

    Raises
    ------
    ValueError
        If r is outside [-1, 1], if there are fewer than 3 images, or if `image_ids` has repeats.
    """
    if not (isinstance(n_images, (int, np.integer)) and n_images >= 3):
        raise ValueError(f"A correlation over {n_images} images has no test: give at least 3.")
    if image_ids is not None:
        check_no_repeats(whole_numbers(image_ids, "image_ids", n_images))
    r = within(r, "r", -1, 1).astype(np.float64)
    with np.errstate(divide="ignore"):
        return stats.t.sf(r * np.sqrt((n_images - 2) / (1 - r**2)), n_images - 2)


def fdr(p_values, q=0.05):
    """Return discoveries at a false discovery rate (Benjamini and Hochberg 1995, JRSS B 57).

    On average at most a share q of the discoveries is false, if the tests are independent or positively
    dependent.

    Parameters
    ----------
    p_values : array, in [0, 1]
        NaN marks a vertex that was not tested and does not count as a test.
    q : float in (0, 1)

    Returns
    -------
    rejected : bool array of the shape of p_values
    adjusted : array of the shape of p_values
        The smallest q at which the vertex would be a discovery. NaN where it was not tested.

    Raises
    ------
    ValueError
        If q or p-values are out of their range.
    """
    if not 0 < q < 1:
        raise ValueError(f"q must lie between 0 and 1, e.g. 0.05 for 5 in 100; got {q}.")
    adjusted = within(p_values, "p_values", 0, 1).astype(np.float64)
    tested = ~np.isnan(adjusted)
    adjusted[tested] = stats.false_discovery_control(adjusted[tested])
    return adjusted <= q, adjusted
