"""Compare a reconstruction with the brain instead of the image."""

from latentcortex.metrics.checks import row_correlations


def brain_correlation(betas, encoded):
    """Return the correlation of measured responses with those that an encoding model gives.

    The encoding model sees the reconstructions. The result is one Pearson r per image, over voxels, as in
    MindEye2's public code. This score also rewards what the decoder got from noise, because the same
    noisy response stands on both sides. So compare it with the responses that the encoding model gives
    to the originals, and measure on other showings of the image.

    Parameters
    ----------
    betas : array (n, n_voxels)
        Measured, z-scored by voxel; otherwise the pattern that all images share decides.
    encoded : array (n, n_voxels)
        Responses predicted from the reconstructions, by a model that was fitted on training
        images and shares no network with the decoder.

    Returns
    -------
    r : array (n,)

    Raises
    ------
    ValueError
        For unequal shapes, values that are not finite, or a row without variance.
    """
    return row_correlations("betas", betas, "encoded", encoded, ndim=2)
