"""What a vertex answers to when one thing is edited: known cases, rows and refusals."""

# ruff: noqa: F811 (fixtures are imported under the names that tests ask for them by)
import dataclasses

import numpy as np
import pytest
from scipy import stats
from test_recovery_worlds import world_study  # noqa: F401 (a fixture)

from latentcortex.mini import cortex, scenes
from latentcortex.studies import edited_scenes, recovery_edits
from latentcortex.studies import recovery_worlds as worlds

SIZES = worlds.Sizes(n_train=60, n_test=20, n_vertices=6, n_sessions=2, n_trials=100)


# --- shares of known terms ------------------------------------------------------------------------


def test_shares_are_those_of_a_double_loop(rng):
    n, kinds, rows = 12, ["moved", "removed", "moved", "recoloured", "moved"], np.array([3, 0, 11, 3, 5])
    terms, mixture = rng.normal(2, 3, (2, n + 5, 4)), np.array([0.2, 0.5, 0.9, 0.7])
    found = recovery_edits.summarise(*recovery_edits.changes_of_terms(terms, mixture, rows, n), kinds)
    for v, m in enumerate(mixture):
        parts = []
        for term, share in zip(terms[:, :, v], (m, 1 - m), strict=True):
            own = term[:n]
            parts.append([share**0.5 * (value - own.mean()) / own.std() for value in term])
        variance = np.var([low + semantic for low, semantic in zip(*parts, strict=True)][:n])
        for k, name in enumerate(recovery_edits.ROWS):
            asked = [e for e in range(5) if name in ("all", kinds[e])]
            squares, whole = np.zeros(2), 0.0
            for e in asked:
                step = np.array([of[n + e] - of[rows[e]] for of in parts])
                squares += step**2
                whole += step.sum() ** 2 / len(asked)
            assert found["share"][k, v] == pytest.approx(squares[0] / squares.sum())
            assert found["change"][k, v] == pytest.approx(0.5 * whole / variance)
            assert found["n_edits"][k] == len(asked)


def test_one_term_alone_gives_a_share_of_one_or_zero_and_no_edit_none(rng):
    n, kinds, rows = 10, ["moved"] * 3, np.arange(3)
    low, semantic = rng.normal(size=(2, n + 3, 5))
    semantic[:, 0], low[:, 1] = 0.3, 7  # terms without weights do not vary
    low[n:, 2] = low[rows, 2]  # the edit reaches the semantic term alone
    low[n:, 3], semantic[n:, 3] = low[rows, 3], semantic[rows, 3]  # it does not reach the vertex
    mixture = np.array([0.5, 0.5, 0.9, 0.5, 1.0])
    found = recovery_edits.summarise(
        *recovery_edits.changes_of_terms((low, semantic), mixture, rows, n), kinds
    )
    all_, removed, moved, recoloured = found["share"]
    np.testing.assert_array_equal(all_, [1, 0, 0, np.nan, 1])
    np.testing.assert_array_equal(moved, all_)
    assert np.isnan([removed, recoloured]).all() and np.isnan(found["change"][[1, 3]]).all()
    assert found["change"][0, 3] == 0 and (np.delete(found["change"][0], 3) > 0).all()
    assert found["n_edits"].tolist() == [3, 0, 3, 0]


def test_another_ordinary_image_is_a_change_of_one(rng):
    """The scale of a change: each image is followed by any other image of the same kind."""
    n = 20_000
    terms = rng.normal(size=(2, 2 * n, 3)) * np.array([1, 5])[:, None, None]
    of_terms = recovery_edits.changes_of_terms(terms, [0.1, 0.5, 0.9], np.arange(n), n)
    found = recovery_edits.summarise(*of_terms, ["removed"] * n)
    np.testing.assert_allclose(found["change"][0], 1, atol=0.05)
    np.testing.assert_allclose(found["share"][0], [0.1, 0.5, 0.9], atol=0.03)


def test_terms_and_edits_that_do_not_fit_are_refused(rng):
    terms = rng.normal(size=(2, 12, 3))
    call = recovery_edits.changes_of_terms
    with pytest.raises(ValueError, match=r"two terms of the shape \(13, 3\): 10 images and 3 edited scenes"):
        call(terms, np.full(3, 0.5), np.arange(3), 10)
    with pytest.raises(ValueError, match=r"in \[0, 1\]; got 0.5 to 1.5"):
        call(terms, np.array([0.5, 1, 1.5]), np.arange(2), 10)
    with pytest.raises(ValueError, match=r"in \[0, 1\]; got nan"):
        call(terms, np.array([0.5, 1, np.nan]), np.arange(2), 10)
    with pytest.raises(ValueError, match="Rows must be those of 10 images; got 1 to 10"):
        call(terms, np.full(3, 0.5), np.array([1, 10]), 10)
    for k, name in enumerate(("low-level", "semantic")):
        spoiled = terms.copy()
        spoiled[k, 11, 1:] = np.nan, np.inf
        with pytest.raises(ValueError, match=f"The {name} term is not finite in 2 of 3 .* such as number 1"):
            call(spoiled, np.full(3, 0.5), np.arange(2), 10)
    with pytest.raises(ValueError, match="each of 2 edits, at least one, .*; got 2 kinds, of them painted"):
        recovery_edits.summarise(*terms[:, :2], np.ones(3), ["moved", "painted"])
    with pytest.raises(ValueError, match="at least one"):
        recovery_edits.summarise(*terms[:, :0], np.ones(3), [])
    (low, semantic), kinds = terms[:, :2], ["moved", "removed"]
    for given in (
        (low, semantic[:, :2], np.ones(3)),
        (low, semantic, np.ones(2)),
        (low, semantic, 1.0),
        (low[0], semantic[0], np.ones(3)),
    ):
        with pytest.raises(ValueError, match=r"one shape \(n_edits, n_vertices\) and a variance per vertex"):
            recovery_edits.summarise(*given, kinds)
    with pytest.raises(ValueError, match=r"cannot be below 0; the lowest is -0\.5"):
        recovery_edits.summarise(low, semantic, np.array([1, -0.5, 2]), kinds)
    for k, name in enumerate(("low-level changes", "semantic changes", "variance")):
        given = [low.copy(), semantic.copy(), np.ones(3)]
        given[k][..., 1] = np.nan
        with pytest.raises(ValueError, match=f"values of the {name} are not finite"):
            recovery_edits.summarise(*given, kinds)


# --- edits of any scenes --------------------------------------------------------------------------


def test_scenes_are_edited_by_id_and_only_ordinary_ones(rng):
    drawn = scenes.sample_scenes(12, rng)
    ids = np.arange(100, 112)
    edits = edited_scenes.choose_among(
        dict(zip(ids.tolist(), drawn, strict=True)), np.random.default_rng(1), 7
    )
    assert len(edits) == 14
    for edit, same in zip(edits[:7], edits[7:], strict=True):
        base = drawn[edit.image_id - 100]
        assert same.scene == base and same.image_id == edit.image_id
        assert dataclasses.replace(edit.scene, things=base.things) == base and edit.scene != base
    with pytest.raises(ValueError, match="at least one scene to edit, got none"):
        edited_scenes.choose_among({}, rng)
    for n in (0, -3, float("nan"), 2.5, 2.0, True, "3", None):
        with pytest.raises(ValueError, match=f"n_scenes as a whole number of at least 1, got .?{n}"):
            edited_scenes.choose_among({4: drawn[0]}, rng, n)
    for image_id in ((4, 5), 4.0, "4", None, True):
        with pytest.raises(ValueError, match="whole numbers as image ids of scenes, got "):
            edited_scenes.choose_among({3: drawn[1], image_id: drawn[0]}, rng)
    with pytest.raises(ValueError, match="dict of scenes by image id, got list"):
        edited_scenes.choose_among(drawn, rng)
    (edit, _) = edited_scenes.choose_among({np.int64(4): drawn[0]}, rng, np.int64(1))
    assert edit.image_id == 4
    with pytest.raises(ValueError, match="image 4 holds no thing, so there is nothing to edit"):
        edited_scenes.choose_among({4: dataclasses.replace(drawn[0], things=())}, rng)
    with pytest.raises(ValueError, match="image 5 holds a combination that is held back: "):
        edited_scenes.choose_among({5: scenes.sample_scenes(1, rng, held_back=True)[0]}, rng)


# --- cells ----------------------------------------------------------------------------------------


def test_edits_of_a_cell_are_those_of_its_test_scenes(world_study):
    drawn, _ = worlds.pictures(world_study, False, 0, 80)
    edits = recovery_edits.edits_of_cell(world_study, False, 0, SIZES)
    assert sorted(edit.image_id for edit in edits) == list(range(20)), "training images are left alone"
    assert {edit.kind for edit in edits} == set(recovery_edits.EDITS)
    for edit in edits:
        base = drawn[edit.image_id]
        assert dataclasses.replace(edit.scene, things=base.things) == base and edit.scene != base
    assert edits == recovery_edits.edits_of_cell(world_study, False, 0, SIZES)
    assert edits[:7] == recovery_edits.edits_of_cell(world_study, False, 0, SIZES, 7)


def test_causal_shares_of_a_cell(world_study, monkeypatch):
    planted = worlds.simulate(world_study, "standard", 1.0, 0, SIZES)[3]
    inside = planted["mixture"].notna().to_numpy()
    found = recovery_edits.causal_truth(world_study, "standard", 0, SIZES)
    share, change = found["share"], found["change"]
    assert share.shape == change.shape == (4, len(planted)) and found["n_edits"][0] == 20
    assert np.isnan(share[:, ~inside]).all() and np.isnan(change[:, ~inside]).all()
    assert ((share[:, inside] >= 0) & (share[:, inside] <= 1)).all() and (change[:, inside] >= 0).all()
    r = stats.spearmanr(share[0, inside], planted["mixture"][inside]).statistic
    assert r > 0.6, "what varies over images is also what changes, by and large"
    # A shuffled list of edits is the same: rows are known by their ids.
    edits = recovery_edits.edits_of_cell(world_study, False, 0, SIZES)
    again = recovery_edits.causal_truth(world_study, "standard", 0, SIZES, edits[::-1])
    np.testing.assert_allclose(again["share"], share, rtol=1e-3, atol=1e-5)
    # The two planted ends.
    of = cortex.Cortex._plant
    for end in (0.0, 1.0):

        def plant(body, areas, end=end):
            of(body, areas)
            body.planted.loc[body.vertices, "mixture"] = end

        monkeypatch.setattr(cortex.Cortex, "_plant", plant)
        found = recovery_edits.causal_truth(world_study, "standard", 0, SIZES)
        np.testing.assert_array_equal(found["share"][0, inside], end)


def test_what_is_not_edited_does_not_change(world_study):
    drawn, _ = worlds.pictures(world_study, False, 0, 80)
    same = [edited_scenes.Edit(k, "moved", 0, drawn[k]) for k in (3, 1)]
    found = recovery_edits.causal_truth(world_study, "standard", 0, SIZES, same)
    inside = np.isfinite(found["change"][0])
    assert inside.sum() == 10 * SIZES.n_vertices and (found["change"][0, inside] == 0).all()
    assert np.isnan(found["share"]).all()
    with pytest.raises(ValueError, match="No world 'mars'. There are: standard"):
        recovery_edits.causal_truth(world_study, "mars", 0, SIZES)
    with pytest.raises(ValueError, match="images of the cell"):
        other = [edited_scenes.Edit(80, "moved", 0, drawn[0])]
        recovery_edits.causal_truth(world_study, "standard", 0, SIZES, other)


def test_the_truth_of_another_seed_in_correlated_scenes_by_hand(world_study):
    """Scenes, edits, cortex and planted mixture are made again, vertex by vertex."""
    drawn = worlds.draw_scenes(True, 1, 80)
    chosen = edited_scenes.choose_among(dict(enumerate(drawn[:20])), np.random.default_rng([1, 40]))
    real = chosen[:20]
    assert recovery_edits.edits_of_cell(world_study, True, 1, SIZES) == real
    # Ten of these scenes are not really edited: the same scene again.
    same = [edited_scenes.Edit(k, "moved", 0, drawn[k]) for k in range(10)]
    edits = [edit for edit in real if edit.kind == "removed"] + same
    shown = [*drawn, *(edit.scene for edit in real)], [*drawn, *(edit.scene for edit in edits)]
    body = cortex.Cortex(worlds.SUBJECT, "standard", 1)
    vertices, _ = worlds.chosen_vertices(1, SIZES.n_vertices)
    for given, asked, pictured in ((None, real, shown[0]), (edits, edits, shown[1])):
        found = recovery_edits.causal_truth(world_study, "correlated", 1, SIZES, given)
        terms = [of.astype(float) for of in body.tuned_signals(scenes.render(pictured), pictured)]
        rows, kinds = [edit.image_id for edit in asked], np.array([edit.kind for edit in asked])
        for v in range(0, len(vertices), 7):
            if vertices[v] not in body.vertices:
                assert np.isnan(found["share"][:, v]).all()
                continue
            at, m = list(body.vertices).index(vertices[v]), body.planted["mixture"][vertices[v]]
            low, semantic = (
                w**0.5 * term[:, at] / term[:80, at].std() for w, term in zip((m, 1 - m), terms, strict=True)
            )
            variance = np.var((low + semantic)[:80])
            steps = np.array([of[80:] - of[rows] for of in (low, semantic)])
            for k, name in enumerate(recovery_edits.ROWS):
                of = steps[:, (kinds == name) | (name == "all")]
                if not of.any():  # no edit of this kind, or none that is one
                    assert np.isnan(found["share"][k, v])
                    assert of.size == 0 or found["change"][k, v] == 0
                    continue
                squares = np.square(of).mean(1)
                assert found["share"][k, v] == pytest.approx(squares[0] / squares.sum(), rel=1e-3, abs=1e-6)
                whole = 0.5 * np.square(of.sum(0)).mean() / variance
                assert found["change"][k, v] == pytest.approx(whole, rel=1e-3, abs=1e-6)
    inside = np.isin(vertices, body.vertices)
    moved = recovery_edits.ROWS.index("moved")
    assert (found["change"][moved, inside] == 0).all() and np.isnan(found["share"][moved]).all()
