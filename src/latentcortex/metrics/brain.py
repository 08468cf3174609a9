"""Compare a reconstruction with the brain instead of the image."""

from latentcortex.metrics.checks import row_correlations


def brain_correlation(betas, encoded):
    """Correlate measured responses with those that an encoding model gives to reconstructions.

    One Pearson r per image, over voxels, as in MindEye2's public code. What the decoder got from
    noise is rewarded too: the same noisy response stands on both sides. Compare with the
    responses that the encoding model gives to the originals, and measure on other showings.

    Parameters
    ----------
    betas : array (n, n_voxels)
        Measured, z-scored by voxel: otherwise the pattern all images share decides.
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
