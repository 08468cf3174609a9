"""Settings are chosen on validation images that train nothing, by the rule that was declared."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from data_scripts import ch06_choose_settings as settings
from data_scripts import ch08_choose_guidance as guidance
from latentcortex import nsd, shared_space
from latentcortex.studies import decoding, drawings, shared_training, validation
from latentcortex.studies.scores import Scorer
from latentcortex.studies.study import LAYERS, Study

pytestmark = pytest.mark.usefixtures("one_thread")
CRITERIA = ("a", "b", "c", "d")
ORDER = ["guided_share", "feature_scale", "max_relative_step"]


def cells_of(grid):
    table = pd.DataFrame(grid, columns=guidance.COLUMNS).astype(float)
    return table.fillna({"max_relative_step": np.inf})


def test_the_cell_with_the_best_mean_rank_is_chosen_and_of_equals_the_one_that_guides_less():
    cells = guidance.GRIDS["ridge"]["decoded"]
    means = np.zeros((len(cells), 4))
    means[[3, 9]] = 1.0, 1.0, 1.0, 0.5
    best = validation.rank(cells_of(cells), means, ORDER, CRITERIA).iloc[0]
    assert best.guided_share == min(cells[k][1] for k in (3, 9))
    assert (best.feature_scale, best.guided_share, None) in (cells[3], cells[9])
    means[0] = 2.0
    assert (
        validation.rank(cells_of(cells), means, ORDER, CRITERIA).iloc[0].feature_scale == 0
    )  # no guide is one of them


def test_of_equal_settings_the_one_with_less_guidance_then_less_strength_then_without_rescaling():
    cells = pd.DataFrame(settings.CELLS, columns=settings.COLUMNS)
    best = validation.rank(
        cells, np.zeros((len(cells), 4)), ["guidance_scale", "strength", "rescale"], CRITERIA
    ).iloc[0]
    assert tuple(best[settings.COLUMNS]) == (False, 0.3, 1.5)


def test_grids_hold_what_they_say_and_no_guide_once():
    cells = guidance.cross((10.0, 30.0), (0.5, 1.0), (1.0, None))
    assert cells[0] == guidance.NO_GUIDE and len(cells) == len(set(cells)) == 9
    assert {cell[2] for cell in cells[1:]} == {1.0, None}
    assert (cells_of(cells)["max_relative_step"] == np.inf).sum() == 5  # no limit is the highest one


def test_the_cells_that_help_the_most_images_come_first_and_keep_their_order():
    cells = cells_of(guidance.cross((30.0, 100.0, 300.0), (1.0,)))
    means = np.arange(4.0)[:, None].repeat(4, axis=1)  # the strongest is the best
    loss = np.full((4, 2, 100), 1.0)  # cells, subjects, images; the first cell is unguided
    loss[1:] = 0.5
    loss[3, 0, :5] = 2.0
    ranked = validation.rank(cells, means, ORDER, CRITERIA, loss)
    assert ranked["feature_scale"].tolist() == [100.0, 30.0, 300.0, 0.0]
    assert ranked["falls"].tolist() == [1.0, 1.0, 0.975, 0.0]
    loss[1:] = 1.0  # where none helps the order stays
    assert validation.rank(cells, means, ORDER, CRITERIA, loss)["feature_scale"].tolist() == [300, 100, 30, 0]


@pytest.fixture
def few(study):
    validation.validation_of.cache_clear()
    return validation.validation_of(study, "subj01", 6)


def test_validation_images_are_training_images_that_train_nothing(few, study, monkeypatch):
    train_ids = nsd.split(study.tables["subj01"])[0]
    assert len(few.image_ids) == 6 and not set(few.image_ids) & set(few.fit_ids)
    assert set(few.image_ids) | set(few.fit_ids) <= set(train_ids) and len(few.fit_ids) == 132
    fitted, fit = [], decoding.fit

    def spy(*given):
        fitted.append(fit(*given))
        return fitted[-1]

    monkeypatch.setattr(decoding, "fit", spy)
    z = few.decoded("z", rescale=False)
    g = few.targets("decoded")
    assert z.shape == (6, 4, 16, 16) and set(g.layers) == set(LAYERS)
    assert [set(one.decoder.image_ids_) for one in fitted] == [set(few.fit_ids)] * 7
    torch.testing.assert_close(few.decoded("z", rescale=False), z)
    assert len(fitted) == 7


def test_criteria_are_columns_of_the_protocol_and_low_level_the_mean_of_two(few):
    images = few.scorer.originals.flip(0)
    scores = pd.DataFrame(few.scorer(images, few.mean_image), columns=few.scorer.names)
    found = few.criteria(images)
    for k, name in enumerate(validation.criteria_of(few.study.preset)):
        low = scores[["colours in cells", "contrast energy"]].mean(axis=1)
        np.testing.assert_array_equal(found[:, k], low if name.startswith("low") else scores[name])


@pytest.mark.parametrize(
    ("script", "options"), [(settings, {}), (guidance, {"grid": "ridge"})], ids=("settings", "guidance")
)
def test_criteria_of_another_protocol_are_refused_before_any_work(study, script, options):
    """Kinds are read by a judge of rendered scenes: photographs have none."""
    preset = dataclasses.replace(study.preset, protocol="mindeye2", criteria=("PixCorr", "kinds"))
    asked = SimpleNamespace(validation_images=6, subjects=None, **options)
    with pytest.raises(ValueError, match="the criteria kinds, but its protocol 'mindeye2' has PixCorr, "):
        script.make_job(Study(preset, study.root), asked)


def test_criteria_that_these_images_do_not_allow_are_refused_before_the_first_drawing(study, monkeypatch):
    class WithoutKinds(Scorer):
        def __init__(self, *given):
            super().__init__(*given)
            self.names.remove("kinds")

    validation.validation_of.cache_clear()
    monkeypatch.setattr(validation, "Scorer", WithoutKinds)
    monkeypatch.setattr(drawings, "reconstruct", lambda *_, **__: pytest.fail("something was drawn"))
    for script, part in ((settings, (settings.CELLS[0],)), (guidance, ("true", guidance.NO_GUIDE))):
        with pytest.raises(ValueError, match="but kinds can't be computed for these images"):
            script.make(study, "subj01", 6, *part)


def test_a_cell_of_guidance_is_drawn_scored_and_watched(few, study):
    cell = (50.0, 0.6, 0.5)
    kept = guidance.make(study, "subj01", 6, "true", cell)
    assert kept["scores"].shape == (6, 4) and kept["pictures"].shape == (4, 64, 64, 3)
    assert 0 < kept["relative_step"][0] <= kept["relative_step"][1]
    np.testing.assert_array_equal(kept["validation_ids"], few.image_ids)
    plain = guidance.make(study, "subj01", 6, "true", guidance.NO_GUIDE)
    assert (plain["relative_step"] == 0).all() and (kept["loss"] < plain["loss"]).any()


def test_networks_are_tuned_on_their_own_validation_images(study, monkeypatch):
    trainings, done = shared_training.trainings_of(study), {"rescaled": [], "asked": []}
    ids = trainings.averages("subj02", "all")[1][1]

    def network(_self, *part):
        assert part[:4] == ("subj02", 0, "pretrained", "all")
        done["asked"].append(part[4])
        return part[4], {}

    def predict(network, betas, _subject, rescale):
        names = [f"g{k}" for k in LAYERS] if network == "g" else [network]
        assert rescale == (network != "g")
        rows = np.arange(len(betas))[:, None, None] + np.zeros((1, 2, 2))
        return dict.fromkeys(names, rows)

    monkeypatch.setattr(shared_training.Trainings, "network", network)
    monkeypatch.setattr(shared_space, "predict", predict)
    monkeypatch.setattr(shared_space, "fit_rescaling", lambda network, *_: done["rescaled"].append(network))
    held = validation.NetworkValidation(study, "subj02", n_images=4)
    assert done == {"rescaled": ["z", "c"], "asked": ["z", "c", "g"]}
    assert len(held.image_ids) == 4 and set(held.image_ids) <= set(ids)
    assert not set(held.fit_ids) & set(ids)
    for name in ("z", "c", "g2"):  # rows follow the images
        np.testing.assert_array_equal(ids[held.decoded(name, True)[:, 0, 0].int()], held.image_ids)
