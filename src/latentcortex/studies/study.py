"""One preset on one tree: subjects, test images and networks, loaded once per process."""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from latentcortex import features, nsd
from latentcortex.presets import Preset
from latentcortex.studies import keys
from latentcortex.studies.kept import Shelf

SEED_OF_IMAGES = (6, 3)  # of the test images, where only some are asked for
LAYERS = (1, 2, 3, 4, 5, 6)  # of g
DIFFUSION = ("vae", "unet", "text_encoder", "tokenizer", "scheduler")  # the networks that draw


@dataclass(frozen=True, eq=False)
class Study:
    """A preset, the tree that it reads and the networks that it names. Made by `open_study`.

    A study can be sent to another process, which opens it there: networks and data don't travel.

    Attributes
    ----------
    preset : Preset
    root : Path
        Of the tree.
    n_images : int or None
        How many test images, drawn at random; None for all.
    """

    preset: Preset
    root: Path
    n_images: int | None = None

    def __reduce__(self):
        return _open, (self.preset, self.root, self.n_images)

    @property
    def subjects(self):
        """Names of the subjects."""
        return self.preset.subject_names

    @functools.cached_property
    def identity(self):
        """Name of the data, wherever they lie."""
        return nsd.identity(self.root, self.subjects, self.preset.space)

    @functools.cached_property
    def tables(self):
        """Table of trials by subject."""
        return {subject: nsd.trials(self.root, subject) for subject in self.subjects}

    @functools.cached_property
    def image_ids(self):
        """Ids of the test images (n,), the same for all subjects."""
        tests = {tuple(nsd.split(table)[1].tolist()) for table in self.tables.values()}
        if len(tests) != 1:
            raise ValueError(
                "The subjects saw different shared images: choose sessions in which all of them saw the "
                "same images, or run the subjects one by one."
            )
        ids = np.array(tests.pop())
        if self.n_images is None:
            return ids
        if not 0 < self.n_images <= len(ids):
            raise ValueError(f"Expected 1 to {len(ids)} test images, got {self.n_images}.")
        rng = np.random.default_rng(SEED_OF_IMAGES)
        return np.sort(rng.choice(ids, self.n_images, replace=False))

    @functools.cached_property
    def originals(self):
        """Test images as the model sees them, tensor (n, 3, h, w) in [0, 1]."""
        return torch.from_numpy(nsd.images(self.root, self.image_ids, self.preset.image_size))

    @functools.cached_property
    def model(self):
        """Latent diffusion model."""
        preset = self.preset
        return features.load_latent_diffusion(preset.model, preset.revision, preset.dtype, preset.device)

    @functools.cached_property
    def guide(self):
        """CLIP image encoder of g."""
        return features.load_clip_image_encoder(self.preset.guide, self.preset.device)

    @functools.cached_property
    def decoders(self):
        """What a guide may look through, by name: the VAE (``"full"``), and ``"tiny"`` if there is one."""
        tiny, device = self.preset.tiny_vae, self.preset.device
        return {"full": self.model.vae} | (
            {} if tiny is None else {"tiny": features.load_tiny_vae(tiny, device)}
        )

    def weights(self, *networks):
        """Return the hash of some of the networks, see `keys.weights_hash`."""
        return keys.weights_hash(self.preset, *networks)

    def shelf(self, name, functions, described):
        """Return the `kept.Shelf` of what some functions compute from this study.

        Parameters
        ----------
        name : str
        functions : sequence of function or class
            Those that decide what is kept, with the classes of the objects that they are given.
        described : dict
            JSON-able: all that it depends on besides the code.
        """
        return Shelf(name, keys.key_of([*functions, Study], described), described)

    def description(self, *networks, ignoring=(), **more):
        """Return what a result of this study depends on, JSON-able: data, networks, settings and `more`.

        ``ignoring`` names fields of the preset that the result does not depend on.
        """
        return {
            "data": self.identity,
            "weights": self.weights(*networks),
            "settings": keys.settings_of(self.preset, ignoring),
            "n_images": len(self.image_ids),
            **more,
        }


def open_study(preset, root=None, n_images=None):
    """Return the study of a preset, the same one at each call.

    Parameters
    ----------
    preset : Preset
    root : path, optional
        Default: the tree that the preset opens.
    n_images : int, optional
        Only so many test images, drawn at random.
    """
    return _open(preset, preset.open() if root is None else Path(root).resolve(), n_images)


@functools.cache
def _open(preset, root, n_images):
    return Study(preset, root, n_images)
