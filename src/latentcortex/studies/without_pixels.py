"""What a study can use of its images: z, c and g, or without pixels c and the features that were published.

The published features are one vector for each image, of a larger network than the one that g1 to g6 come
from (LAION-fMRI's CLIP is OpenCLIP's ViT-H/14). So they are called ``"g"``. They can stand where g stands,
but their scores are not those of g1 to g6.
"""

import numpy as np
import torch

from latentcortex import features, metrics, nsd
from latentcortex.nsd.chapters import PUBLISHED_MODEL as MODEL
from latentcortex.nsd.stimuli import NO_IMAGES
from latentcortex.studies import image_splits
from latentcortex.studies import targets as with_pixels

PUBLISHED = "g"


def has_pixels(study):
    """Return whether the tree of a study has images; a tree that `nsd.write_tree` wrote may have none."""
    return not (study.root / NO_IMAGES).is_file()


def target_names(study):
    """Return the names of the targets that a study's tree allows, as a tuple.

    These are z, c and g1 to g6. A tree without images has c and, if features were published, `PUBLISHED`.
    """
    if has_pixels(study):
        return tuple(name for names, _ in with_pixels.KINDS.values() for name in names)
    return ("c", *(PUBLISHED for model in nsd.published_models(study.root) if model == MODEL))


def pair(study):
    """Return the two targets that chapters compare: z and c, or g and c where there are no pixels.

    Without pixels a line is printed that says so.
    """
    if has_pixels(study):
        return "z", "c"
    print(f"There are no images here. The published features {PUBLISHED} of {MODEL} stand where z stands.")
    return PUBLISHED, "c"


def targets(study, names, image_ids):
    """Return true features of images, as `targets.targets` does, and published ones under `PUBLISHED`.

    Parameters
    ----------
    study : Study
    names : sequence of str
        Of `target_names`.
    image_ids : int array (n,)

    Returns
    -------
    dict of str to float32 tensor (n, ...)

    Raises
    ------
    FileNotFoundError
        The tree has no images, or no published features.
    """
    computed = [name for name in names if name != PUBLISHED]
    found = with_pixels.targets(study, computed, image_ids) if computed else {}
    if PUBLISHED in names:
        found[PUBLISHED] = torch.from_numpy(nsd.published_features(study.root, MODEL, image_ids))
    return {name: found[name] for name in names}


def splits_of(study, subject):
    """Return what `image_splits.splits_of` returns; without pixels the published split alone, no kinds."""
    if has_pixels(study):
        return image_splits.splits_of(study, subject)
    return {image_splits.PUBLISHED: nsd.Split(*nsd.split(study.tables[subject]), "nsd", None)}, None


def features_of(study, split):
    """Return what `image_splits.features_of` returns; without pixels of g and c.

    Parameters
    ----------
    study : Study
    split : nsd.Split
        Of `splits_of`.

    Returns
    -------
    values : dict of str to float32 array (n_images, n_features)
        Features of training images, then test images, in the order of the split.
    is_train : bool array (n_images,)
    """
    if has_pixels(study):
        return image_splits.features_of(study, split)
    ids = np.concatenate([split.train_ids, split.test_ids])
    is_train = np.arange(len(ids)) < len(split.train_ids)
    found = targets(study, (PUBLISHED, "c"), ids)
    return {name: of.flatten(1).numpy() for name, of in found.items()}, is_train


@torch.no_grad()
def caption_agreement(study, image_ids):
    """Return how often an image is identified among the others when one person's caption stands for all.

    c of the first caption is compared with c of the other captions, whose mean over images is taken off. It
    says how far people agree on what an image shows. That is a yardstick for decoders of c, and no bound,
    because a decoder is compared with the mean over several people.

    Parameters
    ----------
    study : Study
    image_ids : int array (n,)
        Each once.

    Returns
    -------
    float array (n,)
        From 0 to 1, by `metrics.identification` of two; chance is 0.5. NaN for an image with one caption.

    Raises
    ------
    ValueError
        Fewer than two images have several captions.
    """
    captions, model = nsd.captions(study.root, image_ids), study.model
    several = np.array([len(texts) > 1 for texts in captions])
    if several.sum() < 2:
        raise ValueError(
            f"{several.sum()} of {len(captions)} images have several captions, at least two are needed."
        )
    one, others = (
        features.encode_captions(model.text_encoder, model.tokenizer, texts).float().cpu().flatten(1).numpy()
        for texts in zip(*((of[:1], of[1:]) for of in captions if len(of) > 1), strict=True)
    )
    mean, scores = others.mean(axis=0), np.full(len(captions), np.nan)
    scores[several] = metrics.identification(others - mean, one - mean)
    return scores
