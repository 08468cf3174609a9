"""Ask `open_brains.Brains` what each region tells of images, how far it repeats, and what a leak brings."""

import numpy as np
import pandas as pd
import torch

from latentcortex import features, metrics, nsd
from latentcortex.decoders import LinearDecoder
from latentcortex.studies import decoding
from latentcortex.studies.open_brains import TARGETS, study_networks
from latentcortex.studies.responses import VISUAL_CORTEX, matched_voxels

SEED = 15
EARLY = "EarlyVis"
N_LEAKED = 113  # images whose other showings are put into the training, at most
# The sign that is expected of each difference, written before any real data were read.
EXPECTED = {
    "z, EarlyVis minus the others": +1,
    "c, the others minus EarlyVis": +1,
    "z minus c, EarlyVis minus the others": +1,
    "c in the weakest region, minus chance": +1,
    "c, similar images minus all": -1,
    "ceiling, EarlyVis minus the others": +1,
    "c, training with repeats minus without": +1,
}


def identify(brains):
    """Return how well each region tells held-out images from each other, by each target.

    Ridge from as many voxels of each region as the smallest has (one draw) to each of `TARGETS`. Training and
    test are averages over an image's showings; the test images are the repeated ones.

    Parameters
    ----------
    brains : Brains

    Returns
    -------
    pandas.DataFrame
        One row for each subject, region, target and test image. ``all`` is the two-way identification among
        all test images, ``similar`` the one among those of the same group (`Brains.groups`).
    """
    tables = []
    for subject in brains.study.subjects:
        read = decoding.read(brains.study, subject)
        drawn = matched_voxels({name: int(read.mask(of).sum()) for name, of in brains.regions.items()})
        for region, of in brains.regions.items():
            (betas, ids, _), (test_betas, test_ids, _) = read.averages(of)
            betas, ids = betas[: brains.n_train, drawn[region]], ids[: brains.n_train]
            for target in TARGETS:
                true = brains.features(target, ids)
                decoder = LinearDecoder(cv="gcv", device=brains.study.preset.device).fit(betas, true, ids)
                found = decoder.predict(test_betas[:, drawn[region]], image_ids=test_ids)
                scores = _identified(brains, target, test_ids, found, true.mean(0))
                tables.append(scores.assign(subject=subject, region=region, target=target))
    return pd.concat(tables, ignore_index=True)


def _identified(brains, target, image_ids, found, mean):
    """Return the identification of decoded features of images, after the mean of training is subtracted."""
    pair = brains.features(target, image_ids) - mean, found - mean
    groups = brains.groups(image_ids)
    told = pd.DataFrame({"image_id": image_ids, "all": metrics.identification(*pair), "similar": np.nan})
    rows = np.bincount(groups)[groups] > 1  # an image alone in its group has nothing to be told from
    told.loc[rows, "similar"] = metrics.identification(
        *(of[rows] for of in pair), groups=pd.factorize(groups[rows])[0]
    )
    return told


def ceilings(brains):
    """Return the share of variance that any model could explain, from the repeated images alone.

    Returns
    -------
    pandas.DataFrame
        One row for each subject and region: ``ceiling``, the mean over voxels of the share that repeats in
        the mean over all showings (`nsd.noise_ceiling`), and ``n_showings``, the mean number of showings.
    """
    rows = []
    for subject in brains.study.subjects:
        read = decoding.read(brains.study, subject)
        shared = read.table["shared"].to_numpy()
        counts = np.unique(read.image_ids[shared], return_counts=True)[1]
        for region, of in brains.regions.items():
            ratio = nsd.estimate_ncsnr(read.single(of)[shared], read.image_ids[shared])
            rows.append([subject, region, nsd.noise_ceiling(ratio, counts).mean(), counts.mean()])
    return pd.DataFrame(rows, columns=["subject", "region", "ceiling", "n_showings"])


def leak_of_repeats(brains, targets=TARGETS):
    """Return what a decoder gains if other showings of the test images are in its training.

    The last showing of up to `N_LEAKED` repeated images tests. One decoder learns from images of its own. The
    other learns from as many rows, but some of these are earlier showings of the test images. No such row
    averages more showings than most training images have, so it holds no less noise. All voxels.

    Returns
    -------
    pandas.DataFrame
        One row for each subject, target and test image, with the two-way identification ``without`` and
        ``with`` repeats in the training.
    """
    tables = []
    for number, subject in enumerate(brains.study.subjects):
        rng = np.random.default_rng([SEED, number])
        betas, ids, earlier, earlier_ids, last = _showings(decoding.read(brains.study, subject), rng)
        betas, ids = betas[: brains.n_train], ids[: brains.n_train]
        kept = np.sort(rng.permutation(len(ids))[len(earlier_ids) :])
        ways = {
            "without": (betas, ids),
            "with": (np.concatenate([betas[kept], earlier]), np.concatenate([ids[kept], earlier_ids])),
        }
        for target in targets:
            scores = pd.DataFrame({"subject": subject, "target": target, "image_id": earlier_ids})
            mean = brains.features(target, ids).mean(0)
            for way, (x, known) in ways.items():
                decoder = LinearDecoder(cv="gcv", device=brains.study.preset.device)
                # Without image_ids: given them, predict would refuse what it has learned from.
                found = decoder.fit(x, brains.features(target, known), known).predict(last)
                scores[way] = _identified(brains, target, earlier_ids, found, mean)["all"]
            tables.append(scores)
    return pd.concat(tables, ignore_index=True)


def _showings(read, rng):
    """Return averages and ids of training images, those of earlier showings of test images, and the last."""
    (betas, ids, n_showings), _ = read.averages(VISUAL_CORTEX)
    single, shared = read.single(VISUAL_CORTEX), read.table["shared"].to_numpy()
    shown = read.table.groupby("image_id")
    is_last = shown.cumcount(ascending=False).to_numpy() == 0
    repeated = np.unique(read.image_ids[shared & ~is_last])
    repeated = np.sort(rng.permutation(repeated)[:N_LEAKED])
    chosen = np.isin(read.image_ids, repeated)
    is_earlier = chosen & ~is_last & (shown.cumcount() < np.floor(np.median(n_showings))).to_numpy()
    earlier, earlier_ids, _ = nsd.average_repeats(single[is_earlier], read.image_ids[is_earlier])
    last = nsd.average_repeats(single[chosen & is_last], read.image_ids[chosen & is_last])[0]
    return betas, ids, earlier, earlier_ids, last


def claims(identified, ceiling, leak):
    """Return each difference of `EXPECTED` in each subject.

    Parameters
    ----------
    identified, ceiling, leak : pandas.DataFrame
        Of `identify`, `ceilings` and `leak_of_repeats`.

    Returns
    -------
    pandas.DataFrame
        Index: the claims; columns: the subjects.
    """
    by_region, z, c = means(identified), *(lead(identified, target) for target in ("z", "c"))
    gain = leak[leak["target"] == "c"].groupby("subject")[["with", "without"]].mean()
    found = [
        z,
        -c,
        z - c,
        by_region.loc["c"].min() - 0.5,
        (means(identified, "similar") - by_region).loc["c"].mean(),
        _ahead(ceiling.set_index(["region", "subject"])["ceiling"].unstack("subject")),
        gain["with"] - gain["without"],
    ]
    return pd.DataFrame(dict(zip(EXPECTED, found, strict=True))).T


def means(identified, among="all"):
    """Return the mean of `identify` over images: index target and region, columns subjects."""
    return identified.groupby(["target", "region", "subject"], sort=False)[among].mean().unstack("subject")


def lead(identified, target):
    """Return by how much a target is identified better from EarlyVis than from the others, by subject."""
    return _ahead(means(identified).loc[target])


def _ahead(scores):
    return scores.loc[EARLY] - scores.drop(EARLY).mean()


def summary(of_claims):
    """Return a table of `claims` for readers: the mean with its t interval, and subjects of the right sign.

    Returns
    -------
    pandas.DataFrame
        Index: the claims. Columns: ``mean [95 %]`` and ``as expected``, as text.
    """
    rows = {}
    for claim, values in of_claims.iterrows():
        interval = f"{metrics.t_interval(values.to_numpy(float)):+z.2f}".replace("-", "−")
        n_right = int((np.sign(values) == EXPECTED[claim]).sum())
        rows[claim] = [interval, f"{n_right} of {len(values)}"]
    return pd.DataFrame(rows, ["mean [95 %]", "as expected"]).T


def pictures(brains, n=6):
    """Return what the first subject saw and what the early region tells of it through z.

    Predictions are stretched to the spread of z by validation images, see `LinearDecoder.fit_rescaling`.

    Parameters
    ----------
    brains : Brains
    n : int
        Test images, drawn at random by a seed.

    Returns
    -------
    seen, decoded : tensors (n, 3, h, w) in [0, 1]
    """
    study, subject = brains.study, brains.study.subjects[0]
    (betas, ids, _), (test_betas, test_ids, _) = decoding.read(study, subject).averages(brains.regions[EARLY])
    betas, ids = betas[: brains.n_train], ids[: brains.n_train]
    rows = np.sort(np.random.default_rng(SEED).choice(len(test_ids), n, replace=False))
    fits = np.isin(
        ids, nsd.validation_split(ids, min(100, len(ids) // 4), rng=np.random.default_rng(SEED))[0]
    )
    z = brains.features("z", ids)
    decoder = LinearDecoder(cv="gcv", device=study.preset.device).fit(betas[fits], z[fits], ids[fits])
    decoder.fit_rescaling(betas[~fits], z[~fits], ids[~fits])
    found = decoder.predict(test_betas[rows], rescale=True, image_ids=test_ids[rows])
    latents = torch.from_numpy(found).reshape(n, *study.preset.latent_shape)
    drawn = features.decode_latents(study_networks(study)["tiny"], latents).clamp(0, 1)
    return torch.from_numpy(nsd.images(study.root, test_ids[rows], study.preset.image_size)), drawn
