"""What simulated voxels are tuned to: the picture's pixels and the scene's ground truth.

Nothing here knows of the latent diffusion model: no z, no c, no g.
"""

import numpy as np
from scipy.ndimage import gaussian_filter, zoom

from latentcortex.mini.scenes import COLOURS, KINDS, SETTINGS, TIMES, image_position
from latentcortex.mini.surface import IMAGE_DEGREES

MAP_SIZE = 32  # low-level maps have MAP_SIZE x MAP_SIZE places
N_ORIENTATIONS = 4
SCALES = (1.2, 2.4)  # standard deviations in pixels of the derivative filters
# Columns of `scene_variables`.
TIME_COLUMNS = slice(len(SETTINGS), len(SETTINGS) + len(TIMES))
_AFTER_KINDS = len(SETTINGS) + len(TIMES) + len(KINDS)
COLOUR_COLUMNS = slice(_AFTER_KINDS, _AFTER_KINDS + len(COLOURS))
N_SCENE_VARIABLES = _AFTER_KINDS + len(COLOURS) + 1


def low_level_maps(images):
    """Colour, luminance and contrast energy at every place of the picture.

    Parameters
    ----------
    images : uint8 array, (n, h, w, 3)

    Returns
    -------
    maps : float32 array, (n, 11, 32, 32)
        Luminance, red minus green, blue minus yellow; then contrast energy (compressed by a square
        root) at two scales and four orientations. In arbitrary units, not standardised.
    """
    rgb = images.astype(np.float32) / 255
    red, green, blue = np.moveaxis(rgb, -1, 0)
    luminance = rgb @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    channels = [luminance, red - green, blue - (red + green) / 2]
    step = images.shape[1] / MAP_SIZE
    for sigma in SCALES:
        smooth = (0, sigma, sigma)
        dy = gaussian_filter(luminance, smooth, order=(0, 1, 0))
        dx = gaussian_filter(luminance, smooth, order=(0, 0, 1))
        for k in range(N_ORIENTATIONS):
            angle = np.pi * k / N_ORIENTATIONS
            edge = sigma * (np.cos(angle) * dx + np.sin(angle) * dy)
            channels.append(np.sqrt(gaussian_filter(edge**2, smooth) + 1e-6))
    blurred = [gaussian_filter(c, (0, step / 2, step / 2)) for c in channels]
    scale = (1, 1 / step, 1 / step)
    maps = [zoom(c, scale, order=1, grid_mode=True, mode="nearest") for c in blurred]
    return np.stack(maps, axis=1, dtype=np.float32, casting="same_kind")


def receptive_fields(x, y, size):
    """Gaussian receptive fields on the low-level maps.

    Parameters
    ----------
    x, y, size : arrays, (n_vertices,)
        Centre and standard deviation in degrees; the picture spans -4.2 to 4.2.

    Returns
    -------
    fields : float32 array, (n_vertices, 32 * 32)
        Each sums to one. Rows of the picture run from top to bottom.
    """
    places = ((np.arange(MAP_SIZE) + 0.5) / MAP_SIZE - 0.5) * IMAGE_DEGREES
    across = np.exp(-0.5 * ((places[None] - x[:, None]) / size[:, None]) ** 2)
    down = np.exp(-0.5 * ((-places[None] - y[:, None]) / size[:, None]) ** 2)
    fields = (down[:, :, None] * across[:, None, :]).reshape(len(x), -1)
    return (fields / fields.sum(1, keepdims=True)).astype(np.float32)


def scene_variables(scenes):
    """Tell what there is, whatever its place.

    Parameters
    ----------
    scenes : list of scenes.Scene

    Returns
    -------
    variables : float32 array, (n, 26)
        Indicators, one column each: 6 settings, 3 times, 10 kinds, 6 colours of things, two things.
    """
    rows = []
    for scene in scenes:
        kinds = {thing.kind for thing in scene.things}
        colours = {thing.colour for thing in scene.things}
        rows.append(
            [scene.setting == s for s in SETTINGS]
            + [scene.time == t for t in TIMES]
            + [k in kinds for k in KINDS]
            + [c in colours for c in COLOURS]
            + [len(scene.things) == 2]
        )
    return np.asarray(rows, dtype=np.float32)


def kinds_in_fields(scenes, x, y, size):
    """How much of each receptive field a thing of each kind fills.

    Parameters
    ----------
    scenes : list of scenes.Scene
    x, y, size : arrays, (n_vertices,)
        Receptive fields in degrees.

    Returns
    -------
    presence : float32 array, (n_scenes, n_kinds, n_vertices)
        Between 0 and 1; a thing is taken as a Gaussian blob of its own extent.
    """
    presence = np.zeros((len(scenes), len(KINDS), len(x)), dtype=np.float32)
    for i, scene in enumerate(scenes):
        for thing in scene.things:
            across, up, extent = (0.5 * IMAGE_DEGREES * v for v in image_position(scene, thing))
            spread = size**2 + (extent / 1.5) ** 2
            distance = (x - across) ** 2 + (y - up) ** 2
            presence[i, KINDS.index(thing.kind)] = np.exp(-0.5 * distance / spread)
    return presence
