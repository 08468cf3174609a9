"""Read NSD's surface files: one for each hemisphere, floats, the left one's vertices first."""

import nibabel
import numpy as np

from latentcortex.nsd.tree import session_name

_HEMISPHERES = ("lh", "rh")


class Surface:
    """Reads both hemispheres' files.

    Parameters
    ----------
    n_first : int, optional
        Keep of each hemisphere the first so many vertices; by default all.
    """

    def __init__(self, n_first=None):
        self.n_first = n_first

    def find_session(self, folder, session):
        """Return the two files of a session."""
        return [folder / f"{h}.betas_{session_name(session)}.mgh" for h in _HEMISPHERES]

    def sessions(self, folder):
        """List the sessions that are on disk for both hemispheres, 1-based and sorted."""
        found = [
            {int(path.stem.removeprefix(start)) for path in folder.glob(f"{start}*.mgh")}
            for start in (f"{hemisphere}.betas_session" for hemisphere in _HEMISPHERES)
        ]
        return sorted(set.intersection(*found))

    def shape_of_session(self, paths):
        """Read a session's number of vertices, as (n_vertices,), from its headers."""
        return (sum(self.n_first or int(_describe(path)[0][0]) for path in paths),)

    def read_session(self, paths, n_trials, mask, out):
        """Read the vertices in `mask` (n_vertices,) of one session into `out` (n_trials, n_chosen).

        Raises
        ------
        ValueError
            A file is truncated, holds integers, or has other trials.
        """
        # The files are mapped, not read: only the vertices asked for are copied.
        halves = [_open(path, n_trials) for path in paths]
        left_right = np.split(mask, [self.n_first or halves[0].shape[1]])
        pairs = zip(halves, left_right, strict=True)
        np.concatenate([half[:, np.flatnonzero(m)] for half, m in pairs], axis=1, out=out)

    def read_ncsnr(self, folder):
        """Read float32 (n_vertices,)."""
        halves = [_open(folder / f"{hemisphere}.ncsnr.mgh", 1)[0] for hemisphere in _HEMISPHERES]
        return self._join(halves).astype(np.float32)

    def read_labels(self, paths):
        """Read the codes of an atlas from its two files, int (n_vertices,)."""
        halves = [np.asarray(nibabel.load(path).dataobj).ravel() for path in paths]
        return self._join(halves).astype(int)

    def _join(self, halves):
        return np.concatenate([half[: self.n_first] for half in halves])


# The first 10,242 vertices of a hemisphere of fsaverage are those of fsaverage5.
SPACES = {"fsaverage": Surface(), "fsaverage5": Surface(10_242)}


def _describe(path):
    """Shape and type of the numbers of a file that is whole."""
    if not path.is_file():
        raise FileNotFoundError(
            f"No {path.name} in {path.parent}. Download that part of NSD too; nsd.sessions lists "
            "the sessions on disk."
        )
    size = path.stat().st_size
    # 284 bytes of header come first (FreeSurfer's MGH format), then the numbers, vertex fastest.
    header = nibabel.load(path).header if size >= 284 else None
    shape = (*header.get_data_shape(), 1)[:4] if header else ()
    dtype = header.get_data_dtype() if header else np.dtype(float)
    expected = 284 + int(np.prod(shape)) * dtype.itemsize
    if size < expected:
        raise ValueError(
            f"{path} is truncated: expected at least {expected:,} bytes, got {size:,}. "
            "Delete it and download it again."
        )
    return shape, dtype


def _open(path, n_trials):
    """Map a file into memory, shape (n_trials, n_vertices), after checking it."""
    shape, dtype = _describe(path)
    if dtype.kind != "f":
        raise ValueError(
            f"{path} holds {dtype.name}, but surface betas are floats in percent signal change. "
            "Integers are the volumes' format, 300 times as large: divide by 300, save as float32."
        )
    if shape[1:] != (1, 1, n_trials):
        raise ValueError(
            f"{path} has shape {shape}, expected (n_vertices, 1, 1, {n_trials}) by the log of "
            "responses. Is it of another subject, session or kind?"
        )
    return np.asanyarray(nibabel.load(path).dataobj).reshape(shape[0], n_trials, order="F").T
