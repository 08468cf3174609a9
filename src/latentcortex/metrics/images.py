"""Compare images by their pixels, and describe them at a low level: colours, contrast energy."""

import numpy as np
from skimage.color import rgb2gray
from skimage.metrics import structural_similarity

from latentcortex.metrics.checks import finite, pair, row_correlations

_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])  # ITU-R BT.709


def pixcorr(images_a, images_b, mean_image=None):
    """Correlate two sets of images pixel by pixel (PixCorr), one Pearson r per image pair.

    Plain PixCorr is won by anything that looks like the average photograph. Subtracting the mean
    TRAINING image from both first leaves what sets an image apart.

    Parameters
    ----------
    images_a, images_b : array (n, 3, h, w)
    mean_image : array (3, h, w), optional
        Mean of the training images, to subtract from both.

    Returns
    -------
    r : array (n,)

    Raises
    ------
    ValueError
        For unequal shapes, values that are not finite, or a constant image.
    """
    images_a, images_b = pair("images_a", images_a, "images_b", images_b, ndim=4)
    if mean_image is not None:
        mean_image = finite("mean_image", mean_image, ndim=3)
        if mean_image.shape != images_a.shape[1:]:
            raise ValueError(
                f"Expected a mean_image {images_a.shape[1:]} to fit the images, got {mean_image.shape}."
            )
        images_a, images_b = images_a - mean_image, images_b - mean_image
    return row_correlations("images_a", images_a, "images_b", images_b)


def ssim(images_a, images_b):
    """Measure the structural similarity of two sets of images, one SSIM per image pair.

    On grey images, with a Gaussian window of 1.5 pixels and a data range of 1: the settings of
    Brain-Diffuser and MindEye2. SSIM depends on the size of the images and rewards blur.

    Parameters
    ----------
    images_a, images_b : array (n, 3, h, w)
        In [0, 1], at least 11 pixels wide and high.

    Returns
    -------
    ssim : array (n,)
        At most 1.

    Raises
    ------
    ValueError
        For unequal shapes or values outside [0, 1].

    References
    ----------
    Wang et al., IEEE Transactions on Image Processing 13, 600 (2004).
    """
    images_a, images_b = pair("images_a", images_a, "images_b", images_b, ndim=4)
    for name, images in {"images_a": images_a, "images_b": images_b}.items():
        if images.min() < 0 or images.max() > 1:
            raise ValueError(
                f"Expected {name} in [0, 1], got values from {images.min():.3g} to "
                f"{images.max():.3g}. Clamp reconstructions before scoring them."
            )
    return np.array(
        [
            structural_similarity(
                rgb2gray(a, channel_axis=0),
                rgb2gray(b, channel_axis=0),
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
                data_range=1.0,
            )
            for a, b in zip(images_a, images_b, strict=True)
        ]
    )


def _cell_means(maps, n_cells):
    """Average maps (n, c, h, w) over a grid of n_cells x n_cells: (n, c, n_cells, n_cells)."""
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
    """Average the colours of images (n, 3, h, w) over a grid of cells: where is which colour.

    Returns features (n, 3 * n_cells * n_cells), for n_cells along each side.
    """
    return _cell_means(finite("images", images, ndim=4), n_cells).reshape(len(images), -1)


def gabor_energy(images, n_cells=8, n_orientations=4, cycles_per_image=(4, 8, 16)):
    r"""Measure oriented contrast energy, as complex cells of V1 do: a low-level feature.

    The luminance is filtered with complex Gabor functions; the energy is the root of the sum of
    the squares of the even and the odd response (independent of phase), averaged over a grid of
    cells. In the Fourier domain a filter is a Gaussian around its frequency f, of standard
    deviation f / 3 (about one octave wide at half height), with no response to the mean.

    Parameters
    ----------
    images : array (n, 3, h, w)
        In [0, 1].
    n_cells : int
        Cells along each side.
    n_orientations : int
        Evenly spaced over 180 degrees.
    cycles_per_image : sequence of float
        Frequencies f, in cycles per image width.

    Returns
    -------
    features : array (n, n_frequencies * n_orientations * n_cells * n_cells)

    References
    ----------
    Adelson & Bergen, Journal of the Optical Society of America A 2, 284 (1985).
    """
    images = finite("images", images, ndim=4)
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
            energy = np.abs(response)[:, pad_y : pad_y + height, pad_x : pad_x + width]
            maps.append(energy)
    return _cell_means(np.stack(maps, axis=1), n_cells).reshape(len(images), -1)
