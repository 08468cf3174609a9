"""Read NSD-synthetic, an additional session with images unlike those of the main experiment.

Source: the NSD data manual, "NSD-synthetic". In the simulated tree its images hold a kind of thing, or a
combination, that no other image has. The real session also has two tasks, immediate repeats, and 64 images of
colours. These images differ between subjects and lie in their own files. The real session cannot be read yet,
so an error is raised instead of reading a part of it.
"""

import numpy as np

from latentcortex.nsd.arguments import checked_mask
from latentcortex.nsd.design import read_matlab
from latentcortex.nsd.recorded import RecordedTrials
from latentcortex.nsd.repeats import average_repeats, zscore
from latentcortex.nsd.responses import open_space
from latentcortex.nsd.stimuli import open_stimuli, read_images
from latentcortex.nsd.tree import existing_path

_BETAS = "nsdsyntheticbetas_fithrf_GLMdenoise_RR"
_STIMULI = "nsddata_stimuli/stimuli/nsdsynthetic/nsdsynthetic_stimuli.hdf5"


def synthetic_images(root, size=None):
    """Return all images of the additional session.

    All are held in memory as float32, which takes 12 x height x width bytes each.

    Parameters
    ----------
    root : path
    size : int, optional
        Width and height wanted, in pixels; by default as stored.

    Returns
    -------
    float32 array (n, 3, height, width)
        RGB in [0, 1]. Row i is the image with the 0-based synthetic id i.
    """
    path = existing_path(root, _STIMULI)
    with open_stimuli(path) as brick:
        return read_images(path, brick, np.arange(len(brick)), size)


def synthetic_responses(root, subject, space="fsaverage", mask=None):
    """Return the responses to the images of NSD-synthetic, averaged over the repeats of each image.

    No image of this session is used for training, so there are no training trials to scale by. Each voxel is
    z-scored by the mean and deviation of all trials of the session.

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
    order = read_matlab(path, ("masterordering",))["masterordering"].ravel() - 1
    with open_stimuli(existing_path(root, _STIMULI)) as brick:
        n_images = len(brick)
    if not (order.size and order.min() >= 0):
        raise ValueError(f"{path} names no images, or one below 1, in masterordering. Download it again.")
    if order.max() >= n_images:
        raise ValueError(
            f"{path} names {order.max() + 1} images and the stimulus file holds {n_images}: this is NSD's "
            "own further session, with images of colours in files for each subject, which can't be read yet."
        )
    reader, folder = open_space(root, subject, space, _BETAS)
    files, name = reader.find_session(folder, "nsdsynthetic"), f"the further session of {subject}"
    mask = checked_mask(mask, reader.shape_of_session(files), space, name.capitalize(), files)
    betas = np.empty((len(order), np.count_nonzero(mask)), np.float32)
    parts = reader.read_session(files, len(order), mask, betas)
    RecordedTrials(betas).add(parts, order, name)
    return average_repeats(zscore(betas, None, np.ones(len(order), bool)), order)
