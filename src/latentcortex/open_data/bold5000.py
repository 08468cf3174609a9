"""BOLD5000, Release 2.0: four brains, 4,916 photographs, no form.

What is known of the files is second hand, see `latentcortex.open_data`. An archive of 229 MB has one array
per subject, hemisphere and region. Its rows are the trials in order of presentation, its columns voxels
without places. Lists name the images in this order, and mark each repeat by ``rep_``. An archive of the
photographs has another home.

Source: Chang et al. (2019), Scientific Data 6:49; Prince et al. (2022), eLife 11:e77599, for the betas.
"""

import re

import numpy as np

from latentcortex import __version__, nsd
from latentcortex.nsd.files import COCO
from latentcortex.nsd.reading import reading
from latentcortex.open_data.archives import Archives
from latentcortex.open_data.bold5000_images import image_set, read_captions
from latentcortex.open_data.subjects import checked_subjects
from latentcortex.store.downloads import Source
from latentcortex.store.transfer import Remote

TERMS = """  - BOLD5000's brain data are in the public domain (CC0).
  - The photographs come from COCO, ImageNet and SUN, and stay under the terms of these.
  - COCO's captions come under the Creative Commons Attribution 4.0 licence.
  - Work with it cites Chang et al. (2019), Scientific Data 6:49, and for these betas Prince et al. (2022),
    eLife 11:e77599.
  These are our words. The terms themselves are on bold5000.org, figshare.com and cocodataset.org."""
REFUSED = (
    "figshare and Dropbox sometimes answer programs with a page that a person has to look at. Open the "
    "address in a browser and save the archive into the folder."
)
SUBJECTS = (1, 2, 3, 4)
MARK = "STAND-IN.txt"  # lies among the files that `bold5000_standin` writes
REGIONS = ("EarlyVis", "LOC", "OPA", "PPA", "RSC")
# NSD's names that presets ask for. LOC, OPA and RSC lie laterally and medially: `ventral` means here no more
# than "above early visual cortex".
STREAMS = {"EarlyVis": "early", "LOC": "ventral", "OPA": "ventral", "PPA": "ventral", "RSC": "ventral"}
PLACES = ("OPA", "PPA", "RSC")  # of NSD's atlas floc-places
N_PER_RUN = 37
# Sessions of each subject, and those with ten runs; the others have nine.
SESSIONS = {
    "CSI1": (15, (1, 2, 3, 5, 7, 10, 15)),
    "CSI2": (15, (1, 3, 4, 5, 11, 12, 14)),
    "CSI3": (15, (1, 3, 5, 6, 7, 11, 15)),
    "CSI4": (9, (1, 4, 9)),
}
BETAS = "{}_GLMbetas-TYPED-FITHRF-GLMDENOISE-RR_allses_{}{}.npy"


def download_source(subjects=None, sessions=None, **options):  # noqa: ARG001 - one archive holds all
    """Return all that `import_bold5000` reads, as a `downloads.Source`: see `files`."""
    return Source("BOLD5000", TERMS, files(subjects), REFUSED)


def files(subjects=None):
    """Return what to download: the archives of the betas, of the photographs and lists, and of captions.

    Addresses and sizes are second hand and were never opened by us. The first gives figshare's whole article,
    in which the archive lies. The second is linked from the project's page.

    Returns
    -------
    list of Remote
        The same for any subjects, because one archive holds all of them.

    Raises
    ------
    ValueError
        There are no such subjects.
    """
    checked_subjects("BOLD5000", SUBJECTS, subjects)
    return [
        Remote(
            "https://figshare.com/ndownloader/articles/14456124/versions/2",
            "BOLD5000_GLMsingle_ROI_betas.zip",
            about=229_000_000,
        ),
        Remote("https://www.dropbox.com/s/5ie18t4rjjvsl47/BOLD5000_Stimuli.zip?dl=1", "BOLD5000_Stimuli.zip"),
        COCO,
    ]


def import_bold5000(source, root, subjects=None):
    """Write a tree in NSD's layout from the authors' files.

    Subjects CSI1 to CSI4 become ``subj01`` to ``subj04``. The voxels of all regions lie behind each other in
    a volume (n_voxels, 1, 1), because their places are not published with them. Atlas ``bold5000`` has the
    ten regions under their own names (``LHEarlyVis``). Atlas ``streams`` has `STREAMS`, ``floc-places`` has
    `PLACES`, and ``nsdgeneral`` marks all voxels. The 113 repeated images are the shared ones: they test.
    ``ncsnr`` is estimated from all trials, so from the repeats of test images: never choose voxels for a
    decoder by it.

    Parameters
    ----------
    source : path
        Folder with the archives or with what they unpack to. Needed: the betas and the lists of images. With
        the photographs (``Presented_Stimuli``) the tree has images. With COCO's files of captions (such as
        ``captions_train2014.json`` or the archive of COCO 2017) and ``imagenet_final_labels.txt`` it has
        captions: COCO's own, and for ImageNet and SUN "a photo of" and the label.
    root : path
        Folder to be made.
    subjects : sequence of int, optional
        Of 1 to 4; by default all.

    Returns
    -------
    pathlib.Path
        `root`.

    Raises
    ------
    FileNotFoundError, ValueError, FileExistsError
        A file is missing, damaged or a web page; numbers of rows differ; an image is unknown.
    """
    numbers = checked_subjects("BOLD5000", SUBJECTS, subjects)
    with Archives(source) as archives:
        shown = {f"CSI{k}": _read_order(archives, f"CSI{k}") for k in numbers}
        names = sorted({name for order, _, _ in shown.values() for name in order})
        ids = {name: k for k, name in enumerate(names)}
        shared = _read_repeated(archives, shown, ids)
        captions, told = read_captions(archives, names)
        images = image_set(archives, names, captions)
        recordings = {
            f"subj0{subject[-1]}": _recording(archives, subject, *order, ids)
            for subject, order in shown.items()
        }
        about = {
            **_named(archives),
            "licence": "CC0; photographs: terms of COCO, ImageNet, SUN",
            "importer": f"latentcortex {__version__}",
            "subjects": {f"subj0{k}": f"CSI{k}" for k in numbers},
            "streams": STREAMS,
            "captions": told,
            "noise ceilings": "estimated from all trials; only the shared images were repeated",
        }
        return nsd.write_tree(root, recordings, images, shared, about)


def _named(archives):
    """Return the name and the source of the data: a stand-in must not be taken for a measurement."""
    if archives.path(MARK) is not None:
        return {
            "name": "bold5000-standin",
            "source": "planted, in the layout of BOLD5000; no brain was measured",
        }
    source = "BOLD5000 Release 2.0, GLMsingle betas of regions (figshare article 14456124)"
    return {"name": "bold5000", "source": source}


def _read_order(archives, subject):
    """Return names (n_trials,), sessions and runs of the trials, in order of presentation."""
    name = f"{subject[:3]}0{subject[3:]}_stim_lists.txt"
    by_run = _presentation_lists(archives, subject)
    listed = [image for images in by_run.values() for image in images]
    # The list of all trials was published with the first release; those of the runs say the same.
    order = listed if by_run and archives.path(name) is None else _read_list(archives, name)
    if by_run:
        differ = next(
            (k for k, pair in enumerate(zip(listed, order, strict=False)) if len(set(pair)) > 1), None
        )
        if len(listed) != len(order) or differ is not None:
            where = "" if differ is None else f" and differ first in trial {differ + 1}"
            raise ValueError(
                f"{archives.path(name)} has {len(order):,} trials, the lists of presentation of the runs "
                f"{len(listed):,}{where}. Are both of the same release?"
            )
        lengths = {key: len(images) for key, images in by_run.items()}
    else:
        n_sessions, long = SESSIONS[subject]
        lengths = {(s, r): N_PER_RUN for s in range(1, n_sessions + 1) for r in range(1, 10 + (s in long))}
    if sum(lengths.values()) != len(order):
        raise ValueError(
            f"{archives.path(name)} has {len(order):,} trials, but {subject} has "
            f"{SESSIONS[subject][0]} sessions of {sum(lengths.values()):,} trials. Is the list of another "
            "release?"
        )
    keys = np.repeat(list(lengths), list(lengths.values()), axis=0)
    return order, keys[:, 0], keys[:, 1]


def _read_list(archives, name):
    """Return the images of a list, one per line, without the mark of repeats."""
    lines = archives.open(name).read().decode().splitlines()
    return [line.strip().removeprefix("rep_") for line in lines if line.strip()]


def _presentation_lists(archives, subject):
    """Return the images of each run by (session, run), as far as the lists of the runs are there."""
    pattern, found = re.compile(rf"{subject}_sess(\d+)_run(\d+)\.txt"), {}
    for name in archives.names("Stimuli_Presentation_Lists"):
        if match := pattern.fullmatch(name):
            found[int(match[1]), int(match[2])] = _read_list(archives, name)
    return dict(sorted(found.items()))


def _read_repeated(archives, shown, ids):
    """Return the ids of the repeated images: as listed, or by counting."""
    name = "repeated_stimuli_113_list.txt"
    if archives.path(name) is None:
        counts = np.max(
            [np.bincount([ids[n] for n in o], minlength=len(ids)) for o, _, _ in shown.values()], 0
        )
        return np.flatnonzero(counts > 1)
    repeated = set(_read_list(archives, name))
    unknown = sorted(repeated - ids.keys())
    # A subject with fewer sessions has not seen all of them.
    if unknown and shown.keys() != {"CSI4"}:
        raise ValueError(f"{archives.path(name)} has {unknown[0]}, which no subject's list of trials has.")
    return np.array(sorted(ids[image] for image in repeated & ids.keys()))


def _recording(archives, subject, order, sessions, runs, ids):
    """Return the trials of a subject, all regions side by side."""
    parts = {
        h + region: _read_betas(archives, subject, h, region) for h in ("LH", "RH") for region in REGIONS
    }
    for name, part in parts.items():
        if len(part) != len(order):
            raise ValueError(
                f"{archives.path(BETAS.format(subject, '', name))} has {len(part):,} rows, but the list of "
                f"trials of {subject} has {len(order):,}. Rows can't be told from each other: get both from "
                "one release."
            )
    owner = np.repeat(np.arange(len(parts)), [part.shape[1] for part in parts.values()])
    betas = np.concatenate(list(parts.values()), axis=1)
    image_ids = np.array([ids[name] for name in order])
    regions = {
        "bold5000": {name: owner == k for k, name in enumerate(parts)},
        "streams": {
            stream: np.isin(owner, [k for k, name in enumerate(parts) if STREAMS[name[2:]] == stream])
            for stream in ("early", "ventral")
        },
        "floc-places": {
            place: np.isin(owner, [k for k, name in enumerate(parts) if name[2:] == place])
            for place in PLACES
        },
        "nsdgeneral": {"nsdgeneral": np.ones(len(owner), bool)},
    }
    scaled = nsd.zscore(betas, sessions, np.ones(len(betas), bool))
    ncsnr = nsd.estimate_ncsnr(scaled, image_ids) if len(set(order)) < len(order) else None
    return nsd.Recording(image_ids, betas, sessions, runs, regions, ncsnr)


def _read_betas(archives, subject, hemisphere, region):
    """Return the responses of a region, float32 (n_trials, n_voxels)."""
    name = BETAS.format(subject, hemisphere, region)
    file = archives.open(name)
    path = archives.path(name)
    with reading(path):
        values = np.load(file, allow_pickle=False)
    if values.ndim != 2 or values.dtype.kind != "f":
        raise ValueError(f"{path} holds {values.dtype} {values.shape}, expected floats (n_trials, n_voxels).")
    if not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(values))[0]
        raise ValueError(
            f"{path} holds NaN or infinity in {np.count_nonzero(~np.isfinite(values)):,} places, first in "
            f"row {row + 1}, column {column + 1}. The published arrays have none: download them again."
        )
    return values.astype(np.float32)
