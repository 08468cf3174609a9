"""Compare a reconstruction with the brain instead of the image."""

from latentcortex.metrics.checks import row_correlations


def brain_correlation(betas, encoded):
    """Return the correlation of measured responses with responses predicted by an encoding model.

    The encoding model predicts from the reconstructions. The result is one Pearson r per image, over voxels,
    as in MindEye2's public code. This score also rewards what the decoder took from noise, because the same
    noisy response is on both sides. So compare it with the predictions for the originals, and measure on
    other repeats of the image.

    Parameters
    ----------
    betas : array (n, n_voxels)
        Measured responses, z-scored by voxel. Otherwise the score mostly reflects the pattern that all images
        share.
    encoded : array (n, n_voxels)
        Responses predicted from the reconstructions. The model must be fitted on training images and share no
        network with the decoder.

    Returns
    -------
    r : array (n,)

    Raises
    ------
    ValueError
        If shapes are unequal, values are not finite, or a row has no variance.
    """
    return row_correlations("betas", betas, "encoded", encoded, ndim=2)
