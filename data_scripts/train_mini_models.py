"""Train the miniature world's models: reads nothing, writes checkpoints to --work, models to --out.

Stages: scenes, vae, clip, judge, unet, scores. Each is resumed where it was killed, runs on the CPU
or a GPU, and is skipped when done. Batches are drawn by step number, so that a resumed training
sees what an uninterrupted one would have seen.
"""

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from joblib import Parallel, delayed
from mini_model_scores import score_clip, score_judge, score_unet, score_vae
from safetensors.torch import save_file
from tqdm.auto import tqdm
from transformers import CLIPTokenizer

from latentcortex.mini import captions as writer
from latentcortex.mini import networks, scenes

STAGES = ("scenes", "vae", "clip", "judge", "unet", "scores")
SEED = 1_000_003  # the scenes that train the models; the subjects' scenes have seeds of their own
N_TEST, N_HELD_BACK = 400, 2000


def autocast(device):
    return torch.autocast(device.type, dtype=torch.bfloat16)


def make_scenes(args):
    """Render the training scenes in chunks, so that a killed run loses a chunk a worker at most."""
    folder = args.work / "scenes"
    folder.mkdir(parents=True, exist_ok=True)
    plan = {"train": args.scenes, "test": N_TEST, "held_back": N_HELD_BACK}
    chunks = [
        (folder / f"{part}_{i:03d}.npz", min(1000, n - start), (SEED, p, i), part == "held_back")
        for p, (part, n) in enumerate(plan.items())
        for i, start in enumerate(range(0, n, 1000))
    ]
    todo = [chunk for chunk in chunks if not chunk[0].exists()]
    work = Parallel(n_jobs=-1, return_as="generator")(delayed(make_chunk)(*c) for c in todo)
    for _ in tqdm(work, desc="scenes", total=len(todo)):
        pass


def make_chunk(path, n, seed, held_back):
    torch.set_num_threads(1)  # one worker a core beats two threads that wait for each other
    rng = np.random.default_rng(seed)
    drawn = scenes.sample_scenes(n, rng, held_back)
    texts = [writer.write_captions(scene, rng) for scene in drawn]
    full = [writer.write_caption(scene, rng, everything=True) for scene in drawn]
    labels = np.stack([label(scene) for scene in drawn])
    partial = path.with_suffix(".partial.npz")
    np.savez(partial, images=scenes.render(drawn), captions=texts, full=full, labels=labels)
    partial.rename(path)


def label(scene):
    """Code a scene for the judge: setting, time, then kind there or not, its colour, its place."""
    code = np.zeros(2 + 3 * len(scenes.KINDS), dtype=np.int64)
    code[:2] = scenes.SETTINGS.index(scene.setting), scenes.TIMES.index(scene.time)
    for thing in scene.things:
        at = 2 + scenes.KINDS.index(thing.kind)
        code[at] = 1
        code[at + len(scenes.KINDS)] = list(scenes.COLOURS).index(thing.colour)
        code[at + 2 * len(scenes.KINDS)] = scenes.PLACES.index(thing.place)
    return code


def load_scenes(args, part):
    files = sorted((args.work / "scenes").glob(f"{part}_*.npz"))
    chunks = [np.load(file) for file in files if "partial" not in file.name]
    if not chunks:
        raise FileNotFoundError(f"No scenes {part!r} in {args.work}: run the stage 'scenes' first.")
    data = {key: np.concatenate([c[key] for c in chunks]) for key in chunks[0].files}
    data["images"] = torch.from_numpy(data["images"]).permute(0, 3, 1, 2)
    data["labels"] = torch.from_numpy(data["labels"])
    return data


def to_float(images, device):
    return images.to(device).float() / 255


def fit(args, name, modules, loss_of, n_items, lr, batch_size, weight_decay=0.01, ema_decay=0.999):
    """Minimise ``loss_of(batch indices, generator)`` and leave the averaged weights in modules.

    One warm-up, one cosine; a checkpoint of weights, averages and optimiser now and then.
    """
    steps = getattr(args, f"{name}_steps")
    checkpoint, log = args.work / f"{name}.pt", args.work / f"{name}.csv"
    modules = torch.nn.ModuleDict(modules).to(args.device)
    average = {k: v.clone() for k, v in modules.state_dict().items()}
    optimiser = torch.optim.AdamW(
        modules.parameters(), lr=lr, betas=(0.9, 0.98), weight_decay=weight_decay
    )
    first = 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, map_location=args.device, weights_only=True)
        modules.load_state_dict(saved["modules"])
        optimiser.load_state_dict(saved["optimiser"])
        average, first = saved["average"], saved["step"]
    saved_at, losses = time.time(), []
    bar = tqdm(range(first, steps), desc=name, initial=first, total=steps, mininterval=10)
    for step in bar:
        generator = torch.Generator().manual_seed(SEED + step)
        rows = torch.randint(n_items, (batch_size,), generator=generator)
        rate = lr * min((step + 1) / 200, 0.02 + 0.98 * (1 + math.cos(math.pi * step / steps)) / 2)
        for group in optimiser.param_groups:
            group["lr"] = rate
        with autocast(args.device):
            loss = loss_of(rows, generator)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"{name}: the loss is {loss.item()} at step {step}; lower lr")
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(modules.parameters(), 1.0)
        optimiser.step()
        decay = min(ema_decay, (step + 1) / (step + 10))
        with torch.no_grad():
            for key, value in modules.state_dict().items():
                if value.is_floating_point():
                    average[key].lerp_(value, 1 - decay)
        losses.append(loss.item())
        if step % 50 == 49:
            with log.open("a") as file:
                file.write(f"{step + 1},{np.mean(losses[-50:]):.5f}\n")
            bar.set_postfix(loss=f"{np.mean(losses[-50:]):.4f}", refresh=False)
        if time.time() - saved_at > args.checkpoint_seconds or step == steps - 1:
            state = {"modules": modules.state_dict(), "average": average, "step": step + 1,
                     "optimiser": optimiser.state_dict()}  # fmt: skip
            torch.save(state, checkpoint.with_suffix(".partial"))
            checkpoint.with_suffix(".partial").rename(checkpoint)
            saved_at = time.time()
    modules.load_state_dict(average)
    return modules.eval().requires_grad_(False)


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


def clip_modules(args):
    folder = args.out / "tokenizer"
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


def tokenize(tokenizer, texts):
    return tokenizer(
        list(texts), padding="max_length", max_length=networks.N_TOKENS, truncation=True,
        return_tensors="pt",
    ).input_ids  # fmt: skip


def train_clip(args):
    data = load_scenes(args, "train")
    tokenizer, modules = clip_modules(args)
    tokens = tokenize(tokenizer, data["captions"].reshape(-1)).reshape(len(data["images"]), 5, -1)

    def loss_of(rows, generator):
        which = torch.randint(5, (len(rows),), generator=generator)
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
    guide.mkdir(parents=True, exist_ok=True)
    visual = {k: v.half().contiguous() for k, v in modules["visual"].state_dict().items()}
    save_file(visual, guide / "visual.safetensors")
    config = {"image_size": 64, "patch_size": 8, "width": 128, "layers": 6, "heads": 4,
              "mlp_ratio": 4.0, "output_dim": 128, "mean": 0.5, "std": 0.25}  # fmt: skip
    (guide / "config.json").write_text(json.dumps(config, indent=1) + "\n")


def degrade(x, generator):
    """Blur or add noise to half of the images, as reconstructions are blurred and noisy."""
    small = F.interpolate(F.avg_pool2d(x, 2), scale_factor=2.0, mode="bilinear")
    noise = torch.randn(x.shape, generator=generator).to(x.device) * 0.06
    choice = torch.randint(4, (len(x), 1, 1, 1), generator=generator).to(x.device)
    return torch.where(choice == 0, small, torch.where(choice == 1, x + noise, x))


def train_judge(args):
    parts = [load_scenes(args, part) for part in ("train", "held_back")]
    images = torch.cat([part["images"] for part in parts])
    labels = torch.cat([part["labels"] for part in parts])
    judge, k = networks.Judge(), len(scenes.KINDS)

    def loss_of(rows, generator):
        y = labels[rows].to(args.device)
        says = judge(degrade(to_float(images[rows], args.device), generator))
        there, colour, place = y[:, 2 : 2 + k], y[:, 2 + k : 2 + 2 * k], y[:, 2 + 2 * k :]
        here = there.bool()
        return (
            F.cross_entropy(says["setting"].float(), y[:, 0])
            + F.cross_entropy(says["time"].float(), y[:, 1])
            + 5 * F.binary_cross_entropy_with_logits(says["kind"].float(), there.float())
            + F.cross_entropy(says["colour"].float()[here], colour[here])
            + F.cross_entropy(says["place"].float()[here], place[here])
        )

    fit(args, "judge", {"judge": judge}, loss_of, len(images), lr=1.5e-3, batch_size=96,
        weight_decay=0.05)  # fmt: skip
    (args.out / "judge").mkdir(parents=True, exist_ok=True)
    state = {key: value.half().contiguous() for key, value in judge.state_dict().items()}
    save_file(state, args.out / "judge" / "judge.safetensors")


@torch.no_grad()
def conditions(args, data, vae, text, tokenizer):
    """Encode images and captions once: latents (n, 4, 16, 16) and states (n, 5, 24, 128), fp16."""
    path, latents, states = args.work / "conditions.pt", [], []
    if path.exists():
        return torch.load(path, weights_only=True)
    tokens = tokenize(tokenizer, data["captions"].reshape(-1)).reshape(len(data["images"]), 5, -1)
    for rows in tqdm(torch.arange(len(tokens)).split(100), desc="encode"):
        x = to_float(data["images"][rows], args.device) * 2 - 1
        latents.append(vae.encode(x).latent_dist.mean.half().cpu() * vae.config.scaling_factor)
        c = text(tokens[rows].flatten(0, 1).to(args.device)).last_hidden_state
        states.append(c.half().cpu().reshape(len(rows), 5, *c.shape[1:]))
    made = torch.cat(latents), torch.cat(states)
    torch.save(made, path)
    return made


def train_unet(args):
    from latentcortex.features import load_latent_diffusion

    (scheduler := networks.make_scheduler()).save_pretrained(args.out / "scheduler")
    unet = networks.make_unet().to(args.device)
    if not (args.out / "unet").exists():  # load_latent_diffusion wants a whole folder
        write_model(unet, args.out / "unet")
    parts = load_latent_diffusion(args.out, device=args.device)
    latents, states = conditions(
        args, load_scenes(args, "train"), parts.vae, parts.text_encoder, parts.tokenizer
    )
    empty = parts.text_encoder(tokenize(parts.tokenizer, [""]).to(args.device)).last_hidden_state
    abar = scheduler.alphas_cumprod.to(args.device)

    def loss_of(rows, generator):
        z = latents[rows].to(args.device).float()
        # The mean over one to five captions: decoders predict the mean over five.
        order = torch.rand(len(rows), 5, generator=generator).argsort(1).argsort(1)
        keep = order < torch.randint(1, 6, (len(rows), 1), generator=generator)
        weight = (keep / keep.sum(1, keepdim=True)).to(args.device)
        c = (states[rows].to(args.device).float() * weight[..., None, None]).sum(1)
        drop = torch.rand(len(rows), generator=generator).to(args.device) < 0.1
        c = torch.where(drop[:, None, None], empty, c)
        t = torch.randint(1000, (len(rows),), generator=generator).to(args.device)
        noise = torch.randn(z.shape, generator=generator).to(args.device)
        noisy = scheduler.add_noise(z, noise, t)
        error = (unet(noisy, t, c).sample.float() - noise).pow(2).mean((1, 2, 3))
        snr = abar[t] / (1 - abar[t])
        return (error * (snr.clamp(max=5) / snr)).mean()  # min-SNR weights, Hang et al. 2023

    fit(args, "unet", {"unet": unet}, loss_of, len(latents), lr=5e-4, batch_size=32)
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
    steps = {name: curve[-1][0] for name, curve in curves.items()}
    made = {
        "script": "data_scripts/train_mini_models.py",
        "seed": SEED,
        "steps": steps,
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
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--device", type=torch.device, default=device)
    parser.add_argument("--scenes", type=int, default=20_000)
    parser.add_argument("--checkpoint-seconds", type=float, default=60)
    for name, steps in {"vae": 1600, "clip": 1800, "judge": 1500, "unet": 5000}.items():
        parser.add_argument(f"--{name}-steps", type=int, default=steps)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)
    run = {"scenes": make_scenes, "vae": train_vae, "clip": train_clip, "judge": train_judge,
           "unet": train_unet, "scores": write_scores}  # fmt: skip
    for stage in args.stages:
        run[stage](args)


if __name__ == "__main__":
    main()
