"""A small volume through the simulated cortex: the same sources and the same noise as the surface.

Each voxel near the cortical sheet holds a weighted mean of the vertices around its centre. Voxels
are coarser than NSD's, and each subject's head lies a little differently in the scanner.
"""

from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix, diags
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from latentcortex.mini import surface

VOXEL_SIZE = 3.8  # millimetres
REACH = 3.2  # a voxel further than this from every vertex holds no cortex, in millimetres
BLUR = 1.5  # standard deviation of the weights, in millimetres


class Volume(NamedTuple):
    """Where a subject's voxels lie and which vertices they hold.

    ``affine`` (4, 4) takes voxel indices to millimetres; ``cortex`` (nx, ny, nz) is True where
    there is any; ``weights``, sparse (n_voxels of cortex, 20484), has rows that sum to one, and
    ``nearest`` (n_voxels of cortex,) is each voxel's nearest vertex. Voxels are in C order.
    """

    affine: np.ndarray
    cortex: np.ndarray
    weights: csr_matrix
    nearest: np.ndarray

    def resample(self, values):
        """Average vertices (n, 20484) in voxels: (n, n_voxels of cortex), in the same dtype."""
        return (self.weights @ values.T).T.astype(values.dtype)

    def fill(self, values, outside=0):
        """Put values (..., n_voxels of cortex) into their places: (..., nx, ny, nz)."""
        values = np.asarray(values)
        filled = np.full((*values.shape[:-1], *self.cortex.shape), outside, values.dtype)
        filled[..., self.cortex] = values
        return filled


def lay_volume(rng):
    """Lay the box of visual cortex, turned and shifted a little, into voxels.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws how the head lies: turned by about 2 degrees, shifted by up to half a voxel.

    Returns
    -------
    volume : Volume
    """
    vertices = np.concatenate([pial for pial, _, _ in surface.meshes()])
    visual = surface.areas().atlases["nsdgeneral"][0] > 0
    turn = Rotation.from_euler("xyz", rng.normal(0, 2, 3), degrees=True)
    turned = turn.apply(vertices)
    origin = turned[visual].min(0) - VOXEL_SIZE * rng.uniform(0, 0.5, 3)
    shape = np.ceil((turned[visual].max(0) - origin) / VOXEL_SIZE).astype(int) + 1
    indices = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1).reshape(-1, 3)
    centres = origin + VOXEL_SIZE * indices
    distance, nearest = KDTree(turned).query(centres)
    inside = distance < REACH
    # distances.shape = (n_voxels of cortex, n_vertices), none beyond three deviations
    distances = KDTree(centres[inside]).sparse_distance_matrix(KDTree(turned), 3 * BLUR).tocsr()
    weights = distances.copy()
    weights.data = np.exp(-0.5 * (distances.data / BLUR) ** 2)
    weights = diags(1 / np.asarray(weights.sum(1)).ravel()) @ weights
    affine = np.eye(4)
    back = turn.inv().as_matrix()
    affine[:3, :3], affine[:3, 3] = VOXEL_SIZE * back, back @ origin
    return Volume(affine, inside.reshape(shape), csr_matrix(weights, dtype=np.float32), nearest[inside])
