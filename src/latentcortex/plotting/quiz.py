"""Make quizzes about pictures, for static and live pages."""

import html
import json
from pathlib import Path

import numpy as np
from IPython.display import HTML

from .checks import check_texts
from .images import as_picture, checked_images, data_address, unmasked

FOLDER = Path(__file__).parent
QUALITY = 90
"""Of the WebP files in which pictures travel with a page, out of 100."""
N_STILL = 5
"""How many pictures stand where no script runs, at most."""


def identification_quiz(
    reconstructions, candidates, answers, rivals, *, rng, title, alt, n_ways=(2, 5, 20), descriptions=None
):
    """Return a quiz in which readers find the image that belongs to a reconstruction.

    A reader picks a candidate by mouse, finger or keyboard and sees at once which candidate was correct. A
    running score with Wilson's 95 % interval is shown next to chance and the scores of rivals, who answer the
    same questions. Each reconstruction is asked about once. The number of candidates increases after equal
    shares of the reconstructions, until the reader chooses a number.

    The quiz works in a static page, in JupyterLab and in Colab, and requests nothing from the network.
    Without scripts the first question is shown as pictures.

    Parameters
    ----------
    reconstructions : array (n_reconstructions, 3, h, w), in [0, 1]
        In the order in which they are asked about.
    candidates : array (n_candidates, 3, h, w), in [0, 1]
        All images that may be offered. No two of them may be equal.
    answers : int array (n_reconstructions,)
        The row in `candidates` of the correct image for each reconstruction.
    rivals : dict of str to float array (n_reconstructions, n_candidates)
        For each rival, such as ``"the network"``, the similarity of each reconstruction to each candidate, in
        any unit. A rival picks the most similar candidate on offer. Ties are broken by `rng`.
    rng : numpy.random.Generator
        Draws which candidates are offered, and their order.
    title : str
    alt : str
        What the reconstructions are, for readers who cannot see them.
    n_ways : sequence of int
        The numbers of candidates to choose from, in increasing order, each from 2 to `n_candidates`.
    descriptions : pair of sequences of str, optional
        What each reconstruction and each candidate shows, in words, for readers who cannot see them.

    Returns
    -------
    IPython.display.HTML

    Raises
    ------
    ValueError
        If pictures are outside [0, 1] or of another shape, if candidates are equal, or if an answer is not
        among the candidates. Also if similarities have another shape or are not finite, or if a number of
        candidates cannot be offered. Also if a text is missing, if the number of descriptions is wrong, or if
        `rng` is not a generator.
    """
    drawn = checked_images(reconstructions, "reconstructions")
    pool = checked_images(candidates, "candidates")
    check_texts({"title": title, "alt": alt})
    if not isinstance(rng, np.random.Generator):
        raise ValueError(f"rng: expected a numpy.random.Generator, got {rng!r}.")
    if len(np.unique(pool.reshape(len(pool), -1), axis=0)) < len(pool):
        raise ValueError("candidates: two of them are equal, so that nobody could tell which was meant.")
    check_texts({f"the name {name!r} of a rival": name for name in rivals})
    answers = _checked_answers(answers, len(drawn), len(pool))
    n_ways = _checked_ways(n_ways, len(pool))
    of_drawn, of_pool = _checked_descriptions(descriptions, len(drawn), len(pool))
    offered = offered_candidates(answers, len(pool), n_ways, rng)
    picks = {name: _picked(name, values, offered, len(pool), rng) for name, values in rivals.items()}
    used, rows = np.unique(np.concatenate([of.ravel() for of in offered.values()]), return_inverse=True)
    ends = np.cumsum([of.size for of in offered.values()])
    places = [
        row.reshape(of.shape)
        for row, of in zip(np.split(rows.ravel(), ends[:-1]), offered.values(), strict=True)
    ]
    setup = {
        "kind": "identification",
        "pictures": _files(drawn),
        "pool": _files(pool[used]),
        "alt": alt,
        "of_pictures": of_drawn,
        "of_pool": [of_pool[k] for k in used] if of_pool else [],
        "n_ways": n_ways,
        "offered": [of.tolist() for of in places],
        "right": [(of == answers[:, None]).argmax(1).tolist() for of in offered.values()],
        "rivals": [{"name": name, "picks": of} for name, of in picks.items()],
    }
    middle = offered[n_ways[min(1, len(n_ways) - 1)]][0][:N_STILL]
    still = np.concatenate([drawn[:1], pool[middle]]) if drawn.shape[1:] == pool.shape[1:] else drawn[:1]
    words = f"{alt}, next to {len(still) - 1} of the images it may be of" if len(still) > 1 else alt
    return _page(title, setup, still, words)


def brain_quiz(pictures, needed_brain, originals, identified, *, title, alt, names):
    """Return a quiz in which readers say whether each picture needed a brain.

    The label is hidden until a reader has chosen. The end shows the score with Wilson's 95 % interval and all
    pictures next to the images that were seen. It also shows how often each kind of picture leads to the
    image that was seen.

    Parameters
    ----------
    pictures : array (n, 3, h, w), in [0, 1]
        In the order in which they are asked about.
    needed_brain : bool array (n,)
        True for pictures that needed a brain. Both kinds must occur.
    originals : array (n, 3, h, w), in [0, 1]
        The image that was seen, or the image that a picture without a brain is compared with.
    identified : float array (n,), in [0, 1]
        Share of pairs in which a network identifies each picture's original. See
        `latentcortex.metrics.identification`.
    title : str
    alt : str
        What the pictures are, for readers who do not see them.
    names : pair of str
        How pictures that needed a brain were made, and how pictures that needed none were made, such as
        ``"drawn from decoded features"``.

    Returns
    -------
    IPython.display.HTML

    Raises
    ------
    ValueError
        If pictures are outside [0, 1] or of another shape, if labels are not boolean or all equal, or if
        identification is outside [0, 1]. Also if arrays have different lengths, or if a text is missing.
    """
    pictures, originals = checked_images(pictures, "pictures"), checked_images(originals, "originals")
    needed, found = unmasked(needed_brain, "needed_brain"), unmasked(identified, "identified")
    n = len(pictures)
    if needed.dtype != bool or needed.shape != (n,) or needed.all() or not needed.any():
        raise ValueError(
            f"needed_brain: expected {n} booleans, one per picture, and both kinds among them; got "
            f"{needed.dtype} of the shape {needed.shape} with {int(needed.sum())} that are true."
        )
    if len(originals) != n:
        raise ValueError(f"originals: expected {n} images, one per picture; got {len(originals)}.")
    if found.shape != (n,) or not ((found >= 0) & (found <= 1)).all():
        raise ValueError(f"identified: expected {n} numbers in [0, 1], one per picture; got {found!r}.")
    if isinstance(names, str) or len(names) != 2:
        raise ValueError(f"names: expected two texts, with a brain and without; got {names!r}.")
    check_texts({"title": title, "alt": alt, "names[0]": names[0], "names[1]": names[1]})
    setup = {
        "kind": "brain",
        "pictures": _files(pictures),
        "originals": _files(originals),
        "alt": alt,
        "needed": needed.tolist(),
        "names": list(names),
        "identified": [float(found[needed].mean()), float(found[~needed].mean())],
    }
    return _page(title, setup, pictures[:N_STILL], alt)


def offered_candidates(answers, n_candidates, n_ways, rng):
    """Return which candidates are offered with each reconstruction.

    A longer list contains all candidates of a shorter list, so more candidates are never easier.

    Parameters
    ----------
    answers : int array (n,)
        Rows of the correct candidates.
    n_candidates : int
    n_ways : sequence of int
        Numbers from 2 to `n_candidates`.
    rng : numpy.random.Generator

    Returns
    -------
    dict of int to int array (n, n_way)
        Rows of the candidates, by their number. The correct one is at a random place.
    """
    offered = {n_way: [] for n_way in n_ways}
    for answer in answers:
        others = rng.choice(np.delete(np.arange(n_candidates), answer), max(n_ways) - 1, replace=False)
        for n_way, rows in offered.items():
            rows.append(rng.permutation([answer, *others[: n_way - 1]]))
    return {n_way: np.array(rows) for n_way, rows in offered.items()}


def _picked(name, similarities, offered, n_candidates, rng):
    """Return the places that a rival picks, a list for each number of candidates."""
    values = unmasked(similarities, name)
    n = len(next(iter(offered.values())))
    if values.shape != (n, n_candidates):
        raise ValueError(
            f"rivals, {name}: expected similarities of the shape (n_reconstructions, n_candidates), "
            f"{(n, n_candidates)}; got {values.shape}."
        )
    if not np.isfinite(values).all():
        raise ValueError(f"rivals, {name}: expected finite similarities, got NaN or infinity.")
    picks = []
    for rows in offered.values():
        of_rows = np.take_along_axis(values, rows, axis=1)
        best = of_rows == of_rows.max(axis=1, keepdims=True)
        # One of those that share the first place, each with the same chance.
        picks.append(np.where(best, rng.random(best.shape), -1).argmax(1).tolist())
    return picks


def _checked_answers(answers, n, n_candidates):
    """Return answers as an array (n,) of rows, or say what is wrong with them."""
    answers = unmasked(answers, "answers")
    if answers.shape != (n,) or answers.dtype.kind not in "iu":
        raise ValueError(
            f"answers: expected {n} whole numbers, one per reconstruction; got {answers.dtype} of the shape "
            f"{answers.shape}."
        )
    outside = answers[(answers < 0) | (answers >= n_candidates)]
    if outside.size:
        raise ValueError(
            f"answers: expected rows of the candidates, from 0 to {n_candidates - 1}; {outside[0]} is not "
            "among them."
        )
    return answers


def _checked_ways(n_ways, n_candidates):
    """Return the numbers of candidates as a list, or say what is wrong with them."""
    given = list(np.atleast_1d(n_ways))
    whole = all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) for n in given)
    if not given or not whole or given != sorted(set(given)) or given[0] < 2 or given[-1] > n_candidates:
        raise ValueError(
            f"n_ways: expected increasing whole numbers from 2 to {n_candidates}, the number of candidates; "
            f"got {given}."
        )
    return [int(n) for n in given]


def _checked_descriptions(descriptions, *lengths):
    """Return two lists of texts, empty ones where there are none, or say what is wrong with them."""
    if descriptions is None:
        return [], []
    found = tuple(0 if texts is None else len(texts) for texts in descriptions)
    if found != lengths:
        raise ValueError(
            f"descriptions: expected {lengths[0]} of reconstructions and {lengths[1]} of candidates; "
            f"got {found}."
        )
    return tuple([str(text) for text in texts] for texts in descriptions)


def _files(images):
    """Return images (n, 3, h, w) as data addresses of WebP files."""
    pictures = map(as_picture, images.transpose(0, 2, 3, 1))
    return [data_address(picture, "WEBP", quality=QUALITY, method=6) for picture in pictures]


def _page(title, setup, still, still_alt):
    """Write the quiz: pictures for readers without scripts, and what replaces them."""
    # A white gap of 4 pixels after each picture but the last: (3, h, width of the strip).
    strip = np.pad(still, ((0, 0), (0, 0), (0, 0), (0, 4)), constant_values=1)
    strip = strip.transpose(1, 2, 0, 3).reshape(1, 3, still.shape[2], -1)[..., :-4]
    script = "\n".join((FOLDER / name).read_text("utf-8") for name in ("quiz_kinds.js", "quiz.js"))
    title = html.escape(title)
    return HTML(
        f'<div class="latentcortex-quiz" role="group" aria-label="{title}" '
        f'data-setup="{html.escape(json.dumps(setup))}">'
        f"<style>{(FOLDER / 'quiz.css').read_text('utf-8')}</style>"
        f'<div class="lcq-title">{title}</div>'
        f'<img class="lcq-still dark-light" alt="{html.escape(still_alt)}" src="{_files(strip)[0]}">'
        "<noscript><p>With scripts switched on, this is a quiz; in JupyterLab, once the notebook is trusted "
        'or the cell is run.</p></noscript><p class="lcq-problem" hidden></p>'
        '<div class="lcq-live"></div></div>'
        f"<script>(() => {{\n'use strict';\n{script}\n}})();</script>"
    )
