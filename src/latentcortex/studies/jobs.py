"""Divide long work into parts that are made once, kept, and gathered by the process that makes the last."""

import argparse
import datetime
import itertools
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from latentcortex import presets, store
from latentcortex.studies import keys, results
from latentcortex.studies.kept import Shelf
from latentcortex.studies.study import Study, open_study

_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class Job:
    """Describe a product and the parts that it is gathered from.

    Attributes
    ----------
    study : Study
    parts : sequence of tuple
        Parts that can be made independently. Neighbouring parts should need the same models, because a share
        is a run of neighbours.
    make : callable
        ``make(study, *part)`` returns a dictionary of arrays, as `kept.Shelf.get` keeps them.
    gather : callable
        ``gather(study, load)``, where ``load(*part)`` reads the arrays of a part, returns
        ``{file ending: (arrays, provenance)}``.
    depends_on : dict
        Everything that a part depends on besides the code (JSON-able). It is written as provenance.
    is_slice : bool
        Whether `parts` are only some parts of the product. The gathered result then stays in the cache.
    name, code, shelf : str, str, Shelf
        Name of the script, hash of the package's code, and shelf of the parts.
    """

    study: Study
    parts: Sequence
    make: Callable
    gather: Callable
    depends_on: dict
    is_slice: bool = False
    name: str = field(init=False)
    code: str = field(init=False)
    shelf: Shelf = field(init=False)

    def __post_init__(self):
        set_ = object.__setattr__
        set_(self, "name", Path(self.make.__code__.co_filename).stem)
        set_(self, "code", keys.package_code())
        set_(self, "shelf", self.study.shelf(self.name, [self.make], self.depends_on))

    def keep(self, part):
        """Make a part unless it is kept; return a numerical error as text, or None."""
        if keys.package_code() != self.code:
            raise RuntimeError(
                f"This worker has another version of latentcortex than the process that sent it {part}. "
                "Install the same version on both, and start the worker again."
            )
        # A worker may have several threads, and networks give their layers to hooks that threads share.
        with _ONE_AT_A_TIME:
            try:
                self.shelf.get(part, lambda: self.make(self.study, *part))
            except FloatingPointError as error:
                return f"{part}: {error}"
        return None

    def run(self, shard=(0, 1), scheduler=None):
        """Make the missing parts of one share, in this process or on a Dask cluster.

        Returns
        -------
        n_left : int
            Number of parts of the job that are still missing.
        failed : list of str
            Parts that failed because numbers were not finite. They are also printed at the end.
        """
        distributed = None if scheduler is None else _import_dask()
        mine = share_of(self.parts, *shard)
        missing = [part for part in mine if not self._holds(part)]
        show = {"total": len(missing), "desc": self.name, "unit": "part"}
        if distributed is None:
            failed = [self.keep(part) for part in tqdm(missing, **show)]
        else:
            # The scheduler gives the parts of a worker that dies to another one, so nothing is retried here.
            with distributed.Client(scheduler) as client:
                futures = client.map(self.keep, missing, pure=False)
                failed = [future.result() for future in tqdm(distributed.as_completed(futures), **show)]
        failed = list(filter(None, failed))
        for error in failed:
            print(error, file=sys.stderr)
        return sum(not self._holds(part) for part in self.parts), failed

    def _holds(self, part):
        return self.shelf.load(self.shelf.path(part)) is not None

    def write(self, folder):
        """Gather the parts, write the product with one file per ending, and return the paths."""
        gathered = self.gather(self.study, lambda *part: store.load(self.shelf.path(part)))
        # A slice never takes the name of the whole.
        name = f"{self.name}-slice" if self.is_slice else self.name
        stem = f"{name}-{results.label(self.study.preset, self.study.root)}"
        common = {**self.depends_on, **self.written()}
        return [
            store.save(Path(folder) / f"{stem}{ending}.npz", provenance={**common, **provenance}, **arrays)
            for ending, (arrays, provenance) in gathered.items()
        ]

    def written(self):
        """Return how the product was made, for its provenance."""
        code = keys.code_of(self.make.__code__.co_filename)
        today = datetime.date.today().isoformat()
        return {"script": self.name, "date": today, "code": code, "device": self.study.preset.device}


def _import_dask():
    try:
        from dask import distributed
    except ModuleNotFoundError as error:
        raise RuntimeError(
            "A scheduler is Dask's, which is not installed: pip install latentcortex[cluster]"
        ) from error
    return distributed


def check_simulated(study, known):
    """Raise ValueError unless a study's data are simulated, for a script that needs what was planted.

    Parameters
    ----------
    study : Study
    known : str
        What the script needs, such as ``"What was planted"``.
    """
    if study.preset.data != "mini":
        raise ValueError(
            f"{known} is known of simulated worlds alone, but the data of the preset {study.preset.name!r} "
            f"are {study.preset.data}: run this script with the preset 'mini'."
        )


def share_of(parts, shard, n_shards):
    """Return one share of a list, as a run of neighbours."""
    return [parts[k] for k in np.array_split(np.arange(len(parts)), n_shards)[shard]]


def stacked(load, *axes):
    """Return stacked arrays of the parts that are named by all combinations of some words.

    Parameters
    ----------
    load : callable
        ``load(*part)`` returns the arrays of a part by name. Names and shapes are the same for all parts.
    *axes : sequences
        Words at each place of a part.

    Returns
    -------
    dict of str to array
        The first axes are `axes`, followed by the axes of the arrays.
    """
    parts = [load(*part) for part in itertools.product(*axes)]
    of_name = {name: np.array([part[name] for part in parts]) for name in parts[0]}
    return {name: of.reshape(*map(len, axes), *of.shape[1:]) for name, of in of_name.items()}


def parse_shard(text):
    """Return the 0-based number of a share and the number of shares from a text such as ``"0/2"``."""
    numbers = text.split("/")
    if len(numbers) == 2 and all(map(str.isdecimal, numbers)):
        shard, n_shards = map(int, numbers)
        if shard < n_shards:
            return shard, n_shards
    raise argparse.ArgumentTypeError(f"Expected I/N with 0 <= I < N, such as 0/2 and 1/2, got {text}.")


def add_images(parser):
    """Add the option of scripts that can use fewer test images."""
    parser.add_argument(
        "--images", type=int, help="only so many test images, at random; their product stays in the cache"
    )


def main(doc, make_job, add=None):
    """Run a script: read the options that all scripts share, do the work, and write the product.

    Parameters
    ----------
    doc : str
        Docstring of the script. Its first line describes the script.
    make_job : callable
        ``make_job(study, args)`` returns the `Job`.
    add : callable, optional
        ``add(parser)`` adds options specific to the script.
    """
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--preset", help="default: $LATENTCORTEX_PRESET, else mini")
    parser.add_argument("--shard", type=parse_shard, default=(0, 1), metavar="I/N", help="do one share")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="of a Dask cluster that does the work")
    parser.add_argument("--results", type=Path, help="where the product is written")
    if add is not None:
        add(parser)
    args = parser.parse_args()
    study = open_study(presets.get(args.preset), n_images=getattr(args, "images", None))
    job = make_job(study, args)
    folder = store.make_folder(args.results or results.folder_to_write(job))  # before hours of work
    left, failed = job.run(args.shard, args.scheduler)
    if left:
        print(f"{left} of {len(job.parts)} parts are left to other shards, or failed.")
        if failed:
            sys.exit(1)
        return
    with torch.no_grad():
        for path in job.write(folder):
            print(f"Wrote {path} ({path.stat().st_size / 1e6:.1f} MB)")
