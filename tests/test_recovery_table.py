"""The tables of the recovery benchmark: what is counted, and from which product."""

import numpy as np
import pytest

from latentcortex.studies import recovery_scores, recovery_table


def test_intervals_hold_the_map_of_more_images_as_often_as_they_should(rng):
    """Maps and references are drawn around one truth, the reference with a fifth of the variance."""
    n = 20_000
    reference = np.sqrt(1 / recovery_scores.MORE) * rng.standard_normal((n, 45))
    for error, expected in ((1.0, 0.95), (0.5, 0.673)):
        arrays = {
            "pair_difference": rng.standard_normal((n, 2, 45)),
            "pair_error": np.full((n, 2, 45), error),
            "pair_reference": np.where(np.arange(n)[:, None] % 2, reference, np.nan),
            "n_asked": np.full((n, 11), [10.0] * 10 + [0]),
            "n_covered": np.full((n, 11), [7.0] * 10 + [5]),
        }
        found = recovery_table.coverage(arrays)
        assert found == pytest.approx((expected, 0.7), abs=0.003)
    assert np.isnan(recovery_table.coverage(arrays | recovery_scores.no_reference())).all()
    assert np.isnan(recovery_table.coverage({**arrays, "pair_error": np.full((n, 2, 45), np.nan)})[0])


def test_verdicts_count_cells_with_the_sign_that_each_world_should_give():
    worlds = ["standard", "swapped", "uniform", "null"]
    shape = (4, 1, 3, 2)
    difference = np.array([[1, 2, 0.1], [-1, 1, -3], [0.1, 0.2, 4], [0, 0, 0]])
    arrays = {name: np.zeros((*shape, 11)) for name in ("n_called", "n_clear", "n_right", "n_wrong")}
    arrays |= {"n_vertices": np.full((*shape, 11), 10.0), "seconds": np.ones(shape)}
    arrays |= {"spearman": np.broadcast_to([0.3, 0.6], shape), "standard_error": np.full((*shape, 1), 0.2)}
    arrays["difference"] = np.repeat(difference[:, None, :, None, None], 2, axis=3)
    arrays |= {"pair_difference": np.zeros((*shape, 45)), "pair_error": np.ones((*shape, 45))}
    cells = shape[:3]
    arrays |= {"pair_reference": np.full((*cells, 45), 2.0), "n_asked": np.full((*cells, 11), 4.0)}
    arrays |= {"n_covered": np.full((*cells, 11), 3.0)}
    arrays["n_called"][0, ..., -1], arrays["n_called"][3] = 4, 1
    summary = recovery_table.summarise(arrays, worlds)
    assert [summary[w] for w in worlds] == [(2, 3), (2, 3), (2, 3), (3, 3)]
    assert summary["of truth"] == pytest.approx(0.5)
    assert (summary["covered"], summary["at vertices"]) == (1, 0.75), "2 lies below 1.96 times 1.1"
    assert summary["outside"] == pytest.approx(((4 + 0 + 0 + 1) / 40 + 11 / 110) / 2)
    arrays["standard_error"] = np.full((*shape, 1), np.nan)
    without = recovery_table.summarise(arrays, worlds)
    assert [without[w] for w in worlds] == [(3, 3), (2, 3), (-1, 3), (-1, 3)]


def test_regions_and_worlds_are_tabulated_as_counted():
    worlds, places = ["null", "standard"], len(recovery_scores.PLACES)
    arrays = {
        name: np.zeros((2, 2, 1, 2, places))
        for name in ("n_clear", "n_right", "n_wrong", "n_called", "n_vertices")
    }
    standard = {name: of[1, ..., 0, :] for name, of in arrays.items()}
    standard["n_clear"][..., 0] = 10
    standard["n_right"][..., 0], standard["n_wrong"][..., 0] = [[6], [8]], [[1], [0]]
    standard["n_called"][..., -1], standard["n_vertices"][..., -1] = 3, 30
    arrays["n_right"][0] = 5  # of another world
    arrays["agreement"] = np.array([[[np.nan], [0.25]], [[np.nan], [np.nan]]])
    rows = recovery_table.by_region({"a map": arrays}, worlds)
    assert rows == [("method", *recovery_scores.PLACES), ("a map", "70/5", *["-"] * 9, "10")]
    assert recovery_table.by_region({"a map": arrays}, ["null"])[1][1:] == ("-",) * places
    correlated = np.array([[0.3, 0.1], [0.4, 0.2]])
    assert recovery_table.by_world({"a map": arrays}, worlds, correlated)[1:] == [
        ("a map", "0.25", "-"),
        ("semantic explained by low-level", "0.30", "0.40"),
        ("|r| of the two terms", "0.10", "0.20"),
    ]


@pytest.mark.parametrize(
    ("state", "is_used"),
    [
        ("yes", True),
        ("made by older code; the same to 1e-6", True),
        ("no: 'latentcortex run ch13_recover_maps' makes it again", False),
        ("no script ch13_recover_maps", False),
        ("damaged: delete it", False),
    ],
)
def test_a_product_counts_if_it_belongs_to_the_code_or_was_found_to_agree(
    tmp_path, monkeypatch, state, is_used
):
    (tmp_path / "ch13_recover_maps-mini-standard.npz").write_bytes(b"")
    monkeypatch.setattr(recovery_table.results, "folders", lambda: [tmp_path])
    monkeypatch.setattr(recovery_table.results, "state", lambda *_: state)
    assert (recovery_table.shipped() is not None) == is_used
