"""Closed-form ray tracer of scenes made of ellipsoids, boxes, cylinders and cones.

Every primitive is a unit shape that was scaled, turned about the vertical axis and moved. A ray is
taken into the unit shape's own frame by an affine map, which leaves the ray parameter unchanged, so
that one quadratic (or one slab test) serves all sizes. Lengths are in scene units (one unit is
about the height of a small object), y points up, the ground is the plane y = 0.

The picture is cut into square tiles: a primitive is only tested against the tiles that its bounding
sphere can touch, which is where most of the time goes in a plain tracer.
"""

from dataclasses import dataclass

import torch

SPHERE, BOX, CYLINDER, CONE, EMPTY = 0, 1, 2, 3, -1
PLAIN, WINDOWS, BRICKS = 0, 1, 2
FAR = 1e4
HORIZON = 70.0  # beyond this distance the ground dissolves into the sky
TILES = 8  # the picture is cut into TILES x TILES squares


@dataclass
class Primitives:
    """Primitives of a batch of scenes, padded with ``EMPTY`` to the longest.

    Attributes
    ----------
    shape : long tensor, (n_scenes, n_primitives)
        ``SPHERE``, ``BOX``, ``CYLINDER``, ``CONE`` or ``EMPTY``.
    centre, size : float tensors, (n_scenes, n_primitives, 3)
        Centre and half extents along the primitive's own axes, in scene units.
    yaw : float tensor, (n_scenes, n_primitives)
        Turn about the vertical axis, radians.
    colour : float tensor, (n_scenes, n_primitives, 3)
        Linear RGB in [0, 1].
    texture : long tensor, (n_scenes, n_primitives)
        ``PLAIN``, ``WINDOWS`` or ``BRICKS``.
    """

    shape: torch.Tensor
    centre: torch.Tensor
    size: torch.Tensor
    yaw: torch.Tensor
    colour: torch.Tensor
    texture: torch.Tensor

    def radius(self):
        """Radius of the bounding sphere of each primitive, (n_scenes, n_primitives)."""
        return torch.where(self.shape == SPHERE, self.size.max(-1).values, self.size.norm(dim=-1))


@dataclass
class View:
    """Camera, light and air of a batch of scenes; every tensor has a first axis of scenes.

    Attributes
    ----------
    camera : (n_scenes, 3)
        Position of the camera.
    yaw, pitch : (n_scenes,)
        Direction of gaze in radians; a positive pitch looks down.
    light : (n_scenes, 3)
        Unit vector towards the light.
    light_colour, ambient, sky_low, sky_high, ground, ground_2, water_colour : (n_scenes, 3)
        RGB of the direct and the scattered light, of the sky at the horizon and overhead, of the
        two shades of the ground and of the water.
    water : (n_scenes,)
        Depth z at which water begins; ``FAR`` where there is none.
    lit : (n_scenes,)
        Share of windows that are lit, in [0, 1].
    """

    camera: torch.Tensor
    yaw: torch.Tensor
    pitch: torch.Tensor
    light: torch.Tensor
    light_colour: torch.Tensor
    ambient: torch.Tensor
    sky_low: torch.Tensor
    sky_high: torch.Tensor
    ground: torch.Tensor
    ground_2: torch.Tensor
    water_colour: torch.Tensor
    water: torch.Tensor
    lit: torch.Tensor


def hit_distance(shape, origin, direction):
    r"""Distance along rays to a unit shape in its own frame, ``FAR`` where it is missed.

    Parameters
    ----------
    shape : int
        ``SPHERE`` (radius 1), ``BOX`` (half side 1), ``CYLINDER`` (radius 1, \|y\| <= 1) or
        ``CONE`` (apex at y = 1, radius 1 at y = -1).
    origin, direction : sequences of three tensors that broadcast against each other
        Directions need not have length one: the distance is the ray parameter.

    Returns
    -------
    distance : tensor
        Smallest positive ray parameter.
    """
    (ox, oy, oz), (dx, dy, dz) = origin, direction
    if shape == BOX:
        near, far = -FAR, FAR
        for o, d in ((ox, dx), (oy, dy), (oz, dz)):
            inverse = 1 / torch.where(d.abs() < 1e-7, 1e-7, d)
            middle, half = -o * inverse, inverse.abs()
            near = torch.maximum(middle - half, near if torch.is_tensor(near) else middle - half)
            far = torch.minimum(middle + half, far if torch.is_tensor(far) else middle + half)
        return torch.where((near < far) & (near > 1e-3), near, FAR)
    a = dx * dx + dz * dz
    b = ox * dx + oz * dz
    c = ox * ox + oz * oz
    if shape == SPHERE:
        a, b, c = a + dy * dy, b + oy * dy, c + oy * oy - 1
    elif shape == CYLINDER:
        c = c - 1
    else:
        w = (1 - oy) / 2
        a, b, c = a - dy * dy / 4, b + w * dy / 2, c - w * w
    root = b * b - a * c
    hit = root > 0
    root = root.clamp(min=0).sqrt()
    a = torch.where(a.abs() < 1e-9, 1e-9, a)
    distance = (-b - root) / a
    if shape == SPHERE:
        return torch.where(hit & (distance > 1e-3), distance, FAR)

    def side(t):
        return torch.where(hit & (t > 1e-3) & ((oy + t * dy).abs() <= 1), t, FAR)

    distance = side(distance)
    if shape == CONE:  # the nearer root may lie on the mirrored cone above the apex
        distance = torch.minimum(distance, side((-b + root) / a))
        cap_y = -1.0
    else:
        cap_y = -torch.sign(dy)
    cap = (cap_y - oy) / torch.where(dy.abs() < 1e-7, 1e-7, dy)
    px, pz = ox + cap * dx, oz + cap * dz
    cap = torch.where((cap > 1e-3) & (px * px + pz * pz <= 1), cap, FAR)
    return torch.minimum(distance, cap)


def unit_normal(shape, x, y, z):
    """Outward normal, not normalised, at points of a unit shape's surface in its own frame."""
    zero = torch.zeros_like(x)
    biggest = torch.maximum(torch.maximum(x.abs(), y.abs()), z.abs())
    box = [torch.where(v.abs() >= biggest, torch.sign(v), zero) for v in (x, y, z)]
    cap = y.abs() > 1 - 1e-3
    cylinder = [torch.where(cap, zero, x), torch.where(cap, y, zero), torch.where(cap, zero, z)]
    base = y < -1 + 1e-3
    cone = [torch.where(base, zero, x), torch.where(base, y, (1 - y) / 4), torch.where(base, zero, z)]
    normal = []
    for s, b, c, k in zip((x, y, z), box, cylinder, cone, strict=True):
        normal.append(
            torch.where(
                shape == SPHERE, s, torch.where(shape == BOX, b, torch.where(shape == CYLINDER, c, k))
            )
        )
    return normal


def _into_frame(vector, yaw, size):
    """Turn and scale three components (..., rays) into the frames of primitives (...,)."""
    cos, sin = torch.cos(yaw)[:, None], torch.sin(yaw)[:, None]
    x, y, z = vector
    return ((x * cos - z * sin) / size[:, 0:1], y / size[:, 1:2], (x * sin + z * cos) / size[:, 2:3])


def _nearest(primitives, touched, origin, direction):
    """Find the nearest primitive of every ray.

    Parameters
    ----------
    primitives : Primitives
    touched : bool tensor, (n_scenes, n_primitives, n_tiles)
        Whether the primitive may be hit by a ray of the tile.
    origin, direction : float tensors, (3, n_scenes * n_tiles, n_rays)

    Returns
    -------
    distance : float tensor, (n_scenes * n_tiles, n_rays)
    which : long tensor of the same shape
        Index of the primitive; meaningless where ``distance`` is ``FAR``.
    """
    n_scenes, n_primitives, n_tiles = touched.shape
    best = torch.full(direction.shape[1:], FAR)
    which = torch.zeros(direction.shape[1:], dtype=torch.long)
    for k in range(n_primitives):
        for shape in (SPHERE, BOX, CYLINDER, CONE):
            use = touched[:, k] & (primitives.shape[:, k] == shape)[:, None]
            if not use.any():
                continue
            scene, tile = use.nonzero(as_tuple=True)
            rows = scene * n_tiles + tile
            centre, size = primitives.centre[scene, k], primitives.size[scene, k]
            yaw = primitives.yaw[scene, k]
            o = _into_frame([origin[i, rows] - centre[:, i : i + 1] for i in range(3)], yaw, size)
            d = _into_frame([direction[i, rows] for i in range(3)], yaw, size)
            distance, old = hit_distance(shape, o, d), best[rows]
            nearer = distance < old
            best[rows] = torch.where(nearer, distance, old)
            which[rows] = torch.where(nearer, k, which[rows])
    return best, which


def _hash(*values):
    """Repeatable noise in [0, 1) at integer coordinates, the same on every machine."""
    total = sum((v.round() * c) for v, c in zip(values, (12.9898, 78.233, 37.719), strict=False))
    return (torch.sin(total) * 43758.5453).remainder(1.0)


def render(primitives, view, size=64, oversampling=2):
    """Render a batch of scenes.

    Parameters
    ----------
    primitives : Primitives
    view : View
    size : int
        Width and height of the pictures in pixels.
    oversampling : int
        Rays a pixel along each axis.

    Returns
    -------
    images : float tensor, (n_scenes, 3, size, size)
        RGB in [0, 1].
    """
    n_scenes, res = len(view.camera), size * oversampling
    edge = res // TILES
    n_tiles, n_rays = TILES**2, edge**2

    u = (torch.arange(res) + 0.5) / res * 2 - 1
    dy, dx = torch.meshgrid(-0.45 * u, 0.45 * u, indexing="ij")

    def to_tiles(x):  # (res, res) -> (n_tiles, n_rays)
        return x.reshape(TILES, edge, TILES, edge).permute(0, 2, 1, 3).reshape(n_tiles, n_rays)

    dx, dy = to_tiles(dx)[None], to_tiles(dy)[None]
    cos_p, sin_p = torch.cos(view.pitch)[:, None, None], torch.sin(view.pitch)[:, None, None]
    cos_y, sin_y = torch.cos(view.yaw)[:, None, None], torch.sin(view.yaw)[:, None, None]
    up, ahead = dy * cos_p - sin_p, dy * sin_p + cos_p
    right, forward = dx * cos_y + ahead * sin_y, ahead * cos_y - dx * sin_y
    direction = torch.stack([right, up.expand_as(right), forward])
    direction = direction / direction.norm(dim=0)  # (3, n_scenes, n_tiles, n_rays)

    # Which tiles can the camera see a primitive in?
    axis = torch.nn.functional.normalize(direction.mean(-1), dim=0)  # (3, n_scenes, n_tiles)
    half_angle = torch.acos((direction * axis[..., None]).sum(0).min(-1).values.clamp(-1, 1))
    offset = primitives.centre - view.camera[:, None]
    distance = offset.norm(dim=-1)
    radius = primitives.radius()
    between = torch.einsum("bpi,ibt->bpt", offset / distance[..., None], axis)
    reach = torch.asin((radius / distance).clamp(max=1)) + 1e-3
    touched = torch.acos(between.clamp(-1, 1)) < reach[..., None] + half_angle[:, None]
    touched &= (primitives.shape != EMPTY)[..., None]

    rays = direction.reshape(3, -1, n_rays)
    camera = view.camera.repeat_interleave(n_tiles, 0).T[..., None].expand_as(rays)
    t, which = _nearest(primitives, touched, camera, rays)

    down = torch.where(rays[1] < -1e-4, rays[1], -1e-4)
    t_ground = torch.where(rays[1] < -1e-4, -camera[1] / down, FAR)
    is_ground = t_ground < t
    t = torch.minimum(t, t_ground)
    hit = t < HORIZON
    point = camera + rays * t.clamp(max=HORIZON)

    # Look up each ray's own primitive and take its normal.
    scene = torch.arange(n_scenes).repeat_interleave(n_tiles)[:, None].expand_as(which)
    p_shape = primitives.shape[scene, which]
    p_size = primitives.size[scene, which].movedim(-1, 0)
    p_centre = primitives.centre[scene, which].movedim(-1, 0)
    yaw = primitives.yaw[scene, which]
    cos, sin = torch.cos(yaw), torch.sin(yaw)
    rel = point - p_centre
    local = torch.stack([rel[0] * cos - rel[2] * sin, rel[1], rel[0] * sin + rel[2] * cos])
    n = [v / s for v, s in zip(unit_normal(p_shape, *(local / p_size)), p_size, strict=True)]
    normal = torch.stack([n[0] * cos + n[2] * sin, n[1], -n[0] * sin + n[2] * cos])
    normal = torch.nn.functional.normalize(normal, dim=0)
    upward = torch.tensor([0.0, 1.0, 0.0])[:, None, None]
    normal = torch.where(is_ground, upward, normal)

    # Shadows: which tiles' hit points can lie behind a primitive, seen from the light?
    light = view.light.repeat_interleave(n_tiles, 0).T[..., None]
    near = hit & (t < 30)
    weight = near.float() / near.sum(-1, keepdim=True).clamp(min=1)
    middle = (point * weight).sum(-1)  # (3, n_scenes * n_tiles)
    spread = torch.where(near, (point - middle[..., None]).norm(dim=0), 0).max(-1).values
    middle = middle.T.reshape(n_scenes, 1, n_tiles, 3)
    offset = primitives.centre[:, :, None] - middle
    along = (offset * view.light[:, None, None]).sum(-1, keepdim=True)
    aside = (offset - along * view.light[:, None, None]).norm(dim=-1)
    limit = radius[..., None] + spread.reshape(n_scenes, 1, n_tiles)
    shaded = (aside < limit) & (along[..., 0] > -limit) & (primitives.shape != EMPTY)[..., None]
    shaded &= near.any(-1).reshape(n_scenes, 1, n_tiles)
    shadow, _ = _nearest(primitives, shaded, point + normal * 1e-2, light.expand_as(point))
    direct = (normal * light).sum(0).clamp(min=0) * (shadow >= FAR)

    # Colours.
    def per_ray(x):
        return x.repeat_interleave(n_tiles, 0).T[..., None]

    base = primitives.colour[scene, which].movedim(-1, 0)
    texture = primitives.texture[scene, which]
    along_wall = torch.where(normal[0].abs() > normal[2].abs(), point[2], point[0])
    cell_x, cell_y = (along_wall * 2.2).floor(), (point[1] * 2.2).floor()
    inside = ((along_wall * 2.2 - cell_x - 0.5).abs() < 0.28) & ((point[1] * 2.2 - cell_y - 0.5).abs() < 0.28)
    glow = (_hash(cell_x, cell_y, which.float()) < view.lit[scene]) & inside & (texture == WINDOWS)
    base = torch.where(inside & (texture == WINDOWS), base * 0.45, base)
    row = (point[1] * 3.0).floor()
    joint = ((point[1] * 3.0 - row) < 0.16) | ((along_wall * 1.5 + 0.5 * (row % 2)).remainder(1.0) < 0.08)
    base = torch.where(joint & (texture == BRICKS), base * 0.7, base)
    check = (point[0].floor() + point[2].floor()).remainder(2)
    ground = per_ray(view.ground) + (per_ray(view.ground_2) - per_ray(view.ground)) * check
    base = torch.where(is_ground, ground, base)
    rgb = base * (per_ray(view.ambient) + per_ray(view.light_colour) * direct)
    rgb = torch.where(glow, torch.tensor([1.0, 0.85, 0.45])[:, None, None], rgb)

    height = rays[1].clamp(0, 0.5) * 2
    sky = per_ray(view.sky_low) + (per_ray(view.sky_high) - per_ray(view.sky_low)) * height.sqrt()
    disc = (rays * light).sum(0) > 0.992
    sky = torch.where(disc, sky * 0.3 + 0.7, sky)
    waves = torch.sin(point[2] * 5 + 2 * torch.sin(point[0] * 1.3 + point[2]))
    off_shore = point[2] - view.water[scene] - 0.25 * torch.sin(point[0] * 1.7)
    water, foam = is_ground & (off_shore > 0), is_ground & (off_shore.abs() < 0.14)
    # Water has a colour of its own and mirrors the sky; its ripples flatten with distance.
    own = per_ray(view.water_colour) * (per_ray(view.ambient) + 0.6 * per_ray(view.light_colour))
    mirror = (0.7 * own + 0.3 * sky) * (1 + 0.4 * waves * torch.exp(-0.1 * t))
    rgb = torch.where(water, mirror, rgb)
    foam_light = per_ray(view.ambient) + 0.6 * per_ray(view.light_colour)
    rgb = torch.where(foam, foam_light.expand_as(rgb), rgb)
    fog = torch.exp(-0.022 * t.clamp(max=HORIZON))
    rgb = torch.where(hit, rgb * fog + per_ray(view.sky_low) * (1 - fog), sky).clamp(0, 1)

    rgb = rgb.reshape(3, n_scenes, TILES, TILES, edge, edge).permute(1, 0, 2, 4, 3, 5)
    return torch.nn.functional.avg_pool2d(rgb.reshape(n_scenes, 3, res, res), oversampling)
