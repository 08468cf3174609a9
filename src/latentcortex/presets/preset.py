"""The fields of a preset, the values they may have, and what a chapter asks of it first."""

import math
import os
import platform
from dataclasses import dataclass

import torch

from latentcortex import nsd, store


@dataclass(frozen=True)
class Preset:
    """Data, model and settings of a run of the book.

    Attributes
    ----------
    name : str
    data : str
        Folder of an NSD tree (``$VARIABLES`` are expanded), or ``"mini"`` for the simulated one.
    subjects : tuple of int
    space : str
        The space of the betas. ``"fsaverage"`` is the surface.
    z_rois, c_rois : tuple of str
        Names in NSD's atlas ``streams``: the regions that z and c are decoded from.
    model, revision : str, str or None
        Folder or hub id of the latent diffusion model; the commit of a hub id.
    tiny_vae : str or None
        Folder or hub id of a tiny autoencoder of the same latents, through which a guide may look at less
        cost.
    guide, judge : str
        The CLIP image encoder whose features guide the sampler, and the networks that judge reconstructions.
        Each is a folder, or ``name/pretrained`` of open_clip. The folder of the judge may hold
        ``NAME.safetensors`` of each network of the protocol (`metrics.load_network`), for machines without
        a network; what it lacks is downloaded.
    protocol : str
        The set of scores that reconstructions are measured by, one of `metrics.PROTOCOLS`.
    image_size : int
        Width and height of the model's images in pixels.
    latent_shape : tuple of int
        (channels, height, width) of z.
    n_tokens : int
        Tokens of c.
    dtype : torch.dtype
        Of the networks; regression and metrics are in float32 in any case. A file of settings may say
        ``"auto"``, see `presets.get`.
    alphas : tuple of float or None
        Ridge penalties to choose from. None stands for the grid that follows from the number of voxels
        (`ridge.alpha_grid`).
    rescale : bool
        Whether decoded features are rescaled to the mean and spread of true features. The statistics come
        from validation images (`decoders.LinearDecoder.fit_rescaling`).
    strength : float
        Share of the denoising steps taken by img2img, in (0, 1].
    n_steps : int
        Denoising steps from pure noise to an image.
    guidance_scale : float
        w of classifier-free guidance, at least 1.
    feature_scale, guided_share : float
        Weight of the feature gradient, and the share of the steps that it acts in. Both are meant for decoded
        features.
    batch_size : int
        Images per pass of a network.
    n_threads : int or None
        CPU threads of a process; None for all cores. `get` sets this number unless ``OMP_NUM_THREADS`` is
        set.
    expected_minutes : str
        How long a chapter takes, in words.
    sessions : tuple of int or None
        1-based numbers of the sessions to read; None for all that are on disk.
    weighed_strength : float or None
        Strength of drawings that are corrected by decoded z, where no product tells which one was chosen on
        validation images; None for `strength`.
    criteria : tuple of str or None
        Names of the protocol's criteria that settings are chosen by; None for all of them.
    tiny_vae_revision, guide_revision, judge_revision : str or None
        The commits of what is named by a hub id.
    """

    name: str
    data: str
    subjects: tuple[int, ...]
    space: str
    z_rois: tuple[str, ...]
    c_rois: tuple[str, ...]
    model: str
    revision: str | None
    tiny_vae: str | None
    guide: str
    judge: str
    protocol: str
    image_size: int
    latent_shape: tuple[int, int, int]
    n_tokens: int
    dtype: torch.dtype
    alphas: tuple[float, ...] | None
    rescale: bool
    strength: float
    n_steps: int
    guidance_scale: float
    feature_scale: float
    guided_share: float
    batch_size: int
    n_threads: int | None
    expected_minutes: str
    sessions: tuple[int, ...] | None = None
    criteria: tuple[str, ...] | None = None
    weighed_strength: float | None = None
    tiny_vae_revision: str | None = None
    guide_revision: str | None = None
    judge_revision: str | None = None

    def __post_init__(self):
        """Refuse values that no study can have; raise ValueError that names the field."""
        for name, (is_possible, expected) in _POSSIBLE.items():
            value = getattr(self, name)
            if value is not None and not is_possible(value):
                raise ValueError(f"{name} of the preset {self.name!r} is {value!r}: expected {expected}.")
        if self.image_size % self.latent_shape[1]:
            raise ValueError(
                f"image_size of the preset {self.name!r} is {self.image_size}, which is no multiple of the "
                f"height {self.latent_shape[1]} of latent_shape."
            )

    @property
    def device(self):
        """Return the name of the device to compute on: ``"cuda"`` if there is a GPU, else ``"cpu"``."""
        return "cuda" if torch.cuda.is_available() else "cpu"

    @property
    def subject_names(self):
        """Return the names of the subjects in NSD's files: ``("subj01", ...)``."""
        return tuple(f"subj{number:02d}" for number in self.subjects)

    @property
    def sampling(self):
        """Return the settings of `sampler.reconstruct` as a dictionary of its keyword arguments."""
        names = ("strength", "n_steps", "guidance_scale", "batch_size")
        return {name: getattr(self, name) for name in names}

    def open(self):
        """Return the folder of the NSD tree.

        A simulated tree is built first, which takes minutes. This happens once, because it is kept in the
        cache.

        Returns
        -------
        root : Path
            A folder with ``nsddata/``, ``nsddata_betas/`` and ``nsddata_stimuli/``.

        Raises
        ------
        ValueError
            If `data` names an environment variable that is not set, or an unknown user.
        FileNotFoundError
            If the folder does not exist or is not an NSD tree.
        """
        if self.data == "mini":
            from latentcortex.mini import build

            return build.open_tree(world="standard", seed=0)
        root = store.expanded_path(
            self.data,
            f"The data folder of the preset {self.name!r}",
            "the folder that holds nsddata/, nsddata_betas/ and nsddata_stimuli/, or use the preset 'mini', "
            "which needs no data",
        ).absolute()
        missing = [
            part for part in ("nsddata", "nsddata_betas", "nsddata_stimuli") if not (root / part).is_dir()
        ]
        if missing:
            raise FileNotFoundError(
                f"Expected an NSD tree at {root} (preset {self.name!r}, from {self.data}), but "
                f"{', '.join(missing)} is not there. Check the path and what was downloaded."
            )
        return root

    def _sessions_found(self):
        """Say in words how many sessions of each subject are on disk."""
        try:
            root = self.open()
            there = {name: len(nsd.sessions_on_disk(root, name)) for name in self.subject_names}
        except (OSError, ValueError):
            return "not found"  # said in full by open and by what reads the data
        return ", ".join(f"{n} of {name}" for name, n in there.items()) + " on disk"

    def report(self):
        """Print what a chapter runs on: versions, GPU, memory, dtype, data and expected minutes."""
        if self.device == "cuda":
            gpu = torch.cuda.get_device_properties(0)
            device = f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB"
        else:
            n_threads = torch.get_num_threads()
            device = f"none found, computing on {n_threads} CPU thread{'s' if n_threads > 1 else ''}"
        memory = "unknown"
        if hasattr(os, "sysconf"):  # absent on Windows
            memory = f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB"
        data = "simulated (mini)" if self.data == "mini" else os.path.expandvars(self.data)
        lines = {
            "Preset": self.name,
            "Python": platform.python_version(),
            "torch": torch.__version__,
            "GPU": device,
            "Memory": memory,
            "dtype": str(self.dtype).removeprefix("torch."),
            "Data": data,
            "Subjects": ", ".join(self.subject_names),
            "Minutes": self.expected_minutes,
        }
        if self.sessions is not None:
            lines["Sessions"] = ", ".join(map(str, self.sessions))
        elif self.data != "mini":
            lines["Sessions"] = self._sessions_found()
        for label, value in lines.items():
            print(f"{label + ':':<10}{value}")
        if self.device == "cpu" and self.image_size > _LARGE:
            print(
                f"Advice:   drawing images of {self.image_size} pixels takes minutes each without a GPU. "
                "Use a machine with one (Colab's T4 is enough), or the preset 'mini'."
            )


_LARGE = 256  # pixels; a network that draws larger images is one for a GPU


def _distinct_numbers(values):
    return len(values) > 0 and len(set(values)) == len(values) and all(value >= 1 for value in values)


# field: whether a value is possible, in bounds that NaN fails, and what is expected in words
_POSSIBLE = {
    "data": (len, 'a folder, or "mini"'),
    "space": (lambda space: space in nsd.SPACES, f"one of {', '.join(nsd.SPACES)}"),
    "model": (len, "a folder or hub id"),
    "guide": (len, "a folder, or name/pretrained of open_clip"),
    "judge": (len, "a folder, or name/pretrained of open_clip"),
    "subjects": (_distinct_numbers, "different whole numbers from 1 on, such as [1, 2]"),
    "sessions": (_distinct_numbers, "different whole numbers from 1 on, such as [1, 2]"),
    "criteria": (len, "at least one name"),
    "z_rois": (len, "at least one name of a region"),
    "c_rois": (len, "at least one name of a region"),
    "image_size": (lambda size: size >= 1, "pixels, at least 1"),
    "latent_shape": (
        lambda shape: len(shape) == 3 and min(shape) >= 1,
        "three sizes: channels, height, width",
    ),
    "n_tokens": (lambda n: n >= 1, "at least 1"),
    "alphas": (
        lambda alphas: len(alphas) > 0 and all(0 < alpha < math.inf for alpha in alphas),
        "penalties above 0",
    ),
    "strength": (lambda share: 0 < share <= 1, "a share of the steps, above 0 and at most 1"),
    "weighed_strength": (lambda share: 0 < share <= 1, "a share of the steps, above 0 and at most 1"),
    "n_steps": (lambda n: n >= 1, "at least 1"),
    "guidance_scale": (lambda scale: 1 <= scale < math.inf, "at least 1"),
    "feature_scale": (lambda scale: 0 <= scale < math.inf, "at least 0"),
    "guided_share": (lambda share: 0 <= share <= 1, "a share of the steps, from 0 to 1"),
    "batch_size": (lambda n: n >= 1, "at least 1"),
    "n_threads": (lambda n: n >= 1, "at least 1"),
}
