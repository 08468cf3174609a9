"""What can be read of a U-Net, the controls beside it, and the axis of noise."""

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from tiny_models import stable_diffusion_schedule, tiny_unet

from latentcortex import features
from latentcortex.features.unet_modules import chosen_layers
from latentcortex.mini.networks import make_scheduler, make_unet

pytestmark = pytest.mark.usefixtures("one_thread")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def stable_diffusion_shaped(**changes):
    """Make Stable Diffusion's four stages with two layers a block, at a tiny width."""
    torch.manual_seed(3)
    settings = {
        "sample_size": 16,
        "block_out_channels": (8, 8, 16, 16),
        "layers_per_block": 2,
        "norm_num_groups": 4,
        "cross_attention_dim": 8,
        "attention_head_dim": 2,
    }
    return UNet2DConditionModel(**(settings | changes)).eval().requires_grad_(False)


NETWORKS = {
    "mini": lambda: make_unet().eval().requires_grad_(False),
    "tiny": lambda: tiny_unet().eval().requires_grad_(False),
    "stable diffusion": stable_diffusion_shaped,
}


@pytest.fixture(scope="module", params=NETWORKS)
def unet(request):
    return NETWORKS[request.param]()


def outputs_of_a_pass(unet, latents, states):
    """Return what every module computes, by name, with hooks set by this test itself."""
    outputs = {}

    def keep(name):
        return lambda _module, _inputs, output: outputs.update(
            {name: output if torch.is_tensor(output) else output[0]}
        )

    hooks = [module.register_forward_hook(keep(name)) for name, module in unet.named_modules()]
    unet(latents, 10, states)
    for hook in hooks:
        hook.remove()
    return outputs


@pytest.mark.parametrize("size", [(16, 16), (8, 24)])
def test_shapes_and_order_are_those_of_a_real_pass(unet, size):
    latents = torch.randn(2, 4, *size, generator=generator())
    states = torch.randn(2, 5, unet.config.cross_attention_dim, generator=generator())
    outputs = outputs_of_a_pass(unet, latents, states)
    layers = features.unet_layers(unet, (4, *size), n_tokens=5)
    assert list(layers) == [layer.name for layer in layers.values()]
    names = [name for name, layer in layers.items() if layer.kind != "cross_attention_map"]
    assert names == [name for name in outputs if name in layers]
    for name in names:
        output, (channels, height, width) = outputs[name], layers[name].shape
        if output.ndim == 3:
            assert output.shape == (2, height * width, channels)
        else:
            assert output.shape == (2, channels, height, width)
    ratios = {layer.shape[1] / layer.shape[2] for layer in layers.values()}
    assert ratios == {size[0] / size[1]}


def test_every_block_residual_and_attention_is_listed_once_with_its_stage(unet):
    layers = features.unet_layers(unet, n_tokens=5)
    by_kind = {}
    for layer in layers.values():
        by_kind.setdefault(layer.kind, []).append(layer.name)
    names = [name for name, _ in unet.named_modules()]
    n_down, n_up = len(unet.down_blocks), len(unet.up_blocks)
    blocks = [f"down_blocks.{k}" for k in range(n_down)] + ["mid_block"]
    assert by_kind["block"] == blocks + [f"up_blocks.{k}" for k in range(n_up)]
    ends = {
        "residual": lambda parts: parts[-2:-1] == ["resnets"],
        "transformer": lambda parts: parts[-2:-1] == ["attentions"],
        "transformer_block": lambda parts: parts[-2:-1] == ["transformer_blocks"],
        "self_attention": lambda parts: parts[-1] == "attn1",
        "cross_attention": lambda parts: parts[-1] == "attn2",
    }
    for kind, is_one in ends.items():
        assert sorted(by_kind[kind]) == sorted(name for name in names if is_one(name.split(".")))
    assert by_kind["cross_attention_map"] == [f"{name}.map" for name in by_kind["cross_attention"]]
    assert by_kind["noise_pred"] == ["conv_out"]
    for name, layer in layers.items():
        expected = ("out", 0) if name == "conv_out" else ("mid", 0)
        if name.startswith(("down_blocks", "up_blocks")):
            expected = (name.split("_")[0], int(name.split(".")[1]))
        assert (layer.stage, layer.block) == expected
    sample_size = unet.config.sample_size
    assert layers["conv_out"].shape == (4, sample_size, sample_size)


def test_attention_without_captions_is_listed_as_well():
    unet = stable_diffusion_shaped(
        down_block_types=("DownBlock2D", "DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("UpBlock2D",) * 4,
        mid_block_type=None,
    )
    layers = features.unet_layers(unet)
    assert layers["down_blocks.3.attentions.1"].kind == "transformer"
    assert layers["down_blocks.3.attentions.1"].shape == (16, 2, 2)
    assert "mid_block" not in layers


def test_the_dry_run_leaves_weights_and_hooks_alone(unet):
    before = {name: (weight.data_ptr(), weight.clone()) for name, weight in unet.state_dict().items()}
    features.unet_layers(unet)
    for name, weight in unet.state_dict().items():
        assert weight.data_ptr() == before[name][0]
        assert torch.equal(weight, before[name][1])
    assert not any(module._forward_hooks for module in unet.modules())


def test_an_unknown_layer_is_refused_with_those_that_exist_like_ones_first():
    known = features.unet_layers(tiny_unet())
    with pytest.raises(ValueError, match="no layer 'down_block.1'") as error:
        chosen_layers(["mid_block", "down_block.1"], known)
    message = str(error.value)
    assert all(name in message for name in known)
    assert message.index("down_blocks.1") < message.index("Others") < message.index("conv_out")
    with pytest.raises(ValueError, match="Those that exist are down_blocks.0.resnets.0"):
        chosen_layers(["?"], known)
    with pytest.raises(ValueError, match=r"Pass \['mid_block'\]"):
        chosen_layers("mid_block", known)
    with pytest.raises(ValueError, match="at least one layer"):
        chosen_layers([], known)


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ({}, {"latent_shape": (3, 8, 8)}, r"reads latents \(4, h, w\), got \(3, 8, 8\)"),
        ({}, {"latent_shape": (1, 4, 8, 8)}, "reads latents"),
        ({}, {"latent_shape": (4, 8, 8.5)}, "a length in latent_shape"),
        ({}, {"n_tokens": 0}, "n_tokens"),
        ({"num_class_embeds": 3}, {}, "built with num_class_embeds, so it needs more inputs"),
    ],
)
def test_what_cannot_be_read_is_refused(change, arguments, message):
    with pytest.raises(ValueError, match=message):
        features.unet_layers(stable_diffusion_shaped(**change), **arguments)


def test_a_random_unet_has_the_shape_alone_and_draws_from_its_generator_alone(unet):
    before = {name: weight.clone() for name, weight in unet.state_dict().items()}
    state = torch.random.get_rng_state()
    first, again = (features.random_unet(unet, generator(1)) for _ in range(2))
    other = features.random_unet(unet, generator(2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not first.training
    assert not any(weight.requires_grad for weight in first.parameters())
    assert first.config == unet.config
    for name, weight in unet.state_dict().items():
        assert torch.equal(weight, before[name])
        assert torch.equal(first.state_dict()[name], again.state_dict()[name])
        assert first.state_dict()[name].shape == weight.shape
        if weight.ndim > 1:
            assert not torch.equal(first.state_dict()[name], weight)
            assert not torch.equal(first.state_dict()[name], other.state_dict()[name])
    assert features.unet_layers(first) == features.unet_layers(unet)


def test_a_random_unet_computes_in_the_dtype_of_the_original():
    assert features.random_unet(tiny_unet().bfloat16(), generator()).dtype == torch.bfloat16


@pytest.mark.parametrize(("shape", "size"), [((9, 9), 4), ((8, 8), 4), ((7, 10), (3, 4)), ((5, 5), 5)])
def test_pooling_averages_the_positions_of_each_cell(shape, size):
    activations = torch.randn(2, 3, *shape, generator=generator())
    rows, columns = size if isinstance(size, tuple) else (size, size)
    found = features.pooled(activations, size)
    assert found.shape == (2, 3, rows, columns)
    for i in range(rows):
        for j in range(columns):
            of_rows = slice(i * shape[0] // rows, -(-(i + 1) * shape[0] // rows))
            of_columns = slice(j * shape[1] // columns, -(-(j + 1) * shape[1] // columns))
            expected = activations[:, :, of_rows, of_columns].mean((2, 3))
            torch.testing.assert_close(found[:, :, i, j], expected, rtol=0, atol=1e-6)


def test_pooling_refuses_to_make_a_layer_larger():
    with pytest.raises(ValueError, match=r"at most \(4, 4\).*got \(8, 8\)"):
        features.pooled(torch.zeros(1, 2, 4, 4), 8)
    with pytest.raises(ValueError, match="as floats"):
        features.pooled(torch.zeros(2, 4, 4), 2)
    with pytest.raises(ValueError, match="size as a whole number"):
        features.pooled(torch.zeros(1, 2, 4, 4), 2.5)


def test_pixels_have_the_size_of_the_layer():
    layers = features.unet_layers(tiny_unet(), (4, 8, 8))
    images = torch.rand(2, 3, 16, 16, generator=generator())
    found = features.pixels_of_layer(images.numpy(), layers["mid_block"])
    assert layers["mid_block"].shape[1:] == (4, 4)
    expected = images.reshape(2, 3, 4, 4, 4, 4).mean((3, 5))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match=r"images in \[0, 1\]"):
        features.pixels_of_layer(2 * images, layers["mid_block"])


@pytest.mark.parametrize("make", [make_scheduler, stable_diffusion_schedule])
def test_the_share_of_noise_is_that_of_stable_diffusion(make):
    scheduler = make()
    shares = features.noise_share(scheduler, [0, 100, 261, 500, 999])
    assert shares.numpy() == pytest.approx([0.029, 0.325, 0.587, 0.851, 0.998], abs=5e-4)
    # The schedule from its definition: betas whose roots are equally spaced.
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    expected = np.sqrt(1 - np.cumprod(1 - betas))
    every = features.noise_share(scheduler, torch.arange(1000))
    np.testing.assert_allclose(every.numpy(), expected, rtol=1e-4)
    assert features.noise_share(scheduler, np.int64(261)) == shares[2].item()
    assert features.noise_share(scheduler, torch.tensor(261)) == shares[2].item()


def test_the_timestep_of_a_share_is_the_nearest():
    scheduler = make_scheduler()
    shares = features.noise_share(scheduler, range(1000)).numpy()
    for timestep in (0, 1, 261, 500, 999):
        assert features.timestep_of_share(scheduler, shares[timestep]) == timestep
    for share in (0, 0.2, 0.5, 0.9, 1):
        nearest = min(range(1000), key=lambda t, share=share: abs(shares[t] - share))
        assert features.timestep_of_share(scheduler, share) == nearest
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=r"share of noise in \[0, 1\]"):
            features.timestep_of_share(scheduler, wrong)
    with pytest.raises(ValueError, match="timesteps 0 to 999, got 1000"):
        features.noise_share(scheduler, [1000])
    with pytest.raises(ValueError, match="whole number"):
        features.noise_share(scheduler, 0.5)


def test_noised_latents_are_those_of_the_scheduler():
    scheduler = make_scheduler()
    latents, noise = torch.randn(2, 3, 4, 8, 8, generator=generator())
    noised = features.noised_latents(scheduler, latents, noise, [500, 0, 999])
    assert list(noised) == [500, 0, 999]
    for timestep, found in noised.items():
        expected = scheduler.add_noise(latents, noise, torch.full((3,), timestep))
        assert torch.equal(found, expected)
    with pytest.raises(ValueError, match="timesteps 0 to 999"):
        features.noised_latents(scheduler, latents, noise, [1000])
    with pytest.raises(ValueError, match="of one shape"):
        features.noised_latents(scheduler, latents, noise[:2], [0])
    latents[1, 0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match=r"latents has NaN or infinite values in rows \[1\]"):
        features.noised_latents(scheduler, latents, noise, [0])
    with pytest.raises(ValueError, match="noise as floats"):
        features.noised_latents(scheduler, noise, noise.int(), [0])


def test_little_noise_in_half_precision_is_not_none():
    scheduler, latents = make_scheduler(), torch.zeros(1, 4, 4, 4, dtype=torch.bfloat16)
    noised = features.noised_latents(scheduler, latents, torch.ones_like(latents), [0, 5])
    for timestep, values in noised.items():
        share = float(features.noise_share(scheduler, [timestep])[0])
        assert abs(float(values.mean()) / share - 1) < 0.01
