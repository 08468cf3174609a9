import pytest
import torch

from latentcortex.shared_space import DiffusionPrior


@pytest.fixture(autouse=True)
def _one_thread(one_thread):
    pass


def make_prior(**changes):
    torch.manual_seed(0)
    return DiffusionPrior(**({"n_tokens": 3, "width": 8, "depth": 1, "n_heads": 2} | changes))


def random_tokens(n, seed):
    return torch.randn(n, 3, 8, generator=torch.Generator().manual_seed(seed))


def test_loss_is_the_error_of_targets_denoised():
    prior = make_prior(drop_share=0.5)
    targets, condition = random_tokens(64, 1), random_tokens(64, 2)
    loss = prior.loss(targets, condition, torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(3)
    timesteps = torch.randint(100, (64,), generator=generator)
    noise = torch.randn(64, 3, 8, generator=generator)
    dropped = torch.rand(64, generator=generator) < 0.5
    errors = []
    for i in range(64):
        abar = prior.scheduler.alphas_cumprod[timesteps[i]]
        noisy = abar.sqrt() * targets[i] + (1 - abar).sqrt() * noise[i]
        given = prior.no_condition if dropped[i] else condition[i]
        denoised = prior.denoise(noisy[None], timesteps[i : i + 1], given[None])[0]
        errors.append(((denoised - targets[i]) ** 2).mean())
    torch.testing.assert_close(loss, torch.stack(errors).mean())


def test_noise_levels_reach_from_almost_none_to_almost_all():
    abar = make_prior().scheduler.alphas_cumprod
    assert len(abar) == 100 and abar[0] > 0.999 and abar[-1] < 1e-6


def test_sampling_starts_from_noise_alone_and_ends_without(monkeypatch):
    prior, levels = make_prior(), []

    def denoise(_noisy, timesteps, condition):
        levels.append(int(timesteps[0]))
        return condition

    monkeypatch.setattr(prior, "denoise", denoise)
    condition = random_tokens(2, 1)
    torch.testing.assert_close(prior.sample(condition), condition)
    assert levels == list(range(99, 0, -5))


def test_sampling_with_the_optimal_denoiser_draws_from_the_distribution():
    """Of targets N(condition, 0.5^2) the best prediction from y_t is known."""
    prior = make_prior()
    abar_of = prior.scheduler.alphas_cumprod

    def denoise(noisy, timesteps, condition):
        abar = abar_of[timesteps][:, None, None]
        gain = abar.sqrt() * 0.25 / (abar * 0.25 + 1 - abar)
        return condition + gain * (noisy - abar.sqrt() * condition)

    prior.denoise = denoise
    # One row of very many tokens, as all rows start from the same noise.
    condition = 3 * torch.randn(1, 4000, 8, generator=torch.Generator().manual_seed(1))
    drawn = prior.sample(condition) - condition
    assert drawn.mean().abs() < 0.01
    # DDIM ends the narrower the fewer its steps.
    assert drawn.std() == pytest.approx(0.5, abs=0.05)
    assert (prior.sample(condition, n_steps=100) - condition).std() == pytest.approx(0.5, abs=0.01)


def test_one_row_is_the_same_alone_and_among_others():
    prior = make_prior().eval()
    condition = random_tokens(5, 1)
    state = torch.random.get_rng_state()
    together = prior.sample(condition)
    torch.testing.assert_close(prior.sample(condition[2:3]), together[2:3], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(prior.sample(condition, seed=1), together, atol=1e-2)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_scale_of_the_condition():
    prior = make_prior().eval()
    one, other = random_tokens(2, 1), random_tokens(2, 2)
    plain = prior.sample(one)
    torch.testing.assert_close(prior.sample(one, cond_scale=1 + 1e-6), plain, atol=1e-3, rtol=1e-3)
    assert not torch.allclose(prior.sample(other), plain, atol=1e-2)
    torch.testing.assert_close(prior.sample(one, cond_scale=0), prior.sample(other, cond_scale=0))


def test_the_scheduler_is_left_as_it_was():
    prior = make_prior()
    before = prior.scheduler.timesteps.clone()
    prior.sample(random_tokens(1, 1), n_steps=5)
    assert torch.equal(prior.scheduler.timesteps, before)


def test_a_prior_learns_what_the_condition_says():
    prior = make_prior(drop_share=0.1)
    optimiser = torch.optim.Adam(prior.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        condition = torch.randn(64, 3, 8, generator=generator)
        targets = 0.9 * condition.flip(2) + 0.4 * torch.randn(64, 3, 8, generator=generator)
        loss = prior.loss(targets, condition, generator)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    condition = random_tokens(100, 5)
    drawn = prior.eval().sample(condition)
    r = torch.corrcoef(torch.stack([drawn.flatten(), condition.flip(2).flatten()]))[0, 1]
    # At most 0.9 / sqrt(0.9^2 + 0.4^2) = 0.91 can be had.
    assert r > 0.75
