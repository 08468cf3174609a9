"""Script ch14: decoders that have never met a label, next to decoders of as many images."""

import dataclasses
import shutil

import numpy as np
import pandas as pd
import pytest

from data_scripts import ch14_leave_kinds_out as ch14
from latentcortex import nsd, presets
from latentcortex.mini.scenes import KINDS, SETTINGS
from latentcortex.studies import decoding, open_study


@pytest.fixture(scope="module")
def labelled(tiny_tree, tmp_path_factory):
    """A study of tiny data whose images have made-up contents, and the table of them."""
    folder = tmp_path_factory.mktemp("labelled")
    shutil.copytree(tiny_tree, folder / "nsd")
    rng, n = np.random.default_rng(4), 72
    table = pd.DataFrame({"setting": rng.choice(SETTINGS[:3], n)}).rename_axis("image_id")
    kinds = np.array([rng.permutation(KINDS[:4])[:2] for _ in range(n)])
    table["kind_1"], table["kind_2"] = kinds[:, 0], np.where(rng.random(n) < 0.5, kinds[:, 1], None)
    (folder / "nsd/simulation").mkdir()
    table.to_csv(folder / "nsd/simulation/ground_truth.csv")
    preset = dataclasses.replace(presets.get("mini"), subjects=(1, 2), rescale=False, n_steps=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LATENTCORTEX_CACHE", str(folder / "cache"))
        yield open_study(dataclasses.replace(preset, data=str(folder)), folder / "nsd"), table


def test_no_training_image_shows_what_is_left_out(labelled):
    study, table = labelled
    train_ids = nsd.split(study.tables["subj01"])[0]
    shows = {"setting": lambda ids, label: (table.loc[ids, "setting"] == label).to_numpy()}
    shows["kind"] = lambda ids, label: (table.loc[ids, ["kind_1", "kind_2"]] == label).any(axis=1).to_numpy()
    chosen = ch14.choices(study, "subj01")
    assert {of for of, _ in chosen} == {"setting", "kind"}
    for (of, label), one in chosen.items():
        without, as_many = one["without"], one["as many"]
        assert not shows[of](without, label).any()
        left = train_ids[~shows[of](train_ids, label)]
        np.testing.assert_array_equal(without, left)
        # As many, drawn from all of them: some show the label.
        assert len(np.unique(as_many)) == len(without) and np.isin(as_many, train_ids).all()
        assert shows[of](as_many, label).any()
        np.testing.assert_array_equal(one["shown"], shows[of](one["test_ids"], label))
        n_shown = shows[of](study.image_ids, label).sum()
        assert one["shown"].sum() == n_shown > 0
        assert (~one["shown"]).sum() == (len(study.image_ids) - n_shown if of == "kind" else 0)
    shown = np.concatenate([one["test_ids"] for (of, _), one in chosen.items() if of == "setting"])
    np.testing.assert_array_equal(np.sort(shown), study.image_ids)


def test_labels_that_no_test_image_shows_have_no_part(labelled):
    study, table = labelled
    names = {label for of, label in ch14.choices(study, "subj02") if of == "setting"}
    assert names == set(table.loc[study.image_ids, "setting"])


@pytest.mark.usefixtures("one_thread")
def test_both_decoders_learn_from_the_images_chosen_and_draw_the_test_images(labelled, monkeypatch):
    study, _ = labelled
    chosen, learned, fit = next(iter(ch14.choices(study, "subj01").values())), [], decoding.fit

    def spy(*given):
        learned.append(fit(*given))
        return learned[-1]

    monkeypatch.setattr(decoding, "fit", spy)
    drawn = {
        how: ch14.draw_left_out(study, "subj01", chosen[how], chosen["test_ids"]) for how in ch14.DECODERS
    }
    assert len(learned) == 4  # z and c
    for one, how in zip(learned, ("without", "without", "as many", "as many"), strict=True):
        np.testing.assert_array_equal(one.train_ids, chosen[how])
        assert set(one.decoder.image_ids_) <= set(chosen[how]) and len(one.train_betas) == len(chosen[how])
    shape = (len(chosen["test_ids"]), 3, 64, 64)
    assert drawn["without"].shape == drawn["as many"].shape == shape
    assert (drawn["without"] - drawn["as many"]).abs().max() > 0.01
    # Rows stay with their images.
    reversed_ids = chosen["test_ids"][::-1].copy()
    again = ch14.draw_left_out(study, "subj01", chosen["without"], reversed_ids)
    np.testing.assert_allclose(again.flip(0), drawn["without"], atol=1e-3)


def test_an_absent_table_says_what_to_write(labelled, tmp_path):
    with pytest.raises(FileNotFoundError, match="Write such a table"):
        ch14.contents(tmp_path, "ground_truth", labelled[0].image_ids)
