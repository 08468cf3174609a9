"""Open one preset on one tree, with subjects, test images and networks loaded once per process."""

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
    """Hold a preset, its tree and its networks; `open_study` makes it.

    A study can be sent to another process, which opens it again. Networks and data are not sent.

    Attributes
    ----------
    preset : Preset
    root : Path
        Root folder of the tree.
    n_images : int or None
        Number of test images, drawn at random. None for all.
    """

    preset: Preset
    root: Path
    n_images: int | None = None

    def __reduce__(self):
        return _open, (self.preset, self.root, self.n_images)

    @property
    def subjects(self):
        """Return the names of the subjects."""
        return self.preset.subject_names

    @functools.cached_property
    def identity(self):
        """Return the name of the data, which does not depend on their folder."""
        return nsd.identity(self.root, self.subjects, self.preset.space)

    @functools.cached_property
    def tables(self):
        """Return the table of trials by subject."""
        sessions = self.preset.sessions
        return {subject: nsd.trials(self.root, subject, sessions) for subject in self.subjects}

    @functools.cached_property
    def image_ids(self):
        """Return the ids (n,) of the test images, which are the same for all subjects."""
        tests = {tuple(nsd.split(table)[1].tolist()) for table in self.tables.values()}
        if len(tests) != 1:
            raise ValueError(
                "The subjects saw different shared images. Give the preset `sessions` in which all of them "
                "saw the same, or run the subjects one by one."
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
        """Return the test images at the model's size, a tensor (n, 3, h, w) in [0, 1]."""
        return torch.from_numpy(nsd.images(self.root, self.image_ids, self.preset.image_size))

    @functools.cached_property
    def model(self):
        """Return the latent diffusion model."""
        preset = self.preset
        model = features.load_latent_diffusion(preset.model, preset.revision, preset.dtype, preset.device)
        size = model.unet.config.sample_size
        if size != preset.latent_shape[1]:
            raise ValueError(
                f"The U-Net of {preset.model} draws from noise at latents of {size} x {size}, but the preset "
                f"{preset.name!r} has the latent_shape {preset.latent_shape}. Change the preset, or "
                "sample_size in the model's unet/config.json."
            )
        return model

    @functools.cached_property
    def guide(self):
        """CLIP image encoder of g."""
        preset = self.preset
        return features.load_clip_image_encoder(preset.guide, preset.device, preset.guide_revision)

    @functools.cached_property
    def decoders(self):
        """What a guide may look through, by name: the VAE (``"full"``), and ``"tiny"`` if there is one."""
        preset, found = self.preset, {"full": self.model.vae}
        if preset.tiny_vae is not None:
            found["tiny"] = features.load_tiny_vae(preset.tiny_vae, preset.device, preset.tiny_vae_revision)
        return found

    def weights(self, *networks):
        """Return the hash of some networks, see `keys.weights_hash`; refuse those that are not there."""
        # Keys follow imports by `from` alone, and no result depends on whether networks were looked for.
        import latentcortex.studies.availability as availability

        availability.check_networks(self.preset, networks)
        return keys.weights_hash(self.preset, *networks)

    def shelf(self, name, functions, described):
        """Return the `kept.Shelf` for results that some functions compute from this study.

        Parameters
        ----------
        name : str
        functions : sequence of function or class
            Functions that determine the results, and the classes of their arguments.
        described : dict
            Everything that the results depend on besides the code (JSON-able).
        """
        return Shelf(name, keys.key_of([*functions, Study], described), described)

    def description(self, *networks, ignoring=(), **more):
        """Return everything that a result of this study depends on (JSON-able).

        These are data, networks, settings and `more`.

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
    """Return the study of a preset, the same object at each call.

    Parameters
    ----------
    preset : Preset
    root : path, optional
        By default the tree that the preset opens.
    n_images : int, optional
        Number of test images, drawn at random. By default all.
    """
    return _open(preset, preset.open() if root is None else Path(root).resolve(), n_images)


@functools.cache
def _open(preset, root, n_images):
    return Study(preset, root, n_images)
