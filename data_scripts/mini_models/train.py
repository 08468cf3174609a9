"""Train the miniature world's models: reads nothing, writes checkpoints to --work, models to --out.

Stages: scenes, vae, tiny_vae, clip, judge, alexnet, unet, scores. Each is resumed where it was
killed, runs on the CPU or a GPU, and is skipped when done. Batches are drawn by step number, so
that a training that is resumed by as many processes sees what an uninterrupted one would have seen.

One training may be shared by several processes, each with batches of its own:
torchrun --nproc-per-node 2 -m data_scripts.mini_models.train --stages unet
"""

import argparse
import json
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from tqdm.auto import tqdm
from transformers import CLIPTokenizer

from latentcortex import features, store
from latentcortex.mini import networks

from .fit import N_PROCESSES, RANK, first_process_first, fit
from .instruments import train_alexnet, train_judge, write_weights
from .scenes import (
    N_ALEXNET,
    N_ALEXNET_HELD_BACK,
    N_HELD_BACK,
    N_TEST,
    SEED,
    blur,
    load_scenes,
    make_scenes,
    to_float,
    tokenize,
    tokenize_captions,
)
from .scores import score_alexnet, score_clip, score_judge, score_tiny_vae, score_unet, score_vae

STAGES = ("scenes", "vae", "tiny_vae", "clip", "judge", "alexnet", "unet", "scores")


def write_model(model, folder):
    model.half().save_pretrained(folder, safe_serialization=True)
    model.float()


def train_vae(args):
    images = load_scenes(args, "train")["images"]
    vae = networks.make_vae()

    def loss_of(rows, generator):
        x = to_float(images[rows], args.device) * 2 - 1
        posterior = vae.encode(x).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator).to(args.device)
        y = vae.decode(posterior.mean + posterior.std * noise).sample.float()
        kl = 0.5 * (posterior.mean**2 + posterior.var - 1 - posterior.logvar).float().mean()
        return F.mse_loss(y, x) + 0.1 * F.l1_loss(y, x) + 1e-4 * kl

    fit(args, "vae", {"vae": vae}, loss_of, len(images), lr=1.5e-3, batch_size=24)
    with torch.no_grad():
        x = to_float(images[:512], args.device) * 2 - 1
        latents = vae.encode(x).latent_dist.mean
    vae.register_to_config(scaling_factor=float(1 / latents.std()))
    write_model(vae, args.out / "vae")


def train_tiny_vae(args):
    """Distil the VAE into a tiny one: the same latents, the same pictures of any latents."""
    images = load_scenes(args, "train")["images"]
    vae = AutoencoderKL.from_pretrained(args.out / "vae", low_cpu_mem_usage=False).to(args.device)
    vae.eval().requires_grad_(False)
    tiny = networks.make_tiny_vae()

    def loss_of(rows, generator):
        x = to_float(images[rows], args.device)
        with torch.no_grad():
            z = features.encode_images(vae, x)
            # Guides look at latents on the way: blurred, and with noise left in them.
            shown = torch.where(torch.rand(len(z), 1, 1, 1, generator=generator).to(z) < 1 / 3, blur(z, 2), z)
            spread = 0.5 * torch.rand(len(z), 1, 1, 1, generator=generator)
            shown = shown + (spread * torch.randn(z.shape, generator=generator)).to(z)
            pictures = features.decode_latents(vae, shown)
        of_images = features.encode_images(tiny, x).float()
        of_latents = features.decode_latents(tiny, shown).float()
        off = of_latents - pictures
        return off.square().mean() + 0.1 * off.abs().mean() + 0.1 * F.mse_loss(of_images, z)

    fit(args, "tiny_vae", {"tiny_vae": tiny}, loss_of, len(images), lr=2e-3, batch_size=24)
    write_model(tiny, args.out / "tiny_vae")
    path = args.out / "tiny_vae" / "config.json"
    config = json.loads(path.read_text())
    config.pop("block_out_channels", None)  # written by diffusers, which then warns of it
    path.write_text(json.dumps(config, indent=2) + "\n")


def clip_modules(args):
    folder = args.out / "tokenizer"
    with first_process_first():
        if not folder.exists():
            # The vocabulary knows every word: also the name of the kind that is held back.
            words = load_scenes(args, "train", "held_back")["captions"].reshape(-1)
            networks.make_tokenizer(words, args.work / "tokenizer").save_pretrained(folder)
    # Read back: a training that is resumed must go on with the numbers it began with.
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    text, visual = networks.make_text_encoder(tokenizer), networks.make_visual_tower()
    scale = torch.nn.ParameterDict({"log_scale": torch.tensor(math.log(1 / 0.07))})
    return tokenizer, {"text": text, "visual": visual, "scale": scale}


def train_clip(args):
    data = load_scenes(args, "train")
    tokenizer, modules = clip_modules(args)
    tokens = tokenize_captions(tokenizer, data)

    def loss_of(rows, generator):
        which = torch.randint(tokens.shape[1], (len(rows),), generator=generator)
        x = (to_float(data["images"][rows], args.device) - 0.5) * 4
        image = F.normalize(modules["visual"](x).float(), dim=-1)
        text = modules["text"](tokens[rows, which].to(args.device)).text_embeds.float()
        logits = image @ F.normalize(text, dim=-1).T
        logits = logits * modules["scale"]["log_scale"].float().exp().clamp(max=100)
        target = torch.arange(len(rows), device=args.device)
        return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2

    fit(args, "clip", modules, loss_of, len(tokens), lr=1e-3, batch_size=64, weight_decay=0.05)
    write_model(modules["text"], args.out / "text_encoder")
    guide = args.out / "guide"
    write_weights(modules["visual"], guide / "visual.safetensors")
    config = {
        "image_size": 64,
        "patch_size": 8,
        "width": 128,
        "layers": 6,
        "heads": 4,
        "mlp_ratio": 4.0,
        "output_dim": 128,
        "mean": 0.5,
        "std": 0.25,
    }
    (guide / "config.json").write_text(json.dumps(config, indent=1) + "\n")


@torch.no_grad()
def conditions(args, data, vae, text, tokenizer):
    """Encode images and captions once: latents (n, 4, 16, 16) and states (n, 6, 24, 128), fp16."""
    folders = [args.out / part for part in ("vae", "text_encoder", "tokenizer")]
    made_with = [path for folder in folders for path in sorted(folder.iterdir())]
    key = store.source_hash(made_with, len(data["images"]))[:12]
    path, latents, states = args.work / f"conditions-{key}.pt", [], []
    if path.exists():
        return torch.load(path, weights_only=True, mmap=True)
    tokens = tokenize_captions(tokenizer, data)
    for rows in tqdm(torch.arange(len(tokens)).split(100), desc="encode"):
        x = to_float(data["images"][rows], args.device) * 2 - 1
        latents.append(vae.encode(x).latent_dist.mean.half().cpu() * vae.config.scaling_factor)
        c = text(tokens[rows].flatten(0, 1).to(args.device)).last_hidden_state
        states.append(c.half().cpu().unflatten(0, (len(rows), -1)))
    made = torch.cat(latents), torch.cat(states)
    torch.save(made, path.with_suffix(".partial"))
    path.with_suffix(".partial").rename(path)
    return made


def train_unet(args):
    (scheduler := networks.make_scheduler()).save_pretrained(args.out / "scheduler")
    unet = networks.make_unet().to(args.device)
    with first_process_first():
        if not (args.out / "unet").exists():  # load_latent_diffusion wants a whole folder
            write_model(unet, args.out / "unet")
        parts = features.load_latent_diffusion(args.out, device=args.device)
        latents, states = conditions(
            args, load_scenes(args, "train"), parts.vae, parts.text_encoder, parts.tokenizer
        )
    empty = parts.text_encoder(tokenize(parts.tokenizer, [""]).to(args.device)).last_hidden_state
    # The min-SNR weights of Hang et al. 2023, as chances: no pass is spent on steps that hardly
    # count.
    snr = scheduler.alphas_cumprod / (1 - scheduler.alphas_cumprod)
    weight_of_t = snr.clamp(max=5) / snr

    def loss_of(rows, generator):
        z = latents[rows].to(args.device).float()
        # The mean over one to five captions: decoders predict the mean over five. A third sees
        # the one that names everything: what goes with what is learned sooner from it.
        order = torch.rand(len(rows), 5, generator=generator).argsort(1).argsort(1)
        keep = F.pad(order < torch.randint(1, 6, (len(rows), 1), generator=generator), (0, 1))
        full = torch.rand(len(rows), 1, generator=generator) < 1 / 3
        keep = torch.where(full, torch.arange(6) == 5, keep)
        weight = (keep / keep.sum(1, keepdim=True)).to(args.device)
        c = (states[rows].to(args.device).float() * weight[..., None, None]).sum(1)
        drop = torch.rand(len(rows), generator=generator).to(args.device) < 0.1
        c = torch.where(drop[:, None, None], empty, c)
        t = weight_of_t.multinomial(len(rows), replacement=True, generator=generator)
        t = t.to(args.device)
        noise = torch.randn(z.shape, generator=generator).to(args.device)
        noisy = scheduler.add_noise(z, noise, t)
        return F.mse_loss(unet(noisy, t, c).sample.float(), noise)

    fit(args, "unet", {"unet": unet}, loss_of, len(latents), lr=1e-3, batch_size=32)
    write_model(unet, args.out / "unet")


def write_scores(args):
    """Score models on scenes that trained none of them, and write provenance.json.

    Of models that were not trained in --work the file keeps what it says.
    """
    test = load_scenes(args, "test")
    score_of = {
        "vae": lambda: score_vae(args, test),
        "tiny_vae": lambda: score_tiny_vae(args, test),
        "clip": lambda: score_clip(args, test, clip_modules(args)),
        "judge": lambda: score_judge(args, test),
        "alexnet": lambda: score_alexnet(args, test),
        "unet": lambda: score_unet(args, test),
    }
    scores = {name: of() for name, of in score_of.items() if (args.work / f"{name}.pt").exists()}
    curves = {}
    for name in scores:
        # A killed run may have logged steps that its successor repeated: the last word counts.
        rows = [line.split(",") for line in (args.work / f"{name}.csv").read_text().split()]
        curves[name] = sorted({int(step): float(loss) for step, loss in rows}.items())
    checkpoints = {
        name: torch.load(args.work / f"{name}.pt", map_location="cpu", weights_only=True, mmap=True)
        for name in curves
    }
    made = {
        "script": "data_scripts/mini_models/train.py",
        "seed": SEED,
        "steps_and_processes": {name: saved["planned"] for name, saved in checkpoints.items()},
        "scenes": {
            "train": args.scenes,
            "test": N_TEST,
            "held_back_for_the_judge": N_HELD_BACK,
            "alexnet": N_ALEXNET + N_ALEXNET_HELD_BACK,
        },
        "torch": torch.__version__,
        "scores_on_test_scenes": scores,
        "loss_curves": curves,
    }
    path = args.out / "provenance.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    for part in ("steps_and_processes", "scores_on_test_scenes", "loss_curves"):
        made[part] = known.get(part, {}) | made[part]
    if known:
        made["scenes"] = known["scenes"] | {f"train_{name}": args.scenes for name in scores}
    path.write_text(json.dumps(made) + "\n")
    print(json.dumps(scores, indent=1))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path(".cache/training"))
    parser.add_argument("--out", type=Path, default=networks.MODEL_FOLDER)
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    # Of several processes each takes a GPU of its own.
    device = f"cuda:{RANK}" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", type=torch.device, default=device)
    parser.add_argument("--scenes", type=int, default=40_000)
    parser.add_argument("--checkpoint-seconds", type=float, default=60)
    steps = {"vae": 5600, "tiny_vae": 4000, "clip": 4000, "judge": 3000, "alexnet": 2000, "unet": 12_000}
    for name, default in steps.items():
        option = f"--{name.replace('_', '-')}-steps"
        parser.add_argument(option, type=int, default=default)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)
    if N_PROCESSES > 1:
        if len(args.stages) > 1 or args.stages[0] in ("scenes", "scores"):
            parser.error("torchrun shares one training: name it, such as --stages unet")
        torch.distributed.init_process_group("nccl" if args.device.type == "cuda" else "gloo")
    run = {
        "scenes": make_scenes,
        "vae": train_vae,
        "tiny_vae": train_tiny_vae,
        "clip": train_clip,
        "judge": train_judge,
        "alexnet": train_alexnet,
        "unet": train_unet,
        "scores": write_scores,
    }
    store.note_files(args.out, [])  # the files change: their hashes hold again at the end
    for stage in args.stages:
        run[stage](args)
    if RANK == 0:
        store.note_files(args.out)


if __name__ == "__main__":
    main()
