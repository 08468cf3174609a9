"""g is what the blocks of a CLIP image encoder add, all tokens, and has the right gradient."""

import json

import open_clip
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tiny_models import CLIP_CONFIG, tiny_clip_image_encoder

from latentcortex.features import encode_clip_layers, load_clip_image_encoder
from latentcortex.mini import networks

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def images():
    return torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def by_hand(encoder, images):
    """Follow the transformer step by step, with plain matrix products where it matters."""
    visual = encoder.visual
    mean, std = ([values[c].item() for c in range(3)] for values in (encoder.mean, encoder.std))
    x = torch.stack([(images[:, c] - mean[c]) / std[c] for c in range(3)], dim=1)
    patches = F.unfold(x, 8, stride=8).transpose(1, 2)  # (n, 4, 3 * 64)
    x = patches @ visual.conv1.weight.reshape(12, -1).T
    x = torch.cat([visual.class_embedding.expand(len(x), 1, -1), x], dim=1)
    x = visual.ln_pre(x + visual.positional_embedding)
    outputs = {}
    for k, block in enumerate(visual.transformer.resblocks, 1):
        h = block.ln_1(x)
        q, key, value = (
            (h @ w.T + b).unflatten(-1, (2, 6)).transpose(1, 2)
            for w, b in zip(block.attn.in_proj_weight.chunk(3), block.attn.in_proj_bias.chunk(3), strict=True)
        )
        attention = (q @ key.transpose(-1, -2) / 6**0.5).softmax(-1) @ value
        x = x + block.attn.out_proj(attention.transpose(1, 2).flatten(2))
        hidden = F.gelu(block.ln_2(x) @ block.mlp.c_fc.weight.T + block.mlp.c_fc.bias)
        outputs[k] = hidden @ block.mlp.c_proj.weight.T + block.mlp.c_proj.bias
        x = x + outputs[k]
    return outputs


def test_g_is_the_output_of_each_blocks_mlp_before_the_residual(images):
    encoder = tiny_clip_image_encoder()
    features = encode_clip_layers(encoder, images, layers=(1, 2, 3), batch_size=2)
    expected = by_hand(encoder, images)
    assert list(features) == [1, 2, 3]
    for k, values in features.items():
        assert values.shape == (5, 5, 12)  # the class token and 4 patches
        torch.testing.assert_close(values, expected[k], atol=1e-5, rtol=1e-4)
    only = encode_clip_layers(encoder, images, layers=[3])
    torch.testing.assert_close(only[3], features[3])
    assert not any(m._forward_hooks for m in encoder.visual.modules())


def test_gradients_are_those_of_finite_differences(images):
    encoder = tiny_clip_image_encoder(torch.float64)
    images = images[:2].double()

    def loss(images):
        features = encode_clip_layers(encoder, images, layers=(1, 3))
        return sum((values**2).mean() for values in features.values())

    torch.autograd.gradcheck(loss, images.requires_grad_(), fast_mode=True)
    resized = torch.rand(1, 3, 20, 24, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(loss, resized, fast_mode=True)


def test_hooks_are_gone_after_an_error(images):
    encoder = tiny_clip_image_encoder()
    with pytest.raises(ValueError, match=r"blocks 1 to 3, got \[0, 4\]"):
        encode_clip_layers(encoder, images, layers=(0, 1, 4))
    encoder.visual.ln_post = None  # fails behind the blocks
    with pytest.raises(TypeError):
        encode_clip_layers(encoder, images, layers=(1,))
    assert not any(m._forward_hooks for m in encoder.visual.modules())


def test_a_saved_encoder_is_loaded_with_its_own_settings(tmp_path, images):
    encoder = tiny_clip_image_encoder()
    state = {name: value.contiguous() for name, value in encoder.visual.state_dict().items()}
    save_file(state, tmp_path / "visual.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({**CLIP_CONFIG, "mean": 0.5, "std": 0.25}))
    loaded = load_clip_image_encoder(tmp_path)
    assert loaded.image_size == 16 and not any(p.requires_grad for p in loaded.visual.parameters())
    expected = encode_clip_layers(encoder, images * 0 + 0.5, layers=[2])
    centred = images * 0 + encoder.mean  # the same pixels after the encoder's own scaling
    got = encode_clip_layers(loaded, images * 0 + 0.5, layers=[2])
    same = encode_clip_layers(encoder, centred, layers=[2])
    torch.testing.assert_close(got[2], same[2])
    assert not torch.allclose(got[2], expected[2])


def test_an_encoder_of_open_clip_brings_its_own_mean_and_size(monkeypatch):
    create = open_clip.create_model
    monkeypatch.setattr(open_clip, "create_model", lambda name, **_: create(name))
    encoder = load_clip_image_encoder("ViT-B-32-quickgelu/openai")
    assert encoder.image_size == 224
    torch.testing.assert_close(encoder.mean.ravel(), torch.tensor(open_clip.OPENAI_DATASET_MEAN))
    torch.testing.assert_close(encoder.std.ravel(), torch.tensor(open_clip.OPENAI_DATASET_STD))
    features = encode_clip_layers(encoder, torch.rand(1, 3, 64, 64), layers=range(1, 7))
    assert {values.shape for values in features.values()} == {(1, 50, 768)}


def test_the_weights_of_an_encoder_of_open_clip_can_be_pinned_to_a_commit(monkeypatch, tmp_path):
    create, fetched, file = open_clip.create_model, [], tmp_path / "weights.safetensors"

    def fetch(repository, filename, revision):
        fetched.append((repository, filename, revision))
        return str(file)

    def build(name, pretrained, force_preprocess_cfg):
        assert pretrained == str(file)
        return create(name, force_preprocess_cfg=force_preprocess_cfg)

    monkeypatch.setattr("open_clip.pretrained.download_pretrained_from_hf", fetch)
    monkeypatch.setattr(open_clip, "create_model", build)
    encoder = load_clip_image_encoder("ViT-B-16-SigLIP/webli", revision="0123456789abcdef")
    assert fetched == [("timm/ViT-B-16-SigLIP", None, "0123456789abcdef")]
    assert encoder.name == "ViT-B-16-SigLIP/webli@0123456789ab"
    torch.testing.assert_close(encoder.mean.ravel(), torch.full((3,), 0.5))  # not those of OpenAI
    with pytest.raises(ValueError, match="RN50-quickgelu/yfcc15m are not on the hub"):
        known = {"url": "https://example.org/weights.pt"}
        monkeypatch.setattr("open_clip.pretrained.get_pretrained_cfg", lambda *_: known)
        load_clip_image_encoder("RN50-quickgelu/yfcc15m", revision="0123456789abcdef")


def test_a_guide_that_is_not_there_is_explained(tmp_path):
    for guide in (tmp_path, tmp_path / "none", "ViT-B-32"):
        with pytest.raises(FileNotFoundError, match="config.json and visual.safetensors"):
            load_clip_image_encoder(guide)


def test_the_shipped_encoder_gives_six_layers_of_65_tokens():
    encoder = load_clip_image_encoder(networks.MODEL_FOLDER / "guide")
    features = encode_clip_layers(encoder, torch.rand(2, 3, 64, 64))
    assert {k: tuple(v.shape) for k, v in features.items()} == {
        k: (2, 65, networks.WIDTH) for k in range(1, 7)
    }
