"""Products: what takes too long for a chapter, found by name and held against what a page computes."""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import latentcortex
from latentcortex import nsd, presets, store
from latentcortex.studies import keys

_PACKAGE = Path(latentcortex.__file__).resolve().parent
_CLONE = _PACKAGE.parents[1]
# Of a difference between what a page computes and what a product holds.
STATISTICS = {
    "largest": lambda difference: np.max(np.abs(difference)),
    "median": lambda difference: np.median(np.abs(difference)),
    "mean": lambda difference: abs(np.mean(difference)),
    # Where a choice between neighbours may fall otherwise on another machine, such as that of a penalty.
    "of 98 in 100": lambda difference: np.quantile(np.abs(difference), 0.98),
}


def shipped_folder(name):
    """Return a folder that lies beside the package in a clone and inside it in a wheel."""
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _CLONE / name


def folders():
    """List where products are looked for: those of this reader first, then those that were shipped."""
    return [store.cache_folder() / "results", shipped_folder("results")]


def folder_to_write(job):
    """Return where a job's product goes: into a clone's results, else into the cache."""
    if job.is_slice:
        return job.shelf.folder
    return _CLONE / "results" if (_CLONE / "pyproject.toml").is_file() else folders()[0]


def products():
    """Return the paths of all products; of two of one name the reader's own."""
    found = {}
    for folder in reversed(folders()):
        found |= {path.name: path for path in folder.glob("ch*.npz")}
    return [found[name] for name in sorted(found)]


def state(path, scripts):
    """Return whether a product still belongs to the code, in words.

    Parameters
    ----------
    path : path
    scripts : dict of str to path
        By name.
    """
    provenance = store.provenance(path)
    name = provenance.get("script")
    if name not in scripts:
        return f"no script {name}"
    code = keys.code_of(scripts[name])
    agreement = provenance.get("agreement", {})
    if provenance.get("code") == code:
        return "yes"
    if agreement.get("code") == code:
        return f"made by older code; {agreement['text']}"
    return f"no: 'latentcortex run {name}' makes it again"


def label(preset, root):
    """Return the end of a product's name: the data, and the preset where data don't name it."""
    identity = nsd.identity(root, preset.subject_names, preset.space)
    return identity if identity.startswith(preset.name) else f"{preset.name}-{identity}"


@dataclass(frozen=True)
class Product:
    """The arrays of a product and their provenance; false where there is none.

    Attributes
    ----------
    name : str
        Of the script that makes it.
    path : Path or None
    """

    name: str
    path: Path | None

    def __bool__(self):
        return self.path is not None

    @functools.cached_property
    def arrays(self):
        """Return all arrays by name."""
        return store.load(self.path)

    @functools.cached_property
    def provenance(self):
        """Return the provenance."""
        return store.provenance(self.path)

    def __getitem__(self, name):
        """Return an array; numbers of half precision as float64, since means of them need it."""
        values = self.arrays[name]
        return values.astype(float) if values.dtype == np.float16 else values

    def check(self, live, stored, statistics=None):
        """Compare what a page has just computed with what the product holds, and say how they differ.

        Parameters
        ----------
        live, stored : dict of str to array
            The same rows of the same scores.
        statistics : sequence of str, optional
            Of the difference, ``"largest"``, ``"median"``, ``"mean"``, ``"of 98 in 100"`` (the largest of
            the 98 % that differ least). Default: all that the tolerance in the provenance has limits for.

        Raises
        ------
        ValueError
            If they differ by more, or by NaN on one side alone.
        """
        limits = self.provenance["tolerance"]
        limits = {name: limits[name] for name in (limits if statistics is None else statistics)}
        found = dict.fromkeys(limits, 0.0)
        for name, values in live.items():
            pair = np.asarray(values, float), np.asarray(stored[name], float)
            if pair[0].shape != pair[1].shape or (np.isnan(pair[0]) != np.isnan(pair[1])).any():
                raise ValueError(
                    f"{name}: this page has {pair[0].shape}, {self.path.name} {pair[1].shape}, or one of "
                    "them holds NaN where the other does not. Are they of the same images?"
                )
            difference = (pair[0] - pair[1])[~np.isnan(pair[0])]
            for statistic in limits:
                found[statistic] = max(found[statistic], float(STATISTICS[statistic](difference)))
        shown = ", ".join(f"{name} difference {value:.1e}" for name, value in found.items())
        print(f"Compared with {self.path.name}: {shown}.")
        if not all(found[name] <= limits[name] for name in limits):
            raise ValueError(
                f"{self.path} disagrees with this page ({shown}; allowed: {limits}). Run "
                f"latentcortex run {self.name} to make it again."
            )


def product(name, root, ending="", preset=None):
    """Find a product of a tree, or say which script makes it.

    Parameters
    ----------
    name : str
        Of the script, such as ``"ch09_measure_reconstructions"``.
    root : path
        Of the tree.
    ending : str
        Of the file, such as ``"-pictures"``, where a script writes several.
    preset : Preset, optional
        Default: `presets.get`.

    Returns
    -------
    Product
        False in a condition where there is none; what is missing has been printed then.
    """
    preset = presets.get() if preset is None else preset
    file = f"{name}-{label(preset, root)}{ending}.npz"
    for folder in folders():
        if (folder / file).is_file():
            return Product(name, folder / file)
    print(
        f"There is no {file}, so what it holds is left out here. 'latentcortex run {name}' makes it "
        "(how long that takes stands in the script)."
    )
    return Product(name, None)
