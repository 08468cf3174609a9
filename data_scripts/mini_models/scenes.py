"""Scenes that train and test the miniature world's models; used by train.py.

Renders them once into the folder --work/scenes, with their captions and what is in them.
"""

import numpy as np
import torch
import torch.nn.functional as F
from joblib import Parallel, delayed
from tqdm.auto import tqdm

from latentcortex.mini import captions as writer
from latentcortex.mini import networks, scenes

SEED = 1_000_003  # the scenes that train the models; the subjects' scenes have seeds of their own
N_TEST, N_HELD_BACK = 400, 2000
N_ALEXNET, N_ALEXNET_HELD_BACK = 10_000, 1000  # of the network that shares no data with the others


def make_scenes(args):
    """Render the training scenes in chunks, so that a killed run loses a chunk a worker at most."""
    folder = args.work / "scenes"
    folder.mkdir(parents=True, exist_ok=True)
    plan = {
        "train": args.scenes,
        "test": N_TEST,
        "held_back": N_HELD_BACK,
        "alexnet": N_ALEXNET,
        "alexnet_held_back": N_ALEXNET_HELD_BACK,
    }
    chunks = [
        (folder / f"{part}_{i:03d}.npz", min(1000, n - start), (SEED, p, i), "held_back" in part)
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


def load_scenes(args, *parts):
    """Load the scenes of one part or several, one after the other."""
    chunks = []
    for part in parts:
        files = sorted((args.work / "scenes").glob(f"{part}_[0-9]*.npz"))
        files = [file for file in files if "partial" not in file.name]
        if not files:
            raise FileNotFoundError(f"No scenes {part!r} in {args.work}: run the stage 'scenes' first.")
        chunks += map(np.load, files)
    data = {key: np.concatenate([c[key] for c in chunks]) for key in chunks[0].files}
    data["images"] = torch.from_numpy(data["images"]).permute(0, 3, 1, 2)
    data["labels"] = torch.from_numpy(data["labels"])
    return data


def to_float(images, device):
    return images.to(device).float() / 255


def tokenize(tokenizer, texts):
    return tokenizer(
        list(texts), padding="max_length", max_length=networks.N_TOKENS, truncation=True, return_tensors="pt"
    ).input_ids


def tokenize_captions(tokenizer, data):
    """Number the words of the five captions and of the one that names everything, (n, 6, 24)."""
    texts = np.column_stack([data["captions"], data["full"]])
    return tokenize(tokenizer, texts.reshape(-1)).reshape(*texts.shape, -1)


def blur(images, factor):
    """Average blocks of factor x factor pixels of (n, 3, h, w) and interpolate between them."""
    small = F.avg_pool2d(images, factor)
    return F.interpolate(small, scale_factor=float(factor), mode="bilinear")


def scramble(images, generator, block=4):
    """Put the blocks of block x block pixels of (n, 3, h, w) in random order: no scene is left."""
    blocks = F.pixel_unshuffle(images, block)
    places = blocks.flatten(2)
    order = torch.rand(len(images), 1, places.shape[-1], generator=generator).argsort(-1)
    mixed = places.gather(-1, order.to(images.device).expand_as(places))
    return F.pixel_shuffle(mixed.view_as(blocks), block)
