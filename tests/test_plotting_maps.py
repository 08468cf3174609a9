"""Maps with two values, with winners, on one scale; where they zoom, what they name, and in which colours."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from nilearn import datasets, surface
from skimage.color import rgb2lab

from latentcortex import plotting
from latentcortex.plotting import palettes

N = 10_242
# Linear RGB as readers without one kind of cones see it (Machado et al. 2009, severity 1).
BLINDNESS = {
    "none": np.eye(3),
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}


def seen(rgb, kind):
    """CIELAB coordinates of sRGB colours as a reader sees them."""
    rgb = np.asarray(rgb, float)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = (linear @ np.transpose(BLINDNESS[kind])).clip(0, 1)
    return rgb2lab(np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055))


def flat(side):
    files = datasets.fetch_surf_fsaverage("fsaverage5")
    return surface.load_surf_mesh(files[f"flat_{('left', 'right')[side]}"])


def back():
    """Vertices of the back of both hemispheres."""
    files = datasets.fetch_surf_fsaverage("fsaverage5")
    pial = [surface.load_surf_mesh(files[f"pial_{side}"]).coordinates for side in ("left", "right")]
    return np.concatenate(pial)[:, 1] < -60


def colours(ax, side):
    """Colours of the triangles of a side, and their corners."""
    collections = [c for c in ax.collections if isinstance(c, PolyCollection)]
    return collections[side].get_facecolor()[:, :3], flat(side).faces


def regions(n):
    """Bands over the back of the brain, as many as asked for, of which neighbours touch."""
    files = datasets.fetch_surf_fsaverage("fsaverage5")
    pial = [surface.load_surf_mesh(files[f"pial_{side}"]).coordinates for side in ("left", "right")]
    height = np.concatenate(pial)[:, 2]
    cuts = np.quantile(height[back()], np.linspace(0, 1, n + 1))
    return {f"region {k}": back() & (height > cuts[k]) & (height < cuts[k + 1]) for k in range(n)}


# ---- zoom and names


def test_zoom_shows_every_vertex_with_a_value_and_little_else():
    values = np.where(back(), 1.0, np.nan)
    whole, zoomed = (plotting.flatmap(values, label="r", zoom=zoom) for zoom in (False, True))
    area = [np.ptp(ax.get_xlim()) * np.ptp(ax.get_ylim()) for ax in (whole, zoomed)]
    assert area[1] < 0.6 * area[0]
    for side in (0, 1):
        mesh = flat(side)
        known = np.intersect1d(mesh.faces, np.flatnonzero(back()[side * N : (side + 1) * N]))
        xy = mesh.coordinates[known, :2] + ((-170, 0), (170, 0))[side]
        for axis, limits in enumerate((zoomed.get_xlim(), zoomed.get_ylim())):
            assert limits[0] < xy[:, axis].min() and xy[:, axis].max() < limits[1]


def test_zoom_on_nothing_and_on_everything_is_the_whole_map():
    limits = [
        plotting.flatmap(np.full(2 * N, value), label="r", zoom=True).get_xlim() for value in (np.nan, 1.0)
    ]
    assert limits[0] == limits[1]
    whole = plotting.flatmap(np.ones(2 * N), label="r").get_xlim()
    assert limits[0][0] <= whole[0] and limits[0][1] >= whole[1]


def boxes(ax):
    """Frames of the names that are drawn, in pixels: (n, 2 corners, 2)."""
    renderer = ax.figure.canvas.get_renderer()
    texts = [t for t in ax.texts if t.get_bbox_patch() is not None and t.get_visible()]
    return np.array([t.get_bbox_patch().get_window_extent(renderer).get_points() for t in texts])


@pytest.mark.parametrize("zoom", [True, False])
def test_names_never_overlap_and_stay_inside_the_axes(zoom):
    values = np.where(back(), 1.0, np.nan)
    ax = plotting.flatmap(values, label="r", zoom=zoom, rois=regions(9))
    ax.figure.canvas.draw()
    found, frame = boxes(ax), ax.get_window_extent()
    assert len(found) == 18
    low, high = found[:, 0], found[:, 1]
    overlap = (low[:, None] < high[None]).all(axis=2) & (high[:, None] > low[None]).all(axis=2)
    assert overlap.sum() == len(found)  # each with itself
    assert (low >= frame.min - 1).all() and (high <= frame.max + 1).all()


def test_a_name_stands_where_it_hides_few_vertices():
    values = np.where(back(), 1.0, np.nan)
    mask = regions(3)["region 1"]
    ax = plotting.flatmap(values, label="r", zoom=True, rois={"middle": mask})
    ax.figure.canvas.draw()
    assert len(boxes(ax)) == 2
    for (low, high), side in zip(boxes(ax), (0, 1), strict=True):
        used = np.intersect1d(flat(side).faces, np.flatnonzero(back()[side * N : (side + 1) * N]))
        xy = flat(side).coordinates[used, :2] + ((-170, 0), (170, 0))[side]
        points = ax.transData.transform(xy)
        hidden = ((points > low) & (points < high)).all(axis=1).sum()
        middle = ax.transData.transform(xy[np.isin(used, np.flatnonzero(mask[side * N : (side + 1) * N]))])
        half = (high - low) / 2
        at_home = (np.abs(points - middle.mean(axis=0)) < half).all(axis=1).sum()
        assert hidden < at_home / 2


def test_type_is_9_pixels_high_where_a_page_of_390_pixels_shrinks_the_figure():
    """The text column of such a page is 358 pixels wide; 1 point is 1/72 inch."""
    values = np.where(back(), 1.0, np.nan)
    rois = regions(2)
    axes = [
        plotting.flatmap(values, label="r", rois=rois),
        plotting.flatmap(values, label="r", rois=rois, zoom=True),
        plotting.inflated(values, label="r", rois=rois)[0],
        plotting.two_dimensional_map(values, values, labels=("z", "c"), rois=rois)[0],
        plotting.winner_map(values, ["z", "c"], rois=rois),
        plotting.compared_flatmaps({"a": values, "b": values}, label="r", rois=rois)[0],
        plotting.image_grid(
            [np.zeros((3, 3, 8, 8))] * 3, ["seen", "noisy", "decoded z\nitself"], list("abc")
        )[0, 0],
    ]
    for ax in axes:
        fig = ax.figure
        texts = [t for t in fig.findobj(plt.Text) if t.get_text() and t.get_visible()]
        assert len(texts) >= 6
        smallest = min(t.get_fontsize() for t in texts)
        assert smallest / 72 * 358 / fig.get_figwidth() > 8.99


def test_regions_have_colours_of_their_own_on_a_white_edge():
    ax = plotting.flatmap(np.ones(2 * N), label="r", rois=regions(4))
    lines = [c for c in ax.collections if type(c).__name__ == "LineCollection"]
    white = [c for c in lines if np.allclose(c.get_colors()[0, :3], 1)]
    coloured = [c for c in lines if not np.allclose(c.get_colors()[0, :3], 1)]
    assert len(white) == len(coloured) == 8
    assert max(c.get_zorder() for c in white) < min(c.get_zorder() for c in coloured)
    assert len({tuple(c.get_colors()[0]) for c in coloured}) == 4


# ---- colours


@pytest.mark.parametrize("kind", BLINDNESS)
def test_all_readers_can_tell_the_colours_apart(kind):
    """Apart by 10 in CIELAB, where 2.3 is a difference that is just noticed."""
    ordered = [palettes.choice_colours(n, ordered=True) for n in (2, 5, 8)]
    for one in (palettes.choice_colours(7, ordered=False), *ordered):
        lab = seen(one, kind)
        distance = np.linalg.norm(lab[:, None] - lab[None], axis=2)
        assert distance[~np.eye(len(one), dtype=bool)].min() > 10
    corners = seen(palettes.square_colours([0, 1, 0, 1], [0, 0, 1, 1]), kind)
    distance = np.linalg.norm(corners[:, None] - corners[None], axis=2)
    assert distance[~np.eye(4, dtype=bool)].min() > 35


@pytest.mark.parametrize("kind", BLINDNESS)
def test_regions_have_colours_that_all_readers_can_tell_apart(kind):
    colours = palettes.region_colours(palettes.REGIONS)
    lab = seen(list(colours.values()), kind)
    distance = np.linalg.norm(lab[:, None] - lab[None], axis=2)
    assert distance[~np.eye(len(colours), dtype=bool)].min() > 10


def test_a_region_has_its_colour_in_any_company():
    alone = palettes.region_colours(["V1"])["V1"]
    among = palettes.region_colours(["ventral", "PPA", "V1", "a", "b", "c", "d", "e", "f"])
    assert among["V1"] == alone == palettes.to_rgb(plotting.region_style("V1")["color"])
    # Neither is the colour of a region given to another name while another one is free.
    assert len({among[name] for name in ("ventral", "V1", "PPA", "a", "b", "c", "d")}) == 7


def test_regions_of_one_chart_differ_in_print():
    """Where two regions are about equally dark, marker and line tell them apart."""
    for group in (
        ("early", "ventral", "lateral", "parietal"),
        ("V1", "V2", "V3", "hV4"),
        ("V1", "hV4", "ventral"),
    ):
        styles = [plotting.region_style(name) for name in group]
        for key in ("marker", "linestyle"):
            assert len({style[key] for style in styles}) == len(group)
    with pytest.raises(ValueError, match="Expected a region of early, .*; got 'V9'"):
        plotting.region_style("V9")


def test_lines_take_the_colours_that_all_readers_can_tell_apart():
    with plt.rc_context():
        plotting.use_distinct_colours()
        lines = plt.subplots()[1].plot(np.zeros((2, 7)))
        assert [line.get_color() for line in lines] == list(palettes.DISTINCT)


def test_winners_that_are_regions_have_their_colours():
    ax = plotting.winner_map(np.where(back(), 1.0, np.nan), ["hV4", "V1"])
    legend = ax.get_legend()
    for text, patch in zip(legend.get_texts(), legend.get_patches(), strict=True):
        name = text.get_text()
        assert patch.get_facecolor()[:3] == palettes.region_colours([name])[name]


def test_colours_of_two_values_need_no_clipping_and_darken_with_their_sum():
    u, v = np.meshgrid(np.linspace(0, 1, 41), np.linspace(0, 1, 41))
    rgb = palettes.square_colours(u, v)
    assert rgb.shape == (41, 41, 3) and rgb.min() > 0 and rgb.max() < 1
    lightness = rgb2lab(rgb)[..., 0]
    assert (np.diff(lightness, axis=0) < 0).all() and (np.diff(lightness, axis=1) < 0).all()
    # As light where the first is high as where the second is, to 6 of 100.
    assert np.abs(lightness - lightness.T).max() < 6
    steps = np.linalg.norm(np.diff(rgb2lab(rgb), axis=0), axis=2)
    assert steps.max() / steps.min() < 4


# ---- maps


def test_two_values_have_the_colour_of_the_square():
    first, second = np.linspace(0, 1, 2 * N), np.linspace(1, 0, 2 * N) ** 2
    second[::50] = np.nan
    limits = ((0, 1), (0, 0.8))
    ax, square = plotting.two_dimensional_map(first, second, labels=("r of z", "r of c"), limits=limits)
    rgb, faces = colours(ax, 0)
    u, v = first[faces].mean(axis=1), (second[faces].mean(axis=1) / 0.8).clip(0, 1)
    known = np.isfinite(v)
    assert 0 < (~known).sum() < len(faces)
    np.testing.assert_allclose(rgb[known], palettes.square_colours(u, v)[known], atol=1e-6)
    assert (np.ptp(rgb[~known], axis=1) < 1e-6).all()
    picture = square.images[0]
    assert picture.get_extent() == [0, 1, 0, 0.8]
    np.testing.assert_allclose(picture.get_array()[0, -1], palettes.square_colours(1, 0))
    np.testing.assert_allclose(picture.get_array()[-1, 0], palettes.square_colours(0, 1))
    assert (square.get_xlabel(), square.get_ylabel()) == ("r of z", "r of c")
    ax.figure.canvas.draw()
    frame = square.get_window_extent()
    assert frame.width == pytest.approx(frame.height, rel=0.02)


def test_without_limits_two_values_share_theirs(rng):
    first, second = rng.random(2 * N), 3 * rng.random(2 * N)
    _, square = plotting.two_dimensional_map(first, second, labels=("z", "c"))
    top = np.quantile([first, second], 0.98)
    np.testing.assert_allclose(square.images[0].get_extent(), (0, top, 0, top))
    empty = np.full(2 * N, np.nan)
    ax, _ = plotting.two_dimensional_map(empty, second, labels=("z", "c"))
    assert "no vertex has both values" in [t.get_text() for t in ax.texts]


def test_a_winner_has_its_colour_and_an_uncertain_one_is_pale():
    winners = (np.arange(2 * N) % 3).astype(float)
    winners[7] = np.nan
    for sure in (0.0, 0.5, 1.0):
        ax = plotting.winner_map(winners, ["a", "b", "c"], confidence=np.full(2 * N, sure))
        rgb, faces = colours(ax, 0)
        corners = winners[faces]
        known = np.isfinite(corners).all(axis=1)
        assert (~known).sum() >= 5 and (np.ptp(rgb[~known], axis=1) < 1e-6).all()
        # Brute force: the winner that two corners share, else that of the first.
        chosen = [next((k for k in set(c) if (c == k).sum() > 1), c[0]) for c in corners[known]]
        full = palettes.choice_colours(3, ordered=False)[np.array(chosen, dtype=int)]
        np.testing.assert_allclose(rgb[known], 1 - (1 - full) * (0.2 + 0.8 * sure), atol=1e-6)
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["a", "b", "c", "paler: less sure"]


def test_maps_next_to_each_other_share_scale_window_and_colour_bar():
    real = np.where(back(), np.linspace(-1, 2, 2 * N), np.nan)
    null = np.where(back(), 0.01, np.nan)
    axes = plotting.compared_flatmaps({"real": real, "null": null}, label="z minus c (r)", centre=0)
    assert [ax.get_title() for ax in axes] == ["real", "null"]
    assert axes[0].get_xlim() == axes[1].get_xlim() and axes[0].get_ylim() == axes[1].get_ylim()
    (bar,) = [ax for ax in axes[0].figure.axes if ax not in axes]
    reach = np.nanmax(np.abs(real))
    np.testing.assert_allclose(bar.get_xlim(), (-reach, reach))
    rgb, faces = colours(axes[1], 0)
    known = np.isfinite(null[faces]).all(axis=1)
    np.testing.assert_allclose(
        rgb[known], np.broadcast_to(plt.cm.RdBu_r(0.5)[:3], rgb[known].shape), atol=0.03
    )


# ---- bad input

ONE = np.zeros(2 * N)
UNSURE = np.full(2 * N, np.nan)
FAR = np.where(np.arange(2 * N) == 3, np.inf, 0)


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        ((ONE, np.zeros(N)), {}, r"second: expected one value per vertex.*got \(10242,\)"),
        ((FAR, ONE), {}, "first: 1 of 20,484 values are infinite, the first at vertex 3"),
        ((ONE, ONE), {"labels": ("z",)}, "labels: expected two texts"),
        ((ONE, ONE), {"labels": "zc"}, "labels: expected two texts"),
        ((ONE, ONE), {"limits": (0, 1)}, "limits: expected two pairs"),
        ((ONE, ONE), {"limits": ((0, 1), (1, 0))}, "limits: expected two pairs"),
        ((ONE, ONE), {"limits": ((0, 1), (0, np.nan))}, "limits: expected two pairs"),
        ((ONE, ONE), {"rois": {"V1": ONE}}, "V1: expected a mask of bool"),
    ],
)
def test_maps_of_two_values_say_what_is_wrong(arguments, settings, message):
    with pytest.raises(ValueError, match=message):
        plotting.two_dimensional_map(*arguments, **{"labels": ("z", "c"), **settings})


@pytest.mark.parametrize(
    ("winners", "settings", "message"),
    [
        (ONE + 2, {}, "whole numbers from 0 to 1, the places of the 2 names, or NaN; got 2 to 2"),
        (ONE - 1, {}, "whole numbers from 0 to 1"),
        (ONE + 0.5, {}, "whole numbers from 0 to 1"),
        (np.zeros(7), {}, r"winners: expected one value per vertex"),
        (ONE, {"confidence": ONE + 1.5}, "confidence: expected a number from 0 to 1"),
        (ONE, {"confidence": UNSURE}, "20,484 winners without one"),
        (ONE, {"confidence": np.zeros(7)}, "confidence: expected one value per vertex"),
        (ONE, {"names": list("abcdefgh")}, "7 colours .* and 8 names"),
    ],
)
def test_maps_of_winners_say_what_is_wrong(winners, settings, message):
    with pytest.raises(ValueError, match=message):
        plotting.winner_map(winners, **{"names": ["z", "c"], **settings})


def test_compared_maps_say_which_one_is_wrong():
    with pytest.raises(ValueError, match="at least one map"):
        plotting.compared_flatmaps({}, label="r")
    with pytest.raises(ValueError, match="null: expected one value per vertex"):
        plotting.compared_flatmaps({"real": ONE, "null": np.zeros(5)}, label="r")
