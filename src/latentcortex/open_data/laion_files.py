"""LAION-fMRI's files: names, addresses, terms, and what to download."""

import html
import re
import tempfile
from pathlib import Path
from urllib.parse import quote

from latentcortex.open_data.subjects import checked_subjects
from latentcortex.store import transfer
from latentcortex.store.downloads import Source
from latentcortex.store.remote_bytes import TransferError
from latentcortex.store.transfer import Remote

TERMS = """  - LAION-fMRI's responses, regions, ceilings, captions and embeddings are in the public domain
    (CC0).
  - Its images are not: they need its own agreement, may not be passed on and may not be used commercially.
    This downloads no images.
  - Work with it cites the data set as laion-fmri.hebartlab.com says.
  These are our words. The terms themselves are on laion-fmri.hebartlab.com."""
REFUSED = (
    "LAION-fMRI's server refuses sessions 31 to 34, which are held back, and the images, which need its "
    "agreement."
)
SERVER = "https://laion-fmri.s3.us-west-2.amazonaws.com"
PACKAGE = "https://raw.githubusercontent.com/ViCCo-Group/LAION-fMRI/main/laion_fmri"
SUBJECTS = (1, 3, 5, 6, 7)
N_SESSIONS = 30
FOLDER = "derivatives/glmsingle-tedana/sub-{0:02d}"
_SESSION = FOLDER + "/ses-{1:02d}/func/sub-{0:02d}_ses-{1:02d}_task-images_"
BETAS = _SESSION + "space-T1w_stat-effect_desc-SingletrialBetas_statmap.nii.gz"
TRIALS = _SESSION + "desc-SingletrialBetas_trials.tsv"
CEILING = FOLDER + "/sub-{0:02d}_task-images_space-T1w_desc-Noiseceiling{1}rep_statmap.nii.gz"
METADATA = "stimuli/task-images_metadata.csv"
CAPTIONS = "stimuli/task-images_desc-captions.csv"
# OpenCLIP's ViT-H/14, DINOv2's ViT-L/14, PE Core's L/14 and SigLIP2's SO400M: one vector for each image.
MODELS = ("CLIP", "DINOv2", "PEcore", "SigLIP2")
EMBEDDINGS = "stimuli/task-images_desc-{}_embeddings.h5"
IMAGES = "stimuli/task-images_stimuli.h5"
SPLITS = "splits/data/{}/{}.json"
SPLIT_NAMES = ("tau", "ood", *(f"{kind}_{k}" for kind in ("random", "cluster_k5") for k in range(5)))
_MASK = re.compile(r".*_space-T1w_res-1pt8_label-[^_]+_mask\.nii\.gz")


def download_source(subjects=None, sessions=None, **options):
    """Return all that `import_laion_fmri` reads, as a `downloads.Source`: `files`, and the masks of regions.

    The names of masks are asked of the server.

    Parameters
    ----------
    subjects, sessions
        As for `files`.
    **options
        See `transfer.fetch`.

    Raises
    ------
    ValueError
        There is no such subject or session.
    TransferError
        The server does not list the masks.
    """
    remotes = files(subjects, sessions)
    return Source("LAION-fMRI", TERMS, [*remotes, *listed_regions(subjects, **options)], REFUSED)


def files(subjects=None, sessions=None):
    """Return the files to download whose names are known: everything but the masks of regions.

    These are responses, noise ceilings, captions, CLIP embeddings, metadata, and the authors' splits, which
    lie in their package on GitHub. Names are those of that package; the sizes of sessions are second hand.

    Parameters
    ----------
    subjects : sequence of int, optional
        Of 1, 3, 5, 6, 7; by default all.
    sessions : int, optional
        The first so many; by default 30. Later ones are held back.

    Returns
    -------
    list of Remote
    """
    n_sessions = N_SESSIONS if sessions is None else sessions
    if not 1 <= n_sessions <= N_SESSIONS:
        raise ValueError(f"Expected 1 to {N_SESSIONS} sessions, got {sessions}.")
    numbers = checked_subjects("LAION-fMRI", SUBJECTS, subjects)
    found = [_remote(METADATA), _remote(CAPTIONS), _remote(EMBEDDINGS.format("CLIP"), about=52_000_000)]
    ceiling = "is made of all sessions; without it nsd.estimate_ncsnr estimates noise ceilings"
    for subject in numbers:
        found.append(_remote(CEILING.format(subject, 12), optional=ceiling))
        for session in range(1, n_sessions + 1):
            found.append(_remote(TRIALS.format(subject, session)))
            found.append(_remote(BETAS.format(subject, session), about=1_175_000_000))
    split = "is in the authors' package on GitHub; without it nsd.splits makes splits of its own"
    pools = ("shared", *(f"sub-{subject:02d}" for subject in numbers))
    paths = [SPLITS.format(pool, name) for pool in pools for name in SPLIT_NAMES]
    return found + [_remote(path, PACKAGE, about=300_000, optional=split) for path in paths]


def _remote(path, server=None, **more):
    return Remote(f"{server or SERVER}/{path}", path, **more)


def listed_regions(subjects=None, **options):
    """Return the masks of regions of some subjects, as the server lists them now.

    Parameters
    ----------
    subjects : sequence of int, optional
        By default all.
    **options
        See `transfer.fetch`.

    Returns
    -------
    list of Remote

    Raises
    ------
    TransferError
        The server gives no listing, or the listing has no masks in the volume of the betas.
    """
    found = []
    for subject in checked_subjects("LAION-fMRI", SUBJECTS, subjects):
        of_subject, address = [], listing_address(subject)
        while address:  # a listing has at most 1,000 entries, and a token to go on with
            text = _listing(address, options)
            of_subject += regions_listed(text)
            token = re.search("<NextContinuationToken>([^<]+)<", text)
            address = token and listing_address(subject, html.unescape(token[1]))
        if not of_subject:
            raise TransferError(
                f"{listing_address(subject)} lists no mask of a region of sub-{subject:02d} with "
                "space-T1w_res-1pt8 in its name. Have the authors renamed them? See laion-fmri.hebartlab.com."
            )
        found += of_subject
    return found


def _listing(address, options):
    """Return a listing of the server as text."""
    with tempfile.TemporaryDirectory() as folder:
        listing = Remote(address, "listing.xml")
        (outcome,) = transfer.fetch([listing], folder, **options | {"quiet": True})
        text = "" if outcome.state == "failed" else Path(folder, listing.path).read_text("utf-8", "replace")
    if "<ListBucketResult" not in text:
        what = outcome.text or f"{address} is no listing: it begins with {text[:60]!r}."
        raise TransferError(
            f"{what} The names of LAION-fMRI's masks of regions are known from this listing alone, so "
            "nothing can be planned without it. Try again later, on another network, or with the authors' "
            "own program (laion-fmri.hebartlab.com)."
        )
    return text


def listing_address(subject, token=""):
    """Return the address at which the server lists the regions of a subject, as XML.

    Parameters
    ----------
    subject : int
    token : str
        Where to go on, from the listing before.
    """
    on = f"&continuation-token={quote(token, safe='')}" if token else ""
    return f"{SERVER}/?list-type=2&prefix=derivatives/rois/sub-{subject:02d}/{on}"


def regions_listed(text):
    """Return the masks of regions in the volume of the betas, from the server's listing of a subject.

    Parameters
    ----------
    text : str
        XML from `listing_address`.

    Returns
    -------
    list of Remote
    """
    entries = re.findall(r"<Key>([^<]+)</Key>.*?<Size>(\d+)</Size>", text, re.DOTALL)
    keys = [(html.unescape(key), int(size)) for key, size in entries]
    return [Remote(f"{SERVER}/{key}", key, n_bytes=size) for key, size in keys if _MASK.fullmatch(key)]


def existing(source, relative):
    """Return the path of a file of the source; raise FileNotFoundError if it is not there."""
    path = Path(source, relative)
    if not path.is_file():
        raise FileNotFoundError(
            f"No {relative} in {source}: download it, or leave its subject or session out."
        )
    return path
