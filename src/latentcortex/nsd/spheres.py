"""Bring a subject's own regions onto fsaverage, by the nearest vertex of the registered spheres.

FreeSurfer inflates each hemisphere to a sphere and turns it until its folds lie over those of fsaverage. So a
vertex of fsaverage belongs to the subject's vertex that lies nearest on the sphere (Fischl et al. 1999, Human
Brain Mapping 8:272-284).
"""

import functools
from pathlib import Path

import nibabel
import numpy as np
from scipy.spatial import cKDTree

from latentcortex.nsd.reading import reading

_HEMISPHERES = ("lh", "rh")
_NAME = "nsddata/freesurfer/{owner}/surf/{hemisphere}.sphere.reg"


def missing_spheres(root, subject):
    """Return the paths of the spheres that `nearest_vertices` needs and that are not there."""
    names = [
        _NAME.format(owner=owner, hemisphere=hemisphere)
        for owner in (subject, "fsaverage")
        for hemisphere in _HEMISPHERES
    ]
    return [name for name in names if not Path(root, name).is_file()]


@functools.lru_cache(maxsize=16)
def nearest_vertices(root, subject):
    """Return the subject's vertex nearest to each vertex of fsaverage, for both hemispheres.

    Returns
    -------
    tuple of two int arrays (163842,)
        Left and right; numbers of vertices of the subject's own hemisphere, from 0 on.

    Raises
    ------
    FileNotFoundError, ValueError
        A sphere is missing or damaged.
    """
    found = []
    for hemisphere in _HEMISPHERES:
        own, common = (
            _read(Path(root, _NAME.format(owner=owner, hemisphere=hemisphere)))
            for owner in (subject, "fsaverage")
        )
        found.append(cKDTree(own).query(common)[1])
    return tuple(found)


def _read(path):
    """Return the vertices of a sphere with the radius 1, (n_vertices, 3)."""
    if not path.is_file():
        raise FileNotFoundError(f"No {path.name} in {path.parent}. Download that part of NSD too.")
    with reading(path):
        vertices = nibabel.freesurfer.read_geometry(path)[0]
        length = np.linalg.norm(vertices, axis=1, keepdims=True)
        if not (length > 0).all():
            raise ValueError("it holds vertices in the middle of the sphere")
    return vertices / length
