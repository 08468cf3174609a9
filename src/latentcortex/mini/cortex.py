"""A simulated visual cortex: what is planted in each vertex, and its noisy responses.

The repeatable response of a vertex is

    sqrt(1/2) [ sqrt(m) low-level + sqrt(1 - m) semantic ] + sqrt(1/2) specific,

each term of variance one over images. The planted mixture m is what the book's maps must find
again. The specific term is drawn anew for every image and explained by no variable: in real cortex
too, models explain about half of what repeats. Everything is SIMULATED.
"""

from math import sqrt

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix, diags

from latentcortex.mini import surface, tuning
from latentcortex.mini.scenes import KINDS, SETTINGS

WORLDS = ("standard", "swapped", "uniform", "null")
SPECIFIC_SHARE = 0.5
# Area: share of low-level variance, mean ncsnr, receptive field size (degrees) at 0 and 4 degrees
# of eccentricity. The ncsnr are NSD's means by area, rounded.
PLANTED = {
    "V1": (0.95, 0.48, 0.35, 0.80),
    "V2": (0.88, 0.45, 0.45, 1.10),
    "V3": (0.80, 0.41, 0.60, 1.50),
    "hV4": (0.60, 0.40, 0.90, 2.00),
    "midventral": (0.50, 0.42, 1.20, 2.20),
    "midlateral": (0.50, 0.42, 1.20, 2.20),
    "midparietal": (0.60, 0.40, 1.20, 2.20),
    "ventral": (0.30, 0.45, 2.20, 2.60),
    "lateral": (0.35, 0.45, 2.00, 2.60),
    "parietal": (0.40, 0.40, 2.00, 2.60),
    "faces": (0.20, 0.48, 2.20, 2.60),
    "places": (0.30, 0.48, 2.60, 2.60),
    "bodies": (0.20, 0.48, 2.20, 2.60),
}
# Kinds and settings that the schematic category areas answer to most.
PREFERRED = {
    "faces": ({"snowman", "robot"}, set()),
    "places": ({"house", "tower"}, set(SETTINGS)),
    "bodies": ({"robot", "snowman", "car"}, set()),
}
# Shares of the noise: spread smoothly over the surface, shared by all vertices, noise of the tuned
# variables themselves (it reaches vertices through the same weights as the signal), and private.
NOISE = {"smooth": 0.30, "shared": 0.15, "tuned": 0.20, "private": 0.35}
N_SHARED_COMPONENTS = 8
SUBJECT_GAIN = (1.10, 1.00, 0.90, 0.80)  # on ncsnr: subjects differ


def _standardised(x):
    x = x - x.mean(0)
    scale = x.std(0)
    return x / np.where(scale > 0, scale, 1)


def area_of_vertices():
    """Name the area that sets each vertex's tuning; an empty string outside visual cortex.

    Returns
    -------
    names : array of str, (20484,)
    """
    atlases = surface.areas().atlases
    names = np.full(2 * surface.N_VERTICES, "", dtype="U12")
    codes, labels = atlases["streams"]
    for code, name in labels.items():
        if code:
            names[codes == code] = name
    codes, labels = atlases["prf-visualrois"]
    for code, name in labels.items():
        if code:
            names[codes == code] = name.rstrip("vd")
    for atlas in ("floc-places", "floc-bodies", "floc-faces"):
        names[atlases[atlas][0] > 0] = atlas.removeprefix("floc-")
    names[names == "early"] = "V3"
    return names


class Cortex:
    """One simulated subject.

    Parameters
    ----------
    subject : int
        0, 1, 2 or 3.
    world : str
        ``standard``; ``swapped`` (the mixture is turned round: early cortex semantic, the rest
        low-level), ``uniform`` (one mixture, one receptive field size, one distribution of ncsnr
        everywhere) or ``null`` (noise only).
    seed : int

    Attributes
    ----------
    planted : pandas.DataFrame
        One row a vertex of both hemispheres (20,484), left first: ``area``, ``mixture`` (share of
        low-level variance, NaN outside visual cortex), ``ncsnr``, ``rf_x``, ``rf_y``, ``rf_size``
        (degrees).
    vertices : int array
        Vertices of visual cortex, the only ones with a signal.
    """

    def __init__(self, subject, world="standard", seed=0):
        if world not in WORLDS:
            raise ValueError(f"world must be one of {WORLDS}, got {world!r}")
        self.subject, self.world, self.seed = subject, world, seed
        self._rng = np.random.default_rng([seed, 11, subject])
        areas = area_of_vertices()
        self.vertices = np.flatnonzero(areas != "")
        self._smoother = self._make_smoother()
        self._plant(areas)
        self._draw_weights()

    def _make_smoother(self):
        """Sparse operator that turns white noise into smooth noise of variance one."""
        n, blocks = surface.N_VERTICES, []
        for _, sphere, faces in surface.meshes():
            near = (surface.edges(sphere, faces) > 0).astype(np.float32)
            step = diags(1 / np.asarray(near.sum(1)).ravel()) @ near
            mix = 0.5 * diags(np.ones(n)) + 0.5 * step
            blocks.append(csr_matrix(mix @ mix @ mix @ mix))
        scaled = []
        for block in blocks:
            norm = np.sqrt(np.asarray(block.multiply(block).sum(1)).ravel())
            scaled.append(csr_matrix(diags(1 / norm) @ block).astype(np.float32))
        return scaled

    def _smooth_noise(self, rng, n_columns):
        """Draw smooth noise of variance one, (20484, n_columns)."""
        n = surface.N_VERTICES
        return np.concatenate(
            [block @ rng.standard_normal((n, n_columns), dtype=np.float32) for block in self._smoother]
        )

    def _plant(self, areas):
        rng, v = self._rng, self.vertices
        table = np.array([PLANTED[a] for a in areas[v]])
        mixture, ncsnr, size_0, size_4 = table.T
        if self.world == "swapped":
            mixture = 1 - mixture
        if self.world == "uniform":
            mixture, ncsnr = np.full(len(v), 0.5), np.full(len(v), 0.44)
            size_0, size_4 = np.full(len(v), 1.5), np.full(len(v), 1.5)
        # A spread over vertices around the area's mean, smooth on the surface like real maps.
        wobble = self._smooth_noise(rng, 2)[v].T
        logit = np.log(mixture / (1 - mixture)) + 0.6 * wobble[0]
        mixture = 1 / (1 + np.exp(-logit))
        ncsnr = ncsnr * SUBJECT_GAIN[self.subject] * 2 * rng.beta(1.7, 1.7, len(v))
        if self.world == "null":
            ncsnr = np.zeros(len(v))
        layout = surface.areas()
        ecc, polar = layout.eccentricity[v], np.deg2rad(layout.polar_angle[v])
        free = np.isnan(ecc)
        if self.world == "uniform":  # no retinotopy either: fields lie anywhere
            free[:] = True
        side = np.where(v < surface.N_VERTICES, 1, -1)  # the left hemisphere sees the right
        x = np.where(free, side * np.abs(rng.normal(0.6, 0.9, len(v))), ecc * np.cos(polar))
        y = np.where(free, rng.normal(0, 0.8, len(v)), ecc * np.sin(polar))
        x, y = x + 0.1 * rng.standard_normal(len(v)), y + 0.1 * rng.standard_normal(len(v))
        size = size_0 + (size_4 - size_0) * np.hypot(x, y).clip(0, 4.2) / 4
        self.planted = pd.DataFrame({"area": areas}).assign(
            mixture=np.nan, ncsnr=0.0, rf_x=np.nan, rf_y=np.nan, rf_size=np.nan
        )
        columns = ["mixture", "ncsnr", "rf_x", "rf_y", "rf_size"]
        self.planted.loc[v, columns] = np.stack([mixture, ncsnr, x, y, size], axis=1)

    def _draw_weights(self):
        """Draw each vertex's weights on low-level channels, scene variables and kinds in place."""
        rng, v = self._rng, self.vertices
        n_scene = tuning.N_SCENE_VARIABLES
        self._low_weights = rng.standard_normal((11, len(v))).astype(np.float32)
        self._low_weights[:3] *= 1.3  # colour and luminance against eight channels of energy
        # Semantic weights vary smoothly over the surface, as category maps do.
        smooth = self._smooth_noise(rng, n_scene + len(KINDS))[v].T
        self._scene_weights, self._kind_weights = smooth[:n_scene], smooth[n_scene:]
        self._scene_weights[tuning.TIME_COLUMNS] *= 0.7
        self._scene_weights[tuning.COLOUR_COLUMNS] *= 0.5
        areas = self.planted["area"].to_numpy()[v]
        for area, (kinds, settings) in PREFERRED.items():
            here = areas == area if self.world != "uniform" else np.zeros(len(v), dtype=bool)
            for k, kind in enumerate(KINDS):
                self._kind_weights[k, here] += 2.0 * (kind in kinds)
            self._scene_weights[: len(SETTINGS), here] *= 2.0 if settings else 0.5
        self._shared = self._smooth_noise(rng, N_SHARED_COMPONENTS).T
        self._mean = 0.8 * self._smooth_noise(rng, 1)[:, 0]  # percent signal change
        self._spread = rng.uniform(1.0, 2.5, 2 * surface.N_VERTICES).astype(np.float32)

    def tuned_signals(self, images, scenes):
        """Compute the two tuned terms of the response, before they are standardised.

        Parameters
        ----------
        images : uint8 array, (n, h, w, 3)
        scenes : list of scenes.Scene

        Returns
        -------
        low, semantic : float32 arrays, (n, n_vertices of visual cortex)
        """
        x, y, size = self.planted.loc[self.vertices, ["rf_x", "rf_y", "rf_size"]].to_numpy().T
        maps = tuning.low_level_maps(images)
        maps = _standardised(maps.reshape(len(images), 11, -1))
        fields = tuning.receptive_fields(x, y, size)
        low = sum(maps[:, c] @ fields.T * self._low_weights[c] for c in range(11))
        semantic = _standardised(tuning.scene_variables(scenes)) @ self._scene_weights
        for start in range(0, len(x), 256):
            part = slice(start, start + 256)
            kinds = tuning.kinds_in_fields(scenes, x[part], y[part], size[part])
            semantic[:, part] += np.einsum(
                "ikv,kv->iv", 3 * (kinds - kinds.mean(0)), self._kind_weights[:, part]
            )
        return low, semantic

    def signal(self, images, scenes):
        """Compute the repeatable response to each image, mean 0 and variance 1 over images.

        Parameters
        ----------
        images, scenes
            See `tuned_signals`.

        Returns
        -------
        signal : float32 array, (n, n_vertices of visual cortex)
        """
        m = self.planted.loc[self.vertices, "mixture"].to_numpy(dtype=np.float32)
        low, semantic = (_standardised(part) for part in self.tuned_signals(images, scenes))
        tuned = _standardised(np.sqrt(m) * low + np.sqrt(1 - m) * semantic)
        rng = np.random.default_rng([self.seed, 12, self.subject])
        specific = self._smooth_noise(rng, len(images))[self.vertices].T
        specific = sqrt(SPECIFIC_SHARE) * _standardised(specific)
        return _standardised(sqrt(1 - SPECIFIC_SHARE) * tuned + specific)

    def respond(self, signal, session):
        """Measure one session: signal, noise and the session's drift.

        Parameters
        ----------
        signal : array, (n_trials, n_vertices of visual cortex)
            Rows of `signal`, one a trial, in the order of the trials.
        session : int
            Number of the session; sets the noise, so that sessions can be made in any order.

        Returns
        -------
        betas : float32 array, (n_trials, 20484)
            Percent signal change.
        """
        rng = np.random.default_rng([self.seed, 13, self.subject, session])
        n, v = len(signal), self.vertices
        noise = sqrt(NOISE["smooth"]) * self._smooth_noise(rng, n)
        loadings = self._shared / np.sqrt((self._shared**2).sum(0))
        shared = rng.standard_normal((n, N_SHARED_COMPONENTS), dtype=np.float32)
        noise += sqrt(NOISE["shared"]) * (shared @ loadings).T
        noise += sqrt(NOISE["private"]) * rng.standard_normal(noise.shape, dtype=np.float32)
        weights = np.concatenate([self._scene_weights, self._kind_weights])
        weights = weights / np.sqrt((weights**2).sum(0))
        tuned = rng.standard_normal((n, len(weights)), dtype=np.float32) @ weights
        outside = np.ones(len(noise), dtype=bool)
        outside[v] = False
        noise[outside] /= sqrt(1 - NOISE["tuned"])
        noise[v] += sqrt(NOISE["tuned"]) * tuned.T
        ncsnr = self.planted["ncsnr"].to_numpy(dtype=np.float32)[v]
        noise[v] += ncsnr[:, None] * signal.T
        # A session shifts and stretches every vertex a little; within it, responses drift.
        gain = rng.normal(1.0, 0.08, len(noise)).astype(np.float32)
        shift = 0.3 * self._smooth_noise(rng, 1)[:, 0]
        slope = 0.15 * self._smooth_noise(rng, 1)[:, 0]
        time = np.linspace(-1, 1, n, dtype=np.float32)
        drifted = gain[:, None] * noise + shift[:, None] + slope[:, None] * time
        return (self._mean[:, None] + self._spread[:, None] * drifted).T
