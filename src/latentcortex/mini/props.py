"""What scenes are made of: palettes, the parts of things and settings, the air between.

A part is a shape of the ray tracer, its centre and half extents (scene units), its turn about the
vertical axis (radians), its colour (RGB in [0, 1]) and its texture.
"""

import numpy as np

from latentcortex.mini import raytracer as rt

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
WALL_COLOURS = [(0.60, 0.30, 0.22), (0.80, 0.70, 0.52), (0.55, 0.55, 0.58), (0.88, 0.86, 0.82)]
LEAF_COLOURS = [(0.12, 0.38, 0.14), (0.75, 0.42, 0.12), (0.42, 0.55, 0.16), (0.82, 0.86, 0.90)]
WATER_COLOURS = [
    (0.16, 0.34, 0.52),
    (0.30, 0.62, 0.62),
    (0.55, 0.60, 0.62),
    (0.34, 0.40, 0.26),
    (0.80, 0.86, 0.90),
    (0.50, 0.42, 0.34),
]
ROCK_COLOURS = [(0.48, 0.46, 0.50), (0.55, 0.38, 0.28), (0.40, 0.34, 0.48), (0.78, 0.66, 0.46)]


def pick(rng, options):
    """Pick one colour, or one pair of colours, as an array."""
    return np.asarray(options[rng.integers(len(options))], dtype=float)


def setting_parts(scene, rng):
    """List the parts of a setting."""
    parts = []

    def add(shape, centre, size, colour, yaw=0.0, texture=rt.PLAIN):
        parts.append((shape, centre, size, yaw, tuple(colour), texture))

    if scene.setting == "hills":
        colour = pick(rng, [*GROUNDS.values(), *LEAF_COLOURS[:3]])
        for x in np.linspace(-9, 9, 4) + rng.uniform(-1.5, 1.5, 4):
            width, height = rng.uniform(3.5, 6), rng.uniform(1.6, 3.8)
            add(
                rt.SPHERE,
                (x, -0.2, rng.uniform(9, 15)),
                (width, height, 3.5),
                (colour * rng.uniform(0.75, 1.0)).clip(0, 1),
            )
    elif scene.setting == "courtyard":
        colour, height = pick(rng, WALL_COLOURS), rng.uniform(0.9, 1.5)
        back, half = rng.uniform(2.6, 3.8), rng.uniform(2.4, 3.0)
        add(rt.BOX, (0, height, back), (half, height, 0.2), colour, texture=rt.BRICKS)
        for side in (-1, 1):
            add(rt.BOX, (side * half, height, back - 3.5), (0.2, height, 3.5), colour, texture=rt.BRICKS)
    elif scene.setting == "shore":
        if rng.random() < 0.5:  # an island or a headland far out
            colour = pick(rng, [*ROCK_COLOURS, *LEAF_COLOURS[:3]])
            add(rt.SPHERE, (rng.uniform(-12, 12), 0, 24), (rng.uniform(2, 6), 1.2, 2), colour)
    elif scene.setting == "forest":
        colour = pick(rng, LEAF_COLOURS)
        for x in np.linspace(-4.4, 4.4, 7) + rng.uniform(-0.3, 0.3, 7):
            z, tall = rng.uniform(3.2, 5.5), rng.uniform(0.85, 1.25)
            shade = (colour * rng.uniform(0.7, 1.05)).clip(0, 1)
            add(rt.CYLINDER, (x, 0.5 * tall, z), (0.14, 0.5 * tall, 0.14), WOOD)
            add(rt.CONE, (x, 1.9 * tall, z), (0.75, 1.15 * tall, 0.75), shade)
    elif scene.setting == "city":
        for x in np.linspace(-5.4, 5.4, 6) + rng.uniform(-0.3, 0.3, 6):
            colour = pick(rng, [*WALL_COLOURS, *ROCK_COLOURS]) * rng.uniform(0.8, 1.0)
            height = rng.uniform(1.1, 3.2)
            add(
                rt.BOX,
                (x, height, rng.uniform(6, 9)),
                (rng.uniform(0.6, 0.95), height, 0.8),
                colour,
                texture=rt.WINDOWS,
            )
    else:
        colour, capped = pick(rng, ROCK_COLOURS), rng.random() < 0.6
        for x in np.linspace(-13, 13, 5) + rng.uniform(-2, 2, 5):
            z, wide, half = rng.uniform(15, 22), rng.uniform(4.5, 7), rng.uniform(2.4, 4.6)
            add(rt.CONE, (x, half, z), (wide, half, wide), colour * rng.uniform(0.8, 1.0))
            if capped:  # the top third, a little wider than the rock beneath
                cap = wide / 3 * 1.06
                add(rt.CONE, (x, half * 5 / 3 + 0.05, z), (cap, half / 3, cap), GROUNDS["snow"])
    return parts


def air(scene, rng):
    """Return the light's colour, the ambient light and the sky, low and high."""
    if scene.time == "day":
        sky = pick(
            rng,
            [
                ((0.72, 0.84, 0.95), (0.30, 0.52, 0.86)),
                ((0.86, 0.88, 0.90), (0.66, 0.72, 0.80)),
                ((0.58, 0.60, 0.64), (0.44, 0.47, 0.54)),
                ((0.95, 0.90, 0.78), (0.55, 0.70, 0.84)),
                ((0.80, 0.90, 0.92), (0.42, 0.68, 0.86)),
            ],
        )
        return (0.72, 0.70, 0.66), (0.40, 0.42, 0.46), *sky
    if scene.time == "dusk":
        sky = pick(rng, [((0.98, 0.66, 0.40), (0.45, 0.34, 0.58)), ((0.93, 0.52, 0.50), (0.32, 0.26, 0.50))])
        return (0.82, 0.56, 0.40), (0.40, 0.35, 0.40), *sky
    sky = pick(rng, [((0.12, 0.15, 0.32), (0.02, 0.03, 0.11)), ((0.16, 0.16, 0.24), (0.05, 0.05, 0.09))])
    return (0.38, 0.41, 0.52), (0.28, 0.30, 0.40), *sky


def thing_parts(thing):
    """List the parts of a thing."""
    cos, sin = np.cos(thing.yaw), np.sin(thing.yaw)
    for shape, (x, y, z), size, colour in PARTS[thing.kind]:
        centre = (
            thing.x + thing.size * (x * cos + z * sin),
            thing.size * y,
            thing.z + thing.size * (z * cos - x * sin),
        )
        extents = tuple(thing.size * s for s in size)
        yield shape, centre, extents, thing.yaw, colour or COLOURS[thing.colour], rt.PLAIN
