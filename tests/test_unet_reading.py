"""Activations of a U-Net against passes written out by hand, and the network left as it was found."""

import copy
import weakref

import pytest
import torch
import torch.nn.functional as F
from test_unet_layers import generator, stable_diffusion_shaped

from latentcortex import features
from latentcortex.mini.networks import MODEL_FOLDER

pytestmark = pytest.mark.usefixtures("one_thread")

N_IMAGES, T = 5, 300


@pytest.fixture(scope="module")
def mini():
    return features.load_latent_diffusion(MODEL_FOLDER)


@pytest.fixture(scope="module", params=["mini", "stable diffusion"])
def case(request, mini):
    """Return a network, noised latents by timestep, states of captions and of the empty caption."""
    unet = mini.unet if request.param == "mini" else stable_diffusion_shaped()
    width, latents = (
        unet.config.cross_attention_dim,
        torch.randn(2, N_IMAGES, 4, 16, 16, generator=generator(1)),
    )
    states = torch.randn(N_IMAGES + 1, 6, width, generator=generator(2))
    noised = features.noised_latents(mini.scheduler, latents[0], latents[1], [T, 50])
    return unet, noised, states[:N_IMAGES], states[N_IMAGES:]


def close(found, expected, atol=1e-5):
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=atol)


def attention_by_hand(attention, hidden, context):
    """Return output and mean map (n, n_positions, n_context), looped over images and heads."""
    outputs, maps = [], []
    for queries, others in zip(hidden, context, strict=True):
        query, key, value = attention.to_q(queries), attention.to_k(others), attention.to_v(others)
        width = query.shape[1] // attention.heads
        joined, total = [], 0
        for head in range(attention.heads):
            columns = slice(head * width, (head + 1) * width)
            weights = (query[:, columns] @ key[:, columns].T / width**0.5).exp()
            weights = weights / weights.sum(1, keepdim=True)
            joined.append(weights @ value[:, columns])
            total = total + weights / attention.heads
        outputs.append(attention.to_out[0](torch.cat(joined, 1)))
        maps.append(total)
    return torch.stack(outputs), torch.stack(maps)


def test_a_down_block_is_what_its_formula_gives(mini):
    """The first block of mini: a residual block, then a convolution with stride 2."""
    latents = torch.randn(2, 4, 16, 16, generator=generator(1))
    states = torch.randn(2, 24, 128, generator=generator(2))
    names = ["down_blocks.0.resnets.0", "down_blocks.0"]
    found = features.unet_activations(mini.unet, {T: latents}, states, names)
    block, weights = mini.unet.down_blocks[0].resnets[0], dict(mini.unet.down_blocks[0].named_parameters())

    frequencies = torch.exp(-torch.arange(32) / 32 * torch.log(torch.tensor(10000.0)))
    times = torch.cat([(T * frequencies).cos(), (T * frequencies).sin()])[None]
    embedding = mini.unet.time_embedding.linear_2(F.silu(mini.unet.time_embedding.linear_1(times)))
    before = mini.unet.conv_in(latents)
    hidden = (
        block.conv1(F.silu(block.norm1(before))) + block.time_emb_proj(F.silu(embedding))[:, :, None, None]
    )
    residual = before + block.conv2(F.silu(block.norm2(hidden)))
    close(found[names[0], T, "text"], residual)
    of_sampler = (weights[f"downsamplers.0.conv.{name}"] for name in ("weight", "bias"))
    close(found[names[1], T, "text"], F.conv2d(residual, *of_sampler, stride=2, padding=1))


def test_attention_and_its_maps_are_what_their_formulas_give(case):
    unet, noised, states, _ = case
    block = next(name for name in features.unet_layers(unet) if name.endswith("attentions.0"))
    inner = f"{block}.transformer_blocks.0"
    before = block.replace("attentions", "resnets")
    names = [before, f"{inner}.attn1", f"{inner}.attn2", f"{inner}.attn2.map", inner, block]
    found = features.unet_activations(unet, {T: noised[T]}, states, names)
    found = {name: found[name, T, "text"] for name in names}

    def in_a_row(values):
        return values.flatten(2).transpose(1, 2)

    outer, layer = unet.get_submodule(block), unet.get_submodule(inner)
    stream = found[before]
    hidden = in_a_row(outer.proj_in(outer.norm(stream)))
    normed = layer.norm1(hidden)
    to_itself, _ = attention_by_hand(layer.attn1, normed, normed)
    hidden = hidden + to_itself
    to_text, maps = attention_by_hand(layer.attn2, layer.norm2(hidden), states)
    hidden = hidden + to_text
    hidden = hidden + layer.ff(layer.norm3(hidden))
    close(in_a_row(found[f"{inner}.attn1"]), to_itself)
    close(in_a_row(found[f"{inner}.attn2"]), to_text)
    close(in_a_row(found[f"{inner}.attn2.map"]), maps, atol=1e-6)
    close(in_a_row(found[inner]), hidden)
    close(found[block], stream + outer.proj_out(hidden.transpose(1, 2).reshape(stream.shape)))


def test_a_map_shows_one_token_at_a_time(case):
    """Where all tokens are alike, each position attends to all alike; maps sum to 1 over the tokens."""
    unet, noised, states, _ = case
    layers = features.unet_layers(unet, n_tokens=6).values()
    names = [layer.name for layer in layers if layer.kind == "cross_attention_map"]
    found = features.unet_activations(unet, {T: noised[T]}, states, names)
    alike = features.unet_activations(unet, {T: noised[T]}, states[:, :1].expand(-1, 6, -1), names)
    for key, maps in found.items():
        close(maps.sum(1), torch.ones_like(maps[:, 0]))
        close(alike[key], torch.full_like(maps, 1 / 6))
        assert maps.min() >= 0
        assert maps.std(1).max() > 1e-4


def test_the_batch_size_and_the_company_change_nothing(case):
    """In float64, because attention enlarges the rounding of float32, which depends on the batch."""
    unet, noised, states, empty = case
    unet, names = copy.deepcopy(unet).double(), list(features.unet_layers(unet))
    whole = features.unet_activations(unet, noised, states, names, empty, 3.0, batch_size=N_IMAGES)
    parts = features.unet_activations(unet, noised, states, names, empty, 3.0, batch_size=2)
    assert list(parts) == list(whole)
    assert len(whole) == len(names) * 2 * 3
    rows = torch.tensor([3, 0])
    some = features.unet_activations(
        unet, {t: latents[rows] for t, latents in noised.items()}, states[rows], names, empty, 3.0
    )
    for key, values in whole.items():
        close(parts[key], values)
        close(some[key], values[rows])


def test_the_batch_size_changes_single_precision_by_rounding_alone(case):
    unet, noised, states, _ = case
    whole, parts = (
        features.unet_activations(unet, noised, states, ["up_blocks.2", "conv_out"], batch_size=size)
        for size in (N_IMAGES, 2)
    )
    assert len(whole) == 2 * 2
    for key, values in whole.items():
        close(parts[key], values, 1e-5 * float(values.abs().max()))


def test_guidance_of_the_noise_is_the_samplers_and_of_a_layer_the_same_mixture(case):
    unet, noised, states, empty = case
    names = ["conv_out", "mid_block"]
    found = features.unet_activations(unet, noised, states, names, empty, 5.0, batch_size=3)
    for timestep, latents in noised.items():
        with_text = unet(latents, timestep, states).sample
        without = unet(latents, timestep, empty.expand(N_IMAGES, -1, -1)).sample
        close(found["conv_out", timestep, "text"], with_text)
        close(found["conv_out", timestep, "empty"], without)
        close(found["conv_out", timestep, "guided"], without + 5 * (with_text - without), 1e-4)
        text, empty_one, guided = (
            found["mid_block", timestep, condition] for condition in ("text", "empty", "guided")
        )
        assert (text - empty_one).abs().max() > 1e-3
        close(guided, 5 * text - 4 * empty_one, 1e-3)


def test_without_text_is_every_image_under_the_empty_caption(case):
    unet, noised, _, empty = case
    only = features.unet_activations(unet, noised, None, ["mid_block"], empty)
    as_text = features.unet_activations(unet, noised, empty.expand(N_IMAGES, -1, -1), ["mid_block"])
    assert set(only) == {("mid_block", T, "empty"), ("mid_block", 50, "empty")}
    for _, timestep, _ in only:
        close(only["mid_block", timestep, "empty"], as_text["mid_block", timestep, "text"])


def fail(*_args, **_kwargs):
    raise RuntimeError("on purpose")


def test_the_network_is_left_as_it_was_found_also_after_errors(case, monkeypatch):
    unet, noised, states, empty = case
    before = unet(noised[T], T, states).sample
    weights = {name: weight.clone() for name, weight in unet.state_dict().items()}
    processors = dict(unet.attn_processors)
    names = list(features.unet_layers(unet))

    def check():
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in unet.modules())
        assert torch.equal(unet(noised[T], T, states).sample, before)
        assert unet.attn_processors == processors
        assert all(torch.equal(weight, weights[name]) for name, weight in unet.state_dict().items())

    features.unet_activations(unet, noised, states, names, empty, 2.0)
    check()
    with pytest.raises(RuntimeError, match="on purpose"):
        features.unet_activations(unet, noised, states, names, reduce=fail)
    check()
    batches = features.each_activation(unet, noised, states, names, batch_size=2)
    next(batches)
    check()
    monkeypatch.setattr(unet.mid_block, "forward", fail)
    with pytest.raises(RuntimeError, match="on purpose"):
        list(batches)
    monkeypatch.undo()
    check()


def test_what_is_read_does_not_change_the_hooks_that_others_set(case):
    unet, noised, states, _ = case
    calls = []
    own = unet.mid_block.register_forward_hook(lambda *_: calls.append(1))
    features.unet_activations(unet, {T: noised[T]}, states, ["mid_block"])
    assert list(unet.mid_block._forward_hooks) == [own.id]
    own.remove()
    assert sum(calls) == 2  # the dry run and one batch


def test_a_network_in_half_precision_gives_float32(case):
    _, noised, states, _ = case
    unet = stable_diffusion_shaped(cross_attention_dim=states.shape[2])
    exact = features.unet_activations(unet, noised, states, ["mid_block", "conv_out"])
    half = features.unet_activations(unet.bfloat16(), noised, states, ["mid_block", "conv_out"])
    for key, values in half.items():
        assert values.dtype == torch.float32
        assert 1e-5 < (values - exact[key]).abs().max() < 0.1


def test_gradients_are_not_kept(case):
    unet, noised, states, _ = case
    found = features.unet_activations(unet, noised, states.clone().requires_grad_(), ["mid_block"])
    assert not any(values.requires_grad for values in found.values())


def test_reducing_each_batch_is_reducing_the_whole(case):
    unet, noised, states, empty = case
    names = ["down_blocks.1", "mid_block", "conv_out"]
    raw = features.unet_activations(unet, noised, states, names, empty, 2.0, batch_size=2)
    reduce = {
        "down_blocks.1": lambda values: features.pooled(values, 2).flatten(1),
        "mid_block": lambda values: values.mean((2, 3)).numpy(),
    }
    reduced = features.unet_activations(unet, noised, states, names, empty, 2.0, reduce, batch_size=2)
    assert set(reduced) == set(raw) and len(raw) == len(names) * 2 * 3
    for (name, *rest), values in raw.items():
        expected = reduce[name](values) if name in reduce else values
        close(reduced[name, *rest], torch.as_tensor(expected), 1e-6)


@pytest.mark.parametrize("guidance_scale", [None, 2.0])
def test_one_batch_of_raw_activations_is_in_memory(case, guidance_scale):
    unet, noised, states, empty = case
    names = list(features.unet_layers(unet))
    alive, most = [], 0

    def reduce(values):
        nonlocal most
        alive.append(weakref.ref(values))
        most = max(most, sum(one() is not None for one in alive))
        return values.mean((2, 3))

    features.unet_activations(unet, noised, states, names, empty, guidance_scale, reduce, batch_size=2)
    assert len(alive) == len(names) * 2 * 3 * (2 if guidance_scale is None else 3)
    # Of what has been handed on nothing but the newest stays, with guidance the three of its layer.
    assert most <= (2 if guidance_scale is None else 4)


WRONG = {
    "no layer 'mid'.*mid_block": {"layers": ["mid"]},
    r"encoder_hidden_states \(5, n_tokens, ": {"encoder_hidden_states": torch.zeros(4, 6, 8)},
    r"unconditional_embedding \(1, n_tokens, ": {"unconditional_embedding": torch.zeros(5, 6, 8)},
    "computes nothing without token states": {"encoder_hidden_states": None},
    "needs both": {"guidance_scale": 2.0},
    "got nan with text and empty": {
        "guidance_scale": float("nan"),
        "unconditional_embedding": torch.zeros(1, 6, 8),
    },
    "as many tokens": {"unconditional_embedding": torch.zeros(1, 5, 8)},
    "batch_size as a whole number": {"batch_size": 0},
    "dictionary from timesteps": {"noised": torch.zeros(5, 4, 16, 16)},
    "a timestep as a whole number": {"noised": {0.5: torch.zeros(5, 4, 16, 16)}},
    r"latents \(n, 4, h, w\), of one shape": {
        "noised": {1: torch.zeros(5, 4, 16, 16), 2: torch.zeros(5, 4, 8, 8)}
    },
    "latents as floats": {"noised": {1: torch.zeros(5, 4, 16, 16, dtype=torch.int64)}},
    r"latents at timestep 7 has NaN or infinite values in rows \[0": {
        "noised": {7: torch.full((5, 4, 16, 16), torch.nan)}
    },
    "reduce names conv_in, and layers does not": {"reduce": {"conv_in": torch.sum}},
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_input_is_refused_before_anything_is_computed(message):
    unet = stable_diffusion_shaped()
    arguments = {"noised": {1: torch.zeros(5, 4, 16, 16)}, "encoder_hidden_states": torch.zeros(5, 6, 8)}
    unet.conv_in.register_forward_hook(lambda _m, inputs, _o: None if inputs[0].is_meta else fail(inputs))
    with pytest.raises(ValueError, match=message):
        features.unet_activations(unet, **({**arguments, "layers": ["mid_block"]} | WRONG[message]))


def test_a_reduction_that_mixes_or_loses_images_is_refused(case):
    unet, noised, states, _ = case
    with pytest.raises(ValueError, match="one row per image"):
        features.unet_activations(unet, noised, states, ["mid_block"], reduce=lambda values: values.mean(0))
    with pytest.raises(ValueError, match="What reduce returns for mid_block has NaN"):
        features.unet_activations(
            unet, noised, states, ["mid_block"], reduce=lambda values: values * torch.nan
        )


def test_training_mode_and_overflow_are_refused():
    latents, states = {1: torch.zeros(2, 4, 16, 16)}, torch.zeros(2, 6, 8)
    unet = stable_diffusion_shaped()
    with pytest.raises(ValueError, match=r"Call unet.eval\(\)"):
        features.unet_activations(unet.train(), latents, states, ["mid_block"])
    unet.eval().mid_block.resnets[1].conv2.bias.fill_(torch.inf)
    with pytest.raises(FloatingPointError, match="activations in mid_block at timestep 1"):
        features.unet_activations(unet, latents, states, ["down_blocks.0", "mid_block"])
