"""Means of regions at matched numbers of vertices, against closed forms and a loop."""

import numpy as np
import pytest

from latentcortex.encoding import region_differences, region_summary

N = 300


@pytest.fixture
def world(rng):
    """Two subjects, three regions of 20, 100 and 150 vertices, 400 draws of the same maps."""
    regions = {"small": np.arange(N) < 20, "middle": (np.arange(N) >= 20) & (np.arange(N) < 120)}
    regions["large"] = np.arange(N) >= 150
    values = {name: rng.standard_normal(N) + shift for name, shift in (("subj01", 0), ("subj02", 1))}
    draws = {name: v + 0.5 * rng.standard_normal((400, 1)) for name, v in values.items()}
    return values, draws, regions


def test_every_subject_and_region_has_a_row_with_the_matched_number(world, rng):
    table = region_summary(*world, rng)
    assert list(table.columns[:5]) == ["subject", "region", "n_vertices", "n_used", "mean"]
    assert table["subject"].tolist() == ["subj01"] * 3 + ["subj02"] * 3
    assert table["region"].tolist() == ["small", "middle", "large"] * 2
    assert table["n_vertices"].tolist() == [20, 100, 150] * 2
    assert (table["n_used"] == 20).all()
    # The smallest region has one subsample only, itself.
    small = table[table["region"] == "small"].set_index("subject")
    for subject, values in world[0].items():
        for column in ("mean", "subsample_low", "subsample_high"):
            assert small.loc[subject, column] == pytest.approx(values[:20].mean())


def test_intervals_have_the_widths_that_sampling_gives(world, rng):
    """Of n of m vertices the mean varies by s^2 / n (1 - n / m); the draws add their own variance of 1/4.

    4,000 subsamples give the ends to about 4 %, 400 draws to about 10 %.
    """
    values, draws, regions = world
    table = region_summary(values, draws, regions, rng, n_used=15, n_subsamples=4000).set_index(
        ["subject", "region"]
    )
    for subject, value in values.items():
        for name, mask in regions.items():
            row, of_region = table.loc[subject, name], value[mask]
            variance = of_region.var(ddof=1) / 15 * (1 - 15 / len(of_region))
            assert row["mean"] == pytest.approx(of_region.mean(), abs=4 * np.sqrt(variance / 4000))
            width = row["subsample_high"] - row["subsample_low"]
            assert width == pytest.approx(2 * 1.96 * np.sqrt(variance), rel=0.16)
            both = variance + (draws[subject] - value)[:, 0].var()
            assert row["high"] - row["low"] == pytest.approx(2 * 1.96 * np.sqrt(both), rel=0.3)


def test_differences_equal_a_loop_over_draws(world):
    values, draws, regions = world
    table = region_differences(values, draws, regions, [("large", "small")], np.random.default_rng(3), 50)
    again = np.random.default_rng(3)
    for row, subject in zip(table.itertuples(), values, strict=True):
        means = []
        for array in [values[subject]] * 50 + list(draws[subject]):
            a, b = (
                again.choice(np.flatnonzero(regions[name]), 20, replace=False) for name in ("large", "small")
            )
            means.append(array[a].mean() - array[b].mean())
        assert (row.subject, row.first, row.second, row.n_used) == (subject, "large", "small", 20)
        assert row.mean == pytest.approx(np.mean(means[:50]))
        assert [row.low, row.high] == pytest.approx(np.quantile(means[50:], [0.025, 0.975]).tolist())
        # What shifts all vertices of a draw cancels: the interval is that of subsamples.
        assert row.high - row.low < 1.3 * (row.subsample_high - row.subsample_low)


def test_blank_vertices_belong_to_no_mean_and_small_regions_stay_in_the_table(world, rng):
    values, draws, regions = world
    values["subj01"][:18] = np.nan
    draws["subj02"][3, 30:40] = np.nan
    table = region_summary(values, draws, regions | {"none": np.zeros(N, bool)}, rng)
    assert table["n_vertices"].tolist() == [2, 100, 150, 0, 20, 90, 150, 0]
    assert table["n_used"].tolist() == [2, 2, 2, 0] * 2
    assert table["mean"].isna().tolist() == [False, False, False, True] * 2
    table = region_summary(values, draws, regions, rng, n_used=20)
    assert table["n_used"].tolist() == [0, 20, 20, 20, 20, 20]
    found = region_differences(values, draws, regions | {"none": np.zeros(N, bool)}, [("small", "none")], rng)
    assert found["n_used"].tolist() == [0, 0] and found["low"].isna().all()


def test_subjects_may_have_regions_of_their_own(world, rng):
    values, draws, regions = world
    own = {"subj01": {"a": regions["small"]}, "subj02": {"a": regions["large"]}}
    table = region_summary(values, draws, own, rng)
    assert table["n_vertices"].tolist() == [20, 150] and table["n_used"].tolist() == [20, 20]


def test_errors(world, rng):
    values, draws, regions = world
    infinite = values | {"subj02": np.full(N, np.inf)}
    for arguments, message in (
        (({}, {}, regions), "same subjects"),
        ((values, {"subj01": draws["subj01"]}, regions), "same subjects"),
        ((values, draws, {}), "masks by name"),
        ((values, draws, {"subj01": regions}), "for each of"),
        ((values, draws, {"V1": np.arange(N)}), "must be a mask of bool"),
        ((values, draws, {"V1": regions["small"][1:]}), r"bool of \(299,\)"),
        ((values, {k: v[:, 1:] for k, v in draws.items()}, regions), r"\(300,\) and \(400, 299\)"),
        ((infinite, draws, regions), "subj02 has infinite values"),
    ):
        with pytest.raises(ValueError, match=message):
            region_summary(*arguments, rng)
    for more, message in (
        ({"n_used": 0}, "n_used must be a whole number"),
        ({"n_subsamples": 0}, "n_subsamples must be a whole number"),
        ({"level": 95}, "level must lie between 0 and 1"),
        ({"level": np.nan}, "level must lie between 0 and 1"),
    ):
        with pytest.raises(ValueError, match=message):
            region_summary(*world, rng, **more)
    with pytest.raises(ValueError, match="of small, middle, large; got"):
        region_differences(*world, [("small", "V1")], rng)
