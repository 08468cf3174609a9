"""Predict features with a trained network, and learn how their spread is restored."""

import numpy as np
import torch

from latentcortex.decoders import rescale_by, rescaling
from latentcortex.shared_space.bounds import as_number
from latentcortex.shared_space.data import as_ids, check_betas, check_targets, rows_as_tensor
from latentcortex.store import rows_of


@torch.no_grad()
def predict(model, betas, subject, *, rescale=False, projected=False, image_ids=None, batch_size=256, seed=0):
    """Return features of all targets, decoded from betas of one subject.

    Parameters
    ----------
    model : SharedSpace
    betas : array or tensor (n_trials, n_voxels)
        Single trials or averages of repeats, scaled as in training. One row is enough.
    subject : str
    rescale : bool
        Whether to give every number the mean and standard deviation that `fit_rescaling` found
        in the validation images.
    projected : bool
        Whether to return what the contrastive losses have shaped, which retrieves images better
        and draws them worse. Compare its cosines with those of
        ``model.heads[name].standardise(features)``; it has no unit.
    image_ids : int array (n_trials,), optional
        Of these rows, where the predictions are to be tested: overlap with what the network has
        learned from is then an error.
    batch_size : int
        Rows at a time. It bounds the memory that is needed besides the result, and does not change the
        result.
    seed : int
        The noise that a diffusion prior starts from follows from it.

    Returns
    -------
    dict of str to float32 array (n_trials, ...)
        By target.

    Raises
    ------
    ValueError
        For betas that do not fit (see `check_betas`), images learned from, a rescaling that
        was not fitted, or a number out of its range.
    FloatingPointError
        If the network predicts values that are not finite. The error names target and rows.
    """
    betas, batch_size = check_betas(model, betas, subject), as_number(batch_size, "batch_size", 1, whole=True)
    if rescale and (projected or subject not in model.rescaling):
        raise ValueError(
            f"There is no rescaling of {subject}'s predictions: call fit_rescaling with validation "
            "images first. Projections have none."
        )
    if image_ids is not None:
        image_ids = as_ids(image_ids, len(betas), "rows of betas")
        learned = [model.training_image_ids]
        learned += [model.rescaling_image_ids[subject]] if rescale else []
        both = np.intersect1d(image_ids, np.concatenate(learned))
        if len(both):
            raise ValueError(
                f"The network has learned from {len(both)} of these images, such as {both[0]}: "
                "what it predicts for them says nothing about new ones. Split by image before "
                "anything is trained, the first stage included."
            )
    was_training = model.training
    model.eval()
    parts = {name: [] for name in model.heads}
    for rows in np.split(np.arange(len(betas)), range(batch_size, len(betas), batch_size)):
        decoded = model({subject: rows_as_tensor(betas, rows).to(model.device)})
        for name, (predicted, projection) in decoded.items():
            head = model.heads[name]
            if projected:
                values = projection
            elif getattr(head, "prior", None) is None:
                values = head.restore(predicted)
            else:
                values = head.restore(head.prior.sample(predicted, seed=seed))
            if rescale:
                found = [tensor.to(values) for tensor in model.rescaling[subject][name]]
                values = rescale_by(found, values)
            parts[name].append(values.cpu())
    model.train(was_training)
    made = {name: torch.cat(values).numpy() for name, values in parts.items()}
    for name, values in made.items():
        bad = np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1))
        if len(bad):
            raise FloatingPointError(
                f"The network predicts NaN or infinite values of {name} for the rows {bad[:10].tolist()} "
                f"({len(bad)} of {len(values)} rows). Compare the size of these betas with those that it was "
                "trained on. If all rows are affected, look at the losses of its training."
            )
    return made


def fit_rescaling(model, betas, subject, image_ids, targets, *, batch_size=256, seed=0):
    """Learn from validation images how predictions are brought to the spread of the targets.

    What is found is kept in the network. Only validation images enter. (The public code takes the mean
    and deviation of the test predictions, which needs the whole test set and fails for one image.)

    Parameters
    ----------
    model : SharedSpace
        Keeps what is found as ``rescaling[subject]``.
    betas : array (n_trials, n_voxels)
        Of validation images, as many repeats averaged as in the betas to be decoded.
    subject : str
    image_ids : int array (n_trials,)
        The image of each row. `predict` with `rescale` refuses to be tested on them.
    targets : dict of str to (features (n_images, ...), image_ids (n_images,))
    batch_size, seed
        As in `predict`.

    Raises
    ------
    ValueError
        If the network has learned from one of these images, if there is only one row, if targets of
        these images are not finite, or something does not fit.
    """
    check_targets(model, targets)
    if len(betas) < 2:
        raise ValueError(
            f"A spread needs at least two validation images, got {len(betas)}. Pass all of the split "
            "(nsd.validation_split)."
        )
    predicted = predict(model, betas, subject, image_ids=image_ids, batch_size=batch_size, seed=seed)
    image_ids, found = as_ids(image_ids, len(betas), "rows of betas"), {}
    for name, (features, known) in targets.items():
        true = rows_as_tensor(features, rows_of(known, image_ids, name))
        bad = image_ids[~torch.isfinite(true).flatten(1).all(1).cpu().numpy()]
        if len(bad):
            raise ValueError(
                f"{name} has NaN or infinite values in {len(bad)} of the validation images, such as "
                f"{bad[0]}. Compute it again, or leave these images out."
            )
        found[name] = rescaling(torch.from_numpy(predicted[name]), true)
    model.rescaling[subject], model.rescaling_image_ids[subject] = found, image_ids
