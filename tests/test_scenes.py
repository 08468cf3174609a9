"""The miniature world's pictures show what their scenes say, and captions name what they may."""

from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from data_scripts.mini_models.scenes import SEED as SEED_OF_TRAINING
from latentcortex.mini import build, captions, props, scenes
from latentcortex.mini import raytracer as rt

SHAPES = {"sphere": rt.SPHERE, "box": rt.BOX, "cylinder": rt.CYLINDER, "cone": rt.CONE}
KINDS, COLOURS, SETTINGS = scenes.KINDS, tuple(props.COLOURS), scenes.SETTINGS


pytestmark = pytest.mark.usefixtures("one_thread")


def draw(n, seed, held_back=False):
    return scenes.sample_scenes(n, np.random.default_rng(seed), held_back)


def cells(images, n_cells):
    """Average images (n, h, w, 3) over n_cells x n_cells squares: (n, n_cells^2 * 3) in [0, 1]."""
    n, size = images.shape[:2]
    parts = images.reshape(n, n_cells, size // n_cells, n_cells, size // n_cells, 3)
    return parts.mean((2, 4)).reshape(n, -1) / 255


# --- the ray tracer -------------------------------------------------------------------------------


def is_inside(shape, point):
    """Tell by the definition of each unit shape whether points (3, ...) lie in it."""
    x, y, z = point
    if shape == rt.SPHERE:
        return x**2 + y**2 + z**2 <= 1
    if shape == rt.BOX:
        return np.abs(point).max(0) <= 1
    radius = 1 if shape == rt.CYLINDER else (1 - y) / 2
    return (np.abs(y) <= 1) & (x**2 + z**2 <= radius**2)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_rays_meet_a_shape_where_they_first_enter_it(shape, rng):
    n, step = 3000, 0.004
    origin = rng.normal(size=(3, n))
    origin *= rng.uniform(1.8, 4.0, n) / np.linalg.norm(origin, axis=0)
    # Aimed near the shape, so that many hit and many just miss; not of length one.
    direction = rng.uniform(-1.2, 1.2, (3, n)) - origin
    along = np.arange(0, 1.6, step)
    inside = is_inside(shape, origin[..., None] + direction[..., None] * along)
    marched = np.where(inside.any(1), along[inside.argmax(1)], rt.FAR)
    traced = rt.hit_distance(shape, *(torch.tensor(v) for v in (origin, direction))).numpy()
    hit, seen = traced < rt.FAR, marched < rt.FAR
    assert 0.3 < seen.mean() < 0.95 and hit[seen].all()
    np.testing.assert_array_less(-1e-6, (marched - traced)[seen])
    np.testing.assert_array_less((marched - traced)[seen], step + 1e-6)
    # Marching steps over what is thinner than a step, which few rays meet, and over nothing else.
    assert (hit & ~seen).mean() < 0.01


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_normals_point_out_of_the_surface(shape, rng):
    origin = rng.normal(size=(3, 2000))
    origin *= 3 / np.linalg.norm(origin, axis=0)
    direction = rng.uniform(-0.7, 0.7, (3, 2000)) - origin
    t = rt.hit_distance(shape, *(torch.tensor(v) for v in (origin, direction))).numpy()
    hit = t < rt.FAR
    point = origin[:, hit] + direction[:, hit] * t[hit]
    normal = np.stack(rt.unit_normal(torch.tensor(shape), *torch.tensor(point)))
    normal /= np.linalg.norm(normal, axis=0)
    assert ((normal * direction[:, hit]).sum(0) < 1e-6).all()
    # A step along the normal leads out, a step against it leads in; edges have no one normal.
    assert not is_inside(shape, point + 1e-3 * normal).any()
    assert is_inside(shape, point - 1e-3 * normal).mean() > 0.98


def test_rays_meet_the_nearest_of_turned_and_stretched_primitives(rng):
    centre, size = rng.uniform(-1.5, 1.5, (4, 3)), rng.uniform(0.4, 1.2, (4, 3))
    yaw, step, n = rng.uniform(-3, 3, 4), 0.005, 2000
    origin = np.array([0.5, 2.0, -8.0])
    target = rng.uniform(-2, 2, (3, n))
    direction = (target - origin[:, None]) / np.linalg.norm(target - origin[:, None], axis=0)
    along = np.arange(4, 14, step)
    points = origin[:, None, None] + direction[..., None] * along  # (3, n, n_steps)
    entered = []
    for k, shape in enumerate(SHAPES.values()):
        # As `props.thing_parts` places parts: a positive yaw turns z towards x.
        cos, sin = np.cos(yaw[k]), np.sin(yaw[k])
        turn = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
        into_frame = np.linalg.inv(turn @ np.diag(size[k]))
        frame = np.tensordot(into_frame, points - centre[k][:, None, None], 1)
        inside = is_inside(shape, frame)
        entered.append(np.where(inside.any(1), along[inside.argmax(1)], rt.FAR))
    primitives = rt.Primitives(
        torch.tensor([list(SHAPES.values())]), torch.tensor(centre)[None].float(),
        torch.tensor(size)[None].float(), torch.tensor(yaw)[None].float(), torch.zeros(1, 4, 3),
        torch.zeros(1, 4, dtype=torch.long),
    )  # fmt: skip
    rays = torch.tensor(direction)[:, None].float()
    start = torch.tensor(origin)[:, None, None].float().expand_as(rays)
    distance, which = rt._nearest(primitives, torch.ones(1, 4, 1, dtype=bool), start, rays)
    distance, which = distance[0].numpy(), which[0].numpy()
    first, marched = np.argmin(entered, 0), np.min(entered, 0)
    agree = np.abs(marched - distance) < 2 * step
    assert agree.mean() > 0.99 and (marched < rt.FAR).mean() > 0.4
    both = agree & (marched < rt.FAR)
    assert (which == first)[both].mean() > 0.99 and len(np.unique(which[both])) == 4


def test_leaving_out_what_a_tile_cannot_see_changes_no_pixel(monkeypatch):
    drawn = draw(12, 3)
    culled = scenes.render(drawn)
    everything = torch.full_like
    monkeypatch.setattr(rt.Primitives, "radius", lambda self: everything(self.yaw, 1e6))
    np.testing.assert_array_equal(scenes.render(drawn), culled)


def test_rendering_does_not_depend_on_the_batch():
    drawn = draw(11, 4)
    together = scenes.render(drawn, batch_size=11)
    for batch_size in (1, 4):
        np.testing.assert_array_equal(scenes.render(drawn, batch_size=batch_size), together)


def test_the_same_seed_gives_the_same_pixels_and_another_seed_others():
    first, again, other = (scenes.render(draw(6, seed)) for seed in (5, 5, 6))
    assert first.shape == (6, 64, 64, 3) and first.dtype == np.uint8
    np.testing.assert_array_equal(first, again)
    assert (first != other).any((1, 2, 3)).all()


def test_shadows_fall_away_from_the_light():
    thing = scenes.Thing("ball", "red", 0.0, 0.0, 1.0, 0.0)
    scene = replace(draw(1, 7)[0], setting="shore", things=(thing,), ground="snow", time="day",
                    camera_yaw=0.0, camera_height=1.6, camera_pitch=0.15, light_elevation=0.6,
                    light_azimuth=np.pi / 2)  # fmt: skip
    left, right = (
        scenes.render([replace(scene, light_azimuth=side * np.pi / 2)])[0].mean(-1) for side in (1, -1)
    )
    # Where the two pictures differ on the ground beside the ball, the lit side is brighter.
    difference = right - left
    row = 64 - 12
    assert difference[row - 8 : row + 4, :24].mean() > 2
    assert difference[row - 8 : row + 4, 40:].mean() < -2


# --- where things are -----------------------------------------------------------------------------


def silhouette(scene):
    """Render where the scene's first thing is: bool (64, 64)."""
    primitives, view = scenes.build([replace(scene, things=scene.things[:1])])
    n_parts = len(props.PARTS[scene.things[0].kind])
    primitives.colour[:] = torch.tensor([0.0, 1.0, 0.0])
    primitives.colour[:, -n_parts:] = torch.tensor([1.0, 0.0, 1.0])
    primitives.texture[:] = rt.PLAIN
    green = torch.tensor([[0.0, 1.0, 0.0]])
    view = replace(
        view, light_colour=0 * green, ambient=torch.ones(1, 3), sky_low=green, sky_high=green,
        ground=green, ground_2=green, water_colour=green, lit=torch.zeros(1),
        light=torch.tensor([[0.0, 0.0, -1.0]]),
    )  # fmt: skip
    red, green, _ = rt.render(primitives, view)[0]
    return (red > green).numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_image_position_is_where_the_thing_is_drawn(kind, rng):
    for scene in draw(4, 8):
        thing = scenes.Thing(kind, "red", rng.uniform(-0.9, 0.9), rng.uniform(-0.7, 0.9),
                             rng.uniform(0.95, 1.35), rng.uniform(-0.9, 0.9))  # fmt: skip
        scene = replace(scene, things=(thing,))
        rows, columns = np.nonzero(silhouette(scene))
        assert len(rows) > 20
        # Units of half the picture; y points up, rows run down.
        x, y, extent = scenes.image_position(scene, thing)
        seen_x = (np.array([columns.min(), columns.max() + 1]) / 32 - 1).mean()
        low, high = -(rows.max() + 1) / 32 + 1, -rows.min() / 32 + 1
        assert x == pytest.approx(seen_x, abs=0.08)
        assert low < y < high
        # The extent is one number for all kinds; things are 0.9 to 2.1 high for a size of one.
        assert 0.5 < 2 * extent / (high - low) < 1.7


def test_things_stand_in_the_picture_from_left_to_right():
    table = scenes.ground_truth(draw(1000, 9))
    places = table[["image_x_1", "image_y_1", "image_x_2", "image_y_2"]]
    assert (places.abs().max(axis=1) < 1).mean() > 0.98
    two = table[table["n_things"] == 2]
    assert (two["image_x_1"] < two["image_x_2"]).all() and (two["kind_1"] != two["kind_2"]).all()
    assert table["kind_2"].isna().sum() == (table["n_things"] == 1).sum() > 300
    by_place = table.groupby("place_1")["image_x_1"].mean()
    assert by_place["left"] < -0.2 < by_place["middle"] < 0.2 < by_place["right"]


# --- what is held back ----------------------------------------------------------------------------


def test_one_kind_and_a_twelfth_of_the_other_combinations_are_held_back():
    held = {c: scenes.is_held_back(*c) for c in product(KINDS, COLOURS, SETTINGS)}
    always = [k for k in KINDS if all(held[k, c, s] for c, s in product(COLOURS, SETTINGS))]
    assert always == [scenes.HELD_BACK_KIND]
    others = [value for (kind, *_), value in held.items() if kind != scenes.HELD_BACK_KIND]
    assert np.mean(others) >= 0.08
    # Each part of a combination is familiar in the company of every other part.
    for kind in set(KINDS) - set(always):
        assert all(any(not held[kind, c, s] for s in SETTINGS) for c in COLOURS)
        assert all(any(not held[kind, c, s] for c in COLOURS) for s in SETTINGS)


def test_no_ordinary_scene_holds_what_is_held_back_and_every_held_back_scene_does():
    def holds(scene):
        return [scenes.is_held_back(t.kind, t.colour, scene.setting) for t in scene.things]

    ordinary, held_back = draw(3000, 10), draw(600, 11, held_back=True)
    assert not any(any(holds(scene)) for scene in ordinary)
    assert all(any(holds(scene)) for scene in held_back)
    new_kind = [any(t.kind == scenes.HELD_BACK_KIND for t in scene.things) for scene in held_back]
    assert 0.44 < np.mean(new_kind) < 0.56
    assert not scenes.ground_truth(ordinary)["held_back"].any()
    assert scenes.ground_truth(held_back)["held_back"].all()
    # All that is allowed comes up, so that only the combination is new to those who learned it.
    seen = {(t.kind, t.colour, s.setting) for s in ordinary for t in s.things}
    allowed = [c for c in product(KINDS, COLOURS, SETTINGS) if not scenes.is_held_back(*c)]
    assert len(seen) > 0.98 * len(allowed)


# --- settings and duplicates ----------------------------------------------------------------------


def test_colours_in_place_do_not_tell_the_setting():
    drawn = draw(1500, 12)
    # Four cells of 2 x 2 rays each: the 8 x 8 pixels of a picture, at a twentieth of the rays.
    features = cells(scenes.render(drawn, size=16, batch_size=100), 8)
    setting = np.array([scene.setting for scene in drawn])
    shares = []
    for inverse_penalty in (0.03, 0.1, 0.3):
        regression = LogisticRegression(C=inverse_penalty, max_iter=1000)
        classifier = make_pipeline(StandardScaler(), regression)
        classifier.fit(features[:1000], setting[:1000])
        shares.append(classifier.score(features[1000:], setting[1000:]))
    # Better than chance, or the classifier is broken; at most half of the scenes.
    assert 1.5 / len(SETTINGS) < max(shares) <= 0.5


def test_scenes_that_train_the_models_are_none_of_the_subjects():
    trains = draw(1000, (SEED_OF_TRAINING, 0, 0))
    shown, _ = build._sample(0, build.Sizes())
    names = ["light_azimuth", "camera_height", "x_1", "size_1", "yaw_1"]
    numbers = [scenes.ground_truth(part)[names].to_numpy() for part in (trains, shown)]
    assert cdist(*numbers).min() > 0.01
    # And by what is seen, on some: training scenes, shown ones, and both among themselves.
    some = trains[:250] + shown[:250]
    pixels = cells(scenes.render(some, size=16, batch_size=100), 16)
    distance = cdist(pixels, pixels) / np.sqrt(pixels.shape[1])  # root mean square, in [0, 1]
    np.fill_diagonal(distance, np.inf)
    limit = 0.03
    assert distance.min() > limit
    # The limit would have caught a scene shown again from a step aside.
    moved = [replace(s, camera_height=s.camera_height + 0.01, light_azimuth=s.light_azimuth + 0.02)
             for s in some[:40]]  # fmt: skip
    aside = cells(scenes.render(moved, size=16, batch_size=100), 16) - pixels[:40]
    assert np.median(np.sqrt((aside**2).mean(1))) < limit / 2


# --- captions -------------------------------------------------------------------------------------


def test_captions_are_five_short_texts_of_plain_words():
    rng = np.random.default_rng(13)
    drawn = draw(1500, 14) + draw(200, 15, held_back=True)
    texts = [captions.write_captions(scene, rng) for scene in drawn]
    texts += [[captions.write_caption(scene, rng, everything=True)] for scene in drawn]
    flat = [text for some in texts for text in some]
    assert {len(some) for some in texts} == {1, 5}
    assert max(len(text.split()) for text in flat) <= 22
    assert all(text == " ".join(text.split()) and text for text in flat)
    assert all(c.islower() or c == " " for text in flat for c in text)
    pairs = {pair for text in flat for pair in pairwise(text.split())}
    nouns = {b[0] for a, b in pairs if a == "a"}, {b[0] for a, b in pairs if a == "an"}
    assert not nouns[0] & set("aeiou") and nouns[1] <= set("aeiou") and nouns[1]
    # The five are not one caption five times.
    assert np.mean([len(set(some)) for some in texts[: len(drawn)]]) > 4


def test_captions_never_tell_ground_light_or_pose():
    drawn = draw(300, 16)
    # Another ground, light, camera, pose and structure: word for word the same captions.
    others = [
        replace(
            scene, ground=ground, light_azimuth=0.3, light_elevation=0.9, camera_height=1.2,
            camera_yaw=0.0, camera_pitch=0.1, structure=1,
            things=tuple(replace(t, yaw=-t.yaw, z=0.1) for t in scene.things),
        )
        for scene, ground in zip(drawn, np.resize(list(props.GROUNDS), 300), strict=True)
    ]  # fmt: skip
    texts, same = (
        [captions.write_captions(s, np.random.default_rng(i)) for i, s in enumerate(some)]
        for some in (drawn, others)
    )
    assert texts == same
    said = {word for some in texts for text in some for word in text.split()}
    light = {"light", "sun", "sunlit", "lamp", "shadow", "shade", "bright", "turned"}
    assert not said & (set(props.GROUNDS) | light)


def test_captions_name_only_what_is_there_and_each_leaves_something_out():
    rng = np.random.default_rng(17)
    kind_of = {word: kind for kind, some in captions.KIND_WORDS.items() for word in some}
    named = []
    for scene in draw(600, 18):
        kinds = {t.kind for t in scene.things}
        for text in captions.write_captions(scene, rng):
            said = set(text.split())
            assert {kind_of[word] for word in said & set(kind_of)} <= kinds
            assert said & set(COLOURS) <= {t.colour for t in scene.things}
            assert said & {"left", "right"} <= {t.place for t in scene.things}
            where, when = (
                {name for name, phrases in table.items() if any(p in text for p in phrases)}
                for table in (captions.SETTING_WORDS, captions.TIME_WORDS)
            )
            assert where <= {scene.setting} and when <= {scene.time}
            named.append([bool(where), bool(when), bool(said & set(COLOURS))])
        full = captions.write_caption(scene, rng, everything=True)
        assert {kind_of[word] for word in set(full.split()) & set(kind_of)} == kinds
        assert any(p in full for p in captions.SETTING_WORDS[scene.setting])
        assert any(p in full for p in captions.TIME_WORDS[scene.time])
    share = np.mean(named, axis=0)
    assert (share > 0.3).all() and (share < 0.97).all()
    assert set(captions.SETTING_WORDS) == set(SETTINGS)
    assert set(captions.TIME_WORDS) == set(scenes.TIMES)
    assert set(captions.KIND_WORDS) == set(KINDS)
