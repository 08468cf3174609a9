"""The miniature world's networks: Stable Diffusion's own classes at a small size, and the judge.

The scripts in ``data_scripts/mini_models`` train them; the weights ship in ``mini/model``.
"""

import itertools
import json
from pathlib import Path

import torch
from torch import nn

from latentcortex import store
from latentcortex.mini.scenes import COLOURS, IMAGE_SIZE, KINDS, PLACES, SETTINGS, TIMES

N_TOKENS, WIDTH = 24, 128
MODEL_FOLDER = Path(__file__).parent / "model"


def make_vae():
    """Make an `AutoencoderKL` from (n, 3, 64, 64) in [-1, 1] to latents (n, 4, 16, 16)."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(24, 48, 96),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=IMAGE_SIZE,
        mid_block_add_attention=False,
    )


def make_tiny_vae():
    """Make an `AutoencoderTiny` between images and the VAE's scaled latents, for cheap gradients.

    The class of TAESD, the tiny autoencoder that is in use for Stable Diffusion.
    """
    from diffusers import AutoencoderTiny

    return AutoencoderTiny(
        encoder_block_out_channels=(24, 24, 24),
        decoder_block_out_channels=(24, 24, 24),
        num_encoder_blocks=(1, 1, 1),
        num_decoder_blocks=(2, 1, 1),
        latent_channels=4,
    )


def make_unet():
    """Make a `UNet2DConditionModel` on (n, 4, 16, 16) with attention at 8x8 and 4x4 only."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        block_out_channels=(64, 128, 192),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def make_scheduler():
    """Make Stable Diffusion's own noise schedule."""
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def make_tokenizer(captions, folder):
    """Learn a byte-pair vocabulary in which each word of the captions is one token.

    Parameters
    ----------
    captions : iterable of str
    folder : path
        Where ``vocab.json`` and ``merges.txt`` are written.

    Returns
    -------
    tokenizer : transformers.CLIPTokenizer
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import CLIPTokenizer

    tokenizer = Tokenizer(models.BPE(unk_token="<|endoftext|>", end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.BPEDecoder(suffix="</w>")
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    trainer = trainers.BpeTrainer(
        vocab_size=2000,
        end_of_word_suffix="</w>",
        initial_alphabet=letters,
        show_progress=False,
        special_tokens=["<|startoftext|>", "<|endoftext|>"],
    )
    tokenizer.train_from_iterator(captions, trainer)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.model.save(str(folder))
    # The trainer numbers tokens differently from call to call: number them by the alphabet.
    special = ["<|startoftext|>", "<|endoftext|>"]
    tokens = special + sorted(set(tokenizer.get_vocab()) - set(special))
    numbers = {token: number for number, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(numbers))
    made = CLIPTokenizer(
        vocab=str(folder / "vocab.json"),
        merges=str(folder / "merges.txt"),
        model_max_length=N_TOKENS,
        pad_token="<|endoftext|>",
    )
    return made


def make_text_encoder(tokenizer):
    """Make a `CLIPTextModelWithProjection` of 4 layers, token states (n, 24, 128)."""
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    return CLIPTextModelWithProjection(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=4 * WIDTH,
            num_hidden_layers=4,
            num_attention_heads=4,
            max_position_embeddings=N_TOKENS,
            projection_dim=WIDTH,
            hidden_act="gelu",
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.eos_token_id,
        )
    )


def make_visual_tower():
    """Make an open_clip `VisionTransformer`: (n, 3, 64, 64) to (n, 128), 65 tokens of width 128."""
    from open_clip.transformer import VisionTransformer

    return VisionTransformer(
        image_size=IMAGE_SIZE, patch_size=8, width=WIDTH, layers=6, heads=4, mlp_ratio=4.0, output_dim=WIDTH
    )


class Judge(nn.Module):
    """A small convolutional network that says what a picture of the miniature world shows.

    It learns the held-back kind and combinations too: it is an instrument that reads
    reconstructions, never a part of the pipeline that makes them.

    Its answer for images (n, 3, 64, 64) in [0, 1] is a dictionary of logits: ``setting`` (n, 7) and
    ``time`` (n, 4), whose last class is "can't tell"; ``kind`` (n, 10; one independent yes or no
    per kind); and, given that a kind is there, its ``colour`` (n, 10, 6) and ``place`` (n, 10, 3).
    """

    HEADS = {
        "setting": (len(SETTINGS) + 1,),
        "time": (len(TIMES) + 1,),
        "kind": (len(KINDS),),
        "colour": (len(KINDS), len(COLOURS)),
        "place": (len(KINDS), len(PLACES)),
    }

    def __init__(self):
        super().__init__()

        def block(n_in, n_out, stride):
            return nn.Sequential(nn.Conv2d(n_in, n_out, 3, stride, 1), nn.GroupNorm(8, n_out), nn.SiLU())

        self.body = nn.Sequential(
            block(3, 32, 2),
            block(32, 64, 1),
            block(64, 64, 2),
            block(64, 128, 1),
            block(128, 128, 2),
            block(128, 192, 1),
            block(192, 192, 2),
            nn.Flatten(),
        )
        n_out = sum(torch.Size(shape).numel() for shape in self.HEADS.values())
        self.head = nn.Sequential(nn.Linear(192 * 16, 256), nn.SiLU(), nn.Linear(256, n_out))

    def forward(self, images):
        """Return the dictionary of logits described above."""
        answers = self.head(self.body((images - 0.5) * 4))
        sizes = [torch.Size(shape).numel() for shape in self.HEADS.values()]
        parts = answers.split(sizes, dim=1)
        return {
            name: part.reshape(-1, *shape)
            for (name, shape), part in zip(self.HEADS.items(), parts, strict=True)
        }


def load_judge(folder=MODEL_FOLDER / "judge"):
    """Return the trained judge, frozen and in evaluation mode; damaged weights are refused."""
    return _load(Judge(), Path(folder) / "judge.safetensors")


class SmallAlexNet(nn.Module):
    """Five convolutions in AlexNet's order, whose activations compare pictures at several depths.

    Trained to name kinds, settings and times of scenes of its own, which no other network of the
    miniature world has seen: it can't share a habit with the guide by way of data.

    Source of the order of layers: Krizhevsky, Sutskever and Hinton (2012); sizes are ours.
    """

    HEADS = {"setting": len(SETTINGS), "time": len(TIMES), "kind": len(KINDS)}

    def __init__(self):
        super().__init__()

        def convolution(n_in, n_out, size, *pooling):
            convolve = nn.Conv2d(n_in, n_out, size, padding=size // 2)
            return nn.Sequential(*pooling, convolve, nn.ReLU())

        def pool():
            return nn.MaxPool2d(3, 2, padding=1)

        self.convolutions = nn.ModuleList(
            [
                convolution(3, 32, 7),
                convolution(32, 64, 5, pool()),
                convolution(64, 96, 3, pool()),
                convolution(96, 96, 3),
                convolution(96, 64, 3),
            ]
        )
        self.classifier = nn.Sequential(
            nn.MaxPool2d(4),
            nn.Flatten(),
            nn.Dropout(0.5),
            nn.Linear(64 * 16, 256),
            nn.ReLU(),
            nn.Linear(256, sum(self.HEADS.values())),
        )

    def activations(self, images, layer):
        """Compute what comes out of one convolution, after its ReLU.

        Parameters
        ----------
        images : float32 tensor (n, 3, 64, 64)
            In [0, 1].
        layer : int
            From 1 to 5.

        Returns
        -------
        tensor (n, channels, h, w)

        Raises
        ------
        ValueError
            No such layer.
        """
        if layer not in range(1, len(self.convolutions) + 1):
            raise ValueError(f"Expected a layer from 1 to {len(self.convolutions)}, got {layer}.")
        return next(itertools.islice(self.each_activation(images), layer - 1, None))

    def each_activation(self, images):
        """Yield what comes out of the first convolution, the second and so on."""
        x = (images - 0.5) * 4
        for convolution in self.convolutions:
            x = convolution(x)
            yield x

    def forward(self, images):
        """Return logits: ``setting`` (n, 6), ``time`` (n, 3), ``kind`` (n, 10; yes or no each)."""
        answers = self.classifier(self.activations(images, 5))
        parts = answers.split(list(self.HEADS.values()), dim=1)
        return dict(zip(self.HEADS, parts, strict=True))


def load_alexnet(folder=MODEL_FOLDER / "alexnet"):
    """Return the trained `SmallAlexNet`, frozen and in evaluation mode; damaged weights are refused."""
    return _load(SmallAlexNet(), Path(folder) / "alexnet.safetensors")


def _load(network, path):
    weights = {name: weight.float() for name, weight in store.read_weights(path).items()}
    with store.naming_damage(path, "Get the weights of this network again from where you have them"):
        network.load_state_dict(weights)
    return network.eval().requires_grad_(False)


def load_instruments(folder=MODEL_FOLDER):
    """Return the networks that the protocol ``"mini"`` asks for.

    Returns
    -------
    dict of str to callable
        ``instruments[name](images, layers)`` for images (n, 3, 64, 64) in [0, 1] gives a dictionary
        by layer: of "small_alexnet" activations of the layers "1" to "5"; of "judge" the
        `readings`, and of "classical_judge" those of the judge without a network.
    """
    from latentcortex.mini.classical_judge import load_classical_judge

    alexnet, judge = load_alexnet(folder / "alexnet"), load_judge(folder / "judge")
    classical = load_classical_judge(folder / "judge")

    def small_alexnet(images, layers):
        found = enumerate(alexnet.each_activation(images), 1)
        return {str(layer): values.numpy() for layer, values in found if str(layer) in layers}

    return {
        "small_alexnet": small_alexnet,
        "judge": lambda images, _layers: readings(judge(images)),
        "classical_judge": lambda images, _layers: readings(classical(images)),
    }


def readings(answers):
    """Turn a judge's logits into what it names.

    Parameters
    ----------
    answers : dict of arrays
        Of `Judge` or of `classical_judge.ClassicalJudge`.

    Returns
    -------
    dict of arrays
        ``setting`` int (n,), an index into SETTINGS or their number for "can't tell"; ``kinds``
        bool (n, 10); and of a judge that says so ``colours`` bool (n, 10, 6) and ``places`` bool
        (n, 10, 3): which kind is there in which colour, and where.
    """
    answers = {name: torch.as_tensor(values) for name, values in answers.items()}
    there = answers["kind"] > 0
    named = {"setting": answers["setting"].argmax(-1), "kinds": there}
    for name, part in {"colours": "colour", "places": "place"}.items():
        if part in answers:
            most = torch.nn.functional.one_hot(answers[part].argmax(-1), answers[part].shape[-1])
            named[name] = most.bool() & there[..., None]
    return {name: values.numpy() for name, values in named.items()}
