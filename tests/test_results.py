"""Products are found, described and held against what a page computes."""

import dataclasses
import shutil

import numpy as np
import pytest

from latentcortex import nsd, presets, store
from latentcortex.command import main
from latentcortex.studies import keys, results
from latentcortex.studies.results import Product, product
from latentcortex.studies.study import Study

TOLERANCE = {"largest": 0.02, "median": 0.005, "mean": 0.01}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "folders", lambda: [tmp_path])
    return tmp_path


@pytest.fixture
def saved(folder, study):
    """A product of the tiny study, of which everything is known."""
    path = folder / f"ch05_decode_latents-{results.label(study.preset, study.root)}.npz"
    provenance = {
        "script": "ch05_decode_latents",
        "date": "2026-11-29",
        "tolerance": TOLERANCE,
        "settings": keys.settings_of(study.preset),
    }
    r = np.linspace(0, 1, 50).astype(np.float16)
    return store.save(path, provenance=provenance, r=r, n=np.arange(3))


def test_a_product_is_found_by_its_script_and_its_data(saved, study):
    found = product("ch05_decode_latents", study.root, preset=study.preset)
    assert found and found.path == saved
    assert found["r"].dtype == float and found["n"].dtype == int
    assert found.provenance["tolerance"] == TOLERANCE


def test_presets_that_begin_with_the_same_letters_do_not_share_a_product(study, monkeypatch):
    monkeypatch.setattr(results.nsd, "identity", lambda *_: "mini-standard-seed0-0123")
    names = ("mini", "m", "mini-standard")
    labels = [results.label(dataclasses.replace(study.preset, name=name), study.root) for name in names]
    own = "mini-standard-seed0-0123"
    assert labels == [own, f"m-{own}", f"mini-standard-{own}"]


def test_products_are_named_by_what_the_data_hold_wherever_they_lie(saved, study, tmp_path):
    moved = shutil.copytree(study.root, tmp_path / "of another name")
    preset, name = study.preset, nsd.identity(study.root, study.subjects)
    assert name.startswith("nsd-")
    assert results.label(preset, moved) == results.label(preset, study.root) == f"mini-{name}"
    assert Study(preset, moved).identity == study.identity == name
    assert Study(preset, moved).description("vae") == study.description("vae")  # so kept parts are found, too
    assert product("ch05_decode_latents", moved, preset=preset).path == saved
    path = next(moved.glob("nsddata_betas/ppdata/subj02/*/betas_*/lh.betas_session01.mgh"))
    path.unlink()
    other = shutil.copytree(moved, tmp_path / study.root.name)  # another tree in a folder of the same name
    assert not product("ch05_decode_latents", other, preset=preset)


def test_products_of_simulated_trees_have_the_name_that_the_tree_carries(study, tmp_path):
    (tmp_path / "simulation").mkdir()
    (tmp_path / "simulation" / "provenance.json").write_text('{"name": "mini-swapped-seed3-0123456789ab"}')
    assert results.label(study.preset, tmp_path) == "mini-swapped-seed3-0123456789ab"


def test_a_missing_product_is_false_and_says_what_makes_it(folder, study, capsys):
    missing = product("ch09_measure_reconstructions", study.root, "-pictures", preset=study.preset)
    assert not missing and folder.is_dir()
    assert "latentcortex run ch09_measure_reconstructions" in capsys.readouterr().out


def test_a_product_of_other_settings_is_not_used(saved, study, capsys):
    other = dataclasses.replace(study.preset, strength=0.123)
    assert not product("ch05_decode_latents", study.root, preset=other)
    printed = capsys.readouterr().out
    assert saved.name in printed and "strength 0.6, now 0.123" in printed


def test_a_page_that_agrees_passes_and_one_that_does_not_is_stopped(saved, capsys):
    found = Product("ch05_decode_latents", saved)
    r = found["r"]
    found.check({"r": r + 0.004}, {"r": r})
    assert "4.0e-03" in capsys.readouterr().out
    for off in (0.015, np.where(np.arange(50) == 7, 0.03, 0.0)):
        with pytest.raises(ValueError, match="disagrees with this page.*latentcortex run ch05"):
            found.check({"r": r + off}, {"r": r})
    found.check({"r": r + np.where(np.arange(50) == 7, 0.03, 0.0)}, {"r": r}, ["median"])


@pytest.mark.parametrize(
    ("live", "stored", "statistics", "message"),
    [
        ({"r": np.array([np.nan, 1.0])}, {"r": np.array([0.0, 1.0])}, None, "NaN or infinity"),
        ({"r": np.array([np.inf, 5.0])}, {"r": np.array([0.0, 5.0])}, None, "NaN or infinity"),
        ({"r": np.full(2, np.nan)}, {"r": np.full(2, np.nan)}, None, "nothing else"),
        ({"r": np.zeros(2)}, {"r": np.zeros(3)}, None, "this page has"),
        ({"r": np.zeros(0)}, {"r": np.zeros(0)}, ["mean"], "nothing else"),
        ({}, {}, None, "at least one score"),
        ({"r": np.zeros(2)}, {}, None, "has no r"),
        ({"r": np.zeros(2)}, {"r": np.zeros(2)}, ["most"], "limits for largest, mean, median"),
    ],
)
def test_what_can_not_be_compared_does_not_pass(saved, live, stored, statistics, message):
    with pytest.raises(ValueError, match=message):
        Product("ch05_decode_latents", saved).check(live, stored, statistics)


def test_infinity_on_both_sides_hides_no_difference(saved):
    pair = {"r": np.array([np.inf, 5.0])}, {"r": np.array([np.inf, 0.0])}
    with pytest.raises(ValueError, match="disagrees"):
        Product("ch05_decode_latents", saved).check(*pair)


def test_the_command_lists_products_and_says_whether_they_belong(saved, folder, capsys):
    script = {"ch05_decode_latents": results.shipped_folder("data_scripts") / "ch05_decode_latents.py"}
    assert results.state(saved, script).startswith("no: ")
    arrays, provenance = store.load(saved), store.provenance(saved)
    store.save(
        saved, provenance={**provenance, "code": keys.code_of(script["ch05_decode_latents"])}, **arrays
    )
    assert results.state(saved, script) == "yes"
    (folder / "ch09_damaged.npz").write_bytes(b"PK no zip")
    assert main(["results"]) == 0
    printed = capsys.readouterr().out
    assert "2026-11-29" in printed and "damaged: delete it" in printed


def test_every_shipped_product_belongs_to_this_code_or_was_compared_with_it():
    scripts = {path.stem: path for path in results.shipped_folder("data_scripts").glob("ch*.py")}
    shipped = sorted(results.shipped_folder("results").glob("*.npz"))
    states = {path.stem: results.state(path, scripts) for path in shipped}
    assert len(states) >= 19 and {name.split("-")[0] for name in states} == set(scripts)
    assert {name: state for name, state in states.items() if state.startswith("no")} == {}


def test_shipped_products_are_those_of_the_default_preset():
    preset = presets.get("mini")
    for path in results.shipped_folder("results").glob("*.npz"):
        made_with = store.provenance(path).get("settings", {})
        assert results._other_settings(made_with, preset) == "", path.name


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "ch99"], "no script 'ch99'. There are: ch00_open_the_book"),
        (["cache", "--remove", "nothing"], "no nothing"),
    ],
)
def test_the_command_ends_with_a_sentence_and_a_status(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LATENTCORTEX_CACHE", str(tmp_path))
    assert main(words) == 1
    assert message in capsys.readouterr().err


def test_options_before_the_name_of_a_script_are_answered_with_where_they_belong(capsys):
    with pytest.raises(SystemExit):
        main(["run", "--shard", "0/2", "ch05_decode_latents"])
    assert "usage: latentcortex run NAME [OPTION ...]" in capsys.readouterr().err


def test_the_cache_is_listed_and_tidied(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LATENTCORTEX_CACHE", str(tmp_path))
    store.save(tmp_path / "kept" / "toy" / ("0" * 12) / "part-1.npz", provenance={}, x=np.zeros(9))
    assert main(["cache"]) == 0
    assert "kept parts" in capsys.readouterr().out
    assert main(["cache", "--remove", "temporary"]) == 0
    assert main(["cache", "--remove", "kept parts"]) == 0
    assert "Removed 1" in capsys.readouterr().out and not list(tmp_path.rglob("*.npz"))
