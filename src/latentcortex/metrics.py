"""Score reconstructions against originals, with the uncertainty of the score.

Per image first, then intervals over images (bootstrap) or over subjects (t): the functions that
compare return one score per image, those at the end turn scores into intervals.
"""

from typing import NamedTuple

import numpy as np
from scipy import stats
from skimage.color import rgb2gray
from skimage.metrics import structural_similarity

# Below this, two correlations are the same number: matrix products round differently in
# different rows, and reconstructions that collapsed to one image must come out as ties.
TIE_TOLERANCE = 1e-12

_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])  # ITU-R BT.709


class Interval(NamedTuple):
    """A mean and the two ends of its interval."""

    mean: float
    low: float
    high: float


def _finite(name, array, ndim=None):
    array = np.asarray(array, dtype=np.float64)
    if ndim is not None and array.ndim != ndim:
        raise ValueError(f"Expected {name} with {ndim} axes, got shape {array.shape}.")
    if not np.isfinite(array).all():
        rows = np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(axis=1))
        raise ValueError(
            f"{name} has NaN or infinite values in rows {rows[:10].tolist()}. Find out where they "
            "come from; leaving rows out would change the score."
        )
    return array


def _pair(name_a, a, name_b, b, ndim=None):
    a, b = _finite(name_a, a, ndim), _finite(name_b, b, ndim)
    if a.shape != b.shape:
        raise ValueError(
            f"Expected one row of {name_b} for each of {name_a}, of equal size, got shapes "
            f"{a.shape} and {b.shape}."
        )
    return a, b


def _standardise(name, rows):
    """Centre rows (n, p) and scale them to length 1, so that products are correlations."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    # Relative to the row's size: centring a constant row leaves rounding errors, not zeros.
    constant = length[:, 0] <= 1e-12 * np.linalg.norm(rows, axis=1)
    if constant.any():
        raise ValueError(
            f"{name} is constant in rows {np.flatnonzero(constant)[:10].tolist()}: no correlation "
            "is defined. A reconstruction of a single grey is a failure to report, not a number."
        )
    return centred / length


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
    images_a, images_b = _pair("images_a", images_a, "images_b", images_b, ndim=4)
    if mean_image is not None:
        mean_image = _finite("mean_image", mean_image, ndim=3)
        if mean_image.shape != images_a.shape[1:]:
            raise ValueError(
                f"Expected a mean_image {images_a.shape[1:]} to fit the images, got "
                f"{mean_image.shape}."
            )
        images_a, images_b = images_a - mean_image, images_b - mean_image
    a = _standardise("images_a", images_a.reshape(len(images_a), -1))
    b = _standardise("images_b", images_b.reshape(len(images_b), -1))
    return (a * b).sum(axis=1)


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
    images_a, images_b = _pair("images_a", images_a, "images_b", images_b, ndim=4)
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


def _correlations(features_true, features_pred, direction):
    """Correlate all pairs: (n, n), row i holds query i against the gallery, itself at i."""
    if direction not in ("reconstruction", "original"):
        raise ValueError(
            f"Expected the direction 'reconstruction' or 'original', got {direction!r}."
        )
    true, pred = _pair("features_true", features_true, "features_pred", features_pred)
    if len(true) < 2:
        raise ValueError("Identification needs at least two images, one to be told from the other.")
    true = _standardise("features_true", true.reshape(len(true), -1))
    pred = _standardise("features_pred", pred.reshape(len(pred), -1))
    return pred @ true.T if direction == "reconstruction" else true @ pred.T


def _win_share(r, own):
    """Share of the others in each row of r (n, n) that column own[i] beats; ties count half."""
    difference = r[np.arange(len(r)), own][:, None] - r
    wins = (difference > TIE_TOLERANCE).sum(axis=1)
    ties = (np.abs(difference) <= TIE_TOLERANCE).sum(axis=1) - 1  # not against itself
    return (wins + 0.5 * ties) / (len(r) - 1)


def identification(features_true, features_pred, direction="reconstruction"):
    r"""Identify images two at a time: the share of all other images that an image is told from.

    With :math:`r_{ij}` the correlation of original i with reconstruction j, direction
    "reconstruction" asks for each reconstruction j whether its own original correlates more with
    it than another original does,

    .. math:: s_j = \frac{1}{n - 1} \sum_{i \ne j} [r_{ij} < r_{jj}]
              + \tfrac12 [r_{ij} = r_{jj}],

    and "original" asks for each original i whether its own reconstruction does better than those
    of others: the same sum over j, of :math:`r_{ij}` against :math:`r_{ii}`. The two differ.
    Public tables use the first; Takagi & Nishimoto's code and the text of MindEye2 (appendix
    A.9) the second.

    Parameters
    ----------
    features_true, features_pred : array (n, ...)
        Features of the originals and of their reconstructions, in the same order.
    direction : {"reconstruction", "original"}

    Returns
    -------
    scores : array (n,)
        In [0, 1], chance 0.5.

    Raises
    ------
    ValueError
        For fewer than two images, unequal shapes, values that are not finite, constant features.
    """
    r = _correlations(features_true, features_pred, direction)
    return _win_share(r, np.arange(len(r)))


def shuffled_identification(
    features_true, features_pred, rng, n_shuffles=100, direction="reconstruction"
):
    """Repeat the identification with reconstructions assigned to originals at random.

    Takes what `identification` takes, and a numpy Generator `rng`. Returns (n_shuffles,) mean
    scores over images, one for each shuffle; their mean is 0.5 if the score is honest.
    """
    r = _correlations(features_true, features_pred, direction)
    return np.array([_win_share(r, rng.permutation(len(r))).mean() for _ in range(n_shuffles)])


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
    return _cell_means(_finite("images", images, ndim=4), n_cells).reshape(len(images), -1)


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
    images = _finite("images", images, ndim=4)
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


def bootstrap_mean(scores, rng, n_resamples=2000, level=0.95):
    """Bootstrap the mean of per-image scores by image (percentile interval).

    Scores of several subjects or drawings of the same images are averaged per image before, so
    that whole images are drawn; the gallery the scores were made against stays fixed.

    Parameters
    ----------
    scores : array (n_images,)
    rng : numpy.random.Generator
    n_resamples : int
    level : float
        Coverage of the interval.

    Returns
    -------
    Interval

    Raises
    ------
    ValueError
        For fewer than two images or values that are not finite.
    """
    scores = _finite("scores", scores, ndim=1)
    if len(scores) < 2:
        raise ValueError("One image has no interval: the bootstrap needs at least two.")
    means = scores[rng.integers(len(scores), size=(n_resamples, len(scores)))].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(scores.mean()), float(low), float(high))


def paired_difference(scores_a, scores_b, rng, n_resamples=2000, level=0.95):
    """Bootstrap the mean of a - b, scores (n_images,) of the same images in the same order.

    The same images are drawn for both. Arguments, result and errors as in `bootstrap_mean`.
    """
    scores_a, scores_b = _pair("scores_a", scores_a, "scores_b", scores_b, ndim=1)
    return bootstrap_mean(scores_a - scores_b, rng, n_resamples, level)


def is_noninferior(difference, margin):
    """Say whether a is at most `margin` worse than b, from the `Interval` of a - b.

    The margin is positive and declared before the run. True if the lower end of the interval
    lies above -margin; False means not shown, which is not the same as worse.
    """
    if margin <= 0:
        raise ValueError(f"Expected a positive margin, got {margin}.")
    return difference.low > -margin


def t_interval(values, level=0.95):
    """Compute the t `Interval` of the mean of values (n_subjects,); four can't be bootstrapped.

    Raises ValueError for fewer than two subjects or values that are not finite.
    """
    values = _finite("values", values, ndim=1)
    if len(values) < 2:
        raise ValueError("One subject has no interval: a t interval needs at least two.")
    half = stats.t.ppf((1 + level) / 2, len(values) - 1) * stats.sem(values)
    return Interval(float(values.mean()), float(values.mean() - half), float(values.mean() + half))
