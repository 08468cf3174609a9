"""Read NSD's surface files, one per hemisphere; the left hemisphere's vertices come first."""

import nibabel
import numpy as np

from latentcortex.nsd.reading import existing_form, read_labels, reading
from latentcortex.nsd.tree import session_name, session_numbers

_HEMISPHERES = ("lh", "rh")


class Surface:
    """Read the files of both hemispheres.

    Parameters
    ----------
    n_first : int, optional
        Number of vertices to keep of each hemisphere, from the first on; by default all.
    """

    def __init__(self, n_first=None):
        self.n_first = n_first

    def find_session(self, folder, session):
        """Return the two files of a session; raise ValueError if a file has almost the right name."""
        paths = [folder / f"{h}.betas_{session_name(session)}.mgh" for h in _HEMISPHERES]
        if not all(path.is_file() for path in paths):
            self.sessions(folder)
        return paths

    def sessions(self, folder):
        """Return the 1-based numbers of the sessions that are on disk for both hemispheres, sorted."""
        found = [session_numbers(folder, f"{h}.betas_", (".mgh",)) for h in _HEMISPHERES]
        return sorted(set.intersection(*found))

    def shape_of_session(self, paths):
        """Return a session's number of vertices, as (n_vertices,), read from its headers."""
        return (sum(self.n_first or n for n in _numbers_of_vertices(paths)),)

    def read_session(self, paths, n_trials, mask, out):
        """Read the vertices in `mask` (n_vertices,) of one session into `out` (n_trials, n_chosen).

        Returns
        -------
        list of (pathlib.Path, slice)
            The file of each hemisphere, and the columns of `out` that it filled.

        Raises
        ------
        ValueError
            If a file is truncated, holds integers, or has another number of trials.
        """
        # The files are mapped, not read: only the vertices asked for are copied.
        halves = [_open(path, n_trials) for path in paths]
        left_right = np.split(mask, [self.n_first or halves[0].shape[1]])
        pairs = zip(halves, left_right, strict=True)
        np.concatenate([half[:, np.flatnonzero(m)] for half, m in pairs], axis=1, out=out)
        n_left = np.count_nonzero(left_right[0])
        return list(zip(paths, (slice(0, n_left), slice(n_left, out.shape[1])), strict=True))

    def finite(self, paths, n_trials):
        """Return a mask of the vertices that hold numbers in all trials of a session, bool (n_vertices,)."""
        return self._join([np.isfinite(_open(path, n_trials)).all(axis=0) for path in paths])

    def read_ncsnr(self, folder):
        """Return the noise-ceiling ratios, float32 (n_vertices,), NaN where the file has NaN."""
        paths = [folder / f"{hemisphere}.ncsnr.mgh" for hemisphere in _HEMISPHERES]
        _numbers_of_vertices(paths)
        halves = [check_ncsnr(_open(path, 1)[0], path) for path in paths]
        return self._join(halves).astype(np.float32)

    def find_regions(self, folder, atlas):
        """Return the two files of an atlas."""
        return [existing_form(folder / f"{h}.{atlas}.mgz", (".mgz", ".mgh")) for h in _HEMISPHERES]

    def read_regions(self, paths):
        """Return the codes of an atlas from its two files, int (n_vertices,)."""
        return self._join([read_labels(path).ravel() for path in paths])

    def _join(self, halves):
        return np.concatenate([half[: self.n_first] for half in halves])


# The first 10,242 vertices of a hemisphere of fsaverage are those of fsaverage5.
SPACES = {"fsaverage": Surface(), "fsaverage5": Surface(10_242)}


def check_ncsnr(values, path):
    """Return noise-ceiling ratios; raise ValueError if one is negative or infinite."""
    wrong = ~(np.isnan(values) | ((values >= 0) & (values < np.inf)))
    if wrong.any():
        raise ValueError(
            f"{path} holds {np.count_nonzero(wrong):,} ratios below 0 or infinite, the first being "
            f"{values[wrong][0]:.3g}. The file is damaged or not an ncsnr: download it again."
        )
    return values


def _numbers_of_vertices(paths):
    """Read the numbers of vertices of both hemispheres, which are equal on fsaverage."""
    left, right = (int(_describe(path)[0][0]) for path in paths)
    if left != right:
        raise ValueError(
            f"{paths[0]} has {left:,} vertices and {paths[1]} has {right:,}, but on fsaverage both "
            "hemispheres have as many. Is one of the files damaged or of another space? Download both again."
        )
    return left, right


def _describe(path):
    """Shape and type of the numbers of a file that is whole."""
    if not path.is_file():
        raise FileNotFoundError(
            f"No {path.name} in {path.parent}. Download that part of NSD too; nsd.sessions lists "
            "the sessions on disk."
        )
    size = path.stat().st_size
    # 284 bytes of header come first (FreeSurfer's MGH format), then the numbers, vertex fastest.
    shape, dtype = (), np.dtype(float)
    if size >= 284:
        with reading(path):
            header = nibabel.load(path).header
            shape, dtype = (*header.get_data_shape(), 1)[:4], header.get_data_dtype()
            if min(shape) < 1:
                raise ValueError(f"its header has the shape {shape}")
    expected = 284 + int(np.prod(shape, dtype=object)) * dtype.itemsize
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
    with reading(path):
        return np.asanyarray(nibabel.load(path).dataobj).reshape(shape[0], n_trials, order="F").T
