"""Read the responses of a subject once per process."""

import functools
from dataclasses import dataclass

import numpy as np
import pandas as pd

from latentcortex import nsd
from latentcortex.store import rows_of

VISUAL_CORTEX = ("nsdgeneral", ("nsdgeneral",))
SEED_OF_SUBSAMPLES = (5, 2)


def streams(*names):
    """Return a region of the atlas ``streams`` in the form that `Responses` takes."""
    return "streams", tuple(names)


def matched_voxels(sizes, number=0):
    """Return random voxels of each region, as many as the smallest region has.

    Parameters
    ----------
    sizes : dict of str to int
        Number of voxels of each region. The order of the regions determines which voxels are drawn.
    number : int
        Number of the subsample. Another number draws other voxels.

    Returns
    -------
    dict of str to int array (n_voxels,)
        Columns within the region, in ascending order.
    """
    n = min(sizes.values())
    rngs = [np.random.default_rng([*SEED_OF_SUBSAMPLES, number, k]) for k in range(len(sizes))]
    pairs = zip(sizes.items(), rngs, strict=True)
    return {name: np.sort(rng.choice(size, n, replace=False)) for (name, size), rng in pairs}


@dataclass(frozen=True)
class Responses:
    """Hold single trials of a subject, z-scored session by session with statistics of training trials.

    Attributes
    ----------
    table : pandas.DataFrame
        The table of `nsd.trials`.
    betas : float32 array (n_trials, n_read)
        Betas of the voxels that were read.
    root, subject, space : see `nsd.betas`
    voxels : bool array
        Mask of the voxels of the space that were read.
    """

    table: pd.DataFrame
    betas: np.ndarray
    root: str
    subject: str
    space: str
    voxels: np.ndarray

    @property
    def image_ids(self):
        """Return the image of each trial (n_trials,)."""
        return self.table["image_id"].to_numpy()

    def mask(self, region):
        """Return a mask (n_read,) of the voxels of a region, (atlas, names), among all that were read."""
        atlas, names = region
        return nsd.roi_mask(self.root, atlas, list(names), self.space, self.subject)[self.voxels]

    def single(self, region):
        """Return the betas (n_trials, n_voxels) of single trials of a region."""
        return np.ascontiguousarray(self.betas[:, self.mask(region)])

    def averages(self, region):
        """Return training and test averages of one region, as in `nsd.image_responses`.

        The result is two tuples of betas (n_images, n_voxels), image_ids and n_repeats.
        """
        shared = self.table["shared"].to_numpy()
        betas = self.single(region)
        return tuple(nsd.average_repeats(betas[rows], self.image_ids[rows]) for rows in (~shared, shared))

    def showings(self, region, which, image_ids):
        """Return averages over some repeats of images.

        Parameters
        ----------
        region : (str, tuple of str)
        which : {"all", "first", "others", "two", "third"}
            All repeats, only the first, or all but the first. ``"two"`` and ``"third"`` are the first two and
            the third repeat of images that were shown three times.
        image_ids : int array (n,)

        Returns
        -------
        betas : float32 array (n, n_voxels)
            NaN for an image without such repeats.
        """
        number = self.table.groupby("image_id").cumcount().to_numpy()
        thrice = np.isin(self.image_ids, self.image_ids[number == 2])
        rows = {
            "all": number >= 0,
            "first": number == 0,
            "others": number > 0,
            "two": thrice & (number < 2),
            "third": thrice & (number == 2),
        }[which] & np.isin(self.image_ids, image_ids)
        betas = self.single(region)
        found = np.full((len(image_ids), betas.shape[1]), np.nan, np.float32)
        if rows.any():
            averages, shown, _ = nsd.average_repeats(betas[rows], self.image_ids[rows])
            found[rows_of(image_ids, shown)] = averages
        return found


@functools.lru_cache(maxsize=8)  # subjects of a study; one of NSD on fsaverage takes about 5 GB
def read(root, subject, space, sessions=None):
    """Return the `Responses` of a subject in all of visual cortex and all streams, see `nsd.scaled_betas`."""
    masks = [nsd.roi_mask(root, *VISUAL_CORTEX, space, subject), nsd.roi(root, "streams", space, subject) > 0]
    voxels = np.any(masks, axis=0)
    table, betas = nsd.scaled_betas(root, subject, space, sessions, voxels)
    return Responses(table, betas, root, subject, space, voxels)
