"""How maps rank vertices by the mixture and by the causal share: pairs, intervals and the script."""

# ruff: noqa: F811 (fixtures are imported under the names that tests ask for them by)
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from test_recovery_edits import SIZES
from test_recovery_worlds import world_study  # noqa: F401 (a fixture)

from data_scripts import ch13_edit_scenes as script
from latentcortex.studies import recovery_edits, recovery_methods, recovery_ranks, recovery_scores


def test_methods_get_data_that_no_other_method_has_changed(world_study, monkeypatch):
    seen, rng = [], np.random.default_rng(0)

    def spoils(train, _test, _rng):
        seen.append(train.betas.copy())
        train.betas[:] = 0
        return {"share": rng.random(train.betas.shape[1])}

    monkeypatch.setattr(recovery_ranks, "N_DRAWS", 3)
    method = recovery_methods.Method(spoils, "spaces", "", "")
    methods = {"one": method, "other": method}
    found = recovery_ranks.score_cell(world_study, methods, "standard", 1.0, 1, SIZES)
    assert seen[0].any() and found["draws"].shape == (3, 3, len(recovery_ranks.TRUTHS))
    np.testing.assert_array_equal(*seen)

    def unreached(*_):
        return {"share": truth["share"] * np.nan, "n_edits": truth["n_edits"], "change": truth["change"]}

    truth = recovery_edits.causal_truth(world_study, "standard", 1, SIZES)
    monkeypatch.setattr(recovery_ranks, "causal_truth", unreached)
    with pytest.raises(ValueError, match="vertices have no causal share for the edits 'all': none of 20"):
        recovery_ranks.score_cell(world_study, methods, "standard", 1.0, 1, SIZES)


def test_vertices_that_no_edit_reaches_are_named():
    share = np.array([[0.1, 0.2], [np.nan, 0.3], [0.4, 0.5], [0.6, 0.7]])
    with pytest.raises(ValueError, match="1 of 2 vertices have no causal share for the edits 'removed'"):
        recovery_ranks._check_shares(share, [9, 3, 3, 3])
    recovery_ranks._check_shares(share[[0, 0, 2, 3]], [9, 3, 3, 3])


# --- correlations ---------------------------------------------------------------------------------


def test_rank_correlations_are_spearmans_and_missing_values_stay_missing(rng):
    maps, truths = rng.integers(5, size=(3, 40)).astype(float), rng.normal(size=(4, 40))
    maps[2], truths[3, 7] = 1, np.nan
    found = recovery_ranks.rank_correlations(maps, truths)
    expected = [[stats.spearmanr(a, b).statistic for b in truths[:3]] for a in maps[:2]]
    np.testing.assert_allclose(found[:2, :3], expected, atol=1e-12)
    assert (found[2, :3] == 0).all() and np.isnan(found[:, 3]).all()


def test_comparisons_are_paired_and_cover_what_they_should(rng):
    """Two maps with the same error differ by nothing; an independent error widens the interval."""
    truths = np.repeat(rng.normal(size=(1, 300)), len(recovery_ranks.TRUTHS), axis=0)
    truths[1:] += rng.normal(size=300)
    one = truths[0] + 0.5 * rng.normal(size=300)
    maps = np.array([one, 2 * one + 1, rng.normal(size=300), truths[0]])
    draws = recovery_ranks.resampled(maps, truths, np.random.default_rng(3), 200)
    again = recovery_ranks.resampled(maps, truths, np.random.default_rng(3), 200)
    np.testing.assert_array_equal(draws, again)
    value = recovery_ranks.rank_correlations(maps, truths)
    found = recovery_ranks.compare(np.array([value, value]), np.array([draws, draws]))
    np.testing.assert_allclose(found["lead"][:, 0, 1], 0, atol=1e-12)
    np.testing.assert_allclose(found["mean"][..., 0], value)
    assert found["gain"].shape == (3, 3) and found["lead"].shape == (2, 3, 3, 3)
    assert (found["gain"][0] < 0).all(), "the map follows the first truth, and the other has noise of its own"
    low, high = found["gain"][2, 1:]
    assert low < 0 < high and found["lead"][0, 0, 2, 1] > 0.5
    np.testing.assert_allclose(found["lead"][0, 0, 2, 0], value[0, 0] - value[2, 0])


def test_gains_and_leads_are_those_of_all_edits(rng):
    """All columns differ, and so do all differences between them."""
    value = rng.random((2, 4, len(recovery_ranks.TRUTHS)))
    found = recovery_ranks.compare(value, value[:, None] + 0.01 * rng.normal(size=(2, 50, 1, 1)))
    mixture, all_ = value.mean(0)[:3, :2].T
    np.testing.assert_allclose(found["gain"][:, 0], all_ - mixture)
    for k, of in enumerate((mixture, all_)):
        np.testing.assert_allclose(found["lead"][k, ..., 0], of[:, None] - of)


def test_the_script_compares_with_the_maps_of_the_benchmark(monkeypatch, capsys):
    """A product with more worlds, noise and methods, in another order."""
    axes = {"worlds": ["null", "correlated", "swapped", "standard"], "noise": [0.5, 1.0]}
    axes |= {"seeds": [2, 1, 0], "methods": [*recovery_methods.METHODS, "another"]}
    known = np.random.default_rng(3).random((4, 2, 3, len(axes["methods"]), 2))
    maps = SimpleNamespace(provenance=axes, path=Path("maps.npz"))
    monkeypatch.setattr(script, "product", lambda *_: fake)

    class Fake(dict):
        provenance, path = maps.provenance, maps.path

    fake, study = Fake(spearman=known), SimpleNamespace(root="here")
    score = known[[3, 2, 1]][:, 1, ::-1, :-1, 0]
    assert script.difference_from_maps(study, score) == 0
    score = score.copy()
    score[1, 2, 3] -= 0.015
    assert script.difference_from_maps(study, score) == pytest.approx(0.015)
    assert "Largest difference from the correlations of maps.npz: 0.015" in capsys.readouterr().out
    for wrong in (score[1, 2, 3] - 0.01, np.nan):
        score[1, 2, 3] = wrong
        with pytest.raises(ValueError, match=r"from those of maps.npz. At most 0\.02 was expected"):
            script.difference_from_maps(study, score)


def test_the_script_finds_the_maps_of_the_benchmark(world_study, monkeypatch, capsys):
    """Scores against the mixture are those of `recovery_scores`; the product has the axes that it names."""
    few = {name: recovery_methods.METHODS[name] for name in ("banded_product", "argmax_layers")}
    for name, value in (
        ("METHODS", few),
        ("SEEDS", (1,)),
        ("SEED_KEPT", 1),
        ("SIZES", SIZES),
        ("NOISE", 2.0),
    ):
        monkeypatch.setattr(script, name, value)
    monkeypatch.setattr(recovery_ranks, "N_DRAWS", 20)
    monkeypatch.setattr(script, "product", lambda *_: None)
    parts = {(world, 1): script.make(world_study, world, 1) for world in script.WORLDS}
    known = recovery_scores.score_cell(world_study, few, "swapped", 2.0, 1, SIZES)["spearman"]
    np.testing.assert_array_equal(parts["swapped", 1]["score"], known[:, 0])
    (arrays, provenance) = script.gather(world_study, lambda *part: parts[part])[""]
    np.testing.assert_allclose(arrays["spearman"][1, 0, :2, 0], known[:, 0], atol=1e-12)
    np.testing.assert_allclose(arrays["spearman"][:, 0, 2, 0], 1, atol=1e-12)
    printed = capsys.readouterr().out
    assert provenance["difference_from_maps"] is None and "order of the methods" in printed
    best = arrays["spearman"][0, 0, :2].argmax(0)
    same = f"in {int(best[0] == best[1])} of 1 seeds"
    assert f"the best by the causal share {same}" in printed.split("swapped")[0]
    for name, axes in provenance["axes"].items():
        assert arrays[name].ndim == len(axes), name
    assert arrays["share"].shape == (3, 4, 13 * SIZES.n_vertices) == (3, 4, len(provenance["regions"]))
    assert (arrays["share"][0] != arrays["share"][1])[:, : 10 * SIZES.n_vertices].any()
    assert pd.Series(provenance["regions"]).nunique() == 11
