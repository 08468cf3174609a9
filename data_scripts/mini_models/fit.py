"""The training loop of the miniature world's models; used by train.py."""

import contextlib
import math
import os
import time

import numpy as np
import torch
from tqdm.auto import tqdm

from .scenes import SEED

# Set by torchrun, where several processes share one training.
EMA_DECAY = 0.999  # of the averaged weights
RANK, N_PROCESSES = (int(os.environ.get(k, d)) for k, d in (("RANK", 0), ("WORLD_SIZE", 1)))


def autocast(device):
    # A processor without bfloat16 of its own emulates it, many times slower than float32.
    has_it = device.type != "cpu" or torch.cpu.get_capabilities()["avx512_bf16"]
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=has_it)


@contextlib.contextmanager
def first_process_first():
    """Let the first process through alone; the others then find what it wrote."""
    if N_PROCESSES > 1 and RANK:
        torch.distributed.barrier()
    yield
    if N_PROCESSES > 1 and not RANK:
        torch.distributed.barrier()


def share_gradients(modules):
    """Average the gradients over all processes; in half precision, as half as much travels."""
    if N_PROCESSES == 1:
        return
    gradients = [p.grad for p in modules.parameters() if p.grad is not None]
    flat = torch.cat([g.flatten().bfloat16() for g in gradients])
    torch.distributed.all_reduce(flat)
    parts = (flat / N_PROCESSES).split([g.numel() for g in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def fit(args, name, modules, loss_of, n_items, lr, batch_size, weight_decay=0.01):
    """Minimise ``loss_of(batch indices, generator)`` and leave the averaged weights in modules.

    One warm-up, one cosine; a checkpoint of weights, averages and optimiser now and then. More
    steps than before raise the rate again, to the cosine of the longer training. The checkpoint
    lists what was ``planned``: steps and processes of each run that ended.
    """
    steps = getattr(args, f"{name}_steps")
    checkpoint, log = args.work / f"{name}.pt", args.work / f"{name}.csv"
    modules = torch.nn.ModuleDict(modules).to(args.device)
    average = {k: v.clone() for k, v in modules.state_dict().items()}
    optimiser = torch.optim.AdamW(modules.parameters(), lr=lr, betas=(0.9, 0.98), weight_decay=weight_decay)
    first, planned = 0, []
    if checkpoint.exists():
        saved = torch.load(checkpoint, map_location=args.device, weights_only=True)
        modules.load_state_dict(saved["modules"])
        optimiser.load_state_dict(saved["optimiser"])
        average, first, planned = saved["average"], saved["step"], saved["planned"]
    planned = [*([n, by] for n, by in planned if n <= first), [steps, N_PROCESSES]]
    saved_at, losses = time.time(), []
    bar = tqdm(range(first, steps), desc=name, initial=first, total=steps, mininterval=10)
    for step in bar:
        generator = torch.Generator().manual_seed(SEED + step * N_PROCESSES + RANK)
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
        share_gradients(modules)
        torch.nn.utils.clip_grad_norm_(modules.parameters(), 1.0)
        optimiser.step()
        decay = min(EMA_DECAY, (step + 1) / (step + 10))
        with torch.no_grad():
            for key, value in modules.state_dict().items():
                if value.is_floating_point():
                    average[key].lerp_(value, 1 - decay)
        losses.append(loss.item())
        if step % 50 == 49 and not RANK:
            with log.open("a") as file:
                file.write(f"{step + 1},{np.mean(losses[-50:]):.5f}\n")
            bar.set_postfix(loss=f"{np.mean(losses[-50:]):.4f}", refresh=False)
        due = time.time() - saved_at > args.checkpoint_seconds or step == steps - 1
        if due and not RANK:
            state = {
                "modules": modules.state_dict(),
                "average": average,
                "step": step + 1,
                "planned": planned,
                "optimiser": optimiser.state_dict(),
            }
            torch.save(state, checkpoint.with_suffix(".partial"))
            checkpoint.with_suffix(".partial").rename(checkpoint)
            saved_at = time.time()
    if RANK:
        raise SystemExit  # all processes end with the same weights; the first one writes them
    modules.load_state_dict(average)
    return modules.eval().requires_grad_(False)
