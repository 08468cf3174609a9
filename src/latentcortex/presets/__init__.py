"""What differs between a laptop in class and a study on a GPU server: a `Preset`.

The package has one code path. Everything that depends on scale, data or model is a field of a frozen
dataclass, read from a file of settings: ``mini.toml`` and ``sd14.toml`` of this folder, or a reader's own
that builds on one of them. To change a field in Python,
``dataclasses.replace(presets.get(), strength=0.5)``.
"""

import os

import torch
from threadpoolctl import threadpool_limits

from latentcortex.presets.preset import Preset
from latentcortex.presets.reading import NAMES, read

__all__ = ["NAMES", "Preset", "get"]


def get(name=None):
    """Return a preset, and set the number of CPU threads that it asks for.

    Parameters
    ----------
    name : str or path, optional
        One of `NAMES`, or the path of a file of settings, which ends in ``.toml``. Default: the environment
        variable ``LATENTCORTEX_PRESET``, else ``"mini"``.

    Returns
    -------
    Preset
        Where the file says ``dtype = "auto"``: bfloat16 on a GPU that computes in it natively, float16 on
        another GPU (such as a T4), float32 where there is none.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If there is no preset of this name, or if a field is unknown, missing or of another type.

    Examples
    --------
    A file ``my.toml`` for two subjects of the smaller surface, to be used by
    ``LATENTCORTEX_PRESET=my.toml``:

    .. code-block:: toml

        base = "sd14"
        data = "/data/nsd"
        subjects = [1, 2]
        sessions = [1, 2, 3, 4, 5, 6, 7, 8]
        space = "fsaverage5"
    """
    preset = read(name or os.environ.get("LATENTCORTEX_PRESET") or "mini")
    if preset.n_threads is not None and "OMP_NUM_THREADS" not in os.environ:
        threadpool_limits(preset.n_threads)  # of numpy's products
        torch.set_num_threads(preset.n_threads)
    return preset
