"""What goes into the frozen networks and what comes out of them is looked at, in every argument."""

import warnings

import numpy as np
import open_clip
import pytest
import torch
from tiny_models import N_TOKENS, WIDTH, tiny_clip_image_encoder, tiny_latent_diffusion
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import CLIPTokenizer

from latentcortex.features import (
    CaptionWarning,
    decode_latents,
    encode_captions,
    encode_clip_layers,
    encode_images,
    load_clip_image_encoder,
    unconditional,
)
from latentcortex.mini import networks

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model():
    return tiny_latent_diffusion()


@pytest.fixture(scope="module")
def encoder():
    return tiny_clip_image_encoder()


@pytest.fixture
def images():
    return torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(3))


# Images and latents


def with_nan(values, row):
    values = values.clone()
    values[row, 0, 0, 0] = torch.nan
    return values


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: 255 * x, r"images in \[0, 1\], got values from .* to 25\d"),
        (lambda x: x - 0.5, r"images in \[0, 1\], got values from -0"),
        (lambda x: (255 * x).to(torch.uint8), "Divide uint8 images by 255"),
        (lambda x: x.permute(0, 2, 3, 1), r"\(n, 3, h, w\), got an array \(5, 16, 16, 3\)"),
        (lambda x: with_nan(x, 2), r"images has NaN or infinite values in rows \[2\] \(1 of 5 rows\)"),
        (lambda x: np.ma.array(x.numpy(), mask=x.numpy() > 0.5), "images is a masked array"),
        (list, "Join a list of arrays by np.stack, a list of tensors by torch.stack"),
        (lambda _: "a picture", "images as one array or tensor of numbers, got str"),
    ],
)
def test_both_encoders_of_images_refuse_the_same_with_the_reason(model, encoder, images, change, message):
    for encode in (encode_images, encode_clip_layers):
        network = model.vae if encode is encode_images else encoder
        layers = {} if encode is encode_images else {"layers": (1,)}
        with pytest.raises(ValueError, match=message):
            encode(network, change(images), **layers)


def test_arrays_are_taken_by_every_encoder_bit_by_bit(model, encoder, images):
    of_tensor = encode_clip_layers(encoder, images, (1, 3))
    of_array = encode_clip_layers(encoder, images.numpy(), np.array([1, 3]))
    assert list(of_array) == [1, 3]
    for k in (1, 3):
        assert torch.equal(of_tensor[k], of_array[k])
    latents = encode_images(model.vae, images)
    assert torch.equal(decode_latents(model.vae, latents.numpy()), decode_latents(model.vae, latents))


def test_images_of_a_drawing_under_way_need_not_lie_in_the_range(encoder, images):
    off = 3 * images - 1
    with pytest.raises(ValueError, match=r"images in \[0, 1\]"):
        encode_clip_layers(encoder, off, (1,))
    found = encode_clip_layers(encoder, off, (1,), clamped=False)
    # The encoder's own scaling can undo the change: the same pixels behind it, by another way.
    scaled = type(encoder)(encoder.visual, 3 * encoder.mean - 1, 3 * encoder.std, 16, "other")
    expected = encode_clip_layers(scaled, off, (1,), clamped=False)[1]
    torch.testing.assert_close(encode_clip_layers(encoder, images, (1,))[1], expected, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(found[1], expected, atol=1e-2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda z: z.long(), "latents as floats, got torch.int64"),
        (lambda z: with_nan(z, 3), r"latents has NaN or infinite values in rows \[3\] \(1 of 5 rows\)"),
        (lambda z: with_nan(z, 3) * torch.inf, r"in rows \[0, 1, 2, 3, 4\] \(5 of 5 rows\)"),
        (lambda z: np.ma.masked_less(z.numpy(), 0), "latents is a masked array"),
        (list, "Join a list of arrays"),
    ],
)
def test_latents_that_can_not_be_meant_are_not_decoded(model, images, change, message):
    latents = encode_images(model.vae, images)
    with pytest.raises(ValueError, match=message):
        decode_latents(model.vae, change(latents))


def test_pixels_that_are_not_finite_name_their_rows_and_the_precision(model, images):
    latents = encode_images(model.vae, images)

    def overflow(_module, _inputs, output):  # as in half precision, for the rows 3 and 4
        rows.append(len(output))
        return torch.where(torch.tensor(len(rows) > 1), torch.nan, output)

    rows = []
    hook = model.vae.decoder.register_forward_hook(overflow)
    with pytest.raises(FloatingPointError, match=r"rows \[3, 4\].*torch.float32. Load the VAE in float32"):
        decode_latents(model.vae, latents, batch_size=3)
    hook.remove()
    assert rows == [3, 2]


@pytest.mark.parametrize("batch_size", [0, -1, 2.0, float("nan"), "3", None])
def test_batches_of_no_whole_number_are_refused_by_all(model, encoder, images, batch_size):
    calls = {
        encode_images: (model.vae, images),
        decode_latents: (model.vae, torch.zeros(1, 4, 8, 8)),
        encode_clip_layers: (encoder, images, (1,)),
        encode_captions: (model.text_encoder, model.tokenizer, [["a box"]]),
    }
    for function, arguments in calls.items():
        with pytest.raises(ValueError, match="batch_size as a whole number of at least 1, got"):
            function(*arguments, batch_size=batch_size)


def test_numpys_whole_numbers_are_batch_sizes_too(model, encoder, images):
    expected, got = (encode_images(model.vae, images, batch_size=two) for two in (2, np.int64(2)))
    assert torch.equal(expected, got)
    expected, got = (encode_clip_layers(encoder, images, (2,), two)[2] for two in (2, np.int16(2)))
    assert torch.equal(expected, got)


# Captions


def test_captions_are_added_up_in_place_with_the_bits_of_a_copy_for_each_batch(model):
    captions = [["a red box", "one"], ["two"], ["a", "hill", "at dusk 7"]] * 10
    n, texts = len(captions), [text for of_image in captions for text in of_image]
    rows = torch.tensor([row for row, of_image in enumerate(captions) for _ in of_image])
    expected = torch.zeros(n, N_TOKENS, WIDTH)
    for start in range(0, len(texts), 4):  # as it was before: all sums are copied for each batch
        some = texts[start : start + 4]
        tokens = model.tokenizer(some, padding="max_length", truncation=True, return_tensors="pt").input_ids
        states = model.text_encoder(tokens).last_hidden_state
        expected = expected.index_add(0, rows[start : start + 4], states)
    expected = expected / torch.bincount(rows)[:, None, None]

    class Large(TorchDispatchMode):
        """Count the results that are as large as all sums."""

        n = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            is_copy = torch.is_tensor(result) and not func._schema.name.endswith("_")
            self.n += is_copy and result.numel() >= expected.numel()
            return result

    counts = []
    for batch_size in (4, 1):
        with Large() as large:
            got = encode_captions(model.text_encoder, model.tokenizer, captions, batch_size)
        counts.append(large.n)
        if batch_size == 4:
            assert torch.equal(got, expected)
    assert counts == [1, 1]  # the sums themselves, however many batches there are


@pytest.fixture(scope="module")
def shipped():
    return CLIPTokenizer.from_pretrained(networks.MODEL_FOLDER / "tokenizer")


def test_what_is_cut_is_said_once_with_the_number_and_the_first(model):
    long = "abcdefghijk at dusk"
    captions = [["a box", long + " one"], [long + " two"], ["", "a hill"]]
    with pytest.warns(CaptionWarning) as said:
        states = encode_captions(model.text_encoder, model.tokenizer, captions, batch_size=1)
    assert [str(one.message) for one in said] == [
        f"Captions longer than {N_TOKENS} tokens are cut there: 2 of 5, such as '{long} one'."
    ]
    # What is warned of: the two captions are the same to the network.
    assert said[0].filename == __file__
    with pytest.warns(CaptionWarning):
        one, two = encode_captions(model.text_encoder, model.tokenizer, [[long + " one"], [long + " two"]])
    assert torch.equal(one, two)
    assert states.shape == (3, N_TOKENS, WIDTH)


def test_captions_that_fit_are_taken_without_a_word(model):
    exactly = "abcdefghij"  # ten letters, a start and an end
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encode_captions(model.text_encoder, model.tokenizer, [[exactly], ["", "a box"]])
        unconditional(model.text_encoder, model.tokenizer)
    with pytest.warns(CaptionWarning, match="longer than 12 tokens are cut there: 1 of 1"):
        encode_captions(model.text_encoder, model.tokenizer, [[exactly + "k"]])


@pytest.mark.parametrize("caption", ["красный дом", "赤い箱", "...", "!"])
def test_captions_of_unknown_signs_alone_are_refused_with_their_text(shipped, caption):
    text_encoder = networks.make_text_encoder(shipped)
    with pytest.raises(ValueError, match="none of the signs in the caption") as error:
        encode_captions(text_encoder, shipped, [["a red house"], ["a car", caption]])
    assert repr(caption) in str(error.value)
    # Otherwise it would be the empty caption: its tokens are those of the end.
    assert set(shipped(caption).input_ids[1:]) == {shipped.eos_token_id}


def test_single_unknown_signs_are_said_once(shipped):
    text_encoder = networks.make_text_encoder(shipped)
    with pytest.warns(CaptionWarning) as said:
        encode_captions(text_encoder, shipped, [["a red house", "a house, red"], ["a größe"]])
    assert [str(one.message) for one in said] == [
        "Captions hold signs that the tokenizer doesn't know: 2 of 3, such as 'a house, red'."
    ]


@pytest.mark.parametrize("wrong", [None, 3, float("nan"), b"a box", ["a box"]])
def test_captions_that_are_no_text_name_the_image(model, wrong):
    with pytest.raises(ValueError, match="captions as text, got .* for the image in row 1"):
        encode_captions(model.text_encoder, model.tokenizer, [["a box"], ["a hill", wrong]])


# Names of open_clip's networks


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("ViT-L-14/openai", "ViT-L-14-quickgelu/openai"),
        ("ViT-B-32/openai", "ViT-B-32-quickgelu/openai"),
        ("ViT-H-14/dfn5b", "ViT-H-14-quickgelu/dfn5b"),
    ],
)
def test_a_name_with_the_wrong_activation_is_refused_and_the_right_one_named(name, right, monkeypatch):
    monkeypatch.setattr(open_clip, "create_model", lambda *_, **__: pytest.fail("was loaded"))
    with pytest.raises(ValueError, match="were trained with QuickGELU, and .* computes with GELU") as error:
        load_clip_image_encoder(name)
    assert str(error.value).endswith(f"Use {right}.")


def test_of_all_names_of_open_clip_those_that_warn_are_refused_and_their_advice_is_not(monkeypatch):
    class LoadedError(Exception):
        pass

    def loaded(*_, **__):
        raise LoadedError

    monkeypatch.setattr(open_clip, "create_model", loaded)
    refused = []
    for name, pretrained in open_clip.list_pretrained():
        try:
            load_clip_image_encoder(f"{name}/{pretrained}")
        except LoadedError:
            continue
        except ValueError as error:
            refused.append((name, pretrained))
            with pytest.raises(LoadedError):
                load_clip_image_encoder(str(error).split("Use ")[1].rstrip("."))
    trained = {pair: open_clip.get_pretrained_cfg(*pair).get("quick_gelu", False) for pair in refused}
    assert len(refused) > 20 and all(trained.values())
    # open_clip's own example of weights whose only name has another activation is left to it.
    assert ("roberta-ViT-B-32", "laion2b_s12b_b32k") not in refused


def test_weights_that_open_clip_does_not_have_are_refused_with_those_it_has():
    with pytest.raises(ValueError, match=r"no weights 'opneai' of a network 'ViT-B-32'. It has .*openai"):
        load_clip_image_encoder("ViT-B-32/opneai")
    with pytest.raises(ValueError, match="list_pretrained"):
        load_clip_image_encoder("ViT-B-33/openai")
