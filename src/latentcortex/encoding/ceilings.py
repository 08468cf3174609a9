"""Divide correlations by the noise ceiling, and compare two feature spaces."""

import numpy as np

from latentcortex.ridge.rows import within


def normalised_correlation(r, noise_ceiling, lowest=0.05):
    """Return correlations divided by the largest correlation that noise allows, sqrt(noise_ceiling).

    Parameters
    ----------
    r : array of shape (..., n_vertices), in [-2, 2]
        Correlations, their differences, or bootstrap draws of them.
    noise_ceiling : array of shape (n_vertices,), or of more of the last axes of r, in [0, 1]
        Share of variance (R2) of the measured betas that repeats, for the number of trials averaged in them.
    lowest : float in [0, 1]
        Vertices below this ceiling become NaN, because dividing by a small ceiling inflates noise. Vertices
        with a ceiling of 0 also become NaN.

    Returns
    -------
    array of the shape of r
        No model can exceed 1 except by chance. NaN where r or the ceiling is NaN.

    Raises
    ------
    ValueError
        If values are out of their ranges, or if the ceiling does not have one value for each vertex of r.
    """
    r = within(r, "r", -2, 2)
    noise_ceiling = within(
        noise_ceiling, "noise_ceiling", 0, 1, "It is a share of variance: divide percent by 100."
    )
    if noise_ceiling.ndim == 0 or noise_ceiling.shape != r.shape[-noise_ceiling.ndim :]:
        raise ValueError(
            f"noise_ceiling must have one value for each vertex of r, {r.shape[-1:]} or more of its last "
            f"axes {r.shape}; got {noise_ceiling.shape}."
        )
    if not 0 <= lowest <= 1:
        raise ValueError(f"lowest must be a share of variance in [0, 1], as the ceiling; got {lowest}.")
    divisible = (noise_ceiling >= lowest) & (noise_ceiling > 0)
    return r / np.sqrt(np.where(divisible, noise_ceiling, np.nan))


def preference(r_first, r_second, noise_ceiling, lowest=0.05):
    """Return how much better the first of two feature spaces predicts a vertex than the second.

    Parameters
    ----------
    r_first, r_second : array of shape (..., n_vertices), in [-1, 1]
        Correlations on the same test images, or bootstrap draws of them, for example of z and of c.
    noise_ceiling, lowest
        See `normalised_correlation`.

    Returns
    -------
    array of the shape of r_first
        Difference of the two, divided by the square root of the noise ceiling. NaN where the ceiling is below
        `lowest`.

    Raises
    ------
    ValueError
        As in `normalised_correlation`, and if the two shapes differ.
    """
    r_first, r_second = within(r_first, "r_first", -1, 1), within(r_second, "r_second", -1, 1)
    if r_first.shape != r_second.shape:
        raise ValueError(
            f"r_first and r_second must have one shape; got {r_first.shape} and {r_second.shape}."
        )
    return normalised_correlation(r_first - r_second, noise_ceiling, lowest)
