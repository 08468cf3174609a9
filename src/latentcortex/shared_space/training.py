"""Train networks in two stages: pre-training on other subjects, and fine-tuning on the target subject."""

import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch.optim.lr_scheduler import OneCycleLR
from tqdm.auto import tqdm

from latentcortex.shared_space.bounds import as_number
from latentcortex.shared_space.checkpoints import read_tensors, write_tensors
from latentcortex.shared_space.data import TrainingData, rows_as_tensor
from latentcortex.shared_space.losses import bimixco, cosine_temperature, cosines, draw_mixing, mix, softclip
from latentcortex.shared_space.network import LatentHead
from latentcortex.shared_space.prediction import predict
from latentcortex.shared_space.settings import TrainingSettings
from latentcortex.store import rows_of


def train(
    model,
    trials,
    targets,
    settings=None,
    *,
    validation_image_ids=(),
    checkpoint=None,
    checkpoint_seconds=60,
    progress=True,
):
    """Train a network on several subjects (first stage) or one (second stage), and return its history.

    Every step draws its batch, mixing, dropout and noise from the seed and the number of the step. So a
    training that was killed and resumed from its checkpoint gives the same result, on a CPU bit by bit.
    Validation images do not influence the training. Their retrieval is only shown.

    Parameters
    ----------
    model : SharedSpace
        The network, which is trained in place on its device and left in evaluation mode. An earlier rescaling
        is removed.
    trials : dict of str to (betas (n_trials, n_voxels), image_ids (n_trials,))
        Trials to learn from by subject. They are single trials, z-scored session by session (``nsd.zscore``).
        They must not contain test images.
    targets : dict of str to (features (n_images, ...), image_ids (n_images,))
        Targets by name, with rows in any order. Rows of images that are not used for training are ignored.
    settings : TrainingSettings, optional
    validation_image_ids : int array
        Images that are left out of training with all their repeats.
    checkpoint : path, optional
        A ``.safetensors`` file that keeps the state. If it exists, the training is resumed from it.
    checkpoint_seconds : float
        Seconds between two checkpoints.
    progress : bool
        Whether to show a bar with loss and validation retrieval.

    Returns
    -------
    history : list of dict
        One dict per epoch with the mean ``loss`` and, with validation images, ``retrieval`` by target.
        Retrieval is how often, in [0, 1], the correct image comes first by cosine among the subject's
        validation images. It is averaged over subjects.

    Raises
    ------
    ValueError
        If trials, targets and network do not fit each other. Also if the network has already learned from
        validation images, or if the checkpoint belongs to another training.
    FloatingPointError
        If the loss is not finite.
    """
    settings = TrainingSettings() if settings is None else settings
    checkpoint_seconds = as_number(checkpoint_seconds, "checkpoint_seconds")
    data = TrainingData(model, trials, targets, validation_image_ids)
    statistics = {name: data.statistics(name) for name in targets}
    epoch_steps = _steps_of_an_epoch(data, settings)
    n_steps = settings.epochs * epoch_steps
    fingerprint = data.fingerprint(model, settings)
    saved = _read_checkpoint(checkpoint, fingerprint)

    if not len(model.training_image_ids):
        for name, (mean, scale) in statistics.items():
            model.heads[name].mean.copy_(mean)
            model.heads[name].scale.copy_(scale)
    model.training_image_ids = np.union1d(model.training_image_ids, data.image_ids)
    model.rescaling, model.rescaling_image_ids = {}, {}
    optimiser, cycle = _optimiser(model, settings, n_steps)
    schedule = OneCycleLR(optimiser, **cycle)
    first, losses, history = 0, [], []
    if saved is not None:
        first, losses, history = _restore(model, optimiser, *saved)
        # The cycle is a function of the step: a schedule made at the last step goes on from it.
        schedule = OneCycleLR(optimiser, **cycle, last_epoch=first - 1)
    saved_at = time.monotonic()
    bar = tqdm(range(first, n_steps), desc="train", total=n_steps, initial=first, disable=not progress)
    for step in bar:
        model.train()
        loss = step_loss(model, data, settings, step, epoch_steps)
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"The loss is {loss.item()} at step {step} of {n_steps}. Lower lr (now "
                f"{settings.lr}), or look for extreme values in betas and targets."
            )
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
        if len(losses) == epoch_steps:
            history.append({"loss": float(np.mean(losses))})
            if len(validation_image_ids):
                history[-1]["retrieval"] = _retrieve(model, data, settings)
            losses = []
        top1 = history[-1].get("retrieval", {}) if history else {}
        shown = {f"top-1 {name}": f"{share:.2f}" for name, share in top1.items()}
        bar.set_postfix(shown | {"loss": f"{loss.item():.3f}"}, refresh=False)
        is_due = time.monotonic() - saved_at > checkpoint_seconds or step == n_steps - 1
        if checkpoint is not None and is_due:
            _checkpoint(checkpoint, model, optimiser, fingerprint, step + 1, losses, history)
            saved_at = time.monotonic()
    model.eval()
    return history


def _steps_of_an_epoch(data, settings):
    """Return how many steps an epoch has; refuse data that are too few for it."""
    n_images = {subject: len(groups) for subject, groups in data.groups.items()}
    if min(n_images.values()) < settings.trials_per_subject:
        raise ValueError(
            f"Batches need {settings.trials_per_subject} different images of each subject, there "
            f"are {n_images}. Lower trials_per_subject or pass more trials."
        )
    most = max(sum(map(len, groups)) for groups in data.groups.values())
    epoch_steps = settings.steps_per_epoch or -(-most // settings.trials_per_subject)
    if settings.warmup_epochs * epoch_steps < 2 or settings.epochs * epoch_steps < 3:
        raise ValueError(
            f"{settings.epochs} epochs of {epoch_steps} steps, {settings.warmup_epochs} of them to "
            "warm up, leave the rate no steps to rise and fall: expected at least 2 and 3."
        )
    return epoch_steps


def _read_checkpoint(checkpoint, fingerprint):
    """Return tensors and metadata of a training to go on with; None where there is no checkpoint."""
    if checkpoint is None or not Path(checkpoint).exists():
        return None
    saved = read_tensors(checkpoint)
    if saved[1].get("fingerprint") != fingerprint:
        raise ValueError(
            f"{checkpoint} is of another training: settings, data or first weights differ. To "
            "go on with it, make network and data as they were, not a network that has been "
            "trained since; to train again from the start, pass another path or delete it."
        )
    return saved


def _optimiser(model, settings, n_steps):
    """Return the optimiser, and the arguments of the one cycle of its rate."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}], weight_decay=settings.weight_decay
    )
    cycle = {
        "max_lr": settings.lr,
        "total_steps": n_steps,
        "pct_start": min(1.0, settings.warmup_epochs / settings.epochs),
        "final_div_factor": 1000,
    }
    return optimiser, cycle


def step_loss(model, data, settings, step, epoch_steps):
    """Return the loss of one step, with all randomness drawn from seed and step.

    Parameters
    ----------
    model : SharedSpace
    data : TrainingData
    settings : TrainingSettings
    step, epoch_steps : int
        Number of the step from 0, and steps of an epoch.

    Returns
    -------
    scalar tensor
    """
    rng = np.random.default_rng([settings.seed, step])
    betas, features = data.batch(settings.trials_per_subject, rng)
    first_soft = int(settings.mixing_share * settings.epochs) * epoch_steps
    soft_steps = settings.epochs * epoch_steps - first_soft
    mixing = step < first_soft and any(len(s) == 2 for s in model.target_shapes.values())
    weights, partners = [], []
    for k, (subject, rows) in enumerate(betas.items()):
        share = settings.mixing_threshold if mixing else 0
        weight, partner = draw_mixing(len(rows), rng, settings.mixing_beta, share)
        betas[subject] = mix(rows, weight, partner).to(model.device)
        weights.append(weight)
        partners.append(partner + k * len(rows))  # rows of the batch, not of the subject
    weights, partners = (torch.cat(w).to(model.device) for w in (weights, partners))
    temperature = cosine_temperature(
        max(0, step - first_soft) / max(1, soft_steps - 1), *settings.softclip_temperatures
    )

    generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(int(rng.integers(2**63)))  # of dropout
        decoded = model(betas)
    loss = 0
    for name, head in model.heads.items():
        predicted, projected = decoded[name]
        target = head.standardise(features[name].to(model.device))
        if isinstance(head, LatentHead):
            # Latents are never learned from mixtures; beside tokens, from the whole trials alone.
            whole = weights == 1
            if whole.any():
                p, q, t = predicted[whole], projected[whole], target[whole]
                contrast = softclip(q, t, settings.latent_temperature)
                loss = loss + settings.latent_weight * F.l1_loss(p, t)
                loss = loss + settings.latent_contrastive * contrast
            continue
        # A mixture of betas is answered by the same mixture of targets. (The public code asks for
        # the target of the one trial.)
        mixed = mix(target, weights, partners)
        if head.prior is None:
            distance = F.mse_loss(predicted, mixed)
        else:
            distance = head.prior.loss(mixed, predicted, generator)
        if mixing:
            contrast = bimixco(projected, target, weights, partners, settings.bimixco_temperature)
        else:
            contrast = softclip(projected, target, temperature)
        loss = loss + settings.token_weight * distance + settings.token_contrastive * contrast
    return loss


def _retrieve(model, data, settings):
    """Return top-1 retrieval of validation images by target, mean over subjects."""
    projected = settings.token_contrastive > 0
    found = {name: [] for name in model.heads}
    for subject, (betas, image_ids) in data.validation.items():
        if not len(image_ids):
            continue
        for name, values in predict(model, betas, subject, projected=projected).items():
            head, (features, known) = model.heads[name], data.targets[name]
            true = rows_as_tensor(features, rows_of(known, image_ids, name)).to(model.device)
            values = torch.from_numpy(values).to(model.device)
            values = values if projected else head.standardise(values)
            first = cosines(values, head.standardise(true)).argmax(1).cpu()
            found[name].append((first == torch.arange(len(first))).float().mean().item())
    return {name: float(np.mean(scores)) for name, scores in found.items()}


def _checkpoint(path, model, optimiser, fingerprint, step, losses, history):
    """Write the state of a training."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for number, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{number}.{key}": value for key, value in state.items()}
    metadata = {"fingerprint": fingerprint, "step": step, "losses": losses, "history": history}
    write_tensors(path, tensors, metadata)


def _restore(model, optimiser, tensors, metadata):
    """Bring network and optimiser to the state of a checkpoint; return step, losses, history."""
    weights, state = {}, {}
    for key, tensor in tensors.items():
        if key.startswith("model."):
            weights[key.removeprefix("model.")] = tensor
        else:
            _, number, name = key.split(".")
            state.setdefault(int(number), {})[name] = tensor
    model.load_state_dict(weights)
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": state, "param_groups": groups})
    return metadata["step"], metadata["losses"], metadata["history"]
