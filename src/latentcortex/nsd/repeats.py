"""Work on trials as arrays: split by image, z-scoring, averages over repeats, noise ceiling."""

import numpy as np

from latentcortex.store import rows_of


def split(trials):
    """Split the images into training and test: those that all subjects see are the test images.

    Parameters
    ----------
    trials : pandas.DataFrame
        Of `trials`: at least image_id and shared.

    Returns
    -------
    train_image_ids, test_image_ids : int arrays
        Sorted, without repeats, with no image in both. Only images shown in these trials.
    """
    images = trials.groupby("image_id")["shared"].agg(["all", "any"])
    if (images["all"] != images["any"]).any():
        raise ValueError("Some image is shared in one trial and not in another: check the design.")
    return images.index[~images["all"]].to_numpy(), images.index[images["all"]].to_numpy()


def validation_split(train_image_ids, n=100, *, rng):
    """Draw validation images from the training images, for choosing settings.

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
        Sorted, with no image in both.
    """
    unique = np.unique(train_image_ids)
    if not 0 < n < len(unique):
        raise ValueError(f"Can't take {n} validation images out of {len(unique)} training images.")
    chosen = np.zeros(len(unique), bool)
    chosen[rng.choice(len(unique), n, replace=False)] = True
    return unique[~chosen], unique[chosen]


def average_repeats(betas, image_ids):
    """Average the trials of each image.

    Parameters
    ----------
    betas : array (n_trials, n_voxels)
    image_ids : int array (n_trials,)

    Returns
    -------
    averages : array (n_images, n_voxels)
        In the dtype of `betas`.
    unique_ids : int array (n_images,)
        Sorted.
    n_repeats : int array (n_images,)
        Number of trials in each average.
    """
    betas, image_ids = np.asarray(betas), np.asarray(image_ids)
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
    """Z-score each voxel, session by session, by the mean and deviation of training trials.

    Responses drift from session to session; test trials are moved and scaled like the training
    trials beside them and move nothing themselves.

    Parameters
    ----------
    betas : float array (n_trials, n_voxels)
    sessions : int array (n_trials,) or None
        None z-scores all trials together.
    is_train : bool array (n_trials,)

    Returns
    -------
    array (n_trials, n_voxels)
        In the dtype of `betas`. A voxel that never changes over the training trials of a session
        says nothing there and comes back as 0 in all of its trials.

    Raises
    ------
    ValueError
        Integer betas, lengths that differ, a session with fewer than two training trials.
    """
    betas, is_train = np.asarray(betas), np.asarray(is_train)
    sessions = np.zeros(len(betas), int) if sessions is None else np.asarray(sessions)
    if betas.dtype.kind != "f":
        raise ValueError(
            f"Expected betas as floats in percent signal change, got {betas.dtype}. NSD's integer "
            "volumes are 300 times as large: cast to float and divide by 300 first."
        )
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
    r"""Estimate the noise-ceiling signal-to-noise ratio from repeats.

    .. math:: ncsnr = \sqrt{\max(0, \sigma^2 - \sigma_n^2)} / \sigma_n

    where the noise variance :math:`\sigma_n^2` is that of the repeats around their image's mean
    and :math:`\sigma^2` is the variance over all trials. Pass training trials only where voxels
    are to be selected by it.

    Parameters
    ----------
    betas : float array (n_trials, n_voxels)
        Of `zscore`. Images seen once say nothing about noise but count for the variance.
    image_ids : int array (n_trials,)

    Returns
    -------
    array (n_voxels,)
        At least 0; a voxel that never changes gets 0. Estimates of ratios near zero are noisy and,
        being cut at 0, too large on average.

    Notes
    -----
    After Allen et al. (2022), Methods, "Noise ceiling estimation", for any number of repeats.
    """
    averages, unique_ids, n_repeats = average_repeats(betas, image_ids)
    n_free = len(image_ids) - len(unique_ids)
    if n_free < 1:
        raise ValueError("No image was shown twice: noise can't be told from signal.")
    residuals = betas - averages[rows_of(unique_ids, image_ids)]
    noise = np.square(residuals).sum(axis=0, dtype=float) / n_free
    signal = np.maximum(0, np.var(betas, axis=0, ddof=1, dtype=float) - noise)
    ratio = np.divide(signal, noise, out=np.zeros_like(noise), where=noise > 0)
    return np.sqrt(ratio).astype(averages.dtype)


def noise_ceiling(ncsnr, n_repeats):
    """Compute the largest share of variance that any model can explain in averages over repeats.

    NC = ncsnr^2 / (ncsnr^2 + mean(1 / n)), where n runs over the images that are scored: for A, B
    and C images with 1, 2 and 3 trials, mean(1 / n) = (A + B/2 + C/3) / (A + B + C).

    Parameters
    ----------
    ncsnr : array (n_voxels,)
    n_repeats : int or int array (n_images,)
        Trials in the average of each image that is scored.

    Returns
    -------
    array (n_voxels,)
        As R2, from 0 to 1 (NSD gives percent). Its square root is the ceiling of a correlation.
    """
    n_repeats = np.asarray(n_repeats)
    if not n_repeats.size or (n_repeats < 1).any():
        raise ValueError("n_repeats must be 1 or more for every image that is scored.")
    variance = np.square(ncsnr)
    return variance / (variance + np.mean(1 / n_repeats))
