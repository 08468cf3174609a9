"""Scenes of the miniature world: what is in them, how they are drawn at random, how they are built.

A scene has a setting (told by its structure, not by its colours), a time of day, a ground and one
or two things. Settings are crossed with times and grounds, and the palettes of walls, hills and
trees overlap, so that colour alone does not tell where one is.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from latentcortex.mini import props
from latentcortex.mini import raytracer as rt
from latentcortex.mini.props import COLOURS, GROUNDS, PARTS

SETTINGS = ("hills", "courtyard", "shore", "forest", "city", "mountains")
TIMES = ("day", "dusk", "night")
KINDS = tuple(PARTS)
HELD_BACK_KIND = "umbrella"
PLACES = ("left", "middle", "right")
IMAGE_SIZE = 64


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
            things.append(
                Thing(
                    KINDS[kind],
                    str(colour),
                    float(x + jitter),
                    float(rng.uniform(-0.7, 0.9)),
                    float(rng.uniform(0.95, 1.35)),
                    float(rng.uniform(-0.9, 0.9)),
                )
            )
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
        scenes.append(
            Scene(
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
            )
        )
    return scenes


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
        parts = props.setting_parts(scene, rng)
        for thing in scene.things:
            parts.extend(props.thing_parts(thing))
        all_parts.append(parts)
        ground = np.asarray(GROUNDS[scene.ground]) * rng.uniform(0.88, 1.06)
        cos = np.cos(scene.light_elevation)
        light = (
            cos * np.sin(scene.light_azimuth),
            np.sin(scene.light_elevation),
            -cos * np.cos(scene.light_azimuth),
        )
        views.append(
            (
                (0.0, scene.camera_height, -4.2),
                scene.camera_yaw,
                scene.camera_pitch,
                light,
                *props.air(scene, rng),
                ground.clip(0, 1),
                ground.clip(0, 1) * 0.92,
                props.pick(rng, props.WATER_COLOURS),
                rng.uniform(1.0, 3.0) if scene.setting == "shore" else rt.FAR,
                {"day": 0.05, "dusk": 0.35, "night": 0.55}[scene.time],
            )
        )
    n = max(len(parts) for parts in all_parts)
    blank = (rt.EMPTY, (0.0, -1e3, 0.0), (1.0, 1.0, 1.0), 0.0, (0.0, 0.0, 0.0), rt.PLAIN)
    padded = [parts + [blank] * (n - len(parts)) for parts in all_parts]
    columns = [
        torch.from_numpy(np.asarray([[part[i] for part in parts] for parts in padded])) for i in range(6)
    ]
    shape, centre, size, yaw, colour, texture = columns
    primitives = rt.Primitives(shape, centre.float(), size.float(), yaw.float(), colour.float(), texture)
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
