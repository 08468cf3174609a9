"""The judge that is no network counts gradients and colours, and answers from them linearly."""

import numpy as np
import pytest
import torch
from test_networks import trained

from latentcortex.mini import scenes
from latentcortex.mini.classical_judge import ClassicalJudge, histograms, load_classical_judge

N_COLOURS = 16 * 64  # cells times colours; they come last


def test_colours_are_counted_cell_by_cell():
    images = np.zeros((1, 3, 64, 64), np.float32)
    images[0, 0, :16, 16:32] = 1  # the second cell of the upper row is red
    images[0, :, 48:56, 48:] = 1  # half of the last cell is white
    counts = histograms(images)[0, -N_COLOURS:].reshape(16, 64) ** 2
    np.testing.assert_allclose(counts.sum(1), 1, atol=1e-5)
    assert counts[1, 3 * 16] == pytest.approx(1)
    assert counts[15, 63] == pytest.approx(0.5) and counts[15, 0] == pytest.approx(0.5)
    assert (np.delete(counts, (1, 15), axis=0)[:, 0] == 1).all()


def test_gradients_tell_orientation_and_not_contrast():
    stripes = np.tile(np.sin(np.arange(64) / 2), (64, 1)).astype(np.float32)
    upright, lying = (0.5 + 0.4 * np.stack([x] * 3)[None] for x in (stripes, stripes.T))
    faint = 0.5 + 0.1 * np.stack([stripes] * 3)[None]
    a, b, c = (histograms(x)[0, :-N_COLOURS] for x in (upright, lying, faint))
    assert np.linalg.norm(a - c) < 0.05 * np.linalg.norm(a - b)


def test_answers_are_linear_and_named_as_the_network_judges(rng):
    images = torch.rand(3, 3, 64, 64)
    features = histograms(images)
    coef, intercept = rng.normal(size=(features.shape[1], 19)), rng.normal(size=19)
    answers = ClassicalJudge(coef, intercept)(images)
    assert {name: values.shape for name, values in answers.items()} == {
        "setting": (3, 6),
        "time": (3, 3),
        "kind": (3, 10),
    }
    together = np.hstack(list(answers.values()))
    np.testing.assert_allclose(together, features @ coef + intercept, rtol=1e-3, atol=1e-3)


@trained
def test_the_shipped_classical_judge_reads_settings_and_some_kinds():
    drawn = scenes.sample_scenes(100, np.random.default_rng(7))
    images = scenes.render(drawn).transpose(0, 3, 1, 2).astype(np.float32) / 255
    says = load_classical_judge()(images)
    setting = [scenes.SETTINGS[k] for k in says["setting"].argmax(1)]
    assert np.mean([a == s.setting for a, s in zip(setting, drawn, strict=True)]) > 0.9
    there = np.array([[kind in {t.kind for t in s.things} for kind in scenes.KINDS] for s in drawn])
    named = says["kind"] > 0
    assert 2 * (named & there).sum() / (named.sum() + there.sum()) > 0.5
    gap = named[there].mean() - named[~there].mean()
    assert gap > 0.4
