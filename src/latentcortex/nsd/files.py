"""Which files of the Natural Scenes Dataset an analysis needs: names, places and sizes, as data.

Nothing is read here and nothing is fetched. Names and sizes come from the NSD data manual and from public
code that reads the files. They were not compared with the bucket: what is only strongly indicated is optional
in the list, and sizes are expectations.
"""

from dataclasses import replace

from latentcortex.store.transfer import Remote

BUCKET = "https://natural-scenes-dataset.s3.amazonaws.com"
SESSIONS = {1: 40, 2: 40, 3: 32, 4: 30, 5: 40, 6: 32, 7: 40, 8: 30}
# Voxels of each subject in func1pt8mm.
SHAPES = {
    1: (81, 104, 83),
    2: (82, 106, 84),
    3: (81, 106, 82),
    4: (85, 99, 80),
    5: (79, 97, 78),
    6: (85, 113, 83),
    7: (78, 95, 81),
    8: (80, 103, 78),
}
SPACES = ("fsaverage", "fsaverage5", "func1pt8mm")
BETAS = "betas_fithrf_GLMdenoise_RR"
N_TRIALS, N_VERTICES, N_FIRST = 750, 163_842, 10_242  # of a session, of a hemisphere, of them in fsaverage5
MGH_HEADER = 284  # bytes
N_IMAGES, IMAGE_SHAPE = 73_000, (425, 425, 3)
IMAGE_BYTES = 425 * 425 * 3
STIMULI = "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"
COCO = Remote(
    url="http://images.cocodataset.org/annotations/annotations_trainval2017.zip",
    path="annotations/annotations_trainval2017.zip",
    n_bytes=252_907_541,
    md5="f4bbac642086de4f52a3fdda2de5fa2c",
)
COCO_CAPTIONS = ("annotations/captions_train2017.json", "annotations/captions_val2017.json")

_HEMISPHERES = ("lh", "rh")
_COMMON_ATLASES = ("streams", "nsdgeneral", "HCP_MMP1", "Kastner2015", "corticalsulc")
_DRAWN_ATLASES = ("prf-visualrois", "floc-faces", "floc-words", "floc-places", "floc-bodies")
_UNSURE = "it is not known for sure that NSD has it under this name"


def chosen_sessions(subjects, sessions=None):
    """Return the sessions to fetch, as a dict of list of int by subject.

    Parameters
    ----------
    subjects : sequence of int
        1 to 8.
    sessions : int, optional
        The first so many of each subject, or all that there are if fewer; by default all.

    Raises
    ------
    ValueError
        No such subject; fewer sessions than one.
    """
    unknown = [subject for subject in subjects if subject not in SESSIONS]
    if unknown or not subjects or len(set(subjects)) < len(subjects):
        raise ValueError(f"Expected different subjects from 1 to 8, got {', '.join(map(str, subjects))}.")
    if sessions is not None and not sessions >= 1:
        raise ValueError(f"Expected a number of sessions of at least 1, got {sessions}.")
    return {s: list(range(1, min(sessions or SESSIONS[s], SESSIONS[s]) + 1)) for s in subjects}


def files(subjects, sessions=None, space="fsaverage5"):
    """Return the files of some subjects, without images and captions, small files first.

    Parameters
    ----------
    subjects, sessions
        See `chosen_sessions`.
    space : {"fsaverage5", "fsaverage", "func1pt8mm"}
        Of fsaverage5, the list has the ranges of each surface file that hold its header and the first 10,242
        vertices. The header is still that of the whole file.

    Returns
    -------
    list of store.transfer.Remote
        Paths are NSD's own, which `latentcortex.nsd` reads.
    """
    if space not in SPACES:
        raise ValueError(f"Can't fetch betas in space {space!r}. There are: {', '.join(SPACES)}.")
    chosen = chosen_sessions(subjects, sessions)
    found = [
        _remote("nsddata/experiments/nsd/nsd_expdesign.mat", 1_300_000),
        _remote("nsddata/experiments/nsd/nsd_stim_info_merged.csv", 10_800_000),
    ]
    for subject in subjects:
        found.append(_remote(f"nsddata/ppdata/subj{subject:02d}/behav/responses.tsv", 2_800_000))
    found += _names_of_regions(subjects[0])
    on_surface = space != "func1pt8mm"
    if on_surface:
        found += _surface_regions(subjects)
    for subject in subjects:
        found += [] if on_surface else _volume_regions(subject)
        found += _ncsnr(subject, on_surface)
    for subject, numbers in chosen.items():
        for number in numbers:
            found += _session(subject, number, space)
    return found


def cut_ranges():
    """Return the ranges of a surface file that hold its header and its first vertices in each trial.

    Values are float32 behind 284 bytes: all vertices of the first trial, then of the second.

    Returns
    -------
    tuple of (int, int)
        Offset and length in bytes.
    """
    starts = (MGH_HEADER + 4 * N_VERTICES * trial for trial in range(N_TRIALS))
    return ((0, MGH_HEADER), *((start, 4 * N_FIRST) for start in starts))


def stimuli():
    """Return the file of all images, as a `Remote`."""
    return _remote(STIMULI, N_IMAGES * IMAGE_BYTES)


def most_images(subjects, sessions=None):
    """Return how many different images the subjects saw in these sessions at most.

    A subject saw at most 10,000, and no more than there were trials.
    """
    return sum(min(10_000, N_TRIALS * len(s)) for s in chosen_sessions(subjects, sessions).values())


def _remote(path, about, url_path=None, optional=""):
    return Remote(f"{BUCKET}/{url_path or path}", path, about=about, optional=optional)


def _names_of_regions(subject):
    """Names of regions; those of atlases drawn per subject are put where all names are looked for."""
    folder = "nsddata/freesurfer/fsaverage/label"
    own = f"nsddata/freesurfer/subj{subject:02d}/label"
    common = [
        _remote(f"{folder}/{name}.mgz.ctab", 500, optional="" if name == "streams" else _UNSURE)
        for name in _COMMON_ATLASES
    ]
    return common + [
        _remote(f"{folder}/{name}.mgz.ctab", 100, f"{own}/{name}.mgz.ctab", _UNSURE)
        for name in _DRAWN_ATLASES
    ]


def _surface_regions(subjects):
    """Regions of fsaverage, and those that were drawn on each subject's own surface."""
    found = []
    for hemisphere in _HEMISPHERES:
        for name in _COMMON_ATLASES:
            path = f"nsddata/freesurfer/fsaverage/label/{hemisphere}.{name}.mgz"
            found.append(_remote(path, 20_000, optional="" if name == "streams" else _UNSURE))
        for subject in subjects:
            folder = f"nsddata/freesurfer/subj{subject:02d}"
            for name in _DRAWN_ATLASES:
                found.append(_remote(f"{folder}/label/{hemisphere}.{name}.mgz", 20_000, optional=_UNSURE))
            # Brings such regions to the common surface.
            found.append(_remote(f"{folder}/surf/{hemisphere}.sphere.reg", 8_200_000, optional=_UNSURE))
        path = f"nsddata/freesurfer/fsaverage/surf/{hemisphere}.sphere.reg"
        found.append(_remote(path, 5_900_000, optional=_UNSURE))
    return found


def _volume_regions(subject):
    folder = f"nsddata/ppdata/subj{subject:02d}/func1pt8mm/roi"
    sure = ("streams", "nsdgeneral", "prf-visualrois")
    return [
        _remote(f"{folder}/{name}.nii.gz", 30_000, optional="" if name in sure else _UNSURE)
        for name in (*_COMMON_ATLASES, *_DRAWN_ATLASES)
    ]


def _ncsnr(subject, on_surface):
    folder = f"nsddata_betas/ppdata/subj{subject:02d}"
    if not on_surface:
        return [_remote(f"{folder}/func1pt8mm/{BETAS}/ncsnr.nii.gz", 2_000_000)]
    names = [f"{folder}/fsaverage/{BETAS}/{h}.ncsnr.mgh" for h in _HEMISPHERES]
    return [_remote(name, MGH_HEADER + 4 * N_VERTICES) for name in names]


def _session(subject, number, space):
    folder = f"nsddata_betas/ppdata/subj{subject:02d}"
    if space == "func1pt8mm":
        nx, ny, nz = SHAPES[subject]
        path = f"{folder}/{space}/{BETAS}/betas_session{number:02d}.hdf5"
        return [_remote(path, 2 * N_TRIALS * nx * ny * nz)]
    names = [f"{folder}/fsaverage/{BETAS}/{h}.betas_session{number:02d}.mgh" for h in _HEMISPHERES]
    whole = [_remote(name, MGH_HEADER + 4 * N_VERTICES * N_TRIALS) for name in names]
    if space == "fsaverage":
        return whole
    return [replace(remote, ranges=cut_ranges()) for remote in whole]
