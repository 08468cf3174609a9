"""Where regressions are computed, and what they share."""

import numpy as np
import pytest
import torch

from latentcortex.ridge import Ridge, decomposition


def test_targets_of_the_same_rows_share_one_decomposition(monkeypatch):
    made, rng = [], np.random.default_rng(3)
    decompose = decomposition._decompose

    def counted(*rows):
        made.append(len(rows[0]))
        return decompose(*rows)

    monkeypatch.setattr(decomposition, "_decompose", counted)
    monkeypatch.setattr(decomposition, "_LAST", (None, None))
    X, Y = rng.standard_normal((30, 50)), rng.standard_normal((30, 6))
    ridge = Ridge([1.0, 10.0], cv="gcv", zscore=True)
    together = ridge.fit(X, Y).coef_
    apart = [ridge.fit(X.copy(), Y[:, [k]]).coef_ for k in range(6)]
    np.testing.assert_allclose(np.hstack(apart), together, rtol=1e-12, atol=1e-14)
    assert made == [30]
    X[3, 4] += 1  # in place: the array is the same, its numbers are not
    moved = ridge.fit(X, Y).coef_
    assert made == [30, 30] and not np.allclose(moved, together, atol=1e-6)
    monkeypatch.setattr(decomposition, "_LAST", (None, None))
    np.testing.assert_array_equal(ridge.fit(X, Y).coef_, moved)
    ridge.fit(X, Y, sample_weight=np.arange(30) + 1.0)
    ridge.set_params(zscore=False).fit(X, Y)
    ridge.fit(X.astype(np.float32), Y)
    assert made == [30] * 6


@pytest.mark.parametrize("cv", ["gcv", 3])
@pytest.mark.parametrize("zscore", [False, True])
def test_the_targets_go_to_the_device_block_by_block(monkeypatch, cv, zscore):
    rng, sent = np.random.default_rng(4), []
    X, Y = torch.from_numpy(rng.standard_normal((20, 40))), torch.from_numpy(rng.standard_normal((20, 10)))
    at_home = Ridge([1.0, 10.0], cv=cv, zscore=zscore).fit(X, Y)
    to = torch.Tensor.to

    def recorded(tensor, *where, **more):
        to_device = where and isinstance(where[0], str | torch.device)
        if to_device and tensor.ndim == 2 and len(tensor) == 20:
            sent.append(tensor.shape[1])
        return to(tensor, *where, **more)

    monkeypatch.setattr(torch.Tensor, "to", recorded)
    there = Ridge([1.0, 10.0], cv=cv, zscore=zscore, block_size=4, device="cpu").fit(X, Y)
    assert 40 in sent and 0 < max(width for width in sent if width != 40) <= 4  # X whole, Y in blocks
    torch.testing.assert_close(there.coef_, at_home.coef_)
    torch.testing.assert_close(there.cv_scores_, at_home.cv_scores_)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("cv", ["gcv", 3])
def test_a_gpu_gives_the_results_of_the_cpu(cv):
    rng = np.random.default_rng(5)
    X, Y = rng.standard_normal((200, 300)), rng.standard_normal((200, 2000))
    ridges = [Ridge(cv=cv, zscore=True, device=device).fit(X, Y) for device in (None, "cuda")]
    np.testing.assert_allclose(ridges[1].coef_, ridges[0].coef_, atol=1e-10)
    np.testing.assert_array_equal(ridges[1].alpha_, ridges[0].alpha_)
    assert isinstance(ridges[1].coef_, np.ndarray)
