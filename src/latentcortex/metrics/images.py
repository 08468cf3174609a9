"""Compare images by their pixels, and describe them by colours and contrast energy."""

import numpy as np
from skimage.color import rgb2gray
from skimage.metrics import structural_similarity

from latentcortex.metrics.checks import check_shapes, number, pictures, row_correlations

_WINDOW = 11  # pixels that SSIM's Gaussian covers
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])  # ITU-R BT.709


def pixcorr(images_a, images_b, mean_image=None):
    """Return the correlation of two sets of images over pixels (PixCorr), one r per image pair.

    Plain PixCorr rewards anything that looks like the average photograph. Subtract the mean TRAINING image
    from both to compare what distinguishes an image from others.

    Parameters
    ----------
    images_a, images_b : array (n, 3, h, w)
        Images in any unit, because a correlation does not depend on it. With a mean image, floats in [0, 1].
    mean_image : float array (3, h, w), optional
        Mean of the training images in [0, 1], subtracted from both.

    Returns
    -------
    r : array (n,)

    Raises
    ------
    ValueError
        If shapes are unequal, values are not finite, or an image is constant. Also if the shape or range of
        the mean image differs from that of the images.
    """
    if mean_image is not None:
        mean_image = pictures("mean_image", mean_image, ndim=3)
        images_a, images_b = pictures("images_a", images_a), pictures("images_b", images_b)
        if mean_image.shape != images_a.shape[1:]:
            raise ValueError(
                f"Expected a mean_image {images_a.shape[1:]} to fit the images, got {mean_image.shape}."
            )
    return row_correlations("images_a", images_a, "images_b", images_b, ndim=4, centre=mean_image)


def ssim(images_a, images_b):
    """Return the structural similarity of two sets of images, one SSIM per image pair.

    It is computed on grey images, with a Gaussian window of 1.5 pixels and a data range of 1. Brain-Diffuser
    and MindEye2 use the same settings. SSIM depends on the size of the images and rewards blur.

    Parameters
    ----------
    images_a, images_b : float array (n, 3, h, w)
        In [0, 1], at least 11 pixels wide and high.

    Returns
    -------
    ssim : array (n,)
        At most 1.

    Raises
    ------
    ValueError
        If shapes are unequal, values are not finite or outside [0, 1], or images are smaller.

    References
    ----------
    Wang et al., IEEE Transactions on Image Processing 13, 600 (2004).
    """
    images_a, images_b = pictures("images_a", images_a), pictures("images_b", images_b)
    check_shapes("images_a", images_a, "images_b", images_b)
    if min(images_a.shape[2:]) < _WINDOW:
        raise ValueError(f"SSIM looks through a window of {_WINDOW} pixels, got {images_a.shape}: too small.")
    return np.array(
        [
            structural_similarity(
                *(rgb2gray(image.astype(np.float64), channel_axis=0) for image in images),
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
                data_range=1.0,
            )
            for images in zip(images_a, images_b, strict=True)
        ]
    )


def _cell_means(maps, n_cells):
    """Return the means of maps (n, c, h, w) in a grid of cells: (n, c, n_cells, n_cells)."""
    number("n_cells", n_cells, 1, whole=True)
    for axis in (2, 3):
        size = maps.shape[axis]
        if size < n_cells:
            raise ValueError(f"Images of {size} pixels can't be cut into {n_cells} cells.")
        edges = np.linspace(0, size, n_cells + 1).astype(int)
        sums = np.add.reduceat(maps, edges[:-1], axis=axis)
        counts = np.diff(edges).reshape([-1 if i == axis else 1 for i in range(4)])
        maps = sums / counts
    return maps


def colour_means(images, n_cells=8):
    """Return the mean colour of every cell of a grid: features (n, 3 * n_cells * n_cells).

    The images (n, 3, h, w) are floats in [0, 1], and there are n_cells along each side.
    """
    images = pictures("images", images).astype(np.float64)
    return _cell_means(images, n_cells).reshape(len(images), -1)


def gabor_energy(images, n_cells=8, n_orientations=4, cycles_per_image=(4, 8, 16)):
    r"""Return oriented contrast energy, a low-level feature that complex cells of V1 also measure.

    The luminance is filtered with complex Gabor functions. The energy is the root of the sum of the squares
    of the even and the odd response, so it does not depend on phase. It is averaged over the cells of a grid.

    In the Fourier domain a filter is a Gaussian around its frequency f with a standard deviation of f / 3,
    which is about one octave wide at half height. It does not respond to the mean.

    Parameters
    ----------
    images : float array (n, 3, h, w)
        In [0, 1].
    n_cells : int
        Cells along each side.
    n_orientations : int
        Number of orientations, evenly spaced over 180 degrees.
    cycles_per_image : sequence of float
        Frequencies f, in cycles per image width.

    Returns
    -------
    features : array (n, n_frequencies * n_orientations * n_cells * n_cells)

    References
    ----------
    Adelson & Bergen, Journal of the Optical Society of America A 2, 284 (1985).
    """
    images = pictures("images", images).astype(np.float64)
    number("n_orientations", n_orientations, 1, whole=True)
    for f in cycles_per_image:
        number("cycles_per_image", f, 0, strict=True)
    luminance = np.einsum("nchw,c->nhw", images, _LUMINANCE)
    height, width = luminance.shape[1:]
    # Mirrored at the borders: a plain Fourier transform would see an edge where the picture ends.
    pad_y, pad_x = height // 4, width // 4
    padded = np.pad(luminance, ((0, 0), (pad_y, pad_y), (pad_x, pad_x)), mode="reflect")
    spectrum = np.fft.fft2(padded)
    spectrum[:, 0, 0] = 0
    frequency_y = np.fft.fftfreq(padded.shape[1])[:, None] * width  # cycles per image width
    frequency_x = np.fft.fftfreq(padded.shape[2])[None, :] * width
    maps = []
    for f in cycles_per_image:
        for angle in np.arange(n_orientations) * np.pi / n_orientations:
            distance = np.hypot(frequency_x - f * np.cos(angle), frequency_y - f * np.sin(angle))
            response = np.fft.ifft2(spectrum * np.exp(-0.5 * (distance / (f / 3)) ** 2))
            energy = np.abs(response)[:, None, pad_y : pad_y + height, pad_x : pad_x + width]
            maps.append(_cell_means(energy, n_cells))
    return np.concatenate(maps, axis=1).reshape(len(images), -1)
