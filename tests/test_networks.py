"""The miniature world's networks have the shapes of Stable Diffusion's, only smaller."""

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from latentcortex import features
from latentcortex.mini import captions, networks, scenes

MODEL = networks.MODEL_FOLDER
PARTS = ("vae", "tiny_vae", "unet", "text_encoder", "tokenizer", "scheduler", "guide", "judge", "alexnet")
trained = pytest.mark.skipif(
    not (MODEL / "provenance.json").exists(),
    reason=f"the mini models are not trained yet: no {MODEL.name}/provenance.json",
)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def texts():
    rng = np.random.default_rng(3)
    drawn = scenes.sample_scenes(1500, rng) + scenes.sample_scenes(200, rng, held_back=True)
    return [text for scene in drawn for text in captions.write_captions(scene, rng)]


@pytest.fixture(scope="module")
def tokenizer(texts, tmp_path_factory):
    return networks.make_tokenizer(texts, tmp_path_factory.mktemp("tokenizer"))


def ids(tokenizer, some):
    made = tokenizer(
        list(some), padding="max_length", max_length=networks.N_TOKENS, truncation=True, return_tensors="pt"
    )
    return made.input_ids


def every_word():
    tables = (captions.SETTING_WORDS, captions.TIME_WORDS, captions.KIND_WORDS, captions.PLACE_WORDS)
    phrases = [phrase for table in tables for some in table.values() for phrase in some]
    return {word for phrase in [*phrases, *scenes.COLOURS] for word in phrase.split()}


def check_one_token_a_word(tokenizer, texts):
    tokens = ids(tokenizer, texts)
    assert (tokens[:, 0] == tokenizer.bos_token_id).all()
    n_words = torch.tensor([len(text.split()) for text in texts])
    is_end = tokens == tokenizer.eos_token_id
    # Start, the words, and then the end token until the last place: at least one of it.
    assert torch.equal(is_end.int().argmax(1), n_words + 1)
    assert torch.equal(is_end.sum(1), networks.N_TOKENS - 1 - n_words)
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    assert tokenizer.unk_token_id == tokenizer.eos_token_id or "unk" in tokenizer.unk_token
    for word in every_word():
        assert len(tokenizer(word).input_ids) == 3, word


def test_captions_are_one_token_a_word_padded_with_the_end_token(tokenizer, texts):
    check_one_token_a_word(tokenizer, texts)
    text = max(texts, key=len)
    assert tokenizer.decode(ids(tokenizer, [text])[0], skip_special_tokens=True).strip() == text
    empty = ids(tokenizer, [""])[0]
    assert empty[0] == tokenizer.bos_token_id and (empty[1:] == tokenizer.eos_token_id).all()


def test_the_same_captions_make_the_same_tokenizer(tokenizer, texts, tmp_path):
    assert networks.make_tokenizer(texts, tmp_path).get_vocab() == tokenizer.get_vocab()


def test_text_encoder_gives_states_of_all_tokens(tokenizer):
    encoder = networks.make_text_encoder(tokenizer).eval()
    assert type(encoder).__name__ == "CLIPTextModelWithProjection"
    with torch.no_grad():
        out = encoder(ids(tokenizer, ["a red car", "a snowman at night"]))
    assert out.last_hidden_state.shape == (2, networks.N_TOKENS, networks.WIDTH)
    assert out.text_embeds.shape == (2, networks.WIDTH)


def test_vae_compresses_64_pixels_to_16(rng):
    vae = networks.make_vae().eval()
    images = torch.tensor(rng.random((2, 3, 64, 64)), dtype=torch.float32)
    latents = features.encode_images(vae, images)
    assert latents.shape == (2, 4, 16, 16)
    with torch.no_grad():
        assert features.decode_latents(vae, latents).shape == images.shape


def test_unet_predicts_noise_and_attends_to_captions_below_the_top_level_only():
    unet = networks.make_unet().eval()
    latents, t = torch.randn(2, 4, 16, 16), torch.tensor([10, 900])
    states = torch.randn(2, networks.N_TOKENS, networks.WIDTH)
    with torch.no_grad():
        noise_pred = unet(latents, t, states).sample
        other = unet(latents, t, states.flip(0)).sample
    assert noise_pred.shape == latents.shape and not torch.allclose(noise_pred, other)
    attends = ["attentions" in dict(block.named_children()) for block in unet.down_blocks]
    assert attends == [False, True, True]
    attends = ["attentions" in dict(block.named_children()) for block in unet.up_blocks]
    assert attends == [True, True, False]


def test_the_noise_schedule_is_stable_diffusions():
    scheduler = networks.make_scheduler()
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    expected = torch.cumprod(1 - betas, 0)
    torch.testing.assert_close(scheduler.alphas_cumprod.double(), expected, rtol=1e-4, atol=1e-6)
    assert scheduler.config.prediction_type == "epsilon" and not scheduler.config.clip_sample
    scheduler.set_timesteps(20)
    assert scheduler.timesteps.tolist() == list(range(951, 0, -50))


def test_visual_tower_gives_64_patches_and_one_class_token():
    tower = networks.make_visual_tower().eval()
    seen = []
    for block in tower.transformer.resblocks:
        block.mlp.c_proj.register_forward_hook(lambda *args: seen.append(args[2].shape))
    with torch.no_grad():
        assert tower(torch.randn(2, 3, 64, 64)).shape == (2, networks.WIDTH)
    assert seen == 6 * [(2, 65, networks.WIDTH)]


def test_judge_answers_about_setting_time_kinds_colours_and_places(tmp_path):
    torch.manual_seed(0)
    judge = networks.Judge().eval()
    images = torch.rand(3, 3, 64, 64)
    with torch.no_grad():
        answers = judge(images)
    assert {name: tuple(answer.shape) for name, answer in answers.items()} == {
        "setting": (3, 7),
        "time": (3, 4),
        "kind": (3, 10),
        "colour": (3, 10, 6),
        "place": (3, 10, 3),
    }
    # The heads take turns in one layer; together they are all of its outputs, each once.
    flat = torch.cat([answer.flatten(1) for answer in answers.values()], dim=1)
    torch.testing.assert_close(flat, judge.head(judge.body((images - 0.5) * 4)))
    state = {name: weight.half().contiguous() for name, weight in judge.state_dict().items()}
    save_file(state, tmp_path / "judge.safetensors")
    loaded = networks.load_judge(tmp_path)
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    for name, answer in loaded(images).items():
        torch.testing.assert_close(answer, answers[name], atol=0.02, rtol=0.02)


def test_alexnet_gives_its_layers_from_fine_to_coarse():
    torch.manual_seed(0)
    alexnet, images = networks.SmallAlexNet().eval(), torch.rand(3, 3, 64, 64)
    with torch.no_grad():
        layers = [alexnet.activations(images, layer) for layer in range(1, 6)]
        answers = alexnet(images)
    assert [tuple(layer.shape[2:]) for layer in layers] == [(64, 64), (32, 32)] + 3 * [(16, 16)]
    assert all((layer >= 0).all() and layer.std() > 0 for layer in layers)
    assert {name: tuple(answer.shape) for name, answer in answers.items()} == {
        "setting": (3, 6),
        "time": (3, 3),
        "kind": (3, 10),
    }
    for layer in (0, 6, -1):
        with pytest.raises(ValueError, match="layer from 1 to 5"):
            alexnet.activations(images, layer)
    # One pixel changes what sees it, and after five convolutions nothing far away from it.
    other = images.clone()
    other[:, :, 0, 0] += 1
    with torch.no_grad():
        changed = alexnet.activations(other, 5) != layers[4]
    assert changed[..., :1, :1].any() and not changed[..., 12:, 12:].any()


# --- the model that ships -------------------------------------------------------------------------


@trained
def test_the_shipped_model_is_whole_small_and_without_pickles():
    assert {path.name for path in MODEL.iterdir() if path.is_dir()} == set(PARTS)
    files = [path for path in MODEL.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".txt"}
    assert sum(path.stat().st_size for path in files) < 50e6
    for path in MODEL.rglob("*.safetensors"):
        with safe_open(path, "pt") as weights:
            for name in weights.keys():  # noqa: SIM118 (no dictionary)
                tensor = weights.get_tensor(name)
                small = tensor.numel() < 100  # intercepts of the classical judge
                assert small or tensor.dtype in (torch.float16, torch.int64), (path.name, name)
                assert torch.isfinite(tensor.float()).all(), (path.name, name)


@trained
def test_the_provenance_says_how_the_models_were_made_and_how_good_they_are():
    made = json.loads((MODEL / "provenance.json").read_text())
    assert made["script"] == "data_scripts/train_mini_models.py" and "seed" in made
    for name in ("vae", "tiny_vae", "clip", "judge", "alexnet", "unet"):
        assert made["scores_on_test_scenes"][name]
        steps, losses = np.array(made["loss_curves"][name]).T
        assert made["steps_and_processes"][name][-1][0] == steps[-1]
        assert (np.diff(steps) > 0).all() and losses[-5:].mean() < losses[:2].mean()


@trained
def test_the_shipped_model_loads_and_fits_together(texts):
    model = features.load_latent_diffusion(MODEL)
    check_one_token_a_word(model.tokenizer, texts[:500])
    images = torch.tensor(scenes.render(scenes.sample_scenes(8, np.random.default_rng(4))))
    images = images.movedim(-1, 1) / 255
    latents = features.encode_images(model.vae, images)
    # The scaling factor brings latents to about unit variance, as the U-Net saw them.
    assert 0.8 < latents.std() < 1.25
    states = features.encode_captions(model.text_encoder, model.tokenizer, [texts[:5]] * 8)
    with torch.no_grad():
        decoded = features.decode_latents(model.vae, latents).clamp(0, 1)
        noise_pred = model.unet(latents, torch.tensor(500), states).sample
    assert -10 * torch.log10(((decoded - images) ** 2).mean()) > 22  # decibels
    assert noise_pred.shape == latents.shape


@trained
def test_the_shipped_tiny_autoencoder_stands_for_the_vae():
    vae = features.load_latent_diffusion(MODEL).vae
    tiny = features.load_tiny_vae(MODEL / "tiny_vae")
    images = torch.tensor(scenes.render(scenes.sample_scenes(8, np.random.default_rng(4))))
    images = images.movedim(-1, 1) / 255
    latents = features.encode_images(vae, images)
    of_vae, of_tiny = (features.decode_latents(each, latents).detach() for each in (vae, tiny))
    assert -10 * torch.log10(((of_vae - of_tiny) ** 2).mean()) > 25  # decibels
    r = torch.corrcoef(torch.stack([latents, features.encode_images(tiny, images).detach()]).flatten(1))[0, 1]
    assert r > 0.95
    parameters = [sum(p.numel() for p in each.decoder.parameters()) for each in (tiny, vae)]
    assert parameters[0] < parameters[1] / 5


@trained
def test_the_shipped_judge_reads_pictures():
    drawn = scenes.sample_scenes(60, np.random.default_rng(5))
    drawn += scenes.sample_scenes(20, np.random.default_rng(6), held_back=True)
    images = torch.tensor(scenes.render(drawn)).movedim(-1, 1) / 255
    with torch.no_grad():
        answers = networks.load_judge()(images)
    setting = [scenes.SETTINGS[k] for k in answers["setting"].argmax(1)]
    right = [a == scene.setting for a, scene in zip(setting, drawn, strict=True)]
    assert np.mean(right) > 0.7
    there = [[kind in {t.kind for t in s.things} for kind in scenes.KINDS] for s in drawn]
    assert ((answers["kind"] > 0).numpy() == np.array(there)).mean() > 0.85
    with torch.no_grad():
        of_noise = networks.load_judge()(torch.rand(20, 3, 64, 64))
    assert (of_noise["setting"].argmax(1) == len(scenes.SETTINGS)).all()  # can't tell
    assert not (of_noise["kind"] > 0).any()


@trained
def test_the_shipped_alexnet_names_what_it_was_trained_to_name():
    drawn = scenes.sample_scenes(80, np.random.default_rng(7))
    images = torch.tensor(scenes.render(drawn)).movedim(-1, 1) / 255
    alexnet = networks.load_alexnet()
    assert not alexnet.training
    with torch.no_grad():
        answers = alexnet(images)
    for name, words, true in (
        ("setting", scenes.SETTINGS, [scene.setting for scene in drawn]),
        ("time", scenes.TIMES, [scene.time for scene in drawn]),
    ):
        said = [words[k] for k in answers[name].argmax(1)]
        assert np.mean(np.array(said) == true) > 0.9
    there = [[kind in {t.kind for t in s.things} for kind in scenes.KINDS] for s in drawn]
    assert ((answers["kind"] > 0).numpy() == np.array(there)).mean() > 0.9
