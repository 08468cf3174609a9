"""Average over regions at matched numbers of vertices, for every subject, in a tidy table.

The mean over a large region varies less than the mean over a small region. Also, a limit on the noise ceiling
selects different numbers of vertices in different regions. So every region is represented by the same number
of its vertices, drawn repeatedly, and the table gives this number.
"""

import numpy as np
import pandas as pd

from latentcortex.ridge.rows import as_numpy, check_count, plain


def region_summary(values, draws, regions, rng, n_used=None, n_subsamples=200, level=0.95):
    """Return the mean of each region in each subject, with its intervals.

    Parameters
    ----------
    values : dict of subject to array (n_vertices,)
        Values such as correlations or preferences. Vertices with NaN are left out of all means.
    draws : dict of subject to array (n_draws, n_vertices)
        The same values for images drawn with replacement (`bootstrap_correlation`).
    regions : dict of name to bool array (n_vertices,)
        Regions of all subjects. If each subject has its own regions, a dict of subject to such a dict.
    rng : numpy.random.Generator
    n_used : int, optional
        Vertices in every mean. None takes the largest number that all regions of all subjects have. Empty
        regions do not count.
    n_subsamples : int
        Number of subsamples of `n_used` vertices drawn from each region, at least 1.
    level : float in (0, 1)
        Coverage of the intervals, which are percentiles.

    Returns
    -------
    pandas.DataFrame
        One row per subject and region, in their order. The columns are subject, region, n_vertices (with a
        value), n_used, mean, low, high, subsample_low and subsample_high. The interval from ``low`` to
        ``high`` covers images and subsamples, because each draw of images has its own subsample. The interval
        from ``subsample_low`` to ``subsample_high`` covers subsamples of the same images. A region with fewer
        than `n_used` vertices is kept, with n_used 0 and NaN.

    Raises
    ------
    ValueError
        If subjects or shapes differ, values are infinite, masks are not bool, or counts are below 1.
    """
    subjects = _checked(values, draws, regions, n_used, n_subsamples, level)
    sizes = [len(members) for *_, parts in subjects.values() for members in parts.values()]
    n_used = min((n for n in sizes if n), default=0) if n_used is None else n_used
    rows = []
    for subject, (value, draw, parts) in subjects.items():
        for region, members in parts.items():
            row = {"subject": subject, "region": region, "n_vertices": len(members)}
            means = None
            if 0 < n_used <= len(members):
                means = _means(value, draw, [members], n_used, n_subsamples, rng)
            rows.append(row | _described(means, n_used, level))
    return pd.DataFrame(rows)


def region_differences(values, draws, regions, pairs, rng, n_subsamples=200, level=0.95):
    """Return differences between region means in each subject, at matched numbers of vertices.

    Both regions of a pair are represented by as many vertices as the smaller region has in this subject. The
    same images are drawn for both, so differences in difficulty between images cancel.

    Parameters
    ----------
    values, draws, regions, rng, n_subsamples, level
        See `region_summary`.
    pairs : sequence of (str, str)
        Names of two regions. The second is subtracted from the first.

    Returns
    -------
    pandas.DataFrame
        One row per subject and pair. The columns are subject, first, second, n_used, mean, low, high,
        subsample_low and subsample_high, as in `region_summary`. If a region has no vertices, n_used is 0 and
        the means are NaN.

    Raises
    ------
    ValueError
        As in `region_summary`, and if a region is unknown.
    """
    subjects, rows = _checked(values, draws, regions, None, n_subsamples, level), []
    for subject, (value, draw, parts) in subjects.items():
        for pair in pairs:
            unknown = [name for name in pair if name not in parts]
            if unknown or len(pair) != 2:
                raise ValueError(
                    f"pairs must hold two names of regions each, of {', '.join(parts)}; got {pair}."
                )
            members = [parts[name] for name in pair]
            n_used = min(map(len, members))
            means = _means(value, draw, members, n_used, n_subsamples, rng) if n_used else None
            row = {"subject": subject, "first": pair[0], "second": pair[1]}
            rows.append(row | _described(means, n_used, level))
    return pd.DataFrame(rows)


def _means(value, draw, members, n_used, n_subsamples, rng):
    """Return means of subsamples (n_subsamples,) and (n_draws,), the first region less the second, if any."""

    def drawn(array):
        parts = [array[rng.choice(vertices, n_used, replace=False)].mean() for vertices in members]
        return parts[0] - parts[1] if len(parts) == 2 else parts[0]

    return np.array([drawn(value) for _ in range(n_subsamples)]), np.array([drawn(row) for row in draw])


def _described(means, n_used, level):
    ends = (1 - level) / 2, (1 + level) / 2
    names = ("mean", "low", "high", "subsample_low", "subsample_high")
    if means is None:
        return {"n_used": 0} | dict.fromkeys(names, np.nan)
    of_subsamples, of_draws = means
    numbers = of_subsamples.mean(), *np.quantile(of_draws, ends), *np.quantile(of_subsamples, ends)
    return {"n_used": n_used} | {name: float(x) for name, x in zip(names, numbers, strict=True)}


def _checked(values, draws, regions, n_used, n_subsamples, level):
    """Return by subject its values, draws, and by region the vertices that hold a value in all of them."""
    check_count(n_subsamples, "n_subsamples")
    if n_used is not None:
        check_count(n_used, "n_used")
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, such as 0.95; got {level!r}.")
    if not values or set(values) != set(draws):
        raise ValueError(
            f"values and draws must have the same subjects; got {list(values)} and {list(draws)}."
        )
    own = all(isinstance(parts, dict) for parts in regions.values()) if regions else False
    if not regions or (own and set(regions) != set(values)):
        raise ValueError(
            f"regions must be masks by name, or such a dict for each of {list(values)}; got {list(regions)}."
        )
    found = {}
    for subject in values:
        value, draw = (
            as_numpy(plain(of[subject], f"{name}[{subject!r}]"))
            for of, name in ((values, "values"), (draws, "draws"))
        )
        if value.ndim != 1 or draw.ndim != 2 or draw.shape[1:] != value.shape or not len(draw):
            raise ValueError(
                f"{subject}: values must be (n_vertices,) and draws (n_draws, n_vertices); got {value.shape} "
                f"and {draw.shape}."
            )
        if np.isinf(value).any() or np.isinf(draw).any():
            raise ValueError(f"{subject} has infinite values. Where there is no value, write NaN.")
        defined = ~(np.isnan(value) | np.isnan(draw).any(0))
        parts = {}
        for name, mask in (regions[subject] if own else regions).items():
            mask = as_numpy(plain(mask, f"regions[{name!r}]"))
            if mask.dtype != bool or mask.shape != value.shape:
                raise ValueError(
                    f"regions[{name!r}] must be a mask of bool {value.shape}, as the values of "
                    f"{subject}; got {mask.dtype} of {mask.shape}."
                )
            parts[name] = np.flatnonzero(mask & defined)
        found[subject] = value, draw, parts
    return found
