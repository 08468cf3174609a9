"""Features that depend on noise: the noise of an image is its own, and rows are kept by image id."""

import dataclasses

import numpy as np
import pytest
import torch

from latentcortex import encoding, features, nsd, sampler
from latentcortex.studies import noisy_features, removed_noise, targets
from latentcortex.studies.noisy_features import Reading
from latentcortex.studies.removed_noise import Removal

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def fresh(study, tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTCORTEX_CACHE", str(tmp_path))
    return study


@pytest.fixture
def ids(study):
    return nsd.split(study.tables["subj01"])[0][:5]


def test_the_noise_of_an_image_depends_on_image_and_draw_alone(ids):
    all_of_them = noisy_features.noise_of(ids, 0, (4, 16, 16))
    assert torch.equal(noisy_features.noise_of(ids[3:4], 0, (4, 16, 16))[0], all_of_them[3])
    other = noisy_features.noise_of(ids, 1, (4, 16, 16))
    assert abs(np.corrcoef(all_of_them.flatten(), other.flatten())[0, 1]) < 0.05
    assert abs(all_of_them.std() - 1) < 0.05 and abs(all_of_them.mean()) < 0.05


@pytest.mark.parametrize("share", [0.1, 0.98])
def test_noised_latents_carry_the_share_that_was_asked_for(study, ids, share):
    found, timestep = noisy_features.noised(study, share, 0, ids)
    abar = study.model.scheduler.alphas_cumprod[timestep]
    assert abs((1 - abar).sqrt() - share) < 0.01
    z = targets.target(study, "z", ids)
    noise = noisy_features.noise_of(ids, 0, (4, 16, 16))
    torch.testing.assert_close(found, abar.sqrt() * z + (1 - abar).sqrt() * noise)


def test_blocks_are_read_as_a_reader_would_read_them(fresh, ids):
    """The rows that are kept are those of the network itself, projected, whatever was asked for first."""
    reading = Reading(0.5, 1, n_projections=2, pooled_to=2)
    names = [("mid_block", "text", "1"), ("up_blocks.1", "empty", "pooled")]
    noisy_features.unet_features(fresh, reading, names, ids[[4, 1]])
    found = noisy_features.unet_features(fresh, reading, names, ids[::-1])
    latents, timestep = noisy_features.noised(fresh, 0.5, 1, ids[::-1])
    model = fresh.model
    raw = features.unet_activations(
        model.unet,
        {timestep: latents},
        targets.target(fresh, "c", ids[::-1]),
        ["mid_block", "up_blocks.1"],
        features.unconditional(model.text_encoder, model.tokenizer),
    )
    of_text = raw["mid_block", timestep, "text"].flatten(1)
    seed = [noisy_features.SEED_OF_PROJECTION, of_text.shape[1], 1]
    projection = encoding.SparseProjection(of_text.shape[1], 800, np.random.default_rng(seed))
    np.testing.assert_allclose(found["mid_block", "text", "1"], projection(of_text), rtol=2e-3, atol=2e-3)
    pooled = features.pooled(raw["up_blocks.1", timestep, "empty"], 2).flatten(1)
    assert pooled.shape[1] == 512  # fewer than are kept, so they are not projected
    np.testing.assert_allclose(found["up_blocks.1", "empty", "pooled"], pooled, rtol=2e-3, atol=2e-3)


def test_a_random_network_sees_the_same_noise_and_is_another_network(fresh, ids):
    name = [("mid_block", "empty", "0")]
    trained, random, again, other = (
        noisy_features.unet_features(fresh, Reading(0.5, network=network), name, ids)[name[0]]
        for network in ("trained", "random 0", "random 0", "random 1")
    )
    np.testing.assert_array_equal(random, again)
    assert np.abs(random - trained).max() > 0.1 and np.abs(random - other).max() > 0.1


@pytest.mark.parametrize(
    ("name", "lacks"),
    [
        (("mid", "text", "0"), "mid_block"),
        (("mid_block", "guided", "0"), "text, empty"),
        (("mid_block", "text", "1"), "forms of this reading 0"),
    ],
)
def test_an_unknown_layer_is_refused_with_a_list_of_those_that_exist(fresh, ids, name, lacks):
    with pytest.raises(ValueError, match=lacks):
        noisy_features.unet_features(fresh, Reading(0.5), [name], ids)


def test_the_empty_caption_alone_gives_the_same_rows(fresh, ids):
    reading = Reading(0.5, conditions=("empty",))
    both = noisy_features.unet_features(fresh, Reading(0.5), [("mid_block", "empty", "0")], ids)
    alone = noisy_features.unet_features(fresh, reading, [("mid_block", "empty", "0")], ids)
    np.testing.assert_array_equal(*(found["mid_block", "empty", "0"] for found in (both, alone)))
    with pytest.raises(ValueError, match="conditions empty"):
        noisy_features.unet_features(fresh, reading, [("mid_block", "text", "0")], ids)


@pytest.mark.parametrize("n_removed", [2, 4])
def test_z_c_is_what_the_sampler_makes_of_the_noised_z(fresh, ids, n_removed):
    removal = Removal(n_removed, 4, 3.0, draw=1)
    last = n_removed - 1
    names = ["z_c", f"x0 {last}", f"z_t {last}"]
    found = removed_noise.removed(fresh, removal, names, ids)
    z, c = targets.targets(fresh, "zc", ids).values()
    model, seen = fresh.model, {}
    made = sampler.sample(
        model.unet,
        model.scheduler,
        c,
        features.unconditional(model.text_encoder, model.tokenizer),
        latents=z,
        strength=n_removed / 4,
        n_steps=4,
        guidance_scale=3.0,
        generators=[sampler.make_generator(int(i), 1, noisy_features.SEED_OF_NOISE) for i in ids],
        callback=lambda step, _, latents, x0: seen.update({step: (latents, x0)}),
    )
    np.testing.assert_allclose(found["z_c"], made, atol=4e-3)
    np.testing.assert_allclose(found[f"x0 {last}"], seen[last][1], atol=4e-3)
    np.testing.assert_allclose(found[f"z_t {last}"], seen[last - 1][0], atol=4e-3)
    with pytest.raises(ValueError, match=f"no x0 {n_removed} in {n_removed} steps.*z_c"):
        removed_noise.removed(fresh, removal, [f"x0 {n_removed}"], ids)


def test_the_noise_that_is_removed_is_that_of_the_noised_latents(fresh, ids, monkeypatch):
    removal, started = Removal(3, 4, 1.0), []
    sample = sampler.sample

    def spy(unet, *args, **options):
        def record(_module, inputs, *_):
            started.append(inputs[0].clone())

        hook = unet.register_forward_pre_hook(record)
        try:
            return sample(unet, *args, **options)
        finally:
            hook.remove()

    monkeypatch.setattr(sampler, "sample", spy)
    removed_noise.removed(fresh, removal, ["z_c"], ids)
    expected, timestep = noisy_features.noised(fresh, removal.share(fresh.model.scheduler), 0, ids)
    assert timestep == int(removal.timesteps(fresh.model.scheduler)[0])
    torch.testing.assert_close(started[0], expected, atol=1e-5, rtol=0)


def test_without_text_nothing_of_the_caption_is_left(fresh, ids, monkeypatch):
    with_text, without = (
        removed_noise.remove(fresh, Removal(4, 4, 3.0, with_text=with_text), ids)["z_c"]
        for with_text in (True, False)
    )
    assert (with_text - without).abs().max() > 0.1
    of = targets.targets

    def other_captions(study, names, image_ids):
        found = of(study, names, image_ids)
        return {name: values.flip(0) if name == "c" else values for name, values in found.items()}

    monkeypatch.setattr(removed_noise, "targets", other_captions)
    again = removed_noise.remove(fresh, Removal(4, 4, 3.0, with_text=False), ids)["z_c"]
    assert torch.equal(again, without)


def test_settings_have_shelves_of_their_own(fresh, ids):
    name = [("mid_block", "empty", "0")]
    first = noisy_features.unet_features(fresh, Reading(0.5), name, ids)
    for changed in ({"share": 0.9}, {"draw": 1}):
        other = noisy_features.unet_features(fresh, dataclasses.replace(Reading(0.5), **changed), name, ids)
        assert np.abs(other[name[0]] - first[name[0]]).max() > 0.05
