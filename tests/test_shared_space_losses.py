import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from latentcortex.shared_space import bimixco, draw_mixing, mix, softclip
from latentcortex.shared_space.losses import cosine_temperature


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 6, 3, 4, generator=generator, dtype=torch.float64)


def cosine(a, b):
    return float(a.flatten() @ b.flatten() / (a.norm() * b.norm()))


def log_softmax(scores, k):
    return scores[k] - math.log(sum(math.exp(s) for s in scores))


def test_bimixco_is_the_double_loop(pair):
    projected, targets = pair
    weights = torch.tensor([0.9, 1.0, 0.2, 0.5, 1.0, 0.7], dtype=torch.float64)
    partners = torch.tensor([3, 0, 2, 1, 5, 4])
    n, expected = len(targets), 0
    for i in range(n):
        k = int(partners[i])
        forth = [cosine(projected[i], targets[j]) / 0.1 for j in range(n)]
        expected -= weights[i] * log_softmax(forth, i) + (1 - weights[i]) * log_softmax(forth, k)
        for j, weight in ((i, weights[i]), (k, 1 - weights[i])):
            back = [cosine(projected[m], targets[j]) / 0.1 for m in range(n)]
            expected -= weight * log_softmax(back, i)
    loss = bimixco(projected, targets, weights, partners, temperature=0.1)
    assert float(loss) == pytest.approx(float(expected) / (2 * n), rel=1e-12)


def test_a_trial_mixed_with_itself_is_a_whole_trial(pair):
    projected, targets = pair
    itself = torch.arange(6)
    mixed = bimixco(projected, targets, torch.full((6,), 0.3).double(), itself, 0.1)
    whole = bimixco(projected, targets, torch.ones(6).double(), itself.flip(0), 0.1)
    torch.testing.assert_close(mixed, whole)


def test_softclip_is_the_double_loop(pair):
    projected, targets = pair
    n, expected = len(targets), 0
    for i in range(n):
        soft = [cosine(targets[i], targets[j]) / 0.1 for j in range(n)]
        forth = [cosine(projected[i], targets[j]) / 0.1 for j in range(n)]
        back = [cosine(projected[j], targets[i]) / 0.1 for j in range(n)]
        for j in range(n):
            label = math.exp(log_softmax(soft, j))
            expected -= label * (log_softmax(forth, j) + log_softmax(back, j))
    assert float(softclip(projected, targets, 0.1)) == pytest.approx(expected / (2 * n), rel=1e-12)


def test_softclip_of_targets_unlike_each_other_is_cross_entropy():
    targets = torch.eye(5)
    projected = torch.randn(5, 5, generator=torch.Generator().manual_seed(0))
    logits = F.normalize(projected, dim=1) / 0.02
    rows = torch.arange(5)
    expected = (F.cross_entropy(logits, rows) + F.cross_entropy(logits.T, rows)) / 2
    torch.testing.assert_close(softclip(projected, targets, 0.02), expected)


def test_temperature_moves_on_half_a_cosine():
    assert cosine_temperature(0) == pytest.approx(0.004)
    assert cosine_temperature(1) == pytest.approx(0.0075)
    assert cosine_temperature(0.5) == pytest.approx((0.004 + 0.0075) / 2)
    # The public code's table of 100 epochs.
    table = 0.0075 + (0.004 - 0.0075) / 2 * (1 + torch.cos(torch.pi * torch.arange(100) / 99))
    np.testing.assert_allclose([cosine_temperature(k / 99) for k in range(100)], table, rtol=1e-6)


def test_mixing_is_drawn_for_a_share_of_the_trials(rng):
    weights, partners = draw_mixing(20_000, rng, beta=0.15, threshold=0.3)
    assert weights.dtype == torch.float32 and weights.min() >= 0 and weights.max() <= 1
    np.testing.assert_array_equal(np.sort(partners), np.arange(20_000))
    mixed = weights[weights < 1]
    # A few of Beta(0.15, 0.15) round to 1. Its mean is 1/2, its variance 1/4 / (2 * 0.15 + 1).
    assert len(mixed) / 20_000 == pytest.approx(0.3, abs=0.04)
    assert weights.mean() == pytest.approx(0.7 + 0.3 / 2, abs=0.01)
    assert weights.var() == pytest.approx(0.3 * (1 / 4 / 1.3 + 0.7 / 4), abs=0.01)
    assert (draw_mixing(50, rng, threshold=0)[0] == 1).all()


def test_mix_is_the_weighted_sum_of_two_rows(pair):
    values = pair[0]
    weights, partners = torch.rand(6).double(), torch.tensor([1, 0, 5, 3, 2, 4])
    mixed = mix(values, weights, partners)
    for i in range(6):
        expected = weights[i] * values[i] + (1 - weights[i]) * values[partners[i]]
        torch.testing.assert_close(mixed[i], expected)
    torch.testing.assert_close(mix(values, torch.ones(6).double(), partners), values)
