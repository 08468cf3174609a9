"""Where things lie in an NSD tree.

`root` is the folder that holds ``nsddata``, ``nsddata_betas``, ``nsddata_stimuli`` and
``annotations`` (COCO's captions, which are no part of NSD).
"""

from pathlib import Path


def existing_path(root, relative):
    """Return the path of a file or folder inside an NSD tree.

    Parameters
    ----------
    root : path
    relative : str
        As in the NSD data manual, such as ``"nsddata/experiments/nsd/nsd_expdesign.mat"``.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    FileNotFoundError
        `root` is no NSD tree, or lacks this path.
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


def subjects(root):
    """List the subjects that have betas.

    Returns
    -------
    list of str
        Such as ``["subj01", "subj02"]``, sorted.

    Raises
    ------
    FileNotFoundError
        `root` is no folder with an NSD tree.
    """
    folder = existing_path(root, "nsddata_betas/ppdata")
    return sorted(path.name for path in folder.glob("subj*") if path.is_dir())


def check_subject(root, subject):
    """Raise ValueError, naming the subjects that exist, if this one does not."""
    known = subjects(root)
    if subject not in known:
        raise ValueError(f"No subject {subject!r} in {root}. There are: {', '.join(known)}.")


def session_name(session):
    """Name a session as NSD's files do: ``"session01"``, or ``"nsdsynthetic"`` as it is."""
    return session if isinstance(session, str) else f"session{session:02d}"
