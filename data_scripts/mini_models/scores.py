"""Held-out scores of the miniature world's models; used by train.py, reads its folders.

Everything is scored on scenes that trained none of the models, beside what a perfect model of its
kind could reach.
"""

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.calibration import calibration_curve

from latentcortex import features, sampler
from latentcortex.mini import networks, scenes
from latentcortex.mini.classical_judge import load_classical_judge

from .scenes import blur, scramble, to_float

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


def reader_accuracy(judge, images, labels):
    """Score the answers of a reader of settings, times and kinds alone."""
    says = {name: np.asarray(answers) for name, answers in judge(images).items()}
    there = labels[:, 2 : 2 + N_KINDS].numpy() > 0
    named = says["kind"] > 0
    return {
        "setting": float((says["setting"].argmax(1) == labels[:, 0].numpy()).mean()),
        "time": float((says["time"].argmax(1) == labels[:, 1].numpy()).mean()),
        "kinds_f1": float(2 * (named & there).sum() / (named.sum() + there.sum())),
    }


def score_vae(args, test):
    model = features.load_latent_diffusion(args.out)
    judge = networks.load_judge(args.out / "judge")
    images = to_float(test["images"], "cpu")
    again = features.decode_latents(model.vae, features.encode_images(model.vae, images))
    again = again.clamp(0, 1)
    psnr = -10 * (again - images).pow(2).mean((1, 2, 3)).log10()
    return {
        "psnr_db": psnr.mean().item(),
        "judge_on_scenes": judge_accuracy(judge, images, test["labels"]),
        "judge_on_round_trips": judge_accuracy(judge, again, test["labels"]),
    }


def score_tiny_vae(args, test):
    """Compare the tiny autoencoder with the VAE it stands for, in pictures and in gradients."""
    vae = features.load_latent_diffusion(args.out).vae
    tiny = features.load_tiny_vae(args.out / "tiny_vae")
    encoder = features.load_clip_image_encoder(args.out / "guide")
    images = to_float(test["images"], "cpu")
    latents = features.encode_images(vae, images)
    pictures, by_tiny = (features.decode_latents(each, latents).clamp(0, 1) for each in (vae, tiny))
    goals = features.encode_clip_layers(encoder, images.flip(0))

    def gradient(decoder):
        leaf = latents.clone().requires_grad_()
        found = features.encode_clip_layers(encoder, features.decode_latents(decoder, leaf), clamped=False)
        loss = sum((found[k] - goals[k]).square().mean((1, 2)) for k in found)
        return torch.autograd.grad(loss.sum(), leaf)[0].flatten(1)

    similar = F.cosine_similarity(gradient(vae), gradient(tiny))
    psnr = {"to_the_vae": by_tiny - pictures, "to_the_scenes": by_tiny - images}
    return {
        **{
            f"psnr_db_{of}": -10 * off.square().mean((1, 2, 3)).log10().mean().item()
            for of, off in psnr.items()
        },
        "r_of_latents": float(
            np.corrcoef(features.encode_images(tiny, images).flatten(), latents.flatten())[0, 1]
        ),
        "cosine_of_gradients": similar.mean().item(),
    }


@torch.no_grad()
def score_clip(args, test, tokenizer_and_modules):
    """Pick an image's own caption, which names all there is to name, among those of 100 images."""
    tokenizer, modules = tokenizer_and_modules
    saved = torch.load(args.work / "clip.pt", map_location="cpu", weights_only=True)["average"]
    torch.nn.ModuleDict(modules).load_state_dict(saved)
    for module in modules.values():
        module.eval()
    tokens = tokenizer(
        list(test["full"]), padding="max_length", max_length=networks.N_TOKENS, return_tensors="pt"
    ).input_ids
    image = F.normalize(modules["visual"]((to_float(test["images"], "cpu") - 0.5) * 4), dim=-1)
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


def calibration_error(confidence, is_right, n_bins=15):
    """Compare how sure the answers are with how often they are right, over bins of equal counts.

    Returns the mean absolute difference, between 0 and 1.
    """
    right, sure = calibration_curve(is_right, confidence, n_bins=n_bins, strategy="quantile")
    return float(np.abs(right - sure).mean())


@torch.no_grad()
def score_judge(args, test):
    """Score the judge on scenes degraded in known ways, and on pictures that show nothing."""
    judge = networks.load_judge(args.out / "judge")
    vae = features.load_latent_diffusion(args.out).vae
    images, labels = to_float(test["images"], "cpu"), test["labels"]
    generator = torch.Generator().manual_seed(0)

    def noisy(like, spread):
        return like + spread * torch.randn(like.shape, generator=generator)

    latents = features.encode_images(vae, images)
    shown = {
        "scenes": images,
        "blurred_by_2": blur(images, 2),
        "blurred_by_4": blur(images, 4),
        "blurred_by_8": blur(images, 8),
        "noise_0.1": noisy(images, 0.1),
        "noise_0.3": noisy(images, 0.3),
        "round_trips": features.decode_latents(vae, latents),
        "round_trips_with_noise_0.4": features.decode_latents(vae, noisy(latents, 0.4)),
    }
    shown = {name: pictures.clamp(0, 1) for name, pictures in shown.items()}
    scores = {name: judge_accuracy(judge, pictures, labels) for name, pictures in shown.items()}
    classical = load_classical_judge(args.out / "judge")
    scores["classical"] = {
        name: reader_accuracy(classical, pictures, labels) for name, pictures in shown.items()
    }
    says = judge(torch.cat(list(shown.values())))
    sure, answer = says["setting"].softmax(-1).max(-1)
    scores["calibration_error"] = {
        "setting": calibration_error(sure, answer == labels[:, 0].repeat(len(shown))),
        "kinds": calibration_error(
            says["kind"].sigmoid().flatten(), labels[:, 2 : 2 + N_KINDS].repeat(len(shown), 1).flatten()
        ),
    }
    nothing = {"scrambled": scramble(images, generator), "noise": torch.rand_like(images)}
    for name, pictures in nothing.items():
        answers = judge_answers(judge, pictures)
        scores[name] = {
            "says_can't_tell": (answers["setting"] == len(scenes.SETTINGS)).float().mean().item(),
            "kinds_named_per_picture": answers["kind"].float().sum(1).mean().item(),
        }
    return scores


def score_alexnet(args, test):
    """Score what the network for comparisons was trained to name."""
    alexnet = networks.load_alexnet(args.out / "alexnet")
    return reader_accuracy(alexnet, to_float(test["images"], "cpu"), test["labels"])


def generate(model, captions, n_steps=25, guidance_scale=3.0):
    """Draw one image per caption from noise alone, (n, 3, 64, 64) in [0, 1]."""
    states = features.encode_captions(
        model.text_encoder, model.tokenizer, [[str(caption)] for caption in captions]
    )
    drawn = sampler.sample(
        model.unet,
        model.scheduler,
        states,
        features.unconditional(model.text_encoder, model.tokenizer),
        n_steps=n_steps,
        guidance_scale=guidance_scale,
        generators=[sampler.make_generator(i, 0) for i in range(len(captions))],
    )
    return features.decode_latents(model.vae, drawn).clamp(0, 1)


def score_unet(args, test):
    """Draw pictures from held-out captions that name everything, and let the judge read them."""
    model = features.load_latent_diffusion(args.out)
    judge = networks.load_judge(args.out / "judge")
    images = generate(model, test["full"])
    labels = test["labels"]
    shuffled = labels[torch.from_numpy(np.random.default_rng(0).permutation(len(labels)))]
    return {
        "from_own_captions": judge_accuracy(judge, images, labels),
        "against_shuffled_captions": judge_accuracy(judge, images, shuffled),
        "judge_on_the_scenes": judge_accuracy(judge, to_float(test["images"], "cpu"), labels),
    }
