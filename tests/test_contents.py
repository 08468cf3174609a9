"""What two readings name in common."""

import numpy as np
import pytest
import torch

from latentcortex import metrics
from latentcortex.mini.networks import readings


def test_f1_equals_scikit_learn(rng):
    from sklearn.metrics import f1_score

    true, pred = rng.random((2, 50, 10)) < 0.2
    expected = [f1_score(a, b, zero_division=1.0) for a, b in zip(true, pred, strict=True)]
    np.testing.assert_allclose(metrics.f1(true, pred), expected)
    assert metrics.f1(np.zeros((1, 3), bool), np.zeros((1, 3), bool)) == [1]
    with pytest.raises(ValueError, match="as bool"):
        metrics.f1(true.astype(int), pred)


def test_readings_bind_colours_and_places_to_kinds_that_are_there():
    kind = torch.tensor([[1.0, -1.0]])
    colour = torch.tensor([[[0.0, 2.0, 1.0], [5.0, 0.0, 0.0]]])
    answers = {"setting": torch.tensor([[0.0, 3.0]]), "kind": kind, "colour": colour}
    named = readings(answers)
    assert named["setting"].tolist() == [1]
    assert named["kinds"].tolist() == [[True, False]]
    assert named["colours"].tolist() == [[[False, True, False], [False] * 3]]
    assert "places" not in named
