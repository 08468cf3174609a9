"""Split trials by image, z-score them, average over repeats and estimate the noise ceiling."""

import numpy as np

from latentcortex.nsd.arguments import checked_betas, checked_count, checked_ids, plain_array
from latentcortex.store import rows_of


def split(trials):
    """Return the ids of the training and the test images; all subjects see the test images.

    Parameters
    ----------
    trials : pandas.DataFrame
        The table of `trials`, with at least the columns image_id and shared.

    Returns
    -------
    train_image_ids, test_image_ids : int arrays
        Sorted and without repeats. No image is in both. Only images shown in these trials are returned.
    """
    images = trials.groupby("image_id")["shared"].agg(["all", "any"])
    if (images["all"] != images["any"]).any():
        raise ValueError("Some image is shared in one trial and not in another: check the design.")
    return images.index[~images["all"]].to_numpy(), images.index[images["all"]].to_numpy()


def validation_split(train_image_ids, n=100, *, rng):
    """Return the training images in two parts, of which one is drawn at random for validation.

    Parameters
    ----------
    train_image_ids : int array
        Repeats are ignored: the split is by image, never by trial.
    n : int
        Number of validation images.
    rng : numpy.random.Generator

    Returns
    -------
    fit_image_ids, validation_image_ids : int arrays
        Sorted; no image is in both.
    """
    unique, n = np.unique(checked_ids(train_image_ids)), int(checked_count(n, "n"))
    if not 0 < n < len(unique):
        raise ValueError(f"Can't take {n} validation images out of {len(unique)} training images.")
    chosen = np.zeros(len(unique), bool)
    chosen[rng.choice(len(unique), n, replace=False)] = True
    return unique[~chosen], unique[chosen]


def average_repeats(betas, image_ids):
    """Return the average over the trials of each image.

    Parameters
    ----------
    betas : float array (n_trials, n_voxels)
    image_ids : int array (n_trials,)

    Returns
    -------
    averages : array (n_images, n_voxels)
        Averages in the dtype of `betas`. An average is NaN if one of its trials is NaN.
    unique_ids : int array (n_images,)
        Sorted.
    n_repeats : int array (n_images,)
        Number of trials in each average.
    """
    betas, image_ids = checked_betas(betas), checked_ids(image_ids)
    if image_ids.shape != betas.shape[:1] or not len(betas):
        raise ValueError(
            f"Expected one image id for each row of betas, got ids of shape {image_ids.shape} for "
            f"betas of shape {betas.shape}."
        )
    order = np.argsort(image_ids, kind="stable")
    unique_ids, first, n_repeats = np.unique(image_ids[order], return_index=True, return_counts=True)
    averages = np.add.reduceat(betas[order], first, axis=0)
    averages /= n_repeats[:, None].astype(averages.dtype)
    return averages, unique_ids, n_repeats


def zscore(betas, sessions, is_train):
    """Return betas z-scored session by session, by the mean and deviation of training trials.

    Responses drift from session to session. Test trials are shifted and scaled like the training trials of
    their session. They do not influence the mean and deviation themselves.

    Parameters
    ----------
    betas : float array (n_trials, n_voxels)
    sessions : int array (n_trials,) or None
        None z-scores all trials together.
    is_train : bool array (n_trials,)

    Returns
    -------
    array (n_trials, n_voxels)
        In the dtype of `betas`. If a voxel never changes over the training trials of a session, all trials of
        that session are 0. If a voxel is NaN in a training trial, all trials of that session are NaN.

    Raises
    ------
    ValueError
        If betas are integers, lengths differ, or a session has fewer than two training trials.
    """
    betas, is_train = checked_betas(betas), plain_array(is_train, "is_train")
    sessions = np.zeros(len(betas), int) if sessions is None else checked_count(sessions, "sessions")
    if not is_train.shape == sessions.shape == betas.shape[:1] or is_train.dtype != bool:
        raise ValueError(
            f"betas have {len(betas)} trials, sessions the shape {sessions.shape}, is_train the "
            f"shape {is_train.shape} and dtype {is_train.dtype}: expected one session and one "
            "bool for each trial."
        )
    result = np.empty_like(betas)
    for session in np.unique(sessions):
        rows = np.flatnonzero(sessions == session)
        fit = betas[rows[is_train[rows]]]
        if len(fit) < 2:
            raise ValueError(
                f"Session {session} has {len(fit)} training trials, at least 2 are needed. Leave "
                "the session out, or pass sessions=None."
            )
        mean, deviation = fit.mean(axis=0, dtype=float), fit.std(axis=0, dtype=float)
        # Rounding can leave a constant voxel a deviation of 1e-17, so it is not asked of that.
        constant = (fit == fit[0]).all(axis=0)
        scale = np.where(constant, 0, 1 / np.where(constant, 1, deviation))
        result[rows] = (betas[rows] - mean.astype(betas.dtype)) * scale.astype(betas.dtype)
    return result


def estimate_ncsnr(betas, image_ids):
    r"""Return the noise-ceiling signal-to-noise ratio, estimated from repeats.

    .. math:: ncsnr = \sqrt{\max(0, \sigma^2 - \sigma_n^2)} / \sigma_n

    where the noise variance :math:`\sigma_n^2` is that of the repeats around their image's mean and
    :math:`\sigma^2` is the variance over all trials. If the ratio is used to select voxels, pass training
    trials only.

    Parameters
    ----------
    betas : float array (n_trials, n_voxels)
        Betas from `zscore`. Images seen once carry no information about noise, but count for the variance.
    image_ids : int array (n_trials,)

    Returns
    -------
    array (n_voxels,)
        At least 0. A voxel that never changes gets 0, and a voxel with NaN in any trial gets NaN. Estimates
        of ratios near zero are noisy. Because they are cut at 0, they are too large on average.

    Notes
    -----
    After Allen et al. (2022), Methods, "Noise ceiling estimation", for any number of repeats.
    """
    averages, unique_ids, n_repeats = average_repeats(betas, image_ids)
    n_free = len(image_ids) - len(unique_ids)
    if n_free < 1:
        raise ValueError("No image was shown twice: noise can't be told from signal.")
    betas = np.asarray(betas)
    residuals = betas - averages[rows_of(unique_ids, image_ids)]
    noise = np.square(residuals).sum(axis=0, dtype=float) / n_free
    signal = np.maximum(0, np.var(betas, axis=0, ddof=1, dtype=float) - noise)
    ratio = np.divide(signal, noise, out=np.zeros_like(noise), where=noise != 0)  # NaN stays
    return np.sqrt(ratio).astype(averages.dtype)


def noise_ceiling(ncsnr, n_repeats):
    """Return the largest share of variance that any model can explain in averages over repeats.

    NC = ncsnr^2 / (ncsnr^2 + mean(1 / n)), where n runs over the images that are scored.

    For A, B and C images with 1, 2 and 3 trials, mean(1 / n) = (A + B/2 + C/3) / (A + B + C).

    Parameters
    ----------
    ncsnr : float array (n_voxels,) or (nx, ny, nz)
        At least 0, or NaN if the ratio is not known.
    n_repeats : int or int array (n_images,)
        Number of trials in the average of each image that is scored.

    Returns
    -------
    float array, of the shape of `ncsnr`
        A share of variance (R2) from 0 to 1, where NSD gives percent. Its square root is the ceiling of a
        correlation. It is NaN if `ncsnr` is NaN.

    Raises
    ------
    ValueError
        If a ratio is negative or infinite, or if a number of repeats is below 1 or not a whole number.
    """
    ncsnr, n_repeats = plain_array(ncsnr, "ncsnr"), checked_count(n_repeats, "n_repeats")
    if not n_repeats.size or n_repeats.ndim > 1 or not (n_repeats >= 1).all():
        raise ValueError(
            "n_repeats must be 1 or more for every image that is scored: one number for all, or one per "
            f"image. Got {n_repeats}."
        )
    wrong = ~(np.isnan(ncsnr) | ((ncsnr >= 0) & (ncsnr < np.inf)))
    if wrong.any():
        raise ValueError(
            f"ncsnr is a ratio of at least 0, but {np.count_nonzero(wrong):,} of {wrong.size:,} are negative "
            "or infinite. Pass what nsd.ncsnr or nsd.estimate_ncsnr returned."
        )
    variance = np.square(ncsnr)
    return variance / (variance + np.mean(1 / n_repeats))
