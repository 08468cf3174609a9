"""Schematic visual areas on fsaverage5, with NSD's names and codes.

No atlas of others is shipped. V1 to hV4 follow a formula around the calcarine sulcus; the other
areas are discs, by distance along the surface, around peak coordinates rounded from the
literature (MNI, millimetres). They lie about where such areas lie in people, and no finding about
real anatomy may be read from them.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra

N_VERTICES = 10_242  # a hemisphere of fsaverage5
IMAGE_DEGREES = 8.4  # width of the picture in degrees of visual angle

# Right-hemisphere coordinates (x is mirrored for the left), radius in millimetres.
STREAMS = {
    "midventral": ((30, -76, -12), 15),
    "midlateral": ((42, -82, 2), 15),
    "midparietal": ((28, -86, 24), 14),
    "ventral": ((34, -52, -16), 29),
    "lateral": ((50, -66, 3), 22),
    "parietal": ((26, -66, 46), 22),
}
CATEGORY_AREAS = {
    "floc-faces": {"OFA": ((40, -80, -12), 8), "FFA-1": ((41, -60, -18), 8), "FFA-2": ((41, -48, -19), 8)},
    "floc-places": {"OPA": ((34, -80, 22), 9), "PPA": ((27, -47, -10), 11), "RSC": ((16, -57, 14), 9)},
    "floc-bodies": {"EBA": ((48, -72, 2), 11), "FBA-1": ((43, -56, -16), 7)},
}
STREAM_CODES = {
    "early": 1,
    "midventral": 2,
    "midlateral": 3,
    "midparietal": 4,
    "ventral": 5,
    "lateral": 6,
    "parietal": 7,
}
RETINOTOPIC_CODES = {"V1v": 1, "V1d": 2, "V2v": 3, "V2d": 4, "V3v": 5, "V3d": 6, "hV4": 7}


class Areas(NamedTuple):
    """Schematic areas of both hemispheres, left then right; all arrays have 20,484 entries.

    ``atlases`` maps the name of an atlas to (codes, {code: name}). ``eccentricity`` and
    ``polar_angle`` (degrees; 0 is the right horizontal meridian, 90 the upper vertical one) are
    given in V1 to hV4 and are NaN elsewhere.
    """

    atlases: dict
    eccentricity: np.ndarray
    polar_angle: np.ndarray


@cache
def meshes():
    """Load fsaverage5's pial surface and sphere from nilearn's own files.

    Returns
    -------
    hemispheres : list of (pial, sphere, faces)
        Left, then right: coordinates (10242, 3) in millimetres and triangles (n_faces, 3).
    """
    from nilearn.datasets import fetch_surf_fsaverage
    from nilearn.surface import load_surf_mesh

    files, hemispheres = fetch_surf_fsaverage("fsaverage5"), []
    for side in ("left", "right"):
        pial = load_surf_mesh(files[f"pial_{side}"])
        sphere = load_surf_mesh(files[f"sphere_{side}"])
        hemispheres.append(
            (
                np.asarray(pial.coordinates, dtype=float),
                np.asarray(sphere.coordinates, dtype=float),
                np.asarray(pial.faces),
            )
        )
    return hemispheres


def edges(coordinates, faces):
    """Return the symmetric sparse matrix of edge lengths in millimetres."""
    pairs = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    pairs = np.unique(np.sort(pairs, axis=1), axis=0)
    length = np.linalg.norm(coordinates[pairs[:, 0]] - coordinates[pairs[:, 1]], axis=1)
    n = len(coordinates)
    half = coo_matrix((length, (pairs[:, 0], pairs[:, 1])), shape=(n, n)).tocsr()
    return half + half.T


def _nearest(coordinates, target):
    return int(np.argmin(((coordinates - np.asarray(target)) ** 2).sum(1)))


def _along_calcarine(pial, sphere, sign):
    """Distances along and across the calcarine sulcus on the sphere, in millimetres.

    Returns
    -------
    along, across : (10242,)
        ``along`` grows from the occipital pole forwards, ``across`` is positive on the upper bank.
    """
    unit = sphere / np.linalg.norm(sphere, axis=1, keepdims=True)
    pole = unit[_nearest(pial, (sign * 11, -99, -3))]
    front = unit[_nearest(pial, (sign * 14, -66, 7))]
    above = unit[_nearest(pial, (sign * 8, -88, 26))]
    normal = np.cross(pole, front)
    normal /= np.linalg.norm(normal)
    normal *= np.sign(normal @ above)
    forward = front - (front @ pole) * pole
    forward /= np.linalg.norm(forward)
    across = np.arcsin(np.clip(unit @ normal, -1, 1))
    along = np.arctan2(unit @ forward, unit @ pole)
    return 100 * along, 100 * across


def _retinotopy(pial, sphere, sign):
    """Code V1 to hV4 and give each vertex its place in the visual field, by formula.

    From the calcarine outwards lie V1, V2, V3 and, on the lower bank, hV4. The upper bank holds
    the lower visual field. Eccentricity grows exponentially along the sulcus (the inverse of
    logarithmic magnification) up to the picture's edge.
    """
    along, across = _along_calcarine(pial, sphere, sign)
    share = np.clip(along / 62, 0, 1)
    eccentricity = 0.25 * (0.5 * IMAGE_DEGREES / 0.25) ** share
    inside = (along > -4) & (along < 62)
    widths = np.array([14.0, 10.0, 9.0]) * (0.75 + 0.25 * share[:, None])
    borders = np.cumsum(widths, axis=1)
    distance, upper_bank = np.abs(across), across > 0
    codes = np.zeros(len(pial), dtype=int)
    angle = np.full(len(pial), np.nan)  # elevation from the horizontal meridian, 0 to 90 degrees
    start = np.zeros(len(pial))
    for i in range(3):
        here = inside & (distance >= start) & (distance < borders[:, i])
        within = (distance - start) / (borders[:, i] - start)
        codes[here] = np.where(upper_bank, 2 * i + 2, 2 * i + 1)[here]
        # The vertical meridian is shared by V1 and V2, the horizontal one by V2 and V3.
        angle[here] = 90 * (within if i in (0, 2) else 1 - within)[here]
        start = borders[:, i]
    here = inside & (distance >= start) & (distance < start + 14) & ~upper_bank & (along < 45)
    codes[here] = RETINOTOPIC_CODES["hV4"]
    angle[here] = 180 * ((distance - start) / 14)[here] - 90
    upper_field = np.where(upper_bank & ~here, -angle, angle)
    # Each hemisphere sees the opposite half of the visual field.
    polar = np.where(sign > 0, 180 - upper_field, upper_field)
    seen = codes > 0
    return codes, np.where(seen, eccentricity, np.nan), np.where(seen, polar, np.nan)


@cache
def areas():
    """Lay out all schematic areas.

    Returns
    -------
    areas : Areas
    """
    parts = {"prf-visualrois": [], "streams": [], **{name: [] for name in CATEGORY_AREAS}}
    eccentricity, polar_angle = [], []
    for sign, (pial, sphere, faces) in zip((-1, 1), meshes(), strict=True):
        codes, ecc, polar = _retinotopy(pial, sphere, sign)
        lengths = edges(pial, faces)

        def disc(peak, pial=pial, lengths=lengths, sign=sign):
            source = _nearest(pial, (sign * peak[0], *peak[1:]))
            return dijkstra(lengths, indices=source, directed=False)

        distance = np.stack([disc(peak) / radius for peak, radius in STREAMS.values()])
        nearest = np.array([STREAM_CODES[name] for name in STREAMS])[distance.argmin(0)]
        streams = np.where(distance.min(0) < 1, nearest, 0)
        streams[codes == RETINOTOPIC_CODES["hV4"]] = STREAM_CODES["midventral"]
        streams[(codes > 0) & (codes < RETINOTOPIC_CODES["hV4"])] = STREAM_CODES["early"]
        parts["prf-visualrois"].append(codes)
        parts["streams"].append(streams)
        for atlas, discs in CATEGORY_AREAS.items():
            labels = np.zeros(len(pial), dtype=int)
            for code, (peak, radius) in enumerate(discs.values(), 1):
                labels[(disc(peak) < radius) & (streams != STREAM_CODES["early"])] = code
            parts[atlas].append(labels)
        eccentricity.append(ecc)
        polar_angle.append(polar)
    names = {
        "prf-visualrois": {code: name for name, code in RETINOTOPIC_CODES.items()},
        "streams": {code: name for name, code in STREAM_CODES.items()},
        **{atlas: dict(enumerate(discs, 1)) for atlas, discs in CATEGORY_AREAS.items()},
    }
    atlases = {
        atlas: (np.concatenate(codes), {0: "Unknown", **names[atlas]}) for atlas, codes in parts.items()
    }
    general = np.any([codes > 0 for codes, _ in atlases.values()], axis=0).astype(int)
    atlases["nsdgeneral"] = (general, {0: "Unknown", 1: "nsdgeneral"})
    return Areas(atlases, np.concatenate(eccentricity), np.concatenate(polar_angle))
