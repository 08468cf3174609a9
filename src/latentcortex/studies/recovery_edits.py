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

import copy

import numpy as np
from scipy import stats

from latentcortex import store
from latentcortex.mini import cortex
from latentcortex.studies import edited_scenes
from latentcortex.studies.edited_scenes import EDITS
from latentcortex.studies.recovery_scores import cell_rows, score_method, vertices_asked
from latentcortex.studies.recovery_worlds import SUBJECT, WORLDS, chosen_vertices, pictures

ROWS = ("all", *EDITS)  # of the causal truth: all edits together, then each kind on its own
TRUTHS = ("mixture", *ROWS)
N_EDITS = 100  # at most
N_DRAWS = 1000  # resamplings of vertices


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


def score_cell(study, methods, world, noise, seed, sizes):
    """Return rank correlations of the maps of one cell with the mixture and with the causal share.

    Each method runs once, on the features that it is meant for, with the generator of
    `recovery_scores.score_cell`. So its map is the same as there.

    Parameters
    ----------
    study : Study
    methods : dict of str to recovery_methods.Method
    world, noise, seed, sizes
        As in `recovery_scores.cell_rows`.

    Returns
    -------
    dict of str to array
        ``spearman`` (n_methods + 1, len(TRUTHS)), over `vertices_asked`; the last row is that of the mixture
        itself. ``draws`` (`N_DRAWS`, n_methods + 1, len(TRUTHS)) are those over vertices drawn with
        replacement, the same vertices for all. ``score`` (n_methods,) is the correlation with the mixture as
        `recovery_scores.score` computes it. ``share``, ``change`` and ``n_edits`` are from `causal_truth`,
        and ``mixture`` (n_vertices,).

    Raises
    ------
    ValueError
        If a vertex that is asked about has no causal share, because no edit of a kind reaches it.
    """
    given, planted = cell_rows(study, world, noise, seed, sizes)
    rows = {sets: given(sets) for sets in {method.sets for method in methods.values()}}
    maps, scored = [], []
    for name, method in methods.items():
        rng, asked = np.random.default_rng([seed, 38]), copy.deepcopy(rows[method.sets])
        found, answer = score_method(method.function, name, asked, planted, rng)
        maps.append(answer.lowness)
        scored.append(found["spearman"])
    truth, mixture = causal_truth(study, world, seed, sizes), planted["mixture"].to_numpy()
    asked = vertices_asked(planted)
    _check_shares(truth["share"][:, asked], truth["n_edits"])
    maps, truths = np.array([*maps, mixture])[:, asked], np.array([mixture, *truth["share"]])[:, asked]
    draws = resampled(maps, truths, np.random.default_rng([seed, 41]), N_DRAWS)
    return {
        "spearman": rank_correlations(maps, truths),
        "draws": draws.astype(np.float32),
        "score": np.array(scored),
        "mixture": mixture.astype(np.float32),
        "share": truth["share"].astype(np.float32),
        "change": truth["change"].astype(np.float32),
        "n_edits": truth["n_edits"],
    }


def _check_shares(share, n_edits):
    """Raise an error if a vertex has no share, because every correlation would silently be NaN."""
    for name, of, n in zip(ROWS, share, n_edits, strict=True):
        missing = np.isnan(of).sum()
        if missing:
            raise ValueError(
                f"{missing} of {len(of)} vertices have no causal share for the edits {name!r}: none of {n} "
                "edits changes a term of theirs. Use more edits, or leave out these vertices."
            )


def rank_correlations(maps, truths):
    """Return the rank correlation of each map with each truth, (n_maps, n_truths).

    It is 0 where a map or a truth does not vary, and NaN where either has a NaN.

    Parameters
    ----------
    maps : array (n_maps, n_vertices)
    truths : array (n_truths, n_vertices)
    """
    both = [
        stats.rankdata(np.asarray(of, np.float64), axis=1, nan_policy="propagate") for of in (maps, truths)
    ]
    both = [of - of.mean(1, keepdims=True) for of in both]
    scales = [np.sqrt(np.square(of).sum(1, keepdims=True)) for of in both]
    both = [of / np.where(scale == 0, np.inf, scale) for of, scale in zip(both, scales, strict=True)]
    return both[0] @ both[1].T


def resampled(maps, truths, rng, n_draws):
    """Return the correlations of `rank_correlations` over vertices drawn with replacement.

    The same vertices are drawn for all maps and truths, so differences between them are paired.

    Parameters
    ----------
    maps, truths
        As in `rank_correlations`.
    rng : numpy.random.Generator
    n_draws : int

    Returns
    -------
    array (n_draws, n_maps, n_truths)
    """
    n = maps.shape[1]
    drawn = (rng.integers(n, size=n) for _ in range(n_draws))
    return np.array([rank_correlations(maps[:, of], truths[:, of]) for of in drawn])


def compare(spearman, draws):
    """Return mean differences over seeds, with 95 % intervals over vertices.

    Vertices are drawn within each seed, and seeds are averaged. So the intervals ignore how much results
    depend on the seed and on the scenes: with another seed or other scenes, a value may lie outside.
    Neighbouring vertices are tuned alike, so the intervals are somewhat too narrow as well. The lead of a
    method that was chosen because it is best is biased upwards, and its interval does not correct for that.

    Parameters
    ----------
    spearman : array (n_seeds, n_methods + 1, len(TRUTHS))
        From `score_cell`, in one world.
    draws : array (n_seeds, n_draws, n_methods + 1, len(TRUTHS))

    Returns
    -------
    dict of str to array
        The last axis holds the value and the two ends of its interval. ``mean`` (n_methods + 1, len(TRUTHS),
        3) is the correlation itself. ``gain`` (n_methods, 3) is the correlation with the causal share of all
        edits minus that with the mixture. ``lead`` (2, n_methods, n_methods, 3) is the correlation of a row's
        method minus that of a column's, with the mixture and with the causal share of all edits.
    """
    value, drawn = spearman.mean(0), np.mean(draws, axis=0, dtype=np.float64)

    def with_ends(take):
        ends = np.quantile(take(drawn), (0.025, 0.975), axis=0)
        return np.stack([take(value), *ends], axis=-1)

    def gain(of):
        return of[..., :-1, TRUTHS.index("all")] - of[..., :-1, TRUTHS.index("mixture")]

    def lead(truth):
        def take(of):
            of = of[..., :-1, TRUTHS.index(truth)]
            return of[..., :, None] - of[..., None, :]

        return with_ends(take)

    leads = np.stack([lead("mixture"), lead("all")])
    return {"mean": with_ends(lambda of: of), "gain": with_ends(gain), "lead": leads}
