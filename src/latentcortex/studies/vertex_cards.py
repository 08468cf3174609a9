"""Describe what each vertex of a subject prefers: its receptive field, best images and words."""

import numpy as np

from latentcortex import encoding, metrics, nsd

WIDTH = 8.4  # of NSD's pictures, in degrees
N_CELLS = 16  # along each side of the maps that receptive fields are looked for in
N_BEST = 10
CARD_SIZE = 64  # pixels of the images on cards
N_AT_A_TIME = 128  # images of NSD take 2.2 MB each
LOWEST_CEILING = 0.05  # in R2
# A word counts if so many of the training images have it in a caption, and no more than half of them.
LEAST_IMAGES = 30
# They say how a caption is built, not what is in the image.
SMALL_WORDS = {"a", "after", "an", "and", "at", "before", "below", "between", "by", "front", "in", "inside"}
SMALL_WORDS |= {"near", "next", "of", "on", "row", "the", "to", "with"}


def channels(images):
    """Return contrasts and colours of images (n, 3, h, w) as maps (n, n_channels, N_CELLS, N_CELLS)."""
    parts = metrics.gabor_energy(images, n_cells=N_CELLS), metrics.colour_means(images, n_cells=N_CELLS)
    return np.concatenate([of.reshape(len(images), -1, N_CELLS, N_CELLS) for of in parts], axis=1)


def channels_of(root, image_ids):
    """Return the `channels` of images at their stored size; few images are in memory at a time."""
    parts = np.split(image_ids, range(N_AT_A_TIME, len(image_ids), N_AT_A_TIME))
    return np.concatenate([channels(nsd.images(root, part)) for part in parts])


def answers_to_words(captions, betas):
    """Return the words of captions, and the mean response to the images with each word.

    Parameters
    ----------
    captions : list of lists of str, n_images
    betas : array (n_images, n_vertices)

    Returns
    -------
    words : list of str
        Words in alphabetical order. Each occurs for at least LEAST_IMAGES images and at most half of all
        images. SMALL_WORDS are left out.
    answers : array (n_vertices, n_words)
        Mean responses in the unit of `betas`.
    """
    texts = [set(" ".join(five).lower().split()) for five in captions]
    there = {word: np.array([word in text for text in texts]) for word in sorted(set.union(*texts))}
    counted = {w: rows for w, rows in there.items() if LEAST_IMAGES <= rows.sum() <= len(texts) / 2}
    words = [word for word in counted if word not in SMALL_WORDS]
    if not words:
        return [], np.empty((betas.shape[1], 0))
    return words, np.stack([betas[counted[word]].mean(axis=0) for word in words], axis=1)


def describe(study, subject, areas):
    """Return the arguments of `plotting.VertexCards` for a subject's vertices, by name.

    All vertices of visual cortex with a noise ceiling of at least LOWEST_CEILING have a card. Receptive
    fields are fitted to the training images, and `field_r` is their correlation on test images. The best
    images are the training images with the largest measured mean response. The words come from captions of
    training images.

    Parameters
    ----------
    study : Study
    subject : str
    areas : dict of str to bool array (n_vertices,)
        Areas. In each, the vertex with the highest ceiling becomes an example, unless no vertex has a card.

    Returns
    -------
    dict
    """
    root, space = study.root, study.preset.space
    visual = nsd.roi_mask(root, "nsdgeneral", "nsdgeneral", space, subject)
    train, test = nsd.image_responses(root, subject, space, study.preset.sessions, visual)
    ceiling = nsd.noise_ceiling(nsd.ncsnr(root, subject, space)[visual], test[2])
    asked = ceiling >= LOWEST_CEILING
    vertices = np.flatnonzero(visual)[asked]
    betas = train[0][:, asked]
    encoder = encoding.ReceptiveFieldEncoder(encoding.candidate_fields(WIDTH), WIDTH)
    encoder.fit(channels_of(root, train[1]), betas, *train[1:])
    predicted = encoder.predict(channels_of(root, test[1]), test[1])
    captions = nsd.captions(root, train[1])
    words, answers = answers_to_words(captions, betas)
    examples = {}
    for name, mask in areas.items():
        inside = np.flatnonzero(mask[vertices])
        if inside.size:
            examples[name] = int(vertices[inside[ceiling[asked][inside].argmax()]])
    return {
        "vertices": vertices,
        "fields": np.stack([encoder.x_, encoder.y_, encoder.size_], axis=1),
        "field_r": encoding.correlation(predicted, test[0][:, asked], test[1]),
        "width": WIDTH,
        "images": nsd.images(root, train[1], CARD_SIZE),
        "descriptions": [max(of, key=len) for of in captions],
        "best": np.argsort(-betas, axis=0, kind="stable")[:N_BEST].T,
        "words": words,
        "answers": answers,
        "examples": examples,
    }
