"""The sizes of a simulated world, and the names of its folders in the cache.

A name holds a hash of the code that makes and writes a world, so that files of other code are never taken for
its own.
"""

import dataclasses
import operator
from pathlib import Path

from latentcortex import store
from latentcortex.nsd import write_measured, write_shown

# What the pictures and the design depend on. A change of the cortex does not render them again.
_COMMON_SOURCES = (
    *("raytracer", "props", "scenes", "captions", "experiment"),
    *("naming", "build", "unfinished"),
)
# Trained on the world, which does not depend on them.
_NOT_THE_WORLD = ("networks", "classical_judge")
# Sizes on disk of a trial (of the surface and of the volume) and of a picture, in bytes: measured.
_TRIAL, _PICTURE = 127_000, 13_000


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Sizes of the experiment, in NSD's terms. NSD-synthetic's session is all in one.

    `n_sessions` gives the number of sessions of each subject.
    """

    n_sessions: tuple[int, ...] = (4, 4, 4, 3)
    n_trials: int = 750
    n_runs: int = 12
    n_slots: int = 75
    n_shared: int = 200
    n_own: int = 800
    n_repeats: int = 3
    n_held_back: int = 200
    n_synthetic_runs: int = 8
    n_synthetic_slots: int = 107

    def __post_init__(self):
        """Turn whole numbers of any kind into Python's, so that equal sizes give one tree."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            try:
                if field.name == "n_sessions":
                    value = tuple(operator.index(number) for number in value)
                else:
                    value = operator.index(value)
            except TypeError as error:
                raise ValueError(f"{field.name}: sizes are whole numbers, got {value!r}.") from error
            object.__setattr__(self, field.name, value)

    @property
    def n_bytes(self):
        """Return about how many bytes a tree of these sizes takes."""
        n_subjects = len(self.n_sessions)
        n_trials = sum(self.n_sessions) * self.n_trials + n_subjects * self.n_held_back * self.n_repeats
        n_images = self.n_shared + n_subjects * self.n_own + self.n_held_back
        return n_trials * _TRIAL + n_images * _PICTURE


def folder_names(world="standard", seed=0, sizes=None):
    """Return the names that the folders of a world have in the cache.

    Parameters
    ----------
    world, seed, sizes
        As for `build.open_tree`.

    Returns
    -------
    world, scenes : str
        The whole world, and what the worlds of a seed have in common: scenes, captions, design.
    """
    key, common_key = source_hashes(world, seed, Sizes() if sizes is None else sizes)
    return f"mini-{world}-seed{seed}-{key[:12]}", f"mini-common-seed{seed}-{common_key[:12]}"


def source_hashes(world, seed, sizes):
    """Return the hashes of code and settings, of a world and of what the worlds of a seed have in common."""
    folder, settings = Path(__file__).parent, settings_of(world, seed, sizes)
    sources = [path for path in folder.glob("*.py") if path.stem not in _NOT_THE_WORLD]
    common = [folder / f"{name}.py" for name in _COMMON_SOURCES]
    key = store.source_hash([*sources, write_shown.__file__, write_measured.__file__], settings)
    return key, store.source_hash([*common, write_shown.__file__], {**settings, "world": None})


def settings_of(world, seed, sizes):
    """Return what makes a world besides code, a JSON-able dictionary."""
    return {"world": world, "seed": seed, "sizes": dataclasses.asdict(sizes)}
