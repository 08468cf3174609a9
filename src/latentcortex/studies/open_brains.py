"""Open four open brains, or their stand-in, and the simulated brains to ask the same questions of.

`open_bold5000` and `open_simulated` return `Brains`, and `open_brains_scores` asks the questions.
"""

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from latentcortex import features, nsd, presets, store
from latentcortex.features.text_encoder import load_text_encoder
from latentcortex.mini.unfinished import build_once
from latentcortex.open_data import bold5000, bold5000_images, bold5000_standin
from latentcortex.open_data.bold5000_images import collection
from latentcortex.studies.image_rows import read_rows
from latentcortex.studies.responses import streams
from latentcortex.studies.study import Study, open_study

REGIONS = bold5000.REGIONS
TARGETS = ("z", "c", "g")
LAYER = 6  # the block of the guide whose output is g
# Never loaded by us: the hub id and commit of the tiny autoencoder of Stable Diffusion's latents.
TINY = {"tiny_vae": "madebyollin/taesd", "tiny_vae_revision": "931366cc24b8bc15d6f682fa2e0352f1deec397b"}
# z and g of photographs are computed at half the size that Stable Diffusion draws in: a quarter of the cost.
SIZE = {"image_size": 256, "latent_shape": (4, 32, 32), "batch_size": 32}
# Where the simulated cortex has what comes closest. Its LOC is the stream in which LOC lies.
_SIMULATED = {
    "EarlyVis": streams("early"),
    "LOC": streams("lateral"),
    **{name: ("floc-places", (name,)) for name in ("OPA", "PPA", "RSC")},
}
_N_SIMULATED = 200  # own images of a simulated subject, so that a page needs seconds for their features
_N_IN_FILE = 128
_N_BYTES = 20_000_000  # of the stand-in's tree, measured


@dataclass(frozen=True)
class Brains:
    """Several subjects with the same regions.

    Attributes
    ----------
    study : Study
    origin : {"measured", "stand-in", "simulated"}
        What every figure says of its data.
    regions : dict of str to (str, tuple of str)
        By name: atlas and regions in it, as `responses.Responses` takes them.
    n_train : int or None
        Use at most so many training images of a subject.
    """

    study: Study
    origin: str
    regions: dict
    n_train: int | None = None

    def features(self, name, image_ids):
        """Return true features of images, float32 (n, n_features), of a name in `TARGETS`."""
        ids, values = _features_of_all(self.study, self.n_train)
        return values[name][store.rows_of(ids, image_ids)]

    def groups(self, image_ids):
        """Return the group (n,) of similar images of each image, as int.

        Of BOLD5000 it is the collection that a photograph comes from: COCO, ImageNet or SUN. In the simulated
        world it is the setting of the scene.
        """
        truth = self.study.root / "simulation/ground_truth.csv"
        if truth.is_file():
            named = pd.read_csv(truth, index_col="image_id")["setting"]
        else:
            named = nsd.read_image_names(self.study.root).map(collection)
        return pd.factorize(named.loc[image_ids])[0]


def open_bold5000(folder=None):
    """Return the four brains of BOLD5000, or their stand-in.

    The features of photographs come from Stable Diffusion's text encoder, its tiny autoencoder and the guide
    of the preset ``sd14``. The stand-in takes the networks of the preset ``mini``.

    Parameters
    ----------
    folder : path, optional
        What `latentcortex download bold5000` fetched, or a tree that was imported from it. The tree is made
        next to the folder, once. Without a folder: the stand-in, which is made once and kept in the cache.

    Returns
    -------
    Brains

    Raises
    ------
    FileNotFoundError, ValueError
        A file is missing or is not what its name says; see `bold5000.import_bold5000`.
    """
    if folder is None:
        root, base, more = _standin(), "mini", {}
    else:
        root, base, more = _imported(Path(folder)), "sd14", TINY | SIZE
    subjects = tuple(int(name.removeprefix("subj")) for name in nsd.subjects(root))
    preset = dataclasses.replace(
        presets.get(base), name="bold5000", data=str(root), subjects=subjects, space="func1pt8mm", **more
    )
    regions = {name: ("bold5000", (f"LH{name}", f"RH{name}")) for name in REGIONS}
    study = open_study(preset, root)
    origin = "stand-in" if study.identity.startswith("bold5000-standin-") else "measured"
    return Brains(study, origin, regions)


def open_simulated():
    """Return the `Brains` of the simulated world, with regions that come closest to those of BOLD5000."""
    return Brains(open_study(presets.get("mini")), "simulated", _SIMULATED, _N_SIMULATED)


def _imported(folder):
    """Return the tree of the real files; it is made first if need be."""
    if (folder / "nsddata").is_dir():
        root = folder.resolve()
    else:
        root = folder.resolve().with_name(f"{folder.resolve().name}-tree")
        if not root.is_dir():
            bold5000.import_bold5000(folder, root)
    for what, read in {"photographs": nsd.images, "captions": nsd.captions}.items():
        try:
            read(root, [0])
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{root} was imported without {what}, which this study needs. Put them into the folder that "
                f"was downloaded, remove {root}, and import again. ({error})"
            ) from error
    return root


def _standin():
    """Return the tree of the stand-in; it is made first if need be."""
    mini = presets.get("mini").open()
    code = [Path(module.__file__) for module in (bold5000, bold5000_images, bold5000_standin)]
    key = store.source_hash([*code, Path(__file__)], mini.name)

    def build(tree, _steps):
        source = tree.with_name("source")
        ids = nsd.split(nsd.trials(mini, "subj04"))[0][: bold5000_standin.n_images()]
        truth = pd.read_csv(mini / "simulation/ground_truth.csv", index_col="image_id").loc[ids]
        images = np.rint(255 * nsd.images(mini, ids)).astype(np.uint8).transpose(0, 2, 3, 1)
        labels = truth["kind_1"].tolist(), truth["setting"].tolist()
        bold5000_standin.write_standin(source, images, nsd.captions(mini, ids), *labels)
        if not any(tree.iterdir()):  # else an earlier process was ended after the last step
            bold5000.import_bold5000(source, tree)

    return build_once(store.cache_folder() / f"mini-bold5000-seed0-{key[:12]}", build, _N_BYTES)


@functools.cache
def _features_of_all(study, n_train):
    """Return the ids of all images that are used, and their features by name, computed once and kept."""
    ids = [np.concatenate([train[:n_train], test]) for train, test in map(nsd.split, study.tables.values())]
    ids = np.unique(np.concatenate(ids))
    described = {
        "data": study.identity,
        "weights": study.weights("tiny_vae", "text_encoder", "tokenizer", "guide"),
        "image_size": study.preset.image_size,
        "dtype": str(study.preset.dtype),
    }
    shelf = study.shelf("open-brains", [_encode], described)
    with tqdm(total=len(ids), desc=f"Features, {study.preset.name}", unit="image") as bar:

        def compute(part):
            found = _encode(study, part)
            bar.update(len(part))
            return found

        return read_rows(shelf, compute, ids, TARGETS, _N_IN_FILE)


@torch.no_grad()
def _encode(study, image_ids):
    """Return z, c and g of images, float32 arrays (n, n_features) by name."""
    preset, images = (
        study.preset,
        torch.from_numpy(nsd.images(study.root, image_ids, study.preset.image_size)),
    )
    captions = nsd.captions(study.root, image_ids)
    found = {
        "z": features.encode_images(study_networks(study)["tiny"], images, preset.batch_size),
        "c": features.encode_captions(*study_networks(study)["text"], captions),
        "g": features.encode_clip_layers(study.guide, images, (LAYER,), preset.batch_size)[LAYER],
    }
    return {name: values.flatten(1).float().cpu().numpy() for name, values in found.items()}


@functools.cache
def study_networks(study):
    """Return the tiny autoencoder (``"tiny"``), and text encoder and tokenizer (``"text"``), loaded once."""
    preset = study.preset
    return {
        "tiny": features.load_tiny_vae(preset.tiny_vae, preset.device, preset.tiny_vae_revision),
        "text": load_text_encoder(preset.model, preset.revision, preset.dtype, preset.device),
    }
