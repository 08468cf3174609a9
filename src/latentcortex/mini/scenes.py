"""Scenes of the miniature world: what is in them, how they are drawn at random, how they are built.

A scene has a setting (told by its structure, not by its colours), a time of day, a ground and one
or two things. Settings are crossed with times and grounds, and the palettes of walls, hills and
trees overlap, so that colour alone does not tell where one is.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from latentcortex.mini import raytracer as rt

SETTINGS = ("hills", "courtyard", "shore", "forest", "city", "mountains")
TIMES = ("day", "dusk", "night")
GROUNDS = {
    "grass": (0.33, 0.56, 0.22),
    "sand": (0.84, 0.72, 0.48),
    "snow": (0.90, 0.92, 0.96),
    "stone": (0.50, 0.50, 0.53),
    "earth": (0.50, 0.36, 0.24),
}
COLOURS = {
    "red": (0.85, 0.12, 0.10),
    "blue": (0.12, 0.28, 0.88),
    "yellow": (0.96, 0.82, 0.10),
    "green": (0.10, 0.62, 0.20),
    "purple": (0.55, 0.16, 0.68),
    "white": (0.94, 0.94, 0.94),
}
KINDS = (
    "house", "car", "snowman", "tower", "mushroom", "ball", "table", "rocket", "robot", "umbrella",
)  # fmt: skip
HELD_BACK_KIND = "umbrella"
PLACES = ("left", "middle", "right")
IMAGE_SIZE = 64

DARK, WOOD, GLASS, PALE = (0.16, 0.16, 0.18), (0.42, 0.26, 0.13), (0.70, 0.86, 0.95), (0.95,) * 3
# Parts of a kind: shape, centre, half extents, colour (None: the thing's own), for a thing of size
# one that stands at the origin and faces the camera.
PARTS = {
    "house": [
        (rt.BOX, (0, 0.42, 0), (0.52, 0.42, 0.48), None),
        (rt.CONE, (0, 1.10, 0), (0.80, 0.28, 0.76), (0.45, 0.22, 0.14)),
        (rt.BOX, (0, 0.27, -0.48), (0.13, 0.27, 0.02), DARK),
    ],
    "car": [
        (rt.BOX, (0, 0.34, 0), (0.80, 0.18, 0.38), None),
        (rt.BOX, (0.05, 0.66, 0), (0.42, 0.16, 0.32), GLASS),
        (rt.SPHERE, (-0.48, 0.17, -0.36), (0.18, 0.18, 0.07), DARK),
        (rt.SPHERE, (0.48, 0.17, -0.36), (0.18, 0.18, 0.07), DARK),
        (rt.SPHERE, (-0.48, 0.17, 0.36), (0.18, 0.18, 0.07), DARK),
        (rt.SPHERE, (0.48, 0.17, 0.36), (0.18, 0.18, 0.07), DARK),
    ],
    "snowman": [
        (rt.SPHERE, (0, 0.42, 0), (0.44, 0.42, 0.44), PALE),
        (rt.CYLINDER, (0, 0.82, 0), (0.29, 0.07, 0.29), None),
        (rt.SPHERE, (0, 1.05, 0), (0.29, 0.29, 0.29), PALE),
        (rt.CYLINDER, (0, 1.30, 0), (0.32, 0.03, 0.32), None),
        (rt.CYLINDER, (0, 1.47, 0), (0.20, 0.17, 0.20), None),
    ],
    "tower": [
        (rt.CYLINDER, (0, 0.75, 0), (0.30, 0.75, 0.30), None),
        (rt.CYLINDER, (0, 1.00, 0), (0.31, 0.12, 0.31), PALE),
        (rt.CYLINDER, (0, 1.53, 0), (0.38, 0.05, 0.38), DARK),
        (rt.CONE, (0, 1.80, 0), (0.34, 0.24, 0.34), None),
    ],
    "mushroom": [
        (rt.CYLINDER, (0, 0.36, 0), (0.17, 0.36, 0.17), (0.93, 0.88, 0.78)),
        (rt.SPHERE, (0, 0.78, 0), (0.60, 0.34, 0.60), None),
        (rt.SPHERE, (-0.22, 0.99, -0.36), (0.10, 0.08, 0.10), PALE),
        (rt.SPHERE, (0.24, 0.95, -0.38), (0.08, 0.07, 0.08), PALE),
    ],
    "ball": [(rt.SPHERE, (0, 0.55, 0), (0.55, 0.55, 0.55), None)],
    "table": [
        (rt.BOX, (0, 0.74, 0), (0.78, 0.07, 0.50), None),
        (rt.BOX, (-0.66, 0.34, -0.40), (0.06, 0.34, 0.06), WOOD),
        (rt.BOX, (0.66, 0.34, -0.40), (0.06, 0.34, 0.06), WOOD),
        (rt.BOX, (-0.66, 0.34, 0.40), (0.06, 0.34, 0.06), WOOD),
        (rt.BOX, (0.66, 0.34, 0.40), (0.06, 0.34, 0.06), WOOD),
    ],
    "rocket": [
        (rt.CYLINDER, (0, 0.80, 0), (0.25, 0.60, 0.25), None),
        (rt.CONE, (0, 1.66, 0), (0.25, 0.27, 0.25), (0.55, 0.57, 0.60)),
        (rt.BOX, (0, 0.24, 0), (0.52, 0.20, 0.05), (0.55, 0.57, 0.60)),
        (rt.BOX, (0, 0.24, 0), (0.05, 0.20, 0.52), (0.55, 0.57, 0.60)),
        (rt.SPHERE, (0, 1.08, -0.22), (0.11, 0.11, 0.06), GLASS),
    ],
    "robot": [
        (rt.BOX, (0, 0.76, 0), (0.36, 0.32, 0.24), None),
        (rt.BOX, (0, 1.30, 0), (0.25, 0.18, 0.20), (0.66, 0.68, 0.72)),
        (rt.BOX, (-0.17, 0.22, 0), (0.11, 0.22, 0.13), (0.40, 0.42, 0.46)),
        (rt.BOX, (0.17, 0.22, 0), (0.11, 0.22, 0.13), (0.40, 0.42, 0.46)),
        (rt.BOX, (-0.48, 0.74, 0), (0.09, 0.28, 0.10), (0.66, 0.68, 0.72)),
        (rt.BOX, (0.48, 0.74, 0), (0.09, 0.28, 0.10), (0.66, 0.68, 0.72)),
    ],
    "umbrella": [
        (rt.CYLINDER, (0, 0.60, 0), (0.05, 0.60, 0.05), WOOD),
        (rt.CONE, (0, 1.25, 0), (0.78, 0.26, 0.78), None),
        (rt.SPHERE, (0, 1.53, 0), (0.06, 0.06, 0.06), DARK),
    ],
}


@dataclass(frozen=True)
class Thing:
    """One object: its kind and colour, where it stands, how large it is and how it is turned.

    ``x`` (to the right) and ``z`` (away from the camera) are in scene units, ``yaw`` in radians.
    """

    kind: str
    colour: str
    x: float
    z: float
    size: float
    yaw: float

    @property
    def place(self):
        """Return ``left``, ``middle`` or ``right``."""
        return PLACES[int(np.digitize(self.x, (-0.45, 0.45)))]


@dataclass(frozen=True)
class Scene:
    """Everything that determines a picture, except its size.

    ``things`` are ordered from left to right. Angles are in radians, heights in scene units.
    ``structure`` seeds what the setting is made of (which hills, which trees).
    """

    setting: str
    time: str
    ground: str
    things: tuple[Thing, ...]
    light_azimuth: float
    light_elevation: float
    camera_height: float
    camera_yaw: float
    camera_pitch: float
    structure: int


def is_held_back(kind, colour, setting):
    """Tell whether a combination is kept out of all ordinary scenes.

    One kind is held back altogether and one in twelve of the combinations of the others, spread
    evenly by a fixed rule, so that every part of a combination is familiar from other scenes.
    """
    code = KINDS.index(kind) + 2 * list(COLOURS).index(colour) + 3 * SETTINGS.index(setting)
    return kind == HELD_BACK_KIND or code % 12 == 0


def _draw_things(setting, rng, held_back):
    """Draw one or two things of different kinds; at least one or none of them is held back.

    Half of the held-back scenes hold the unfamiliar kind, half only an unfamiliar combination.
    """
    with_held_back_kind = held_back and rng.random() < 0.5
    while True:
        n = 1 if rng.random() < 0.45 else 2
        kinds = rng.choice(len(KINDS), n, replace=False)
        if held_back and with_held_back_kind != (KINDS.index(HELD_BACK_KIND) in kinds):
            continue
        xs = rng.uniform(-1.1, 1.1, 1) if n == 1 else rng.permutation([-0.8, 0.8])
        things = []
        for kind, x in zip(kinds, xs, strict=True):
            colour = rng.choice(list(COLOURS))
            jitter = rng.uniform(-0.3, 0.3) if n == 2 else 0.0
            things.append(Thing(
                KINDS[kind], str(colour), float(x + jitter), float(rng.uniform(-0.7, 0.9)),
                float(rng.uniform(0.95, 1.35)), float(rng.uniform(-0.9, 0.9)),
            ))  # fmt: skip
        if held_back == any(is_held_back(t.kind, t.colour, setting) for t in things):
            return tuple(sorted(things, key=lambda thing: thing.x))


def sample_scenes(n, rng, held_back=False):
    """Draw scenes at random.

    Parameters
    ----------
    n : int
        How many.
    rng : numpy.random.Generator
    held_back : bool
        Draw scenes that hold the kind or a combination that no ordinary scene holds.

    Returns
    -------
    scenes : list of Scene
    """
    scenes = []
    for _ in range(n):
        setting = str(rng.choice(SETTINGS))
        scenes.append(Scene(
            setting=setting,
            time=str(rng.choice(TIMES, p=(0.5, 0.25, 0.25))),
            ground=str(rng.choice(list(GROUNDS))),
            things=_draw_things(setting, rng, held_back),
            light_azimuth=float(rng.uniform(-2.4, 2.4)),
            light_elevation=float(rng.uniform(0.45, 1.1)),
            camera_height=float(rng.uniform(1.0, 2.0)),
            camera_yaw=float(rng.uniform(-0.10, 0.10)),
            camera_pitch=float(rng.uniform(0.02, 0.20)),
            structure=int(rng.integers(2**31)),
        ))  # fmt: skip
    return scenes


def _pick(rng, options):
    return np.asarray(options[rng.integers(len(options))], dtype=float)


WALL_COLOURS = [(0.60, 0.30, 0.22), (0.80, 0.70, 0.52), (0.55, 0.55, 0.58), (0.88, 0.86, 0.82)]
LEAF_COLOURS = [(0.12, 0.38, 0.14), (0.75, 0.42, 0.12), (0.42, 0.55, 0.16), (0.82, 0.86, 0.90)]
WATER_COLOURS = [(0.16, 0.34, 0.52), (0.30, 0.62, 0.62), (0.55, 0.60, 0.62), (0.34, 0.40, 0.26),
                 (0.80, 0.86, 0.90), (0.50, 0.42, 0.34)]  # fmt: skip
ROCK_COLOURS = [(0.48, 0.46, 0.50), (0.55, 0.38, 0.28), (0.40, 0.34, 0.48), (0.78, 0.66, 0.46)]


def _setting_parts(scene, rng):
    """List what a setting is made of: shape, centre, half extents, yaw, colour, texture."""
    parts = []

    def add(shape, centre, size, colour, yaw=0.0, texture=rt.PLAIN):
        parts.append((shape, centre, size, yaw, tuple(colour), texture))

    if scene.setting == "hills":
        colour = _pick(rng, [*GROUNDS.values(), *LEAF_COLOURS[:3]])
        for x in np.linspace(-9, 9, 4) + rng.uniform(-1.5, 1.5, 4):
            width, height = rng.uniform(3.5, 6), rng.uniform(1.6, 3.8)
            add(rt.SPHERE, (x, -0.2, rng.uniform(9, 15)), (width, height, 3.5),
                (colour * rng.uniform(0.75, 1.0)).clip(0, 1))  # fmt: skip
    elif scene.setting == "courtyard":
        colour, height = _pick(rng, WALL_COLOURS), rng.uniform(0.9, 1.5)
        back, half = rng.uniform(2.6, 3.8), rng.uniform(2.4, 3.0)
        add(rt.BOX, (0, height, back), (half, height, 0.2), colour, texture=rt.BRICKS)
        for side in (-1, 1):
            add(rt.BOX, (side * half, height, back - 3.5), (0.2, height, 3.5), colour,
                texture=rt.BRICKS)  # fmt: skip
    elif scene.setting == "shore":
        if rng.random() < 0.5:  # an island or a headland far out
            colour = _pick(rng, [*ROCK_COLOURS, *LEAF_COLOURS[:3]])
            add(rt.SPHERE, (rng.uniform(-12, 12), 0, 24), (rng.uniform(2, 6), 1.2, 2), colour)
    elif scene.setting == "forest":
        colour = _pick(rng, LEAF_COLOURS)
        for x in np.linspace(-4.4, 4.4, 7) + rng.uniform(-0.3, 0.3, 7):
            z, tall = rng.uniform(3.2, 5.5), rng.uniform(0.85, 1.25)
            shade = (colour * rng.uniform(0.7, 1.05)).clip(0, 1)
            add(rt.CYLINDER, (x, 0.5 * tall, z), (0.14, 0.5 * tall, 0.14), WOOD)
            add(rt.CONE, (x, 1.9 * tall, z), (0.75, 1.15 * tall, 0.75), shade)
    elif scene.setting == "city":
        for x in np.linspace(-5.4, 5.4, 6) + rng.uniform(-0.3, 0.3, 6):
            colour = _pick(rng, [*WALL_COLOURS, *ROCK_COLOURS]) * rng.uniform(0.8, 1.0)
            height = rng.uniform(1.1, 3.2)
            add(rt.BOX, (x, height, rng.uniform(6, 9)), (rng.uniform(0.6, 0.95), height, 0.8),
                colour, texture=rt.WINDOWS)  # fmt: skip
    else:
        colour, capped = _pick(rng, ROCK_COLOURS), rng.random() < 0.6
        for x in np.linspace(-13, 13, 5) + rng.uniform(-2, 2, 5):
            z, wide, half = rng.uniform(15, 22), rng.uniform(4.5, 7), rng.uniform(2.4, 4.6)
            add(rt.CONE, (x, half, z), (wide, half, wide), colour * rng.uniform(0.8, 1.0))
            if capped:  # the top third, a little wider than the rock beneath
                add(rt.CONE, (x, half * 5 / 3 + 0.05, z), (wide / 3 * 1.06, half / 3, wide / 3 * 1.06),
                    GROUNDS["snow"])  # fmt: skip
    return parts


def _air(scene, rng):
    """Return the light's colour, the ambient light and the sky, low and high."""
    if scene.time == "day":
        sky = _pick(rng, [((0.72, 0.84, 0.95), (0.30, 0.52, 0.86)),
                          ((0.86, 0.88, 0.90), (0.66, 0.72, 0.80)),
                          ((0.58, 0.60, 0.64), (0.44, 0.47, 0.54)),
                          ((0.95, 0.90, 0.78), (0.55, 0.70, 0.84)),
                          ((0.80, 0.90, 0.92), (0.42, 0.68, 0.86))])  # fmt: skip
        return (0.72, 0.70, 0.66), (0.40, 0.42, 0.46), *sky
    if scene.time == "dusk":
        sky = _pick(rng, [((0.98, 0.66, 0.40), (0.45, 0.34, 0.58)),
                          ((0.93, 0.52, 0.50), (0.32, 0.26, 0.50))])  # fmt: skip
        return (0.82, 0.56, 0.40), (0.40, 0.35, 0.40), *sky
    sky = _pick(rng, [((0.12, 0.15, 0.32), (0.02, 0.03, 0.11)),
                      ((0.16, 0.16, 0.24), (0.05, 0.05, 0.09))])  # fmt: skip
    return (0.38, 0.41, 0.52), (0.28, 0.30, 0.40), *sky


def _thing_parts(thing):
    """List the parts of a thing as `_setting_parts` does."""
    cos, sin = np.cos(thing.yaw), np.sin(thing.yaw)
    for shape, (x, y, z), size, colour in PARTS[thing.kind]:
        centre = (
            thing.x + thing.size * (x * cos + z * sin),
            thing.size * y,
            thing.z + thing.size * (z * cos - x * sin),
        )
        extents = tuple(thing.size * s for s in size)
        yield shape, centre, extents, thing.yaw, colour or COLOURS[thing.colour], rt.PLAIN


def build(scenes):
    """Turn scenes into the ray tracer's primitives and views.

    Parameters
    ----------
    scenes : list of Scene

    Returns
    -------
    primitives : raytracer.Primitives
    view : raytracer.View
    """
    all_parts, views = [], []
    for scene in scenes:
        rng = np.random.default_rng(scene.structure)
        parts = _setting_parts(scene, rng)
        for thing in scene.things:
            parts.extend(_thing_parts(thing))
        all_parts.append(parts)
        ground = np.asarray(GROUNDS[scene.ground]) * rng.uniform(0.88, 1.06)
        cos = np.cos(scene.light_elevation)
        light = (cos * np.sin(scene.light_azimuth), np.sin(scene.light_elevation),
                 -cos * np.cos(scene.light_azimuth))  # fmt: skip
        views.append((
            (0.0, scene.camera_height, -4.2), scene.camera_yaw, scene.camera_pitch, light,
            *_air(scene, rng), ground.clip(0, 1), ground.clip(0, 1) * 0.92,
            _pick(rng, WATER_COLOURS), rng.uniform(1.0, 3.0) if scene.setting == "shore" else rt.FAR,
            {"day": 0.05, "dusk": 0.35, "night": 0.55}[scene.time],
        ))  # fmt: skip
    n = max(len(parts) for parts in all_parts)
    blank = (rt.EMPTY, (0.0, -1e3, 0.0), (1.0, 1.0, 1.0), 0.0, (0.0, 0.0, 0.0), rt.PLAIN)
    padded = [parts + [blank] * (n - len(parts)) for parts in all_parts]
    columns = [
        torch.from_numpy(np.asarray([[part[i] for part in parts] for parts in padded]))
        for i in range(6)
    ]
    shape, centre, size, yaw, colour, texture = columns
    primitives = rt.Primitives(
        shape, centre.float(), size.float(), yaw.float(), colour.float(), texture
    )
    fields = [
        torch.from_numpy(np.asarray([view[i] for view in views], dtype=np.float32))
        for i in range(len(views[0]))
    ]
    return primitives, rt.View(*fields)


def render(scenes, size=IMAGE_SIZE, batch_size=32, progress=lambda batches: batches):
    """Render scenes.

    Parameters
    ----------
    scenes : list of Scene
    size : int
        Width and height in pixels.
    batch_size : int
        Scenes traced at once; bounds the memory, does not change a pixel.
    progress : callable
        Wraps the iterable of batches, for instance `tqdm.tqdm`.

    Returns
    -------
    images : uint8 array, (n, size, size, 3)
        RGB, 0 to 255.
    """
    images = np.empty((len(scenes), size, size, 3), dtype=np.uint8)
    for start in progress(range(0, len(scenes), batch_size)):
        batch = slice(start, start + batch_size)
        pixels = rt.render(*build(scenes[batch]), size=size)
        images[batch] = (pixels * 255).round().byte().permute(0, 2, 3, 1).numpy()
    return images


def image_position(scene, thing, height=0.6):
    """Project a thing's middle into the picture.

    Parameters
    ----------
    scene : Scene
    thing : Thing
    height : float
        Height of the projected point as a share of the thing's size.

    Returns
    -------
    x, y : float
        Position in units of half the picture's width: (-1, -1) is the lower left corner.
    extent : float
        Half the thing's height in the same units.
    """
    rel = np.array([thing.x, height * thing.size - scene.camera_height, thing.z + 4.2])
    cos, sin = np.cos(scene.camera_yaw), np.sin(scene.camera_yaw)
    right, depth = rel[0] * cos - rel[2] * sin, rel[0] * sin + rel[2] * cos
    cos, sin = np.cos(scene.camera_pitch), np.sin(scene.camera_pitch)
    up, ahead = rel[1] * cos + depth * sin, depth * cos - rel[1] * sin
    return right / ahead / 0.45, up / ahead / 0.45, 0.7 * thing.size / ahead / 0.45


def ground_truth(scenes):
    """Tabulate what is in scenes.

    Returns
    -------
    table : pandas.DataFrame
        One row a scene: every field of `Scene`, then ``kind_1, colour_1, place_1, x_1, z_1,
        size_1, yaw_1, image_x_1, image_y_1`` of the thing on the left and the same with ``_2`` for
        the other (missing where there is one thing), ``n_things`` and ``held_back``.
    """
    rows = []
    for scene in scenes:
        row = {k: v for k, v in vars(scene).items() if k != "things"}
        row["n_things"] = len(scene.things)
        row["held_back"] = any(is_held_back(t.kind, t.colour, scene.setting) for t in scene.things)
        for i, thing in enumerate(scene.things, 1):
            x, y, _ = image_position(scene, thing)
            fields = vars(thing) | {"place": thing.place, "image_x": x, "image_y": y}
            row |= {f"{key}_{i}": value for key, value in fields.items()}
        rows.append(row)
    return pd.DataFrame(rows)
