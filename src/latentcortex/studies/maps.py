"""Score many feature sets at every vertex, in several simulated worlds at once.

Worlds with the same seed have the same images and trials. So one set of features is fitted to the responses
of all these worlds together. Measured data are a single world.
"""

import functools
from dataclasses import dataclass

import numpy as np

from latentcortex import encoding, nsd
from latentcortex.studies.study import open_study

# Of every feature set that has so many. Chosen for z and c on training images of one subject by generalised
# cross-validation, from 6 to 400: the score rises up to here and stays flat after.
N_COMPONENTS = 200
N_IN_BLOCK = 25_000  # vertices; 27,750 trials of them take 2.8 GB, and as much again while they are scaled
N_THINNED = 5_000  # vertices; 27,750 trials of them take 0.6 GB, and estimates of ceilings ten times as much
LOWEST_CEILING = 0.05  # in R2: vertices that a region's mean is taken over
SEED_OF_DRAWS = 18
N_DRAWS = 200  # of test images
AREAS = {
    "V1": ("prf-visualrois", ("V1v", "V1d")),
    "V2": ("prf-visualrois", ("V2v", "V2d")),
    "V3": ("prf-visualrois", ("V3v", "V3d")),
    "hV4": ("prf-visualrois", ("hV4",)),
    "ventral": ("streams", ("ventral",)),
    "lateral": ("streams", ("lateral",)),
    "parietal": ("streams", ("parietal",)),
    "faces": ("floc-faces", ("OFA", "FFA-1", "FFA-2")),
    "places": ("floc-places", ("OPA", "PPA", "RSC")),
    "bodies": ("floc-bodies", ("EBA", "FBA-1")),
}
STREAMS = {name: ("streams", (name,)) for name in ("early", "ventral", "lateral", "parietal")}


def predict(values, is_train, train, test_ids, device=None):
    """Return betas (n_test, n_vertices) that one feature set predicts for test images.

    The features are reduced to N_COMPONENTS principal components of the training images and transformed back
    to their original axes, as chapter 10 explains.

    Parameters
    ----------
    values : array (n_images, ...)
    is_train : bool array (n_images,)
        Mask of the training images, in the order of `train`. All other images are in the order of `test_ids`.
    train : tuple of (betas, image_ids, n_repeats)
    test_ids : int array (n_test,)
    device : str, optional
        Where the regression runs.
    """
    return predict_from(reduced(values, is_train), is_train, train, test_ids, device)


def reduced(values, is_train):
    """Return features (n_images, n_varying) as `predict` reduces them."""
    return encoding.low_rank(values, is_train, N_COMPONENTS)


def predict_from(features, is_train, train, test_ids, device=None):
    """Return what `predict` returns, from features that `reduced` has returned."""
    encoder = encoding.VoxelwiseEncoder(cv="gcv", device=device).fit(features[is_train], *train)
    return encoder.predict(features[~is_train], test_ids)


def each_block(study, subject):
    """Yield the responses of all of cortex, some vertices at a time, because all of NSD's take 36 GB.

    Vertices that hold NaN in some trial are left out.

    Yields
    ------
    vertices : int array (n,)
        In ascending order; at most `N_IN_BLOCK`.
    train, test : tuples of (betas, image_ids, n_repeats)
        See `nsd.image_responses`.
    """
    arguments = study.root, subject, study.preset.space, study.preset.sessions
    finite = nsd.finite_mask(*arguments)
    known = np.flatnonzero(finite)
    for start in range(0, len(known), N_IN_BLOCK):
        vertices, mask = known[start : start + N_IN_BLOCK], np.zeros_like(finite)
        mask.flat[vertices] = True
        yield vertices, *nsd.image_responses(*arguments, mask)


def cortex_mask(preset, root, subject):
    """Return a mask of all of cortex, without the vertices that hold NaN in some trial.

    Returns
    -------
    bool array (n_vertices,) or (nx, ny, nz)
        In a volume the voxels that NSD's atlas ``nsdgeneral`` does not mark as outside cortex (-1).
    """
    mask = nsd.finite_mask(root, subject, preset.space, preset.sessions)
    if mask.ndim == 3:
        mask &= nsd.roi(root, "nsdgeneral", preset.space, subject) >= 0
    return mask


def thinned(mask):
    """Return a mask with at most `N_THINNED` of a mask's vertices, the same ones on each call.

    A chapter that only looks at single trials needs no more. Those of NSD's visual cortex take 4 GB.
    """
    inside, chosen = np.flatnonzero(mask), np.zeros_like(mask)
    if len(inside) > N_THINNED:
        inside = np.random.default_rng(5_000).choice(inside, N_THINNED, replace=False)
    chosen.flat[inside] = True
    return chosen


def check_surface(study):
    """Raise ValueError unless a study's space is the surface, where maps of subjects can be stacked."""
    if study.preset.space not in ("fsaverage", "fsaverage5"):
        raise ValueError(
            f"The preset {study.preset.name!r} has the space {study.preset.space!r}, in which each subject "
            "has voxels of its own. This script stacks maps of all subjects: choose fsaverage or fsaverage5."
        )


@dataclass(frozen=True)
class Worlds:
    """Hold averaged responses of a subject in several worlds, and its regions.

    Attributes
    ----------
    image_ids : int array (n_images,)
        Training images, then test images.
    n_train : int
    train : tuple
        Betas (n_train, n_worlds x n_vertices), image ids and number of repeats.
    test_betas : array (n_test, n_worlds x n_vertices)
    ceiling : array (n_worlds, n_vertices)
        Noise ceiling of the test averages, as a share of variance.
    areas : dict of str to bool array (n_vertices,)
    device : str or None
        Where regressions run.
    """

    image_ids: np.ndarray
    n_train: int
    train: tuple
    test_betas: np.ndarray
    ceiling: np.ndarray
    areas: dict
    device: str | None = None

    @property
    def is_train(self):
        """Return a mask of the training images, bool (n_images,)."""
        return np.arange(len(self.image_ids)) < self.n_train

    def predict(self, values, n_worlds=None):
        """Return betas (n_test, n_worlds x n_vertices) of the test images predicted by one feature set.

        Parameters
        ----------
        values : array (n_images, ...)
        n_worlds : int, optional
            Number of worlds to predict, from the first on. By default all.
        """
        train = (self.train[0][:, : self.ceiling[:n_worlds].size], *self.train[1:])
        return predict(values, self.is_train, train, self.image_ids[self.n_train :], self.device)

    def correlate(self, predicted):
        """Return r of every vertex, (n_worlds, n_vertices), for the worlds that were predicted."""
        n_columns, test_ids = predicted.shape[1], self.image_ids[self.n_train :]
        r = encoding.correlation(predicted, self.test_betas[:, :n_columns], test_ids)
        return r.reshape(-1, self.ceiling.shape[1])

    def by_area(self, r):
        """Return the mean r (n_worlds, n_areas) of each area over vertices with a ceiling not near 0.

        In a world without signal no vertex has a ceiling, so the mean is over all vertices of the area.
        """
        means = np.full((len(r), len(self.areas)), np.nan)
        for world, ceiling in enumerate(self.ceiling[: len(r)]):
            asked = ceiling >= LOWEST_CEILING
            for k, mask in enumerate(self.areas.values()):
                chosen = mask & asked if (mask & asked).any() else mask
                if chosen.any():
                    means[world, k] = np.nanmean(r[world, chosen])
        return means

    def resampled(self, predicted):
        """Return r (N_DRAWS, n_vertices) of the first world over resampled test images.

        The same images are drawn for every feature set and every subject, so differences are paired.
        """
        n, rng = self.ceiling.shape[1], np.random.default_rng(SEED_OF_DRAWS)
        return encoding.bootstrap_correlation(predicted[:, :n], self.test_betas[:, :n], rng, N_DRAWS)

    def resampled_by_area(self, draws):
        """Return the means (n_areas, N_DRAWS) of `resampled` over the same vertices as in `by_area`."""
        return np.stack([self.by_area(draw[None])[0] for draw in draws], axis=-1)


def areas_of(root, space, subject, areas=None):
    """Return the masks of areas, empty for those that a data set does not draw.

    Parameters
    ----------
    root : path
    space, subject : str
        See `nsd.roi_mask`.
    areas : dict of str to (str, tuple of str), optional
        Atlas and names of regions; by default `AREAS`.

    Returns
    -------
    dict of str to bool array (n_vertices,) or (nx, ny, nz)
        In the order asked for. An area of several regions consists of those that the subject has.
    """
    found = {}
    for area, (atlas, names) in (AREAS if areas is None else areas).items():
        try:
            known = nsd.roi_names(root, atlas)
        except FileNotFoundError:  # no such atlas
            found[area] = np.zeros_like(nsd.roi(root, "nsdgeneral", space, subject), bool)
            continue
        codes = known["code"][known["name"].isin(names)]
        found[area] = np.isin(nsd.roi(root, atlas, space, subject), codes)
    return found


def drawn(masks):
    """Return the masks that mark something, and print the names of those that mark nothing."""
    empty = [name for name, mask in masks.items() if not mask.any()]
    if empty:
        print(f"Nothing is marked here as {', '.join(empty)}, so these areas are left out.")
    return {name: mask for name, mask in masks.items() if name not in empty}


@functools.lru_cache(maxsize=4)
def study_of_world(study, world, seed):
    """Return the study of a simulated world, which is built if it is missing, or of measured data."""
    if world == "measured":
        return study
    from latentcortex.mini import build

    return open_study(study.preset, build.open_tree(world, seed))


@functools.lru_cache(maxsize=2)
def read_worlds(study, worlds, seed, subject):
    """Return the responses of a subject's visual cortex in several worlds with the same images.

    Parameters
    ----------
    study : Study
    worlds : tuple of str
        Worlds of `mini.build.open_tree`, or ``("measured",)``.
    seed : int
    subject : str

    Returns
    -------
    Worlds

    Raises
    ------
    ValueError
        If the worlds show different images, or show them with different numbers of repeats.
    """
    space, read = study.preset.space, []
    for world in worlds:
        root = study_of_world(study, world, seed).root
        visual = nsd.roi_mask(root, "nsdgeneral", "nsdgeneral", space, subject)
        train, test = nsd.image_responses(root, subject, space, study.preset.sessions, visual)
        ceiling = nsd.noise_ceiling(nsd.ncsnr(root, subject, space)[visual], test[2])
        read.append((train, test, ceiling))
    (first_train, first_test, _), *others = read
    for world, (train, test, _) in zip(worlds[1:], others, strict=True):
        pairs = zip((*first_train[1:], *first_test[1:]), (*train[1:], *test[1:]), strict=True)
        if not all(np.array_equal(one, other) for one, other in pairs):
            raise ValueError(f"The world {world} shows {subject} other images than {worlds[0]}.")
    areas = {name: mask[visual] for name, mask in areas_of(root, space, subject).items()}
    return Worlds(
        np.concatenate([first_train[1], first_test[1]]),
        len(first_train[1]),
        (np.hstack([train[0] for train, _, _ in read]), *first_train[1:]),
        np.hstack([test[0] for _, test, _ in read]),
        np.stack([ceiling for _, _, ceiling in read]),
        areas,
        study.preset.device,
    )
