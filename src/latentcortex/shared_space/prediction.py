"""Predict features with a trained network, and fit the rescaling that restores their spread."""

import numpy as np
import torch

from latentcortex.decoders import rescale_by, rescaling
from latentcortex.shared_space.bounds import as_number
from latentcortex.shared_space.data import as_ids, check_betas, check_targets, rows_as_tensor
from latentcortex.store import rows_of


@torch.no_grad()
def predict(model, betas, subject, *, rescale=False, projected=False, image_ids=None, batch_size=256, seed=0):
    """Return the features of all targets, decoded from betas of one subject.

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
        Whether to return the projections that the contrastive losses have shaped. They retrieve images better
        but draw them worse. They have no unit. Compare their cosines with those of
        ``model.heads[name].standardise(features)``.
    image_ids : int array (n_trials,), optional
        The image of each row, for predictions that will be tested. An image that the network has learned from
        is then an error.
    batch_size : int
        Number of rows processed at a time. It limits memory and does not change the result.
    seed : int
        Seed of the noise that a diffusion prior starts from.

    Returns
    -------
    dict of str to float32 array (n_trials, ...)
        Features by target.

    Raises
    ------
    ValueError
        If betas do not fit (see `check_betas`), or if the network has learned from an image. Also if the
        rescaling was not fitted, or if a number is out of its range.
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
    """Learn from validation images how to bring predictions to the spread of the targets.

    The result is stored in the network. Only validation images are used. The public code uses the mean and
    deviation of the test predictions, which needs the whole test set and fails for a single image.

    Parameters
    ----------
    model : SharedSpace
        The network, which keeps the result as ``rescaling[subject]``.
    betas : array (n_trials, n_voxels)
        Betas of validation images, averaged over as many repeats as the betas to be decoded.
    subject : str
    image_ids : int array (n_trials,)
        The image of each row. `predict` with `rescale` raises an error if it is tested on these images.
    targets : dict of str to (features (n_images, ...), image_ids (n_images,))
    batch_size, seed
        As in `predict`.

    Raises
    ------
    ValueError
        If the network has learned from one of these images, or if there is only one row. Also if targets of
        these images are not finite, or if arrays do not fit.
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
