"""Held-out scores of the miniature world's models; used by train_mini_models.py, reads its folders.

Everything is scored on scenes that trained none of the models, beside what a perfect model of its
kind could reach.
"""

import numpy as np
import torch
import torch.nn.functional as F

from latentcortex import features, sampler
from latentcortex.mini import networks, scenes

N_KINDS = len(scenes.KINDS)


@torch.no_grad()
def judge_answers(judge, images):
    """Read pictures: setting (n,), time (n,), kind there or not (n, 10), its colour (n, 10)."""
    says = judge(images)
    return {
        "setting": says["setting"].argmax(-1),
        "time": says["time"].argmax(-1),
        "kind": says["kind"] > 0,
        "colour": says["colour"].argmax(-1),
    }


def judge_accuracy(judge, images, labels):
    """Score the judge's answers; ``bound_f1`` counts things with the right kind and colour."""
    says = judge_answers(judge, images)
    there, colour = labels[:, 2 : 2 + N_KINDS].bool(), labels[:, 2 + N_KINDS : 2 + 2 * N_KINDS]
    found = (says["kind"] & there & (says["colour"] == colour)).sum().item()
    return {
        "setting": (says["setting"] == labels[:, 0]).float().mean().item(),
        "time": (says["time"] == labels[:, 1]).float().mean().item(),
        "kinds_all_right": (says["kind"] == there).all(1).float().mean().item(),
        "bound_f1": 2 * found / (says["kind"].sum() + there.sum()).item(),
    }


def _float(images):
    return images.float() / 255


def score_vae(args, test):
    model = features.load_latent_diffusion(args.out)
    judge = networks.load_judge(args.out / "judge")
    images = _float(test["images"])
    again = features.decode_latents(model.vae, features.encode_images(model.vae, images))
    again = again.clamp(0, 1)
    psnr = -10 * (again - images).pow(2).mean((1, 2, 3)).log10()
    return {
        "psnr_db": psnr.mean().item(),
        "judge_on_scenes": judge_accuracy(judge, images, test["labels"]),
        "judge_on_round_trips": judge_accuracy(judge, again, test["labels"]),
    }


@torch.no_grad()
def score_clip(args, test, tokenizer_and_modules):
    """Pick an image's own caption, which names all there is to name, among those of 100 images."""
    tokenizer, modules = tokenizer_and_modules
    saved = torch.load(args.work / "clip.pt", weights_only=True)["average"]
    torch.nn.ModuleDict(modules).load_state_dict(saved)
    for module in modules.values():
        module.eval()
    tokens = tokenizer(
        list(test["full"]), padding="max_length", max_length=networks.N_TOKENS, return_tensors="pt"
    ).input_ids
    image = F.normalize(modules["visual"]((_float(test["images"]) - 0.5) * 4), dim=-1)
    text = F.normalize(modules["text"](tokens).text_embeds, dim=-1)
    hits, oracle = [], []
    for rows in torch.arange(len(image)).split(100):
        hits.append((image[rows] @ text[rows].T).argmax(1) == torch.arange(len(rows)))
        same = (test["labels"][rows, None] == test["labels"][None, rows]).all(-1).sum(1)
        oracle.append(1 / same)  # who knows all that is named can only guess among equals
    return {
        "top1_of_100": torch.cat(hits).float().mean().item(),
        "oracle_top1_of_100": torch.cat(oracle).mean().item(),
    }


def score_judge(args, test):
    judge = networks.load_judge(args.out / "judge")
    images = _float(test["images"])
    blurred = F.interpolate(F.avg_pool2d(images, 4), scale_factor=4.0, mode="bilinear")
    return {
        "scenes": judge_accuracy(judge, images, test["labels"]),
        "blurred_by_4": judge_accuracy(judge, blurred, test["labels"]),
        "noise_alone": judge_accuracy(judge, torch.rand_like(images), test["labels"]),
    }


def generate(model, captions, n_steps=25, guidance_scale=3.0):
    """Draw one image a caption from noise alone, (n, 3, 64, 64) in [0, 1]."""
    states = features.encode_captions(
        model.text_encoder, model.tokenizer, [[str(caption)] for caption in captions]
    )
    drawn = sampler.sample(
        model.unet, model.scheduler, states,
        features.unconditional(model.text_encoder, model.tokenizer),
        n_steps=n_steps, guidance_scale=guidance_scale,
        generators=[sampler.make_generator(i, 0) for i in range(len(captions))],
    )  # fmt: skip
    return features.decode_latents(model.vae, drawn).clamp(0, 1)


def score_unet(args, test, n=128):
    """Draw pictures from held-out captions that name everything, and let the judge read them."""
    model = features.load_latent_diffusion(args.out)
    judge = networks.load_judge(args.out / "judge")
    images = generate(model, test["full"][:n])
    labels = test["labels"][:n]
    shuffled = labels[torch.from_numpy(np.random.default_rng(0).permutation(n))]
    return {
        "from_own_captions": judge_accuracy(judge, images, labels),
        "against_shuffled_captions": judge_accuracy(judge, images, shuffled),
        "judge_on_the_scenes": judge_accuracy(judge, _float(test["images"][:n]), labels),
    }
