"""Name the data of a tree by their contents, not by their folder."""

import functools
import hashlib
import json
from pathlib import Path

from latentcortex.nsd.responses import open_space, sessions
from latentcortex.nsd.stimuli import NO_IMAGES
from latentcortex.nsd.tree import PROVENANCE, existing_path, session_name

_SAMPLE = 2**16  # bytes at the start and at the end of each file


@functools.cache
def identity(root, subjects, space="fsaverage"):
    """Return a name for the data of some subjects.

    A simulated tree carries its name, which is the same on every machine: world, seed and a hash of the code
    that made it. A measured tree is named by a hash of its files. These are the design, stimuli, captions,
    log, regions and all sessions on disk. Of each file the hash covers the size and the first and last 64
    KiB. So the name changes when a session is added or another release replaces it. It stays the same when
    the folder moves or another subject is downloaded.

    Parameters
    ----------
    root : path
    subjects : tuple of str
        Such as ``("subj01", "subj02")``.
    space : {"fsaverage", "fsaverage5", "func1pt8mm", "func1mm"}

    Returns
    -------
    str
        Such as ``"mini-standard-seed0-0123456789ab"`` or ``"nsd-0123456789ab"``. The name of a tree that
        `write_tree` wrote begins with that of its data set, such as ``"bold5000-0123456789ab"``.
    """
    root = Path(root)
    simulated = root / "simulation" / "provenance.json"
    if simulated.is_file():
        return json.loads(simulated.read_text())["name"]
    digest = hashlib.sha256(space.encode())
    for path in sorted(_files(root, subjects, space)):
        size = path.stat().st_size
        with path.open("rb") as file:
            content = file.read(_SAMPLE)
            file.seek(max(0, size - _SAMPLE))
            content += file.read(_SAMPLE)
        digest.update(f"{path.relative_to(root).as_posix()}:{size}:".encode() + content)
    written = root / PROVENANCE
    name = json.loads(written.read_text(encoding="utf-8"))["name"] if written.is_file() else "nsd"
    return f"{name}-{digest.hexdigest()[:12]}"


def _files(root, subjects, space):
    """Yield the files that an analysis of these subjects reads."""
    yield existing_path(root, "nsddata/experiments/nsd/nsd_expdesign.mat")
    if not Path(root, NO_IMAGES).is_file():
        yield existing_path(root, "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5")
    yield from Path(root, "annotations").glob("captions_*.json")
    beside = (
        "nsddata/experiments/nsd/nsd_stim_info_merged.csv",
        "simulation/*",
        "nsddata*/**/nsdsynthetic*/*",
    )
    yield from {path for pattern in beside for path in root.glob(pattern) if path.is_file()}
    yield from existing_path(root, "nsddata/freesurfer/fsaverage/label").glob("*.mg*")
    for subject in subjects:
        yield existing_path(root, f"nsddata/ppdata/{subject}/behav/responses.tsv")
        yield from Path(root, "nsddata/experiments/nsd").glob(f"nsd_expdesign_{subject}.mat")
        yield from Path(root, f"nsddata/ppdata/{subject}").glob("*/roi/*.nii.gz")
        folder = open_space(root, subject, space, "betas_fithrf_GLMdenoise_RR")[1]
        names = {session_name(session) for session in sessions(root, subject, space)} | {"ncsnr"}
        yield from (
            path for path in folder.iterdir() if path.is_file() and any(n in path.name for n in names)
        )
