"""Read NSD-synthetic, a further session with images unlike those of the main experiment.

Source: the NSD data manual, "NSD-synthetic". In the simulated tree its images hold a kind of
thing, or a combination, that no other image does. The real session also has 64 images of colours,
other ones for each subject and in files of their own, two tasks and immediate repeats: it is not
read here yet, and refused rather than read in part.
"""

import h5py
import numpy as np
from scipy.io import loadmat

from latentcortex.nsd.repeats import average_repeats, zscore
from latentcortex.nsd.responses import open_space
from latentcortex.nsd.stimuli import resized
from latentcortex.nsd.tree import existing_path

_BETAS = "nsdsyntheticbetas_fithrf_GLMdenoise_RR"
_STIMULI = "nsddata_stimuli/stimuli/nsdsynthetic/nsdsynthetic_stimuli.hdf5"


def synthetic_images(root, size=None):
    """Read all images of the further session.

    Parameters
    ----------
    root : path
    size : int, optional
        Width and height wanted, in pixels; by default as stored.

    Returns
    -------
    float32 array (n, 3, height, width)
        RGB in [0, 1]; row i is the image with the 0-based synthetic id i.
    """
    with h5py.File(existing_path(root, _STIMULI), "r") as file:
        brick = file["imgBrick"][...]
    shape = brick.shape[1:3] if size is None else (size, size)
    images = np.stack([resized(np.moveaxis(image, -1, 0), shape) for image in brick])
    return images / np.float32(255)


def synthetic_responses(root, subject, space="fsaverage", mask=None):
    """Read the responses to these images, the showings of each averaged.

    No image of this session trains anything, so there are no training trials beside them to scale
    by: each voxel is z-scored by the mean and deviation of all trials of the session.

    Parameters
    ----------
    root, subject, space, mask
        See `latentcortex.nsd.betas`.

    Returns
    -------
    betas : float32 array (n_images, n_voxels)
    synthetic_ids : int array (n_images,)
        0-based, in ascending order.
    n_repeats : int array (n_images,)
    """
    path = existing_path(root, "nsddata/experiments/nsdsynthetic/nsdsynthetic_expdesign.mat")
    order = loadmat(path)["masterordering"].ravel().astype(int) - 1
    if order.max() >= _n_images(root):
        raise ValueError(
            f"The design names {order.max() + 1} images and the stimulus file holds "
            f"{_n_images(root)}: this is NSD's own further session, with images of colours in "
            "files for each subject, which can't be read yet."
        )
    reader, folder = open_space(root, subject, space, _BETAS)
    files = reader.find_session(folder, "nsdsynthetic")
    shape = reader.shape_of_session(files)
    mask = np.ones(shape, bool) if mask is None else np.asarray(mask)
    if mask.dtype != bool or mask.shape != shape:
        raise ValueError(
            f"Expected a mask of bool of the shape {shape}, got {mask.dtype} of shape "
            f"{mask.shape}. roi_mask makes one for each space."
        )
    betas = np.empty((len(order), np.count_nonzero(mask)), np.float32)
    reader.read_session(files, len(order), mask, betas)
    return average_repeats(zscore(betas, None, np.ones(len(order), bool)), order)


def _n_images(root):
    with h5py.File(existing_path(root, _STIMULI), "r") as file:
        return len(file["imgBrick"])
