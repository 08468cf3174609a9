"""Batches of a size that is halved where the memory of a GPU runs out, played by networks that refuse."""

import gc
import logging
import weakref

import pytest
import torch
from tiny_models import LATENT_SHAPE, random_states, tiny_clip_image_encoder, tiny_latent_diffusion

from latentcortex import features, sampler
from latentcortex.features.batches import Batches

FULL = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 14.58 GiB."


def refuse_more_than(monkeypatch, module, limit, name="forward"):
    """Let a network say that memory ran out where it is called with more than `limit` rows."""
    sizes, call = [], getattr(module, name)

    def limited(first, *more, **named):
        sizes.append(len(first))
        if len(first) > limit:
            raise torch.OutOfMemoryError(FULL)
        return call(first, *more, **named)

    monkeypatch.setattr(module, name, limited)
    return sizes


def test_a_batch_is_halved_and_stays_so(caplog):
    batches, seen = Batches(8, "caption"), []
    with caplog.at_level(logging.WARNING):
        for n in (20, 5):
            for batch in batches.over(n):
                with batch as rows:
                    if rows.stop - rows.start > 3:
                        raise torch.OutOfMemoryError(FULL)
                    seen.append(list(range(n))[rows])
    assert [len(part) for part in seen] == [2] * 10 + [2, 2, 1] and batches.size == 2
    assert sum(seen, []) == [*range(20), *range(5)]
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "The memory of the GPU does not hold 8 captions at once",
        "The memory of the GPU does not hold 4 captions at once",
    ]
    assert "batch_size" in caplog.text


def test_a_row_that_does_not_fit_says_what_to_change():
    with pytest.raises(RuntimeError, match=r"single image \(CUDA out of memory\).*float16.*tiny_vae"):
        for batch in Batches(2).over(3):
            with batch:
                raise torch.OutOfMemoryError(FULL)


def test_other_errors_and_those_under_a_gradient_are_left_to_the_caller():
    for error, under_gradient in ((ValueError("wrong"), False), (torch.OutOfMemoryError(FULL), True)):
        with pytest.raises(type(error)):
            for batch in Batches(2, under_gradient=under_gradient).over(3):
                with batch:
                    raise error


def test_nothing_of_a_failed_attempt_stays_in_memory():
    class Activations:
        pass

    def compute(rows):
        held = Activations()
        left.append(weakref.ref(held))
        if rows.stop - rows.start > 1:
            raise torch.OutOfMemoryError(FULL)

    left = []
    for batch in Batches(2).over(2):
        with batch as rows:
            compute(rows)
    gc.collect()
    assert len(left) == 3 and all(reference() is None for reference in left)


@pytest.fixture(scope="module")
def model():
    return tiny_latent_diffusion()


def test_images_latents_and_captions_come_out_the_same(monkeypatch, model):
    images = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    captions = [["a red box", "one box"]] * 5
    z = features.encode_images(model.vae, images)
    shown = features.decode_latents(model.vae, z)
    c = features.encode_captions(model.text_encoder, model.tokenizer, captions)
    encoder = tiny_clip_image_encoder()
    g = features.encode_clip_layers(encoder, images, layers=(1, 3))
    sizes = [
        refuse_more_than(monkeypatch, model.vae, 2, "encode"),
        refuse_more_than(monkeypatch, model.vae, 2, "decode"),
        refuse_more_than(monkeypatch, model.text_encoder, 2),
        refuse_more_than(monkeypatch, encoder.visual, 2),
    ]
    close = {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(features.encode_images(model.vae, images), z, **close)
    torch.testing.assert_close(features.decode_latents(model.vae, z), shown, **close)
    again = features.encode_captions(model.text_encoder, model.tokenizer, captions)
    torch.testing.assert_close(again, c, **close)
    torch.testing.assert_close(features.encode_clip_layers(encoder, images, layers=(1, 3)), g, **close)
    assert all(of[0] > 2 and max(of[-2:]) <= 2 for of in sizes)


def test_a_drawing_and_the_layers_of_the_unet_come_out_the_same(monkeypatch, model):
    generator = torch.Generator().manual_seed(2)
    z, states = torch.randn(5, *LATENT_SHAPE, generator=generator), random_states(5)
    empty = features.unconditional(model.text_encoder, model.tokenizer)

    def draw():
        return sampler.sample(
            model.unet,
            model.scheduler,
            states,
            empty,
            latents=z,
            strength=0.5,
            n_steps=4,
            guidance_scale=3.0,
            generators=[sampler.make_generator(k, 0) for k in range(5)],
        )

    def read(**more):
        return features.unet_activations(model.unet, {10: z}, states, ["mid_block"], empty, **more)

    drawn, plain, mixed = draw(), read(), read(guidance_scale=2.0)
    sizes = refuse_more_than(monkeypatch, model.unet, 4)
    torch.testing.assert_close(draw(), drawn, rtol=1e-4, atol=1e-5)
    assert sizes == [10, 4, 4, 2, 4, 4, 2]  # the smaller size holds for the next step, too
    torch.testing.assert_close(read(), plain, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(read(guidance_scale=2.0), mixed, rtol=1e-4, atol=1e-5)
