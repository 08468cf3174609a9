"""Check trials and targets for training, and find their rows by image id."""

import hashlib
import json
from dataclasses import asdict

import numpy as np
import torch

from latentcortex.store import rows_of

# Rows of an array that are looked at to tell it from another, and read at once for a mean.
SAMPLE, BLOCK = 64, 512


def check_betas(model, betas, subject):
    """Return betas of a subject as a checked array on the CPU.

    Parameters
    ----------
    model : SharedSpace
    betas : array or tensor (n_trials, n_voxels)
    subject : str

    Returns
    -------
    array (n_trials, n_voxels)

    Raises
    ------
    ValueError
        If the network does not know the subject, if the number of voxels differs, if the array is masked, or
        if values are not finite.
    """
    if subject not in model.n_voxels:
        raise ValueError(
            f"This network knows the subjects {', '.join(model.n_voxels)}, not {subject!r}. Train "
            "it on that subject first: SharedSpace.with_new_subject makes the layer."
        )
    _refuse_mask(betas, f"betas of {subject}")
    betas = betas.cpu().numpy() if torch.is_tensor(betas) else np.asarray(betas)
    n_voxels = model.n_voxels[subject]
    if betas.ndim != 2 or betas.shape[1] != n_voxels:
        raise ValueError(
            f"Expected betas (n_trials, {n_voxels}) of {subject}, got {betas.shape}. Use the "
            "voxels that the network was trained on, in the same order; one trial is one row."
        )
    # A sum is finite only if all of its numbers are, and needs no mask as large as the betas.
    bad = np.flatnonzero(~np.isfinite(betas.sum(axis=1, dtype=np.float64)))
    if len(bad):
        raise ValueError(
            f"betas of {subject} have NaN or infinite values in rows {bad[:10].tolist()}"
            f"{'...' if len(bad) > 10 else ''}. Leave out those trials, or the voxels without "
            "signal, when they are read."
        )
    return betas


def check_targets(model, targets):
    """Check that targets belong to the network's heads and have the right shapes.

    Parameters
    ----------
    model : SharedSpace
    targets : dict of str to (array (n_images, ...), image_ids)

    Raises
    ------
    ValueError
        If targets are missing or unknown, are lists or masked arrays, have another shape, or if ids do not
        match the rows.
    """
    if set(targets) != set(model.target_shapes):
        raise ValueError(
            f"This network has heads for {', '.join(model.target_shapes)}, got targets "
            f"{', '.join(targets) or 'none'}. Pass exactly those, or make a network with heads "
            "for yours."
        )
    for name, (features, image_ids) in targets.items():
        expected = model.target_shapes[name]
        _refuse_mask(features, name)
        if not hasattr(features, "shape"):
            raise ValueError(f"Expected {name} as an array or tensor, got {type(features).__name__}.")
        if tuple(features.shape[1:]) != expected:
            what = "n_tokens, width" if len(expected) == 2 else "channels, h, w"
            raise ValueError(
                f"The head of {name} makes ({what}) = {expected} for each image, got targets of "
                f"shape {tuple(features.shape)}. Are they of another encoder or preset?"
            )
        as_ids(image_ids, len(features), f"rows of {name}")


def as_ids(image_ids, n, what):
    """Return image ids as an integer array (n,), one for each of n `what`, such as "trials".

    Raises
    ------
    ValueError
        If the number of ids differs, or if they are not whole numbers.
    """
    ids = np.asarray(image_ids)
    if ids.shape != (n,) or (n and ids.dtype.kind not in "iu"):
        raise ValueError(
            f"Expected one image id, a whole number, for each of {n} {what}, got ids of shape {ids.shape} "
            f"and dtype {ids.dtype}."
        )
    return ids


def _refuse_mask(array, name):
    if isinstance(array, np.ma.MaskedArray):
        raise ValueError(
            f"{name} is a masked array. The network knows no masks, so the values under the mask would count "
            "like any others. Leave out the masked rows and pass a plain array."
        )


def rows_as_tensor(array, rows):
    """Return some rows of an array or tensor, copied into a float32 tensor."""
    if torch.is_tensor(array):
        return array[torch.from_numpy(rows).to(array.device)].float()
    return torch.from_numpy(np.asarray(array[rows], dtype=np.float32))


class TrainingData:
    """Hold trials and targets for training, without the validation images.

    Parameters
    ----------
    model : SharedSpace
    trials : dict of str to (betas (n_trials, n_voxels), image_ids (n_trials,))
        Arrays by subject.
    targets : dict of str to (features (n_images, ...), image_ids (n_images,))
    validation_image_ids : int array

    Attributes
    ----------
    image_ids : int array, sorted
        Training images of all subjects.
    validation : dict of str to (betas (n, n_voxels), image_ids (n,))
        Validation data by subject, averaged over repeats.

    Raises
    ------
    ValueError
        If arrays do not fit (see `check_betas`, `check_targets` and `store.rows_of`). Also if no subject saw
        a validation image, if the network has learned from a validation image, or if no images are left.
    """

    def __init__(self, model, trials, targets, validation_image_ids):
        check_targets(model, targets)
        if set(trials) != set(model.n_voxels):
            raise ValueError(
                f"The network's subjects are {', '.join(model.n_voxels)}, the trials are of "
                f"{', '.join(trials) or 'nobody'}. Make a network of the subjects trained on: "
                "SharedSpace, or with_new_subject for the second stage."
            )
        learned_from = []
        held_out = np.unique(as_ids(validation_image_ids, len(validation_image_ids), "validation images"))
        learned = np.intersect1d(held_out, model.training_image_ids)
        if len(learned):
            raise ValueError(
                f"The network has learned from {len(learned)} of the validation images already, "
                f"such as {learned[0]}: it can't be validated on them. Choose others, or leave "
                "them out of the first stage too."
            )
        self.targets = targets
        self.betas, self.groups, self.validation = {}, {}, {}
        self.target_rows = {name: {} for name in targets}
        for subject, (betas, image_ids) in trials.items():
            self.betas[subject] = betas = check_betas(model, betas, subject)
            image_ids = as_ids(image_ids, len(betas), f"trials of {subject}")
            rows = np.flatnonzero(~np.isin(image_ids, held_out))
            rows = rows[np.argsort(image_ids[rows], kind="stable")]
            images, first = np.unique(image_ids[rows], return_index=True)
            # The trials of each training image: groups[subject][i].shape = (n_repeats,)
            self.groups[subject] = np.split(rows, first[1:])
            learned_from.append(images)
            seen = np.intersect1d(held_out, image_ids)
            means = [betas[image_ids == i].mean(axis=0) for i in seen]
            self.validation[subject] = (np.array(means), seen)
            for name, (_, known) in targets.items():
                self.target_rows[name][subject] = rows_of(known, image_ids, name)
        self.image_ids = np.unique(np.concatenate(learned_from))
        unseen = np.setdiff1d(held_out, np.concatenate([i for _, i in self.validation.values()]))
        if len(unseen):
            raise ValueError(
                f"{len(unseen)} validation images are in nobody's trials, such as {unseen[0]}. "
                "Draw them from the images of these trials (nsd.validation_split)."
            )

    def batch(self, per_subject, rng):
        """Return a random batch with the same number of trials of every subject, each of a different image.

        Images differ because the contrastive losses would push two trials of the same image apart.

        Parameters
        ----------
        per_subject : int
        rng : numpy.random.Generator

        Returns
        -------
        betas : dict of str to float32 tensor (per_subject, n_voxels)
            Arrays by subject.
        features : dict of str to float32 tensor (n_subjects * per_subject, ...)
            Features by target, with the rows of all subjects concatenated.
        """
        drawn = {}
        for subject, groups in self.groups.items():
            images = rng.choice(len(groups), per_subject, replace=False)
            drawn[subject] = np.array([rng.choice(groups[i]) for i in images])
        betas = {s: rows_as_tensor(self.betas[s], rows) for s, rows in drawn.items()}
        features = {
            name: torch.cat([rows_as_tensor(array, rows[s][drawn[s]]) for s in drawn])
            for (name, (array, _)), rows in zip(self.targets.items(), self.target_rows.values(), strict=True)
        }
        return betas, features

    def statistics(self, name):
        """Return the mean of each number of a target, and a single standard deviation around it.

        Both are over the training images, each counted once: tensors (...) and ().

        Raises
        ------
        ValueError
            If a training image has NaN or infinite values.
        """
        features, known = self.targets[name]
        rows = rows_of(known, self.image_ids, name)
        total, squares = 0, 0
        for block in np.split(rows, range(BLOCK, len(rows), BLOCK)):
            values = rows_as_tensor(features, block).double().cpu()
            bad = block[~torch.isfinite(values).flatten(1).all(1).numpy()]
            if len(bad):
                raise ValueError(
                    f"{name} has NaN or infinite values in training images, such as "
                    f"{np.asarray(known)[bad[0]]}. Compute it again, or leave their trials out."
                )
            total, squares = total + values.sum(0), squares + (values**2).sum(0)
        mean = total / len(rows)
        return mean.float(), (squares / len(rows) - mean**2).mean().sqrt().float()

    def fingerprint(self, model, settings):
        """Return a hash of what a training depends on: settings, initial weights, ids, and some rows.

        Returns
        -------
        str
            64 hexadecimal digits (SHA-256).
        """
        shapes = [model.n_voxels, model.target_shapes, asdict(model.sizes), asdict(settings)]
        digest = hashlib.sha256(json.dumps(shapes).encode())
        for weights in model.state_dict().values():
            digest.update(weights.cpu().numpy().tobytes())
        digest.update(self.image_ids.tobytes())
        for subject, groups in self.groups.items():
            rows = np.concatenate(groups)
            some = rows[:: -(-len(rows) // SAMPLE)]
            digest.update(rows.tobytes())
            digest.update(rows_as_tensor(self.betas[subject], some).numpy().tobytes())
            for name, (features, _) in self.targets.items():
                of_images = rows_as_tensor(features, self.target_rows[name][subject][some])
                digest.update(of_images.cpu().numpy().tobytes())
        return digest.hexdigest()
