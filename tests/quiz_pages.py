"""What the tests of the quizzes share: made-up pictures, and a page of each quiz."""

import json

import numpy as np
from viewer_pages import Elements

from latentcortex import plotting

N, POOL, WAYS = 6, 9, (2, 4, 9)
ANSWERS = np.array([8, 0, 3, 3, 5, 1])
WORDS = {"title": "Which was <seen>?", "alt": "A made-up picture"}


def pictures(n, seed=0, size=32):
    """Pictures of even patches, which WebP keeps, no two alike: (n, 3, size, size)."""
    coarse = np.random.default_rng(seed).random((n, 3, 4, 4))
    return coarse.repeat(size // 4, axis=2).repeat(size // 4, axis=3)


def similar(seed=1):
    return np.random.default_rng(seed).normal(size=(N, POOL))


def which(**changes):
    given = {"reconstructions": pictures(N), "candidates": pictures(POOL, 5), "answers": ANSWERS}
    given |= {"rivals": {"the <judge>": similar()}, "rng": np.random.default_rng(3), "n_ways": WAYS, **WORDS}
    return plotting.identification_quiz(**(given | changes)).data


def brain(**changes):
    given = {"pictures": pictures(4), "originals": pictures(4, 2), "title": "Brain?", "alt": "A scene"}
    given |= {"needed_brain": np.array([True, False, False, True]), "names": ("decoded", "made up")}
    given |= {"identified": np.array([1.0, 0.25, 0.75, 0.8])}
    return plotting.brain_quiz(**(given | changes)).data


def setup_of(page):
    return json.loads(Elements(page).of("div")[0]["data-setup"])
