"""Train the miniature world's models: reads nothing, writes checkpoints to --work, models to --out.

Stages: scenes, vae, clip, judge, unet, scores. Each is resumed where it was killed, runs on the CPU
or a GPU, and is skipped when done. Batches are drawn by step number, so that a training
that is resumed by as many processes sees what an uninterrupted one would have seen.

One training may be shared by several processes, each with batches of its own:
torchrun --nproc-per-node 2 data_scripts/train_mini_models.py --stages unet
"""

import argparse
import json
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from mini_model_fit import N_PROCESSES, RANK, first_process_first, fit
from mini_model_scenes import (
    N_HELD_BACK,
    N_TEST,
    SEED,
    blur,
    load_scenes,
    make_scenes,
    scramble,
    to_float,
    tokenize,
    tokenize_captions,
)
from mini_model_scores import score_clip, score_judge, score_unet, score_vae
from safetensors.numpy import save_file as save_numpy
from safetensors.torch import save_file
from tqdm.auto import tqdm
from transformers import CLIPTokenizer

from latentcortex import store
from latentcortex.mini import networks, scenes
from latentcortex.mini.classical_judge import histograms
from latentcortex.ridge import Ridge

STAGES = ("scenes", "vae", "clip", "judge", "unet", "scores")


def write_model(model, folder):
    model.half().save_pretrained(folder, safe_serialization=True)
    model.float()


def write_weights(network, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {name: value.half().contiguous() for name, value in network.state_dict().items()}
    save_file(state, path)


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


def clip_modules(args):
    folder = args.out / "tokenizer"
    with first_process_first():
        if not folder.exists():
            # The vocabulary knows every word: also the name of the kind that is held back.
            parts = [load_scenes(args, part) for part in ("train", "held_back")]
            words = np.concatenate([part["captions"].reshape(-1) for part in parts])
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
    config = {"image_size": 64, "patch_size": 8, "width": 128, "layers": 6, "heads": 4,
              "mlp_ratio": 4.0, "output_dim": 128, "mean": 0.5, "std": 0.25}  # fmt: skip
    (guide / "config.json").write_text(json.dumps(config, indent=1) + "\n")


@torch.no_grad()
def degrade(vae, x, generator):
    """Show scenes (n, 3, 64, 64) as reconstructions show them; also tell where nothing is left.

    Returns the pictures and, for each, whether no one can tell what it shows.
    """

    def noise(like, most):
        spread = most * torch.rand(len(like), 1, 1, 1, generator=generator)
        return (spread * torch.randn(like.shape, generator=generator)).to(like.device)

    def round_trip(x):
        latents = vae.encode(x * 2 - 1).latent_dist.mean.float()
        latents = latents + noise(latents, 0.8 * latents.std().item())
        return vae.decode(latents).sample.float() / 2 + 0.5

    ways = [
        (3, lambda x: x), (1, lambda x: blur(x, 2)), (1, lambda x: blur(x, 4)),
        (1, lambda x: blur(x, 8)), (1, lambda x: x + noise(x, 0.3)), (3, round_trip),
        (1, lambda x: scramble(x, generator)),
        (1, lambda x: x.mean((2, 3), keepdim=True) + noise(x, 0.5)),
    ]  # fmt: skip
    weights = torch.tensor([float(weight) for weight, _ in ways])
    choice = weights.multinomial(len(x), replacement=True, generator=generator).to(x.device)
    pictures = torch.empty_like(x)
    for number in choice.unique().tolist():
        rows = choice == number
        pictures[rows] = ways[number][1](x[rows]).clamp(0, 1)
    return pictures, choice >= len(ways) - 2


def train_judge(args):
    parts = [load_scenes(args, part) for part in ("train", "held_back")]
    images = torch.cat([part["images"] for part in parts])
    labels = torch.cat([part["labels"] for part in parts])
    vae = AutoencoderKL.from_pretrained(args.out / "vae").to(args.device).eval()
    judge, k = networks.Judge(), len(scenes.KINDS)

    def loss_of(rows, generator):
        y = labels[rows].to(args.device)
        pictures, lost = degrade(vae, to_float(images[rows], args.device), generator)
        says = {name: logits.float() for name, logits in judge(pictures).items()}
        setting = torch.where(lost, len(scenes.SETTINGS), y[:, 0])
        time_of_day = torch.where(lost, len(scenes.TIMES), y[:, 1])
        there, colour, place = y[:, 2 : 2 + k], y[:, 2 + k : 2 + 2 * k], y[:, 2 + 2 * k :]
        here = there.bool() & ~lost[:, None]
        return (
            F.cross_entropy(says["setting"], setting)
            + F.cross_entropy(says["time"], time_of_day)
            + 5 * F.binary_cross_entropy_with_logits(says["kind"], here.float())
            + F.cross_entropy(says["colour"][here], colour[here])
            + F.cross_entropy(says["place"][here], place[here])
        )

    fit(args, "judge", {"judge": judge}, loss_of, len(images), lr=1.5e-3, batch_size=96,
        weight_decay=0.05)  # fmt: skip
    write_weights(judge, args.out / "judge" / "judge.safetensors")
    train_classical_judge(args, vae, images, labels)


def train_classical_judge(args, vae, images, labels):
    """Fit the judge that is no network, ridge regression on one-hot answers, to scenes as they are
    and as reconstructions show them."""
    generator, X, answers = torch.Generator().manual_seed(SEED), [], []
    for rows in tqdm(torch.arange(len(images)).split(1000), desc="classical judge"):
        plain = to_float(images[rows], args.device)
        degraded, lost = degrade(vae, plain, generator)
        X += [histograms(plain.cpu()), histograms(degraded[~lost].cpu())]
        answers += [labels[rows], labels[rows][~lost.cpu()]]
    X, labels = np.concatenate(X), torch.cat(answers).numpy()
    one_hot = [np.eye(n, dtype=np.float32)[labels[:, k]]
               for k, n in enumerate((len(scenes.SETTINGS), len(scenes.TIMES)))]  # fmt: skip
    there = labels[:, 2 : 2 + len(scenes.KINDS)].astype(np.float32)
    rows = np.random.default_rng(SEED).permutation(len(X)) < 0.9 * len(X)
    Y = np.hstack([*one_hot, there])
    alphas = X.shape[1] * np.logspace(-3, 1, 9)
    ridge = Ridge(alphas, zscore=True, alpha_per_target=False).fit(X[rows], Y[rows])
    # Rare answers are seldom above one half: each kind says yes from where its F1 is best.
    answers = ridge.predict(X[~rows])[:, -there.shape[1] :]
    thresholds = np.linspace(0.1, 0.7, 61)
    f1 = [2 * ((answers > t) & (there[~rows] > 0)).sum(0) / ((answers > t) + there[~rows]).sum(0)
          for t in thresholds]  # fmt: skip
    intercept = ridge.intercept_.copy()
    intercept[-there.shape[1] :] -= thresholds[np.argmax(f1, axis=0)]
    arrays = {"coef": ridge.coef_.astype(np.float16), "intercept": intercept.astype(np.float32)}
    save_numpy(arrays, args.out / "judge" / "classical.safetensors")


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
    from latentcortex.features import load_latent_diffusion

    (scheduler := networks.make_scheduler()).save_pretrained(args.out / "scheduler")
    unet = networks.make_unet().to(args.device)
    with first_process_first():
        if not (args.out / "unet").exists():  # load_latent_diffusion wants a whole folder
            write_model(unet, args.out / "unet")
        parts = load_latent_diffusion(args.out, device=args.device)
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
    """Score every model on scenes that trained none of them, and write provenance.json."""
    test = load_scenes(args, "test")
    scores = {
        "vae": score_vae(args, test),
        "clip": score_clip(args, test, clip_modules(args)),
        "judge": score_judge(args, test),
        "unet": score_unet(args, test),
    }
    curves = {}
    for name in ("vae", "clip", "judge", "unet"):
        # A killed run may have logged steps that its successor repeated: the last word counts.
        rows = [line.split(",") for line in (args.work / f"{name}.csv").read_text().split()]
        curves[name] = sorted({int(step): float(loss) for step, loss in rows}.items())
    checkpoints = {
        name: torch.load(args.work / f"{name}.pt", map_location="cpu", weights_only=True, mmap=True)
        for name in curves
    }
    made = {
        "script": "data_scripts/train_mini_models.py",
        "seed": SEED,
        "steps_and_processes": {name: saved["planned"] for name, saved in checkpoints.items()},
        "scenes": {"train": args.scenes, "test": N_TEST, "held_back_for_the_judge": N_HELD_BACK},
        "torch": torch.__version__,
        "scores_on_test_scenes": scores,
        "loss_curves": curves,
    }
    (args.out / "provenance.json").write_text(json.dumps(made) + "\n")
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
    for name, steps in {"vae": 5600, "clip": 4000, "judge": 3000, "unet": 12_000}.items():
        parser.add_argument(f"--{name}-steps", type=int, default=steps)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)
    if N_PROCESSES > 1:
        if len(args.stages) > 1 or args.stages[0] in ("scenes", "scores"):
            parser.error("torchrun shares one training: name it, such as --stages unet")
        torch.distributed.init_process_group("nccl" if args.device.type == "cuda" else "gloo")
    run = {"scenes": make_scenes, "vae": train_vae, "clip": train_clip, "judge": train_judge,
           "unet": train_unet, "scores": write_scores}  # fmt: skip
    for stage in args.stages:
        run[stage](args)


if __name__ == "__main__":
    main()
