"""Guidance against finite differences, itself in other batches and the sampler without it."""

import copy
import dataclasses

import pytest
import torch
import torch.nn.functional as F
from diffusers import DPMSolverMultistepScheduler
from tiny_models import (
    LATENT_SHAPE,
    gaussian_unet,
    generators,
    quadratic,
    random_states,
    stable_diffusion_schedule,
    states_with_mean,
    tiny_clip_image_encoder,
    tiny_latent_diffusion,
    tiny_unet,
    tiny_vae,
)

from latentcortex.features import encode_clip_layers
from latentcortex.sampler import FeatureTargets, Guidance, feature_guide, make_generator, sample

pytestmark = pytest.mark.usefixtures("one_thread")


# Real networks, finite differences


@pytest.fixture(scope="module")
def networks():
    unet, vae = (network.double().eval().requires_grad_(False) for network in (tiny_unet(), tiny_vae()))
    return unet, vae, tiny_clip_image_encoder(torch.float64)


def random_targets(encoder, n, seed=3):
    images = torch.rand(n, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
    layers = encode_clip_layers(encoder, images.to(encoder.mean), (1, 3))
    return FeatureTargets({k: g.float() for k, g in layers.items()}, range(n), encoder.name)


@pytest.mark.parametrize("blend", [True, False])
def test_the_gradient_is_that_of_finite_differences(networks, blend):
    unet, vae, encoder = networks
    targets = random_targets(encoder, 2)
    generator = torch.Generator().manual_seed(4)
    noisy = torch.randn(2, *LATENT_SHAPE, generator=generator).double()
    states, abar = random_states(2).double(), torch.tensor(0.3, dtype=torch.float64)

    def loss_of(noisy):
        noise = unet(noisy, 400, encoder_hidden_states=states).sample
        seen = (noisy - (1 - abar) ** 0.5 * noise) / abar**0.5
        if blend:
            seen = (1 - abar) ** 0.5 * seen + (1 - (1 - abar) ** 0.5) * noisy
        images = (vae.decode(seen / 0.4).sample + 1) / 2
        found = encode_clip_layers(encoder, images, (1, 3), clamped=False)
        return sum(
            w * (found[k] - targets.layers[k]).square().mean((1, 2)) for k, w in {1: 0.7, 3: 0.2}.items()
        )

    guidance = Guidance(feature_guide(encoder, targets, {1: 0.7, 3: 0.2}), 50.0, decoder=vae, blend=blend)
    noise_pred, correction = guidance.correct(
        lambda z: unet(z, 400, encoder_hidden_states=states).sample, noisy, abar, torch.arange(2), 0, 400
    )
    torch.testing.assert_close(noise_pred, unet(noisy, 400, encoder_hidden_states=states).sample)
    for _ in range(5):
        direction = torch.randn(noisy.shape, generator=generator).double()
        ahead, behind = (loss_of(noisy + h * direction) for h in (1e-5, -1e-5))
        slope = 50 * (1 - abar) ** 0.5 * (ahead - behind) / 2e-5
        along = (correction * direction).flatten(1).sum(1)
        torch.testing.assert_close(along, slope, rtol=1e-5, atol=1e-9)


def test_without_the_unet_it_is_the_gradient_of_the_decoder_times_one_number(networks):
    unet, vae, encoder = networks
    guide = feature_guide(encoder, random_targets(encoder, 2))
    noisy = torch.randn(2, *LATENT_SHAPE, generator=torch.Generator().manual_seed(5)).double()
    noise, abar = torch.randn_like(noisy), torch.tensor(0.2, dtype=torch.float64)
    guidance = Guidance(guide, 7.0, decoder=vae, through_unet=False)
    _, correction = guidance.correct(lambda _: noise, noisy, abar, torch.arange(2), 0, 400)
    gamma = (1 - abar) ** 0.5
    seen = gamma * (noisy - gamma * noise) / abar**0.5 + (1 - gamma) * noisy
    seen.requires_grad_()
    loss = guide((vae.decode(seen / 0.4).sample + 1) / 2, torch.arange(2)).sum()
    (of_seen,) = torch.autograd.grad(loss, seen)
    expected = 7 * gamma * (gamma / abar**0.5 + 1 - gamma) * of_seen
    torch.testing.assert_close(correction, expected, rtol=1e-9, atol=0)


# In the sampler


@pytest.fixture(scope="module")
def model():
    return tiny_latent_diffusion()


def draw(model, guidance=None, n=4, rows=None, scheduler=None, **changes):
    """Draw n images, or some rows of them, of a start and a condition of their own."""
    rows = torch.arange(n) if rows is None else torch.as_tensor(rows)
    latents = torch.randn(n, *LATENT_SHAPE, generator=torch.Generator().manual_seed(13))
    settings = {"strength": 0.8, "n_steps": 10, "guidance_scale": 4.0} | changes
    return sample(
        model.unet,
        scheduler or model.scheduler,
        random_states(n)[rows],
        random_states(1, seed=11),
        latents=latents[rows],
        generators=[make_generator(int(row), 0) for row in rows],
        guidance=guidance,
        image_ids=rows,
        **settings,
    )


def features_of(model, n=4):
    encoder = tiny_clip_image_encoder()
    return {"guide": feature_guide(encoder, random_targets(encoder, n)), "decoder": model.vae}


SCHEDULERS = {
    "ddim": stable_diffusion_schedule(),
    "dpm": DPMSolverMultistepScheduler.from_config(stable_diffusion_schedule().config),
}


@pytest.mark.parametrize("scheduler", list(SCHEDULERS))
def test_x0_and_noise_are_corrected_alike(model, scheduler):
    # eps' = eps + k sqrt(1 - abar) grad is x0' = x0 - k (1 - abar) / sqrt(abar) grad: in the
    # first step, which starts from the same noisy latents, both differences must agree.
    scheduler, watched, originals = SCHEDULERS[scheduler], [], []

    def callback(step, _timestep, _latents, pred_original_sample):
        if step == 0:
            originals.append(pred_original_sample)

    draw(model, scheduler=scheduler, callback=callback)
    draw(
        model,
        Guidance(**features_of(model), feature_scale=30.0, watch=watched.append),
        scheduler=scheduler,
        callback=callback,
    )
    first = watched[0]
    abar = scheduler.alphas_cumprod[first.timestep]
    expected = originals[0] - 30 * (1 - abar) / abar**0.5 * first.gradient
    torch.testing.assert_close(originals[1], expected, rtol=1e-4, atol=1e-4)
    assert (first.relative_step > 0.01).all()  # there is something to compare


def test_at_scale_zero_nothing_changes_bit_by_bit(model):
    guided = draw(model, Guidance(**features_of(model), feature_scale=0.0))
    assert torch.equal(guided, draw(model))
    guided = draw(model, Guidance(**features_of(model), feature_scale=9.0, guided_share=0.1))
    assert torch.equal(guided, draw(model))  # a tenth of eight steps is none


@pytest.mark.parametrize("through_unet", [True, False])
@pytest.mark.parametrize("scheduler", list(SCHEDULERS))
def test_batches_with_targets_of_their_own_equal_singles(model, scheduler, through_unet):
    guidance = Guidance(**features_of(model), feature_scale=20.0, guided_share=0.5, through_unet=through_unet)
    scheduler = SCHEDULERS[scheduler]
    together = draw(model, guidance, scheduler=scheduler, batch_size=3)
    moved = (together - draw(model, scheduler=scheduler)).flatten(1).abs().amax(1)
    assert (moved > 0.01).all()
    for row in range(4):
        alone = draw(model, guidance, rows=[row], scheduler=scheduler)
        torch.testing.assert_close(together[row : row + 1], alone, rtol=0, atol=1e-4)
    turned = draw(model, guidance, rows=[3, 1, 0, 2], scheduler=scheduler)
    torch.testing.assert_close(turned, together[[3, 1, 0, 2]], rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("share", "start", "expected"),
    [(0.2, 0, [0]), (0.25, 0.5, [4, 5]), (1, 0, range(8)), (0.5, 0.75, [6, 7]), (0.3, 0.1, [0, 1])],
)
def test_the_guided_steps_lie_where_they_were_asked_for(model, share, start, expected):
    watched = []
    guidance = Guidance(
        **features_of(model), feature_scale=1.0, guided_share=share, guided_from=start, watch=watched.append
    )
    draw(model, guidance, batch_size=4)
    assert [step.step for step in watched] == list(expected)
    timesteps = [701, 601, 501, 401, 301, 201, 101, 1]
    assert [step.timestep for step in watched] == [timesteps[k] for k in expected]


def test_as_published_seven_of_37_steps_are_guided():
    guidance = Guidance(lambda x, _: x, 3e5, 0.2)
    assert [guidance.acts_in(step, 37) for step in range(37)] == [True] * 7 + [False] * 30
    # 0.29 * 100 is 28.999999999999996
    assert sum(Guidance(lambda x, _: x, 1.0, 0.29).acts_in(step, 100) for step in range(100)) == 29


def test_no_pass_of_the_unet_is_added_and_each_image_is_passed_as_often():
    scheduler = stable_diffusion_schedule()
    unet = gaussian_unet(scheduler, 1.0)
    means = states_with_mean([0.0] * 5), states_with_mean([0.0])
    settings = {"n_steps": 3, "generators": generators(5), "guidance_scale": 3.0}
    sample(unet, scheduler, *means, **settings)
    unguided = sum(rows for _, rows in unet.calls)
    unet.calls.clear()
    settings["generators"] = generators(5)
    guidance = Guidance(quadratic(torch.zeros(5, 1, 1, 1)), 0.1)
    sample(unet, scheduler, *means, **settings, guidance=guidance)
    assert sum(rows for _, rows in unet.calls) == unguided


def test_normalised_gradients_take_steps_of_a_size_that_the_loss_does_not_decide(model):
    def far(images, image_ids):
        return 1000 * near(images, image_ids)

    near = features_of(model)["guide"]
    drawn = [
        draw(model, Guidance(guide, 0.05, 0.5, decoder=model.vae, normalise=True)) for guide in (near, far)
    ]
    torch.testing.assert_close(*drawn, rtol=0, atol=1e-4)


def first_steps(model, **options):
    """Draw with a guide in the first step only: what it reports, and x0 after it."""
    watched, originals = [], []
    guidance = Guidance(**features_of(model), guided_share=0.125, watch=watched.append, **options)
    draw(model, guidance, batch_size=4, callback=lambda *made: originals.append(made[3]))
    return watched[0], originals[0]


@pytest.mark.parametrize("options", [{}, {"normalise": True}, {"through_unet": False}])
def test_steps_that_are_too_long_are_shortened_and_others_left_alone(model, options):
    options = {"feature_scale": 30.0} | options
    _, start = first_steps(model, **options | {"feature_scale": 1e-30})
    free, without = first_steps(model, **options)
    order = free.relative_step.argsort()
    limit = float(free.relative_step[order[1:3]].mean())  # two images are above it, two below
    kept, cut = order[:2], order[2:]
    found, images = first_steps(model, max_relative_step=limit, **options)
    assert torch.equal(images[kept], without[kept])
    assert torch.equal(found.relative_step[kept], free.relative_step[kept])
    torch.testing.assert_close(found.relative_step[cut], torch.full((2,), limit))
    assert torch.equal(found.gradient, free.gradient)  # that of the loss, as it is
    # The same direction, shorter.
    share = (limit / free.relative_step[cut])[:, None, None, None]
    moved, whole = ((x0 - start)[cut] for x0 in (images, without))
    torch.testing.assert_close(moved, share * whole, rtol=1e-3, atol=1e-4)
    assert (share < 0.99).all() and (whole.abs().amax((1, 2, 3)) > 0.01).all()


def test_a_limit_that_no_step_reaches_changes_nothing_bit_by_bit(model):
    options = features_of(model) | {"feature_scale": 30.0}
    limited = draw(model, Guidance(**options, max_relative_step=1e6))
    assert torch.equal(limited, draw(model, Guidance(**options)))


def test_limits_hold_for_each_image_whatever_the_batch(model):
    guidance = Guidance(**features_of(model), feature_scale=300.0, max_relative_step=0.1)
    together = draw(model, guidance, batch_size=3)
    assert ((together - draw(model)).flatten(1).abs().amax(1) > 0.01).all()
    for row in range(4):
        alone = draw(model, guidance, rows=[row])
        torch.testing.assert_close(together[row : row + 1], alone, rtol=0, atol=1e-4)


@pytest.mark.parametrize("limit", [0, -1.0, float("nan")])
def test_a_limit_that_is_none_is_refused(limit):
    with pytest.raises(ValueError, match="max_relative_step above 0, or None, got"):
        Guidance(lambda images, _: images, 1.0, max_relative_step=limit)


# The length of a step, absolutely


def steps_by_hand(model, guidance):
    """Draw one guided step; return the watched step, and what one pass of the U-Net predicts in it."""
    noisy = torch.randn(4, *LATENT_SHAPE, generator=torch.Generator().manual_seed(5))
    abar, states = torch.tensor(0.3), random_states(4)
    watched = []
    guidance = dataclasses.replace(guidance, watch=watched.append)

    def predict(noisy):
        return model.unet(noisy, 400, encoder_hidden_states=states).sample

    noise_pred, correction = guidance.correct(predict, noisy, abar, torch.arange(4), 0, 400)
    torch.testing.assert_close(noise_pred, predict(noisy))

    def original(noise):  # eq. 12 of DDIM, solved for x0
        return (noisy - (1 - 0.3) ** 0.5 * noise) / 0.3**0.5

    moved = (original(noise_pred + correction) - original(noise_pred)).flatten(1).norm(dim=1)
    return watched[0], correction, moved / original(noise_pred).flatten(1).norm(dim=1)


@pytest.mark.parametrize("through_unet", [True, False])
def test_the_relative_step_is_that_of_the_noise_free_latents_that_follow(model, through_unet):
    guidance = Guidance(**features_of(model), feature_scale=40.0, through_unet=through_unet)
    step, correction, moved = steps_by_hand(model, guidance)
    torch.testing.assert_close(step.relative_step, moved, rtol=1e-4, atol=0)
    assert (moved > 0.01).all()
    # With a limit it is what the latents are moved by, not what the noise is.
    limit = float(moved.min() / 2)
    step, shorter, moved = steps_by_hand(model, dataclasses.replace(guidance, max_relative_step=limit))
    torch.testing.assert_close(moved, torch.full((4,), limit), rtol=1e-3, atol=0)
    torch.testing.assert_close(step.relative_step, moved, rtol=1e-3, atol=0)
    assert (shorter.flatten(1).norm(dim=1) < correction.flatten(1).norm(dim=1)).all()


@pytest.mark.parametrize("scale", [0.02, 0.5])
def test_a_normalised_correction_has_the_root_mean_square_of_the_scale(model, scale):
    guidance = Guidance(**features_of(model), feature_scale=scale, normalise=True)
    step, correction, moved = steps_by_hand(model, guidance)
    rms = correction.square().flatten(1).mean(dim=1).sqrt()
    torch.testing.assert_close(rms, torch.full((4,), scale * (1 - 0.3) ** 0.5), rtol=1e-5, atol=0)
    torch.testing.assert_close(step.relative_step, moved, rtol=1e-3, atol=1e-6)
    plain = Guidance(**features_of(model), feature_scale=scale)
    along = F.cosine_similarity(correction.flatten(1), steps_by_hand(model, plain)[1].flatten(1))
    torch.testing.assert_close(along, torch.ones(4), rtol=0, atol=1e-5)


def test_the_networks_are_left_as_they_were_found(model):
    processors = dict(model.unet.attn_processors)
    before = copy.deepcopy(model.scheduler.__dict__)
    draw(model, Guidance(**features_of(model), feature_scale=10.0))
    assert model.unet.attn_processors == processors
    assert model.scheduler.num_inference_steps == before["num_inference_steps"]
    assert torch.equal(model.scheduler.timesteps, before["timesteps"])
    for network in (model.unet, model.vae):
        assert not network.training
        assert all(p.grad is None and not p.requires_grad for p in network.parameters())
