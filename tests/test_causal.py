"""Changes of decoded pictures, on drawings whose answer was planted."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from latentcortex.studies import causal
from latentcortex.studies.edited_scenes import EDITS

N, N_DRAWS = 60, 3
SHAPES = {"setting": (7,), "time": (4,), "kind": (10,), "colour": (10, 6), "place": (10, 3)}
LOCAL_BY_CHANCE = np.tile([0.1, 0.1, 0.5], (1, N, 2, 1))


@pytest.fixture
def asked(rng):
    """Return questions about 60 pairs: of two things where one is removed or recoloured."""
    edits = np.array([EDITS[k % 3] for k in range(N)])
    kinds = np.array([rng.permutation(10)[:2] for _ in range(N)])
    old = rng.integers(0, 3, N)
    table = pd.DataFrame({"image_id": 100 + np.arange(N), "edit": edits, "kind": kinds[:, 0], "old": old})
    table["new"] = (old + rng.integers(1, 3, N)) % 3
    table.loc[edits == "removed", ["old", "new"]] = -1
    table["setting"], table["time"] = rng.integers(0, 6, N), rng.integers(0, 3, N)
    table["other"] = np.where(edits == "moved", -1, kinds[:, 1])
    return table


def looks(asked, rng, edited=False, everything=False, wobble=0.1):
    """Return what a judge takes to be in drawings, with some wobble from drawing to drawing."""
    found = {name: wobble * rng.random((N, N_DRAWS, *shape)) for name, shape in SHAPES.items()}
    for row, pair in enumerate(asked.itertuples()):
        found["setting"][row, :, pair.setting] += 0.0 if everything else 0.8
        found["time"][row, :, pair.time] += 0.0 if everything else 0.8
        if pair.other >= 0:
            found["kind"][row, :, pair.other] += 0.0 if everything else 0.8
        found["kind"][row, :, pair.kind] += 0.0 if edited and pair.edit == "removed" else 0.8
        if pair.edit != "removed":
            part = found["place" if pair.edit == "moved" else "colour"]
            part[row, :, pair.kind, pair.new if edited else pair.old] += 0.8
    return found


def change_of(asked, rng, **what):
    """Return changes (1, n, 2, 4) of edited and of unchanged pairs."""
    base = causal.quantities(looks(asked, rng), asked)
    after = [causal.quantities(looks(asked, rng, **of), asked) for of in (what, {})]
    return np.stack([causal.changes(of, base) for of in after], axis=1)[None]


def rates(rows, name):
    return np.array([row.interval.mean for row in rows if row.measure == name])


def test_what_was_edited_is_detected_and_nothing_else(asked, rng):
    change = change_of(asked, rng, edited=True)
    rows = causal.summary(change, LOCAL_BY_CHANCE, asked, rng)
    assert rates(rows, "detected").tolist() == [1, 1, 1]
    effects = {row.edit: row.interval for row in rows if row.measure == "effect"}
    expected = {"removed": 0.8, "moved": 1.6, "recoloured": 1.6}
    for edit, interval in effects.items():
        assert interval.low < expected[edit] < interval.high and interval.high - interval.low < 0.1
        assert interval.n == N / 3
    # What was not edited wobbles as in unchanged pairs.
    for name in causal.READ[1:]:
        assert np.nanmean(rates(rows, name)) < 0.15
    of_other = {row.edit: row.interval.n for row in rows if row.measure == "other"}
    assert of_other == {"removed": 20, "moved": 0, "recoloured": 20}


def test_a_decoder_that_changes_everything_gives_false_alarms(asked, rng):
    change = change_of(asked, rng, edited=True, everything=True)
    rows = causal.summary(change, LOCAL_BY_CHANCE, asked, rng)
    for name in causal.READ[1:]:
        assert np.nanmin(rates(rows, name)) == 1


def test_nothing_is_detected_where_nothing_changes(asked, rng):
    still = causal.quantities(looks(asked, rng, wobble=0), asked)
    change = np.stack([causal.changes(still, still)] * 2, axis=1)[None]
    rows = causal.summary(change, LOCAL_BY_CHANCE, asked, rng)
    assert np.nanmax(np.concatenate([rates(rows, name) for name in ("detected", *causal.READ[1:])])) == 0
    assert set(rates(rows, "effect")) == {0}


def test_quantities_are_those_of_the_edit(asked, rng):
    given = looks(asked, rng, wobble=1.0)
    found = causal.quantities(given, asked)
    assert found.shape == (N, N_DRAWS, 4)
    for row in range(3):  # removed, moved, recoloured
        pair = asked.iloc[row]
        of = {name: values[row, 1] for name, values in given.items()}
        place, colour = of["place"][pair.kind], of["colour"][pair.kind]
        target = [
            -of["kind"][pair.kind],
            place[pair.new] - place[pair.old],
            colour[pair.new] - colour[pair.old],
        ]
        other = of["kind"][pair.other] if pair.other >= 0 else np.nan
        expected = [target[row], of["setting"][pair.setting], of["time"][pair.time], other]
        np.testing.assert_allclose(found[row, 1], expected)


def test_changes_are_averaged_over_drawings_first():
    """Differences by chance average out; only the target's change has a sign."""
    base, after = np.zeros((1, 2, 4)), np.array([[[-0.4, -0.4, 0.3, np.nan], [0.2, 0.2, -0.3, np.nan]]])
    np.testing.assert_allclose(causal.changes(after, base), [[-0.1, 0.1, 0, np.nan]])
    with pytest.raises(ValueError, match=r"quantities of one shape, got \(1, 2, 4\), \(1, 1, 4\)"):
        causal.changes(after, base[:, :1])


def test_each_pair_is_compared_with_other_scenes_of_its_group(rng):
    unchanged, change = rng.normal(size=40), rng.normal(1, 1, size=40)
    groups, unchanged[7], change[9] = np.arange(40) % 2, np.nan, np.nan
    found = causal.detected(change, unchanged, groups)
    for row in range(40):
        others = [unchanged[k] for k in range(40) if k != row and k % 2 == row % 2 and k != 7]
        n_smaller = sum(value < change[row] for value in others)
        expected = np.nan if row == 9 else float(n_smaller / len(others) >= 0.95)
        np.testing.assert_equal(found[row], expected)
    # A pair that is alone in its group can't be told from anything.
    assert np.isnan(causal.detected([5.0, 1.0], [0.0, 0.0], ["a", "b"])).all()
    with pytest.raises(ValueError, match=r"changes of one shape, got \(2,\), \(3,\), \(2,\)"):
        causal.detected([1, 2], [1, 2, 3], ["a", "a"])


@pytest.mark.parametrize("n", [10, 20, 33, 100])
def test_the_rate_by_chance_is_that_of_pairs_in_which_nothing_was_edited(n, rng):
    """Exact for exchangeable values: of n unchanged pairs among themselves, so many are detected."""
    values = rng.permutation(n).astype(float)
    found = causal.detected(values, values, np.zeros(n))
    assert found.mean() == pytest.approx(causal.rate_by_chance(n - 1))
    assert n < 100 or found.mean() == 0.05


def test_no_others_have_no_rate():
    with pytest.raises(ValueError, match="at least one other pair, got 0"):
        causal.rate_by_chance(0)


# --- places -----------------------------------------------------------------------------------


@pytest.fixture
def cells(rng):
    mask = np.zeros((N, 64, 64), bool)
    for of in mask:
        row, column = rng.integers(4, 40, 2)
        of[row : row + 14, column : column + 10] = True
    return causal.changed_cells(mask)


def drawn(rng, change=0):
    """Return cell means (n, n_draws, 16, 16, 3) of grey drawings, changed by some amount per cell."""
    grey = 120 + rng.integers(-3, 4, (N, N_DRAWS, 16, 16, 3))
    return (grey + np.broadcast_to(change, (N, 16, 16))[:, None, :, :, None]).astype(np.uint8)


def test_a_change_in_the_right_place_is_told_from_one_anywhere(cells, rng):
    right = causal.localised(drawn(rng, 60 * cells), drawn(rng), cells)
    np.testing.assert_allclose(right[:, 0], 60 / 255, atol=0.02)
    assert (right[:, 1] < 0.02).all() and (right[:, 2] == 1).all()
    anywhere = causal.localised(drawn(rng, 60), drawn(rng), cells)
    np.testing.assert_allclose(anywhere[:, :2], 60 / 255, atol=0.02)
    assert abs(anywhere[:, 2].mean() - 0.5) < 0.05
    still = drawn(rng)
    np.testing.assert_array_equal(causal.localised(still, still, cells), np.tile([0, 0, 0.5], (N, 1)))


def test_the_area_under_the_curve_is_that_of_scikit_learn(cells, rng):
    after, base = drawn(rng, 2 * cells), drawn(rng)
    found = causal.localised(after, base, cells)
    change = np.abs(after.mean(1) - base.mean(1)).mean(-1).round(9)
    for row in range(5):
        assert found[row, 2] == pytest.approx(roc_auc_score(cells[row].ravel(), change[row].ravel()))
    assert 0.5 < found[:, 2].mean() < 1


def test_what_differs_by_chance_averages_out_over_drawings(cells):
    base = np.full((N, N_DRAWS, 16, 16, 3), 100, np.uint8)
    after = base.copy()
    after[:, 0] += 30
    after[:, 1] -= 30
    np.testing.assert_allclose(causal.localised(after, base, cells)[:, :2], 0, atol=1e-9)


def test_small_things_have_cells_too():
    mask = np.zeros((2, 64, 64), bool)
    mask[0, 4:8, 8:10] = mask[0, 4:5, 12:16] = True  # half of a cell, and a quarter of another
    mask[1, 9, 20:22] = True
    found = causal.changed_cells(mask)
    assert np.argwhere(found[0]).tolist() == [[1, 2]] and np.argwhere(found[1]).tolist() == [[2, 5]]
    mask[1] = False
    with pytest.raises(ValueError, match=r"No pixel differs in pairs \[1\]"):
        causal.changed_cells(mask)


def test_cell_means_are_means_of_pixels(rng):
    images = rng.random((2, 3, 64, 64)).astype(np.float32)
    found = causal.cell_means(torch.from_numpy(images))
    expected = images.reshape(2, 3, 16, 4, 16, 4).mean((3, 5)).transpose(0, 2, 3, 1)
    assert found.dtype == np.uint8 and np.abs(found / 255 - expected).max() < 0.5 / 255 + 1e-6


def test_probabilities_sum_to_one_where_one_must_hold(rng):
    logits = {name: torch.from_numpy(rng.normal(size=(2, *shape))) for name, shape in SHAPES.items()}
    found = causal.probabilities(lambda _: logits, torch.zeros(2, 3, 64, 64))
    for name, values in found.items():
        assert values.shape == (2, *SHAPES[name]) and values.dtype == np.float32
        if name != "kind":
            np.testing.assert_allclose(values.sum(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(found["kind"], 1 / (1 + np.exp(-logits["kind"].numpy())), rtol=1e-5)


# --- summaries --------------------------------------------------------------------------------------


def test_scenes_are_counted_and_not_subjects(asked, rng):
    change = change_of(asked, rng, edited=True)
    one = causal.summary(change, LOCAL_BY_CHANCE, asked, np.random.default_rng(1))
    four = causal.summary(
        np.repeat(change, 4, axis=0), np.repeat(LOCAL_BY_CHANCE, 4, axis=0), asked, np.random.default_rng(1)
    )
    for a, b in zip(one, four, strict=True):
        np.testing.assert_allclose(a.interval, b.interval)
    (row,) = (row for row in one if (row.measure, row.edit) == ("detected", "moved"))
    ends = binomtest(20, 20).proportion_ci(method="wilson")
    np.testing.assert_allclose(row.interval, (1, ends.low, ends.high, 20))
    table = causal.table(one)
    assert table.columns.tolist() == ["measure", "edit", "mean", "low", "high", "n"] and len(table) == len(
        one
    )


def test_effects_are_above_those_of_unchanged_pairs_and_rates_are_of_all_subjects(asked, rng):
    change = change_of(asked, rng, edited=True)
    drifting = change + np.array([0.3, 0, 0, 0])  # also where nothing was edited
    before, after = (
        causal.summary(of, LOCAL_BY_CHANCE, asked, np.random.default_rng(1)) for of in (change, drifting)
    )
    np.testing.assert_allclose(rates(after, "effect"), rates(before, "effect"))
    nothing = change_of(asked, rng)
    nothing[:, :, 0, 0] = nothing[:, :, 1, 0].min() - 1
    two = causal.summary(np.concatenate([change, nothing]), LOCAL_BY_CHANCE.repeat(2, 0), asked, rng)
    assert rates(two, "detected").tolist() == [0.5, 0.5, 0.5]


def test_false_alarms_are_told_by_all_unchanged_pairs_whatever_was_edited(asked, rng):
    change = change_of(asked, rng)
    change[:, :, 1, 1] *= asked["edit"].map({"removed": 1, "moved": 10, "recoloured": 100}).to_numpy()
    found = causal.summary(change, LOCAL_BY_CHANCE, asked, rng)
    expected = causal.detected(change[0, :, 0, 1], change[0, :, 1, 1], np.full(N, "any"))
    of_edit = [np.nanmean(expected[(asked["edit"] == edit).to_numpy()]) for edit in EDITS]
    np.testing.assert_allclose(rates(found, "setting"), of_edit)


def test_places_of_change_are_compared_with_unchanged_pairs(asked, rng):
    local = LOCAL_BY_CHANCE.copy()
    local[:, :, 0] = [0.5, 0.2, 0.9]
    local[:, :, 1] = [0.3, 0.2, 0.6]
    rows = causal.summary(change_of(asked, rng), local, asked, rng)
    np.testing.assert_allclose(rates(rows, "inside - outside"), 0.2)
    np.testing.assert_allclose(rates(rows, "auc"), 0.9)
    np.testing.assert_allclose(rates(rows, "auc unchanged"), 0.6)


def test_wrong_inputs_are_named(asked, rng, cells):
    given = looks(asked, rng)
    with pytest.raises(ValueError, match=r"'setting', 'time'\] of 59 pairs"):
        causal.quantities(given, asked.iloc[:59])
    with pytest.raises(ValueError, match=r"Expected \['colour', 'kind'"):
        causal.quantities({"kind": given["kind"]}, asked)
    with pytest.raises(ValueError, match="Expected edits among removed, moved, recoloured, got 'unchanged'"):
        causal.quantities(given, asked.assign(edit="unchanged"))
    picture = drawn(rng)
    with pytest.raises(ValueError, match="cell means of one shape"):
        causal.localised(picture, picture[:, :1], cells)
    with pytest.raises(ValueError, match="cells of 60 pairs, some of each inside and some outside; got 59"):
        causal.localised(picture, picture, cells[:59])
    with pytest.raises(ValueError, match="some of each inside"):
        causal.localised(picture, picture, np.ones_like(cells))
    with pytest.raises(ValueError, match=r"Expected 60 pairs, got \(1, 59, 2, 4\)"):
        causal.summary(change_of(asked, rng)[:, :59], LOCAL_BY_CHANCE, asked, rng)
