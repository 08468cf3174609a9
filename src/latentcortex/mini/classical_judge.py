"""A second judge of pictures that holds no network: histograms and ridge regression.

Where two instruments that were built so differently agree about a reconstruction, the finding is
hardly an accident of one of them. Both learned from the same scenes, plain and degraded, some of
them by the miniature world's own VAE. It reads the setting and the time of day well, kinds of
things moderately; see ``model/provenance.json`` for how well.
"""

from pathlib import Path

import numpy as np
from skimage.feature import hog

from latentcortex import store
from latentcortex.mini.scenes import KINDS, SETTINGS, TIMES

N_CELLS, N_LEVELS = 4, 4  # of the colour histograms: cells a side, levels of each colour channel


def histograms(images):
    """Describe pictures by oriented gradients and by colours, cell by cell.

    Parameters
    ----------
    images : array or tensor, (n, 3, h, w)
        Floats in [0, 1]; h and w multiples of 8.

    Returns
    -------
    features : float32 array, (n, n_features)
        Histograms of oriented gradients of the luminance (Dalal and Triggs 2005; 8 orientations,
        cells of 8 x 8 pixels, blocks of 2 x 2 cells), then the square roots of colour histograms.
    """
    rows = []
    for image in np.asarray(images, dtype=np.float32).transpose(0, 2, 3, 1):
        luminance = image @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
        gradients = hog(luminance, orientations=8, pixels_per_cell=(8, 8), cells_per_block=(2, 2))
        levels = (image * N_LEVELS).astype(int).clip(0, N_LEVELS - 1)
        colour = levels @ np.array([N_LEVELS**2, N_LEVELS, 1])
        height, width = colour.shape
        # cells.shape = (N_CELLS * N_CELLS, pixels of a cell)
        cells = colour.reshape(N_CELLS, height // N_CELLS, N_CELLS, width // N_CELLS)
        cells = cells.transpose(0, 2, 1, 3).reshape(N_CELLS**2, -1)
        counts = [np.bincount(cell, minlength=N_LEVELS**3) / cells.shape[1] for cell in cells]
        rows.append(np.concatenate([gradients, np.sqrt(np.ravel(counts))]))
    return np.array(rows, dtype=np.float32)


class ClassicalJudge:
    """Linear answers from `histograms`, in the form of the network judge's.

    Parameters
    ----------
    coef : array, (n_features, 19)
    intercept : array, (19,)
        Columns: 6 settings, 3 times, 10 kinds. A kind is there where its answer is above 0.
    """

    def __init__(self, coef, intercept):
        self.coef = np.asarray(coef, dtype=np.float32)
        self.intercept = np.asarray(intercept, dtype=np.float32)

    def __call__(self, images):
        """Answer for images (n, 3, h, w): ``setting`` (n, 6), ``time`` (n, 3), ``kind`` (n, 10)."""
        answers = histograms(images) @ self.coef + self.intercept
        ends = np.cumsum([len(SETTINGS), len(TIMES), len(KINDS)])
        return dict(zip(("setting", "time", "kind"), np.split(answers, ends[:-1], 1), strict=True))


def load_classical_judge(folder=Path(__file__).parent / "model" / "judge"):
    """Return the judge that ships with the package; damaged weights are refused."""
    path = Path(folder) / "classical.safetensors"
    weights = store.read_weights(path, "np")
    with store.naming_damage(path, "Get the weights of this judge again from where you have them"):
        return ClassicalJudge(**weights)
