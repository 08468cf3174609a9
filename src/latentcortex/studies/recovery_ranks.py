"""Rank vertices by maps and by two truths of the recovery benchmark: the mixture and the causal share."""

import copy

import numpy as np
from scipy import stats

from latentcortex.studies.recovery_edits import ROWS, causal_truth
from latentcortex.studies.recovery_scores import cell_rows, score_method, vertices_asked

TRUTHS = ("mixture", *ROWS)
N_DRAWS = 1000  # resamplings of vertices


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
