"""Ask what a vertex answers to when one thing in a scene changes: a further truth of the benchmark.

The planted mixture is the low-level share of a vertex's variance over ordinary images. What a vertex answers
to when one thing alone is removed, moved or recoloured can be another share. For example, a vertex whose
receptive field no thing ever enters has a low-level term that no edit moves. The causal share of a vertex is
computed from the noise-free tuned terms of the simulated cortex, so that nothing is estimated.

It is the share of the low-level term in the sum of both terms' squared changes. What the two do together, the
product of their changes, is left out of the share, but not out of ``change``.

Every edit changes low-level and semantic variables at once. So the share does not separate two kinds of edit:
it says how the effect of an edit is divided between the two planted terms. Over all edits together, removed
things have the largest weight, because their changes are largest.
"""

import numpy as np

from latentcortex import store
from latentcortex.mini import cortex
from latentcortex.studies import edited_scenes
from latentcortex.studies.edited_scenes import EDITS
from latentcortex.studies.recovery_worlds import SUBJECT, WORLDS, chosen_vertices, pictures

ROWS = ("all", *EDITS)  # of the causal truth: all edits together, then each kind on its own
N_EDITS = 100  # at most


def edits_of_cell(study, correlated, seed, sizes, n_edits=N_EDITS):
    """Return edited test scenes of a cell; worlds that share their scenes share their edits.

    Parameters
    ----------
    study : Study
    correlated : bool
        Whether the scenes are those of the world ``correlated``.
    seed : int
    sizes : recovery_worlds.Sizes
    n_edits : int
        Number of edits, at most. There are fewer if the cell has fewer test images.

    Returns
    -------
    list of edited_scenes.Edit
        The image id is the row of the scene in `recovery_worlds.pictures`.
    """
    drawn, _ = pictures(study, correlated, seed, sizes.n_train + sizes.n_test)
    rng = np.random.default_rng([seed, 40])
    chosen = edited_scenes.choose_among(dict(enumerate(drawn[: sizes.n_test])), rng, n_edits)
    return chosen[: len(chosen) // 2]


def causal_truth(study, world, seed, sizes, edits=None):
    """Return what the vertices of a cell answer to when one thing in a scene is edited.

    Parameters
    ----------
    study : Study
    world : str
        One of `recovery_worlds.WORLDS`.
    seed : int
    sizes : recovery_worlds.Sizes
    edits : list of edited_scenes.Edit, optional
        By default those of `edits_of_cell`.

    Returns
    -------
    dict of str to array
        ``share`` and ``change`` (len(ROWS), n_vertices) as from `summarise`, for the vertices of
        `chosen_vertices` (NaN outside visual cortex), and ``n_edits`` (len(ROWS),).
    """
    if world not in WORLDS:
        raise ValueError(f"No world {world!r}. There are: {', '.join(WORLDS)}.")
    correlated, n = world == "correlated", sizes.n_train + sizes.n_test
    edits = edits_of_cell(study, correlated, seed, sizes) if edits is None else edits
    drawn, images = pictures(study, correlated, seed, n)
    after = edited_scenes.images(study, edits)
    body = cortex.Cortex(SUBJECT, "standard" if correlated else world, seed)
    # The cortex scales its variables by all images that are passed together. Edited scenes are a tenth of
    # them and resemble the others, so the scale moves slightly, the same for a scene before and after.
    terms = body.tuned_signals(np.concatenate([images, after]), drawn + [edit.scene for edit in edits])
    vertices, _ = chosen_vertices(seed, sizes.n_vertices)
    inside = np.isin(vertices, body.vertices)
    columns = store.rows_of(body.vertices, vertices[inside], "visual cortex")
    mixture = body.planted["mixture"].to_numpy()[vertices[inside]]
    rows = store.rows_of(np.arange(n), [edit.image_id for edit in edits], "the images of the cell")
    changes = changes_of_terms([term[:, columns] for term in terms], mixture, rows, n)
    found = summarise(*changes, [edit.kind for edit in edits])
    for name in ("share", "change"):
        values = np.full((len(ROWS), len(vertices)), np.nan)
        values[:, inside] = found[name]
        found[name] = values
    return found


def changes_of_terms(terms, mixture, rows, n_images):
    """Return how the two weighted terms of each vertex change from a scene to the edited scene.

    With t(x) a tuned term of mean 0 and variance 1 over the first `n_images` rows, and the mixture m, ::

        low(x) = sqrt(m) t_low(x),    semantic(x) = sqrt(1 - m) t_semantic(x)

    Parameters
    ----------
    terms : pair of arrays (n_images + n_edits, n_vertices)
        Low-level and semantic terms of all images of a cell, then of the edited scenes.
    mixture : array (n_vertices,), in [0, 1]
    rows : int array (n_edits,)
        Row of each edited scene before the edit.
    n_images : int

    Returns
    -------
    low, semantic : float64 arrays (n_edits, n_vertices)
        Changes from before to after the edit.
    variance : float64 array (n_vertices,)
        Of the sum of both terms over the images of the cell.

    Raises
    ------
    ValueError
        If shapes do not fit, if a term is not finite, or if a mixture or a row is out of range.
    """
    mixture, rows = np.asarray(mixture, np.float64), np.asarray(rows)
    shapes = {np.shape(of) for of in terms}
    if len(terms) != 2 or shapes != {(n_images + len(rows), len(mixture))}:
        raise ValueError(
            f"Expected two terms of the shape {(n_images + len(rows), len(mixture))}: {n_images} images and "
            f"{len(rows)} edited scenes, {len(mixture)} vertices; got {[np.shape(of) for of in terms]}."
        )
    if not ((mixture >= 0) & (mixture <= 1)).all():
        raise ValueError(f"Mixtures must lie in [0, 1]; got {mixture.min():.3g} to {mixture.max():.3g}.")
    if len(rows) and not (rows.min() >= 0 and rows.max() < n_images):
        raise ValueError(f"Rows must be those of {n_images} images; got {rows.min()} to {rows.max()}.")
    for name, term in zip(("low-level", "semantic"), terms, strict=True):
        bad = ~np.isfinite(term).all(0)
        if bad.any():
            raise ValueError(
                f"The {name} term is not finite in {bad.sum()} of {len(bad)} vertices, such as number "
                f"{np.flatnonzero(bad)[0]}."
            )
    weighted = []
    for term, share in zip(terms, (mixture, 1 - mixture), strict=True):
        term = np.asarray(term, np.float64)
        own = term[:n_images]
        scale = own.std(0)
        # A term that never varies is no part of the response.
        weighted.append(np.sqrt(share) * (term - own.mean(0)) / np.where(scale > 0, scale, np.inf))
    low, semantic = (of[n_images:] - of[rows] for of in weighted)
    return low, semantic, sum(weighted)[:n_images].var(0)


def summarise(low, semantic, variance, kinds):
    """Return the causal share of each vertex and how much it answers, over all edits and by kind.

    Over edits of one kind, with d_low and d_semantic from `changes_of_terms`, ::

        share  = mean d_low^2 / (mean d_low^2 + mean d_semantic^2)
        change = (1 - SPECIFIC_SHARE) mean (d_low + d_semantic)^2 / variance

    Parameters
    ----------
    low, semantic : arrays (n_edits, n_vertices)
    variance : array (n_vertices,)
    kinds : sequence of str
        Kind of each edit, one of `EDITS`.

    Returns
    -------
    dict of str to array
        ``share`` (len(ROWS), n_vertices) is in [0, 1], and NaN if neither term changes or if there is no
        edit of a kind. ``change`` (len(ROWS), n_vertices) is the mean squared change of what a vertex is
        tuned to, relative to the variance of its repeatable response. It is 0 if an edit does not reach a
        vertex. By the same measure, the change from one ordinary image to any other is 1 on average, because
        half of the variance is specific to an image and takes no part. ``n_edits`` (len(ROWS),) counts
        edits.

    Raises
    ------
    ValueError
        If shapes do not fit, if a value is not finite or a variance is below 0, or if a kind is unknown.
    """
    low, semantic, variance = (np.asarray(of, np.float64) for of in (low, semantic, variance))
    if low.ndim != 2 or semantic.shape != low.shape or variance.shape != low.shape[1:]:
        raise ValueError(
            f"Expected low and semantic changes of one shape (n_edits, n_vertices) and a variance per "
            f"vertex; got {low.shape}, {semantic.shape} and {variance.shape}."
        )
    for name, values in (("low-level changes", low), ("semantic changes", semantic), ("variance", variance)):
        if not np.isfinite(values).all():
            raise ValueError(f"{np.sum(~np.isfinite(values))} values of the {name} are not finite.")
    if (variance < 0).any():
        raise ValueError(f"A variance cannot be below 0; the lowest is {variance.min():.3g}.")
    kinds = np.asarray(kinds)
    unknown = sorted(set(kinds.tolist()) - set(EDITS))
    if len(kinds) != len(low) or not len(kinds) or unknown:
        raise ValueError(
            f"Expected the kind of each of {len(low)} edits, at least one, of {', '.join(EDITS)}; got "
            f"{len(kinds)} kinds{', of them ' + ', '.join(unknown) if unknown else ''}."
        )
    share, change = np.full((2, len(ROWS), low.shape[1]), np.nan)
    masks = [np.ones(len(kinds), bool), *(kinds == kind for kind in EDITS)]
    for k, mask in enumerate(masks):
        if not mask.any():
            continue
        of_low, of_semantic = np.square(low[mask]).mean(0), np.square(semantic[mask]).mean(0)
        total = of_low + of_semantic
        share[k] = np.where(total > 0, of_low / np.where(total > 0, total, 1), np.nan)
        whole = np.square(low[mask] + semantic[mask]).mean(0)
        change[k] = (1 - cortex.SPECIFIC_SHARE) * whole / np.where(variance > 0, variance, np.inf)
    return {"share": share, "change": change, "n_edits": np.array([mask.sum() for mask in masks])}
