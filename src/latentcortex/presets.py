"""Hold the settings that differ between a laptop in class and a study on a GPU server.

The package has one code path. Everything that depends on scale, data or model is a field of `Preset`, a
frozen dataclass. To change a field, write ``dataclasses.replace(presets.get(), strength=0.5)``.
"""

import os
import platform
from dataclasses import dataclass
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits

from latentcortex import store

_MINI_MODEL = Path(__file__).parent / "mini" / "model"


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
        Folder of a tiny autoencoder with the same latents. A guide that looks through it costs less.
    guide, judge : str
        The CLIP image encoder whose features guide the sampler, and the network that judges reconstructions.
        Each is a folder, or ``name/pretrained`` of open_clip.
    protocol : str
        The set of scores that reconstructions are measured by, one of `metrics.PROTOCOLS`.
    image_size : int
        Width and height of the model's images in pixels.
    latent_shape : tuple of int
        (channels, height, width) of z.
    n_tokens : int
        Tokens of c.
    dtype : torch.dtype
        The dtype of the networks. Regression and metrics are always in float32.
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
        for label, value in lines.items():
            print(f"{label + ':':<10}{value}")


PRESETS = {
    "mini": Preset(
        name="mini",
        data="mini",
        subjects=(1, 2, 3, 4),
        space="fsaverage",
        z_rois=("early",),
        c_rois=("ventral",),
        model=str(_MINI_MODEL),
        revision=None,
        tiny_vae=str(_MINI_MODEL / "tiny_vae"),
        guide=str(_MINI_MODEL / "guide"),
        judge=str(_MINI_MODEL / "judge"),
        protocol="mini",
        image_size=64,
        latent_shape=(4, 16, 16),
        n_tokens=24,
        dtype=torch.float32,
        alphas=None,
        # rescale, strength and guidance_scale: data_scripts/ch06_choose_settings.py, on validation
        # images. The published strength of 0.8 would erase z: at equal noise a 16x16 latent loses
        # what a 64x64 one keeps by averaging over space.
        rescale=True,
        strength=0.6,
        n_steps=20,
        guidance_scale=5.0,
        # data_scripts/ch08_choose_guidance.py, on validation images; the published 300,000 would send
        # the picture away by many times its own length.
        feature_scale=100.0,
        guided_share=0.2,
        batch_size=32,
        # Its networks are so small that threads wait for one another longer than they compute: chapters
        # take no longer on one, and two processes at once leave each other a core.
        n_threads=1,
        expected_minutes="about 1 a chapter on two CPU cores; the first one builds the data (3)",
    ),
    # Sampling as Takagi & Nishimoto (2023) publish it; feature guidance as NeuralDiffuser (2025).
    "sd14": Preset(
        name="sd14",
        data="$LATENTCORTEX_NSD",
        subjects=(1, 2, 5, 7),
        space="fsaverage",
        z_rois=("early",),
        c_rois=("ventral",),
        model="CompVis/stable-diffusion-v1-4",
        revision="133a221b8aa7292a167afc5127cb63fb5005638b",
        tiny_vae=None,
        guide="ViT-B-32-quickgelu/openai",
        judge="ViT-L-14-quickgelu/openai",
        protocol="mindeye2",
        image_size=512,
        latent_shape=(4, 64, 64),
        n_tokens=77,
        dtype=torch.float16,
        alphas=None,
        rescale=False,
        strength=0.8,
        n_steps=50,
        guidance_scale=5.0,
        feature_scale=3e5,
        guided_share=0.2,
        batch_size=4,
        n_threads=None,
        expected_minutes="not measured yet; a GPU is needed",
    ),
}


def get(name=None):
    """Return a preset by name, and set the number of CPU threads that it asks for.

    Parameters
    ----------
    name : str, optional
        By default the environment variable ``LATENTCORTEX_PRESET``, or ``"mini"`` if that is not set.

    Returns
    -------
    Preset

    Raises
    ------
    ValueError
        If there is no preset with this name.
    """
    name = name or os.environ.get("LATENTCORTEX_PRESET") or "mini"
    if name not in PRESETS:
        raise ValueError(
            f"There is no preset {name!r}. Presets: {', '.join(PRESETS)}. It comes from the "
            "argument or from the environment variable LATENTCORTEX_PRESET."
        )
    preset = PRESETS[name]
    if preset.n_threads is not None and "OMP_NUM_THREADS" not in os.environ:
        threadpool_limits(preset.n_threads)  # of numpy's products
        torch.set_num_threads(preset.n_threads)
    return preset
