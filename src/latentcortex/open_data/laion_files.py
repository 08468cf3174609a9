"""LAION-fMRI's files: names, addresses, terms, and what to download."""

import html
import re
from pathlib import Path

from latentcortex.open_data.subjects import checked_subjects
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
SUBJECTS = (1, 3, 5, 6, 7)
N_SESSIONS = 30
FOLDER = "derivatives/glmsingle-tedana/sub-{0:02d}"
_SESSION = FOLDER + "/ses-{1:02d}/func/sub-{0:02d}_ses-{1:02d}_task-images_"
BETAS = _SESSION + "space-T1w_stat-effect_desc-SingletrialBetas_statmap.nii.gz"
TRIALS = _SESSION + "desc-SingletrialBetas_trials.tsv"
CEILING = FOLDER + "/sub-{0:02d}_task-images_space-T1w_desc-Noiseceiling{1}rep_statmap.nii.gz"
METADATA = "stimuli/task-images_metadata.csv"
CAPTIONS = "stimuli/task-images_desc-captions.csv"
EMBEDDINGS = "stimuli/task-images_desc-{}_embeddings.h5"
IMAGES = "stimuli/task-images_stimuli.h5"


def files(subjects=None, sessions=None):
    """Return what to download: responses, noise ceilings, captions, CLIP embeddings and metadata.

    Names are those of the authors' package; the sizes of sessions are second hand. Masks of regions are not
    among them, because their names are known from the server's listing only: see `regions_listed`.

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
    wanted = {METADATA: None, CAPTIONS: None, EMBEDDINGS.format("CLIP"): 52_000_000}
    for subject in checked_subjects("LAION-fMRI", SUBJECTS, subjects):
        ceiling = "is made of all sessions; without it nsd.estimate_ncsnr estimates noise ceilings"
        wanted[CEILING.format(subject, 12)] = ceiling
        for session in range(1, n_sessions + 1):
            wanted[TRIALS.format(subject, session)] = None
            wanted[BETAS.format(subject, session)] = 1_175_000_000
    return [
        Remote(
            f"{SERVER}/{path}",
            path,
            about=told if isinstance(told, int) else None,
            optional=told if isinstance(told, str) else "",
        )
        for path, told in wanted.items()
    ]


def listing_address(subject):
    """Return the address at which the server lists the regions of a subject, as XML."""
    return f"{SERVER}/?list-type=2&prefix=derivatives/rois/sub-{subject:02d}/"


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
    return [
        Remote(f"{SERVER}/{key}", key, n_bytes=size)
        for key, size in keys
        if re.fullmatch(r".*_space-T1w_res-1pt8_label-[^_]+_mask\.nii\.gz", key)
    ]


def existing(source, relative):
    """Return the path of a file of the source; raise FileNotFoundError if it is not there."""
    path = Path(source, relative)
    if not path.is_file():
        raise FileNotFoundError(
            f"No {relative} in {source}: download it, or leave its subject or session out."
        )
    return path
