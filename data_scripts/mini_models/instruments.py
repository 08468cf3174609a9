"""Train the instruments that read pictures of the miniature world; used by train.py.

They take no part in making a picture: a judge, a judge that is no network, and a network whose
activations compare pictures.
"""

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from safetensors.numpy import save_file as save_numpy
from safetensors.torch import save_file
from tqdm.auto import tqdm

from latentcortex.mini import networks, scenes
from latentcortex.mini.classical_judge import histograms
from latentcortex.ridge import Ridge

from .fit import fit
from .scenes import SEED, blur, load_scenes, scramble, to_float


def write_weights(network, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {name: value.half().contiguous() for name, value in network.state_dict().items()}
    save_file(state, path)


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
        (3, lambda x: x),
        (1, lambda x: blur(x, 2)),
        (1, lambda x: blur(x, 4)),
        (1, lambda x: blur(x, 8)),
        (1, lambda x: x + noise(x, 0.3)),
        (3, round_trip),
        (1, lambda x: scramble(x, generator)),
        (1, lambda x: x.mean((2, 3), keepdim=True) + noise(x, 0.5)),
    ]
    weights = torch.tensor([float(weight) for weight, _ in ways])
    choice = weights.multinomial(len(x), replacement=True, generator=generator).to(x.device)
    pictures = torch.empty_like(x)
    for number in choice.unique().tolist():
        rows = choice == number
        pictures[rows] = ways[number][1](x[rows]).clamp(0, 1)
    return pictures, choice >= len(ways) - 2


def train_judge(args):
    data = load_scenes(args, "train", "held_back")
    images, labels = data["images"], data["labels"]
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

    fit(args, "judge", {"judge": judge}, loss_of, len(images), lr=1.5e-3, batch_size=96, weight_decay=0.05)
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
    one_hot = [
        np.eye(n, dtype=np.float32)[labels[:, k]]
        for k, n in enumerate((len(scenes.SETTINGS), len(scenes.TIMES)))
    ]
    there = labels[:, 2 : 2 + len(scenes.KINDS)].astype(np.float32)
    rows = np.random.default_rng(SEED).permutation(len(X)) < 0.9 * len(X)
    Y = np.hstack([*one_hot, there])
    alphas = X.shape[1] * np.logspace(-3, 1, 9)
    # The criterion that the shipped judge was made with.
    shared = {"alpha_per_target": False, "criterion": "uniform_average"}
    ridge = Ridge(alphas, zscore=True, **shared).fit(X[rows], Y[rows])
    # Rare answers are seldom above one half: each kind says yes from where its F1 is best.
    answers = ridge.predict(X[~rows])[:, -there.shape[1] :]
    thresholds = np.linspace(0.1, 0.7, 61)
    f1 = [
        2 * ((answers > t) & (there[~rows] > 0)).sum(0) / ((answers > t) + there[~rows]).sum(0)
        for t in thresholds
    ]
    intercept = ridge.intercept_.copy()
    intercept[-there.shape[1] :] -= thresholds[np.argmax(f1, axis=0)]
    arrays = {"coef": ridge.coef_.astype(np.float16), "intercept": intercept.astype(np.float32)}
    save_numpy(arrays, args.out / "judge" / "classical.safetensors")


def train_alexnet(args):
    """Train on scenes of its own, plain and turned to their mirror images."""
    data = load_scenes(args, "alexnet", "alexnet_held_back")
    images, labels = data["images"], data["labels"]
    alexnet = networks.SmallAlexNet().train()

    def loss_of(rows, generator):
        y = labels[rows].to(args.device)
        x = to_float(images[rows], args.device)
        mirrored = (torch.rand(len(rows), generator=generator) < 0.5).to(args.device)
        says = alexnet(torch.where(mirrored[:, None, None, None], x.flip(-1), x))
        there = y[:, 2 : 2 + len(scenes.KINDS)].float()
        return (
            F.cross_entropy(says["setting"].float(), y[:, 0])
            + F.cross_entropy(says["time"].float(), y[:, 1])
            + 5 * F.binary_cross_entropy_with_logits(says["kind"].float(), there)
        )

    fit(
        args, "alexnet", {"alexnet": alexnet}, loss_of, len(images), lr=1e-3, batch_size=64, weight_decay=0.05
    )
    write_weights(alexnet, args.out / "alexnet" / "alexnet.safetensors")
