"""Find products, which take too long for a chapter, by name, and compare them with a page's numbers."""

import functools
import json
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
    """Return a folder that is next to the package in a clone and inside it in a wheel."""
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _CLONE / name


def folders():
    """Return the folders of products: in a clone its own, otherwise the reader's before the shipped one."""
    shipped = shipped_folder("results")
    return [shipped] if shipped == _CLONE / "results" else [store.cache_folder() / "results", shipped]


def folder_to_write(job):
    """Return the folder for a job's product: the first folder searched, or for a slice that of its parts."""
    return job.shelf.folder if job.is_slice else folders()[0]


def products():
    """Return the paths of all products; of two with the same name, the reader's own."""
    found = {}
    for folder in reversed(folders()):
        found |= {path.name: path for path in folder.glob("ch*.npz")}
    return [found[name] for name in sorted(found)]


def state(path, scripts):
    """Return in words whether a product still belongs to the code.

    Parameters
    ----------
    path : path
    scripts : dict of str to path
        Paths of the scripts by name.
    """
    try:
        provenance = store.provenance(path)
    except store.DamagedFileError:
        return "damaged: delete it"
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
    """Return the end of a product's name: the data, and the preset if the data do not name it."""
    identity = nsd.identity(root, preset.subject_names, preset.space)
    return identity if identity.partition("-")[0] == preset.name else f"{preset.name}-{identity}"


@dataclass(frozen=True)
class Product:
    """Hold the arrays of a product and their provenance; it is false if there is no product.

    Attributes
    ----------
    name : str
        Name of the script that makes the product.
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
        """Return an array; half precision becomes float64, because means need it."""
        values = self.arrays[name]
        return values.astype(float) if values.dtype == np.float16 else values

    def check(self, live, stored, statistics=None):
        """Compare numbers that a page has just computed with the product, and print how they differ.

        Parameters
        ----------
        live, stored : dict of str to array
            The same rows of the same scores.
        statistics : sequence of str, optional
            Statistics of the difference: ``"largest"``, ``"median"``, ``"mean"``, and ``"of 98 in 100"``, the
            largest among the 98 % that differ least. By default all that have a limit in the tolerance of the
            provenance.

        Raises
        ------
        ValueError
            If they differ by more than the tolerance, or if only one side is NaN.
        """
        known = self.provenance.get("tolerance", {})
        asked = list(known) if statistics is None else list(statistics)
        unknown = [name for name in asked if name not in known]
        if unknown or not asked or not live:
            raise ValueError(
                f"{self.path.name} has limits for {', '.join(known) or 'nothing'}; asked for were "
                f"{', '.join(asked) or 'none'} of {len(live)} scores. Compare at least one score by those."
            )
        limits, found = {name: known[name] for name in asked}, {name: [] for name in asked}
        for name, values in live.items():
            if name not in stored:
                raise ValueError(f"{self.path.name} has no {name} to be compared.")
            pair = np.asarray(values, float), np.asarray(stored[name], float)
            finite = [np.isfinite(of) for of in pair]
            if pair[0].shape != pair[1].shape or (finite[0] != finite[1]).any() or not finite[0].any():
                raise ValueError(
                    f"{name}: this page has {pair[0].shape}, {self.path.name} {pair[1].shape}, or one of "
                    "them holds NaN or infinity where the other does not, or nothing else. Are they of the "
                    "same images?"
                )
            difference = pair[0][finite[0]] - pair[1][finite[0]]
            for statistic, values_found in found.items():
                values_found.append(STATISTICS[statistic](difference))
        found = {name: float(np.max(values_found)) for name, values_found in found.items()}
        shown = ", ".join(f"{name} difference {value:.1e}" for name, value in found.items())
        print(f"Compared with {self.path.name}: {shown}.")
        if not all(found[name] <= limits[name] for name in limits):
            raise ValueError(
                f"{self.path} disagrees with this page ({shown}; allowed: {limits}). Run "
                f"latentcortex run {self.name} to make it again."
            )


def product(name, root, ending="", preset=None):
    """Return a product of a tree, or print which script makes it.

    Parameters
    ----------
    name : str
        Name of the script, such as ``"ch09_measure_reconstructions"``.
    root : path
        Root folder of the tree.
    ending : str
        End of the file name, such as ``"-pictures"``, if a script writes several files.
    preset : Preset, optional
        By default `presets.get`.

    Returns
    -------
    Product
        The product. If there is none it is false in a condition, and a message has been printed.
    """
    preset = presets.get() if preset is None else preset
    file = f"{name}-{label(preset, root)}{ending}.npz"
    for folder in folders():
        if (folder / file).is_file():
            found = Product(name, folder / file)
            other = _other_settings(found.provenance.get("settings", {}), preset)
            if not other:
                return found
            print(f"{folder / file} was made with other settings ({other}) and is not used.")
    print(
        f"There is no {file}, so what it holds is left out here. 'latentcortex run {name}' makes it "
        "(how long that takes stands in the script)."
    )
    return Product(name, None)


def _other_settings(made_with, preset):
    """Name the settings of a product that are not the preset's."""
    own = json.loads(json.dumps(keys.settings_of(preset)))
    pairs = {name: (value, own.get(name)) for name, value in made_with.items() if value != own.get(name)}
    return ", ".join(f"{name} {value}, now {now}" for name, (value, now) in pairs.items())
