"""Find files and folders in an NSD tree.

`root` is the folder that holds ``nsddata``, ``nsddata_betas``, ``nsddata_stimuli`` and
``annotations`` (COCO's captions, which are not part of NSD).
"""

import re
from pathlib import Path

# Written by `write_tree`: the data set's name, its source and licence, and what was changed.
PROVENANCE = "provenance.json"


def existing_path(root, relative):
    """Return the path of a file or folder inside an NSD tree.

    Parameters
    ----------
    root : path
    relative : str
        The path as in the NSD data manual, such as ``"nsddata/experiments/nsd/nsd_expdesign.mat"``.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    FileNotFoundError
        If `root` is not an NSD tree, or lacks this path.
    """
    if not Path(root, "nsddata").is_dir():
        raise FileNotFoundError(
            f"No NSD tree at {root}: expected a folder with 'nsddata' in it. "
            "Pass the folder the dataset was downloaded to, or use the preset 'mini'."
        )
    path = Path(root, relative)
    if not path.exists():
        raise FileNotFoundError(f"{root} has no {relative}. Download that part of NSD too.")
    return path


def new_path(root, relative):
    """Return the path of a file to be written inside a tree; its folder is made."""
    path = Path(root, relative)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def subjects(root):
    """Return the names of the subjects that have betas.

    Returns
    -------
    list of str
        Such as ``["subj01", "subj02"]``, sorted.

    Raises
    ------
    FileNotFoundError
        If `root` is not a folder with an NSD tree.
    """
    folder = existing_path(root, "nsddata_betas/ppdata")
    return sorted(p.name for p in folder.iterdir() if re.fullmatch(r"subj\d+", p.name) and p.is_dir())


def check_subject(root, subject):
    """Raise ValueError if a subject does not exist; the message names the subjects that do."""
    known = subjects(root)
    if subject not in known:
        raise ValueError(f"No subject {subject!r} in {root}. There are: {', '.join(known)}.")


def session_name(session):
    """Return the name of a session in NSD's files, such as ``"session01"`` or ``"nsdsynthetic"``."""
    return session if isinstance(session, str) else f"session{session:02d}"


def session_numbers(folder, start, endings):
    """Return the set of 1-based numbers of the sessions that have a file in a folder.

    Parameters
    ----------
    folder : pathlib.Path
    start : str
        What the names begin with, such as ``"betas_"``.
    endings : sequence of str
        What they may end with, such as ``(".hdf5", ".nii.gz")``.

    Raises
    ------
    ValueError
        If a file has almost the name of a session and no other file has the exact name. For example, a
        browser names a second download ``betas_session01 (1).hdf5``.
    """
    found, odd = set(), {}
    for path in sorted(folder.glob(f"{start}session*")):
        ending = next((ending for ending in endings if path.name.endswith(ending)), None)
        match = re.match(r"session *(\d+)", path.name.removeprefix(start))
        if ending is None or match is None:
            continue
        session = int(match[1])
        if path.name == f"{start}{session_name(session)}{ending}":
            found.add(session)
        else:
            odd[session] = path, f"{start}{session_name(session)}{ending}"
    for session in odd.keys() - found:
        path, name = odd[session]
        raise ValueError(
            f"{path} is not a name that NSD has. If it is the whole file of session {session}, rename it to "
            f"{name}; otherwise delete it."
        )
    return found
