"""What the scripts that draw share: decoders of a subject, and drawings kept in the cache.

A drawing is one file: all test images of a subject, made in one way (a condition of system A, a
baseline, a ceiling) with the noise of one repeat. Whoever needs it first makes it.
"""

import dataclasses
import functools
from types import SimpleNamespace

import numpy as np
import products
import torch

from latentcortex import features, metrics, nsd, sampler, store
from latentcortex.decoders import LinearDecoder, rescale_by, rescaling

SEED = 6
BOTTLENECKS = (1, 2, 4, 8, 16, 32, 64, 128)  # dimensions between the brain and each of z and c
# Made without any brain: the same for all subjects.
NO_SUBJECT = ("vae", "no_brain", "true_z", "true_c", "true_both")
MODULES = ("sampler", "decoders", "ridge", "metrics/baselines")
NETWORKS = ("vae", "unet", "text_encoder", "tokenizer", "scheduler")


def responses(preset, root, subject, rois):
    """Read the responses of some of the streams: train and test, see `nsd.image_responses`."""
    mask = nsd.roi_mask(root, "streams", rois, preset.space, subject)
    return nsd.image_responses(root, subject, preset.space, mask=mask)


def visual_cortex(preset, root, subject):
    """Mark all of visual cortex."""
    return nsd.roi_mask(root, "nsdgeneral", "nsdgeneral", preset.space, subject)


def fit_decoder(preset, betas, targets, image_ids, rescale):
    """Fit on one row an image; for the rescaling, 100 further images are kept out of the fit."""
    decoder = LinearDecoder(preset.alphas, cv="gcv")
    if not rescale:
        return decoder.fit(betas, targets, image_ids)
    rng = np.random.default_rng([SEED, 1])
    is_fit = np.isin(image_ids, nsd.validation_split(image_ids, rng=rng)[0])
    decoder.fit(betas[is_fit], targets[is_fit], image_ids[is_fit])
    return decoder.fit_rescaling(betas[~is_fit], targets[~is_fit], image_ids[~is_fit])


def decode(preset, model, root, subject, shuffle_pairs=False):
    """Fit decoders of z and c on the training images and decode the test images.

    With `shuffle_pairs` the decoders learn from responses that belong to other images.

    Returns
    -------
    types.SimpleNamespace
        ``z`` (n, 4, h, w) and ``c`` (n, n_tokens, d), decoded; ``image_ids`` of the n test images;
        ``mean_image`` (3, h, w) of the training images; ``train_ids``; and, each a pair of z and
        c, ``decoders``, ``true_train``, ``train_betas``, ``test_betas``.
    """
    made = SimpleNamespace(decoders=[], train_betas=[], test_betas=[])
    decoded = []
    for k, rois in enumerate((preset.z_rois, preset.c_rois)):
        (betas, train_ids, _), (test_betas, test_ids, _) = responses(preset, root, subject, rois)
        if k == 0:
            made.true_train = products.encode(preset, model, root, train_ids)
            made.mean_image = mean_image(preset, root, train_ids)
        if shuffle_pairs:  # one permutation for both regions: whole brains change places
            betas = betas[np.random.default_rng([SEED, 2]).permutation(len(betas))]
        decoder = fit_decoder(preset, betas, made.true_train[k], train_ids, preset.rescale)
        decoded.append(decoder.predict(test_betas, preset.rescale, test_ids))
        made.decoders.append(decoder)
        made.train_betas.append(betas)
        made.test_betas.append(test_betas)
    made.z, made.c = decoded
    made.train_ids, made.image_ids = train_ids, test_ids
    return made


def mean_image(preset, root, image_ids):
    """Average images (3, h, w), few of them at a time."""
    total = sum(part.double().sum(0) for part in products.image_parts(preset, root, image_ids))
    return (total / len(image_ids)).float()


def through_bottleneck(preset, made, n_dimensions):
    """Decode z and c again, each through so many numbers; the rescaling is learned through them.

    Returns z and c like those of `decode`.
    """
    is_fit = np.isin(made.train_ids, made.decoders[0].image_ids_)
    decoded = []
    for decoder, betas, test, true in zip(
        made.decoders, made.train_betas, made.test_betas, made.true_train, strict=True
    ):
        fitted, new = (decoder.predict(rows).numpy() for rows in (betas[is_fit], test))
        new = metrics.bottleneck(new, fitted, n_dimensions)
        if preset.rescale:
            held = decoder.predict(betas[~is_fit]).numpy()
            held = torch.from_numpy(metrics.bottleneck(held, fitted, n_dimensions))
            new = rescale_by(rescaling(held, true[~is_fit]), torch.from_numpy(new))
        decoded.append(torch.as_tensor(new).float())
    return decoded


def first_showings(preset, root, subject, made):
    """Decode z and c from the first showing of each test image alone."""
    decoded = []
    for decoder, rois in zip(made.decoders, (preset.z_rois, preset.c_rois), strict=True):
        mask = nsd.roi_mask(root, "streams", rois, preset.space, subject)
        table, betas = nsd.scaled_betas(root, subject, preset.space, mask=mask)
        first = (table["shared"] & ~table.duplicated("image_id")).to_numpy()
        ids = table["image_id"].to_numpy()[first]
        rows = betas[first][np.argsort(ids)]
        decoded.append(decoder.predict(rows, preset.rescale, np.sort(ids)))
    return decoded


def draw(preset, model, condition, repeat, z, c, image_ids):
    """Reconstruct images under one of the three conditions with the preset's settings."""
    return sampler.reconstruct(
        model,
        z,
        c,
        condition=condition,
        image_ids=image_ids,
        repeat=repeat,
        strength=preset.strength,
        n_steps=preset.n_steps,
        guidance_scale=preset.guidance_scale,
        batch_size=preset.batch_size,
    ).cpu()


def to_bytes(images):
    """Turn images (..., 3, h, w) in [0, 1] into uint8 (..., h, w, 3)."""
    return (images * 255).round().to(torch.uint8).movedim(-3, -1).numpy()


def kept_images(path, image_ids, provenance, draw):
    """Read drawings from a file, or draw and keep them: tensor (n, 3, h, w) in [0, 1].

    Drawn or read, they are as from bytes. `draw` is called without arguments, if at all.
    """
    if not path.is_file():
        store.save(path, provenance=provenance, image_ids=image_ids, images=to_bytes(draw()))
    pixels = store.load(path, image_ids)["images"]
    return torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255


def describe(preset, root, networks, **more):
    """Write down what a product depends on, JSON-able."""
    fields = dataclasses.asdict(preset)
    # The hash tells the networks, wherever they lie.
    for unneeded in ("model", "tiny_vae", "guide", "judge", "expected_minutes"):
        fields.pop(unneeded)
    return {
        "preset": preset.name,
        "world": root.name,
        "weights": products.weights_hash(preset, *networks),
        "seed": SEED,
        "settings": {**fields, "dtype": str(preset.dtype)},
        **more,
    }


class Study:
    """Preset, networks, test images, and the drawings of them.

    Parameters
    ----------
    preset : latentcortex.presets.Preset
    root : path
    n_images : int, optional
        Only so many test images, drawn at random.
    """

    def __init__(self, preset, root, n_images=None):
        self.preset, self.root = preset, root
        self.model = features.load_latent_diffusion(
            preset.model, preset.revision, preset.dtype, preset.device
        )
        self.subjects = [f"subj{subject:02d}" for subject in preset.subjects]
        tables = {subject: nsd.trials(root, subject) for subject in self.subjects}
        tests = {tuple(nsd.split(table)[1].tolist()) for table in tables.values()}
        if len(tests) != 1:
            raise ValueError(
                "The subjects saw different shared images: choose sessions in which all of them "
                "saw the same, or run the subjects one by one."
            )
        self.image_ids = np.array(tests.pop())
        if n_images:
            rng = np.random.default_rng([SEED, 3])
            self.image_ids = np.sort(rng.choice(self.image_ids, n_images, replace=False))
        images = nsd.images(root, self.image_ids, preset.image_size)
        self.originals = torch.from_numpy(images)
        # Of a tree only its name is known: more of NSD may have been downloaded since.
        n_trials = {subject: len(table) for subject, table in tables.items()}
        self.description = describe(preset, root, NETWORKS, n_trials=n_trials, n_images=len(self.image_ids))
        seen = {**self.description, "image_ids": self.image_ids.tolist()}
        key = store.source_hash(products.sources([__file__], MODULES), seen)[:12]
        self.folder = store.cache_folder() / "reconstructions" / f"{root.name}-{key}"
        self._decoded = {}

    def decoded(self, subject, shuffle_pairs=False):
        """Decode as `decode`, the test images chosen only; the last ones asked for are kept."""
        key = subject, shuffle_pairs
        if key not in self._decoded:
            made = decode(self.preset, self.model, self.root, subject, shuffle_pairs)
            rows = np.isin(made.image_ids, self.image_ids)
            made.z, made.c, made.image_ids = made.z[rows], made.c[rows], made.image_ids[rows]
            made.test_betas = [betas[rows] for betas in made.test_betas]
            self._decoded = {key: made}
        return self._decoded[key]

    @functools.cached_property
    def true(self):
        """Encode the test images: z (n, 4, h, w) and c (n, n_tokens, d)."""
        return products.encode(self.preset, self.model, self.root, self.image_ids)

    @functools.cached_property
    def mean_images(self):
        """Average the training images of each subject: (3, h, w) by subject."""
        train_ids = {s: nsd.split(nsd.trials(self.root, s))[0] for s in self.subjects}
        return {s: mean_image(self.preset, self.root, ids) for s, ids in train_ids.items()}

    def path(self, subject, name, repeat):
        """Say where a drawing lies."""
        subject = "all" if name in NO_SUBJECT else subject
        return self.folder / f"{subject}-{name}-{repeat}.npz"

    def images(self, subject, name, repeat=0):
        """Read one drawing, or make and keep it: tensor (n, 3, h, w) in [0, 1], as from bytes."""
        path = self.path(subject, name, repeat)
        return kept_images(path, self.image_ids, self.description, lambda: self._make(subject, name, repeat))

    def _make(self, subject, name, repeat):
        preset, model, ids = self.preset, self.model, self.image_ids
        if name in NO_SUBJECT:
            z, c = self.true
            if name == "vae":
                return features.decode_latents(model.vae, z, preset.batch_size).clamp(0, 1)
            if name == "no_brain":  # the empty caption, from noise alone
                c = features.unconditional(model.text_encoder, model.tokenizer)
                return draw(
                    dataclasses.replace(preset, guidance_scale=1.0),
                    model,
                    "c_only",
                    repeat,
                    z,
                    c.float().cpu().repeat(len(ids), 1, 1),
                    ids,
                )
            condition = {"true_z": "z_only", "true_c": "c_only", "true_both": "both"}[name]
            return draw(preset, model, condition, repeat, z, c, ids)
        made = self.decoded(subject, name == "shuffled_pairs")
        z, c, condition = made.z, made.c, "both"
        if name == "decoded_z":
            return features.decode_latents(model.vae, z, preset.batch_size).clamp(0, 1)
        if name in sampler.CONDITIONS:
            condition = name
        elif name == "shuffled_brain":
            rows = metrics.shuffled_rows(len(ids), np.random.default_rng([SEED, 7]))
            z, c = z[rows], c[rows]
        elif name == "in_span":
            fitted = np.isin(made.train_ids, made.decoders[0].image_ids_)
            z, c = (
                metrics.project_on_span(new.numpy(), known[fitted].numpy())
                for new, known in zip(self.true, made.true_train, strict=True)
            )
            z, c = torch.from_numpy(z).float(), torch.from_numpy(c).float()
        elif name == "one_showing":
            z, c = first_showings(preset, self.root, subject, made)
            rows = np.isin(nsd.split(nsd.trials(self.root, subject))[1], ids)
            z, c = z[rows], c[rows]
        elif name.startswith("bottleneck_"):
            z, c = through_bottleneck(preset, made, int(name.split("_")[1]))
        elif name != "shuffled_pairs":
            raise ValueError(f"No way {name!r} to draw.")
        return draw(preset, model, condition, repeat, z, c, ids)
