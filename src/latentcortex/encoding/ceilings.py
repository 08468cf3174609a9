"""Correlations as shares of what noise allows, and the difference of two feature spaces."""

import numpy as np

from latentcortex.ridge.rows import within


def normalised_correlation(r, noise_ceiling, lowest=0.05):
    """Return correlations divided by the largest that noise allows, sqrt(noise_ceiling).

    Parameters
    ----------
    r : array of shape (..., n_vertices), in [-2, 2]
        Correlations, or differences or draws of them.
    noise_ceiling : array of shape (n_vertices,), or of more of the last axes of r, in [0, 1]
        Share of the variance of the measured betas that repeats (R2), for as many repeats as
        were averaged in them.
    lowest : float in [0, 1]
        Vertices below this ceiling, and those whose ceiling is 0, become NaN: dividing by almost
        nothing makes noise large.

    Returns
    -------
    array of the shape of r; 1 is as good as any model can be, chance may exceed it
        NaN where r or the ceiling is NaN.

    Raises
    ------
    ValueError
        For values out of their ranges, or a ceiling that has not one value for each vertex of r.
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
        Correlations, or bootstrap draws of them, on the same test images, e.g. of z and of c.
    noise_ceiling, lowest
        See `normalised_correlation`.

    Returns
    -------
    array of the shape of r_first
        Their difference over the root of the ceiling; NaN where the noise ceiling is below `lowest`.

    Raises
    ------
    ValueError
        As `normalised_correlation`, and for two shapes that differ.
    """
    r_first, r_second = within(r_first, "r_first", -1, 1), within(r_second, "r_second", -1, 1)
    if r_first.shape != r_second.shape:
        raise ValueError(
            f"r_first and r_second must have one shape; got {r_first.shape} and {r_second.shape}."
        )
    return normalised_correlation(r_first - r_second, noise_ceiling, lowest)
